"""Estimates sum to the register's advance, exactly, and only where something is known."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blathy.headend.database import Database
from blathy.headend.inventory.registry import Inventory
from blathy.headend.inventory.sealing import Sealer
from blathy.headend.readings.estimation import between, days_to_estimate, estimate_day, share_out
from blathy.headend.readings.series import read_profile
from tests.headend.conftest import NOON
from tests.headend.fake_meters import ZONE, demo_site
from tests.headend.test_ingest import STEP, batch, channel_of, take

DAY = date(2026, 11, 18)  # a Wednesday
MIDNIGHT = int(ZONE.day_start(DAY))


@pytest.fixture
def store(tmp_path: Path) -> Database:
    database = Database.in_file(tmp_path / "store.sqlite")
    Inventory(database, Sealer(b"k" * 32)).load(demo_site(1), NOON)
    return database


@settings(deadline=None)
@example(1, [2.225073858507e-311])  # so small that nothing can be divided by it
@given(
    st.integers(0, 10**12),
    st.lists(st.floats(-1e6, 1e9, allow_nan=False), min_size=1, max_size=100),
)
def test_shares_are_whole_and_sum_exactly(total: int, weights: list[float]) -> None:
    shares = share_out(total, np.array(weights))
    assert int(shares.sum()) == total
    assert (shares >= 0).all()


def test_vectors() -> None:
    assert between(100, 200, 3).tolist() == [125, 150, 175]
    assert share_out(2300, np.ones(4)).tolist() == [575] * 4
    assert share_out(2301, np.ones(4)).tolist() == [576, 575, 575, 575]


def put(store: Database, first: int, registers: list[int | None]) -> None:
    known = [(first + n * STEP, r) for n, r in enumerate(registers) if r is not None]
    channel = channel_of(store)
    take(store, batch(channel, [k for k, _ in known], [r for _, r in known]))


def estimated(store: Database) -> list[tuple[int | None, str, str | None]]:
    channel = channel_of(store)
    store.write_now(lambda c: estimate_day(c, channel, ZONE, DAY, NOON))
    end = int(ZONE.day_start(DAY + timedelta(days=1)))
    answer = store.read_now(lambda c: read_profile(c, channel, ZONE, MIDNIGHT, end, "slot"))
    return [(b.value, b.quality, b.source) for b in answer.buckets]


@pytest.mark.requirement("CC-03")
def test_a_ramp_with_two_hours_cut_out_comes_back(store: Database) -> None:
    amounts = [100 + n for n in range(104)]
    registers: list[int | None] = np.cumsum([1000, *amounts]).tolist()
    whole = list(registers)
    for n in range(40, 47):
        registers[n] = None
    put(store, MIDNIGHT - STEP, registers)
    slots = estimated(store)
    assert [value for value, _, _ in slots] == amounts[:96]
    assert {quality for _, quality, _ in slots[39:47]} == {"estimated"}
    assert {quality for _, quality, _ in slots[:39] + slots[47:]} == {"valid"}
    assert sum(v or 0 for v, _, _ in slots) == whole[96] - whole[0]
    store.close()


def test_a_long_gap_has_the_shape_of_like_days_and_the_register_sum(store: Database) -> None:
    shape = [10 if n < 48 else 200 for n in range(96)]
    first = int(ZONE.day_start(DAY - timedelta(days=4)))
    registers: list[int | None] = np.cumsum([0, *(shape * 5), *([50] * 8)]).tolist()
    for n in range(4 * 96 + 40, 4 * 96 + 60):
        registers[n] = None
    put(store, first - STEP, registers)
    slots = estimated(store)
    got = [value for value, _, _ in slots]
    assert got == shape
    assert slots[50][1:] == ("estimated", "like-day")
    assert sum(v or 0 for v in got) == sum(shape)
    store.close()


def test_without_a_register_on_one_side_nothing_is_invented(store: Database) -> None:
    registers: list[int | None] = np.cumsum([1000, *([100] * 60)]).tolist()
    put(store, MIDNIGHT - STEP, registers)
    slots = estimated(store)
    assert {quality for _, quality, _ in slots[60:]} == {"missing"}
    assert {value for value, _, _ in slots[60:]} == {None}
    store.close()


def test_days_are_estimated_once_and_again_after_news(store: Database) -> None:
    registers: list[int | None] = [10 * n for n in range(100)]
    registers[30] = registers[31] = None
    put(store, MIDNIGHT - STEP, registers)
    channel = channel_of(store)
    after = (DAY + timedelta(days=1)).toordinal()
    key = (channel.id, DAY.toordinal())
    assert key in store.read_now(lambda c: days_to_estimate(c, after))
    assert store.write_now(lambda c: estimate_day(c, channel, ZONE, DAY, NOON + 5)) == 2
    assert key not in store.read_now(lambda c: days_to_estimate(c, after))
    take(store, batch(channel, [MIDNIGHT + 29 * STEP], [300]), NOON + 10)
    assert key in store.read_now(lambda c: days_to_estimate(c, after))
    store.close()
