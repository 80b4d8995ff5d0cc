"""Limits of percentage error by accuracy class, as tables.

Sources: IEC 62053-21:2003 (classes 1, 2), IEC 62053-22 (0.2S, 0.5S), IEC 62053-23 (reactive 2, 3),
EN 50470-3 (A, B, C). Some cells come from secondary sources; `docs/metrology.md` says which. blathy
claims algorithm and model errors against these figures, no conformity.

Currents are shares of the reference current: Ib of a direct-connected meter, In of a
transformer-operated one. `imax` stands for the maximum current whatever its share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

IMAX: Final = float("inf")
"""As the upper end of a range: up to Imax."""


class Energy(Enum):
    """What the class is for."""

    ACTIVE = "active"
    REACTIVE = "reactive"


class Factor(Enum):
    """cos φ of an active test, sin φ of a reactive one; the value is (factor, sign of Q or P)."""

    UNITY = (1.0, 1)
    HALF_INDUCTIVE = (0.5, 1)
    CAPACITIVE = (0.8, -1)
    QUARTER_INDUCTIVE = (0.25, 1)
    HALF_CAPACITIVE = (0.5, -1)


@dataclass(frozen=True, slots=True)
class Limit:
    """One cell: from `low` up to `high` (shares of the reference current) at these factors."""

    low: float
    high: float
    factors: tuple[Factor, ...]
    percent: float
    single_phase: bool = False


@dataclass(frozen=True, slots=True)
class AccuracyClass:
    """A class with its limits and its limits of variation under influence quantities.

    With `of_full_scale` the limits are shares of full scale and not of the reading.
    `influence` maps the name of an influence quantity to the limits of variation in percent at
    unity and at half inductive (or half sin φ). `starting_share` is the starting current over the
    reference current.
    """

    name: str
    energy: Energy
    standard: str
    transformer: bool
    limits: tuple[Limit, ...]
    influence: Mapping[str, tuple[float, float]]
    starting_share: float
    no_load_minutes_form: str  # "2003" or "ist"
    no_load_constant: float
    of_full_scale: bool = False

    def limit_percent(
        self, share: float, factor: Factor, *, single_phase: bool = False
    ) -> float | None:
        """The limit at that load; None where the class demands nothing there."""
        cells = [
            cell.percent
            for cell in self.limits
            if cell.low - 1e-9 <= share <= cell.high + 1e-9
            and factor in cell.factors
            and cell.single_phase == single_phase
        ]
        return min(cells) if cells else None


_U, _H, _C, _Q, _HC = (
    Factor.UNITY,
    Factor.HALF_INDUCTIVE,
    Factor.CAPACITIVE,
    Factor.QUARTER_INDUCTIVE,
    Factor.HALF_CAPACITIVE,
)


def _active_21(one: bool, transformer: bool) -> tuple[Limit, ...]:
    """IEC 62053-21 class 1 or 2; the ranges of transformer-operated meters begin at half the
    share."""
    k = 0.5 if transformer else 1.0
    low = 0.02 if transformer else 0.05
    a, b, single = (1.5, 1.0, 2.0) if one else (2.5, 2.0, 3.0)
    shifted = (_H, _C) if one else (_H,)
    return (
        Limit(low, 0.1 * k, (_U,), a),
        Limit(0.1 * k, IMAX, (_U,), b),
        Limit(0.1 * k, 0.2 * k, shifted, a),
        Limit(0.2 * k, IMAX, shifted, b),
        Limit(0.1 * k, IMAX, (_U,), single, single_phase=True),
        Limit(0.2 * k, IMAX, (_H,), single, single_phase=True),
    )


def _active_22(fine: bool) -> tuple[Limit, ...]:
    """IEC 62053-22 class 0.2S or 0.5S."""
    a, b, c, d, request, s1, s2 = (
        (0.4, 0.2, 0.5, 0.3, 0.5, 0.3, 0.4) if fine else (1.0, 0.5, 1.0, 0.6, 1.0, 0.6, 1.0)
    )
    return (
        Limit(0.01, 0.05, (_U,), a),
        Limit(0.05, IMAX, (_U,), b),
        Limit(0.02, 0.1, (_H, _C), c),
        Limit(0.1, IMAX, (_H, _C), d),
        Limit(0.1, IMAX, (_Q, _HC), request),
        Limit(0.05, IMAX, (_U,), s1, single_phase=True),
        Limit(0.1, IMAX, (_H,), s2, single_phase=True),
    )


def _reactive_23(two: bool, transformer: bool) -> tuple[Limit, ...]:
    k = 0.5 if transformer else 1.0
    low = 0.02 if transformer else 0.05
    a, b, single = (2.5, 2.0, 3.0) if two else (4.0, 3.0, 4.0)
    return (
        Limit(low, 0.1 * k, (_U,), a),
        Limit(0.1 * k, IMAX, (_U,), b),
        Limit(0.1 * k, 0.2 * k, (_H,), a),
        Limit(0.2 * k, IMAX, (_H,), b),
        Limit(0.2 * k, IMAX, (_Q,), a),
        Limit(0.1 * k, IMAX, (_U,), single, single_phase=True),
        Limit(0.2 * k, IMAX, (_H,), single, single_phase=True),
    )


def _active_50470(letter: str, transformer: bool) -> tuple[Limit, ...]:
    """EN 50470-3: Itr is a tenth of Iref of direct meters, a twentieth of transformer-operated
    ones."""
    itr = 0.05 if transformer else 0.1
    imin = (
        itr
        * ({"A": 0.5, "B": 0.5, "C": 0.3} if not transformer else {"A": 0.4, "B": 0.2, "C": 0.2})[
            letter
        ]
    )
    a, b, half, single = {
        "A": (2.5, 2.0, 2.0, 3.0), "B": (1.5, 1.0, 1.0, 2.0), "C": (1.0, 0.5, 0.6, 1.0),
    }[letter]  # fmt: skip
    return (
        Limit(imin, itr, (_U,), a),
        Limit(itr, IMAX, (_U,), b),
        Limit(itr, IMAX, (_H, _C), half),
        Limit(itr, IMAX, (_U,), single, single_phase=True),
        Limit(itr, IMAX, (_H,), single, single_phase=True),
    )


_INFLUENCE_1: Final = {
    "voltage": (0.7, 1.0),
    "frequency": (0.5, 0.7),
    "temperature_per_k": (0.05, 0.07),
    "phase_sequence": (1.5, 1.5),
    "voltage_unbalance": (2.0, 2.0),
    "fifth_harmonic": (0.8, 0.8),
    "half_wave": (3.0, 3.0),
    "fired_load": (3.0, 3.0),
    "burst": (3.0, 3.0),
}
_INFLUENCE_2: Final = {
    "voltage": (1.0, 1.5),
    "frequency": (0.8, 1.0),
    "temperature_per_k": (0.10, 0.15),
    "phase_sequence": (1.5, 1.5),
    "voltage_unbalance": (4.0, 4.0),
    "fifth_harmonic": (1.0, 1.0),
    "half_wave": (6.0, 6.0),
    "fired_load": (6.0, 6.0),
    "burst": (6.0, 6.0),
}
_INFLUENCE_05S: Final = {
    "voltage": (0.2, 0.4),
    "frequency": (0.2, 0.2),
    "temperature_per_k": (0.03, 0.05),
    "phase_sequence": (0.1, 0.1),
    "voltage_unbalance": (1.0, 1.0),
    "fifth_harmonic": (0.5, 0.5),
    "burst": (1.5, 1.5),
}
_INFLUENCE_02S: Final = {
    "voltage": (0.1, 0.2),
    "frequency": (0.1, 0.1),
    "temperature_per_k": (0.01, 0.02),
    "phase_sequence": (0.05, 0.05),
    "voltage_unbalance": (0.5, 0.5),
    "fifth_harmonic": (0.4, 0.4),
    "burst": (0.6, 0.6),
}
_INFLUENCE_VAR_2: Final = {
    "voltage": (1.0, 1.5),
    "frequency": (2.5, 2.5),
    "temperature_per_k": (0.10, 0.15),
}
_INFLUENCE_VAR_3: Final = {
    "voltage": (2.0, 3.0),
    "frequency": (2.5, 2.5),
    "temperature_per_k": (0.15, 0.25),
}
_21, _22, _23, _MID = "IEC 62053-21:2003", "IEC 62053-22", "IEC 62053-23", "EN 50470-3"


def accuracy_class(name: str, energy: Energy, *, transformer: bool) -> AccuracyClass:
    """The class by the name a data sheet uses: 1, 2, A, B, C, 0.2S, 0.5S active; 2, 3 reactive.

    Raise ValueError with the known ones for another name.
    """
    key = name.strip().upper().removeprefix("CLASS").strip()
    if energy is Energy.REACTIVE:
        if key not in {"2", "3"}:
            raise ValueError(f"reactive class {name!r} is not known; known are 2 and 3")
        two = key == "2"
        starting = (0.003 if two else 0.005) if transformer else (0.005 if two else 0.01)
        return AccuracyClass(
            key, energy, _23, transformer, _reactive_23(two, transformer),
            _INFLUENCE_VAR_2 if two else _INFLUENCE_VAR_3, starting, "2003",
            480e6 if two else 300e6,
        )  # fmt: skip
    if key in {"1", "2"}:
        one = key == "1"
        starting = (0.002 if one else 0.003) if transformer else (0.004 if one else 0.005)
        return AccuracyClass(
            key, energy, _21, transformer, _active_21(one, transformer),
            _INFLUENCE_1 if one else _INFLUENCE_2, starting, "2003", 600e6 if one else 480e6,
        )  # fmt: skip
    if key in {"0.2S", "0.5S"}:
        fine = key == "0.2S"
        return AccuracyClass(
            key, energy, _22, transformer, _active_22(fine),
            _INFLUENCE_02S if fine else _INFLUENCE_05S, 0.001, "2003", 900e6 if fine else 600e6,
        )  # fmt: skip
    if key in {"A", "B", "C"}:
        itr = 0.05 if transformer else 0.1
        ist = {"A": (0.05, 0.06), "B": (0.04, 0.04), "C": (0.04, 0.02)}[key][transformer] * itr
        influence = {"A": _INFLUENCE_2, "B": _INFLUENCE_1, "C": _INFLUENCE_05S}[key]
        return AccuracyClass(
            key, energy, _MID, transformer, _active_50470(key, transformer),
            influence, ist, "ist", 240e3,
        )  # fmt: skip
    raise ValueError(f"class {name!r} is not known; known are 0.2S, 0.5S, 1, 2, A, B and C")


def full_scale_class(percent: float, energy: Energy) -> AccuracyClass:
    """An instrument's accuracy as a share of full scale (Un times the rated current), at any
    load."""
    factors = (_U, _H, _C)
    return AccuracyClass(
        f"{percent:g} % of full scale",
        energy,
        "data sheet",
        True,
        (
            Limit(0.0, IMAX, factors, percent),
            Limit(0.0, IMAX, (_U, _H), percent, single_phase=True),
        ),
        {"voltage": (percent, percent), "frequency": (percent, percent)},
        0.001,
        "ist",
        240e3,
        of_full_scale=True,
    )


def no_load_minutes(
    accuracy: AccuracyClass,
    imp_per_kwh: int,
    elements: int,
    u_test_v: float,
    i_max_a: float,
    i_st_a: float,
) -> float:
    """How long the no-load test lasts: within it the meter may give at most one pulse."""
    if accuracy.no_load_minutes_form == "ist":
        return accuracy.no_load_constant / (imp_per_kwh * elements * u_test_v * i_st_a)
    return accuracy.no_load_constant / (imp_per_kwh * elements * u_test_v * i_max_a)
