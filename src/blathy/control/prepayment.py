"""Prepayment: credit in energy counts down with A+ and with charges; at its end the breaker opens.

The balance may fall below zero by emergency credit or while a friendly period keeps the supply on;
what was taken so is subtracted from the next purchase, because purchases are added to the balance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blathy.clock import Zone
from blathy.control.windows import Window, next_look
from blathy.registers.block import Block
from blathy.registers.cells import CellReader, CellWriter

INHIBITION = "no credit"
CREDIT_MAX_UWH = 9_999_999 * 10**9
"""The largest credit a register of seven digits of kWh shows."""


@dataclass(frozen=True, slots=True)
class PrepaymentPlan:
    """Credits in uWh. `friendly` are the times in which the supply is never cut for lack of credit.

    Emergency credit is offered from `low_credit_uwh` down and taken by a deliberate act.
    """

    low_credit_uwh: int = 10 * 10**9
    emergency_uwh: int = 5 * 10**9
    friendly: tuple[Window, ...] = ()
    enabled: bool = False


class Prepayment:
    """The account. `enabled` False: it neither counts nor cuts."""

    __slots__ = ("_low_told", "balance_uwh", "emergency_taken", "enabled", "exhausted", "plan")

    def __init__(self, plan: PrepaymentPlan) -> None:
        self.plan = plan
        self.enabled = plan.enabled
        self.balance_uwh = 0
        self.emergency_taken = False
        self.exhausted = False
        self._low_told = False

    @property
    def available_uwh(self) -> int:
        """What may still be used before the breaker opens."""
        return self.balance_uwh + (self.plan.emergency_uwh if self.emergency_taken else 0)

    @property
    def emergency_offered(self) -> bool:
        """Whether emergency credit can be taken now."""
        low = self.balance_uwh <= self.plan.low_credit_uwh
        return self.enabled and low and not self.emergency_taken and self.plan.emergency_uwh > 0

    def friendly(self, zone: Zone, utc_s: int) -> bool:
        """Whether the supply may not be cut for lack of credit at that moment."""
        return any(window.contains(zone, utc_s) for window in self.plan.friendly)

    def next_look(self, zone: Zone, utc_s: int) -> int:
        return next_look(self.plan.friendly, zone, utc_s)

    def look(self, block: Block) -> int:
        """After how many intervals the account first has something to say."""
        if not self.enabled or not len(block):
            return len(block)
        used = np.cumsum(block.energy_u[:, 0, 0])
        marks = []
        if not self.exhausted:
            marks.append(self.available_uwh)
        if not self._low_told:
            marks.append(self.balance_uwh - self.plan.low_credit_uwh)
        reached = [int(np.searchsorted(used, max(0, mark))) + 1 for mark in marks]
        return min([len(block), *reached])

    def advance(self, block: Block) -> list[str]:
        """Count these intervals' import; return the events that come at their end."""
        if not self.enabled:
            return []
        self.balance_uwh -= int(block.energy_u[:, 0, 0].sum())
        return self._judge()

    def _judge(self) -> list[str]:
        events = []
        if self.balance_uwh <= self.plan.low_credit_uwh and not self._low_told:
            self._low_told = True
            events.append("low_credit")
        if self.available_uwh <= 0 and not self.exhausted:
            self.exhausted = True
            events.append("credit_exhausted")
        return events

    def enable(self) -> None:
        """Begin to count, from no credit."""
        if not self.enabled:
            self.enabled, self.balance_uwh = True, 0
            self.emergency_taken = self.exhausted = self._low_told = False

    def disable(self) -> None:
        """Stop counting; the credit is cleared."""
        self.enabled, self.balance_uwh = False, 0
        self.emergency_taken = self.exhausted = self._low_told = False

    def add_credit(self, energy_uwh: int) -> None:
        """Add a purchase; raise ValueError if it is none or does not fit the register."""
        if not self.enabled:
            raise ValueError("prepayment is off; switch it on before adding credit")
        if energy_uwh <= 0 or self.balance_uwh + energy_uwh > CREDIT_MAX_UWH:
            raise ValueError("a purchase must be above 0 and fit the credit register")
        self.balance_uwh += energy_uwh
        if self.balance_uwh > 0:
            self.emergency_taken = False
        self.exhausted = self.available_uwh <= 0
        self._low_told = self.balance_uwh <= self.plan.low_credit_uwh and self._low_told

    def collect(self, energy_uwh: int) -> list[str]:
        """Take a charge from the balance, also below zero; return the events that follow."""
        if not self.enabled or energy_uwh < 0:
            raise ValueError("nothing is collected while prepayment is off, and nothing given back")
        self.balance_uwh -= energy_uwh
        return self._judge()

    def take_emergency_credit(self) -> bool:
        """Take the emergency credit if it is offered; return whether it was."""
        if not self.emergency_offered:
            return False
        self.emergency_taken = True
        self.exhausted = self.available_uwh <= 0
        return True

    def write(self, cells: CellWriter) -> None:
        cells.put(self.enabled, self.balance_uwh, self.emergency_taken, self.exhausted)
        cells.put(self._low_told)

    def read(self, cells: CellReader) -> None:
        self.enabled, self.balance_uwh = bool(cells.take()), cells.take()
        self.emergency_taken, self.exhausted = bool(cells.take()), bool(cells.take())
        self._low_told = bool(cells.take())
