"""Meters over UDP: whole associations, and short exchanges on one that always stands."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from blathy.cli.meter import connection_lines
from blathy.client import Meter as Client
from blathy.client import MeterError, ObjectCache, ObjectRefused, VolatileCounterStore
from blathy.cosem.cosem_time import CosemDateTime
from blathy.meter.meter import Meter
from blathy.models.model import Level
from blathy.quantity import Quantity
from blathy.transport.dlms_session import serve_dlms_datagrams
from blathy.transport.line import UdpLine
from blathy.wire import wrapper
from tests import processes
from tests.meter.running import DAY_S, START_S, fed
from tests.waiting import run


@asynccontextmanager
async def served(meter: Meter) -> AsyncIterator[int]:
    device = meter.logical_device()
    listener, port = await serve_dlms_datagrams(lambda *_: device, "127.0.0.1", 0)
    try:
        yield port
    finally:
        await listener.stop()


def url_of(meter: Meter, port: int, level: Level) -> str:
    lines = connection_lines(meter, [("127.0.0.1", port)], "test", ["dlms+udp"])
    return next(line.split()[1] for line in lines if line.startswith(level.value))


def connected(url: str) -> Client:
    return Client.connect(url, counters=VolatileCounterStore(), cache=ObjectCache())


@pytest.mark.parametrize("key", ["mt372", "omnipower", "esox"])
def test_a_meter_is_read_over_udp_in_blocks_that_fit_datagrams(key: str) -> None:
    meter = fed(key, 1)
    b = 1 if meter.model.flag == "KAM" else 0

    async def test() -> None:
        async with (
            served(meter) as port,
            connected(url_of(meter, port, Level.MANAGEMENT) + "&pdu=512") as client,
        ):
            assert isinstance(await client.read(f"1-{b}:1.8.0"), Quantity)
            assert len(await client.profile(f"1-{b}:99.1.0")) == 96
            assert len(await client.objects()) > 50

    run(test)


def pre_established(meter: Meter, port: int) -> str:
    return (
        f"dlms+udp://127.0.0.1:{port}?client=102&pre=1&general=1&protect=both"
        f"&ek={meter.key('unicast').hex()}&ak={meter.key('authentication').hex()}"
        f"&meter_title={meter.identity.system_title.hex()}"
    )


def test_one_datagram_each_way_on_an_association_that_always_stands() -> None:
    meter = fed("mt372", 1)

    async def test() -> None:
        async with served(meter) as port:
            seen: list[bytes] = []

            class Tapped(UdpLine):
                def send(self, data: bytes) -> None:
                    seen.append(data)
                    super().send(data)

            line = await Tapped.connect("127.0.0.1", port)
            url = pre_established(meter, port)
            async with Client.connect(
                url, counters=VolatileCounterStore(), cache=ObjectCache(), line=line
            ) as client:
                clock = await client.clock_offset_s()
                assert isinstance(clock, int)
                shown = await client.read("0-0:1.0.0")
                assert isinstance(shown, CosemDateTime)
                assert int(shown.utc()) == START_S + DAY_S
                with pytest.raises(ObjectRefused):
                    await client.read("1-0:1.8.0")  # what this client may is little
            apdus = [wrapper.decode_datagram(datagram).apdu for datagram in seen]
            assert {octets[0] for octets in apdus} == {0xDB}  # no AARQ, no release

    run(test)


def test_on_it_nothing_is_served_in_clear_or_twice() -> None:
    meter = fed("mt372", 1)

    async def test() -> None:
        async with served(meter) as port:
            clear = re.sub("&general=1&protect=both", "&protect=none", pre_established(meter, port))
            async with connected(clear) as client:
                with pytest.raises(MeterError):
                    await client.read("0-0:1.0.0")
            line = await UdpLine.connect("127.0.0.1", port)
            sent: list[bytes] = []
            real = line.send

            def send(data: bytes) -> None:
                sent.append(data)
                real(data)

            line.send = send  # type: ignore[method-assign]
            async with Client.connect(
                pre_established(meter, port), counters=VolatileCounterStore(),
                cache=ObjectCache(), line=line,
            ) as client:  # fmt: skip
                await client.read("0-0:1.0.0")
                real(sent[-1])
                again = wrapper.decode_datagram(await line.receive(20.0)).apdu
                assert again[:3] == bytes.fromhex("d80106")  # invocation counter error

    run(test)


def test_a_meter_of_the_command_line_listens_to_datagrams(tmp_path: Path) -> None:
    state = {"BLATHY_STATE": str(tmp_path)}
    words = ("meter", "run", "mt372", "--port", "dlms-udp:127.0.0.1:0", "--days", "0")
    with processes.start(*words, environment=state) as meter:
        url = meter.until("management")[-1].split()[1]
        assert url.startswith("dlms+udp://")
        done = processes.run("read", url, "1-0:1.8.0", "--json", environment=state)
        assert done.returncode == 0, done.stderr
        assert "Wh" in done.stdout
