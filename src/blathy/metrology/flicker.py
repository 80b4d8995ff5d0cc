"""Flickermeter after IEC 61000-4-15: instantaneous sensation P_inst, Pst and Plt.

The squared voltage, normalised by its own slow mean, passes the demodulation filters, the
lamp-eye-brain weighting, squaring and the 300 ms mean. The classifier counts logarithmic classes,
128 per octave, so its memory does not grow with time. P_inst is scaled so that the reference
modulation (a sine at 8.8 Hz, 0.250 % for a 230 V lamp) has a maximum of 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.kernels import kernel, part

FloatArray = NDArray[np.float64]

FLICKER_RATE_HZ: Final = 1_200.0  # the squared voltage is averaged down to about this rate
NORMALISING_S: Final = 27.3  # time constant: 10 % to 90 % in one minute
CLASSES_PER_OCTAVE: Final = 128
OCTAVE_MIN, OCTAVE_MAX = -20, 16
CLASSES: Final = CLASSES_PER_OCTAVE * (OCTAVE_MAX - OCTAVE_MIN)
SETTLE_S: Final = 20.0
"""The filters need this long after the start; P_inst before is not classified."""


@dataclass(frozen=True, slots=True)
class Lamp:
    """Weighting filter of one reference lamp."""

    k: float
    damping_hz: float
    f1_hz: float
    f2_hz: float
    f3_hz: float
    f4_hz: float
    lowpass_hz: float
    reference_percent: float  # sinusoidal ΔU/U at 8.8 Hz with P_inst,max = 1


LAMPS: Final = {
    230: Lamp(1.74802, 4.05981, 9.15494, 2.27979, 1.22535, 21.9, 35.0, 0.250),
    120: Lamp(1.6357, 4.167375, 9.077169, 2.939902, 1.394468, 17.31512, 42.0, 0.321),
}
PERCENTILES: Final = (
    (0.1,),
    (0.7, 1.0, 1.5),
    (2.2, 3.0, 4.0),
    (6.0, 8.0, 10.0, 13.0, 17.0),
    (30.0, 50.0, 80.0),
)
WEIGHTS: Final = (0.0314, 0.0525, 0.0657, 0.28, 0.08)


class Flickermeter:
    """P_inst of every channel from a stream of voltage samples; classified until `read_pst`."""

    def __init__(
        self, sample_rate_hz: float, channels: int, nominal_hz: int = 50, lamp_v: int = 230
    ) -> None:
        self.decimation = max(1, round(sample_rate_hz / FLICKER_RATE_HZ))
        self.rate_hz = sample_rate_hz / self.decimation
        self._sections, self._gain = design_filters(self.rate_hz, LAMPS[lamp_v])
        self._state = np.zeros((channels, len(self._sections), 2))
        self._carry = np.zeros((channels, 4))  # Σu² of the open group, mean square, P_inst, max
        self._counts = np.zeros((channels, CLASSES + 2), np.int64)
        self._place = np.zeros(2, np.int64)  # samples in the open group, values since the start
        self._settle = int(SETTLE_S * self.rate_hz)
        self._mean_over = round(self.rate_hz)
        self.channels = channels
        self.nominal_hz = nominal_hz

    def push(self, samples: NDArray[np.float32], first: int, last: int) -> None:
        """Take the columns `first` … `last` - 1 of `samples` (channels, …)."""
        _flicker(
            samples, first, last, self.decimation, 1.0 / (NORMALISING_S * self.rate_hz),
            self._sections, self._gain, self._settle, self._mean_over, self._state, self._carry,
            self._counts, self._place,
        )  # fmt: skip

    @property
    def p_inst(self) -> FloatArray:
        """(channels,) the latest instantaneous flicker sensation."""
        return self._carry[:, 2].copy()

    @property
    def p_inst_max(self) -> FloatArray:
        """(channels,) its maximum since the last `read_pst`."""
        return self._carry[:, 3].copy()

    def read_pst(self) -> FloatArray:
        """(channels,) Pst of what has been classified since the last call; NaN if nothing was."""
        pst = np.array([pst_of_classes(counts) for counts in self._counts])
        self._counts[:] = 0
        self._carry[:, 3] = 0.0
        return pst


def plt(pst: FloatArray) -> float:
    """Plt: the cubic mean of Pst values (12 of them for two hours); NaN ones are left out."""
    known = np.asarray(pst)[np.isfinite(pst)]
    return float(np.cbrt(np.mean(known**3))) if len(known) else float("nan")


def pst_of_percentiles(p: FloatArray) -> float:
    """Pst of the smoothed levels P0.1, P1s, P3s, P10s, P50s."""
    return float(np.sqrt(np.dot(WEIGHTS, p)))


def pst_of_classes(counts: NDArray[np.int64]) -> float:
    """Pst of a histogram of logarithmic classes, interpolated within a class."""
    total = int(counts.sum())
    if total == 0:
        return float("nan")
    exceeded = np.concatenate([[0], np.cumsum(counts[::-1])]) / total * 100.0
    edges = (np.arange(CLASSES + 3) - 1) / CLASSES_PER_OCTAVE + OCTAVE_MIN
    falling = edges[::-1]
    smoothed = []
    for group in PERCENTILES:
        levels = [2.0 ** np.interp(percent, exceeded, falling) for percent in group]
        smoothed.append(float(np.mean(levels)))
    return pst_of_percentiles(np.array(smoothed))


def design_filters(rate_hz: float, lamp: Lamp) -> tuple[FloatArray, float]:
    """Second-order sections (b0 b1 b2 a1 a2) up to the squaring, the 300 ms mean, and the gain."""
    w = 2 * np.pi
    analogue = [((1.0, 0.0), (1.0, w * 0.05))]
    cut = w * lamp.lowpass_hz
    for k in range(3):
        damping = 2 * np.cos(np.pi * (2 * k + 1) / 12)
        analogue.append(((cut**2,), (1.0, damping * cut, cut**2)))  # type: ignore[arg-type]
    w1, w2, w3, w4 = (w * f for f in (lamp.f1_hz, lamp.f2_hz, lamp.f3_hz, lamp.f4_hz))
    damping = 2 * w * lamp.damping_hz
    analogue.append(((lamp.k * w1, 0.0), (1.0, damping, w1**2)))  # type: ignore[arg-type]
    last = w3 * w4 / w2
    analogue.append(((last, last * w2), (1.0, w3 + w4, w3 * w4)))  # type: ignore[arg-type]
    analogue.append(((1.0,), (0.3, 1.0)))  # type: ignore[arg-type]
    # Each filter keeps its place at the frequency where its slope matters.
    exact_hz = [8.8, *[lamp.lowpass_hz] * 3, 8.8, 8.8, 0.5]
    sections = np.array(
        [_bilinear(b, a, rate_hz, at) for (b, a), at in zip(analogue, exact_hz, strict=True)]
    )
    z = np.exp(1j * w * 8.8 / rate_hz)
    weighted = lamp.reference_percent / 100 * np.abs(np.prod(_response(sections[:-1], z)))
    ripple = np.abs(_response(sections[-1:], z * z)[0])
    return sections, float(1.0 / (0.5 * weighted**2 * (1.0 + ripple)))


def _bilinear(
    b: tuple[float, ...], a: tuple[float, ...], rate_hz: float, exact_hz: float
) -> tuple[float, float, float, float, float]:
    """Digital section of an analogue one of up to second order, highest power of s first.

    The two responses are equal at `exact_hz`.
    """
    b0, b1, b2 = (0.0,) * (3 - len(b)) + tuple(b)
    a0, a1, a2 = (0.0,) * (3 - len(a)) + tuple(a)
    c = 2 * np.pi * exact_hz / np.tan(np.pi * exact_hz / rate_hz)
    if a0 == 0.0 and b0 == 0.0:
        scale = a1 * c + a2
        return (b1 * c + b2) / scale, (b2 - b1 * c) / scale, 0.0, (a2 - a1 * c) / scale, 0.0
    scale = a0 * c * c + a1 * c + a2
    return (
        (b0 * c * c + b1 * c + b2) / scale,
        2.0 * (b2 - b0 * c * c) / scale,
        (b0 * c * c - b1 * c + b2) / scale,
        2.0 * (a2 - a0 * c * c) / scale,
        (a0 * c * c - a1 * c + a2) / scale,
    )


def _response(sections: FloatArray, z: complex) -> NDArray[np.complex128]:
    b0, b1, b2, a1, a2 = sections.T
    return np.asarray((b0 + b1 / z + b2 / z**2) / (1 + a1 / z + a2 / z**2))


@kernel(fastmath={"contract", "nsz"})
def _flicker(
    samples: Any,
    first: Any,
    last: Any,
    decimation: Any,
    smoothing: Any,
    sections: Any,
    gain: Any,
    settle: Any,
    mean_over: Any,
    state: Any,
    carry: Any,
    counts: Any,
    place: Any,
) -> Any:
    channels = state.shape[0]
    n_sections = len(sections)
    for channel in range(channels):
        group = place[0]
        values = place[1]
        total, mean, level, top = (
            carry[channel, 0], carry[channel, 1], carry[channel, 2], carry[channel, 3],
        )  # fmt: skip
        for n in range(first, last):
            x = np.float64(samples[channel, n])
            total += x * x
            group += 1
            if group < decimation:
                continue
            square = total / decimation
            total = 0.0
            group = 0
            # The first second averages evenly, so the slow mean starts where the voltage is.
            step = 1.0 / (values + 1) if values < mean_over else smoothing
            mean += (square - mean) * step
            y = square / mean - 1.0 if mean > 1e-9 else 0.0
            for j in range(n_sections):
                if j == n_sections - 1:
                    y = y * y
                out = sections[j, 0] * y + state[channel, j, 0]
                state[channel, j, 0] = (
                    sections[j, 1] * y - sections[j, 3] * out + state[channel, j, 1]
                )
                state[channel, j, 1] = sections[j, 2] * y - sections[j, 4] * out
                y = out
            level = gain * y
            values += 1
            if values > settle:
                top = max(top, level)
                counts[channel, _class_of(level)] += 1
        carry[channel, 0], carry[channel, 1], carry[channel, 2], carry[channel, 3] = (
            total, mean, level, top,
        )  # fmt: skip
        if channel == channels - 1:
            place[0] = group
            place[1] = values


@part()
def _class_of(level: Any) -> Any:
    if not level > 2.0**OCTAVE_MIN:
        return 0
    place = int((np.log2(level) - OCTAVE_MIN) * CLASSES_PER_OCTAVE)
    return min(place, CLASSES) + 1
