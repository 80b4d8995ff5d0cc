"""The clock object (class 8): time from the committed snapshot, settings from the meter's zone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data
from blathy.cosem.cosem_time import date_time_of
from blathy.cosem.service import AccessError, ActionResult, DataAccessResult, Requester
from blathy.meter import daylight_saving
from blathy.meter.objects import I16, Attribute, CosemObject, require
from blathy.models.model import ClockSpec, Group
from blathy.registers.rtc import EARLIEST_UTC_S

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

QUARTER_S: Final = 900
SHIFT_MAX_S: Final = 900
INTERNAL_CRYSTAL: Final = 1
END_OF_CENTURY_UTC_S: Final = 4_102_444_800
"""2100-01-01: no clock is set to a time from then on."""
_PRESET: Final = b"clock:preset"


def _year(meter: Meter) -> int:
    return meter.zone.civil(meter.clock_utc_s()).year


def _time(meter: Meter) -> bytes:
    return axdr.encode_octets(meter.clock_raw())


def _set_time(meter: Meter, data: Data) -> None:
    try:
        utc_s = int(date_time_of(data).utc(meter.zone))
    except AxdrError as error:
        raise AccessError(DataAccessResult.TYPE_UNMATCHED, str(error)) from error
    require_in_range(utc_s)
    meter.set_clock(utc_s)


def require_in_range(utc_s: int) -> None:
    """AccessError for a time that no clock is set to."""
    if not EARLIEST_UTC_S <= utc_s < END_OF_CENTURY_UTC_S:
        raise AccessError(DataAccessResult.OTHER_REASON, "a clock shows the years 2000 to 2099")


def _status(meter: Meter) -> bytes:
    return axdr.encode_u8(meter.clock_raw()[11])


def _ruled(number: int) -> Attribute:
    """Time zone, begin and end of daylight saving, its deviation, whether it is observed."""

    def get(meter: Meter) -> bytes:
        delivered = Zone(meter.zone_delivered)
        return daylight_saving.attribute(delivered, meter.settings, number, _year(meter))

    def write(meter: Meter, data: Data) -> None:
        try:
            daylight_saving.check(number, data)
            meter.set_zone_rule(number, axdr.encode(data))
        except AxdrError as error:
            raise AccessError(DataAccessResult.TYPE_UNMATCHED, str(error)) from error
        except daylight_saving.RuleError as error:
            raise AccessError(DataAccessResult.OTHER_REASON, str(error)) from error

    return Attribute(get, write)


def _to_nearest(meter: Meter, step_s: int) -> bytes:
    now = meter.clock_utc_s()
    offset = meter.zone.offset_s(now)
    local = now + offset
    meter.set_clock((local + step_s // 2) // step_s * step_s - offset)
    return b""


def _quarter(meter: Meter, _data: Data, _who: Requester) -> bytes:
    return _to_nearest(meter, QUARTER_S)


def _measuring_period(meter: Meter, _data: Data, _who: Requester) -> bytes:
    period = meter.model.demand.period_s if meter.model.demand else QUARTER_S
    return _to_nearest(meter, period)


def _minute(meter: Meter, _data: Data, _who: Requester) -> bytes:
    return _to_nearest(meter, 60)


def _adjust_to_preset(meter: Meter, _data: Data, _who: Requester) -> bytes:
    raw = meter.settings.get(_PRESET)
    if raw is None:
        raise AccessError(ActionResult.TEMPORARY_FAILURE, "no time was preset")
    preset, first, last = (int(item.value) for item in axdr.decode(raw).value)
    if not first <= meter.clock_utc_s() <= last:
        raise AccessError(ActionResult.TEMPORARY_FAILURE, "the preset time is not valid now")
    meter.set_clock(preset)
    return b""


def _preset(meter: Meter, data: Data, _who: Requester) -> bytes:
    if data.type is not axdr.DataType.STRUCTURE or len(data.value) != 3:
        raise AccessError(ActionResult.TYPE_UNMATCHED, "three times are needed")
    try:
        moments = [int(date_time_of(item).utc(meter.zone)) for item in data.value]
    except AxdrError as error:
        raise AccessError(ActionResult.TYPE_UNMATCHED, str(error)) from error
    require_in_range(moments[0])
    if moments[1] > moments[2]:
        raise AccessError(ActionResult.OTHER_REASON, "the interval ends before it begins")
    meter.save_setting(
        _PRESET, axdr.encode(axdr.structure(*(axdr.i64(moment) for moment in moments)))
    )
    return b""


def _shift(meter: Meter, data: Data, _who: Requester) -> bytes:
    require(data, I16, "the shift is a long")
    if abs(data.value) > SHIFT_MAX_S:
        raise AccessError(ActionResult.OTHER_REASON, "a shift is at most 900 s")
    meter.set_clock(meter.clock_utc_s() + int(data.value))
    return b""


def clock_object(spec: ClockSpec) -> CosemObject:
    """Class 8. Time zone and daylight saving are those of the zone that the meter was delivered
    for, until they are set."""
    return CosemObject(
        8,
        0,
        spec.obis,
        Group.TIME,
        "clock",
        (
            Attribute(_time, _set_time),
            _ruled(daylight_saving.TIME_ZONE),
            Attribute(_status),
            *(_ruled(number) for number in (5, 6, 7, 8)),
            Attribute(axdr.encode_enum(INTERNAL_CRYSTAL)),
        ),
        (_quarter, _measuring_period, _minute, _adjust_to_preset, _preset, _shift),
    )
