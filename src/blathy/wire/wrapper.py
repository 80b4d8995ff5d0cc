"""The wrapper of DLMS/COSEM over TCP and UDP (IEC 62056-4-7).

Eight octets stand before every APDU: version 0001, source wPort, destination wPort and the length
of the APDU, two octets each, most significant first. TCP and UDP use port 4059. There is no
segmentation here: what does not fit the negotiated APDU size is block transfer, one layer up.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError

PORT: Final = 4059
VERSION: Final = 1
HEADER_SIZE: Final = 8
ALL_STATIONS: Final = 0x7F  # as destination: every logical device hears, nobody answers
APDU_SIZE_MAX: Final = 0xFFFF
PACKET_TIMEOUT_S: Final = 10  # a packet that began must be whole by then; slow links need 2 to 5 s

_HEADER = struct.Struct(">HHHH")


@dataclass(frozen=True, slots=True)
class WrapperPacket:
    """One APDU with the wPorts (service access points) between which it travels."""

    source: int
    destination: int
    apdu: bytes

    def reply(self, apdu: bytes) -> WrapperPacket:
        """The packet that carries `apdu` the other way."""
        return WrapperPacket(self.destination, self.source, apdu)

    def encode(self) -> bytes:
        """The octets on the wire; LocalProtocolError where a field does not fit two octets."""
        return encode(self.source, self.destination, self.apdu)


@dataclass(frozen=True, slots=True)
class PacketTimeout:
    """A packet began and stayed incomplete; the stream can't be trusted after it."""

    octets: int


def encode(source: int, destination: int, apdu: bytes) -> bytes:
    """The packet's octets; LocalProtocolError where a field does not fit two octets."""
    try:
        return _HEADER.pack(VERSION, source, destination, len(apdu)) + apdu
    except struct.error as error:
        raise LocalProtocolError(
            f"wPorts and length have two octets each: {source}, {destination}, {len(apdu)}"
        ) from error


def decode_datagram(data: bytes) -> WrapperPacket:
    """The one packet of a UDP datagram; RemoteProtocolError where header and length disagree."""
    if len(data) < HEADER_SIZE:
        raise RemoteProtocolError(f"a datagram of {len(data)} octets has no wrapper header")
    version, source, destination, length = _HEADER.unpack_from(data)
    if version != VERSION:
        raise RemoteProtocolError(f"wrapper version {version} instead of {VERSION}")
    if length != len(data) - HEADER_SIZE:
        raise RemoteProtocolError(
            f"the wrapper promises {length} octets, the datagram has {len(data) - HEADER_SIZE}"
        )
    return WrapperPacket(source, destination, data[HEADER_SIZE:])


class WrapperStream:
    """Cuts a TCP stream into packets; client and server use the same one.

    A wrong version means that the stream has lost its place: `receive` hands out what came before
    and raises RemoteProtocolError with the next call; the connection has to be closed. Packets
    without an APDU are skipped.
    """

    __slots__ = ("_began_at", "_buffer", "_failure", "apdu_size_max", "packet_timeout_s")

    def __init__(
        self, apdu_size_max: int = APDU_SIZE_MAX, packet_timeout_s: int = PACKET_TIMEOUT_S
    ) -> None:
        self._buffer: bytearray | None = None  # of a packet that is not complete yet
        self._began_at: Instant | None = None
        self._failure: RemoteProtocolError | None = None
        self.apdu_size_max = apdu_size_max
        self.packet_timeout_s = packet_timeout_s

    @property
    def failure(self) -> RemoteProtocolError | None:
        """Why nothing more can be read from this stream, or None."""
        return self._failure

    def receive(self, data: bytes, now: Instant) -> list[WrapperPacket]:
        """The packets that `data` completes."""
        if self._failure is not None:
            raise self._failure
        buffer: bytes | bytearray = data
        if self._buffer is not None:
            self._buffer += data
            buffer = self._buffer
        packets: list[WrapperPacket] = []
        position, size = 0, len(buffer)
        while size - position >= HEADER_SIZE:
            version, source, destination, length = _HEADER.unpack_from(buffer, position)
            if version != VERSION or length > self.apdu_size_max:
                self._failure = self._fault(version, length)
                position = size
                break
            end = position + HEADER_SIZE + length
            if end > size:
                break
            if length:
                apdu = bytes(buffer[position + HEADER_SIZE : end])
                packets.append(WrapperPacket(source, destination, apdu))
            position = end
        if position:
            self._began_at = None
        if position == size:
            self._buffer = None
        elif self._buffer is None or position:
            self._buffer = bytearray(buffer[position:])
        if self._buffer is None:
            self._began_at = None
        elif self._began_at is None:
            self._began_at = now
        if self._failure is not None and not packets:
            raise self._failure
        return packets

    def _fault(self, version: int, length: int) -> RemoteProtocolError:
        if version != VERSION:
            return RemoteProtocolError(f"wrapper version {version} instead of {VERSION}")
        return RemoteProtocolError(
            f"an APDU of {length} octets is longer than the {self.apdu_size_max} agreed"
        )

    def send(self, packet: WrapperPacket) -> bytes:
        """The octets of a packet."""
        return packet.encode()

    def deadline(self) -> Instant | None:
        """When a packet that has begun must be complete."""
        if self._began_at is None:
            return None
        return Instant(self._began_at + self.packet_timeout_s * NANOSECONDS_PER_S)

    def tick(self, now: Instant) -> list[PacketTimeout]:
        """Give up on a packet that stayed incomplete past its deadline."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return []
        octets = len(self._buffer or b"")
        self._buffer = None
        self._began_at = None
        self._failure = RemoteProtocolError(f"a packet stopped after {octets} octets")
        return [PacketTimeout(octets)]
