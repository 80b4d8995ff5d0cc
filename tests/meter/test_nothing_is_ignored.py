"""Whatever a client may write has an effect, is refused, or is known to be held for others to read.

An attribute that becomes writable has to be put into one of the two tables here.
"""

from __future__ import annotations

import pytest

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.objectlist import AccessRight
from blathy.cosem.service import AccessError, ActionResult, DataAccessResult
from blathy.meter.keeping import StoreKeeper
from blathy.models import LABORATORY, MODELS
from blathy.obis import Obis
from blathy.store.store import Store
from tests.meter.running import START_S, call, get, made, put
from tests.meter.simple_load import ConstantLoad

ACTS = {
    1: {2}, 3: {2}, 7: {3, 4}, 8: {2, 3, 5, 6, 7, 8}, 10: {2}, 11: {2}, 15: {7}, 18: {5},
    19: set(range(2, 9)), 20: {6, 7, 8, 9, 10}, 21: {2, 3, 4}, 22: {2, 4},
    23: set(range(2, 10)), 26: {4}, 29: set(range(2, 7)), 30: {2, 3, 4, 5, 6},
    40: set(range(2, 11)), 41: {6}, 61: {3}, 62: {3, 4, 6}, 65: {4, 6},
    66: {6, 7, 8}, 67: {11, 12, 13, 14, 15}, 68: {2, 3, 4}, 70: {4}, 71: {4, 5, 6, 7, 8, 9},
    72: set(range(2, 10)), 100: {2, 3, 4, 5, 6}, 113: {3, 4, 6, 7, 8, 9, 13}, 123: {2},
    124: set(range(2, 8)),
}  # fmt: skip
"""Class -> attributes with a consequence in the meter."""
HELD = {
    24: {2, 3, 4, 5}, 25: {2, 3, 4, 5}, 27: {2, 3, 4}, 28: {2, 3, 5, 6, 7}, 41: {2, 3, 4, 5},
    42: set(range(2, 11)), 43: {2}, 44: {2, 3, 4, 5}, 45: {2, 3, 4}, 46: {2, 3, 4, 5, 6},
    48: set(range(2, 11)), 73: {2, 3, 4}, 74: {2}, 76: {2, 4, 5, 6, 7, 8, 9, 10, 11},
}  # fmt: skip
"""Class -> attributes of a network, a modem or a bus that lies outside of a simulated meter."""
DESCRIBES = {22: {3}, 63: {3}, 65: {5}}
"""Class -> attributes that tell whoever reads them what others mean: kind of a schedule, names of
status bits, name of a list."""
TABLES = (ACTS, HELD, DESCRIBES)
K1, K3, T1, T3, LIMIT = "1-1:128.0.2", "1-1:128.0.4", "1-1:128.0.5", "1-1:128.0.7", "1-1:128.0.13"
BREAKER, CLOCK, PUSH = "0-0:96.3.10", "0-0:1.0.0", "0-0:25.9.0"


def test_every_writable_attribute_acts_or_is_known_to_be_held() -> None:
    found: dict[int, set[int]] = {}
    for key in MODELS | LABORATORY:
        meter = made(key)
        for association in meter.model.associations:
            for entry in meter.tree.view(association.level).list_entries:
                may = {row.index for row in entry.attributes if row.right & AccessRight.WRITE}
                found.setdefault(entry.class_id, set()).update(may)
    found = {class_id: numbers for class_id, numbers in found.items() if numbers}
    classes = {class_id for table in TABLES for class_id in table}
    tables = {c: [table.get(c, set()) for table in TABLES] for c in classes}
    assert found == {class_id: set().union(*parts) for class_id, parts in tables.items()}
    assert all(len(set().union(*p)) == sum(map(len, p)) for p in tables.values())


def refused(class_id: int, obis: str, number: int, data: Data, model: str = "omnipower") -> None:
    meter = made(model)
    before = get(meter, class_id, obis, number)
    with pytest.raises(AccessError) as error:
        put(meter, class_id, obis, number, data)
    assert error.value.result in {
        DataAccessResult.OTHER_REASON, DataAccessResult.READ_WRITE_DENIED,
    }  # fmt: skip
    assert get(meter, class_id, obis, number) == before


def test_factors_and_times_of_the_staged_limit_say_when_the_breaker_opens() -> None:
    """20 A where 10 A are the limit: above 1.5 times for 120 s, and no more above 2.5 times."""

    def opened_after_s(factor: int, time_s: int) -> int | None:
        store = Store.in_memory()
        meter = made("omnipower", keeper=StoreKeeper(store, "m"))
        put(meter, 3, LIMIT, 2, axdr.u8(10))
        put(meter, 3, T3, 2, axdr.u16(6000))
        for number in (6, 5):
            put(meter, 3, f"1-1:128.0.{number}", 2, axdr.u16(time_s))
        for number in (2, 3, 4):
            put(meter, 3, f"1-1:128.0.{number}", 2, axdr.u8(factor))
        meter = made("omnipower", keeper=StoreKeeper(store, "m"))  # it outlasts a power cut
        load = ConstantLoad(230 * 20, 1)
        while meter.ledger.now < START_S + 900:
            meter.step(load.block(meter.ledger.now, 1, 60))
            meter.commit()
            if not get(meter, 70, BREAKER, 2):
                return meter.ledger.now - START_S
        return None

    assert opened_after_s(25, 120) is None
    assert opened_after_s(17, 120) == 120
    assert opened_after_s(17, 300) == 300


def test_a_command_that_leaves_the_breaker_as_it_is_says_so() -> None:
    """It closes 5 s after it opened at the earliest, and no command is remembered."""
    meter = made("omnipower")
    meter.advance(ConstantLoad(600, 1), START_S + 60)
    put(meter, 70, BREAKER, 4, axdr.enum(1))
    call(meter, 70, BREAKER, 2)  # it is closed
    call(meter, 70, BREAKER, 1)
    call(meter, 70, BREAKER, 1)  # it is open
    with pytest.raises(AccessError) as early:
        call(meter, 70, BREAKER, 2)
    assert early.value.result is ActionResult.TEMPORARY_FAILURE
    meter.advance(ConstantLoad(600, 1), START_S + 120)
    assert get(meter, 70, BREAKER, 2) is False
    call(meter, 70, BREAKER, 2)
    meter.advance(ConstantLoad(600, 1), START_S + 180)
    assert get(meter, 70, BREAKER, 2) is True
    put(meter, 70, BREAKER, 4, axdr.enum(0))
    with pytest.raises(AccessError) as never:
        call(meter, 70, BREAKER, 1)
    assert never.value.result is ActionResult.OTHER_REASON


@pytest.mark.parametrize(
    ("obis", "data"),
    [
        (K1, axdr.u8(12)),  # below k2
        (K3, axdr.u8(14)), (K3, axdr.u8(0)), (T1, axdr.u16(61)), (T3, axdr.u16(59)),
        ("1-1:128.0.9", axdr.u8(3)), ("1-1:128.0.19", axdr.u16(280)),
        ("1-1:128.0.21", axdr.u16(255)),
    ],
)  # fmt: skip
def test_numbers_of_the_breaker_that_make_no_stages_or_are_not_done_are_refused(
    obis: str, data: Data
) -> None:
    refused(3, obis, 2, data)


def test_up_to_the_shift_limit_that_is_set_the_clock_is_moved_in_silence() -> None:
    store = Store.in_memory()
    meter = made("esox", keeper=StoreKeeper(store, "m"))
    meter.advance(ConstantLoad(600), START_S + 60)

    def events() -> list[str]:
        return [e.name for log in meter.books.logs.values() for e in log if "clock" in e.name]

    call(meter, 8, CLOCK, 6, axdr.i16(20))
    assert events() == ["clock_adjusted_old", "clock_adjusted_new"]
    put(meter, 3, "1-0:0.9.11", 2, axdr.u8(30))
    meter = made("esox", keeper=StoreKeeper(store, "m"))
    call(meter, 8, CLOCK, 6, axdr.i16(20))
    assert events() == ["clock_adjusted_old", "clock_adjusted_new"]
    call(meter, 8, CLOCK, 6, axdr.i16(31))
    assert len(events()) == 4


def destination(service: int, place: bytes = b"127.0.0.1:4059") -> Data:
    return axdr.structure(axdr.enum(service), axdr.octets(place), axdr.enum(0))


@pytest.mark.parametrize(
    ("obis", "number", "data"),
    [
        *((PUSH, 3, destination(service)) for service in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 200)),
        ("0-1:25.9.0", 3, destination(5)),  # a consumer port has no place
        (PUSH, 8, axdr.octets(Obis.parse("0-0:1.0.0"))),
        (PUSH, 8, axdr.octets(Obis.parse("0-9:25.0.0"))),
    ],
)
def test_what_a_meter_cannot_push_by_is_refused(obis: str, number: int, data: Data) -> None:
    refused(40, obis, number, data)


def test_a_push_without_a_destination_is_refused_and_one_to_the_consumer_port_is_not() -> None:
    meter = made("omnipower")
    with pytest.raises(AccessError):
        call(meter, 40, PUSH, 1)
    assert not meter.outbox.pushes
    call(meter, 40, "0-1:25.9.0", 1)
    put(meter, 40, PUSH, 3, destination(1))
    put(meter, 40, PUSH, 8, axdr.octets(Obis.parse("0-0:25.0.0")))
    call(meter, 40, PUSH, 1)
    assert len(meter.outbox.pushes) == 2
