"""The ledger's first promise: however the same intervals are cut into blocks, the books agree."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blathy.registers.block import Block
from blathy.registers.ledger import Ledger
from tests.registers.intervals import UTC_2026, full_plan, random_block

PLAN = full_plan()
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


@settings(max_examples=60, deadline=None)
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


@pytest.mark.parametrize("start", [UTC_2026, MARCH_DST, OCTOBER_DST, MONTH_END])
@pytest.mark.parametrize("seed", range(3))
def test_one_interval_at_a_time_gives_the_same_books(start: int, seed: int) -> None:
    whole = random_block(np.random.default_rng(seed), start, 800, 60)
    at_once, singly = Ledger(PLAN, start), Ledger(PLAN, start)
    assert run(at_once, whole, []) == run(singly, whole, list(range(1, 800)))
    assert at_once.state_hash() == singly.state_hash()
