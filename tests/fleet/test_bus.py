"""The M-Bus client's methods (class 72) against devices on a simulated bus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from blathy.client import Meter as Client
from blathy.clock import Instant
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, ActionResult, DataAccessResult
from blathy.fleet.bus import Bus
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.obis import Obis
from blathy.quantity import Kind, Source
from blathy.sources.sub_meters import SubMeterDevice, SubMeterLoad, header_of, master_key_of
from blathy.store.store import Store
from blathy.wire.mbus import MbusMaster, MbusSlave, Medium, Reading, record_bytes
from blathy.wire.mbus_keys import UserKey, wrap_user_key, wrap_user_key_dsmr4
from tests.meter.by_client import with_client
from tests.meter.running import START_S, call, get, made, put
from tests.meter.simple_load import ConstantLoad

CLIENT, SECOND, VALUE = "0-1:24.1.0", "0-2:24.1.0", "0-1:24.2.1"
INSTALL, DEINSTALL, CAPTURE, SYNCHRONIZE, SEND, SET_KEY, TRANSFER_KEY = 1, 2, 3, 5, 6, 7, 8
PORT, CAPTURED, ADDRESS, IDENTIFICATION, CONFIGURATION, KEY_STATUS = 2, 3, 5, 6, 13, 14
HOUR_S = 3600
KEY = bytes(range(16))


@dataclass
class Counting(SubMeterLoad):
    """Some litres, and as many more an hour."""

    litres: int = 1000

    def counted(self, utc_s: int) -> int:
        return self.litres + (utc_s - START_S) // HOUR_S * 10


def water(serial: int = 7, address: int = 1, litres: int = 1000) -> Callable[..., MbusSlave]:
    def make(now: Callable[[], int]) -> MbusSlave:
        load = Counting(Medium.WATER, 1.0, 1, 1, START_S, litres=litres)
        device = SubMeterDevice(load, header_of(serial, "BLT", Medium.WATER), now)
        device.slave.primary_address = address
        return device.slave

    return make


def with_device(**named: int) -> tuple[Meter, Bus, MbusSlave]:
    meter = made("mpta-3")
    bus = Bus(meter)
    return meter, bus, bus.attach(1, water(**named)).slave


def hours(meter: Meter, bus: Bus, count: int) -> None:
    until_s = meter.ledger.now + count * HOUR_S
    while meter.ledger.now < until_s:
        meter.step(bus.feed(ConstantLoad(1200, 3).block(meter.ledger.now, 60, 60)))
    meter.commit()


def counted(meter: Meter, channel: int = 1) -> int:
    name = f"pulses_{meter.model.pulse_inputs() + channel}"
    return meter.books.value(Source(Kind.COUNTER, name=name))


def result(meter: Meter, method: int, data: Data | None = None, client: str = CLIENT) -> int:
    """What a method that is not executed answers."""
    with pytest.raises(AccessError) as refused:
        call(meter, 72, client, method, data)
    return refused.value.result


def attribute(meter: Meter, number: int, client: str = CLIENT) -> int:
    found = get(meter, 72, client, number)
    assert isinstance(found, int)
    return found


def frames(slave: MbusSlave, key: bytes = b"") -> dict[str, object]:
    """What the device itself answers to a master."""
    master = MbusMaster()
    master.read(slave.primary_address, Instant(0), key)
    for _ in range(3):
        for answer in slave.receive(master.to_send(), Instant(0)):
            for event in master.receive(answer, Instant(0)):
                assert isinstance(event, Reading)
                return {record.vif.quantity: record.value for record in event.records}
    raise AssertionError("the device is silent")


def test_a_deinstalled_device_is_read_no_more_until_it_is_installed_again() -> None:
    meter, bus, slave = with_device()
    hours(meter, bus, 2)
    assert attribute(meter, ADDRESS) == 1
    assert get(meter, 4, VALUE, 2) == 1010
    call(meter, 72, CLIENT, DEINSTALL)
    assert [attribute(meter, number) for number in range(5, 15)] == [0] * 10
    assert get(meter, 4, VALUE, 2) is None
    assert slave.primary_address == 0
    before = counted(meter)
    hours(meter, bus, 2)
    assert get(meter, 4, VALUE, 2) is None
    assert counted(meter) == before
    call(meter, 72, CLIENT, INSTALL, axdr.u8(9))
    assert (slave.primary_address, attribute(meter, ADDRESS)) == (9, 9)
    assert attribute(meter, IDENTIFICATION) == 7
    assert get(meter, 4, VALUE, 2) == 1040
    hours(meter, bus, 1)
    assert counted(meter) == 1040


def test_without_an_address_the_bus_is_searched_and_a_new_device_gets_one() -> None:
    meter, bus, first = with_device(address=77)
    call(meter, 72, CLIENT, DEINSTALL)
    first.primary_address = 77
    call(meter, 72, CLIENT, INSTALL, axdr.u8(0))
    assert attribute(meter, ADDRESS) == 77
    new = bus.attach(2, water(8, 0)).slave
    call(meter, 72, SECOND, INSTALL, axdr.i8(0))
    assert new.primary_address == attribute(meter, ADDRESS, SECOND) == 1
    assert attribute(meter, IDENTIFICATION, SECOND) == 8
    assert get(meter, 4, "0-2:24.2.1", 2) == 1000


def test_an_installation_that_cannot_be_is_refused() -> None:
    meter, _, _ = with_device()
    assert result(meter, INSTALL, axdr.u8(1)) == ActionResult.OTHER_REASON  # there is one
    assert result(meter, INSTALL, axdr.u8(1), SECOND) == ActionResult.OTHER_REASON  # of channel 1
    assert result(meter, INSTALL, axdr.u8(251), SECOND) == ActionResult.OTHER_REASON
    assert result(meter, INSTALL, axdr.u8(5), SECOND) == ActionResult.TEMPORARY_FAILURE
    assert result(meter, INSTALL, axdr.u8(0), SECOND) == ActionResult.TEMPORARY_FAILURE
    assert attribute(meter, ADDRESS, SECOND) == 0


def test_another_device_counts_on_from_where_the_one_before_stopped() -> None:
    meter, bus, _ = with_device()
    hours(meter, bus, 2)
    call(meter, 72, CLIENT, DEINSTALL)
    bus.channels.clear()
    bus.attach(1, water(8, 0, litres=5))
    call(meter, 72, CLIENT, INSTALL, axdr.u8(1))
    hours(meter, bus, 3)
    assert get(meter, 4, VALUE, 2) == 5 + 40
    assert counted(meter) == 1010 + 20


@pytest.mark.parametrize("method", [CAPTURE, SYNCHRONIZE, SEND, TRANSFER_KEY])
def test_without_a_device_a_method_that_needs_one_fails(method: int) -> None:
    record = axdr.structure(axdr.octets(b"\x01"), axdr.octets(b"\x7a"), axdr.u8(1))
    data = {SEND: axdr.array(record), TRANSFER_KEY: axdr.octets(bytes(16))}.get(method)
    alone = made("mpta-3")
    assert result(alone, method, data) == ActionResult.TEMPORARY_FAILURE
    assert result(alone, INSTALL, axdr.u8(1)) == ActionResult.TEMPORARY_FAILURE
    meter, bus, _ = with_device()
    bus.channels.clear()
    assert result(meter, method, data) == ActionResult.TEMPORARY_FAILURE


def test_the_clock_of_the_device_is_set_to_that_of_the_meter() -> None:
    meter, bus, slave = with_device()
    hours(meter, bus, 2)
    assert frames(slave)["Time point"] == "2026-01-01T01:00:00"  # of its last reading, UTC
    call(meter, 72, CLIENT, SYNCHRONIZE)
    shown = meter.zone.civil(meter.clock_utc_s()).replace(tzinfo=None)
    assert frames(slave)["Time point"] == shown.isoformat()


def test_data_reach_the_device_or_are_refused_where_it_does_not_take_them() -> None:
    meter, bus, slave = with_device()

    def send(dib: int, vib: bytes, value: Data) -> Data:
        return axdr.array(axdr.structure(axdr.octets(bytes((dib,))), axdr.octets(vib), value))

    call(meter, 72, CLIENT, SEND, send(0x0D, b"\xfd\x10", axdr.octets(b"cellar")))
    assert frames(slave)["Customer location"] == "cellar"
    volume = send(0x04, b"\x13", axdr.u32(5))
    assert result(meter, SEND, volume) == ActionResult.TEMPORARY_FAILURE
    assert frames(slave)["Volume"] == 1000
    too_big = send(0x01, b"\x13", axdr.u32(500))
    assert result(meter, SEND, too_big) == ActionResult.TYPE_UNMATCHED
    assert result(meter, SEND, axdr.array()) == ActionResult.OTHER_REASON
    plain = MbusSlave(2, header_of(9, "BLT", Medium.WATER), lambda: [record_bytes(4, [0x13], 1)])
    bus.attach(2, lambda _now: plain)  # a device that takes no data at all
    assert result(meter, SYNCHRONIZE, client=SECOND) == ActionResult.TEMPORARY_FAILURE


@pytest.mark.parametrize("form", ["SMR 5", "DSMR 4"])
def test_a_key_of_both_sides_encrypts_the_readings(form: str) -> None:
    meter, _, slave = with_device()
    master = master_key_of(7)
    wrapped = wrap_user_key_dsmr4(master, KEY)
    if form == "SMR 5":
        device = slave.header.secondary_address()
        wrapped = wrap_user_key(master, device, UserKey(1, 0, KEY))
    call(meter, 72, CLIENT, TRANSFER_KEY, axdr.octets(wrapped))
    assert slave.key == KEY
    assert attribute(meter, KEY_STATUS) == 2
    assert result(meter, CAPTURE) == ActionResult.TEMPORARY_FAILURE  # nobody here can read it
    call(meter, 72, CLIENT, SET_KEY, axdr.octets(KEY))
    assert attribute(meter, KEY_STATUS) == 3
    call(meter, 72, CLIENT, CAPTURE)
    assert attribute(meter, KEY_STATUS) == 4
    assert attribute(meter, CONFIGURATION) >> 8 == 5
    assert get(meter, 4, VALUE, 2) == 1000
    assert frames(slave) == {}
    assert frames(slave, KEY)["Volume"] == 1000
    slave.key = b""  # somebody else answers, in the clear
    assert result(meter, CAPTURE) == ActionResult.TEMPORARY_FAILURE
    slave.key = KEY
    if form == "SMR 5":  # no transfer counts twice
        again = result(meter, TRANSFER_KEY, axdr.octets(wrapped))
        assert again == ActionResult.TEMPORARY_FAILURE
    call(meter, 72, CLIENT, DEINSTALL)
    assert (slave.key, attribute(meter, KEY_STATUS)) == (b"", 0)


def test_a_key_wrapped_for_another_device_is_refused() -> None:
    meter, _, slave = with_device()
    wrapped = wrap_user_key(master_key_of(8), slave.header.secondary_address(), UserKey(1, 0, KEY))
    assert result(meter, TRANSFER_KEY, axdr.octets(wrapped)) == ActionResult.TEMPORARY_FAILURE
    assert (slave.key, attribute(meter, KEY_STATUS)) == (b"", 0)
    assert result(meter, SET_KEY, axdr.octets(bytes(15))) == ActionResult.OTHER_REASON


def test_the_capture_period_says_how_often_a_channel_is_read() -> None:
    meter, bus, _ = with_device()

    def period(seconds: int) -> None:
        meter.save_setting(bytes((0, 1, 24, 1, 0, 255, 4)), axdr.encode(axdr.u32(seconds)))

    period(0)
    hours(meter, bus, 2)
    assert get(meter, 4, VALUE, 2) is None
    period(4 * HOUR_S)
    hours(meter, bus, 5)
    assert get(meter, 4, VALUE, 2) == 1040


def named(*blocks: tuple[str, str]) -> Data:
    """A capture_definition of these data and value information blocks."""
    parts = ([axdr.octets(bytes.fromhex(each)) for each in pair] for pair in blocks)
    return axdr.array(*(axdr.structure(*pair) for pair in parts))


def heat() -> list[bytes]:
    return [
        record_bytes(0x04, [0x06], 1500)  # kWh
        + record_bytes(0x44, [0x06], 900)  # the same at the last due day: storage 1
        + record_bytes(0x02, [0x5A], -5)  # flow temperature in 0.1 °C
        + record_bytes(0x02, [0x3B], 250)  # volume flow in l/h
        + record_bytes(0x04, [0x50], 7)  # mass flow: no unit of scaler_unit
    ]


@pytest.mark.parametrize(
    ("blocks", "value", "scaler_unit"),
    [
        (named(), 1500, [3, 30]),
        (named(("04", "06")), 1500, [3, 30]),
        (named(("44", "06")), 900, [3, 30]),
        (named(("02", "5a")), -5, [-1, 9]),
        (named(("02", "3b")), 250, [-3, 15]),
        (named(("04", "50")), 7, [-3, 254]),
    ],
)
def test_the_capture_definition_says_which_record_the_channel_shows(
    blocks: Data, value: int, scaler_unit: list[int]
) -> None:
    """What the books count stays the first energy."""
    meter = made("mpta-3")
    bus = Bus(meter)
    bus.attach(1, lambda _now: MbusSlave(1, header_of(7, "BLT", Medium.HEAT_OUTLET), heat))

    async def work(client: Client) -> None:
        await client.set((CLIENT, CAPTURED), blocks)
        assert await client.get_data(await client.reference((VALUE, 2))) == axdr.null()
        await client.action(CLIENT, CAPTURE)

    with_client(meter, work)
    assert (get(meter, 4, VALUE, 2), get(meter, 4, VALUE, 3)) == (value, scaler_unit)
    hours(meter, bus, 1)
    assert get(meter, 4, VALUE, 2) == value
    assert counted(meter) == 1500


def test_a_record_that_the_device_does_not_send_is_never_another_one() -> None:
    meter, bus, _ = with_device()
    hours(meter, bus, 1)
    assert get(meter, 4, VALUE, 2) == 1000
    put(meter, 72, CLIENT, CAPTURED, named(("44", "13")))
    assert result(meter, CAPTURE) == ActionResult.TEMPORARY_FAILURE
    hours(meter, bus, 2)
    assert get(meter, 4, VALUE, 2) is None
    assert counted(meter) == 1020
    put(meter, 72, CLIENT, CAPTURED, axdr.array())
    call(meter, 72, CLIENT, CAPTURE)
    assert get(meter, 4, VALUE, 2) == 1030


@pytest.mark.parametrize(
    "blocks",
    [
        named(("04", "13"), ("02", "5a")),  # a channel has one value object
        named(("84", "13")), named(("04", "93")), named(("0404", "13")), named(("04", "1313")),
        named(("", "13")), named(("04", "")), named(("0f", "13")),
    ],
)  # fmt: skip
def test_a_capture_definition_that_names_no_record_is_refused(blocks: Data) -> None:
    meter, bus, _ = with_device()
    hours(meter, bus, 1)
    with pytest.raises(AccessError) as refused:
        put(meter, 72, CLIENT, CAPTURED, blocks)
    assert refused.value.result is DataAccessResult.OTHER_REASON
    assert get(meter, 72, CLIENT, CAPTURED) == []
    assert get(meter, 4, VALUE, 2) == 1000


@pytest.mark.parametrize(
    ("model", "port", "known"),
    [
        ("reference", "0-0:24.6.0", True), ("reference", "0-0:24.0.0", False),
        ("mpta-3", "0-0:24.6.0", False),
    ],
)  # fmt: skip
def test_a_channel_is_on_a_port_that_the_meter_has(model: str, port: str, *, known: bool) -> None:
    meter = made(model)
    name = axdr.octets(Obis.parse(port))
    if known:
        put(meter, 72, CLIENT, PORT, name)
        assert get(meter, 72, CLIENT, PORT) == name.value
    else:
        with pytest.raises(AccessError) as refused:
            put(meter, 72, CLIENT, PORT, name)
        assert refused.value.result is DataAccessResult.OTHER_REASON
    put(meter, 72, CLIENT, PORT, axdr.octets(bytes(6)))


def test_what_is_written_of_a_device_says_which_one_is_installed() -> None:
    meter = made("mpta-3")
    bus = Bus(meter)
    first, second = bus.attach(1, water(7, 4)).slave, bus.attach(2, water(8, 6)).slave
    for client in (CLIENT, SECOND):
        call(meter, 72, client, DEINSTALL)
    first.primary_address, second.primary_address = 4, 6
    put(meter, 72, CLIENT, IDENTIFICATION, axdr.u32(9))
    assert result(meter, INSTALL, axdr.u8(0)) == ActionResult.TEMPORARY_FAILURE
    put(meter, 72, CLIENT, IDENTIFICATION, axdr.u32(8))
    assert result(meter, INSTALL, axdr.u8(4)) == ActionResult.TEMPORARY_FAILURE
    call(meter, 72, CLIENT, INSTALL, axdr.u8(0))
    assert (attribute(meter, ADDRESS), attribute(meter, 9)) == (6, Medium.WATER)
    for number, other in ((IDENTIFICATION, axdr.u32(7)), (7, axdr.u16(1)), (8, axdr.u8(3))):
        with pytest.raises(AccessError):
            put(meter, 72, CLIENT, number, other)
    assert attribute(meter, IDENTIFICATION) == 8


def test_what_was_deinstalled_stays_so_after_a_stop() -> None:
    store = Store.in_memory()
    meter = made("mpta-3", keeper=StoreKeeper(store, "m"))
    Bus(meter).attach(1, water())
    call(meter, 72, CLIENT, DEINSTALL)
    meter.flush()
    again = made("mpta-3", keeper=StoreKeeper(store, "m"))
    Bus(again).attach(1, water())
    assert attribute(again, ADDRESS) == 0


def test_over_the_port_a_client_exchanges_the_device() -> None:
    meter, _, slave = with_device()

    async def work(client: Client) -> None:
        await client.action(CLIENT, DEINSTALL)
        assert slave.primary_address == 0
        await client.action(CLIENT, INSTALL, axdr.u8(3))
        assert slave.primary_address == 3

    with_client(meter, work)
