"""Validation: cheap rules as a table, each a pure function of one channel's series.

Raw readings are never changed by a rule; a rule only says what it found. Severities: `error` needs
an estimate, `warning` is worth a look, `blocking` stops billing. Thresholds are named beside the
rule that uses them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection

from blathy.clock import iso_utc
from blathy.headend.inventory.registry import Channel, Point
from blathy.headend.readings.calendar import slot_end
from blathy.headend.readings.packing import ValueSource
from blathy.headend.readings.series import QUALITY, Series, read_series
from blathy.headend.schema import reading_revision, register_snapshot
from blathy.headend.sentence import Sentence, with_code

SPIKE_RATIO: Final = 1.8
"""(P1 - P3) / P3 of a day's largest values."""
SPIKE_FLOOR_WH: Final = 50
HAMPEL_SLOTS: Final = 12
HAMPEL_K: Final = 6.0
HAMPEL_FLOOR_WH: Final = 10
HABIT_PERCENT: Final = 99
"""A spike stands above what the point takes in one slot of a hundred in which it takes anything:
a cooker or a charger comes again and is none."""
HABIT_RATIO: Final = 5
HABIT_SLOTS: Final = 24
"""From fewer slots in which something was counted nobody knows a habit."""
CAPACITY_MARGIN: Final = 1.1
ZERO_RUN_S: Final = 86_400
ZERO_RUN_OTHER_S: Final = 3 * 86_400
"""Water, heat, gas: people are away over a weekend."""
STALE_SLOTS: Final = 6
STALE_COUNTS: Final = 50
"""Smaller amounts of an energy repeat by their coarseness alone."""
STALE_INSTANT_S: Final = 86_400
"""So does the mean of a voltage, but not for a day; other instants (frequency, THD, a current that
does not flow) may."""
SENTINELS: Final = frozenset((0xFFFFFF, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFFFFFFFFFFF))
LATE_S: Final = 1800

ABSENT: Final = Sentence("rule-absent", "Missing readings: {count}. The meter holds no record.")
LATE: Final = Sentence("rule-late", "Missing readings: {count}. They are not received yet.")
DOUBTFUL: Final = Sentence(
    "rule-doubtful", "Doubtful readings: {count}. The meter itself marks them so."
)
NO_VALUE: Final = Sentence(
    "rule-no-value", "All bits of the value are set: the meter means that it has none."
)
BACKWARDS: Final = Sentence("rule-backwards", "The register runs backwards.")
OVER_CAPACITY: Final = Sentence(
    "rule-over-capacity", "More than the meter can carry ({limit} {unit})."
)
SPIKE: Final = Sentence("rule-spike", "The largest value stands far above the third largest.")
UNUSUAL: Final = Sentence("rule-unusual", "Far above its neighbours and all that is usual here.")
NOTHING_A_DAY: Final = Sentence(
    "rule-nothing-a-day", "Nothing at all was counted for a day or more."
)
NOTHING_THREE_DAYS: Final = Sentence(
    "rule-nothing-three-days", "Nothing at all was counted for three days or more."
)
REPEATED: Final = Sentence("rule-repeated", "The same value again and again.")
BELOW_PROFILE: Final = Sentence(
    "rule-below-profile", "The register is below what the load profile had counted before."
)
ABOVE_PROFILE: Final = Sentence(
    "rule-above-profile", "The register is above what the load profile counted afterwards."
)
OTHER_VALUE: Final = Sentence(
    "rule-other-value", "The meter later sent {sent} where {kept} is kept."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule found something in [start, end) of a channel."""

    rule: str
    severity: str
    channel: str
    start: int
    end: int
    slots: int
    text: Sentence

    def as_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "severity": self.severity,
            "channel": self.channel,
            "start": iso_utc(self.start),
            "end": iso_utc(self.end),
            "slots": self.slots,
            **with_code("text", self.text),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What a rule may look at."""

    series: Series
    now: int
    capacity_w: int = 0
    snapshots: tuple[tuple[int, int], ...] = field(default=())
    """(time, register in the channel's unit and scaler), from reading the register itself."""

    @property
    def channel(self) -> Channel:
        return self.series.channel

    @property
    def always_counts(self) -> bool:
        """Whether something is counted day by day: the energy that comes in, and other media. What
        flows back, reactive energy and losses may rest for as long as they like."""
        obis = self.channel.obis
        if not obis.startswith("1-"):
            return True
        return obis.partition(":")[2].partition(".")[0] == "1"

    def wh(self, amount: float) -> float:
        """An amount of the channel in whole units (Wh, l)."""
        return amount * 10.0**self.channel.scaler


Found = tuple[int, int, Sentence]
"""First slot, slot after the last, what is wrong."""
Rule = Callable[[Case], Iterator[Found]]


def runs(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """[first, after) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def missing(case: Case) -> Iterator[Found]:
    series = case.series
    due = series.start + series.channel.step_s <= case.now - LATE_S
    for first, after in runs(~series.known & due):
        absent = bool((series.sources[first:after] == ValueSource.ABSENT).all())
        yield first, after, (ABSENT if absent else LATE).of(count=after - first)


def device_status(case: Case) -> Iterator[Found]:
    if not case.channel.adds_up:
        return  # only what is billed needs an estimate; its channels tell of the same time
    suspect = case.series.quality == QUALITY.index("suspect")
    for first, after in runs(suspect):
        yield first, after, DOUBTFUL.of(count=after - first)


def sentinel(case: Case) -> Iterator[Found]:
    series = case.series
    values = series.registers if series.channel.cumulative else series.amounts
    known = series.register_known if series.channel.cumulative else series.known
    for first, after in runs(np.isin(values, list(SENTINELS)) & known):
        yield first, after, NO_VALUE


def step_back(case: Case) -> Iterator[Found]:
    series = case.series
    if not series.channel.cumulative:
        return
    falls = np.zeros(len(series), np.bool_)
    both = series.register_known[1:] & series.register_known[:-1]
    falls[1:] = both & (series.registers[1:] < series.registers[:-1]) & ~series.known[1:]
    for first, after in runs(falls):
        yield first, after, BACKWARDS


def capacity(case: Case) -> Iterator[Found]:
    if not case.capacity_w or case.channel.unit not in {"Wh", "varh", "VAh"}:
        return
    limit = CAPACITY_MARGIN * case.capacity_w * case.channel.step_s / 3600
    over = case.series.known & (case.wh(1.0) * case.series.amounts > limit)
    for first, after in runs(over):
        yield first, after, OVER_CAPACITY.of(limit=round(limit), unit=case.channel.unit)


def spike(case: Case) -> Iterator[Found]:
    """Classic spike check over the span, on the three largest values."""
    series = case.series
    if not series.channel.adds_up or int(np.count_nonzero(series.known)) < 3:
        return
    amounts = np.where(series.known, series.amounts, -1)
    order = np.argsort(amounts)[::-1]
    highest, third = case.wh(amounts[order[0]]), case.wh(amounts[order[2]])
    if third >= SPIKE_FLOOR_WH and (highest - third) / third > SPIKE_RATIO:
        n = int(order[0])
        yield n, n + 1, SPIKE


def robust_spike(case: Case) -> Iterator[Found]:
    """Hampel filter: far above the median of the neighbours, measured by their own spread, and
    above what this point is used to."""
    series = case.series
    width = 2 * HAMPEL_SLOTS + 1
    if not series.channel.adds_up or len(series) < width:
        return
    values = np.where(series.known, case.wh(1.0) * series.amounts, np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(values, width)
    enough = np.isfinite(windows).sum(axis=1) >= HAMPEL_SLOTS
    if not enough.any():
        return
    kept = windows[enough]
    median = np.nanmedian(kept, axis=1)
    spread = np.nanmedian(np.abs(kept - median[:, None]), axis=1)
    limit = HAMPEL_K * np.maximum(1.4826 * spread, HAMPEL_FLOOR_WH)
    centre = np.flatnonzero(enough) + HAMPEL_SLOTS
    counted = values[values > 0]
    if len(counted) < HABIT_SLOTS:
        return
    habit = HABIT_RATIO * np.percentile(counted, HABIT_PERCENT)
    far = (values[centre] - median > limit) & (values[centre] > habit)
    mask = np.zeros(len(series), np.bool_)
    mask[centre[far]] = True
    for first, after in runs(mask):
        yield first, after, UNUSUAL


def zero_run(case: Case) -> Iterator[Found]:
    series = case.series
    if not series.channel.adds_up or not case.always_counts:
        return
    electric = series.channel.obis.startswith("1-")
    needed = max(1, (ZERO_RUN_S if electric else ZERO_RUN_OTHER_S) // series.channel.step_s)
    for first, after in runs(series.known & (series.amounts == 0)):
        if after - first >= needed:
            yield first, after, NOTHING_A_DAY if electric else NOTHING_THREE_DAYS


def stale(case: Case) -> Iterator[Found]:
    series = case.series
    adds_up = series.channel.adds_up
    if not adds_up and series.channel.unit != "V":
        return
    needed = STALE_SLOTS if adds_up else STALE_INSTANT_S // series.channel.step_s
    least = STALE_COUNTS if adds_up else 1
    if len(series) < needed:
        return
    same = np.zeros(len(series), np.bool_)
    same[1:] = (
        series.known[1:]
        & series.known[:-1]
        & (series.amounts[1:] == series.amounts[:-1])
        & (np.abs(series.amounts[1:]) >= least)
    )
    for first, after in runs(same):
        if after - first + 1 >= needed:
            yield first - 1, after, REPEATED


def sum_check(case: Case) -> Iterator[Found]:
    """A register read by itself lies between the profile's registers around it."""
    series = case.series
    if not series.channel.cumulative:
        return
    step = series.channel.step_s
    for at, register in case.snapshots:
        n = int(np.searchsorted(series.start, at, side="right")) - 1  # the slot that holds `at`
        if n < 1 or n >= len(series):
            continue
        if series.register_known[n - 1] and register < series.registers[n - 1] - 2:
            yield n, n + 1, BELOW_PROFILE
        elif (
            series.register_known[n]
            and at < series.start[n] + step
            and register > series.registers[n] + 2
        ):
            yield n, n + 1, ABOVE_PROFILE


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule of the table."""

    key: str
    severity: str
    check: Rule
    title: str


RULES: Final = (
    RuleRow("V3", "error", missing, "Missing readings"),
    RuleRow("V6", "error", device_status, "Status of the meter"),
    RuleRow("V7", "error", sentinel, "Value means none"),
    RuleRow("V16", "blocking", step_back, "Register step back"),
    RuleRow("V10", "error", capacity, "Above the meter's capacity"),
    RuleRow("V11", "warning", spike, "Spike (largest against third)"),
    RuleRow("V12", "warning", robust_spike, "Spike (against neighbours)"),
    RuleRow("V14", "blocking", sum_check, "Sum check against registers"),
    RuleRow("V17", "warning", zero_run, "Nothing counted"),
    RuleRow("V18", "warning", stale, "Stale value"),
)


def judge(case: Case) -> list[Finding]:
    """All findings of all rules on one channel, in order of time."""
    found = []
    starts = case.series.start
    for row in RULES:
        for first, after, text in row.check(case):
            end = slot_end(case.series.zone, int(starts[after - 1]), case.channel.step_s)
            found.append(
                Finding(
                    row.key,
                    row.severity,
                    case.channel.slug,
                    int(starts[first]),
                    end,
                    after - first,
                    text,
                )
            )
    return sorted(found, key=lambda f: (f.start, f.rule))


def judge_point(
    connection: Connection, point: Point, from_utc: int, to_utc: int, now: int, capacity_w: int
) -> list[Finding]:
    """Findings of all channels of a point over [from, to). Of the time before the meter was there
    nothing is missing, nor is a register's first slot: it has no reading before it."""
    found: list[Finding] = []
    for channel in point.meter.channels:
        begin = (point.meter.installed_at or 0) + (channel.step_s if channel.cumulative else 0)
        if (begin := max(begin, from_utc)) >= to_utc:
            continue
        series = read_series(connection, channel, point.zone, begin, to_utc)
        snapshots = _snapshots(connection, point, channel, begin, to_utc)
        found += judge(Case(series, now, capacity_w, snapshots))
        found += _contradictions(connection, point, channel, from_utc, to_utc)
    return sorted(found, key=lambda f: (f.start, f.channel, f.rule))


def _snapshots(
    connection: Connection, point: Point, channel: Channel, from_utc: int, to_utc: int
) -> tuple[tuple[int, int], ...]:
    table = register_snapshot
    rows = connection.execute(
        sa.select(table.c.at, table.c.mantissa, table.c.scaler).where(
            table.c.meter_id == point.meter.id,
            table.c.obis == channel.obis,
            table.c.unit == channel.unit,
            table.c.at >= from_utc,
            table.c.at < to_utc,
        )
    )
    return tuple((r.at, round(r.mantissa * 10.0 ** (r.scaler - channel.scaler))) for r in rows)


def _contradictions(
    connection: Connection, point: Point, channel: Channel, from_utc: int, to_utc: int
) -> list[Finding]:
    """Slots for which the meter later sent another value than the one kept (rule V1)."""
    table = reading_revision
    rows = connection.execute(
        sa.select(table).where(
            table.c.channel_id == channel.id,
            table.c.slot_utc >= from_utc,
            table.c.slot_utc < to_utc,
        )
    )
    return [
        Finding(
            "V1",
            "warning",
            channel.slug,
            r.slot_utc,
            slot_end(point.zone, r.slot_utc, channel.step_s),
            1,
            OTHER_VALUE.of(sent=r.value, kept=r.kept),
        )
        for r in rows
    ]
