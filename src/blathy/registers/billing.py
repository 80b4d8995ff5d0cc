"""Billing periods: a row of registers at every end, by calendar or by command."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Final

import numpy as np

from blathy.clock import Zone
from blathy.quantity import Kind, Source
from blathy.registers.calendar import matches
from blathy.registers.cells import CellReader, Cells, CellWriter
from blathy.registers.load_profile import FIRST_COLUMN, STAMP, STATUS, ProfileView
from blathy.registers.plan import BillingPlan, Trigger
from blathy.registers.ring import Kept, Ring

DAYS_LOOKED_AHEAD: Final = 370
"""How far the next end of a billing period is looked for; then the search begins anew."""


def next_end(trigger: Trigger, zone: Zone, utc_s: int) -> tuple[int, bool]:
    """The next moment after `utc_s` at which the trigger fires, and True.

    If there is none within a year: when to look again, and False.
    """
    day = zone.day_of(utc_s)
    for ahead in range(DAYS_LOOKED_AHEAD if trigger.dates else 0):
        candidate = day + timedelta(days=ahead)
        if any(matches(date, candidate) for date in trigger.dates):
            moment = _wall_moment(zone, int(zone.day_start(candidate)), trigger.at_s)
            if moment > utc_s:
                return moment, True
    return utc_s + DAYS_LOOKED_AHEAD * 86_400, False


def _wall_moment(zone: Zone, midnight_utc_s: int, at_s: int) -> int:
    """`at_s` after midnight by the clock on the wall."""
    moment = midnight_utc_s + at_s
    return moment - (zone.offset_s(moment) - zone.offset_s(midnight_utc_s))


def times_of(columns: tuple[Source, ...]) -> tuple[Source, ...]:
    """The columns that carry a time stamp: stored behind all values, in this order."""
    return tuple(c for c in columns if c.kind is Kind.MAX_DEMAND)


@lru_cache(maxsize=1024)
def _empty_view(plan: BillingPlan, width: int) -> ProfileView:
    return ProfileView(
        plan.name, plan.columns, Ring(width, plan.depth).view(), 0, plan.depth, False
    )


class Billing:
    """One billing profile. Its rows are stamp, status, columns, times of the maxima."""

    __slots__ = ("_view", "due", "fires", "last_stamp", "plan", "ring")

    def __init__(self, plan: BillingPlan) -> None:
        self.plan = plan
        width = FIRST_COLUMN + len(plan.columns) + len(times_of(plan.columns))
        self.ring = Ring(width, plan.depth)
        self._view: ProfileView | None = None
        self.last_stamp = 0
        self.due = 0
        self.fires = False

    def look_ahead(self, zone: Zone, utc_s: int) -> None:
        """Find the next end after `utc_s`."""
        self.due, self.fires = next_end(self.plan.trigger, zone, utc_s)

    def write_row(self, stamp: int, flags: int, values: list[int], times: list[int]) -> Cells:
        """Store the registers of an ended period."""
        row = np.array([[stamp, flags, *values, *times]], dtype=np.int64)
        for place, source in enumerate(self.plan.columns):
            if source.kind is Kind.CLOCK:
                row[0, FIRST_COLUMN + place] = row[0, STAMP]
            elif source.kind is Kind.STATUS:
                row[0, FIRST_COLUMN + place] = row[0, STATUS]
        self.ring.append(row)
        self._view = None
        self.last_stamp = stamp
        return row

    def view(self) -> ProfileView:
        plan = self.plan
        if not self.ring.end:
            return _empty_view(plan, self.ring.width)
        if self._view is None:
            ring = self.ring.view()
            self._view = ProfileView(plan.name, plan.columns, ring, 0, plan.depth, False)
        return self._view

    def write(self, cells: CellWriter) -> None:
        self.ring.write(cells)
        cells.put(self.last_stamp)

    def read(self, cells: CellReader, kept: Kept) -> None:
        self.ring.read(cells, kept)
        self._view = None
        self.last_stamp = cells.take()
