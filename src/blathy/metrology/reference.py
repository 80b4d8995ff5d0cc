"""The oracle: the same quantities, written as their definitions read, slow and in double precision.

Nothing here is used for measuring. It shares no code with the engine: windows are resampled with a
long kernel to many equidistant points, where the mean over points is the mean over time; spectra
are sums over those points; the flickermeter multiplies by the analogue transfer functions in the
frequency domain and sorts. Tests compare the engine with it where no closed form exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

HALF_TAPS: Final = 64
KAISER_BETA: Final = 12.0
POINTS_PER_CYCLE: Final = 512


def interpolate(samples: FloatArray, instants: FloatArray) -> FloatArray:
    """The band-limited signal between its samples (Kaiser-windowed sinc, 128 points)."""
    first = np.floor(instants).astype(np.int64) - HALF_TAPS + 1
    n = first[:, None] + np.arange(2 * HALF_TAPS)
    distance = n - instants[:, None]
    inside = np.sqrt(np.maximum(1.0 - (distance / HALF_TAPS) ** 2, 0.0))
    kernel = np.sinc(distance) * np.i0(KAISER_BETA * inside) / np.i0(KAISER_BETA)
    inside_record = (n >= 0) & (n < len(samples))
    known = np.where(inside_record, samples[np.clip(n, 0, len(samples) - 1)], 0.0)
    return np.asarray((kernel * known).sum(axis=1))


def window_points(samples: FloatArray, start: float, end: float, cycles: int) -> FloatArray:
    """The window from `start` to `end` (in samples) as equidistant points, 512 per cycle."""
    count = POINTS_PER_CYCLE * cycles
    return interpolate(samples, start + (end - start) * np.arange(count) / count)


@dataclass(frozen=True, slots=True)
class PhaseReading:
    """One phase over one window of whole cycles."""

    u_v: float
    i_a: float
    p_w: float
    q1_var: float
    s_va: float
    u1_v: complex
    i1_a: complex


def read_phase(u: FloatArray, i: FloatArray, start: float, end: float, cycles: int) -> PhaseReading:
    """Rms, P, Q1 and S of one phase from the definitions."""
    u_points = window_points(u, start, end, cycles)
    i_points = window_points(i, start, end, cycles)
    u1, i1 = harmonic_phasor(u_points, cycles, 1), harmonic_phasor(i_points, cycles, 1)
    u_v, i_a = rms(u_points), rms(i_points)
    power = u1 * i1.conjugate()
    return PhaseReading(
        u_v, i_a, float(np.mean(u_points * i_points)), power.imag, u_v * i_a, u1, i1
    )


def rms(points: FloatArray) -> float:
    """Root of the mean square of equidistant points over whole cycles."""
    return float(np.sqrt(np.mean(points**2)))


def line_phasor(points: FloatArray, line: int) -> complex:
    """Rms phasor of one spectral line: `line` periods in the window."""
    turn = np.exp(-2j * np.pi * line * np.arange(len(points)) / len(points))
    mean = complex(np.mean(points * turn))
    return mean if line == 0 else np.sqrt(2.0) * mean


def harmonic_phasor(points: FloatArray, cycles: int, order: int) -> complex:
    """Rms phasor of a harmonic over a window of `cycles` cycles."""
    return line_phasor(points, order * cycles)


def harmonic_subgroup(points: FloatArray, cycles: int, order: int) -> float:
    """Rms of the harmonic subgroup (IEC 61000-4-7): the line and its two neighbours."""
    lines = [line_phasor(points, order * cycles + offset) for offset in (-1, 0, 1)]
    return float(np.sqrt(sum(abs(line) ** 2 for line in lines)))


def interharmonic_subgroup(points: FloatArray, cycles: int, order: int) -> float:
    """Rms of the interharmonic centred subgroup between `order` and the next harmonic."""
    lines = [line_phasor(points, order * cycles + offset) for offset in range(2, cycles - 1)]
    return float(np.sqrt(sum(abs(line) ** 2 for line in lines)))


def symmetrical(phasors: Sequence[complex]) -> tuple[complex, complex, complex]:
    """Zero, positive and negative sequence of three phasors."""
    x1, x2, x3 = phasors
    a = complex(np.exp(2j * np.pi / 3))
    return (x1 + x2 + x3) / 3, (x1 + a * x2 + a * a * x3) / 3, (x1 + a * a * x2 + a * x3) / 3


def effective_apparent_va(
    u: Sequence[FloatArray], i: Sequence[FloatArray], start: float, end: float, cycles: int
) -> float:
    """IEEE 1459 Se = 3 Ue Ie of a four-wire system, from its definition."""
    voltages = [window_points(x, start, end, cycles) for x in u]
    currents = [window_points(x, start, end, cycles) for x in i]
    neutral = rms(np.sum(currents, axis=0))
    phase = sum(rms(x) ** 2 for x in voltages)
    line = sum(rms(voltages[a] - voltages[b]) ** 2 for a, b in ((0, 1), (1, 2), (2, 0)))
    u_e = np.sqrt((3 * phase + line) / 18)
    i_e = np.sqrt((sum(rms(x) ** 2 for x in currents) + neutral**2) / 3)
    return float(3 * u_e * i_e)


def quadrants(p: float, q: float) -> tuple[float, float, float, float]:
    """(R1, R2, R3, R4): where the reactive power counts."""
    if q >= 0:
        return (q, 0.0, 0.0, 0.0) if p >= 0 else (0.0, q, 0.0, 0.0)
    return (0.0, 0.0, 0.0, -q) if p >= 0 else (0.0, 0.0, -q, 0.0)


def instantaneous_flicker(u: FloatArray, sample_rate_hz: float) -> FloatArray:
    """P_inst of a 230 V / 50 Hz lamp; the record is taken as periodic.

    Works in the frequency domain with the analogue transfer functions of IEC 61000-4-15.
    """
    square = u**2 / np.mean(u**2)
    s = 2j * np.pi * np.fft.rfftfreq(len(u), 1 / sample_rate_hz)
    weighted = np.fft.irfft(
        np.fft.rfft(square) * lamp_eye_response(s.astype(np.complex128)), len(u)
    )
    slow = np.fft.irfft(np.fft.rfft(weighted**2) / (1 + 0.3 * s), len(u))
    reference_s = 2j * np.pi * 8.8
    amplitude = 0.0025 * abs(lamp_eye_response(np.array([reference_s], np.complex128))[0])
    peak = amplitude**2 / 2 * (1 + 1 / abs(1 + 0.3 * 2 * reference_s))
    return np.asarray(slow / peak)


def lamp_eye_response(s: ComplexArray) -> ComplexArray:
    """High pass 0.05 Hz, sixth-order Butterworth 35 Hz and the weighting filter, 230 V lamp."""
    w = 2 * np.pi
    response = s / (s + w * 0.05)
    for k in range(3):
        x = s / (w * 35.0)
        response = response / (x * x + 2 * np.cos(np.pi * (2 * k + 1) / 12) * x + 1)
    k_lamp, damping = 1.74802, w * 4.05981
    w1, w2, w3, w4 = w * 9.15494, w * 2.27979, w * 1.22535, w * 21.9
    weighting = k_lamp * w1 * s / (s * s + 2 * damping * s + w1 * w1)
    return np.asarray(response * weighting * (1 + s / w2) / ((1 + s / w3) * (1 + s / w4)))


def pst(p_inst: FloatArray) -> float:
    """Pst from all values of P_inst, by sorting."""

    def exceeded(*percents: float) -> float:
        return float(np.mean(np.percentile(p_inst, [100 - p for p in percents])))

    return float(
        np.sqrt(
            0.0314 * exceeded(0.1)
            + 0.0525 * exceeded(0.7, 1.0, 1.5)
            + 0.0657 * exceeded(2.2, 3.0, 4.0)
            + 0.28 * exceeded(6, 8, 10, 13, 17)
            + 0.08 * exceeded(30, 50, 80)
        )
    )
