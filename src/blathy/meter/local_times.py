"""Times of day of schedules and single actions on a local day, and windows in which a meter may
speak of its own accord, as its clock shows them.

A window whose times come again, as its date has wildcards, begins on every day that fits the
beginning; where it ends at an earlier time of day than it begins, that is on the next day.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from blathy.clock import Zone
from blathy.cosem.cosem_time import CosemDateTime, CosemTime, CosemTimeError

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

Windows = tuple[tuple[bytes, bytes], ...]
"""Beginning and end of each, as date-times."""


def seconds_of(time: CosemTime) -> Iterator[int]:
    """Seconds of the wall clock after midnight: an unspecified hour or minute is every one, an
    unspecified second is 0."""
    hours = range(24) if time.hour is None else (time.hour,)
    minutes = range(60) if time.minute is None else (time.minute,)
    for hour in hours:
        for minute in minutes:
            yield hour * 3600 + minute * 60 + (time.second or 0)


def utc_of(zone: Zone, day: date, second: int) -> int:
    """The first moment at which the wall clock shows it; what the beginning of summer time skips
    comes an hour later by the wall clock."""
    wall = datetime(day.year, day.month, day.day, tzinfo=zone.tzinfo)
    return int((wall + timedelta(seconds=second)).timestamp())


def in_a_window(meter: Meter, windows: Windows) -> bool:
    """Whether the clock of the meter stands in one of the windows; none: always."""
    now = meter.clock_utc_s()
    return not windows or any(_holds(meter, *window, now) for window in windows)


def _holds(meter: Meter, begin: bytes, end: bytes, now: int) -> bool:
    """From `begin` to `end`; with wildcards in the date on every day that fits, by the clock."""
    try:
        first, last = CosemDateTime.of(begin), CosemDateTime.of(end)
        if first.date.is_exact and last.date.is_exact:
            return int(first.utc(meter.zone)) <= now < int(last.utc(meter.zone))
    except CosemTimeError:
        return False
    local = meter.zone.civil(now)
    wall = bytes((local.hour, local.minute, local.second))
    since, until = _filled(begin[5:8], 0), _filled(end[5:8], 0xFF)
    today = first.date.matches(local.date())
    if since <= until:
        return today and since <= wall < until
    yesterday = first.date.matches(local.date() - timedelta(days=1))
    return (today and since <= wall) or (yesterday and wall < until)


def _filled(time: bytes, instead: int) -> bytes:
    """Hour, minute and second, with what is not specified replaced."""
    return bytes(instead if octet == 0xFF else octet for octet in time)
