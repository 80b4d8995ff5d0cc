"""What a test laboratory tries: values of another type, out of range, that contradict themselves.

Every one is refused with the result that says why, and what stood before stands afterwards.
"""

from __future__ import annotations

import pytest

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, ActionResult, DataAccessResult
from blathy.fleet.bus import Bus
from blathy.meter.meter import Meter
from blathy.meter.pushing import Pusher
from blathy.models.model import Level
from blathy.obis import Obis
from blathy.sources.sub_meters import SubMeterDevice, SubMeterLoad, header_of
from blathy.wire.mbus import Medium
from tests.meter.running import DAY_S, START_S, call, get, made, put
from tests.meter.simple_load import ConstantLoad

CALENDAR, SPECIAL_DAYS = "0-0:13.0.0", "0-0:11.0.0"
IMAGE_SCHEDULE, PUSH_SCHEDULE = "0-0:15.0.2", "0-0:15.0.4"
PUSH_SETUP, LIMITER, MBUS = "0-0:25.9.0", "0-0:17.0.0", "0-1:24.1.0"
NOT_A_DATE_TIME = bytes.fromhex("07EA0D45FF63636300800000")
NOT_A_DEVIATION = bytes.fromhex("07EA0105FF0000000070FFFF")
EVERY_YEAR = bytes.fromhex("FFFF0101FF00000000800000")
TARIFFS, DISCONNECTING = bytes((0, 0, 10, 0, 100, 255)), bytes((0, 0, 10, 0, 106, 255))
MIDNIGHT, ANY_DATE = bytes(4), b"\xff" * 5
TYPE = DataAccessResult.TYPE_UNMATCHED
RANGE = DataAccessResult.OTHER_REASON


def structure(*parts: Data) -> Data:
    return axdr.structure(*parts)


def day(time: bytes, script: bytes = TARIFFS) -> Data:
    switch = structure(axdr.octets(time), axdr.octets(script), axdr.u16(1))
    return axdr.array(structure(axdr.u8(1), axdr.array(switch)))


def special_day(index: int, of_january: int) -> Data:
    date = axdr.octets(bytes((7, 0xEA, 1, of_january, 0xFF)))
    return structure(axdr.u16(index), date, axdr.u8(1))


def pushed(attribute: int = 2, data_index: int = 0, *more: Data) -> Data:
    energy = axdr.octets(Obis.parse("1-0:1.8.0"))
    return structure(axdr.u16(3), energy, axdr.i8(attribute), axdr.u16(data_index), *more)


def window(begin: bytes, end: bytes) -> Data:
    return axdr.array(structure(axdr.octets(begin), axdr.octets(end)))


REFUSED = {
    "alarms, octets": (1, "0-0:97.98.0", 2, axdr.octets(b"\0"), TYPE),
    "alarms, signed": (1, "0-0:97.98.0", 2, axdr.i8(-1), TYPE),
    "clock before 2000": (
        8, "0-0:1.0.0", 2, axdr.octets(bytes.fromhex("07CB0101FF00000000800000")), RANGE,
    ),
    "special days, index twice": (
        11, SPECIAL_DAYS, 2, axdr.array(special_day(1, 5), special_day(1, 6)), RANGE,
    ),
    "season, no date": (
        20, CALENDAR, 7,
        axdr.array(structure(axdr.octets(b"1"), axdr.octets(NOT_A_DATE_TIME), axdr.octets(b"1"))),
        TYPE,
    ),
    "day, no time": (20, CALENDAR, 9, day(b"\x63\0\0\0"), TYPE),
    "day, other script": (20, CALENDAR, 9, day(MIDNIGHT, DISCONNECTING), RANGE),
    "activation, no date": (20, CALENDAR, 10, axdr.octets(NOT_A_DATE_TIME), TYPE),
    "activation, every year": (20, CALENDAR, 10, axdr.octets(EVERY_YEAR), RANGE),
    "activation, no deviation": (20, CALENDAR, 10, axdr.octets(NOT_A_DEVIATION), RANGE),
    "single action, no time": (
        22, PUSH_SCHEDULE, 4,
        axdr.array(structure(axdr.octets(b"\x18\0\0\0"), axdr.octets(ANY_DATE))), TYPE,
    ),
    "single action, a date-time for the time": (
        22, PUSH_SCHEDULE, 4,
        axdr.array(structure(axdr.octets(EVERY_YEAR), axdr.octets(ANY_DATE))), TYPE,
    ),
    "single action, a date-time for the date": (
        22, PUSH_SCHEDULE, 4,
        axdr.array(structure(axdr.octets(MIDNIGHT), axdr.octets(EVERY_YEAR))), TYPE,
    ),
    "auto answer, a window of dates": (28, "0-0:2.2.0", 3, window(ANY_DATE, ANY_DATE), TYPE),
    "auto answer, no window": (28, "0-0:2.2.0", 3, window(NOT_A_DATE_TIME, EVERY_YEAR), TYPE),
    "auto connect, mode": (29, "0-0:2.1.0", 2, axdr.enum(77), RANGE),
    "push, element that is none": (40, PUSH_SETUP, 2, axdr.array(pushed(), axdr.u8(1)), TYPE),
    "push, restriction": (
        40, PUSH_SETUP, 2, axdr.array(pushed(2, 0, structure(axdr.enum(9), axdr.null()))), TYPE,
    ),
    "push, restriction of a kind that is none": (
        40, PUSH_SETUP, 2, axdr.array(pushed(2, 0, structure(axdr.enum(0), axdr.boolean(True)))),
        TYPE,
    ),
    "push, service": (
        40, PUSH_SETUP, 3, structure(axdr.enum(99), axdr.octets(b""), axdr.enum(0)), RANGE,
    ),
    "push, in XML": (
        40, PUSH_SETUP, 3, structure(axdr.enum(0), axdr.octets(b""), axdr.enum(1)), RANGE,
    ),
    "push, no window": (40, PUSH_SETUP, 4, window(EVERY_YEAR, NOT_A_DATE_TIME), TYPE),
    "TCP, segment below 40": (41, "0-0:25.0.0", 4, axdr.u16(39), RANGE),
    "TCP, no connection": (41, "0-0:25.0.0", 5, axdr.u8(0), RANGE),
    "limiter, no date": (
        71, LIMITER, 8, structure(axdr.u16(0), axdr.octets(NOT_A_DATE_TIME), axdr.u32(60)), TYPE,
    ),
    "limiter, many groups": (
        71, LIMITER, 9, axdr.array_of(axdr.u16(group) for group in range(65)), RANGE,
    ),
    "M-Bus, address": (72, MBUS, 5, axdr.u8(251), RANGE),
}  # fmt: skip


@pytest.fixture(scope="module")
def meter() -> Meter:
    return made("reference")


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_cannot_be_is_refused_and_changes_nothing(meter: Meter, name: str) -> None:
    class_id, obis, attribute, data, why = REFUSED[name]
    before = get(meter, class_id, obis, attribute)
    with pytest.raises(AccessError) as error:
        put(meter, class_id, obis, attribute, data)
    assert error.value.result is why
    if (class_id, attribute) != (8, 2):
        assert get(meter, class_id, obis, attribute) == before


CALLED_IN_VAIN = {
    "preset, ends before it begins": (
        8, "0-0:1.0.0", 5,
        structure(*(axdr.octets(bytes.fromhex(f"07{y}0101FF00000000800000"))
                    for y in ("EA", "EC", "EB"))),
        ActionResult.OTHER_REASON,
    ),
    "delete a special day, type": (11, SPECIAL_DAYS, 2, axdr.u8(1), ActionResult.TYPE_UNMATCHED),
    "add multicast, type": (42, "0-0:25.1.0", 1, axdr.u16(1), ActionResult.TYPE_UNMATCHED),
    "delete multicast, type": (42, "0-0:25.1.0", 2, axdr.u16(1), ActionResult.TYPE_UNMATCHED),
    "install, address": (72, MBUS, 1, axdr.u8(251), ActionResult.OTHER_REASON),
    "send, no records": (72, MBUS, 6, axdr.array(axdr.u8(1)), ActionResult.TYPE_UNMATCHED),
    "set key, type": (72, MBUS, 7, axdr.u8(1), ActionResult.TYPE_UNMATCHED),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLED_IN_VAIN)
def test_a_parameter_that_cannot_be_is_refused(meter: Meter, name: str) -> None:
    class_id, obis, method, data, why = CALLED_IN_VAIN[name]
    with pytest.raises(AccessError) as error:
        call(meter, class_id, obis, method, data)
    assert error.value.result is why


def test_alarms_are_cleared_by_a_number_of_their_own_type() -> None:
    meter = made("mt372")
    meter.save_setting(b"alarm:\x01", (7).to_bytes(4, "big"))
    with pytest.raises(AccessError):
        put(meter, 1, "0-0:97.98.0", 2, axdr.octets(b""))
    assert get(meter, 1, "0-0:97.98.0", 2) == 7
    put(meter, 1, "0-0:97.98.0", 2, axdr.u32(4))
    assert get(meter, 1, "0-0:97.98.0", 2) == 4


def test_ntp_keys_are_kept_or_refused_never_dropped() -> None:
    meter = made("reference")
    ntp = next((f for f in meter.model.facilities if f.class_id == 100), None)
    assert ntp is not None
    for number in range(16):
        call(meter, 100, str(ntp.obis), 2, structure(axdr.u32(number), axdr.octets(b"k")))
    with pytest.raises(AccessError):
        call(meter, 100, str(ntp.obis), 2, structure(axdr.u32(16), axdr.octets(b"k")))
    call(meter, 100, str(ntp.obis), 2, structure(axdr.u32(3), axdr.octets(b"another")))
    with pytest.raises(AccessError):
        call(meter, 100, str(ntp.obis), 3, axdr.u8(3))
    call(meter, 100, str(ntp.obis), 3, axdr.u32(3))
    call(meter, 100, str(ntp.obis), 2, structure(axdr.u32(16), axdr.octets(b"k")))


def test_the_status_of_the_m_bus_key_says_what_was_done_with_it() -> None:
    meter = made("reference")
    load = SubMeterLoad(Medium.WATER, 100.0, 1, 1, START_S)
    header = header_of(7, "BLT", Medium.WATER)
    Bus(meter).attach(1, lambda now: SubMeterDevice(load, header, now).slave)
    seen = []
    key = bytes(16)
    for method, octets in ((7, key), (8, key), (7, key), (7, b""), (8, key)):
        call(meter, 72, MBUS, method, axdr.octets(octets))
        seen.append(get(meter, 72, MBUS, 14))
    assert seen == [1, 3, 3, 0, 2]


def test_a_planned_calendar_that_does_not_hold_together_is_tried_once() -> None:
    """Its week names a day that is not there; the active calendar stays, and the log says so."""
    meter = made("mt372")
    active = get(meter, 20, CALENDAR, 5)
    week = structure(axdr.octets(b"w"), *[axdr.u8(77)] * 7)
    put(meter, 20, CALENDAR, 8, axdr.array(week))
    put(meter, 20, CALENDAR, 10, axdr.octets(bytes.fromhex("07EA0101FF01000000000000")))
    meter.advance(ConstantLoad(500), START_S + DAY_S // 4)
    assert get(meter, 20, CALENDAR, 5) == active
    assert get(meter, 20, CALENDAR, 10) == b"\xff" * 9 + b"\x80\x00\xff"
    told = [e for log in meter.books.logs.values() for e in log if e.name == "device_error"]
    assert len(told) <= 1


def test_a_push_sends_the_elements_that_its_list_names() -> None:
    """data_index 2 of the scaler_unit is the unit alone; an element that is not there is null."""
    meter = made("reference")
    put(meter, 40, PUSH_SETUP, 2, axdr.array(pushed(3, 2), pushed(3), pushed(3, 5)))
    body = axdr.decode(Pusher(meter).message(Obis.parse(PUSH_SETUP)).body)
    unit = axdr.enum(30)
    assert body.value[0] == unit
    assert body.value[1].value[1] == unit
    assert body.value[2] == axdr.null()


def test_a_push_sends_the_rows_that_its_restriction_names() -> None:
    meter = made("reference")
    meter.advance(ConstantLoad(1200), START_S + DAY_S)
    profile = next(p for p in meter.model.profiles if p.key == "load")
    first_three = structure(axdr.enum(2), structure(axdr.u32(1), axdr.u32(3)))
    rows = structure(
        axdr.u16(7), axdr.octets(profile.obis), axdr.i8(2), axdr.u16(0), first_three
    )  # fmt: skip
    put(meter, 40, PUSH_SETUP, 2, axdr.array(rows))
    body = axdr.decode(Pusher(meter).message(Obis.parse(PUSH_SETUP)).body)
    assert len(body.value[0].value) == 3


def test_nobody_lists_for_capture_what_they_may_not_read() -> None:
    """Who may set the compact data but not read the secrets of others cannot have them captured."""
    meter = made("reference")
    own = structure(
        axdr.u16(62), axdr.octets(Obis.parse("0-0:66.0.1")), axdr.i8(4), axdr.u16(0)
    )  # fmt: skip
    secret = structure(
        axdr.u16(15), axdr.octets(Obis.parse("0-0:40.0.2")), axdr.i8(7), axdr.u16(0)
    )  # fmt: skip
    with pytest.raises(AccessError) as error:
        put(meter, 62, "0-0:66.0.1", 3, axdr.array(own, secret), Level.MANAGEMENT)
    assert error.value.result is DataAccessResult.READ_WRITE_DENIED
