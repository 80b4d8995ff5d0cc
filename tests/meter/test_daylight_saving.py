"""Time zone and daylight saving that are set at the clock (class 8)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.service import AccessError, DataAccessResult
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.store.store import Store
from tests.meter.running import DAY_S, START_S, get, made, put
from tests.meter.simple_load import ConstantLoad

CLOCK = "0-0:1.0.0"


def local(meter: Meter) -> str:
    return CosemDateTime.of(get(meter, 8, CLOCK, 2)).local().isoformat(sep=" ")


def at(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp())


def pattern(month: int, day: int, weekday: int, hour: int) -> Data:
    raw = bytes((0xFF, 0xFF, month, day, weekday, hour, 0, 0, 0, 0x80, 0, 0xFF))
    return axdr.octets(raw)


@pytest.mark.parametrize(
    ("begin", "end", "last_winter", "first_winter"),
    [
        # last Sunday of March to last Sunday of October, written either way
        ((3, 0xFE, 7, 2), (10, 0xFE, 7, 3), "2026-03-29 00:59", "2026-10-25 01:00"),
        ((3, 25, 7, 2), (10, 25, 7, 3), "2026-03-29 00:59", "2026-10-25 01:00"),
        # second Sunday of March to first Sunday of November
        ((3, 8, 7, 2), (11, 1, 7, 2), "2026-03-08 00:59", "2026-11-01 00:00"),
        # fixed dates
        ((4, 2, 0xFF, 3), (9, 30, 0xFF, 0), "2026-04-02 01:59", "2026-09-29 22:00"),
        ((3, 0xFE, 0xFF, 2), (10, 0xFE, 0xFF, 3), "2026-03-31 00:59", "2026-10-31 01:00"),
    ],
)
def test_the_clock_changes_when_the_table_says_so(
    begin: tuple[int, int, int, int],
    end: tuple[int, int, int, int],
    last_winter: str,
    first_winter: str,
) -> None:
    for moment, before, after in ((at(last_winter) + 60, 0, 1), (at(first_winter), 1, 0)):
        meter = made("mt372", start_s=moment - 60)
        put(meter, 8, CLOCK, 5, pattern(*begin))
        put(meter, 8, CLOCK, 6, pattern(*end))
        assert get(meter, 8, CLOCK, 4) >> 7 == before
        meter.advance(ConstantLoad(), moment)
        assert get(meter, 8, CLOCK, 4) >> 7 == after
        assert CosemDateTime.of(get(meter, 8, CLOCK, 2)).deviation_min == -60 - 60 * after


def test_zone_deviation_and_the_switch_are_set_one_by_one() -> None:
    meter = made("mt372", start_s=at("2026-07-01 00:00"))
    assert local(meter) == "2026-07-01 02:00:00"
    put(meter, 8, CLOCK, 3, axdr.i16(-570))
    assert local(meter) == "2026-07-01 10:30:00"
    put(meter, 8, CLOCK, 7, axdr.i8(30))
    assert local(meter) == "2026-07-01 10:00:00"
    put(meter, 8, CLOCK, 8, axdr.boolean(False))
    assert local(meter) == "2026-07-01 09:30:00"
    assert [get(meter, 8, CLOCK, n) for n in (3, 7, 8)] == [-570, 30, False]
    put(meter, 8, CLOCK, 8, axdr.boolean(True))
    assert local(meter) == "2026-07-01 10:00:00"
    assert meter.clock_utc_s() == at("2026-07-01 00:00")


def test_the_other_half_of_the_world() -> None:
    meter = made("mt372", start_s=at("2026-01-01 00:00"), options=MeterOptions(zone="UTC"))
    assert [get(meter, 8, CLOCK, n) for n in (3, 7, 8)] == [0, 0, False]
    put(meter, 8, CLOCK, 7, axdr.i8(60))
    with pytest.raises(AccessError, match="is not given"):
        put(meter, 8, CLOCK, 8, axdr.boolean(True))
    put(meter, 8, CLOCK, 3, axdr.i16(-600))
    put(meter, 8, CLOCK, 5, pattern(10, 1, 7, 2))
    put(meter, 8, CLOCK, 6, pattern(4, 1, 7, 3))
    put(meter, 8, CLOCK, 8, axdr.boolean(True))
    assert local(meter) == "2026-01-01 11:00:00"


@pytest.mark.parametrize("zone", ["America/New_York", "Australia/Sydney", "Europe/London"])
def test_a_delivered_zone_written_back_stays_itself(zone: str) -> None:
    for month in range(1, 13):
        moment = at(f"2031-{month:02d}-08 12:00")
        one, other = (
            made("mt372", start_s=moment, options=MeterOptions(zone=zone)) for _ in range(2)
        )
        for number in (5, 6):
            shown = get(made("mt372", options=MeterOptions(zone=zone)), 8, CLOCK, number)
            put(one, 8, CLOCK, number, axdr.octets(shown))
        assert one.zone != other.zone
        assert local(one) == local(other)


def test_tariffs_follow_the_new_local_time_and_survive_a_restart() -> None:
    store = Store.in_memory()
    meter = made("mt372", keeper=StoreKeeper(store, "m"))
    meter.advance(ConstantLoad(), START_S + 3600)
    total = get(meter, 3, "1-0:1.8.0", 2)
    put(meter, 8, CLOCK, 3, axdr.i16(0))
    again = made("mt372", keeper=StoreKeeper(store, "m"))
    assert get(again, 3, "1-0:1.8.0", 2) == total
    assert local(again) == "2026-01-01 01:00:00"
    switches = []
    for meter_of in (again, made("mt372")):
        meter_of.advance(ConstantLoad(), START_S + 2 * 3600)
        before = get(meter_of, 3, "1-0:1.8.1", 2)
        hour = 2
        while get(meter_of, 3, "1-0:1.8.1", 2) == before:
            hour += 1
            meter_of.advance(ConstantLoad(), START_S + hour * 3600)
        switches.append(hour)
    assert switches[0] == switches[1] + 1


@pytest.mark.parametrize(
    ("number", "data", "why"),
    [
        (3, axdr.i16(-900), "-840 to 720"),
        (7, axdr.i8(-121), "at most 120"),
        (5, axdr.octets(bytes.fromhex("07ea031d0702000000800000")), "every year"),
        (5, pattern(0xFE, 1, 7, 2), "month"),
        (5, pattern(3, 0xFD, 7, 2), "weekday is the last"),
        (6, pattern(10, 0xFF, 0xFF, 3), "day on which"),
        (6, axdr.octets(bytes.fromhex("ffff0afe07ffffffff800000")), "time at which"),
        (6, pattern(3, 0xFE, 7, 2), "begins when it ends"),
    ],
)
def test_what_is_no_rule_is_refused_and_nothing_changes(number: int, data: Data, why: str) -> None:
    meter = made("mt372")
    before = [get(meter, 8, CLOCK, n) for n in (2, 3, 5, 6, 7, 8)]
    with pytest.raises(AccessError, match=why) as refused:
        put(meter, 8, CLOCK, number, data)
    assert refused.value.result is DataAccessResult.OTHER_REASON
    with pytest.raises(AccessError) as refused:
        put(meter, 8, CLOCK, number, axdr.u8(1))
    assert refused.value.result is DataAccessResult.TYPE_UNMATCHED
    assert [get(meter, 8, CLOCK, n) for n in (2, 3, 5, 6, 7, 8)] == before


def test_the_change_is_an_event_and_the_books_go_on() -> None:
    meter = made("mt372")
    meter.advance(ConstantLoad(), START_S + DAY_S)
    rows = len(get(meter, 7, "1-0:99.1.0", 2))
    put(meter, 8, CLOCK, 3, axdr.i16(-120))
    meter.advance(ConstantLoad(), START_S + DAY_S + 3600)
    assert len(get(meter, 7, "1-0:99.1.0", 2)) == rows + 4
    assert "parameters_changed" in [e.name for log in meter.books.logs.values() for e in log]
