"""One gurux-dlms client on one line: TCP wrapper, HDLC on TCP, HDLC on a serial port, mode E.

Everything of DLMS is Gurux' own; here are the line, the loop that Gurux leaves to its users, and
what works round its defects (each named where it is), so that a defect hides nothing behind it.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import sys
import tty
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Protocol

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.ecdsa.enums.Ecc import Ecc
from gurux_dlms.ecdsa.GXPrivateKey import GXPrivateKey
from gurux_dlms.ecdsa.GXPublicKey import GXPublicKey
from gurux_dlms.enums import (
    Authentication,
    Command,
    Conformance,
    InterfaceType,
    RequestTypes,
    Security,
)
from gurux_dlms.GXDLMS import GXDLMS
from gurux_dlms.GXSecure import GXSecure
from gurux_dlms.GXStandardObisCodeCollection import GXStandardObisCodeCollection
from gurux_dlms.objects.enums import SecuritySuite
from gurux_dlms.secure import GXDLMSSecureClient

ECDSA: Any = sys.modules["gurux_dlms.ecdsa.GXEcdsa"]
Job = dict[str, Any]
WAIT_S = 240.0
ASSOCIATION_SN = 0xFA00
REPLY_TO_HLS_SN = ASSOCIATION_SN + 0x58
Code = tuple[str, int]
CODES: dict[Code, list[Any]] = {}
FIRST_METHOD_SN = {3: 0x28, 4: 0x38, 5: 0x48, 7: 0x58, 8: 0x60}


def find_once(codes: Any, name: str, class_id: int) -> list[Any]:
    """What the table of codes says of an object: half of the work of a session, as Gurux searches
    it through for every object of every list, and the same each time."""
    if (name, class_id) not in CODES:
        CODES[name, class_id] = codes.find2(codes.getBytes(name), class_id)
    return CODES[name, class_id]


GXStandardObisCodeCollection.find = find_once


class Medium(Protocol):
    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes: ...

    def close(self) -> None: ...


class Tcp:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_S)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        data = self.socket.recv(65_536)
        if not data:
            raise RuntimeError("the meter closed the connection")
        return data

    def close(self) -> None:
        self.socket.close()


class Serial:
    """A serial port, here the far end of a pseudo terminal."""

    def __init__(self, name: str) -> None:
        self.handle = os.open(name, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.handle)

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.handle, data) :]

    def receive(self) -> bytes:
        if not select.select([self.handle], [], [], WAIT_S)[0]:
            raise RuntimeError("the meter is silent")
        return os.read(self.handle, 4096)

    def close(self) -> None:
        os.close(self.handle)

    def sign_on(self) -> str:
        """IEC 62056-21 up to the hand-over to mode E, as Gurux' examples do it by hand."""
        self.send(b"/?!\r\n")
        identification = b""
        while not identification.endswith(b"\r\n"):
            identification += self.receive()
        speed = identification[4:5]
        self.send(b"\x062" + speed + b"2\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            answer += self.receive()
        return identification.decode("latin-1").strip()


def _corrected_action_info(object_type: int, value: list[int], count: list[int]) -> None:
    """Where the methods of a class stand among its short names.

    Gurux 1.0.203 gives Clock, Register, Profile generic and their like the offsets of other
    classes (branches of its table are missing); the others are its own.
    """
    first = FIRST_METHOD_SN.get(int(object_type))
    if first is None:
        _action_info(object_type, value, count)
    else:
        value[0], count[0] = first, 8


def _counting_short_name_messages(parameters: Any) -> Any:
    """By short names gurux 1.0.203 uses one invocation counter for ever, a replay to any meter."""
    messages = _short_name_messages(parameters)
    cipher = parameters.settings.cipher
    if cipher.isCiphered() and parameters.command != Command.AARQ:
        cipher.invocationCounter += 1
    return messages


def choose_curve(suite: int) -> None:
    """P-256 or P-384: gurux 1.0.203 asks twice for P-256 where it chooses the hash.

    Curve, point arithmetic and signature stay its own.
    """
    wide = suite == 2
    ECDSA.hashlib = SimpleNamespace(sha256=hashlib.sha384 if wide else hashlib.sha256)
    ECDSA.Ecc = SimpleNamespace(P256=Ecc.P384) if wide else Ecc
    octets = 48 if wide else 32
    ECDSA.GXEcdsa._GXEcdsa__schemeSize = classmethod(lambda _class, _scheme: octets)


_action_info = GXDLMS.getActionInfo
GXDLMS.getActionInfo = staticmethod(_corrected_action_info)
_short_name_messages = GXDLMS.getSnMessages
GXDLMS.getSnMessages = staticmethod(_counting_short_name_messages)
# What its Read in blocks calls and never had.
GXReplyData.setTotalCount = lambda reply, count: setattr(reply, "totalCount", count)
GXReplyData.getMoreData = lambda reply: reply.moreData


class Link:
    """A client of Gurux and its line."""

    def __init__(self, job: Job) -> None:
        self.job = job
        framing = job.get("framing", "wrapper")
        self.hdlc = framing != "wrapper"
        self.logical_names = not job.get("names")
        self.client = self._client()
        self._address()
        self._terms()
        self._keys()
        # Its block transfer reads an attribute that its settings never had.
        type(self.client.settings).blockNumber = property(lambda settings: settings.blockIndex)
        self.medium: Medium = Serial(job["tty"]) if "tty" in job else Tcp(job["port"])
        self.signed_on = ""
        if job.get("mode_e"):
            assert isinstance(self.medium, Serial)
            self.signed_on = self.medium.sign_on()
        self.pending = GXByteBuffer()
        self.tags: set[str] = set()
        """First octets of the APDUs sent and received in the wrapper."""

    def _client(self) -> Any:
        job = self.job
        return GXDLMSSecureClient(
            self.logical_names, job["client"], 1, Authentication(job["mechanism"]),
            bytearray.fromhex(job.get("secret", "")) or None,
            InterfaceType.HDLC if self.hdlc else InterfaceType.WRAPPER,
        )  # fmt: skip

    def _address(self) -> None:
        """HDLC: "hdlc" one octet, "hdlc-2" and "hdlc-4" with a physical address as well."""
        octets = self.job.get("address_octets", 0)
        if octets:
            self.client.serverAddressSize = octets
            self.client.serverAddress = self.client.getServerAddress(
                1, self.job.get("physical", 17), octets
            )
        for name, value in self.job.get("hdlc", {}).items():
            setattr(self.client.hdlcSettings, name, value)

    def _terms(self) -> None:
        client, job = self.client, self.job
        client.maxReceivePDUSize = job.get("pdu_size", 0xFFFF)
        client.useProtectedRelease = job.get("release", "protected") == "protected"
        for name in job.get("conformance", ()):
            client.proposedConformance |= getattr(Conformance, name)
        for name in job.get("without", ()):
            client.proposedConformance &= ~getattr(Conformance, name)
        if "gbt_window" in job:
            client.gbtWindowSize = job["gbt_window"]

    def _keys(self) -> None:
        client, job = self.client, self.job
        ciphering = client.ciphering
        if "title" in job:
            ciphering.systemTitle = bytes.fromhex(job["title"])
        if "ek" in job:
            ciphering.blockCipherKey = bytes.fromhex(job["ek"])
            ciphering.authenticationKey = bytes.fromhex(job["ak"])
            ciphering.securitySuite = SecuritySuite(job.get("suite", 0))
            ciphering.invocationCounter = job["counter"]
        if job.get("ciphered"):
            ciphering.security = Security(job.get("security", 0x30))
        if "dedicated" in job:
            ciphering.dedicatedKey = bytes.fromhex(job["dedicated"])
        if "signing" in job:
            choose_curve(job["suite"])
            # Without the 04 in front it would lose the last octet of the point (gurux 1.0.203).
            public = GXPublicKey.fromRawBytes(b"\x04" + bytes.fromhex(job["peer_signing"]))
            private = GXPrivateKey.fromRawBytes(bytes.fromhex(job["signing"]))
            ciphering.signingKeyPair = (public, private)
            client.settings.useCustomChallenge = True
            client.settings.ctoSChallenge = bytearray(range(32))  # its own would be too short

    # Exchanges

    def send(self, frames: Any, reply: GXReplyData | None = None) -> GXReplyData:
        """Send what Gurux made, in turn, and let it read the answers; the last one."""
        reply = reply or GXReplyData()
        for frame in frames if isinstance(frames, list) else [frames]:
            if isinstance(frame, list):
                self.send(frame, reply)
                continue
            reply.clear()
            self._exchange(frame, reply)
            while reply.isMoreData():
                if reply.isStreaming() and reply.moreData == RequestTypes.GBT:
                    self._listen(reply)
                    continue
                if not self.logical_names:
                    # It forgets what it asks the next block of.
                    self.client.settings.command = Command.READ_REQUEST
                self._exchange(self.client.receiverReady(reply), reply)
        return reply

    def _exchange(self, frame: Any, reply: GXReplyData) -> None:
        if not frame:
            return
        if not self.hdlc:
            self.tags.add(f"{frame[8]:02X}")
        self.medium.send(bytes(frame))
        self._listen(reply)

    def _listen(self, reply: GXReplyData) -> None:
        notify = GXReplyData()
        while not self.client.getData(self.pending, reply, notify):
            data = self.medium.receive()
            if not self.hdlc and not len(self.pending) and len(data) > 8:
                self.tags.add(f"{data[8]:02X}")
            self.pending.set(data)
        self.pending.trim()
        if reply.error:
            raise RuntimeError(f"error {int(reply.error)}")

    # Associations

    def associate(self) -> None:
        client = self.client
        if self.hdlc:
            reply = self.send(client.snrmRequest())
            client.parseUAResponse(reply.data)
        reply = self.send(client.aarqRequest())
        client.parseAareResponse(reply.data)
        if self.job["mechanism"] <= int(Authentication.LOW):
            return
        if self.logical_names:
            request = client.getApplicationAssociationRequest()
        else:
            request = self._hls_by_read()
        reply = self.send(request)
        client.parseApplicationAssociationResponse(reply.data)

    def _hls_by_read(self) -> Any:
        """Its proof in a parameterised Read: the Write it would send has no answer to check."""
        client = self.client
        cipher, settings = client.settings.cipher, client.settings
        secrets: dict[Any, Callable[[], Any]] = {
            Authentication.HIGH_GMAC: lambda: cipher.systemTitle,
            Authentication.HIGH_SHA256: lambda: (
                bytes(settings.password) + bytes(cipher.systemTitle)
                + bytes(settings.sourceSystemTitle) + bytes(settings.stoCChallenge)
                + bytes(settings.ctoSChallenge)
            ),
        }  # fmt: skip
        secret = secrets.get(settings.authentication, lambda: settings.password)()
        proof = GXSecure.secure(
            settings, cipher, cipher.invocationCounter, settings.getStoCChallenge(), secret
        )
        cipher.invocationCounter += 1
        data: Any = GXByteBuffer()
        data.set(bytes([1, 0x09, len(proof)]) + bytes(proof))
        return client._read(REPLY_TO_HLS_SN, 12, 1, data)

    def release(self) -> None:
        client = self.client
        if not self.logical_names:
            # By short names it would cipher the RLRQ as if that were a service (gurux 1.0.203).
            client.settings.setUseLogicalNameReferencing(True)
        if self.job.get("release") != "none":
            self.send(client.releaseRequest())
        if self.hdlc:
            self.send(client.disconnectRequest(True))

    def close(self) -> None:
        self.medium.close()
