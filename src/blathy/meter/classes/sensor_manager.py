"""Sensor manager (class 67): a sensor of the meter, its raw value and the register made of it.

`raw_value` is what the measuring path of the sensor gives in the resolution of the books, before
it is cut to the scaler of a register; `processed_value` names that register. Both have thresholds
with scripts, as a register monitor has.

Names and order of the attributes stand in two sources; our choice: `status` is the status word of
the meter's books, `capture_time` the end of the last interval, and `reset` forgets on which side of
its thresholds the sensor was last seen, so that the next look only takes note.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import Requester
from blathy.meter.classes.register_monitor import Monitored, Thresholds, look_ahead, number_of
from blathy.meter.classes.values import raw_value
from blathy.meter.deciding import Decider, Span
from blathy.meter.objects import Attribute, CosemObject, ValueReference, constant, scaler_unit
from blathy.meter.values_ahead import raw_values_ahead
from blathy.models.model import Facility, Model
from blathy.obis import Obis
from blathy.quantity import Source, base_of
from blathy.registers.block import Block

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 67
RAW_THRESHOLDS: Final = 11
RAW_ACTIONS: Final = 12
PROCESSED: Final = 13
PROCESSED_THRESHOLDS: Final = 14
PROCESSED_ACTIONS: Final = 15
NOT_SPECIFIED: Final = axdr.enum(0)


class _Sensor(Decider):
    def __init__(self, obis: Obis, source: Source, register: ValueReference) -> None:
        self._source = source
        self._raw = raw_value(source)
        self.raw = Thresholds(obis, RAW_THRESHOLDS, RAW_ACTIONS)
        self.processed = Thresholds(obis, PROCESSED_THRESHOLDS, PROCESSED_ACTIONS)
        self.register = Monitored(obis, PROCESSED, self.processed, register)

    def raw_data(self, meter: Meter) -> bytes:
        value = self._raw(meter)
        return axdr.encode_null() if value is None else axdr.encode_i64(value)

    def watching(self, meter: Meter) -> bool:
        return self.raw.watched(meter) or self.processed.watched(meter)

    def look(self, meter: Meter, block: Block) -> int:
        limit = len(block)
        if self.raw.watched(meter):
            values = raw_values_ahead(meter, self._source, block)
            limit = 1 if values is None else self.raw.first_crossing(meter, values)
        if self.processed.watched(meter):
            limit = min(limit, look_ahead(meter, block, self.register, self.processed))
        return limit

    def decide(self, meter: Meter, span: Span) -> None:
        del span
        if self.raw.watched(meter):
            with meter.as_written():
                value = self._raw(meter)
            self.raw.compare(meter, value)
        if self.processed.watched(meter):
            self.processed.compare(meter, number_of(meter, self.register.reference(meter)))

    def reset(self, meter: Meter, _data: Data, _who: Requester) -> bytes:
        self.raw.forget(meter)
        self.processed.forget(meter)
        return b""


def sensor_manager_object(model: Model, facility: Facility) -> CosemObject:
    """Class 67, version 0. The facility's value 13 is the logical name of the sensor's register."""
    name = facility.values[PROCESSED]
    assert isinstance(name, Obis)
    row = model.row(name)
    one = _Sensor(facility.obis, row.source, ValueReference(row.class_id, row.obis, 2))
    unit, scaler = base_of(row.source)
    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (
            Attribute(lambda meter: axdr.encode_octets(meter.text("serial"))),
            constant(axdr.octets(row.title.encode())),
            constant(NOT_SPECIFIED),
            constant(axdr.octets(b"")),
            constant(axdr.enum(0)),
            Attribute(one.raw_data),
            Attribute(scaler_unit(scaler, unit)),
            Attribute(lambda meter: axdr.encode_u8(int(meter.books.status))),
            Attribute(lambda meter: axdr.encode(axdr.date_time(meter.clock_raw()))),
            *one.raw.attributes,
            one.register.attribute,
            *one.processed.attributes,
        ),
        (one.reset,),
        one,
    )  # fmt: skip
