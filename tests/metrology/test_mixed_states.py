"""The mixed states S2 and S3 (distortion, interharmonics, flicker, unbalance, other frequency), and
a frequency that moves. Limits: class A of IEC 61000-4-30."""

from __future__ import annotations

import numpy as np
import pytest

from blathy.metrology import Connection, Engine, Measuring
from tests.metrology.signals import FloatArray

RATE = 12_800
UDIN_V = 230.0

# name: f Hz, voltages of the phases, (order, share, angle), interharmonic, flicker %, cpm
STATES = {
    "S2": (49.0, (0.73, 0.80, 0.87), ((3, 0.10, 0.0), (5, 0.05, 0.0), (29, 0.05, 0.0)), 7.5, 0, 0),
    "S3": (
        51.0, (1.52, 1.40, 1.28), ((7, 0.10, np.pi), (13, 0.05, 0.0), (25, 0.05, 0.0)), 3.5, 0, 0,
    ),
    "S2 with flicker": (49.0, (0.73, 0.80, 0.87), ((3, 0.10, 0.0),), 7.5, 0.894, 39),
    "S3 with flicker": (51.0, (1.52, 1.40, 1.28), ((7, 0.10, np.pi),), 3.5, 4 * 0.722, 110),
}  # fmt: skip
U2_PERCENT = {"S2": 5.0518, "S3": 4.9487}


def frames_of(name: str, duration_s: float) -> FloatArray:
    f_hz, levels, harmonics, interharmonic, percent, cpm = STATES[name]
    t = np.arange(round(RATE * duration_s)) / RATE
    columns = []
    for phase, level in enumerate(levels):
        angle = 2 * np.pi * f_hz * t - 2 * np.pi / 3 * phase
        wave = np.sin(angle)
        for order, share, turn in harmonics:
            wave += share * np.sin(order * angle + turn)
        wave += 0.01 * np.sin(interharmonic * angle)
        columns.append(UDIN_V * level * np.sqrt(2) * wave)
    if cpm:
        side = np.where(np.floor(t * cpm / 60) % 2 == 0, 1.0, -1.0)
        columns = [c * (1 + percent / 200 * side) for c in columns]
    return np.stack([*columns, *columns], axis=1)


@pytest.mark.parametrize("name", list(STATES))
def test_class_a_holds_in_the_mixed_states(name: str) -> None:
    f_hz, levels, harmonics, interharmonic, _, cpm = STATES[name]
    engine = Engine(Connection(RATE), Measuring(flicker=False))
    parts = [engine.push(frames_of(name, 12.0)), engine.finish()]
    blocks = parts[0].blocks
    assert blocks is not None
    assert blocks.spectra is not None
    frequency = next(f.frequency_hz for part in parts for f in part.frequencies)
    assert frequency == pytest.approx(f_hz, abs=0.010)
    share = np.sqrt(1 + sum(s**2 for _, s, _ in harmonics) + 0.01**2)
    tolerance = 1e-3 * UDIN_V
    if not cpm:
        expected = UDIN_V * np.array(levels) * share
        assert np.abs(blocks.quantities.u_v - expected).max() < 0.01 * tolerance
        u2 = blocks.quantities.u_components.negative_percent
        assert np.abs(u2 - U2_PERCENT[name]).max() < 1e-3
        assert np.abs(blocks.quantities.u_components.zero_percent - U2_PERCENT[name]).max() < 1e-3
        inter = blocks.spectra.interharmonic[:, 0, int(interharmonic)]
        assert np.abs(inter / (0.01 * UDIN_V * levels[0]) - 1).max() < 0.05
    for order, part, _ in harmonics:
        measured = blocks.spectra.harmonic[:, 0, order].mean()
        assert measured == pytest.approx(part * UDIN_V * levels[0], rel=0.01)
    assert not np.any(blocks.flags & 2)  # flicker of the tables never makes the grid coast


@pytest.mark.parametrize("slope_hz_per_s", [0.5, -2.0, 5.0])
def test_a_moving_frequency_is_followed(slope_hz_per_s: float) -> None:
    duration_s = 1.4
    t = np.arange(round(RATE * duration_s)) / RATE
    start_hz = 50 - slope_hz_per_s * duration_s / 2
    angle = 2 * np.pi * (start_hz * t + 0.5 * slope_hz_per_s * t * t)
    wave = [UDIN_V * np.sqrt(2) * np.sin(angle - 2 * np.pi / 3 * k) for k in range(3)]
    engine = Engine(Connection(RATE), Measuring(flicker=False))
    blocks = engine.push(np.stack([*wave, *wave], axis=1)).blocks
    assert blocks is not None
    middle = 0.5 * (blocks.quantities.windows.start + blocks.quantities.windows.end) / RATE
    true_hz = start_hz + slope_hz_per_s * middle
    # The first block begins before the phase has been measured: it is extrapolated backwards.
    assert np.abs(blocks.quantities.frequency_hz - true_hz)[1:].max() < 0.01
    assert np.abs(blocks.quantities.u_v / UDIN_V - 1)[1:].max() < 1e-4
    assert not np.any(blocks.flags & 2)


def test_a_phase_jump_is_found_again_within_a_third_of_a_second() -> None:
    t = np.arange(4 * RATE) / RATE
    angle = 2 * np.pi * 50.0 * t + np.where(t > 2.0, 0.8, 0.0)
    wave = [UDIN_V * np.sqrt(2) * np.sin(angle - 2 * np.pi / 3 * k) for k in range(3)]
    engine = Engine(Connection(RATE), Measuring(flicker=False, voltage_events=None))
    parts = [engine.push(np.stack([*wave, *wave], axis=1)), engine.finish()]
    blocks = parts[0].blocks
    assert blocks is not None
    late = blocks.quantities.windows.start > 2.35 * RATE
    assert np.allclose(blocks.quantities.u_v[late], UDIN_V, rtol=1e-5)
    assert np.allclose(np.angle(blocks.quantities.u1_v[late, 0]), 0.0, atol=1e-4)
    total = sum(part.seconds.energy_u.sum(axis=0) for part in parts)[0]
    frames = np.stack(wave, axis=1)
    assert total[0] == pytest.approx((frames**2).sum() / RATE / 3.6e-3, rel=1e-6)
