"""Charges (class 113) and the token gateway (class 115): what they do to the credit of a meter."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given, settings
from hypothesis import strategies as st

from blathy.client import Meter as Client
from blathy.client import ObjectRefused
from blathy.cosem import axdr
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.service import AccessError, ActionResult
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.models.model import Level
from blathy.obis import Obis
from blathy.store.store import StorageError, Store
from blathy.wire.credit_token import CreditToken, make_token, open_token
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from tests.meter.by_client import with_client
from tests.meter.running import START_S, call, get, made, put
from tests.meter.simple_load import ConstantLoad

ACCOUNT, CREDIT = "0-0:19.0.0", "0-0:19.10.0"
BY_USE, STANDING, DEBT = "0-0:19.20.0", "0-0:19.20.1", "0-0:19.20.2"
GATEWAY = "0-0:19.40.0"
BREAKER = "0-0:96.3.10"
LOAD = ConstantLoad(1200, 3)
USED_WH_PER_HOUR = 3 * 1200
HOUR_S = 3600
NO_LOAD = ConstantLoad(0, 3)
FORMAT, FORGED, USED, NOT_BOOKED, BOOKED = 4, 5, 6, 7, 3


def prepaid(credit_wh: int = 0, **named: Any) -> Meter:
    meter = made("reference", **named)
    call(meter, 111, ACCOUNT, 1)
    if credit_wh:
        call(meter, 112, CREDIT, 1, axdr.i32(credit_wh))
    return meter


def balance_wh(meter: Meter) -> int:
    return int(get(meter, 112, CREDIT, 2))


def unit_charge(
    *prices: tuple[bytes, int], price_scale: int = -3, commodity_scale: int = 0
) -> axdr.Data:
    """Prices in Wh, with the scales as they are here, for a period or 1 Wh of commodity."""
    nothing = axdr.structure(axdr.u16(0), axdr.octets(bytes(6)), axdr.i8(0))
    rows = (axdr.structure(axdr.octets(index), axdr.i16(price)) for index, price in prices)
    scales = axdr.structure(axdr.i8(commodity_scale), axdr.i8(price_scale))
    return axdr.structure(scales, nothing, axdr.array(*rows))


def priced(
    meter: Meter, code: str, prices: axdr.Data, *, period_s: int = 0, bits: str = "01"
) -> None:
    put(meter, 113, code, 9, axdr.bits(bits))
    put(meter, 113, code, 6, prices)
    call(meter, 113, code, 2)
    put(meter, 113, code, 8, axdr.u32(period_s))


def told(meter: Meter, code: str) -> tuple[int, int, int]:
    """Paid, last collected, remaining."""
    paid, last, remaining = (get(meter, 113, code, number) for number in (2, 11, 12))
    return paid, last, remaining


# --- charges --------------------------------------------------------------------------------------


def test_a_standing_charge_is_collected_every_period() -> None:
    meter = prepaid(10_000)
    priced(meter, STANDING, unit_charge((b"", 250)), period_s=HOUR_S)
    meter.advance(NO_LOAD, START_S + 3 * HOUR_S - 60)
    assert balance_wh(meter) == 10_000 - 2 * 250
    meter.advance(NO_LOAD, START_S + 3 * HOUR_S)
    assert balance_wh(meter) == 10_000 - 3 * 250
    assert told(meter, STANDING) == (750, 250, 0)
    collected = CosemDateTime.of(get(meter, 113, STANDING, 10))
    assert int(collected.utc(meter.zone)) == START_S + 3 * HOUR_S


def test_consumption_is_charged_by_what_was_used_and_prices_change_at_their_time() -> None:
    meter = prepaid(100_000)
    priced(meter, BY_USE, unit_charge((b"", 100), commodity_scale=3), period_s=HOUR_S)
    meter.advance(LOAD, START_S + HOUR_S)
    assert told(meter, BY_USE)[:2] == (360, 360)  # 100 Wh for each of 3.6 kWh
    put(meter, 113, BY_USE, 6, unit_charge((b"", 1000), commodity_scale=3))
    half_past = CosemDateTime.from_utc(START_S + HOUR_S + 1800, meter.zone).raw()
    put(meter, 113, BY_USE, 7, axdr.octets(half_past))
    meter.advance(LOAD, START_S + 2 * HOUR_S)
    assert told(meter, BY_USE)[:2] == (360 + 180 + 1800, 1800)
    assert balance_wh(meter) == 100_000 - 2 * USED_WH_PER_HOUR - 360 - 180 - 1800


def test_each_rate_has_its_price() -> None:
    meter = prepaid(100_000)
    day_rate = int(meter.text("active_tariff"))
    other = 1 if day_rate != 1 else 2
    prices = unit_charge((bytes((day_rate,)), 50), (bytes((other,)), 900), commodity_scale=3)
    priced(meter, BY_USE, prices, period_s=HOUR_S)
    meter.advance(LOAD, START_S + HOUR_S)
    assert told(meter, BY_USE)[0] == 180


def test_a_debt_is_recovered_from_purchases_and_ends() -> None:
    meter = prepaid()
    put(meter, 113, DEBT, 9, axdr.bits("10"))
    put(meter, 113, DEBT, 13, axdr.u16(2500))
    call(meter, 113, DEBT, 5, axdr.i32(600))
    call(meter, 113, DEBT, 4, axdr.i32(100))
    assert get(meter, 111, ACCOUNT, 8) == 700
    call(meter, 112, CREDIT, 1, axdr.i32(2000))
    assert (balance_wh(meter), told(meter, DEBT)) == (1500, (500, 500, 200))
    call(meter, 112, CREDIT, 1, axdr.i32(2000))
    assert (balance_wh(meter), told(meter, DEBT)) == (3300, (700, 200, 0))
    call(meter, 112, CREDIT, 1, axdr.i32(2000))
    assert balance_wh(meter) == 5300
    with pytest.raises(AccessError):
        call(meter, 113, DEBT, 3)  # a percentage of nothing
    with pytest.raises(AccessError):
        call(meter, 113, DEBT, 4, axdr.i32(-1))


def test_a_charge_ends_the_credit_and_opens_the_breaker_in_its_interval() -> None:
    meter = prepaid(1000)
    priced(meter, STANDING, unit_charge((b"", 400)), period_s=HOUR_S)
    meter.advance(NO_LOAD, START_S + 3 * HOUR_S - 60)
    assert get(meter, 70, BREAKER, 2) is True
    meter.advance(NO_LOAD, START_S + 3 * HOUR_S + 60)
    assert balance_wh(meter) == -200
    assert get(meter, 70, BREAKER, 2) is False


def test_nothing_is_collected_from_a_closed_account() -> None:
    meter = made("reference")
    priced(meter, STANDING, unit_charge((b"", 400)), period_s=HOUR_S)
    meter.advance(LOAD, START_S + 3 * HOUR_S)
    with pytest.raises(AccessError):
        call(meter, 113, STANDING, 3)
    assert told(meter, STANDING) == (0, 0, 0)
    call(meter, 111, ACCOUNT, 1)  # the period begins now
    meter.advance(NO_LOAD, START_S + 4 * HOUR_S - 60)
    assert told(meter, STANDING) == (0, 0, 0)
    meter.advance(NO_LOAD, START_S + 4 * HOUR_S)
    assert told(meter, STANDING) == (400, 400, 0)
    call(meter, 111, ACCOUNT, 2)
    meter.advance(NO_LOAD, START_S + 9 * HOUR_S)
    assert told(meter, STANDING) == (400, 400, 0)


@settings(deadline=None, max_examples=8)
@given(cuts=st.lists(st.integers(1, 8 * 60 - 1), max_size=6, unique=True))
def test_collections_do_not_depend_on_how_the_time_is_cut(cuts: list[int]) -> None:
    def states(marks: list[int]) -> list[Any]:
        meter = prepaid(30_000)
        priced(meter, STANDING, unit_charge((b"", 333)), period_s=4000)
        priced(meter, BY_USE, unit_charge((b"", 70), commodity_scale=3), period_s=2500)
        for mark in marks:
            meter.advance(LOAD, START_S + mark * 60)
        return [
            balance_wh(meter),
            told(meter, STANDING),
            told(meter, BY_USE),
            get(meter, 70, BREAKER, 2),
        ]

    assert states([*sorted(cuts), 480]) == states([480])


def test_periods_go_on_over_a_power_cut_of_the_store_and_of_the_supply() -> None:
    store = Store.in_memory()
    meter = prepaid(50_000, keeper=StoreKeeper(store, "m"))
    priced(meter, STANDING, unit_charge((b"", 100)), period_s=HOUR_S)
    priced(meter, BY_USE, unit_charge((b"", 100), commodity_scale=3), period_s=HOUR_S)
    meter.advance(LOAD, START_S + HOUR_S + 1800)
    again = made("reference", keeper=StoreKeeper(store, "m"))
    again.advance(LOAD, START_S + 2 * HOUR_S)
    assert told(again, STANDING) == (200, 100, 0)
    assert told(again, BY_USE)[0] == 720
    dark = LOAD.block(again.ledger.now + 3 * HOUR_S, 1, 60)  # three hours without supply
    again.step(dark)
    again.commit()
    assert told(again, STANDING) == (500, 300, 0)


def test_methods_and_prices_over_the_port() -> None:
    meter = prepaid(10_000)

    async def value(client: Client, code: str, number: int) -> Any:
        return (await client.get_data(await client.reference((code, number)))).value

    async def work(client: Client) -> None:
        await client.set((STANDING, 6), unit_charge((b"", 100), (b"\x01", 90)))
        table = axdr.array(
            axdr.structure(axdr.octets(b""), axdr.i16(150)),
            axdr.structure(axdr.octets(b"\x02"), axdr.i16(80)),
        )
        await client.action(STANDING, "update_unit_charge", table)
        await client.set((STANDING, 9), axdr.bits("01"))
        assert (await value(client, STANDING, 5))[2].value == ()
        await client.action(STANDING, "activate_passive_unit_charge")
        prices = {
            row.value[0].value: row.value[1].value
            for row in (await value(client, STANDING, 5))[2].value
        }
        assert prices == {b"": 150, b"\x01": 90, b"\x02": 80}
        before = await value(client, CREDIT, 2)
        await client.action(STANDING, "collect")
        taken = await value(client, STANDING, 11)
        assert taken in {80, 90, 150}
        assert await value(client, CREDIT, 2) == before - taken
        await client.action(STANDING, "set_total_amount_remaining", axdr.i32(500))
        await client.action(STANDING, "update_total_amount_remaining", axdr.i32(-100))
        assert await value(client, STANDING, 12) == 400
        assert await value(client, ACCOUNT, 8) == 400
        charges = [Obis.of(each.value) for each in await value(client, ACCOUNT, 10)]
        assert charges == [Obis.parse(code) for code in (BY_USE, STANDING, DEBT)]
        for wrong in (
            unit_charge((b"", -1)),
            unit_charge((b"", 1), (b"", 2)),
            unit_charge((b"\x00", 1)),
            unit_charge((b"\x3f", 1)),  # no register of that rate
            unit_charge((b"", 1), price_scale=9),
            unit_charge(*((bytes((n,)), n) for n in range(1, 18))),
        ):
            with pytest.raises(ObjectRefused):
                await client.set((STANDING, 6), wrong)

    with_client(meter, work)


# --- tokens ---------------------------------------------------------------------------------------


def token_for(meter: Meter, number: int, energy_wh: int = 1000) -> bytes:
    sold = CreditToken(number, energy_wh)
    return make_token(sold, meter.key("master"), meter.identity.system_title)


def entered(meter: Meter, octets: bytes) -> int:
    """The status code that `enter` returns, which attribute 6 shows as well."""
    code, bits = call(meter, 115, GATEWAY, 1, axdr.octets(octets))
    assert get(meter, 115, GATEWAY, 6) == [code, bits]
    return int(code)


def test_a_token_is_booked_once() -> None:
    meter = prepaid()
    token = token_for(meter, 7, 2500)
    assert call(meter, 115, GATEWAY, 1, axdr.octets(token)) == [BOOKED, f"{2500:032b}"]
    assert balance_wh(meter) == 2500
    assert get(meter, 115, GATEWAY, 2) == token
    assert get(meter, 115, GATEWAY, 4) == [b"credit", b"number 7", b"2500 Wh"]
    entered_at = CosemDateTime.of(get(meter, 115, GATEWAY, 3))
    assert int(entered_at.utc(meter.zone)) == START_S
    for _ in range(3):
        assert entered(meter, token) == USED
    assert balance_wh(meter) == 2500
    assert get(meter, 111, ACCOUNT, 12) == [[Obis.parse(CREDIT), 100]]


def test_forged_foreign_and_malformed_tokens_book_nothing() -> None:
    meter = prepaid()
    token = token_for(meter, 7)
    for position in range(1, len(token)):
        altered = bytearray(token)
        altered[position] ^= 0x10
        assert entered(meter, bytes(altered)) == FORGED
    other = made("reference", serial=99)
    assert entered(meter, token_for(other, 7)) == FORGED
    for wrong in (b"", token[:-1], token + b"\0", b"\x02" + token[1:], bytes(4096)):
        assert entered(meter, wrong) == FORMAT
    assert balance_wh(meter) == 0
    assert entered(meter, token) == BOOKED
    names = [entry.name for entries in meter.books.logs.values() for entry in entries]
    assert "access_refused" in names


def test_what_cannot_be_booked_can_be_entered_again() -> None:
    meter = made("reference")  # the account is not active
    token = token_for(meter, 1)
    assert entered(meter, token) == NOT_BOOKED
    call(meter, 111, ACCOUNT, 1)
    assert entered(meter, token) == BOOKED
    largest = [token_for(meter, number, 0xFFFF_FFFF) for number in (2, 3, 4)]
    assert [entered(meter, each) for each in largest] == [BOOKED, BOOKED, NOT_BOOKED]
    assert entered(meter, token) == USED


def test_tokens_come_in_any_order_and_old_ones_end() -> None:
    meter = prepaid()
    for number in (500, 100, 300):
        assert entered(meter, token_for(meter, number, 1)) == BOOKED
    for number in (100, 300, 500):
        assert entered(meter, token_for(meter, number, 1)) == USED
    for number in range(501, 501 + 61):
        assert entered(meter, token_for(meter, number, 1)) == BOOKED
    assert balance_wh(meter) == 64
    assert entered(meter, token_for(meter, 99, 1)) == USED  # below all that are remembered
    assert entered(meter, token_for(meter, 101, 1)) == BOOKED


class FailingStore:
    """A keeper whose commits can be made to fail."""

    def __init__(self, store: Store) -> None:
        self.real = StoreKeeper(store, "m")
        self.broken = False

    def commit(self) -> None:
        if self.broken:
            raise StorageError("no power")
        self.real.commit()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def test_a_power_cut_books_a_token_once_or_not_at_all() -> None:
    store = Store.in_memory()
    keeper = FailingStore(store)
    meter = prepaid(keeper=keeper)
    first, second = token_for(meter, 1), token_for(meter, 2)
    assert entered(meter, first) == BOOKED
    keeper.broken = True
    with pytest.raises(AccessError) as refused:
        call(meter, 115, GATEWAY, 1, axdr.octets(second))
    assert refused.value.result is ActionResult.TEMPORARY_FAILURE
    again = made("reference", keeper=StoreKeeper(store, "m"))
    assert balance_wh(again) == 1000
    assert entered(again, first) == USED
    assert entered(again, second) == BOOKED
    once_more = made("reference", keeper=StoreKeeper(store, "m"))
    assert balance_wh(once_more) == 2000
    assert entered(once_more, first) == USED
    assert entered(once_more, second) == USED


def test_a_token_closes_the_supply_again_after_the_credit_ended() -> None:
    meter = prepaid(1)
    meter.advance(LOAD, START_S + HOUR_S)
    assert get(meter, 70, BREAKER, 2) is False
    assert entered(meter, token_for(meter, 1, 5000)) == BOOKED
    state = get(meter, 70, BREAKER, 3)
    assert state in {1, 2}  # closed, or ready for the button, as its mode says


def test_only_who_may_sell_enters_tokens() -> None:
    meter = prepaid()
    with pytest.raises(AccessError) as refused:
        call(meter, 115, GATEWAY, 1, axdr.octets(token_for(meter, 1)), level=Level.READER)
    assert refused.value.result is ActionResult.READ_WRITE_DENIED
    with pytest.raises(AccessError) as unmatched:
        call(meter, 115, GATEWAY, 1, axdr.visible("token"))
    assert unmatched.value.result is ActionResult.TYPE_UNMATCHED
    assert balance_wh(meter) == 0


@given(octets=st.binary(max_size=40) | st.binary(min_size=24, max_size=24).map(b"\x01".__add__))
def test_whatever_is_entered_only_a_token_is_one(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        open_token(octets, bytes(16), b"BLY00001")


def test_a_token_can_be_made_by_its_description() -> None:
    """The layout as the documentation has it, built from its parts."""
    key, title = bytes(range(16)), b"BLY00001"
    fixed = (1).to_bytes(4, "big") + b"blathy credit token\0" + title + (128).to_bytes(4, "big")
    head = bytes.fromhex("01" + "0000000000000005" + "00000007")
    assert make_token(CreditToken(5, 7), key, title) == head + cmac(cmac(key, fixed), head)[:12]


def cmac(key: bytes, text: bytes) -> bytes:
    mac = CMAC(AES(key))
    mac.update(text)
    return mac.finalize()


def test_tokens_say_what_fits_them_and_nothing_else() -> None:
    key, title = bytes(range(16)), b"BLY00001"
    token = make_token(CreditToken(5, 7), key, title)
    assert token[:13].hex() == "01" + "0000000000000005" + "00000007"
    assert open_token(token, key, title) == CreditToken(5, 7)
    for wrong in (
        CreditToken(-1, 1),
        CreditToken(1, 0),
        CreditToken(1 << 63, 1),
        CreditToken(1, 1 << 32),
    ):
        with pytest.raises(LocalProtocolError):
            make_token(wrong, key, title)
    for other_key, other_title in ((key[::-1], title), (key, b"BLY00002")):
        with pytest.raises(RemoteProtocolError):
            open_token(token, other_key, other_title)


def test_sts_attributes_say_that_there_is_no_sts() -> None:
    meter = made("reference")
    issuer, number, check = get(meter, 116, "0-0:19.60.0", 2)
    assert (issuer, number) == (0, meter.identity.serial)
    digits = f"{issuer:06d}{number:011d}{check}"
    doubled = [int(d) * (1 + n % 2) for n, d in enumerate(reversed(digits))]
    assert sum(d // 10 + d % 10 for d in doubled) % 10 == 0
    with pytest.raises(AccessError):
        put(meter, 116, "0-0:19.60.0", 7, axdr.u8(1))
