"""Sinusoids as the samples of a meter: every quantity of theirs is known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blathy.metrology.connection import Wiring
from blathy.metrology.sensors import Sensor
from blathy.registers.block import Incident

Frames = NDArray[np.float64]


@dataclass(frozen=True)
class Wave:
    """`rms` at the fundamental with phase `degrees` (sine), and harmonics as
    {order: (share, degrees)}; the phase of a harmonic is its own."""

    rms: float
    degrees: float = 0.0
    harmonics: dict[int, tuple[float, float]] = field(default_factory=dict)

    def samples(self, turns: Frames) -> Frames:
        wave = np.sin(2 * np.pi * turns + np.radians(self.degrees))
        for order, (share, degrees) in self.harmonics.items():
            wave = wave + share * np.sin(2 * np.pi * order * turns + np.radians(degrees))
        return np.asarray(np.sqrt(2.0) * self.rms * wave)

    @property
    def total_rms(self) -> float:
        shares = np.array([share for share, _ in self.harmonics.values()])
        return self.rms * float(np.sqrt(1 + (shares**2).sum()))


@dataclass
class Waves:
    """`Feed` and `InputsFeed` of given waves. `change(second, frames)` may spoil a second."""

    channels: tuple[Wave, ...]
    wiring: Wiring = Wiring.THREE_PHASE_4_WIRE
    nominal_u_v: float = 230.0
    hz: float = 50.0
    sample_rate_hz: int = 6_400
    nominal_hz: int = 50
    sensors: tuple[Sensor | None, ...] = ()
    change: Callable[[int, Frames], None] | None = None
    happened: dict[int, tuple[Incident, ...]] = field(default_factory=dict)

    @property
    def phases(self) -> int:
        return self.wiring.phases

    def second(self, at_utc_s: int) -> tuple[Frames, tuple[Incident, ...]]:
        turns = (at_utc_s % 100) * self.hz + self.hz * (
            np.arange(self.sample_rate_hz) / self.sample_rate_hz
        )
        frames = np.stack([wave.samples(turns) for wave in self.channels], axis=1)
        first = frames.shape[1] - len(self.sensors)
        for place, sensor in enumerate(self.sensors, first):
            if sensor is not None:
                frames[:, place] = sensor.apply(frames[:, place], self.sample_rate_hz)
        if self.change is not None:
            self.change(at_utc_s, frames)
        return frames, self.happened.get(at_utc_s, ())


def three_phase(u_v: float, i_a: float, lag: float = 0.0, **named: Any) -> Waves:
    """A symmetrical system; the currents lag by `lag` degrees."""
    angles = (0.0, -120.0, -240.0)
    voltages = tuple(Wave(u_v, a) for a in angles)
    currents = tuple(Wave(i_a, a - lag) for a in angles)
    return Waves((*voltages, *currents), **named)
