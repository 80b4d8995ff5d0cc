"""Events that meters tell the clients of open associations, at once and unasked."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from blathy.cli.meter import connection_lines
from blathy.client import Meter as Client
from blathy.client import ObjectCache, VolatileCounterStore
from blathy.client.push import Push, push_of
from blathy.cosem import axdr
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models.model import Level
from blathy.obis import Obis
from blathy.registers.block import Incident
from blathy.store.store import Store
from blathy.transport.dlms_session import serve_dlms
from blathy.transport.errors import TimedOut
from blathy.transport.open_links import OpenLinks
from blathy.wire.apdu import Conformance
from blathy.wire.association_events import EventReport, Notification
from tests.meter.running import fed, made
from tests.meter.simple_load import ConstantLoad
from tests.processes import Process, start
from tests.processes import run as run_command
from tests.waiting import run

CODE = Obis.parse("0-0:96.11.0")
ALARMS = Obis.parse("0-0:97.98.0")
FILTER = "0-0:97.98.10"
COVER_OPENED, PARAMETERS_CHANGED, AUTHENTICATION_FAILED = 40, 47, 46


class Served:
    """A meter on a port, going on when the test says so."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.device = meter.logical_device()
        self.links = OpenLinks()
        self.port = 0

    def happens(self, *names: str) -> None:
        """These events, one second of time, the commit, and what the meter then tells."""
        meter = self.meter
        now = meter.ledger.now
        block = ConstantLoad(500, len(meter.model.phases)).block(now, 1, 1)
        meter.step(block.with_incidents(Incident(now, name) for name in names))
        meter.commit()
        self.links.send(self.device, meter.take_notices())

    def url(self, level: Level, scheme: str = "dlms", more: str = "") -> str:
        place = ("127.0.0.1", self.port)
        lines = connection_lines(self.meter, [place], "test", [scheme])
        return next(line.split()[1] for line in lines if line.startswith(level.value)) + more


@asynccontextmanager
async def served(meter: Meter) -> AsyncIterator[Served]:
    one = Served(meter)
    listener, one.port = await serve_dlms(
        lambda _endpoint, _server, _physical: one.device, "127.0.0.1", 0,
        on_event=lambda _endpoint, _device, event: meter.associations_event(event),
        open_links=one.links,
    )  # fmt: skip
    try:
        yield one
    finally:
        await listener.stop()


def connected(url: str, **named: Any) -> Client:
    return Client.connect(url, counters=VolatileCounterStore(), cache=ObjectCache(), **named)


async def next_event(client: Client) -> EventReport:
    event = await client.next_push(20)
    assert isinstance(event, EventReport)
    return event


@pytest.mark.parametrize("scheme", ["dlms", "dlms+hdlc"])
def test_an_event_is_told_with_code_and_time_of_the_meters_clock(scheme: str) -> None:
    async def test() -> None:
        async with (
            served(fed("esox", 1)) as one,
            connected(one.url(Level.MANAGEMENT, scheme)) as client,
        ):
            shown = one.meter.clock_raw()
            one.happens("terminal_cover_opened")
            event = await next_event(client)
            assert event.attribute is not None
            assert (event.attribute.obis, event.attribute.attribute) == (CODE, 2)
            assert axdr.decode(event.value).value == COVER_OPENED
            assert event.time == shown
            assert event.ciphered
            assert event.authenticated
            # It agrees with what the meter shows when it is asked, and the line is in order.
            assert await client.read(CODE) == COVER_OPENED
            push = push_of(event)
            assert isinstance(push, Push)
            assert push.event is not None
            assert push.values[0].value == COVER_OPENED

    run(test)


@pytest.mark.parametrize("scheme", ["dlms", "dlms+hdlc"])
def test_events_arrive_while_a_long_answer_is_on_its_way(scheme: str) -> None:
    async def test() -> None:
        reading = True
        heard: list[bool] = []

        def take(event: Notification | EventReport) -> None:
            assert isinstance(event, EventReport)
            assert event.authenticated
            heard.append(reading)

        small = "&frame=128" if scheme.endswith("hdlc") else "&pdu=256"
        async with served(fed("esox", 1)) as one:
            url = one.url(Level.MANAGEMENT, scheme, small)
            async with connected(url, on_push=take) as client:
                before = len(await client.profile("1-0:99.1.0"))
                count = 0

                async def goes_on() -> None:
                    nonlocal count
                    while reading:
                        one.happens("terminal_cover_opened")
                        count += 1
                        await asyncio.sleep(0.002)

                events = asyncio.create_task(goes_on())
                for _ in range(5):
                    assert len(await client.profile("1-0:99.1.0")) >= before
                reading = False
                await events
                while len(heard) < count:
                    await client.clock()
        assert True in heard

    run(test)


def test_an_alarm_is_told_where_its_filter_lets_it_through() -> None:
    async def test() -> None:
        async with (
            served(fed("mt372", 1)) as one,
            connected(one.url(Level.MANAGEMENT)) as client,
        ):
            one.happens("terminal_cover_opened")
            with pytest.raises(TimedOut):
                await client.next_push(0.3)
            await client.set((FILTER, 2), axdr.u32(1 << 3))
            one.happens("terminal_cover_opened", "main_cover_opened")
            event = await next_event(client)
            assert event.attribute is not None
            assert event.attribute.obis == ALARMS
            assert axdr.decode(event.value).value >> 3 & 1
            with pytest.raises(TimedOut):
                await client.next_push(0.3)

    run(test)


def test_every_client_with_the_right_hears_it_and_nobody_else() -> None:
    async def test() -> None:
        async with served(fed("esox", 1)) as one:
            async with (
                connected(one.url(Level.MANAGEMENT)) as manager,
                connected(one.url(Level.PUBLIC)) as public,
            ):
                one.happens("magnet_start")
                assert axdr.decode((await next_event(manager)).value).value
                with pytest.raises(TimedOut):
                    await public.next_push(0.3)
            while one.links.has(one.device):  # noqa: ASYNC110 - the closing is seen by the poll
                await asyncio.sleep(0.01)
            one.happens("magnet_end")  # nobody is there to hear it

    run(test)


def test_by_short_names_the_event_is_an_information_report() -> None:
    async def test() -> None:
        meter = fed("esox", 1, options=MeterOptions(short_names=True))
        names = {item.obis: base for base, item in meter.tree.short_names.items()}
        async with (
            served(meter) as one,
            connected(one.url(Level.MANAGEMENT)) as client,
        ):
            one.happens("main_cover_opened")
            event = await next_event(client)
            assert event.short_name == names[CODE] + 8
            assert axdr.decode(event.value).value == 44

    run(test)


def test_no_event_is_told_before_the_books_hold_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "meter.sqlite")
    meter = made("esox", keeper=StoreKeeper(store, "one"))
    now = meter.ledger.now
    block = ConstantLoad(500, 3).block(now, 1, 1)
    meter.step(block.with_incidents([Incident(now, "magnet_start")]))
    assert not meter.take_notices()
    meter.commit()
    (notice,) = meter.take_notices()
    assert notice.attribute.obis == CODE
    assert not meter.take_notices()
    store.close()


def test_a_meter_that_tells_nothing_does_not_agree_to_it() -> None:
    bit = int(Conformance.EVENT_NOTIFICATION)
    for model, tells in (("esox", True), ("mt372", True), ("mpta-3", False)):
        profiles = made(model).logical_device().profiles
        assert {bool(p.conformance & bit) for p in profiles.values()} == {tells}


# --- from outside -------------------------------------------------------------------------------


def started(*arguments: str, state: Path) -> Process:
    return start(*arguments, environment={"BLATHY_STATE": str(state)}, with_errors=True)


@pytest.mark.requirement("ESOX-10")
@pytest.mark.parametrize(
    "protocol", ["dlms-tcp", pytest.param("dlms-hdlc", marks=pytest.mark.thorough)]
)
def test_the_host_hears_of_an_event_at_once(protocol: str, tmp_path: Path) -> None:
    """A host that stays associated is told of somebody else's wrong password, ciphered, without
    asking; the code and the moment are those that the meter's log then shows."""
    port = f"{protocol}:127.0.0.1:0"
    with started("meter", "run", "esox", "--port", port, "--days", "0", state=tmp_path) as one:
        url = one.until("management")[-1].split()[1]
        host = ("listen", url, "--json", "--count", "1", "--counters", str(tmp_path / "host"))
        with started(*host, state=tmp_path) as listening:
            listening.until("Associated")
            intruder = re.sub(r"ak=[0-9a-f]+", "ak=" + "0" * 32, url)
            refused = run_command(
                "read", intruder, "1-0:1.8.0", "--counters", tmp_path / "intruder"
            )
            assert refused.returncode
            told = json.loads(listening.until("{")[-1])
        assert told["authenticated"]
        assert told["event"] == str(CODE)
        code = told["values"][0]["value"]
        assert code in {AUTHENTICATION_FAILED, 49}
        shown = run_command(
            "profile", url, "0-0:99.98.5", "--json", "--counters", tmp_path / "host"
        )
        assert shown.returncode == 0, shown.stderr
        assert str(code) in shown.stdout
