"""Single action schedules (class 22) and the time of the passive calendar (class 20).

Each acts with the interval that reaches its moment by the meter's clock, however blocks are cut.
"""

from __future__ import annotations

import itertools

import pytest

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, DataAccessResult
from blathy.meter.meter import Meter
from blathy.obis import Obis
from blathy.registers.block import Block
from tests.meter.running import DAY_S, START_S, call, get, made, put
from tests.meter.simple_load import ConstantLoad

PUSHING, ACTIVATING = "0-0:15.0.4", "0-0:15.0.2"
BREAKER, CALENDAR, FUNCTIONS = "0-0:96.3.10", "0-0:13.0.0", "0-0:44.1.0"
DISCONNECTING = "0-0:10.0.106"
EVERY_DAY = b"\xff" * 5
HOUR_S, MINUTE_S = 3600, 60


def script(table: str, selector: int = 1) -> Data:
    return axdr.structure(axdr.octets(Obis.parse(table)), axdr.u16(selector))


def at(*times: bytes, day: bytes = EVERY_DAY) -> Data:
    return axdr.array_of(axdr.structure(axdr.octets(t), axdr.octets(day)) for t in times)


def somewhere() -> Data:
    """A destination of pushes."""
    return axdr.structure(axdr.enum(0), axdr.octets(b"127.0.0.1:4059"), axdr.enum(0))


def plan(meter: Meter, times: Data, what: Data | None = None) -> None:
    put(meter, 40, "0-0:25.9.0", 3, somewhere())
    put(meter, 22, PUSHING, 4, times)
    if what is not None:
        put(meter, 22, PUSHING, 2, what)


def closed(meter: Meter) -> bool:
    meter.commit()
    return bool(get(meter, 70, BREAKER, 2))


def disconnecting(meter: Meter) -> None:
    """The breaker opens at 3:00:30 by the clock."""
    put(meter, 70, BREAKER, 4, axdr.enum(1))
    plan(meter, at(bytes((3, 0, 30, 0))), script(DISCONNECTING))


def breaker_of(meter: Meter) -> str:
    assert meter.model.breaker is not None
    return str(meter.model.breaker.obis)


def test_the_script_that_is_named_runs_and_no_other() -> None:
    meter = made("mt372")
    assert breaker_of(meter) == BREAKER
    disconnecting(meter)
    meter.advance(ConstantLoad(), START_S + 2 * HOUR_S)
    assert closed(meter)
    meter.advance(ConstantLoad(), START_S + 2 * HOUR_S + MINUTE_S)
    assert not closed(meter)
    assert not meter.outbox.pushes


def test_no_script_is_named_by_six_zeros() -> None:
    meter = made("mt372")
    plan(meter, at(b"\x03\0\0\0"), axdr.structure(axdr.octets(bytes(6)), axdr.u16(1)))
    meter.advance(ConstantLoad(), START_S + DAY_S)
    assert not meter.outbox.pushes
    assert closed(meter)


@pytest.mark.parametrize("table", ["0-0:10.9.9", "0-0:10.0.100", "1-0:1.8.0"])
def test_a_script_that_nobody_may_run_is_refused(table: str) -> None:
    """No such object, the tariff scripts (which only the calendar runs), and no script table."""
    meter = made("mt372")
    before = get(meter, 22, PUSHING, 2)
    with pytest.raises(AccessError):
        put(meter, 22, PUSHING, 2, script(table))
    assert get(meter, 22, PUSHING, 2) == before


@pytest.mark.parametrize(
    ("number", "data", "why"),
    [
        (3, axdr.enum(0), DataAccessResult.OTHER_REASON),
        (3, axdr.enum(6), DataAccessResult.OTHER_REASON),
        (4, at(b"\x18\0\0\0"), DataAccessResult.TYPE_UNMATCHED),
        (4, at(b"\0\0\0\0", day=b"\xff\xff\x0d\xff\xff"), DataAccessResult.TYPE_UNMATCHED),
        (4, at(*[b"\0\0\0\0"] * 17), DataAccessResult.OTHER_REASON),
    ],
)
def test_types_and_times_that_cannot_be_are_refused(
    number: int, data: Data, why: DataAccessResult
) -> None:
    meter = made("mt372")
    before = get(meter, 22, PUSHING, number)
    with pytest.raises(AccessError) as error:
        put(meter, 22, PUSHING, number, data)
    assert error.value.result is why
    assert get(meter, 22, PUSHING, number) == before


def test_two_days_at_once_are_as_minute_by_minute() -> None:
    """The load that the breaker cuts off at 3 o'clock is not counted, in whatever block it is."""
    meters = []
    for cuts in ([], list(range(1, 180)), [119, 121, 1440]):
        meter = made("mt372")
        disconnecting(meter)
        days = ConstantLoad().block(START_S, 2 * 1440, MINUTE_S)
        for first, last in itertools.pairwise([0, *cuts, len(days)]):
            meter.step(days.cut(first, last))
        assert not closed(meter)
        meters.append(meter)
    whole, *others = meters
    assert get(whole, 3, "1-0:1.8.0", 2) == 121 * 60  # 3 x 1200 W are 60 Wh a minute
    for other in others:
        assert other.ledger.state_hash() == whole.ledger.state_hash()
        assert other.settings == whole.settings


@pytest.mark.parametrize("drift_ppb", [-200_000, 200_000])
def test_a_clock_that_gains_or_loses_a_second_runs_every_minute_once(drift_ppb: int) -> None:
    """Every minute of four hours, in which the clock slips by three seconds against true time."""
    meter = made("mt372")
    meter.ledger._rtc.drift_ppb = drift_ppb  # as an oscillator of that error
    plan(meter, at(b"\xff\xff\0\0"))
    ran: list[int] = []
    for minute in range(240):
        meter.step(ConstantLoad().block(START_S + minute * MINUTE_S, 1, MINUTE_S))
        ran += [meter.ledger.clock_utc_s // MINUTE_S] * len(meter.outbox.pushes)
        meter.outbox.pushes.clear()
    assert len(ran) == len(set(ran))
    assert len(ran) in {239, 240}


def dark(start_s: int, minutes: int) -> Block:
    block = ConstantLoad().block(start_s, minutes, MINUTE_S)
    for array in (block.supply, block.instant, block.energy_u):
        array[:] = 0
    return block


@pytest.mark.parametrize("measured", [True, False])
def test_what_an_outage_passed_over_runs_once_when_power_returns(*, measured: bool) -> None:
    meter = made("mt372")
    plan(meter, at(b"\x03\0\0\0", b"\x03\x1e\0\0"))
    meter.advance(ConstantLoad(), START_S + HOUR_S)
    if measured:
        meter.step(dark(START_S + HOUR_S, 180))
        assert not meter.outbox.pushes
    meter.step(ConstantLoad().block(START_S + 4 * HOUR_S, 60, MINUTE_S))
    assert len(meter.outbox.pushes) == 1


def test_what_is_late_by_more_than_a_day_has_passed() -> None:
    meter = made("mt372")
    plan(meter, at(b"\x03\0\0\0", day=bytes((7, 0xEA, 1, 1, 0xFF))))
    meter.advance(ConstantLoad(), START_S + HOUR_S)
    meter.step(ConstantLoad().block(START_S + 2 * DAY_S, 60, MINUTE_S))
    assert not meter.outbox.pushes


def test_the_passive_calendar_becomes_active_in_the_middle_of_a_block() -> None:
    """From 6 o'clock on everything is rate 4, in one block of a day as minute by minute."""
    meters = []
    for cuts in ([], list(range(1, 400))):
        meter = made("mt372")
        tariffs = axdr.octets(Obis.parse("0-0:10.0.100"))
        rate_4 = axdr.structure(axdr.octets(bytes(4)), tariffs, axdr.u16(4))
        put(meter, 20, CALENDAR, 9, axdr.array(axdr.structure(axdr.u8(1), axdr.array(rate_4))))
        week = axdr.structure(axdr.octets(b"w"), *[axdr.u8(1)] * 7)
        put(meter, 20, CALENDAR, 8, axdr.array(week))
        from_new_year = axdr.octets(bytes.fromhex("FFFF0101FF00000000800000"))
        season = axdr.structure(axdr.octets(b"s"), from_new_year, axdr.octets(b"w"))
        put(meter, 20, CALENDAR, 7, axdr.array(season))
        put(meter, 20, CALENDAR, 10, axdr.octets(bytes.fromhex("07EA0101FF06000000800000")))
        day = ConstantLoad().block(START_S, 1440, MINUTE_S)
        for first, last in itertools.pairwise([0, *cuts, len(day)]):
            meter.step(day.cut(first, last))
        meter.commit()
        meters.append(meter)
    whole, fine = meters
    assert get(whole, 3, "1-0:1.8.4", 2) == (1440 - 5 * 60) * 60
    assert whole.ledger.state_hash() == fine.ledger.state_hash()


@pytest.mark.parametrize("rest", ["8000FF", "800000", "FFC480"])
def test_no_time_is_none_whatever_deviation_and_status_say(rest: str) -> None:
    meter = made("mt372")
    nothing = b"\xff" * 9 + bytes.fromhex(rest)
    put(meter, 20, CALENDAR, 10, axdr.octets(nothing))
    meter.advance(ConstantLoad(), START_S + HOUR_S)
    assert get(meter, 20, CALENDAR, 10) == nothing


def test_a_planned_time_with_wildcards_that_is_still_in_the_store_harms_nobody() -> None:
    """No client can write one any more; earlier versions took it."""
    meter = made("mt372")
    every_year = axdr.encode_octets(bytes.fromhex("FFFF0101FF06000000800000"))
    meter.save_setting(bytes(Obis.parse(CALENDAR)) + bytes((10,)), every_year)
    meter.advance(ConstantLoad(600), START_S + DAY_S)
    assert meter.ledger.now == START_S + DAY_S


def test_a_calendar_whose_function_is_off_is_not_activated() -> None:
    meter = made("reference")
    name = axdr.octets(b"tariffs")
    objects = axdr.array(axdr.structure(axdr.u16(20), axdr.octets(Obis.parse(CALENDAR))))
    call(meter, 122, FUNCTIONS, 2, axdr.structure(name, objects))
    call(meter, 122, FUNCTIONS, 1, axdr.array(axdr.structure(name, axdr.boolean(False))))
    planned = bytes.fromhex("07EA0101FF06000000800000")
    put(meter, 20, CALENDAR, 10, axdr.octets(planned))
    meter.advance(ConstantLoad(), START_S + DAY_S)
    assert get(meter, 20, CALENDAR, 10) == planned
