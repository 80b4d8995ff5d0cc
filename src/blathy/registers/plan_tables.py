"""What follows from a plan alone: worked out once, and shared by all meters of the plan."""

from __future__ import annotations

from typing import Final

import numpy as np

from blathy.clock import Zone
from blathy.quantity import Phase
from blathy.registers.calendar import Calendar, calendar_of
from blathy.registers.cells import Cells
from blathy.registers.eventlog import LogEntry
from blathy.registers.named import Named, places_of
from blathy.registers.plan import BookPlan, LogPlan
from blathy.registers.span import OPERATING_TIME
from blathy.registers.state import fingerprint, shape_of
from blathy.registers.totals import Layout

BUILT_IN_COUNTERS: Final = (OPERATING_TIME, "billing_resets", "clock_settings")
OPERATING, RESETS, SETTINGS = range(len(BUILT_IN_COUNTERS))
"""Their places among the counters."""
STANDING: Final = ("active_rate", "errors")
"""What a snapshot shows among the counters without its being counted."""
PLANS_KEPT: Final = 256


class PlanTables:
    """The tables of one plan."""

    __slots__ = (
        "_counting", "_taking", "calendar", "counters", "empty", "layout", "logs", "no_entries",
        "part_names", "plan", "shape", "shown", "zone",
    )  # fmt: skip

    def __init__(self, plan: BookPlan) -> None:
        self.plan = plan
        self.zone = Zone(plan.zone)
        self.layout = Layout(plan.rates, plan.pulse_inputs)
        self.calendar: Calendar = calendar_of(plan.calendar, self.zone)
        self.shape = fingerprint(plan)
        self.part_names = _part_names(plan)
        self.counters = places_of((*BUILT_IN_COUNTERS, *(c.name for c in plan.counters)))
        self.shown = places_of((*self.counters, *STANDING))
        self.logs = {log.name: log for log in plan.logs}
        no_entries: tuple[tuple[LogEntry, ...], ...] = ((),) * len(plan.logs)
        self.no_entries = Named(places_of(self.logs), no_entries)
        self.empty: Cells = np.zeros(self.layout.size, dtype=np.int64)
        self.empty.setflags(write=False)
        self._taking: dict[str, tuple[LogPlan, ...]] = {}
        self._counting: dict[tuple[str, Phase], tuple[int, ...]] = {}

    def taking(self, event: str) -> tuple[LogPlan, ...]:
        """The logs that take an event."""
        found = self._taking.get(event)
        if found is None:
            logs = self.plan.logs
            found = tuple(log for log in logs if not log.events or event in log.events)
            self._taking[event] = found
        return found

    def counting(self, event: str, phase: Phase) -> tuple[int, ...]:
        """The places of the counters that count an event of a phase."""
        found = self._counting.get((event, phase))
        if found is None:
            found = tuple(
                self.counters[counter.name]
                for counter in self.plan.counters
                if event in counter.events
                and (counter.phase is None or phase in {Phase.TOTAL, counter.phase})
            )
            self._counting[event, phase] = found
        return found


def _part_names(plan: BookPlan) -> tuple[str, ...]:
    """A name for every part that keeps a state of its own, which changes with its layout: clock,
    thresholds, demands, profiles, billings, logs, in the order of the plan."""
    watched = tuple((t.source, t.above) for t in plan.thresholds)
    names = ["clock", f"thresholds/{shape_of(watched, 'with figures')}"]
    for d in plan.demands:
        shape = shape_of(d.period_s, d.sub_periods, d.by_rate, plan.rates)
        names.append(f"demand/{d.measure.name}/{d.phase.name}/{shape}")
    names += [f"profile/{p.name}/{shape_of(p.columns, p.period_s)}" for p in plan.profiles]
    names += [f"billing/{b.name}/{shape_of(b.columns)}" for b in plan.billings]
    return (*names, *(f"log/{log.name}" for log in plan.logs))


_known: dict[int, PlanTables] = {}


def tables_of(plan: BookPlan) -> PlanTables:
    """The tables of this plan object."""
    found = _known.get(id(plan))
    if found is None or found.plan is not plan:
        found = PlanTables(plan)
        if len(_known) >= PLANS_KEPT:
            _known.clear()
        _known[id(plan)] = found
    return found
