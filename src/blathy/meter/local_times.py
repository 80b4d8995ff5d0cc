"""Times of day of schedules and single actions on a local day, as the meter's clock shows them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from blathy.clock import Zone
from blathy.cosem.cosem_time import CosemTime


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
