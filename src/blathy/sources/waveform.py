"""Waveforms in real time: samples of three-phase U and I that carry the power of an interval
source.

The samples go through the same metrology that measures recordings and live hardware; what the
registers see is measured, not computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blathy.quantity import Phase
from blathy.registers.block import INSTANT_INDEX, PHASES, Block
from blathy.sources.appliances import ORDERS
from blathy.sources.background import U_HARMONICS


@dataclass(frozen=True, slots=True)
class Dip:
    """A voltage that leaves its value for part of a second: `phase` TOTAL means all phases.

    `begin` and `end` are shares of the second, `residual_v` the rms voltage between them.
    """

    phase: Phase
    begin: float
    end: float
    residual_v: float


@dataclass(slots=True)
class WaveformSynthesizer:
    """Draws one second after the other of u and i with continuous phase.

    `sample_rate_hz` is a whole number. Channels: u1 u2 u3 i1 i2 i3 in V and A, float32.
    """

    sample_rate_hz: int = 6_400
    phases: int = 3
    _angle_turns: float = 0.0

    def second(
        self,
        block: Block,
        row: int = 0,
        dips: tuple[Dip, ...] = (),
        harmonics_a: NDArray[np.complexfloating[Any, Any]] | None = None,
    ) -> NDArray[np.float32]:
        """One second of samples, (channels, sample_rate_hz), for the interval `row` of `block`.

        P and Q per phase are carried by the fundamental exactly. `harmonics_a` (3, ORDERS): the
        current's harmonics in A rms against the same multiple of the voltage's angle, the shape
        that the appliances in use give it; without them the interval's THD is split over the orders
        that the voltage has none of.
        """
        instant = block.instant[row]
        n = self.sample_rate_hz
        frequency_hz = instant[INSTANT_INDEX[("f_mhz", PHASES[0])]] / 1000.0 or 50.0
        turns = self._angle_turns + frequency_hz * np.arange(n) / n
        self._angle_turns = (self._angle_turns + frequency_hz) % 1.0
        samples = np.zeros((2 * self.phases, n), dtype=np.float32)
        for k, phase in enumerate(PHASES[1 : 1 + self.phases]):
            volts = instant[INSTANT_INDEX[("u_mv", phase)]] / 1000.0
            if volts <= 0:
                continue
            theta = 2 * np.pi * (turns - k / 3.0)
            background = np.sqrt(1.0 + sum(r * r for _, r, _ in U_HARMONICS))
            fundamental = volts / background
            u = np.sin(theta)
            for order, ratio, degrees in U_HARMONICS:
                u = u + ratio * np.sin(order * theta + np.radians(degrees))
            samples[k] = np.sqrt(2.0) * fundamental * u
            for dip in dips:
                if dip.phase in {Phase.TOTAL, phase}:
                    samples[k, int(dip.begin * n) : int(dip.end * n)] *= dip.residual_v / volts
            samples[self.phases + k] = self._current(
                instant, phase, fundamental, theta, None if harmonics_a is None else harmonics_a[k]
            )
        return samples

    def _current(
        self,
        instant: NDArray[np.int64],
        phase: int,
        fundamental_v: float,
        theta: NDArray[np.float64],
        harmonics_a: NDArray[np.complexfloating[Any, Any]] | None,
    ) -> NDArray[np.float64]:
        power = instant[INSTANT_INDEX[("p_mw", PHASES[phase])]] / 1000.0
        reactive = instant[INSTANT_INDEX[("q_mvar", PHASES[phase])]] / 1000.0
        thd = instant[INSTANT_INDEX[("thd_i_milli_percent", PHASES[phase])]] / 100_000.0
        amps = np.hypot(power, reactive) / fundamental_v
        wave = (power * np.sin(theta) - reactive * np.cos(theta)) / fundamental_v
        if harmonics_a is not None:
            for order, each in zip(ORDERS, harmonics_a.tolist(), strict=True):
                if each:
                    angle = order * (theta - np.pi / 2) + np.angle(each)  # theta counts sines
                    wave = wave + abs(each) * np.cos(angle)
            return np.asarray(np.sqrt(2.0) * wave, dtype=np.float64)
        used = {order for order, _, _ in U_HARMONICS}
        free = [order for order in ORDERS if order not in used]  # no power with the voltage's own
        share = amps * thd / np.sqrt(len(free))
        for order in free:
            wave = wave + share * np.sin(order * theta + 0.7 * order)
        return np.asarray(np.sqrt(2.0) * wave, dtype=np.float64)
