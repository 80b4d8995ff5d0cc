"""Addresses, M-Bus and modem as the reference meter shows and takes them, over its port."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from blathy.client import Meter as Client
from blathy.client import ObjectRefused
from blathy.cosem import axdr
from blathy.cosem.service import AccessError
from blathy.fleet.bus import Bus
from blathy.meter.classes.modem import Lte
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.sources.sub_meters import header_of
from blathy.store.store import Store
from blathy.wire.mbus import MbusSlave, Medium, record_bytes
from tests.meter.by_client import value, with_client
from tests.meter.running import START_S, call, get, made
from tests.meter.simple_load import ConstantLoad

IPV6 = "0-0:25.7.0"
SLAVE_PORT = "0-0:24.0.0"
MODE_Q = "0-0:31.0.0"
DIAGNOSTIC = "0-0:24.9.0"
LTE = "0-0:25.11.0"
UNICAST, MULTICAST, GATEWAY = range(3)
HOUR_S = 3600


def address(text: str) -> axdr.Data:
    return axdr.octets(ipaddress.IPv6Address(text).packed)


def change(kind: int, text: str) -> axdr.Data:
    return axdr.structure(axdr.enum(kind), address(text))


# --- IPv6 setup (class 48) ------------------------------------------------------------------------


async def listed(client: Client, number: int) -> list[str]:
    return [str(ipaddress.IPv6Address(each.value)) for each in await value(client, IPV6, number)]


def test_addresses_are_added_and_removed_and_kept() -> None:
    store = Store.in_memory()
    meter = made("reference", keeper=StoreKeeper(store, "m"))

    async def work(client: Client) -> None:
        for kind, text in (
            (UNICAST, "2001:db8::1"), (UNICAST, "fe80::7"), (MULTICAST, "ff02::fb"),
            (GATEWAY, "fe80::1"),
        ):  # fmt: skip
            await client.action(IPV6, "add_IPv6_address", change(kind, text))
        await client.action(IPV6, "remove_IPv6_address", change(UNICAST, "fe80::7"))
        assert await listed(client, 4) == ["2001:db8::1"]

    async def after(client: Client) -> None:
        assert await listed(client, 4) == ["2001:db8::1"]
        assert await listed(client, 5) == ["ff02::fb"]
        assert await listed(client, 6) == ["fe80::1"]

    with_client(meter, work)
    with_client(made("reference", keeper=StoreKeeper(store, "m")), after)


@pytest.mark.parametrize(
    "wrong",
    [
        axdr.i8(0),
        axdr.structure(axdr.enum(UNICAST), axdr.octets(b"short")),
        axdr.structure(axdr.u8(UNICAST), axdr.octets(bytes(16))),
        change(3, "2001:db8::2"),
        change(UNICAST, "ff02::1"),
        change(MULTICAST, "2001:db8::2"),
        change(UNICAST, "2001:db8::1"),
    ],
)
def test_an_address_of_another_kind_or_known_already_is_not_added(wrong: axdr.Data) -> None:
    async def work(client: Client) -> None:
        await client.action(IPV6, "add_IPv6_address", change(UNICAST, "2001:db8::1"))
        with pytest.raises(ObjectRefused):
            await client.action(IPV6, "add_IPv6_address", wrong)
        assert await listed(client, 4) == ["2001:db8::1"]
        assert await listed(client, 5) == []

    with_client(made("reference"), work)


def test_what_is_not_listed_cannot_be_removed_and_lists_end_at_sixteen() -> None:
    async def work(client: Client) -> None:
        with pytest.raises(ObjectRefused):
            await client.action(IPV6, "remove_IPv6_address", change(GATEWAY, "fe80::1"))
        sixteen = [address(f"2001:db8::{n:x}") for n in range(16)]
        await client.set((IPV6, 4), axdr.array(*sixteen))
        for wrong in (
            axdr.array(*sixteen, address("2001:db8::ff")),
            axdr.array(address("ff02::1")),
            axdr.array(sixteen[0], sixteen[0]),
        ):
            with pytest.raises(ObjectRefused):
                await client.set((IPV6, 4), wrong)
        with pytest.raises(ObjectRefused):
            await client.action(IPV6, "add_IPv6_address", change(UNICAST, "2001:db8::ff"))
        assert len(await listed(client, 4)) == 16

    with_client(made("reference"), work)


# --- addresses on a bus (classes 25, 73) ----------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "state", "place", "one", "none"),
    [
        (SLAVE_PORT, 4, 5, axdr.u8(17), axdr.u8(0)),
        (MODE_Q, 2, 3, axdr.octets(b"\x01\x02"), axdr.octets(b"")),
    ],
)
def test_a_written_address_is_assigned_and_can_be_given_up(
    code: str, state: int, place: int, one: axdr.Data, none: axdr.Data
) -> None:
    async def work(client: Client) -> None:
        assert await value(client, code, state) == 0
        with pytest.raises(ObjectRefused):
            await client.set((code, state), axdr.enum(1))  # which?
        await client.set((code, place), one)
        assert await value(client, code, state) == 1
        await client.set((code, state), axdr.enum(1))
        await client.set((code, state), axdr.enum(0))
        assert await value(client, code, place) == none.value

    with_client(made("reference"), work)


def test_numbers_out_of_range_are_refused() -> None:
    cases = (
        ("0-0:23.0.0", 2, axdr.enum(2)), ("0-0:23.0.0", 3, axdr.enum(10)),
        (SLAVE_PORT, 2, axdr.enum(10)), (SLAVE_PORT, 5, axdr.u8(251)),
        ("0-0:24.6.0", 2, axdr.enum(10)), ("0-0:24.8.0", 4, axdr.enum(3)),
        ("0-0:24.8.0", 5, axdr.u8(251)), (IPV6, 3, axdr.enum(4)),
        (MODE_Q, 3, axdr.octets(bytes(17))), ("0-0:25.5.0", 5, axdr.octets(bytes(256))),
        ("0-0:23.0.0", 4, axdr.array(*(axdr.u8(1) for _ in range(65)))),
    )  # fmt: skip

    async def work(client: Client) -> None:
        for code, number, wrong in cases:
            before = await value(client, code, number)
            with pytest.raises(ObjectRefused):
                await client.set((code, number), wrong)
            assert await value(client, code, number) == before

    with_client(made("reference"), work)


def test_passwords_of_ppp_and_mail_are_written_and_never_read() -> None:
    async def work(client: Client) -> None:
        secret = axdr.octets(b"secret")
        await client.set(("0-0:25.3.0", 5), axdr.structure(secret, secret))
        await client.set(("0-0:25.5.0", 4), secret)
        for item in (("0-0:25.3.0", 5), ("0-0:25.5.0", 4)):
            with pytest.raises(ObjectRefused):
                await client.get_data(await client.reference(item))

    with_client(made("reference"), work)


# --- M-Bus diagnostic (class 77) ------------------------------------------------------------------


def read_until(meter: Meter, bus: Bus, until_s: int) -> None:
    load = ConstantLoad(1200, 3)
    while meter.ledger.now < until_s:
        meter.step(bus.feed(load.block(meter.ledger.now, 60, 60)))
    meter.commit()


class Device:
    """A slave that can fall silent."""

    primary_address = 1

    def __init__(self, real: MbusSlave) -> None:
        self.real = real
        self.silent = False

    def receive(self, data: bytes, now: Any) -> list[bytes]:
        return [] if self.silent else self.real.receive(data, now)


def test_frames_of_the_m_bus_are_counted_and_a_silent_device_shows() -> None:
    store = Store.in_memory()
    meter = made("reference", keeper=StoreKeeper(store, "m"))
    bus = Bus(meter)
    litres = record_bytes(0x04, [0x13], 1000)
    device = Device(MbusSlave(1, header_of(7, "BLT", Medium.WATER), lambda: [litres]))
    assert get(meter, 77, DIAGNOSTIC, 4) == 0
    bus.attach(1, lambda _now: device)  # type: ignore[arg-type, return-value]

    def counters() -> list[int]:
        return [get(meter, 77, DIAGNOSTIC, number) for number in (4, 6, 7, 8)]

    read_until(meter, bus, START_S + 3 * HOUR_S)
    assert counters() == [1, 6, 6, 0]  # reset and request, acknowledged and answered, three times
    device.silent = True
    read_until(meter, bus, START_S + 5 * HOUR_S)
    assert counters() == [2, 6 + 2 * 3, 6, 0]  # each asked three times
    read_until(meter, bus, START_S + 27 * HOUR_S)
    assert counters()[0] == 3

    async def work(client: Client) -> None:
        assert await value(client, DIAGNOSTIC, 4) == 3
        before = await value(client, DIAGNOSTIC, 9)
        assert before[0].value == 6
        await client.action(DIAGNOSTIC, "reset")
        assert [await value(client, DIAGNOSTIC, n) for n in (6, 7, 8)] == [0, 0, 0]
        assert await value(client, DIAGNOSTIC, 4) == 3

    with_client(meter, work)
    meter = made("reference", keeper=StoreKeeper(store, "m"))
    assert counters() == [3, 0, 0, 0]
    device.silent = False
    read_until(meter, Bus(meter, bus.channels), START_S + 28 * HOUR_S)
    assert counters() == [1, 2, 2, 0]


def test_a_device_is_read_when_its_client_object_is_told_to() -> None:
    """Between two full hours; the pulses of the books wait for the hour."""
    meter = made("mpta-3")
    bus = Bus(meter)
    count = [1000]
    slave = MbusSlave(
        1, header_of(7, "BLT", Medium.WATER), lambda: [record_bytes(0x04, [0x13], count[0])]
    )
    bus.attach(1, lambda _now: slave)

    def five_minutes() -> object:
        meter.step(bus.feed(ConstantLoad(1200, 3).block(meter.ledger.now, 5, 60)))
        meter.commit()
        return get(meter, 4, "0-1:24.2.1", 2)

    assert five_minutes() == 1000
    count[0] = 1234
    with pytest.raises(AccessError):
        call(meter, 72, "0-2:24.1.0", 3)  # no device there
    assert five_minutes() == 1000
    call(meter, 72, "0-1:24.1.0", 3)
    assert five_minutes() == 1234


def test_a_frame_that_breaks_the_standard_is_counted_as_such() -> None:
    meter = made("reference")
    bus = Bus(meter)

    class Wrong(Device):
        def receive(self, data: bytes, now: Any) -> list[bytes]:
            answers = super().receive(data, now)
            return [_with_another_ci(each) if len(each) > 1 else each for each in answers]

    device = Wrong(MbusSlave(1, header_of(7, "BLT", Medium.WATER), lambda: [b"\x04\x13\1\0\0\0"]))
    bus.attach(1, lambda _now: device)  # type: ignore[arg-type, return-value]
    read_until(meter, bus, START_S + HOUR_S)
    assert get(meter, 77, DIAGNOSTIC, 8) == 1
    assert bus.silent == {1}


def _with_another_ci(frame: bytes) -> bytes:
    """The frame cut to a header that is too short, with a good check sum."""
    body = frame[4:7] + b"\0"
    length = bytes((len(body),))
    return b"\x68" + length * 2 + b"\x68" + body + bytes((sum(body) & 0xFF,)) + b"\x16"


# --- LTE monitoring (class 151) -------------------------------------------------------------------


def test_lte_is_shown_while_the_modem_is_on_it() -> None:
    meter = made("reference")

    async def quality(client: Client) -> list[int]:
        return [each.value for each in await value(client, LTE, 3)]

    async def work(client: Client) -> None:
        assert await quality(client) == [99, 99, 127, 0]
        meter.modem.packet_service = 5
        meter.modem.lte = Lte(rsrp_dbm=-100, rsrq_half_db=-23, snr_db=9)
        assert await quality(client) == [17, 41, 9, 0]
        network = [each.value for each in await value(client, LTE, 2)]
        assert network == [720, 3240, 86_400, 1000, 2048, 5, -122, -124, -126]

    with_client(meter, work)
