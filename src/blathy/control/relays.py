"""Load-control relays: rules of levels, times, rates, inputs; dwell times, fail-safe, by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from blathy.clock import Zone
from blathy.control.conditions import Conditions
from blathy.control.windows import Window, next_look
from blathy.quantity import Source
from blathy.registers.block import Block
from blathy.registers.cells import CellReader, CellWriter
from blathy.registers.plan import ThresholdPlan

NEVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Level:
    """True from `on_at` (for `delay_s`) until `off_at`: below `on_at` if that is the lower one."""

    source: Source
    on_at: int
    off_at: int
    delay_s: int = 0


@dataclass(frozen=True, slots=True)
class Input:
    """True while a named input (temperature in mK, digital state …) has passed `on_at`, with the
    hysteresis down (or up) to `off_at`."""

    name: str
    on_at: int = 1
    off_at: int = 0


@dataclass(frozen=True, slots=True)
class RateIs:
    """True while one of these rates counts."""

    rates: frozenset[int]


Condition = Level | Input | RateIs | Window


@dataclass(frozen=True, slots=True)
class RelayPlan:
    """On when all conditions of any of its rules hold. Changes keep `min_on_s` and `min_off_s`.

    `fail_safe` is its state without rules to trust: the clock is invalid or the meter in error.
    Without supply it keeps its state (bistable).
    """

    name: str
    rules: tuple[tuple[Condition, ...], ...] = ()
    min_on_s: int = 0
    min_off_s: int = 0
    fail_safe: bool = False

    def conditions(self) -> tuple[Condition, ...]:
        return tuple(condition for rule in self.rules for condition in rule)


_NO_INPUTS: Final[dict[Input, bool]] = {}
"""Shared by all relays that ask for none."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a relay's rules may ask besides the block."""

    zone: Zone
    utc_s: int
    true_s: int
    rate: int
    trusted: bool
    inputs: Mapping[str, int]


class Relay:
    """One relay."""

    __slots__ = ("_by_hand", "_by_hand_until_s", "_changed_s", "_inputs", "_levels", "on", "plan")

    def __init__(self, plan: RelayPlan) -> None:
        self.plan = plan
        self.on = plan.fail_safe
        self._changed_s = -NEVER
        self._by_hand: bool | None = None
        self._by_hand_until_s = NEVER
        conditions = plan.conditions()
        self._levels = Conditions(tuple(_threshold(c) for c in conditions if isinstance(c, Level)))
        self._inputs = {c: False for c in conditions if isinstance(c, Input)} or _NO_INPUTS

    def override(self, on: bool | None, until_true_s: int | None = None) -> None:
        """Hold it by hand, until a second of true time or further notice; None: rules again."""
        self._by_hand = on
        self._by_hand_until_s = NEVER if until_true_s is None else until_true_s

    @property
    def by_hand(self) -> bool | None:
        """The state it is held in by hand, None if it follows its rules."""
        return self._by_hand

    def look(self, block: Block) -> int:
        return self._levels.look(block)

    def advance(self, intervals: int) -> None:
        self._levels.advance(intervals)

    def forget_runs(self) -> None:
        self._levels.forget_runs()

    def next_look(self, around: Surroundings) -> tuple[int, int]:
        """When to decide again at the latest: by the meter's clock, and by true time."""
        windows = tuple(c for c in self.plan.conditions() if isinstance(c, Window))
        dwell_s = self.plan.min_on_s if self.on else self.plan.min_off_s
        waits = [self._changed_s + dwell_s, self._by_hand_until_s]
        true_s = min([wait for wait in waits if wait > around.true_s], default=NEVER)
        clock_s = next_look(windows, around.zone, around.utc_s) if windows else NEVER
        return clock_s, true_s

    def decide(self, around: Surroundings) -> str | None:
        """Switch if the rules (or the hand) want it and the dwell time is over; the event if so."""
        if self._by_hand is not None and around.true_s >= self._by_hand_until_s:
            self._by_hand = None
        self._read_inputs(around.inputs)
        wanted = self._wanted(around)
        dwell_s = self.plan.min_on_s if self.on else self.plan.min_off_s
        if wanted is self.on or around.true_s < self._changed_s + dwell_s:
            return None
        self.on, self._changed_s = wanted, around.true_s
        return "relay_on" if wanted else "relay_off"

    def _wanted(self, around: Surroundings) -> bool:
        if self._by_hand is not None:
            return self._by_hand
        if not self.plan.rules:
            return self.on
        if not around.trusted:
            return self.plan.fail_safe
        levels = iter(self._levels.active)
        held = {}
        for place, condition in enumerate(self.plan.conditions()):
            if isinstance(condition, Level):
                held[place] = next(levels)
            elif isinstance(condition, Input):
                held[place] = self._inputs[condition]
            elif isinstance(condition, RateIs):
                held[place] = around.rate in condition.rates
            else:
                held[place] = condition.contains(around.zone, around.utc_s)
        place = 0
        for rule in self.plan.rules:
            if all(held[place + offset] for offset in range(len(rule))):
                return True
            place += len(rule)
        return False

    def _read_inputs(self, inputs: Mapping[str, int]) -> None:
        for condition, was in self._inputs.items():
            value = inputs.get(condition.name)
            if value is None:
                self._inputs[condition] = False
                continue
            sign = 1 if condition.on_at >= condition.off_at else -1
            limit = condition.off_at if was else condition.on_at
            past = sign * value > sign * limit if was else sign * value >= sign * limit
            self._inputs[condition] = past

    def write(self, cells: CellWriter) -> None:
        by_hand = -1 if self._by_hand is None else int(self._by_hand)
        cells.put(self.on, self._changed_s, by_hand, self._by_hand_until_s)
        cells.put_all(int(held) for held in self._inputs.values())
        self._levels.write(cells)

    def read(self, cells: CellReader) -> None:
        self.on, self._changed_s = bool(cells.take()), cells.take()
        by_hand = cells.take()
        self._by_hand = None if by_hand < 0 else bool(by_hand)
        self._by_hand_until_s = cells.take()
        inputs = {condition: bool(cells.take()) for condition in self._inputs}
        self._inputs = inputs or _NO_INPUTS
        self._levels.read(cells)


def _threshold(level: Level) -> ThresholdPlan:
    return ThresholdPlan(
        level.source,
        level.on_at,
        "relay_on",
        "relay_off",
        above=level.on_at >= level.off_at,
        release=level.off_at,
        delay_s=level.delay_s,
        release_delay_s=level.delay_s,
    )
