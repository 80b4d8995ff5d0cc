"""What is done to a meter, on real objects: firmware, breaker, keys, policy, push, logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from blathy.client import (
    Meter,
    MeterAddress,
    MeterError,
    Refused,
    activate_security,
    change_keys,
    change_password,
    disconnect,
    event_logs,
    parse_address,
    push_setup,
    read_events,
    reconnect,
    security_policy,
    set_push,
    switch_state,
    transfer_image,
)
from blathy.client.scan import Answer, scan
from blathy.cosem.classes.enumerations import ControlState, SecurityPolicy
from blathy.meter.identity import maker_private_key
from blathy.meter.meter import Meter as Served
from blathy.models import MODELS
from blathy.models.firmware import build_image
from blathy.obis import Obis
from blathy.transport.dlms_session import serve_dlms
from blathy.wire.server import LogicalDevice
from tests.client.test_models_over_ports import connected
from tests.meter.running import START_S, fed
from tests.waiting import run

MODEL = "omnipower"
IMAGE = build_image(
    MODEL, "50981137 F1", bytes(range(256)) * 9, maker_private_key(MODELS[MODEL], "test")
)
OTHER = build_image(
    MODEL, "50981137 F2", bytes(range(256))[::-1] * 9, maker_private_key(MODELS[MODEL], "test")
)


@pytest.fixture
def served() -> Served:
    return fed(MODEL, days=1)


def at(served: Served, where: MeterAddress) -> Meter:
    """The same meter opened with another address."""
    meter = connected(served)
    meter.address = where
    return meter


@asynccontextmanager
async def opened(served: Served) -> AsyncIterator[Meter]:
    async with connected(served) as meter:
        yield meter


def blocks_of(image: bytes, size: int = 512) -> int:
    return -(-len(image) // size)


@pytest.mark.parametrize("first", [IMAGE, OTHER])
def test_a_transfer_goes_on_where_it_stopped(served: Served, first: bytes) -> None:
    """Also where other blocks than ours were there: then the whole is sent once more."""

    async def test() -> None:
        async with opened(served) as meter:
            await meter.call(
                "0-0:44.0.0", "image_transfer_initiate",
                {"image_identifier": b"fw", "image_size": len(first)},
            )  # fmt: skip
            for number in (0, 2):
                block = {
                    "image_block_number": number,
                    "image_block_value": first[512 * number : 512 * number + 512],
                }
                await meter.call("0-0:44.0.0", "image_block_transfer", block)
        told: list[tuple[int, int]] = []
        async with opened(served) as meter:
            await transfer_image(meter, IMAGE, "fw", progress=lambda *at: told.append(at))
            assert await meter.read("1-1:0.2.0") in {b"50981137 F1", "50981137 F1"}
        blocks = blocks_of(IMAGE)
        assert told[0] == (2, blocks)
        assert told[-1] == (blocks, blocks)
        assert len(told) == (blocks - 1 if first is IMAGE else 2 * blocks)

    run(test)


def test_an_image_that_is_not_the_makers_changes_nothing(served: Served) -> None:
    async def test() -> None:
        async with opened(served) as meter:
            before = await meter.read("1-1:0.2.0")
            with pytest.raises(MeterError):
                await transfer_image(meter, IMAGE[:-1] + b"\x00", "fw")
            with pytest.raises(Refused, match="empty"):
                await transfer_image(meter, b"", "fw")
            assert await meter.read("1-1:0.2.0") == before
            await transfer_image(meter, IMAGE, "fw", activate=False)
            assert await meter.read("1-1:0.2.0") == before

    run(test)


def test_the_breaker_is_opened_and_closed(served: Served) -> None:
    async def test() -> None:
        async with opened(served) as meter:
            assert (await switch_state(meter)).closed
            state = await disconnect(meter)
            assert (state.closed, state.control_state) == (False, ControlState.DISCONNECTED)
            state = await reconnect(meter)
            assert state.closed or state.ready
            with pytest.raises(Refused, match="no Disconnect control"):
                await disconnect(meter, "1-1:1.8.0")

    run(test)


def test_changed_keys_open_the_next_association_and_old_ones_none(served: Served) -> None:
    async def test() -> None:
        fresh = bytes(range(100, 116))
        async with opened(served) as meter:
            keys = await change_keys(meter, {"encryption": fresh}, master=served.key("master"))
            old = meter.address
        assert keys.unicast == fresh
        async with at(served, old.with_keys(keys)) as meter:
            assert await meter.read("1-1:1.8.0")
        with pytest.raises(MeterError, match="ek=, ak="):
            await at(served, old).open()
        async with at(served, old.with_keys(keys)) as meter:
            with pytest.raises(Refused, match="encryption, broadcast, authentication, master"):
                await change_keys(meter, {"colour": fresh}, master=fresh)
            with pytest.raises(Refused, match="suite 0"):
                await change_keys(meter, {"encryption": b"short"}, master=fresh)

    run(test)


def test_the_policy_is_raised_the_push_is_set_and_logs_are_read(served: Served) -> None:
    async def test() -> None:
        async with opened(served) as meter:
            before = await security_policy(meter)
            wanted = before | SecurityPolicy.REQUEST_AUTHENTICATED
            await activate_security(meter, wanted)
            assert await security_policy(meter) == wanted
            logs = await event_logs(meter)
            assert logs
            for log in logs:
                for event in await read_events(meter, str(log), since=START_S):
                    assert isinstance(event.code, int)

    run(test)


def test_push_objects_and_destination_are_written_and_read_back() -> None:
    async def test() -> None:
        served = fed("esox", days=1)
        async with connected(served) as meter:
            await set_push(
                meter, destination="127.0.0.1:4061", objects=["0-0:1.0.0", "1-0:1.8.0"],
                retries=3, randomisation_s=20,
            )  # fmt: skip
            setup = await push_setup(meter)
            assert [ref.obis for ref in setup.objects] == [
                Obis.parse("0-0:1.0.0"), Obis.parse("1-0:1.8.0"),
            ]  # fmt: skip
            assert (setup.destination, setup.retries, setup.randomisation_s) == (
                "127.0.0.1:4061", 3, 20,
            )  # fmt: skip

    run(test)


def test_a_changed_password_counts_from_the_next_association_on() -> None:
    async def test() -> None:
        served = fed("mt372", days=1)
        async with connected(served) as meter:
            await change_password(meter, "12345678")
            old = meter.address
        with pytest.raises(MeterError, match="password="):
            await at(served, old).open()
        async with connected(served) as meter:  # as the meter's own book says now
            assert meter.address.password == b"12345678"

    run(test)


def test_denied_names_the_client_that_may() -> None:
    async def test() -> None:
        served = fed("esox", days=1)
        async with connected(served) as meter:
            with pytest.raises(MeterError, match="client 1 has no right to it"):
                await meter.write("1-0:1.8.0", "5 kWh")
            moment = datetime(2026, 11, 21, 12, tzinfo=UTC)
            await meter.write("0-0:1.0.0", moment)
            assert (await meter.clock()).utc() == int(moment.timestamp())

    run(test)


def test_a_scan_finds_clients_and_servers_and_asks_no_more_than_told() -> None:
    async def test() -> None:
        served, asked = fed("mt372", days=1), []

        def lookup(_endpoint: Any, sap: int, _physical: int | None) -> LogicalDevice | None:
            asked.append(sap)
            return served.logical_device() if sap == 1 else None

        listener, port = await serve_dlms(lookup, port=0)
        where = parse_address(f"dlms://127.0.0.1:{port}?timeout=5")
        done: list[int] = []
        found = await scan(
            where, clients=(16, 1, 2, 90), servers=(1, 5), pause_s=0.0,
            progress=lambda n, _all: done.append(n),
        )  # fmt: skip
        answers = {(one.client, one.server): one.answer for one in found}
        assert answers == {
            (16, 1): Answer.OPEN, (1, 1): Answer.SECURED, (2, 1): Answer.SECURED,
            (90, 1): Answer.REFUSED, (16, 5): Answer.SILENT,
        }  # fmt: skip
        assert found[0].device.startswith("ISKMT372")
        assert len(done) == 5
        with pytest.raises(Refused, match="256"):
            await scan(where, clients=range(300))
        await listener.stop()

    run(test)
