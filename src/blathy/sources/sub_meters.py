"""Water and heat meters behind an electricity meter: what they have counted at any time, from a
seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from blathy.clock import SECONDS_PER_DAY
from blathy.wire.mbus import Header, Medium, record_bytes

LITRES_PER_M3: Final = 1000
_WATER_HOURS: Final = np.array(
    [1, 1, 1, 1, 1, 3, 9, 11, 8, 5, 4, 4, 6, 5, 4, 4, 5, 7, 9, 10, 8, 6, 4, 2], dtype=np.float64
)
_HEAT_HOURS: Final = np.array(
    [3, 3, 3, 3, 4, 6, 7, 7, 6, 5, 4, 4, 3, 3, 3, 4, 5, 6, 6, 6, 5, 4, 4, 3], dtype=np.float64
)


@dataclass(slots=True)
class SubMeterLoad:
    """Cumulative consumption since `begin_utc_s` in whole units: litres of water, kWh of heat.

    `annual` is in m³ or kWh. The value never falls, and the same time always gives the same value.
    """

    medium: Medium
    annual: float
    seed: int
    key: int
    begin_utc_s: int
    _days: list[float] = field(default_factory=lambda: [0.0], repr=False)

    def counted(self, utc_s: int) -> int:
        """What the meter's register shows at that time."""
        since = max(0, utc_s - self.begin_utc_s)
        day, within_s = divmod(since, SECONDS_PER_DAY)
        while len(self._days) <= day + 1:
            self._days.append(self._days[-1] + self._of_day(len(self._days) - 1))
        hours = _WATER_HOURS if self.medium is Medium.WATER else _HEAT_HOURS
        course = np.concatenate([[0.0], hours.cumsum() / hours.sum()])
        share = float(np.interp(within_s / 3600, np.arange(25), course))
        return int(self._days[day] + share * (self._days[day + 1] - self._days[day]))

    def _of_day(self, day: int) -> float:
        rng = np.random.default_rng((self.seed, self.key, day, 0x3B5))
        mean = self.annual / 365 * (LITRES_PER_M3 if self.medium is Medium.WATER else 1)
        if self.medium is not Medium.WATER:  # a heating season, coldest in mid-January
            turn = (self.begin_utc_s // SECONDS_PER_DAY + day - 15) % 365.25 / 365.25
            mean *= max(0.05, 1.0 + 1.1 * float(np.cos(2 * np.pi * turn)))
        return mean * float(rng.lognormal(-0.045, 0.3))

    def records(self, utc_s: int) -> bytes:
        """The register as M-Bus data records (EN 13757-3): volume in litres, or energy in kWh."""
        vif = 0x13 if self.medium is Medium.WATER else 0x06
        return record_bytes(0x04, [vif], self.counted(utc_s))


def header_of(serial: int, manufacturer: str, medium: Medium) -> Header:
    """The M-Bus header of a sub-meter."""
    return Header(serial, manufacturer, 1, medium)
