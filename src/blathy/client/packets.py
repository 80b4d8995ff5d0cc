"""Packet captures (pcap, pcapng): the octets of every conversation in the order they were sent.

Ethernet (with VLAN tags and PPPoE), Linux cooked (both versions), loopback and raw IP; IPv4 and
IPv6, fragments too. Segments of TCP are put in order, repetitions dropped, and what the capture
lacks is counted. Conversations of other protocols in the same capture are left out and counted.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from blathy.client.chunk import CaptureError, Chunk

DLMS_PORTS: Final = frozenset({4059, 4060, 4061})
PCAP_MAGIC: Final = {
    b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<",
    b"\xa1\xb2\xc3\xd4": ">", b"\xa1\xb2\x3c\x4d": ">",
}  # fmt: skip
PCAPNG_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
ETHERNET: Final = 1
RAW_IP: Final = 101
_PLAIN_LINK: Final = {0: 4, 12: 0, 14: 0, 101: 0, 108: 4, 113: 16, 276: 20, 228: 0, 229: 0}
"""Link type -> octets before the IP header."""
_USER_LINKS: Final = range(147, 163)  # no packets but whatever the user captured: frames
_VLAN: Final = frozenset({b"\x81\x00", b"\x88\xa8", b"\x91\x00"})
_IP_TYPES: Final = frozenset({b"\x08\x00", b"\x86\xdd"})
_PPPOE: Final = b"\x88\x64"
_TCP: Final = 6
_UDP: Final = 17
_V6_OPTIONS: Final = frozenset({0, 43, 60})
_V6_FRAGMENT: Final = 44
_WAITING_MAX: Final = 256  # segments behind a hole
_FRAGMENTED_MAX: Final = 256  # IP packets in pieces at a time


class Packet(NamedTuple):
    """One packet as captured; `cut` octets of its end were not kept (the snap length)."""

    link: int
    data: bytes
    cut: int = 0


class _Datagram(NamedTuple):
    """The payload of an IP packet."""

    protocol: int
    source: bytes
    target: bytes
    body: bytes
    cut: int


def is_capture(data: bytes) -> bool:
    """Whether this is the content of a pcap or pcapng file."""
    return data[:4] in PCAP_MAGIC or data[:4] == PCAPNG_MAGIC


def chunks_of(data: bytes) -> list[Chunk]:
    """The conversations of a pcap or pcapng file; CaptureError where it holds none."""
    reader = _pcapng(data) if data[:4] == PCAPNG_MAGIC else _pcap(data)
    return conversations(reader)


def _pcap(data: bytes) -> Iterator[Packet | str]:
    order = PCAP_MAGIC[data[:4]]
    if len(data) < 24:
        return
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF
    position = 24
    while position + 16 <= len(data):
        size, sent = struct.unpack_from(order + "II", data, position + 8)
        position += 16
        if position + size > len(data):
            yield Packet(link, data[position:], max(sent - (len(data) - position), 0))
            yield _BREAKS_OFF
            return
        yield Packet(link, data[position : position + size], max(sent - size, 0))
        position += size
    if position < len(data):
        yield _BREAKS_OFF


_BREAKS_OFF: Final = "the capture file breaks off in the middle of a packet"


def _pcapng(data: bytes) -> Iterator[Packet | str]:
    order, position = "<", 0
    links: list[int] = []
    while position + 12 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, position)
        if kind == 0x0A0D0D0A:
            order = "<" if data[position + 8 : position + 12] == b"\x4d\x3c\x2b\x1a" else ">"
            size = struct.unpack_from(order + "I", data, position + 4)[0]
            links = []
        if size < 12 or position + size > len(data):
            yield _BREAKS_OFF
            return
        block = data[position + 8 : position + size - 4]
        position += size
        if kind == 1 and len(block) >= 2:
            links.append(struct.unpack_from(order + "H", block)[0])
        elif kind in {2, 6} and len(block) >= 20:
            shape = "I8xII" if kind == 6 else "H2x8xII"
            interface, captured, sent = struct.unpack_from(order + shape, block)
            link = links[interface] if interface < len(links) else ETHERNET
            kept = block[20 : 20 + captured]
            yield Packet(link, kept, max(sent - len(kept), 0))
        elif kind == 3 and links and len(block) >= 4:
            sent = struct.unpack_from(order + "I", block)[0]
            kept = block[4 : 4 + sent]
            yield Packet(links[0], kept, max(sent - len(kept), 0))


def link_of(data: bytes) -> int | None:
    """Which link type octets without a capture header have, e.g. those of a text dump; None where
    they are no packet at all."""
    if _is_ip(data):
        return RAW_IP
    start = _ethernet_payload(data)
    return ETHERNET if start is not None and _is_ip(data[start:]) else None


def _is_ip(data: bytes) -> bool:
    if len(data) >= 20 and data[0] >> 4 == 4:
        head = (data[0] & 15) * 4
        if not 20 <= head <= int.from_bytes(data[2:4], "big") or len(data) < head:
            return False
        total = sum(struct.unpack_from(f">{head // 2}H", data))
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        return bool(total == 0xFFFF)
    if len(data) >= 48 and data[0] >> 4 == 6:
        return int.from_bytes(data[4:6], "big") + 40 >= len(data) and data[6] in {6, 17, 0, 44, 60}
    return False


def _ethernet_payload(packet: bytes) -> int | None:
    """Where the IP header begins; None for what is no IP."""
    at = 12
    while packet[at : at + 2] in _VLAN:
        at += 4
    kind = packet[at : at + 2]
    if kind == _PPPOE:
        return at + 10
    return at + 2 if kind in _IP_TYPES else None


class _Internet:
    """IP packets without their headers; keeps the fragments of those that came in pieces."""

    def __init__(self) -> None:
        self._pieces: dict[tuple[bytes, bytes, int], dict[int, bytes]] = {}
        self._ends: dict[tuple[bytes, bytes, int], int] = {}

    def take(self, packet: Packet) -> _Datagram | None:
        start = _PLAIN_LINK.get(packet.link)
        if packet.link == ETHERNET:
            start = _ethernet_payload(packet.data)
        if start is None:
            return None
        ip = packet.data[start:]
        if len(ip) >= 20 and ip[0] >> 4 == 4:
            return self._v4(ip, packet.cut)
        if len(ip) >= 40 and ip[0] >> 4 == 6:
            return self._v6(ip, packet.cut)
        return None

    def _v4(self, ip: bytes, cut: int) -> _Datagram | None:
        said = int.from_bytes(ip[2:4], "big") or len(ip) + cut  # 0: left to the network card
        head = (ip[0] & 15) * 4
        found = _Datagram(ip[9], ip[12:16], ip[16:20], ip[head:said], max(said - len(ip), 0))
        flags = int.from_bytes(ip[6:8], "big")
        if flags & 0x3FFF:
            number = int.from_bytes(ip[4:6], "big")
            return self._join(found, number, (flags & 0x1FFF) * 8, more=bool(flags & 0x2000))
        return found

    def _v6(self, ip: bytes, cut: int) -> _Datagram | None:
        said = 40 + int.from_bytes(ip[4:6], "big") if ip[4:6] != b"\0\0" else len(ip) + cut
        kind, at = ip[6], 40
        while kind in _V6_OPTIONS and at + 8 <= len(ip):
            kind, at = ip[at], at + (ip[at + 1] + 1) * 8
        if kind != _V6_FRAGMENT or at + 8 > len(ip):
            return _Datagram(kind, ip[8:24], ip[24:40], ip[at:said], max(said - len(ip), 0))
        flags = int.from_bytes(ip[at + 2 : at + 4], "big")
        number = int.from_bytes(ip[at + 4 : at + 8], "big")
        found = _Datagram(ip[at], ip[8:24], ip[24:40], ip[at + 8 : said], 0)
        return self._join(found, number, flags & 0xFFF8, more=bool(flags & 1))

    def _join(self, one: _Datagram, number: int, at: int, *, more: bool) -> _Datagram | None:
        key = (one.source, one.target, number)
        if key not in self._pieces and len(self._pieces) >= _FRAGMENTED_MAX:
            oldest = next(iter(self._pieces))
            del self._pieces[oldest]
            self._ends.pop(oldest, None)
        pieces = self._pieces.setdefault(key, {})
        pieces[at] = one.body
        if not more:
            self._ends[key] = at + len(one.body)
        whole = b""
        while len(whole) in pieces and pieces[len(whole)]:
            whole += pieces[len(whole)]
        if len(whole) != self._ends.get(key, -1):
            return None
        del self._pieces[key], self._ends[key]
        return one._replace(body=whole, cut=0)


def _ahead(first: int, second: int) -> int:
    """How far sequence number `first` is ahead of `second`, negative where it is behind."""
    return ((first - second + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000


@dataclass(slots=True)
class _Flow:
    """One direction of a TCP connection, put into order."""

    conversation: str
    expected: int | None = None
    waiting: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    lost: int = 0  # since octets were last handed out

    def take(self, sequence: int, data: bytes, cut: int) -> list[tuple[bytes, int]]:
        """The octets that are next, each with the number of those lost before them."""
        if self.expected is None:
            self.expected = sequence
        known = self.waiting.get(sequence)
        if known is None or len(known[0]) < len(data):
            self.waiting[sequence] = (data, cut)
        ready = self._ready()
        if len(self.waiting) > _WAITING_MAX:
            ready += self.go_on()
        return ready

    def acknowledged(self, number: int) -> list[tuple[bytes, int]]:
        """The other end has everything below `number`: a hole there will not be filled."""
        if not self.waiting or self.expected is None:
            return []
        behind = min(_ahead(sequence, self.expected) for sequence in self.waiting)
        if behind < 0 or _ahead(number, self.expected) <= behind:
            return []
        return self.go_on()

    def go_on(self) -> list[tuple[bytes, int]]:
        """Give the hole up and continue behind it."""
        if not self.waiting or self.expected is None:
            return []
        expected = self.expected
        following = min(self.waiting, key=lambda sequence: _ahead(sequence, expected))
        self.lost += max(_ahead(following, expected), 0)
        self.expected = following
        return self._ready()

    def _ready(self) -> list[tuple[bytes, int]]:
        found: list[tuple[bytes, int]] = []
        assert self.expected is not None
        moved = True
        while moved:
            moved = False
            for sequence in list(self.waiting):
                old = -_ahead(sequence, self.expected)
                if old < 0:
                    continue
                data, cut = self.waiting.pop(sequence)
                fresh = data[old:]
                if len(data) + cut <= old:
                    continue  # a repetition
                if fresh:
                    found.append((fresh, self.lost))
                    self.lost = 0
                self.lost += min(cut, len(data) + cut - old)
                self.expected = (sequence + len(data) + cut) & 0xFFFF_FFFF
                moved = True
        return found


class _Assembler:
    """Turns packets into chunks."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self._internet = _Internet()
        self._flows: dict[tuple[str, str], _Flow] = {}
        self._connections: dict[str, int] = {}

    def take(self, packet: Packet) -> None:
        if packet.link in _USER_LINKS:
            self.chunks.append(Chunk("", packet.data))
            return
        found = self._internet.take(packet)
        if found is None or len(found.body) < 8:
            return
        body = found.body
        source_port, target_port = struct.unpack_from(">HH", body)
        source = _place(found.source, source_port)
        target = _place(found.target, target_port)
        if found.protocol == _UDP and body[8:]:
            name = " - ".join(sorted((source, target)))
            chunk = Chunk(source, body[8:], True, name, _meter(source, target))
            self.chunks.append(chunk)
            if found.cut:
                remark = f"{found.cut} octets of this datagram are not in the capture (snap length)"
                self.chunks.append(replace(chunk, data=b"", remark=remark))
        elif found.protocol == _TCP and len(body) >= 20:
            self._segment(source, target, body, found.cut)

    def _segment(self, source: str, target: str, body: bytes, cut: int) -> None:
        sequence, acknowledged = struct.unpack_from(">II", body, 4)
        flags, data = body[13], body[(body[12] >> 4) * 4 :]
        flow = self._flows.get((source, target))
        begins = bool(flags & 2)
        if begins and (flow is None or flow.expected != (sequence + 1) & 0xFFFF_FFFF):
            flow = self._new(source, target, fresh=not flags & 16)
            flow.expected = (sequence + 1) & 0xFFFF_FFFF
        elif flow is None:
            flow = self._new(source, target, fresh=False)
        if data and not begins:
            self._add(source, target, flow, flow.take(sequence, data, cut))
        other = self._flows.get((target, source))
        if flags & 16 and other is not None:
            self._add(target, source, other, other.acknowledged(acknowledged))

    def _new(self, source: str, target: str, *, fresh: bool) -> _Flow:
        """A flow; `fresh` where a client opens a connection, maybe again between the same ports."""
        name = " - ".join(sorted((source, target)))
        if fresh:
            self._connections[name] = self._connections.get(name, 0) + 1
        count = self._connections.get(name, 1)
        flow = _Flow(name if count == 1 else f"{name} ({count})")
        self._flows[source, target] = flow
        return flow

    def _add(self, source: str, target: str, flow: _Flow, found: list[tuple[bytes, int]]) -> None:
        for data, lost in found:
            meter = _meter(source, target)
            self.chunks.append(Chunk(source, data, False, flow.conversation, meter, lost))

    def finish(self) -> None:
        """What still waits behind holes at the end of the capture."""
        for (source, target), flow in self._flows.items():
            while found := flow.go_on():
                self._add(source, target, flow, found)


def conversations(packets: Iterable[Packet | str]) -> list[Chunk]:
    """The chunks of packets; a text among them is a remark of their source."""
    assembler = _Assembler()
    remarks = []
    for packet in packets:
        if isinstance(packet, str):
            remarks.append(Chunk("", b"", remark=packet))
        else:
            assembler.take(packet)
    assembler.finish()
    if not assembler.chunks:
        raise CaptureError("the capture holds no TCP or UDP data", "check its filter")
    return _of_meters(assembler.chunks) + remarks


def _of_meters(chunks: list[Chunk]) -> list[Chunk]:
    """Those of conversations that look like a meter's; all where none does."""
    likely = {chunk.conversation for chunk in chunks if _looks_like_meter(chunk)}
    others = {chunk.conversation for chunk in chunks} - likely
    if not likely or not others:
        return chunks
    kept = [chunk for chunk in chunks if chunk.conversation in likely]
    count = f"{len(others)} other conversations are" if len(others) > 1 else "another one is"
    return [*kept, Chunk("", b"", remark=f"{count} not shown: no DLMS in it")]


def _looks_like_meter(chunk: Chunk) -> bool:
    data = chunk.data
    if not chunk.conversation or chunk.meter:
        return True
    return (
        data[:1] == b"\x7e"
        or (data[:2] == b"\0\x01" and len(data) > 8 and data[4:6] < b"\x40")
        or (len(data) > 6 and data[0] == data[3] == 0x68 and data[1] == data[2])
        or data[:2] == b"\xdb\x08"
    )


def _meter(source: str, target: str) -> str:
    """The end of a conversation that serves on a port of DLMS; empty where none does."""
    for end in (source, target):
        if int(end.rpartition(":")[2]) in DLMS_PORTS:
            return end
    return ""


def _place(address: bytes, port: int) -> str:
    if len(address) == 4:
        return f"{ipaddress.IPv4Address(address)}:{port}"
    return f"[{ipaddress.IPv6Address(address)}]:{port}"
