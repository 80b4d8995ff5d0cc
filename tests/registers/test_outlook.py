"""What is told ahead of the books is what they hold when they get there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blathy.quantity import Kind, Measure, Phase, Source
from blathy.registers.ledger import Ledger
from blathy.registers.plan import POWER_FAILURES, CounterPlan
from tests.registers.intervals import (
    QUARTER,
    UTC_2026,
    A,
    block,
    full_plan,
    instant,
    random_block,
    rate,
)

_PHASES = frozenset({"phase_lost", "phase_returned"})
PLAN = full_plan(
    counters=(
        *POWER_FAILURES, CounterPlan("sags", frozenset({"sag_start"})),
        CounterPlan("phases", _PHASES),
        CounterPlan("overvoltages", frozenset({"overvoltage_start"})),
    ),
)  # fmt: skip
MARCH_DST = 1_774_717_200
MONTH_END = 1_777_582_500
SOURCES = (
    A, rate(1), rate(2), rate(3), Source(Kind.ENERGY, Measure.R_PLUS),
    Source(Kind.ENERGY, Measure.A_NET), Source(Kind.ENERGY, Measure.A_IMPORT, Phase.L2),
    *(
        Source(kind, measure)
        for kind in (Kind.DEMAND, Kind.LAST_DEMAND, Kind.MAX_DEMAND, Kind.CUMULATIVE_MAX)
        for measure in (Measure.A_IMPORT, Measure.R_PLUS)
    ),
    Source(Kind.MAX_DEMAND, Measure.A_IMPORT, tariff=2),
    instant(Measure.U, Phase.L1, Kind.MEAN), instant(Measure.R3, Phase.L2, Kind.MAXIMUM),
    Source(Kind.DELTA, Measure.A_IMPORT), Source(Kind.STATUS),
    *(
        Source(Kind.COUNTER, name=name)
        for name in (
            "pulses_1", "pulses_2", "operating_s", "power_failures", "sags", "phases",
            "overvoltages", "billing_resets", "active_rate",
        )
    ),
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    start=st.sampled_from([UTC_2026, UTC_2026 + 437, MARCH_DST, MONTH_END]),
    step_s=st.sampled_from([1, 60, 97, 900, 3600]),
    n=st.integers(2, 60),
    drift_ppb=st.sampled_from([0, -20_000, 900_000]),
)
def test_every_value_that_is_told_comes(
    seed: int, start: int, step_s: int, n: int, drift_ppb: int
) -> None:
    """From every interval with supply on, against the books that go there one by one."""
    whole = random_block(np.random.default_rng(seed), start, n, step_s)
    ledger = Ledger(PLAN, start, drift_ppb=drift_ppb)
    told: list[tuple[int, Source, list[int]]] = []
    came: list[dict[Source, int]] = []
    for index in range(n):
        same = np.flatnonzero((whole.supply[index:] != 0) != (whole.supply[index] != 0))
        end = index + int(same[0]) if len(same) else n
        if whole.supply[index] and ledger.powered:
            outlook = ledger.outlook(whole.cut(index, end))
            told += [(index, source, outlook.values(source).tolist()) for source in SOURCES]
        ledger.step(whole.cut(index, index + 1))
        books = ledger.snapshot()
        came.append({source: books.value(source) for source in SOURCES})
    for index, source, values in told:
        assert values == [came[index + n][source] for n in range(len(values))], (index, source)


@pytest.mark.parametrize(
    ("source", "intervals"),
    [
        (A, 60), (rate(1), 60), (rate(2), 60), (Source(Kind.COUNTER, name="operating_s"), 60),
        (Source(Kind.DEMAND, Measure.A_IMPORT), 14), (Source(Kind.MAX_DEMAND, A.measure), 14),
        (Source(Kind.DEMAND, Measure.R_PLUS), 4), (Source(Kind.COUNTER, name="sags"), 59),
    ],
)  # fmt: skip
def test_so_much_is_told_of_an_hour_without_events(source: Source, intervals: int) -> None:
    """Of demands up to the interval in which their period ends, of the rest the whole stretch."""
    ledger = Ledger(PLAN, UTC_2026)
    ledger.step(block(UTC_2026, QUARTER // 60))
    outlook = ledger.outlook(block(ledger.now, 60))
    assert len(outlook.values(source)) == intervals


def test_what_the_books_do_not_keep_is_not_told() -> None:
    ledger = Ledger(PLAN, UTC_2026)
    with pytest.raises(LookupError):
        ledger.outlook(block(UTC_2026, 5)).values(Source(Kind.COUNTER, name="nothing"))
