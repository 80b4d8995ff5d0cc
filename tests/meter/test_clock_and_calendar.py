"""Clock (class 8), activity calendar (20), special days (11), single actions (22)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.service import AccessError, ActionResult, DataAccessResult
from blathy.meter.meter import Meter
from blathy.models import MODELS
from blathy.obis import Obis
from tests.meter.running import DAY_S, START_S, call, fed, get, made, put
from tests.meter.simple_load import ConstantLoad

CLOCK = "0-0:1.0.0"
CALENDAR = "0-0:13.0.0"
SPECIAL = "0-0:11.0.0"


def shown(meter: Meter) -> int:
    return int(CosemDateTime.of(get(meter, 8, CLOCK, 2)).utc())


def test_the_clock_shows_local_time_with_its_deviation() -> None:
    meter = made("mt372")
    raw = get(meter, 8, CLOCK, 2)
    assert raw.hex() == "07ea0101040100" + "0000" + "ffc4" + "00"
    assert get(meter, 8, CLOCK, 3) == -60


def test_in_summer_the_deviation_holds_the_hour_and_the_status_says_so() -> None:
    july = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp())
    meter = made("mt372", start_s=july)
    raw = get(meter, 8, CLOCK, 2)
    assert raw[9:11].hex() == "ff88"
    assert raw[11] == 0x80
    assert get(meter, 8, CLOCK, 4) == 0x80


def test_daylight_saving_begins_and_ends_on_the_last_sundays() -> None:
    meter = made("mt372")
    begin, end = (get(meter, 8, CLOCK, n) for n in (5, 6))
    assert begin[:8].hex() == "ffff03fe07020000"
    assert end[:8].hex() == "ffff0afe07030000"
    assert [get(meter, 8, CLOCK, n) for n in (7, 8)] == [60, True]


def test_setting_the_clock_moves_it_and_is_logged_with_both_times() -> None:
    meter = made("esox")
    wanted = CosemDateTime.from_utc(START_S + 4000, meter.zone).raw()
    put(meter, 8, CLOCK, 2, axdr.octets(wanted))
    assert shown(meter) == START_S + 4000
    log = next(log for log in meter.model.logs if log.key == "clock")
    codes = [row[1] for row in get(meter, 7, str(log.obis), 2)]
    assert codes == [4, 5]


def test_a_small_correction_is_a_silent_shift() -> None:
    meter = made("esox")
    call(meter, 8, CLOCK, 6, axdr.i16(5))
    assert shown(meter) == START_S + 5
    assert meter.books.logs["clock"] == ()


@pytest.mark.parametrize(
    ("method", "before", "after"), [(1, 7 * 60 + 29, 0), (1, 7 * 60 + 31, 900), (3, 31, 60)]
)
def test_adjusting_to_the_nearest_quarter_and_minute(method: int, before: int, after: int) -> None:
    meter = made("mt372", start_s=START_S + before)
    call(meter, 8, CLOCK, method)
    assert shown(meter) == START_S + after


def test_adjusting_to_the_measuring_period() -> None:
    meter = made("omnipower", start_s=START_S + 500)
    call(meter, 8, "0-1:1.0.0", 2)
    assert int(CosemDateTime.of(get(meter, 8, "0-1:1.0.0", 2)).utc()) == START_S + 900


def test_a_preset_time_is_taken_within_its_validity_only() -> None:
    meter = made("mt372")
    moments = [START_S + 50, START_S - 60, START_S + 3600]
    preset = axdr.structure(
        *(axdr.octets(CosemDateTime.from_utc(m, meter.zone).raw()) for m in moments)
    )
    with pytest.raises(AccessError) as refused:
        call(meter, 8, CLOCK, 4)
    assert refused.value.result is ActionResult.TEMPORARY_FAILURE
    call(meter, 8, CLOCK, 5, preset)
    call(meter, 8, CLOCK, 4)
    assert shown(meter) == START_S + 50
    meter.advance(ConstantLoad(), START_S + 3 * 3600)
    with pytest.raises(AccessError):
        call(meter, 8, CLOCK, 4)


@pytest.mark.parametrize(
    "data", [axdr.u32(1), axdr.octets(b"short"), axdr.octets(b"\xff" * 12), axdr.null()]
)
def test_a_time_that_is_none_leaves_the_clock_alone(data: Data) -> None:
    meter = made("mt372")
    with pytest.raises(AccessError) as refused:
        put(meter, 8, CLOCK, 2, data)
    assert refused.value.result is DataAccessResult.TYPE_UNMATCHED
    assert shown(meter) == START_S


def test_a_shift_of_more_than_900_s_is_refused() -> None:
    with pytest.raises(AccessError):
        call(made("mt372"), 8, CLOCK, 6, axdr.i16(901))


# --- calendar ---------------------------------------------------------------------------------


def days(*rows: tuple[int, tuple[tuple[int, int], ...]]) -> Data:
    return axdr.array_of(
        axdr.structure(
            axdr.u8(number),
            axdr.array_of(
                axdr.structure(
                    axdr.octets(bytes((hour, 0, 0, 0))),
                    axdr.octets(Obis.parse("0-0:10.0.100")),
                    axdr.u16(rate),
                )
                for hour, rate in switches
            ),
        )
        for number, switches in rows
    )


def load_passive(meter: Meter, day_table: Data) -> None:
    put(meter, 20, CALENDAR, 6, axdr.octets(b"new"))
    put(meter, 20, CALENDAR, 9, day_table)
    put(
        meter,
        20,
        CALENDAR,
        8,
        axdr.array(axdr.structure(axdr.octets(b"w"), *(axdr.u8(1) for _ in range(7)))),
    )
    start = b"\xff\xff\x01\x01\xff" + bytes(4) + b"\x80\x00\xff"
    put(meter, 20, CALENDAR, 7, axdr.array(
        axdr.structure(axdr.octets(b"s"), axdr.octets(start), axdr.octets(b"w"))))  # fmt: skip


def test_a_passive_calendar_is_loaded_and_activated() -> None:
    meter = made("mt372")
    load_passive(meter, days((1, ((0, 3), (12, 4)))))
    assert get(meter, 20, CALENDAR, 2) == b"standard"
    call(meter, 20, CALENDAR, 1)
    assert get(meter, 20, CALENDAR, 2) == b"new"
    assert [get(meter, 20, CALENDAR, n) for n in (3, 4, 5)] == [
        get(meter, 20, CALENDAR, n) for n in (7, 8, 9)
    ]
    meter.advance(ConstantLoad(), START_S + DAY_S)
    assert [get(meter, 3, f"1-0:1.8.{rate}", 2) for rate in range(1, 5)] == [
        0, 0, 12 * 3600, 12 * 3600,
    ]  # fmt: skip


def test_a_passive_calendar_becomes_active_at_its_time() -> None:
    meter = made("mt372")
    load_passive(meter, days((1, ((0, 2),))))
    moment = CosemDateTime.from_utc(START_S + 3600, meter.zone).raw()
    put(meter, 20, CALENDAR, 10, axdr.octets(moment))
    meter.advance(ConstantLoad(), START_S + 3540)
    assert get(meter, 20, CALENDAR, 2) == b"standard"
    meter.advance(ConstantLoad(), START_S + 3660)
    assert get(meter, 20, CALENDAR, 2) == b"new"
    assert CosemDateTime.of(get(meter, 20, CALENDAR, 10)).is_unset


def test_a_calendar_that_does_not_hold_together_is_refused_when_activated() -> None:
    meter = made("mt372")
    load_passive(meter, days((9, ((0, 2),))))
    with pytest.raises(AccessError) as refused:
        call(meter, 20, CALENDAR, 1)
    assert refused.value.result is ActionResult.OTHER_REASON
    assert get(meter, 20, CALENDAR, 2) == b"standard"


def test_a_rate_that_the_meter_has_not_is_refused_when_written() -> None:
    with pytest.raises(AccessError) as refused:
        put(made("mt372"), 20, CALENDAR, 9, days((1, ((0, 5),))))
    assert refused.value.result is DataAccessResult.OTHER_REASON


def test_special_days_are_inserted_replaced_and_deleted() -> None:
    meter = made("mt372")

    def entry(index: int, raw: bytes, day: int) -> Data:
        return axdr.structure(axdr.u16(index), axdr.octets(raw), axdr.u8(day))

    christmas = bytes.fromhex("ffff0c18ff")
    call(meter, 11, SPECIAL, 1, entry(2, christmas, 2))
    call(meter, 11, SPECIAL, 1, entry(1, bytes.fromhex("07ea0102ff"), 2))
    assert get(meter, 11, SPECIAL, 2) == [
        [1, bytes.fromhex("07ea0102ff"), 2], [2, christmas, 2],
    ]  # fmt: skip
    call(meter, 11, SPECIAL, 1, entry(2, christmas, 1))
    call(meter, 11, SPECIAL, 2, axdr.u16(1))
    assert get(meter, 11, SPECIAL, 2) == [[2, christmas, 1]]
    with pytest.raises(AccessError):
        call(meter, 11, SPECIAL, 1, entry(3, christmas, 77))


def test_a_special_day_wins_over_the_week() -> None:
    meter = made("mt372")
    friday = bytes.fromhex("07ea0102ff")
    call(
        meter, 11, SPECIAL, 1,
        axdr.structure(axdr.u16(1), axdr.octets(friday), axdr.u8(2)),
    )  # fmt: skip
    meter.advance(ConstantLoad(), START_S + 2 * DAY_S)
    day = 3600 * 24
    by_rate = [get(meter, 3, f"1-0:1.8.{rate}", 2) for rate in (1, 2)]
    assert sum(by_rate) == 2 * 3 * 1200 * 24
    assert by_rate[0] < day * 3 * 1200 // 3600


def test_the_active_mask_follows_the_rate() -> None:
    meter = made("mt372")
    meter.advance(ConstantLoad(), START_S + 3600)
    assert get(meter, 6, "0-0:14.0.0", 4) == b"0002"
    meter.advance(ConstantLoad(), START_S + 8 * 3600)
    assert get(meter, 6, "0-0:14.0.0", 4) == b"0001"
    assert get(meter, 1, "0-0:96.14.0", 2) == b"0001"
    masks = {bytes(name): found for name, found in get(meter, 6, "0-0:14.0.0", 3)}
    assert len(masks) == 4
    assignment = get(meter, 6, "0-0:14.0.0", 2)
    assert assignment[masks[b"0002"][0] - 1][1] == Obis.parse("1-0:1.8.2")


def test_a_single_action_runs_its_script_at_its_minute() -> None:
    meter = made("mt372")
    at = axdr.structure(axdr.octets(bytes((1, 10, 0, 0))), axdr.octets(b"\xff" * 5))
    place = axdr.octets(b"127.0.0.1:4059")
    put(meter, 40, "0-0:25.9.0", 3, axdr.structure(axdr.enum(0), place, axdr.enum(0)))
    put(meter, 22, "0-0:15.0.4", 4, axdr.array(at))
    meter.advance(ConstantLoad(), START_S + 9 * 60)
    assert not meter.outbox.pushes
    meter.advance(ConstantLoad(), START_S + 10 * 60)
    assert len(meter.outbox.pushes) == 1
    meter.advance(ConstantLoad(), START_S + DAY_S)
    assert len(meter.outbox.pushes) == 1


@pytest.mark.parametrize("key", MODELS)
def test_time_goes_on_with_the_blocks(key: str) -> None:
    meter = fed(key, 1)
    assert meter.clock_utc_s() == START_S + DAY_S
