"""Function control, arbitrator, array manager, parameter monitor and tables over the port."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from blathy.client import Meter as Client
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AttributeRef, DataAccessResult
from blathy.meter.keeping import StoreKeeper
from blathy.models.model import Level
from blathy.obis import Obis
from blathy.store.store import Store
from tests.meter.by_client import refused, value, with_client
from tests.meter.running import DAY_S, SERIAL, START_S, fed, get, gurux, made, served
from tests.meter.simple_load import ConstantLoad

FUNCTIONS = "0-0:44.1.0"
ARBITRATOR = "0-0:96.3.20"
ARRAYS = "0-0:18.0.0"
WATCH = "0-0:16.2.0"
MANUFACTURER_TABLE, DEVICE_TABLE = "0-0:65.0.1", "0-0:65.0.5"
REGISTER_TABLE = "0-0:21.0.1"
STATUS = "0-0:96.5.128"
BREAKER, RELAY = "0-0:96.3.10", "0-1:96.3.10"
SCHEDULE, SPECIAL_DAYS = "0-0:12.0.0", "0-0:11.0.0"
PUSH, IMAGE = "0-0:25.9.0", "0-0:44.0.0"
VOLTAGE_HIGH, LIMITER = "1-0:0.4.128", "0-0:17.0.0"
ENERGY = "1-0:1.8.0"
HOUR_S = 3600
OBJECT_UNAVAILABLE = 11
NOT_IN_IT = 13


def name(code: str) -> Data:
    return axdr.octets(Obis.parse(code))


def attribute(class_id: int, code: str, number: int = 2) -> Data:
    return axdr.structure(axdr.u16(class_id), name(code), axdr.i8(number))


# --- function control (class 122) -----------------------------------------------------------------


def status(function: bytes, *, on: bool) -> Data:
    return axdr.array(axdr.structure(axdr.octets(function), axdr.boolean(on)))


def function(text: bytes, *objects: tuple[int, str]) -> Data:
    listed = (axdr.structure(axdr.u16(number), name(code)) for number, code in objects)
    return axdr.structure(axdr.octets(text), axdr.array_of(listed))


async def switch(client: Client, text: bytes, *, on: bool) -> None:
    await client.action(FUNCTIONS, "set_function_status", status(text, on=on))


async def statuses(client: Client) -> dict[bytes, bool]:
    rows = await value(client, FUNCTIONS, 2)
    return {row.value[0].value: row.value[1].value for row in rows}


def every_hour(selector: int) -> Data:
    """A schedule entry of the output scripts at the beginning of every hour of every day."""
    any_date = axdr.octets(b"\xff" * 5)
    return axdr.structure(
        axdr.u16(1), axdr.boolean(True), name("0-0:10.0.103"), axdr.u16(selector),
        axdr.octets(b"\xff\0\0\0"), axdr.u16(0), axdr.bits("1111111"), axdr.bits(""),
        any_date, any_date,
    )  # fmt: skip


def test_load_control_that_is_off_switches_nothing_by_command_nor_by_schedule() -> None:
    store = Store.in_memory()
    meter = made("reference", keeper=StoreKeeper(store, "m"))

    async def off(client: Client) -> None:
        assert (await statuses(client))[b"load control"] is True
        await client.set((SCHEDULE, 2), axdr.array(every_hour(2)))
        await switch(client, b"load control", on=False)
        assert await refused(client.action(RELAY, "remote_reconnect")) == OBJECT_UNAVAILABLE
        script = client.action("0-0:10.0.103", "execute", axdr.u16(2))
        assert await refused(script) == OBJECT_UNAVAILABLE

    with_client(meter, off)
    meter.advance(ConstantLoad(), START_S + 2 * HOUR_S)
    again = made("reference", keeper=StoreKeeper(store, "m"))
    again.advance(ConstantLoad(), START_S + 4 * HOUR_S)
    assert get(again, 70, RELAY, 2) is False

    async def on(client: Client) -> None:
        assert (await statuses(client))[b"load control"] is False
        await switch(client, b"load control", on=True)
        again.advance(ConstantLoad(), START_S + 5 * HOUR_S)
        assert await value(client, RELAY, 2) is True

    with_client(again, on)


def test_what_is_switched_off_is_no_device_error() -> None:
    """The relay is a function of its own, its schedule goes on and finds it off."""
    meter = made("reference")

    async def work(client: Client) -> None:
        await client.action(FUNCTIONS, "remove_function", axdr.octets(b"load control"))
        await client.action(FUNCTIONS, "add_function", function(b"heating", (70, RELAY)))
        await client.set((SCHEDULE, 2), axdr.array(every_hour(2)))
        await switch(client, b"heating", on=False)

    with_client(meter, work)
    meter.advance(ConstantLoad(), START_S + 3 * HOUR_S)
    assert get(meter, 70, RELAY, 2) is False
    logged = {entry.name for entries in meter.books.logs.values() for entry in entries}
    assert "device_error" not in logged


def test_push_and_firmware_are_functions_too() -> None:
    meter = made("reference")

    async def work(client: Client) -> None:
        place = axdr.octets(b"127.0.0.1:4059")
        await client.set((PUSH, 3), axdr.structure(axdr.enum(0), place, axdr.enum(0)))
        await client.action(PUSH, "push")
        assert len(meter.outbox.pushes) == 1
        await switch(client, b"push", on=False)
        await switch(client, b"firmware", on=False)
        assert await refused(client.action(PUSH, "push")) == OBJECT_UNAVAILABLE
        start = axdr.structure(axdr.octets(b"image"), axdr.u32(64))
        initiate = client.action(IMAGE, "image_transfer_initiate", start)
        assert await refused(initiate) == OBJECT_UNAVAILABLE
        assert len(meter.outbox.pushes) == 1

    with_client(meter, work)


def test_functions_are_added_and_removed_by_who_may_act_on_their_objects() -> None:
    meter = made("reference")

    async def work(client: Client) -> None:
        own = function(b"supply", (70, BREAKER), (68, ARBITRATOR))
        await client.action(FUNCTIONS, "add_function", own)
        await switch(client, b"supply", on=False)
        assert await refused(client.action(BREAKER, "remote_disconnect")) == OBJECT_UNAVAILABLE
        for wrong in (
            own,
            function(b"nothing there", (70, "0-9:96.3.10")),
            function(b"class", (71, BREAKER)),
            function(b"the way in", (15, "0-0:40.0.0")),
            function(b"keys", (64, "0-0:43.0.0")),
            function(b"itself", (122, FUNCTIONS)),
            function(b""),
        ):
            await refused(client.action(FUNCTIONS, "add_function", wrong))
        await refused(client.action(FUNCTIONS, "set_function_status", status(b"?", on=False)))
        await client.action(FUNCTIONS, "remove_function", axdr.octets(b"supply"))
        await client.action(BREAKER, "remote_disconnect")
        assert await value(client, BREAKER, 2) is False
        assert b"supply" not in await statuses(client)

    async def installing(client: Client) -> None:
        """The installer acts on relays and reads the firmware's state only."""
        await switch(client, b"push", on=False)
        await refused(
            client.action(FUNCTIONS, "set_function_status", status(b"firmware", on=False))
        )
        assert await statuses(client) == {b"load control": True, b"firmware": True, b"push": False}

    with_client(meter, work)
    with_client(meter, installing, Level.INSTALLER)


# --- arbitrator (class 68) ------------------------------------------------------------------------


def request(actor: int, actions: str) -> Data:
    return axdr.structure(axdr.u8(actor), axdr.bits(actions))


def test_the_heaviest_standing_request_moves_the_breaker() -> None:
    """Actions: disconnect, reconnect. The utility's weight is above the account's, whatever comes
    later; once the utility withdraws, the account's request is carried out."""
    meter = made("reference")
    utility, account, customer = 1, 2, 3
    disconnect, reconnect, nothing = "10", "01", "00"

    async def work(client: Client) -> None:
        async def asks(actor: int, actions: str) -> tuple[int, int]:
            await client.action(ARBITRATOR, "request_action", request(actor, actions))
            return await value(client, ARBITRATOR, 6), await value(client, BREAKER, 3)

        assert await value(client, ARBITRATOR, 6) == 0
        assert await asks(utility, disconnect) == (1, 0)
        assert await asks(account, reconnect) == (1, 0)
        assert [row.value for row in await value(client, ARBITRATOR, 5)] == ["10", "01", "00"]
        outcome, state = await asks(utility, nothing)
        assert (outcome, state != 0) == (2, True)
        await refused(client.action(ARBITRATOR, "request_action", request(customer, disconnect)))
        assert [row.value for row in await value(client, ARBITRATOR, 5)] == ["00", "01", "00"]
        await client.action(ARBITRATOR, "reset")
        assert [row.value for row in await value(client, ARBITRATOR, 5)] == ["00", "00", "00"]
        assert await value(client, ARBITRATOR, 6) == 0
        for wrong in (request(0, "10"), request(4, "10"), request(1, "1"), axdr.u8(1)):
            await refused(client.action(ARBITRATOR, "request_action", wrong))

    with_client(meter, work)


def test_weights_and_permissions_can_be_set_and_outlast_a_power_cut() -> None:
    store = Store.in_memory()
    meter = made("reference", keeper=StoreKeeper(store, "m"))

    async def work(client: Client) -> None:
        await client.set((ARBITRATOR, 3), axdr.array(axdr.bits("11"), axdr.bits("11")))
        rows = (axdr.array(axdr.u16(10), axdr.u16(10)), axdr.array(axdr.u16(1), axdr.u16(1)))
        await client.set((ARBITRATOR, 4), axdr.array(*rows))
        await client.action(ARBITRATOR, "request_action", request(1, "11"))
        assert await value(client, ARBITRATOR, 6) == 1  # of equal weights the lower action
        await refused(client.set((ARBITRATOR, 2), axdr.array(axdr.structure(
            name("0-0:10.0.99"), axdr.u16(1)))))  # fmt: skip

    async def after(client: Client) -> None:
        assert [row.value for row in await value(client, ARBITRATOR, 5)] == ["11", "00"]
        assert await value(client, BREAKER, 2) is False
        await client.action(ARBITRATOR, "request_action", request(2, "01"))
        assert await value(client, ARBITRATOR, 6) == 2

    with_client(meter, work)
    with_client(made("reference", keeper=StoreKeeper(store, "m")), after)


# --- array manager (class 123) --------------------------------------------------------------------


def day(index: int, day_of_january: int) -> Data:
    date = axdr.octets(bytes((0x07, 0xEA, 1, day_of_january, 0xFF)))
    return axdr.structure(axdr.u16(index), date, axdr.u8(2))


def placed(number: int, index: int, entry: Data) -> Data:
    return axdr.structure(axdr.u8(number), axdr.structure(axdr.u16(index), entry))


def stretch(number: int, first: int, last: int) -> Data:
    return axdr.structure(axdr.u8(number), axdr.structure(axdr.u16(first), axdr.u16(last)))


def test_entries_of_arrays_are_counted_read_inserted_replaced_and_removed() -> None:
    """Special days under number 7: their object keeps them in order of their index."""
    meter = made("reference")
    days = 7

    async def work(client: Client) -> None:
        async def entries() -> list[int]:
            return [row.value[0].value for row in await value(client, SPECIAL_DAYS, 2)]

        listed = axdr.array(axdr.structure(axdr.u8(days), attribute(11, SPECIAL_DAYS)))
        await client.set((ARRAYS, 2), listed)
        for index in (10, 20, 30):
            await client.action(ARRAYS, "insert_entry", placed(days, 9, day(index, index)))
        await client.action(ARRAYS, "insert_entry", placed(days, 0, day(5, 6)))
        count = await client.action(ARRAYS, "retrieve_number_of_entries", axdr.u8(days))
        assert count == axdr.u16(4)
        await client.action(ARRAYS, "update_entry", placed(days, 2, day(11, 11)))
        assert await entries() == [5, 11, 20, 30]
        got = await client.action(ARRAYS, "retrieve_entries", stretch(days, 2, 3))
        assert got == axdr.array(day(11, 11), day(20, 20))
        await client.action(ARRAYS, "remove_entries", stretch(days, 1, 2))
        assert await entries() == [20, 30]
        for method, wrong, result in (
            ("retrieve_entries", stretch(days, 3, 3), NOT_IN_IT),
            ("retrieve_entries", stretch(days, 2, 1), NOT_IN_IT),
            ("remove_entries", stretch(days, 0, 1), NOT_IN_IT),
            ("update_entry", placed(days, 3, day(1, 1)), NOT_IN_IT),
            ("insert_entry", placed(days, 1, axdr.u8(1)), 12),
            ("insert_entry", placed(8, 1, day(1, 1)), 4),
            ("retrieve_number_of_entries", axdr.u16(days), 12),
        ):
            assert await refused(client.action(ARRAYS, method, wrong)) == result, method
        assert await entries() == [20, 30]

    with_client(meter, work)


def test_the_array_manager_gives_nobody_a_right() -> None:
    """The installer may call it, and reads the special days without writing them; what the
    installer may not even read stays closed."""
    meter = made("reference")

    async def managing(client: Client) -> None:
        listed = axdr.array(
            axdr.structure(axdr.u8(1), attribute(11, SPECIAL_DAYS)),
            axdr.structure(axdr.u8(2), attribute(64, "0-0:43.0.0", 6)),
        )
        await client.set((ARRAYS, 2), listed)
        await client.action(SPECIAL_DAYS, "insert", day(1, 6))

    async def installing(client: Client) -> None:
        count = await client.action(ARRAYS, "retrieve_number_of_entries", axdr.u8(1))
        assert count == axdr.u16(1)
        for method, parameter in (
            ("insert_entry", placed(1, 1, day(2, 7))),
            ("remove_entries", stretch(1, 1, 1)),
            ("retrieve_number_of_entries", axdr.u8(2)),
        ):
            result = await refused(client.action(ARRAYS, method, parameter))
            assert result == DataAccessResult.READ_WRITE_DENIED

    with_client(meter, managing)
    with_client(meter, installing, Level.INSTALLER)
    assert len(get(meter, 11, SPECIAL_DAYS, 2)) == 1


# --- parameter monitor (class 65) -----------------------------------------------------------------


def test_the_last_change_of_a_listed_parameter_is_told_with_its_time() -> None:
    store = Store.in_memory()
    meter = fed("reference", 1, keeper=StoreKeeper(store, "m"))

    async def work(client: Client) -> None:
        async def changed() -> list[Any]:
            found = await value(client, WATCH, 2)
            return [found[1].value, found[2].value, found[3].value]

        for code, class_id, number in (
            (VOLTAGE_HIGH, 3, 2),
            (LIMITER, 71, 4),
            (SPECIAL_DAYS, 11, 2),
        ):
            await client.action(WATCH, "add_parameter", attribute(class_id, code, number))
        assert await changed() == [bytes(6), 0, None]
        await client.set((VOLTAGE_HIGH, 2), axdr.u16(1200))
        assert await changed() == [Obis.parse(VOLTAGE_HIGH), 2, 1200]
        moment = await value(client, WATCH, 3)
        assert moment[:8] == bytes.fromhex("07EA0102") + bytes((5, 1, 0, 0))
        await client.set((LIMITER, 4), axdr.u32(9000))
        await client.set((VOLTAGE_HIGH, 2), axdr.u16(1200))  # no other value, no change
        await client.set(("1-0:0.4.129", 2), axdr.u16(800))  # not in the list
        assert await changed() == [Obis.parse(LIMITER), 4, 9000]
        await client.action(SPECIAL_DAYS, "insert", day(1, 6))  # a method changes it as well
        assert (await changed())[:2] == [Obis.parse(SPECIAL_DAYS), 2]
        await client.action(WATCH, "delete_parameter", attribute(3, VOLTAGE_HIGH))
        await client.set((VOLTAGE_HIGH, 2), axdr.u16(1150))
        assert (await changed())[0] == Obis.parse(SPECIAL_DAYS)

    async def after(client: Client) -> None:
        found = await value(client, WATCH, 2)
        assert found[1].value == Obis.parse(SPECIAL_DAYS)
        assert len(await value(client, WATCH, 4)) == 2
        await client.set((LIMITER, 4), axdr.u32(9001))
        assert (await value(client, WATCH, 2))[3].value == 9001

    with_client(meter, work)
    with_client(made("reference", keeper=StoreKeeper(store, "m")), after)


def test_values_and_digest_tell_that_the_parameters_are_as_wanted() -> None:
    meter = made("reference")

    async def work(client: Client) -> None:
        await client.set(
            (WATCH, 4), axdr.array(attribute(3, VOLTAGE_HIGH), attribute(71, LIMITER, 4))
        )
        assert await value(client, WATCH, 7) == b""
        await client.set((WATCH, 6), axdr.enum(1))
        await client.set((VOLTAGE_HIGH, 2), axdr.u16(1200))
        values = axdr.u16(1200), axdr.u32(58_000)
        assert await value(client, WATCH, 8) == values
        assert await value(client, WATCH, 7) == sha256(b"".join(map(axdr.encode, values))).digest()
        await refused(client.set((WATCH, 6), axdr.enum(9)))

    with_client(meter, work)


def test_what_is_no_parameter_or_not_to_be_read_is_not_watched() -> None:
    meter = fed("reference", 1)

    async def work(client: Client) -> None:
        for wrong in (
            attribute(3, "1-0:99.99.0"),
            attribute(1, VOLTAGE_HIGH),
            attribute(7, "1-0:99.1.0"),  # the buffer of the load profile
            attribute(65, WATCH, 2),
            attribute(15, "0-0:40.0.0", 7),  # a password
            axdr.u8(1),
        ):
            await refused(client.action(WATCH, "add_parameter", wrong))
        await refused(client.action(WATCH, "delete_parameter", attribute(3, VOLTAGE_HIGH)))
        assert await value(client, WATCH, 4) == ()

    async def reading(client: Client) -> None:
        await refused(client.action(WATCH, "add_parameter", attribute(3, VOLTAGE_HIGH)))

    async def installing(client: Client) -> None:
        keys = attribute(64, "0-0:43.0.0", 4)
        assert await refused(client.action(WATCH, "add_parameter", keys)) == 3

    with_client(meter, work)
    with_client(meter, reading, Level.READER)
    with_client(meter, installing, Level.INSTALLER)


# --- utility tables (class 26) --------------------------------------------------------------------


async def part(client: Client, code: str, selector: int, parameters: Data) -> Any:
    ref = AttributeRef(26, Obis.parse(code), 4, selector, axdr.encode(parameters))
    return (await client.get_data(ref)).value


def by_offset(first: int, count: int) -> Data:
    return axdr.structure(axdr.u32(first), axdr.u16(count))


def by_index(count: int, *path: int) -> Data:
    return axdr.structure(axdr.array_of(axdr.u16(n) for n in path), axdr.u16(count))


def test_tables_are_read_whole_and_in_part() -> None:
    meter = made("reference")
    serial = str(SERIAL).encode().ljust(16)

    async def work(client: Client) -> None:
        assert await value(client, MANUFACTURER_TABLE, 2) == 1
        assert await value(client, MANUFACTURER_TABLE, 3) == 32
        whole = await value(client, MANUFACTURER_TABLE, 4)
        assert whole == b"BLY REFERENC\x01\x00\x01\x00" + serial
        assert await part(client, MANUFACTURER_TABLE, 1, by_offset(4, 8)) == b"REFERENC"
        assert await part(client, MANUFACTURER_TABLE, 1, by_offset(16, 0)) == serial
        assert await part(client, MANUFACTURER_TABLE, 2, by_index(1, 6)) == serial
        assert await part(client, MANUFACTURER_TABLE, 2, by_index(2, 0)) == b"BLY REFERENC"
        for selector, wrong in (
            (1, by_offset(32, 1)), (1, by_offset(30, 3)), (2, by_index(1, 7)),
            (2, by_index(1, 0, 0)), (3, by_offset(0, 1)),
        ):  # fmt: skip
            result = await refused(part(client, MANUFACTURER_TABLE, selector, wrong))
            assert result == NOT_IN_IT
        await refused(client.set((MANUFACTURER_TABLE, 4), axdr.octets(whole)))

    with_client(meter, work)


def test_the_utility_writes_the_table_that_is_its_own() -> None:
    store = Store.in_memory()
    text = b"feeder 4, house 12  "

    async def work(client: Client) -> None:
        assert await value(client, DEVICE_TABLE, 4) == b" " * 20
        await client.set((DEVICE_TABLE, 4), axdr.octets(text))
        for wrong in (axdr.octets(b"short"), axdr.visible("x" * 20)):
            await refused(client.set((DEVICE_TABLE, 4), wrong))

    async def after(client: Client) -> None:
        assert await value(client, DEVICE_TABLE, 4) == text

    with_client(made("reference", keeper=StoreKeeper(store, "m")), work)
    with_client(made("reference", keeper=StoreKeeper(store, "m")), after)


# --- register table (class 61) --------------------------------------------------------------------


def cells(class_id: int, code: str, group_e: tuple[int, ...], number: int = 2) -> Data:
    return axdr.structure(
        axdr.u16(class_id), name(code), axdr.array_of(axdr.u8(e) for e in group_e), axdr.i8(number)
    )


def test_a_register_table_holds_what_it_captured() -> None:
    meter = fed("reference", 1)
    total_wh = 3 * 1200 * 24

    async def work(client: Client) -> None:
        async def captured() -> list[Any]:
            return [cell.value for cell in await value(client, REGISTER_TABLE, 2)]

        assert await captured() == []
        await client.action(REGISTER_TABLE, "capture")
        total, *rates = await captured()
        assert total == total_wh == sum(rates)
        assert [x.value for x in await value(client, REGISTER_TABLE, 3 + 1)] == [0, 30]
        meter.advance(ConstantLoad(), START_S + 2 * DAY_S)
        assert (await captured())[0] == total_wh
        await client.action(REGISTER_TABLE, "capture")
        assert (await captured())[0] == 2 * total_wh
        await client.action(REGISTER_TABLE, "reset")
        assert await captured() == []
        await client.action(REGISTER_TABLE, "capture")
        await client.set((REGISTER_TABLE, 3), cells(3, "1-0:1.8.255", (0,), 0))
        assert await captured() == []
        await client.action(REGISTER_TABLE, "capture")
        ((whole,),) = [await captured()]
        assert [part.value for part in whole][:2] == [Obis.parse(ENERGY), 2 * total_wh]
        assert [x.value for x in await value(client, REGISTER_TABLE, 4)] == [0, 255]
        for wrong in (
            cells(3, "1-0:1.8.255", (0, 9)),
            cells(4, "1-0:1.8.255", (0,)),
            cells(3, "1-0:1.8.255", (0,), 9),
            axdr.u8(1),
        ):
            await refused(client.set((REGISTER_TABLE, 3), wrong))

    with_client(meter, work)


# --- status mapping (class 63) --------------------------------------------------------------------


def test_the_status_word_is_that_of_the_meter() -> None:
    """After twelve days without supply the reserve of the clock is used up: bits 1 and 2, clock
    invalid and values not valid."""
    meter = fed("reference", 1)

    async def before(client: Client) -> None:
        assert await value(client, STATUS, 2) == "00000000"
        bit_by_bit = axdr.array_of(axdr.u16(100 + bit) for bit in range(8))
        await client.set((STATUS, 3), axdr.structure(axdr.u8(3), bit_by_bit))
        too_short = axdr.structure(axdr.u8(3), axdr.array(axdr.u16(1)))
        await refused(client.set((STATUS, 3), too_short))
        table, mapping = await value(client, STATUS, 3)
        assert (table.value, len(mapping.value)) == (3, 8)

    async def after(client: Client) -> None:
        assert await value(client, STATUS, 2) == "01100000"

    with_client(meter, before)
    meter.step(ConstantLoad().block(START_S + 13 * DAY_S, 1, 60))
    meter.commit()
    with_client(meter, after)


# --- an independent client ------------------------------------------------------------------------


def test_an_independent_client_reads_them_and_has_an_array_counted() -> None:
    meter = made("reference")

    async def work(client: Client) -> None:
        await client.action(SPECIAL_DAYS, "insert", day(1, 6))
        await client.action(WATCH, "add_parameter", attribute(3, VOLTAGE_HIGH))
        await client.set((VOLTAGE_HIGH, 2), axdr.u16(1200))

    with_client(meter, work)
    with served(meter) as port:
        identity = meter.identity
        done = gurux(
            {
                "port": port, "client": 1, "auth": "hls5", "clock": "0.0.1.0.0.255",
                "ek": identity.encryption_key.hex(), "ak": identity.authentication_key.hex(),
                "attributes": [
                    ["GXDLMSUtilityTables", "0.0.65.0.1.255", [2, 3, 4]],
                    ["GXDLMSFunctionControl", "0.0.44.1.0.255", [2]],
                    ["GXDLMSParameterMonitor", "0.0.16.2.0.255", [2]],
                ],
                "call": [["GXDLMSArrayManager", "0.0.18.0.0.255", 1, "1", 17]],
            }
        )  # fmt: skip
    table, functions, _ = done["attributes"]
    assert table[:2] == ["1", "32"]
    assert "load control" in functions[0]
    assert done["called"] == ["120001"]
