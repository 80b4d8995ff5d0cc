"""Dips, swells, interruptions and rapid voltage changes, their duration, depth and flags."""

from __future__ import annotations

import numpy as np
import pytest

from blathy.metrology import Connection, Engine, Measuring, VoltageEventRules, Wiring
from blathy.metrology.aggregation import Span
from blathy.metrology.engine import Measured
from blathy.metrology.voltage_events import FLAGGED, VoltageEvent, VoltageEventKind
from tests.metrology.signals import FloatArray, cut_randomly, symmetrical

RATE = 10_000
CYCLE_S = 0.02 + 1e-6  # durations are whole half cycles, so the limit itself is met


def watched(
    frames: FloatArray, rules: VoltageEventRules | None = None, **connection: object
) -> tuple[list[VoltageEvent], list[Measured]]:
    measuring = Measuring(
        spectrum=False, flicker=False, voltage_events=rules or VoltageEventRules()
    )
    engine = Engine(Connection(RATE, **connection), measuring)  # type: ignore[arg-type]
    parts = [engine.push(frames), engine.finish()]
    return [event for part in parts for event in part.voltage_events], parts


def ended(events: list[VoltageEvent], kind: VoltageEventKind) -> list[VoltageEvent]:
    return [event for event in events if event.kind is kind and event.ended]


@pytest.mark.parametrize("cycles", [2, 5, 50])
@pytest.mark.parametrize("offset", [0, 37, 120])
@pytest.mark.parametrize("residual", [0.85, 0.4, 0.1])
def test_a_dip_has_its_duration_within_a_cycle_and_its_residual_voltage(
    cycles: int, offset: int, residual: float
) -> None:
    frames = symmetrical().frames(RATE, 4.0)
    first, last = 20_000 + offset, 20_000 + offset + 200 * cycles
    frames[first:last, 1] *= residual
    events, _ = watched(frames)
    (dip,) = ended(events, VoltageEventKind.DIP)
    assert dip.duration_s == pytest.approx(cycles * CYCLE_S, abs=CYCLE_S)
    assert dip.start == pytest.approx(first, abs=CYCLE_S * RATE)
    assert dip.phases == 0b010
    assert dip.worst_phase == 2
    assert dip.extreme_v == pytest.approx(230 * residual, abs=0.002 * 230)
    assert dip.depth_v == pytest.approx(230 * (1 - residual), abs=0.002 * 230)
    assert not ended(events, VoltageEventKind.INTERRUPTION)
    began = [e for e in events if e.kind is VoltageEventKind.DIP and not e.ended]
    assert len(began) == 1
    assert began[0].start == dip.start


def test_an_event_on_three_phases_is_one_event() -> None:
    frames = symmetrical().frames(RATE, 4.0)
    frames[20_000:22_000, 0] *= 0.7
    frames[21_000:24_000, 2] *= 0.5
    events, _ = watched(frames)
    (dip,) = ended(events, VoltageEventKind.DIP)
    assert dip.phases == 0b101
    assert dip.worst_phase == 3
    assert dip.duration_s == pytest.approx(0.4, abs=CYCLE_S)


def test_hysteresis_keeps_a_dip_together() -> None:
    """Back to 91 % is not back: threshold 90 %, hysteresis 2 %."""
    frames = symmetrical().frames(RATE, 4.0)
    frames[20_000:30_000, :3] *= 0.91
    frames[22_000:23_000, :3] *= 0.8 / 0.91
    (dip,) = ended(watched(frames)[0], VoltageEventKind.DIP)
    assert dip.duration_s == pytest.approx(0.8, abs=CYCLE_S)


def test_swell_and_interruption() -> None:
    frames = symmetrical().frames(RATE, 6.0)
    frames[10_000:12_000, 0] *= 1.2
    frames[30_000:40_000, :3] *= 0.01
    events, _ = watched(frames)
    (swell,) = ended(events, VoltageEventKind.SWELL)
    assert swell.extreme_v == pytest.approx(276, abs=0.5)
    assert swell.duration_s == pytest.approx(0.2, abs=CYCLE_S)
    (interruption,) = ended(events, VoltageEventKind.INTERRUPTION)
    assert interruption.duration_s == pytest.approx(1.0, abs=CYCLE_S)
    assert interruption.phases == 0b111
    assert interruption.extreme_v < 0.02 * 230


def test_two_dead_phases_are_a_dip_but_no_interruption() -> None:
    frames = symmetrical().frames(RATE, 4.0)
    frames[20_000:30_000, :2] = 0.0
    events, _ = watched(frames)
    assert len(ended(events, VoltageEventKind.DIP)) == 1
    assert not ended(events, VoltageEventKind.INTERRUPTION)


def test_flags_reach_everything_the_event_touched_and_nothing_else() -> None:
    frames = symmetrical().frames(RATE, 8.0)
    frames[40_000:40_600, 1] *= 0.5
    _, parts = watched(frames)
    for part in parts:
        if part.blocks is None:
            continue
        windows = part.blocks.quantities.windows
        touched = (windows.end > 39_700) & (windows.start < 40_900)
        clearly = (windows.end > 40_000) & (windows.start < 40_600)
        flagged = windows.flags & FLAGGED != 0
        assert np.all(flagged[clearly])
        assert not np.any(flagged[~touched])
    short = [i for part in parts for i in part.intervals if i.span.value == "150/180 cycles"]
    # 1.6 s of L2 at half voltage; the second 3-s interval holds it
    assert [bool(i.flags & FLAGGED) for i in short[:2]] == [False, True]


def test_a_dip_flags_its_ten_minutes_its_two_hours_its_flicker_and_its_frequency() -> None:
    """From 9:59:48 to 10:00:12: the dip lies before the tick, what begins there is clean."""
    rate = 4_000
    frames = symmetrical().frames(rate, 24.0)[:, [0, 3]]
    frames[5 * rate : 5 * rate + 400, 0] *= 0.6
    start = 36_000 * 1_000_000_000 - 12_000_000_000
    engine = Engine(Connection(rate, Wiring.ONE_PHASE), None, start)
    parts = [engine.push(frames), engine.finish()]
    intervals = [i for part in parts for i in part.intervals]
    for span in (Span.MINUTES_10, Span.HOURS_2):  # ten o'clock is the end of two hours as well
        found = [i for i in intervals if i.span is span]
        assert [bool(i.flags & FLAGGED) for i in found] == [True, False]
    flicker = [f for part in parts for f in part.flicker]
    for long_term in (False, True):
        assert [f.flagged for f in flicker if f.long_term is long_term] == [True, False]
    frequency = {f.start_utc_s: f.flags for part in parts for f in part.frequencies}
    assert frequency[35_990] & FLAGGED
    assert not frequency[36_000] & FLAGGED


def test_rapid_voltage_change() -> None:
    """A step of 4 % that stays within the dip threshold; steady before and after."""
    frames = symmetrical().frames(RATE, 8.0)
    frames[40_000:, :3] *= 0.96
    events, _ = watched(frames)
    (change,) = ended(events, VoltageEventKind.RAPID_CHANGE)
    assert change.steady_change_v == pytest.approx(0.04 * 230, rel=1e-2)
    assert change.extreme_v == pytest.approx(0.04 * 230, rel=1e-2)
    assert change.start == pytest.approx(40_000, abs=CYCLE_S * RATE)
    assert change.duration_s < 2 * CYCLE_S
    slow = symmetrical().frames(RATE, 8.0)
    slow[:, :3] *= np.interp(np.arange(len(slow)), [20_000, 70_000], [1.0, 0.96])[:, None]
    assert not ended(watched(slow)[0], VoltageEventKind.RAPID_CHANGE)
    frames[41_000:42_000, :3] *= 0.5  # now it is a dip
    assert not ended(watched(frames)[0], VoltageEventKind.RAPID_CHANGE)


def test_sliding_reference_follows_the_voltage() -> None:
    """At a steady 85 % a fixed reference sees one endless dip, a sliding one none."""
    frames = symmetrical(u_v=0.93 * 230).frames(RATE, 3.0)
    frames = np.tile(frames, (40, 1))
    frames[-10_000:, :3] *= 0.955  # 88.8 % of nominal, 92 % and more of what was there
    fixed, _ = watched(frames)
    sliding, _ = watched(frames, VoltageEventRules(sliding_reference=True))
    assert [e.ended for e in fixed if e.kind is VoltageEventKind.DIP] == [False]
    assert not [e for e in sliding if e.kind is VoltageEventKind.DIP]


def test_three_wire_systems_are_watched_between_lines() -> None:
    frames = symmetrical().frames(RATE, 4.0)
    u = frames[:, :3]
    three = np.stack([u[:, 0] - u[:, 1], u[:, 2] - u[:, 1], frames[:, 3], frames[:, 5]], axis=1)
    three[20_000:21_000, :2] *= 0.6
    events, _ = watched(three, wiring=Wiring.THREE_PHASE_3_WIRE)
    (dip,) = ended(events, VoltageEventKind.DIP)
    assert dip.reference_v == pytest.approx(230 * np.sqrt(3))
    assert dip.extreme_v == pytest.approx(0.6 * 230 * np.sqrt(3), rel=2e-3)


def test_events_do_not_depend_on_the_cut() -> None:
    rng = np.random.default_rng(2)
    frames = symmetrical(f_hz=49.8).frames(RATE, 6.0)
    for _ in range(4):
        at = int(rng.integers(5_000, 55_000))
        frames[at : at + int(rng.integers(200, 2_000)), int(rng.integers(0, 3))] *= rng.uniform(
            0, 1
        )
    whole, _ = watched(frames)
    engine = Engine(Connection(RATE), Measuring(spectrum=False, flicker=False))
    parts = [engine.push(piece) for piece in cut_randomly(rng, frames, 3_000)]
    parts.append(engine.finish())
    events = [event for part in parts for event in part.voltage_events]
    assert [repr(e) for e in events] == [repr(e) for e in whole]


def test_impossible_thresholds_are_refused() -> None:
    with pytest.raises(ValueError, match="interruption < dip < 1 < swell"):
        VoltageEventRules(dip=1.05)
    with pytest.raises(ValueError, match="below their threshold"):
        VoltageEventRules(rapid_change=0.02, rapid_change_hysteresis=0.02)
