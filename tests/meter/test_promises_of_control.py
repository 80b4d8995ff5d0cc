"""What the data sheets promise of clocks, calendars, breakers and credit, proved from outside: over
the meter's port, by a client that knows nothing of its inside."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest

from blathy.client.sync import SyncMeter
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import ClockStatus, CosemDateTime
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter, new_meter
from blathy.meter.plan import MeterOptions
from blathy.models import model as model_named
from blathy.models.model import Level
from blathy.registers.block import Block, Incident
from blathy.store.store import Store
from blathy.transport.errors import Refused
from tests.meter.running import DAY_S, SERIAL, START_S, entropy, fed, made
from tests.meter.simple_load import ConstantLoad
from tests.meter.test_clock_and_calendar import days
from tests.meter.test_promises_over_the_port import client, number, tree

BREAKER, BUTTON = "0-0:96.3.10", "0-0:10.128.0"
CALENDAR, CLOCK = "0-0:13.0.0", "0-0:1.0.0"
PRESS_PUSH_BUTTON = axdr.u16(2)


class Outage(ConstantLoad):
    """A load of 1.2 kW a phase with no supply between two moments."""

    def __init__(self, phases: int, start_utc_s: int, end_utc_s: int) -> None:
        super().__init__(1200, phases)
        self.window = (start_utc_s, end_utc_s)

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        block = super().block(start_utc_s, n, step_s)
        moments = start_utc_s + step_s * np.arange(n)
        dark = (moments >= self.window[0]) & (moments < self.window[1])
        block.energy_u[dark] = 0
        block.instant[dark] = 0
        block.supply[dark] = 0
        return block


def offset_s(port: SyncMeter, true_s: int) -> int:
    moment = port.read(CLOCK)
    assert isinstance(moment, CosemDateTime)
    return int(moment.utc()) - true_s


def is_invalid(port: SyncMeter) -> bool:
    return bool(int(number(port.read((CLOCK, 4)))) & ClockStatus.INVALID)


def season(name: bytes, month: int) -> Data:
    start = b"\xff\xff" + bytes((month, 1, 0xFF)) + bytes(4) + b"\x80\x00\xff"
    return axdr.structure(axdr.octets(name), axdr.octets(start), axdr.octets(b"w" + name))


def week(name: bytes, day: int) -> Data:
    return axdr.structure(axdr.octets(b"w" + name), *(axdr.u8(day) for _ in range(7)))


# --- the clock ------------------------------------------------------------------------------------


@pytest.mark.requirement("MT372-06", "OMNI-17")
@pytest.mark.parametrize(
    ("key", "drift_ppm", "reserve_days"), [("mt372", 5, 10), ("omnipower", 5, 7)]
)
def test_the_clock_keeps_time_lives_on_its_reserve_and_is_synchronised(
    key: str, drift_ppm: int, reserve_days: int
) -> None:
    meter = new_meter(
        model_named(key), SERIAL, "test", start_utc_s=START_S, entropy=entropy,
        drift_ppb=drift_ppm * 1000,
    )  # fmt: skip
    phases = len(meter.model.phases)
    month = START_S + 30 * DAY_S
    meter.advance(ConstantLoad(1200, phases), month)
    with client(meter) as port:
        fast = offset_s(port, month)
        assert 12 <= fast <= 13  # 5 ppm of 30 days
        port.action(CLOCK, "shift_time", axdr.i16(-fast))
        assert offset_s(port, month) == 0
        back = month + (reserve_days - 1) * DAY_S
        meter.advance(Outage(phases, month + 60, back), back + 3600)
        assert abs(offset_s(port, back + 3600)) <= 5
        assert not is_invalid(port)
        gone = back + 7200
        back = gone + (reserve_days + 1) * DAY_S
        meter.advance(Outage(phases, gone, back), back + 3600)
        assert offset_s(port, back + 3600) < -20 * 3600
        assert is_invalid(port)
        now = CosemDateTime.from_utc(back + 3600, meter.zone).raw()
        port.set((CLOCK, 2), axdr.octets(now))
        assert offset_s(port, back + 3600) == 0
        assert not is_invalid(port)


@pytest.mark.requirement("OMNI-17")
def test_the_offset_and_the_daylight_saving_table_are_parameters() -> None:
    july = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp())
    with client(made("omnipower", start_s=july)) as port:
        summer = port.read(CLOCK)
        assert isinstance(summer, CosemDateTime)
        assert [port.read((CLOCK, n)) for n in (3, 7)] == [-60, 60]
        assert summer.raw()[9:].hex() == "ff8880"
        port.set((CLOCK, 8), axdr.boolean(False))
        winter = port.read(CLOCK)
        assert isinstance(winter, CosemDateTime)
        assert winter.raw()[9:].hex() == "ffc400"
        assert int(winter.utc()) == int(summer.utc())


@pytest.mark.requirement("K-05")
@pytest.mark.parametrize("key", ["k162m", "k382m"])
def test_rows_and_events_carry_the_clock_and_its_log_keeps_200_corrections(key: str) -> None:
    meter = fed(key, 1)
    with client(meter) as port:
        rows = port.profile("1-1:99.1.0", since=START_S, until=START_S + DAY_S)
        stamps = [int(moment) for moment in rows.times.utc_s]
        assert {b - a for a, b in pairwise(stamps)} == {900}
        for number_of in range(110):
            moment = START_S + DAY_S + 7200 + 60 * number_of
            port.set((CLOCK, 2), axdr.octets(CosemDateTime.from_utc(moment, meter.zone).raw()))
        log = tree(port.read(("1-1:99.98.3", 2)))
    assert len(log) == 200
    newest = CosemDateTime.of(log[-1][0])
    assert int(newest.utc()) == START_S + DAY_S + 7200 + 60 * 109


# --- tariffs --------------------------------------------------------------------------------------


@pytest.mark.requirement("MT372-05")
def test_four_seasons_four_rates_and_the_hour_of_daylight_saving() -> None:
    meter = made("mt372")
    names, months = (b"1", b"2", b"3", b"4"), (1, 4, 7, 10)
    seasons = axdr.array_of(season(n, month) for n, month in zip(names, months, strict=True))
    weeks = axdr.array_of(week(name, rate) for rate, name in enumerate(names, 1))
    moment = CosemDateTime.from_utc(START_S + DAY_S, meter.zone).raw()
    with client(meter) as port:
        port.set((CALENDAR, 9), days(*((rate, ((0, rate),)) for rate in range(1, 5))))
        port.set((CALENDAR, 8), weeks)
        port.set((CALENDAR, 7), seasons)
        port.set((CALENDAR, 6), axdr.octets(b"year"))
        port.set((CALENDAR, 10), axdr.octets(moment))
        assert port.read((CALENDAR, 2)) != b"year"
        read = []
        for day in (1, 90, 181, 273, 365):  # of 2026, in local time: an hour before UTC
            until = START_S + day * DAY_S
            meter.advance(ConstantLoad(1200, 1), until, 900)
            read.append([number(port.read(f"1-0:1.8.{rate}")) for rate in range(1, 5)])
        assert port.read((CALENDAR, 2)) == b"year"
    grown = [[b - a for a, b in zip(*pair, strict=True)] for pair in pairwise(read)]
    # A season begins at local midnight: two hours before that of UTC in summer, one in winter.
    for n, (quarter, quarter_days, early) in enumerate(
        zip(grown, (89, 91, 92, 92), (2, 2, 2, 1), strict=True)
    ):
        hours = [value / 1200 for value in quarter]
        assert hours[n] == quarter_days * 24 - early
        assert hours[(n + 1) % 4] == early
        assert sum(hours) == quarter_days * 24


@pytest.mark.requirement("K-14")
@pytest.mark.parametrize(("key", "b"), [("k382m", 1), ("k162m", 1)])
def test_relays_follow_the_rates_of_a_calendar_uploaded_from_afar(key: str, b: int) -> None:
    meter = made(key, options=MeterOptions(relay_rates=(2,)))
    phases = len(meter.model.phases)
    relays = [str(relay.obis) for relay in meter.model.relays]
    assert relays
    with client(meter) as port:
        port.set((CALENDAR, 9), days((1, ((0, 1), (6, 2), (22, 1)))))
        port.set((CALENDAR, 8), axdr.array(week(b"1", 1)))
        port.set((CALENDAR, 7), axdr.array(season(b"1", 1)))
        port.set((CALENDAR, 6), axdr.octets(b"night"))
        port.action(CALENDAR, "activate_passive_calendar")
        seen = []
        for hour in (4, 5, 20, 21):  # UTC, an hour behind the clock on the wall
            meter.advance(ConstantLoad(1200, phases), START_S + hour * 3600 + 60)
            seen.append([port.read((relay, 2)) for relay in relays])
        assert seen == [[on] * len(relays) for on in (False, True, True, False)]
        meter.advance(ConstantLoad(1200, phases), START_S + DAY_S)
        high, low = (number(port.read(f"1-{b}:1.8.{rate}")) for rate in (2, 1))
        assert high == pytest.approx(16 * 1200 * phases, abs=30)
        assert low == pytest.approx(8 * 1200 * phases, abs=30)


# --- the breaker ----------------------------------------------------------------------------------

CUT_OFF, CLOSED, READY = 0, 1, 2
MODES = {
    #  remotely off, then on: connected or only ready; the button opens
    0: (CLOSED, CLOSED, False),
    1: (CUT_OFF, CLOSED, True),
    2: (CUT_OFF, READY, True),
    3: (CUT_OFF, CLOSED, False),
    4: (CUT_OFF, READY, False),
    5: (CUT_OFF, CLOSED, True),
    6: (CUT_OFF, CLOSED, False),
}
"""control_mode of class 70 (IEC 62056-6-2)."""


@pytest.mark.requirement("OMNI-06")
@pytest.mark.parametrize("mode", MODES)
def test_the_breaker_obeys_remote_and_button_as_its_mode_says(mode: int) -> None:
    off, on, opens = MODES[mode]
    store = Store.in_memory()
    meter = made("omnipower", keeper=StoreKeeper(store, "m"))
    seconds = START_S

    def wait(meter: Meter) -> None:
        nonlocal seconds
        seconds += 60
        meter.advance(ConstantLoad(1200, 1), seconds)

    with client(meter) as port:
        port.set((BREAKER, 4), axdr.enum(mode))
        if off == CLOSED:
            with pytest.raises(Refused):
                port.action(BREAKER, "remote_disconnect")
        else:
            port.action(BREAKER, "remote_disconnect")
        assert port.read((BREAKER, 3)) == off
        wait(meter)
    meter.switch_off()
    meter = made("omnipower", keeper=StoreKeeper(store, "m"))  # bistable over a power cut
    with client(meter) as port:
        assert port.read((BREAKER, 3)) == off
        port.action(BREAKER, "remote_reconnect")
        assert port.read((BREAKER, 3)) == on
        if on == READY:
            port.action(BUTTON, "execute", PRESS_PUSH_BUTTON)
        assert port.read((BREAKER, 3)) == CLOSED
        wait(meter)
        port.action(BUTTON, "execute", PRESS_PUSH_BUTTON)
        assert port.read((BREAKER, 3)) == (READY if opens else CLOSED)


@pytest.mark.requirement("OMNI-06")
def test_threshold_and_used_credit_open_it_and_the_button_alone_does_not_close_it() -> None:
    meter = made("omnipower")
    with client(meter) as port:
        port.set("1-1:128.0.13", axdr.u8(10))
        meter.advance(ConstantLoad(4600, 1), START_S + 600)
        assert port.read((BREAKER, 2)) is False
        port.set("1-1:128.0.13", axdr.u8(0))
        meter.advance(ConstantLoad(1200, 1), START_S + 1200)
        port.action(BREAKER, "remote_reconnect")
        port.action(BUTTON, "execute", PRESS_PUSH_BUTTON)
        assert port.read((BREAKER, 2)) is True
        port.action("0-0:19.0.0", "activate_account")
        port.action("0-0:19.10.0", "update_amount", axdr.i32(300))
        meter.advance(ConstantLoad(3600, 1), START_S + 1800)
        assert port.read((BREAKER, 2)) is False
        port.action(BUTTON, "execute", PRESS_PUSH_BUTTON)
        assert port.read((BREAKER, 2)) is False


@pytest.mark.requirement("OMNI-06")
def test_after_a_remote_disconnection_the_button_waits_for_the_release() -> None:
    with client(made("omnipower")) as port:
        port.action(BREAKER, "remote_disconnect")
        port.action(BUTTON, "execute", PRESS_PUSH_BUTTON)
        assert [port.read((BREAKER, n)) for n in (2, 3)] == [False, CUT_OFF]


# --- covers and counters --------------------------------------------------------------------------


@pytest.mark.requirement("MT372-15")
@pytest.mark.parametrize(("cover", "code"), [("terminal", 0x8011), ("main", 0x8010)])
def test_an_opened_cover_is_logged_and_the_meter_calls(cover: str, code: int) -> None:
    for calls in (True, False):
        meter = made("mt372", options=MeterOptions(alarms=calls))
        opened = Incident(START_S + 30, f"{cover}_cover_opened")
        meter.advance(ConstantLoad(incidents=(opened,)), START_S + 60)
        with client(meter, Level.MANAGEMENT) as port:
            (entry,) = tree(port.read(("0-0:99.98.0", 2)))
            assert int(CosemDateTime.of(entry[0]).utc()) == START_S + 30
            assert entry[1] == code
        assert bool(meter.outbox.pushes) is calls


@pytest.mark.requirement("OMNI-21")
def test_hours_power_above_a_threshold_and_billing_stops_are_counted() -> None:
    meter = made("omnipower")
    with client(meter) as port:
        port.set("1-1:96.51.1", axdr.u32(2000))
        meter.advance(ConstantLoad(1200, 1), START_S + 7200)
        assert number(port.read("0-1:96.8.0")) == 2
        assert number(port.read("1-1:96.51.2")) == 0
        for n in range(3):
            meter.advance(ConstantLoad(3000, 1), START_S + 7200 + 1200 * n + 600)
            meter.advance(ConstantLoad(1200, 1), START_S + 7200 + 1200 * n + 1200)
        assert number(port.read("1-1:96.51.2")) == 3
        stops = number(port.read("1-1:0.1.0"))
        meter.advance(ConstantLoad(1200, 1), START_S + 32 * DAY_S)
        assert number(port.read("1-1:0.1.0")) == stops + 1
        assert number(port.read("0-1:96.8.0")) == 32 * 24


# --- prepayment -----------------------------------------------------------------------------------


@pytest.mark.requirement("K-11")
@pytest.mark.parametrize("key", ["k382m", "omnipower"])
def test_credit_warns_lends_waits_for_friendly_times_and_cuts_the_supply(key: str) -> None:
    meter = made(key)
    phases = len(meter.model.phases)

    def until(hour: float) -> None:
        meter.advance(ConstantLoad(3600, phases), START_S + int(3600 * hour))

    with client(meter) as port:
        port.set("1-1:128.0.130", axdr.u16(12 * 60))  # not from noon to six in the evening,
        port.set("1-1:128.0.131", axdr.u16(18 * 60))
        port.set("1-1:128.0.132", axdr.u8(0b1100000))  # nor on Saturday and Sunday
        with pytest.raises(Refused):
            port.set("1-1:128.0.131", axdr.u16(1441))
        port.action("0-0:19.0.0", "activate_account")
        port.action("0-0:19.10.0", "update_amount", axdr.i32(phases * 3600 * 11))
        until(10.5)
        warned = [row[1] for row in tree(port.read(("0-0:99.98.2", 2)))]
        assert 141 in warned
        assert 140 not in warned
        until(15)  # 16 h: the credit is used up, the time is friendly
        assert port.read((BREAKER, 2)) is True
        assert number(port.read("0-0:19.10.0")) == phases * 3600 * (11 - 15)
        until(17.5)  # 18:30
        assert port.read((BREAKER, 2)) is False
        port.action("0-0:19.10.0", "update_amount", axdr.i32(phases * 3600 * 6 + 3600))
        port.action(BREAKER, "remote_reconnect")
        port.action(BUTTON, "execute", PRESS_PUSH_BUTTON)
        assert port.read((BREAKER, 2)) is True
        assert number(port.read("0-0:19.10.0")) == 3600  # what was used meanwhile is paid
        port.action("0-0:19.10.1", "invoke_credit")
        left_h = (3600 + 5000) / (phases * 3600)
        until(17.5 + left_h - 0.1)
        assert port.read((BREAKER, 2)) is True
        until(17.5 + left_h + 0.1)
        assert port.read((BREAKER, 2)) is False


@pytest.mark.requirement("K-11")
def test_nobody_is_cut_off_on_a_friendly_day() -> None:
    meter = made("omnipower", start_s=START_S + DAY_S + 43_200)  # Friday noon
    with client(meter) as port:
        port.set("1-1:128.0.132", axdr.u8(0b1100000))
        port.action("0-0:19.0.0", "activate_account")
        port.action("0-0:19.10.0", "update_amount", axdr.i32(3600 * 24))
        meter.advance(ConstantLoad(3600, 1), START_S + 4 * DAY_S - 2 * 3600)
        assert port.read((BREAKER, 2)) is True  # Sunday, 23:00
        assert number(port.read("0-0:19.10.0")) < 0
        meter.advance(ConstantLoad(3600, 1), START_S + 4 * DAY_S)
        assert port.read((BREAKER, 2)) is False
