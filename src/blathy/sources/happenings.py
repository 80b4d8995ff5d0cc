"""What happens to a grid by itself: outages, sags, covers opened, magnets. Deterministic from a
seed.

Every day of every feeder and point draws its own happenings, so history and the live town obey the
same law and a town started again meets the same past.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blathy.clock import SECONDS_PER_DAY
from blathy.quantity import Phase
from blathy.registers.block import Incident
from blathy.sources.synthetic import Supply
from blathy.sources.weather import MINUTES_PER_DAY


@dataclass(frozen=True, slots=True)
class Rates:
    """Mean number of happenings a day: per feeder (outage, sag, swell) and per point (the
    others)."""

    outage: float = 0.07
    sag: float = 1.6
    swell: float = 0.25
    cover: float = 0.012
    magnet: float = 0.006
    overcurrent: float = 0.02
    reversed_current: float = 0.004


QUIET: Final = Rates(0, 0, 0, 0, 0, 0, 0)


@dataclass(slots=True)
class LiveOutages:
    """Outages that somebody caused while the town was live, in whole minutes since 1970 (UTC).

    Kept by whoever causes them; the points of a feeder share one of these.
    """

    spans: list[tuple[int, int]] = field(default_factory=list)

    def add(self, first_minute: int, after_minute: int) -> None:
        """One more outage; it must not overlap another."""
        self.spans.append((first_minute, after_minute))

    def of_day(self, day_utc: int) -> list[tuple[int, int]]:
        """The parts that fall into a UTC day, in minutes of that day."""
        start = day_utc * MINUTES_PER_DAY
        cut = ((max(a - start, 0), min(b - start, MINUTES_PER_DAY)) for a, b in self.spans)
        return [(a, b) for a, b in cut if a < b]


@dataclass(frozen=True, slots=True)
class GridSupply(Supply):
    """The grid at one point of one feeder. `neutral_break` is (UTC day, minute, minutes) of a
    broken neutral conductor, if this point is to suffer one; `hardened` points (feeder heads) have
    no tampering."""

    seed: int
    feeder: int
    point: int
    phases: int = 3
    rates: Rates = Rates()
    neutral_break: tuple[int, int, int] | None = None
    u_nominal_mv: int = 230_000
    live: LiveOutages = field(default_factory=LiveOutages)

    def outages(self, day_utc: int) -> Sequence[tuple[int, int]]:
        """The feeder's outages, whole minutes; the same for every point of the feeder."""
        rng = np.random.default_rng((self.seed, self.feeder, day_utc, 0x0FF))
        found = []
        for _ in range(int(rng.poisson(self.rates.outage))):
            begin = int(rng.integers(5, MINUTES_PER_DAY - 60))
            found.append((begin, begin + int(rng.choice([1, 2, 4, 9, 25, 48]))))
        own = found[:1]  # one a day: overlapping ones would have to be merged
        return [*own, *self.live.of_day(day_utc)]

    def incidents(self, day_utc: int) -> Sequence[Incident]:
        """Sags and swells of the feeder, tampering and current trouble of the point."""
        dark = self.outages(day_utc)
        start = day_utc * SECONDS_PER_DAY
        found = [*self._feeder_incidents(day_utc), *self._point_incidents(day_utc)]
        return sorted(
            i
            for i in found
            if not any(off * 60 - 120 <= i.at_utc_s - start < on * 60 + 120 for off, on in dark)
        )

    def _feeder_incidents(self, day_utc: int) -> list[Incident]:
        rng = np.random.default_rng((self.seed, self.feeder, day_utc, 0x5A6))
        found: list[Incident] = []
        for kind, rate, low, high in (
            ("sag", self.rates.sag, 0.42, 0.88),
            ("swell", self.rates.swell, 1.11, 1.18),
        ):
            for _ in range(int(rng.poisson(rate))):
                at = day_utc * SECONDS_PER_DAY + int(rng.integers(0, SECONDS_PER_DAY - 10))
                phase = Phase(int(rng.integers(0, 4)))
                residual = int(self.u_nominal_mv * rng.uniform(low, high))
                if self.phases == 1 and phase is not Phase.TOTAL:
                    phase = Phase.L1
                found.append(Incident(at, f"{kind}_start", phase, residual))
                found.append(Incident(at + 1, f"{kind}_end", phase, residual))
        return found

    def _point_incidents(self, day_utc: int) -> list[Incident]:
        rng = np.random.default_rng((self.seed, self.point, day_utc, 0x7A3))
        found: list[Incident] = []
        for rate, first, last, lasts in (
            (self.rates.cover, "terminal_cover_opened", "terminal_cover_closed", (120, 1500)),
            (self.rates.magnet, "magnet_start", "magnet_end", (30, 600)),
            (self.rates.overcurrent, "overcurrent_start", "overcurrent_end", (5, 90)),
        ):
            for _ in range(int(rng.poisson(rate))):
                at = day_utc * SECONDS_PER_DAY + int(rng.integers(6 * 3600, 22 * 3600))
                found.append(Incident(at, first))
                found.append(Incident(at + int(rng.integers(*lasts)), last))
        if rng.random() < self.rates.reversed_current:
            at = day_utc * SECONDS_PER_DAY + int(rng.integers(6 * 3600, 22 * 3600))
            found.append(Incident(at, "current_reversed", Phase.L1))
        if self.neutral_break and self.neutral_break[0] == day_utc:
            _, minute, lasts_min = self.neutral_break
            at = day_utc * SECONDS_PER_DAY + minute * 60
            found.append(Incident(at + 60, "neutral_fault_start"))
            found.append(Incident(at + lasts_min * 60, "neutral_fault_end"))
        return found

    def voltage_factor(self, day_utc: int) -> NDArray[np.float64] | None:
        """While the neutral is broken two phases rise and one falls, as the star point wanders."""
        if not self.neutral_break or self.neutral_break[0] != day_utc:
            return None
        _, minute, lasts_min = self.neutral_break
        factor = np.ones((MINUTES_PER_DAY, 3))
        factor[minute : minute + lasts_min] = (1.16, 1.13, 0.72)
        return factor
