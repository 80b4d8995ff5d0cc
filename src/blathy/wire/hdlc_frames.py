"""HDLC frames of DLMS/COSEM (IEC 62056-46): check sequence, addresses, what stands between flags.

A frame lies between two flags (7E); its length field, not the flag, decides where it ends, so a 7E
inside is legal and nothing is stuffed.
"""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass
from enum import Enum
from typing import Final

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.wire.errors import LocalProtocolError

FLAG: Final = 0x7E
FRAME_MIN: Final = 7  # octets between the flags: format 2, addresses 2, control 1, FCS 2
LENGTH_MAX: Final = 0x7FF
ALL_STATIONS: Final = {1: 0x7F, 2: 0x7F, 4: 0x3FFF}
CALLING: Final = {2: 0x7E, 4: 0x3FFE}
NS_PER_MS: Final = NANOSECONDS_PER_S // 1000


# --- check sequence -----------------------------------------------------------------------------

_MIRROR: Final = bytes(int(f"{octet:08b}"[::-1], 2) for octet in range(256))


def fcs(data: bytes | bytearray | memoryview) -> bytes:
    """CRC-16/X-25 as it stands on the wire, low octet first.

    The X-25 polynomial runs mirrored; mirroring the octets lets the C routine of the other
    direction do the work.
    """
    crc = crc_hqx(bytes(data).translate(_MIRROR), 0xFFFF) ^ 0xFFFF
    return bytes((_MIRROR[crc >> 8], _MIRROR[crc & 0xFF]))


# --- addresses ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Upper address (logical device), lower address (physical device), octets on the wire."""

    upper: int
    lower: int | None = None
    size: int = 0  # 1, 2 or 4; 0 chooses the smallest that fits

    def __post_init__(self) -> None:
        size = self.size or self._smallest()
        object.__setattr__(self, "size", size)
        limit = 0x3FFF if size == 4 else 0x7F
        if size not in {1, 2, 4} or not 0 <= self.upper <= limit:
            raise LocalProtocolError(f"a {size}-octet HDLC address holds no upper {self.upper}")
        if self.lower is None:
            if size > 1:
                raise LocalProtocolError(f"a {size}-octet HDLC address needs a lower part")
        elif size == 1 or not 0 <= self.lower <= limit:
            raise LocalProtocolError(f"a {size}-octet HDLC address holds no lower {self.lower}")

    def _smallest(self) -> int:
        if self.lower is None:
            return 1 if self.upper <= 0x7F else 4
        return 2 if max(self.upper, self.lower) <= 0x7F else 4

    def encode(self) -> bytes:
        """Seven address bits an octet, the last octet marked by bit 0."""
        upper, lower = self.upper, self.lower or 0
        if self.size == 1:
            return bytes((upper << 1 | 1,))
        if self.size == 2:
            return bytes((upper << 1, lower << 1 | 1))
        parts = (upper >> 7, upper & 0x7F, lower >> 7, lower & 0x7F)
        return bytes((*(part << 1 for part in parts[:3]), parts[3] << 1 | 1))

    @classmethod
    def decode(cls, octets: bytes) -> ServerAddress:
        """From the octets of a frame; LocalProtocolError for a length that does not exist."""
        if len(octets) == 1:
            return cls(octets[0] >> 1, None, 1)
        if len(octets) == 2:
            return cls(octets[0] >> 1, octets[1] >> 1, 2)
        if len(octets) == 4:
            upper = (octets[0] >> 1) << 7 | octets[1] >> 1
            lower = (octets[2] >> 1) << 7 | octets[3] >> 1
            return cls(upper, lower, 4)
        raise LocalProtocolError(f"an HDLC address has 1, 2 or 4 octets, not {len(octets)}")

    @property
    def all_upper(self) -> bool:
        return self.upper == ALL_STATIONS[self.size]

    @property
    def all_lower(self) -> bool:
        return self.lower is not None and self.lower == ALL_STATIONS[self.size]

    @property
    def calling(self) -> bool:
        """Whoever dialled in, whatever its address."""
        return self.lower is not None and self.lower == CALLING[self.size]

    def __str__(self) -> str:
        return str(self.upper) if self.lower is None else f"{self.upper}/{self.lower}"


def client_octet(address: int) -> bytes:
    """The one octet of a client address (0 to 127)."""
    if not 0 <= address <= 0x7F:
        raise LocalProtocolError(f"an HDLC client address is 0 to 127, not {address}")
    return bytes((address << 1 | 1,))


# --- frames -------------------------------------------------------------------------------------


class FrameType(Enum):
    """The repertoire of IEC 62056-46; everything else is UNKNOWN."""

    I = "I"  # noqa: E741 - the standard's name
    RR = "RR"
    RNR = "RNR"
    SNRM = "SNRM"
    DISC = "DISC"
    UA = "UA"
    DM = "DM"
    FRMR = "FRMR"
    UI = "UI"
    UNKNOWN = "unknown"


POLL: Final = 0x10
CONTROL: Final[dict[FrameType, int]] = {
    FrameType.RR: 0x01,
    FrameType.RNR: 0x05,
    FrameType.SNRM: 0x83,
    FrameType.DISC: 0x43,
    FrameType.UA: 0x63,
    FrameType.DM: 0x0F,
    FrameType.FRMR: 0x87,
    FrameType.UI: 0x03,
}


def _type_table() -> tuple[FrameType, ...]:
    table = []
    unnumbered = {CONTROL[kind]: kind for kind in list(CONTROL)[2:]}
    for control in range(256):
        if not control & 1:
            table.append(FrameType.I)
        elif control & 0x0F == 0x01:
            table.append(FrameType.RR)
        elif control & 0x0F == 0x05:
            table.append(FrameType.RNR)
        else:
            table.append(unnumbered.get(control & ~POLL, FrameType.UNKNOWN))
    return tuple(table)


_TYPE_OF_CONTROL: Final = _type_table()


@dataclass(frozen=True, slots=True)
class Frame:
    """One HDLC frame without flags and check sequences; addresses as their octets."""

    destination: bytes
    source: bytes
    control: int
    information: bytes = b""
    segmented: bool = False

    @property
    def kind(self) -> FrameType:
        return _TYPE_OF_CONTROL[self.control]

    @property
    def poll(self) -> bool:
        """The P bit of a command, the F bit of a response."""
        return bool(self.control & POLL)

    @property
    def receive_number(self) -> int:
        """N(R)."""
        return self.control >> 5

    @property
    def send_number(self) -> int:
        """N(S)."""
        return self.control >> 1 & 7

    def encode(self) -> bytes:
        """The frame with flags and check sequences."""
        header_size = 2 + len(self.destination) + len(self.source) + 1
        size = header_size + 2 + (len(self.information) + 2 if self.information else 0)
        if size > LENGTH_MAX:
            raise LocalProtocolError(f"an HDLC frame of {size} octets does not fit 11 bits")
        head = (0xA000 | (0x800 if self.segmented else 0) | size).to_bytes(2, "big")
        body = head + self.destination + self.source + bytes((self.control,))
        if self.information:
            body += fcs(body) + self.information
        return b"\x7e" + body + fcs(body) + b"\x7e"


def _address_end(body: bytes, start: int) -> int:
    """Where the address that begins at `start` ends; 0 when it has no legal length."""
    for end in range(start + 1, min(start + 5, len(body)) + 1):
        if body[end - 1] & 1:
            return 0 if end - start == 3 or end - start > 4 else end
    return 0


def parse_frame(body: bytes) -> Frame | None:
    """The frame in the octets between two flags; None where anything about it is wrong."""
    size = len(body)
    if size < FRAME_MIN or body[0] & 0xF0 != 0xA0:
        return None
    if (body[0] & 7) << 8 | body[1] != size or fcs(body[:-2]) != body[-2:]:
        return None
    destination_end = _address_end(body, 2)
    source_end = _address_end(body, destination_end) if destination_end else 0
    if not source_end or source_end + 3 > size:
        return None
    information = b""
    if source_end + 3 != size:
        header_end = source_end + 1
        if header_end + 4 > size or fcs(body[:header_end]) != body[header_end : header_end + 2]:
            return None
        information = body[header_end + 2 : -2]
    return Frame(
        body[2:destination_end],
        body[destination_end:source_end],
        body[source_end],
        information,
        bool(body[0] & 0x08),
    )


@dataclass(slots=True)
class LineCounters:
    """What the line did, for the person who has to find out why a meter does not answer."""

    octets: int = 0
    frames: int = 0
    discarded_frames: int = 0  # length, closing flag or a check sequence was wrong
    noise_octets: int = 0  # outside of any frame
    echoes: int = 0  # our own frames coming back


class FrameDecoder:
    """Finds frames in a stream; wrong ones are dropped and the search goes on at the next flag."""

    __slots__ = ("_buffer", "_last_at", "counters", "inter_octet_timeout_ms")

    def __init__(self, inter_octet_timeout_ms: int = 2000) -> None:
        self._buffer = bytearray()
        self._last_at: Instant | None = None
        self.inter_octet_timeout_ms = inter_octet_timeout_ms
        self.counters = LineCounters()

    def receive(self, data: bytes, now: Instant) -> list[Frame]:
        """The frames that `data` completes."""
        self.counters.octets += len(data)
        self._buffer += data
        frames = self._scan(give_up=False)
        self._last_at = now if len(self._buffer) > 1 else None
        return frames

    def deadline(self) -> Instant | None:
        """When a frame that has begun is given up."""
        if self._last_at is None:
            return None
        return Instant(self._last_at + self.inter_octet_timeout_ms * NS_PER_MS)

    def tick(self, now: Instant) -> list[Frame]:
        """Drop an unfinished frame after the inter-octet time-out; what it hid comes out."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return []
        self._last_at = None
        frames = self._scan(give_up=True)
        self._buffer.clear()
        return frames

    def _scan(self, *, give_up: bool) -> list[Frame]:
        buffer, frames, position = self._buffer, [], 0
        size = len(buffer)
        while True:
            start = buffer.find(FLAG, position)
            if start < 0:
                self.counters.noise_octets += size - position
                position = size
                break
            self.counters.noise_octets += start - position
            if start + 1 < size and buffer[start + 1] & 0xF0 != 0xA0:
                position = start + 1
                continue
            if start + 2 >= size:
                position = start
                break
            end = start + 1 + ((buffer[start + 1] & 7) << 8 | buffer[start + 2])
            if end < start + 1 + FRAME_MIN:
                position = start + 1
                continue
            if end >= size and not give_up:
                position = start
                break
            frame = None
            if end < size and buffer[end] == FLAG:
                frame = parse_frame(bytes(buffer[start + 1 : end]))
            if frame is None:
                self.counters.discarded_frames += 1
                position = start + 1
            else:
                self.counters.frames += 1
                frames.append(frame)
                position = end  # one flag may close a frame and open the next
        del buffer[:position]
        return frames
