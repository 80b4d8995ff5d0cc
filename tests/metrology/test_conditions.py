"""Conditions of supply and installation: each one alone, with its delay and its end."""

from __future__ import annotations

import numpy as np
import pytest

from blathy.metrology import Connection, Engine, Measuring, Wiring
from blathy.metrology.conditions import Condition, ConditionChange, Limit
from tests.metrology.signals import FloatArray, Tones, symmetrical

RATE = 6_400


def changes(frames: FloatArray, connection: Connection | None = None) -> list[ConditionChange]:
    limits = {
        Condition.PHASE_LOST: Limit(50.0, 5.0, 0.4),
        Condition.UNDERVOLTAGE: Limit(90.0, 1.0, 0.4),
        Condition.OVERVOLTAGE: Limit(110.0, 1.0, 0.4),
        Condition.OVERCURRENT: Limit(120.0, 5.0, 0.4),
        Condition.CURRENT_WITHOUT_VOLTAGE: Limit(2.0, 0.5, 0.4),
        Condition.MISSING_CURRENT: Limit(1.0, 0.5, 0.4),
        Condition.REVERSED_CURRENT: Limit(-5.0, 2.0, 0.4),
        Condition.WRONG_SEQUENCE: Limit(200.0, 50.0, 0.4),
        Condition.VOLTAGE_UNBALANCE: Limit(2.0, 0.2, 0.4),
        Condition.CURRENT_UNBALANCE: Limit(60.0, 5.0, 0.4),
        Condition.NEUTRAL_BROKEN: Limit(15.0, 3.0, 0.4),
        Condition.THD_U: Limit(8.0, 0.5, 0.4),
    }
    engine = Engine(connection or Connection(RATE), Measuring(flicker=False, conditions=limits))
    parts = [engine.push(frames), engine.finish()]
    return [change for part in parts for change in part.conditions]


def seen(found: list[ConditionChange]) -> set[tuple[Condition, int]]:
    return {(change.condition, change.phase) for change in found if change.began}


def healthy(duration_s: float = 6.0) -> FloatArray:
    return symmetrical().frames(RATE, duration_s)


MIDDLE = slice(2 * RATE, 4 * RATE)


def test_a_healthy_supply_is_silent() -> None:
    assert changes(healthy()) == []


def test_a_condition_begins_after_its_delay_and_ends_with_its_worst_figure() -> None:
    frames = healthy()
    frames[MIDDLE, 1] *= 1.15
    found = [change for change in changes(frames) if change.condition is Condition.OVERVOLTAGE]
    begin, end = found
    assert (begin.condition, begin.phase, begin.began) == (Condition.OVERVOLTAGE, 2, True)
    assert begin.at / RATE == pytest.approx(2.0, abs=0.25)
    assert not end.began
    assert end.figure == pytest.approx(115, abs=0.01)
    assert end.duration_s == pytest.approx(2.0, abs=0.25)
    frames = healthy()
    frames[2 * RATE : 2 * RATE + RATE // 5, 1] *= 1.15  # 0.2 s: shorter than the delay
    assert changes(frames) == []


def test_lost_phase_and_current_without_voltage() -> None:
    frames = healthy()
    frames[MIDDLE, 2] = 0.0
    found = seen(changes(frames))
    assert (Condition.PHASE_LOST, 3) in found
    assert (Condition.CURRENT_WITHOUT_VOLTAGE, 3) in found


def test_current_conditions() -> None:
    frames = healthy()
    frames[MIDDLE, 3] *= 1.3
    assert seen(changes(frames)) == {(Condition.OVERCURRENT, 1)}
    frames = healthy()
    frames[MIDDLE, 4] *= 0.001
    assert seen(changes(frames)) == {
        (Condition.MISSING_CURRENT, 2),
        (Condition.CURRENT_UNBALANCE, 0),
    }
    frames = healthy()
    frames[MIDDLE, 5] *= -1  # a current transformer turned round
    assert seen(changes(frames)) == {(Condition.REVERSED_CURRENT, 3)}
    frames = healthy()
    frames[MIDDLE, 3:] *= -1  # a whole site that exports is no fault
    assert changes(frames) == []


def test_wrong_sequence() -> None:
    assert seen(changes(symmetrical(order=-1).frames(RATE, 3.0))) == {(Condition.WRONG_SEQUENCE, 0)}


def test_unbalance_and_distortion() -> None:
    frames = healthy()
    frames[MIDDLE, 0] *= 0.92
    assert seen(changes(frames)) == {(Condition.VOLTAGE_UNBALANCE, 0)}
    frames = healthy()
    t = np.arange(len(frames)) / RATE
    frames[:, 1] += Tones({5: (0.1 * 230, 0.0)}).at(t, 50.0)
    assert seen(changes(frames)) == {(Condition.THD_U, 2)}


def test_a_broken_neutral_moves_the_star_point_while_the_lines_stay() -> None:
    frames = healthy()
    t = np.arange(len(frames)) / RATE
    shift = 60 * np.sqrt(2) * np.sin(2 * np.pi * 50 * t + 0.4)
    frames[MIDDLE, :3] += shift[MIDDLE, None]
    assert (Condition.NEUTRAL_BROKEN, 0) in seen(changes(frames))
    dip = healthy()
    dip[MIDDLE, 0] *= 0.5  # a deep unsymmetrical dip is no broken neutral
    assert (Condition.NEUTRAL_BROKEN, 0) not in seen(changes(dip))


def test_one_phase_meters_name_their_only_phase() -> None:
    frames = healthy()[:, [0, 3]]
    frames[MIDDLE, 0] *= 0.8
    connection = Connection(RATE, Wiring.ONE_PHASE)
    assert seen(changes(frames, connection)) == {(Condition.UNDERVOLTAGE, 1)}
