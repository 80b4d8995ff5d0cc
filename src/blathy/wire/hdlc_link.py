"""What both stations of an HDLC link share: negotiation, events, numbers, segments, repetition.

An APDU longer than the information field agreed travels in segments, each in an I frame of its own,
acknowledged by RR. The LLC header (E6 E6 00 to the server, E6 E7 00 to the client) stands before
the APDU, once, in the first segment.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from blathy.wire.errors import LocalProtocolError
from blathy.wire.hdlc_frames import CONTROL, POLL, Frame, FrameType, ServerAddress

INFORMATION_MAX: Final = 2030  # largest information field that every peer can frame in 11 bits
INFORMATION_DEFAULT: Final = 128
APDU_SIZE_MAX: Final = 1 << 17  # reassembly stops here: twice the largest negotiable APDU
LLC_COMMAND: Final = b"\xe6\xe6\x00"
LLC_RESPONSE: Final = b"\xe6\xe7\x00"


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
class Link:
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
        control = CONTROL[kind] | (POLL if poll else 0)
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


def frmr_information(control: int, link: Link, reason: int) -> bytes:
    """The rejected control octet, our state variables and the bits W X Y Z."""
    return bytes((control, link.receive_state << 5 | link.send_state << 1, reason))


UNKNOWN_COMMAND: Final = 0x01  # W
TOO_LONG: Final = 0x04  # Y
BAD_RECEIVE_NUMBER: Final = 0x08  # Z


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
