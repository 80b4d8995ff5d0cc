"""Breaker, limiter and load relays of a running meter, between the source and the books.

An open breaker means no load: the block's energies, powers and currents are zero from that interval
on. The limiter opens after its time above the limit; the block is cut at that very interval, so the
result does not depend on how the same intervals come in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from blathy.meter.switches import ControlState, Switch
from blathy.models.model import Model
from blathy.obis import Obis
from blathy.quantity import Phase
from blathy.registers.block import INSTANT_COLUMNS, INSTANT_INDEX, Block

LOAD_COLUMNS: Final = tuple(
    index
    for index, (name, _phase) in enumerate(INSTANT_COLUMNS)
    if name in {"i_ma", "p_mw", "q_mvar", "s_mva", "pf_milli", "i_n_ma", "thd_i_milli_percent"}
)
_P_TOTAL: Final = INSTANT_INDEX["p_mw", Phase.TOTAL]


@dataclass(slots=True)
class LimitRule:
    """The limiter as it stands; `limit_w` 0 watches nothing."""

    limit_w: int = 0
    over_s: int = 60
    under_s: int = 60


class Supply:
    """All contacts of a meter."""

    def __init__(self, model: Model) -> None:
        self._breaker = model.breaker
        self.switches: dict[Obis, Switch] = {}
        if model.breaker is not None:
            self.switches[model.breaker.obis] = Switch(model.breaker.mode)
        for relay in model.relays:
            self.switches[relay.obis] = Switch(relay.mode)
        self.rule = LimitRule()
        self._above_s = 0
        self._below_s = 0
        self.opened_by_limit = False

    @property
    def connected(self) -> bool:
        """Whether the customer has supply (always, where there is no breaker)."""
        return self._breaker is None or self.switches[self._breaker.obis].closed

    def gate(self, block: Block) -> Block:
        """The block as the meter measures it: without load while the breaker is open."""
        if self.connected:
            return block
        instant = block.instant.copy()
        instant[:, LOAD_COLUMNS] = 0
        return Block(
            block.start_utc_s,
            block.step_s,
            np.zeros_like(block.energy_u),
            instant,
            block.supply,
            None if block.loss_u is None else np.zeros_like(block.loss_u),
            _without_load(block.instant_min),
            _without_load(block.instant_max),
            block.pulses,
            block.incidents,
        )

    def intervals_until_decision(self, block: Block) -> int:
        """How many intervals pass before the limiter acts; all of them where it does not."""
        count = len(block)
        rule = self.rule
        if self._breaker is None or rule.limit_w <= 0:
            return count
        power_mw = block.instant[:, _P_TOTAL]
        if self.connected:
            return self._reach(power_mw > rule.limit_w * 1000, self._above_s, rule.over_s, block)
        switch = self.switches[self._breaker.obis]
        if not self.opened_by_limit or switch.local_on() is switch:
            return count
        return self._reach(np.ones(count, np.bool_), self._below_s, rule.under_s, block)

    def _reach(
        self,
        condition: np.ndarray[tuple[int], np.dtype[np.bool_]],
        run_s: int,
        needed_s: int,
        block: Block,
    ) -> int:
        """Intervals until the condition has held without a break for `needed_s`."""
        count = len(block)
        step_s = block.step_s
        broken = np.flatnonzero(~condition)
        needed = max(1, -(-(needed_s - run_s) // step_s))
        first_break = int(broken[0]) if len(broken) else count
        if first_break >= needed:
            return needed
        full = max(1, -(-needed_s // step_s))
        starts = broken + 1
        ends = np.append(broken[1:], count)
        long_enough = np.flatnonzero(ends - starts >= full)
        return int(starts[long_enough[0]]) + full if len(long_enough) else count

    def pass_block(self, block: Block) -> str:
        """Account for a block that was gone through; the event where the limiter acted."""
        rule = self.rule
        if self._breaker is None or rule.limit_w <= 0 or not len(block):
            return ""
        obis = self._breaker.obis
        switch = self.switches[obis]
        if self.connected:
            above = block.instant[:, _P_TOTAL] > rule.limit_w * 1000
            self._above_s = _trailing_s(above, self._above_s, block.step_s)
            if self._above_s >= rule.over_s:
                self._above_s = 0
                self._below_s = 0
                return self._act(obis, switch.local_off(), "breaker_opened_automatically")
            return ""
        self._below_s += len(block) * block.step_s
        if self.opened_by_limit and self._below_s >= rule.under_s:
            self._below_s = 0
            return self._act(obis, switch.local_on(), "breaker_closed_automatically")
        return ""

    def _act(self, obis: Obis, following: Switch, event: str) -> str:
        if following == self.switches[obis]:
            return ""
        self.switches[obis] = following
        self.opened_by_limit = not following.closed
        return event

    def change(self, obis: Obis, following: Switch) -> bool:
        """Put a contact into another state; False where it is in that state already."""
        before = self.switches[obis]
        self.switches[obis] = following
        if following.state is not ControlState.READY:
            self.opened_by_limit = False
        return before != following

    # --- state ---------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """Bistable contacts keep their place over a power cut; so do the limiter's times."""
        parts = [f"{obis.hex()},{s.mode},{int(s.state)}" for obis, s in self.switches.items()]
        parts.append(f"limiter,{self._above_s},{self._below_s},{int(self.opened_by_limit)}")
        return ";".join(parts).encode()

    def read(self, raw: bytes) -> None:
        """Take up the state of `to_bytes`; contacts that the model no longer has are left out."""
        for part in raw.decode().split(";"):
            name, *numbers = part.split(",")
            if name == "limiter":
                self._above_s, self._below_s = int(numbers[0]), int(numbers[1])
                self.opened_by_limit = numbers[2] == "1"
                continue
            obis = Obis.of(bytes.fromhex(name))
            if obis in self.switches:
                self.switches[obis] = Switch(int(numbers[0]), ControlState(int(numbers[1])))


def _trailing_s(
    condition: np.ndarray[tuple[int], np.dtype[np.bool_]], run_s: int, step_s: int
) -> int:
    """Seconds that the condition has held at the end of the block."""
    broken = np.flatnonzero(~condition)
    if not len(broken):
        return run_s + len(condition) * step_s
    return (len(condition) - 1 - int(broken[-1])) * step_s


def _without_load(
    array: np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None,
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None:
    if array is None:
        return None
    copy = array.copy()
    copy[:, LOAD_COLUMNS] = 0
    return copy
