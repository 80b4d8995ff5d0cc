"""Selective access to profile buffers, and the capture objects they name (IEC 62056-6-2, class 7).

Selector 1 asks for the rows whose restricting object lies between two values, both included;
selector 2 for rows and columns by number, counted from 1. Reading is tolerant of what meters and
clients send (missing data_index, dates as octet-string or date-time); writing is canonical.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, Self

from blathy.clock import UtcS, Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.cosem_time import CosemDateTime, TimeQuirk, date_time_of
from blathy.obis import Obis

RANGE_SELECTOR: Final = 1
ENTRY_SELECTOR: Final = 2
CLOCK_CLASS: Final = 8
CLOCK_OBIS: Final = Obis(0, 0, 1, 0, 0)
_INTEGERS: Final = axdr.INTEGER_TYPES


class SelectiveAccessError(AxdrError):
    """Parameters that are no range_descriptor or entry_descriptor."""


def _integer(data: Data, name: str, lowest: int = 0, highest: int = 0xFFFF_FFFF) -> int:
    if data.type not in _INTEGERS or not lowest <= data.value <= highest:
        msg = f"{name} must be an integer of {lowest} to {highest}, not {data.value!r:.60}"
        raise SelectiveAccessError(msg)
    return int(data.value)


def _elements(data: Data, name: str, *counts: int) -> tuple[Data, ...]:
    if data.type is not DataType.STRUCTURE or len(data.value) not in counts:
        wanted = " or ".join(map(str, counts))
        msg = f"{name} must be a structure of {wanted} elements"
        raise SelectiveAccessError(msg)
    return tuple(data.value)


class CaptureObject(NamedTuple):
    """capture_object_definition: which attribute (or part of it) makes a column."""

    class_id: int
    obis: Obis
    attribute: int = 2
    data_index: int = 0

    @classmethod
    def of(cls, data: Data) -> Self:
        """Read a structure of 4 elements, or of 3 as profiles of version 0 send it."""
        fields = _elements(data, "a capture object", 3, 4)
        name = fields[1]
        if name.type is not DataType.OCTET_STRING or len(name.value) != 6:
            raise SelectiveAccessError("the logical name of a capture object has 6 octets")
        index = _integer(fields[3], "data_index", 0, 0xFFFF) if len(fields) == 4 else 0
        return cls(
            _integer(fields[0], "class_id", 0, 0xFFFF),
            Obis.of(name.value),
            _integer(fields[2], "attribute_index", -128, 127),
            index,
        )

    def data(self) -> Data:
        return axdr.structure(
            axdr.u16(self.class_id),
            axdr.octets(self.obis),
            axdr.i8(self.attribute),
            axdr.u16(self.data_index),
        )

    @property
    def is_clock(self) -> bool:
        """Whether the column is the time of a clock object (class 8, attribute 2)."""
        return self.class_id == CLOCK_CLASS and self.attribute == 2

    def __str__(self) -> str:
        index = f"[{self.data_index}]" if self.data_index else ""
        return f"{self.obis}/{self.class_id}.{self.attribute}{index}"


CLOCK: Final = CaptureObject(CLOCK_CLASS, CLOCK_OBIS)
NOTHING: Final = CaptureObject(0, Obis(0, 0, 0, 0, 0, 0), 0, 0)
"""sort_object of a profile that is not sorted."""


def parse_capture_objects(data: Data | bytes) -> tuple[CaptureObject, ...]:
    """Attribute 3 of a profile, as Data or as A-XDR bytes."""
    if isinstance(data, bytes):
        data = axdr.decode(data)
    if data.type is not DataType.ARRAY:
        msg = f"capture objects are an array, not {data.type.text}"
        raise SelectiveAccessError(msg)
    return tuple(CaptureObject.of(element) for element in data.value)


def build_capture_objects(captures: Iterable[CaptureObject]) -> bytes:
    return axdr.encode(axdr.array_of(capture.data() for capture in captures))


def element_of(value: Data, data_index: int) -> Data:
    """The part of an attribute that a data_index names: 0 the whole, n the n-th element.

    Raise SelectiveAccessError where the value has no such element.
    """
    if data_index == 0:
        return value
    if value.type in {DataType.STRUCTURE, DataType.ARRAY} and data_index <= len(value.value):
        element: Data = value.value[data_index - 1]
        return element
    msg = f"a value of type {value.type.text} has no element {data_index}"
    raise SelectiveAccessError(msg)


@dataclass(frozen=True, slots=True)
class RangeDescriptor:
    """Rows where `first <= restricting object <= last`; no selected column means all columns."""

    restricting: CaptureObject
    first: Data
    last: Data
    selected: tuple[CaptureObject, ...] = ()

    @classmethod
    def of(cls, data: Data) -> Self:
        restricting, first, last, selected = _elements(data, "a range_descriptor", 4)
        if selected.type is not DataType.ARRAY:
            raise SelectiveAccessError("the selected values of a range_descriptor are an array")
        for bound in (first, last):
            if bound.type in {DataType.ARRAY, DataType.STRUCTURE, DataType.COMPACT_ARRAY}:
                raise SelectiveAccessError("the bounds of a range_descriptor are simple values")
        columns = tuple(CaptureObject.of(element) for element in selected.value)
        return cls(CaptureObject.of(restricting), first, last, columns)

    @classmethod
    def between(
        cls,
        first: CosemDateTime,
        last: CosemDateTime,
        selected: Sequence[CaptureObject] = (),
        restricting: CaptureObject = CLOCK,
        *,
        tagged: bool = False,
    ) -> Self:
        """By clock; bounds travel as octet-strings, or as date-time when `tagged`."""
        wrap = axdr.date_time if tagged else axdr.octets
        return cls(restricting, wrap(first.raw()), wrap(last.raw()), tuple(selected))

    def data(self) -> Data:
        columns = axdr.array_of(capture.data() for capture in self.selected)
        return axdr.structure(self.restricting.data(), self.first, self.last, columns)

    def encode(self) -> bytes:
        return axdr.encode(self.data())

    def utc_bounds(
        self, zone: Zone | None = None, quirks: TimeQuirk = TimeQuirk.NONE
    ) -> tuple[UtcS, UtcS]:
        """Both bounds as UTC seconds; raise CosemTimeError where a bound names no moment."""
        first = date_time_of(self.first).utc(zone, quirks)
        return first, date_time_of(self.last).utc(zone, quirks)

    def bounds(self) -> tuple[int, int]:
        """Both bounds as integers, for restricting objects that are numbers."""
        lowest, highest = -(1 << 63), (1 << 64) - 1
        first = _integer(self.first, "from_value", lowest, highest)
        return first, _integer(self.last, "to_value", lowest, highest)


@dataclass(frozen=True, slots=True)
class EntryDescriptor:
    """Rows and columns by number from 1; 0 as the last one means "to the end"."""

    first_entry: int = 1
    last_entry: int = 0
    first_column: int = 1
    last_column: int = 0

    @classmethod
    def of(cls, data: Data) -> Self:
        fields = _elements(data, "an entry_descriptor", 4)
        return cls(
            _integer(fields[0], "from_entry"),
            _integer(fields[1], "to_entry"),
            _integer(fields[2], "from_selected_value", 0, 0xFFFF),
            _integer(fields[3], "to_selected_value", 0, 0xFFFF),
        )

    def data(self) -> Data:
        return axdr.structure(
            axdr.u32(self.first_entry),
            axdr.u32(self.last_entry),
            axdr.u16(self.first_column),
            axdr.u16(self.last_column),
        )

    def encode(self) -> bytes:
        return axdr.encode(self.data())

    def rows(self, entries: int) -> range:
        """Indices from 0 of the rows that are asked for, of `entries` in use."""
        return _span(self.first_entry, self.last_entry, entries)

    def columns(self, count: int) -> range:
        """Indices from 0 of the columns that are asked for, of `count`."""
        return _span(self.first_column, self.last_column, count)


def _span(first: int, last: int, count: int) -> range:
    """1-based and inclusive to a range; a first of 0 is read as 1, a last of 0 as the end."""
    stop = count if last == 0 else min(last, count)
    start = max(first, 1) - 1
    return range(start, max(start, stop))


@lru_cache(maxsize=256)
def parse_selection(selector: int, parameters: bytes) -> RangeDescriptor | EntryDescriptor:
    """The selective access of a profile buffer; raise AxdrError where it is none."""
    if selector not in {RANGE_SELECTOR, ENTRY_SELECTOR}:
        msg = f"a profile buffer knows the selectors 1 and 2, not {selector}"
        raise SelectiveAccessError(msg)
    data = axdr.decode(parameters)
    return RangeDescriptor.of(data) if selector == RANGE_SELECTOR else EntryDescriptor.of(data)


def selected_columns(
    captures: Sequence[CaptureObject], selection: RangeDescriptor | EntryDescriptor | None
) -> tuple[int, ...]:
    """Indices of the columns that a selection leaves, in the order of the answer.

    Raise SelectiveAccessError where a selected value is not captured.
    """
    if selection is None:
        return tuple(range(len(captures)))
    if isinstance(selection, EntryDescriptor):
        return tuple(selection.columns(len(captures)))
    if not selection.selected:
        return tuple(range(len(captures)))
    wanted = set(selection.selected)
    if missing := wanted - set(captures):
        msg = f"{next(iter(missing))} is not captured by this profile"
        raise SelectiveAccessError(msg)
    return tuple(index for index, capture in enumerate(captures) if capture in wanted)
