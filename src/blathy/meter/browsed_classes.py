"""Objects of classes that hold values and do nothing with them: read, written and browsed.

Attributes, types and rights are those of the class table in `cosem.classes`; a value starts as what
the facility says, or as the plainest value of its type. Methods are listed and refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.cosem.classes import interface_class
from blathy.cosem.classes import types as kinds
from blathy.cosem.classes.model import Attribute as Column
from blathy.cosem.service import AccessError, DataAccessResult
from blathy.meter.objects import Attribute, CosemObject
from blathy.models.model import Facility
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

BROWSED: Final = frozenset({66})
_PLAINEST: Final = (
    DataType.DOUBLE_LONG_UNSIGNED, DataType.LONG_UNSIGNED, DataType.UNSIGNED, DataType.INTEGER,
    DataType.LONG, DataType.DOUBLE_LONG, DataType.LONG64_UNSIGNED, DataType.LONG64,
    DataType.ENUM, DataType.OCTET_STRING, DataType.VISIBLE_STRING, DataType.UTF8_STRING,
    DataType.BIT_STRING, DataType.BOOLEAN, DataType.BCD, DataType.FLOAT32, DataType.FLOAT64,
    DataType.NULL_DATA,
)  # fmt: skip
_NOTHING: Final = {
    DataType.OCTET_STRING: b"", DataType.VISIBLE_STRING: "", DataType.UTF8_STRING: "",
    DataType.BIT_STRING: "", DataType.BOOLEAN: False, DataType.NULL_DATA: None,
    DataType.FLOAT32: 0.0, DataType.FLOAT64: 0.0,
}  # fmt: skip


def plainest(kind: kinds.Type) -> Data:
    """Zero, nothing, an empty list: a value that the type accepts."""
    if isinstance(kind, kinds.Simple):
        chosen = next(t for t in _PLAINEST if t in kind.kinds)
        if kind.size and chosen is DataType.OCTET_STRING:
            return axdr.octets(bytes(kind.size))
        if kind.size and chosen is DataType.BIT_STRING:
            return axdr.bits("0" * kind.size)
        return Data(chosen, _NOTHING.get(chosen, 0))
    if isinstance(kind, kinds.LogicalName):
        return axdr.octets(bytes(6))
    if isinstance(kind, kinds.Moment):
        return axdr.octets(_ANY_MOMENT[kind.size])
    if isinstance(kind, kinds.Enumerated):
        return axdr.enum(min(kind.members))
    if isinstance(kind, kinds.Structure):
        return axdr.structure(*(plainest(field) for _, field in kind.fields))
    if isinstance(kind, kinds.Choice):
        return plainest(kind.options[0])
    return axdr.array() if isinstance(kind, kinds.ArrayOf) else axdr.null()


_ANY_MOMENT: Final = {
    12: bytes.fromhex("FFFFFFFFFFFFFFFFFF8000FF"),
    5: bytes.fromhex("FFFFFFFFFF"),
    4: bytes.fromhex("FFFFFFFF"),
}
"""Moments of which nothing is specified."""


def browsed_object(facility: Facility) -> CosemObject:
    """An object of a class of `BROWSED`, in the newest version that is not above the facility's."""
    table = interface_class(facility.class_id, facility.version or None)
    attributes = tuple(_attribute(facility, column) for column in table.attributes[1:])
    return CosemObject(
        table.class_id,
        table.version,
        facility.obis,
        facility.group,
        facility.title,
        attributes,
        (None,) * len(table.methods),
    )


def _attribute(facility: Facility, column: Column) -> Attribute:
    given = facility.values.get(column.index)
    value = given if isinstance(given, Data) else plainest(column.type)
    assert column.type.accepts(value), (facility.obis, column.name)
    octets = axdr.encode(value)
    if column.access == "R":
        return Attribute(octets)
    return _written(facility.obis, column, octets)


def _written(obis: Obis, column: Column, octets: bytes) -> Attribute:
    key = bytes(obis) + bytes((column.index,))

    def get(meter: Meter) -> bytes:
        return meter.settings.get(key, octets)

    def write(meter: Meter, data: Data) -> None:
        if not column.type.accepts(data):
            raise AccessError(DataAccessResult.TYPE_UNMATCHED, f"{column.name} has another type")
        meter.save_setting(key, axdr.encode(data))

    return Attribute(get if "R" in column.access else None, write if "W" in column.access else None)
