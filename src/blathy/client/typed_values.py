"""Plain Python values into COSEM data of the type that the class table asks for.

The inverse of `Type.plain`: `{"image_identifier": b"fw", "image_size": 4096}` for a structure, a
list for an array, a name for an enumeration, `"2026-11-21T10:00+01:00"` for a date-time, `"0x0102"`
or octets for an octet-string. Where a type leaves a choice, the value that is there now decides;
without one, or for objects that no table knows, `"u16:5"` says the type itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import IntEnum
from struct import calcsize
from typing import Any, Final

from blathy.clock import Zone, utc_of
from blathy.cosem.axdr import NUMERIC_FORMATS, AxdrError, Data, DataType, encode
from blathy.cosem.classes import Method, interface_class
from blathy.cosem.classes.types import (
    Anything,
    ArrayOf,
    Choice,
    Enumerated,
    LogicalName,
    Moment,
    Simple,
    Structure,
    Type,
    parse,
)
from blathy.cosem.cosem_time import CosemDate, CosemDateTime, CosemTime
from blathy.cosem.objectlist import ScalerUnit
from blathy.cosem.service import AttributeRef, MethodRef
from blathy.obis import Obis
from blathy.quantity import SYMBOL, Quantity, Unit

WORDS: Final = (
    "null", "bool", "bits", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "enum", "os",
    "vs", "utf8", "bcd", "f32", "f64", "dt", "date", "time",
)  # fmt: skip
"""Type names that may stand before a value: `u16:5`, `os:0x0102`, `null:`."""
RAW: Final = "raw:"
"""Before the meter's own integer of a register, without scaler and unit."""
_SAID: Final = re.compile(rf"({'|'.join(WORDS)}):(.*)", re.DOTALL)
_TEXTS: Final = {DataType.VISIBLE_STRING, DataType.UTF8_STRING}
_FLOATS: Final = {DataType.FLOAT32, DataType.FLOAT64, DataType.FLOATING_POINT}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_MEASURED: Final = re.compile(r"([-+]?\d+(?:\.\d+)?)\s*(\D*)", re.ASCII)
_PREFIXES: Final = ((0, ""), (3, "k"), (6, "M"), (-3, "m"))
_UNSET: Final = b"\xff" * 9 + b"\x80\x00\xff"
_UTC: Final = Zone("UTC")
ANY_TYPE: Final = Anything("any")


class WrongValue(ValueError):  # noqa: N818 - what is wrong is the value
    """A value that its type cannot carry, with what would do instead."""


def data_of(kind: Type, value: Any, present: Data | None = None) -> Data:
    """`value` as `kind` wants it; ValueError with what would do instead."""
    if isinstance(value, Data):
        return value
    if isinstance(value, str) and (said := _SAID.fullmatch(value)) is not None:
        return _checked(data_of(parse(said[1]), said[2]), kind, value)
    if isinstance(kind, Anything):
        return _as_present(value, present)
    if isinstance(kind, Choice):
        return _chosen(kind, value, present)
    if isinstance(kind, Structure):
        return _structure(kind, value, present)
    if isinstance(kind, ArrayOf):
        return _array(kind, value, present)
    if isinstance(kind, LogicalName):
        return Data(DataType.OCTET_STRING, bytes(Obis.parse(str(value))))
    if isinstance(kind, Moment):
        return _moment(kind, value, present)
    if isinstance(kind, Enumerated):
        return Data(DataType.ENUM, _member(kind.members, value))
    assert isinstance(kind, Simple)
    return _simple(kind, value, present)


def attribute_type(ref: AttributeRef, version: int | None = None) -> Type:
    """What the class table says of an attribute; any type where no table knows it."""
    try:
        return interface_class(ref.class_id, version).attribute(ref.attribute).type
    except KeyError:
        return ANY_TYPE


def method_row(ref: MethodRef, version: int | None = None) -> Method | None:
    """What the class table says of a method."""
    try:
        return interface_class(ref.class_id, version).method(ref.method)
    except KeyError:
        return None


def mantissa_of(value: Any, unit: ScalerUnit) -> Any:
    """The meter's integer for a value with its unit, exactly; raw values pass."""
    if isinstance(value, Data) or (isinstance(value, str) and _SAID.fullmatch(value)):
        return value
    if isinstance(value, str) and value.startswith(RAW):
        return value.removeprefix(RAW)
    symbol = SYMBOL[unit.unit]
    if isinstance(value, Quantity):
        number, given = Decimal(value.mantissa).scaleb(value.scaler), SYMBOL[value.unit]
    else:
        match = _MEASURED.fullmatch(str(value).strip())
        if match is None or (symbol and not match[2]):
            example = f"{Decimal(5).scaleb(unit.scaler):f} {symbol}".strip()
            raise WrongValue(f"{value!r} has no unit; write {example!r}, or 'raw:5'")
        number, given = Decimal(match[1]), match[2]
    power = next((p for p, prefix in _PREFIXES if given == prefix + symbol), None)
    if power is None:
        raise WrongValue(f"{given or value!r} is not {symbol or 'a number'}")
    mantissa = number.scaleb(power - unit.scaler)
    if mantissa != mantissa.to_integral_value():
        step = f"{Decimal(1).scaleb(unit.scaler):f} {symbol}".strip()
        raise WrongValue(f"{value!s} is finer than the step of {step}")
    return int(mantissa)


def _checked(data: Data, kind: Type, value: Any) -> Data:
    if not kind.accepts(data):
        raise WrongValue(f"{value!r} is not of the type {kind.text}")
    encode(data)  # AxdrError is a ValueError
    return data


def _as_present(value: Any, present: Data | None) -> Data:
    """Nothing is known but what is there now."""
    if value is None:
        return Data(DataType.INTEGER, 0)
    if present is None or present.type in {DataType.ARRAY, DataType.STRUCTURE}:
        raise WrongValue(f"no table knows the type of {value!r}; say it, for example u16:5")
    return _simple(Simple("any", frozenset({present.type})), value, present)


def _chosen(kind: Choice, value: Any, present: Data | None) -> Data:
    options = kind.options
    if present is not None:
        options = tuple(each for each in options if each.accepts(present)) or options
    found: list[Data] = []
    wrong: ValueError = WrongValue(f"{value!r} is none of {kind.text}")
    for option in options:
        try:
            found.append(data_of(option, value, present))
        except ValueError as error:
            wrong = error
    if not found:
        raise wrong
    if len(set(found)) > 1:
        words = " or ".join(dict.fromkeys(option.text for option in options))
        raise WrongValue(f"{value!r} could be {words}; say which, for example u16:5")
    return found[0]


def _structure(kind: Structure, value: Any, present: Data | None) -> Data:
    names = [name for name, _ in kind.fields]
    if isinstance(value, Mapping):
        if set(value) != set(names):
            raise WrongValue(f"name exactly {', '.join(names)}")
        value = [value[name] for name in names]
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise WrongValue(f"{value!r} is no structure of {', '.join(names)}")
    if len(value) != len(names):
        raise WrongValue(f"give {len(names)} elements: {', '.join(names)}")
    there = present.value if present is not None and present.type is DataType.STRUCTURE else ()
    there = there if len(there) == len(names) else [None] * len(names)
    pairs = zip(kind.fields, value, there, strict=True)
    return Data(DataType.STRUCTURE, tuple(data_of(each, v, old) for (_, each), v, old in pairs))


def _array(kind: ArrayOf, value: Any, present: Data | None) -> Data:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        inside = ""
        if isinstance(kind.element, Structure):
            inside = "{" + ", ".join(f'"{name}": …' for name, _ in kind.element.fields) + "}, "
        raise WrongValue(f"{value!r} is no list; write [{inside}…]")
    there = present.value if present is not None and present.type is DataType.ARRAY else ()
    pattern = there[0] if there else None
    return Data(DataType.ARRAY, tuple(data_of(kind.element, each, pattern) for each in value))


def _moment(kind: Moment, value: Any, present: Data | None) -> Data:
    raw = _moment_octets(kind, value)
    if len(raw) != kind.size:
        raise WrongValue(f"{value!r} has {len(raw)} octets, not {kind.size}")
    tagged = kind.kind if not kind.text.startswith("os_") else DataType.OCTET_STRING
    if present is not None and kind.accepts(present):
        tagged = present.type
    return Data(tagged, raw)


def _moment_octets(kind: Moment, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, CosemDateTime | CosemDate | CosemTime):
        return value.raw()
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    if kind.size == 12:
        return _date_time_octets(text)
    try:
        if kind.size == 5:
            return CosemDate.of_date(datetime.fromisoformat(text).date()).raw()
        clock = datetime.fromisoformat(f"2000-01-01T{text}")
    except ValueError:
        usual = "date; write 2026-11-21" if kind.size == 5 else "time; write 10:15:00"
        raise WrongValue(f"{text!r} is no {usual}") from None
    return CosemTime(clock.hour, clock.minute, clock.second).raw()


def _date_time_octets(text: str) -> bytes:
    if text == "unset":
        return _UNSET
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WrongValue(f"{text!r} is no date-time; write 2026-11-21T10:00+01:00") from None
    shown = moment.replace(tzinfo=None).replace(tzinfo=_UTC.tzinfo)
    stamp = CosemDateTime.from_utc(utc_of(shown), _UTC).raw()
    offset = moment.utcoffset()
    deviation = -0x8000 if offset is None else -int(offset.total_seconds()) // 60
    return stamp[:9] + deviation.to_bytes(2, "big", signed=True) + stamp[11:]


def _member(members: type[IntEnum], value: Any) -> int:
    if isinstance(value, int):
        return int(value)
    text = str(value).strip()
    if text.isdecimal():
        return int(text)
    for member in members:
        shown = SYMBOL[member] if isinstance(member, Unit) else ""
        if text in {shown, str(member.name)} or text.lower().replace("-", "_") == (
            str(member.name).lower()
        ):
            return int(member)
    able = ", ".join(str(member.name).lower() for member in members if members is not Unit)
    raise WrongValue(f"{text!r} is none of {able or 'the units, such as Wh or V'}")


def _simple(kind: Simple, value: Any, present: Data | None) -> Data:
    kinds = kind.kinds
    if present is not None and present.type in kinds:
        kinds = frozenset({present.type})
    if len(kinds) != 1:
        raise WrongValue(f"{value!r} may be of several types; say which, for example u16:5")
    (tag,) = kinds
    data = Data(tag, _content(tag, value))
    if kind.size is not None and len(data.value) != kind.size:
        raise WrongValue(f"{value!r} has {len(data.value)} elements, not {kind.size}")
    try:
        encode(data)
    except AxdrError:
        raise WrongValue(f"{value!r} is no {tag.text}{_range(tag)}") from None
    return data


def _range(tag: DataType) -> str:
    """What an integer type holds, in words."""
    form = NUMERIC_FORMATS.get(tag, "")
    if not form or tag in _FLOATS:
        return ""
    bits = 8 * calcsize(f"={form}")
    lowest = -(1 << bits - 1) if form.islower() else 0
    return f"; give {lowest} to {lowest + (1 << bits) - 1}"


def _content(tag: DataType, value: Any) -> Any:
    """The content of one simple type; raise ValueError where the value cannot be it."""
    if tag is DataType.NULL_DATA:
        if value not in (None, ""):
            raise WrongValue(f"{value!r} is not empty")
        return None
    if tag is DataType.BOOLEAN:
        return _truth(value)
    if tag is DataType.BIT_STRING:
        if isinstance(value, str) and set(value) <= {"0", "1"}:
            return value
        raise WrongValue(f"{value!r} is no bit-string; write its bits, 0101")
    if tag in _TEXTS:
        if not isinstance(value, str):
            raise WrongValue(f"{value!r} is no text")
        return value
    if tag in _FLOATS:
        return _number(value, float)
    if tag in {DataType.OCTET_STRING, DataType.DATE_TIME, DataType.DATE, DataType.TIME}:
        return _octets(value)
    return _number(value, lambda text: int(text, 0))


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise WrongValue(f"{value!r} is neither true nor false")


def _number(value: Any, read: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise WrongValue(f"{value!r} is no number")
    if isinstance(value, str):
        try:
            return read(value.strip())
        except ValueError:
            raise WrongValue(f"{value!r} is no number of this type") from None
    if isinstance(value, float) and read is not float:
        raise WrongValue(f"{value!r} is no whole number")
    return read(value) if read is float else value


def _octets(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        raise WrongValue(f"{value!r} is no text and no octets")
    if not value.startswith("0x"):
        return value.encode()
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        raise WrongValue(f"{value!r} is not written in hex") from None
