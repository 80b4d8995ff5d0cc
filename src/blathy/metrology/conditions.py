"""Lasting conditions of the supply and the installation, judged over base intervals.

Each condition is a figure against a threshold with hysteresis and a time it has to last, per phase
or for the system: over- and under-voltage, over-current, current without voltage, missing current,
reversed current, wrong phase sequence, unbalance of voltage and current, a broken neutral, THD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.connection import Connection, Wiring
from blathy.metrology.quantities import Quantities
from blathy.metrology.spectrum import Spectra

FloatArray = NDArray[np.float64]


class Condition(Enum):
    """The figure that is judged, and its unit."""

    PHASE_LOST = "voltage of a phase that has failed, % of nominal; below"
    UNDERVOLTAGE = "voltage of the phase, % of nominal; below"
    OVERVOLTAGE = "voltage of the phase, % of nominal; above"
    OVERCURRENT = "current of the phase, % of nominal; above"
    CURRENT_WITHOUT_VOLTAGE = "current of a phase without voltage, % of nominal; above"
    MISSING_CURRENT = "current of a phase, % of the largest phase current; below"
    REVERSED_CURRENT = "active power of a phase against the sum of the others, % of S; below"
    WRONG_SEQUENCE = "negative against positive sequence voltage, %; above"
    VOLTAGE_UNBALANCE = "u2, %; above"
    CURRENT_UNBALANCE = "largest deviation of a phase current from the mean, %; above"
    NEUTRAL_BROKEN = "u0 while the line-to-line voltages are healthy, %; above"
    THD_U = "THD to order 40 of the phase voltage, %; above"

    @property
    def falls_below(self) -> bool:
        return self.value.endswith("below")


@dataclass(frozen=True, slots=True)
class Limit:
    """Begins past `threshold` for `delay_s`, ends on the other side of threshold and hysteresis."""

    threshold: float
    hysteresis: float
    delay_s: float = 1.0


DEFAULT_LIMITS: Final[Mapping[Condition, Limit]] = MappingProxyType(
    {
        Condition.PHASE_LOST: Limit(50.0, 5.0),
        Condition.UNDERVOLTAGE: Limit(90.0, 1.0, 3.0),
        Condition.OVERVOLTAGE: Limit(110.0, 1.0, 3.0),
        Condition.OVERCURRENT: Limit(120.0, 5.0),
        Condition.CURRENT_WITHOUT_VOLTAGE: Limit(2.0, 0.5),
        Condition.MISSING_CURRENT: Limit(1.0, 0.5, 5.0),
        Condition.REVERSED_CURRENT: Limit(-5.0, 2.0, 5.0),
        Condition.WRONG_SEQUENCE: Limit(200.0, 50.0),
        Condition.VOLTAGE_UNBALANCE: Limit(2.0, 0.2, 5.0),
        Condition.CURRENT_UNBALANCE: Limit(50.0, 5.0, 10.0),
        Condition.NEUTRAL_BROKEN: Limit(15.0, 3.0),
        Condition.THD_U: Limit(8.0, 0.5, 10.0),
    }
)
CURRENT_PRESENT_PERCENT: Final = 5.0  # of nominal: below it, currents are not compared


@dataclass(frozen=True, slots=True)
class ConditionChange:
    """A condition began or ended at sample `at`; `phase` 0 is the system. `figure`: see the kind;
    the worst one when it ends, the present one when it begins."""

    condition: Condition
    phase: int
    began: bool
    at: float
    figure: float
    duration_s: float


@dataclass(slots=True)
class _State:
    active: bool = False
    since: float = np.nan  # start of the present run on the other side
    began_at: float = np.nan
    worst: float = np.nan


@dataclass(slots=True)
class ConditionMonitor:
    """Watches base intervals; conditions without a limit are not watched."""

    connection: Connection
    limits: Mapping[Condition, Limit] = field(default_factory=lambda: DEFAULT_LIMITS)
    _states: dict[tuple[Condition, int], _State] = field(default_factory=dict)

    def add(self, quantities: Quantities, spectra: Spectra | None = None) -> list[ConditionChange]:
        """Changes in these base intervals, in the order of time."""
        if not len(quantities):
            return []
        changes: list[ConditionChange] = []
        for condition, figures in self._figures(quantities, spectra).items():
            limit = self.limits.get(condition)
            if limit is None:
                continue
            for column in range(figures.shape[1]):
                phase = column + 1 if figures.shape[1] > 1 else _phase_of_system(condition)
                self._watch(condition, phase, limit, figures[:, column], quantities, changes)
        return sorted(changes, key=lambda change: change.at)

    def active(self) -> set[tuple[Condition, int]]:
        """(condition, phase) of all that last at present."""
        return {key for key, state in self._states.items() if state.active}

    def _watch(
        self,
        condition: Condition,
        phase: int,
        limit: Limit,
        figures: FloatArray,
        quantities: Quantities,
        changes: list[ConditionChange],
    ) -> None:
        state = self._states.setdefault((condition, phase), _State())
        sign = -1.0 if condition.falls_below else 1.0
        beyond = sign * figures > sign * limit.threshold
        back = sign * figures < sign * limit.threshold - limit.hysteresis
        # Nearly always nothing happens: decide that for the whole batch at once.
        if not state.active and not beyond.any():
            state.since = np.nan
            return
        rate = self.connection.sample_rate_hz
        for k, figure in enumerate(figures.tolist()):
            start, end = float(quantities.windows.start[k]), float(quantities.windows.end[k])
            if state.active:
                state.worst = max(state.worst, figure, key=lambda f: sign * f)
            turning = bool(back[k]) if state.active else bool(beyond[k])
            if not turning:
                state.since = np.nan
                continue
            if np.isnan(state.since):
                state.since = start
            if (end - state.since) / rate < limit.delay_s - 1e-6:
                continue
            state.active = not state.active
            if state.active:
                state.began_at, state.worst = state.since, figure
                changes.append(ConditionChange(condition, phase, True, state.since, figure, 0.0))
            else:
                lasted_s = (state.since - state.began_at) / rate
                changes.append(
                    ConditionChange(condition, phase, False, state.since, state.worst, lasted_s)
                )
            state.since = np.nan

    def _figures(
        self, quantities: Quantities, spectra: Spectra | None
    ) -> dict[Condition, FloatArray]:
        """(n, phases) or (n, 1) per condition; NaN, where nothing can be said, ends nothing."""
        nominal_u, nominal_i = self.connection.nominal_u_v, self.connection.nominal_i_a
        u = 100.0 * quantities.u_v / nominal_u
        i = 100.0 * quantities.i_a / nominal_i
        figures = {
            Condition.PHASE_LOST: u,
            Condition.UNDERVOLTAGE: u,
            Condition.OVERVOLTAGE: u,
            Condition.OVERCURRENT: i,
            Condition.CURRENT_WITHOUT_VOLTAGE: np.where(u < 20.0, i, 0.0),
        }
        if self.connection.phases > 1:
            top = i.max(axis=1, keepdims=True)
            present = top >= CURRENT_PRESENT_PERCENT
            figures[Condition.MISSING_CURRENT] = np.where(
                present, 100.0 * i / np.where(top > 0, top, 1.0), 100.0
            )
            figures[Condition.CURRENT_UNBALANCE] = np.where(
                present, quantities.current_asymmetry_percent[:, None], 0.0
            )
            figures[Condition.REVERSED_CURRENT] = _against_others(quantities, present)
        if self.connection.phases == 3:
            figures |= self._of_components(quantities)
        if spectra is not None:
            figures[Condition.THD_U] = spectra.thd_percent(40)[:, : self.connection.phases]
        return figures

    def _of_components(self, quantities: Quantities) -> dict[Condition, FloatArray]:
        parts = quantities.u_components
        u2 = np.nan_to_num(parts.negative_percent, nan=0.0)[:, None]
        larger_v = np.maximum(np.abs(parts.positive), np.abs(parts.negative))
        u0 = 100.0 * np.abs(parts.zero) / np.where(larger_v > 0, larger_v, np.inf)
        nominal = np.sqrt(3.0) * self.connection.nominal_u_v
        low_v, high_v = 0.85 * nominal, 1.15 * nominal
        lines = quantities.u_line_v
        healthy = ((lines > low_v) & (lines < high_v)).all(axis=1, keepdims=True)
        figures = {
            Condition.WRONG_SEQUENCE: u2,
            Condition.VOLTAGE_UNBALANCE: np.where(u2 < 100.0, u2, 0.0),
        }
        if self.connection.wiring is Wiring.THREE_PHASE_4_WIRE:
            figures[Condition.NEUTRAL_BROKEN] = np.where(healthy, u0[:, None], 0.0)
        return figures


def _against_others(quantities: Quantities, present: NDArray[np.bool_]) -> FloatArray:
    """P of a phase in % of its S, where it flows against the sum of the others; else +100."""
    p, s = quantities.p_w, quantities.s_va
    others = p.sum(axis=1, keepdims=True) - p
    against = present & (p < 0) & (others > 0) & (s > 0)
    return np.where(against, 100.0 * p / np.where(s > 0, s, 1.0), 100.0)


def _phase_of_system(condition: Condition) -> int:
    """A single column belongs to L1 of a one-phase meter when the figure is one of a phase."""
    system = {
        Condition.WRONG_SEQUENCE,
        Condition.VOLTAGE_UNBALANCE,
        Condition.CURRENT_UNBALANCE,
        Condition.NEUTRAL_BROKEN,
    }
    return 0 if condition in system else 1
