"""Questions to the readings: sums are exact, missing is never zero, peaks survive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blathy.headend.database import Database
from blathy.headend.inventory.registry import Inventory
from blathy.headend.inventory.sealing import Sealer
from blathy.headend.readings.export import to_csv, to_parquet
from blathy.headend.readings.rules import Case, judge
from blathy.headend.readings.series import QueryError, read_profile, read_series
from tests.headend.conftest import NOON
from tests.headend.fake_meters import ZONE, demo_site
from tests.headend.test_ingest import STEP, batch, channel_of, take

MIDNIGHT = int(ZONE.day_start(ZONE.day_of(NOON - 4 * 86_400)))


@pytest.fixture
def store(tmp_path: Path) -> Database:
    database = Database.in_file(tmp_path / "store.sqlite")
    Inventory(database, Sealer(b"k" * 32)).load(demo_site(2), NOON)
    return database


def fill(store: Database, registers: dict[int, int], slug: str = "a_import") -> None:
    channel = channel_of(store, slug)
    take(store, batch(channel, [MIDNIGHT + n * STEP for n in registers], list(registers.values())))


def test_missing_is_a_gap_and_the_day_is_still_exact(store: Database) -> None:
    fill(store, {n: 100 * n for n in range(-1, 96) if not 30 <= n < 40})
    channel = channel_of(store)
    end = MIDNIGHT + 86_400
    slots = store.read_now(lambda c: read_profile(c, channel, ZONE, MIDNIGHT, end, "slot"))
    assert [b.value for b in slots.buckets[28:42]] == [100, 100, *[None] * 11, 100]
    day = store.read_now(lambda c: read_profile(c, channel, ZONE, MIDNIGHT, end, "day"))
    assert day.buckets[0].value == 9600  # by the registers at both ends
    assert day.buckets[0].quality == "suspect"
    assert (day.buckets[0].received, day.buckets[0].expected) == (85, 96)
    assert (day.first_register, day.last_register) == (-100, 9500)
    store.close()


@settings(max_examples=10, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 5000)), min_size=97, max_size=97))
def test_buckets_agree_with_a_plain_sum(
    tmp_path_factory: pytest.TempPathFactory, amounts: list[int | None]
) -> None:
    database = Database.in_file(tmp_path_factory.mktemp("series") / "s.sqlite")
    try:
        Inventory(database, Sealer(b"k" * 32)).load(demo_site(2), NOON)
        known = {n: a for n, a in enumerate(amounts[1:]) if a is not None}
        if known:
            fill(database, known, "u_l1")
        channel = channel_of(database, "u_l1")
        answer = database.read_now(
            lambda c: read_profile(c, channel, ZONE, MIDNIGHT, MIDNIGHT + 86_400, "hour")
        )
        for hour, bucket in enumerate(answer.buckets):
            inside = [known[n] for n in range(4 * hour, 4 * hour + 4) if n in known]
            assert bucket.value == (round(sum(inside) / len(inside)) if inside else None)
            assert (bucket.low, bucket.high) == (
                (min(inside), max(inside)) if inside else (None, None)
            )
            assert bucket.received == len(inside)
    finally:
        database.close()


@pytest.mark.parametrize(
    ("before", "after", "amount"),
    [
        (2157, 2156, 0),  # jitter of the last digit is no reset
        (99_999_990, 15, 25),  # the register has rolled over
        (500_000, 20, None),  # exchanged or reset: a gap, and blocked
    ],
)
def test_a_register_that_falls(
    store: Database, before: int, after: int, amount: int | None
) -> None:
    fill(store, {0: before, 1: after, 2: after + 10})
    channel = channel_of(store)
    end = MIDNIGHT + 3 * STEP
    series = store.read_now(lambda c: read_series(c, channel, ZONE, MIDNIGHT, end))
    got = int(series.amounts[1]) if series.known[1] else None
    assert got == amount
    rules = {f.rule for f in judge(Case(series, NOON))}
    assert ("V16" in rules) == (amount is None)
    store.close()


def test_questions_too_large_are_refused(store: Database) -> None:
    channel = channel_of(store)
    for start, end, resolution in (
        (0, NOON, "slot"), (NOON, NOON, "day"), (NOON - 10, NOON, "century"),
    ):  # fmt: skip
        with pytest.raises(QueryError):
            store.read_now(
                lambda c, s=start, e=end, r=resolution: read_profile(c, channel, ZONE, s, e, r)
            )
    store.close()


def findings(store: Database, slots: int = 96, capacity_w: int = 0) -> set[str]:
    channel = channel_of(store)
    series = store.read_now(
        lambda c: read_series(c, channel, ZONE, MIDNIGHT, MIDNIGHT + slots * STEP)
    )
    return {f.rule for f in judge(Case(series, NOON, capacity_w))}


def registers_of(amounts: list[int]) -> dict[int, int]:
    total = np.concatenate(([1000], 1000 + np.cumsum(amounts)))
    return {n - 1: int(v) for n, v in enumerate(total)}


@pytest.mark.parametrize(("highest", "found"), [(279, False), (281, True)])
def test_classic_spike_at_its_limit(store: Database, highest: int, found: bool) -> None:
    amounts = [100] * 96
    amounts[50] = highest
    fill(store, registers_of(amounts))
    assert ("V11" in findings(store)) == found
    store.close()


def test_rules_find_what_they_are_for(store: Database) -> None:
    rng = np.random.default_rng(3)
    amounts = rng.integers(80, 120, 96).tolist()
    amounts[40] = 9000
    amounts[60:70] = [77] * 10
    held = registers_of(amounts)
    for n in (20, 21):
        del held[n]
    fill(store, held)
    found = findings(store, capacity_w=20_000)
    assert {"V3", "V10", "V12", "V18"} <= found
    assert "V16" not in found
    store.close()


def test_a_normal_day_has_no_findings(store: Database) -> None:
    rng = np.random.default_rng(5)
    fill(store, registers_of(rng.integers(80, 120, 96).tolist()))
    assert findings(store, capacity_w=20_000) == set()
    store.close()


@pytest.mark.requirement("CC-05")
def test_exports_keep_missing_empty(store: Database) -> None:
    import io

    import pyarrow.parquet as pq

    fill(store, {-1: 0, 0: 10, 2: 25, 3: 40})
    channel = channel_of(store)
    answer = store.read_now(
        lambda c: read_profile(c, channel, ZONE, MIDNIGHT, MIDNIGHT + 4 * STEP, "slot")
    )
    lines = to_csv(answer).splitlines()
    assert lines[0] == "start,end,value,unit,min,max,quality,source"
    assert lines[1].split(",")[2] == "10"
    assert lines[2].split(",")[2:] == ["", "Wh", "", "", "missing", ""]
    table = pq.read_table(io.BytesIO(to_parquet(answer)))
    assert table["value"].to_pylist() == [10.0, None, None, 15.0]
    store.close()
