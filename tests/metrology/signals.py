"""Test signals whose quantities follow from closed forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass
class Tones:
    """A sum of harmonics: order -> (rms, phase of the sine in rad)."""

    parts: dict[float, tuple[float, float]] = field(default_factory=dict)

    def at(self, t: FloatArray, f_hz: float) -> FloatArray:
        out = np.zeros(len(t))
        for order, (rms, phase) in self.parts.items():
            out += rms * np.sqrt(2) * np.sin(2 * np.pi * order * f_hz * t + phase)
        return out

    def rms(self) -> float:
        return float(np.sqrt(sum(rms**2 for rms, _ in self.parts.values())))

    def phasor(self, order: float = 1) -> complex:
        rms, phase = self.parts[order]
        return complex(rms * np.exp(1j * phase))

    def power(self, current: Tones) -> float:
        return float(
            sum(
                rms * current.parts[order][0] * np.cos(phase - current.parts[order][1])
                for order, (rms, phase) in self.parts.items()
                if order in current.parts
            )
        )


@dataclass
class System:
    """Voltages and currents of a point of supply."""

    voltages: list[Tones]
    currents: list[Tones]
    f_hz: float

    def frames(self, rate_hz: float, duration_s: float, start_s: float = 0.0) -> FloatArray:
        t = start_s + np.arange(round(rate_hz * duration_s)) / rate_hz
        return np.stack([x.at(t, self.f_hz) for x in (*self.voltages, *self.currents)], axis=1)


def random_system(
    rng: np.random.Generator,
    f_hz: float,
    phases: int = 3,
    order_max: int = 50,
    u_v: float = 230.0,
    i_a: float = 5.0,
) -> System:
    """Unsymmetrical, distorted up to `order_max`, with any load angle in all four quadrants."""

    def tones(rms: float, phase: float, strength: float) -> Tones:
        parts: dict[float, tuple[float, float]] = {1: (rms, phase)}
        for order in range(2, order_max + 1):
            share = strength * rng.uniform(0.05, 1.0) / order**0.7
            parts[order] = (rms * share, rng.uniform(0, 2 * np.pi))
        return Tones(parts)

    start = rng.uniform(0, 2 * np.pi)
    voltages, currents = [], []
    for k in range(phases):
        angle = start - 2 * np.pi / 3 * k + rng.uniform(-0.03, 0.03)
        voltages.append(tones(u_v * rng.uniform(0.95, 1.05), angle, 0.05))
        currents.append(tones(i_a * rng.uniform(0.5, 1.5), rng.uniform(0, 2 * np.pi), 0.3))
    return System(voltages, currents, f_hz)


def symmetrical(
    u_v: float = 230.0, i_a: float = 5.0, phi: float = 0.0, f_hz: float = 50.0, order: int = 1
) -> System:
    """Three phases, sinusoidal; `order` -1 reverses the phase sequence."""
    turn = [-2 * np.pi / 3 * k * order for k in range(3)]
    return System(
        [Tones({1: (u_v, a)}) for a in turn], [Tones({1: (i_a, a - phi)}) for a in turn], f_hz
    )


def cut_randomly(rng: np.random.Generator, frames: NDArray[Any], longest: int) -> list[Any]:
    """The frames in pieces of random length, some of them empty."""
    pieces, at = [], 0
    while at < len(frames):
        n = int(rng.integers(0, longest))
        pieces.append(frames[at : at + n])
        at += n
    return pieces
