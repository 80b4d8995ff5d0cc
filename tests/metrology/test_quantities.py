"""Powers of distorted systems against closed forms, and the spectrum's derived quantities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blathy.metrology import (
    Connection,
    Engine,
    HalfCycleMeter,
    Measuring,
    Quantities,
    Wiring,
    reference,
)
from blathy.metrology.spectrum import Spectra, spectra_of_points
from tests.metrology.signals import Tones, random_system, symmetrical

RATE = 10_000

# IEEE 1459, annex B: one phase, h 1 3 5 7, rms values and angles in degrees.
VOLTAGE = ((1, 100, 0), (3, 8, -70), (5, 15, 140), (7, 5, 20))
CURRENT = ((1, 100, -30), (3, 20, -165), (5, 15, 233), (7, 10, 288))
U = Tones({order: (u, np.radians(degrees)) for order, u, degrees in VOLTAGE})
I = Tones({order: (i, np.radians(degrees)) for order, i, degrees in CURRENT})  # noqa: E741


def measured() -> tuple[Quantities, Spectra]:
    t = np.arange(RATE) / RATE
    frames = np.stack([U.at(t, 50), I.at(t, 50)], axis=1)
    connection = Connection(RATE, Wiring.ONE_PHASE, nominal_u_v=100)
    engine = Engine(connection, Measuring(flicker=False))
    blocks = engine.push(frames).blocks
    assert blocks is not None
    assert blocks.spectra is not None
    return blocks.quantities, blocks.spectra


def test_named_reactive_powers_differ_as_their_definitions_do() -> None:
    quantities, spectra = measured()
    parts = [(U.parts[h], I.parts[h]) for h in U.parts]
    budeanu = sum(u * i * np.sin(a - b) for (u, a), (i, b) in parts)
    s, p = U.rms() * I.rms(), U.power(I)
    # delayed by a quarter period, harmonic h turns by h 90 degrees
    delay = sum(
        u[0] * i[0] * np.cos(u[1] - h * np.pi / 2 - i[1])
        for h, (u, i) in zip(U.parts, parts, strict=True)
    )
    assert quantities.q1_var[1, 0] == pytest.approx(5000.0, rel=1e-5)
    assert spectra.q_budeanu_var[1, 0] == pytest.approx(budeanu, rel=1e-4)
    assert spectra.q_quarter_period_var()[1, 0] == pytest.approx(delay, rel=1e-4)
    assert quantities.q_fryze_var[1, 0] == pytest.approx(np.sqrt(s * s - p * p), rel=1e-5)
    assert quantities.power_factor[1, 0] == pytest.approx(p / s, rel=1e-5)
    assert quantities.cos_phi1[1, 0] == pytest.approx(np.cos(np.radians(30)), rel=1e-5)


def test_apparent_powers_resolve_as_ieee_1459_says() -> None:
    q, _ = measured()
    u_h = np.sqrt(U.rms() ** 2 - 100**2)
    i_h = np.sqrt(I.rms() ** 2 - 100**2)
    assert q.d_current_va[1, 0] == pytest.approx(100 * i_h, rel=1e-4)
    assert q.d_voltage_va[1, 0] == pytest.approx(100 * u_h, rel=1e-4)
    assert q.s_harmonic_va[1, 0] == pytest.approx(u_h * i_h, rel=1e-4)
    sum_of_squares = q.d_current_va**2 + q.d_voltage_va**2 + q.s_harmonic_va**2
    assert q.s_non_fundamental_va == pytest.approx(np.sqrt(sum_of_squares), rel=1e-4)
    p_h = U.power(I) - 1e4 * np.cos(np.radians(30))
    expected = np.sqrt((u_h * i_h) ** 2 - p_h**2)
    assert q.d_harmonic_var[1, 0] == pytest.approx(expected, rel=1e-3)


def test_distortion_factors() -> None:
    _, spectra = measured()
    assert spectra.thd_percent(40)[1, 0] == pytest.approx(np.sqrt(8**2 + 15**2 + 5**2), rel=1e-4)
    assert spectra.tdd_percent(200.0)[1, 0] == pytest.approx(
        np.sqrt(20**2 + 15**2 + 10**2) / 2, rel=1e-4
    )
    k = (1e4 + 9 * 400 + 25 * 225 + 49 * 100) / (1e4 + 400 + 225 + 100)
    assert spectra.k_factor()[1, 0] == pytest.approx(k, rel=1e-4)


def test_crest_factor_of_a_sine_and_a_fired_load() -> None:
    t = np.arange(RATE) / RATE
    wave = np.sin(2 * np.pi * 50 * t)
    fired = np.where(np.mod(t * 100, 1) > 0.5, wave, 0.0)
    engine = Engine(Connection(RATE, Wiring.ONE_PHASE, nominal_u_v=0.7), Measuring(flicker=False))
    blocks = engine.push(np.stack([wave, fired], axis=1)).blocks
    assert blocks is not None
    assert blocks.spectra is not None
    assert blocks.spectra.crest_factor()[1, 0] == pytest.approx(np.sqrt(2), rel=1e-4)
    # fired at 90 degrees: PF 0.7071, displacement factor 0.8436
    assert blocks.quantities.power_factor[1, 0] == pytest.approx(np.sqrt(0.5), rel=1e-2)
    assert blocks.quantities.cos_phi1[1, 0] == pytest.approx(0.8436, rel=1e-2)


def test_interharmonics_and_signalling() -> None:
    """7.5 f lies between the subgroups 7 and 8; a 183 Hz signal is found by its four lines."""
    t = np.arange(2 * RATE) / RATE
    u = Tones({1: (230, 0.3), 3.66: (4.0, 0.2)})
    i = Tones({1: (230, 0.3), 7.5: (2.3, 1.0)})
    engine = Engine(Connection(RATE, Wiring.ONE_PHASE), Measuring(flicker=False))
    blocks = engine.push(np.stack([u.at(t, 50), i.at(t, 50)], axis=1)).blocks
    assert blocks is not None
    assert blocks.spectra is not None
    assert blocks.spectra.interharmonic[2, 1, 7] == pytest.approx(2.3, rel=1e-3)
    assert blocks.spectra.harmonic[2, 1, 7] == pytest.approx(0.0, abs=0.01)
    signal = blocks.spectra.signalling_v(183.0, blocks.quantities.frequency_hz)
    assert signal[2, 0] == pytest.approx(4.0, rel=0.05)
    with pytest.raises(ValueError, match="outside"):
        blocks.spectra.signalling_v(9_000.0, blocks.quantities.frequency_hz)


def test_interharmonics_carry_power_in_their_own_direction() -> None:
    """At 7.5 f the load sends 3 W back and takes 4 var, whatever the fundamental does."""
    t = np.arange(2 * RATE) / RATE
    u = Tones({1: (230, 0.3), 7.5: (2.0, 0.2)})
    i = Tones({1: (10, 0.3), 7.5: (2.5, 0.2 - np.arctan2(4, -3))})
    engine = Engine(Connection(RATE, Wiring.ONE_PHASE), Measuring(flicker=False))
    blocks = engine.push(np.stack([u.at(t, 50), i.at(t, 50)], axis=1)).blocks
    assert blocks is not None
    assert blocks.spectra is not None
    power = blocks.spectra.interharmonic_power_va[2, 0]
    assert power[7] == pytest.approx(-3 + 4j, rel=1e-3)
    assert np.abs(np.delete(power, 7)).max() < 1e-3
    assert blocks.spectra.interharmonic_direction[2, 0, 7] == -1
    assert blocks.spectra.direction[2, 0, 1] == 1


def test_apparent_powers_of_a_system_by_their_definitions() -> None:
    """U 230 V symmetrical; I 10 A at 60° on L1, 4 A in phase on L2, nothing on L3."""
    frames = symmetrical().frames(RATE, 1.0)
    t = np.arange(RATE) / RATE
    frames[:, 3] = Tones({1: (10, -np.pi / 3)}).at(t, 50)
    frames[:, 4] = Tones({1: (4, -2 * np.pi / 3)}).at(t, 50)
    frames[:, 5] = 0.0
    q = Quantities.of(HalfCycleMeter(Connection(RATE)).push(frames), 20)
    p, reactive = 230 * 10 * 0.5 + 230 * 4, 230 * 10 * np.sqrt(3) / 2
    assert q.s_arithmetic_va[0] == pytest.approx(230 * 14, rel=1e-5)
    assert q.s_vector_va[0] == pytest.approx(np.hypot(p, reactive), rel=1e-4)
    neutral = abs(10 * np.exp(-1j * np.pi / 3) + 4 * np.exp(-2j * np.pi / 3))
    assert q.i_neutral_a[0] == pytest.approx(neutral, rel=1e-5)
    effective = 3 * 230 * np.sqrt((100 + 16 + neutral**2) / 3)
    assert q.s_effective_va[0] == pytest.approx(effective, rel=1e-5)
    assert q.power_factor_total[0] == pytest.approx(p / (230 * 14), rel=1e-5)
    assert q.u_line_v[0] == pytest.approx([230 * np.sqrt(3)] * 3, rel=1e-6)
    zero = abs(10 * np.exp(-1j * np.pi / 3) + 4 * np.exp(-2j * np.pi / 3)) / 3
    assert np.abs(q.i_components.zero[0]) == pytest.approx(zero, rel=1e-5)


def test_spectrum_of_given_points_is_exact() -> None:
    points = np.arange(2048) * 2 * np.pi / 2048
    wave = 10 + 230 * np.sqrt(2) * np.sin(10 * points) + 5 * np.sqrt(2) * np.sin(500 * points)
    spectra = spectra_of_points(np.stack([wave, wave])[None], 10, 1)
    assert spectra.harmonic[0, 0, [0, 1, 50]] == pytest.approx([10, 230, 5], rel=1e-12)


def test_engine_agrees_with_the_reference_implementation() -> None:
    rng = np.random.default_rng(21)
    system = random_system(rng, 48.7, order_max=40)
    frames = system.frames(RATE, 1.0)
    meter = HalfCycleMeter(Connection(RATE))
    half = meter.push(frames)
    q = Quantities.of(half[20:], 20)
    start, end = float(q.windows.start[0]), float(q.windows.end[0])
    for phase in range(3):
        reading = reference.read_phase(frames[:, phase], frames[:, 3 + phase], start, end, 10)
        assert q.u_v[0, phase] == pytest.approx(reading.u_v, rel=1e-6)
        assert q.i_a[0, phase] == pytest.approx(reading.i_a, rel=1e-6)
        assert q.p_w[0, phase] == pytest.approx(reading.p_w, abs=1e-6 * reading.s_va)
        assert q.q1_var[0, phase] == pytest.approx(reading.q1_var, abs=1e-6 * reading.s_va)
    parts = reference.symmetrical(
        [
            reference.read_phase(frames[:, k], frames[:, 3 + k], start, end, 10).u1_v
            for k in range(3)
        ]
    )
    u2 = 100 * abs(parts[2] / parts[1])
    assert q.u_components.negative_percent[0] == pytest.approx(u2, abs=1e-4)
    effective = reference.effective_apparent_va(
        list(frames[:, :3].T), list(frames[:, 3:].T), start, end, 10
    )
    assert q.s_effective_va[0] == pytest.approx(effective, rel=1e-6)
    points = reference.window_points(frames[:, 0], start, end, 10)
    assert reference.harmonic_subgroup(points, 10, 7) == pytest.approx(
        system.voltages[0].parts[7][0], rel=1e-4
    )
    assert reference.interharmonic_subgroup(points, 10, 7) < 1e-3


def test_three_phase_angles_and_current_asymmetry() -> None:
    frames = symmetrical(phi=0.3).frames(RATE, 1.0)
    frames[:, 3] *= 1.3
    meter = HalfCycleMeter(Connection(RATE))
    q = Quantities.of(meter.push(frames), 20)
    assert q.angle_u_deg[0, 1:] == pytest.approx([120, 240], abs=1e-3)
    assert q.angle_i_deg[0] == pytest.approx(np.degrees(0.3) + np.array([0, 120, 240]), abs=1e-3)
    assert q.current_asymmetry_percent[0] == pytest.approx(100 * (1.3 - 1.1) / 1.1, rel=1e-4)
    assert q.u_components.sequence[0] == 1
    assert q.power_factor_total[0] == pytest.approx(np.cos(0.3), rel=1e-5)


APPLIANCES = {
    # name: (cos phi1 from, to), (THD of I in % from, to)
    "kettle": ((0.95, 1.0), (0, 12)),
    "water-heater": ((0.95, 1.0), (0, 12)),
    "induction-cooker": ((0.95, 1.0), (0, 10)),  # and a direct current, of the recorder
    "refrigerator": ((0.5, 0.8), (5, 25)),
    "laptop": ((0.8, 0.95), (30, 60)),
    "desktop-computer": ((0.3, 0.6), (30, 80)),
}


@pytest.mark.parametrize("name", sorted(APPLIANCES))
def test_recordings_of_appliances_are_plausible(shared_data: Path, name: str) -> None:
    counts = np.load(shared_data / "appliance-waveforms" / f"{name}.npy")
    connection = Connection(
        6_400.0, Wiring.ONE_PHASE, nominal_u_v=220.0, u_v_per_count=1 / 21.3872,
        i_a_per_count=1 / 41.4738,
    )  # fmt: skip
    engine = Engine(connection, Measuring(flicker=False))
    blocks = engine.push(counts[:, ::-1]).blocks
    assert blocks is not None
    assert blocks.spectra is not None
    (low, high), thd = APPLIANCES[name]
    q = blocks.quantities
    loaded = q.i_a[:, 0] > 0.3 * q.i_a[:, 0].max()
    assert np.allclose(q.frequency_hz, 50, atol=0.5)
    assert low < np.abs(np.median(q.cos_phi1[loaded, 0])) <= high + 1e-3
    assert thd[0] <= np.median(blocks.spectra.thd_percent()[loaded, 1]) <= thd[1]
