"""The weekly assessment after EN 50160 (low voltage): limits as a table, verdicts as data.

A parameter passes when enough of its valid intervals lie within the limits and none outside the
outer limits. Flagged intervals (a dip, swell or interruption touched them) and intervals without
data do not count, as EN 50160 excludes them. A record shorter than a week is assessed over what
there is, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
INTERVAL_S: Final = 600
WEEK_S: Final = 7 * 86_400
LONG_TERM_S: Final = 7_200
HARMONIC_LIMITS_PERCENT: Final[dict[int, float]] = {
    2: 2.0, 3: 5.0, 4: 1.0, 5: 6.0, 6: 0.5, 7: 5.0, 8: 0.5, 9: 1.5, 10: 0.5, 11: 3.5, 12: 0.5,
    13: 3.0, 14: 0.5, 15: 0.5, 16: 0.5, 17: 2.0, 18: 0.5, 19: 1.5, 20: 0.5, 21: 0.5, 22: 0.5,
    23: 1.5, 24: 0.5, 25: 1.5,
}  # fmt: skip
"""Percent of the nominal voltage for 95 % of the 10-min means of a week."""

DIP_RESIDUALS_PERCENT: Final = ((80, 90), (70, 80), (40, 70), (5, 40), (0, 5))
DIP_DURATIONS_S: Final = ((0.01, 0.2), (0.2, 0.5), (0.5, 1.0), (1.0, 5.0), (5.0, 60.0))
SWELL_LEVELS_PERCENT: Final = ((120, float("inf")), (110, 120))
SWELL_DURATIONS_S: Final = ((0.01, 0.5), (0.5, 5.0), (5.0, 60.0))
LONG_INTERRUPTION_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class VoltageEvent:
    """A dip, swell or interruption: extreme in percent of Un, duration in s, start in UTC s.

    `interruption` tells whether all phases were gone; None where only the extreme can tell. The
    tables of dips and swells leave out what is known to be an interruption, which is counted by
    itself.
    """

    start_utc_s: float
    duration_s: float
    extreme_percent: float
    interruption: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class QualityRecord:
    """What was measured. Arrays over 10-min intervals have the phases in the second axis; nan is no
    data.

    `harmonics_percent` (n, phases, 24) holds orders 2 … 25 in percent of Un, `thd_percent` to the
    40th; `frequency_10s_hz` are 10-s means, `plt` 2-h values, `signalling_3s_percent` 3-s means of
    mains signalling against its own limit (100 = at the limit). What was not measured is left
    empty. The first of `plt` begins at the first even hour of UTC in the record. `interval_s` is
    600 as the standard has it; a record with another interval is assessed over that one.
    `dips_measured` is False where nobody watched for dips and swells, so none is no result.
    """

    nominal_u_v: float
    nominal_hz: float
    start_utc_s: int
    u_v: Floats
    flagged: Bools
    frequency_10s_hz: Floats = field(default_factory=lambda: np.zeros(0))
    plt: Floats = field(default_factory=lambda: np.zeros((0, 1)))
    u2_percent: Floats = field(default_factory=lambda: np.zeros(0))
    thd_percent: Floats = field(default_factory=lambda: np.zeros((0, 1)))
    harmonics_percent: Floats = field(default_factory=lambda: np.zeros((0, 1, 24)))
    signalling_3s_percent: Floats = field(default_factory=lambda: np.zeros(0))
    events: tuple[VoltageEvent, ...] = ()
    interval_s: int = INTERVAL_S
    dips_measured: bool = True

    @property
    def duration_s(self) -> int:
        return len(self.u_v) * self.interval_s


@dataclass(frozen=True, slots=True)
class Criterion:
    """One limit of one parameter: `share_percent` of valid intervals must lie in `low` … `high`."""

    parameter: str
    unit: str
    low: float
    high: float
    share_percent: float
    interval: str


@dataclass(frozen=True, slots=True)
class Result:
    """A criterion met or not. `valid` intervals counted, `inside` of them within, `worst` the
    farthest out; `passed` None where nothing was measured."""

    criterion: Criterion
    where: str
    valid: int
    inside: int
    percentile_95: float | None
    worst: float | None
    passed: bool | None

    @property
    def inside_percent(self) -> float | None:
        return 100.0 * self.inside / self.valid if self.valid else None


@dataclass(frozen=True, slots=True)
class Assessment:
    """All results, and the tables of events. `days` is the time covered, `flagged_percent` how much
    of it was left out."""

    results: tuple[Result, ...]
    dips: tuple[tuple[int, ...], ...]
    swells: tuple[tuple[int, ...], ...]
    interruptions_short: int
    interruptions_long: int
    days: float
    flagged_percent: float

    @property
    def passed(self) -> bool:
        """True when no criterion that was measured is broken."""
        return all(result.passed is not False for result in self.results)

    @property
    def complete(self) -> bool:
        """Whether a whole week was covered."""
        return self.days >= 7.0 - 1e-9


def criteria_voltage(nominal_u_v: float) -> tuple[Criterion, Criterion]:
    """±10 % for 95 % of the 10-min means, +10/-15 % for all."""
    return (
        Criterion("Supply voltage", "V", 0.9 * nominal_u_v, 1.1 * nominal_u_v, 95.0, "10 min"),
        Criterion("Supply voltage", "V", 0.85 * nominal_u_v, 1.1 * nominal_u_v, 100.0, "10 min"),
    )


def criteria_frequency(nominal_hz: float) -> tuple[Criterion, Criterion]:
    """±1 % for 99.5 % (of a year), +4/-6 % for all, 10-s means of an interconnected system."""
    return (
        Criterion("Frequency", "Hz", 0.99 * nominal_hz, 1.01 * nominal_hz, 99.5, "10 s"),
        Criterion("Frequency", "Hz", 0.94 * nominal_hz, 1.04 * nominal_hz, 100.0, "10 s"),
    )


FLICKER: Final = Criterion("Long-term flicker Plt", "", 0.0, 1.0, 95.0, "2 h")
UNBALANCE: Final = Criterion("Unbalance u2", "%", 0.0, 2.0, 95.0, "10 min")
THD: Final = Criterion("THD to the 40th", "%", 0.0, 8.0, 95.0, "10 min")
SIGNALLING: Final = Criterion("Mains signalling", "% of its limit", 0.0, 100.0, 99.0, "3 s")


def assess(record: QualityRecord) -> Assessment:
    """Hold a record against EN 50160."""
    valid = ~record.flagged
    results: list[Result] = []
    interval = f"{record.interval_s // 60} min"
    for criterion in criteria_voltage(record.nominal_u_v):
        results += _per_phase(replace(criterion, interval=interval), record.u_v, valid)
    for criterion in criteria_frequency(record.nominal_hz):
        results.append(_judge(criterion, "", record.frequency_10s_hz, None))
    results += _per_phase(FLICKER, record.plt, _every(valid, record))
    results.append(_judge(replace(UNBALANCE, interval=interval), "", record.u2_percent, valid))
    results += _per_phase(replace(THD, interval=interval), record.thd_percent, valid)
    for order, limit in HARMONIC_LIMITS_PERCENT.items():
        criterion = Criterion(f"Harmonic {order}", "% of Un", 0.0, limit, 95.0, interval)
        column = record.harmonics_percent[:, :, order - 2]
        results += _per_phase(criterion, column, valid)
    results.append(_judge(SIGNALLING, "", record.signalling_3s_percent, None))
    tabled = [event for event in record.events if not event.interruption]
    interruptions = [
        e for e in record.events
        if (e.extreme_percent < 5.0 if e.interruption is None else e.interruption)
        and e.duration_s >= 0.01
    ]  # fmt: skip
    return Assessment(
        tuple(results),
        _table(tabled, DIP_RESIDUALS_PERCENT, DIP_DURATIONS_S),
        _table(tabled, SWELL_LEVELS_PERCENT, SWELL_DURATIONS_S),
        sum(e.duration_s <= LONG_INTERRUPTION_S for e in interruptions),
        sum(e.duration_s > LONG_INTERRUPTION_S for e in interruptions),
        record.duration_s / 86_400.0,
        100.0 * float(record.flagged.mean()) if len(record.flagged) else 0.0,
    )


def _every(valid: Bools, record: QualityRecord) -> Bools | None:
    """Validity of 2-h values from the intervals they hold: one flagged interval flags all."""
    n, many = len(record.plt), LONG_TERM_S // record.interval_s
    first = -record.start_utc_s % LONG_TERM_S // record.interval_s
    if first + n * many > len(valid):
        return None
    return np.asarray(valid[first : first + n * many].reshape(n, many).all(axis=1))


def _per_phase(criterion: Criterion, values: Floats, valid: Bools | None) -> list[Result]:
    names = [f"L{k + 1}" for k in range(values.shape[1])]
    return [_judge(criterion, name, values[:, k], valid) for k, name in enumerate(names)]


def _judge(criterion: Criterion, where: str, values: Floats, valid: Bools | None) -> Result:
    usable = np.isfinite(values)
    if valid is not None and len(values):
        usable = usable & valid[: len(values)]
    kept = values[usable]
    if len(kept) == 0:
        return Result(criterion, where, 0, 0, None, None, None)
    slack = 1e-9 * max(abs(criterion.high), 1.0)
    inside = int(((kept >= criterion.low - slack) & (kept <= criterion.high + slack)).sum())
    centre = (criterion.low + criterion.high) / 2
    worst = (
        float(kept[np.argmax(np.abs(kept - centre))]) if criterion.low > 0 else float(kept.max())
    )
    passed = 100.0 * inside >= criterion.share_percent * len(kept) - 1e-9
    return Result(
        criterion, where, len(kept), inside, float(np.percentile(kept, 95)), worst, passed
    )


def _table(
    events: Sequence[VoltageEvent],
    levels: Sequence[tuple[float, float]],
    durations: Sequence[tuple[float, float]],
) -> tuple[tuple[int, ...], ...]:
    """Counts by level (rows) and duration (columns); a level includes its lower bound."""
    rows = []
    for low, high in levels:
        within = [e for e in events if low <= e.extreme_percent < high]
        rows.append(tuple(sum(a < e.duration_s <= b for e in within) for a, b in durations))
    return tuple(rows)
