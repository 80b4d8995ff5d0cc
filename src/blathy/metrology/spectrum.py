"""Harmonics and interharmonics of U and I after IEC 61000-4-7.

A window of 10 (12) cycles between two zero crossings of the synchronised grid is resampled to a
number of points that suits a fast Fourier transform, by the least-squares interpolation of grid
signals: the rectangular window is exact and its lines stand 5 Hz apart (f / 10). Harmonic subgroup
h: lines -1, 0, +1 around h f. Interharmonic centred subgroup h: what lies between the harmonic
subgroups h and h + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.kernels import FAST, kernel

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

ORDER_MAX: Final = 50
FRACTIONS: Final = 512  # of a sample, for which weights are tabulated
FAST_FREQUENCY: Final = 1.15
"""The highest frequency of the grid against the nominal one: 57.5 or 69 Hz."""

# (part of half the sample rate that is measured, samples that each point is made of)
DESIGNS: Final = ((0.76, 32), (0.865, 32), (0.9, 48))
PASSBAND: Final = DESIGNS[-1][0]
LINES_MARGIN: Final = 20
SIZES: Final[tuple[int, ...]] = tuple(
    sorted(int(2**a * 3**b * 5**c) for a in range(4, 14) for b in range(4) for c in range(3))
)
"""Points per window that a Fourier transform is fast with."""


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

    @cached_property
    def interharmonic_power_va(self) -> ComplexArray:
        """(n, phases, 50) P + j Q of the centred subgroups 0 to 49: the sum of their lines."""
        out = np.full((len(self), self.phases, ORDER_MAX), complex(np.nan, np.nan))
        top, step = self.order_max, self.cycles
        voltage = self.lines[:, : self.phases, : top * step]
        current = self.lines[:, self.phases : 2 * self.phases, : top * step]
        between = (voltage * current.conj()).reshape(len(self), self.phases, top, step)
        out[:, :, :top] = between[:, :, :, 2 : step - 1].sum(axis=3)
        return out

    @property
    def interharmonic_direction(self) -> NDArray[np.int64]:
        """(n, phases, 50) +1 power of the subgroup flows to the load, -1 to the grid, 0 none."""
        return np.sign(np.nan_to_num(self.interharmonic_power_va.real)).astype(np.int64)

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


@dataclass(frozen=True, slots=True, eq=False)
class Resampling:
    """How a window becomes equidistant points: `weights` (FRACTIONS + 1, taps), for `band`.

    Row r makes the point r / FRACTIONS after the sample `taps` / 2 - 1 of those it is made of.
    """

    band: float
    weights: FloatArray


def points_of_window(samples: float, cycles: int, band: float) -> int:
    """Points per window: a product of 2, 3 and 5 so large that nothing folds onto the orders.

    A line L of the samples has an image at `samples` - L. Beyond `band` the resampling does not
    suppress it: it must lie where the coarser grid of points does not fold it onto the spectrum.
    """
    top = cycles * ORDER_MAX + LINES_MARGIN
    least = max(samples * (1.0 - band / 2) + top, 2 * top)
    return next(size for size in SIZES if size >= least)


def measure_spectra(
    samples: NDArray[np.float32],
    first: NDArray[Any],
    last: NDArray[Any],
    cycles: int,
    phases: int,
    sample_rate_hz: float,
    base: int = 0,
) -> Spectra:
    """Spectra of the windows between the instants `first` and `last`, counted in samples.

    Column 0 of `samples` is sample `base`; `EDGE_GUARD` columns are needed beside every window.
    Each window is worked out alone, so its result does not depend on its neighbours. Orders that
    the sample rate does not carry (`order_limit`) are NaN.
    """
    nominal_hz = 50 if cycles == 10 else 60
    order_max = order_limit(sample_rate_hz, nominal_hz)
    resampling = resampling_of(sample_rate_hz, nominal_hz)
    channels = len(samples)
    lines = np.empty((len(first), channels, cycles * (ORDER_MAX + 1)), np.complex128)
    peak = np.empty((len(first), channels))
    weight = np.zeros(resampling.weights.shape[1])
    for k in range(len(first)):
        start, end = float(first[k]), float(last[k])
        points = np.empty((channels, points_of_window(end - start, cycles, resampling.band)))
        _resample(samples, base, start, end, resampling.weights, weight, points)
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


def order_limit(sample_rate_hz: float, nominal_hz: int) -> int:
    """Highest order that this sample rate carries at every frequency up to 57.5 (69) Hz.

    One number for the whole record, whatever the frequency of a window.
    """
    top_hz = PASSBAND * sample_rate_hz / 2
    return min(ORDER_MAX, int(top_hz // (FAST_FREQUENCY * nominal_hz)))


@lru_cache(maxsize=8)
def resampling_of(sample_rate_hz: float, nominal_hz: int) -> Resampling:
    """The shortest resampling that keeps the fiftieth order at the highest frequency."""
    needed = ORDER_MAX * FAST_FREQUENCY * nominal_hz / (sample_rate_hz / 2)
    fitting = [design for design in DESIGNS if design[0] >= needed]
    band, taps = fitting[0] if fitting else DESIGNS[-1]
    return Resampling(band, resampling_weights(sample_rate_hz, band, taps))


def resampling_weights(sample_rate_hz: float, band: float, taps: int) -> FloatArray:
    """Least-squares weights of band-limited interpolation, one row per fraction of a sample.

    Weighted by what the spectrum of a grid looks like: errors of the fundamental, whose images
    would bury small harmonics, stay near 1e-8; those of harmonics fall with their usual size, to
    1e-4 (1e-3 at the end of the widest band) of themselves.
    """
    half_rate = sample_rate_hz / 2
    omega = np.pi * np.concatenate(
        [np.linspace(0, 75 / half_rate, 120), np.linspace(75 / half_rate, band, 500),
         np.linspace(band, 0.97, 60)]
    )  # fmt: skip
    usual = np.clip((75 * np.pi / half_rate / np.maximum(omega, 1e-9)) ** 2, 1e-3, 1.0)
    usual[-60:] = 1e-6
    matrix = np.exp(1j * np.outer(omega, np.arange(-taps // 2 + 1, taps // 2 + 1)))
    target = np.exp(1j * np.outer(omega, np.arange(FRACTIONS + 1) / FRACTIONS))
    matrix *= usual[:, None]
    target *= usual[:, None]
    rows = np.concatenate([matrix.real, matrix.imag, 1e-9 * np.eye(taps)])
    goal = np.concatenate([target.real, target.imag, np.zeros((taps, FRACTIONS + 1))])
    return np.ascontiguousarray(np.linalg.lstsq(rows, goal, rcond=None)[0].T)


@kernel(fastmath=FAST)
def _resample(
    samples: Any, base: Any, first: Any, last: Any, table: Any, weight: Any, out: Any
) -> Any:
    """All channels of a window at the same instants, three at a time with the same weights."""
    channels, points = out.shape
    taps = np.uint64(table.shape[1])  # unsigned, so that the compiler vectorises
    before = table.shape[1] // 2 - 1 + base
    stride = (last - first) / points
    for k in range(points):
        at = first + k * stride
        whole = int(at)
        place = (at - whole) * FRACTIONS
        row = np.uint64(place)
        part = place - np.float64(row)
        for j in range(taps):
            lower = table[row, j]
            weight[j] = lower + part * (table[row + np.uint64(1), j] - lower)
        near = np.uint64(whole - before)
        for c in range(0, channels, 3):  # the last three may hold a channel twice
            c0 = np.uint64(c)
            c1 = np.uint64(min(c + 1, channels - 1))
            c2 = np.uint64(min(c + 2, channels - 1))
            a0 = a1 = a2 = 0.0
            for j in range(taps):
                w = weight[j]
                a0 += w * np.float64(samples[c0, near + j])
                a1 += w * np.float64(samples[c1, near + j])
                a2 += w * np.float64(samples[c2, near + j])
            out[c0, k], out[c1, k], out[c2, k] = a0, a1, a2
