"""Four-quadrant energy: exact over a day, additive, in whole micro-units, netted as chosen."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blathy.metrology import (
    Apparent,
    Connection,
    EnergyRules,
    Engine,
    HalfCycleMeter,
    LossParameters,
    Measuring,
    Netting,
    PulseOutput,
    Ratios,
    Wiring,
)
from blathy.metrology.energy import EnergyCounter, creep_threshold_w, sums_of
from blathy.metrology.half_cycle import C_END, C_FLAGS, C_START, UPWARD
from blathy.metrology.reference import quadrants
from tests.metrology.signals import FloatArray, Tones, cut_randomly, random_system, symmetrical

RATE = 10_000
H = 3600.0


def count(
    frames: NDArray[Any], rules: EnergyRules | None = None, connection: Connection | None = None
) -> tuple[NDArray[np.int64], Engine]:
    connection = connection or Connection(RATE)
    engine = Engine(connection, Measuring.registers_only(rules))
    parts = [engine.push(frames), engine.finish()]
    return np.concatenate([part.seconds.energy_u for part in parts]), engine


@pytest.mark.parametrize("quadrant", [1, 2, 3, 4])
def test_each_quadrant_counts_in_its_register(quadrant: int) -> None:
    phi = {1: 0.6, 2: np.pi - 0.6, 3: np.pi + 0.6, 4: -0.6}[quadrant]
    duration_s = 20.0
    frames = symmetrical(phi=phi).frames(RATE, duration_s)
    energy, _ = count(frames)
    total = energy.sum(axis=0)
    s = 3 * 230 * 5 * duration_s / H * 1e6
    p, q = s * np.cos(phi), s * np.sin(phi)
    expected = [max(p, 0), max(-p, 0), *quadrants(p, q), s if p > 0 else 0, 0 if p > 0 else s]
    assert np.allclose(total[0], expected, rtol=2e-6, atol=1)
    assert np.allclose(total[1:], np.tile(np.array(expected) / 3, (3, 1)), rtol=2e-6, atol=1)


def test_netting_by_total_or_by_phase() -> None:
    frames = symmetrical().frames(RATE, 10.0)
    frames[:, 5] *= -0.5  # a roof on L3
    a = 230 * 5 * 10 / H * 1e6
    total, _ = count(frames, EnergyRules(netting=Netting.TOTAL))
    assert np.allclose(total.sum(axis=0)[0, :2], [1.5 * a, 0], rtol=2e-6, atol=1)
    phase, _ = count(frames, EnergyRules(netting=Netting.PER_PHASE))
    assert np.allclose(phase.sum(axis=0)[0, :2], [2 * a, 0.5 * a], rtol=2e-6, atol=1)
    assert np.array_equal(phase.sum(axis=0)[0], phase.sum(axis=0)[1:].sum(axis=0))
    assert np.array_equal(phase.sum(axis=0)[1:], total.sum(axis=0)[1:])


def test_seconds_add_up_to_the_registers_exactly_for_any_cut() -> None:
    rng = np.random.default_rng(8)
    frames = random_system(rng, 50.37).frames(RATE, 12.0).astype(np.float32)
    whole, engine = count(frames)
    assert np.array_equal(whole.sum(axis=0), engine.counter.total_u)
    other = Engine(Connection(RATE), Measuring.registers_only())
    parts = [other.push(piece) for piece in cut_randomly(rng, frames, 9_000)]
    parts.append(other.finish())
    assert np.array_equal(np.concatenate([p.seconds.energy_u for p in parts]), whole)
    instants = np.concatenate([p.instants for p in parts])
    assert np.array_equal(instants[3, 25], 50_370)


def test_energy_starts_on_the_utc_second() -> None:
    engine = Engine(Connection(RATE), Measuring.registers_only(), start_utc_ns=7_250_000_000)
    first = engine.push(symmetrical().frames(RATE, 4.0))
    last = engine.finish()
    assert first.seconds.start_utc_s == 7
    times = np.concatenate([first.seconds.time_s, last.seconds.time_s])
    assert np.allclose(times, [0.75, 1, 1, 1, 0.25], atol=1e-4)
    assert np.concatenate([first.seconds.energy_u, last.seconds.energy_u])[1, 0, 0] == (
        pytest.approx(3 * 230 * 5 / H * 1e6, rel=1e-6)
    )


class BurstDay:
    """One phase for a day, load 2 s on and 2 s off, its edges anywhere in a cycle.

    `rows` are what the half-cycle meter hands over, here from the closed integrals of a sine.
    """

    def __init__(self, rng: np.random.Generator, f_hz: float) -> None:
        self.f_hz, self.half_s = f_hz, 1 / (2 * f_hz)
        self.half_cycles = int(86_400 * 2 * f_hz)
        self.phi, self.lead_s = rng.uniform(0.2, 1.2), rng.uniform(0, 0.01)
        self.u, self.i = 230 * np.sqrt(2), 10 * np.sqrt(2)
        self.bursts_s = self.lead_s + 4 * np.arange(86_400 // 4 + 2)
        self.done: dict[str, FloatArray] = {}

    def integrals(self, t: NDArray[Any]) -> dict[str, FloatArray]:
        """Antiderivatives of p, i², i sin and i cos while the load is on."""
        w, u, i, phi = 2 * np.pi * self.f_hz, self.u, self.i, self.phi
        swing = np.sin(2 * w * t - phi) / (2 * w)
        return {
            "p": u * i / 2 * (np.cos(phi) * t - swing),
            "i2": i * i / 2 * (t - np.sin(2 * w * t - 2 * phi) / (2 * w)),
            "is": i / 2 * (np.cos(phi) * t - swing),
            "ic": i / 2 * (-np.sin(phi) * t - np.cos(2 * w * t - phi) / (2 * w)),
        }

    def up_to(self, t: NDArray[Any]) -> dict[str, FloatArray]:
        """The integrals from 0 to `t` with the load switching."""
        if not self.done:
            on, off = self.integrals(self.bursts_s), self.integrals(self.bursts_s + 2)
            self.done = {k: np.concatenate([[0.0], np.cumsum(off[k] - on[k])]) for k in on}
        burst = np.floor((t - self.lead_s) / 4).astype(int)
        begin = self.lead_s + 4 * burst
        now, then = self.integrals(np.minimum(t, begin + 2)), self.integrals(begin)
        return {
            k: np.where(burst < 0, 0.0, self.done[k][np.maximum(burst, 0)] + now[k] - then[k])
            for k in now
        }

    def rows(self, first: int, last: int) -> FloatArray:
        edges_s = np.arange(first, last + 1) * self.half_s
        sums = {k: np.diff(v) for k, v in self.up_to(edges_s).items()}
        rows = np.zeros((last - first, 3 + 11 + 6))
        rows[:, C_START], rows[:, C_END] = edges_s[:-1] * RATE, edges_s[1:] * RATE
        rows[:, C_FLAGS] = np.where(np.arange(first, last) % 2 == 0, UPWARD, 0)
        rows[:, 3] = self.u**2 / 2 * self.half_s
        rows[:, 8] = self.u / 2 * self.half_s
        rows[:, 6], rows[:, 7] = sums["i2"], sums["p"]
        rows[:, 10], rows[:, 11] = sums["is"], sums["ic"]
        return rows

    def expected_u(self) -> tuple[float, float]:
        """Active and reactive energy of the day in uWh and uvarh."""
        end = self.half_cycles * self.half_s
        on_s = np.clip(end - self.bursts_s, 0, 2).sum()
        active = self.up_to(np.array([end]))["p"][0]
        return active / H * 1e6, self.u * self.i / 2 * np.sin(self.phi) * on_s / H * 1e6


def test_a_day_of_bursts_is_counted_within_a_millionth() -> None:
    day = BurstDay(np.random.default_rng(1), 49.87)
    connection = Connection(RATE, Wiring.ONE_PHASE)
    counter = EnergyCounter(connection)
    meter = HalfCycleMeter(connection)
    cuts = np.linspace(0, day.half_cycles, 98).astype(int)
    energy = [
        counter.add(meter.half_cycles(day.rows(first, last))).energy_u
        for first, last in itertools.pairwise(cuts.tolist())
    ]
    energy.append(counter.finish().energy_u)
    total = np.concatenate(energy).sum(axis=0)[0]
    active_u, reactive_u = day.expected_u()
    assert total[0] - total[1] == pytest.approx(active_u, rel=1e-7)
    assert sums_of(total, "R+") - sums_of(total, "R-") == pytest.approx(reactive_u, rel=1e-6)
    assert np.array_equal(np.concatenate(energy).sum(axis=0), counter.total_u)


def test_bursts_from_samples_are_counted_within_a_millionth() -> None:
    """40 s of waveform, load 2 s on 2 s off switched anywhere; expected: the plain sample sum."""
    rng = np.random.default_rng(4)
    frames = random_system(rng, 49.93, order_max=15).frames(RATE, 40.0)
    on = np.mod(np.arange(len(frames)) - 123, 40_000) < 20_000
    frames[:, 3:] *= on[:, None]
    energy, _ = count(frames)
    joules = (frames[:, :3] * frames[:, 3:]).sum() / RATE
    total = energy.sum(axis=0)[0]
    assert total[0] - total[1] == pytest.approx(joules / H * 1e6, rel=1e-6)


def test_creep_stops_p_q_s_and_i_together_and_starting_current_counts() -> None:
    threshold = creep_threshold_w(230.0, 0.02)
    rules = EnergyRules(creep_p_w=threshold, creep_q_var=threshold)
    idle, _ = count(symmetrical(i_a=0.008).frames(RATE, 5.0), rules)
    assert not idle.any()
    started, _ = count(symmetrical(i_a=0.02).frames(RATE, 5.0), rules)
    assert started.sum(axis=0)[0, 0] == pytest.approx(3 * 230 * 0.02 * 5 / H * 1e6, rel=1e-4)
    capacitor, _ = count(symmetrical(i_a=0.02, phi=-np.pi / 2).frames(RATE, 5.0), rules)
    reactive = sums_of(capacitor.sum(axis=0)[0], "R-")
    assert reactive == pytest.approx(3 * 230 * 0.02 * 5 / H * 1e6, rel=1e-4)


def test_reactive_energy_is_that_of_the_fundamental_alone() -> None:
    """Harmonic currents with harmonic voltages turn Budeanu's and the delay method, not this."""
    u = Tones({1: (230, 0.0), 5: (23, 0.3), 7: (11, 1.0)})
    i = Tones({1: (5, -0.5), 5: (2, 1.5), 7: (1, 2.5)})
    t = np.arange(10 * RATE) / RATE
    frames = np.stack([u.at(t, 50), i.at(t, 50)], axis=1)
    energy, _ = count(frames, connection=Connection(RATE, Wiring.ONE_PHASE))
    assert energy.sum(axis=0)[0, 2] == pytest.approx(230 * 5 * np.sin(0.5) * 10 / H * 1e6, rel=1e-5)


@pytest.mark.parametrize("kind", list(Apparent))
def test_apparent_energy_of_an_unbalanced_system_follows_its_definition(kind: Apparent) -> None:
    frames = symmetrical(i_a=10.0).frames(RATE, 10.0)
    frames[:, 4:] = 0.0  # one phase loaded
    energy, _ = count(frames, EnergyRules(apparent=kind))
    u, i = 230.0, 10.0
    # In = I1, so Ie² = (1 + 1) I² / 3 and Ue = U: IEEE 1459 counts the neutral as well
    expected = {
        Apparent.ARITHMETIC: u * i,
        Apparent.VECTOR: u * i,
        Apparent.EFFECTIVE: 3 * u * i * np.sqrt(2 / 3),
    }[kind]
    assert energy.sum(axis=0)[0, 6] == pytest.approx(expected * 10 / H * 1e6, rel=2e-5)


def test_derived_registers_are_sums_of_the_counted_ones() -> None:
    counted = np.arange(1, 9) * 1_000_000  # A+ A- R1 R2 R3 R4 E+ E-
    expected = {
        "A+": 1, "A-": 2, "|A|": 3, "net": -1, "R+": 3 + 4, "R-": 5 + 6, "E+": 7, "E-": 8,
    }  # fmt: skip
    for name, millions in expected.items():
        assert sums_of(counted, name) == millions * 1_000_000, name


def test_apparent_energy_has_the_sign_of_the_active_one() -> None:
    frames = symmetrical(phi=np.pi + 0.4).frames(RATE, 10.0)  # export
    energy, _ = count(frames)
    total = energy.sum(axis=0)
    assert total[0, 6] == 0
    assert total[0, 7] == pytest.approx(3 * 230 * 5 * 10 / H * 1e6, rel=2e-5)
    assert total[0, 1] == pytest.approx(3 * 230 * 5 * np.cos(0.4) * 10 / H * 1e6, rel=2e-5)


def test_pulses_come_from_the_same_accumulator() -> None:
    energy, engine = count(symmetrical(i_a=20.0).frames(RATE, 20.0))
    output = PulseOutput(10_000)
    pulses = output.pulses(energy[:, 0, 0])
    total = int(engine.counter.total_u[0, 0])
    assert pulses.sum() == total * 10_000 // 10**9
    assert pulses[1:-1].max() - pulses[1:-1].min() <= 1
    again = PulseOutput(10_000)
    parts = [again.pulses(part) for part in np.array_split(energy[:, 0, 0], 7)]
    assert np.array_equal(np.concatenate(parts), pulses)
    late = PulseOutput(1_000)
    assert np.allclose(late.instants_s(2_500_000, 1.0), [0.4, 0.8])
    assert np.allclose(late.instants_s(2_500_000, 1.0), [0.2, 0.6, 1.0])


def test_transformer_losses_and_ratios() -> None:
    parameters = LossParameters(r_cu_ohm=0.02, x_s_ohm=0.1, r_fe_ohm=5e4, x_m_ohm=2e4)
    engine = Engine(Connection(RATE), Measuring(losses=parameters, spectrum=False, flicker=False))
    parts = [engine.push(symmetrical(i_a=100.0).frames(RATE, 10.0)), engine.finish()]
    loss = np.concatenate([part.loss_u for part in parts if part.loss_u is not None]).sum(axis=0)
    i2h, u2h = 3 * 100.0**2 * 10 / H * 1e6, 3 * 230.0**2 * 10 / H * 1e6
    expected = [0.02 * i2h, u2h / 5e4, 0.1 * i2h, u2h / 2e4, u2h, i2h]
    assert np.allclose(loss, expected, rtol=1e-5, atol=1)
    ratios = Ratios(200, 5, 20_000, 100)
    assert ratios.energy == 8_000
    assert ratios.primary_imp_per_k(20_000) == 2.5
    nameplate = LossParameters.of_nameplate(
        rated_va=100e3, rated_line_v=400, no_load_w=210, load_loss_w=1475,
        magnetising_percent=1.0, impedance_percent=4.0,
    )  # fmt: skip
    i = 100e3 / np.sqrt(3) / 400
    assert 3 * i * i * nameplate.r_cu_ohm == pytest.approx(1475)
    assert 400**2 / nameplate.r_fe_ohm == pytest.approx(210)
