"""Load profiles: a row at every period end, aligned to the clock; gaps are flagged, never filled.

Every row is: time stamp (UTC s of the meter's clock, the end of the period), status, then the
plan's columns. Energy that was measured before a power cut goes into the row of its own period,
written when the supply is back; periods that passed without supply have no row. A row that would
repeat a time (the clock was set back by up to a day) is not written; its energy goes into the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from functools import lru_cache
from math import isqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blathy.quantity import Kind, Source
from blathy.registers.cells import CellReader, Cells, CellWriter
from blathy.registers.instant import InstantColumns
from blathy.registers.plan import ProfilePlan, Sort
from blathy.registers.ring import Kept, Ring, RingView
from blathy.registers.span import OPERATING_TIME, Boundaries, Span
from blathy.registers.totals import Layout, Selection

STAMP, STATUS, FIRST_COLUMN = 0, 1, 2
SET_BACK_LIMIT_S: Final = 86_400
"""A clock set back further than this was wrong before: rows are written again from its new time."""
DEFERRED: Final = frozenset(
    {Kind.MAX_DEMAND, Kind.CUMULATIVE_MAX, Kind.DEMAND, Kind.COUNTER, Kind.LAST_DEMAND}
)
"""Columns that are read from the books when the row is written, so the block is cut there; but
for counters that run with the flow of the intervals (pulses, the operating time)."""
OPERATING_SOURCE: Final = Source(Kind.COUNTER, name=OPERATING_TIME)
_NOTHING: Final = np.zeros(0, dtype=np.int64)
_HIGHEST: Final = np.iinfo(np.int64).max
_LOWEST: Final = np.iinfo(np.int64).min


class Status(IntFlag):
    """The status word of a row, bits as the IDIS AMR profile status."""

    CRITICAL_ERROR = 0x01
    CLOCK_INVALID = 0x02
    NOT_VALID = 0x04
    DST = 0x08
    CLOCK_ADJUSTED = 0x20
    POWER_DOWN = 0x80


@dataclass(frozen=True, slots=True, eq=False)
class ProfileView:
    """A load profile or billing profile as it was committed; `rows` come in the plan's order."""

    name: str
    columns: tuple[Source, ...]
    ring: RingView
    period_s: int
    capacity_entries: int
    newest_first: bool
    last_row: Cells = field(default_factory=lambda: _NOTHING)
    """The row that was written last, also when the rows have been cleared since; zeros before the
    first one. A billing profile has none."""

    def __len__(self) -> int:
        return len(self.ring)

    def rows(self, first: int = 0, last: int | None = None) -> Cells:
        """Rows `first` … `last` - 1 by position (0 is the one shown first), (m, 2 + columns)."""
        last = len(self) if last is None else min(last, len(self))
        if self.newest_first:
            end = self.ring.end
            return self.ring.rows(end - last, end - first)[::-1]
        return self.ring.rows(self.ring.first + first, self.ring.first + last)

    def between(self, from_utc_s: int, to_utc_s: int) -> Cells:
        """Rows whose time stamp is in [from, to], in the plan's order."""
        rows = self.ring.rows()
        chosen = rows[(rows[:, STAMP] >= from_utc_s) & (rows[:, STAMP] <= to_utc_s)]
        return chosen[::-1] if self.newest_first else chosen

    def column(self, source: Source) -> Cells:
        """All values of a column, in the plan's order; raise ValueError if it is none."""
        return self.rows()[:, FIRST_COLUMN + self.columns.index(source)]


def follows(stamp: int, last_stamp: int) -> bool:
    """Whether a row of this time may be written after the one of `last_stamp`."""
    return stamp > last_stamp or stamp < last_stamp - SET_BACK_LIMIT_S


def _extremes(span: Span, first: int, last: int) -> tuple[Cells, Cells | None, Cells | None]:
    """Means, smallest and largest instantaneous values of intervals of the span."""
    block, low, high = span.block, span.first + first, span.first + last
    lows = None if block.instant_min is None else block.instant_min[low:high]
    highs = None if block.instant_max is None else block.instant_max[low:high]
    return block.instant[low:high], lows, highs


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """Where the columns are and how they are computed: alike in all meters of a kind, and shared by
    them, as ten thousand of them in one process would otherwise keep ten thousand copies."""

    at: Mapping[Kind, NDArray[np.intp]]
    registers_at: NDArray[np.intp]
    operating_at: NDArray[np.intp]
    deferred: tuple[tuple[int, Source], ...]
    registers: Selection
    deltas: Selection
    newest: InstantColumns
    means: InstantColumns
    minima: InstantColumns
    maxima: InstantColumns
    no_row: Cells
    no_base: Cells
    no_instants: Cells
    no_sums: Cells
    no_lows: Cells
    no_highs: Cells
    """How a profile begins: shared too, so never written to."""

    @property
    def aggregates(self) -> bool:
        """Whether there are means or extremes."""
        return bool(self.means.width + self.minima.width + self.maxima.width)


@lru_cache(maxsize=1024)
def _columns_of(columns: tuple[Source, ...], rates: int, pulse_inputs: int) -> _Columns:
    layout = Layout(rates, pulse_inputs)
    of_kind = {kind: tuple(s for s in columns if s.kind is kind) for kind in Kind}
    registers, operating, deferred = [], [], []
    for place, source in enumerate(columns, FIRST_COLUMN):
        if source.kind is Kind.ENERGY or layout.counts(source):
            registers.append((place, source))
        elif source.kind is Kind.COUNTER and source.name == OPERATING_TIME:
            operating.append(place)
        elif source.kind in DEFERRED:
            deferred.append((place, source))
    return _Columns(
        {
            kind: np.array(
                [FIRST_COLUMN + i for i, s in enumerate(columns) if s.kind is kind], dtype=np.intp
            )
            for kind in Kind
        },
        np.array([place for place, _ in registers], dtype=np.intp),
        np.array(operating, dtype=np.intp),
        tuple(deferred),
        Selection(layout, tuple(source for _, source in registers)),
        Selection(layout, of_kind[Kind.DELTA]),
        InstantColumns(of_kind[Kind.INSTANT]),
        InstantColumns(of_kind[Kind.MEAN]),
        InstantColumns(of_kind[Kind.MINIMUM], highest=False),
        InstantColumns(of_kind[Kind.MAXIMUM], highest=True),
        _filled(FIRST_COLUMN + len(columns), 0),
        _filled(len(of_kind[Kind.DELTA]), 0),
        _filled(len(of_kind[Kind.INSTANT]), 0),
        _filled(len(of_kind[Kind.MEAN]), 0),
        _filled(len(of_kind[Kind.MINIMUM]), _HIGHEST),
        _filled(len(of_kind[Kind.MAXIMUM]), _LOWEST),
    )


def _filled(width: int, value: int) -> Cells:
    cells = np.full(width, value, dtype=np.int64)
    cells.setflags(write=False)
    return cells


def _view_of(plan: ProfilePlan, ring: Ring, last_row: Cells) -> ProfileView:
    return ProfileView(
        plan.name,
        plan.columns,
        ring.view(),
        plan.period_s,
        plan.capacity_entries,
        plan.sort is Sort.LIFO,
        last_row,
    )


@lru_cache(maxsize=1024)
def _empty_view(plan: ProfilePlan) -> ProfileView:
    ring = Ring(FIRST_COLUMN + len(plan.columns), plan.capacity_entries)
    return _view_of(plan, ring, np.zeros(ring.width, dtype=np.int64))


class LoadProfile:
    """One load profile with its running period."""

    __slots__ = (
        "_base",
        "_highs",
        "_instants",
        "_lows",
        "_seconds",
        "_shared",
        "_sums",
        "_view",
        "last_row",
        "pending",
        "plan",
        "ring",
    )

    def __init__(self, plan: ProfilePlan, layout: Layout) -> None:
        self.plan = plan
        self._shared = _columns_of(plan.columns, layout.rates, layout.pulse_inputs)
        self.ring = Ring(FIRST_COLUMN + len(plan.columns), plan.capacity_entries)
        self.last_row = self._shared.no_row
        self.pending = 0
        self._view: ProfileView | None = None
        self._base = self._shared.no_base
        self._instants = self._shared.no_instants
        self._clear_aggregates()

    @property
    def deferred(self) -> bool:
        """Whether rows need the books as they stand at the end of the period."""
        return bool(self._shared.deferred)

    def _clear_aggregates(self) -> None:
        self._seconds = 0
        self._sums = self._shared.no_sums
        self._lows = self._shared.no_lows
        self._highs = self._shared.no_highs

    # --- a span at once -------------------------------------------------------------------------

    def run(self, span: Span, vector: Cells) -> Cells | None:
        """Go through a span; `vector` is the registers at its start. Return the rows written.

        Rows with deferred columns are written by `write_row` instead.
        """
        ends = span.boundaries(self.plan.period_s)
        if self.deferred or not len(ends):
            self._gather(span, 0, span.count)
            return None
        ends = self._allowed(ends)
        if not len(ends):
            self._gather(span, 0, span.count)
            return None
        return self._write_rows(span, vector, ends)

    def _allowed(self, ends: Boundaries) -> Boundaries:
        if follows(int(ends.stamps[0]), int(self.last_row[STAMP])):
            return ends
        keep = ends.stamps > self.last_row[STAMP]
        return Boundaries(ends.after[keep], ends.stamps[keep], ends.merged[keep])

    def _write_rows(self, span: Span, vector: Cells, ends: Boundaries) -> Cells:
        rows = np.zeros((len(ends), self.ring.width), dtype=np.int64)
        rows[:, STAMP] = ends.stamps
        rows[:, STATUS] = span.flags
        rows[ends.merged > 1, STATUS] |= int(Status.NOT_VALID)
        rows[0, STATUS] |= self.pending
        flows = span.flows(ends.after)
        rows[:, self._shared.registers_at] = self._shared.registers.along(vector, flows, span.rate)
        rows[:, self._shared.operating_at] = span.operated(ends.after)[:, np.newaxis]
        self._put_deltas(rows, self._shared.deltas.along(vector, flows, span.rate))
        if self._shared.newest.width:
            at_ends = span.block.instant[span.first + ends.after - 1]
            values = self._shared.newest.values(at_ends, None, None)
            rows[:, self._shared.at[Kind.INSTANT]] = values
            self._instants = values[-1].copy()
        self._aggregate(span, ends.after, rows)
        self._put_marks(rows)
        self._gather(span, int(ends.after[-1]), span.count)
        self._append(rows)
        return rows

    def _put_deltas(self, rows: Cells, reached: Cells) -> None:
        if self._shared.deltas.width:
            rows[:, self._shared.at[Kind.DELTA]] = np.diff(
                reached, axis=0, prepend=self._base[np.newaxis]
            )
            self._base = reached[-1].copy()

    def _aggregate(self, span: Span, after: Cells, rows: Cells) -> None:
        """Means and extremes of every period that ends in the span; the first one began before."""
        seconds = np.diff(after, prepend=0) * span.block.step_s
        seconds[0] += self._seconds
        if not self._shared.aggregates:
            self._seconds = 0
            return
        shared, starts = self._shared, np.append(0, after[:-1])
        means, lows, highs = _extremes(span, 0, int(after[-1]))
        if shared.means.width:
            summands = shared.means.summands(means) * span.block.step_s
            sums = np.add.reduceat(summands, starts, axis=0)
            sums[0] += self._sums
            rows[:, shared.at[Kind.MEAN]] = self._divide(sums, seconds)
        if shared.minima.width:
            values = shared.minima.values(means, lows, highs)
            smallest = np.minimum.reduceat(values, starts, axis=0)
            smallest[0] = np.minimum(smallest[0], self._lows)
            rows[:, shared.at[Kind.MINIMUM]] = smallest
        if shared.maxima.width:
            values = shared.maxima.values(means, lows, highs)
            largest = np.maximum.reduceat(values, starts, axis=0)
            largest[0] = np.maximum(largest[0], self._highs)
            rows[:, shared.at[Kind.MAXIMUM]] = largest
        self._clear_aggregates()

    def _divide(self, sums: Cells, seconds: Cells) -> Cells:
        """Means from sums, (m, columns): the root is drawn in whole numbers."""
        means: Cells = sums // seconds[:, np.newaxis]
        rms = self._shared.means.rms
        if len(rms):
            squares = means[:, rms]
            roots = [isqrt(square) for square in squares.ravel().tolist()]
            means[:, rms] = np.array(roots, dtype=np.int64).reshape(squares.shape)
        return means

    def _put_aggregates(self, row: Cells) -> None:
        """The aggregates of the running period as they stand; nothing measured gives zeros."""
        if self._shared.aggregates and self._seconds:
            seconds = np.array([self._seconds], dtype=np.int64)
            row[self._shared.at[Kind.MEAN]] = self._divide(self._sums[np.newaxis], seconds)[0]
            row[self._shared.at[Kind.MINIMUM]] = self._lows
            row[self._shared.at[Kind.MAXIMUM]] = self._highs
        self._clear_aggregates()

    def _put_marks(self, rows: Cells) -> None:
        rows[:, self._shared.at[Kind.CLOCK]] = rows[:, [STAMP]]
        rows[:, self._shared.at[Kind.STATUS]] = rows[:, [STATUS]]

    def _gather(self, span: Span, first: int, last: int) -> None:
        """Add the intervals `first` … `last` - 1 of the span to the running means and extremes."""
        if first == last:
            return
        self._seconds += (last - first) * span.block.step_s
        if self._shared.newest.width:
            high = span.first + last
            newest = span.block.instant[high - 1 : high]
            self._instants = self._shared.newest.values(newest, None, None)[0]
        if not self._shared.aggregates:
            return
        means, lows, highs = _extremes(span, first, last)
        if self._shared.means.width:
            sums = self._shared.means.summands(means).sum(axis=0) * span.block.step_s
            self._sums = self._sums + sums
        if self._shared.minima.width:
            smallest = self._shared.minima.values(means, lows, highs).min(axis=0)
            self._lows = np.minimum(self._lows, smallest)
        if self._shared.maxima.width:
            largest = self._shared.maxima.values(means, lows, highs).max(axis=0)
            self._highs = np.maximum(self._highs, largest)

    @property
    def measured(self) -> bool:
        """Whether the running period holds any measured interval."""
        return self._seconds > 0

    # --- one row now ----------------------------------------------------------------------------

    def write_row(
        self, stamp: int, flags: int, vector: Cells, read: Callable[[Source], int]
    ) -> Cells | None:
        """Write one row from the books as they stand; None if one of this time is there already."""
        if not follows(stamp, int(self.last_row[STAMP])):
            return None
        rows = np.zeros((1, self.ring.width), dtype=np.int64)
        rows[0, STAMP] = stamp
        rows[0, STATUS] = flags | self.pending
        rows[0, self._shared.registers_at] = self._shared.registers.at(vector)
        self._put_deltas(rows, self._shared.deltas.at(vector)[np.newaxis])
        rows[0, self._shared.at[Kind.INSTANT]] = self._instants
        for place, source in self._shared.deferred:
            rows[0, place] = read(source)
        for place in self._shared.operating_at.tolist():
            rows[0, place] = read(OPERATING_SOURCE)
        self._put_aggregates(rows[0])
        self._put_marks(rows)
        self._append(rows)
        return rows

    def fill(self, first_stamp: int, until_utc_s: int, flags: int) -> Cells | None:
        """Write the rows of a gap, up to the plan's `fill_entries`; None if there are none."""
        period_s = self.plan.period_s
        count = min(self.plan.fill_entries, (until_utc_s - first_stamp) // period_s + 1)
        if count < 1 or not len(self.ring) or not follows(first_stamp, int(self.last_row[STAMP])):
            return None
        rows = np.repeat(self.last_row[np.newaxis], count, axis=0)
        rows[:, STAMP] = first_stamp + period_s * np.arange(count)
        rows[:, STATUS] = flags | int(Status.POWER_DOWN | Status.NOT_VALID)
        for kind in (Kind.DELTA, Kind.INSTANT, Kind.MEAN, Kind.MINIMUM, Kind.MAXIMUM):
            rows[:, self._shared.at[kind]] = 0
        self._put_marks(rows)
        self._append(rows)
        return rows

    def _append(self, rows: Cells) -> None:
        self.ring.append(rows)
        self.last_row = rows[-1].copy()
        self.pending = 0
        self._view = None

    def clear(self) -> None:
        """Forget every row; sequence numbers, the running period and the last row go on."""
        self.ring.clear()
        self._view = None

    # --- state ----------------------------------------------------------------------------------

    def view(self) -> ProfileView:
        """The rows as they are now, for ever: the same view until there is another row."""
        if not self.ring.end:
            return _empty_view(self.plan)
        if self._view is None:
            self._view = _view_of(self.plan, self.ring, self.last_row)
        return self._view

    def begin(self, vector: Cells, mark: Status) -> None:
        """Begin empty in the middle of a meter's life: what was counted before is not a delta."""
        self._base = self._shared.deltas.at(vector)
        self.pending |= int(mark)

    def write(self, cells: CellWriter) -> None:
        self.ring.write(cells)
        cells.put(self.pending, self._seconds)
        for values in (
            self.last_row,
            self._base,
            self._instants,
            self._sums,
            self._lows,
            self._highs,
        ):
            cells.put_all(values)

    def read(self, cells: CellReader, kept: Kept) -> None:
        self.ring.read(cells, kept)
        self._view = None
        self.pending, self._seconds = cells.take(), cells.take()
        self.last_row = cells.take_all(len(self.last_row))
        self._base = cells.take_all(len(self._base))
        self._instants = cells.take_all(len(self._instants))
        self._sums = cells.take_all(len(self._sums))
        self._lows = cells.take_all(len(self._lows))
        self._highs = cells.take_all(len(self._highs))
