"""Disconnect control (70), limiter (71), relays, account and credit (111, 112)."""

from __future__ import annotations

import pytest

from blathy.cosem import axdr
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.service import AccessError, ActionResult, DataAccessResult
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models.model import Level
from blathy.store.store import Store
from tests.meter.running import START_S, call, get, made, put
from tests.meter.simple_load import ConstantLoad

BREAKER = "0-0:96.3.10"
LIMITER = "0-0:17.0.0"
RELAY = "0-1:96.3.10"
ENERGY = "1-1:1.8.0"
ACCOUNT, CREDIT, EMERGENCY = "0-0:19.0.0", "0-0:19.10.0", "0-0:19.10.1"
LOAD = ConstantLoad(3600, 1)


def contact(meter: Meter, obis: str = BREAKER) -> tuple[bool, int]:
    return get(meter, 70, obis, 2), get(meter, 70, obis, 3)


def test_disconnection_stops_the_energy_and_reconnection_needs_the_button() -> None:
    meter = made("omnipower")
    meter.advance(LOAD, START_S + 600)
    call(meter, 70, BREAKER, 1)
    assert contact(meter) == (False, 0)
    before = get(meter, 3, ENERGY, 2)
    meter.advance(LOAD, START_S + 1200)
    assert get(meter, 3, ENERGY, 2) == before
    assert get(meter, 3, "1-1:32.7.0", 2) == 230
    assert get(meter, 3, "1-1:31.7.0", 2) == 0
    call(meter, 70, BREAKER, 2)
    assert contact(meter) == (False, 2)
    call(meter, 9, "0-0:10.128.0", 1, axdr.u16(2))
    assert contact(meter) == (True, 1)
    meter.advance(LOAD, START_S + 1800)
    assert get(meter, 3, ENERGY, 2) > before
    names = [entry.name for entry in meter.books.logs["disconnect"]]
    assert names == [
        "breaker_opened_remotely", "breaker_released", "breaker_closed_locally",
    ]  # fmt: skip


def test_the_breaker_keeps_its_place_over_a_power_cut() -> None:
    store = Store.in_memory()
    meter = made("omnipower", keeper=StoreKeeper(store, "m"))
    call(meter, 70, BREAKER, 1)
    assert contact(made("omnipower", keeper=StoreKeeper(store, "m"))) == (False, 0)


def test_the_mode_decides_whether_a_command_closes() -> None:
    meter = made("omnipower")
    put(meter, 70, BREAKER, 4, axdr.enum(5))
    call(meter, 70, BREAKER, 1)
    meter.advance(LOAD, START_S + 60)
    call(meter, 70, BREAKER, 2)
    assert contact(meter) == (True, 1)
    with pytest.raises(AccessError) as refused:
        put(meter, 70, BREAKER, 4, axdr.enum(9))
    assert refused.value.result is DataAccessResult.OTHER_REASON


def test_a_reader_cannot_switch() -> None:
    meter = made("omnipower")
    with pytest.raises(AccessError) as refused:
        call(meter, 70, BREAKER, 1, level=Level.READER)
    assert refused.value.result is ActionResult.READ_WRITE_DENIED
    assert contact(meter) == (True, 1)


def test_the_limiter_opens_after_its_time_and_not_before() -> None:
    meter = made("omnipower")
    put(meter, 71, LIMITER, 4, axdr.u32(3000))
    put(meter, 71, LIMITER, 6, axdr.u32(300))
    meter.advance(LOAD, START_S + 240)
    assert contact(meter)[0]
    meter.advance(LOAD, START_S + 360)
    assert contact(meter) == (False, 2)
    assert get(meter, 3, ENERGY, 2) * 10 == 300
    assert get(meter, 71, LIMITER, 3) == 3000


def test_the_emergency_profile_lowers_the_limit_for_its_time() -> None:
    meter = made("omnipower")
    put(meter, 71, LIMITER, 4, axdr.u32(10_000))
    put(meter, 71, LIMITER, 5, axdr.u32(1000))
    begin = CosemDateTime.from_utc(START_S + 600, meter.zone).raw()
    profile = axdr.structure(axdr.u16(0), axdr.octets(begin), axdr.u32(600))
    put(meter, 71, LIMITER, 8, profile)
    meter.advance(ConstantLoad(500, 1), START_S + 540)
    assert get(meter, 71, LIMITER, 3) == 10_000
    assert get(meter, 71, LIMITER, 10) is False
    meter.advance(ConstantLoad(500, 1), START_S + 660)
    assert get(meter, 71, LIMITER, 3) == 1000
    assert get(meter, 71, LIMITER, 10) is True
    meter.advance(ConstantLoad(500, 1), START_S + 1260)
    assert get(meter, 71, LIMITER, 3) == 10_000


def test_smart_disconnect_is_switched_on_by_its_parameter() -> None:
    meter = made("omnipower")
    put(meter, 3, "1-1:128.0.13", 2, axdr.u8(10))
    meter.advance(ConstantLoad(4600, 1), START_S + 60)
    assert not contact(meter)[0]
    names = [entry.name for entry in meter.books.logs["standard"]]
    assert "parameters_changed" in names


def test_load_relays_switch_by_command_and_by_rate() -> None:
    meter = made("mt372")
    assert contact(meter, RELAY) == (False, 0)
    call(meter, 70, RELAY, 2)
    assert contact(meter, RELAY) == (True, 1)
    call(meter, 9, "0-0:10.0.103", 1, axdr.u16(1))
    assert contact(meter, RELAY) == (False, 0)
    by_rate = made("mt372", options=MeterOptions(relay_rates=(2,)))
    by_rate.advance(ConstantLoad(), START_S + 3600)
    assert contact(by_rate, RELAY)[0]
    by_rate.advance(ConstantLoad(), START_S + 9 * 3600)
    assert not contact(by_rate, RELAY)[0]


def test_prepayment_warns_cuts_off_and_comes_back_with_credit() -> None:
    meter = made("omnipower")
    put(meter, 71, LIMITER, 4, axdr.u32(100_000))
    call(meter, 111, ACCOUNT, 1)
    assert get(meter, 111, ACCOUNT, 2) == [2, 2]
    call(meter, 112, CREDIT, 1, axdr.i32(11_000))
    meter.advance(LOAD, START_S + 60)
    assert get(meter, 112, CREDIT, 2) == 11_000 - 60
    meter.advance(LOAD, START_S + 2 * 3600)
    assert "low_credit" in [e.name for e in meter.books.logs["disconnect"]]
    assert get(meter, 112, EMERGENCY, 8) == 1
    meter.advance(LOAD, START_S + 4 * 3600)
    assert not contact(meter)[0]
    used = get(meter, 3, ENERGY, 2)
    assert used * 10 == pytest.approx(11_000, abs=80)
    call(meter, 112, EMERGENCY, 3)
    assert get(meter, 111, ACCOUNT, 4)[4] == "1"
    call(meter, 112, CREDIT, 1, axdr.i32(20_000))
    assert get(meter, 111, ACCOUNT, 5) > 0


@pytest.mark.parametrize("amount", [0, -5])
def test_a_purchase_must_be_one(amount: int) -> None:
    meter = made("omnipower")
    with pytest.raises(AccessError):
        call(meter, 112, CREDIT, 1, axdr.i32(1000))
    call(meter, 111, ACCOUNT, 1)
    with pytest.raises(AccessError):
        call(meter, 112, CREDIT, 1, axdr.i32(amount))


def test_closing_the_account_ends_prepayment() -> None:
    meter = made("omnipower", options=MeterOptions(prepayment=True))
    assert get(meter, 111, ACCOUNT, 2) == [2, 2]
    call(meter, 111, ACCOUNT, 2)
    assert get(meter, 111, ACCOUNT, 2) == [1, 3]
