"""Single action schedule (class 22): a script at times and dates of its own.

The end of the billing period follows the plan that the books were made with and is only shown. All
others are set, and run with the interval that reaches their time by the meter's clock; what is not
specified of a time or a date repeats it, an unspecified second is 0. What an outage passed over
runs once when power returns, if it is late by no more than `LATE_MAX_S`; what a clock that is set
forward passes over does not run. While the clock is invalid or the meter in error nothing runs, as
with schedules. The type only says which times the standard expects: the meter takes any.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.classes.enumerations import SingleActionType
from blathy.cosem.cosem_time import date_of, time_of
from blathy.cosem.service import Requester
from blathy.meter.classes.scripts import require_script
from blathy.meter.deciding import Decider, Span, act, intervals_until
from blathy.meter.local_times import seconds_of, utc_of
from blathy.meter.objects import (
    ACTION_ITEM,
    DATE,
    ENUM,
    TIME,
    Attribute,
    CosemObject,
    array_shape,
    constant,
    require,
    setting,
    structure_shape,
)
from blathy.models.model import BillingStop, Facility, Model
from blathy.obis import Obis
from blathy.registers.block import Block

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 22
SCRIPT: Final = 2
TYPE: Final = 3
TIMES: Final = 4
TIMES_MAX: Final = 16
LATE_MAX_S: Final = 86_400
NONE: Final = axdr.encode(axdr.array())
EXECUTION_TIMES: Final = array_shape(structure_shape(TIME, DATE))
SCRIPT_TABLE: Final = {
    "billing": Obis(0, 0, 10, 0, 1),
    "image": Obis(0, 0, 10, 0, 107),
    "push": Obis(0, 0, 10, 0, 108),
}
"""The script that an object runs as delivered: the first of the table."""
_DATES: Final = {
    BillingStop.MONTHLY: b"\xff\xff\xff\x01\xff",
    BillingStop.DAILY: b"\xff\xff\xff\xff\xff",
    BillingStop.WEEKLY: b"\xff\xff\xff\xff\x01",
}


@lru_cache(maxsize=256)
def moments_on(times: bytes, zone: Zone, day: date) -> tuple[int, ...]:
    """When execution_time falls on a local day: UTC s of the meter's clock, in order."""
    entries = (entry.value for entry in axdr.decode(times).value)
    fitting = [time_of(time) for time, on in entries if date_of(on).matches(day)]
    seconds = {second for time in fitting for second in seconds_of(time)}
    return tuple(sorted(utc_of(zone, day, second) for second in seconds))


class _SingleAction(Decider):
    """What one object does; script and times are in the settings of the meter."""

    def __init__(self, obis: Obis, script: Data) -> None:
        self._script_key = bytes(obis) + bytes((SCRIPT,))
        self._times_key = bytes(obis) + bytes((TIMES,))
        self._delivered = axdr.encode(script)

    def watching(self, meter: Meter) -> bool:
        return meter.settings.get(self._times_key, NONE) != NONE

    def look(self, meter: Meter, block: Block) -> int:
        if not self.watching(meter):
            return len(block)
        now_s = meter.ledger.clock_utc_s
        tomorrow = meter.zone.day_of(now_s) + timedelta(days=1)
        ahead = self._moments(meter, now_s, tomorrow)
        midnight_s = meter.zone.day_start(tomorrow)  # looked at again then, at the latest
        return intervals_until(meter, block, next(ahead, midnight_s))

    def decide(self, meter: Meter, span: Span) -> None:
        if not self.watching(meter) or not meter.ledger.trusted:
            return
        now_s = meter.ledger.clock_utc_s
        since_s = max(span.since_utc_s, now_s - LATE_MAX_S)
        first = next(self._moments(meter, since_s, meter.zone.day_of(now_s)), None)
        if first is not None and first <= now_s:
            act(meter, axdr.decode(self.script(meter)))
            meter.parameters_set()

    def _moments(self, meter: Meter, since_s: int, last: date) -> Iterator[int]:
        """Those after `since_s`, up to the end of a day."""
        times, day = meter.settings[self._times_key], meter.zone.day_of(since_s)
        while day <= last:
            yield from (at_s for at_s in moments_on(times, meter.zone, day) if at_s > since_s)
            day += timedelta(days=1)

    def script(self, meter: Meter) -> bytes:
        return meter.settings.get(self._script_key, self._delivered)

    def write_script(self, meter: Meter, data: Data, who: Requester) -> None:
        require(data, ACTION_ITEM)
        require_script(meter, data, who)
        meter.save_setting(self._script_key, axdr.encode(data))


def single_action_object(model: Model, facility: Facility) -> CosemObject:
    """Class 22. As delivered nothing is planned but the end of the billing period."""
    obis = facility.obis
    script = axdr.structure(axdr.octets(SCRIPT_TABLE[facility.role]), axdr.u16(1))
    if facility.role == "billing":
        stop = next((b.stop for b in model.billing if b.resets_demand), BillingStop.MONTHLY)
        midnight = axdr.structure(axdr.octets(bytes(4)), axdr.octets(_DATES[stop]))
        shown = (script, axdr.enum(SingleActionType.ONE_TIME_DATE_WILDCARDS), axdr.array(midnight))
        attributes = tuple(map(constant, shown))
        return CosemObject(CLASS_ID, 0, obis, facility.group, facility.title, attributes)
    one = _SingleAction(obis, script)
    return CosemObject(
        CLASS_ID, 0, obis, facility.group, facility.title,
        (
            Attribute(one.script, personal_set=one.write_script),
            setting(
                obis, TYPE, axdr.enum(SingleActionType.ONE_TIME_DATE_WILDCARDS), ENUM,
                check=lambda data: data.value in set(SingleActionType),
            ),
            setting(
                obis, TIMES, axdr.array(), EXECUTION_TIMES,
                check=lambda data: len(data.value) <= TIMES_MAX,
            ),
        ),
        decider=one,
    )  # fmt: skip
