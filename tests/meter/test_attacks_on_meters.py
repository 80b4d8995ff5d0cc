"""What somebody on the line can do to a meter of the data sheets: nothing, and not unseen.

Method: our client reads and writes through a tap that keeps every octet; the octets are then sent
again, as they are or changed, over fresh connections.
"""

from __future__ import annotations

import asyncio

import pytest

from blathy.cli.meter import connection_lines
from blathy.client import Meter as Client
from blathy.client import ObjectCache, VolatileCounterStore
from blathy.cosem import axdr
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import TOLD_AT_ONCE, Meter
from blathy.meter.plan import MeterOptions
from blathy.models.model import Level, Mechanism
from blathy.store.store import Store
from blathy.wire.association_events import AuthenticationFailed, SecurityViolation, Violation
from tests.meter.running import DAY_S, START_S, get, made, served
from tests.meter.simple_load import ConstantLoad
from tests.waiting import run

SECURITY = "0-0:43.0.0"
LIMITER = "0-0:17.0.0"
THRESHOLD = (LIMITER, 4)
HLS = MeterOptions(mechanisms=tuple((level, Mechanism.HLS_GMAC) for level in Level))


def url_of(meter: Meter, port: int) -> str:
    lines = connection_lines(meter, [("127.0.0.1", port)], "test")
    return next(line.split()[1] for line in lines if line.startswith("management"))


class Tap:
    """Stands between client and meter and keeps what the client sends."""

    def __init__(self, meter_port: int) -> None:
        self.sent = bytearray()
        self._meter_port = meter_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await asyncio.gather(*self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_read, to_write = await asyncio.open_connection("127.0.0.1", self._meter_port)
        for way in (
            self._pass_on(reader, to_write, self.sent), self._pass_on(to_read, writer, bytearray()),
        ):  # fmt: skip
            self._tasks.add(asyncio.create_task(way))

    @staticmethod
    async def _pass_on(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, kept: bytearray
    ) -> None:
        """Until the source ends; then the sink does."""
        while data := await source.read(4096):
            kept += data
            sink.write(data)
        sink.close()
        await sink.wait_closed()


async def played(port: int, octets: bytes) -> bytes:
    """All of it on a connection of its own; what came back until the meter was silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(octets)
    heard = await asyncio.wait_for(reader.read(4096), 120)
    try:
        while data := await asyncio.wait_for(reader.read(4096), 0.4):
            heard += data
    except TimeoutError:
        pass
    writer.close()
    await writer.wait_closed()
    return heard


def test_a_conversation_that_was_listened_to_cannot_be_played_to_any_meter() -> None:
    """Not to the same one, not after its restart, not to another one of the same make."""
    store = Store.in_memory()
    meter = made("omnipower", options=HLS, keeper=StoreKeeper(store, "m"))
    recorded = bytearray()

    async def listened() -> None:
        with served(meter) as port:
            tap = Tap(port)
            async with tap as tapped:
                client = Client.connect(
                    url_of(meter, tapped), counters=VolatileCounterStore(), cache=ObjectCache()
                )
                async with client:
                    await client.set(THRESHOLD, axdr.u32(4000))
            recorded.extend(tap.sent)
            async with Client.connect(
                url_of(meter, port) + "&ic=5000", counters=VolatileCounterStore(),
                cache=ObjectCache(),
            ) as owner:  # fmt: skip
                await owner.set(THRESHOLD, axdr.u32(9000))
            assert await played(port, bytes(recorded))

    run(listened)
    assert get(meter, 71, LIMITER, 4) == 9000
    meter.flush()
    again = made("omnipower", options=HLS, keeper=StoreKeeper(store, "m"))
    other = made("omnipower", options=HLS, serial=87_654_321)
    before = get(other, 71, LIMITER, 4)
    for each in (again, other):

        async def once_more(victim: Meter = each) -> None:
            with served(victim) as port:
                assert await played(port, bytes(recorded))

        run(once_more)
    assert get(again, 71, LIMITER, 4) == 9000
    assert get(other, 71, LIMITER, 4) == before


@pytest.mark.parametrize("model", ["mt372", "omnipower", "esox"])
def test_nobody_drives_the_traces_of_tampering_out_of_the_logs(model: str) -> None:
    """A thousand forged messages a second leave what was logged before, and go on being told."""
    meter = made(model)
    meter.record("terminal_cover_opened")
    refusals = (
        AuthenticationFailed(1, 5, "forged"),  # type: ignore[arg-type]
        SecurityViolation(1, Violation.DECIPHERING, "forged"),
        SecurityViolation(1, Violation.REPLAY, "replayed"),
        SecurityViolation(16, Violation.POLICY, "in clear"),
    )

    def logged(name: str) -> int:
        meter.flush()
        logs = meter.books.logs.values()
        return max((sum(entry.name == name for entry in log) for log in logs), default=0)

    for _ in range(1000):
        for refusal in refusals:
            meter.associations_event(refusal)
    assert logged("terminal_cover_opened") == 1
    assert 1 <= logged("decryption_failed") <= TOLD_AT_ONCE
    told = logged("decryption_failed")
    meter.advance(ConstantLoad(100, len(meter.model.phases)), START_S + DAY_S)
    meter.associations_event(refusals[1])
    assert logged("decryption_failed") == told + 1, "a day later it is told again"
