"""What a prepayment customer does: buys credit, mostly in time, and closes the breaker again.

Everything follows from the seed and the hour, so the past is the same for any cut of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from blathy.clock import Zone
from blathy.control.breaker import State
from blathy.meter.meter import Meter

HOUR_S: Final = 3600
AWAKE: Final = (6, 23)
"""Local hours in which somebody without supply does something about it."""
EVERY_HOURS: Final = 2
SHOPPING_HOUR: Final = 18
BUYS_WHEN_WARNED: Final = 0.4
"""Share of the evenings on which a warning is heeded; else one day the credit runs out."""
PURCHASE_KWH: Final = (12, 30)
UWH_PER_KWH: Final = 10**9


@dataclass(frozen=True, slots=True)
class PrepaidCustomer:
    """Looks at the meter in every second waking hour, at a minute that the seed draws."""

    seed: int
    key: int
    zone: Zone

    def next_visit(self, after_utc_s: int) -> int:
        """The first look after that second of true time; it falls on a whole minute."""
        hour = after_utc_s // HOUR_S
        while not self._looks(hour) or self._look_utc_s(hour) <= after_utc_s:
            hour += 1
        return self._look_utc_s(hour)

    def visit(self, meter: Meter, at_utc_s: int) -> None:
        """What is to be done at that look: a purchase, and the button held for long."""
        hour = self.zone.civil(at_utc_s).hour
        account = meter.control.prepayment
        if not account.enabled:
            return
        draw = self._draw(at_utc_s // HOUR_S, 1)
        warned = account.balance_uwh <= account.plan.low_credit_uwh
        heeds = hour == SHOPPING_HOUR and warned and draw.random() < BUYS_WHEN_WARNED
        if account.exhausted or heeds:
            owed = max(0, -account.available_uwh)
            meter.add_credit(owed + int(draw.integers(*PURCHASE_KWH)) * UWH_PER_KWH)
        if meter.control.breaker.state is State.READY and not account.exhausted:
            meter.press("left", "long")
        meter.stage_all()

    def _looks(self, hour: int) -> bool:
        """Whether a look falls into that hour since 1970: every one cuts the meter's block."""
        civil = self.zone.civil(hour * HOUR_S).hour
        return AWAKE[0] <= civil < AWAKE[1] and civil % EVERY_HOURS == 0

    def _look_utc_s(self, hour: int) -> int:
        return hour * HOUR_S + int(self._draw(hour, 0).integers(0, 60)) * 60

    def _draw(self, hour: int, what: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, self.key, hour, 0xC0, what))
