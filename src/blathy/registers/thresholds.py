"""Thresholds: conditions on instantaneous values that must last before they are an event."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blathy.quantity import Phase
from blathy.registers.block import Block
from blathy.registers.cells import CellReader, Cells, CellWriter
from blathy.registers.instant import instant_of
from blathy.registers.plan import ThresholdPlan

Flags = NDArray[np.bool_]
_NONE: Final = -(1 << 62)
"""No value is that far from any limit."""


@dataclass(slots=True, eq=False)
class Watched:
    """A block judged against every threshold: past the limit, back within the release; (n, T)."""

    past: Flags
    back: Flags
    quiet: bool
    values: Cells


class _Limits:
    """The plans as arrays, and how their states begin: alike in all meters of a kind, and shared by
    them."""

    __slots__ = ("idle", "limits", "no_runs", "no_worst", "phase_bits", "releases", "signs")

    def __init__(self, plans: tuple[ThresholdPlan, ...]) -> None:
        self.signs = np.array([1 if p.above else -1 for p in plans], dtype=np.int64)
        self.limits = np.array([p.limit for p in plans], dtype=np.int64) * self.signs
        self.releases = np.array([p.release_limit for p in plans], dtype=np.int64) * self.signs
        self.phase_bits = np.array([_supply_bits(p.source.phase) for p in plans], dtype=np.uint8)
        self.idle = (False,) * len(plans)
        self.no_runs = (0,) * len(plans)
        self.no_worst = (_NONE,) * len(plans)


_limits_of = lru_cache(maxsize=1024)(_Limits)


class Thresholds:
    """All thresholds of a meter."""

    __slots__ = ("_active", "_limits", "_runs_s", "_worst", "plans")

    def __init__(self, plans: tuple[ThresholdPlan, ...]) -> None:
        self.plans = plans
        self._limits = _limits_of(plans)
        self._active: tuple[bool, ...] = self._limits.idle
        self._runs_s: tuple[int, ...] = self._limits.no_runs
        self._worst: tuple[int, ...] = self._limits.no_worst

    def watch(self, block: Block) -> Watched | None:
        """Judge a whole block; None if there is nothing to watch."""
        if not self.plans or not len(block):
            return None
        limits = self._limits
        columns = [instant_of(block.instant, plan.source) for plan in self.plans]
        values = np.stack(columns, axis=1) * limits.signs
        powered = (block.supply[:, np.newaxis] & limits.phase_bits) != 0
        past = (values > limits.limits) & powered
        busy = past.any() or any(self._active) or any(self._runs_s)
        return Watched(past, (values <= limits.releases) & powered, not busy, values)

    def first_trigger(self, watched: Watched, first: int, last: int, step_s: int) -> int:
        """After which interval of `first` … `last` - 1 an event comes; `last` if none does."""
        if watched.quiet:
            return last
        return min(self._first(watched, t, first, last, step_s) for t in range(len(self.plans)))

    def _first(self, watched: Watched, t: int, first: int, last: int, step_s: int) -> int:
        plan, active = self.plans[t], self._active[t]
        column = (watched.back if active else watched.past)[first:last, t]
        delay_s = plan.release_delay_s if active else plan.delay_s
        needed = max(1, -(-(delay_s - self._runs_s[t]) // step_s))
        breaks = np.flatnonzero(~column)
        length = int(breaks[0]) if len(breaks) else last - first
        if length >= needed:
            return first + needed
        needed = max(1, -(-delay_s // step_s))
        starts = breaks + 1
        lengths = np.diff(np.append(starts, last - first + 1)) - 1
        long_enough = np.flatnonzero(lengths >= needed)
        return first + int(starts[long_enough[0]]) + needed if len(long_enough) else last

    def run(
        self, watched: Watched, first: int, last: int, step_s: int
    ) -> list[tuple[str, Phase, int]]:
        """Go to the end of `first` … `last` - 1; return the events that come exactly there, with
        the value farthest beyond the limit so far (at the end: of the whole time it lasted)."""
        if watched.quiet:
            return []
        events = []
        holding, runs_s, worsts = list(self._active), list(self._runs_s), list(self._worst)
        for t, plan in enumerate(self.plans):
            active = self._active[t]
            column = (watched.back if active else watched.past)[first:last, t]
            breaks = np.flatnonzero(~column)
            held = last - first - (int(breaks[-1]) + 1 if len(breaks) else 0)
            run_s = held * step_s + (0 if len(breaks) else self._runs_s[t])
            worst = self._reached(t, watched.values[first:last, t], held)
            if held and run_s >= (plan.release_delay_s if active else plan.delay_s):
                holding[t], run_s = not active, 0
                figure = worst * int(self._limits.signs[t])
                events.append((plan.end if active else plan.start, plan.source.phase, figure))
                worst = _NONE if active else worst
            worsts[t] = worst
            runs_s[t] = run_s
        self._active, self._runs_s, self._worst = tuple(holding), tuple(runs_s), tuple(worsts)
        return events

    def _reached(self, t: int, values: Cells, held: int) -> int:
        """The farthest value since the condition, or the run that may become one, began."""
        if self._active[t]:
            return max(self._worst[t], int(values.max(initial=_NONE)))
        if not held:
            return _NONE
        before = self._worst[t] if held == len(values) else _NONE
        return max(before, int(values[len(values) - held :].max()))

    def forget_runs(self) -> None:
        """The supply failed: nothing has lasted until now."""
        if any(self._runs_s) or self._worst != self._limits.no_worst:
            self._runs_s = self._limits.no_runs
            held = zip(self._worst, self._active, strict=True)
            self._worst = tuple(worst if active else _NONE for worst, active in held)

    @property
    def active(self) -> tuple[bool, ...]:
        """Which conditions hold now, in the order of the plans."""
        return self._active

    def write(self, cells: CellWriter) -> None:
        cells.put_all(int(flag) for flag in self._active)
        cells.put_all(self._runs_s)
        cells.put_all(self._worst)

    def read(self, cells: CellReader) -> None:
        self._active = tuple(bool(flag) for flag in cells.take_all(len(self.plans)))
        self._runs_s = tuple(cells.take_all(len(self.plans)).tolist())
        self._worst = tuple(cells.take_all(len(self.plans)).tolist())


def _supply_bits(phase: Phase) -> int:
    return 0b111 if phase is Phase.TOTAL else 1 << (phase - 1)
