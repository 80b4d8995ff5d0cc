"""Measurement data monitoring (class 66): a measured quantity around a trigger.

The samples are what the meter measures, one value a second of the quantity that the object is for
(a voltage as rms value), not the wave itself: no meter here keeps that. A trigger takes the samples
before it and goes on until it has those after it. What was captured stays, also over a power cut,
until the next trigger or `reset`. In intervals that are longer than a second (a meter catching up)
nothing is sampled: the samples before are forgotten, and a capture under way ends with what it has.

The layout stands in one source only, and a second one contradicts it. Our choice: status 0 nothing
captured, 1 waiting for the samples after the trigger, 2 captured; trigger_time in microseconds
since 1970 by the meter's clock; a trigger with integer(0) is remote with cause 0, one with a
long-unsigned is that of a script, which is the cause; a trigger while a capture is under way is
refused. New numbers of samples clear everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType, TypeDescription
from blathy.cosem.classes.enumerations import TriggerOrigin
from blathy.cosem.service import AccessError, ActionResult, Requester
from blathy.meter.classes.values import raw_value
from blathy.meter.deciding import Decider, Span
from blathy.meter.objects import (
    I8,
    U16,
    U32,
    Attribute,
    CosemObject,
    refused,
    require,
    scaler_unit,
    setting,
    setting_of,
)
from blathy.models.model import Facility, Model
from blathy.obis import Obis
from blathy.quantity import Source, base_of
from blathy.registers.block import Block

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 66
DATA: Final = 2
TIME: Final = 3
SOURCE: Final = 4
STATUS: Final = 5
RATE: Final = 6
BEFORE: Final = 7
AFTER: Final = 8
SAMPLES_MAX: Final = 3600
SAMPLES_PER_S: Final = 1
SAMPLE_OCTETS: Final = 4
IDLE, WAITING, CAPTURED = range(3)
US_PER_S: Final = 1_000_000
SAMPLE: Final = TypeDescription(DataType.DOUBLE_LONG)
NO_SOURCE: Final = axdr.encode(axdr.structure(axdr.enum(TriggerOrigin.REMOTE), axdr.u16(0)))


class _Monitoring(Decider):
    """What one object does; samples and capture are in the settings of the meter."""

    def __init__(self, obis: Obis, source: Source) -> None:
        self._obis = obis
        self._value = raw_value(source)
        self._recent_key = self._key(BEFORE) + b"samples"

    def _key(self, number: int) -> bytes:
        return bytes(self._obis) + bytes((number,))

    def _samples(self, meter: Meter, number: int) -> int:
        chosen = setting_of(meter, self._obis, number)
        return 0 if chosen is None else int(chosen.value)

    def status(self, meter: Meter) -> int:
        raw = meter.settings.get(self._key(STATUS))
        return IDLE if raw is None else raw[0]

    # --- sampling -------------------------------------------------------------------------------

    def watching(self, meter: Meter) -> bool:
        return self._samples(meter, BEFORE) > 0 or self.status(meter) == WAITING

    def look(self, meter: Meter, block: Block) -> int:
        sampled = block.step_s * SAMPLES_PER_S == 1
        dropped = self._recent_key in meter.settings or self.status(meter) == WAITING
        return 1 if self.watching(meter) and (sampled or dropped) else len(block)

    def decide(self, meter: Meter, span: Span) -> None:
        waiting = self.status(meter) == WAITING
        before = self._samples(meter, BEFORE)
        if not before and not waiting:
            return
        with meter.as_written():
            value = self._value(meter)
        if span.step_s * SAMPLES_PER_S != 1 or value is None:
            meter.drop_settings(self._recent_key)
            if waiting:
                meter.save_setting(self._key(STATUS), bytes((CAPTURED,)))
            return
        sample = value.to_bytes(SAMPLE_OCTETS, "big", signed=True)
        if before:
            recent = meter.settings.get(self._recent_key, b"") + sample
            meter.save_setting(self._recent_key, recent[-before * SAMPLE_OCTETS :])
        if waiting:
            self._go_on(meter, sample)

    def _go_on(self, meter: Meter, sample: bytes) -> None:
        """One sample after the trigger."""
        taken = int.from_bytes(meter.settings[self._key(AFTER) + b"left"], "big") - 1
        captured = meter.settings.get(self._key(DATA), b"") + sample
        meter.save_setting(self._key(DATA), captured)
        meter.save_setting(self._key(AFTER) + b"left", taken.to_bytes(4, "big"))
        if not taken:
            meter.save_setting(self._key(STATUS), bytes((CAPTURED,)))

    def clear(self, meter: Meter, _data: Data | None = None) -> None:
        """Forget what was sampled and captured."""
        for key in (*map(self._key, (DATA, TIME, SOURCE, STATUS)), self._recent_key):
            meter.drop_settings(key)

    # --- attributes and methods -----------------------------------------------------------------

    def data(self, meter: Meter) -> bytes:
        raw = meter.settings.get(self._key(DATA), b"")
        samples = (raw[at : at + SAMPLE_OCTETS] for at in range(0, len(raw), SAMPLE_OCTETS))
        values = (axdr.i32(int.from_bytes(sample, "big", signed=True)) for sample in samples)
        return axdr.encode(axdr.compact_array(SAMPLE, values))

    def number(self, number: int) -> Attribute:
        """How many samples before or after the trigger."""
        return setting(
            self._obis,
            number,
            axdr.u32(0),
            U32,
            check=lambda data: data.value <= SAMPLES_MAX,
            after=self.clear,
        )

    def kept(self, number: int, default: bytes) -> Attribute:
        key = self._key(number)
        return Attribute(lambda meter: meter.settings.get(key, default))

    def reset(self, meter: Meter, _data: Data, _who: Requester) -> bytes:
        """Forgets the capture; sampling goes on."""
        for number in (DATA, TIME, SOURCE, STATUS):
            meter.drop_settings(self._key(number))
        return b""

    def trigger(self, meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, ("either", I8, U16, DataType.NULL_DATA), "nothing, or the cause")
        before, after = self._samples(meter, BEFORE), self._samples(meter, AFTER)
        if not before and not after:
            raise refused("there are no samples to capture")
        if self.status(meter) == WAITING:
            raise AccessError(ActionResult.TEMPORARY_FAILURE, "a capture is under way")
        by_script = data.type is U16
        origin = TriggerOrigin.LOCAL_SCRIPT if by_script else TriggerOrigin.REMOTE
        cause = axdr.u16(int(data.value) if by_script else 0)
        meter.save_setting(self._key(DATA), meter.settings.get(self._recent_key, b""))
        moment = axdr.encode_u64(meter.ledger.clock_utc_s * US_PER_S)
        meter.save_setting(self._key(TIME), moment)
        source = axdr.structure(axdr.enum(origin), cause)
        meter.save_setting(self._key(SOURCE), axdr.encode(source))
        meter.save_setting(self._key(AFTER) + b"left", after.to_bytes(4, "big"))
        meter.save_setting(self._key(STATUS), bytes((WAITING if after else CAPTURED,)))
        return b""


def measurement_monitoring_object(model: Model, facility: Facility) -> CosemObject:
    """Class 66, version 0. The facility's value 2 is the logical name of the register whose
    quantity is sampled."""
    name = facility.values[DATA]
    assert isinstance(name, Obis)
    source = model.row(name).source
    one = _Monitoring(facility.obis, source)
    unit, scaler = base_of(source)
    rate = setting(
        facility.obis, RATE, axdr.u32(SAMPLES_PER_S), U32, check=lambda d: d.value == SAMPLES_PER_S
    )
    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (
            Attribute(one.data),
            one.kept(TIME, axdr.encode_u64(0)),
            one.kept(SOURCE, NO_SOURCE),
            Attribute(lambda meter: axdr.encode_enum(one.status(meter))),
            rate,
            one.number(BEFORE),
            one.number(AFTER),
            Attribute(scaler_unit(scaler, unit)),
        ),
        (one.reset, one.trigger),
        one,
    )  # fmt: skip
