"""Demand: the mean power of a period, its maximum with time, cumulated at billing resets.

From integer energy differences, never from mean powers; values are whole mW cut towards zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from blathy.quantity import Source
from blathy.registers.cells import CellReader, Cells, CellWriter
from blathy.registers.plan import DemandPlan
from blathy.registers.span import Boundaries, Span
from blathy.registers.totals import Layout

EXCESSES_KEPT: Final = 10


def demand_mw(energy_u: int, duration_s: int) -> int:
    """The mean power in mW (mvar, mVA) of an energy in uWh over a time, cut towards zero."""
    power = abs(energy_u) * 18 // (5 * duration_s)
    return power if energy_u >= 0 else -power


def _demands_mw(energies_u: Cells, durations_s: Cells | np.int64) -> Cells:
    powers: Cells = np.sign(energies_u) * (np.abs(energies_u) * 18 // (5 * durations_s))
    return powers


@dataclass(frozen=True, slots=True)
class Excess:
    """How often and how far the demand was above the contracted power since the last reset."""

    count: int = 0
    sum_mw: int = 0
    largest: tuple[tuple[int, int], ...] = ()  # (excess mW, stamp), largest first


@dataclass(frozen=True, slots=True)
class DemandView:
    """A demand register as it stands. Index 0 of the maxima is the overall one, then the rates."""

    plan: DemandPlan
    current_mw: int
    last_mw: int
    last_stamp: int
    start_stamp: int
    maxima_mw: tuple[int, ...]
    stamps: tuple[int, ...]
    cumulative_mw: tuple[int, ...]
    excess: Excess


@lru_cache(maxsize=1024)
def _weights_of(rates: int, pulse_inputs: int, energy: Source) -> Cells:
    layout = Layout(rates, pulse_inputs)
    return layout.weights(energy)[: layout.flow]


@lru_cache(maxsize=64)
def _zeros(count: int) -> tuple[int, ...]:
    return (0,) * count


_NO_EXCESS: Final = Excess()


class Demand:
    """One demand register."""

    __slots__ = (
        "_cumulative",
        "_excess",
        "_history",
        "_maxima",
        "_partial_u",
        "_stamps",
        "_weights",
        "last_mw",
        "last_stamp",
        "plan",
        "start_stamp",
    )

    def __init__(self, plan: DemandPlan, layout: Layout, start_stamp: int) -> None:
        self.plan = plan
        self._weights = _weights_of(layout.rates, layout.pulse_inputs, plan.energy)
        none = _zeros((layout.rates if plan.by_rate else 0) + 1)
        self._maxima = self._stamps = self._cumulative = none
        self._history = _zeros(plan.sub_periods - 1)
        self._excess = _NO_EXCESS
        self._partial_u = 0
        self.last_mw = 0
        self.last_stamp = 0
        self.start_stamp = start_stamp

    @property
    def window_s(self) -> int:
        return self.plan.period_s * self.plan.sub_periods

    def run(self, span: Span) -> tuple[Cells, Cells]:
        """Go through a span; return after which interval a period ended, and with which demand."""
        ends = span.boundaries(self.plan.period_s)
        total = int(span.total_flow() @ self._weights)
        if not len(ends):
            self._partial_u += total
            return ends.after, ends.after
        reached = span.flows(ends.after) @ self._weights
        energies = np.diff(reached, prepend=-self._partial_u)
        self._partial_u = total - int(reached[-1])
        demands = self._slide(energies, ends)
        self._close(demands, ends.stamps, span.rate)
        return ends.after, demands

    def is_of(self, source: Source) -> bool:
        """Whether this is the demand register of the source's energy."""
        return self.plan.measure is source.measure and self.plan.phase is source.phase

    def ahead(self, flows: Cells) -> Cells:
        """The current demand after each of these accumulated flows, while no period ends."""
        energies = sum(self._history) + self._partial_u + flows @ self._weights
        return _demands_mw(energies, np.int64(self.window_s))

    def _slide(self, energies: Cells, ends: Boundaries) -> Cells:
        """The demand at each end. Periods that one interval spans share its energy evenly."""
        if self.plan.sub_periods == 1:
            return _demands_mw(energies, self.plan.period_s * ends.merged)
        energies = energies // ends.merged
        filled = np.concatenate([np.array(self._history, dtype=np.int64), energies])
        sums = np.convolve(filled, np.ones(self.plan.sub_periods, dtype=np.int64), "valid")
        self._history = tuple(filled[-(self.plan.sub_periods - 1) :].tolist())
        return _demands_mw(sums, np.full(len(sums), self.window_s, dtype=np.int64))

    def _close(self, demands: Cells, stamps: Cells, rate: int) -> None:
        self.last_mw, self.last_stamp = int(demands[-1]), int(stamps[-1])
        self.start_stamp = self.last_stamp
        best = int(demands.argmax())
        largest, stamp = int(demands[best]), int(stamps[best])
        for index in {0, rate} if len(self._maxima) > 1 else {0}:
            if largest > self._maxima[index]:
                self._maxima = _with(self._maxima, index, largest)
                self._stamps = _with(self._stamps, index, stamp)
        if self.plan.contracted_mw:
            self._exceed(demands, stamps)

    def _exceed(self, demands: Cells, stamps: Cells) -> None:
        over = np.flatnonzero(demands > self.plan.contracted_mw)
        if not len(over):
            return
        excess = (demands[over] - self.plan.contracted_mw).tolist()
        pairs = [*self._excess.largest, *zip(excess, stamps[over].tolist(), strict=True)]
        pairs.sort(key=lambda pair: (-pair[0], pair[1]))
        self._excess = Excess(
            self._excess.count + len(over),
            self._excess.sum_mw + sum(excess),
            tuple(pairs[:EXCESSES_KEPT]),
        )

    def pass_by(self, first_stamp: int, periods: int, rate: int) -> None:
        """`periods` ends went by without being measured: close the running one with what it has."""
        energies = np.zeros(min(periods, self.plan.sub_periods + 1), dtype=np.int64)
        energies[0] = self._partial_u
        self._partial_u = 0
        stamps = first_stamp + self.plan.period_s * np.arange(periods - len(energies), periods)
        stamps[0] = first_stamp
        ends = Boundaries(stamps, stamps, np.ones(len(energies), dtype=np.int64))
        self._close(self._slide(energies, ends), stamps, rate)

    def restart(self, stamp: int) -> None:
        """The clock was set: what ran until now gives no demand (it would be of a wrong period)."""
        self._partial_u = 0
        self._history = _zeros(self.plan.sub_periods - 1)
        self.start_stamp = stamp

    def reset(self) -> None:
        """End of a billing period: the maxima go into the cumulative ones and start again."""
        sums = (c + m for c, m in zip(self._cumulative, self._maxima, strict=True))
        self._cumulative = tuple(sums)
        self._maxima = self._stamps = _zeros(len(self._maxima))
        self._excess = _NO_EXCESS

    def view(self) -> DemandView:
        return DemandView(
            self.plan,
            demand_mw(sum(self._history) + self._partial_u, self.window_s),
            self.last_mw,
            self.last_stamp,
            self.start_stamp,
            self._maxima,
            self._stamps,
            self._cumulative,
            self._excess,
        )

    def write(self, cells: CellWriter) -> None:
        cells.put(self._partial_u, self.last_mw, self.last_stamp, self.start_stamp)
        for values in (self._history, self._maxima, self._stamps, self._cumulative):
            cells.put_all(values)
        largest = [*self._excess.largest, *[(0, 0)] * EXCESSES_KEPT][:EXCESSES_KEPT]
        cells.put(self._excess.count, self._excess.sum_mw)
        cells.put_all([number for pair in largest for number in pair])

    def read(self, cells: CellReader) -> None:
        self._partial_u, self.last_mw = cells.take(), cells.take()
        self.last_stamp, self.start_stamp = cells.take(), cells.take()
        self._history = tuple(cells.take_all(len(self._history)).tolist())
        self._maxima = tuple(cells.take_all(len(self._maxima)).tolist())
        self._stamps = tuple(cells.take_all(len(self._stamps)).tolist())
        self._cumulative = tuple(cells.take_all(len(self._cumulative)).tolist())
        count, sum_mw = cells.take(), cells.take()
        flat = cells.take_all(2 * EXCESSES_KEPT).reshape(EXCESSES_KEPT, 2).tolist()
        pairs = [(excess, stamp) for excess, stamp in flat if stamp]
        self._excess = Excess(count, sum_mw, tuple(pairs)) if count else _NO_EXCESS


def _with(values: tuple[int, ...], index: int, value: int) -> tuple[int, ...]:
    return (*values[:index], value, *values[index + 1 :])
