"""A resident gurux-dlms client (GPL-2.0, a test dependency only): JSON jobs in, results out.

A job names a port, a framing and a way to associate; it reads, writes and acts over a TCP
connection. What Gurux itself cannot do ends in a result `failed`, never in the end of the process.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import socket
import sys
from typing import Any

from gurux_dlms import GXByteBuffer, GXDateTime, GXReplyData
from gurux_dlms.ecdsa.GXPrivateKey import GXPrivateKey
from gurux_dlms.ecdsa.GXPublicKey import GXPublicKey
from gurux_dlms.enums import Authentication, DataType, InterfaceType, Security
from gurux_dlms.objects import (
    GXDLMSClock,
    GXDLMSData,
    GXDLMSDisconnectControl,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)
from gurux_dlms.objects.enums import SecuritySuite
from gurux_dlms.secure import GXDLMSSecureClient


class Peer:
    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.hdlc = job.get("framing") == "hdlc"
        client = GXDLMSSecureClient(
            not job.get("names"), job["client"], 1, Authentication(job["mechanism"]),
            bytearray.fromhex(job.get("secret", "")) or None,
            InterfaceType.HDLC if self.hdlc else InterfaceType.WRAPPER,
        )  # fmt: skip
        client.maxReceivePDUSize = job.get("pdu_size", 0xFFFF)
        client.useProtectedRelease = True
        ciphering = client.ciphering
        if "title" in job:
            ciphering.systemTitle = bytes.fromhex(job["title"])
        if "ek" in job:
            ciphering.blockCipherKey = bytes.fromhex(job["ek"])
            ciphering.authenticationKey = bytes.fromhex(job["ak"])
            ciphering.securitySuite = SecuritySuite(job.get("suite", 0))
            ciphering.invocationCounter = job["counter"]
        if job.get("ciphered"):
            ciphering.security = Security.AUTHENTICATION_ENCRYPTION
        if "signing" in job:
            public = GXPublicKey.fromRawBytes(bytes.fromhex(job["peer_signing"]))
            private = GXPrivateKey.fromRawBytes(bytes.fromhex(job["signing"]))
            ciphering.signingKeyPair = (public, private)
            client.settings.useCustomChallenge = True
            client.settings.ctoSChallenge = bytearray(range(32))  # its own would be too short
        # Its block transfer reads an attribute that its settings never had.
        type(client.settings).blockNumber = property(lambda settings: settings.blockIndex)
        self.client = client
        self.socket = socket.create_connection(("127.0.0.1", job["port"]), 10)
        self.socket.settimeout(60)

    def send(self, frames: Any, reply: GXReplyData) -> None:
        for frame in frames if isinstance(frames, list) else [frames]:
            if isinstance(frame, list):
                self.send(frame, reply)
                continue
            reply.clear()
            self.one(frame, reply)
            while reply.isMoreData():
                self.one(self.client.receiverReady(reply), reply)

    def one(self, frame: Any, reply: GXReplyData) -> None:
        if not frame:
            return
        self.socket.sendall(bytes(frame))
        received, notify = GXByteBuffer(), GXReplyData()
        while not self.client.getData(received, reply, notify):
            data = self.socket.recv(65_536)
            if not data:
                raise RuntimeError("the meter closed the connection")
            received.set(data)
        if reply.error:
            raise RuntimeError(f"error {reply.error}")

    def name(self, item: Any) -> Any:
        item.shortName = self.job.get("names", {}).get(item.logicalName, 0)
        return item

    def read(self, item: Any, attribute: int) -> Any:
        reply = GXReplyData()
        self.send(self.client.read(self.name(item), attribute), reply)
        return self.client.updateValue(item, attribute, reply.value)

    def associate(self) -> None:
        reply = GXReplyData()
        if self.hdlc:
            self.send(self.client.snrmRequest(), reply)
            self.client.parseUAResponse(reply.data)
        self.send(self.client.aarqRequest(), reply)
        self.client.parseAareResponse(reply.data)
        if self.job["mechanism"] > 1:
            self.send(self.client.getApplicationAssociationRequest(), reply)
            self.client.parseApplicationAssociationResponse(reply.data)

    def run(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        self.associate()
        out["associated"] = True
        for work in self.job["work"]:
            out[work] = getattr(self, f"do_{work}")()
        reply = GXReplyData()
        if self.hdlc:
            self.send(self.client.disconnectRequest(True), reply)
        else:
            self.send(self.client.releaseRequest(), reply)
        out["released"] = True
        return out

    def do_clock(self) -> str:
        value: str = self.read(GXDLMSClock("0.0.1.0.0.255"), 2).value.isoformat()
        return value

    def do_register(self) -> list[Any]:
        register = GXDLMSRegister("1.0.1.8.0.255")
        self.read(register, 3)
        return [float(self.read(register, 2)), int(register.unit)]

    def do_objects(self) -> int:
        reply = GXReplyData()
        self.send(self.client.getObjectsRequest(), reply)
        return len(self.client.parseObjects(reply.data, True))

    def _profile(self) -> GXDLMSProfileGeneric:
        profile = self.name(GXDLMSProfileGeneric("1.0.99.1.0.255"))
        self.read(profile, 3)
        return profile

    def do_range(self) -> list[Any]:
        profile, reply = self._profile(), GXReplyData()
        start = GXDateTime(dt.datetime.fromisoformat(self.job["since"]))
        end = GXDateTime(dt.datetime.fromisoformat(self.job["until"]))
        self.send(self.client.readRowsByRange(profile, start, end), reply)
        rows = self.client.updateValue(profile, 2, reply.value)
        return [len(rows), rows[0][0].value.isoformat(), int(rows[-1][2])]

    def do_entry(self) -> list[Any]:
        profile, reply = self._profile(), GXReplyData()
        self.send(self.client.readRowsByEntry(profile, 3, 7), reply)
        rows = self.client.updateValue(profile, 2, reply.value)
        return [len(rows), rows[0][0].value.isoformat()]

    def do_set(self) -> int:
        limit = self.name(GXDLMSRegister("1.0.0.4.128.255"))
        before = int(self.read(limit, 2))
        limit.value = before + 1
        limit.setDataType(2, DataType.UINT16)
        self.send(self.client.write(limit, 2), GXReplyData())
        return int(self.read(limit, 2)) - before

    def do_action(self) -> bool:
        breaker = self.name(GXDLMSDisconnectControl("0.0.96.3.10.255"))
        self.send(self.client.method(breaker, 1, 0, DataType.INT8), GXReplyData())
        return True

    def do_list(self) -> int:
        pairs = [
            (self.name(GXDLMSRegister("1.0.1.8.0.255")), 2),
            (self.name(GXDLMSClock("0.0.1.0.0.255")), 2),
            (self.name(GXDLMSRegister("1.0.2.8.0.255")), 2),
        ]
        reply = GXReplyData()
        self.send(self.client.readList(pairs), reply)
        return len(reply.value)


def pushed(job: dict[str, Any]) -> dict[str, Any]:
    """What Gurux makes of the octets of a push."""
    client = GXDLMSSecureClient(True, 102, 1, Authentication.NONE, None, InterfaceType.WRAPPER)
    if "ek" in job:
        client.ciphering.blockCipherKey = bytes.fromhex(job["ek"])
        client.ciphering.authenticationKey = bytes.fromhex(job["ak"])
    reply, notify = GXReplyData(), GXReplyData()
    client.getData(GXByteBuffer(bytes.fromhex(job["push"])), reply, notify)
    value = notify.value if notify.value is not None else reply.value
    return {"values": [str(v) for v in value]}


def reported(job: dict[str, Any]) -> dict[str, Any]:
    """What Gurux makes of an event notification of a known Data object."""
    client = GXDLMSSecureClient(True, 1, 1, Authentication.NONE, None, InterfaceType.WRAPPER)
    known = GXDLMSData(job["object"])
    values: list[Any] = []
    # Gurux 1.0.203 makes the event of the wrong arguments, which reads and misses what follows.
    known.settings = client.settings
    known.setValue = lambda _settings, event: values.append(event.value)
    client.settings.objects.append(known)
    if "ek" in job:
        client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
        client.ciphering.blockCipherKey = bytes.fromhex(job["ek"])
        client.ciphering.authenticationKey = bytes.fromhex(job["ak"])
        client.settings.sourceSystemTitle = bytes.fromhex(job["meter"])
    reply, notify = GXReplyData(), GXReplyData()
    client.getData(GXByteBuffer(bytes.fromhex(job["report"])), reply, notify)
    found: list[Any] = []
    client.parseReport(notify if notify.command else reply, found)
    (item, attribute), *_ = found
    return {"object": item.logicalName, "attribute": attribute, "value": values[0]}


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        result: dict[str, Any]
        peer: Peer | None = None
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                if "report" in job:
                    result = reported(job)
                elif "push" in job:
                    result = pushed(job)
                else:
                    peer = Peer(job)
                    result = peer.run()
            except Exception as error:  # noqa: BLE001 - whatever the peer raises is its result
                result = {"failed": f"{type(error).__name__}: {error}"}
            finally:
                if peer is not None:
                    peer.socket.close()
        print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
