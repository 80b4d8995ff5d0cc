"""Meters that push: over TCP and UDP, to a listening head-end, again where nobody took it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blathy.client import Meter as Client
from blathy.client import ObjectCache, VolatileCounterStore
from blathy.client.push import Push, Unreadable, push_sessions
from blathy.cosem import axdr
from blathy.fleet.fleet import Fleet
from blathy.fleet.push_sender import TCP, UDP, PushSender, destination_of
from blathy.meter.meter import Meter
from blathy.meter.pushing import may_go, push_apdus
from blathy.obis import Obis
from blathy.store.store import Store
from blathy.transport.listener import TcpListener, UdpListener
from blathy.transport.session import Endpoint
from blathy.wire import wrapper
from blathy.wire.security import KeySet, SecurityPolicy
from tests.interop.peers import Peer
from tests.meter.running import START_S, fed, put
from tests.meter.simple_load import ConstantLoad

SETUP = "0-0:25.9.0"
Received = list[Push | Unreadable]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 240))


def pushing(port: int, service: int = TCP, model: str = "omnipower", **changes: int) -> Meter:
    meter = fed(model, 1)
    destination = f"127.0.0.1:{port}".encode()
    to = axdr.structure(axdr.enum(service), axdr.octets(destination), axdr.enum(0))
    put(meter, 40, SETUP, 3, to)
    put(meter, 40, SETUP, 6, axdr.u8(changes.get("retries", 0)))
    put(meter, 40, SETUP, 7, axdr.u16(changes.get("delay", 0)))
    put(meter, 40, SETUP, 5, axdr.u16(changes.get("random", 0)))
    return meter


def keys_of(meter: Meter) -> KeySet:
    return KeySet(0, meter.key("unicast"), meter.key("authentication"))


async def listening(
    meter: Meter, received: Received, service: int = TCP, keys: KeySet | None = None
) -> tuple[TcpListener | UdpListener, int]:
    def sink(_endpoint: Endpoint, push: Push | Unreadable) -> None:
        received.append(push)

    chosen = keys or keys_of(meter)
    sessions = push_sessions(sink, lambda _: chosen, datagrams=service == UDP)
    listener = UdpListener(sessions) if service == UDP else TcpListener(sessions)
    return listener, await listener.start("127.0.0.1", 0)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within a minute")


@pytest.mark.parametrize("service", [TCP, UDP])
def test_a_push_reaches_the_destination_named_and_authenticated(service: int) -> None:
    async def test() -> None:
        received: Received = []
        meter = fed("omnipower", 1)
        listener, port = await listening(meter, received, service)
        meter = pushing(port, service)
        sender = PushSender()
        for _ in range(3):
            meter.push(Obis.parse(SETUP))
        sender.collect(meter)
        assert not meter.outbox.pushes
        await until(lambda: len(received) == 3)
        for push in received:
            assert isinstance(push, Push), push
            assert push.originator == meter.identity.system_title
            assert push.ciphered
            assert push.authenticated
            assert not push.repeated
            assert push.time is not None
            assert len(push.values) >= 2
        await until(lambda: sender.sent == 3)
        await listener.stop()

    run(test)


def test_without_the_authentication_key_it_is_read_and_flagged() -> None:
    async def test() -> None:
        received: Received = []
        meter = fed("omnipower", 1)
        bare = KeySet(0, meter.key("unicast"))
        listener, port = await listening(meter, received, keys=bare)
        meter = pushing(port)
        meter.push(Obis.parse(SETUP))
        sender = PushSender()
        sender.collect(meter)
        await until(lambda: bool(received))
        (push,) = received
        assert isinstance(push, Push)
        assert push.ciphered
        assert not push.authenticated
        assert push.values
        await listener.stop()

    run(test)


def test_nobody_there_means_again_after_the_delay_and_an_end() -> None:
    async def test() -> None:
        received: Received = []
        first = fed("omnipower", 1)
        listener, port = await listening(first, received)
        await listener.stop()
        meter = pushing(port, retries=2, delay=1)
        sender = PushSender()
        meter.push(Obis.parse(SETUP))
        sender.collect(meter)
        await asyncio.sleep(0.3)
        assert sender.sent == sender.failed == 0
        listener = TcpListener(push_sessions(lambda _, p: received.append(p)))
        await listener.start("127.0.0.1", port)
        await until(lambda: sender.sent == 1)
        await until(lambda: len(received) == 1)
        await listener.stop()
        hopeless = pushing(port, retries=1)
        hopeless.push(Obis.parse(SETUP))
        sender.collect(hopeless)
        await until(lambda: sender.failed == 1)

    run(test)


def test_every_attempt_has_an_invocation_counter_of_its_own() -> None:
    meter = pushing(4059)
    meter.push(Obis.parse(SETUP))
    (message,) = meter.outbox.pushes
    counters = [push_apdus(meter, message, 1)[0][13:17] for _ in range(4)]
    assert counters == sorted(set(counters))


def test_randomised_pushes_do_not_all_come_at_once() -> None:
    async def test() -> None:
        received: Received = []
        meter = fed("omnipower", 1)
        listener, port = await listening(meter, received)
        meter = pushing(port, random=5)
        draws = iter((4000, 0, 400, 0))
        meter.entropy = lambda count: next(draws, 0).to_bytes(count, "big")
        sender = PushSender()
        meter.push(Obis.parse(SETUP))
        meter.push(Obis.parse(SETUP))
        sender.collect(meter)
        await until(lambda: bool(received))
        assert len(received) == 1
        await until(lambda: len(received) == 2)
        await listener.stop()

    run(test)


def test_nothing_leaves_the_machine_unless_allowed() -> None:
    async def test() -> None:
        meter = pushing(4059)
        meter.push(Obis.parse(SETUP))
        (message,) = meter.outbox.pushes
        meter.outbox.pushes[0] = replace(message, destination=b"192.0.2.1:4059")
        sender = PushSender()
        sender.collect(meter)
        await until(lambda: sender.failed == 1)

    run(test)


def test_destinations_are_addresses_with_a_port() -> None:
    meter = pushing(4059)
    meter.push(Obis.parse(SETUP))
    (message,) = meter.outbox.pushes
    for text, place in (
        (b"127.0.0.1:4059", ("127.0.0.1", 4059)), (b"127.0.0.1", ("127.0.0.1", 4059)),
        (b"[::1]:77", ("::1", 77)),
    ):  # fmt: skip
        assert destination_of(replace(message, destination=text)) == place
    for text in (b"", b"nowhere", b"\xff"):
        with pytest.raises(ValueError, match=r".*"):
            destination_of(replace(message, destination=text))


def moment(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("begin", "end", "open_"),
    [
        ("07EA0101FF00000000800000", "07EA0103FF00000000800000", True),
        ("07EA0102FF02000000800000", "07EA0103FF00000000800000", False),
        ("FFFFFFFFFF00000000800000", "FFFFFFFFFF02000000800000", True),
        ("FFFFFFFFFF02000000800000", "FFFFFFFFFF05000000800000", False),
        ("FFFFFFFFFF16000000800000", "FFFFFFFFFF06000000800000", True),
        ("FFFFFFFFFF16000000800000", "FFFFFFFFFF01000000800000", False),
        ("FFFFFFFF0416000000800000", "FFFFFFFFFF06000000800000", True),
        ("FFFFFFFF0516000000800000", "FFFFFFFFFF06000000800000", False),
        ("FFFFFFFF0500000000800000", "FFFFFFFFFFFFFFFFFF800000", True),
    ],
)
def test_communication_windows(begin: str, end: str, open_: bool) -> None:
    """The clock stands at 2026-01-02 01:00 local time, a Friday; some windows pass midnight."""
    meter = pushing(4059)
    meter.push(Obis.parse(SETUP))
    (message,) = meter.outbox.pushes
    assert may_go(meter, message)
    assert may_go(meter, replace(message, windows=((moment(begin), moment(end)),))) is open_


def test_a_fleet_sends_from_each_meters_own_address() -> None:
    async def test() -> None:
        received: Received = []
        sources: list[str] = []

        def sink(endpoint: Endpoint, push: Push | Unreadable) -> None:
            sources.append(endpoint.peer_ip)
            received.append(push)

        listener = TcpListener(push_sessions(sink))
        port = await listener.start("127.0.0.1", 0)
        meter = pushing(port)
        fleet = Fleet(Store.in_memory(), lambda: float(START_S + 86_400))
        fleet.add("one", meter, ConstantLoad(100, 1), "127.1.1.9")
        meter.push(Obis.parse(SETUP))
        fleet.start()
        await until(lambda: bool(received))
        assert sources == ["127.1.1.9"]
        await fleet.stop()
        await listener.stop()

    run(test)


@pytest.mark.interop
def test_gurux_reads_our_pushes() -> None:
    meter = fed("mt372", 1)
    destination = axdr.structure(axdr.enum(0), axdr.octets(b"127.0.0.1"), axdr.enum(0))
    put(meter, 40, SETUP, 3, destination)
    meter.push(Obis.parse(SETUP))
    (message,) = meter.outbox.pushes
    plain = replace(message, client_sap=16)
    with Peer("gurux_client") as gurux:
        for sent, keys in ((plain, {}), (message, {
            "ek": meter.key("unicast").hex(), "ak": meter.key("authentication").hex(),
        })):  # fmt: skip
            (octets,) = push_apdus(meter, sent, 7)
            result = gurux({"push": wrapper.encode(1, 102, octets).hex(), **keys})
            assert "failed" not in result, result
            assert len(result["values"]) == len(axdr.decode(message.body).value)


def test_a_policy_protects_pushes_to_every_client() -> None:
    meter = pushing(4059)
    meter.push(Obis.parse(SETUP))
    (message,) = meter.outbox.pushes
    to_reader = replace(message, client_sap=2)
    assert push_apdus(meter, to_reader, 1)[0][0] in {0x0F, 0xDB}
    meter.raise_policy(int(SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED))
    assert push_apdus(meter, to_reader, 1)[0][0] == 0xDB


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("blathy")), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def line_with(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if wanted in line:
            return line
    raise AssertionError(f"no line with {wanted}")


def test_a_meter_of_the_command_line_pushes_to_a_listener_of_the_command_line() -> None:
    meter = started("meter", "run", "omnipower", "--port", "dlms-tcp:127.0.0.1:0", "--days", "0")
    try:
        url = line_with(meter, "management").split()[1]
        keys = dict(re.findall(r"(ek|ak)=([0-9a-f]+)", url))
        heard = started(
            "listen", "--port", "0", "--json", "--count", "1", "--ek", keys["ek"], "--ak",
            keys["ak"],
        )  # fmt: skip
        found = re.search(r"127.0.0.1:(\d+)", line_with(heard, "Listening"))
        assert found

        async def order() -> None:
            destination = axdr.octets(f"127.0.0.1:{found[1]}".encode())
            to = axdr.structure(axdr.enum(TCP), destination, axdr.enum(0))
            async with Client.connect(
                url, counters=VolatileCounterStore(), cache=ObjectCache()
            ) as client:
                await client.set((SETUP, 3), to)
                await client.action(SETUP, "push")

        asyncio.run(order())
        push = json.loads(line_with(heard, "{"))
        assert push["authenticated"]
        assert push["values"]
        assert heard.wait(120) == 0
        assert heard.stdout is not None
        heard.stdout.close()
    finally:
        meter.terminate()
        meter.wait(120)
        assert meter.stdout is not None
        meter.stdout.close()
