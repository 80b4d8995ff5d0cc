"""Sensors as models for simulation, and their calibration for measuring.

A `Sensor` turns true primary samples into what an instrument with a current transformer, Rogowski
coil, shunt, voltage transformer or divider and a converter would have: ratio and phase error that
depend on the current, offset, noise, non-linearity, saturation, temperature and quantisation, still
expressed in primary volts or amperes. A `Calibration` holds the constants of one sensor, by serial
number, and undoes ratio and phase error; `calibrate` finds them from a reference.

Phase errors are in minutes of arc at the nominal frequency, positive when the output leads (as IEC
61869-2 counts a current transformer's phase displacement). They act as a time shift, so a harmonic
h is moved h times as far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MINUTES_PER_TURN: Final = 360 * 60
REFERENCE_C: Final = 23.0
TAPS: Final = 32
_KAISER_BETA: Final = 9.0
_DELAY_MAX: Final = 4.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A quantity over the share of rated rms, linear in the logarithm, flat beyond its ends."""

    points: tuple[tuple[float, float], ...] = ((1.0, 0.0),)

    def __post_init__(self) -> None:
        shares = [share for share, _ in self.points]
        if not shares or shares != sorted(set(shares)) or shares[0] <= 0:
            msg = "a curve needs points of rising, positive shares of the rated value"
            raise ValueError(msg)

    def at(self, share: float) -> float:
        """The value at that share of the rated rms."""
        shares = np.log([s for s, _ in self.points])
        values = [v for _, v in self.points]
        return float(np.interp(np.log(max(share, 1e-9)), shares, values))


@dataclass(frozen=True, slots=True)
class Converter:
    """An analogue-to-digital converter: `bits` over ± `full_scale_peak` (primary unit),
    clipping."""

    bits: int
    full_scale_peak: float

    def apply(self, samples: Floats) -> Floats:
        """Quantised and clipped samples in the same unit."""
        step = self.full_scale_peak / (1 << (self.bits - 1))
        top = (1 << (self.bits - 1)) - 1
        counts = np.clip(np.rint(samples / step), -top - 1, top)
        return np.asarray(counts * step)


@dataclass(frozen=True, slots=True)
class Sensor:
    """One sensor with its converter. `rated_rms` in the primary unit (V or A).

    `ratio_error_percent` and `phase_error_min` are curves over the share of `rated_rms`; `offset`
    and `noise_rms` in the primary unit; `cubic_percent` is the third-order error at the rated peak;
    `saturation_peak` clips before the converter; `blocks_dc` removes the mean, as a transformer
    does.
    """

    name: str
    rated_rms: float
    ratio_error_percent: Curve = Curve()
    phase_error_min: Curve = Curve()
    offset: float = 0.0
    noise_rms: float = 0.0
    cubic_percent: float = 0.0
    saturation_peak: float = float("inf")
    temperature_ppm_per_k: float = 0.0
    phase_min_per_k: float = 0.0
    blocks_dc: bool = False
    converter: Converter | None = None

    def apply(
        self,
        samples: Floats,
        sample_rate_hz: float,
        *,
        nominal_hz: float = 50.0,
        temperature_c: float = REFERENCE_C,
        rng: np.random.Generator | None = None,
    ) -> Floats:
        """What the instrument sees of true primary samples of a steady state (one block, whole
        cycles).

        The working point of the curves is the block's own rms. Noise needs `rng`; without it the
        sensor is quiet.
        """
        mean = float(samples.mean())
        signal = samples - mean if self.blocks_dc else samples
        rms = float(np.sqrt(np.mean(signal * signal)))
        if rms == 0.0:
            out = np.zeros_like(signal)
        else:
            share = rms / self.rated_rms
            warm = temperature_c - REFERENCE_C
            gain = 1.0 + self.ratio_error_percent.at(share) / 100.0
            gain *= 1.0 + self.temperature_ppm_per_k * warm * 1e-6
            lead_min = self.phase_error_min.at(share) + self.phase_min_per_k * warm
            out = gain * shifted(signal, lead_min / MINUTES_PER_TURN / nominal_hz * sample_rate_hz)
            if self.cubic_percent:
                peak = self.rated_rms * np.sqrt(2.0)
                relative = out / peak
                out = out + self.cubic_percent / 100.0 * peak * relative * relative * relative
        if np.isfinite(self.saturation_peak):
            out = np.clip(out, -self.saturation_peak, self.saturation_peak)
        out = out + self.offset
        if rng is not None and self.noise_rms:
            out = out + rng.normal(0.0, self.noise_rms, len(out))
        return self.converter.apply(out) if self.converter else np.asarray(out)

    def with_range(self, full_scale_peak: float, bits: int) -> Sensor:
        """The same sensor behind another converter."""
        return replace(self, converter=Converter(bits, full_scale_peak))


def shifted(samples: Floats, lead_samples: float) -> Floats:
    """The periodic extension of `samples` moved ahead by a fraction of a sample, exactly (FFT).

    Meant for blocks of whole cycles; energy above half the sampling rate must not be in them.
    """
    if lead_samples == 0.0:
        return samples
    spectrum = np.fft.rfft(samples)
    turns = np.arange(len(spectrum)) * lead_samples / len(samples)
    return np.asarray(np.fft.irfft(spectrum * np.exp(2j * np.pi * turns), len(samples)))


class FractionalDelay:
    """A streaming delay of `TAPS`/2 samples plus a chosen, possibly negative, number of samples
    (windowed sinc, Kaiser).

    Channels that go through instances with different fractions stay aligned among each other to
    within that fraction; the flat part of the pass band ends near 0.4 of the sampling rate.
    """

    def __init__(self, fraction: float) -> None:
        if abs(fraction) > _DELAY_MAX:
            msg = f"a delay is at most {_DELAY_MAX} samples either way, not {fraction:.2f}"
            raise ValueError(msg)
        position = np.arange(TAPS) - TAPS // 2 - fraction
        half = TAPS / 2 - _DELAY_MAX
        window = np.i0(_KAISER_BETA * np.sqrt(np.maximum(1 - (position / half) ** 2, 0)))
        taps = np.sinc(position) * window
        self._taps: Floats = taps / taps.sum()
        self._tail: Floats = np.zeros(TAPS - 1)

    def retuned(self, fraction: float) -> FractionalDelay:
        """The same stream from here on, delayed by another fraction."""
        other = FractionalDelay(fraction)
        other._tail = self._tail
        return other

    def process(self, samples: Floats) -> Floats:
        """As many samples out as in; any cut of the stream gives the same output."""
        joined = np.concatenate([self._tail, samples])
        self._tail = joined[len(joined) - (TAPS - 1) :]
        return np.asarray(np.convolve(joined, self._taps, mode="valid"))


# --- calibration ---


@dataclass(frozen=True, slots=True)
class CalibrationPoint:
    """At `share` of the rated current: `ratio` (indicated over true) and the lead in minutes of
    arc."""

    share: float
    ratio: float
    phase_min: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The constants of one sensor, by serial number: what production measured and the database
    keeps.

    `date` and `station` say when and where; they are carried, not used.
    """

    serial: str
    rated_rms: float
    points: tuple[CalibrationPoint, ...]
    date: str = ""
    station: str = ""
    _ratio: Curve = field(init=False, repr=False)
    _phase: Curve = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ratio", Curve(tuple((p.share, p.ratio) for p in self.points)))
        object.__setattr__(
            self, "_phase", Curve(tuple((p.share, p.phase_min) for p in self.points))
        )

    def ratio_at(self, rms: float) -> float:
        """Indicated over true at that indicated rms."""
        return self._ratio.at(rms / self.rated_rms)

    def phase_min_at(self, rms: float) -> float:
        """Lead of the indication in minutes of arc at that indicated rms."""
        return self._phase.at(rms / self.rated_rms)

    def correct(self, samples: Floats, sample_rate_hz: float, nominal_hz: float = 50.0) -> Floats:
        """A block of whole cycles with ratio and phase error undone."""
        rms = float(np.sqrt(np.mean(samples * samples)))
        lag = -self.phase_min_at(rms) / MINUTES_PER_TURN / nominal_hz * sample_rate_hz
        return shifted(samples, lag) / self.ratio_at(rms)

    def corrector(
        self, rms: float, sample_rate_hz: float, nominal_hz: float = 50.0
    ) -> tuple[float, FractionalDelay]:
        """Factor and streaming delay for a stream whose level is about `rms`. Reference channels
        must pass a `FractionalDelay(0)` so that all stay aligned."""
        lead = self.phase_min_at(rms) / MINUTES_PER_TURN / nominal_hz * sample_rate_hz
        return 1.0 / self.ratio_at(rms), FractionalDelay(lead)


def calibrate(
    serial: str,
    rated_rms: float,
    runs: Sequence[tuple[Floats, Floats]],
    sample_rate_hz: float,
    nominal_hz: float = 50.0,
    *,
    date: str = "",
    station: str = "",
) -> Calibration:
    """Find the constants from runs of (reference samples, indicated samples), one per current
    level.

    Both of a run are simultaneous and whole cycles of `nominal_hz` long; ratio and phase come from
    the fundamentals. Raise ValueError for a run without signal or of another length.
    """
    points = []
    for reference, indicated in runs:
        if len(reference) != len(indicated):
            msg = "reference and indication must be sampled together, with the same length"
            raise ValueError(msg)
        true = fundamental(reference, sample_rate_hz, nominal_hz)
        seen = fundamental(indicated, sample_rate_hz, nominal_hz)
        if abs(true) < 1e-6 * rated_rms:
            msg = "the reference carries no signal; drive the current first"
            raise ValueError(msg)
        quotient = seen / true
        lead_min = float(np.angle(quotient)) / (2 * np.pi) * MINUTES_PER_TURN
        rms = float(np.sqrt(np.mean(indicated * indicated)))
        points.append(CalibrationPoint(rms / rated_rms, float(abs(quotient)), lead_min))
    points.sort(key=lambda p: p.share)
    return Calibration(serial, rated_rms, tuple(points), date, station)


def fundamental(samples: Floats, sample_rate_hz: float, nominal_hz: float) -> complex:
    """The fundamental's rms phasor over a block of whole cycles (cosine reference)."""
    cycles = len(samples) * nominal_hz / sample_rate_hz
    if abs(cycles - round(cycles)) > 1e-6 or cycles < 1:
        msg = f"{len(samples)} samples are {cycles:.4f} cycles; use whole ones"
        raise ValueError(msg)
    angle = 2 * np.pi * nominal_hz / sample_rate_hz * np.arange(len(samples))
    return complex(np.mean(samples * np.exp(-1j * angle)) * np.sqrt(2.0))


# --- usual sensors ---


def current_transformer(
    rated_a: float, *, accuracy_percent: float = 0.5, phase_min: float = 30.0
) -> Sensor:
    """A current transformer whose errors grow towards small currents, as IEC 61869-2's classes
    allow."""
    low = 1.5
    ratio = (
        (0.05, -low * accuracy_percent),
        (0.2, -0.75 * accuracy_percent),
        (1.0, -accuracy_percent / 2),
    )
    phase = ((0.05, low * phase_min), (0.2, 0.75 * phase_min), (1.0, phase_min / 2))
    return Sensor(
        f"CT {rated_a:g} A", rated_a, Curve(ratio), Curve(phase),
        saturation_peak=rated_a * 1.8 * np.sqrt(2.0), blocks_dc=True, temperature_ppm_per_k=-15.0,
    )  # fmt: skip


def rogowski(rated_a: float) -> Sensor:
    """A Rogowski coil with its integrator: linear, hardly any saturation, noise and temperature
    drift."""
    return Sensor(
        f"Rogowski coil {rated_a:g} A", rated_a, Curve(((1.0, 0.3),)), Curve(((1.0, 8.0),)),
        noise_rms=rated_a * 2e-5, temperature_ppm_per_k=50.0, blocks_dc=True,
    )  # fmt: skip


def shunt(rated_a: float) -> Sensor:
    """A shunt: no phase error to speak of, passes d.c., warms with the temperature."""
    return Sensor(
        f"shunt {rated_a:g} A", rated_a, Curve(((1.0, 0.1),)), Curve(((1.0, 0.5),)),
        offset=rated_a * 5e-6, noise_rms=rated_a * 1e-5, temperature_ppm_per_k=30.0,
    )  # fmt: skip


def divider(rated_v: float) -> Sensor:
    """A resistive voltage divider."""
    return Sensor(
        f"divider {rated_v:g} V", rated_v, Curve(((1.0, 0.05),)), Curve(((1.0, 1.0),)),
        noise_rms=rated_v * 1e-5, temperature_ppm_per_k=10.0,
    )  # fmt: skip


def voltage_transformer(rated_v: float) -> Sensor:
    """An inductive voltage transformer of class 0.2 (IEC 61869-3)."""
    return Sensor(
        f"VT {rated_v:g} V", rated_v, Curve(((0.8, -0.1), (1.2, -0.15))),
        Curve(((0.8, 4.0), (1.2, 5.0))), blocks_dc=True,
        saturation_peak=rated_v * 1.5 * np.sqrt(2.0),
    )  # fmt: skip


IDEAL: Final = Sensor("ideal", 1.0)
"""No error at all: what the algorithm alone does."""
