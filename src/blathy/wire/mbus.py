"""Wired M-Bus (EN 13757-2 link layer, EN 13757-3 application layer): frames, records, slave and
master.

A telegram is a list of records; a record is a DIF chain (coding, function, storage, tariff,
device), a VIF chain (quantity and power of ten) and the value. Values stay integers: `Quantity` is
mantissa, scaler and unit; dates are text, binary blocks bytes. Nothing but LocalProtocolError and
RemoteProtocolError leaves this module.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum
from typing import Final

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.mbus_keys import BLOCK_OCTETS, MODE_5, open_mode_5, seal_mode_5

ACK: Final = b"\xe5"
SHORT_START, LONG_START, STOP = 0x10, 0x68, 0x16
FRAME_BYTES_MAX: Final = 261
CHAIN_MAX: Final = 10  # DIFE or VIFE after the first byte (EN 13757-3)
ADDRESS_SELECTED, ADDRESS_ANY, ADDRESS_BROADCAST = 253, 254, 255
SND_NKE, REQ_UD2, REQ_UD1, SND_UD, RSP_UD = 0x40, 0x5B, 0x5A, 0x53, 0x08
FCB = 0x20
CI_DATA_SEND, CI_SELECT, CI_LONG, CI_SHORT, CI_NONE, CI_FIXED = 0x51, 0x52, 0x72, 0x7A, 0x78, 0x73


class Medium(IntEnum):
    """Device type (EN 13757-3), as far as this project uses it."""

    OTHER = 0
    OIL = 1
    ELECTRICITY = 2
    GAS = 3
    HEAT_OUTLET = 4
    STEAM = 5
    WARM_WATER = 6
    WATER = 7
    HEAT_COST_ALLOCATOR = 8
    COOLING = 10
    HEAT_INLET = 12
    RADIO_CONVERTER = 0x37
    COLD_WATER = 0x16


class Function(IntEnum):
    """What of the quantity a record holds (DIF bits 4-5)."""

    INSTANTANEOUS = 0
    MAXIMUM = 1
    MINIMUM = 2
    ERROR = 3


# -- link layer
# -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """A link-layer frame. `ci` is None for a short frame."""

    control: int
    address: int
    ci: int | None = None
    data: bytes = b""

    def encode(self) -> bytes:
        """The frame as bytes; raise LocalProtocolError if the data is longer than 252 bytes."""
        if self.ci is None:
            return bytes(
                (
                    SHORT_START,
                    self.control,
                    self.address,
                    (self.control + self.address) & 0xFF,
                    STOP,
                )
            )
        body = bytes((self.control, self.address, self.ci)) + self.data
        if len(body) > 255:
            msg = (
                f"an M-Bus frame carries 252 bytes of data, not {len(self.data)}; split the records"
            )
            raise LocalProtocolError(msg)
        head = bytes((LONG_START, len(body), len(body), LONG_START))
        return head + body + bytes((sum(body) & 0xFF, STOP))


class FrameReader:
    """Cuts a byte stream into frames and acknowledgements. Garbage is skipped and counted."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.garbage_bytes = 0

    def receive(self, data: bytes) -> list[Frame | bytes]:
        """Complete frames (and ACK as b"\\xe5") in what has arrived so far."""
        self._buffer += data
        found: list[Frame | bytes] = []
        while self._buffer:
            taken, frame = self._take()
            if taken == 0:
                break
            del self._buffer[:taken]
            if frame is not None:
                found.append(frame)
        return found

    def flush(self) -> None:
        """Forget an unfinished frame (the line fell silent)."""
        self.garbage_bytes += len(self._buffer)
        self._buffer.clear()

    def _take(self) -> tuple[int, Frame | bytes | None]:
        """(bytes used, frame): (0, None) waits for more, (1, None) skips a byte of garbage."""
        buffer = self._buffer
        start = buffer[0]
        if start == ACK[0]:
            return 1, ACK
        if start == SHORT_START:
            if len(buffer) < 5:
                return 0, None
            control, address, check, stop = buffer[1:5]
            if stop == STOP and check == (control + address) & 0xFF:
                return 5, Frame(control, address)
        elif start == LONG_START:
            if len(buffer) < 4:
                return (0, None) if len(buffer) < 2 or buffer[1] >= 3 else self._skip()
            length = buffer[1]
            if buffer[2] == length and buffer[3] == LONG_START and length >= 3:
                if len(buffer) < length + 6:
                    return 0, None
                body = bytes(buffer[4 : 4 + length])
                if buffer[length + 5] == STOP and buffer[length + 4] == sum(body) & 0xFF:
                    return length + 6, Frame(body[0], body[1], body[2], body[3:])
        return self._skip()

    def _skip(self) -> tuple[int, None]:
        self.garbage_bytes += 1
        return 1, None


# -- records --------------------------------------------------------------------------------------

_INTEGER_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 6: 6, 7: 8}
_BCD_BYTES: Final = {9: 1, 10: 2, 11: 3, 12: 4, 14: 6}


@dataclass(frozen=True, slots=True)
class Vif:
    """Quantity, unit and power of ten of a value-information block."""

    quantity: str
    unit: str = ""
    scaler: int = 0
    kind: str = "number"  # number, date, datetime, text, raw


@dataclass(frozen=True, slots=True)
class Record:
    """One data record. `value` is an int (times 10^`vif.scaler` in `vif.unit`), text or raw bytes;
    None is "no data" or an invalid number. `information`: its data and value information blocks as
    they were sent, which name it."""

    vif: Vif
    value: int | str | bytes | None
    function: Function = Function.INSTANTANEOUS
    storage: int = 0
    tariff: int = 0
    device: int = 0
    modifiers: tuple[int, ...] = ()
    information: bytes = field(default=b"", compare=False, repr=False)

    @property
    def is_backward(self) -> bool:
        """Whether it accumulates negative contributions only (VIFE 3C): export."""
        return 0x3C in self.modifiers


def _primary_vif(code: int) -> Vif:
    """The first VIF byte without its extension bit."""
    n, nn = code & 7, code & 3
    for first, last, quantity, unit, scaler in _VIF_RANGES:
        if first <= code <= last:
            return Vif(quantity, unit, (n if last - first == 7 else nn) + scaler)
    if code in _VIF_TIME_SPANS:
        return Vif(*_VIF_TIME_SPANS[code])
    return _VIF_SINGLES.get(code, Vif(f"VIF {code:02X}"))


_VIF_RANGES: Final = (
    (0x00, 0x07, "Energy", "Wh", -3),
    (0x08, 0x0F, "Energy", "J", 0),
    (0x10, 0x17, "Volume", "m³", -6),
    (0x18, 0x1F, "Mass", "kg", -3),
    (0x28, 0x2F, "Power", "W", -3),
    (0x30, 0x37, "Power", "J/h", 0),
    (0x38, 0x3F, "Volume flow", "m³/h", -6),
    (0x40, 0x47, "Volume flow", "m³/min", -7),
    (0x48, 0x4F, "Volume flow", "m³/s", -9),
    (0x50, 0x57, "Mass flow", "kg/h", -3),
    (0x58, 0x5B, "Flow temperature", "°C", -3),
    (0x5C, 0x5F, "Return temperature", "°C", -3),
    (0x60, 0x63, "Temperature difference", "K", -3),
    (0x64, 0x67, "External temperature", "°C", -3),
    (0x68, 0x6B, "Pressure", "bar", -3),
)
_TIME_UNITS: Final = ("s", "min", "h", "d")
_VIF_TIME_SPANS: Final = {
    first + k: (quantity, unit)
    for first, quantity in (
        (0x20, "On time"),
        (0x24, "Operating time"),
        (0x70, "Averaging duration"),
        (0x74, "Actuality duration"),
    )
    for k, unit in enumerate(_TIME_UNITS)
}
_VIF_SINGLES: Final = {
    0x6C: Vif("Time point", kind="date"),
    0x6D: Vif("Time point", kind="datetime"),
    0x6E: Vif("Heat cost allocation", "HCA"),
    0x78: Vif("Fabrication number"),
    0x79: Vif("Enhanced identification"),
    0x7A: Vif("Bus address"),
    0x7E: Vif("Any"),
    0x7F: Vif("Manufacturer specific", kind="raw"),
}


def _fd_vif(code: int) -> Vif:
    """Second byte after FD: the extended table of EN 13757-3."""
    if 0x40 <= code <= 0x4F:
        return Vif("Voltage", "V", (code & 15) - 9)
    if 0x50 <= code <= 0x5F:
        return Vif("Current", "A", (code & 15) - 12)
    return Vif(_FD_NAMES.get(code, f"VIF FD {code:02X}"), "", 0)


_FD_NAMES: Final = {
    0x08: "Access number", 0x09: "Medium", 0x0A: "Manufacturer", 0x0B: "Parameter set",
    0x0C: "Model", 0x0D: "Hardware version", 0x0E: "Firmware version", 0x0F: "Software version",
    0x10: "Customer location", 0x11: "Customer", 0x17: "Error flags", 0x19: "Security key",
    0x1A: "Digital output", 0x1B: "Digital input", 0x3A: "Dimensionless", 0x60: "Reset counter",
    0x61: "Cumulation counter",
}  # fmt: skip


def _fb_vif(code: int) -> Vif:
    """Second byte after FB: larger powers of ten."""
    table = (
        (0x00, 0x01, "Energy", "Wh", 5),
        (0x02, 0x03, "Reactive energy", "varh", 3),
        (0x08, 0x09, "Energy", "J", 8),
        (0x10, 0x11, "Volume", "m³", 2),
        (0x18, 0x19, "Mass", "kg", 5),
        (0x28, 0x29, "Power", "W", 5),
        (0x2C, 0x2F, "Frequency", "Hz", -3),
        (0x30, 0x31, "Power", "J/h", 8),
    )
    for first, last, quantity, unit, scaler in table:
        if first <= code <= last:
            return Vif(quantity, unit, code - first + scaler)
    return Vif(f"VIF FB {code:02X}")


class _Cursor:
    """Reads a byte string with bounds; every short read is the sender's fault."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, n: int) -> bytes:
        if self.at + n > len(self.data):
            msg = f"the telegram ends inside a record (byte {self.at} of {len(self.data)})"
            raise RemoteProtocolError(msg)
        self.at += n
        return self.data[self.at - n : self.at]


def decode_records(data: bytes) -> tuple[list[Record], bool]:
    """The records of a variable data structure, and whether more telegrams follow (DIF 1F).

    Manufacturer data after DIF 0F comes as one record of raw bytes. Raise RemoteProtocolError where
    the telegram breaks EN 13757-3.
    """
    cursor, records, more = _Cursor(data), [], False
    while cursor.at < len(data):
        dif = cursor.byte()
        if dif == 0x2F:
            continue
        if dif in {0x0F, 0x1F}:
            more = dif == 0x1F
            raw = cursor.take(len(data) - cursor.at)
            if raw or not more:
                records.append(Record(Vif("Manufacturer specific", kind="raw"), raw))
            break
        if dif & 15 == 15:
            msg = f"DIF {dif:02X} is reserved"
            raise RemoteProtocolError(msg)
        records.append(_decode_record(dif, cursor))
    return records, more


def require_information(dib: bytes, vib: bytes) -> None:
    """RemoteProtocolError where these are not a data and a value information block that a record
    may begin with."""
    data, value = _Cursor(dib), _Cursor(vib)
    dif = data.byte()
    if dif & 15 == 15:
        raise RemoteProtocolError(f"DIF {dif:02X} begins no record of one value")
    _decode_extensions(dif, data)
    _decode_vif(value)
    if data.at < len(dib) or value.at < len(vib):
        raise RemoteProtocolError("octets follow after an information block")


def _decode_record(dif: int, cursor: _Cursor) -> Record:
    begin = cursor.at - 1
    storage, tariff, device = _decode_extensions(dif, cursor)
    vif, modifiers = _decode_vif(cursor)
    information = cursor.data[begin : cursor.at]
    value = _decode_value(dif & 15, vif, cursor)
    if isinstance(value, _Scaled):
        vif = Vif(vif.quantity, vif.unit, vif.scaler + value.scaler, vif.kind)
        value = value.mantissa
    function = Function((dif >> 4) & 3)
    return Record(vif, value, function, storage, tariff, device, modifiers, information)


def _decode_extensions(dif: int, cursor: _Cursor) -> tuple[int, int, int]:
    """Storage, tariff and device of a data information block."""
    storage, tariff, device = (dif >> 6) & 1, 0, 0
    more, count = dif & 0x80, 0
    while more:
        if count == CHAIN_MAX:
            msg = f"more than {CHAIN_MAX} DIFE in one record"
            raise RemoteProtocolError(msg)
        extension = cursor.byte()
        storage |= (extension & 15) << (1 + 4 * count)
        tariff |= ((extension >> 4) & 3) << (2 * count)
        device |= ((extension >> 6) & 1) << count
        more, count = extension & 0x80, count + 1
    return storage, tariff, device


def _decode_vif(cursor: _Cursor) -> tuple[Vif, tuple[int, ...]]:
    first = cursor.byte()
    chain: list[int] = []
    more = first & 0x80
    text: str | None = None
    if first & 0x7F == 0x7C:  # the unit as plain text, sent backwards
        text = cursor.take(cursor.byte())[::-1].decode("latin-1")
    while more:
        if len(chain) == CHAIN_MAX:
            msg = f"more than {CHAIN_MAX} VIFE in one record"
            raise RemoteProtocolError(msg)
        extension = cursor.byte()
        chain.append(extension & 0x7F)
        more = extension & 0x80
    if text is not None:
        return Vif(text), tuple(chain)
    if first == 0xFD and chain:
        return _fd_vif(chain[0]), tuple(chain[1:])
    if first == 0xFB and chain:
        return _fb_vif(chain[0]), tuple(chain[1:])
    if first == 0xFF:
        return Vif("Manufacturer specific"), tuple(chain)
    return _primary_vif(first & 0x7F), tuple(chain)


@dataclass(frozen=True, slots=True)
class _Scaled:
    mantissa: int
    scaler: int


def _decode_value(coding: int, vif: Vif, cursor: _Cursor) -> int | str | bytes | _Scaled | None:
    if coding in {0, 8}:
        return None
    if coding in _INTEGER_BYTES:
        raw = cursor.take(_INTEGER_BYTES[coding])
        if vif.kind in {"date", "datetime"}:
            return _decode_time(raw)
        return int.from_bytes(raw, "little", signed=True)
    if coding in _BCD_BYTES:
        return _decode_bcd(cursor.take(_BCD_BYTES[coding]))
    if coding == 5:
        return _decode_real(cursor.take(4))
    return _decode_variable(cursor)


def _decode_bcd(raw: bytes) -> int | None:
    """Packed BCD, least significant byte first; a leading F is a minus sign, other letters are no
    number."""
    digits = raw[::-1].hex()
    sign = -1 if digits.startswith("f") else 1
    digits = digits[1:] if sign < 0 else digits
    return sign * int(digits) if digits.isdecimal() else None


def _decode_real(raw: bytes) -> _Scaled | None:
    """IEEE 754 single as a decimal of nine significant digits, which identify every single
    exactly."""
    text = f"{struct.unpack('<f', raw)[0]:.8e}"
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return None  # inf or nan
    return _Scaled(int(mantissa.replace(".", "")), int(exponent) - 8)


def _decode_variable(cursor: _Cursor) -> str | bytes | int | None:
    length = cursor.byte()
    if length <= 0xBF:
        return cursor.take(length)[::-1].decode("latin-1")
    if length <= 0xCF:
        return _decode_bcd(cursor.take(length - 0xC0))
    if length <= 0xDF:
        value = _decode_bcd(cursor.take(length - 0xD0))
        return None if value is None else -value
    if length <= 0xEF:
        return cursor.take(length - 0xE0)
    msg = f"variable length {length:02X} is reserved"
    raise RemoteProtocolError(msg)


def _decode_time(raw: bytes) -> str | None:
    """Types G (date, 2 bytes), F (minutes, 4 bytes), I (seconds, 6 bytes) as ISO text; None if
    invalid."""
    if len(raw) == 2:
        day, month, year = raw[0] & 31, raw[1] & 15, _year(raw[0], raw[1])
        return f"{year:04d}-{month:02d}-{day:02d}" if day and 1 <= month <= 12 else None
    if len(raw) == 4:
        minute, hour, invalid = raw[0] & 63, raw[1] & 31, raw[0] & 0x80
        second, date_bytes = None, raw[2:4]
    elif len(raw) == 6:
        second, minute, hour = raw[0] & 63, raw[1] & 63, raw[2] & 31
        invalid, date_bytes = raw[1] & 0x80, raw[3:5]
    else:
        return None
    date = _decode_time(date_bytes)
    if invalid or date is None or hour > 23 or minute > 59:
        return None
    return f"{date}T{hour:02d}:{minute:02d}" + (f":{second:02d}" if second is not None else "")


def _year(low: int, high: int) -> int:
    year = (low >> 5) | ((high >> 4) << 3)
    return 1900 + year if year > 80 else 2000 + year


# -- encoding
# ---------------------------------------------------------------------------------------


def record_bytes(
    dif: int, vif: Sequence[int], value: int | bytes, *, dife: Sequence[int] = ()
) -> bytes:
    """One record: `dif` and `dife` chain, `vif` chain, and the value in the DIF's coding.

    The extension bits are set here. Raise LocalProtocolError if the value does not fit the coding.
    """
    head = _chain([dif, *dife]) + _chain(list(vif))
    coding = dif & 15
    if isinstance(value, bytes):
        if coding == 13:
            return head + bytes((len(value),)) + value[::-1]
        return head + value
    if coding in _INTEGER_BYTES:
        try:
            return head + value.to_bytes(_INTEGER_BYTES[coding], "little", signed=True)
        except OverflowError as error:
            msg = f"{value} does not fit a field of {_INTEGER_BYTES[coding]} bytes"
            raise LocalProtocolError(msg) from error
    if coding in _BCD_BYTES:
        size = _BCD_BYTES[coding]
        digits = f"{abs(value):0{2 * size}d}"
        if value < 0:
            digits = "f" + digits[1:] if digits[0] == "0" else digits + "0"
        if len(digits) > 2 * size:
            msg = f"{value} does not fit {2 * size} BCD digits"
            raise LocalProtocolError(msg)
        return head + bytes.fromhex(digits)[::-1]
    msg = f"a number cannot be sent in coding {coding}"
    raise LocalProtocolError(msg)


def _chain(codes: list[int]) -> bytes:
    return bytes(
        (*(code | 0x80 for code in codes[:-1]), codes[-1] & 0x7F if len(codes) > 1 else codes[0])
    )


def datetime_bytes(moment: datetime) -> bytes:
    """Type F: a local date and time to the minute, four bytes."""
    year = moment.year % 100
    return bytes(
        (
            moment.minute,
            moment.hour | (0x80 if moment.dst() else 0),
            moment.day | (year & 7) << 5,
            moment.month | (year >> 3) << 4,
        )
    )


def datetime_seconds_bytes(moment: datetime) -> bytes:
    """Type I: a local date and time to the second, six bytes; the week is not specified."""
    minutes = datetime_bytes(moment)
    return bytes((moment.second, minutes[0], minutes[1] & 31, minutes[2], minutes[3], 0))


def manufacturer_code(letters: str) -> int:
    """The two-byte code of a FLAG manufacturer: `KAM` -> 0x2C2D."""
    if len(letters) != 3 or not all("A" <= letter <= "Z" for letter in letters):
        msg = f"a manufacturer is three capital letters, not {letters!r}"
        raise LocalProtocolError(msg)
    a, b, c = (ord(letter) - 64 for letter in letters)
    return a << 10 | b << 5 | c


def manufacturer_letters(code: int) -> str:
    """`KAM` of 0x2C2D."""
    return "".join(chr(64 + ((code >> shift) & 31)) for shift in (10, 5, 0))


@dataclass(frozen=True, slots=True)
class Header:
    """The fixed header of a long-header answer: secondary address, access number, status."""

    identification: int  # eight decimal digits
    manufacturer: str
    version: int
    medium: int
    access_number: int = 0
    status: int = 0
    signature: int = 0

    def secondary_address(self) -> bytes:
        """Eight bytes as they stand in a selection."""
        return (
            bytes.fromhex(f"{self.identification:08d}")[::-1]
            + manufacturer_code(self.manufacturer).to_bytes(2, "little")
            + bytes((self.version, self.medium))
        )

    def encode(self) -> bytes:
        tail = bytes((self.access_number, self.status)) + self.signature.to_bytes(2, "little")
        return self.secondary_address() + tail


@dataclass(frozen=True, slots=True)
class Telegram:
    """A decoded answer: who sent it and its records. `more` tells that another telegram follows.
    `encrypted`: it came under a key (security mode 5), and has no records where that is not ours.
    """

    address: int
    header: Header | None
    records: tuple[Record, ...]
    more: bool = False
    encrypted: bool = False


def decode_telegram(frame: Frame, key: bytes = b"") -> Telegram:
    """The header and the records of an RSP_UD; raise RemoteProtocolError if it is none. `key`
    opens what is encrypted."""
    data = frame.data
    if frame.ci == CI_LONG:
        if len(data) < 12:
            msg = f"a long header has 12 bytes, this telegram only {len(data)}"
            raise RemoteProtocolError(msg)
        number = _decode_bcd(data[0:4])
        header = Header(
            number if number is not None and number >= 0 else int.from_bytes(data[0:4], "little"),
            manufacturer_letters(int.from_bytes(data[4:6], "little") & 0x7FFF),
            data[6], data[7], data[8], data[9], int.from_bytes(data[10:12], "little"),
        )  # fmt: skip
        blocks = header.signature >> 4 & 15
        if header.signature >> 8 & 31 == MODE_5 and blocks:
            plain = open_mode_5(key, data[:8], data[8], data[12:], blocks)
            records, more = decode_records(plain or b"")
            return Telegram(frame.address, header, tuple(records), more, encrypted=True)
        records, more = decode_records(data[12:])
        return Telegram(frame.address, header, tuple(records), more)
    if frame.ci in {CI_SHORT, CI_NONE}:
        records, more = decode_records(data[4:] if frame.ci == CI_SHORT else data)
        return Telegram(frame.address, None, tuple(records), more)
    msg = f"CI {frame.ci if frame.ci is None else format(frame.ci, '02X')} carries no variable data"
    raise RemoteProtocolError(msg)


# -- slave ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class MbusSlave:
    """A meter on the bus. `telegrams` gives the record bytes of each telegram of a reading, each at
    most 234 bytes; it is asked anew at the first request of a reading. `on_data` takes the records
    that are sent to it, and raises RemoteProtocolError for what the device does not take; that is
    not acknowledged. With a `key` readings go out encrypted (security mode 5)."""

    primary_address: int
    header: Header
    telegrams: Callable[[], Sequence[bytes]]
    on_data: Callable[[bytes], None] | None = None
    key: bytes = b""
    _reader: FrameReader = field(default_factory=FrameReader)
    _selected: bool = False
    _fcb: int | None = None
    _queue: list[bytes] = field(default_factory=list)
    _index: int = 0
    _last: bytes = b""
    _access: int = 0
    _last_byte_at: int = 0

    def receive(self, data: bytes, now: Instant) -> list[bytes]:
        """Answers to whatever the master sent, ready for the line; none for others' frames."""
        if self._reader._buffer and now - self._last_byte_at > NANOSECONDS_PER_S // 2:
            self._reader.flush()  # the rest of a broken frame never comes
        self._last_byte_at = now
        answers: list[bytes] = []
        for frame in self._reader.receive(data):
            if isinstance(frame, Frame):
                answer = self._answer(frame)
                if answer and frame.address != ADDRESS_BROADCAST:
                    answers.append(answer)
        return answers

    def _answer(self, frame: Frame) -> bytes:
        if frame.address == ADDRESS_SELECTED and frame.ci == CI_SELECT:
            self._selected = self._matches(frame.data)
            self._fcb = None
            return ACK if self._selected else b""
        mine = frame.address in {self.primary_address, ADDRESS_ANY, ADDRESS_BROADCAST}
        if not mine and not (frame.address == ADDRESS_SELECTED and self._selected):
            return b""
        function = frame.control & ~FCB
        if function == SND_NKE:
            self._fcb, self._queue = None, []
            if frame.address == ADDRESS_SELECTED:
                self._selected = False
            return ACK
        if function == REQ_UD2:
            return self._reading(frame.control & FCB)
        if function == SND_UD:
            return ACK if frame.ci != CI_DATA_SEND or self._took(frame.data) else b""
        return b""

    def _took(self, data: bytes) -> bool:
        """Whether the device has taken the records."""
        if self.on_data is None:
            return False
        try:
            self.on_data(data)
        except RemoteProtocolError:
            return False
        return True

    def _matches(self, mask: bytes) -> bool:
        """Secondary selection: F digits and FF bytes are wildcards."""
        own = self.header.secondary_address()
        if len(mask) < 8:
            return False
        for position in range(4):
            for shift in (0, 4):
                wanted = (mask[position] >> shift) & 15
                if wanted not in {15, (own[position] >> shift) & 15}:
                    return False
        maker = mask[4:6] in {b"\xff\xff", own[4:6]}
        return maker and mask[6] in {255, own[6]} and mask[7] in {255, own[7]}

    def _reading(self, fcb: int) -> bytes:
        if self._last and self._fcb == fcb:
            return self._last  # the same frame-count bit again: repeat the answer
        if self._fcb is None or self._index >= len(self._queue):
            self._queue, self._index = list(self.telegrams()), 0
        if not self._queue:
            return b""
        self._fcb = fcb
        records = self._queue[self._index]
        self._index += 1
        end = b"\x1f" if self._index < len(self._queue) else b""
        self._access = (self._access + 1) & 0xFF
        header = replace(self.header, access_number=self._access, signature=0)
        if self.key:
            device = header.secondary_address()
            records = seal_mode_5(self.key, device, self._access, records, end)
            blocks = len(records) // BLOCK_OCTETS
            header = replace(header, signature=MODE_5 << 8 | blocks << 4)
        else:
            records += end
        self._last = Frame(
            RSP_UD, self.primary_address, CI_LONG, header.encode() + records
        ).encode()
        return self._last


# -- master ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reading:
    """All records of one meter, over as many telegrams as it sent. `encrypted`: all of them were,
    and there are no records where the key is another one."""

    address: int
    header: Header | None
    records: tuple[Record, ...]
    encrypted: bool = False


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The slave kept silent through all retries."""

    address: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The slave has taken what was sent to it."""

    address: int


MasterEvent = Reading | NoAnswer | Acknowledged


@dataclass(slots=True)
class MbusMaster:
    """Reads or writes one slave at a time: `read()` or `write()` gives the first bytes to send,
    `receive` and `tick` the rest.

    `to_send()` empties what must go onto the line. Answers are waited for `timeout_ns`, and each
    request is repeated twice, as EN 13757-2 wants.
    """

    timeout_ns: int = NANOSECONDS_PER_S // 2
    telegrams_max: int = 16
    _reader: FrameReader = field(default_factory=FrameReader)
    _out: bytearray = field(default_factory=bytearray)
    _steps: list[bytes] = field(default_factory=list)
    _address: int = 0
    _fcb: int = FCB
    _tries: int = 0
    _sent: bytes = b""
    _deadline: int | None = None
    _records: list[Record] = field(default_factory=list)
    _telegrams: int = 0
    _header: Header | None = None
    _key: bytes = b""
    _encrypted: bool = False
    _writing: bool = False

    def read(self, address: int, now: Instant, key: bytes = b"") -> None:
        """Begin to read the slave at a primary address (0-250, or 254 if it is alone on the
        bus); `key` opens what it encrypts."""
        self._begin(address)
        self._key = key
        self._steps = [Frame(SND_NKE, address).encode()]
        self._next(now)

    def read_selected(self, secondary: bytes, now: Instant) -> None:
        """Begin to read the slave of that secondary address (8 bytes)."""
        self._begin(ADDRESS_SELECTED)
        select = Frame(SND_UD, ADDRESS_SELECTED, CI_SELECT, secondary).encode()
        self._steps = [Frame(SND_NKE, ADDRESS_SELECTED).encode(), select]
        self._tries = 2  # nobody may be selected yet, so the reset is not repeated
        self._next(now)

    def write(self, address: int, records: bytes, now: Instant) -> None:
        """Begin to send data records (at most 252 bytes) to the slave at a primary address."""
        frame = Frame(SND_UD | FCB, address, CI_DATA_SEND, records).encode()
        self._begin(address)
        self._writing = True
        self._steps = [Frame(SND_NKE, address).encode(), frame]
        self._next(now)

    def to_send(self) -> bytes:
        """What must go onto the line now."""
        out = bytes(self._out)
        self._out.clear()
        return out

    @property
    def waiting(self) -> bool:
        """True when everything is sent and only an answer can go on."""
        return not self._out

    def deadline(self) -> Instant | None:
        """When `tick` must be called."""
        return None if self._deadline is None else Instant(self._deadline)

    def receive(self, data: bytes, now: Instant) -> list[MasterEvent]:
        """Take what came from the line. Raise RemoteProtocolError if an answer breaks the
        standard."""
        events: list[MasterEvent] = []
        for frame in self._reader.receive(data):
            if self._deadline is None:
                continue
            if frame == ACK and self._writing and not self._steps:
                self._deadline = None
                events.append(Acknowledged(self._address))
            elif frame == ACK:
                self._next(now)
            elif (
                isinstance(frame, Frame)
                and frame.control & 0x4F == RSP_UD
                and not self._steps
                and not self._writing
            ):
                events += self._take(decode_telegram(frame, self._key), now)
        return events

    def tick(self, now: Instant) -> list[MasterEvent]:
        """Repeat the request or give up when its answer is late."""
        if self._deadline is None or now < self._deadline:
            return []
        self._reader.flush()
        if self._tries < 2:
            self._tries += 1
            self._send(self._sent, now)
            return []
        if self._steps and self._address == ADDRESS_SELECTED and self._sent[1] == SND_NKE:
            self._next(now)
            return []
        self._deadline = None
        return [NoAnswer(self._address)]

    def _begin(self, address: int) -> None:
        if self._deadline is not None:
            msg = "the master is still reading another slave; wait for its answer"
            raise LocalProtocolError(msg)
        self._address, self._fcb, self._tries = address, FCB, 0
        self._records, self._telegrams, self._header = [], 0, None
        self._key, self._encrypted, self._writing = b"", True, False

    def _next(self, now: Instant) -> None:
        if self._steps:
            frame = self._steps.pop(0)
        else:
            frame = Frame(REQ_UD2 | self._fcb if self._fcb else REQ_UD2, self._address).encode()
        if frame[0] != SHORT_START or frame[1] != SND_NKE or self._address != ADDRESS_SELECTED:
            self._tries = 0
        self._send(frame, now)

    def _send(self, frame: bytes, now: Instant) -> None:
        self._sent = frame
        self._out += frame
        self._deadline = now + self.timeout_ns

    def _take(self, telegram: Telegram, now: Instant) -> list[MasterEvent]:
        self._records += telegram.records
        self._header = self._header or telegram.header
        self._encrypted = self._encrypted and telegram.encrypted
        self._telegrams += 1
        if telegram.more and self._telegrams < self.telegrams_max:
            self._fcb ^= FCB
            self._next(now)
            return []
        self._deadline = None
        records = tuple(self._records)
        return [Reading(telegram.address, self._header, records, self._encrypted)]
