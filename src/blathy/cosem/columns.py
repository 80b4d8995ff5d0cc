"""Profiles as tables: buffer bytes to NumPy columns and back, never an object per value.

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

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from blathy.clock import Zone, iso_utc
from blathy.cosem import axdr
from blathy.cosem.axdr import (
    DELTA_TYPES,
    FIXED_SIZES,
    FLOAT_TYPES,
    NUMERIC_FORMATS,
    OCTET_TYPES,
    AxdrError,
    Data,
    DataType,
    TypeDescription,
    decode_length,
    encode_length,
)
from blathy.cosem.cosem_time import TimeQuirk
from blathy.cosem.selective import CaptureObject
from blathy.cosem.time_columns import Mask, Octets, Seconds, decode_times
from blathy.obis import Obis

Positions = npt.NDArray[np.int32]
Values = npt.NDArray[Any]

WINDOW_OCTETS: Final = 1 << 16
"""Mixed layouts are worked through in windows of this size, so that the maps stay in the cache."""

_NULLS: Final = frozenset({DataType.NULL_DATA, DataType.DONT_CARE})
_INTEGERS: Final = axdr.INTEGER_TYPES | {DataType.BOOLEAN}
_LENGTHED: Final = frozenset(
    {
        DataType.OCTET_STRING,
        DataType.VISIBLE_STRING,
        DataType.UTF8_STRING,
        DataType.BIT_STRING,
    }
)
_TAGS: Final = frozenset(DataType)
_FAR: Final = 1 << 30


class ProfileError(AxdrError):
    """Bytes that are no buffer of the profile that the capture objects describe."""


@dataclass(frozen=True, slots=True)
class Column:
    """One captured attribute over all rows.

    `values` holds integers or floats; for octet-strings and date-times of one width a matrix of
    octets (rows x width); otherwise Python objects, None where there is no value.
    `null` marks rows in which the meter sent null-data (the value was taken from the row before),
    `missing` rows that have no value at all (their entry in `values` is 0). None means no such row.
    """

    capture: CaptureObject
    type: DataType | None
    values: Values
    null: Mask | None = None
    missing: Mask | None = None

    def __len__(self) -> int:
        return len(self.values)

    def to_list(self) -> list[Any]:
        """Python values (int, float, str, bytes, tuple of Data); None where a value is missing."""
        if self.values.ndim == 2:
            raw, (count, width) = self.values.tobytes(), self.values.shape
            listed: list[Any] = [raw[i * width : i * width + width] for i in range(count)]
        else:
            listed = self.values.tolist()
        if self.missing is not None:
            for row in np.flatnonzero(self.missing):
                listed[row] = None
        return listed


class ProfileTimes(NamedTuple):
    """UTC seconds per row. `valid`: the row has a time. `reconstructed`: it was not sent."""

    utc_s: Seconds
    valid: Mask
    reconstructed: Mask

    def datetime64(self) -> npt.NDArray[np.datetime64]:
        """UTC as datetime64[s]; NaT where a row has no time."""
        moments = self.utc_s.astype("datetime64[s]")
        if not self.valid.all():
            moments[~self.valid] = np.datetime64("NaT")
        return moments


@dataclass(frozen=True, slots=True)
class Profile:
    """A decoded buffer: one column per capture object, rows in the order of the answer."""

    columns: tuple[Column, ...]
    size: int
    layout: str = field(default="", compare=False)
    """How it was decoded: `one layout`, `mixed layouts` or `general`."""

    def __len__(self) -> int:
        return self.size

    def column(self, key: Obis | str | CaptureObject) -> Column:
        """The column of a capture object or of an OBIS code; raise KeyError if there is none."""
        obis = Obis.parse(key) if isinstance(key, str) else key
        for column in self.columns:
            if obis in (column.capture, column.capture.obis):
                return column
        raise KeyError(str(key))

    def __getitem__(self, key: Obis | str | CaptureObject) -> Values:
        return self.column(key).values

    @property
    def clock(self) -> Column | None:
        """The first clock column, if the profile captures the clock."""
        return next((column for column in self.columns if column.capture.is_clock), None)

    def times(
        self,
        zone: Zone | None = None,
        period_s: int | None = None,
        quirks: TimeQuirk = TimeQuirk.NONE,
    ) -> ProfileTimes:
        """The time of every row.

        `zone` is needed for clocks that send no deviation. With `period_s` (attribute 4 of the
        profile) rows whose clock is null-data get the time of the row before plus the period.
        """
        none = np.zeros(self.size, np.bool_)
        column = self.clock
        if column is None or self.size == 0:
            return ProfileTimes(np.zeros(self.size, np.int64), none, none)
        utc_s, valid = _column_times(column, zone, quirks)
        if column.missing is not None:
            valid &= ~column.missing
        if column.null is None or not period_s:
            return ProfileTimes(utc_s, valid, none)
        return _reconstructed(utc_s, valid, column.null, period_s)

    def clock_status(self) -> npt.NDArray[np.uint8] | None:
        """The clock status octet of every row, or None without a clock column of 12 octets."""
        column = self.clock
        if column is None or column.values.ndim != 2 or column.values.shape[1] != 12:
            return None
        return column.values[:, 11].copy()

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Rows of Python values, None where a value is missing."""
        return zip(*(column.to_list() for column in self.columns), strict=True)

    def to_csv(
        self,
        zone: Zone | None = None,
        period_s: int | None = None,
        quirks: TimeQuirk = TimeQuirk.NONE,
    ) -> str:
        """Comma-separated text: UTC of the row first, then the columns under their OBIS codes.

        Octet-strings are written in hex; a missing value is an empty field.
        """
        out = io.StringIO()
        shown = [column for column in self.columns if column is not self.clock]
        times = self.times(zone, period_s, quirks)
        names = ["time_utc", *(str(column.capture.obis) for column in shown)]
        out.write(",".join(names) + "\n")
        listed = [column.to_list() for column in shown]
        moments = zip(times.utc_s.tolist(), times.valid.tolist(), strict=True)
        for (moment, valid), *values in zip(moments, *listed, strict=True):
            texts = [iso_utc(moment) if valid else "", *map(_csv_text, values)]
            out.write(",".join(texts) + "\n")
        return out.getvalue()

    def to_arrow(
        self,
        zone: Zone | None = None,
        period_s: int | None = None,
        quirks: TimeQuirk = TimeQuirk.NONE,
    ) -> Any:
        """A pyarrow Table: `time_utc` and one column per capture object, nulls where missing.

        Needs `pip install blathy[parquet]`; raise ImportError with that advice otherwise.
        """
        try:
            import pyarrow as pa
        except ImportError as absent:
            msg = "pyarrow is not installed; run: pip install 'blathy[parquet]'"
            raise ImportError(msg) from absent
        times = self.times(zone, period_s, quirks)
        moments = pa.array(times.datetime64(), pa.timestamp("s", "UTC"), mask=~times.valid)
        names, arrays = ["time_utc"], [moments]
        for column in self.columns:
            if column is self.clock:
                continue
            names.append(str(column.capture.obis))
            if column.values.ndim == 1 and column.values.dtype != object:
                arrays.append(pa.array(column.values, mask=column.missing))
            else:
                arrays.append(pa.array([_arrow_value(value) for value in column.to_list()]))
        return pa.table(arrays, names)


def _csv_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.hex()
    text = axdr.encode(value).hex() if isinstance(value, Data) else str(value)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def _arrow_value(value: Any) -> Any:
    return axdr.encode(value) if isinstance(value, Data) else value


def _column_times(column: Column, zone: Zone | None, quirks: TimeQuirk) -> tuple[Seconds, Mask]:
    values = column.values
    if values.ndim == 2 and values.shape[1] == 12:
        return decode_times(values, zone, quirks)
    if values.dtype != object:
        return np.zeros(len(values), np.int64), np.zeros(len(values), np.bool_)
    raw = np.zeros((len(values), 12), np.uint8)
    for row, value in enumerate(values):
        if isinstance(value, bytes) and len(value) == 12:
            raw[row] = np.frombuffer(value, np.uint8)
    return decode_times(raw, zone, quirks)


def _reconstructed(utc_s: Seconds, valid: Mask, null: Mask, period_s: int) -> ProfileTimes:
    """Times of null-data rows: the last time that was sent plus so many periods."""
    row = np.arange(len(utc_s))
    anchor = np.maximum.accumulate(np.where(null, -1, row))
    known = null & (anchor >= 0)
    known &= valid[anchor]
    times = utc_s.copy()
    times[known] = utc_s[anchor[known]] + (row - anchor)[known] * period_s
    return ProfileTimes(times, valid | known, known)


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
    header = b"\x02" + encode_length(len(captures))
    if buf[start : start + len(header)] != header:
        _refuse_row(buf, start, len(captures))
    raws = _one_layout(buf, start, count, header, len(captures))
    layout = "one layout"
    if raws is None:
        layout = "mixed layouts"
        raws = _mixed_layouts(buf, start, count, header, len(captures))
    if raws is None:
        layout = "general"
        raws = _general(axdr.decode(buf).value, len(captures))
    columns = (_finish(c, raw, fill_nulls) for c, raw in zip(captures, raws, strict=True))
    return Profile(tuple(columns), count, layout)


def _refuse_row(buf: bytes, start: int, columns: int) -> None:
    """Say what is wrong with the first row."""
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
    content = np.zeros(length, np.bool_)
    for slot in slots:
        content[slot.offset - start : slot.offset - start + slot.width] = True
    for first, stop in _runs(~content):
        run = matrix[:, first:stop]
        if not (run == matrix[0, first:stop]).all():
            return None
    return [_view(buf, slot, count, length) for slot in slots]


def _runs(flags: Mask) -> list[tuple[int, int]]:
    """Bounds of the stretches where `flags` is set."""
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _row_layout(buf: bytes, offset: int, columns: int) -> list[_Slot] | None:
    """The slots of one row, or None where it holds structures, arrays or unknown tags."""
    slots = []
    for _ in range(columns):
        if offset >= len(buf) or buf[offset] not in _TAGS:
            return None
        kind = DataType(buf[offset])
        offset += 1
        if kind in _LENGTHED:
            width, offset = decode_length(buf, offset)
            if kind is DataType.BIT_STRING:
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
    if kind in NUMERIC_FORMATS or kind is DataType.BOOLEAN:
        letter = NUMERIC_FORMATS.get(kind, "B")
        wire = np.ndarray((count,), ">" + letter, buf, slot.offset, (stride,))
        if kind is DataType.BOOLEAN:
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
for _kind in _LENGTHED:
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
    ends = _composed(step, columns).data
    rows: list[int] = []
    place = 0
    while len(rows) < limit and place + header <= size:
        end = ends[place + header]
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
    if all(each in NUMERIC_FORMATS or each is DataType.BOOLEAN for each in kinds):
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
        if kind is DataType.BOOLEAN:
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
    if all(each in NUMERIC_FORMATS or each is DataType.BOOLEAN for each in kinds):
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


# --- encoding ---------------------------------------------------------------------------------


class OutColumn(NamedTuple):
    """A column to send: numbers, or octets as a matrix (rows x width). `null`: send null-data."""

    type: DataType
    values: npt.ArrayLike
    null: Mask | None = None


def encode_profile(columns: Sequence[OutColumn]) -> bytes:
    """The array of structures for columns of equal length, canonical, built as one matrix.

    Raise AxdrError where a value does not fit its type or the lengths differ.
    """
    if not columns:
        raise ProfileError("a profile has at least one column")
    header = b"\x02" + encode_length(len(columns))
    prepared = [_prepared(column) for column in columns]
    count = len(prepared[0])
    template, places = bytearray(header), []
    for column, values in zip(columns, prepared, strict=True):
        if len(values) != count or (column.null is not None and len(column.null) != count):
            raise ProfileError("the columns of a profile have the same number of rows")
        template.append(column.type)
        if column.type in _LENGTHED:
            template += encode_length(values.shape[1])
        width = values.shape[1] if values.ndim == 2 else FIXED_SIZES[column.type]
        places.append(len(template))
        template += bytes(width)
    matrix = np.empty((count, len(template)), np.uint8)
    matrix[:] = np.frombuffer(bytes(template), np.uint8)
    _fill(matrix, columns, prepared, places)
    body = _without_nulls(matrix, columns, len(header), places)
    return b"\x01" + encode_length(count) + body


def encode_compact_profile(columns: Sequence[OutColumn]) -> bytes:
    """The same rows as a compact-array, which has no null-data."""
    if not columns or any(column.null is not None for column in columns):
        raise ProfileError("a compact profile has columns, and no null-data in them")
    prepared = [_prepared(column) for column in columns]
    if len({len(values) for values in prepared}) != 1:
        raise ProfileError("the columns of a profile have the same number of rows")
    template, places = bytearray(), []
    for column, values in zip(columns, prepared, strict=True):
        if column.type in _LENGTHED:
            template += encode_length(values.shape[1])
        places.append(len(template))
        template += bytes(values.shape[1] if values.ndim == 2 else FIXED_SIZES[column.type])
    matrix = np.empty((len(prepared[0]), len(template)), np.uint8)
    matrix[:] = np.frombuffer(bytes(template), np.uint8)
    _fill(matrix, columns, prepared, places)
    elements = tuple(TypeDescription(column.type) for column in columns)
    description = axdr.encode_description(TypeDescription(DataType.STRUCTURE, elements))
    return b"\x13" + description + encode_length(matrix.size) + matrix.tobytes()


def _prepared(column: OutColumn) -> Values:
    """The values as an array of the wire's type; raise AxdrError where one does not fit."""
    values = np.asarray(column.values)
    kind = column.type
    if kind in NUMERIC_FORMATS or kind is DataType.BOOLEAN:
        if values.ndim != 1:
            raise ProfileError("numbers are one per row")
        return _checked_numbers(kind, values)
    if kind not in OCTET_TYPES or values.ndim != 2 or values.dtype != np.uint8:
        msg = f"a column of {kind.text} is sent from a matrix of octets, rows x width"
        raise ProfileError(msg)
    if kind in FIXED_SIZES and values.shape[1] != FIXED_SIZES[kind]:
        msg = f"a {kind.text} has {FIXED_SIZES[kind]} octets, not {values.shape[1]}"
        raise ProfileError(msg)
    return values


def _checked_numbers(kind: DataType, values: Values) -> Values:
    dtype = np.dtype(NUMERIC_FORMATS.get(kind, "B"))
    if dtype.kind == "f" or values.dtype == dtype:
        return values
    if values.dtype.kind not in "biuO":
        msg = f"a column of {kind.text} is sent from integers, not {values.dtype}"
        raise ProfileError(msg)
    limits = np.iinfo(dtype)
    if len(values) and not (limits.min <= values.min() and values.max() <= limits.max):
        msg = f"a value of {values.min()} to {values.max()} does not fit into {kind.text}"
        raise ProfileError(msg)
    return values


def _fill(
    matrix: Octets, columns: Sequence[OutColumn], prepared: Sequence[Values], places: list[int]
) -> None:
    count, length = matrix.shape
    for column, values, place in zip(columns, prepared, places, strict=True):
        if values.ndim == 2:
            matrix[:, place : place + values.shape[1]] = values
        elif count:
            letter = NUMERIC_FORMATS.get(column.type, "B")
            wire = np.ndarray((count,), ">" + letter, matrix.data, place, (length,))
            wire[:] = values


def _without_nulls(
    matrix: Octets, columns: Sequence[OutColumn], header: int, places: list[int]
) -> bytes:
    """The octets of all rows; a null cell shrinks to its tag."""
    if all(column.null is None for column in columns):
        return matrix.tobytes()
    keep = np.ones(matrix.shape, np.bool_)
    tag = header
    for index, column in enumerate(columns):
        width = FIXED_SIZES.get(column.type)
        if width is None:
            width = np.asarray(column.values).shape[1]
        stop = places[index] + width
        if column.null is not None:
            matrix[column.null, tag] = DataType.NULL_DATA
            keep[column.null, tag + 1 : stop] = False
        tag = stop
    return matrix[keep].tobytes()


def repeats(values: npt.ArrayLike) -> Mask:
    """Rows whose value equals the row before: what null-data may stand for. Never the first."""
    array = np.asarray(values)
    same = np.zeros(len(array), np.bool_)
    if len(array) > 1:
        equal = array[1:] == array[:-1]
        same[1:] = equal.all(axis=1) if equal.ndim == 2 else equal
    return same


def periodic(utc_s: npt.ArrayLike, period_s: int) -> Mask:
    """Rows whose time is one period after the row before: null-data in a clock column."""
    seconds = np.asarray(utc_s, np.int64)
    regular = np.zeros(len(seconds), np.bool_)
    regular[1:] = np.diff(seconds) == period_s
    return regular
