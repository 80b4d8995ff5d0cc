"""The ports of `blathy meter run` on serial lines: what the setup objects of classes 19 and 23 say
acts, from the next link on."""

from __future__ import annotations

import asyncio
import os
import re
import termios
import tty
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from blathy.cli.meter import _SerialPorts, port_wish
from blathy.client import Meter as Client
from blathy.client import ObjectCache, TimedOut, VolatileCounterStore
from blathy.client.address import parse_address
from blathy.clock import Instant
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.meter.classes.communication_setup import has_physical_address
from blathy.meter.meter import Meter
from blathy.models.model import Level
from blathy.transport.dlms_session import DlmsSession, Framing, serve_dlms
from blathy.transport.line import Line
from blathy.transport.serial_line import SerialLine
from blathy.transport.session import Endpoint
from blathy.wire.hdlc_frames import CONTROL, POLL, Frame, FrameType
from blathy.wire.server import LogicalDevice
from tests.client.test_optical_port import ENDPOINT, PseudoTerminal
from tests.meter.running import fed

SPEEDS = {300: termios.B300, 1200: termios.B1200, 9600: termios.B9600, 19200: termios.B19200}
LIMIT_S = 240


class Reader(PseudoTerminal):
    """The other end of the line, which outlives its conversations."""

    def __init__(self, handle: int) -> None:
        super().__init__(handle)
        self.handle = handle

    async def close(self) -> None:
        self._loop.remove_reader(self.handle)
        await Line.close(self)

    async def until_at(self, baud: int) -> None:
        """Wait for the meter to run its end at this rate."""
        while termios.tcgetattr(self.handle)[5] != SPEEDS[baud]:  # noqa: ASYNC110 - it is a device
            await asyncio.sleep(0.01)


@asynccontextmanager
async def served(meter: Meter, kind: str) -> AsyncIterator[Callable[[], Reader]]:
    """The meter at a pseudo terminal; what begins at its other end."""
    master, slave = os.openpty()
    for end in (master, slave):
        tty.setraw(end)
    device = meter.logical_device()
    ports = _SerialPorts(meter, [port_wish(f"{kind}:{os.ttyname(slave)}")])

    def lookup(_endpoint: Endpoint, sap: int, lower: int | None) -> LogicalDevice | None:
        return device if sap == 1 and has_physical_address(meter, lower) else None

    await ports.open({kind: lookup})
    assert ports.connections("test")[0]["host"] == os.ttyname(slave)
    try:
        yield lambda: Reader(master)
    finally:
        await ports.stop()
        os.close(master)
        os.close(slave)


def client(meter: Meter, line: Line | None, query: str, place: str = "serial:///dev/x") -> Client:
    management = next(a for a in meter.model.associations if a.level is Level.MANAGEMENT)
    password = meter.identity.passwords[Level.MANAGEMENT].decode()
    url = f"{place}?client={management.client_sap}&auth=lls&password={password}&{query}"
    return Client.connect(
        parse_address(url), line=line, cache=ObjectCache(), counters=VolatileCounterStore()
    )


async def write(one: Client, obis: str, number: int, value: Data) -> None:
    await one.set((obis, number), value)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_speed_and_address_of_the_hdlc_port_act_on_the_next_link() -> None:
    async def test() -> None:
        meter = fed("mt372", days=0)
        async with served(meter, "serial") as begin:
            line = begin()
            await line.until_at(9600)
            async with client(meter, line, "physical=16&timeout=60") as one:
                await write(one, "0-0:22.0.0", 2, axdr.enum(6))
                await write(one, "0-0:22.0.0", 9, axdr.u16(17))
                assert await one.read("0-0:22.0.0/comm_speed") == 6
                assert termios.tcgetattr(line.handle)[5] == SPEEDS[9600]
            line = begin()
            await line.until_at(19200)
            with pytest.raises(TimedOut):
                await client(meter, line, "physical=16&timeout=1").open()
            for address in ("physical=17", "address_size=1"):
                async with client(meter, begin(), f"{address}&timeout=60") as one:
                    assert await one.read("0-0:22.0.0/device_address") == 17

    run(test)


def test_a_port_whose_speed_is_refused_says_so_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The adapter can't do the speed that a client has set up: from the next link on."""
    set_line = SerialLine._set

    def refuse(line: SerialLine, baud: int, size: int, parity: str) -> None:
        if baud == 19200:
            raise ValueError(f"Invalid baud rate: {baud!r}")
        set_line(line, baud, size, parity)

    monkeypatch.setattr(SerialLine, "_set", refuse)

    async def test() -> None:
        meter = fed("mt372", days=0)
        async with served(meter, "serial") as begin, served(meter, "optical") as look_at:
            line = begin()
            await line.until_at(9600)
            async with client(meter, line, "physical=16&timeout=60") as one:
                await write(one, "0-0:22.0.0", 2, axdr.enum(6))
            told = ""
            while not told.endswith("\n"):
                await asyncio.sleep(0.01)
                told += capsys.readouterr().err
            assert re.fullmatch(
                r"blathy: serial:/dev/\S+ is served no more: "
                r"/dev/\S+ can't do 19200 Bd; use another one\n", told,
            )  # fmt: skip
            other = look_at()
            await other.until_at(300)
            async with client(meter, other, "mode=e&timeout=60") as one:
                assert await one.read("0-0:22.0.0/comm_speed") == 6
        assert capsys.readouterr().err == ""

    run(test)


def test_the_device_address_holds_over_tcp_as_well() -> None:
    async def test() -> None:
        meter = fed("mt372", days=0)
        device = meter.logical_device()
        listener, port = await serve_dlms(
            lambda _e, sap, lower: (
                device if sap == 1 and has_physical_address(meter, lower) else None
            ),
            "127.0.0.1", 0,
        )  # fmt: skip
        place = f"dlms+hdlc://127.0.0.1:{port}"
        async with client(meter, None, "physical=16", place) as one:
            await write(one, "0-0:22.0.0", 9, axdr.u16(0x123))
            assert await one.read("0-0:22.0.0/device_address") == 0x123
        async with client(meter, None, "physical=291", place) as one:
            assert await one.read("0-0:22.0.0/device_address") == 0x123
        with pytest.raises(TimedOut):
            await client(meter, None, "physical=16&timeout=1", place).open()
        await listener.stop()

    run(test)


async def said(line: Line, request: bytes, ends: bytes) -> bytes:
    """What is answered to a sign-on request, without its parity bits."""
    line.send(request)
    got = b""
    while ends not in got:
        got += bytes(octet & 0x7F for octet in await line.receive(60))
    return got


def test_the_optical_port_signs_on_as_it_is_set_up() -> None:
    async def test() -> None:
        meter = fed("mt372", days=0)
        async with served(meter, "optical") as begin:
            line = begin()
            await line.until_at(300)
            async with client(meter, line, "mode=e&timeout=60") as one:
                assert termios.tcgetattr(line.handle)[5] == SPEEDS[9600]
                assert await one.read("0-0:20.0.0/prop_baud") == 5
                assert await one.read("0-0:20.0.0/response_time") == 0
                await write(one, "0-0:20.0.0", 4, axdr.enum(2))
                await write(one, "0-0:20.0.0", 5, axdr.enum(1))
                await write(one, "0-0:20.0.0", 6, axdr.octets(b"4711"))
            line = begin()
            await line.until_at(300)
            line.send(b"/?12345678!\r\n")  # its serial number until now: not answered
            assert await said(line, b"/?4711!\r\n", b"\r\n") == b"/ISK2\\2MT372-1001\r\n"
            assert b"(12345678)" in await said(line, b"\x06020\r\n", b"!\r\n\x03")
            await line.until_at(300)
            line.send(b"/?4711!\r\n")
            await said(line, b"", b"\r\n")
            line.send(b"\x06222\r\n")
            await line.until_at(1200)
            async with client(meter, line, "timeout=60") as one:
                await write(one, "0-0:20.0.0", 2, axdr.enum(1))
                await write(one, "0-0:20.0.0", 3, axdr.enum(6))
            line = begin()
            await line.until_at(19200)
            async with client(meter, line, "timeout=60") as one:
                assert await one.read("0-0:20.0.0/default_mode") == 1

    run(test)


@pytest.mark.parametrize(("speed", "answered"), [((9600, False), False), (None, True)])
def test_octets_may_be_far_apart_on_networks_only(
    speed: tuple[int, bool] | None, answered: bool
) -> None:
    """inter_octet_time_out is 25 ms; what lies between us and a serial line may make it 200."""
    meter = fed("mt372", days=0)
    device = meter.logical_device()
    session = DlmsSession(
        ENDPOINT, lambda _: None, lambda _e, _s, _p: device, framing=Framing.HDLC, speed=speed
    )
    snrm = Frame(b"\x03", b"\x21", CONTROL[FrameType.SNRM] | POLL).encode()
    now = Instant(0)
    session.receive(snrm, now)  # from here on as the setup object says
    assert session.data_to_send()
    session.receive(snrm[:4], now)
    later = Instant(300_000_000)
    session.tick(later)
    session.receive(snrm[4:], later)
    assert bool(session.data_to_send()) is answered
