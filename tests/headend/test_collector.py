"""Collection asks for what is missing, survives every kind of meter, and says how it went."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from blathy.headend.collection.backoff import Backoff
from blathy.headend.collection.collector import Schedule
from blathy.headend.collection.conversation import LoggedEvent, Outcome
from blathy.headend.inventory.registry import MeterStanding
from blathy.headend.operations.events import EventFilter
from blathy.headend.readings.series import read_series
from tests.headend.conftest import NOON, Centre
from tests.headend.fake_meters import ZONE

STEP = 900
SLOT_NOW = NOON - NOON % STEP


def run(work: Any) -> Any:
    return asyncio.run(work)


def test_history_comes_once_and_complete(centre: Callable[..., Centre]) -> None:
    one = centre()

    async def work() -> None:
        seen: list[tuple[int, int]] = []
        receipt = await one.head.collect_history(lambda done, total, _: seen.append((done, total)))
        assert receipt.new > 8 * 3 * 96
        assert seen[-1] == (8, 8)
        assert (await one.head.collect_history()).new == 0
        document = await one.head.situation.completeness_json()
        assert document["ratio"] > 0.99

    run(work())


def test_exactly_the_gap_is_asked_for(centre: Callable[..., Centre]) -> None:
    one = centre()
    meter = one.meter("p-001")

    async def work() -> None:
        point = one.head.inventory.point("p-001")
        assert point is not None
        meter.holes = [(SLOT_NOW - 8 * STEP, SLOT_NOW - 5 * STEP)]
        await one.head.collector.fill_gaps(point)
        meter.holes = []
        meter.asked.clear()
        await one.head.collector.fill_gaps(point)
        (asked,) = meter.asked
        assert asked[0] == "1-0:99.1.0"
        # records are stamped with their end
        assert asked[1:] == (SLOT_NOW - 7 * STEP, SLOT_NOW - 5 * STEP)
        meter.asked.clear()
        assert (await one.head.collector.fill_gaps(point)).new == 0
        assert meter.asked == []

    run(work())


def test_what_the_meter_does_not_hold_is_not_asked_for_ever(
    centre: Callable[..., Centre],
) -> None:
    one = centre()
    meter = one.meter("p-002")
    meter.holes = [(SLOT_NOW - 2 * 86_400, SLOT_NOW - 2 * 86_400 + 3600)]

    async def work() -> None:
        point = one.head.inventory.point("p-002")
        assert point is not None
        await one.head.collector.fill_gaps(point)
        meter.asked.clear()
        await one.head.collector.fill_gaps(point)
        assert meter.asked == []

    run(work())


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.OK])
def test_each_of_the_five_failures_is_named(
    centre: Callable[..., Centre], outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blathy.headend.collection.backoff.FACTOR", 0.0)
    one = centre()
    one.meter("p-003").fails_with = outcome

    async def work() -> None:
        point = one.head.inventory.point("p-003")
        assert point is not None
        assert not await one.head.collector.attempt(point, "live")
        assert one.head.collector.outcomes[outcome.value] == 1
        assert point.meter.state.last_error_kind == outcome.value
        row = await one.head.situation.point_row(point)
        assert row["last_error"]["kind"] == outcome.value
        assert row["state"] == "silent"

    run(work())


def test_three_failures_quarantine_and_one_answer_ends_it(
    centre: Callable[..., Centre],
) -> None:
    one = centre()
    meter = one.meter("p-004")
    meter.fails_with = Outcome.TIMED_OUT

    async def work() -> None:
        point = one.head.inventory.point("p-004")
        assert point is not None
        for _ in range(3):
            await one.head.collector.attempt(point, "live")
        assert point.meter.state.standing is MeterStanding.QUARANTINED
        assert [r["id"] for r in await one.head.situation.silent_points()] == ["p-004"]
        meter.fails_with = None
        assert await one.head.collector.attempt(point, "live")
        assert point.meter.state.standing is MeterStanding.OK
        events, _ = await one.head.events.find(EventFilter(("p-004",)))
        names = sorted(e["name"] for e in events)
        assert names == ["meter_quarantined", "meter_returned"]

    run(work())


def test_a_meter_that_hangs_does_not_hold_up_the_others(
    centre: Callable[..., Centre], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = centre()
    one.meter("p-001").hangs = True
    schedule = Schedule("all", "live", 60, 0, 0.0)

    async def work() -> None:
        task = asyncio.create_task(one.head.collector.run_schedule(schedule))
        async with asyncio.timeout(60):
            while len(one.head.collector.latest) < 6:  # noqa: ASYNC110 - a condition, no event
                await asyncio.sleep(0.01)
        assert "p-001" not in one.head.collector.latest
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(work())


def test_a_slow_meter_is_cut_off_at_the_limit(centre: Callable[..., Centre]) -> None:
    from blathy.headend.collection.conversation import ConversationError

    one = centre()
    one.meter("p-001").hangs = True

    async def work() -> None:
        point = one.head.inventory.point("p-001")
        assert point is not None
        with pytest.raises(ConversationError) as caught:
            async with one.head.collector.lines.use(point.meter, limit_s=0.05) as talk:
                await talk.live()
        assert caught.value.outcome is Outcome.TIMED_OUT
        assert one.head.collector.lines.open_count == 0

    run(work())


def test_transient_failures_are_retried(
    centre: Callable[..., Centre], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = centre()
    meter = one.meter("p-001")
    monkeypatch.setattr(Backoff, "delay_s", lambda _self: 0.0)

    async def work() -> None:
        point = one.head.inventory.point("p-001")
        assert point is not None
        meter.fails_with = Outcome.GARBLED

        async def heal() -> None:
            while one.head.collector.outcomes["garbled"] < 2:  # noqa: ASYNC110
                await asyncio.sleep(0)
            meter.fails_with = None

        healing = asyncio.create_task(heal())
        assert (await one.head.collector.fill_gaps(point)).new > 0
        await healing
        assert point.meter.state.standing is MeterStanding.OK

    run(work())


def test_a_contradiction_becomes_an_alarm(centre: Callable[..., Centre]) -> None:
    one = centre()
    meter = one.meter("p-001")

    async def work() -> None:
        point = one.head.inventory.point("p-001")
        assert point is not None
        await one.head.collector.fill_gaps(point)
        end = SLOT_NOW - 4 * STEP
        meter.tamper_with = {end: 5}
        channel = point.meter.channels[0]
        talk = await one.driver.open(point.meter, one.head.inventory.secrets_of(point.meter))
        rows = await talk.profile("1-0:99.1.0", point.meter.channels, end, end)
        assert len(rows.end_utc) == 1
        meter.holes = []
        # a slot nobody has beside it makes the collector read both again
        one.head.collector._complete.clear()
        receipt = await one.head.collector._read_range(
            point, "1-0:99.1.0", point.meter.channels, end - 2 * STEP, end
        )
        assert {c.slot_utc for c in receipt.conflicts} == {end - STEP}
        series = await one.head.database.read(
            lambda c: read_series(c, channel, ZONE, end - STEP, end)
        )
        assert int(series.registers[0]) == int(rows.values["a_import"][0]) - 5

    run(work())


def test_events_are_kept_once_and_located(centre: Callable[..., Centre]) -> None:
    one = centre()
    meter = one.meter("p-005")
    log = "0-0:99.98.0"
    meter.events[:] = [
        LoggedEvent(log, NOON - 100, 82, "neutral_fault_start"),
        LoggedEvent(log, NOON - 100, 82, "neutral_fault_start"),
        LoggedEvent(log, NOON - 50, 4711, ""),
    ]

    async def work() -> None:
        point = one.head.inventory.point("p-005")
        assert point is not None
        told: list[dict[str, Any]] = []
        one.head.events.on_new = told.append
        assert await one.head.collector.read_events(point) == 3
        assert await one.head.collector.read_events(point) == 0
        assert len(told) == 3
        events, total = await one.head.events.find(EventFilter(("p-005",)))
        assert total == 3
        assert events[0]["text"] == "Event code 4711"
        fault = events[1]
        assert fault["severity"] == "alarm"
        assert fault["location"]["station"]["name"] == "Transformer 2"
        assert fault["location"]["feeder"]["name"] == "Feeder 3"
        assert "Dairy farm" in fault["location"]["text"]

    run(work())


def test_clock_far_off_is_an_event(centre: Callable[..., Centre]) -> None:
    one = centre()
    one.meter("p-002").clock_offset_s = 86_400

    async def work() -> None:
        point = one.head.inventory.point("p-002")
        assert point is not None
        assert await one.head.collector.check_clock(point) == 86_400
        events, _ = await one.head.events.find(EventFilter(("p-002",)))
        assert [e["name"] for e in events] == ["clock_off"]

    run(work())


def test_backoff_grows_and_ends() -> None:
    backoff = Backoff(lambda: 1.0 - 1e-9, first_s=2, longest_s=60)
    delays = [round(backoff.delay_s()) for _ in range(8)]
    assert delays == [2, 4, 8, 16, 32, 60, 60, 60]
    backoff.reset()
    assert Backoff(lambda: 0.0, first_s=2).delay_s() == 1.0


def test_stop_is_quick_and_a_restart_goes_on(centre: Callable[..., Centre]) -> None:
    one = centre(folder="same")

    async def first() -> int:
        await one.head.start()
        receipt = await one.head.collect_history()
        loop = asyncio.get_running_loop()
        before = loop.time()
        await one.head.stop()
        assert loop.time() - before < 5
        return receipt.new

    assert run(first()) > 0
    two = centre(folder="same")

    async def second() -> None:
        assert (await two.head.collect_history()).new == 0
        states = {p.meter.state.standing for p in two.head.inventory.points.values()}
        assert states == {MeterStanding.OK}

    run(second())


def test_contradictions_and_conversations_are_told(centre: Callable[..., Centre]) -> None:
    from blathy.headend.readings.rules import judge_point

    one = centre()
    meter = one.meter("p-001")

    async def work() -> None:
        point = one.head.inventory.point("p-001")
        assert point is not None
        await one.head.collector.fill_gaps(point)
        end = SLOT_NOW - 4 * STEP
        meter.tamper_with = {end: 5}
        await one.head.collector._read_range(
            point, "1-0:99.1.0", point.meter.channels, end - STEP, end
        )
        found = await one.head.database.read(
            lambda c: judge_point(c, point, end - 86_400, NOON, NOON, 0)
        )
        assert {f.start for f in found if f.rule == "V1"} == {end - STEP}
        meter.fails_with = Outcome.UNTRUSTED
        await one.head.collector.attempt(point, "clock")
        talks = await one.head.collector.conversations(point, 10)
        assert talks[0]["outcome"] == "untrusted"
        assert talks[0]["task"] == "clock"
        assert talks[-1]["outcome"] == "ok"

    run(work())
