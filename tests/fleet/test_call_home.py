"""Meters that call home (auto connect, class 29), and a client that takes the call."""

from __future__ import annotations

import pytest

from blathy.cli.meter import connection_lines
from blathy.client import Meter as Client
from blathy.client import ObjectCache, VolatileCounterStore
from blathy.cosem import axdr
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.service import AccessError, ActionResult
from blathy.fleet.call_home import CallHome
from blathy.fleet.fleet import Fleet
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models.model import Level
from blathy.registers.block import Incident
from blathy.store.store import Store
from blathy.transport.call_listener import CallListener
from blathy.transport.errors import Refused, TimedOut
from blathy.transport.line import TcpLine
from tests.free_ports import free_port
from tests.meter.running import START_S, call, made, put
from tests.meter.simple_load import ConstantLoad
from tests.waiting import run, until

AUTO_CONNECT, TCP_SETUP = "0-0:2.1.0", "0-0:25.0.0"
NEVER, ANY_TIME, IN_WINDOW, ALARMS_ANY_TIME, MESSAGE = range(5)
PERMANENT, PERMANENT_IN_WINDOW, WHEN_TOLD_IN_WINDOW, WHEN_TOLD = range(101, 105)
HOUR_S = 3600


def calling(port: int, mode: int, *, repetitions: int = 0, host: str = "127.0.0.1") -> Meter:
    meter = made("omnipower", options=MeterOptions(alarms=True, zone="UTC"))
    meter.step(ConstantLoad(600, 1).block(START_S, 60, 60))
    put(meter, 29, AUTO_CONNECT, 2, axdr.enum(mode))
    put(meter, 29, AUTO_CONNECT, 3, axdr.u8(repetitions))
    put(meter, 29, AUTO_CONNECT, 4, axdr.u16(0))
    put(meter, 29, AUTO_CONNECT, 6, axdr.array(axdr.octets(f"{host}:{port}".encode())))
    meter.flush()
    return meter


def window(meter: Meter, first_hour: int, last_hour: int) -> None:
    """Every day from one hour to the other."""

    def hour(number: int) -> axdr.Data:
        return axdr.octets(b"\xff" * 5 + bytes((number, 0, 0, 0)) + b"\x80\x00\xff")

    put(meter, 29, AUTO_CONNECT, 5, axdr.array(axdr.structure(hour(first_hour), hour(last_hour))))
    meter.flush()


async def register_over(line: TcpLine, meter: Meter) -> object:
    """A client associates on the connection that the meter has opened, and reads."""
    lines = connection_lines(meter, [("127.0.0.1", 4059)], "test")
    url = next(each.split()[1] for each in lines if each.startswith(Level.MANAGEMENT.value))
    async with Client.connect(
        url, line=line, counters=VolatileCounterStore(), cache=ObjectCache()
    ) as client:
        return (await client.get_data(await client.reference(("0-0:42.0.0", 2)))).value


def refused(meter: Meter) -> int:
    with pytest.raises(AccessError) as found:
        call(meter, 29, AUTO_CONNECT, 1)
    assert not meter.outbox.call_home
    return found.value.result


@pytest.mark.parametrize("mode", [ANY_TIME, WHEN_TOLD])
def test_a_meter_that_is_told_to_connect_is_read_on_its_own_connection(mode: int) -> None:
    async def test() -> None:
        listener = CallListener()
        meter = calling(await listener.start("127.0.0.1", 0), mode)
        calls = CallHome()
        calls.collect(meter, meter.logical_device())
        assert calls.connected == 0  # nobody has told it to
        call(meter, 29, AUTO_CONNECT, 1)
        calls.collect(meter, meter.logical_device())
        line = await listener.accept()
        assert await register_over(line, meter) == meter.identity.ldn
        call(meter, 29, AUTO_CONNECT, 1)  # it is on the line already
        calls.collect(meter, meter.logical_device())
        await line.close()
        await until(lambda: not calls._calls)
        calls.collect(meter, meter.logical_device())
        assert calls.connected == 1
        assert not calls._calls
        await calls.stop()
        await listener.stop()

    run(test)


def test_a_fleet_keeps_a_permanent_call_from_the_address_of_its_meter() -> None:
    async def test() -> None:
        listener = CallListener()
        meter = calling(await listener.start("127.0.0.1", 0), PERMANENT)
        fleet = Fleet(Store.in_memory(), lambda: float(START_S + 2 * HOUR_S))
        fleet.add("m", meter, ConstantLoad(600, 1), "127.0.0.2")
        fleet.start()
        for _ in range(2):  # a call that has ended goes out again
            line = await listener.accept()
            assert line.name.startswith("127.0.0.2:")
            assert await register_over(line, meter) == meter.identity.ldn
        await fleet.stop()
        await listener.stop()

    run(test)


def test_nobody_there_means_again_as_often_as_set_and_an_end() -> None:
    async def test() -> None:
        meter = calling(free_port(), PERMANENT, repetitions=2)
        calls = CallHome()
        for _ in range(3):
            calls.collect(meter, meter.logical_device())
            await until(lambda: calls.failed == 1 and not calls._calls)
        assert calls.failed == 1  # the next round comes in an hour, or when it is told to
        listener = CallListener()
        port = await listener.start("127.0.0.1", 0)
        nobody, somebody = f"127.0.0.1:{free_port()}".encode(), f"127.0.0.1:{port}".encode()
        both = axdr.array(axdr.octets(nobody), axdr.octets(b"home"), axdr.octets(somebody))
        put(meter, 29, AUTO_CONNECT, 6, both)
        call(meter, 29, AUTO_CONNECT, 1)
        calls.collect(meter, meter.logical_device())
        line = await listener.accept()
        await line.close()
        await calls.stop()
        await listener.stop()

    run(test)


def test_the_calling_window_begins_and_ends_a_call() -> None:
    async def test() -> None:
        listener = CallListener()
        meter = calling(await listener.start("127.0.0.1", 0), PERMANENT_IN_WINDOW)
        calls = CallHome()
        assert CosemDateTime.from_utc(meter.clock_utc_s(), meter.zone).raw()[5] == 1  # o'clock
        window(meter, 2, 3)
        calls.collect(meter, meter.logical_device())
        assert not calls._calls
        window(meter, 1, 2)
        calls.collect(meter, meter.logical_device())
        line = await listener.accept()
        window(meter, 2, 3)
        calls.collect(meter, meter.logical_device())
        await until(lambda: line.ended)
        assert not calls._calls
        await line.close()
        await listener.stop()

    run(test)


def test_a_call_on_which_nobody_asks_anything_ends() -> None:
    async def test() -> None:
        listener = CallListener()
        meter = calling(await listener.start("127.0.0.1", 0), WHEN_TOLD)
        put(meter, 41, TCP_SETUP, 6, axdr.u16(1))
        call(meter, 29, AUTO_CONNECT, 1)
        calls = CallHome()
        calls.collect(meter, meter.logical_device())
        line = await listener.accept()
        await until(lambda: line.ended and not calls._calls)
        await line.close()
        await listener.stop()

    run(test)


def test_connect_is_refused_where_no_call_goes_out() -> None:
    for mode in (NEVER, MESSAGE):
        assert refused(calling(4059, mode)) == ActionResult.OTHER_REASON
    nobody = calling(4059, ANY_TIME)
    put(nobody, 29, AUTO_CONNECT, 6, axdr.array())
    assert refused(nobody) == ActionResult.OTHER_REASON
    for mode in (IN_WINDOW, ALARMS_ANY_TIME, WHEN_TOLD_IN_WINDOW):
        later = calling(4059, mode)
        window(later, 2, 3)
        assert refused(later) == ActionResult.TEMPORARY_FAILURE


@pytest.mark.parametrize(
    ("mode", "calls"),
    [(ANY_TIME, True), (IN_WINDOW, False), (ALARMS_ANY_TIME, True), (WHEN_TOLD, False)],
)
def test_an_alarm_calls_home_as_the_mode_says(mode: int, *, calls: bool) -> None:
    meter = calling(4059, mode)
    window(meter, 20, 21)
    now = meter.ledger.now
    cover = (Incident(now + 5, "terminal_cover_opened"),)
    meter.advance(ConstantLoad(600, 1, incidents=cover), now + 60)
    assert meter.outbox.call_home is calls


def test_a_destination_outside_of_this_machine_is_not_called_unasked() -> None:
    async def test() -> None:
        meter = calling(4059, WHEN_TOLD, host="192.0.2.1")
        call(meter, 29, AUTO_CONNECT, 1)
        calls = CallHome()
        calls.collect(meter, meter.logical_device())
        await until(lambda: calls.failed == 1)

    run(test)


def test_a_listener_for_calls_stays_on_this_machine_and_waits_no_longer_than_told() -> None:
    async def test() -> None:
        listener = CallListener()
        with pytest.raises(Refused):
            await listener.start("0.0.0.0", 0)
        await listener.start("127.0.0.1", 0)
        with pytest.raises(TimedOut, match="no meter has called"):
            await listener.accept(within_s=0.01)
        await listener.stop()

    run(test)
