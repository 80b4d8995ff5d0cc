"""COSEM data and its A-XDR encoding (IEC 62056-5-3 on IEC 61334-6): tags, values, bytes.

`encode` and `decode` are inverse to each other for every value. Decoding is total: whatever the
bytes are, the only exception is `AxdrError`, the work and the memory are proportional to the
bytes present (never to a length that the bytes claim), and nesting ends at `MAX_DEPTH`.

Values in Python:

- null-data, dont-care: None; boolean: bool; every integer type, enum, bcd (its octet): int
- float32, float64, floating-point: float
- bit-string: a str of "0" and "1", the first bit first
- octet-string, date-time, date, time: bytes; visible-string, utf8-string: str
- array, structure: a tuple of Data; compact-array: a `CompactArray`
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, Final, NamedTuple

MAX_DEPTH: Final = 32
"""Containers within containers. The deepest attribute of the interface classes needs eight."""

COMPACT_ELEMENTS_PER_OCTET: Final = 4
"""Bound on what one octet of a compact-array may unfold to: columns without size cost no octets."""


class AxdrError(ValueError):
    """Bytes that are no A-XDR data, or a value that its type cannot carry."""


class DataType(IntEnum):
    """Tags of COSEM data (IEC 62056-6-2)."""

    NULL_DATA = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BIT_STRING = 4
    DOUBLE_LONG = 5
    DOUBLE_LONG_UNSIGNED = 6
    FLOATING_POINT = 7
    OCTET_STRING = 9
    VISIBLE_STRING = 10
    UTF8_STRING = 12
    BCD = 13
    INTEGER = 15
    LONG = 16
    UNSIGNED = 17
    LONG_UNSIGNED = 18
    COMPACT_ARRAY = 19
    LONG64 = 20
    LONG64_UNSIGNED = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27
    DELTA_INTEGER = 28
    DELTA_LONG = 29
    DELTA_DOUBLE_LONG = 30
    DELTA_UNSIGNED = 31
    DELTA_LONG_UNSIGNED = 32
    DELTA_DOUBLE_LONG_UNSIGNED = 33
    DONT_CARE = 255

    @property
    def text(self) -> str:
        """The name as the standard writes it, e.g. `double-long-unsigned`."""
        return self.name.lower().replace("_", "-")


class Data(NamedTuple):
    """One COSEM value with its type."""

    type: DataType
    value: Any


class TypeDescription(NamedTuple):
    """What a compact-array says of its elements: `repeat` only for arrays (one element type)."""

    type: DataType
    elements: tuple[TypeDescription, ...] = ()
    repeat: int = 0


class CompactArray(NamedTuple):
    """Elements of one type whose tags are written once."""

    description: TypeDescription
    elements: tuple[Data, ...]


NUMERIC_FORMATS: Final[dict[DataType, str]] = {
    DataType.DOUBLE_LONG: "i",
    DataType.DOUBLE_LONG_UNSIGNED: "I",
    DataType.FLOATING_POINT: "f",
    DataType.BCD: "B",
    DataType.INTEGER: "b",
    DataType.LONG: "h",
    DataType.UNSIGNED: "B",
    DataType.LONG_UNSIGNED: "H",
    DataType.LONG64: "q",
    DataType.LONG64_UNSIGNED: "Q",
    DataType.ENUM: "B",
    DataType.FLOAT32: "f",
    DataType.FLOAT64: "d",
    DataType.DELTA_INTEGER: "b",
    DataType.DELTA_LONG: "h",
    DataType.DELTA_DOUBLE_LONG: "i",
    DataType.DELTA_UNSIGNED: "B",
    DataType.DELTA_LONG_UNSIGNED: "H",
    DataType.DELTA_DOUBLE_LONG_UNSIGNED: "I",
}
"""struct and NumPy format letter of every type whose value is one big-endian number."""

FIXED_SIZES: Final[dict[DataType, int]] = {
    DataType.NULL_DATA: 0,
    DataType.DONT_CARE: 0,
    DataType.BOOLEAN: 1,
    DataType.DATE_TIME: 12,
    DataType.DATE: 5,
    DataType.TIME: 4,
    **{kind: struct.calcsize(">" + letter) for kind, letter in NUMERIC_FORMATS.items()},
}
"""Octets after the tag, for types that carry no length."""

DELTA_TYPES: Final = frozenset(kind for kind in DataType if kind.name.startswith("DELTA_"))
FLOAT_TYPES: Final = frozenset({DataType.FLOATING_POINT, DataType.FLOAT32, DataType.FLOAT64})
INTEGER_TYPES: Final = frozenset(NUMERIC_FORMATS) - FLOAT_TYPES
LENGTHED_TYPES: Final = frozenset(
    {
        DataType.OCTET_STRING,
        DataType.VISIBLE_STRING,
        DataType.UTF8_STRING,
        DataType.BIT_STRING,
    }
)
OCTET_TYPES: Final = frozenset(
    {DataType.OCTET_STRING, DataType.DATE_TIME, DataType.DATE, DataType.TIME}
)
_STRUCTS: Final = {kind: struct.Struct(">B" + letter) for kind, letter in NUMERIC_FORMATS.items()}
_TYPES: Final[list[DataType | None]] = [None] * 256
_READERS: Final[list[Callable[..., tuple[Any]] | None]] = [None] * 256
_SIZES: Final[list[int]] = [-1] * 256
for _kind in DataType:
    _TYPES[_kind] = _kind
    _SIZES[_kind] = FIXED_SIZES.get(_kind, -1)
for _kind, _letter in NUMERIC_FORMATS.items():
    _READERS[_kind] = struct.Struct(">" + _letter).unpack_from

_ARRAY, _STRUCTURE, _COMPACT = DataType.ARRAY, DataType.STRUCTURE, DataType.COMPACT_ARRAY
_BIT_STRING: Final = DataType.BIT_STRING
_NULL: Final = Data(DataType.NULL_DATA, None)


# --- constructors -----------------------------------------------------------------------------


def null() -> Data:
    return _NULL


def dont_care() -> Data:
    return Data(DataType.DONT_CARE, None)


def boolean(value: bool) -> Data:
    return Data(DataType.BOOLEAN, bool(value))


def bits(value: str) -> Data:
    """A bit-string from "0" and "1", the first bit first."""
    return Data(DataType.BIT_STRING, value)


def i8(value: int) -> Data:
    return Data(DataType.INTEGER, value)


def i16(value: int) -> Data:
    return Data(DataType.LONG, value)


def i32(value: int) -> Data:
    return Data(DataType.DOUBLE_LONG, value)


def i64(value: int) -> Data:
    return Data(DataType.LONG64, value)


def u8(value: int) -> Data:
    return Data(DataType.UNSIGNED, value)


def u16(value: int) -> Data:
    return Data(DataType.LONG_UNSIGNED, value)


def u32(value: int) -> Data:
    return Data(DataType.DOUBLE_LONG_UNSIGNED, value)


def u64(value: int) -> Data:
    return Data(DataType.LONG64_UNSIGNED, value)


def enum(value: int) -> Data:
    return Data(DataType.ENUM, int(value))


def bcd(octet: int) -> Data:
    """One octet with two decimal digits: 0x42 is 42."""
    return Data(DataType.BCD, octet)


def float32(value: float) -> Data:
    return Data(DataType.FLOAT32, value)


def float64(value: float) -> Data:
    return Data(DataType.FLOAT64, value)


def octets(value: bytes | bytearray | memoryview) -> Data:
    return Data(DataType.OCTET_STRING, bytes(value))


def visible(value: str) -> Data:
    """A visible-string; characters beyond ASCII travel as Latin-1."""
    return Data(DataType.VISIBLE_STRING, value)


def utf8(value: str) -> Data:
    return Data(DataType.UTF8_STRING, value)


def date_time(raw: bytes) -> Data:
    return Data(DataType.DATE_TIME, bytes(raw))


def date(raw: bytes) -> Data:
    return Data(DataType.DATE, bytes(raw))


def time(raw: bytes) -> Data:
    return Data(DataType.TIME, bytes(raw))


def array(*elements: Data) -> Data:
    return Data(_ARRAY, elements)


def array_of(elements: Iterable[Data]) -> Data:
    return Data(_ARRAY, tuple(elements))


def structure(*elements: Data) -> Data:
    return Data(_STRUCTURE, elements)


def compact_array(description: TypeDescription, elements: Iterable[Data]) -> Data:
    return Data(_COMPACT, CompactArray(description, tuple(elements)))


# --- lengths ----------------------------------------------------------------------------------


def encode_length(length: int) -> bytes:
    """The A-XDR length or count in its shortest form; raise AxdrError outside 0 to 2^32-1."""
    if 0 <= length < 0x80:
        return bytes((length,))
    if 0 < length < 0x100:
        return bytes((0x81, length))
    if 0 < length < 0x1_0000:
        return b"\x82" + length.to_bytes(2, "big")
    if 0 < length < 0x1_0000_0000:
        return b"\x84" + length.to_bytes(4, "big")
    msg = f"a length is 0 to 2^32-1, not {length}"
    raise AxdrError(msg)


def decode_length(buf: bytes, offset: int) -> tuple[int, int]:
    """Length at `offset` and the offset behind it. Longer forms than needed are accepted."""
    if offset >= len(buf):
        msg = f"the data ends at octet {offset} where a length should be"
        raise AxdrError(msg)
    first = buf[offset]
    offset += 1
    if first < 0x80:
        return first, offset
    size = first & 0x7F
    if not 1 <= size <= 4:
        msg = f"octet {offset - 1} is 0x{first:02X}, which is no length of 1 to 4 octets"
        raise AxdrError(msg)
    if offset + size > len(buf):
        msg = f"the data ends within the length at octet {offset - 1}"
        raise AxdrError(msg)
    return int.from_bytes(buf[offset : offset + size], "big"), offset + size


# --- encoding ---------------------------------------------------------------------------------


def encode(data: Data) -> bytes:
    """The canonical bytes; raise AxdrError where a value does not fit its type."""
    out = bytearray()
    _append(out, data, 0, tagged=True)
    return bytes(out)


def _append(out: bytearray, data: Data, depth: int, *, tagged: bool) -> None:
    if depth > MAX_DEPTH:
        msg = f"data is nested deeper than {MAX_DEPTH} levels"
        raise AxdrError(msg)
    try:
        kind, value = DataType(data[0]), data[1]
        if tagged:
            out.append(kind)
        if kind is _ARRAY or kind is _STRUCTURE:
            if tagged:
                out += encode_length(len(value))
            for element in value:
                _append(out, element, depth + 1, tagged=tagged)
        elif kind is _COMPACT:
            _append_compact(out, value, depth)
        else:
            out += _content(kind, value)
    except AxdrError:
        raise
    except (ValueError, TypeError, struct.error, OverflowError, IndexError, AttributeError) as bad:
        msg = f"{data!r:.200} is no COSEM value: {bad}"
        raise AxdrError(msg) from bad


def _content(kind: DataType, value: Any) -> bytes:
    """The octets after the tag of a simple type."""
    if packer := _STRUCTS.get(kind):
        return packer.pack(0, value)[1:]
    size = FIXED_SIZES.get(kind)
    if size == 0:
        if value is not None:
            msg = f"{kind.text} carries no value, got {value!r:.60}"
            raise AxdrError(msg)
        return b""
    if kind is DataType.BOOLEAN:
        if not isinstance(value, bool | int):
            msg = f"a boolean is True or False, not {value!r:.60}"
            raise AxdrError(msg)
        return b"\x01" if value else b"\x00"
    if kind is DataType.BIT_STRING:
        return encode_length(len(value)) + _packed_bits(value)
    if isinstance(value, str):
        value = _string_octets(kind, value)
    elif kind not in OCTET_TYPES or not isinstance(value, bytes | bytearray | memoryview):
        msg = f"{value!r:.60} is no value of type {kind.text}"
        raise AxdrError(msg)
    if size is None:
        return encode_length(len(value)) + bytes(value)
    if len(value) != size:
        msg = f"a {kind.text} has {size} octets, not {len(value)}"
        raise AxdrError(msg)
    return bytes(value)


def _string_octets(kind: DataType, value: str) -> bytes:
    if kind is DataType.VISIBLE_STRING:
        return value.encode("latin-1")
    if kind is DataType.UTF8_STRING:
        return value.encode("utf-8", "surrogateescape")
    msg = f"{kind.text} takes bytes, not text"
    raise AxdrError(msg)


def _packed_bits(value: Any) -> bytes:
    if not isinstance(value, str) or value.strip("01"):
        msg = f'a bit-string is written with "0" and "1", not as {value!r:.60}'
        raise AxdrError(msg)
    size = (len(value) + 7) // 8
    return int(value.ljust(size * 8, "0"), 2).to_bytes(size, "big") if size else b""


def _append_compact(out: bytearray, value: CompactArray, depth: int) -> None:
    description, elements = value
    out += encode_description(description)
    contents = bytearray()
    for element in elements:
        _check_described(description, element)
        _append(contents, element, depth + 1, tagged=False)
    out += encode_length(len(contents))
    out += contents


def _check_described(description: TypeDescription, data: Data) -> None:
    kind, value = data
    if kind != description.type:
        msg = f"the compact-array holds {description.type.text}, not {DataType(kind).text}"
        raise AxdrError(msg)
    if kind not in {_ARRAY, _STRUCTURE}:
        return
    wanted = _described_elements(description)
    if len(value) != len(wanted):
        msg = f"the compact-array describes {len(wanted)} elements, not {len(value)}"
        raise AxdrError(msg)
    for inner, element in zip(wanted, value, strict=True):
        _check_described(inner, element)


def _described_elements(description: TypeDescription) -> tuple[TypeDescription, ...]:
    if description.type is _ARRAY:
        return description.elements * description.repeat
    return description.elements


def encode_description(description: TypeDescription) -> bytes:
    """The type description of a compact-array, also used by class 62 (compact data)."""
    kind, elements, repeat = description
    if kind is _ARRAY:
        if len(elements) != 1 or not 0 <= repeat <= 0xFFFF:
            raise AxdrError("an array is described by one element type and a count of two octets")
        return bytes((kind,)) + repeat.to_bytes(2, "big") + encode_description(elements[0])
    if kind is _STRUCTURE:
        inner = b"".join(encode_description(element) for element in elements)
        return bytes((kind,)) + encode_length(len(elements)) + inner
    if kind is _COMPACT:
        raise AxdrError("a compact-array cannot hold compact-arrays")
    return bytes((kind,))


def encode_null() -> bytes:
    return b"\x00"


def encode_boolean(value: bool) -> bytes:
    return b"\x03\x01" if value else b"\x03\x00"


_PACK_I8, _PACK_I16 = struct.Struct(">Bb").pack, struct.Struct(">Bh").pack
_PACK_I32, _PACK_I64 = struct.Struct(">Bi").pack, struct.Struct(">Bq").pack
_PACK_U8, _PACK_U16 = struct.Struct(">BB").pack, struct.Struct(">BH").pack
_PACK_U32, _PACK_U64 = struct.Struct(">BI").pack, struct.Struct(">BQ").pack


def _packed(pack: Callable[[int, int], bytes], tag: DataType, value: int) -> bytes:
    try:
        return pack(tag, value)
    except struct.error as bad:
        msg = f"{value!r} does not fit into {tag.text}"
        raise AxdrError(msg) from bad


def encode_i8(value: int) -> bytes:
    return _packed(_PACK_I8, DataType.INTEGER, value)


def encode_i16(value: int) -> bytes:
    return _packed(_PACK_I16, DataType.LONG, value)


def encode_i32(value: int) -> bytes:
    return _packed(_PACK_I32, DataType.DOUBLE_LONG, value)


def encode_i64(value: int) -> bytes:
    return _packed(_PACK_I64, DataType.LONG64, value)


def encode_u8(value: int) -> bytes:
    return _packed(_PACK_U8, DataType.UNSIGNED, value)


def encode_u16(value: int) -> bytes:
    return _packed(_PACK_U16, DataType.LONG_UNSIGNED, value)


def encode_u32(value: int) -> bytes:
    return _packed(_PACK_U32, DataType.DOUBLE_LONG_UNSIGNED, value)


def encode_u64(value: int) -> bytes:
    return _packed(_PACK_U64, DataType.LONG64_UNSIGNED, value)


def encode_enum(value: int) -> bytes:
    return _packed(_PACK_U8, DataType.ENUM, value)


def encode_octets(value: bytes) -> bytes:
    return b"\x09" + encode_length(len(value)) + value


def encode_structure(*elements: bytes) -> bytes:
    """A structure of elements that are encoded already."""
    return b"\x02" + encode_length(len(elements)) + b"".join(elements)


def encode_array(elements: Iterable[bytes]) -> bytes:
    """An array of elements that are encoded already."""
    listed = list(elements)
    return b"\x01" + encode_length(len(listed)) + b"".join(listed)


# --- decoding ---------------------------------------------------------------------------------


def decode(buf: bytes | bytearray | memoryview) -> Data:
    """The one value that fills `buf`; raise AxdrError for anything else, surplus bytes included."""
    buf = bytes(buf)
    data, end = _read(buf, 0, 0)
    if end != len(buf):
        msg = f"{len(buf) - end} octets follow the data that ends at octet {end}"
        raise AxdrError(msg)
    return data


def decode_prefix(buf: bytes | bytearray | memoryview, offset: int = 0) -> tuple[Data, int]:
    """The value that begins at `offset`, and the offset behind it."""
    if offset < 0:
        raise AxdrError("an offset is not negative")
    return _read(bytes(buf), offset, 0)


def _read(buf: bytes, offset: int, depth: int) -> tuple[Data, int]:
    if offset >= len(buf):
        msg = f"the data ends at octet {offset} where a type tag should be"
        raise AxdrError(msg)
    tag = buf[offset]
    if tag == 1 or tag == 2:
        if depth >= MAX_DEPTH:
            msg = f"data is nested deeper than {MAX_DEPTH} levels"
            raise AxdrError(msg)
        count, offset = decode_length(buf, offset + 1)
        if count > len(buf) - offset:
            msg = f"{count} elements are announced, but only {len(buf) - offset} octets follow"
            raise AxdrError(msg)
        elements = []
        for _ in range(count):
            element, offset = _read(buf, offset, depth + 1)
            elements.append(element)
        return Data(_ARRAY if tag == 1 else _STRUCTURE, tuple(elements)), offset
    kind = _TYPES[tag]
    if kind is None:
        msg = f"octet {offset} is 0x{tag:02X}, which is no data type"
        raise AxdrError(msg)
    if kind is _COMPACT:
        return _read_compact(buf, offset + 1, depth)
    value, offset = _read_content(buf, offset + 1, kind)
    return Data(kind, value), offset


def _read_content(buf: bytes, offset: int, kind: DataType) -> tuple[Any, int]:
    """Value of a simple type whose content begins at `offset`, and the offset behind it."""
    size = _SIZES[kind]
    if size < 0:
        length, offset = decode_length(buf, offset)
        size = (length + 7) // 8 if kind is DataType.BIT_STRING else length
    end = offset + size
    if end > len(buf):
        msg = f"{kind.text} at octet {offset} needs {size} octets, {len(buf) - offset} are left"
        raise AxdrError(msg)
    if reader := _READERS[kind]:
        return reader(buf, offset)[0], end
    if size == 0 and kind in {DataType.NULL_DATA, DataType.DONT_CARE}:
        return None, end
    raw = buf[offset:end]
    if kind in OCTET_TYPES:
        return raw, end
    if kind is DataType.BOOLEAN:
        return raw != b"\x00", end
    if kind is DataType.VISIBLE_STRING:
        return raw.decode("latin-1"), end
    if kind is DataType.UTF8_STRING:
        return raw.decode("utf-8", "surrogateescape"), end
    return _unpacked_bits(raw, length), end


def _unpacked_bits(raw: bytes, length: int) -> str:
    return f"{int.from_bytes(raw, 'big'):0{len(raw) * 8}b}"[:length] if length else ""


def decode_description(buf: bytes, offset: int = 0) -> tuple[TypeDescription, int]:
    """The type description that begins at `offset`, and the offset behind it."""
    return _read_description(buf, offset, 0)


def _read_description(buf: bytes, offset: int, depth: int) -> tuple[TypeDescription, int]:
    if offset >= len(buf):
        raise AxdrError("the data ends within a type description")
    if depth > MAX_DEPTH:
        msg = f"a type description is nested deeper than {MAX_DEPTH} levels"
        raise AxdrError(msg)
    kind = _TYPES[buf[offset]]
    if kind is None or kind is _COMPACT:
        msg = f"octet {offset} is 0x{buf[offset]:02X}, which describes no type"
        raise AxdrError(msg)
    offset += 1
    if kind is _ARRAY:
        if offset + 2 > len(buf):
            raise AxdrError("the data ends within a type description")
        count = int.from_bytes(buf[offset : offset + 2], "big")
        element, offset = _read_description(buf, offset + 2, depth + 1)
        return TypeDescription(kind, (element,), count), offset
    if kind is not _STRUCTURE:
        return TypeDescription(kind), offset
    count, offset = decode_length(buf, offset)
    if count > len(buf) - offset:
        msg = f"{count} elements are described in {len(buf) - offset} octets"
        raise AxdrError(msg)
    elements = []
    for _ in range(count):
        element, offset = _read_description(buf, offset, depth + 1)
        elements.append(element)
    return TypeDescription(kind, tuple(elements)), offset


def _read_compact(buf: bytes, offset: int, depth: int) -> tuple[Data, int]:
    description, offset = _read_description(buf, offset, depth)
    length, offset = decode_length(buf, offset)
    end = offset + length
    if end > len(buf):
        msg = f"a compact-array needs {length} octets, {len(buf) - offset} are left"
        raise AxdrError(msg)
    elements = decode_described(description, buf[offset:end])
    return Data(_COMPACT, CompactArray(description, elements)), end


def decode_described(description: TypeDescription, contents: bytes) -> tuple[Data, ...]:
    """Elements without tags, one after the other until `contents` is used up."""
    budget = [COMPACT_ELEMENTS_PER_OCTET * len(contents)]
    elements = []
    offset = 0
    while offset < len(contents):
        element, end = _read_described(contents, offset, description, budget)
        if end == offset:
            raise AxdrError("a compact-array has contents, but its elements have no size")
        elements.append(element)
        offset = end
    return tuple(elements)


def _read_described(
    buf: bytes, offset: int, description: TypeDescription, budget: list[int]
) -> tuple[Data, int]:
    budget[0] -= 1
    if budget[0] < 0:
        raise AxdrError("a compact-array describes far more elements than it has octets")
    kind = description.type
    if kind is not _ARRAY and kind is not _STRUCTURE:
        value, offset = _read_content(buf, offset, kind)
        return Data(kind, value), offset
    elements = []
    repeated = description.repeat if kind is _ARRAY else 1
    for _ in range(repeated):
        if not description.elements:
            break
        for inner in description.elements:
            element, offset = _read_described(buf, offset, inner, budget)
            elements.append(element)
    return Data(kind, tuple(elements)), offset


def skip(buf: bytes, offset: int = 0) -> int:
    """The offset behind the value that begins at `offset`, without building it.

    Agrees with `decode_prefix` on everything that it accepts; of compact-arrays only the
    description and the length are looked at.
    """
    pending = 1
    end = len(buf)
    while pending:
        if offset >= end:
            msg = f"the data ends at octet {offset} where a type tag should be"
            raise AxdrError(msg)
        tag = buf[offset]
        size = _SIZES[tag]
        offset += 1
        pending -= 1
        if size < 0:
            size, added, offset = _measure(buf, offset, tag)
            pending += added
        offset += size
        if offset > end or pending > end - offset:
            raise AxdrError("the data ends within a value")
    return offset


def _measure(buf: bytes, offset: int, tag: int) -> tuple[int, int, int]:
    """(octets, elements) still to pass of a type with a length, and where they begin."""
    kind = _TYPES[tag]
    if kind is None:
        msg = f"octet {offset - 1} is 0x{tag:02X}, which is no data type"
        raise AxdrError(msg)
    if kind is _COMPACT:
        _, offset = _read_description(buf, offset, 0)
    length, offset = decode_length(buf, offset)
    if kind is _ARRAY or kind is _STRUCTURE:
        return 0, length, offset
    return ((length + 7) // 8 if kind is _BIT_STRING else length), 0, offset
