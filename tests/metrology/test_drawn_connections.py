"""Every promise of the input side at once: sample rate, frequency, wiring, sample type, any cut.

All of it is drawn; the expected figures are sums over the spectrum that was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blathy.metrology import Connection, Engine, HalfCycleMeter, Measuring, Quantities, Wiring
from blathy.metrology.half_cycle import INVALID, SATURATED
from tests.metrology.signals import FloatArray, System, cut_randomly, random_system

RATES = (4_000.0, 4_800.0, 6_400.0, 7_812.5, 10_000.0, 12_800.0, 16_000.0, 25_600.0, 32_000.0)
TURNS = {"int16": 20_000, "int24": 8_000_000}  # counts of the largest sample


@dataclass(frozen=True)
class Drawn:
    """A point of supply, how it is connected, and its samples as a converter delivers them."""

    connection: Connection
    system: System
    frames: NDArray[Any]


def wired(system: System, wiring: Wiring, neutral: bool, rate: float, seconds: float) -> FloatArray:
    """The channels of a wiring, from those of a four-wire system."""
    frames = system.frames(rate, seconds)
    phases = len(system.voltages)
    if wiring is Wiring.THREE_PHASE_3_WIRE:
        u, i = frames[:, :3], frames[:, 3:]
        frames = np.stack([u[:, 0] - u[:, 1], u[:, 2] - u[:, 1], i[:, 0], i[:, 2]], axis=1)
    if neutral:
        frames = np.column_stack([frames, -system.frames(rate, seconds)[:, phases:].sum(axis=1)])
    return frames


def draw(rng: np.random.Generator, kind: str, wiring: Wiring, rate: float, seconds: float) -> Drawn:
    nominal = int(rng.choice([50, 60]))
    f_hz = rng.uniform(0.85, 1.15) * nominal
    order_max = min(50, int(0.55 * rate / 2 / f_hz))
    system = random_system(rng, f_hz, wiring.phases, order_max)
    if wiring is Wiring.SPLIT_PHASE:
        system.voltages[1].parts[1] = (229.0, system.voltages[0].parts[1][1] + np.pi)
    if wiring is Wiring.THREE_PHASE_3_WIRE:  # three wires: the currents add up to zero
        i1, i3 = system.currents[0], system.currents[2]
        parts = {}
        for order in i1.parts:
            phasor = -(i1.phasor(order) + i3.phasor(order))
            parts[order] = (abs(phasor), float(np.angle(phasor)))
        system.currents[1].parts = parts
    neutral = bool(rng.integers(2)) and wiring is not Wiring.THREE_PHASE_3_WIRE
    frames = wired(system, wiring, neutral, rate, seconds)
    voltages = wiring.voltages
    connection = Connection(rate, wiring, nominal, neutral_measured=neutral)
    if kind in TURNS:
        u_scale = float(np.abs(frames[:, :voltages]).max() / TURNS[kind])
        i_scale = float(np.abs(frames[:, voltages:]).max() / TURNS[kind])
        connection = replace(connection, u_v_per_count=u_scale, i_a_per_count=i_scale)
        counts = frames / np.where(np.arange(frames.shape[1]) < voltages, u_scale, i_scale)
        return Drawn(connection, system, np.round(counts).astype(kind.replace("24", "32")))
    return Drawn(connection, system, frames.astype(kind))


def half_cycles(drawn: Drawn, pieces: list[NDArray[Any]]) -> FloatArray:
    meter = HalfCycleMeter(drawn.connection)
    tables = [meter.push(piece).table for piece in pieces]
    return np.concatenate([*tables, meter.finish().table])


KINDS = st.sampled_from(["int16", "int24", "float32", "float64"])
WIRINGS = st.sampled_from(list(Wiring))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), KINDS, WIRINGS, st.sampled_from(RATES))
def test_what_is_measured_is_what_was_drawn(
    seed: int, kind: str, wiring: Wiring, rate: float
) -> None:
    drawn = draw(np.random.default_rng(seed), kind, wiring, rate, 0.7)
    system, connection = drawn.system, drawn.connection
    meter = HalfCycleMeter(connection)
    half = meter.half_cycles(half_cycles(drawn, [drawn.frames]))
    assert not np.any(half.flags & (INVALID | SATURATED))
    q = Quantities.of(half[6:-3], 2 * connection.cycles_per_block)
    assert len(q) >= 1
    # The steps of a 16-bit converter make noise of 1e-5 of the range, more on a small channel.
    tolerance = 3e-4 if kind == "int16" else 1e-5
    pairs = list(zip(system.voltages, system.currents, strict=True))
    power = sum(u.power(i) for u, i in pairs)
    apparent = sum(u.rms() * i.rms() for u, i in pairs)
    assert np.abs(q.frequency_hz / system.f_hz - 1).max() < 5e-6
    assert np.abs(q.p_total_w - power).max() < tolerance * apparent
    current = np.array([i.rms() for i in system.currents])
    assert np.abs(q.i_a / current - 1).max() < tolerance
    reactive = sum((u.phasor() * i.phasor().conjugate()).imag for u, i in pairs)
    assert np.abs(q.q1_total_var - reactive).max() < 3 * tolerance * apparent
    if wiring is not Wiring.THREE_PHASE_3_WIRE:  # there, against the artificial star point
        voltage = np.array([u.rms() for u in system.voltages])
        assert np.abs(q.u_v / voltage - 1).max() < tolerance
    if connection.neutral_measured:
        assert np.allclose(q.i_neutral_measured_a, q.i_neutral_a, rtol=5 * tolerance, atol=1e-3)
        assert np.all(q.i_residual_a < 2e-3)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1), KINDS, WIRINGS, st.sampled_from(RATES),
    st.sampled_from([7, 150, 2_500, 20_000]),
)  # fmt: skip
def test_any_cut_of_any_input_gives_the_same_bits(
    seed: int, kind: str, wiring: Wiring, rate: float, longest: int
) -> None:
    rng = np.random.default_rng(seed)
    drawn = draw(rng, kind, wiring, rate, 0.4 if longest < 100 else 1.1)
    frames = drawn.frames
    frames[len(frames) // 3 : len(frames) // 3 + 300, : wiring.voltages] //= 3  # a dip
    if kind.startswith("float"):
        frames[len(frames) // 2, 0] = np.nan
    whole = half_cycles(drawn, [frames])
    assert np.array_equal(half_cycles(drawn, cut_randomly(rng, frames, longest)), whole)


@pytest.mark.parametrize("longest", [17, 900, 30_000])
def test_registers_alone_are_the_same_for_any_cut_and_for_the_full_set(longest: int) -> None:
    rng = np.random.default_rng(longest)
    drawn = draw(rng, "int24", Wiring.THREE_PHASE_4_WIRE, 6_400.0, 2.3)
    measuring = replace(Measuring.registers_only(), keep_half_cycles=True)

    def counted(pieces: list[NDArray[Any]], measuring: Measuring) -> tuple[FloatArray, ...]:
        engine = Engine(drawn.connection, measuring, 1_790_000_000_400_000_000)
        parts = [*(engine.push(piece) for piece in pieces), engine.finish()]
        rows = [part.half_cycles.table for part in parts if part.half_cycles is not None]
        return (
            np.concatenate([part.seconds.energy_u for part in parts]),
            np.concatenate([row for row in rows if row.size] or [np.zeros(0)]),
        )

    energy, rows = counted([drawn.frames], measuring)
    cut_energy, cut_rows = counted(cut_randomly(rng, drawn.frames, longest), measuring)
    assert np.array_equal(cut_energy, energy)
    assert np.array_equal(cut_rows, rows)
    everything, _ = counted([drawn.frames], Measuring())
    assert np.array_equal(everything, energy)
