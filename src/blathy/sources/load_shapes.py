"""Standard load shapes: the German BDEW profiles of 1999 as the `demandlib` package carries them.

Each shape is measured: mean power per quarter-hour for a customer of 1 000 kWh a year, for three
seasons and seven weekdays. The files are read directly; the package's own functions (and pandas)
are not needed.
"""

from __future__ import annotations

import csv
import importlib.util
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

SEASONS: Final = ("winter", "transition", "summer")
QUARTERS_PER_DAY: Final = 96
SHAPES: Final = ("h0", "g0", "g1", "g2", "g3", "g4", "g5", "g6", "l0", "l1", "l2")
"""h0 household; g0 business in general, g1 weekdays 8-18, g2 evening, g3 continuous, g4 shop, g5
bakery, g6 weekend; l0 farm in general, l1 dairy, l2 other farms."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadShape:
    """Mean power in watts per quarter-hour of local time for 1 000 kWh a year: (season, weekday,
    96)."""

    name: str
    power_w: NDArray[np.float64]

    def day(self, day: date) -> NDArray[np.float64]:
        """The 96 quarter-hours of a local day in W per 1 000 kWh a year."""
        values: NDArray[np.float64] = self.power_w[season_of(day), day.weekday()]
        return values * _dynamic(day) if self.name == "h0" else values


def season_of(day: date) -> int:
    """Index into SEASONS, by the BDEW's dates: winter 1 Nov-20 Mar, summer 15 May-14 Sep."""
    key = (day.month, day.day)
    if key >= (11, 1) or key <= (3, 20):
        return 0
    return 2 if (5, 15) <= key <= (9, 14) else 1


def _dynamic(day: date) -> float:
    """The household's yearly course: the BDEW's fourth-degree polynomial in the day of the year."""
    t = day.timetuple().tm_yday
    return -3.92e-10 * t**4 + 3.2e-7 * t**3 - 7.02e-5 * t**2 + 2.1e-3 * t + 1.24


@lru_cache(maxsize=1)
def _tables() -> dict[str, LoadShape]:
    found = importlib.util.find_spec("demandlib")
    if found is None or not found.submodule_search_locations:
        msg = "the standard load profiles are missing; install the package demandlib"
        raise FileNotFoundError(msg)
    path = Path(found.submodule_search_locations[0]) / "bdew" / "bdew_data" / "selp_series.csv"
    tables = {name: np.zeros((len(SEASONS), 7, QUARTERS_PER_DAY)) for name in SHAPES}
    filled: dict[tuple[int, int], int] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = (SEASONS.index(row["period"]), int(row["weekday"]) - 1)
            quarter = filled.get(key, 0)
            filled[key] = quarter + 1
            for name in SHAPES:
                tables[name][(*key, quarter)] = float(row[name]) * 1000.0
    assert all(count == QUARTERS_PER_DAY for count in filled.values())
    return {name: LoadShape(name, table) for name, table in tables.items()}


def load_shape(name: str) -> LoadShape:
    """The shape of that name; raise ValueError with the known ones otherwise."""
    try:
        return _tables()[name.lower()]
    except KeyError:
        msg = f"there is no load shape {name!r}; known are {', '.join(SHAPES)}"
        raise ValueError(msg) from None
