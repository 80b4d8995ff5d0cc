"""What classes 30, 40 and 62 list: an attribute, an element of it, and of a profile which rows.

Version 0 names the attribute alone; later ones add a restriction (none, by date, by entry) and the
columns wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.selective import (
    CLOCK_CLASS,
    ENTRY_SELECTOR,
    RANGE_SELECTOR,
    CaptureObject,
    EntryDescriptor,
    RangeDescriptor,
    SelectiveAccessError,
)
from blathy.obis import Obis

BY_DATE: Final = 1
BY_ENTRY: Final = 2
_NUMBERS: Final = {DataType.DOUBLE_LONG_UNSIGNED, DataType.LONG_UNSIGNED}
_DAY_BEGINS: Final = bytes.fromhex("00000000800000")
_DAY_ENDS: Final = bytes.fromhex("173B3B63800000")
_FIRST_DAY: Final = bytes.fromhex("07B20101FF")
_LAST_DAY: Final = bytes.fromhex("08330C1FFF")
"""1970-01-01 and 2099-12-31: where columns are chosen and rows are not."""


@dataclass(frozen=True, slots=True)
class CapturedItem:
    """`first`, `last`: dates as five octets each, or entry numbers, as `restriction` says."""

    capture: CaptureObject
    restriction: int = 0
    first: bytes | int = 0
    last: bytes | int = 0
    columns: tuple[CaptureObject, ...] = ()

    @classmethod
    def of(cls, data: Data) -> Self:
        """From a structure of 4, 5 or 6 elements; AxdrError where it is none."""
        if data.type is not DataType.STRUCTURE or len(data.value) not in {4, 5, 6}:
            raise SelectiveAccessError("a captured item is a structure of 4 to 6 elements")
        fields = tuple(data.value)
        capture = CaptureObject.of(Data(DataType.STRUCTURE, fields[:4]))
        kind, first, last = _restriction(fields[4]) if len(fields) > 4 else (0, 0, 0)
        columns: tuple[CaptureObject, ...] = ()
        if len(fields) == 6:
            if fields[5].type is not DataType.ARRAY:
                raise SelectiveAccessError("the columns of a captured item are an array")
            columns = tuple(CaptureObject.of(each) for each in fields[5].value)
        return cls(capture, kind, first, last, columns)

    def data(self, elements: int) -> Data:
        """As a structure of so many elements."""
        fields = [*self.capture.data().value, self._restriction_data()]
        fields.append(axdr.array(*(column.data() for column in self.columns)))
        return axdr.structure(*fields[:elements])

    def _restriction_data(self) -> Data:
        if self.restriction == BY_DATE and isinstance(self.first, bytes):
            assert isinstance(self.last, bytes)
            value = axdr.structure(axdr.octets(self.first), axdr.octets(self.last))
        elif self.restriction == BY_ENTRY and isinstance(self.first, int):
            assert isinstance(self.last, int)
            value = axdr.structure(axdr.u32(self.first), axdr.u32(self.last))
        else:
            value = axdr.null()
        return axdr.structure(axdr.enum(self.restriction), value)

    def selection(self, clock: Obis) -> tuple[int, bytes] | None:
        """Selector and parameters that read what is wanted; None for the whole attribute.

        Dates are whole days by the wall clock of the meter, whose clock object is named.
        """
        if self.restriction == BY_ENTRY:
            assert isinstance(self.first, int)
            assert isinstance(self.last, int)
            if self.columns:
                raise SelectiveAccessError("columns go with dates, not with entry numbers")
            return ENTRY_SELECTOR, EntryDescriptor(self.first, self.last).encode()
        if self.restriction != BY_DATE and not self.columns:
            return None
        first, last = _FIRST_DAY, _LAST_DAY
        if isinstance(self.first, bytes) and isinstance(self.last, bytes):
            first, last = self.first, self.last
        chosen = RangeDescriptor.between(
            CosemDateTime.of(first + _DAY_BEGINS),
            CosemDateTime.of(last + _DAY_ENDS),
            self.columns,
            CaptureObject(CLOCK_CLASS, clock),
        )
        return RANGE_SELECTOR, chosen.encode()


def _restriction(data: Data) -> tuple[int, bytes | int, bytes | int]:
    if data.type is not DataType.STRUCTURE or len(data.value) != 2:
        raise SelectiveAccessError("a restriction is a structure of its type and its value")
    kind, value = data.value
    if kind.type is not DataType.ENUM or kind.value > BY_ENTRY:
        raise SelectiveAccessError("a restriction is none, by date or by entry")
    if kind.value == 0:
        return 0, 0, 0
    if value.type is not DataType.STRUCTURE or len(value.value) != 2:
        raise SelectiveAccessError("a restriction has two bounds")
    first, last = (bound.value for bound in value.value)
    dates = isinstance(first, bytes) and isinstance(last, bytes) and len(first) == len(last) == 5
    numbers = {bound.type for bound in value.value} <= _NUMBERS
    if not (dates if kind.value == BY_DATE else numbers):
        raise SelectiveAccessError("the bounds of a restriction are two dates or two numbers")
    return int(kind.value), first, last


def parse_items(data: Data) -> tuple[CapturedItem, ...]:
    """An array of them; AxdrError where it is none."""
    if data.type is not DataType.ARRAY:
        raise AxdrError("a list of captured items is an array")
    return tuple(CapturedItem.of(each) for each in data.value)
