"""The time zone and the daylight saving that were set at the clock (class 8, attributes 3 and 5 to
8), as the rule of a zone.

A rule repeats every year: the first to fourth or last of a weekday in a month, or a fixed date. A
moment of one year alone is refused, because the meter would not know the year after.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.cosem_time import (
    CosemDate,
    CosemDateTime,
    CosemTime,
    CosemTimeError,
    date_time_of,
)

TIME_ZONE: Final = 3
BEGIN, END, DEVIATION, ENABLED = 5, 6, 7, 8
PREFIX: Final = b"clock:"
LAST_DAY: Final = 0xFE
DEVIATION_MOST_MIN: Final = 120
_ORDINARY_YEAR: Final = 2026
_TYPES: Final = {
    TIME_ZONE: DataType.LONG,
    DEVIATION: DataType.INTEGER,
    ENABLED: DataType.BOOLEAN,
}


class RuleError(ValueError):
    """What was set is no rule of a zone."""


def key_of(number: int) -> bytes:
    """Where the settings keep an attribute of the clock."""
    return PREFIX + bytes((number,))


def attribute(zone: Zone, settings: Mapping[bytes, bytes], number: int, year: int) -> bytes:
    """An attribute of the clock, encoded: as it was set, or as the zone has it in that year."""
    raw = settings.get(key_of(number))
    return _of_zone(zone, year)[number] if raw is None else raw


def zone_as_set(zone: Zone, settings: Mapping[bytes, bytes], year: int = _ORDINARY_YEAR) -> Zone:
    """The zone with what was set at the clock; `zone` itself where nothing was. Raise RuleError."""
    if not any(key_of(n) in settings for n in (TIME_ZONE, BEGIN, END, DEVIATION, ENABLED)):
        return zone
    read = {
        n: axdr.decode(attribute(zone, settings, n, year))
        for n in (TIME_ZONE, BEGIN, END, DEVIATION, ENABLED)
    }
    west_min, deviation_min = int(read[TIME_ZONE].value), int(read[DEVIATION].value)
    if not -14 * 60 <= west_min <= 12 * 60:
        raise RuleError("a time zone is -840 to 720 minutes from local time to UTC")
    if abs(deviation_min) > DEVIATION_MOST_MIN:
        raise RuleError("daylight saving is at most 120 minutes")
    standard = f"<S>{_clock(60 * west_min)}"
    if not read[ENABLED].value or not deviation_min:
        return Zone(standard)
    begin, end = (_moment(read[n], word) for n, word in ((BEGIN, "begins"), (END, "ends")))
    if begin == end:
        raise RuleError("daylight saving begins when it ends")
    return Zone(f"{standard}<D>{_clock(60 * (west_min - deviation_min))},{begin},{end}")


def check(number: int, data: Data) -> None:
    """Raise AxdrError where an attribute of the clock has another type."""
    if number in {BEGIN, END}:
        date_time_of(data)
    elif data.type is not _TYPES[number]:
        raise AxdrError("the value has another type")


def _clock(seconds: int) -> str:
    hours, rest = divmod(abs(seconds), 3600)
    return f"{'-' if seconds < 0 else ''}{hours}:{rest // 60:02d}:{rest % 60:02d}"


def _moment(data: Data, word: str) -> str:
    """A pattern as in POSIX's TZ: `M3.5.0/2:00:00`, or `J92/2:00:00` for a date."""
    raw = bytes(data.value)
    try:
        moment = CosemDateTime.of(raw)
        at_s = moment.time.second_of_day()
    except CosemTimeError as error:
        raise RuleError(f"the time at which daylight saving {word} is not given") from error
    month, day, weekday = raw[2], raw[3], raw[4]
    if raw[:2] != b"\xff\xff":
        raise RuleError(f"daylight saving {word} by a rule for every year, not in one year")
    if not 1 <= month <= 12:
        raise RuleError(f"the month in which daylight saving {word} is not given")
    length = (date(_ORDINARY_YEAR, month % 12 + 1, 1) - timedelta(days=1)).day
    if weekday == 0xFF:
        day = length if day == LAST_DAY else day
        if not 1 <= day <= length:
            raise RuleError(f"the day on which daylight saving {word} is not given")
        return f"J{date(_ORDINARY_YEAR, month, day).timetuple().tm_yday}/{_clock(at_s)}"
    if day == LAST_DAY or (month != 2 and day == length - 6):
        week = 5
    elif day in {1, 8, 15, 22}:
        week = 1 + day // 7
    else:
        raise RuleError("a weekday is the last of its month, or on or after day 1, 8, 15 or 22")
    return f"M{month}.{week}.{weekday % 7}/{_clock(at_s)}"


# --- a zone as a clock shows it -------------------------------------------------------------------


@lru_cache(maxsize=64)
def _of_zone(zone: Zone, year: int) -> Mapping[int, bytes]:
    january, july = (int(datetime(year, m, 1, tzinfo=UTC).timestamp()) for m in (1, 7))
    standard_s = min(zone.offset_s(january), zone.offset_s(july))
    saving_s = max(zone.offset_s(january), zone.offset_s(july))
    west_min, deviation_min = -standard_s // 60, (saving_s - standard_s) // 60
    begin, end = _switches(zone, year)
    return {
        TIME_ZONE: axdr.encode_i16(west_min),
        BEGIN: _pattern(begin, west_min),
        END: _pattern(end, west_min - deviation_min),
        DEVIATION: axdr.encode_i8(deviation_min if begin else 0),
        ENABLED: axdr.encode_boolean(begin is not None),
    }


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
    raw[3] = LAST_DAY if moment.day > 24 else 1 + 7 * ((moment.day - 1) // 7)
    return axdr.encode_octets(bytes(raw))
