"""Buffers of profiles to NumPy columns, never an object per value.

Three ways lead from the bytes to the columns, fastest first; each gives the same result:

1. *One layout.* Every row has the tags and lengths of the first one. The buffer is a matrix of
   octets then, and a column is a strided view of it. This is what a load profile normally is.
2. *Mixed layouts.* Rows differ: null-data, another integer type, a longer string. For every octet
   of a window we compute where a value that began there would end; composing that map gives the
   row starts without looking at the values, and each column is gathered at once.
3. *Anything.* Structures within rows: the general decoder of `axdr`.

Null-data means "as in the row before" (IEC 62056-6-2, class 7) and keeps its place. In the clock
column it means "one capture period later": such times are reconstructed only when the caller
names the period, and are marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from blathy.cosem import axdr
from blathy.cosem.axdr import (
    DELTA_TYPES,
    FIXED_SIZES,
    FLOAT_TYPES,
    LENGTHED_TYPES,
    NUMERIC_FORMATS,
    OCTET_TYPES,
    Data,
    DataType,
    TypeDescription,
    decode_length,
    encode_length,
)
from blathy.cosem.profile import Column, Profile, ProfileError, Values
from blathy.cosem.selective import CaptureObject
from blathy.cosem.time_columns import Mask, Octets

Positions = npt.NDArray[np.int32]

WINDOW_OCTETS: Final = 1 << 16
"""Mixed layouts are worked through in windows of this size, so that the maps stay in the cache."""

SMALL_OCTETS: Final = 1 << 14
"""Up to here one gathered comparison is faster than one for each stretch."""

_NULLS: Final = frozenset({DataType.NULL_DATA, DataType.DONT_CARE})
_TAGS: Final = frozenset(DataType)
_BOOLEAN, _BIT_STRING = DataType.BOOLEAN, DataType.BIT_STRING  # asked for at every column
_FAR: Final = 1 << 30


# --- decoding ---------------------------------------------------------------------------------


def decode_profile(
    buf: bytes | bytearray | memoryview,
    captures: Sequence[CaptureObject],
    *,
    fill_nulls: bool = True,
) -> Profile:
    """Attribute 2 of a profile (array of structures or compact-array) as columns.

    `captures` are the capture objects of the columns in the answer, in order. With `fill_nulls`
    null-data takes the value of the row before (not in clock columns); without it the value is
    missing. Raise AxdrError for bytes that are no such buffer; nothing else.
    """
    buf = bytes(buf)
    captures = tuple(captures)
    if not captures:
        raise ProfileError("a profile has at least one capture object")
    if not buf:
        raise ProfileError("the buffer of a profile is an array; there are no octets at all")
    if buf[0] == DataType.COMPACT_ARRAY:
        return _decode_compact(buf, captures, fill_nulls)
    if buf[0] != DataType.ARRAY:
        msg = f"the buffer of a profile is an array, not type 0x{buf[0]:02X}"
        raise ProfileError(msg)
    count, start = decode_length(buf, 1)
    if count == 0:
        if start != len(buf):
            raise ProfileError("octets follow an empty profile")
        return Profile(tuple(_empty(capture) for capture in captures), 0, "one layout")
    raws, layout = _array_columns(buf, start, count, len(captures))
    columns = (_finish(c, raw, fill_nulls) for c, raw in zip(captures, raws, strict=True))
    return Profile(tuple(columns), count, layout)


def _array_columns(buf: bytes, start: int, count: int, columns: int) -> tuple[list[_Raw], str]:
    """The columns of an array of structures, by the fastest way that understands it."""
    header = b"\x02" + encode_length(columns)
    if buf[start : start + len(header)] == header:
        if raws := _one_layout(buf, start, count, header, columns):
            return raws, "one layout"
        if raws := _mixed_layouts(buf, start, count, header, columns):
            return raws, "mixed layouts"
    else:
        _check_first_row(buf, start, columns)
    return _general(axdr.decode(buf).value, columns), "general"


def _check_first_row(buf: bytes, start: int, columns: int) -> None:
    """Say what is wrong with the first row; a count in a longer form than needed is not."""
    if start >= len(buf) or buf[start] != DataType.STRUCTURE:
        raise ProfileError("a row of a profile is a structure")
    count, _ = decode_length(buf, start + 1)
    if count != columns:
        msg = (
            f"a row has {count} values, but {columns} capture objects were given; "
            "read the capture objects of this profile again"
        )
        raise ProfileError(msg)


class _Raw(NamedTuple):
    """A column as it was sent: null rows hold 0, deltas hold the difference."""

    type: DataType | None
    values: Values
    null: Mask | None = None
    delta: Mask | None = None


class _Slot(NamedTuple):
    """Where a value stands in a row: its content begins at `offset` and has `width` octets."""

    type: DataType
    offset: int
    width: int


def _empty(capture: CaptureObject) -> Column:
    return Column(capture, None, np.zeros(0, np.int64))


def _one_layout(
    buf: bytes, start: int, count: int, header: bytes, columns: int
) -> list[_Raw] | None:
    """Columns as views of a matrix, or None where a row differs from the first one."""
    slots = _row_layout(buf, start + len(header), columns)
    if slots is None:
        return None
    length = slots[-1].offset + slots[-1].width - start
    if count * length != len(buf) - start:
        return None
    matrix = np.frombuffer(buf, np.uint8, count * length, start).reshape(count, length)
    if not _alike(matrix, start, slots):
        return None
    return [_view(buf, slot, count, length) for slot in slots]


def _alike(matrix: Octets, start: int, slots: Sequence[_Slot]) -> bool:
    """Whether tags and lengths, what stands between the contents, are those of the first row."""
    bounds, at = [], 0
    for slot in slots:
        bounds.append((at, slot.offset - start))
        at = slot.offset - start + slot.width
    if matrix.size < SMALL_OCTETS:
        fixed = [place for first, stop in bounds for place in range(first, stop)]
        return bool((matrix[:, fixed] == matrix[0, fixed]).all())
    return all((matrix[:, a:b] == matrix[0, a:b]).all() for a, b in bounds)


def _row_layout(buf: bytes, offset: int, columns: int) -> list[_Slot] | None:
    """The slots of one row, or None where it holds structures, arrays or unknown tags."""
    slots = []
    for _ in range(columns):
        if offset >= len(buf) or buf[offset] not in _TAGS:
            return None
        kind = DataType(buf[offset])
        offset += 1
        if kind in LENGTHED_TYPES:
            width, offset = decode_length(buf, offset)
            if kind is _BIT_STRING:
                return None
        elif kind in FIXED_SIZES:
            width = FIXED_SIZES[kind]
        else:
            return None
        slots.append(_Slot(kind, offset, width))
        offset += width
    return slots if offset <= len(buf) else None


def _view(buf: bytes, slot: _Slot, count: int, stride: int) -> _Raw:
    """A column at a fixed place of rows of one length."""
    kind = slot.type
    if kind in _NULLS:
        return _Raw(None, np.zeros(count, np.int64), np.ones(count, np.bool_))
    if kind in NUMERIC_FORMATS or kind is _BOOLEAN:
        letter = NUMERIC_FORMATS.get(kind, "B")
        wire = np.ndarray((count,), ">" + letter, buf, slot.offset, (stride,))
        if kind is _BOOLEAN:
            return _Raw(kind, (wire != 0).astype(np.uint8))
        delta = np.ones(count, np.bool_) if kind in DELTA_TYPES else None
        return _Raw(kind, wire.astype(letter), None, delta)
    octets = np.ndarray((count, slot.width), np.uint8, buf, slot.offset, (stride, 1))
    if kind in OCTET_TYPES:
        return _Raw(kind, np.ascontiguousarray(octets))
    return _Raw(kind, _texts(kind, octets))


def _texts(kind: DataType, octets: Octets) -> Values:
    """Strings of one width as Python objects; equal ones are one object."""
    raw, width = octets.tobytes(), octets.shape[1]
    known: dict[bytes, str] = {}
    texts = np.empty(len(octets), object)
    encoding = "latin-1" if kind is DataType.VISIBLE_STRING else "utf-8"
    for row in range(len(octets)):
        piece = raw[row * width : row * width + width]
        if piece not in known:
            known[piece] = piece.decode(encoding, "surrogateescape")
        texts[row] = known[piece]
    return texts


# Octets from a tag to the next tag, by tag; types with a length and containers are `_FAR` here.
_STEP: Final = np.full(256, _FAR, np.int32)
for _kind, _width in FIXED_SIZES.items():
    _STEP[_kind] = 1 + _width
_IS_LENGTHED: Final = np.zeros(256, np.bool_)
for _kind in LENGTHED_TYPES:
    _IS_LENGTHED[_kind] = True


def _next_values(octets: Octets) -> Positions:
    """For every octet: where the value would end that began there.

    The map has two more places: one past the end (all octets used up, no value begins there), and
    the last one, which stands for "no simple value" and leads to itself.
    """
    size = len(octets)
    place = np.arange(size + 2, dtype=np.int32)
    ends = place.copy()
    ends[:size] += _STEP[octets]
    strings = np.flatnonzero(_IS_LENGTHED[octets[:-1]]) if size > 1 else np.zeros(0, np.int64)
    if len(strings):
        length = octets[strings + 1].astype(np.int32)
        width = np.where(octets[strings] == DataType.BIT_STRING, (length + 7) >> 3, length)
        ends[strings] = np.where(length < 0x80, strings + 2 + width, _FAR)
    ends[size] = size + 1
    return np.minimum(ends, size + 1, out=ends)


def _composed(step: Positions, times: int) -> Positions:
    """The map `step` applied `times` times, by repeated squaring."""
    result: Positions | None = None
    while True:
        if times & 1:
            result = step if result is None else step.take(result)
        times >>= 1
        if not times:
            assert result is not None
            return result
        step = step.take(step)


def _mixed_layouts(
    buf: bytes, start: int, count: int, header: bytes, columns: int
) -> list[_Raw] | None:
    """Columns of rows whose layouts differ, or None where a value is not a simple one."""
    if len(buf) >= _FAR:
        return None
    octets = np.frombuffer(buf, np.uint8)
    pieces: list[list[Positions]] = [[] for _ in range(columns)]
    window = WINDOW_OCTETS
    found = 0
    while found < count:
        stop = min(start + window, len(buf))
        step = _next_values(octets[start:stop])
        rows, end = _row_starts(step, columns, len(header), count - found)
        if not len(rows):
            if stop == len(buf):
                return None
            window *= 2
            continue
        for index, octet in enumerate(header):
            if (octets[rows + (start + index)] != octet).any():
                return None
        place = rows + np.int32(len(header))
        for column in range(columns):
            pieces[column].append(place + np.int32(start))
            place = step[place]
        found += len(rows)
        start += end
    if start != len(buf):
        return None
    raws = []
    for column in range(columns):
        raw = _gathered(buf, octets, np.concatenate(pieces[column]))
        raws.append(raw)
    return raws


def _row_starts(step: Positions, columns: int, header: int, limit: int) -> tuple[Positions, int]:
    """Starts of the whole rows in a window, and where the last of them ends."""
    size = len(step) - 2
    # Where the row would end that began at an octet. Only the loop over rows below is Python's:
    # nothing stands in it that can stand in this map.
    ends = np.full(size + 1, size + 1, np.int32)
    ends[: max(0, size + 1 - header)] = _composed(step, columns)[header : size + 1]
    end_of = ends.data
    rows: list[int] = []
    place = 0
    for _ in range(limit):
        end = end_of[place]
        if end > size:
            break
        rows.append(place)
        place = end
    return np.array(rows, np.int32), place


def _gathered(buf: bytes, octets: Octets, place: Positions) -> _Raw:
    """One column from the places of its tags."""
    tags = octets[place]
    kinds = [DataType(int(tag)) for tag in np.flatnonzero(np.bincount(tags, minlength=256))]
    null = np.isin(tags, list(_NULLS)) if _NULLS & set(kinds) else None
    kinds = [kind for kind in kinds if kind not in _NULLS]
    if not kinds:
        return _Raw(None, np.zeros(len(place), np.int64), null)
    kind = kinds[0] if len(kinds) == 1 else None
    if all(each in NUMERIC_FORMATS or each is _BOOLEAN for each in kinds):
        return _gathered_numbers(octets, place, tags, kinds, null)
    if kind in OCTET_TYPES:
        rows = np.flatnonzero(tags == kind)
        content = place[rows] + 1
        width = FIXED_SIZES.get(kind)
        if width is None:
            lengths = octets[content]
            width = int(lengths[0])
            content = content + 1
            if (lengths != width).any():
                return _Raw(kind, _objects(buf, place, null), null)
        values = np.zeros((len(place), width), np.uint8)
        values[rows] = octets[content[:, None] + np.arange(width, dtype=np.int32)]
        return _Raw(kind, values, null)
    return _Raw(kind, _objects(buf, place, null), null)


def _objects(buf: bytes, place: Positions, null: Mask | None) -> Values:
    values = np.empty(len(place), object)
    rows = range(len(place)) if null is None else np.flatnonzero(~null)
    for row in rows:
        values[row] = axdr.decode_prefix(buf, int(place[row]))[0].value
    return values


def _gathered_numbers(
    octets: Octets, place: Positions, tags: Octets, kinds: list[DataType], null: Mask | None
) -> _Raw:
    """Numbers of one or several types; several integer types meet in the widest."""
    dtype = _common_dtype(kinds)
    values = np.zeros(len(place), dtype)
    for kind in kinds:
        whole = len(kinds) == 1 and null is None
        rows = slice(None) if whole else np.flatnonzero(tags == kind)
        width = FIXED_SIZES[kind]
        letter = NUMERIC_FORMATS.get(kind, "B")
        spread = place[rows][:, None] + np.arange(1, width + 1, dtype=np.int32)
        numbers = octets[spread].view(">" + letter)[:, 0]
        if kind is _BOOLEAN:
            numbers = numbers != 0
        values[rows] = numbers
    deltas = DELTA_TYPES.intersection(kinds)
    delta = np.isin(tags, list(deltas)) if deltas else None
    plain = [kind for kind in kinds if kind not in DELTA_TYPES]
    return _Raw(plain[0] if len(plain) == 1 else None, values, null, delta)


def _common_dtype(kinds: list[DataType]) -> npt.DTypeLike:
    letters = [NUMERIC_FORMATS.get(kind, "B") for kind in kinds]
    if DELTA_TYPES.intersection(kinds):
        return np.dtype(np.uint64) if "Q" in letters else np.dtype(np.int64)
    dtype = np.result_type(*letters)
    if dtype.kind == "f" and not FLOAT_TYPES.intersection(kinds):
        return np.dtype(object)  # u64 beside a signed type: only Python integers hold both
    return dtype


def _general(rows: Sequence[Data], columns: int) -> list[_Raw]:
    """Columns from decoded rows, whatever they hold."""
    listed: list[list[Data]] = [[] for _ in range(columns)]
    for row in rows:
        if row.type is not DataType.STRUCTURE or len(row.value) != columns:
            msg = f"a row of this profile is a structure of {columns} values"
            raise ProfileError(msg)
        for column, value in zip(listed, row.value, strict=True):
            column.append(value)
    return [_from_data(column) for column in listed]


def _from_data(column: list[Data]) -> _Raw:
    kinds = sorted({data.type for data in column} - _NULLS)
    null = np.array([data.type in _NULLS for data in column], np.bool_)
    masked = null if null.any() else None
    if not kinds:
        return _Raw(None, np.zeros(len(column), np.int64), masked)
    kind = kinds[0] if len(kinds) == 1 else None
    if all(each in NUMERIC_FORMATS or each is _BOOLEAN for each in kinds):
        dtype = _common_dtype(kinds)
        values = np.array([0 if data.value is None else data.value for data in column], dtype)
        delta = np.array([data.type in DELTA_TYPES for data in column], np.bool_)
        plain = [each for each in kinds if each not in DELTA_TYPES]
        single = plain[0] if len(plain) == 1 else None
        return _Raw(single, values, masked, delta if delta.any() else None)
    widths = {len(data.value) for data in column if data.type in OCTET_TYPES}
    if kind in OCTET_TYPES and len(widths) == 1:
        blank = bytes(widths.pop())
        joined = b"".join(blank if data.value is None else data.value for data in column)
        return _Raw(kind, np.frombuffer(joined, np.uint8).reshape(len(column), len(blank)), masked)
    objects = np.empty(len(column), object)
    containers = {DataType.ARRAY, DataType.STRUCTURE, DataType.COMPACT_ARRAY}
    for row, data in enumerate(column):
        objects[row] = data if data.type in containers else data.value
    return _Raw(kind, objects, masked)


def _decode_compact(buf: bytes, captures: tuple[CaptureObject, ...], fill_nulls: bool) -> Profile:
    """A compact-array: one description, then rows without tags."""
    description, offset = axdr.decode_description(buf, 1)
    length, offset = decode_length(buf, offset)
    if offset + length != len(buf):
        msg = f"a compact-array of {length} octets is announced, {len(buf) - offset} follow"
        raise ProfileError(msg)
    single = description.type is not DataType.STRUCTURE
    elements = (description,) if single else description.elements
    if len(elements) != len(captures):
        msg = f"a row has {len(elements)} values, but {len(captures)} capture objects were given"
        raise ProfileError(msg)
    if length == 0:
        return Profile(tuple(_empty(capture) for capture in captures), 0, "one layout")
    raws = _compact_layout(buf, offset, length, elements)
    layout = "one layout"
    if raws is None:
        layout = "general"
        rows: Sequence[Data] = axdr.decode_described(description, buf[offset:])
        if single:
            rows = [axdr.structure(row) for row in rows]
        raws = _general(rows, len(captures))
    columns = tuple(_finish(c, raw, fill_nulls) for c, raw in zip(captures, raws, strict=True))
    return Profile(columns, len(columns[0]), layout)


def _compact_layout(
    buf: bytes, start: int, length: int, elements: tuple[TypeDescription, ...]
) -> list[_Raw] | None:
    """Columns as views where every row has the lengths of the first one; None otherwise."""
    slots, lengths = [], []
    offset = start
    for element in elements:
        kind = element.type
        if kind in FIXED_SIZES:
            width = FIXED_SIZES[kind]
        elif kind is DataType.OCTET_STRING and offset < len(buf) and buf[offset] < 0x80:
            width = buf[offset]
            lengths.append(offset - start)
            offset += 1
        else:
            return None
        slots.append(_Slot(kind, offset, width))
        offset += width
    stride = offset - start
    if stride == 0 or length % stride:
        if not lengths:
            raise ProfileError("the contents of a compact-array do not end with a whole row")
        return None
    matrix = np.frombuffer(buf, np.uint8, length, start).reshape(-1, stride)
    if any((matrix[:, place] != matrix[0, place]).any() for place in lengths):
        return None
    return [_view(buf, slot, length // stride, stride) for slot in slots]


# --- null-data and deltas ---------------------------------------------------------------------


def _finish(capture: CaptureObject, raw: _Raw, fill_nulls: bool) -> Column:
    """Apply what null-data and delta values mean."""
    kind, values, null, delta = raw
    if delta is not None:
        values, missing = _summed(values, null, delta)
        return Column(capture, kind, values, null, missing if missing.any() else None)
    if null is None:
        return Column(capture, kind, values)
    if capture.is_clock or not fill_nulls:
        return Column(capture, kind, values, null, null)
    source = np.maximum.accumulate(np.where(null, -1, np.arange(len(null))))
    missing = source < 0
    filled = values[np.maximum(source, 0)]
    if missing.any():
        filled[missing] = None if filled.dtype == object else 0
        return Column(capture, kind, filled, null, missing)
    return Column(capture, kind, filled, null)


def _summed(values: Values, null: Mask | None, delta: Mask) -> tuple[Values, Mask]:
    """Values from differences to the row before; null-data is a difference of nothing."""
    relative = delta if null is None else delta | null
    anchor = np.maximum.accumulate(np.where(relative, -1, np.arange(len(values))))
    missing = anchor < 0
    steps = np.where(relative, values, values.dtype.type(0))
    if null is not None:
        steps[null] = 0
    total = np.cumsum(steps)
    base = np.maximum(anchor, 0)
    summed = values[base] + (total - total[base])
    summed[missing] = 0
    return summed, missing
