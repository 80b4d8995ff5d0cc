"""Octets of conversations from files: hex, our own record files, raw octets, pcap and pcapng.

A record file is text: `> hex` from the client, `< hex` from the meter, `#` a remark. Every source
ends up as `Chunk`s in order: a direction (the sender's name) and octets.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from blathy.transport.errors import MeterError

DLMS_PORTS: Final = frozenset({4059, 4060, 4061})
SIZE_MAX: Final = 64 << 20


class CaptureError(MeterError):
    """A file or text that holds no conversation."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Octets of one sender. `datagram`: they stand alone, nothing continues them."""

    sender: str
    data: bytes
    datagram: bool = False


def load(source: str) -> list[Chunk]:
    """From a hex text, or from a file of any kind named by `source`."""
    path = Path(source)
    try:
        is_file = len(source) < 4096 and path.is_file()
    except OSError:
        is_file = False
    if not is_file:
        try:
            return [Chunk("", from_hex(source))]
        except CaptureError as error:
            what = "file" if re.search(r"[^0-9a-fA-F\s:,]", source) else "hex"
            raise CaptureError(
                f"{source[:60]!r} is neither a file nor hex", f"check the {what}"
            ) from error
    if path.stat().st_size > SIZE_MAX:
        raise CaptureError(f"{path} is larger than {SIZE_MAX >> 20} MiB", "cut a part out of it")
    return from_octets(path.read_bytes())


def from_hex(text: str) -> bytes:
    """Octets of a hex text with blanks, colons, commas, 0x and line ends."""
    digits = re.sub(r"0x|[\s:,;-]", "", text, flags=re.ASCII)
    try:
        data = bytes.fromhex(digits)
    except ValueError as error:
        raise CaptureError("this is not hex", "give two hex digits an octet") from error
    if not data:
        raise CaptureError("there are no octets", "give hex or the name of a file")
    return data


def from_octets(data: bytes) -> list[Chunk]:
    """The content of a file, whatever its kind."""
    if data[:4] in _PCAP_MAGIC:
        return _streams(_pcap(data))
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        return _streams(_pcapng(data))
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        return [Chunk("", data)]
    if re.search(r"^[<>]", text, re.MULTILINE):
        return list(from_record(text))
    return [Chunk("", from_hex(text))]


def from_record(text: str) -> Iterator[Chunk]:
    """The lines of a record file."""
    for line in text.splitlines():
        if line[:1] in {"<", ">"}:
            sender = "client" if line[0] == ">" else "meter"
            yield Chunk(sender, from_hex(line[1:].split("#")[0]))


def to_record(chunks: list[Chunk]) -> str:
    """The text of a record file."""
    return "".join(
        f"{'<' if chunk.sender == 'meter' else '>'} {chunk.data.hex(' ')}\n" for chunk in chunks
    )


# --- packet captures ----------------------------------------------------------------------------

_PCAP_MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<",
    b"\xa1\xb2\xc3\xd4": ">", b"\xa1\xb2\x3c\x4d": ">",
}  # fmt: skip
_LINK_HEADER: Final = {0: 4, 1: 14, 12: 0, 101: 0, 108: 4, 113: 16, 276: 20, 228: 0, 229: 0}


def _pcap(data: bytes) -> Iterator[tuple[int, bytes]]:
    order = _PCAP_MAGIC[data[:4]]
    if len(data) < 24:
        return
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    position = 24
    while position + 16 <= len(data):
        size = struct.unpack_from(order + "I", data, position + 8)[0]
        position += 16
        yield link, data[position : position + size]
        position += size


def _pcapng(data: bytes) -> Iterator[tuple[int, bytes]]:
    order, links, position = "<", [], 0
    while position + 12 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, position)
        if kind == 0x0A0D0D0A:
            order = "<" if data[position + 8 : position + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            size = struct.unpack_from(order + "I", data, position + 4)[0]
        if size < 12 or position + size > len(data):
            return
        if kind == 1:
            links.append(struct.unpack_from(order + "H", data, position + 8)[0])
        elif kind == 6 and size >= 32:
            interface, captured = struct.unpack_from(order + "I8xI", data, position + 8)
            link = links[interface] if interface < len(links) else 1
            yield link, data[position + 28 : position + 28 + captured]
        elif kind == 3 and links:
            yield links[0], data[position + 12 : position + size - 4]
        position += size


@dataclass(slots=True)
class _Flow:
    """One direction of a TCP connection, put into order."""

    sender: str
    expected: int | None = None
    waiting: dict[int, bytes] = field(default_factory=dict)

    def take(self, sequence: int, data: bytes) -> bytes:
        if self.expected is None:
            self.expected = sequence
        self.waiting.setdefault(sequence, data)
        ready = bytearray()
        while self.expected in self.waiting:
            piece = self.waiting.pop(self.expected)
            ready += piece
            self.expected = (self.expected + len(piece)) & 0xFFFFFFFF
        if len(self.waiting) > 256:  # the capture has a hole: go on after it
            self.expected = min(self.waiting)
        return bytes(ready)


def _streams(packets: Iterator[tuple[int, bytes]]) -> list[Chunk]:
    flows: dict[tuple[bytes, int, bytes, int], _Flow] = {}
    chunks: list[Chunk] = []
    for link, packet in packets:
        found = _internet(link, packet)
        if found is None:
            continue
        protocol, source, target, body = found
        if len(body) < 8:
            continue
        source_port, target_port = struct.unpack_from(">HH", body)
        sender = f"{_address(source)}:{source_port}"
        if protocol == 17:
            if body[8:]:
                chunks.append(Chunk(sender, body[8:], datagram=True))
        elif len(body) >= 20:
            sequence = struct.unpack_from(">I", body, 4)[0]
            data = body[(body[12] >> 4) * 4 :]
            flow = flows.setdefault((source, source_port, target, target_port), _Flow(sender))
            if body[13] & 2:
                flow.expected = (sequence + 1) & 0xFFFFFFFF
            elif data and (ready := flow.take(sequence, data)):
                chunks.append(Chunk(sender, ready))
    if not chunks:
        raise CaptureError("the capture holds no TCP or UDP data", "check its filter")
    return chunks


def _internet(link: int, packet: bytes) -> tuple[int, bytes, bytes, bytes] | None:
    """Protocol, source, destination and payload of an IPv4 or IPv6 packet."""
    start = _LINK_HEADER.get(link)
    if start is None:
        return None
    if link == 1 and packet[12:14] == b"\x81\x00":
        start += 4
    ip = packet[start:]
    if len(ip) >= 20 and ip[0] >> 4 == 4:
        total = min(int.from_bytes(ip[2:4], "big") or len(ip), len(ip))
        return ip[9], ip[12:16], ip[16:20], ip[(ip[0] & 15) * 4 : total]
    if len(ip) >= 40 and ip[0] >> 4 == 6:
        total = min(40 + int.from_bytes(ip[4:6], "big"), len(ip))
        return ip[6], ip[8:24], ip[24:40], ip[40:total]
    return None


def _address(octets: bytes) -> str:
    return ".".join(map(str, octets)) if len(octets) == 4 else octets.hex()
