"""Sensors err as told, and a calibration takes the error away again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blathy.metrology.sensors import (
    Calibration,
    CalibrationPoint,
    Converter,
    Curve,
    FractionalDelay,
    Sensor,
    calibrate,
    current_transformer,
    fundamental,
    shunt,
)

RATE = 10_000.0
T = np.arange(10_000) / RATE


def sine(rms: float, angle_deg: float = 0.0) -> np.ndarray:
    return np.asarray(rms * np.sqrt(2) * np.cos(2 * np.pi * 50 * T + np.radians(angle_deg)))


def power(u: np.ndarray, i: np.ndarray) -> float:
    return float((u * i).mean())


@given(st.floats(-2, 2), st.floats(-120, 120), st.floats(0.05, 1.2))
def test_ratio_and_phase_error_are_those_of_the_curve(
    ratio: float, minutes: float, share: float
) -> None:
    sensor = Sensor("s", 10.0, Curve(((1.0, ratio),)), Curve(((1.0, minutes),)))
    seen = fundamental(sensor.apply(sine(10 * share), RATE), RATE, 50)
    assert abs(seen) == pytest.approx(10 * share * (1 + ratio / 100), rel=1e-9)
    assert np.degrees(np.angle(seen)) * 60 == pytest.approx(minutes, abs=1e-6)


def test_calibration_brings_a_poor_ct_within_half_a_percent_of_full_scale() -> None:
    poor = Sensor(
        "split core", 100.0, Curve(((0.05, -2.0), (0.2, -1.4), (1.0, -1.0))),
        Curve(((0.05, 120.0), (0.2, 90.0), (1.0, 60.0))), blocks_dc=True,
    )  # fmt: skip
    full_scale_w = 230.0 * 100.0
    u = sine(230.0)
    runs = [(sine(100 * s), poor.apply(sine(100 * s), RATE)) for s in (0.05, 0.2, 1.0)]
    constants = calibrate("CT-1", 100.0, runs, RATE)
    before, after = [], []
    for share in (0.03, 0.05, 0.1, 0.2, 0.5, 0.8, 1.0, 1.2):
        for angle in (0.0, -60.0, 37.0):
            true = sine(100 * share, angle)
            seen = poor.apply(true, RATE)
            wanted = power(u, true)
            before.append(abs(power(u, seen) - wanted) / full_scale_w)
            after.append(abs(power(u, constants.correct(seen, RATE)) - wanted) / full_scale_w)
    assert max(before) > 0.005
    assert max(after) < 0.0005


def test_a_streaming_corrector_does_what_the_block_corrector_does() -> None:
    constants = Calibration("CT-1", 100.0, (CalibrationPoint(1.0, 0.985, 60.0),))
    factor, delay = constants.corrector(100.0, RATE)
    reference = FractionalDelay(0.0)
    true = sine(100.0, -60)
    sensor = Sensor("s", 100.0, Curve(((1.0, -1.5),)), Curve(((1.0, 60.0),)))
    seen = sensor.apply(true, RATE)
    i = delay.process(seen) * factor
    u = reference.process(sine(230.0))
    assert power(u[400:9800], i[400:9800]) == pytest.approx(power(sine(230.0), true), rel=2e-5)


@given(st.lists(st.integers(1, 700), min_size=1, max_size=12))
def test_the_streaming_delay_does_not_depend_on_the_cut(cuts: list[int]) -> None:
    signal = np.random.default_rng(3).normal(size=sum(cuts))
    whole = FractionalDelay(0.3).process(signal)
    stream = FractionalDelay(0.3)
    edges = np.cumsum(cuts)[:-1]
    pieces = np.concatenate([stream.process(part) for part in np.split(signal, edges)])
    assert np.abs(whole - pieces).max() < 1e-12


def test_a_transformer_blocks_dc_and_a_shunt_does_not() -> None:
    offset = sine(10.0) + 3.0
    assert abs(current_transformer(10.0).apply(offset, RATE).mean()) < 1e-9
    assert shunt(10.0).apply(offset, RATE).mean() == pytest.approx(3.0, rel=2e-3)


def test_a_converter_clips_and_rounds() -> None:
    converter = Converter(8, 128.0)
    assert converter.apply(np.array([0.4, 0.6, 500.0, -500.0])).tolist() == [
        0.0,
        1.0,
        127.0,
        -128.0,
    ]


def test_calibrating_without_a_signal_says_so() -> None:
    with pytest.raises(ValueError, match="no signal"):
        calibrate("x", 100.0, [(sine(0.0), sine(1.0))], RATE)
    with pytest.raises(ValueError, match="whole"):
        fundamental(sine(1.0)[:333], RATE, 50)
