"""What the meters of a process do of their own accord, and a fleet that comes to a stop."""

from __future__ import annotations

from structlog.testing import capture_logs

from blathy.cli.meter import _Run
from blathy.fleet.fleet import Fleet
from blathy.fleet.outgoing import Outgoing
from blathy.meter.meter import Meter
from blathy.obis import Obis
from blathy.registers.block import Block, Incident
from blathy.store.store import Store
from blathy.transport.open_links import Report
from blathy.wire.acse import Mechanism
from blathy.wire.association_events import AuthenticationFailed
from blathy.wire.server import LogicalDevice
from tests.fleet.test_call_home import ANY_TIME, calling
from tests.meter.running import START_S, made
from tests.meter.simple_load import ConstantLoad
from tests.waiting import run, until

HDLC_SETUP, TCP_SETUP = Obis(0, 0, 22, 0, 0), Obis(0, 0, 25, 0, 0)


class Loads:
    """A device with one further load."""

    def __init__(self, *meters: Meter) -> None:
        self.meters = dict(enumerate(meters, 1))
        self.devices = {number: one.logical_device() for number, one in self.meters.items()}


class Client:
    """An open association."""

    def __init__(self) -> None:
        self.heard: list[Report] = []

    def report(self, device: LogicalDevice, report: Report) -> int:
        self.heard.append(report)
        return 1


def device_with_two_loads() -> tuple[_Run, Loads]:
    loads = Loads(made("mpta-3"), made("mpta-1"))
    return _Run(loads.meters[1], ConstantLoad(600, 3), loads), loads  # type: ignore[arg-type]


def names(meter: Meter) -> list[str]:
    meter.flush()
    return [entry.name for log in meter.books.logs.values() for entry in log]


def test_further_loads_of_a_device_are_meters_of_their_own() -> None:
    run, loads = device_with_two_loads()
    assert run.further() == [(2, loads.meters[2], loads.devices[2])]
    assert not _Run(loads.meters[1], ConstantLoad(600, 3)).further()
    failed = AuthenticationFailed(1, Mechanism.LLS, "wrong password")
    run.told(loads.devices[2], failed)
    assert "authentication_failed" in names(loads.meters[2])
    assert "authentication_failed" not in names(loads.meters[1])
    run.told(loads.meters[1].logical_device(), failed)
    assert "authentication_failed" in names(loads.meters[1])


def test_clients_at_every_port_of_a_meter_are_told_what_happened_once() -> None:
    meter = made("esox")
    ports = [meter.logical_device(ports=(obis,)) for obis in (HDLC_SETUP, TCP_SETUP)]
    outgoing, clients = Outgoing(), (Client(), Client())
    for device, client in zip(ports, clients, strict=True):
        outgoing.open_links.add(device, client)
    block = ConstantLoad(500, 3).block(START_S, 1, 1)
    meter.step(block.with_incidents([Incident(START_S, "terminal_cover_opened")]))
    meter.commit()
    for _ in range(2):
        outgoing.collect(meter, *ports)
    assert [len(client.heard) for client in clients] == [1, 1]


def test_a_fleet_that_a_fault_stops_says_so() -> None:
    class Faulty(ConstantLoad):
        def block(self, *_: object) -> Block:
            raise RuntimeError("the source is broken")

    async def test() -> None:
        fleet = Fleet(Store.in_memory(), lambda: float(START_S + 60))
        fleet.add("m", made("omnipower"), Faulty(), "127.0.0.2")
        with capture_logs() as said:
            fleet.start()
            await until(lambda: said)
            await fleet.stop()
        assert said[0]["event"] == "the meters have come to a stop"
        assert str(said[0]["exc_info"]) == "the source is broken"

    run(test)


def test_nobody_is_called_for_what_happened_before_the_meter_ran() -> None:
    """A meter of the command line catches up with the time in which it was stopped."""
    meter = calling(4059, ANY_TIME)
    opened = (Incident(meter.ledger.now + 60, "terminal_cover_opened"),)
    run_ = _Run(meter, ConstantLoad(600, 1, incidents=opened))
    run_.history(meter.ledger.now + 3600)
    assert "terminal_cover_opened" in names(meter)
    assert not meter.outbox.pushes
    assert not meter.outbox.call_home
