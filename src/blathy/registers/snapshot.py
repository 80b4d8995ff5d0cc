"""The committed view of the books: what a display, a port or a pulse may show. Never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from blathy.quantity import Kind, Measure, Phase, Source
from blathy.registers.cells import Cells
from blathy.registers.demand import DemandView
from blathy.registers.eventlog import LogEntry
from blathy.registers.instant import instant_of
from blathy.registers.load_profile import FIRST_COLUMN, ProfileView, Status
from blathy.registers.plan import BookPlan, CalendarPlan
from blathy.registers.totals import Layout

PERIOD_KINDS: Final = frozenset({Kind.MEAN, Kind.MINIMUM, Kind.MAXIMUM, Kind.DELTA})
DEMAND_KINDS: Final = frozenset(
    {Kind.MAX_DEMAND, Kind.CUMULATIVE_MAX, Kind.DEMAND, Kind.LAST_DEMAND}
)


@dataclass(frozen=True, slots=True)
class ClockView:
    """The meter's clock: `utc_s` is what it shows, `true_s` when that was by true time."""

    utc_s: int
    true_s: int
    valid: bool
    is_dst: bool
    offset_s: int
    set_true_s: int  # true time of the last setting, 0 if never


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """All books at one moment.

    `value(source)` answers in the base of `quantity.base_of`; LookupError where the meter keeps no
    such value.
    """

    plan: BookPlan
    layout: Layout
    clock: ClockView
    status: Status
    rate: int
    supply: int
    vector: Cells
    instant: Cells
    demands: tuple[DemandView, ...]
    profiles: Mapping[str, ProfileView]
    billings: Mapping[str, ProfileView]
    logs: Mapping[str, tuple[LogEntry, ...]]
    counters: Mapping[str, int]
    calendar: CalendarPlan
    passive_calendar: CalendarPlan | None
    passive_from_utc_s: int | None

    def value(self, source: Source) -> int:
        """The source's value now."""
        if source.kind is Kind.ENERGY:
            return self._energy(source)
        if source.kind in DEMAND_KINDS:
            return self._demand(source)
        if source.kind in PERIOD_KINDS:
            return self._of_last_period(source)
        if source.kind is Kind.INSTANT:
            return self._instant(source)
        if source.kind is Kind.COUNTER:
            return self._counter(source.name)
        if source.kind is Kind.CLOCK:
            return self.clock.utc_s
        if source.kind is Kind.STATUS:
            return int(self.status)
        raise LookupError(f"the books keep no text {source.name!r}")

    def time_of(self, source: Source) -> int | None:
        """When a maximum or the last demand was reached (UTC s of the meter's clock), if ever."""
        view = self.demand(source.measure, source.phase)
        if source.kind is Kind.MAX_DEMAND:
            return view.stamps[_rate_index(view, source)] or None
        return (view.last_stamp if source.kind is Kind.LAST_DEMAND else view.start_stamp) or None

    def demand(self, measure: Measure | None, phase: Phase = Phase.TOTAL) -> DemandView:
        """The demand register of an energy; raise LookupError if there is none."""
        for view in self.demands:
            if view.plan.measure is measure and view.plan.phase is phase:
                return view
        name = measure.name if measure else "nothing"
        raise LookupError(f"the meter keeps no demand of {name} {phase.name}")

    def _energy(self, source: Source) -> int:
        if self.plan.registers and source not in self.plan.registers:
            raise LookupError(f"the meter keeps no register {source}")
        try:
            return int(self.vector @ self.layout.weights(source))
        except ValueError as error:
            raise LookupError(str(error)) from error

    def _demand(self, source: Source) -> int:
        view = self.demand(source.measure, source.phase)
        if source.kind is Kind.DEMAND:
            return view.current_mw
        if source.kind is Kind.LAST_DEMAND:
            return view.last_mw
        values = view.maxima_mw if source.kind is Kind.MAX_DEMAND else view.cumulative_mw
        return values[_rate_index(view, source)]

    def _of_last_period(self, source: Source) -> int:
        for profile in self.plan.profiles:
            if source in profile.columns:
                place = profile.columns.index(source)
                return int(self.profiles[profile.name].last_row[FIRST_COLUMN + place])
        raise LookupError(f"no load profile records {source}")

    def _instant(self, source: Source) -> int:
        try:
            return int(instant_of(self.instant, source)[0])
        except ValueError as error:
            raise LookupError(str(error)) from error

    def _counter(self, name: str) -> int:
        if name in self.counters:
            return self.counters[name]
        source = Source(Kind.COUNTER, name=name)
        if self.layout.counts(source):
            return int(self.vector @ self.layout.weights(source))
        raise LookupError(f"the meter keeps no counter {name!r}")


def _rate_index(view: DemandView, source: Source) -> int:
    if source.tariff < len(view.maxima_mw):
        return source.tariff
    raise LookupError(f"the demand of {source} is not kept by rate")
