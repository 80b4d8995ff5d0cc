"""The flickermeter against the table of IEC 61000-4-15 and against an independent computation."""

from __future__ import annotations

import numpy as np
import pytest

from blathy.metrology import Connection, Engine, Measuring, Wiring, reference
from blathy.metrology.flicker import Flickermeter, plt, pst_of_classes

TABLE = (
    (1, 2.715),
    (2, 2.191),
    (7, 1.450),
    (39, 0.894),
    (110, 0.722),
    (1620, 0.407),
    (4000, 2.343),
)
RATE = 4_000


def modulated(cpm: float, percent: float, start_s: float, duration_s: float) -> np.ndarray:
    n = np.arange(round(start_s * RATE), round((start_s + duration_s) * RATE))
    t = n / RATE
    side = np.where(np.floor(t * cpm / 60) % 2 == 0, 1.0, -1.0)
    wave = 325.27 * (1 + percent / 200 * side) * np.sin(2 * np.pi * 50 * t)
    return wave.astype(np.float32)[None, :]


@pytest.mark.parametrize(("cpm", "percent"), TABLE)
def test_pst_is_one_within_a_percent_on_the_seven_points(cpm: float, percent: float) -> None:
    meter = Flickermeter(RATE, 1)
    settle_s = 60.0 if cpm < 5 else 30.0
    samples = modulated(cpm, percent, 0.0, settle_s)
    meter.push(samples, 0, samples.shape[1])
    meter.read_pst()
    for k in range(10):
        samples = modulated(cpm, percent, settle_s + 60.0 * k, 60.0)
        meter.push(samples, 0, samples.shape[1])
    assert meter.read_pst()[0] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("f_hz", "percent", "square"), [(8.8, 0.250, False), (8.8, 0.196, True)])
def test_p_inst_of_the_reference_modulations_peaks_at_one(
    f_hz: float, percent: float, square: bool
) -> None:
    t = np.arange(40 * RATE) / RATE
    swing = np.sin(2 * np.pi * f_hz * t)
    swing = np.sign(swing) if square else swing
    u = (325 * (1 + percent / 200 * swing) * np.sin(2 * np.pi * 50 * t)).astype(np.float32)
    meter = Flickermeter(RATE, 1)
    meter.push(u[None, :], 0, 30 * RATE)
    meter.read_pst()
    meter.push(u[None, :], 30 * RATE, 40 * RATE)
    assert meter.p_inst_max[0] == pytest.approx(1.0, abs=0.02 if square else 0.002)


def test_pst_agrees_with_the_frequency_domain() -> None:
    """Random voltage steps: the oracle uses analogue transfer functions and sorting."""
    rng = np.random.default_rng(6)
    level = np.repeat(1 + 0.01 * rng.normal(size=240), RATE // 2)  # 120 s
    t = np.arange(len(level)) / RATE
    u = 325 * level * np.sin(2 * np.pi * 50 * t)
    p_inst = reference.instantaneous_flicker(np.tile(u, 2), RATE)[len(u) :]
    meter = Flickermeter(RATE, 1)
    doubled = np.tile(u, 2).astype(np.float32)[None, :]
    meter.push(doubled, 0, len(u))
    meter.read_pst()
    meter.push(doubled, len(u), 2 * len(u))
    assert meter.read_pst()[0] == pytest.approx(reference.pst(p_inst), rel=0.01)


def test_flicker_does_not_depend_on_the_cut() -> None:
    samples = np.repeat(modulated(110, 0.722, 0.0, 25.0), 3, axis=0)
    one, many = Flickermeter(RATE, 3), Flickermeter(RATE, 3)
    one.push(samples, 0, samples.shape[1])
    edges = np.unique(np.random.default_rng(1).integers(0, samples.shape[1], 200))
    for first, last in zip([0, *edges], [*edges, samples.shape[1]], strict=True):
        many.push(samples, int(first), int(last))
    assert np.array_equal(one.p_inst, many.p_inst)
    assert np.array_equal(one.read_pst(), many.read_pst())


def test_plt_is_the_cubic_mean_and_nothing_is_not_a_number() -> None:
    assert plt(np.array([1.0, 2.0, np.nan])) == pytest.approx(np.cbrt(4.5))
    assert np.isnan(plt(np.array([np.nan])))
    assert np.isnan(pst_of_classes(np.zeros(10, np.int64)))
    dark = Flickermeter(RATE, 1)
    dark.push(np.zeros((1, 30 * RATE), np.float32), 0, 30 * RATE)
    assert dark.read_pst()[0] < 0.01


def test_the_engine_tells_the_present_flicker_sensation() -> None:
    """The reference modulation of 8.8 Hz and 0.250 %: its maximum is 1, its mean about half."""
    t = np.arange(40 * RATE) / RATE
    swing = 1 + 0.250 / 200 * np.sin(2 * np.pi * 8.8 * t)
    u = 325 * swing * np.sin(2 * np.pi * 50 * t)
    frames = np.stack([u, u], axis=1).astype(np.float32)
    engine = Engine(Connection(RATE, Wiring.ONE_PHASE), Measuring(spectrum=False))
    engine.push(frames[: 39 * RATE])
    seen = []
    for at in range(39 * RATE, 40 * RATE, 20):
        engine.push(frames[at : at + 20])
        seen.append(float(engine.p_inst[0]))
    assert max(seen) == pytest.approx(1.0, abs=0.01)
    assert 0.3 < np.mean(seen) < 1.0
    silent = Engine(Connection(RATE, Wiring.ONE_PHASE), Measuring.registers_only())
    assert np.isnan(silent.p_inst).all()
