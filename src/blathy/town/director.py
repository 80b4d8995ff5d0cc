"""What happens while somebody watches: sags, outages, covers and magnets in the live town.

The grid's own law (sources.happenings) makes a few events a day; a visitor stays for minutes. The
director adds events in real time. Outages change what the sources deliver, so they are written to
the data directory before they begin: a town started again meets the same past. Everything else
happens to the meters and is in their books once committed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from blathy.fleet.fleet import Fleet
from blathy.quantity import Phase
from blathy.registers.block import Incident
from blathy.sources.happenings import LiveOutages
from blathy.town.town import Place, Town

FIRST_AFTER_S: Final = 20.0
EVERY_S: Final = (45.0, 200.0)
OUTAGE_MINUTES: Final = (1, 2, 4)
KINDS: Final = ("sag", "cover", "sag", "magnet", "overcurrent", "outage")
OUTAGES_FILE: Final = "outages.json"


def load_outages(town: Town, data_dir: Path) -> None:
    """Give the sources the outages that earlier runs of the town have had."""
    path = data_dir / OUTAGES_FILE
    if path.exists():
        for feeder, first, last in json.loads(path.read_text("utf-8")):
            outages_of(town, feeder).add(first, last)


def outages_of(town: Town, feeder: int) -> LiveOutages:
    """The live outages of a feeder."""
    return town.outages[feeder]


@dataclass(slots=True)
class Director:
    """Runs as a task beside the fleet. `now` is true time in s, `rng` decides what comes next."""

    town: Town
    fleet: Fleet
    data_dir: Path
    now: Callable[[], float]
    rng: np.random.Generator = field(default_factory=np.random.default_rng)
    happened: int = 0

    async def run(self) -> None:
        """Let things happen until cancelled."""
        await asyncio.sleep(FIRST_AFTER_S)
        while True:
            self.act(KINDS[self.happened % len(KINDS)])
            self.happened += 1
            await asyncio.sleep(float(self.rng.uniform(*EVERY_S)))

    def act(self, kind: str) -> None:
        """Let one thing happen now."""
        at = int(self.now()) + 1
        if kind == "sag":
            self._sag(at)
        elif kind == "outage":
            self._outage(at)
        else:
            first, last = {
                "cover": ("terminal_cover_opened", "terminal_cover_closed"),
                "magnet": ("magnet_start", "magnet_end"),
                "overcurrent": ("overcurrent_start", "overcurrent_end"),
            }[kind]
            place = self._any(lambda p: p.kind != "feeder")
            lasts = int(self.rng.integers(8, 45))
            self.fleet.inject(place.id, Incident(at, first))
            self.fleet.inject(place.id, Incident(at + lasts, last))

    def _any(self, which: Callable[[Place], bool]) -> Place:
        places = [place for place in self.town.places if which(place)]
        return places[int(self.rng.integers(0, len(places)))]

    def _sag(self, at: int) -> None:
        feeder = int(self.rng.integers(0, len(self.town.outages)))
        residual_mv = int(self.rng.uniform(0.45, 0.85) * 230_000)
        for place in self.town.places:
            if place.feeder == feeder and not (place.plan and place.plan.waveforms):
                phase = Phase.TOTAL if len(place.model.phases) == 3 else Phase.L1
                self.fleet.inject(place.id, Incident(at, "sag_start", phase, residual_mv))
                self.fleet.inject(place.id, Incident(at + 1, "sag_end", phase, residual_mv))

    def _outage(self, at: int) -> None:
        feeder = int(self.rng.integers(0, len(self.town.outages)))
        first = at // 60 + 1
        last = first + int(self.rng.choice(OUTAGE_MINUTES))
        self.town.outages[feeder].add(first, last)
        kept = [[n, a, b] for n, one in enumerate(self.town.outages) for a, b in one.spans]
        path = self.data_dir / OUTAGES_FILE
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(kept), "utf-8")
        draft.replace(path)
        self.town.forget_days()
