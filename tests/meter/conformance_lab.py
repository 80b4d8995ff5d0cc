"""The bench of the conformance tests: a real meter on real ports, and a client of bare octets.

Nothing of the stack under test is used to build or read a frame: the check sequence, the frames,
the packets and the ciphering are written out here once more, as short as they go. Silence is
proved without waiting: what must stay unanswered is followed by something that must be answered.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blathy.meter.meter import Meter
from blathy.meter.readout import sign_on_server
from blathy.transport.dlms_session import DlmsSession, serve_dlms, serve_dlms_datagrams
from blathy.transport.serial_line import SerialLine
from blathy.transport.serving import serve_line
from blathy.transport.session import Endpoint
from blathy.wire.server import LogicalDevice
from tests.loop_thread import LoopThread

PATIENCE_S = 120.0
PHYSICAL = 17
"""The HDLC lower address of the meter on the bench; logical device 1."""
STRANGER = 99
"""A client address that nobody has; the bench asks through it whether the meter still listens."""

LN_CONTEXT = "A109060760857405080101"
SN_CONTEXT = "A109060760857405080102"
LN_CIPHERED = "A109060760857405080103"


# --- the meter on its ports -----------------------------------------------------------------------


@dataclass
class Bench:
    """One meter, reached in every way that it has."""

    meter: Meter
    device: LogicalDevice
    tcp: int = 0
    udp: int = 0
    line: int = -1
    """File descriptor of the reading head on the serial port."""


@contextmanager
def bench(meter: Meter) -> Iterator[Bench]:
    """Serve `meter` over TCP (wrapper, HDLC and sign-on), over UDP and on a serial port."""
    there = LoopThread()
    found = Bench(meter, meter.logical_device())
    head, tail = os.openpty()
    tty.setraw(head)
    tty.setraw(tail)

    def lookup(_endpoint: Endpoint, server: int, physical: int | None) -> LogicalDevice | None:
        return found.device if server == 1 and physical in {None, PHYSICAL} else None

    async def begin() -> list[Any]:
        tcp, found.tcp = await serve_dlms(
            lookup, "127.0.0.1", 0, sign_on=lambda _endpoint: sign_on_server(meter)
        )
        udp, found.udp = await serve_dlms_datagrams(lookup, "127.0.0.1", 0)
        line = await SerialLine.connect(os.ttyname(tail))
        endpoint = Endpoint("serial", 0, "reader", 0)
        session = DlmsSession(endpoint, lambda data: line.send(data), lookup)
        task = there.loop.create_task(serve_line(line, session))
        return [tcp, udp, task]

    async def end(tcp: Any, udp: Any, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await tcp.stop()
        await udp.stop()

    started = there.run(begin())
    found.line = head
    try:
        yield found
    finally:
        there.run(end(*started))
        there.end()
        os.close(head)
        os.close(tail)


# --- HDLC -----------------------------------------------------------------------------------------

ONE = bytes((0x03,))
"""Server address 1 in one octet."""
TWO = bytes((0x02, 0x23))
"""Logical device 1, physical device 17 in two octets."""
FOUR = bytes((0x00, 0x02, 0x00, 0x23))

SNRM, DISC, RR, RNR, UI = 0x93, 0x53, 0x11, 0x15, 0x13
COMMAND, RESPONSE = bytes.fromhex("E6E600"), bytes.fromhex("E6E700")


def check(octets: bytes) -> bytes:
    """CRC-16/X-25, bit by bit, low octet first."""
    register = 0xFFFF
    for octet in octets:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0x8408 if register & 1 else 0)
    register ^= 0xFFFF
    return bytes((register & 0xFF, register >> 8))


def frame(
    control: int, information: bytes = b"", *, client: int | bytes = 16, server: bytes = ONE,
    more: bool = False, kind: int = 0xA, surplus: int = 0,
) -> bytes:  # fmt: skip
    """A frame of the client with its flags; `surplus` falsifies the length that it claims."""
    source = client if isinstance(client, bytes) else bytes((client << 1 | 1,))
    size = 2 + len(server) + len(source) + 1 + 2 + (len(information) + 2 if information else 0)
    first = kind << 12 | (0x800 if more else 0) | size + surplus
    body = first.to_bytes(2, "big") + server + source + bytes((control,))
    if information:
        body += check(body) + information
    return b"\x7e" + body + check(body) + b"\x7e"


def data(
    send: int, receive: int, information: bytes, *, poll: bool = True, more: bool = False,
    **addresses: Any,
) -> bytes:  # fmt: skip
    """An I frame."""
    control = receive << 5 | (0x10 if poll else 0) | send << 1
    return frame(control, information, more=more, **addresses)


@dataclass
class Seen:
    """A frame of the meter."""

    destination: bytes
    source: bytes
    control: int
    information: bytes
    more: bool

    @property
    def text(self) -> str:
        """What it is, as a conformance report writes it: `UA`, `RR 2`, `I 0 1`, `FRMR`, …; frames
        without the F bit have a minus behind them, segments a plus."""
        control = self.control
        receive, send = control >> 5, control >> 1 & 7
        if not control & 1:
            name = f"I {send} {receive}"
        elif control & 0x0F in {0x01, 0x05}:
            name = ("RR " if control & 0x0F == 1 else "RNR ") + str(receive)
        else:
            names = {0x63: "UA", 0x0F: "DM", 0x87: "FRMR", 0x03: "UI"}
            name = names.get(control & 0xEF, f"?{control:02X}")
        return name + ("" if control & 0x10 else " -") + (" +" if self.more else "")


def _address_end(octets: bytes, start: int) -> int:
    end = start
    while not octets[end] & 1:
        end += 1
    return end + 1


def split(stream: bytes) -> tuple[list[Seen], bytes]:
    """Frames of a stream, every one checked, and the octets that are left."""
    found = []
    while len(stream) > 2:
        assert stream[0] == 0x7E, stream.hex()
        assert stream[1] & 0xF0 == 0xA0, stream.hex()
        size = (stream[1] & 7) << 8 | stream[2]
        if len(stream) < size + 2:
            break
        body, closing = stream[1 : size + 1], stream[size + 1]
        assert closing == 0x7E
        assert check(body[:-2]) == body[-2:]
        source = _address_end(body, 2)
        control = _address_end(body, source)
        information = b""
        if len(body) > control + 3:
            assert check(body[: control + 1]) == body[control + 1 : control + 3]
            information = body[control + 3 : -2]
            assert information, "no HCS without an information field"
        found.append(
            Seen(body[2:source], body[source:control], body[control], information,
                 bool(body[0] & 8))
        )  # fmt: skip
        stream = stream[size + 2 :]
    return found, stream


def _to_stranger(seen: Seen) -> bool:
    return seen.destination == bytes((STRANGER << 1 | 1,)) and seen.text == "DM"


class HdlcHead:
    """A reading head: octets out, frames in, over TCP or a serial port."""

    def __init__(self, found: Bench, over: str = "tcp") -> None:
        self._socket: socket.socket | None = None
        self._line = found.line
        self._rest = b""
        if over == "tcp":
            self._socket = socket.create_connection(("127.0.0.1", found.tcp), PATIENCE_S)

    def send(self, octets: bytes) -> None:
        if self._socket is not None:
            self._socket.sendall(octets)
        else:
            os.write(self._line, octets)

    def _read(self) -> bytes:
        if self._socket is not None:
            return self._socket.recv(65536)
        ready, _, _ = select.select([self._line], [], [], PATIENCE_S)
        assert ready, "the meter stays silent"
        return os.read(self._line, 65536)

    def frames(self, count: int) -> list[Seen]:
        """The next frames, at least `count` of them."""
        found: list[Seen] = []
        until = time.monotonic() + PATIENCE_S
        while len(found) < count:
            assert time.monotonic() < until, f"{len(found)} frames of {count}"
            octets = self._read()
            assert octets, "the meter has hung up"
            more, self._rest = split(self._rest + octets)
            found += more
        return found

    def ask(self, *octets: bytes) -> list[Seen]:
        """Everything that the meter answers to these frames."""
        found: list[Seen] = []
        # Answers to APDUs may follow the answer to a frame that came with them: ask once more.
        for sent in (b"".join(octets), b""):
            self.send(sent + frame(DISC, client=STRANGER))
            before = sum(map(_to_stranger, found))
            while sum(map(_to_stranger, found)) == before:
                found += self.frames(1)
        return [seen for seen in found if not _to_stranger(seen)]

    def told(self, *octets: bytes) -> list[str]:
        return [seen.text for seen in self.ask(*octets)]

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        else:
            self.ask(frame(DISC), frame(DISC, server=TWO), frame(DISC, server=FOUR))


@dataclass
class HdlcLink:
    """APDUs over one HDLC link of that head: `ask` gives every APDU that answers."""

    head: HdlcHead
    client: int
    send: int = 0
    receive: int = 0

    def open(self) -> None:
        (answer,) = self.head.ask(frame(SNRM, client=self.client))
        assert answer.text == "UA"
        self.send = self.receive = 0

    def ask(self, apdu: bytes) -> list[bytes]:
        out = self._data(COMMAND + apdu)
        answers: list[bytes] = []
        part = b""
        while True:
            (seen,) = self.head.ask(out)
            if seen.control & 1:
                assert seen.text == f"RR {self.send}", seen.text
                return answers
            assert seen.text.startswith(f"I {self.receive} {self.send}"), seen.text
            self.receive = (self.receive + 1) & 7
            part += seen.information
            if not seen.more:
                assert part[:3] == RESPONSE
                answers.append(part[3:])
                part = b""
            out = frame(RR | self.receive << 5, client=self.client)

    def _data(self, information: bytes) -> bytes:
        out = b""
        size = 128
        parts = [information[at : at + size] for at in range(0, len(information), size)]
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            out = data(self.send, self.receive, part, more=not last, client=self.client)
            self.send = (self.send + 1) & 7
            if not last:
                (seen,) = self.head.ask(out)
                assert seen.text == f"RR {self.send}"
        return out

    def close(self) -> None:
        self.head.ask(frame(DISC, client=self.client))
        self.head.close()


# --- wrapper --------------------------------------------------------------------------------------


def packet(apdu: bytes, client: int = 16, server: int = 1, version: int = 1) -> bytes:
    head = b"".join(n.to_bytes(2, "big") for n in (version, client, server, len(apdu)))
    return head + apdu


@dataclass
class WrapperLink:
    """APDUs over the wrapper; `over` is tcp or udp."""

    found: Bench
    client: int
    over: str = "tcp"
    server: int = 1
    socket: socket.socket = field(init=False)
    _rest: bytes = b""

    def open(self) -> None:
        if self.over == "tcp":
            self.socket = socket.create_connection(("127.0.0.1", self.found.tcp), PATIENCE_S)
            return
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", self.found.udp))

    def put(self, octets: bytes) -> None:
        """Send as it stands."""
        self.socket.sendall(octets)

    def next(self) -> tuple[int, int, bytes]:
        """Source, destination and APDU of the next packet; a datagram holds exactly one."""
        while True:
            if len(self._rest) >= 8:
                version, source, destination, size = (
                    int.from_bytes(self._rest[at : at + 2], "big") for at in range(0, 8, 2)
                )
                assert version == 1
                if len(self._rest) >= 8 + size:
                    apdu, self._rest = self._rest[8 : 8 + size], self._rest[8 + size :]
                    if self.over == "udp":
                        assert not self._rest, "a datagram holds one packet"
                    return source, destination, apdu
            octets = self.socket.recv(65536)
            if not octets:
                raise EOFError
            self._rest += octets

    def packets(self) -> list[tuple[int, int, bytes]]:
        """Everything that is answered to what was sent before."""
        self.put(packet(bytes.fromhex("6200"), STRANGER))
        found = [self.next()]
        while found[-1][1] != STRANGER:
            found.append(self.next())
        assert found[-1][2] == bytes.fromhex("D80101")
        return found[:-1]

    def ask(self, apdu: bytes) -> list[bytes]:
        self.put(packet(apdu, self.client, self.server))
        found = self.packets()
        assert all(each[:2] == (self.server, self.client) for each in found)
        return [each[2] for each in found]

    def ended(self) -> bool:
        """Whether the meter hangs up, without another octet."""
        try:
            return self.socket.recv(65536) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self.socket.close()


Link = HdlcLink | WrapperLink


def link(found: Bench, over: str, client: int) -> Link:
    """A fresh link: over `wrapper`, `udp`, `hdlc` or `serial`."""
    if over in {"wrapper", "udp"}:
        made: Link = WrapperLink(found, client, "tcp" if over == "wrapper" else "udp")
    else:
        made = HdlcLink(HdlcHead(found, "tcp" if over == "hdlc" else "serial"), client)
    made.open()
    return made


def one(made: Link, apdu: str | bytes) -> str:
    """The one APDU that answers, as upper-case hex; empty for silence."""
    answers = made.ask(bytes.fromhex(apdu) if isinstance(apdu, str) else apdu)
    assert len(answers) <= 1, answers
    return answers[0].hex().upper() if answers else ""


# --- ACSE -----------------------------------------------------------------------------------------


def initiate(
    conformance: int | str = 0xFFFFFF, pdu: int = 0xFFFF, *, key: str = "00", allowed: str = "00",
    quality: str = "00", version: int = 6, head: str = "5F1F0400",
) -> str:  # fmt: skip
    """An InitiateRequest as hex."""
    bits = conformance if isinstance(conformance, str) else f"{conformance:06X}"
    return f"01{key}{allowed}{quality}{version:02X}{head}{bits}{pdu:04X}"


def tlv(tag: int, content: str) -> str:
    size = len(content) // 2
    length = f"{size:02X}" if size < 128 else f"81{size:02X}" if size < 256 else f"82{size:04X}"
    return f"{tag:02X}{length}{content}"


def aarq(
    user: str, *, context: str = LN_CONTEXT, before: str = "", title: str = "",
    mechanism: int | None = None, password: bytes | None = None, after: str = "",
) -> str:  # fmt: skip
    """An AARQ as hex; `before` and `after` are fields as they stand."""
    content = before + context
    if title:
        content += tlv(0xA6, tlv(0x04, title))
    content += after
    if mechanism is not None:
        content += "8A020780" + f"8B07608574050802{mechanism:02X}"
    if password is not None:
        content += tlv(0xAC, tlv(0x80, password.hex()))
    if user:
        content += tlv(0xBE, tlv(0x04, user))
    return tlv(0x60, content)


def fields(answer: str) -> dict[int, str]:
    """Tag and content of every field of an ACSE APDU."""
    octets = bytes.fromhex(answer)
    found, at = {}, 2 if octets[1] < 0x80 else 3
    while at < len(octets):
        size = octets[at + 1]
        found[octets[at]] = octets[at + 2 : at + 2 + size].hex().upper()
        at += 2 + size
    return found


def outcome(answer: str) -> str:
    """Result, who says so and why, as `1 user 13`; what is no AARE is shown as it stands."""
    if not answer.startswith("61"):
        return answer
    found = fields(answer)
    result, diagnostic = found[0xA2], found[0xA3]
    who = "user" if diagnostic.startswith("A1") else "provider"
    return f"{int(result[4:], 16)} {who} {int(diagnostic[8:], 16)}"


# --- ciphering ------------------------------------------------------------------------------------


@dataclass
class Cipher:
    """Suite 0 of one client, written out."""

    key: bytes
    authentication: bytes
    title: bytes
    counter: int
    meter_title: bytes

    def wrap(self, tag: int, control: int, plain: bytes, key: bytes | None = None) -> bytes:
        """glo- or ded-: tag, length, security control, invocation counter, what is protected."""
        self.counter += 1
        head = bytes((control,)) + self.counter.to_bytes(4, "big")
        aes = AESGCM(key or self.key)
        nonce = self.title + head[1:]
        if control & 0x30 == 0x30:
            sealed = aes.encrypt(nonce, plain, head[:1] + self.authentication)
            content = sealed[:-4]
        elif control & 0x20:
            content = aes.encrypt(nonce, plain, b"")[:-16]
        else:
            sealed = aes.encrypt(nonce, b"", head[:1] + self.authentication + plain)
            content = plain + sealed[:12]
        return bytes.fromhex(tlv(tag, (head + content).hex()))

    def proof(self, challenge: bytes) -> bytes:
        """f(StoC) of HLS 5."""
        self.counter += 1
        head = b"\x10" + self.counter.to_bytes(4, "big")
        nonce = self.title + head[1:]
        whole = AESGCM(self.key).encrypt(nonce, b"", b"\x10" + self.authentication + challenge)
        return head + whole[:12]

    def unwrap(self, apdu: bytes, key: bytes | None = None) -> bytes:
        """The plain APDU of an answer that is authenticated and encrypted; its tag is checked."""
        at = 2 if apdu[1] < 0x80 else 2 + (apdu[1] & 0x7F)
        control, counter, sealed = apdu[at], apdu[at + 1 : at + 5], apdu[at + 5 :]
        assert control == 0x30
        stream = AESGCM(key or self.key)
        nonce = self.meter_title + counter
        # Tags of DLMS have 12 octets: the plain text comes by the key stream, the tag by sealing it
        # again.
        cut = sealed[:-12]
        plain = bytes(
            a ^ b for a, b in zip(cut, stream.encrypt(nonce, bytes(len(cut)), b""), strict=False)
        )
        again = stream.encrypt(nonce, plain, b"\x30" + self.authentication)
        assert again[:-4] == sealed, "the tag of the answer is wrong"
        return plain
