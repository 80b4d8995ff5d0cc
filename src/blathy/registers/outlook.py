"""What the next intervals will do to the books, as far as it can be told without going there.

Whoever waits for a register to pass a value looks here for it, and goes on to that interval at
once. Energies and what runs with them are told for a quiet stretch, demands and everything that
changes with a period or an event for as long as none comes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import numpy as np

from blathy.quantity import Kind, Source
from blathy.registers.cells import Cells
from blathy.registers.demand import Demand
from blathy.registers.load_profile import LoadProfile
from blathy.registers.snapshot import DEMAND_KINDS, PERIOD_KINDS
from blathy.registers.span import OPERATING_TIME, Span
from blathy.registers.totals import Layout, Selection

_OPERATED: Final = Source(Kind.COUNTER, name=OPERATING_TIME)


@dataclass(slots=True, eq=False)
class Outlook:
    """`span`: the quiet stretch. `still`: over so many of its intervals no event comes. `read`
    tells the books as they stand."""

    span: Span
    still: int
    vector: Cells
    layout: Layout
    demands: Collection[Demand]
    profiles: Collection[LoadProfile]
    read: Callable[[Source], int]

    def values(self, source: Source) -> Cells:
        """The value after each of the next intervals, in the base of the books; there may be none.

        Raise LookupError where the books keep no such value.
        """
        now = self.read(source)
        if source.kind is Kind.ENERGY or self.layout.counts(source):
            run = Selection(self.layout, (source,))
            along: Cells = run.along(self.vector, self._flows(self.span.count), self.span.rate)
            return along[:, 0]
        if source == _OPERATED:
            return self.span.operated(np.arange(1, self.span.count + 1, dtype=np.int64))
        if source.kind in DEMAND_KINDS:
            demand = next(d for d in self.demands if d.is_of(source))
            until = self._within(demand.plan.period_s)
            if source.kind is Kind.DEMAND:
                return demand.ahead(self._flows(until))
            return np.full(until, now, dtype=np.int64)
        if source.kind in PERIOD_KINDS:
            profile = next(p for p in self.profiles if source in p.plan.columns)
            return np.full(self._within(profile.plan.period_s), now, dtype=np.int64)
        if source.kind in {Kind.COUNTER, Kind.STATUS}:
            return np.full(self.still, now, dtype=np.int64)
        raise LookupError(f"nothing is known ahead of {source}")

    def _flows(self, count: int) -> Cells:
        return self.span.flows(np.arange(1, count + 1, dtype=np.int64))

    def _within(self, period_s: int) -> int:
        """Over how many intervals no event comes and no period of this length ends."""
        ends = self.span.boundaries(period_s).after
        return min(self.still, int(ends[0]) - 1) if len(ends) else self.still
