"""What a meter does by itself: schedules, register monitors and sensors switch its relays.

Everything is set up over the port by our client; the meter is stepped by the test.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blathy.client import Meter as Client
from blathy.client import ObjectCache, VolatileCounterStore
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.models.model import Level
from blathy.obis import Obis
from blathy.quantity import Phase
from blathy.registers.block import INSTANT_INDEX, Block
from blathy.sources.source import IntervalSource
from blathy.store.store import Store
from tests.meter.by_client import refused, value, with_client
from tests.meter.running import START_S, get, gurux, made, put, served
from tests.meter.simple_load import ConstantLoad
from tests.processes import start

SCHEDULE = "0-0:12.0.0"
MONITOR = "0-0:16.1.0"
SENSOR = "0-0:16.4.0"
MONITORING = "0-0:16.3.0"
SPECIAL_DAYS = "0-0:11.0.0"
OUTPUTS = "0-0:10.0.103"
BILLING = "0-0:10.0.1"
RELAY = "0-1:96.3.10"
CURRENT = "1-0:31.7.0"
OFF, ON = 1, 2
"""Output scripts of the first relay."""
HOUR_S, MINUTE_S = 3600, 60
MIDNIGHT_S = START_S + 23 * HOUR_S
"""The beginning of Friday, 2 January 2026, in Budapest."""
ANY_DATE = b"\xff" * 5
EVERY_DAY = "1111111"
NEVER_LATE, ALWAYS = 0, 0xFFFF


def item(selector: int, table: str = OUTPUTS) -> Data:
    return axdr.structure(axdr.octets(Obis.parse(table)), axdr.u16(selector))


def entry(
    index: int, selector: int, hour: int, minute: int = 0, *, window: int = NEVER_LATE,
    weekdays: str = EVERY_DAY, special: str = "", begin: bytes = ANY_DATE, end: bytes = ANY_DATE,
    enabled: bool = True, table: str = OUTPUTS,
) -> Data:  # fmt: skip
    return axdr.structure(
        axdr.u16(index), axdr.boolean(enabled), *item(selector, table).value,
        axdr.octets(bytes((hour, minute, 0, 0))), axdr.u16(window), axdr.bits(weekdays),
        axdr.bits(special), axdr.octets(begin), axdr.octets(end),
    )  # fmt: skip


def four(*indices: int) -> Data:
    return axdr.structure(*(axdr.u16(index) for index in indices))


def reopened(store: Store, meter: Meter) -> Meter:
    """The meter as it comes back from the store."""
    meter.commit()
    return made("reference", keeper=StoreKeeper(store, "m"))


def go(meter: Meter, until_s: int, source: IntervalSource | None = None) -> None:
    meter.advance(source or ConstantLoad(1200), until_s)


def relay_on(meter: Meter, obis: str = RELAY) -> bool:
    return bool(get(meter, 70, obis, 2))


def clock_at(hour: int, minute: int, day: int = 2) -> Data:
    return axdr.octets(bytes((0x07, 0xEA, 1, day, 0xFF, hour, minute, 0, 0, 0xFF, 0xC4, 0)))


# --- schedule (class 10) --------------------------------------------------------------------------


def test_entries_switch_at_their_times_by_the_clock_of_the_meter() -> None:
    meter = made("reference")

    async def work(client: Client) -> None:
        await client.set((SCHEDULE, 2), axdr.array(entry(1, ON, 22), entry(2, OFF, 6)))
        go(meter, MIDNIGHT_S - 2 * HOUR_S - MINUTE_S)
        assert await value(client, RELAY, 2) is False
        go(meter, MIDNIGHT_S - 2 * HOUR_S)
        assert await value(client, RELAY, 2) is True
        go(meter, MIDNIGHT_S + 6 * HOUR_S - MINUTE_S)
        assert await value(client, RELAY, 2) is True
        go(meter, MIDNIGHT_S + 6 * HOUR_S)
        assert await value(client, RELAY, 2) is False

    with_client(meter, work)


def test_weekday_special_day_and_season_decide_on_which_days() -> None:
    """Friday is a working day, the Saturday is not; the Monday is made a special day, of which
    only the entry that names its day_id runs."""
    meter = made("reference")

    async def work(client: Client) -> None:
        spring = bytes((0xFF, 0xFF, 3, 1, 0xFF)), bytes((0xFF, 0xFF, 5, 31, 0xFF))
        winter = bytes((0xFF, 0xFF, 11, 1, 0xFF)), bytes((0xFF, 0xFF, 2, 0xFF, 0xFF))
        for each in (
            entry(1, ON, 8, weekdays="1111100", begin=winter[0], end=winter[1]),
            entry(2, OFF, 20),
            entry(3, ON, 10, weekdays="0000000", special="01"),
            entry(4, ON, 1, begin=spring[0], end=spring[1]),
        ):
            await client.action(SCHEDULE, "insert", each)
        monday = axdr.octets(bytes((0x07, 0xEA, 1, 5, 0xFF)))
        day = axdr.structure(axdr.u16(1), monday, axdr.u8(2))
        await client.action(SPECIAL_DAYS, "insert", day)

    with_client(meter, work)
    seen = {}
    for days, weekday in enumerate(("friday", "saturday", "sunday", "monday", "tuesday")):
        for hour in (2, 9, 11, 21):
            go(meter, MIDNIGHT_S + days * 24 * HOUR_S + hour * HOUR_S)
            seen[weekday, hour] = relay_on(meter)
    on = {when for when, closed in seen.items() if closed}
    assert on == {
        ("friday", 9), ("friday", 11), ("monday", 11), ("monday", 21), ("tuesday", 2),
        ("tuesday", 9), ("tuesday", 11),
    }  # fmt: skip


def test_entries_are_disabled_enabled_replaced_and_deleted() -> None:
    meter = made("reference")

    async def enabled(client: Client) -> dict[int, bool]:
        rows = await value(client, SCHEDULE, 2)
        return {row.value[0].value: row.value[1].value for row in rows}

    async def work(client: Client) -> None:
        for index in (5, 1, 9):
            await client.action(SCHEDULE, "insert", entry(index, ON, index, enabled=index == 5))
        assert await enabled(client) == {1: False, 5: True, 9: False}
        await client.action(SCHEDULE, "enable_disable", four(1, 5, 9, 9999))
        assert await enabled(client) == {1: False, 5: False, 9: True}
        for nothing in (four(9, 1, 5, 1), four(1, 10_000, 1, 10_000)):
            await client.action(SCHEDULE, "enable_disable", nothing)
        assert await enabled(client) == {1: False, 5: False, 9: True}
        await client.action(SCHEDULE, "insert", entry(5, OFF, 23))
        await client.action(SCHEDULE, "delete", axdr.structure(axdr.u16(6), axdr.u16(9)))
        rows = await value(client, SCHEDULE, 2)
        assert [row.value[0].value for row in rows] == [1, 5]
        assert rows[1] == entry(5, OFF, 23)

    with_client(meter, work)
    go(meter, MIDNIGHT_S + 9 * HOUR_S)
    assert not relay_on(meter)


@pytest.mark.parametrize(
    ("window_min", "runs"), [(NEVER_LATE, False), (60, False), (150, True), (ALWAYS, True)]
)
@pytest.mark.parametrize("measured", [False, True], ids=["not stepped", "stepped without supply"])
def test_what_an_outage_passed_over_runs_within_its_validity_window(
    window_min: int, *, runs: bool, measured: bool
) -> None:
    """Off from before 8 o'clock to 10: the entry of 8 o'clock is two hours late."""
    store = Store.in_memory()
    meter = made("reference", keeper=StoreKeeper(store, "m"), start_s=MIDNIGHT_S)

    async def work(client: Client) -> None:
        await client.action(SCHEDULE, "insert", entry(1, ON, 8, window=window_min))

    with_client(meter, work)
    go(meter, MIDNIGHT_S + 7 * HOUR_S)
    back = made("reference", keeper=StoreKeeper(store, "m"))
    assert not relay_on(back)
    load = ConstantLoad(1200)
    if measured:
        dark = load.block(back.ledger.now, 180, MINUTE_S)
        dark.supply[:] = 0
        back.step(dark)
        back = reopened(store, back)
    back.step(load.block(MIDNIGHT_S + 10 * HOUR_S, 2, MINUTE_S))
    back.commit()
    assert relay_on(back) is runs


def test_a_clock_set_forward_runs_what_it_passed_and_set_back_repeats() -> None:
    meter = made("reference")

    async def work(client: Client) -> None:
        rows = axdr.array(entry(1, ON, 8, window=120), entry(2, ON, 9), entry(3, OFF, 12))
        await client.set((SCHEDULE, 2), rows)
        await client.set(("0-0:1.0.0", 2), clock_at(9, 30))
        assert await value(client, RELAY, 2) is True
        go(meter, meter.ledger.now + 3 * HOUR_S)
        assert await value(client, RELAY, 2) is False
        await client.set(("0-0:1.0.0", 2), clock_at(8, 30))
        assert await value(client, RELAY, 2) is False
        go(meter, meter.ledger.now + HOUR_S)
        assert await value(client, RELAY, 2) is True

    with_client(meter, work)


def test_a_synchronisation_repeats_nothing() -> None:
    """Five seconds back just after a switching: what was switched by hand since stays."""
    meter = made("reference")

    async def work(client: Client) -> None:
        await client.set((SCHEDULE, 2), axdr.array(entry(1, ON, 0)))
        meter.advance(ConstantLoad(1200), MIDNIGHT_S - HOUR_S)
        meter.advance(ConstantLoad(1200), MIDNIGHT_S + 3, step_s=1)
        assert await value(client, RELAY, 2) is True
        await client.action(RELAY, "remote_disconnect")
        await client.action("0-0:1.0.0", "shift_time", axdr.i16(-5))
        meter.advance(ConstantLoad(1200), MIDNIGHT_S + 20, step_s=1)
        assert await value(client, RELAY, 2) is False

    with_client(meter, work)


def test_the_hour_that_comes_twice_switches_once() -> None:
    """25 October 2026: 2:30 comes twice; in between somebody switches off."""
    october_s = 1_792_886_400  # 2026-10-25T00:00:00Z
    meter = made("reference", start_s=october_s - HOUR_S)

    async def work(client: Client) -> None:
        await client.set((SCHEDULE, 2), axdr.array(entry(1, ON, 2, 30)))
        go(meter, october_s + 30 * MINUTE_S)
        assert await value(client, RELAY, 2) is True
        await client.action(RELAY, "remote_disconnect")
        go(meter, october_s + 3 * HOUR_S)
        assert await value(client, RELAY, 2) is False

    with_client(meter, work)


@pytest.mark.parametrize(
    "wrong",
    [
        axdr.array(entry(1, ON, 8), entry(1, OFF, 9)),
        axdr.array(entry(0, ON, 8)),
        axdr.array(entry(10_000, ON, 8)),
        axdr.array(entry(1, ON, 24)),
        axdr.array(entry(1, ON, 8, weekdays="11111")),
        axdr.array(entry(1, ON, 8, table="0-0:10.0.99")),
        axdr.array(entry(1, ON, 8, table="0-0:10.0.100")),
        axdr.array(*(entry(index, ON, 8) for index in range(1, 66))),
    ],
    ids=["twice", "index 0", "index 10000", "24 h", "5 days", "no table", "rates", "too many"],
)
def test_entries_that_cannot_be_are_refused(wrong: Data) -> None:
    meter = made("reference")

    async def work(client: Client) -> None:
        await refused(client.set((SCHEDULE, 2), wrong))
        assert await value(client, SCHEDULE, 2) == ()

    with_client(meter, work)


def test_nobody_reaches_a_script_through_a_schedule_that_is_closed_to_them() -> None:
    """The reader may read the schedule and no more; nobody who may not end the billing period
    themselves can have the meter do it."""
    meter = made("reference")

    async def reading(client: Client) -> None:
        assert await value(client, SCHEDULE, 2) == ()
        await refused(client.set((SCHEDULE, 2), axdr.array(entry(1, ON, 8))))
        await refused(client.action(SCHEDULE, "insert", entry(1, ON, 8)))

    async def installing(client: Client) -> None:
        await refused(client.action(SCHEDULE, "insert", entry(1, 1, 8, table=BILLING)))

    with_client(meter, reading, Level.READER)
    with_client(meter, installing, Level.INSTALLER)


# --- register monitor (class 21) ------------------------------------------------------------------


def watched(code: str = CURRENT, class_id: int = 3, attribute: int = 2) -> Data:
    return axdr.structure(axdr.u16(class_id), axdr.octets(Obis.parse(code)), axdr.i8(attribute))


def pair(up: Data, down: Data) -> Data:
    return axdr.structure(up, down)


NOTHING = axdr.structure(axdr.octets(bytes(6)), axdr.u16(0))


async def monitor_current(client: Client, *limits: int) -> None:
    """The first relay is on above the first limit (in 10 mA), the second above the next."""
    await client.set((MONITOR, 3), watched())
    actions = [pair(item(2 * n + 2), item(2 * n + 1)) for n in range(len(limits))]
    await client.set((MONITOR, 4), axdr.array(*actions))
    await client.set((MONITOR, 2), axdr.array(*(axdr.u16(limit) for limit in limits)))


def test_a_threshold_that_is_crossed_switches_a_relay_there_and_back() -> None:
    """1200 W are 5.21 A, 4000 W 17.39 A."""
    meter = made("reference")

    async def work(client: Client) -> None:
        await monitor_current(client, 700, 2000)
        go(meter, START_S + HOUR_S)
        assert await value(client, RELAY, 2) is False
        go(meter, START_S + 2 * HOUR_S, ConstantLoad(4000))
        assert await value(client, RELAY, 2) is True
        assert await value(client, "0-2:96.3.10", 2) is False
        go(meter, START_S + 3 * HOUR_S, ConstantLoad(1200))
        assert await value(client, RELAY, 2) is False

    with_client(meter, work)


def test_only_the_crossing_counts() -> None:
    """What is above already when the monitor is set up, and stays there, switches nothing; nor does
    staying beyond undo what somebody switched since."""
    meter = made("reference")

    async def work(client: Client) -> None:
        go(meter, START_S + HOUR_S, ConstantLoad(4000))
        await monitor_current(client, 700)
        go(meter, START_S + 2 * HOUR_S, ConstantLoad(4000))
        assert await value(client, RELAY, 2) is False
        go(meter, START_S + 3 * HOUR_S, ConstantLoad(1200))
        go(meter, START_S + 4 * HOUR_S, ConstantLoad(4000))
        assert await value(client, RELAY, 2) is True
        await client.action(RELAY, "remote_disconnect")
        go(meter, START_S + 5 * HOUR_S, ConstantLoad(4000))
        assert await value(client, RELAY, 2) is False

    with_client(meter, work)


def test_a_crossing_that_an_outage_hid_is_found_after_it() -> None:
    store = Store.in_memory()
    meter = made("reference", keeper=StoreKeeper(store, "m"))

    async def work(client: Client) -> None:
        await monitor_current(client, 700)

    with_client(meter, work)
    go(meter, START_S + HOUR_S)
    back = made("reference", keeper=StoreKeeper(store, "m"))
    back.step(ConstantLoad(4000).block(START_S + 3 * HOUR_S, 1, MINUTE_S))
    back.commit()
    assert relay_on(back)


def eventful_day() -> Block:
    """A day of minutes: the load rises and falls, and for two hours there is no supply."""
    minutes = 24 * 60
    block = ConstantLoad(1200).block(START_S, minutes, MINUTE_S)
    high = ConstantLoad(4000).block(START_S, minutes, MINUTE_S)
    for first, last in ((90, 95), (200, 600), (601, 602), (900, 1300)):
        block.instant[first:last] = high.instant[first:last]
        block.energy_u[first:last] = high.energy_u[first:last]
    dark = slice(410, 530)
    block.supply[dark] = 0
    block.instant[dark] = 0
    block.energy_u[dark] = 0
    return block


def test_the_result_is_the_same_for_any_cut_of_the_blocks() -> None:
    """In one block, minute by minute and at random: same books, same contacts, same settings."""
    meters = []
    random = np.random.default_rng(21)
    for cuts in (
        [],
        list(range(1, 1440)),
        sorted(random.choice(1440, 40, replace=False).tolist()),
        [410, 411, 529, 530, 531],
    ):
        meter = made("reference")

        async def work(client: Client) -> None:
            await monitor_current(client, 700)
            rows = (
                entry(1, 4, 7, 13), entry(2, 3, 8, 41, window=60), entry(3, 4, 9, 2),
                entry(4, 3, 9, 30, window=5), entry(5, 4, 23, 59), entry(6, 3, 9, 5, window=20),
            )  # fmt: skip
            await client.set((SCHEDULE, 2), axdr.array(*rows))

        with_client(meter, work)
        day = eventful_day()
        bounds = sorted({0, *cuts, len(day)})
        for first, last in itertools.pairwise(bounds):
            meter.step(day.cut(first, last))
        meter.commit()
        meters.append(meter)
    whole, *others = meters
    assert get(whole, 70, RELAY, 2) is False
    assert get(whole, 70, "0-2:96.3.10", 2) is True
    for other in others:
        assert other.ledger.state_hash() == whole.ledger.state_hash()
        assert other.control.state_bytes() == whole.control.state_bytes()
        assert other.settings == whole.settings


@pytest.mark.parametrize(
    ("register", "attribute", "thresholds"),
    [
        ("1-0:1.7.0", 2, (3599, 11_000)), ("1-0:32.7.0", 2, (22_999, 23_001)),
        ("1-0:1.8.0", 2, (500, 40_000)), ("1-0:1.8.2", 2, (100, 9000)),
        ("1-0:1.4.0", 2, (1000, 3000)), ("1-1:82.8.0", 2, (400, 500)),
    ],
    ids=["power", "voltage", "energy", "energy of a rate", "demand", "pulses"],
)  # fmt: skip
def test_crossings_come_at_the_same_interval_in_a_day_and_minute_by_minute(
    register: str, attribute: int, thresholds: tuple[int, ...]
) -> None:
    """Also where the limiter opens the breaker in the middle of a block: behind it no load is
    measured. What the register will show is known ahead, so that a day falls into few pieces."""
    meters, pieces = [], []
    for cuts in ([], list(range(1, 660)), [300, 602]):
        meter = made("reference")
        row = meter.model.row(Obis.parse(register))
        limits = axdr.array(*(Data(axdr.DataType(row.data_type), each) for each in thresholds))
        put(meter, 71, "0-0:17.0.0", 4, axdr.u32(5000))
        put(meter, 71, "0-0:17.0.0", 6, axdr.u32(120))
        put(meter, 21, MONITOR, 2, limits)
        put(meter, 21, MONITOR, 3, watched(register, row.class_id, attribute))
        switch = pair(item(ON), item(OFF)), pair(item(4), item(3))
        put(meter, 21, MONITOR, 4, axdr.array(*switch))
        told: list[int] = []
        meter.control.on_load = lambda at_s, _on, told=told: told.append(at_s)
        day = eventful_day().cut(0, 660)
        day.instant[620:640, INSTANT_INDEX["u_mv", Phase.L1]] = 231_000
        pulses = (day.supply[:, np.newaxis] != 0).astype(np.int64)
        day = replace(day, pulses=pulses)
        for first, last in itertools.pairwise([0, *cuts, len(day)]):
            meter.step(day.cut(first, last))
        meter.commit()
        meters.append(meter)
        pieces.append(len(told))
    whole, *others = meters
    for other in others:
        assert other.ledger.state_hash() == whole.ledger.state_hash()
        assert other.control.state_bytes() == whole.control.state_bytes()
        assert other.settings == whole.settings
    assert 5 * pieces[0] < pieces[1]


@pytest.mark.parametrize(
    ("number", "wrong"),
    [
        (2, axdr.array(axdr.octets(b"700"))),
        (2, axdr.array(axdr.u16(1), axdr.u32(2))),
        (2, axdr.array(*(axdr.u16(n) for n in range(17)))),
        (3, watched("1-0:99.99.0")),
        (3, watched("0-0:96.1.0", 1)),
        (3, watched(CURRENT, 4)),
        (4, axdr.array(pair(item(1, "0-0:10.0.99"), NOTHING))),
        (4, axdr.array(item(1))),
    ],
    ids=[
        "text", "two types", "too many", "no such object", "a text", "another class",
        "no such table", "no pair",
    ],
)  # fmt: skip
def test_monitors_of_what_cannot_be_are_refused(number: int, wrong: Data) -> None:
    meter = made("reference")

    async def work(client: Client) -> None:
        before = await value(client, MONITOR, number)
        await refused(client.set((MONITOR, number), wrong))
        assert await value(client, MONITOR, number) == before

    with_client(meter, work)


# --- sensor manager (class 67) --------------------------------------------------------------------


def test_the_raw_value_of_a_sensor_has_thresholds_of_its_own() -> None:
    """The sensor of the current L1 in mA, its register in 10 mA."""
    meter = made("reference")

    async def work(client: Client) -> None:
        go(meter, START_S + HOUR_S)
        assert await value(client, SENSOR, 7) == 5217
        assert [part.value for part in await value(client, SENSOR, 8)] == [-3, 33]
        assert await value(client, CURRENT, 2) == 521
        await client.set((SENSOR, 12), axdr.array(pair(item(ON), item(OFF))))
        await client.set((SENSOR, 11), axdr.array(axdr.u32(5218)))
        await client.set((SENSOR, 15), axdr.array(pair(item(4), item(3))))
        await client.set((SENSOR, 14), axdr.array(axdr.u16(521)))
        go(meter, START_S + 2 * HOUR_S)
        assert await value(client, RELAY, 2) is False
        go(meter, START_S + 3 * HOUR_S, ConstantLoad(1201))  # 5.221 A, a register of 522
        assert await value(client, RELAY, 2) is True
        assert await value(client, "0-2:96.3.10", 2) is True
        await client.action(RELAY, "remote_disconnect")
        await client.action(SENSOR, "reset")
        go(meter, START_S + 4 * HOUR_S, ConstantLoad(1201))
        assert await value(client, RELAY, 2) is False

    with_client(meter, work)


# --- measurement data monitoring (class 66) -------------------------------------------------------


class Sagging:
    """The voltage of L1 falls by a volt every second from 230 V at the start on."""

    replayable = True

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        block = ConstantLoad(1200).block(start_utc_s, n, step_s)
        seconds = (start_utc_s - START_S) + np.arange(n) * step_s
        block.instant[:, INSTANT_INDEX["u_mv", Phase.L1]] = 230_000 - 1000 * seconds
        return block


async def captured(client: Client) -> list[int]:
    """The samples in volts."""
    data = await value(client, MONITORING, 2)
    return [each.value // 1000 for each in data.elements]


def test_a_trigger_captures_what_was_before_and_what_comes_after_it() -> None:
    store = Store.in_memory()
    meter = made("reference", keeper=StoreKeeper(store, "m"))

    async def work(client: Client) -> None:
        await refused(client.action(MONITORING, "trigger"))
        await client.set((MONITORING, 7), axdr.u32(3))
        await client.set((MONITORING, 8), axdr.u32(2))
        meter.advance(Sagging(), START_S + 10, step_s=1)
        await client.action(MONITORING, "trigger")
        assert await captured(client) == [223, 222, 221]
        assert await value(client, MONITORING, 3) == (START_S + 10) * 1_000_000
        assert await value(client, MONITORING, 5) == 1
        await refused(client.action(MONITORING, "trigger"))
        meter.advance(Sagging(), START_S + 11, step_s=1)

    async def after(client: Client) -> None:
        """The power cut came between the two samples after the trigger."""
        assert await captured(client) == [223, 222, 221, 220, 219]
        assert await value(client, MONITORING, 5) == 2
        source = await value(client, MONITORING, 4)
        assert [part.value for part in source] == [0, 0]
        await client.action(MONITORING, "reset")
        assert await captured(client) == []
        for number, wrong in ((6, axdr.u32(8000)), (7, axdr.u32(3601)), (8, axdr.u8(1))):
            await refused(client.set((MONITORING, number), wrong))

    with_client(meter, work)
    back = made("reference", keeper=StoreKeeper(store, "m"))
    back.advance(Sagging(), START_S + 30, step_s=1)
    with_client(back, after)


def test_a_register_monitor_triggers_the_capture() -> None:
    """Below 225 V; the voltage register shows tenths of a volt."""
    meter = made("reference")

    async def work(client: Client) -> None:
        await client.set((MONITORING, 7), axdr.u32(4))
        await client.set((MONITOR, 3), watched("1-0:32.7.0"))
        await client.set((MONITOR, 4), axdr.array(pair(NOTHING, item(1, "0-0:10.0.105"))))
        await client.set((MONITOR, 2), axdr.array(axdr.u16(2249)))
        meter.advance(Sagging(), START_S + 20, step_s=1)
        volts = await captured(client)
        assert volts[-1] == 224
        assert len(volts) == 4
        source = await value(client, MONITORING, 4)
        assert [part.value for part in source] == [1, 1]

    with_client(meter, work)


# --- an independent client ------------------------------------------------------------------------


def foreign(meter: Meter, **job: Any) -> dict[str, Any]:
    """What gurux-dlms does as management, in a process of its own."""
    identity = meter.identity
    with served(meter) as port:
        return gurux(
            {
                "port": port, "client": 1, "auth": "hls5", "clock": "0.0.1.0.0.255",
                "ek": identity.encryption_key.hex(), "ak": identity.authentication_key.hex(),
                **job,
            }
        )  # fmt: skip


def test_an_independent_client_shows_what_ours_has_set() -> None:
    meter = made("reference")

    async def work(client: Client) -> None:
        await monitor_current(client, 700)

    with_client(meter, work)
    done = foreign(meter, attributes=[["GXDLMSRegisterMonitor", "0.0.16.1.0.255", [2]]])
    assert "700" in done["attributes"][0][0]


def test_an_independent_client_fills_the_schedule_and_switches_load_control_off() -> None:
    meter = made("reference", start_s=MIDNIGHT_S)
    foreign(meter, insert=["0.0.12.0.0.255", ["0.0.10.0.103.255", ON], 8])
    go(meter, MIDNIGHT_S + 8 * HOUR_S - MINUTE_S)
    assert not relay_on(meter)
    go(meter, MIDNIGHT_S + 8 * HOUR_S)
    assert relay_on(meter)
    foreign(meter, counter=100, switch=["0.0.44.1.0.255", [["load control", False]]])

    async def work(client: Client) -> None:
        await refused(client.action(RELAY, "remote_disconnect"))
        assert await value(client, RELAY, 2) is True

    with_client(meter, work)


# --- a meter of the command line ------------------------------------------------------------------


def test_a_meter_of_the_command_line_switches_by_itself(tmp_path: Path) -> None:
    """Its own seconds pass the switching time: nobody steps it."""

    async def work(url: str) -> None:
        async with Client.connect(
            url, counters=VolatileCounterStore(), cache=ObjectCache()
        ) as client:
            rows = axdr.array(entry(1, ON, 8))
            await client.set((SCHEDULE, 2), rows)
            assert await value(client, RELAY, 2) is False
            before = axdr.octets(bytes((0x07, 0xEA, 1, 2, 0xFF, 7, 59, 58, 0, 0xFF, 0xC4, 0)))
            await client.set(("0-0:1.0.0", 2), before)
            while not await value(client, RELAY, 2):  # noqa: ASYNC110 - its own seconds pass
                await asyncio.sleep(0.2)

    words = ("meter", "run", "reference", "--port", "dlms-tcp:127.0.0.1:0", "--days", "0")
    with start(*words, environment={"BLATHY_STATE": str(tmp_path)}) as process:
        url = process.until("management")[-1].split()[1]
        asyncio.run(asyncio.wait_for(work(url), 240))
