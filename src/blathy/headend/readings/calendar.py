"""Slots are UTC; a local day has 92, 96 or 100 quarters. Where days and buckets begin."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from blathy.clock import Zone

Int64s = NDArray[np.int64]
DAY_S = 86_400


def slots_in_day(zone: Zone, day: date, step_s: int) -> int:
    """How many slots of `step_s` seconds the local day has (at least one)."""
    start, end = zone.day_bounds(day)
    return max(1, (end - start) // step_s)


def days_between(zone: Zone, from_utc: int, to_utc: int) -> Iterator[date]:
    """The local days that overlap [from, to)."""
    day = zone.day_of(from_utc)
    while zone.day_start(day) < to_utc:
        yield day
        day += timedelta(days=1)


def slot_floor(zone: Zone, utc_s: int, step_s: int) -> int:
    """Start of the slot that holds the moment; a day's slot begins at local midnight."""
    if step_s >= DAY_S:
        return zone.day_start(zone.day_of(utc_s))
    return utc_s - utc_s % step_s


def slot_grid(zone: Zone, from_utc: int, to_utc: int, step_s: int) -> Int64s:
    """Starts of all slots that begin in [from, to)."""
    if step_s >= DAY_S:
        starts = [zone.day_start(day) for day in days_between(zone, from_utc, to_utc)]
        return np.array([s for s in starts if s >= from_utc], np.int64)
    first = -(-from_utc // step_s) * step_s
    return np.arange(first, to_utc, step_s, dtype=np.int64)


def slot_end(zone: Zone, start_utc: int, step_s: int) -> int:
    """End of the slot that begins at `start_utc`."""
    if step_s >= DAY_S:
        return zone.day_bounds(zone.day_of(start_utc))[1]
    return start_utc + step_s


def start_of_ending_slot(zone: Zone, end_utc: int, step_s: int) -> int:
    """Start of the slot that a record stamped with its end belongs to."""
    if step_s >= DAY_S:
        return zone.day_start(zone.day_of(end_utc - 1))
    return end_utc - step_s


def bucket_edges(zone: Zone, from_utc: int, to_utc: int, resolution: str, step_s: int) -> list[int]:
    """Edges of the buckets that cover [from, to): slot, hour, day, month or year, in local
    time."""
    if resolution == "slot":
        first = slot_floor(zone, from_utc, step_s)
        grid = [int(s) for s in slot_grid(zone, first, to_utc, step_s)]
        return [*grid, slot_end(zone, grid[-1], step_s)] if grid else [first]
    if resolution == "hour":
        first = from_utc - from_utc % 3600
        return list(range(first, to_utc + 3599 - (to_utc - 1) % 3600 + 1, 3600))
    days = list(days_between(zone, from_utc, to_utc))
    if resolution == "month":
        firsts = sorted({day.replace(day=1) for day in days})
        last = (firsts[-1] + timedelta(days=32)).replace(day=1)
        return [int(zone.day_start(day)) for day in (*firsts, last)]
    if resolution == "year":
        years = range(days[0].year, days[-1].year + 2)
        return [int(zone.day_start(date(year, 1, 1))) for year in years]
    return [int(zone.day_start(day)) for day in (*days, days[-1] + timedelta(days=1))]
