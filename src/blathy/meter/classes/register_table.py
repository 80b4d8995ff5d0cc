"""Register table (class 61): one attribute of objects that differ in group E, captured together.

The definition names class, logical name with E as a placeholder, the values of E and the attribute;
attribute 0 captures the whole object as a structure. `capture` copies the attributes into the
cells, with the meter's own authority; until then, after `reset` and after a new definition there
are no cells. The scaler and unit are those of the registers where all have the same, else none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, AttributeRef, DataAccessResult, Requester
from blathy.meter.classes.scripts import own_authority
from blathy.meter.objects import (
    I8,
    LN,
    U8,
    U16,
    Attribute,
    CosemObject,
    array_shape,
    require,
    scaler_unit,
    structure_shape,
)
from blathy.models.model import Facility
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 61
CELLS: Final = 2
DEFINITION: Final = 3
CELLS_MAX: Final = 64
E: Final = 4
NO_UNIT: Final = scaler_unit(0, 255)
EMPTY: Final = axdr.encode(axdr.array())
UNIT_OF: Final = {(3, 2): 3, (4, 2): 3, (5, 2): 4, (5, 3): 4}
"""Class id and attribute of a value -> the attribute that says its scaler and unit."""
SHAPE: Final = structure_shape(U16, LN, array_shape(U8), I8)


def _cells(definition: Data) -> list[AttributeRef]:
    """What each cell captures."""
    class_id, name, group_e, attribute = definition.value
    octets = bytes(name.value)
    return [
        AttributeRef(
            int(class_id.value),
            Obis.of(octets[:E] + bytes((int(each.value),)) + octets[E + 1 :]),
            int(attribute.value),
        )
        for each in group_e.value
    ]


class _RegisterTable:
    """What one object does; definition and cells are in the settings of the meter."""

    def __init__(self, obis: Obis, default: Data) -> None:
        self._cells_key = bytes(obis) + bytes((CELLS,))
        self._definition_key = bytes(obis) + bytes((DEFINITION,))
        self._default = axdr.encode(default)

    def cells(self, meter: Meter) -> bytes:
        return meter.settings.get(self._cells_key, EMPTY)

    def definition(self, meter: Meter) -> bytes:
        return meter.settings.get(self._definition_key, self._default)

    def define(self, meter: Meter, data: Data, who: Requester) -> None:
        require(data, SHAPE)
        if len(data.value[2].value) > CELLS_MAX:
            raise AccessError(DataAccessResult.OTHER_REASON, "too many cells")
        for ref in _cells(data):
            meter.objects.get(ref, who)  # who may not read it may not have it captured
        meter.save_setting(self._definition_key, axdr.encode(data))
        meter.drop_settings(self._cells_key)

    def unit(self, meter: Meter) -> bytes:
        refs = _cells(axdr.decode(self.definition(meter)))
        units = {self._unit_of(meter, ref) for ref in refs}
        return units.pop() if len(units) == 1 else NO_UNIT

    def _unit_of(self, meter: Meter, ref: AttributeRef) -> bytes:
        number = UNIT_OF.get((ref.class_id, ref.attribute))
        attribute = (
            None if number is None else meter.tree.objects[bytes(ref.obis)].attribute(number)
        )
        found = None if attribute is None else attribute.get
        return found if isinstance(found, bytes) else NO_UNIT

    def reset(self, meter: Meter, _data: Data, _who: Requester) -> bytes:
        meter.drop_settings(self._cells_key)
        return b""

    def capture(self, meter: Meter, _data: Data, _who: Requester) -> bytes:
        who = own_authority(meter)
        refs = _cells(axdr.decode(self.definition(meter)))
        cells = axdr.encode_array(meter.objects.get(ref, who) for ref in refs)
        meter.save_setting(self._cells_key, cells)
        return b""


def register_table_object(facility: Facility) -> CosemObject:
    """Class 61, version 0. The facility's value 3 is the logical name as delivered, E standing for
    0 to 4 of a register's values."""
    name = facility.values[DEFINITION]
    assert isinstance(name, Obis)
    totals_and_rates = axdr.array_of(axdr.u8(e) for e in range(5))
    default = axdr.structure(axdr.u16(3), axdr.octets(name), totals_and_rates, axdr.i8(2))
    one = _RegisterTable(facility.obis, default)
    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (
            Attribute(one.cells),
            Attribute(one.definition, personal_set=one.define),
            Attribute(one.unit),
        ),
        (one.reset, one.capture),
    )  # fmt: skip
