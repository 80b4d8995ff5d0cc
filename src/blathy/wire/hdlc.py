"""The HDLC data link of DLMS/COSEM (IEC 62056-46): frames, addresses, client and server links.

Theory of operation. A frame lies between two flags (7E); its length field, not the flag, decides
where it ends, so a 7E inside is legal and nothing is stuffed. The primary station (client) holds
the token: it sends with P = 1 and waits; the secondary (server) answers and hands the token back
with F = 1. An APDU longer than the information field agreed travels in segments, each in an
I frame of its own, acknowledged by RR. The LLC header (E6 E6 00 to the server, E6 E7 00 to the
client) stands before the APDU, once, in the first segment.

`HdlcClient` is the primary for one server; `HdlcServer` is one physical device with any number of
logical devices and client links. Both take bytes in any cut; what they want transmitted is
collected by `data_to_send()`. What each does with which frame is in the tables `SERVER_TABLE` and
`CLIENT_TABLE`.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.wire.errors import LocalProtocolError

FLAG: Final = 0x7E
INFORMATION_MAX: Final = 2030  # largest information field that every peer can frame in 11 bits
INFORMATION_DEFAULT: Final = 128
FRAME_MIN: Final = 7  # octets between the flags: format 2, addresses 2, control 1, FCS 2
LENGTH_MAX: Final = 0x7FF
APDU_SIZE_MAX: Final = 1 << 17  # reassembly stops here: twice the largest negotiable APDU
LINKS_MAX: Final = 16  # client links that one server keeps at a time
ALL_STATIONS: Final = {1: 0x7F, 2: 0x7F, 4: 0x3FFF}
CALLING: Final = {2: 0x7E, 4: 0x3FFE}

LLC_COMMAND: Final = b"\xe6\xe6\x00"
LLC_RESPONSE: Final = b"\xe6\xe7\x00"

_NS_PER_MS: Final = NANOSECONDS_PER_S // 1000
_START: Final = Instant(0)


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
_CONTROL: Final[dict[FrameType, int]] = {
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
    unnumbered = {_CONTROL[kind]: kind for kind in list(_CONTROL)[2:]}
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
        return Instant(self._last_at + self.inter_octet_timeout_ms * _NS_PER_MS)

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


# --- negotiation --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HdlcParameters:
    """Sizes of the information field in octets and windows in frames, seen by their owner."""

    transmit_size: int = INFORMATION_DEFAULT
    receive_size: int = INFORMATION_DEFAULT
    transmit_window: int = 1
    receive_window: int = 1

    def __post_init__(self) -> None:
        for size in (self.transmit_size, self.receive_size):
            if not 1 <= size <= INFORMATION_MAX:
                raise LocalProtocolError(f"an information field has 1 to {INFORMATION_MAX} octets")
        for window in (self.transmit_window, self.receive_window):
            if not 1 <= window <= 7:
                raise LocalProtocolError(f"a window is 1 to 7 frames, not {window}")

    def encode(self) -> bytes:
        """The information field of SNRM and UA."""
        values = b"".join(
            bytes((identifier, 1 if size <= 0xFF else 2))
            + size.to_bytes(1 if size <= 0xFF else 2, "big")
            for identifier, size in ((5, self.transmit_size), (6, self.receive_size))
        )
        values += b"\x07\x04" + self.transmit_window.to_bytes(4, "big")
        values += b"\x08\x04" + self.receive_window.to_bytes(4, "big")
        return b"\x81\x80" + bytes((len(values),)) + values

    @classmethod
    def decode(cls, information: bytes) -> HdlcParameters:
        """From SNRM or UA; what is absent, unknown or out of range keeps or meets its limit."""
        found: dict[int, int] = {}
        groups = _elements(information[1:]) if information[:1] == b"\x81" else {}
        for identifier, (length, value) in _elements(groups.get(0x80, (0, b""))[1]).items():
            if 0 < length == len(value):
                found[identifier] = int.from_bytes(value, "big")

        def size(identifier: int) -> int:
            return min(max(found.get(identifier, INFORMATION_DEFAULT), 1), INFORMATION_MAX)

        def window(identifier: int) -> int:
            return min(max(found.get(identifier, 1), 1), 7)

        return cls(size(5), size(6), window(7), window(8))

    def agree(self, peer: HdlcParameters) -> HdlcParameters:
        """Ours limited by the peer's: my transmit side meets his receive side."""
        return HdlcParameters(
            min(self.transmit_size, peer.receive_size),
            min(self.receive_size, peer.transmit_size),
            min(self.transmit_window, peer.receive_window),
            min(self.receive_window, peer.transmit_window),
        )


def _elements(octets: bytes) -> dict[int, tuple[int, bytes]]:
    """Identifier -> length and value, which may be cut short; the first of a kind counts."""
    found: dict[int, tuple[int, bytes]] = {}
    position = 0
    while position + 2 <= len(octets):
        length = octets[position + 1]
        position += 2
        value = octets[position : position + length]
        found.setdefault(octets[position - 2], (length, value))
        position += length
    return found


LARGEST: Final = HdlcParameters(INFORMATION_MAX, INFORMATION_MAX, 1, 1)


# --- events -------------------------------------------------------------------------------------


class Reason(Enum):
    """Why a link is not there any more."""

    RELEASED = "released"  # DISC answered by UA or DM
    REFUSED = "refused"  # DM to SNRM: client address not allowed, or the server is busy
    DROPPED = "dropped"  # DM in the middle: the server has forgotten the link
    REJECTED = "rejected"  # FRMR: one side could not make sense of the other
    SILENT = "silent"  # no answer after all repetitions
    INACTIVE = "inactive"  # nothing for longer than the inactivity time-out
    RESTARTED = "restarted"  # a new SNRM replaced it


@dataclass(frozen=True, slots=True)
class LinkUp:
    """SNRM and UA have been exchanged; `parameters` are ours after negotiation."""

    client: int
    server: ServerAddress
    parameters: HdlcParameters


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link is gone and every association on it."""

    client: int
    server: ServerAddress
    reason: Reason


@dataclass(frozen=True, slots=True)
class Apdu:
    """A whole APDU without its LLC header. `confirmed` is False where it came in UI frames."""

    client: int
    server: ServerAddress
    data: bytes
    confirmed: bool = True


@dataclass(frozen=True, slots=True)
class Permission:
    """An empty UI with P = 1: the client lets the server speak."""

    client: int
    server: ServerAddress


@dataclass(frozen=True, slots=True)
class Discarded:
    """Something of the peer was thrown away."""

    reason: str


Event = LinkUp | LinkDown | Apdu | Permission | Discarded


# --- one link, both sides -----------------------------------------------------------------------


@dataclass(slots=True)
class _Link:
    """Sequence numbers, segmentation and repetition of one link."""

    local: bytes  # our address octets
    remote: bytes
    llc_out: bytes
    llc_in: bytes  # its second and third octet
    parameters: HdlcParameters = field(default_factory=HdlcParameters)
    send_state: int = 0  # V(S)
    receive_state: int = 0  # V(R)
    sent: deque[tuple[int, bytes, bool]] = field(default_factory=deque)  # not acknowledged yet
    waiting: deque[tuple[bytes, bool]] = field(default_factory=deque)  # not sent yet
    gathered: bytearray = field(default_factory=bytearray)
    gathering: bool = False
    peer_busy: bool = False

    def reset(self, parameters: HdlcParameters) -> None:
        self.parameters = parameters
        self.send_state = self.receive_state = 0
        self.sent.clear()
        self.waiting.clear()
        self.gathered.clear()
        self.gathering = self.peer_busy = False

    def queue(self, apdu: bytes) -> None:
        data = self.llc_out + apdu
        size = self.parameters.transmit_size
        last = (len(data) - 1) // size
        for index in range(last + 1):
            self.waiting.append((data[index * size : (index + 1) * size], index < last))

    def frame(self, kind: FrameType, *, poll: bool = True, information: bytes = b"") -> bytes:
        control = _CONTROL[kind] | (POLL if poll else 0)
        if kind in {FrameType.RR, FrameType.RNR}:
            control |= self.receive_state << 5
        return Frame(self.remote, self.local, control, information).encode()

    def _information(self, number: int, data: bytes, more: bool, *, poll: bool) -> bytes:
        control = self.receive_state << 5 | (POLL if poll else 0) | number << 1
        return Frame(self.remote, self.local, control, data, more).encode()

    def transmit(self) -> bytes:
        """New I frames up to the window, the token on the last; empty when there are none."""
        fresh: list[tuple[int, bytes, bool]] = []
        while (
            self.waiting and not self.peer_busy and len(self.sent) < self.parameters.transmit_window
        ):
            data, more = self.waiting.popleft()
            fresh.append((self.send_state, data, more))
            self.sent.append(fresh[-1])
            self.send_state = (self.send_state + 1) & 7
        return self._burst(fresh)

    def repeat(self) -> bytes:
        """All I frames that were sent and not acknowledged, again."""
        return self._burst(list(self.sent))

    def _burst(self, frames: list[tuple[int, bytes, bool]]) -> bytes:
        last = len(frames) - 1
        return b"".join(
            self._information(number, data, more, poll=index == last)
            for index, (number, data, more) in enumerate(frames)
        )

    def acknowledge(self, number: int) -> bool:
        """Take N(R): forget what it confirms; False where it confirms what was never sent."""
        outstanding = (self.send_state - number) & 7
        if outstanding > len(self.sent):
            return False
        while len(self.sent) > outstanding:
            self.sent.popleft()
        return True

    def gather(self, frame: Frame) -> bytes | None:
        """Take the next segment; the APDU when it is whole. ValueError says why it is dropped."""
        self.receive_state = (self.receive_state + 1) & 7
        if len(self.gathered) + len(frame.information) > APDU_SIZE_MAX:
            self.gathered.clear()
            self.gathering = False
            raise ValueError(f"an APDU of more than {APDU_SIZE_MAX} octets")
        self.gathered += frame.information
        self.gathering = frame.segmented
        if frame.segmented:
            return None
        data = bytes(self.gathered)
        self.gathered.clear()
        return strip_llc(data, self.llc_in)


def strip_llc(data: bytes, quality: bytes) -> bytes:
    """The APDU behind an LLC header whose second and third octet are `quality`."""
    if len(data) < 3 or data[0] not in {0xE6, 0xFF} or data[1:3] != quality:
        raise ValueError(f"no LLC header: {data[:3].hex(' ') or 'nothing'}")
    return data[3:]


def frmr_information(control: int, link: _Link, reason: int) -> bytes:
    """The rejected control octet, our state variables and the bits W X Y Z."""
    return bytes((control, link.receive_state << 5 | link.send_state << 1, reason))


UNKNOWN_COMMAND: Final = 0x01  # W
TOO_LONG: Final = 0x04  # Y
BAD_RECEIVE_NUMBER: Final = 0x08  # Z


# --- server -------------------------------------------------------------------------------------


class LinkState(Enum):
    """Normal disconnected mode, normal response mode, frame reject condition."""

    NDM = "disconnected"
    NRM = "connected"
    REJECTING = "rejecting"


_F = FrameType
SERVER_TABLE: Final[dict[tuple[LinkState, FrameType], str]] = {
    (LinkState.NDM, _F.SNRM): "_open",
    (LinkState.NDM, _F.DISC): "_answer_dm",
    (LinkState.NDM, _F.I): "_answer_dm",
    (LinkState.NDM, _F.RR): "_answer_dm",
    (LinkState.NDM, _F.RNR): "_answer_dm",
    (LinkState.NDM, _F.UI): "_take_ui",
    (LinkState.NRM, _F.SNRM): "_open",
    (LinkState.NRM, _F.DISC): "_close",
    (LinkState.NRM, _F.I): "_take_information",
    (LinkState.NRM, _F.RR): "_take_ready",
    (LinkState.NRM, _F.RNR): "_take_not_ready",
    (LinkState.NRM, _F.UI): "_take_ui",
    (LinkState.NRM, _F.UNKNOWN): "_reject_unknown",
    (LinkState.REJECTING, _F.SNRM): "_open",
    (LinkState.REJECTING, _F.DISC): "_close",
    (LinkState.REJECTING, _F.I): "_reject_again",
    (LinkState.REJECTING, _F.RR): "_reject_again",
    (LinkState.REJECTING, _F.RNR): "_reject_again",
}
"""What a secondary does; a pair that is not listed is dropped without an answer."""


@dataclass(slots=True)
class _ServerLink:
    client: int
    server: ServerAddress
    link: _Link
    state: LinkState = LinkState.NDM
    token: bool = False  # the client polled and has no final answer yet
    active_at: Instant = _START
    inactivity_timeout_s: int = 0
    rejection: bytes = b""
    interface: bytearray = field(default_factory=bytearray)  # segments of UI frames


@dataclass(frozen=True, slots=True)
class PortSetup:
    """What an IEC HDLC setup object says of its port."""

    parameters: HdlcParameters = LARGEST
    inactivity_timeout_s: int = 120  # 0: never


@dataclass(frozen=True, slots=True)
class HdlcServerSettings:
    """How one physical device listens.

    `logical_devices` are the upper addresses that exist, or a function that knows every address;
    `lower` is the physical address, None where any is taken: on a point-to-point line, or where the
    function speaks for a whole bus. `address_size` 0 accepts
    every form, else the standard's rules for that size hold. `setup` is asked at every SNRM; what
    it knows of an address goes before `parameters` and `inactivity_timeout_s`.
    """

    logical_devices: Collection[int] | Callable[[ServerAddress], bool] = (1,)
    lower: int | None = None
    address_size: int = 0
    clients: Collection[int] | None = None  # None: any client address may connect
    parameters: HdlcParameters = LARGEST
    inter_octet_timeout_ms: int = 2000
    inactivity_timeout_s: int = 120  # 0: never
    setup: Callable[[ServerAddress], PortSetup | None] | None = None

    def of(self, server: ServerAddress) -> PortSetup:
        """How the port behind this address is set up now."""
        found = self.setup(server) if self.setup is not None else None
        return found or PortSetup(self.parameters, self.inactivity_timeout_s)


class HdlcServer:
    """The secondary station: one physical device, a link per client and logical device."""

    def __init__(self, settings: HdlcServerSettings | None = None) -> None:
        self.settings = settings or HdlcServerSettings()
        self._decoder = FrameDecoder(self.settings.inter_octet_timeout_ms)
        self._links: dict[tuple[int, int, int | None], _ServerLink] = {}
        self._pushes: deque[tuple[int, ServerAddress, bytes]] = deque(maxlen=LINKS_MAX)
        self._out = bytearray()

    @property
    def counters(self) -> LineCounters:
        return self._decoder.counters

    def data_to_send(self) -> bytes:
        """What has to be transmitted now; empties the store."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes, now: Instant) -> list[Event]:
        """Take octets from the line; afterwards transmit `data_to_send()`."""
        events: list[Event] = []
        for frame in self._decoder.receive(data, now):
            events += self._take(frame, now)
        return events

    def send(self, client: int, server: ServerAddress, *apdus: bytes) -> bytes:
        """Answer on a link: octets to transmit now; the rest follows as the client polls."""
        entry = self._entry(client, server)
        for apdu in apdus:
            entry.link.queue(apdu)
        if entry.token:
            self._hand_back(entry)
        return self.data_to_send()

    def acknowledge(self, client: int, server: ServerAddress) -> bytes:
        """Hand the token back without an answer, after a service that has none."""
        entry = self._entry(client, server)
        if entry.token:
            self._hand_back(entry)
        return self.data_to_send()

    def push(self, client: int, server: ServerAddress, apdu: bytes, *, wait: bool = False) -> bytes:
        """Send an APDU of our own in a UI frame; with `wait` only once the client permits it."""
        if len(apdu) + len(LLC_RESPONSE) > INFORMATION_MAX:
            raise LocalProtocolError(f"a UI frame holds no APDU of {len(apdu)} octets")
        if wait:
            self._pushes.append((client, server, apdu))
        else:
            self._send_ui(client, server, apdu)
        return self.data_to_send()

    def sending(self, client: int, server: ServerAddress) -> bool:
        """Whether segments of an answer still wait to be sent on this link."""
        entry = self._links.get((client, server.upper, server.lower))
        return entry is not None and bool(entry.link.waiting)

    @property
    def linked(self) -> bool:
        """Whether any client has a link here."""
        return bool(self._links)

    def deadline(self) -> Instant | None:
        """The next inter-octet or inactivity time-out."""
        times = [self._decoder.deadline()]
        times += [_inactive_at(entry) for entry in self._links.values()]
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: Instant) -> list[Event]:
        """Run time-outs that are due."""
        events: list[Event] = []
        for frame in self._decoder.tick(now):
            events += self._take(frame, now)
        for key, entry in list(self._links.items()):
            due = _inactive_at(entry)
            if due is not None and now >= due:
                del self._links[key]
                events.append(LinkDown(entry.client, entry.server, Reason.INACTIVE))
        return events

    # which frames are ours

    def _take(self, frame: Frame, now: Instant) -> list[Event]:
        if len(frame.source) != 1:
            return []
        client = frame.source[0] >> 1
        server = ServerAddress.decode(frame.destination)
        if not client or frame.source[0] == 0xFF or not self._is_for_us(server):
            return []
        group = server.all_upper or server.all_lower
        if group:
            if frame.kind is not FrameType.UI or frame.poll:
                return []
            entry = self._fresh(client, server, frame)
            return self._take_ui(entry, frame)
        key = (client, server.upper, server.lower)
        entry = self._links.get(key) or self._fresh(client, server, frame)
        entry.active_at = now
        if frame.kind is not FrameType.SNRM and frame.destination != entry.link.local:
            entry = self._fresh(client, server, frame)
        action = SERVER_TABLE.get((entry.state, frame.kind))
        if action is None:
            return []
        events: list[Event] = getattr(self, action)(entry, frame)
        if entry.state is LinkState.NDM:
            if self._links.get(key) is entry:
                del self._links[key]
        else:
            self._links[key] = entry
        return events

    def _is_for_us(self, server: ServerAddress) -> bool:
        if not server.upper or server.lower == 0 or server.calling:
            return False  # no station; and nobody owns the CALLING address of one that dialled in
        own = self.settings.address_size
        if own and server.size != own and not self._other_size_fits(server, own):
            return False
        devices = self.settings.logical_devices
        if not server.all_upper:
            known = devices(server) if callable(devices) else server.upper in devices
            if not known:
                return False
        lower = self.settings.lower
        if server.lower is None or lower is None or server.all_lower:
            return True
        return server.lower == lower or (own == 1 and server.all_lower)

    @staticmethod
    def _other_size_fits(server: ServerAddress, own: int) -> bool:
        if server.size == 1:
            return False
        if own == 1:
            return server.all_lower and (server.size == 2 or server.all_upper)
        if own == 4:
            return True  # both parts widen
        return server.all_lower and server.all_upper

    def _fresh(self, client: int, server: ServerAddress, frame: Frame) -> _ServerLink:
        link = _Link(frame.destination, frame.source, LLC_RESPONSE, b"\xe6\x00")
        return _ServerLink(client, server, link)

    def _entry(self, client: int, server: ServerAddress) -> _ServerLink:
        entry = self._links.get((client, server.upper, server.lower))
        if entry is None or entry.state is not LinkState.NRM:
            raise LocalProtocolError(f"no HDLC link between client {client} and server {server}")
        return entry

    # what each frame does

    def _open(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        clients = self.settings.clients
        key = (entry.client, entry.server.upper, entry.server.lower)
        full = key not in self._links and len(self._links) >= LINKS_MAX
        if full or (clients is not None and entry.client not in clients):
            entry.state = LinkState.NDM
            return self._answer_dm(entry, frame)
        events: list[Event] = []
        if entry.state is not LinkState.NDM:
            events.append(LinkDown(entry.client, entry.server, Reason.RESTARTED))
        port = self.settings.of(entry.server)
        agreed = port.parameters.agree(HdlcParameters.decode(frame.information))
        entry.inactivity_timeout_s = port.inactivity_timeout_s
        entry.link.local, entry.link.remote = frame.destination, frame.source
        entry.server = ServerAddress.decode(frame.destination)
        entry.link.reset(agreed)
        entry.token = False
        entry.state = LinkState.NRM
        self._out += entry.link.frame(FrameType.UA, information=agreed.encode())
        events.append(LinkUp(entry.client, entry.server, agreed))
        return events

    def _close(self, entry: _ServerLink, _frame: Frame) -> list[Event]:
        entry.state = LinkState.NDM
        self._out += entry.link.frame(FrameType.UA)
        return [LinkDown(entry.client, entry.server, Reason.RELEASED)]

    def _answer_dm(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        if frame.poll:
            self._out += entry.link.frame(FrameType.DM)
        return []

    def _take_information(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        link = entry.link
        entry.token = entry.token or frame.poll
        if len(frame.information) > link.parameters.receive_size:
            return self._reject(entry, frame, TOO_LONG)
        if not link.acknowledge(frame.receive_number):
            return self._reject(entry, frame, BAD_RECEIVE_NUMBER)
        if frame.send_number != link.receive_state:
            # Either a repeated request, whose answer is on its way again, or a gap.
            if entry.token:
                self._out += link.repeat() or link.frame(FrameType.RR)
                entry.token = False
            return []
        try:
            apdu = link.gather(frame)
        except ValueError as error:
            self._hand_back(entry)
            return [Discarded(str(error))]
        if apdu is None:
            if entry.token:
                self._out += link.frame(FrameType.RR)
                entry.token = False
            return []
        return [Apdu(entry.client, entry.server, apdu)]

    def _take_ready(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        entry.link.peer_busy = False
        return self._continue(entry, frame)

    def _take_not_ready(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        entry.link.peer_busy = True
        return self._continue(entry, frame)

    def _continue(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        if not entry.link.acknowledge(frame.receive_number):
            return self._reject(entry, frame, BAD_RECEIVE_NUMBER)
        entry.token = frame.poll
        if entry.token:
            if entry.link.sent and not entry.link.peer_busy:
                self._out += entry.link.repeat()
                entry.token = False
            else:
                self._hand_back(entry)
        return []

    def _hand_back(self, entry: _ServerLink) -> None:
        self._out += entry.link.transmit() or entry.link.frame(FrameType.RR)
        entry.token = False

    def _take_ui(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        if not frame.information and not entry.interface:
            if not frame.poll:
                return []
            for push in [p for p in self._pushes if p[0] == entry.client]:
                self._pushes.remove(push)
                self._send_ui(*push)
            return [Permission(entry.client, entry.server)]
        try:
            data = gather_interface(entry.interface, frame, b"\xe6\x00")
        except ValueError as error:
            return [Discarded(str(error))]
        return [Apdu(entry.client, entry.server, data, confirmed=False)] if data else []

    def _send_ui(self, client: int, server: ServerAddress, apdu: bytes) -> None:
        control = _CONTROL[FrameType.UI] | POLL
        entry = self._links.get((client, server.upper, server.lower))
        source = server.encode() if entry is None else entry.link.local
        frame = Frame(client_octet(client), source, control, LLC_RESPONSE + apdu)
        self._out += frame.encode()

    def _reject_unknown(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        return self._reject(entry, frame, UNKNOWN_COMMAND)

    def _reject(self, entry: _ServerLink, frame: Frame, reason: int) -> list[Event]:
        entry.state = LinkState.REJECTING
        entry.rejection = frmr_information(frame.control, entry.link, reason)
        self._out += entry.link.frame(FrameType.FRMR, information=entry.rejection)
        return [LinkDown(entry.client, entry.server, Reason.REJECTED)]

    def _reject_again(self, entry: _ServerLink, frame: Frame) -> list[Event]:
        if frame.poll:
            self._out += entry.link.frame(FrameType.FRMR, information=entry.rejection)
        return []


def _inactive_at(entry: _ServerLink) -> Instant | None:
    if not entry.inactivity_timeout_s:
        return None
    return Instant(entry.active_at + entry.inactivity_timeout_s * NANOSECONDS_PER_S)


def gather_interface(store: bytearray, frame: Frame, quality: bytes) -> bytes:
    """Join the segments of UI frames; empty until the last one. ValueError says what is wrong."""
    if len(store) + len(frame.information) > APDU_SIZE_MAX:
        store.clear()
        raise ValueError(f"UI segments of more than {APDU_SIZE_MAX} octets")
    store += frame.information
    if frame.segmented:
        return b""
    data = bytes(store)
    store.clear()
    return strip_llc(data, quality)


# --- client -------------------------------------------------------------------------------------


class ClientState(Enum):
    """Of the primary station."""

    IDLE = "idle"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTING = "disconnecting"


CLIENT_TABLE: Final[dict[tuple[ClientState, FrameType], str]] = {
    (ClientState.IDLE, _F.UI): "_take_ui",
    (ClientState.CONNECTING, _F.UA): "_opened",
    (ClientState.CONNECTING, _F.DM): "_refused",
    (ClientState.CONNECTING, _F.UI): "_take_ui",
    (ClientState.CONNECTED, _F.I): "_take_information",
    (ClientState.CONNECTED, _F.RR): "_take_ready",
    (ClientState.CONNECTED, _F.RNR): "_take_not_ready",
    (ClientState.CONNECTED, _F.DM): "_dropped",
    (ClientState.CONNECTED, _F.FRMR): "_rejected",
    (ClientState.CONNECTED, _F.UI): "_take_ui",
    (ClientState.DISCONNECTING, _F.UA): "_released",
    (ClientState.DISCONNECTING, _F.DM): "_released",
    (ClientState.DISCONNECTING, _F.UI): "_take_ui",
}
"""What a primary does; a pair that is not listed is dropped."""


@dataclass(frozen=True, slots=True)
class HdlcClientSettings:
    """How a client speaks to one server."""

    client: int = 16
    server: ServerAddress = field(default_factory=lambda: ServerAddress(1))
    parameters: HdlcParameters = LARGEST
    response_timeout_ms: int = 3000
    repetitions: int = 3
    polls_max: int = 40  # RR without an answer ready, before the server counts as stuck
    inter_octet_timeout_ms: int = 2000
    apdu_size_max: int = APDU_SIZE_MAX


class HdlcClient:
    """The primary station for one server."""

    def __init__(self, settings: HdlcClientSettings | None = None) -> None:
        self.settings = settings or HdlcClientSettings()
        local, remote = client_octet(self.settings.client), self.settings.server.encode()
        self._decoder = FrameDecoder(self.settings.inter_octet_timeout_ms)
        self._link = _Link(local, remote, LLC_COMMAND, b"\xe7\x00")
        self._state = ClientState.IDLE
        self._out = bytearray()
        self._repeat = b""
        self._due_at: Instant | None = None
        self._attempts = self._polls = self._repeats = 0
        self._awaiting = False  # an APDU went out and its answer has not come
        self._interface: dict[bytes, bytearray] = {}
        self._echoing = False
        self._unechoed: deque[Frame] = deque(maxlen=8)

    @property
    def state(self) -> ClientState:
        return self._state

    @property
    def counters(self) -> LineCounters:
        return self._decoder.counters

    def data_to_send(self) -> bytes:
        """What has to be transmitted now; empties the store."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def connect(self, now: Instant) -> bytes:
        """SNRM; its answer is LinkUp, or LinkDown with the reason."""
        if self._state not in {ClientState.IDLE, ClientState.CONNECTED}:
            raise LocalProtocolError(f"SNRM is not allowed while {self._state.value}")
        offer = self.settings.parameters
        information = b"" if offer == HdlcParameters() else offer.encode()
        self._state = ClientState.CONNECTING
        self._awaiting = False
        self._transmit(self._link.frame(FrameType.SNRM, information=information), now)
        return self.data_to_send()

    def send(self, apdu: bytes, now: Instant) -> bytes:
        """Send a confirmed APDU: octets to transmit now, the rest follows by data_to_send()."""
        if self._state is not ClientState.CONNECTED:
            raise LocalProtocolError(f"no APDU can be sent while {self._state.value}")
        if self._link.waiting or self._link.sent:
            raise LocalProtocolError("the APDU before has not been taken by the server yet")
        self._link.queue(apdu)
        self._awaiting = True
        self._polls = self._repeats = 0
        self._transmit(self._link.transmit(), now)
        return self.data_to_send()

    def send_unconfirmed(self, apdu: bytes) -> bytes:
        """Send an APDU in a UI frame; nobody answers."""
        control = _CONTROL[FrameType.UI]
        return Frame(self._link.remote, self._link.local, control, LLC_COMMAND + apdu).encode()

    def poll(self, now: Instant) -> bytes:
        """Ask for what the server still holds back: RR with P = 1."""
        if self._state is not ClientState.CONNECTED:
            raise LocalProtocolError(f"no server can be polled while {self._state.value}")
        self._awaiting = True
        self._polls = 0
        self._transmit(self._link.frame(FrameType.RR), now)
        return self.data_to_send()

    def permit(self) -> bytes:
        """Let the server send what it holds back: an empty UI with P = 1."""
        return self._link.frame(FrameType.UI)

    def disconnect(self, now: Instant) -> bytes:
        """DISC; its answer is LinkDown."""
        self._state = ClientState.DISCONNECTING
        self._awaiting = False
        self._transmit(self._link.frame(FrameType.DISC), now)
        return self.data_to_send()

    def receive(self, data: bytes, now: Instant) -> list[Event]:
        """Take octets from the line; afterwards transmit `data_to_send()`."""
        events: list[Event] = []
        for frame in self._decoder.receive(data, now):
            events += self._take(frame, now)
        if self._due_at is not None and data:
            # Octets are arriving: the answer is on its way, however long it is.
            self._due_at = max(self._due_at, self._later(now))
        return events

    def deadline(self) -> Instant | None:
        """When `tick` has to run."""
        times = (self._decoder.deadline(), self._due_at)
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: Instant) -> list[Event]:
        """Repeat or give up what stayed unanswered."""
        events: list[Event] = []
        for frame in self._decoder.tick(now):
            events += self._take(frame, now)
        if self._due_at is None or now < self._due_at:
            return events
        if self._attempts >= self.settings.repetitions:
            return [*events, self._down(Reason.SILENT)]
        self._attempts += 1
        self._due_at = self._later(now)
        again = self._repeat
        if self._state is ClientState.CONNECTED:
            # A poll tells which of the two got lost, the request or its answer.
            again = self._link.frame(FrameType.RR)
        self._expect_echo(again)
        self._out += again
        return events

    # inside

    def _later(self, now: Instant) -> Instant:
        return Instant(now + self.settings.response_timeout_ms * _NS_PER_MS)

    def _transmit(self, data: bytes, now: Instant) -> None:
        self._out += data
        self._repeat = data
        self._expect_echo(data)
        self._attempts = 0
        self._due_at = self._later(now)

    def _take(self, frame: Frame, now: Instant) -> list[Event]:
        link = self._link
        if self._is_echo(frame):
            self.counters.echoes += 1
            return []
        kind = frame.kind
        if kind is not FrameType.UI and (
            frame.destination != link.local or frame.source != link.remote
        ):
            return []
        action = CLIENT_TABLE.get((self._state, kind))
        if action is None:
            return []
        self._attempts = 0  # the server is there; what it did not get is counted in _repeats
        events: list[Event] = getattr(self, action)(frame, now)
        return events

    def _expect_echo(self, data: bytes) -> None:
        if self._echoing:
            self._unechoed.extend(FrameDecoder().receive(data, _START))

    def _is_echo(self, frame: Frame) -> bool:
        """Our own frame, given back by a half-duplex adapter.

        Client 1 and server 1 have the same octet. Then an echo of SNRM, which no server sends,
        tells that the line echoes, and each frame that was sent since is expected back once.
        """
        link = self._link
        if frame.source != link.local or frame.destination != link.remote:
            return False
        if link.local != link.remote:
            return True
        if frame.kind in {FrameType.SNRM, FrameType.DISC}:
            self._echoing = True
            return True
        if frame in self._unechoed:
            self._unechoed.remove(frame)
            return True
        return False

    def _down(self, reason: Reason) -> LinkDown:
        self._state = ClientState.IDLE
        self._due_at = None
        self._awaiting = False
        self._link.reset(HdlcParameters())
        return LinkDown(self.settings.client, self.settings.server, reason)

    def _opened(self, frame: Frame, _now: Instant) -> list[Event]:
        agreed = self.settings.parameters.agree(HdlcParameters.decode(frame.information))
        self._link.reset(agreed)
        self._state = ClientState.CONNECTED
        self._due_at = None
        return [LinkUp(self.settings.client, self.settings.server, agreed)]

    def _refused(self, _frame: Frame, _now: Instant) -> list[Event]:
        return [self._down(Reason.REFUSED)]

    def _dropped(self, _frame: Frame, _now: Instant) -> list[Event]:
        return [self._down(Reason.DROPPED)]

    def _rejected(self, _frame: Frame, _now: Instant) -> list[Event]:
        return [self._down(Reason.REJECTED)]

    def _released(self, _frame: Frame, _now: Instant) -> list[Event]:
        return [self._down(Reason.RELEASED)]

    def _take_information(self, frame: Frame, now: Instant) -> list[Event]:
        link = self._link
        if not link.acknowledge(frame.receive_number):
            return [self._down(Reason.REJECTED)]
        if frame.send_number != link.receive_state:
            if frame.poll and self._awaiting:
                self._transmit(link.frame(FrameType.RR), now)
            return []
        self._due_at = self._later(now)
        self._polls = 0
        try:
            apdu = link.gather(frame)
        except ValueError as error:
            self._due_at = None
            self._awaiting = False
            return [Discarded(str(error))]
        if apdu is None:
            if frame.poll:
                self._transmit(link.frame(FrameType.RR), now)
            return []
        self._due_at = None
        self._awaiting = False
        return [Apdu(self.settings.client, self.settings.server, apdu)]

    def _take_ready(self, frame: Frame, now: Instant) -> list[Event]:
        self._link.peer_busy = False
        return self._continue(frame, now)

    def _take_not_ready(self, frame: Frame, now: Instant) -> list[Event]:
        self._link.peer_busy = True
        return self._continue(frame, now)

    def _continue(self, frame: Frame, now: Instant) -> list[Event]:
        link = self._link
        if not link.acknowledge(frame.receive_number):
            return [self._down(Reason.REJECTED)]
        if not self._awaiting or not frame.poll:
            return []
        if link.sent and not link.peer_busy:
            self._repeats += 1
            if self._repeats > 2 * self.settings.repetitions:
                return [self._down(Reason.SILENT)]
            self._transmit(link.repeat(), now)
        elif fresh := link.transmit():
            self._repeats = 0
            self._transmit(fresh, now)
        else:
            # Taken, but no answer yet: poll again after the waiting time, not at once.
            self._polls += 1
            if self._polls > self.settings.polls_max:
                return [self._down(Reason.SILENT)]
            self._due_at = Instant(now + min(self.settings.response_timeout_ms, 200) * _NS_PER_MS)
        return []

    def _take_ui(self, frame: Frame, _now: Instant) -> list[Event]:
        """Pushes: the deviations of the field (two-octet client address, S bit) are taken too."""
        if frame.destination[-1:] != self._link.local and len(frame.destination) == 1:
            return []
        if len(self._interface) > LINKS_MAX:
            self._interface.clear()
        store = self._interface.setdefault(frame.source, bytearray())
        try:
            data = gather_interface(store, frame, b"\xe7\x00")
            server = ServerAddress.decode(frame.source)
        except ValueError as error:
            return [Discarded(str(error))]
        if not data:
            return []
        return [Apdu(self.settings.client, server, data, confirmed=False)]


def with_client(settings: HdlcClientSettings, client: int) -> HdlcClientSettings:
    """The same line for another client address: a new association needs a new link."""
    return replace(settings, client=client)


def push_apdus(frames: list[Frame]) -> list[tuple[bytes, bytes]]:
    """(source octets, APDU) of UI frames as a listener on a push port gets them."""
    stores: dict[bytes, bytearray] = {}
    found = []
    for frame in frames:
        if frame.kind is not FrameType.UI or not frame.information:
            continue
        try:
            data = gather_interface(
                stores.setdefault(frame.source, bytearray()), frame, b"\xe7\x00"
            )
        except ValueError:
            continue
        if data:
            found.append((frame.source, data))
    return found
