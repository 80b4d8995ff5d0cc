"""Octets of a line whose framing nobody has told, cut into frames; damaged ones with what is wrong.

The protocol cores drop what is damaged, as they must; here somebody wants to know why. HDLC,
wrapper and M-Bus frames are recognised wherever they begin, also one after the other on one line;
text of IEC 62056-21 (the sign-on before mode E) is kept as text, anything else as bare octets.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Final

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError
from blathy.wire import acse, apdu, hdlc
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import SurplusError

FLAG: Final = hdlc.FLAG
_TEXT: Final = bytes((*range(0x20, 0x7F), 0x0D, 0x0A, 0x02, 0x03, 0x06, 0x01, 0x15))
_ACK: Final = 0x06
_LINE_MAX: Final = 256  # a line of text ends within so many octets
_SLASH: Final = 0x2F
_MBUS_LONG: Final = 0x68
_MBUS_SHORT: Final = 0x10
_MBUS_STOP: Final = 0x16
_MBUS_ACK: Final = 0xE5
_FRAME_STARTS: Final = frozenset({FLAG, _MBUS_LONG, _MBUS_SHORT, _SLASH})
_TAGS: Final = frozenset(apdu.Tag) | apdu.CIPHERED_TAGS
_WRAPPER: Final = Struct(">4H")
_ACSE: Final = range(0x60, 0x64)
_BARE_OFTEN: Final = 4096
"""Up to so many octets in no frame each octet more is a reason to see whether an APDU is whole;"""
_BARE_FRESH: Final = 64
"""beyond them so many are."""
_OPEN_ENDED: Final = ("body", "result", "value")
"""Data that an APDU ends with, and that its decoder takes as far as the octets go."""
_WAIT: Final = -1
_NONE: Final = 0


@dataclass(frozen=True, slots=True)
class HdlcPiece:
    """A frame. `faults` in words; `frame` None where not even its head can be read."""

    octets: bytes
    frame: hdlc.Frame | None
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WrapperPiece:
    """A packet; `missing` octets of its APDU never came."""

    octets: bytes
    source: int
    destination: int
    apdu: bytes
    missing: int = 0


@dataclass(frozen=True, slots=True)
class MbusPiece:
    """A frame of wired M-Bus; `ci` None in short frames and acknowledgements."""

    octets: bytes
    control: int
    address: int
    ci: int | None
    body: bytes
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TextPiece:
    """Text of IEC 62056-21."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class BarePiece:
    """Octets in no frame: an APDU by itself. `noise`: between or after frames."""

    octets: bytes
    noise: bool = False


Piece = HdlcPiece | WrapperPiece | MbusPiece | TextPiece | BarePiece


class LineReader:
    """One direction of a line. Total: any octets; the same pieces in any cut.

    What has no length of its own (text, octets in no frame) ends where something else begins, where
    the other side speaks (`pause`) or with the recording.
    """

    def __init__(self, *, framed: bool = False) -> None:
        """`framed`: octets were lost before, so what comes first is the rest of a frame."""
        self._buffer = bytearray()
        self._framed = framed
        self._noise = 0  # octets at the beginning of the buffer that begin nothing

    @property
    def waiting(self) -> bool:
        """Whether something has begun and is not complete."""
        return bool(self._buffer)

    def receive(self, data: bytes) -> list[Piece]:
        """The pieces that `data` completes."""
        self._buffer += data
        return self._pieces(last=False, fresh=len(data))

    def pause(self) -> list[Piece]:
        """The other side speaks: a text, a bare APDU or noise has come to its end."""
        found = self._pieces(last=False, ended=True) if self._buffer else []
        if self._noise and self._noise == len(self._buffer):
            found += self._take_noise()
        return found

    def finish(self) -> list[Piece]:
        """What is left at the end of the recording."""
        found = self._pieces(last=True, ended=True) if self._buffer else []
        return found + self._take_noise()

    def _pieces(self, *, last: bool, ended: bool = False, fresh: int = 0) -> list[Piece]:
        """The pieces from the beginning of the buffer on. `last`: nothing completes the rest;
        `ended`: nothing goes on that has no length; of `fresh` octets nobody has seen anything."""
        found: list[Piece] = []
        while self._noise < len(self._buffer):
            at = self._noise
            piece, end = self._at(at, last=last, ended=ended)
            if end == _NONE and not at and self._may_be_bare:
                piece, end = self._bare(ended=ended, fresh=fresh)
            if end == _WAIT:
                break
            if at and isinstance(piece, WrapperPiece) and piece.apdu[0] not in _TAGS:
                piece = None  # 00 01 by chance
            if piece is None:
                self._noise = max(end, at + 1)
                continue
            found += self._take_noise()
            found.append(piece)
            self._framed = self._framed or isinstance(piece, HdlcPiece | WrapperPiece | MbusPiece)
            del self._buffer[: end - at]
        return found

    def _take_noise(self) -> list[Piece]:
        octets = bytes(self._buffer[: self._noise])
        del self._buffer[: self._noise]
        self._noise = 0
        # A flag more between frames is a filler; FF and 00 come from lines without a driver.
        if not octets.strip(b"\x7e"):
            return []
        return [BarePiece(octets, noise=True)]

    @property
    def _may_be_bare(self) -> bool:
        begins = self._buffer[0] in _FRAME_STARTS or self._buffer[:2] == b"\0\x01"
        return not self._framed and not begins

    def _bare(self, *, ended: bool, fresh: int) -> tuple[Piece | None, int]:
        """Octets at the beginning of the buffer that are in no frame: an APDU by itself, or a frame
        without its flags. They are noise up to a good frame."""
        octets = bytes(self._buffer)
        if len(octets) <= _BARE_OFTEN or fresh >= _BARE_FRESH or ended:
            end = _flagless_end(octets) or _apdu_end(octets)
            if end:
                return _bare_piece(octets[:end]), end
        start = octets.find(FLAG)
        while 0 <= start < len(octets) - 2:
            if self._whole(start):
                return None, start
            start = octets.find(FLAG, start + 1)
        if not ended:
            return None, _WAIT
        return _bare_piece(octets), len(octets)

    def _at(self, at: int, *, last: bool, ended: bool) -> tuple[Piece | None, int]:
        """The piece that begins here and where it ends; (None, 0) for none, or wait."""
        octet = self._buffer[at]
        if octet == FLAG:
            return self._hdlc(at, last=last)
        if octet == 0:
            return self._wrapper(at, last=last)
        if octet in {_MBUS_LONG, _MBUS_SHORT, _MBUS_ACK}:
            return self._mbus(at, last=last)
        if octet in {_SLASH, _ACK}:
            return self._text(at, ended=ended)
        return None, _NONE

    # --- HDLC

    def _hdlc(self, at: int, *, last: bool) -> tuple[Piece | None, int]:
        buffer = self._buffer
        if at + 2 >= len(buffer):
            return None, _NONE if last else _WAIT
        if buffer[at + 1] & 0xF0 != 0xA0:
            return None, _NONE
        size = (buffer[at + 1] & 7) << 8 | buffer[at + 2]
        end = at + 1 + size
        if size < hdlc.FRAME_MIN:
            return None, _NONE
        if end < len(buffer) and buffer[end] == FLAG:
            body = bytes(buffer[at + 1 : end])
            frame = hdlc.parse_frame(body)
            piece = HdlcPiece(bytes(buffer[at : end + 1]), frame)
            if frame is None:
                piece = HdlcPiece(piece.octets, *_damaged(body))
            # One flag may close a frame and open the next.
            shared = end + 1 < len(buffer) and buffer[end + 1] & 0xF0 == 0xA0
            return piece, end if shared else end + 1
        if end >= len(buffer) and not last:
            return None, _WAIT
        following = self._next_frame(at + 3)
        if following < 0 and not last and len(buffer) - at < 2 * hdlc.LENGTH_MAX:
            return None, _WAIT
        stop = following if following >= 0 else len(buffer)
        body = bytes(buffer[at + 1 : stop])
        if body[-1:] == b"\x7e":
            body = body[:-1]
        frame, faults = _damaged(body, followed=following >= 0)
        return HdlcPiece(bytes(buffer[at:stop]), frame, faults), stop

    def _next_frame(self, start: int) -> int:
        """Where the next frame seems to begin."""
        buffer = self._buffer
        while (start := buffer.find(FLAG, start)) >= 0:
            if start + 2 >= len(buffer):
                return -1
            if buffer[start + 1] & 0xF0 == 0xA0 and self._whole(start):
                return start
            start += 1
        return -1

    def _whole(self, at: int) -> bool:
        """Whether a good frame begins here."""
        buffer = self._buffer
        end = at + 1 + ((buffer[at + 1] & 7) << 8 | buffer[at + 2])
        if end >= len(buffer) or buffer[end] != FLAG:
            return False
        return hdlc.parse_frame(bytes(buffer[at + 1 : end])) is not None

    # --- wrapper

    def _wrapper(self, at: int, *, last: bool) -> tuple[Piece | None, int]:
        buffer = self._buffer
        left = len(buffer) - at
        if left < 8:
            begins = bytes(buffer[at : at + 2]) == b"\0\x01"[:left]
            return None, _NONE if last or not begins else _WAIT
        version, source, destination, length = _WRAPPER.unpack_from(buffer, at)
        if version != 1 or not length:
            return None, _NONE
        end = at + 8 + length
        if end > len(buffer) and not last:
            return None, _WAIT
        end = min(end, len(buffer))
        body = bytes(buffer[at + 8 : end])
        if not body:
            return None, _NONE
        octets = bytes(buffer[at:end])
        return WrapperPiece(octets, source, destination, body, length - len(body)), end

    # --- M-Bus

    def _mbus(self, at: int, *, last: bool) -> tuple[Piece | None, int]:
        buffer = self._buffer
        if buffer[at] == _MBUS_ACK:
            return MbusPiece(b"\xe5", 0, 0, None, b""), at + 1
        if buffer[at] == _MBUS_SHORT:
            if at + 5 > len(buffer):
                return None, _NONE if last else _WAIT
            control, address, check, stop = buffer[at + 1 : at + 5]
            if stop != _MBUS_STOP or check != (control + address) & 0xFF:
                return None, _NONE
            return MbusPiece(bytes(buffer[at : at + 5]), control, address, None, b""), at + 5
        if at + 4 > len(buffer):
            return None, _NONE if last else _WAIT
        size = buffer[at + 1]
        if buffer[at + 2] != size or buffer[at + 3] != _MBUS_LONG or size < 3:
            return None, _NONE
        end = at + size + 6
        if end > len(buffer) and not last:
            return None, _WAIT
        octets = bytes(buffer[at : min(end, len(buffer))])
        return _mbus_long(octets, size), min(end, len(buffer))

    # --- text

    def _text(self, at: int, *, ended: bool) -> tuple[Piece | None, int]:
        """Lines of text, one after the other as far as they go."""
        buffer = self._buffer
        line = bytes(buffer[at : at + _LINE_MAX])
        line = line[: len(line) - len(line.lstrip(_TEXT))]
        if b"\n" not in line and b"\r" not in line:
            short = len(line) == len(buffer) - at < _LINE_MAX
            return None, _WAIT if short and not ended else _NONE
        end = len(buffer) - len(bytes(buffer[at:]).lstrip(_TEXT))
        flag = buffer.find(FLAG, at, end)
        while flag >= 0:  # a tilde, or the end of the text
            if buffer[flag + 1 : flag + 2] >= b"\x80":
                end = flag
                break
            flag = buffer.find(FLAG, flag + 1, end)
        if end == len(buffer) and not ended:
            return None, _WAIT
        return TextPiece(bytes(buffer[at:end])), end


def _apdu_end(octets: bytes) -> int:
    """Where the APDU ends that these octets begin with; 0 where none is whole."""
    decode = acse.decode if octets[0] in _ACSE else apdu.decode
    try:
        message = decode(octets)
    except SurplusError as error:
        return _apdu_end(octets[: -error.count]) if error.count < len(octets) else 0
    except RemoteProtocolError:
        return 0
    fields = (getattr(message, name, None) for name in _OPEN_ENDED)
    rest = next((each for each in fields if isinstance(each, bytes)), None)
    if rest is None or not octets.endswith(rest):
        return len(octets)
    try:
        return len(octets) - len(rest) + axdr.skip(rest)
    except AxdrError:
        return 0


def _flagless_end(octets: bytes) -> int:
    """Where an HDLC frame ends that was recorded without its flags; 0 where these are none."""
    if len(octets) < hdlc.FRAME_MIN or octets[0] & 0xF0 != 0xA0:
        return 0
    end = (octets[0] & 7) << 8 | octets[1]
    return end if hdlc.parse_frame(octets[:end]) is not None else 0


def _bare_piece(octets: bytes) -> Piece:
    return hdlc_piece(octets) or BarePiece(octets)


def hdlc_piece(data: bytes) -> HdlcPiece | None:
    """A frame that was recorded without its flags; None where the octets are none."""
    if len(data) < hdlc.FRAME_MIN or data[0] & 0xF0 != 0xA0:
        return None
    frame = hdlc.parse_frame(data)
    if frame is not None:
        return HdlcPiece(data, frame)
    if (data[0] & 7) << 8 | data[1] != len(data):
        return None
    return HdlcPiece(data, *_damaged(data))


def _damaged(body: bytes, *, followed: bool = False) -> tuple[hdlc.Frame | None, tuple[str, ...]]:
    """What can be read of a damaged frame, and all that is wrong with it."""
    faults: list[str] = []
    said = (body[0] & 7) << 8 | body[1] if len(body) > 1 else 0
    if said > len(body) and not followed:
        faults.append(f"it breaks off: {len(body)} of its {said} octets are here")
    elif said != len(body):
        faults.append(
            f"its length field says {said} octets, there are {len(body)} to the next flag"
        )
    destination_end = _address_end(body, 2)
    source_end = _address_end(body, destination_end) if destination_end else 0
    if not source_end or source_end >= len(body):
        return None, (*faults, "its addresses are not of 1, 2 or 4 octets")
    header_end = source_end + 1
    whole = said == len(body)
    if whole and (expected := hdlc.fcs(body[:-2])) != body[-2:]:
        faults.append(_check("frame check sequence", body[-2:], expected))
    content = b""
    if header_end + 2 < len(body):
        given = body[header_end : header_end + 2]
        expected = hdlc.fcs(body[:header_end])
        if given != expected and header_end + 4 <= said:
            faults.append(_check("header check sequence", given, expected))
        content = body[header_end + 2 : -2 if said <= len(body) else len(body)]
    frame = hdlc.Frame(
        body[2:destination_end], body[destination_end:source_end], body[source_end], content,
        bool(body[0] & 0x08),
    )  # fmt: skip
    return frame, tuple(faults)


def _check(name: str, given: bytes, expected: bytes) -> str:
    return f"wrong {name}: {given.hex()} instead of {expected.hex()}"


def _address_end(body: bytes, start: int) -> int:
    """Where an address of 1, 2 or 4 octets ends; 0 for any other."""
    for end in range(start + 1, min(start + 4, len(body)) + 1):
        if body[end - 1] & 1:
            return 0 if end - start == 3 else end
    return 0


def _mbus_long(octets: bytes, size: int) -> MbusPiece:
    faults = []
    body = octets[4 : 4 + size]
    if len(octets) < size + 6:
        faults.append(f"it breaks off: {len(octets)} of its {size + 6} octets are here")
    else:
        if sum(body) & 0xFF != octets[-2]:
            faults.append(f"wrong checksum: {octets[-2]:02x} instead of {sum(body) & 0xFF:02x}")
        if octets[-1] != _MBUS_STOP:
            faults.append(f"it ends with {octets[-1]:02x} instead of 16")
    head = body[:3].ljust(3, b"\0")
    return MbusPiece(octets, head[0], head[1], head[2], body[3:], tuple(faults))
