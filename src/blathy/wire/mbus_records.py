"""Records of M-Bus (EN 13757-3).

A record is a DIF chain (coding, function, storage, tariff, device), a VIF chain (quantity and power
of ten) and the value. Values stay integers: mantissa, scaler and unit; dates are text, binary
blocks bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Final

from blathy.wire.errors import LocalProtocolError, RemoteProtocolError

CHAIN_MAX: Final = 10  # DIFE or VIFE after the first byte (EN 13757-3)


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
        return decode_bcd(cursor.take(_BCD_BYTES[coding]))
    if coding == 5:
        return _decode_real(cursor.take(4))
    return _decode_variable(cursor)


def decode_bcd(raw: bytes) -> int | None:
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
        return decode_bcd(cursor.take(length - 0xC0))
    if length <= 0xDF:
        value = decode_bcd(cursor.take(length - 0xD0))
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


# -- encoding ------------------------------------------------------------------------------------


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
