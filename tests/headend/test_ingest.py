"""Ingest takes every reading once, whatever the order, and never overwrites."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blathy.clock import Zone, utc_of
from blathy.headend import schema
from blathy.headend.database import Database
from blathy.headend.inventory.registry import Channel, Inventory
from blathy.headend.inventory.sealing import Sealer
from blathy.headend.readings.calendar import slots_in_day
from blathy.headend.readings.ingest import Batch, Receipt, ingest, seal, store_version
from blathy.headend.readings.packing import DayRecord, ValueSource
from blathy.headend.readings.series import missing_ranges, read_profile, read_series
from tests.headend.conftest import NOON
from tests.headend.fake_meters import ZONE, demo_site

STEP = 900


@pytest.fixture
def store(tmp_path: Path) -> Database:
    database = Database.in_file(tmp_path / "store.sqlite")
    Inventory(database, Sealer(b"k" * 32)).load(demo_site(), NOON)
    return database


def channel_of(database: Database, slug: str = "a_import") -> Channel:
    inventory = Inventory(database, Sealer(b"k" * 32))
    inventory.refresh()
    point = inventory.point("p-001")
    assert point is not None
    channel = point.meter.channel(slug)
    assert channel is not None
    return channel


def batch(channel: Channel, slots: list[int], values: list[int], zone: Zone = ZONE) -> Batch:
    return Batch(
        channel,
        zone,
        np.array(slots, np.int64),
        np.array(values, np.int64),
        np.zeros(len(slots), np.uint8),
    )


def take(database: Database, one: Batch, now: int = NOON) -> Receipt:
    return database.write_now(lambda c: ingest(c, [one], now))


def at(text: str) -> int:
    return int(utc_of(datetime.fromisoformat(text).replace(tzinfo=UTC)))


def test_the_same_readings_twice_are_one(store: Database) -> None:
    channel = channel_of(store)
    slots = list(range(NOON - NOON % STEP - 3 * 86_400, NOON - NOON % STEP, STEP))
    one = batch(channel, slots, list(range(1000, 1000 + len(slots))))
    assert take(store, one).new == len(slots)
    again = take(store, one)
    assert (again.new, again.known, again.conflicts) == (0, len(slots), [])
    store.close()


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_order_and_cut_gives_the_same_series(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    database = Database.in_file(tmp_path_factory.mktemp("ingest") / "store.sqlite")
    try:
        Inventory(database, Sealer(b"k" * 32)).load(demo_site(2), NOON)
        channel = channel_of(database)
        first = NOON - NOON % STEP - 2 * 86_400
        slots = np.arange(first, NOON - NOON % STEP, STEP, dtype=np.int64)
        values = 5000 + np.cumsum((slots // STEP * 7919) % 300)
        indices = data.draw(
            st.lists(
                st.lists(st.integers(0, len(slots) - 1), min_size=1, max_size=60),
                min_size=1, max_size=6,
            )
        )  # fmt: skip
        sent: set[int] = set()
        for part in indices:
            take(database, batch(channel, [int(slots[n]) for n in part],
                                 [int(values[n]) for n in part]))  # fmt: skip
            sent |= set(part)
            if data.draw(st.booleans()):
                database.write_now(lambda c: seal(c, channel, ZONE, NOON))
        series = database.read_now(lambda c: read_series(c, channel, ZONE, first, NOON))
        got = {int(s) for s in series.start[series.register_known]}
        assert got == {int(slots[n]) for n in sent}
        for n in sent:
            assert int(series.registers[n]) == int(values[n])
    finally:
        database.close()


def test_another_value_for_a_slot_is_a_revision(store: Database) -> None:
    channel = channel_of(store)
    today, past = NOON - NOON % STEP - 2 * STEP, NOON - NOON % STEP - 3 * 86_400
    take(store, batch(channel, [past, today], [100, 900]))
    receipt = take(store, batch(channel, [past, today], [101, 901]))
    assert [(c.slot_utc, c.kept, c.value) for c in receipt.conflicts] == [
        (today, 900, 901), (past, 100, 101),
    ]  # fmt: skip
    rows = store.read_now(lambda c: list(c.execute(sa.select(schema.reading_revision))))
    assert sorted((r.slot_utc, r.kept, r.value) for r in rows) == [
        (past, 100, 101), (today, 900, 901),
    ]  # fmt: skip
    series = store.read_now(lambda c: read_series(c, channel, ZONE, past, past + 1))
    assert int(series.registers[0]) == 100
    take(store, batch(channel, [past, today], [101, 901]))
    assert len(store.read_now(lambda c: list(c.execute(sa.select(schema.reading_revision))))) == 2
    store.close()


def test_unequal_doubles_inside_one_answer_keep_the_first(store: Database) -> None:
    channel = channel_of(store)
    past = NOON - NOON % STEP - 2 * 86_400
    receipt = take(store, batch(channel, [past, past, past], [7, 7, 8]))
    assert (receipt.new, receipt.known, len(receipt.conflicts)) == (1, 1, 1)
    store.close()


def test_slots_off_the_grid_and_in_the_future_are_refused(store: Database) -> None:
    channel = channel_of(store)
    now = NOON - NOON % STEP
    receipt = take(store, batch(channel, [now - STEP, now - STEP + 7, now + STEP], [1, 2, 3]), now)
    assert (receipt.new, receipt.misaligned, receipt.future) == (1, 1, 1)
    store.close()


@pytest.mark.requirement("CC-03")
@pytest.mark.parametrize(
    ("day", "count"), [("2026-03-29", 92), ("2026-10-25", 100), ("2026-06-01", 96)]
)
def test_local_days_have_all_their_quarters(store: Database, day: str, count: int) -> None:
    wanted = date.fromisoformat(day)
    assert slots_in_day(ZONE, wanted, STEP) == count
    start, end = ZONE.day_bounds(wanted)
    channel = channel_of(store)
    slots = list(range(start - STEP, end, STEP))
    take(store, batch(channel, slots, [10 * n for n in range(len(slots))]))
    answer = store.read_now(lambda c: read_profile(c, channel, ZONE, start, end, "slot"))
    assert len(answer.buckets) == count
    assert all(b.value == 10 and b.quality == "valid" for b in answer.buckets)
    days = store.read_now(lambda c: read_profile(c, channel, ZONE, start, end, "day"))
    assert [(b.value, b.received, b.expected) for b in days.buckets] == [(10 * count, count, count)]
    store.close()


def test_the_hour_that_occurs_twice_is_two_hours(store: Database) -> None:
    channel = channel_of(store)
    first = at("2026-10-25T00:00:00")
    slots = list(range(first - STEP, first + 3 * 3600, STEP))
    take(store, batch(channel, slots, [n * n for n in range(len(slots))]))
    answer = store.read_now(
        lambda c: read_profile(c, channel, ZONE, first, first + 3 * 3600, "hour")
    )
    assert [b.start for b in answer.buckets] == [first, first + 3600, first + 7200]
    assert [b.value for b in answer.buckets] == [16, 48, 80]
    store.close()


def test_asked_and_absent_slots_are_not_asked_again(store: Database) -> None:
    channel = channel_of(store)
    start = NOON - NOON % STEP - 2 * 86_400
    slots = [start, start + STEP, start + 5 * STEP]
    answered = batch(channel, slots, [1, 2, 3])
    take(store, Batch(channel, ZONE, answered.slot_utc, answered.values, answered.status,
                      asked=(start, start + 8 * STEP)))  # fmt: skip
    end = start + 10 * STEP
    assert store.read_now(lambda c: missing_ranges(c, channel, ZONE, start, end)) == [
        (start + 8 * STEP, end)
    ]
    take(store, batch(channel, [start + 3 * STEP], [2]))
    series = store.read_now(lambda c: read_series(c, channel, ZONE, start, end))
    assert series.register_known.tolist()[:6] == [True, True, False, True, False, True]
    store.close()


def test_today_is_sealed_when_it_is_over(store: Database) -> None:
    channel = channel_of(store)
    slots = list(range(NOON - NOON % STEP - 6 * STEP, NOON - NOON % STEP, STEP))
    take(store, batch(channel, slots, [5, 6, 7, 8, 9, 10]))
    table = schema.reading_slot
    assert len(store.read_now(lambda c: list(c.execute(sa.select(table))))) == 6
    later = NOON + 86_400
    assert store.write_now(lambda c: seal(c, channel, ZONE, later)) == 1
    assert store.read_now(lambda c: list(c.execute(sa.select(table)))) == []
    series = store.read_now(lambda c: read_series(c, channel, ZONE, slots[0], NOON))
    assert series.registers[series.register_known].tolist() == [5, 6, 7, 8, 9, 10]
    store.close()


def test_an_estimate_is_a_version_and_yields_to_the_meter(store: Database) -> None:
    channel = channel_of(store, "u_l1")
    day = date(2026, 11, 18)
    start = int(ZONE.day_start(day))
    take(store, batch(channel, [start, start + 2 * STEP], [2300, 2310]))
    estimate = DayRecord.empty(96)
    estimate.values[:3] = [1, 2305, 1]
    estimate.sources[1] = ValueSource.LINEAR
    estimate.sources[2] = ValueSource.LINEAR
    version = store.write_now(
        lambda c: store_version(c, channel, ZONE, day, estimate, "link lost", NOON)
    )
    assert version == 2

    def shown() -> list[tuple[int | None, str]]:
        answer = store.read_now(
            lambda c: read_profile(c, channel, ZONE, start, start + 3 * STEP, "slot")
        )
        return [(b.value, b.quality) for b in answer.buckets]

    assert shown() == [(2300, "valid"), (2305, "estimated"), (2310, "valid")]
    take(store, batch(channel, [start + STEP], [2307]))
    assert shown() == [(2300, "valid"), (2307, "valid"), (2310, "valid")]
    raw = store.read_now(
        lambda c: read_series(c, channel, ZONE, start, start + 3 * STEP, raw_only=True)
    )
    assert raw.amounts.tolist() == [2300, 2307, 2310]
    store.close()
