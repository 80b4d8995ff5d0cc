"""COSEM date-times of whole columns: rows of twelve octets to UTC and back, vectorised.

The same rules as `cosem_time.CosemDateTime`, without an object per value. A row that names no
moment (wildcards, a day that is not in the calendar) is not an error here: its mask says so.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from blathy.clock import SECONDS_PER_DAY, Zone, datetime_of
from blathy.cosem.cosem_time import (
    DEVIATION_RANGE_MIN,
    NO_DEVIATION,
    ClockStatus,
    CosemDate,
    CosemDateTime,
    TimeQuirk,
)

Octets = npt.NDArray[np.uint8]
Seconds = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_RAW = np.dtype(
    [
        ("year", ">u2"),
        ("month", "u1"),
        ("day", "u1"),
        ("weekday", "u1"),
        ("hour", "u1"),
        ("minute", "u1"),
        ("second", "u1"),
        ("hundredths", "u1"),
        ("deviation", ">i2"),
        ("status", "u1"),
    ]
)
_UNSET_DEVIATION = NO_DEVIATION - 0x1_0000
_FIRST_YEAR, _LAST_YEAR = 1, 9998
# Days before each month of the year that begins in March, so that a leap day is the last one.
_DAYS_BEFORE_MONTH: npt.NDArray[np.int64] = np.array(
    [0, 306, 337, 0, 31, 61, 92, 122, 153, 184, 214, 245, 275], np.int64
)
_MONTH_DAYS = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_EPOCH_DAYS = 719_468  # from 0000-03-01 to 1970-01-01
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_TABLE_DAYS_MAX = 400  # up to here a look-up per day is faster than arithmetic on every row
_HOURS_AND_MINUTES = np.array([divmod(minute, 60) for minute in range(1440)], np.uint8)
_NOT_DAYLIGHT = np.uint8(0xFF & ~int(ClockStatus.DAYLIGHT_SAVING))
_LAST_SECOND = 253_339_228_800  # a year before the end of Python's calendar


class Times(NamedTuple):
    """UTC seconds per row; `valid` is False where a row names no moment (its second is 0)."""

    utc_s: Seconds
    valid: Mask


def decode_times(
    raw: Octets, zone: Zone | None = None, quirks: TimeQuirk = TimeQuirk.NONE
) -> Times:
    """UTC of rows of twelve octets (shape n x 12).

    Rows without deviation need `zone`; without it they are not valid.
    """
    fields = np.ascontiguousarray(raw).view(_RAW).reshape(-1)
    local_s, valid = _local_seconds(fields)
    deviation = fields["deviation"].astype(np.int64)
    unset = deviation == _UNSET_DEVIATION
    sign = -60 if TimeQuirk.REVERSED_DEVIATION in quirks else 60
    utc_s = local_s + sign * deviation
    out_of_range = (deviation < DEVIATION_RANGE_MIN.start) | (deviation >= DEVIATION_RANGE_MIN.stop)
    if out_of_range.any():
        valid &= ~out_of_range | unset
        if unset.any():
            _apply_zone(utc_s, valid, unset, raw, local_s, zone, quirks)
    if not valid.all():
        utc_s[~valid] = 0
    return Times(utc_s, valid)


def _local_seconds(fields: npt.NDArray[np.void]) -> Times:
    """Seconds of the wall clock since 1970 and whether the fields are a date and a time."""
    year = fields["year"].astype(np.int64)
    month = fields["month"]
    day = fields["day"]
    hour, minute, second = fields["hour"], fields["minute"], fields["second"]
    valid = (month - np.uint8(1) < 12) & (hour < 24) & (minute < 60)
    valid &= ((second < 60) | (second == 0xFF)) & (year >= _FIRST_YEAR) & (year <= _LAST_YEAR)
    month = np.where(valid, month, np.uint8(1))
    leap_day = ((year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))) & (month == 2)
    valid &= (day > 0) & (day <= _MONTH_DAYS[month] + leap_day)
    shifted = year - (month < 3)
    days: Seconds = shifted * 365 + shifted // 4 - shifted // 100 + shifted // 400
    days += _DAYS_BEFORE_MONTH[month]
    days += day
    seconds = (days - (_EPOCH_DAYS + 1)) * SECONDS_PER_DAY
    seconds += hour.astype(np.int64) * 3600 + minute.astype(np.int64) * 60
    seconds += np.where(second == 0xFF, np.uint8(0), second)
    return Times(seconds, valid)


def _apply_zone(
    utc_s: Seconds,
    valid: Mask,
    unset: Mask,
    raw: Octets,
    local_s: Seconds,
    zone: Zone | None,
    quirks: TimeQuirk,
) -> None:
    """Fill in the rows that carry no deviation, day by day."""
    if zone is None:
        valid &= ~unset
        return
    wanted = unset & valid
    days = local_s // SECONDS_PER_DAY
    standard = TimeQuirk.STANDARD_TIME_ALL_YEAR in quirks
    for day in np.unique(days[wanted]):
        rows = wanted & (days == day)
        noon = datetime_of(int(day) * SECONDS_PER_DAY)
        start, end = zone.day_bounds(noon.date())
        offsets = {zone.offset_s(start), zone.offset_s(start - 1), zone.offset_s(end)}
        if len(offsets) == 1 and not standard:
            utc_s[rows] = local_s[rows] - offsets.pop()
            continue
        for row in np.flatnonzero(rows):
            octets = raw[row].tobytes()
            exact = octets[:4] + b"\xff" + octets[5:8] + b"\xff" + octets[9:]
            utc_s[row] = CosemDateTime.of(exact).utc(zone, quirks)


def offsets_s(utc_s: Seconds, zone: Zone) -> Seconds:
    """Seconds that local time is ahead of UTC, per row; one look-up a day, more where it turns."""
    offsets = np.zeros(len(utc_s), np.int64)
    days = utc_s // SECONDS_PER_DAY
    for day in np.unique(days):
        rows = days == day
        first = zone.offset_s(int(day) * SECONDS_PER_DAY)
        if first == zone.offset_s((int(day) + 1) * SECONDS_PER_DAY):
            offsets[rows] = first
        else:
            offsets[rows] = [zone.offset_s(int(moment)) for moment in utc_s[rows]]
    return offsets


def encode_times(
    utc_s: npt.ArrayLike, zone: Zone, status: npt.ArrayLike = 0, *, deviation: bool = True
) -> Octets:
    """Rows of twelve octets for UTC seconds, as the meter shows them in `zone`.

    `status` (one or per row) gets the daylight bit from the zone; without `deviation` it is sent
    as not specified. Raise ValueError for seconds before year 1 or after year 9998.
    """
    utc = np.atleast_1d(np.asarray(utc_s, np.int64))
    octets = np.zeros((len(utc), 12), np.uint8)
    if not len(utc):
        return octets
    first, last = int(utc.min()), int(utc.max())
    if last > _LAST_SECOND or first < -_EPOCH_DAYS * SECONDS_PER_DAY:
        raise ValueError("a time is outside the years 1 to 9998")
    offsets, summer = _regular(first, last, zone) or _irregular(utc, zone)
    local = utc + offsets
    days = local // SECONDS_PER_DAY
    rest = local - days * SECONDS_PER_DAY
    minutes = rest // 60
    octets[:, :5] = _dates(days)
    octets[:, 5:7] = _HOURS_AND_MINUTES[minutes]
    octets[:, 7] = rest - 60 * minutes
    west = -offsets // 60 if deviation else _UNSET_DEVIATION
    octets[:, 9] = west >> 8 & 0xFF
    octets[:, 10] = west & 0xFF
    octets[:, 11] = np.asarray(status, np.uint8) & _NOT_DAYLIGHT | summer
    return octets


def _regular(first_s: int, last_s: int, zone: Zone) -> tuple[int, int] | None:
    """Offset and daylight bit where both are the same all the time, as they nearly always are."""
    first, last = first_s // SECONDS_PER_DAY, last_s // SECONDS_PER_DAY
    if last - first > _TABLE_DAYS_MAX:
        return None
    of_day = _of_day(zone, first)
    for day in range(first + 1, last + 1):
        if _of_day(zone, day) != of_day:
            return None
    return of_day


@lru_cache(maxsize=4096)
def _of_day(zone: Zone, day: int) -> tuple[int, int] | None:
    """Offset and daylight bit of a UTC day, None where they change in it."""
    begin, end = day * SECONDS_PER_DAY, (day + 1) * SECONDS_PER_DAY
    offset, summer = zone.offset_s(begin), zone.is_dst(begin)
    if (offset, summer) != (zone.offset_s(end), zone.is_dst(end)):
        return None
    return offset, int(ClockStatus.DAYLIGHT_SAVING) if summer else 0


def _irregular(utc: Seconds, zone: Zone) -> tuple[Seconds, Octets]:
    """Offset and daylight bit of every row."""
    offsets = offsets_s(utc, zone)
    summer = np.where(_is_summer(utc, offsets, zone), int(ClockStatus.DAYLIGHT_SAVING), 0)
    return offsets, summer.astype(np.uint8)


def _dates(days: Seconds) -> Octets:
    """Year, month, day and weekday of days since 1970, as the five octets of a date."""
    first, last = int(days.min()), int(days.max())
    if last - first <= _TABLE_DAYS_MAX:
        table = b"".join([_date(day) for day in range(first, last + 1)])
        rows: Octets = np.frombuffer(table, np.uint8).reshape(-1, 5)[days - first]
        return rows
    civil = days.astype("datetime64[D]")
    months = civil.astype("datetime64[M]")
    year = civil.astype("datetime64[Y]").astype(np.int64) + 1970
    fields = (
        year >> 8,
        year & 0xFF,
        months.astype(np.int64) % 12 + 1,
        (civil - months).astype(np.int64) + 1,
        (days + 3) % 7 + 1,
    )
    return np.stack(fields, axis=1).astype(np.uint8)


@lru_cache(maxsize=4096)
def _date(day: int) -> bytes:
    return CosemDate.of_date(date.fromordinal(_EPOCH_ORDINAL + day)).raw()


def _is_summer(utc: Seconds, offsets: Seconds, zone: Zone) -> Mask:
    """Whether daylight saving is on: one look-up per day and offset."""
    keys = utc // SECONDS_PER_DAY * SECONDS_PER_DAY * 2 + offsets
    unique, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    known = np.array([zone.is_dst(int(utc[row])) for row in first], np.bool_)
    assert len(known) == len(unique)
    return known[inverse]
