"""Meters that push: over TCP and UDP, to a listening head-end, again where nobody took it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from blathy.client import Meter as Client
from blathy.client import ObjectCache, VolatileCounterStore
from blathy.client.push import Push, PushReceiver, Unreadable, push_sessions
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, AttributeRef, DataAccessResult
from blathy.fleet.fleet import Fleet
from blathy.fleet.push_sender import TCP, UDP, PushSender, destination_of
from blathy.meter.identity import HEAD_END_TITLE, head_end_keys
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.meter.pushing import may_go, push_apdus
from blathy.obis import Obis
from blathy.store.store import Store
from blathy.transport.listener import TcpListener, UdpListener
from blathy.transport.session import Endpoint
from blathy.wire import wrapper
from blathy.wire.apdu import AgreedKey, IdentifiedKey, KeyInfo, WrappedKey
from blathy.wire.data_protection import (
    AUTHENTICATION,
    BOTH,
    ENCRYPTION,
    SIGNATURE,
    ProtectionElement,
    elements_data,
    parse_elements,
)
from blathy.wire.errors import LocalProtocolError
from blathy.wire.security import KeySet, SecurityPolicy
from blathy.wire.suites import public_key_of
from tests.interop.peers import Peer
from tests.meter.running import START_S, call, fed, made, put, who
from tests.meter.simple_load import ConstantLoad
from tests.processes import start
from tests.waiting import run, until

SETUP = "0-0:25.9.0"
Received = list[Push | Unreadable]


def pushing(
    port: int, service: int = TCP, model: str = "omnipower",
    options: MeterOptions | None = None, **changes: int,
) -> Meter:  # fmt: skip
    meter = fed(model, 1, options=options)
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


# --- protection of its own (push_protection_parameters) -----------------------------------------

GLOBAL, BROADCAST, BY_MASTER = IdentifiedKey(0), IdentifiedKey(1), WrappedKey(0, b"")
ONE_PASS, STATIC = AgreedKey(b"\x01", b""), AgreedKey(b"\x02", b"")
SUITE_0: tuple[tuple[tuple[int, KeyInfo], ...], ...] = (
    ((BOTH, GLOBAL),), ((AUTHENTICATION, GLOBAL),), ((ENCRYPTION, GLOBAL),), ((BOTH, BY_MASTER),),
)  # fmt: skip
SIGNED: tuple[tuple[tuple[int, KeyInfo], ...], ...] = (
    ((SIGNATURE, GLOBAL),), ((BOTH, GLOBAL), (SIGNATURE, GLOBAL)), ((BOTH, ONE_PASS),),
    ((SIGNATURE, GLOBAL), (BOTH, STATIC)), ((AUTHENTICATION, BY_MASTER), (SIGNATURE, GLOBAL)),
)  # fmt: skip


def protecting(layers: Sequence[tuple[int, KeyInfo]], recipient: bytes = b"") -> Data:
    return elements_data(
        [ProtectionElement(kind, recipient=recipient, key_info=info) for kind, info in layers]
    )


def all_keys(meter: Meter) -> KeySet:
    """What the receiver of a meter's messages holds."""
    suite = meter.identity.suite
    signing, agreement = head_end_keys("test", suite) if suite else (b"", b"")
    own = [meter.key(n) for n in ("signing", "agreement")] if suite else []
    return KeySet(
        suite, meter.key("unicast"), meter.key("authentication"), meter.key("broadcast"),
        meter.key("master"), signing, agreement, *(public_key_of(key, suite) for key in own),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("suite", "layers"), [(0, row) for row in SUITE_0] + [(1, row) for row in SUITE_0 + SIGNED]
)
def test_a_setup_protects_its_messages_as_its_parameters_say(
    suite: int, layers: tuple[tuple[int, KeyInfo], ...]
) -> None:
    """Opened by our listener, which proves what there is to prove; the same twice is told."""
    meter = pushing(4059, model="reference", options=MeterOptions(suite=suite))
    put(meter, 40, SETUP, 9, axdr.i8(16))
    put(meter, 40, SETUP, 10, protecting(layers, HEAD_END_TITLE))
    assert parse_elements(axdr.decode(raw_of(meter))) == tuple(
        ProtectionElement(kind, recipient=HEAD_END_TITLE, key_info=info) for kind, info in layers
    )
    call(meter, 40, SETUP, 1)
    (message,) = meter.outbox.pushes
    receiver = PushReceiver(lambda _title: all_keys(meter))
    sent = [push_apdus(meter, message, 7)[0] for _ in range(2)]
    first, second = (receiver.receive_datagram(octets)[0] for octets in sent)
    for push in (first, second):
        assert isinstance(push, Push), push
        kinds = {kind for kind, _info in layers}
        assert push.originator == meter.identity.system_title
        assert push.ciphered is bool(kinds - {SIGNATURE})
        assert push.signed is push.signature_checked is (SIGNATURE in kinds)
        assert push.authenticated is (kinds != {ENCRYPTION})
        assert push.values
        assert not push.repeated
    again = receiver.receive_datagram(sent[1])[0]
    assert isinstance(again, Push)
    assert again.repeated or BY_MASTER in dict(layers).values() or layers[0][1] is ONE_PASS
    put(meter, 40, SETUP, 10, axdr.array())
    meter.push(Obis.parse(SETUP))
    assert push_apdus(meter, meter.outbox.pushes[-1], 7)[0][0] == 0x0F


def raw_of(meter: Meter) -> bytes:
    ref = AttributeRef(40, Obis.parse(SETUP), 10)
    return meter.objects.get(ref, who(meter))


OTHER_TITLE = b"OTH\0\0\0\0\1"


@pytest.mark.parametrize(
    ("suite", "data"),
    [
        (0, protecting([(SIGNATURE, GLOBAL)], HEAD_END_TITLE)),
        (0, protecting([(BOTH, ONE_PASS)], HEAD_END_TITLE)),
        (1, protecting([(SIGNATURE, GLOBAL)])),
        (1, protecting([(BOTH, ONE_PASS)])),
        (1, protecting([(BOTH, ONE_PASS)], OTHER_TITLE)),
        (1, protecting([(BOTH, AgreedKey(b"\x09", b""))], HEAD_END_TITLE)),
        (1, protecting([(BOTH, GLOBAL), (BOTH, GLOBAL)])),
        (1, protecting([(SIGNATURE, GLOBAL), (SIGNATURE, GLOBAL)], HEAD_END_TITLE)),
        (0, protecting([(BOTH, WrappedKey(0, bytes(24)))])),
        (0, protecting([(BOTH, WrappedKey(1, b""))])),
        (0, protecting([(BOTH, GLOBAL)], b"short")),
        (0, elements_data([ProtectionElement(BOTH, originator=OTHER_TITLE)])),
        (0, elements_data([ProtectionElement(BOTH, b"\1", key_info=BY_MASTER)])),
    ],
)
def test_protection_that_cannot_be_is_refused_when_it_is_written(suite: int, data: Data) -> None:
    meter = made("reference", options=MeterOptions(suite=suite))
    put(meter, 40, SETUP, 9, axdr.i8(16))
    with pytest.raises(AccessError) as refused:
        put(meter, 40, SETUP, 10, data)
    assert refused.value.result is DataAccessResult.OTHER_REASON
    assert axdr.decode(raw_of(meter)) == axdr.array()


def test_no_setup_gives_less_protection_than_the_policy_asks_for() -> None:
    meter = fed("reference", 1)
    put(meter, 40, SETUP, 9, axdr.i8(1))
    meter.raise_policy(int(SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED))
    with pytest.raises(AccessError):
        put(meter, 40, SETUP, 10, protecting([(ENCRYPTION, GLOBAL)]))
    put(meter, 40, SETUP, 9, axdr.i8(16))  # the public client, of whom no protection is asked
    put(meter, 40, SETUP, 10, protecting([(ENCRYPTION, GLOBAL)]))
    put(meter, 40, SETUP, 9, axdr.i8(1))
    with pytest.raises(AccessError):
        call(meter, 40, SETUP, 1)
    meter.push(Obis.parse(SETUP))  # an alarm does not stop the meter, and nothing leaves it
    with pytest.raises(LocalProtocolError):
        push_apdus(meter, meter.outbox.pushes[-1], 7)


@pytest.mark.interop
def test_gurux_reads_pushes_under_protection_of_their_setup() -> None:
    """Where the parameters name a global key and nothing else; of general-ciphering its client
    opens none."""
    meter = fed("reference", 1)
    keys = {n: meter.key(name).hex() for n, name in (("ek", "unicast"), ("ak", "authentication"))}
    put(meter, 40, SETUP, 9, axdr.i8(16))
    with Peer("gurux_client") as gurux:
        for kind in (AUTHENTICATION, ENCRYPTION, BOTH):
            put(meter, 40, SETUP, 10, protecting([(kind, GLOBAL)]))
            meter.push(Obis.parse(SETUP))
            message = meter.outbox.pushes[-1]
            (octets,) = push_apdus(meter, message, 7)
            assert octets[0] == 0xDB
            result = gurux({"push": wrapper.encode(1, 102, octets).hex(), **keys})
            assert "failed" not in result, result
            assert len(result["values"]) == len(axdr.decode(message.body).value)


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


def test_a_meter_of_the_command_line_pushes_to_a_listener_of_the_command_line() -> None:
    meter = start("meter", "run", "omnipower", "--port", "dlms-tcp:127.0.0.1:0", "--days", "0")
    try:
        url = meter.until("management")[-1].split()[1]
        keys = dict(re.findall(r"(ek|ak)=([0-9a-f]+)", url))
        heard = start(
            "listen", "--port", "0", "--json", "--count", "1", "--ek", keys["ek"], "--ak",
            keys["ak"], with_errors=True,
        )  # fmt: skip
        found = re.search(r"127.0.0.1:(\d+)", heard.until("Listening")[-1])
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
        push = json.loads(heard.until("{")[-1])
        assert push["authenticated"]
        assert push["values"]
        assert heard.wait() == 0
        heard.close()
    finally:
        meter.terminate()
        meter.wait(120)
        assert meter.stdout is not None
        meter.stdout.close()
