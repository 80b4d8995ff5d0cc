"""Conditions that must last before they count, watched along a block: the ledger's own machine."""

from __future__ import annotations

import numpy as np

from blathy.registers.block import Block
from blathy.registers.cells import CellReader, CellWriter
from blathy.registers.instant import instant_of
from blathy.registers.plan import ThresholdPlan
from blathy.registers.thresholds import Thresholds, Watched


class Conditions:
    """Some thresholds of one owner. Above `ceiling` (base units) a value does not count at all."""

    __slots__ = ("_ceiling", "_step_s", "_thresholds", "_watched")

    def __init__(self, plans: tuple[ThresholdPlan, ...], ceiling: int | None = None) -> None:
        self._thresholds = Thresholds(plans)
        self._ceiling = ceiling
        self._watched: Watched | None = None
        self._step_s = 1

    @property
    def active(self) -> tuple[bool, ...]:
        """Which conditions hold now."""
        return self._thresholds.active

    def change(self, plans: tuple[ThresholdPlan, ...]) -> None:
        """Go on with other limits, keeping what holds and how long it has lasted."""
        changed = Thresholds(plans)
        state = CellWriter()
        self._thresholds.write(state)
        changed.read(CellReader(state.cells()))
        self._thresholds = changed
        self._watched = None

    def look(self, block: Block) -> int:
        """Judge a block with supply; return after how many intervals something changes first."""
        self._watched, self._step_s = self._thresholds.watch(block), block.step_s
        if self._watched is None:
            return len(block)
        if self._ceiling is not None:
            for index, plan in enumerate(self._thresholds.plans):
                within = instant_of(block.instant, plan.source) <= self._ceiling
                self._watched.past[:, index] &= np.asarray(within)
        return self._thresholds.first_trigger(self._watched, 0, len(block), block.step_s)

    def advance(self, intervals: int) -> list[bool | None]:
        """Go so many intervals on in the block looked at; per condition True when it began to hold,
        False when it ended, None if nothing changed."""
        before = self.active
        if self._watched is not None:
            self._thresholds.run(self._watched, 0, intervals, self._step_s)
            self._watched = None  # it may be as large as the block
        return [
            now if now is not was else None for was, now in zip(before, self.active, strict=True)
        ]

    def forget_runs(self) -> None:
        """The supply failed: nothing has lasted until now."""
        self._thresholds.forget_runs()

    def write(self, cells: CellWriter) -> None:
        self._thresholds.write(cells)

    def read(self, cells: CellReader) -> None:
        self._thresholds.read(cells)
