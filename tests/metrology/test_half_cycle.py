"""The atom: additive, gapless, the same for any cut, on a grid that faults do not move."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blathy.metrology import Connection, HalfCycleMeter, Quantities, Wiring
from blathy.metrology.half_cycle import (
    COASTING,
    INVALID,
    PARTIAL,
    REVERSED,
    SATURATED,
    UPWARD,
    HalfCycles,
)
from blathy.metrology.quantities import u_half_cycle_v
from tests.metrology.signals import System, Tones, cut_randomly, random_system, symmetrical

RATE = 10_000


def measure(connection: Connection, frames: NDArray[Any]) -> HalfCycles:
    meter = HalfCycleMeter(connection)
    first, last = meter.push(frames), meter.finish()
    return meter.half_cycles(np.concatenate([first.table, last.table]))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), longest=st.sampled_from([3, 40, 700, 5_000, 30_000]))
def test_any_cut_of_the_stream_gives_the_same_bits(seed: int, longest: int) -> None:
    rng = np.random.default_rng(seed)
    system = random_system(rng, rng.uniform(42.5, 57.5))
    frames = system.frames(RATE, 2.0 if longest > 3 else 0.3)
    frames[7_000:7_400, :3] *= 0.3
    frames = np.round(frames * 20).astype(np.int16)
    connection = Connection(RATE, u_v_per_count=0.05, i_a_per_count=0.05)
    whole = measure(connection, frames)
    meter = HalfCycleMeter(connection)
    tables = [meter.push(piece).table for piece in cut_randomly(rng, frames, longest)]
    tables.append(meter.finish().table)
    assert np.array_equal(np.concatenate(tables), whole.table)


def test_half_cycles_leave_no_gap_and_count_no_sample_twice() -> None:
    rng = np.random.default_rng(5)
    frames = random_system(rng, 49.3).frames(RATE, 3.0)
    half = measure(Connection(RATE), frames)
    assert np.array_equal(half.start[1:], half.end[:-1])
    assert half.start[0] == -0.5
    assert half.end[-1] == len(frames) - 0.5
    assert half.flags[0] & PARTIAL
    assert half.flags[-1] & PARTIAL
    # the corrections at the crossings cancel: what remains is the plain sum over all samples
    joules = (frames[:, :3] * frames[:, 3:]).sum(axis=0) / RATE
    assert np.allclose(half.energy_j.sum(axis=0), joules, rtol=1e-6)


def test_half_cycles_alternate_and_start_at_the_crossings_of_l1() -> None:
    half = measure(Connection(RATE), symmetrical(f_hz=50.0).frames(RATE, 1.0))
    inner = half[1:-1]
    assert np.all(np.diff((inner.flags & UPWARD) != 0))
    upward = inner.start[(inner.flags & UPWARD) != 0]
    assert np.allclose(np.mod(upward, 200), np.round(np.mod(upward, 200) / 200) * 200, atol=1e-4)


def test_a_dip_does_not_move_the_crossings_and_shows_its_true_depth() -> None:
    """40 % left on all phases for 100 ms from a crossing: 92 V in every cycle inside."""
    frames = symmetrical(f_hz=50.0).frames(RATE, 3.0)
    frames[10_000:11_000, :3] *= 0.4
    half = measure(Connection(RATE), frames)[1:-1]
    assert np.abs(half.duration_s - 0.01).max() < 1e-7
    values = u_half_cycle_v(half)
    at = half.start[: len(values)]
    inside = (at > 10_070) & (at + 200 < 10_999)
    assert inside.sum() >= 6
    assert np.allclose(values[inside][:, 0], 92.0, rtol=1e-4)
    before, after = at + 200 < 9_930, at > 11_070
    assert np.allclose(values[before | after], 230.0, rtol=1e-4)
    assert values[(at > 9_890) & (at < 9_910), 0] == pytest.approx(
        np.sqrt((230**2 + 92**2) / 2), rel=1e-3
    )


@pytest.mark.parametrize("lost", [(0,), (0, 1), (1, 2)])
def test_lost_phases_do_not_lose_the_grid(lost: tuple[int, ...]) -> None:
    frames = symmetrical(f_hz=49.2).frames(RATE, 4.0)
    frames[12_345:, list(lost)] = 0.0
    half = measure(Connection(RATE), frames)[1:-1]
    assert np.abs(half.duration_s * 2 * 49.2 - 1).max() < 2e-4
    late = Quantities.of(half[-60:], 20)
    assert np.allclose(late.frequency_hz, 49.2, rtol=1e-6)
    for phase in range(3):
        expected = 0.0 if phase in lost else 230.0
        assert np.allclose(late.u_v[:, phase], expected, rtol=1e-5, atol=1e-9)


def test_without_any_voltage_the_grid_coasts_and_says_so() -> None:
    frames = symmetrical(f_hz=51.0).frames(RATE, 4.0)
    frames[20_000:30_000, :3] = 0.0
    half = measure(Connection(RATE), frames)[1:-1]
    dark = (half.start > 20_500) & (half.end < 29_500)
    assert np.all(half.flags[dark] & COASTING)
    assert not np.any(half.flags[half.end < 18_000] & COASTING)
    assert not np.any(half.flags[half.start > 33_000] & COASTING)
    assert np.allclose(half.duration_s[dark], 1 / 102.0, rtol=1e-6)
    q = Quantities.of(half[-60:], 20)
    assert np.allclose(q.frequency_hz, 51.0, rtol=1e-6)


def test_a_record_without_voltage_runs_on_the_nominal_frequency() -> None:
    frames = np.zeros((20_000, 6))
    frames[:, 3:] = symmetrical().frames(RATE, 2.0)[:, 3:]
    half = measure(Connection(RATE), frames)
    inner = half[1:-1]
    assert np.allclose(inner.duration_s, 0.01)
    assert np.all(inner.flags & COASTING)
    assert np.allclose(Quantities.of(half, 20).i_a, 5.0, rtol=1e-5)


def test_reversed_phase_order_is_followed_and_flagged() -> None:
    half = measure(Connection(RATE), symmetrical(order=-1, f_hz=50.3, phi=0.4).frames(RATE, 1.0))
    q = Quantities.of(half, 20)
    assert np.all(q.windows.flags & REVERSED)
    assert np.all(q.u_components.sequence == -1)
    assert np.allclose(q.u_v, 230.0, rtol=1e-6)
    assert np.allclose(q.q1_var, 230 * 5 * np.sin(0.4), rtol=1e-5)
    values = u_half_cycle_v(half[1:-1], reversed_order=(half[1:-1].flags & REVERSED) != 0)
    assert np.allclose(values, 230.0, rtol=1e-6)


def test_direct_current_changes_neither_grid_nor_rms() -> None:
    frames = symmetrical(f_hz=50.7).frames(RATE, 1.0)
    frames[:, 0] += 20.0
    frames[:, 3] += 1.5
    q = Quantities.of(measure(Connection(RATE), frames), 20)
    assert np.allclose(q.frequency_hz, 50.7, rtol=1e-6)
    assert np.allclose(q.u_v[:, 0], np.hypot(230, 20), rtol=1e-5)
    assert np.allclose(q.i_a[:, 0], np.hypot(5, 1.5), rtol=1e-5)
    assert np.allclose(q.u_dc_v[:, 0], 20.0, rtol=1e-4)
    assert np.allclose(q.i_dc_a[:, 0], 1.5, rtol=1e-4)
    assert np.allclose(q.u_dc_v[:, 1:], 0.0, atol=1e-4)
    assert np.allclose(q.p_w[:, 0], 230 * 5 + 20 * 1.5, rtol=1e-5)


def test_bad_samples_are_reported_where_they_are_and_poison_nothing() -> None:
    frames = symmetrical().frames(RATE, 1.0).astype(np.float32)
    frames[5_000:5_010, 1] = np.nan
    frames[5_005, 4] = -np.inf
    half = measure(Connection(RATE), frames)
    assert np.all(np.isfinite(half.table))
    bad = half.flags & INVALID != 0
    assert 1 <= bad.sum() <= 2
    assert np.all((half.start[bad] < 5_010) & (half.end[bad] > 4_990))
    clipped = np.clip(symmetrical(u_v=300).frames(RATE, 1.0) * 100, -32_767, 32_767)
    clipped[:5_000] *= 0.5
    connection = Connection(RATE, u_v_per_count=0.01, i_a_per_count=0.01)
    half = measure(connection, clipped.astype(np.int16))
    assert np.all(half.flags[half.start > 5_020] & SATURATED)
    assert not np.any(half.flags[half.end < 4_980] & SATURATED)


@pytest.mark.parametrize("garbage", ["noise", "constant", "nan", "huge"])
def test_garbage_never_crashes(garbage: str) -> None:
    rng = np.random.default_rng(0)
    frames = {
        "noise": rng.normal(0, 100, (30_000, 6)),
        "constant": np.full((30_000, 6), 325.0),
        "nan": np.full((30_000, 6), np.nan),
        "huge": rng.normal(0, 1e30, (30_000, 6)),
    }[garbage]
    half = measure(Connection(RATE), frames)
    assert half.start[0] == -0.5
    assert half.end[-1] == 29_999.5
    assert np.all(half.duration_s > 0)
    assert not np.any(np.isnan(half.table))


def test_sample_types_agree() -> None:
    volts = symmetrical(phi=0.3).frames(RATE, 1.0)
    expected = Quantities.of(measure(Connection(RATE), volts), 20)
    for dtype, scale in (("int16", 0.02), ("int32", 1e-4), ("float32", 1.0), ("float64", 1.0)):
        counts = volts / scale * np.array([1, 1, 1, 40, 40, 40])
        frames = np.round(counts).astype(dtype) if dtype.startswith("int") else counts.astype(dtype)
        connection = Connection(RATE, u_v_per_count=scale, i_a_per_count=scale / 40)
        q = Quantities.of(measure(connection, frames), 20)
        assert np.allclose(q.u_v, expected.u_v, rtol=1e-5), dtype
        assert np.allclose(q.p_w, expected.p_w, rtol=1e-4), dtype


def test_wirings() -> None:
    t = {order: symmetrical(phi=0.5).frames(RATE, 1.0) for order in (1,)}[1]
    one = Quantities.of(measure(Connection(RATE, Wiring.ONE_PHASE), t[:, [0, 3]]), 20)
    assert np.allclose(one.u_v, 230, rtol=1e-6)
    assert np.allclose(one.q1_var, 230 * 5 * np.sin(0.5), rtol=1e-5)
    two = Quantities.of(measure(Connection(RATE, Wiring.TWO_PHASE), t[:, [0, 1, 3, 4]]), 20)
    assert np.allclose(two.u_v, 230, rtol=1e-6)
    assert np.allclose(two.u_line_v, 230 * np.sqrt(3), rtol=1e-6)
    split = System(
        [Tones({1: (120, 0)}), Tones({1: (120, np.pi)})],
        [Tones({1: (10, 0)}), Tones({1: (6, np.pi)})],
        60.0,
    )
    connection = Connection(RATE, Wiring.SPLIT_PHASE, 60, 120.0)
    assert len(Wiring) == 5
    rows = measure(connection, split.frames(RATE, 1.0))
    upward = rows.start[(rows.flags & (UPWARD | PARTIAL)) == UPWARD]
    cycles = upward * 60 / RATE
    assert np.allclose(cycles, np.round(cycles), atol=1e-6)  # where the voltage of L1 rises
    halves = Quantities.of(rows, 24)
    assert np.allclose(halves.p_w, [[1200, 720]], rtol=1e-6)
    assert np.allclose(halves.u_line_v, 240, rtol=1e-6)
    assert np.allclose(halves.i_neutral_a, 4.0, rtol=1e-6)


def test_two_elements_measure_the_power_of_an_unbalanced_three_wire_load() -> None:
    rng = np.random.default_rng(3)
    system = random_system(rng, 50.0, 3, 15)
    four = system.frames(RATE, 1.0)
    u, i = four[:, :3], four[:, 3:]
    i = i - i.mean(axis=1, keepdims=True)  # three wires: the currents add up to zero
    three = np.stack([u[:, 0] - u[:, 1], u[:, 2] - u[:, 1], i[:, 0], i[:, 2]], axis=1)
    q = Quantities.of(measure(Connection(RATE, Wiring.THREE_PHASE_3_WIRE), three), 20)
    assert np.allclose(q.p_total_w, (u * i)[:8_000].sum(axis=1).mean(), rtol=1e-5)
    line = np.sqrt(((u[:8_000, 0] - u[:8_000, 1]) ** 2).mean())
    assert np.allclose(q.u_line_v[:, 0], line, rtol=1e-5)
    assert np.allclose(q.i_a[:, 1], np.sqrt((i[:8_000, 1] ** 2).mean()), rtol=1e-5)


def test_measured_neutral_gives_the_leakage() -> None:
    base = symmetrical().frames(RATE, 1.0)
    base[:, 3] *= 1.2  # 1 A unbalanced
    leak = 0.03 * np.sqrt(2) * np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE)
    neutral = -base[:, 3:].sum(axis=1) + leak
    connection = Connection(RATE, neutral_measured=True)
    q = Quantities.of(measure(connection, np.column_stack([base, neutral])), 20)
    assert np.allclose(q.i_neutral_a, 1.0, rtol=1e-5)
    assert np.allclose(q.i_neutral_measured_a, 0.97, rtol=1e-4)
    assert np.allclose(q.i_residual_a, 0.03, rtol=1e-3)


def test_wrong_frames_are_refused_with_a_remedy() -> None:
    meter = HalfCycleMeter(Connection(RATE))
    with pytest.raises(ValueError, match="order of the wiring"):
        meter.push(np.zeros((10, 4)))
    with pytest.raises(ValueError, match="float32"):
        meter.push(np.zeros((10, 6), np.complex64))
    with pytest.raises(ValueError, match="resample"):
        Connection(1_000.0)
    with pytest.raises(ValueError, match="50 or 60"):
        Connection(RATE, nominal_hz=55)
    with pytest.raises(ValueError, match="u_v_per_count"):
        Connection(RATE, u_v_per_count=(1.0, 2.0))
