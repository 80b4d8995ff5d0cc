"""Compact data (class 62) and data protection (class 30) over the port, by our client."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from blathy.cli.meter import connection_lines
from blathy.client import Meter as Client
from blathy.client import ObjectCache, ObjectRefused, Refused, Untrusted, VolatileCounterStore
from blathy.client.protected import CompactValue, ProtectedAccess, read_compact
from blathy.cosem import axdr
from blathy.cosem.captured_items import BY_DATE, BY_ENTRY, CapturedItem, parse_items
from blathy.cosem.compact_data import TemplateCache, decode_buffer
from blathy.cosem.selective import CaptureObject
from blathy.cosem.service import MethodRef
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models.model import Level
from blathy.obis import Obis
from blathy.wire.data_protection import (
    AUTHENTICATION,
    BOTH,
    ENCRYPTION,
    SIGNATURE,
    ProtectionElement,
    elements_data,
    protect_data,
)
from blathy.wire.security import KeyChoice, SecurityContext
from tests.meter.running import fed, served
from tests.waiting import run

COMPACT = "0-0:66.0.1"
SEALED = "0-0:43.2.0"
ENERGY = "1-0:1.8.0"
LOAD = Obis.parse("1-0:99.1.0")
CLOCK = Obis.parse("0-0:1.0.0")
POWER_LIMIT = "1-0:0.4.128"
BREAKER = Obis.parse("0-0:96.3.10")
ENERGY_WH = 3 * 1200 * 24


def connected(meter: Meter, port: int, level: Level = Level.MANAGEMENT, more: str = "") -> Client:
    lines = connection_lines(meter, [("127.0.0.1", port)], "test")
    url = next(line.split()[1] for line in lines if line.startswith(level.value)) + more
    return Client.connect(url, counters=VolatileCounterStore(), cache=ObjectCache())


def with_client(
    test: Callable[[Client], Coroutine[Any, Any, None]], *, suite: int = 0,
    level: Level = Level.MANAGEMENT, more: str = "",
) -> Meter:  # fmt: skip
    meter = fed("reference", 1, options=MeterOptions(suite=suite))

    async def whole() -> None:
        async with connected(meter, port, level, more) as client:
            await test(client)

    with served(meter) as port:
        run(whole)
    return meter


# --- compact data -------------------------------------------------------------------------------


def plain(values: tuple[CompactValue, ...]) -> list[Any]:
    return [each.value.value for each in values]


def test_it_captures_when_told_and_forgets_when_reset() -> None:
    async def test(client: Client) -> None:
        assert await read_compact(client, COMPACT) == ()
        await client.set((COMPACT, 4), axdr.u8(7))
        await client.action(COMPACT, "capture")
        templates = TemplateCache()
        number, clock, energy = await read_compact(client, COMPACT, templates)
        assert number.capture.attribute == 4
        assert number.value.value == 7
        assert clock.capture.is_clock
        assert clock.value.value[:8] == bytes.fromhex("07EA01020501 0000".replace(" ", ""))
        assert energy.value.value == ENERGY_WH
        # A buffer that comes alone, as in a push, is told by its first octet.
        buffer = await client.read((COMPACT, 2))
        assert isinstance(buffer, bytes)
        assert buffer[0] == 7
        assert len(buffer) == 1 + 1 + 12 + 4
        alone = templates.decode(client.address.place, buffer)
        assert alone[2].value == ENERGY_WH
        await client.action(COMPACT, "reset")
        assert await read_compact(client, COMPACT) == ()

    with_client(test)


def test_it_captures_at_every_reading_where_the_method_says_so() -> None:
    async def test(client: Client) -> None:
        await client.set((COMPACT, 6), axdr.enum(1))
        assert plain(await read_compact(client, COMPACT))[2] == ENERGY_WH
        with pytest.raises(ObjectRefused):
            await client.action(COMPACT, "capture")
        with pytest.raises(ObjectRefused):
            await client.set((COMPACT, 6), axdr.enum(9))

    with_client(test)


def item(
    class_id: int, obis: Obis, attribute: int = 2, index: int = 0, **more: Any
) -> CapturedItem:
    return CapturedItem(CaptureObject(class_id, obis, attribute, index), **more)


OWN = item(62, Obis.parse(COMPACT), 4)


def test_profiles_are_captured_by_entry_and_by_date_with_the_columns_wanted() -> None:
    day = bytes.fromhex("07EA0101FF")
    clock = CaptureObject(8, CLOCK)
    items = (
        OWN,
        item(7, LOAD, restriction=BY_ENTRY, first=3, last=5),
        item(7, LOAD, restriction=BY_DATE, first=day, last=day, columns=(clock,)),
        item(8, CLOCK),
        item(3, Obis.parse(ENERGY), 3, 2),  # the unit of the scaler_unit alone
    )

    async def test(client: Client) -> None:
        listed = axdr.array(*(each.data(6) for each in items))
        assert parse_items(listed) == items
        await client.action(COMPACT, "capture")
        await client.set((COMPACT, 3), listed)
        assert await read_compact(client, COMPACT) == ()  # what was captured had another layout
        await client.action(COMPACT, "capture")
        _, rows, times, _, unit = plain(await read_compact(client, COMPACT))
        assert len(rows) == 3
        assert len(rows[0].value) > 1
        assert unit == 30
        # January 1st by the wall clock: it began at 01:00; 24:00 is of the 2nd.
        assert len(times) == 91
        assert {len(row.value) for row in times} == {1}

    with_client(test)


@pytest.mark.parametrize(
    "wrong",
    [
        axdr.u8(1),
        axdr.array(axdr.u8(1)),
        axdr.array(item(8, CLOCK).data(6)),
        axdr.array(OWN.data(6), item(62, Obis.parse(COMPACT), 2).data(6)),
        axdr.array(*(OWN.data(6) for _ in range(65))),
    ],
)
def test_lists_that_make_no_sense_are_refused_and_change_nothing(wrong: axdr.Data) -> None:
    async def test(client: Client) -> None:
        before = await client.read((COMPACT, 3))
        with pytest.raises(ObjectRefused):
            await client.set((COMPACT, 3), wrong)
        assert await client.read((COMPACT, 3)) == before

    with_client(test)


def test_what_is_not_there_fails_the_capture_and_leaves_the_buffer() -> None:
    async def test(client: Client) -> None:
        nothing = item(3, Obis.parse("1-0:99.9.9"))
        await client.set((COMPACT, 3), axdr.array(OWN.data(6), nothing.data(6)))
        with pytest.raises(ObjectRefused):
            await client.action(COMPACT, "capture")
        assert await read_compact(client, COMPACT) == ()

    with_client(test)


def test_a_profile_without_rows_is_an_empty_array() -> None:
    day = bytes.fromhex("07E90101FF")
    none = item(7, LOAD, restriction=BY_DATE, first=day, last=day)

    async def test(client: Client) -> None:
        await client.set(
            (COMPACT, 3), axdr.array(OWN.data(6), none.data(6), item(8, CLOCK).data(6))
        )
        await client.action(COMPACT, "capture")
        number, rows, clock = plain(await read_compact(client, COMPACT))
        assert (number, rows) == (0, ())
        assert clock[:4] == bytes.fromhex("07EA0102")

    with_client(test)


def test_lists_are_kept_in_the_layout_of_their_class() -> None:
    """Who writes the four elements of version 0 finds the six and the five of these classes."""

    async def test(client: Client) -> None:
        await client.set((COMPACT, 3), axdr.array(OWN.data(4), item(8, CLOCK).data(4)))
        await client.set((SEALED, 3), axdr.array(item(8, CLOCK).data(4)))
        for code, elements in ((COMPACT, 6), (SEALED, 5)):
            data = await client.get_data(await client.reference((code, 3)))
            assert {len(each.value) for each in data.value} == {elements}
        with_columns = item(7, LOAD, columns=(CaptureObject(8, CLOCK),))
        with pytest.raises(ObjectRefused):
            await client.set((SEALED, 3), axdr.array(with_columns.data(6)))

    with_client(test)


def test_captured_data_survive_a_restart() -> None:
    meter = with_client(lambda client: client.action(COMPACT, "capture"))  # type: ignore[arg-type, return-value]
    buffer = meter.settings[bytes(Obis.parse(COMPACT)) + b"\x02"]
    description = meter.settings[bytes(Obis.parse(COMPACT)) + b"\x05"]
    octets = axdr.decode(buffer).value, axdr.decode(description).value
    assert decode_buffer(octets[1], octets[0])[2].value == ENERGY_WH


# --- data protection ------------------------------------------------------------------------------

SUITE_0 = [
    ((BOTH,), KeyChoice.IDENTIFIED),
    ((AUTHENTICATION, ENCRYPTION), KeyChoice.IDENTIFIED),
    ((ENCRYPTION, AUTHENTICATION), KeyChoice.BROADCAST),
    ((BOTH,), KeyChoice.WRAPPED),
]
AGREED = [
    ((BOTH,), KeyChoice.ONE_PASS),
    ((BOTH,), KeyChoice.STATIC),
    ((SIGNATURE, BOTH), KeyChoice.IDENTIFIED),
    ((BOTH, SIGNATURE), KeyChoice.ONE_PASS),
]
EVERY = [(0, *row) for row in SUITE_0] + [(s, *row) for s in (1, 2) for row in SUITE_0 + AGREED]
NEEDS_MORE_KEYS = {KeyChoice.BROADCAST, KeyChoice.WRAPPED}


def keys_of(meter: Meter) -> str:
    return f"&bk={meter.key('broadcast').hex()}&kek={meter.key('master').hex()}"


@pytest.mark.parametrize(("suite", "layers", "key"), EVERY)
def test_attributes_and_methods_travel_protected(
    suite: int, layers: tuple[int, ...], key: KeyChoice
) -> None:
    meter = fed("reference", 1, options=MeterOptions(suite=suite))

    async def test() -> None:
        more = keys_of(meter) if key in NEEDS_MORE_KEYS else ""
        async with connected(meter, port, more=more) as client:
            sealed = ProtectedAccess(client, SEALED, layers=layers, key=key)
            energy, unit = await sealed.get(ENERGY, (ENERGY, 3))
            assert energy.value == ENERGY_WH
            assert unit.value[1].value == 30
            await sealed.set((POWER_LIMIT, axdr.u16(4321)))
            assert (await sealed.get(POWER_LIMIT))[0].value == 4321
            done = await sealed.action(MethodRef(70, BREAKER, 1), axdr.i8(0))
            assert done == axdr.null()

    with served(meter) as port:
        run(test)
    assert not meter.control.breaker.connected


def test_less_than_the_object_requires_is_refused_both_ways() -> None:
    async def test(client: Client) -> None:
        for layers in ((AUTHENTICATION,), (ENCRYPTION,)):
            weak = ProtectedAccess(client, SEALED, layers=layers)
            with pytest.raises(ObjectRefused):
                await weak.get(ENERGY)
            with pytest.raises(ObjectRefused):
                await weak.set((POWER_LIMIT, axdr.u16(1)))
            with pytest.raises(ObjectRefused):
                await weak.action(MethodRef(70, BREAKER, 1), axdr.i8(0))
        await client.set((SEALED, 6), axdr.enum(0x24))  # authentication alone
        weak = ProtectedAccess(client, SEALED, layers=(AUTHENTICATION,))
        assert (await weak.get(ENERGY))[0].value == ENERGY_WH

    assert with_client(test).control.breaker.connected


def test_the_buffer_protects_the_listed_attributes() -> None:
    async def test(client: Client) -> None:
        assert await client.read((SEALED, 2)) == b""
        listed = axdr.array(item(3, Obis.parse(ENERGY)).data(5))
        await client.set((SEALED, 3), listed)
        with pytest.raises(ObjectRefused):
            await client.read((SEALED, 2))  # no parameters yet: less than required
        element = ProtectionElement(BOTH, recipient=client.address.title)
        await client.set((SEALED, 4), elements_data([element]))
        first, second = await client.read((SEALED, 2)), await client.read((SEALED, 2))
        assert isinstance(first, bytes)
        assert first != second  # another invocation counter each time
        assert first[0] == 0x30

    with_client(test)


def protected(client: Client, plain_data: axdr.Data, **changed: bytes) -> tuple[axdr.Data, bytes]:
    """Parameters and octets that the meter takes, unless they are changed."""
    own = client.conversation.association.security
    assert own is not None
    context = SecurityContext(
        changed.get("title", own.title), own.keys, own.counters, lambda n: bytes(n),
        peer_title=changed.get("peer", client.system_title),
    )  # fmt: skip
    used, octets = protect_data(context, axdr.encode(plain_data), [ProtectionElement(BOTH)])
    return elements_data(used), octets


async def write(client: Client, parameters: axdr.Data, octets: bytes, code: str) -> None:
    listed = axdr.array(item(3, Obis.parse(code)).data(5))
    request = axdr.structure(listed, parameters, axdr.octets(octets))
    await client.action(SEALED, "set_protected_attributes", request)


def test_forged_altered_and_repeated_data_are_refused() -> None:
    async def test(client: Client) -> None:
        values = axdr.structure(axdr.u16(4321))
        parameters, octets = protected(client, values)
        for position in (0, 4, 8, len(octets) - 1):
            altered = bytearray(octets)
            altered[position] ^= 1
            with pytest.raises(ObjectRefused):
                await write(client, parameters, bytes(altered), POWER_LIMIT)
        with pytest.raises(ObjectRefused):
            await write(client, parameters, octets[:5], POWER_LIMIT)
        with pytest.raises(ObjectRefused):
            await write(client, *protected(client, values, peer=b"OTHERMTR"), POWER_LIMIT)
        with pytest.raises(ObjectRefused):  # reflected
            await write(client, *protected(client, values, title=client.system_title), POWER_LIMIT)
        assert (await client.get_data(await client.reference(POWER_LIMIT))).value != 4321
        await write(client, parameters, octets, POWER_LIMIT)
        assert (await client.get_data(await client.reference(POWER_LIMIT))).value == 4321
        with pytest.raises(ObjectRefused):
            await write(client, parameters, octets, POWER_LIMIT)

    meter = with_client(test)
    names = [entry.name for entries in meter.books.logs.values() for entry in entries]
    assert "decryption_failed" in names


@pytest.mark.parametrize(("suite", "layers", "key"), EVERY)
def test_the_buffer_reads_and_writes_attributes(
    suite: int, layers: tuple[int, ...], key: KeyChoice
) -> None:
    """What it was protected with is told by the parameters, so a reader can open it."""
    meter = fed("reference", 1, options=MeterOptions(suite=suite))

    async def test() -> None:
        more = keys_of(meter) if key in NEEDS_MORE_KEYS else ""
        async with connected(meter, port, more=more) as client:
            sealed = ProtectedAccess(client, SEALED, layers=layers, key=key)
            for limit in (4321, 1234):
                await sealed.set_buffer((POWER_LIMIT, axdr.u16(limit)))
                limit_read, energy = await sealed.get_buffer(POWER_LIMIT, ENERGY)
                assert (limit_read.value, energy.value) == (limit, ENERGY_WH)

    with served(meter) as port:
        run(test)


async def buffer_for(client: Client, *codes: tuple[int, str, int]) -> None:
    listed = (item(class_id, Obis.parse(code), number) for class_id, code, number in codes)
    await client.set((SEALED, 3), axdr.array(*(each.data(5) for each in listed)))


LIMIT = (3, POWER_LIMIT, 2)


def test_forged_altered_and_repeated_buffers_are_refused() -> None:
    async def value(client: Client) -> int:
        return int((await client.get_data(await client.reference(POWER_LIMIT))).value)

    async def test(client: Client) -> None:
        before = await value(client)
        values = axdr.structure(axdr.u16(4321))
        parameters, octets = protected(client, values)
        with pytest.raises(ObjectRefused):
            await client.set((SEALED, 2), axdr.octets(octets))  # nothing is listed
        await buffer_for(client, LIMIT)
        with pytest.raises(ObjectRefused):
            await client.set((SEALED, 2), axdr.octets(octets))  # no parameters: unprotected
        await client.set((SEALED, 5), parameters)
        wrong = [octets[:5], octets[:-1], octets + b"\0", b"", axdr.encode(values)]
        for position in (0, 4, 8, len(octets) - 1):
            altered = bytearray(octets)
            altered[position] ^= 1
            wrong.append(bytes(altered))
        for forged in wrong:
            with pytest.raises(ObjectRefused):
                await client.set((SEALED, 2), axdr.octets(forged))
        with pytest.raises(ObjectRefused):
            await client.set((SEALED, 2), axdr.visible("no octets"))
        for other in ({"peer": b"OTHERMTR"}, {"title": client.system_title}):
            said, sealed = protected(client, values, **other)
            await client.set((SEALED, 5), said)
            with pytest.raises(ObjectRefused):
                await client.set((SEALED, 2), axdr.octets(sealed))
        assert await value(client) == before
        await client.set((SEALED, 5), parameters)
        await client.set((SEALED, 2), axdr.octets(octets))
        assert await value(client) == 4321
        await client.set((POWER_LIMIT, 2), axdr.u16(1))
        for _ in range(2):  # again, and again with the parameters of the time
            with pytest.raises(ObjectRefused):
                await client.set((SEALED, 2), axdr.octets(octets))
            await client.set((SEALED, 5), parameters)
        assert await value(client) == 1

    with_client(test)


def test_what_was_read_cannot_be_written_back() -> None:
    """Reflected: the meter's own protection of the value that it shows."""

    async def test(client: Client) -> None:
        sealed = ProtectedAccess(client, SEALED)
        await sealed.get_buffer(POWER_LIMIT)
        shown = await client.get_data(await client.reference((SEALED, 4)))
        octets = await client.get_data(await client.reference((SEALED, 2)))
        await client.set((SEALED, 5), shown)
        with pytest.raises(ObjectRefused):
            await client.set((SEALED, 2), octets)

    with_client(test)


def test_of_several_writes_all_or_none_take_place() -> None:
    """Rights and types are looked at before the first is written; a value that is refused for what
    it is leaves those before it as they were."""
    cases = {
        "no right": ((3, ENERGY, 2), axdr.u32(0)),
        "another type": ((8, "0-0:1.0.0", 3), axdr.visible("60")),
        "out of range": ((62, COMPACT, 6), axdr.enum(9)),
        "no such object": ((3, "1-0:99.9.9", 2), axdr.u32(0)),
    }

    async def test(client: Client) -> None:
        sealed = ProtectedAccess(client, SEALED)
        await client.set((POWER_LIMIT, 2), axdr.u16(77))
        for (class_id, code, number), refused in cases.values():
            listed = axdr.array(
                item(3, Obis.parse(POWER_LIMIT)).data(5),
                item(class_id, Obis.parse(code), number).data(5),
            )
            await client.set((SEALED, 3), listed)
            for by_method in (True, False):
                said, octets = protected(client, axdr.structure(axdr.u16(4321), refused))
                request = axdr.structure(listed, said, axdr.octets(octets))
                await client.set((SEALED, 5), said)
                with pytest.raises(ObjectRefused):
                    await (
                        client.action(SEALED, "set_protected_attributes", request)
                        if by_method
                        else client.set((SEALED, 2), axdr.octets(octets))
                    )
                limit = await client.get_data(await client.reference(POWER_LIMIT))
                assert limit.value == 77
        await sealed.set((POWER_LIMIT, axdr.u16(4321)), ((COMPACT, 6), axdr.enum(1)))
        assert (await client.get_data(await client.reference(POWER_LIMIT))).value == 4321

    with_client(test)


def test_signed_data_without_a_counter_are_taken_once_too() -> None:
    async def test(client: Client) -> None:
        await client.set((SEALED, 6), axdr.enum(0x90))  # signed both ways
        own = client.conversation.association.security
        assert own is not None
        used, octets = protect_data(
            own, axdr.encode(axdr.structure(axdr.u16(4321))), [ProtectionElement(SIGNATURE)]
        )
        await write(client, elements_data(used), octets, POWER_LIMIT)
        await client.set((POWER_LIMIT, 2), axdr.u16(1))
        with pytest.raises(ObjectRefused):
            await write(client, elements_data(used), octets, POWER_LIMIT)
        sealed = ProtectedAccess(client, SEALED, layers=(SIGNATURE,))
        assert (await sealed.get(POWER_LIMIT))[0].value == 1
        await sealed.set_buffer((POWER_LIMIT, axdr.u16(2)))
        assert (await sealed.get_buffer(POWER_LIMIT))[0].value == 2

    with_client(test, suite=1)


def test_protection_gives_nobody_a_right() -> None:
    """What a client may not do in clear it may not do protected; the legal registers nobody may."""

    async def test(client: Client) -> None:
        sealed = ProtectedAccess(client, SEALED)
        with pytest.raises(ObjectRefused):
            await sealed.set((ENERGY, axdr.u32(0)))
        with pytest.raises(ObjectRefused):
            await sealed.action(MethodRef(3, Obis.parse(ENERGY), 1), axdr.i8(0))
        with pytest.raises(ObjectRefused):
            await sealed.get((SEALED, 3))
        assert (await sealed.get(ENERGY))[0].value == ENERGY_WH

    with_client(test)


@pytest.mark.parametrize("layers", [(SIGNATURE,), (BOTH, SIGNATURE)])
def test_suite_0_has_no_signatures(layers: tuple[int, ...]) -> None:
    async def test(client: Client) -> None:
        with pytest.raises(Refused):
            await ProtectedAccess(client, SEALED, layers=layers).get(ENERGY)

    with_client(test)


def test_the_client_notices_an_answer_of_somebody_else() -> None:
    async def test(client: Client) -> None:
        sealed = ProtectedAccess(client, SEALED)
        real = sealed._call

        async def altered(method: int, parameters: axdr.Data) -> axdr.Data:
            answer = await real(method, parameters)
            octets = bytearray(answer.value[1].value)
            octets[-1] ^= 1
            return axdr.structure(answer.value[0], axdr.octets(bytes(octets)))

        sealed._call = altered  # type: ignore[method-assign]
        with pytest.raises(Untrusted, match="verify"):
            await sealed.get(ENERGY)

    with_client(test)
