"""What one meter's books hold: frozen tables, built from a model's rows, checked when built.

Nothing in here knows a protocol. A plan names values by `quantity.Source`; the ledger keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from blathy.clock import SECONDS_PER_DAY
from blathy.quantity import ENERGY_UNITS, Kind, Measure, Phase, Source
from blathy.registers.events import EVENTS
from blathy.registers.totals import PULSES_NAME

RATES_MAX: Final = 8
RING_ENTRIES_MAX: Final = 100_000
SUB_PERIODS_MAX: Final = 60
MONDAY, SUNDAY = 1, 7
LAST: Final = -1
"""As the day of a `DatePattern`: the last day of the month (or the last such weekday)."""
SECOND_LAST: Final = -2
PROFILE_KINDS: Final = frozenset(Kind) - {Kind.TEXT}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_period(period_s: int) -> None:
    _require(
        0 < period_s <= SECONDS_PER_DAY and SECONDS_PER_DAY % period_s == 0,
        f"a period must be a whole part of a day, not {period_s} s",
    )


def _require_ring(name: str, columns: tuple[Source, ...], entries: int) -> None:
    _require(bool(columns), f"{name} has no columns")
    _require(0 < entries <= RING_ENTRIES_MAX, f"{name}: entries are 1 to {RING_ENTRIES_MAX}")
    for source in columns:
        _require(source.kind in PROFILE_KINDS, f"{name}: a text is no column")


def _require_events(owner: str, names: frozenset[str]) -> None:
    unknown = sorted(names - EVENTS.keys())
    _require(not unknown, f"{owner} names unknown events: {', '.join(unknown)}")


# --- calendar -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DatePattern:
    """A date with wildcards (None): every 1 May, the last Sunday of March, 24 December 2026.

    `weekday` is 1 (Monday) to 7. `day` LAST with a weekday means the last such day of the month.
    """

    month: int | None = None
    day: int | None = None
    year: int | None = None
    weekday: int | None = None

    def __post_init__(self) -> None:
        _require(self.month is None or 1 <= self.month <= 12, f"month {self.month} is not 1 to 12")
        _require(
            self.day is None or 1 <= self.day <= 31 or self.day in {LAST, SECOND_LAST},
            f"day {self.day} is not 1 to 31, LAST or SECOND_LAST",
        )
        _require(
            self.weekday is None or MONDAY <= self.weekday <= SUNDAY,
            f"weekday {self.weekday} is not 1 to 7",
        )


@dataclass(frozen=True, slots=True)
class Switch:
    """From `start_s` seconds after local midnight (wall time) on, `rate` counts (1 … rates)."""

    start_s: int
    rate: int

    def __post_init__(self) -> None:
        _require(0 <= self.start_s < SECONDS_PER_DAY, f"{self.start_s} s is not within a day")


@dataclass(frozen=True, slots=True)
class DayProfile:
    """The switchings of a kind of day. Before its first one the rate of the day before goes on."""

    day_id: int
    switches: tuple[Switch, ...]

    def __post_init__(self) -> None:
        starts = [s.start_s for s in self.switches]
        _require(
            starts == sorted(set(starts)),
            f"the switchings of day {self.day_id} must be in order and differ",
        )


@dataclass(frozen=True, slots=True)
class WeekProfile:
    """Seven day ids, Monday first."""

    name: bytes
    day_ids: tuple[int, ...]

    def __post_init__(self) -> None:
        _require(len(self.day_ids) == 7, f"week {self.name!r} needs 7 days")


@dataclass(frozen=True, slots=True)
class Season:
    """From `start` (a date pattern, from local midnight on) the week `week` applies."""

    name: bytes
    start: DatePattern
    week: bytes


@dataclass(frozen=True, slots=True)
class SpecialDay:
    """On dates that match, `day_id` wins over the week. The lowest `index` that matches wins."""

    index: int
    date: DatePattern
    day_id: int


@dataclass(frozen=True, slots=True)
class CalendarPlan:
    """An activity calendar: names are octets, as meters store them; every reference must resolve.

    No seasons at all means: rate 1 always.
    """

    name: bytes = b"1"
    seasons: tuple[Season, ...] = ()
    weeks: tuple[WeekProfile, ...] = ()
    days: tuple[DayProfile, ...] = ()
    special_days: tuple[SpecialDay, ...] = ()

    def __post_init__(self) -> None:
        weeks = {week.name for week in self.weeks}
        days = {day.day_id for day in self.days}
        for season in self.seasons:
            _require(
                season.week in weeks, f"season {season.name!r} names no known week {season.week!r}"
            )
        for week in self.weeks:
            unknown = set(week.day_ids) - days
            _require(not unknown, f"week {week.name!r} names unknown days {sorted(unknown)}")
        for special in self.special_days:
            _require(
                special.day_id in days,
                f"special day {special.index} names the unknown day {special.day_id}",
            )

    @property
    def rates(self) -> frozenset[int]:
        """Every rate that some day switches to."""
        return frozenset(s.rate for day in self.days for s in day.switches)


# --- demand, profiles, billing ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DemandPlan:
    """Mean power of an energy over `sub_periods` x `period_s`, refreshed every `period_s`.

    `sub_periods` 1 is block demand. `by_rate` keeps a maximum for every rate beside the overall
    one. A period belongs to the rate that counts when it ends. With `contracted_mw` > 0 the demand
    above it is recorded as excess: how often, the sum, and the ten largest with their times.
    """

    measure: Measure
    phase: Phase = Phase.TOTAL
    period_s: int = 900
    sub_periods: int = 1
    by_rate: bool = True
    contracted_mw: int = 0

    def __post_init__(self) -> None:
        _require(self.measure in ENERGY_UNITS, f"{self.measure.name} is no energy")
        _require_period(self.period_s)
        _require(1 <= self.sub_periods <= SUB_PERIODS_MAX, "sub-periods are 1 to 60")

    @property
    def energy(self) -> Source:
        """The energy it is the mean power of."""
        return Source(Kind.ENERGY, self.measure, self.phase)


class Sort(Enum):
    """In which order a profile shows its rows: oldest or newest first (COSEM class 7 numbers)."""

    FIFO = 1
    LIFO = 2


@dataclass(frozen=True, slots=True)
class ProfilePlan:
    """A load profile: one row at the end of every `period_s`, aligned to the meter's clock.

    `columns` are what is asked for, CLOCK and STATUS among them if wanted; the ledger keeps the
    time stamp and the status of every row anyhow. DELTA columns hold the energy since the row
    before; ENERGY columns the register. `period_s` is a part of a day, or a day.

    Periods without supply or jumped over by the clock have no row. With `fill_entries` > 0 up to so
    many of them get one after a gap: registers as they stood, deltas and instantaneous values 0,
    flagged as power down and not valid (Kamstrup meters do so).
    """

    name: str
    columns: tuple[Source, ...]
    period_s: int
    capacity_entries: int
    sort: Sort = Sort.FIFO
    fill_entries: int = 0

    def __post_init__(self) -> None:
        _require_period(self.period_s)
        _require_ring(self.name, self.columns, self.capacity_entries)
        _require(0 <= self.fill_entries <= RING_ENTRIES_MAX, f"{self.name}: too many to fill")
        _require(
            not self.fill_entries or self.period_s <= 3600,
            f"{self.name}: only gaps of periods up to an hour are filled",
        )


@dataclass(frozen=True, slots=True)
class Trigger:
    """When a billing period ends by itself: on dates that match, `at_s` after local midnight.

    No dates: only by command.
    """

    dates: tuple[DatePattern, ...] = ()
    at_s: int = 0

    def __post_init__(self) -> None:
        _require(0 <= self.at_s < SECONDS_PER_DAY, f"{self.at_s} s is not within a day")


MONTHLY: Final = Trigger((DatePattern(day=1),))
DAILY: Final = Trigger((DatePattern(),))
WEEKLY: Final = Trigger((DatePattern(weekday=MONDAY),))


@dataclass(frozen=True, slots=True)
class BillingPlan:
    """A billing (debiting) profile: one row of `columns` at every end of the period.

    A MAX_DEMAND column keeps its time beside it. `resets_demand`: the maxima are added to the
    cumulative ones and start again (at most one billing plan does that). `by_command`: an end
    commanded or pushed at the button writes a row here too.
    """

    name: str
    columns: tuple[Source, ...]
    depth: int
    trigger: Trigger = MONTHLY
    resets_demand: bool = True
    by_command: bool = True

    def __post_init__(self) -> None:
        _require_ring(self.name, self.columns, self.depth)


# --- events, thresholds, counters ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogPlan:
    """A ring of events. `events` empty: every event; else only these names."""

    name: str
    capacity_entries: int
    events: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        _require(
            0 < self.capacity_entries <= RING_ENTRIES_MAX, f"log {self.name}: capacity is 1 to 1e5"
        )
        _require_events(self.name, self.events)


@dataclass(frozen=True, slots=True)
class CounterPlan:
    """Counts events of these names; with a `phase`, only those of it or of the whole meter."""

    name: str
    events: frozenset[str]
    phase: Phase | None = None

    def __post_init__(self) -> None:
        _require(bool(self.events), f"counter {self.name} counts nothing")
        _require_events(self.name, self.events)


POWER_FAILURES: Final = (
    CounterPlan("power_failures", frozenset({"power_down"})),
    *(
        CounterPlan(f"power_failures_l{p.value}", frozenset({"phase_lost", "power_down"}), p)
        for p in (Phase.L1, Phase.L2, Phase.L3)
    ),
)


@dataclass(frozen=True, slots=True)
class ThresholdPlan:
    """`start` is raised when the INSTANT value is past `limit` for `delay_s`, `end` when it has
    been back within `release` for `release_delay_s`. `above` False watches for values below.

    A phase without supply is not judged (that is `phase_lost`, not under-voltage). Limits are in
    the base of the source (mV, mA, mW).
    """

    source: Source
    limit: int
    start: str
    end: str
    above: bool = True
    release: int | None = None
    delay_s: int = 60
    release_delay_s: int = 60

    def __post_init__(self) -> None:
        _require(self.source.kind is Kind.INSTANT, "a threshold watches an INSTANT value")
        _require_events("a threshold", frozenset({self.start, self.end}))
        _require(self.delay_s >= 0 and self.release_delay_s >= 0, "delays are not negative")
        back = self.release_limit
        _require(back <= self.limit if self.above else back >= self.limit, "release beyond limit")

    @property
    def release_limit(self) -> int:
        """The value at or within which the condition is over."""
        return self.limit if self.release is None else self.release


# --- clock --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ClockPlan:
    """The real-time clock: `drift_ppb` against true time, `reserve_s` of back-up without supply.

    A correction smaller than `shift_limit_s` shifts silently, from there on it sets: two events
    (old and new time), and the running periods are flagged.
    """

    drift_ppb: int = 0
    reserve_s: int = 7 * SECONDS_PER_DAY
    shift_limit_s: int = 9

    def __post_init__(self) -> None:
        _require(abs(self.drift_ppb) < 1_000_000, "a clock that drifts 0.1 % is no clock")
        _require(self.reserve_s >= 0 and self.shift_limit_s >= 0, "times are not negative")


# --- the book -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BookPlan:
    """Everything one meter's ledger keeps.

    `registers`: the ENERGY sources that may be read; empty means all. `rates` 1 … 8. The longest
    outage that is not "long" is `long_outage_s`. `reset_lockout_s`: so long after an end of the
    billing period by command another one is refused. `pulse_inputs`: counters at the terminals.
    """

    zone: str = "Europe/Budapest"
    rates: int = 4
    registers: tuple[Source, ...] = ()
    calendar: CalendarPlan = field(default_factory=CalendarPlan)
    clock: ClockPlan = field(default_factory=ClockPlan)
    demands: tuple[DemandPlan, ...] = ()
    profiles: tuple[ProfilePlan, ...] = ()
    billings: tuple[BillingPlan, ...] = ()
    logs: tuple[LogPlan, ...] = ()
    counters: tuple[CounterPlan, ...] = POWER_FAILURES
    thresholds: tuple[ThresholdPlan, ...] = ()
    pulse_inputs: int = 0
    long_outage_s: int = 180
    reset_lockout_s: int = 0
    phases: tuple[Phase, ...] = (Phase.L1, Phase.L2, Phase.L3)

    def __post_init__(self) -> None:
        _require(1 <= self.rates <= RATES_MAX, f"rates are 1 to {RATES_MAX}, not {self.rates}")
        beyond = {r for r in self.calendar.rates if not 1 <= r <= self.rates}
        _require(not beyond, f"the calendar switches to rates {sorted(beyond)} that are not there")
        _require(
            sum(b.resets_demand for b in self.billings) <= 1, "only one billing plan resets demand"
        )
        names = [p.name for p in self.profiles]
        names += [b.name for b in self.billings]
        names += [log.name for log in self.logs]
        _require(len(names) == len(set(names)), "profiles, billings and logs need different names")
        counters = [c.name for c in self.counters]
        _require(len(counters) == len(set(counters)), "counters need different names")
        taken = [name for name in counters if name.startswith(PULSES_NAME)]
        _require(not taken, f"a counter cannot be named as the pulse inputs are: {taken}")
        _require(0 <= self.pulse_inputs <= 16, "pulse inputs are 0 to 16")
        for source in self._sources():
            _require(
                source.kind is Kind.INSTANT or source.tariff <= self.rates,
                f"{source} is of a rate that is not there",
            )

    def _sources(self) -> tuple[Source, ...]:
        profiled = (column for profile in self.profiles for column in profile.columns)
        billed = (column for billing in self.billings for column in billing.columns)
        return (*self.registers, *profiled, *billed)


def energy_sources(
    measures: tuple[Measure, ...], rates: int = 0, phases: tuple[Phase, ...] = (Phase.TOTAL,)
) -> tuple[Source, ...]:
    """ENERGY sources: for every measure the phases' totals and the rates 1 … `rates`."""
    totals = (Source(Kind.ENERGY, m, p) for m in measures for p in phases)
    rated = (Source(Kind.ENERGY, m, tariff=r) for m in measures for r in range(1, rates + 1))
    return (*totals, *rated)
