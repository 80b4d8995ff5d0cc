"""Communication port protection (class 124) of a running meter, met by clients that guess."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from blathy.cli.meter import connection_lines
from blathy.client import Meter as Client
from blathy.client import ObjectCache, VolatileCounterStore
from blathy.clock import Instant
from blathy.cosem import axdr
from blathy.cosem.service import AccessError
from blathy.meter.classes.port_protection import PORTS
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models import model as model_named
from blathy.models.model import Facility, Group, Level, Mechanism
from blathy.obis import Obis
from blathy.store.store import Store
from blathy.transport.errors import MeterError
from blathy.wire import acse
from blathy.wire.association import ClientAssociation, ClientConfig, ServerAssociation
from blathy.wire.association import Mechanism as WireMechanism
from blathy.wire.authentication_guard import FAILURES_AT_ONCE
from tests.meter.running import call, get, made, put, served
from tests.meter.simple_load import ConstantLoad

PORT = "0-0:44.2.0"
PASSWORDS = MeterOptions(mechanisms=tuple((level, Mechanism.LLS) for level in Level))
LOAD = ConstantLoad(1200, 3)
NOW = Instant(0)
UNLOCKED, FOR_A_TIME, LOCKED = range(3)


def guarded(**named: Any) -> Meter:
    """Two failures are allowed; the third locks for 100 s, the next for 300, then 500."""
    meter = made("reference", options=PASSWORDS, **named)
    for number, value in (
        (3, axdr.u16(2)),
        (4, axdr.u32(100)),
        (5, axdr.u8(3)),
        (6, axdr.u32(500)),
    ):
        put(meter, 124, PORT, number, value)
    return meter


def url_of(meter: Meter, port: int, level: Level) -> str:
    lines = connection_lines(meter, [("127.0.0.1", port)], "test")
    return next(line.split()[1] for line in lines if line.startswith(level.value))


async def enters(meter: Meter, port: int, level: Level, wrong: str = "") -> bool:
    association = next(a for a in meter.model.associations if a.level is level)
    url = url_of(meter, port, level)
    if wrong:
        url = url.replace(meter.secret_of(association).decode(), wrong)
    try:
        async with Client.connect(url, counters=VolatileCounterStore(), cache=ObjectCache()):
            return True
    except MeterError:
        return False


def tried(meter: Meter, port: int, *guesses: str, level: Level = Level.READER) -> list[bool]:
    async def all_of_them() -> list[bool]:
        return [await enters(meter, port, level, wrong) for wrong in guesses]

    return asyncio.run(asyncio.wait_for(all_of_them(), 120))


def state(meter: Meter) -> tuple[int, int, int]:
    """Status, failed attempts, all failed attempts."""
    status, failed, cumulative = (get(meter, 124, PORT, number) for number in (8, 9, 10))
    return status, failed, cumulative


def pass_s(meter: Meter, seconds: int) -> None:
    meter.advance(LOAD, meter.ledger.now + seconds, 1)


def test_too_many_failures_lock_the_port_for_all_that_can_be_guessed() -> None:
    meter = guarded()
    with served(meter) as port:
        assert tried(meter, port, "", "wrong001", "") == [True, False, True]
        assert state(meter) == (UNLOCKED, 0, 1)  # a success forgets, the sum does not
        assert tried(meter, port, "wrong001", "wrong002") == [False, False]
        assert state(meter) == (UNLOCKED, 2, 3)
        assert tried(meter, port, "wrong003", "") == [False, False]
        assert state(meter) == (FOR_A_TIME, 3, 4)
        assert tried(meter, port, "", level=Level.MANAGEMENT) == [False]
        assert tried(meter, port, "", level=Level.PUBLIC) == [True]  # it proves nothing
        pass_s(meter, 99)
        assert tried(meter, port, "", level=Level.MANAGEMENT) == [False]
        pass_s(meter, 1)
        assert state(meter) == (UNLOCKED, 3, 4)
        assert tried(meter, port, "", level=Level.MANAGEMENT) == [True]
        assert state(meter) == (UNLOCKED, 0, 4)


def test_every_further_failure_locks_longer_up_to_the_limit() -> None:
    meter = guarded()
    with served(meter) as port:
        tried(meter, port, "wrong001", "wrong002", "wrong003")
        for locked_s in (100, 300, 500, 500):
            pass_s(meter, locked_s - 1)
            assert state(meter)[0] == FOR_A_TIME
            pass_s(meter, 1)
            assert state(meter)[0] == UNLOCKED
            tried(meter, port, "wrong004")


def test_the_lock_outlasts_a_power_cut() -> None:
    store = Store.in_memory()
    meter = guarded(keeper=StoreKeeper(store, "m"))
    with served(meter) as port:
        tried(meter, port, "wrong001", "wrong002", "wrong003")
    again = made("reference", options=PASSWORDS, keeper=StoreKeeper(store, "m"))
    assert state(again) == (FOR_A_TIME, 3, 3)
    with served(again) as port:
        assert tried(again, port, "") == [False]
        pass_s(again, 100)
        assert tried(again, port, "") == [True]


def test_reset_opens_and_keeps_the_sum() -> None:
    meter = guarded()
    with served(meter) as port:
        tried(meter, port, "wrong001", "wrong002", "wrong003")
        call(meter, 124, PORT, 1)
        assert state(meter) == (UNLOCKED, 0, 3)
        assert tried(meter, port, "") == [True]


def test_modes_lock_at_once_and_never() -> None:
    meter = guarded()
    with served(meter) as port:
        put(meter, 124, PORT, 2, axdr.enum(2))
        tried(meter, port, "wrong001", "wrong002", "wrong003")
        assert state(meter) == (UNLOCKED, 3, 3)
        assert tried(meter, port, "") == [True]
        put(meter, 124, PORT, 2, axdr.enum(0))
        assert state(meter)[0] == LOCKED
        assert tried(meter, port, "") == [False]
        pass_s(meter, 3600)
        assert tried(meter, port, "") == [False]
        meter.open_seal(True)  # somebody stands in front of it
        assert tried(meter, port, "") == [True]


def test_who_has_a_key_is_not_locked_out() -> None:
    meter = made("reference")  # as delivered: HLS 5
    put(meter, 124, PORT, 2, axdr.enum(0))
    with served(meter) as port:
        assert tried(meter, port, "", level=Level.MANAGEMENT) == [True]


def test_as_delivered_it_takes_ten_failures() -> None:
    meter = made("reference", options=PASSWORDS)
    assert [get(meter, 124, PORT, n) for n in range(2, 8)] == [1, 10, 60, 2, 3600, bytes(6)]


# --- several ports ------------------------------------------------------------------------------

SECOND = "0-0:44.2.1"
TCP, HDLC = b"\0\0\x19\0\0\xff", b"\0\0\x16\0\0\xff"


def two_ports(monkeypatch: pytest.MonkeyPatch, **named: Any) -> Meter:
    """A meter whose HDLC port and whose TCP port are protected by an object each."""
    model = model_named("reference")
    second = Facility(124, Obis.parse(SECOND), Group.COMMUNICATION, "port protection 2")
    doubled = dataclasses.replace(model, facilities=(*model.facilities, second))
    monkeypatch.setattr("tests.meter.running.model_named", lambda _name: doubled)
    meter = guarded(**named)
    for number, value in ((3, axdr.u16(2)), (4, axdr.u32(100)), (5, axdr.u8(3))):
        put(meter, 124, SECOND, number, value)
    put(meter, 124, PORT, 7, axdr.octets(HDLC))
    put(meter, 124, SECOND, 7, axdr.octets(TCP))
    return meter


def status_of(meter: Meter, name: str) -> int:
    return int(get(meter, 124, name, 8))


def test_a_port_that_is_attacked_locks_and_the_other_serves_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store.in_memory()
    meter = two_ports(monkeypatch, keeper=StoreKeeper(store, "m"))
    with (
        served(meter, PORTS["dlms-tcp"]) as tcp,
        served(meter, PORTS["dlms-hdlc"]) as hdlc,
        served(meter) as anywhere,
    ):
        tried(meter, tcp, "wrong001", "wrong002", "wrong003")
        assert [status_of(meter, name) for name in (PORT, SECOND)] == [UNLOCKED, FOR_A_TIME]
        assert tried(meter, tcp, "") == [False]
        assert tried(meter, hdlc, "") == [True]
        assert status_of(meter, SECOND) == FOR_A_TIME, "who enters elsewhere opens nothing here"
        assert tried(meter, anywhere, "") == [False], "who comes by no known port meets every lock"
        put(meter, 124, PORT, 7, axdr.octets(bytes(6)))  # now it is of every port
        tried(meter, hdlc, "wrong001", "wrong002", "wrong003")
        assert tried(meter, hdlc, "") == [False]
    again = two_ports(monkeypatch, keeper=StoreKeeper(store, "m"))
    assert [status_of(again, name) for name in (PORT, SECOND)] == [FOR_A_TIME, FOR_A_TIME]


def test_several_ports_and_many_associations_give_no_more_guesses_than_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With every lock of class 124 off, as many guesses in all as at one port, then the right
    password is refused at every port."""
    meter = two_ports(monkeypatch)
    for name in (PORT, SECOND):
        put(meter, 124, name, 2, axdr.enum(2))
    devices = [meter.logical_device(ports=ports) for ports in PORTS.values()]
    sap = next(a.client_sap for a in meter.model.associations if a.level is Level.READER)
    taken = 0
    for number in range(60):
        server = ServerAssociation(devices[number % len(devices)], sap)
        (answer,) = server.receive_apdu(_aarq(meter, sap, b"wrong%03d" % number), NOW)
        taken += acse.decode_aare(answer).result == 1  # rejected for good: it was looked at
    assert taken == FAILURES_AT_ONCE
    for device in devices:
        (answer,) = ServerAssociation(device, sap).receive_apdu(_aarq(meter, sap, b""), NOW)
        assert acse.decode_aare(answer).result == 2


def _aarq(meter: Meter, sap: int, password: bytes) -> bytes:
    secret = meter.logical_device().profiles[sap].secret
    config = ClientConfig(WireMechanism.LLS, password or secret)
    return ClientAssociation(config, bytes).associate()


def test_a_reference_to_what_is_no_port_would_protect_nothing_and_is_refused() -> None:
    meter = guarded()
    for name in (b"\0\0\x01\0\0\xff", bytes(5), b"\xff" * 6):
        with pytest.raises(AccessError):
            put(meter, 124, PORT, 7, axdr.octets(name))
        assert get(meter, 124, PORT, 7) == bytes(6)
    for ports in PORTS.values():
        for port in ports:
            put(meter, 124, PORT, 7, axdr.octets(bytes(port)))
