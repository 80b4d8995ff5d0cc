"""Electrical quantities of any window of half cycles: rms, powers, phasors, apparent powers.

Half cycles are additive, so a window is a row of the same table: `merge` adds rows, `Quantities`
reads any row. Definitions of IEEE 1459; reactive power without a surname is Q1, that of the
fundamental. Signs as in `blathy.quantity`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.half_cycle import (
    C_END,
    C_FLAGS,
    C_PHASES,
    C_START,
    PARTIAL,
    UPWARD,
    HalfCycles,
)
from blathy.metrology.symmetry import Components, components

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]


def merge(half_cycles: HalfCycles, first: NDArray[Any], count: int) -> HalfCycles:
    """Windows of `count` half cycles that begin at the rows `first`: one row of sums each."""
    table = half_cycles.table
    first = np.asarray(first, np.int64)
    if len(first) and len(first) * count == first[-1] - first[0] + count == len(table) - first[0]:
        grouped = table[first[0] :].reshape(len(first), count, -1)
    else:
        grouped = table[first[:, None] + np.arange(count)]
    rows = grouped.sum(axis=1)
    rows[:, C_START] = grouped[:, 0, C_START]
    rows[:, C_END] = grouped[:, -1, C_END]
    flags = np.bitwise_or.reduce(grouped[:, :, C_FLAGS].astype(np.int64), axis=1)
    rows[:, C_FLAGS] = flags & ~UPWARD
    return HalfCycles(rows, half_cycles.phases, half_cycles.sample_rate_hz)


def whole_windows(half_cycles: HalfCycles, count: int) -> NDArray[np.int64]:
    """First rows of the consecutive windows of `count` half cycles that hold no partial one."""
    usable = np.flatnonzero(half_cycles.flags & PARTIAL == 0)
    if len(usable) == 0:
        return usable
    return np.arange(usable[0], usable[-1] + 2 - count, count)


@dataclass(frozen=True, eq=False)
class Quantities:
    """What is measured in `n` windows, each the sum of `half_cycle_count` half cycles."""

    windows: HalfCycles
    half_cycle_count: int

    @classmethod
    def of(cls, half_cycles: HalfCycles, count: int) -> Quantities:
        """Quantities of the consecutive whole windows of `count` half cycles."""
        return cls(merge(half_cycles, whole_windows(half_cycles, count), count), count)

    def __len__(self) -> int:
        return len(self.windows)

    @cached_property
    def time_s(self) -> FloatArray:
        return self.windows.duration_s[:, None]

    @cached_property
    def frequency_hz(self) -> FloatArray:
        return 0.5 * self.half_cycle_count / self.windows.duration_s

    @cached_property
    def u_v(self) -> FloatArray:
        """(n, phases) rms voltage to neutral."""
        return np.asarray(np.sqrt(np.maximum(self.windows.u2_v2s.sum(axis=2), 0.0) / self.time_s))

    @cached_property
    def i_a(self) -> FloatArray:
        """(n, phases) rms current."""
        return np.sqrt(np.maximum(self.windows.i2_a2s, 0.0) / self.time_s)

    @property
    def u_dc_v(self) -> FloatArray:
        return self.windows.u0_vs / self.time_s

    @property
    def i_dc_a(self) -> FloatArray:
        return self.windows.i0_as / self.time_s

    @cached_property
    def u_line_v(self) -> FloatArray:
        """(n, 3) rms of u12 u23 u31; one column for two phases, none for one."""
        square = np.square(self.u_v)
        cross = self.windows.cross[:, :3] / self.time_s
        pairs = [(0, 1), (1, 2), (2, 0)][: {1: 0, 2: 1, 3: 3}[self.windows.phases]]
        lines = [square[:, a] + square[:, b] - 2 * cross[:, k] for k, (a, b) in enumerate(pairs)]
        stacked = np.stack(lines, axis=1) if lines else np.zeros((len(self), 0))
        return np.sqrt(np.maximum(stacked, 0.0))

    @cached_property
    def i_neutral_a(self) -> FloatArray:
        """(n,) rms of the calculated neutral current, the sum of the phase samples."""
        return self._root_of_cross(3)

    @property
    def i_neutral_measured_a(self) -> FloatArray:
        """(n,) rms of the measured neutral current; 0 where there is none."""
        return self._root_of_cross(4)

    @property
    def i_residual_a(self) -> FloatArray:
        """(n,) rms of the sum of all conductors: leakage. 0 where the neutral is not measured."""
        return self._root_of_cross(5)

    @cached_property
    def p_w(self) -> FloatArray:
        """(n, phases) active power."""
        return self.windows.energy_j / self.time_s

    @cached_property
    def u1_v(self) -> ComplexArray:
        """(n, phases) rms phasor of the fundamental voltage against the grid's phase."""
        return np.asarray(np.sqrt(2.0) * self.windows.u1_vs / self.time_s)

    @cached_property
    def i1_a(self) -> ComplexArray:
        """(n, phases) rms phasor of the fundamental current."""
        return np.asarray(np.sqrt(2.0) * self.windows.i1_as / self.time_s)

    @cached_property
    def p1_w(self) -> FloatArray:
        return np.asarray((self.u1_v * self.i1_a.conj()).real)

    @cached_property
    def q1_var(self) -> FloatArray:
        """(n, phases) reactive power of the fundamental; > 0 is inductive import."""
        return np.asarray((self.u1_v * self.i1_a.conj()).imag)

    @cached_property
    def s_va(self) -> FloatArray:
        return self.u_v * self.i_a

    @property
    def s1_va(self) -> FloatArray:
        return np.asarray(np.abs(self.u1_v) * np.abs(self.i1_a))

    @property
    def power_factor(self) -> FloatArray:
        """P / S with the sign of P; NaN where S is 0."""
        return _ratio(self.p_w, self.s_va)

    @property
    def cos_phi1(self) -> FloatArray:
        """Displacement factor P1 / S1; NaN without a fundamental."""
        return _ratio(self.p1_w, self.s1_va)

    @property
    def q_fryze_var(self) -> FloatArray:
        """Fryze's reactive power sqrt(S² - P²): all that is not active."""
        return np.sqrt(np.maximum(self.s_va**2 - self.p_w**2, 0.0))

    @property
    def u_harmonic_v(self) -> FloatArray:
        """All of the voltage but its fundamental."""
        return np.asarray(np.sqrt(np.maximum(self.u_v**2 - np.abs(self.u1_v) ** 2, 0.0)))

    @property
    def i_harmonic_a(self) -> FloatArray:
        return np.asarray(np.sqrt(np.maximum(self.i_a**2 - np.abs(self.i1_a) ** 2, 0.0)))

    @property
    def s_non_fundamental_va(self) -> FloatArray:
        """SN = sqrt(S² - S1²) = sqrt(DI² + DV² + SH²)."""
        return np.sqrt(np.maximum(self.s_va**2 - self.s1_va**2, 0.0))

    @property
    def d_current_va(self) -> FloatArray:
        """Current distortion power DI = U1 IH."""
        return np.abs(self.u1_v) * self.i_harmonic_a

    @property
    def d_voltage_va(self) -> FloatArray:
        """Voltage distortion power DV = UH I1."""
        return self.u_harmonic_v * np.abs(self.i1_a)

    @property
    def s_harmonic_va(self) -> FloatArray:
        """Harmonic apparent power SH = UH IH."""
        return self.u_harmonic_v * self.i_harmonic_a

    @property
    def d_harmonic_var(self) -> FloatArray:
        """Harmonic distortion power DH = sqrt(SH² - PH²)."""
        return np.sqrt(np.maximum(self.s_harmonic_va**2 - (self.p_w - self.p1_w) ** 2, 0.0))

    @property
    def p_total_w(self) -> FloatArray:
        return np.asarray(self.p_w.sum(axis=1))

    @property
    def q1_total_var(self) -> FloatArray:
        return np.asarray(self.q1_var.sum(axis=1))

    @property
    def s_arithmetic_va(self) -> FloatArray:
        return np.asarray(self.s_va.sum(axis=1))

    @property
    def s_vector_va(self) -> FloatArray:
        """sqrt((ΣP)² + (ΣQ1)² + (ΣD)²), D = sqrt(S² - P² - Q1²) of each phase."""
        rest = np.sqrt(np.maximum(self.s_va**2 - self.p_w**2 - self.q1_var**2, 0.0)).sum(axis=1)
        return np.asarray(np.sqrt(self.p_total_w**2 + self.q1_total_var**2 + rest**2))

    @property
    def u_effective_v(self) -> FloatArray:
        """Ue: Ue² = (3 ΣUphase² + ΣUline²) / 18 for three phases."""
        square = 3 * (self.u_v**2).sum(axis=1) + (self.u_line_v**2).sum(axis=1)
        return np.asarray(np.sqrt(square / 18.0))

    @property
    def i_effective_a(self) -> FloatArray:
        """Ie: Ie² = (ΣI² + In²) / 3."""
        return np.asarray(np.sqrt(((self.i_a**2).sum(axis=1) + self.i_neutral_a**2) / 3.0))

    @property
    def s_effective_va(self) -> FloatArray:
        """IEEE 1459 effective apparent power 3 Ue Ie; for fewer than three phases ΣUI."""
        if self.windows.phases < 3:
            return self.s_arithmetic_va
        return 3.0 * self.u_effective_v * self.i_effective_a

    @property
    def power_factor_total(self) -> FloatArray:
        """ΣP over the arithmetic S."""
        return _ratio(self.p_total_w, self.s_arithmetic_va)

    @cached_property
    def u_components(self) -> Components:
        """Symmetrical components of the voltage; three phases only."""
        return components(self._three(self.u1_v))

    @cached_property
    def i_components(self) -> Components:
        return components(self._three(self.i1_a))

    @property
    def angle_u_deg(self) -> FloatArray:
        """(n, phases) how far each voltage lags U1: 0, 120, 240 for the right order."""
        return np.mod(-np.degrees(np.angle(self.u1_v * self.u1_v[:, :1].conj())), 360.0)

    @property
    def angle_i_deg(self) -> FloatArray:
        """(n, phases) how far each current lags U1."""
        return np.mod(-np.degrees(np.angle(self.i1_a * self.u1_v[:, :1].conj())), 360.0)

    @property
    def current_asymmetry_percent(self) -> FloatArray:
        """(n,) largest deviation of a phase current from their mean, of the mean; NaN at 0."""
        mean = self.i_a.mean(axis=1)
        return 100.0 * _ratio(np.abs(self.i_a - mean[:, None]).max(axis=1), mean)

    def _root_of_cross(self, column: int) -> FloatArray:
        return np.sqrt(np.maximum(self.windows.cross[:, column], 0.0) / self.time_s[:, 0])

    def _three(self, phasors: ComplexArray) -> ComplexArray:
        if phasors.shape[1] != 3:
            raise ValueError("symmetrical components need three phases")
        return phasors


def u_half_cycle_v(
    half_cycles: HalfCycles, *, reversed_order: NDArray[np.bool_] | None = None
) -> FloatArray:
    """Urms(1/2): (n - 2, phases), one cycle from each channel's own zero crossing.

    Row k belongs to the cycle that begins in half cycle k. In three-phase systems the crossings of
    L2 and L3 lie two sixths and one sixth of a cycle after those of L1 (modulo half a cycle; the
    other way round where the phase order is reversed).
    """
    sixths = half_cycles.u2_v2s
    duration = half_cycles.duration_s
    n, phases = len(half_cycles) - 2, half_cycles.phases
    if n <= 0:
        return np.zeros((0, phases))
    out = np.empty((n, phases))
    shifts = [_window(sixths, duration, n, phase) for phase in range(phases)]
    for phase in range(phases):
        if phases != 3 or phase == 0:
            out[:, phase] = shifts[phase](0)
            continue
        right = shifts[phase](3 - phase)
        if reversed_order is None or not reversed_order.any():
            out[:, phase] = right
        else:
            out[:, phase] = np.where(reversed_order[:n], shifts[phase](phase), right)
    return out


def _window(sixths: FloatArray, duration: FloatArray, n: int, phase: int) -> Any:
    flat = sixths[:, phase, :].reshape(-1)

    def of(offset: int) -> FloatArray:
        total = np.zeros(n)
        for k in range(offset, offset + 6):
            total += flat[k : k + 3 * n : 3]
        part = offset / 3.0
        time_s = (1 - part) * duration[:n] + duration[1 : n + 1] + part * duration[2 : n + 2]
        return np.sqrt(np.maximum(total, 0.0) / time_s)

    return of


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    out = np.full(np.shape(part), np.nan)
    np.divide(part, whole, out=out, where=whole != 0)
    return out


__all__ = ["C_PHASES", "Quantities", "merge", "u_half_cycle_v", "whole_windows"]
