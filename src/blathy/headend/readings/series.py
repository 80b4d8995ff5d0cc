"""Readings as series: one channel over any time, at slot, hour, day, month or year.

Missing is missing, never zero. The sum of a bucket of a register channel is the difference of its
registers, exact even where slots inside are missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from blathy.clock import Zone
from blathy.headend.inventory.registry import Channel
from blathy.headend.readings.calendar import (
    DAY_S,
    bucket_edges,
    slot_end,
    slot_floor,
    slot_grid,
)
from blathy.headend.readings.ingest import RAW
from blathy.headend.readings.packing import DayRecord, Status, ValueSource, unpack
from blathy.headend.schema import reading_day, reading_slot
from blathy.headend.sentence import ExplainedError

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
RESOLUTIONS: Final = ("auto", "slot", "hour", "day", "month", "year")
BUCKETS_MAX: Final = 20_000
SETTLED_S: Final = 60
"""A slot is expected this long after its end."""
INT64_MAX: Final = 2**63 - 1
JITTER_UNITS: Final = 3
"""A register that falls by at most this many of its least units did not fall: it jitters."""
_ROLLOVER_PART: Final = 0.9
_SUSPECT: Final = (
    Status.CRITICAL_ERROR | Status.CLOCK_INVALID | Status.DATA_INVALID | Status.POWER_DOWN
)
QUALITY: Final = ("missing", "valid", "estimated", "edited", "suspect")
_QUALITY_OF_SOURCE: Final = np.array(
    [0, 1, 3, 2, 2, 2, *([0] * 250)], np.uint8
)  # by ValueSource, into QUALITY
SOURCE_NAMES: Final = {
    ValueSource.METER: "meter",
    ValueSource.EDITED: "edited",
    ValueSource.LINEAR: "linear",
    ValueSource.LIKE_DAY: "like-day",
    ValueSource.ZERO_OUTAGE: "outage",
}
NEWEST: Final = 32_767
"""No day has so many versions."""
# Built once: a statement costs more to build than to run, and every channel asks for these.
_OF_CHANNEL: Final = sa.bindparam("channel", type_=sa.Integer)
_FIRST: Final = sa.bindparam("first", type_=sa.BigInteger)
_LAST: Final = sa.bindparam("last", type_=sa.BigInteger)
_DAYS: Final = (
    sa.select(reading_day)
    .where(
        reading_day.c.channel_id == _OF_CHANNEL,
        reading_day.c.day.between(_FIRST, _LAST),
        reading_day.c.version <= sa.bindparam("newest", type_=sa.Integer),
    )
    .order_by(reading_day.c.day, reading_day.c.version)
)
_HOT: Final = sa.select(reading_slot).where(
    reading_slot.c.channel_id == _OF_CHANNEL,
    reading_slot.c.slot_utc.between(_FIRST, _LAST),
)


class QueryError(ExplainedError):
    """The question cannot be answered."""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Slots of one channel on their full grid.

    `amounts` is what belongs to the slot (the difference of the registers, or the value itself);
    `registers` the captured register at the slot's end for a cumulative channel. Both count only
    where `known` / `register_known` say so.
    """

    channel: Channel
    zone: Zone
    start: Int64s
    amounts: Int64s
    known: Bools
    quality: NDArray[np.uint8]
    sources: NDArray[np.uint8]
    registers: Int64s
    register_known: Bools
    opening: int | None = None
    """The register at the beginning of the first slot, where it is known."""

    def __len__(self) -> int:
        return len(self.start)


def read_series(
    connection: Connection,
    channel: Channel,
    zone: Zone,
    from_utc: int,
    to_utc: int,
    *,
    raw_only: bool = False,
) -> Series:
    """All slots that begin in [from, to), the best version of each."""
    step = channel.step_s
    opening = slot_floor(zone, from_utc - 1, step) if channel.cumulative else from_utc
    grid = slot_grid(zone, opening, to_utc, step)
    captured = _captured(connection, channel, zone, grid, raw_only=raw_only)
    present = captured.present
    if not channel.cumulative:
        amounts, known = captured.values, present
        suspect = (captured.status & _SUSPECT) != 0
    else:
        amounts, known, suspect = _differences(captured.values, present)
        suspect |= (captured.status & _SUSPECT) != 0
    quality = _QUALITY_OF_SOURCE[captured.sources]
    if channel.cumulative and len(quality):
        # a slot that begins at an estimated register is estimated, whatever its end is
        begins = np.concatenate((quality[:1], quality[:-1]))
        quality = np.where((quality == 1) & (begins > 1), begins, quality)
    quality = np.where(known, np.where(suspect & (quality == 1), 4, quality), 0).astype(np.uint8)
    opened = channel.cumulative and len(grid) > 0 and grid[0] < from_utc
    cut = slice(1, None) if opened else slice(None)
    return Series(
        channel,
        zone,
        grid[cut],
        amounts[cut],
        known[cut],
        quality[cut],
        captured.sources[cut],
        captured.values[cut],
        present[cut],
        int(captured.values[0]) if opened and present[0] else None,
    )


def _differences(values: Int64s, present: Bools) -> tuple[Int64s, Bools, Bools]:
    """Advance of a register per slot; a step back is jitter, rollover or suspect (rule V16)."""
    amounts = np.zeros(len(values), np.int64)
    known = np.zeros(len(values), np.bool_)
    suspect = np.zeros(len(values), np.bool_)
    if len(values) < 2:
        return amounts, known, suspect
    amounts[1:] = values[1:] - values[:-1]
    known[1:] = present[1:] & present[:-1]
    amounts[~known] = 0
    for n in np.flatnonzero(known & (amounts < 0)):
        before, after = int(values[n - 1]), int(values[n])
        size = 10 ** len(str(before))
        if before - after <= JITTER_UNITS:
            amounts[n] = 0
        elif before >= _ROLLOVER_PART * size and after <= (1 - _ROLLOVER_PART) * size:
            amounts[n] = after + size - before
        else:
            known[n], amounts[n], suspect[n] = False, 0, True
    return amounts, known, suspect


def _captured(
    connection: Connection, channel: Channel, zone: Zone, grid: Int64s, *, raw_only: bool
) -> DayRecord:
    """Values as captured on the grid: sealed days, newer versions above them, today's rows."""
    merged = DayRecord.empty(len(grid))
    if len(grid) == 0:
        return merged
    low, high = int(grid[0]), int(grid[-1])
    asked = {
        "channel": channel.id,
        "first": zone.day_of(low).toordinal(),
        "last": zone.day_of(high).toordinal(),
        "newest": RAW if raw_only else NEWEST,
    }
    rows = connection.execute(_DAYS, asked)
    for r in rows:
        day = unpack(r.slots, r.first, r.payload, r.status, r.sources)
        _lay_over(merged, _offset(grid, r.start_utc, channel.step_s), day, r.version)
    for r in connection.execute(_HOT, {"channel": channel.id, "first": low, "last": high}):
        n = int(np.searchsorted(grid, r.slot_utc))
        if grid[n] == r.slot_utc and merged.sources[n] in {ValueSource.MISSING, ValueSource.ABSENT}:
            merged.values[n], merged.status[n] = r.value, r.status
            merged.sources[n] = ValueSource.METER
    return merged


def _offset(grid: Int64s, start_utc: int, step_s: int) -> int:
    if step_s >= DAY_S:
        return int(np.searchsorted(grid, start_utc))
    return (start_utc - int(grid[0])) // step_s


def _lay_over(merged: DayRecord, offset: int, day: DayRecord, version: int) -> None:
    """Put a day at its place; a newer version wins, but an estimate yields to the meter."""
    low, high = max(0, offset), min(len(merged.values), offset + len(day.values))
    if low >= high:
        return
    source = day.sources[low - offset : high - offset]
    target = slice(low, high)
    take = source != ValueSource.MISSING
    if version > RAW:
        take &= (source == ValueSource.EDITED) | (merged.sources[target] != ValueSource.METER)
    for name in ("values", "status", "sources"):
        old = getattr(merged, name)[target]
        old[take] = getattr(day, name)[low - offset : high - offset][take]


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bar of a chart. Amounts are integers in the channel's unit x 10^scaler."""

    start: int
    end: int
    value: int | None
    low: int | None
    high: int | None
    quality: str
    source: str | None
    received: int
    expected: int


@dataclass(frozen=True, slots=True)
class ProfileAnswer:
    """The answer to a profile question."""

    channel: Channel
    zone: Zone
    resolution: str
    step_s: int | None
    buckets: list[Bucket]
    first_register: int | None
    last_register: int | None
    total: int | None


def choose_resolution(from_utc: int, to_utc: int, step_s: int) -> str:
    """What a screen can show: slots to 8 days, hours to 45, days to 2 years, then months."""
    span = to_utc - from_utc
    if span <= 8 * DAY_S and step_s < DAY_S:
        return "slot"
    if span <= 45 * DAY_S and step_s < 3600 * 2:
        return "hour"
    return "day" if span <= 750 * DAY_S else "month"


def read_profile(
    connection: Connection,
    channel: Channel,
    zone: Zone,
    from_utc: int,
    to_utc: int,
    resolution: str = "auto",
    now: int | None = None,
) -> ProfileAnswer:
    """The channel over [from, to) in buckets; raise QueryError for a question too large.

    With `now`, slots that are not over yet are not expected, and buckets that have not begun to
    fill are left out.
    """
    if resolution not in RESOLUTIONS:
        raise QueryError(
            "no-resolution", "There is no resolution '{resolution}'.", "Use one of {resolutions}.",
            resolution=resolution, resolutions=", ".join(RESOLUTIONS),
        )  # fmt: skip
    if to_utc <= from_utc:
        raise QueryError(
            "ends-first", "The time ends before it begins.", "Let `to` be later than `from`."
        )
    if resolution == "auto":
        resolution = choose_resolution(from_utc, to_utc, channel.step_s)
    size = {
        "slot": channel.step_s, "hour": 3600, "day": DAY_S, "month": 28 * DAY_S,
        "year": 365 * DAY_S,
    }[resolution]  # fmt: skip
    if (to_utc - from_utc) // size > BUCKETS_MAX:
        raise QueryError(
            "too-many-values",
            "This asks for more than {most} values.",
            "Choose a shorter time or a coarser resolution.",
            most=BUCKETS_MAX,
        )
    if size < channel.step_s:
        resolution = "slot" if channel.step_s < DAY_S else "day"
    edges = bucket_edges(zone, from_utc, to_utc, resolution, channel.step_s)
    series = read_series(connection, channel, zone, edges[0], edges[-1])
    buckets = _buckets(series, np.array(edges, np.int64), INT64_MAX if now is None else now)
    first, last = _end_registers(channel, series)
    known = [b.value for b in buckets if b.value is not None]
    step = {"slot": channel.step_s, "hour": 3600}.get(resolution)
    return ProfileAnswer(
        channel,
        zone,
        resolution,
        step,
        buckets,
        first,
        last,
        sum(known) if known and channel.adds_up else None,
    )


def _end_registers(channel: Channel, series: Series) -> tuple[int | None, int | None]:
    if not channel.cumulative:
        return None, None
    first = series.opening
    there = np.flatnonzero(series.register_known)
    if first is None and len(there):
        first = int(series.registers[there[0]])
    return first, int(series.registers[there[-1]]) if len(there) else first


def _buckets(series: Series, edges: Int64s, now: int) -> list[Bucket]:
    """Cut the series at the edges. Every edge is a slot's start."""
    cuts = np.searchsorted(series.start, edges)
    step = series.channel.step_s
    over = int(np.searchsorted(series.start, now - step - SETTLED_S, side="right"))
    found = []
    for n in range(len(edges) - 1):
        low, high = int(cuts[n]), int(cuts[n + 1])
        due = max(low, min(high, over))
        bucket = _bucket(series, int(edges[n]), int(edges[n + 1]), low, high, due - low)
        if bucket.received or bucket.expected:
            found.append(bucket)
    return found


def _bucket(series: Series, start: int, end: int, low: int, high: int, expected: int) -> Bucket:
    known = series.known[low:high]
    count = int(np.count_nonzero(known))
    expected = max(expected, count)
    if count == 0:
        return Bucket(start, end, None, None, None, "missing", None, 0, expected)
    amounts = series.amounts[low:high][known] if count < high - low else series.amounts[low:high]
    least, most = int(amounts.min()), int(amounts.max())
    total = int(amounts.sum())
    if series.channel.adds_up:
        value = _anchored(series, low, high, total) if count < high - low else total
    else:
        value = round(total / count)
    marks = series.quality[low:high][known]
    worst = QUALITY.index("suspect") if count < expected else int(marks.max())
    source = SOURCE_NAMES.get(ValueSource(int(series.sources[low:high][known].max())))
    return Bucket(start, end, value, least, most, QUALITY[worst], source, count, expected)


def _anchored(series: Series, low: int, high: int, total: int) -> int:
    """With slots missing inside, the registers around them still give the exact sum."""
    there = np.flatnonzero(series.register_known[low:high])
    if not series.channel.cumulative or len(there) == 0:
        return total
    if low == 0:
        begin = series.opening
    else:
        begin = int(series.registers[low - 1]) if series.register_known[low - 1] else None
    if begin is None:
        return total
    advance = int(series.registers[low + int(there[-1])]) - begin
    return max(advance, total)


def missing_ranges(
    connection: Connection, channel: Channel, zone: Zone, from_utc: int, to_utc: int
) -> list[tuple[int, int]]:
    """[start, end) of the runs of slots that nobody has and that may still be at the meter."""
    grid = slot_grid(zone, from_utc, to_utc, channel.step_s)
    if len(grid) == 0:
        return []
    wanted = _captured(connection, channel, zone, grid, raw_only=True).sources == 0
    runs: list[tuple[int, int]] = []
    edges = np.flatnonzero(np.diff(np.concatenate(([False], wanted, [False])).astype(np.int8)))
    for first, after in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        runs.append((int(grid[first]), slot_end(zone, int(grid[after - 1]), channel.step_s)))
    return runs


def received_by_day(
    connection: Connection, channel_ids: list[int], first_day: int, last_day: int
) -> dict[tuple[int, int], int]:
    """(channel, day ordinal) -> slots received, of the sealed days."""
    table = reading_day
    rows = connection.execute(
        sa.select(table.c.channel_id, table.c.day, table.c.received).where(
            table.c.version == RAW, table.c.day >= first_day, table.c.day <= last_day
        )
    )
    wanted = set(channel_ids)
    return {(r.channel_id, r.day): r.received for r in rows if r.channel_id in wanted}
