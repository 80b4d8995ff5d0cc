"""Array manager (class 123): arrays of other objects, entry by entry.

The list names array attributes by a number. Every method reads and writes the array with the rights
of who calls: what may not be read or written directly cannot be reached through it, and the object
of the array judges the new value as it judges a SET.

Names stand in two sources, types in one. Entries count from 1, ranges include both ends, an entry
is inserted behind the one that has its index: in front of all at 0, behind all at an index beyond
them (one implementation says so). Our choice: a range that begins outside the array, or ends before
it begins, is scope-of-access-violated; one that ends beyond it goes to the last entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.cosem.service import (
    AccessError,
    ActionResult,
    AttributeRef,
    Requester,
)
from blathy.meter.objects import (
    ANY,
    U8,
    U16,
    VALUE_DEFINITION,
    CosemObject,
    ValueReference,
    array_shape,
    require,
    setting,
    setting_of,
    structure_shape,
)
from blathy.models.model import Facility, Model
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 123
LIST: Final = 2
ARRAYS_MAX: Final = 32
SWITCHING: Final = {10: 2, 11: 2, 21: 4}
"""Class id -> the attribute that is an array."""
RANGE: Final = structure_shape(U8, structure_shape(U16, U16))
ENTRY: Final = structure_shape(U8, structure_shape(U16, ANY))
LISTED: Final = array_shape(structure_shape(U8, VALUE_DEFINITION))


class _Arrays:
    """What one object does; the list is in the settings of the meter."""

    def __init__(self, obis: Obis, default: Data) -> None:
        self._obis = obis
        self._default = default

    def _array(self, meter: Meter, number: int, who: Requester) -> tuple[AttributeRef, list[Data]]:
        listed = setting_of(meter, self._obis, LIST) or self._default
        found = next((e.value[1] for e in listed.value if e.value[0].value == number), None)
        if found is None:
            raise AccessError(ActionResult.OBJECT_UNDEFINED, "there is no array of this number")
        reference = ValueReference.of(found)
        ref = AttributeRef(reference.class_id, reference.obis, reference.attribute)
        data = axdr.decode(meter.objects.get(ref, who))
        if data.type is not DataType.ARRAY:
            raise AccessError(ActionResult.TYPE_UNMATCHED, "this attribute is no array")
        return ref, list(data.value)

    def count(self, meter: Meter, data: Data, who: Requester) -> bytes:
        require(data, U8)
        return axdr.encode_u16(len(self._array(meter, int(data.value), who)[1]))

    def retrieve(self, meter: Meter, data: Data, who: Requester) -> bytes:
        require(data, RANGE)
        _, entries = self._array(meter, int(data.value[0].value), who)
        first, last = _range_of(data.value[1], len(entries))
        return axdr.encode(axdr.array_of(entries[first - 1 : last]))

    def insert(self, meter: Meter, data: Data, who: Requester) -> bytes:
        ref, entries, index, entry = self._entry(meter, data, who)
        entries.insert(index, entry)
        return _write(meter, ref, entries, who)

    def update(self, meter: Meter, data: Data, who: Requester) -> bytes:
        ref, entries, index, entry = self._entry(meter, data, who)
        if not 1 <= index <= len(entries):
            raise AccessError(ActionResult.SCOPE_OF_ACCESS_VIOLATED, "there is no such entry")
        entries[index - 1] = entry
        return _write(meter, ref, entries, who)

    def remove(self, meter: Meter, data: Data, who: Requester) -> bytes:
        require(data, RANGE)
        ref, entries = self._array(meter, int(data.value[0].value), who)
        first, last = _range_of(data.value[1], len(entries))
        return _write(meter, ref, entries[: first - 1] + entries[last:], who)

    def _entry(
        self, meter: Meter, data: Data, who: Requester
    ) -> tuple[AttributeRef, list[Data], int, Data]:
        require(data, ENTRY)
        index, entry = data.value[1].value
        return *self._array(meter, int(data.value[0].value), who), int(index.value), entry


def _range_of(data: Data, size: int) -> tuple[int, int]:
    first, last = (int(each.value) for each in data.value)
    if not 1 <= first <= min(last, size):
        raise AccessError(ActionResult.SCOPE_OF_ACCESS_VIOLATED, "it is not in the array")
    return first, min(last, size)


def _write(meter: Meter, ref: AttributeRef, entries: list[Data], who: Requester) -> bytes:
    meter.objects.set(ref, axdr.encode(axdr.array_of(entries)), who)
    return b""


def _each_number_once(data: Data) -> bool:
    numbers = [each.value[0].value for each in data.value]
    return len(numbers) <= ARRAYS_MAX and len(set(numbers)) == len(numbers)


def array_manager_object(model: Model, facility: Facility) -> CosemObject:
    """Class 123, version 0. As delivered it lists the tables that switch: special days, schedules
    and the actions of register monitors."""
    tables = [f for f in model.facilities if f.class_id in SWITCHING]
    default = axdr.array_of(
        axdr.structure(axdr.u8(number), ValueReference(f.class_id, f.obis, attribute).data())
        for number, (f, attribute) in enumerate(((f, SWITCHING[f.class_id]) for f in tables), 1)
    )
    one = _Arrays(facility.obis, default)
    listed = setting(facility.obis, LIST, default, LISTED, check=_each_number_once)
    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (listed,),
        (one.count, one.retrieve, one.insert, one.update, one.remove),
    )  # fmt: skip
