"""The ledger's first promise: however the same intervals are cut into blocks, the books agree."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blathy.quantity import Kind, Source
from blathy.registers.block import Block
from blathy.registers.ledger import Ledger
from blathy.registers.plan import ProfilePlan
from tests.registers.intervals import UTC_2026, full_plan, random_block

PLAN = full_plan()
FLOWING = (
    Source(Kind.COUNTER, name="pulses_2"),
    Source(Kind.COUNTER, name="operating_s"),
    Source(Kind.COUNTER, name="pulses_1"),
)
"""Counters that run with the intervals, so that their rows need no cut of the block."""
COUNTING = full_plan(
    profiles=(
        ProfilePlan("flowing", FLOWING, 3600, 400),
        ProfilePlan("cut", (*FLOWING, Source(Kind.COUNTER, name="power_failures")), 3600, 400),
    )
)
MARCH_DST = 1_774_717_200
"""2026-03-28T17:00:00Z: hours before the hour that does not occur in Budapest."""
OCTOBER_DST = 1_792_863_000
"""2026-10-24T17:30:00Z: hours before the hour that occurs twice."""
MONTH_END = 1_777_582_500
"""2026-04-30T20:55:00Z: before a month ends and the special day begins."""


def run(ledger: Ledger, whole: Block, cuts: list[int]) -> list[object]:
    happened: list[object] = []
    edges = [0, *sorted(set(cuts)), len(whole)]
    for first, last in pairwise(edges):
        happened += ledger.step(whole.cut(first, last))
    return happened


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    start=st.sampled_from([UTC_2026, UTC_2026 + 437, MARCH_DST, OCTOBER_DST, MONTH_END]),
    step_s=st.sampled_from([1, 60, 97, 300, 900, 3600]),
    n=st.integers(1, 300),
    drift_ppb=st.sampled_from([0, 5_000, -20_000, 900_000]),
    cuts=st.lists(st.integers(1, 299), max_size=12),
)
def test_any_cut_gives_the_same_books(
    seed: int, start: int, step_s: int, n: int, drift_ppb: int, cuts: list[int]
) -> None:
    whole = random_block(np.random.default_rng(seed), start, n, step_s)
    at_once = Ledger(PLAN, start, drift_ppb=drift_ppb)
    in_parts = Ledger(PLAN, start, drift_ppb=drift_ppb)
    one = run(at_once, whole, [])
    assert run(in_parts, whole, [c for c in cuts if c < n]) == one
    assert in_parts.state_hash() == at_once.state_hash()
    assert in_parts.state_bytes() == at_once.state_bytes()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    start=st.sampled_from([UTC_2026, UTC_2026 + 437, MARCH_DST, OCTOBER_DST]),
    step_s=st.sampled_from([1, 60, 97, 900, 3600, 7200]),
    n=st.integers(1, 300),
    drift_ppb=st.sampled_from([0, -20_000, 900_000]),
    cuts=st.lists(st.integers(1, 299), max_size=12),
)
def test_counters_of_a_profile_are_the_same_with_and_without_cutting_at_its_rows(
    seed: int, start: int, step_s: int, n: int, drift_ppb: int, cuts: list[int]
) -> None:
    whole = random_block(np.random.default_rng(seed), start, n, step_s)
    at_once = Ledger(COUNTING, start, drift_ppb=drift_ppb)
    in_parts = Ledger(COUNTING, start, drift_ppb=drift_ppb)
    assert run(in_parts, whole, [c for c in cuts if c < n]) == run(at_once, whole, [])
    assert in_parts.state_bytes() == at_once.state_bytes()
    profiles = at_once.snapshot().profiles
    flowing, cut = profiles["flowing"].rows(), profiles["cut"].rows()
    assert flowing.tolist() == cut[:, :-1].tolist()


def test_a_row_of_counters_holds_what_was_counted_until_its_end() -> None:
    whole = random_block(np.random.default_rng(4), UTC_2026, 300, 60)
    supply = np.full(300, 7, dtype=np.uint8)
    whole = Block(UTC_2026, 60, whole.energy_u, whole.instant, supply, pulses=whole.pulses)
    ledger = Ledger(COUNTING, UTC_2026)
    ledger.step(whole)
    assert whole.pulses is not None
    counted = np.cumsum(whole.pulses, axis=0)[59::60]
    rows = ledger.snapshot().profiles["flowing"].rows()
    assert rows[:, 2].tolist() == counted[:, 1].tolist()
    assert rows[:, 3].tolist() == [3600, 7200, 10_800, 14_400, 18_000]
    assert rows[:, 4].tolist() == counted[:, 0].tolist()


@pytest.mark.parametrize("start", [UTC_2026, MARCH_DST, OCTOBER_DST, MONTH_END])
@pytest.mark.parametrize("seed", range(3))
def test_one_interval_at_a_time_gives_the_same_books(start: int, seed: int) -> None:
    whole = random_block(np.random.default_rng(seed), start, 800, 60)
    at_once, singly = Ledger(PLAN, start), Ledger(PLAN, start)
    assert run(at_once, whole, []) == run(singly, whole, list(range(1, 800)))
    assert at_once.state_hash() == singly.state_hash()
