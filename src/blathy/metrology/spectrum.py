"""Harmonics and interharmonics of U and I after IEC 61000-4-7.

A window of 10 (12) cycles between two zero crossings of the synchronised grid is resampled to 2^n
or 3 2^n points by a Kaiser-windowed sinc, so the rectangular window is exact and its lines stand
5 Hz apart (f / 10). Harmonic subgroup h: lines -1, 0, +1 around h f. Interharmonic centred
subgroup h: what lies between the harmonic subgroups h and h + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from blathy.metrology.synchronisation import FAST

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

ORDER_MAX: Final = 50
SINC_TAPS: Final = 24
SINC_PHASES: Final = 1024
KAISER_BETA: Final = 9.0
LANES: Final = 8  # channels resampled together
PASSBAND: Final = 0.76
"""Part of half the sample rate in which the resampling is flat within 1e-5."""


@dataclass(frozen=True, eq=False)
class Spectra:
    """Spectra of `n` windows. Channels: the phase voltages, the phase currents, the neutral.

    `lines` (n, channels, bins) complex rms phasors, d.c. at 0; `cycles` lines per harmonic.
    Orders that the sample rate does not carry are NaN.
    """

    lines: ComplexArray
    cycles: int
    phases: int
    order_max: int
    peak: FloatArray  # (n, channels) largest magnitude of the waveform in the window

    def __len__(self) -> int:
        return len(self.lines)

    @cached_property
    def squares(self) -> FloatArray:
        """(n, channels, bins) squared rms of every line."""
        return np.asarray(self.lines.real**2 + self.lines.imag**2)

    @cached_property
    def harmonic_square(self) -> FloatArray:
        """(n, channels, 51) squared rms of the harmonic subgroups; order 0 is the d.c. line."""
        out = np.full((*self.squares.shape[:2], ORDER_MAX + 1), np.nan)
        top = self.order_max
        centre = self.cycles
        square = self.squares
        out[:, :, 0] = square[:, :, 0]
        for offset in (-1, 0, 1):
            part = square[:, :, centre + offset : centre * top + offset + 1 : centre]
            if offset == -1:
                out[:, :, 1 : top + 1] = part
            else:
                out[:, :, 1 : top + 1] += part
        return out

    @cached_property
    def interharmonic_square(self) -> FloatArray:
        """(n, channels, 50) squared rms of the centred subgroups 0 (below h1) to 49."""
        out = np.full((*self.squares.shape[:2], ORDER_MAX), np.nan)
        top, step = self.order_max, self.cycles
        between = self.squares[:, :, : top * step].reshape(*self.squares.shape[:2], top, step)
        out[:, :, :top] = between[:, :, :, 2 : step - 1].sum(axis=3)
        return out

    @property
    def harmonic(self) -> FloatArray:
        """(n, channels, 51) rms of the harmonic subgroups in V or A."""
        return np.sqrt(self.harmonic_square)

    @property
    def interharmonic(self) -> FloatArray:
        """(n, channels, 50) rms of the interharmonic centred subgroups."""
        return np.sqrt(self.interharmonic_square)

    @cached_property
    def phasor(self) -> ComplexArray:
        """(n, channels, orders + 1) rms phasor of each harmonic line, d.c. first."""
        return self.lines[:, :, :: self.cycles][:, :, : self.order_max + 1]

    @cached_property
    def complex_power_va(self) -> ComplexArray:
        """(n, phases, orders + 1) U_h I_h* of each harmonic: P_h + j Q_h; P_h < 0 is export."""
        voltage = self.phasor[:, : self.phases]
        current = self.phasor[:, self.phases : 2 * self.phases]
        return np.asarray(voltage * current.conj())

    @property
    def direction(self) -> NDArray[np.int64]:
        """(n, phases, orders + 1) +1 harmonic power flows to the load, -1 to the grid, 0 none."""
        return np.sign(self.complex_power_va.real).astype(np.int64)

    @property
    def q_budeanu_var(self) -> FloatArray:
        """(n, phases) Budeanu's reactive power, the sum of Q_h."""
        return np.asarray(self.complex_power_va.imag.sum(axis=2))

    def q_quarter_period_var(self, delay_periods: float = 0.25) -> FloatArray:
        """(n, phases) mean of u, delayed by a quarter of the period, times i: a named alternative.

        A meter that delays by a fixed 5 ms has `delay_periods` = 0.005 f.
        """
        k = np.arange(self.lines.shape[2])
        delayed = self.lines[:, : self.phases] * np.exp(
            -2j * np.pi * delay_periods * k / self.cycles
        )
        current = self.lines[:, self.phases : 2 * self.phases]
        return np.asarray((delayed * current.conj()).real.sum(axis=2))

    def thd_percent(self, order_max: int = 40) -> FloatArray:
        """(n, channels) THD of the subgroups 2 … `order_max` in percent of subgroup 1."""
        square = self.harmonic_square
        # Order by order: a sum along the axis may round differently with the number of windows.
        total = np.zeros(square.shape[:2])
        for order in range(2, min(order_max, self.order_max) + 1):
            total += square[:, :, order]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.sqrt(total / square[:, :, 1])
        return np.where(square[:, :, 1] > 0, 100.0 * ratio, np.nan)

    def tdd_percent(self, demand_current_a: float, order_max: int = 50) -> FloatArray:
        """(n, phases) harmonic currents in percent of the maximum demand current."""
        top = min(order_max, self.order_max)
        square = self.harmonic_square[:, self.phases : 2 * self.phases, 2 : top + 1]
        return np.asarray(100.0 * np.sqrt(square.sum(axis=2)) / demand_current_a)

    def k_factor(self) -> FloatArray:
        """(n, phases) Σ(h I_h)² / ΣI_h²: heating of a transformer by eddy currents."""
        order = np.arange(1, self.order_max + 1)
        square = self.harmonic_square[:, self.phases : 2 * self.phases, 1 : self.order_max + 1]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = (square * order**2).sum(axis=2) / square.sum(axis=2)
        return np.where(square.sum(axis=2) > 0, ratio, np.nan)

    def crest_factor(self) -> FloatArray:
        """(n, channels) peak over rms; NaN at rms 0."""
        rms = np.sqrt(self.squares.sum(axis=2))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(rms > 0, self.peak / rms, np.nan)

    def signalling_v(self, frequency_hz: float, grid_hz: FloatArray) -> FloatArray:
        """(n, phases) rms of a mains signal: the four lines nearest to its frequency."""
        place = frequency_hz * self.cycles / grid_hz
        first = np.floor(place).astype(np.int64) - 1
        if np.any(first < 0) or np.any(first + 4 > self.lines.shape[2]):
            raise ValueError(f"a signal at {frequency_hz:g} Hz lies outside the measured spectrum")
        index = first[:, None] + np.arange(4)
        square = np.take_along_axis(self.squares[:, : self.phases], index[:, None, :], axis=2)
        return np.asarray(np.sqrt(square.sum(axis=2)))


def points_of_window(samples_max: float, cycles: int) -> int:
    """Points per window: 2^n or 3 2^n, so many that nothing folds onto the measured orders."""
    top = cycles * ORDER_MAX + 20
    points = 1024
    while points < max(samples_max / 2 + top, 2 * top):
        points = points * 3 // 2 if points & (points - 1) == 0 else points * 4 // 3
    return points


def measure_spectra(
    samples: NDArray[np.float32],
    first: NDArray[Any],
    last: NDArray[Any],
    cycles: int,
    phases: int,
    order_max: int,
    base: int = 0,
) -> Spectra:
    """Spectra of the windows between the instants `first` and `last`, counted in samples.

    Column 0 of `samples` is sample `base`; SINC_TAPS / 2 columns are needed on either side of every
    window. Each window is worked out alone, so its result does not depend on its neighbours.
    `order_max`: see `order_limit`.
    """
    channels = len(samples)
    lines = np.empty((len(first), channels, cycles * (ORDER_MAX + 1)), np.complex128)
    peak = np.empty((len(first), channels))
    flat = np.zeros(0)
    for k in range(len(first)):
        length = float(last[k] - first[k])
        points = np.empty((channels, points_of_window(length, cycles)))
        needed = LANES * (int(length) + SINC_TAPS + 4)
        if len(flat) < needed:
            flat = np.zeros(needed)
        _resample(samples, base, float(first[k]), float(last[k]), sinc_table(), flat, points)
        lines[k] = _lines(points, cycles)
        peak[k] = np.maximum(points.max(axis=1), -points.min(axis=1))
    return Spectra(lines, cycles, phases, order_max, peak)


def spectra_of_points(
    points: FloatArray, cycles: int, phases: int, order_max: int = ORDER_MAX
) -> Spectra:
    """Spectra of synchronous windows (n, channels, points), each exactly `cycles` cycles long."""
    lines = np.array([_lines(window, cycles) for window in points])
    return Spectra(lines, cycles, phases, order_max, np.abs(points).max(axis=2))


def _lines(points: FloatArray, cycles: int) -> ComplexArray:
    """(channels, bins) rms phasors of one window."""
    lines = np.fft.rfft(points, axis=1)[:, : cycles * (ORDER_MAX + 1)]
    lines *= np.sqrt(2.0) / points.shape[1]
    lines[:, 0] *= np.sqrt(0.5)
    return np.asarray(lines)


def order_limit(sample_rate_hz: float, frequency_hz: float) -> int:
    """Highest order that this sample rate carries exactly at this frequency."""
    return int(min(ORDER_MAX, (PASSBAND * sample_rate_hz / 2) // frequency_hz))


@lru_cache(maxsize=1)
def sinc_table() -> FloatArray:
    """(1025, 24) interpolation weights; row r is for a point r / 1024 after a sample."""
    half = SINC_TAPS // 2
    fraction = np.arange(SINC_PHASES + 1)[:, None] / SINC_PHASES
    distance = np.arange(-half + 1, half + 1)[None, :] - fraction
    inside = np.sqrt(np.maximum(1.0 - (distance / half) ** 2, 0.0))
    table = np.sinc(distance) * np.i0(KAISER_BETA * inside) / np.i0(KAISER_BETA)
    return np.ascontiguousarray(table / table.sum(axis=1, keepdims=True))


@njit(cache=True, nogil=True, fastmath=FAST)
def _resample(
    samples: Any, base: Any, first: Any, last: Any, table: Any, flat: Any, out: Any
) -> Any:
    """All channels of a window at the same instants, eight at a time side by side."""
    channels, points = out.shape
    half = SINC_TAPS // 2
    weight = np.empty(SINC_TAPS)
    result = np.empty(LANES)
    stride = (last - first) / points
    low = int(first) - half
    size = int(last) + half + 1 - low
    for channel in range(channels):
        line = samples[channel, low - base : low - base + size]
        for n in range(size):
            flat[LANES * n + channel] = line[n]
    for k in range(points):
        at = first + k * stride
        whole = int(at)
        place = (at - whole) * SINC_PHASES
        row = int(place)
        part = place - row
        lower = table[row]
        upper = table[row + 1]
        for j in range(SINC_TAPS):
            weight[j] = lower[j] + part * (upper[j] - lower[j])
        near = flat[LANES * (whole - half + 1 - low) :]
        a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = 0.0
        for j in range(SINC_TAPS):
            w = weight[j]
            a0 += w * near[8 * j]
            a1 += w * near[8 * j + 1]
            a2 += w * near[8 * j + 2]
            a3 += w * near[8 * j + 3]
            a4 += w * near[8 * j + 4]
            a5 += w * near[8 * j + 5]
            a6 += w * near[8 * j + 6]
            a7 += w * near[8 * j + 7]
        result[0], result[1], result[2], result[3] = a0, a1, a2, a3
        result[4], result[5], result[6], result[7] = a4, a5, a6, a7
        for channel in range(channels):
            out[channel, k] = result[channel]
