"""Estimation of missing slots, anchored to the registers on both sides: never a guess of a sum.

- A gap of at most two hours between valid neighbours: linear between them (E2).
- A longer gap: the mean of the same wall-clock slots on the last like days (E3): workdays,
  Saturdays, Sundays.
- Where the register is known on both sides the estimates are scaled so that their sum is its
  advance, exactly, by largest remainder. Without that, a long gap stays missing.

Estimates are a version of the day with a reason; what the meter sends later replaces them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from blathy.clock import Zone
from blathy.headend.inventory.registry import Channel
from blathy.headend.readings.calendar import DAY_S, slots_in_day
from blathy.headend.readings.ingest import RAW, store_version
from blathy.headend.readings.packing import DayRecord, ValueSource
from blathy.headend.readings.rules import runs
from blathy.headend.readings.series import Series, read_series
from blathy.headend.schema import reading_day

Int64s = NDArray[np.int64]
LINEAR_MAX_S: Final = 7_200
LIKE_DAYS: Final = 3
LIKE_SEARCH_DAYS: Final = 28


def share_out(total: int, weights: NDArray[np.float64]) -> Int64s:
    """Integers in proportion to the weights whose sum is exactly `total`; no negative one."""
    assert total >= 0
    count = len(weights)
    weights = np.clip(weights, 0, None)
    largest = weights.max(initial=0.0)
    # Related to the largest first, so that no weight is too small or too large to divide by.
    weights = weights / largest if largest > 0 else np.ones(count)
    exact = weights * (total / weights.sum())
    whole: Int64s = np.floor(exact).astype(np.int64)
    left = total - int(whole.sum())
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[:left]] += 1
    return whole


def between(before: float, after: float, count: int) -> NDArray[np.float64]:
    """`count` values on the line between two neighbours."""
    steps = np.arange(1, count + 1) / (count + 1)
    return before + (after - before) * steps


@dataclass(frozen=True, slots=True, eq=False)
class _Gap:
    """Slots [first, after) of a series whose amounts are missing."""

    first: int
    after: int


def estimate_day(connection: Connection, channel: Channel, zone: Zone, day: date, now: int) -> int:
    """Estimate what is missing on a local day; return the number of the new version, or 0."""
    if not channel.adds_up or channel.step_s >= DAY_S:
        return 0
    start, end = zone.day_bounds(day)
    margin = LINEAR_MAX_S * 2
    series = read_series(connection, channel, zone, start - margin, end + margin, raw_only=True)
    first, after = np.searchsorted(series.start, (start, end))
    record = DayRecord.empty(slots_in_day(zone, day, channel.step_s))
    for low, high in runs(~series.known):
        if high <= first or low >= after:
            continue
        filled = _fill(connection, series, _Gap(low, high), day)
        if filled is None:
            continue
        amounts, source = filled
        values = amounts
        if channel.cumulative:
            values = int(series.registers[low - 1]) + np.cumsum(amounts)
        for n in range(max(low, int(first)), min(high, int(after))):
            if not series.register_known[n]:
                record.values[n - first] = values[n - low]
                record.sources[n - first] = source
    if not record.present.any():
        return 0
    reason = f"{record.received} slots estimated"
    return store_version(connection, channel, zone, day, record, reason, now)


def _fill(
    connection: Connection, series: Series, gap: _Gap, day: date
) -> tuple[Int64s, ValueSource] | None:
    count, step = gap.after - gap.first, series.channel.step_s
    if gap.first < 1 or gap.after >= len(series):
        return None  # no neighbour on one side
    advance = None
    if series.channel.cumulative:
        last = gap.after - 1  # the register after the gap belongs to its last slot
        if not (series.register_known[gap.first - 1] and series.register_known[last]):
            return None
        advance = int(series.registers[last] - series.registers[gap.first - 1])
        if advance < 0:
            return None
    short = count * step <= LINEAR_MAX_S + step * series.channel.cumulative
    neighbours = series.known[gap.first - 1] and series.known[gap.after]
    if short and neighbours:
        weights = between(
            float(series.amounts[gap.first - 1]), float(series.amounts[gap.after]), count
        )
        source = ValueSource.LINEAR
    elif advance is not None:
        weights = _like_days(connection, series, gap, day)
        source = ValueSource.LIKE_DAY
    else:
        return None
    if advance is not None:
        return share_out(advance, weights), source
    return np.round(weights).astype(np.int64), source


def _like_days(connection: Connection, series: Series, gap: _Gap, day: date) -> NDArray[np.float64]:
    """Mean amounts of the same slots on the last days of the same class; zeros without any."""
    found: list[NDArray[np.float64]] = []
    start, step = int(series.start[gap.first]), series.channel.step_s
    count = gap.after - gap.first
    for back in range(1, LIKE_SEARCH_DAYS + 1):
        other = day - timedelta(days=back)
        if _class_of(other) != _class_of(day):
            continue
        shift = int(series.zone.day_start(day) - series.zone.day_start(other))
        past = read_series(
            connection,
            series.channel,
            series.zone,
            start - shift,
            start - shift + count * step,
            raw_only=True,
        )
        if len(past) == count and bool(past.known.all()):
            found.append(past.amounts.astype(np.float64))
        if len(found) == LIKE_DAYS:
            break
    if not found:
        return np.zeros(count)
    mean: NDArray[np.float64] = np.mean(found, axis=0)
    return mean


def _class_of(day: date) -> int:
    """Workday 0, Saturday 5, Sunday 6."""
    return max(0, day.weekday() - 4) + 4 if day.weekday() >= 5 else 0


def days_to_estimate(connection: Connection, before_day: int) -> list[tuple[int, int]]:
    """(channel, day ordinal) of sealed days with slots missing and no estimate of this state."""
    raw, newer = reading_day.alias("raw"), reading_day.alias("newer")
    estimated = (
        sa.select(sa.literal(1))
        .where(
            newer.c.channel_id == raw.c.channel_id,
            newer.c.day == raw.c.day,
            newer.c.version > RAW,
            newer.c.received_at >= raw.c.received_at,
        )
        .exists()
    )
    rows = connection.execute(
        sa.select(raw.c.channel_id, raw.c.day).where(
            raw.c.version == RAW,
            raw.c.received < raw.c.slots,
            raw.c.day < before_day,
            ~estimated,
        )
    )
    return [(r.channel_id, r.day) for r in rows]
