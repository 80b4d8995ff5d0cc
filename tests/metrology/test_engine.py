"""The engine as a whole: base intervals on the UTC tick, aggregates, profiles, the registers."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blathy.metrology import Connection, Engine, Measured, Measuring, Wiring
from blathy.metrology.aggregation import Interval, Span
from blathy.metrology.energy import MEASURES
from blathy.metrology.interval_values import INSTANTS
from blathy.quantity import Measure
from blathy.registers.block import ENERGY_MEASURES, INSTANT_COLUMNS, PHASES
from tests.metrology.signals import FloatArray, cut_randomly, random_system, symmetrical

RATE = 10_000
NS = 1_000_000_000


def run(
    frames: NDArray[Any],
    start_utc_s: float = 0.0,
    measuring: Measuring | None = None,
    connection: Connection | None = None,
) -> list[Measured]:
    engine = Engine(connection or Connection(RATE), measuring, round(start_utc_s * NS))
    return [engine.push(frames), engine.finish()]


def intervals(parts: list[Measured], span: Span) -> list[Interval]:
    return [i for part in parts for i in part.intervals if i.span is span]


def test_the_layout_is_that_of_the_register_engine() -> None:
    assert len(ENERGY_MEASURES) == MEASURES
    assert [m.value for m in ENERGY_MEASURES] == [1, 2, 5, 6, 7, 8, 9, 10]
    assert ENERGY_MEASURES[0] is Measure.A_IMPORT
    assert len(INSTANT_COLUMNS) == INSTANTS
    assert len(PHASES) == 4


def test_instants_carry_every_column_in_its_place() -> None:
    frames = symmetrical(phi=0.5, f_hz=50.1).frames(RATE, 5.0)
    frames[:, 3] *= 1.4
    t = np.arange(len(frames)) / RATE
    frames[:, 0] += 0.05 * 230 * np.sqrt(2) * np.sin(2 * np.pi * 50.1 * 5 * t)
    parts = run(frames)
    row = np.concatenate([part.instants for part in parts])[2]
    got = {f"{name}.{phase.name}": int(v) for (name, phase), v in zip(INSTANT_COLUMNS, row)}  # noqa: B905
    p = 230 * 5 * np.cos(0.5)
    expected = {
        "u_mv.L1": 230_000 * np.hypot(1, 0.05), "u_mv.L2": 230_000, "i_ma.L1": 7_000,
        "i_ma.L2": 5_000, "i_ma.TOTAL": 7_000, "p_mw.L1": 1.4e3 * p, "p_mw.L3": 1e3 * p,
        "p_mw.TOTAL": 3.4e3 * p, "q_mvar.L2": 1e3 * 230 * 5 * np.sin(0.5), "s_mva.L3": 1_150_000,
        "pf_milli.L2": 1e3 * np.cos(0.5), "i_n_ma.TOTAL": 2_000, "f_mhz.TOTAL": 50_100,
        "thd_u_milli_percent.L1": 5_000, "thd_u_milli_percent.L2": 0, "angle_u_mdeg.L1": 0,
        "angle_u_mdeg.L2": 120_000, "angle_u_mdeg.L3": 240_000,
        "angle_i_mdeg.L1": np.degrees(0.5) * 1e3,
        "angle_i_mdeg.L3": 240_000 + np.degrees(0.5) * 1e3,
    }  # fmt: skip
    for name, figure in expected.items():
        assert got[name] == pytest.approx(figure, rel=2e-5, abs=3), name
    assert list(np.concatenate([part.supply for part in parts])[:3]) == [7, 7, 7]


def test_base_intervals_restart_on_the_ten_minute_tick() -> None:
    """From 9:55 to 10:06: one interval ends on the tick with an overlap, the next begins there."""
    frames = np.tile(symmetrical(f_hz=49.93).frames(RATE, 100.0), (1, 1))
    start = 36_000.0 - 50.0
    parts = run(frames, start, Measuring(spectrum=False, flicker=False))
    starts = np.concatenate([p.blocks.start_utc_ns for p in parts if p.blocks is not None])
    ends = np.concatenate([p.blocks.end_utc_ns for p in parts if p.blocks is not None])
    after = np.concatenate([p.blocks.after_tick for p in parts if p.blocks is not None])
    tick = 36_000 * NS
    first_after = int(np.flatnonzero(starts >= tick)[0])
    assert after[first_after]
    assert 0 <= starts[first_after] - tick < 0.0201 * NS
    assert ends[first_after - 1] > starts[first_after]  # the one in progress was completed
    gaps = starts[1:] - ends[:-1]
    assert np.all(np.abs(np.delete(gaps, first_after - 1)) <= 1)
    ten = intervals(parts, Span.MINUTES_10)
    assert len(ten) == 2
    assert ten[0].count == first_after
    assert ten[1].start_utc_ns == starts[first_after]
    short = intervals(parts, Span.CYCLES_150)
    assert all(i.count == 15 for i in short[:-1])
    assert any(i.start_utc_ns == starts[first_after] for i in short)


def test_two_hours_are_twelve_times_ten_minutes() -> None:
    """Fed with base intervals alone; the samples of two hours would take a minute."""
    engine = Engine(Connection(RATE), Measuring(spectrum=False, flicker=False, conditions=None))
    half = engine.meter.push(symmetrical().frames(RATE, 3.0))
    template = half.table[(half.flags & 1) == 0][1:101]
    template = template[: len(template) // 2 * 2]
    length = template[-1, 1] - template[0, 0]
    done: list[Interval] = []
    for k in range(int(7_205 / (length / RATE))):
        rows = template.copy()
        rows[:, :2] += k * length - template[0, 0]
        run_ = _blocks_of(engine, rows)
        done += run_
    done += engine._aggregator.finish()
    ten = [i for i in done if i.span is Span.MINUTES_10]
    long = [i for i in done if i.span is Span.HOURS_2]
    assert all(i.count in {3_000, 3_001} for i in ten[:12])
    assert long[0].count == 12
    assert long[0].u_v == pytest.approx([230] * 3, rel=1e-6)


def _blocks_of(engine: Engine, rows: FloatArray) -> list[Interval]:
    from blathy.metrology.aggregation import BaseIntervals
    from blathy.metrology.quantities import Quantities

    windows, after = engine._schedule.add(engine.meter.half_cycles(rows))
    if not len(windows):
        return []
    blocks = BaseIntervals(
        Quantities(windows, 20),
        None,
        after,
        engine._schedule.utc_ns(windows.start),
        engine._schedule.utc_ns(windows.end),
    )
    return engine._aggregator.add(blocks)


def test_aggregates_are_roots_of_mean_squares() -> None:
    frames = symmetrical().frames(RATE, 60.0)
    frames[300_000:, :3] *= 1.08
    parts = run(frames, 600.0)
    (ten,) = intervals(parts, Span.MINUTES_10)
    assert ten.u_v == pytest.approx([230 * np.sqrt((1 + 1.08**2) / 2)] * 3, rel=2e-4)
    assert ten.frequency_hz == pytest.approx(50.0, rel=1e-6)
    assert ten.harmonic[0, 1] == pytest.approx(ten.u_v[0], rel=1e-4)
    assert ten.over_deviation_percent == pytest.approx([100 * (ten.u_v[0] / 230 - 1)] * 3, abs=0.02)
    assert ten.under_deviation_percent == pytest.approx([0] * 3, abs=1e-4)


def test_ten_second_values_hold_extremes_with_their_times() -> None:
    frames = symmetrical().frames(RATE, 45.0)
    frames[126_000:136_000, 0] *= 0.97  # the second from 12.6
    parts = run(frames, 1_200.0)
    tens = [t for part in parts for t in part.ten_seconds]
    starts = [t.start_utc_s + 10 * k for t in tens for k in range(len(t))]
    assert starts == [1_200, 1_210, 1_220, 1_230, 1_240]
    mean = np.concatenate([t.mean for t in tens])
    low = np.concatenate([t.minimum for t in tens])
    low_at = np.concatenate([t.minimum_at_utc_s for t in tens])
    count = np.concatenate([t.count for t in tens])
    assert list(count[1:4]) == [10, 10, 10]
    assert low[1, 0] == pytest.approx(230 * np.sqrt(0.4 + 0.6 * 0.97**2), rel=2e-3)
    assert low_at[1, 0] in {1_212, 1_213}
    assert mean[1, 0] == pytest.approx(230 * np.sqrt(0.9 + 0.1 * 0.97**2), rel=1e-4)
    assert mean[2, 0] == pytest.approx(230.0, rel=1e-6)
    fives = [f for part in parts for f in part.five_minutes]
    assert fives[0].start_utc_s == 1_200
    assert fives[0].count[0] == 5


def test_frequency_of_ten_seconds_counts_whole_cycles() -> None:
    parts = run(symmetrical(f_hz=49.95).frames(RATE, 25.0), 100.0)
    values = [f for part in parts for f in part.frequencies]
    assert [f.start_utc_s for f in values] == [100, 110, 120]
    assert all(f.frequency_hz == pytest.approx(49.95, abs=1e-6) for f in values)


def test_everything_is_the_same_for_any_cut() -> None:
    rng = np.random.default_rng(11)
    frames = random_system(rng, 50.21).frames(RATE, 24.0).astype(np.float32)
    frames[90_000:91_500, 1] *= 0.6
    whole = run(frames, 590.0)
    engine = Engine(Connection(RATE), None, 590 * NS)
    cut = [engine.push(piece) for piece in cut_randomly(rng, frames, 12_000)]
    cut.append(engine.finish())

    def joined(parts: list[Measured], name: str) -> FloatArray:
        found = [getattr(part, name) for part in parts]
        return np.concatenate([f for f in found if f is not None])

    for name in ("instants", "supply", "thd_percent"):
        assert np.array_equal(joined(cut, name), joined(whole, name), equal_nan=True), name
    for name in ("voltage_events", "conditions", "frequencies"):
        mine = [repr(x) for part in cut for x in getattr(part, name)]
        assert mine == [repr(x) for part in whole for x in getattr(part, name)], name
    for one, other in zip(
        [x for part in cut for x in part.flicker], [x for part in whole for x in part.flicker],
        strict=True,
    ):  # fmt: skip
        assert one.start_utc_ns == other.start_utc_ns
        assert np.array_equal(one.severity, other.severity, equal_nan=True)
    lines = [
        np.concatenate([p.blocks.spectra.lines for p in parts if p.blocks and p.blocks.spectra])
        for parts in (cut, whole)
    ]
    assert np.array_equal(lines[0], lines[1])
    for span in Span:
        for a, b in zip(intervals(cut, span), intervals(whole, span), strict=True):
            assert np.array_equal(a.mean, b.mean, equal_nan=True)


@pytest.mark.parametrize("wiring", [w for w in Wiring if w is not Wiring.THREE_PHASE_3_WIRE])
def test_every_wiring_measures_everything(wiring: Wiring) -> None:
    rng = np.random.default_rng(1)
    system = random_system(rng, 60.0, wiring.phases, 20, 120.0)
    connection = Connection(12_000, wiring, 60, 120.0)
    parts = run(system.frames(12_000, 12.0), 0.0, None, connection)
    total = sum(part.seconds.energy_u.sum(axis=0) for part in parts)
    power = sum(u.power(i) for u, i in zip(system.voltages, system.currents, strict=True))
    assert total[0, 0] - total[0, 1] == pytest.approx(power * 12 / 3.6e-3, rel=1e-3)
    assert sum(len(part.blocks) for part in parts if part.blocks is not None) >= 50


def test_garbage_goes_through_the_whole_engine() -> None:
    rng = np.random.default_rng(0)
    for frames in (
        np.zeros((40_000, 6)),
        rng.normal(0, 50, (40_000, 6)),
        np.full((40_000, 6), np.nan),
        np.full((40_000, 6), 32_767, np.int16),
    ):
        parts = run(frames)
        assert sum(float(part.seconds.time_s.sum()) for part in parts) == pytest.approx(4.0)


def test_a_record_shorter_than_a_cycle_is_not_lost() -> None:
    frames = symmetrical().frames(RATE, 0.015)
    parts = run(frames)
    joules = (frames[:, :3] * frames[:, 3:]).sum() / RATE
    total = sum(part.seconds.energy_u.sum(axis=0) for part in parts)[0]
    assert total[0] - total[1] == pytest.approx(joules / 3.6e-3, abs=2)


def test_importing_compiles_nothing() -> None:
    code = (
        "import numba.core.dispatcher as d\n"
        "calls = []\n"
        "old = d.Dispatcher.compile\n"
        "d.Dispatcher.compile = lambda self, sig: calls.append(sig) or old(self, sig)\n"
        "import blathy.metrology\n"
        "assert not calls, calls\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_memory_does_not_grow_with_the_record() -> None:
    """Everything is switched on, and the record crosses ticks of ten minutes."""
    rate = 4_000
    part = symmetrical().frames(rate, 4.0)[:, [0, 3]].astype(np.float32)
    engine = Engine(Connection(rate, Wiring.ONE_PHASE))
    held = []
    for count in range(22 * 15):
        if count == 10 * 15:
            tracemalloc.start()
        engine.push(part)
        if count in {11 * 15, 22 * 15 - 1}:
            held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] - held[0] < 100_000  # eleven minutes of these samples are 21 MB
