"""The clock object (class 8): time from the committed snapshot, settings from the meter's zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data
from blathy.cosem.cosem_time import CosemDate, CosemDateTime, CosemTime, date_time_of
from blathy.cosem.service import AccessError, ActionResult, DataAccessResult, Requester
from blathy.meter.objects import I16, Attribute, CosemObject, fits
from blathy.models.model import ClockSpec, Group

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

QUARTER_S: Final = 900
SHIFT_MAX_S: Final = 900
INTERNAL_CRYSTAL: Final = 1
_PRESET: Final = b"clock:preset"
_LAST_WEEKDAY: Final = 0xFE


@lru_cache(maxsize=64)
def _switches(zone: Zone, year: int) -> tuple[datetime | None, datetime | None]:
    """Local moments (of the period that ends) at which daylight saving begins and ends."""
    begin: datetime | None = None
    end: datetime | None = None
    day = date(year, 1, 1)
    while day.year == year:
        first, last = zone.day_bounds(day)
        if zone.is_dst(first) != zone.is_dst(last):
            low, high = int(first), int(last)
            while high - low > 1:
                middle = (low + high) // 2
                if zone.is_dst(middle) == zone.is_dst(low):
                    low = middle
                else:
                    high = middle
            local = datetime.fromtimestamp(high, UTC) + timedelta(seconds=zone.offset_s(low))
            if zone.is_dst(high):
                begin = local.replace(tzinfo=None)
            else:
                end = local.replace(tzinfo=None)
        day += timedelta(days=1)
    return begin, end


def _pattern(moment: datetime | None, deviation_min: int) -> bytes:
    """`last Sunday of March, 02:00` as a date-time with wildcards; all open without a switch."""
    if moment is None:
        return axdr.encode_octets(CosemDateTime().raw())
    raw = bytearray(
        CosemDateTime(
            CosemDate.of_date(moment.date()),
            CosemTime(moment.hour, moment.minute, moment.second, 0),
            deviation_min,
            0,
        ).raw()
    )
    raw[0:2] = b"\xff\xff"
    if moment.date().day > 24:
        raw[3] = _LAST_WEEKDAY
    return axdr.encode_octets(bytes(raw))


def _standard_deviation_min(zone: Zone, year: int) -> int:
    """Minutes from standard local time to UTC: -60 in central Europe."""
    january = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    july = int(datetime(year, 7, 1, tzinfo=UTC).timestamp())
    return -min(zone.offset_s(january), zone.offset_s(july)) // 60


def _year(meter: Meter) -> int:
    return meter.zone.civil(meter.clock_utc_s()).year


def _time(meter: Meter) -> bytes:
    return axdr.encode_octets(meter.clock_raw())


def _set_time(meter: Meter, data: Data) -> None:
    try:
        utc_s = int(date_time_of(data).utc(meter.zone))
    except AxdrError as error:
        raise AccessError(DataAccessResult.TYPE_UNMATCHED, str(error)) from error
    if not 0 <= utc_s < 4_102_444_800:
        raise AccessError(DataAccessResult.OTHER_REASON, "the time is outside 1970 to 2100")
    meter.set_clock(utc_s)


def _zone(meter: Meter) -> bytes:
    return axdr.encode_i16(_standard_deviation_min(meter.zone, _year(meter)))


def _status(meter: Meter) -> bytes:
    return axdr.encode_u8(meter.clock_raw()[11])


def _begin(meter: Meter) -> bytes:
    year = _year(meter)
    standard = _standard_deviation_min(meter.zone, year)
    return _pattern(_switches(meter.zone, year)[0], standard)


def _end(meter: Meter) -> bytes:
    year = _year(meter)
    standard = _standard_deviation_min(meter.zone, year)
    return _pattern(_switches(meter.zone, year)[1], standard - 60)


def _deviation(meter: Meter) -> bytes:
    return axdr.encode_i8(60 if _switches(meter.zone, _year(meter))[0] else 0)


def _enabled(meter: Meter) -> bytes:
    return axdr.encode_boolean(_switches(meter.zone, _year(meter))[0] is not None)


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
    meter.save_setting(
        _PRESET, axdr.encode(axdr.structure(*(axdr.i64(moment) for moment in moments)))
    )
    return b""


def _shift(meter: Meter, data: Data, _who: Requester) -> bytes:
    if not fits(data, I16):
        raise AccessError(ActionResult.TYPE_UNMATCHED, "the shift is a long")
    if abs(data.value) > SHIFT_MAX_S:
        raise AccessError(ActionResult.OTHER_REASON, "a shift is at most 900 s")
    meter.set_clock(meter.clock_utc_s() + int(data.value))
    return b""


def clock_object(spec: ClockSpec) -> CosemObject:
    """Class 8. Time zone and daylight saving follow the zone that the meter was made for."""
    return CosemObject(
        8,
        0,
        spec.obis,
        Group.TIME,
        "clock",
        (
            Attribute(_time, _set_time),
            Attribute(_zone),
            Attribute(_status),
            Attribute(_begin),
            Attribute(_end),
            Attribute(_deviation),
            Attribute(_enabled),
            Attribute(axdr.encode_enum(INTERNAL_CRYSTAL)),
        ),
        (_quarter, _measuring_period, _minute, _adjust_to_preset, _preset, _shift),
    )
