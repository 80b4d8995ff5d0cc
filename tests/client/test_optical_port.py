"""The optical port and the RS-485 loop: sign-on, hand-over to HDLC, 32 meters on one line."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Sequence

import pytest

from blathy.client import Meter, ObjectCache, Refused
from blathy.quantity import Quantity, Unit
from blathy.transport.dlms_session import DlmsSession
from blathy.transport.line import Line
from blathy.transport.memory import SessionLine
from blathy.transport.serial_line import SerialLine
from blathy.transport.serving import serve_line
from blathy.transport.session import Endpoint
from blathy.wire.iec62056_21 import Identification, Iec21Server, ServerSettings
from blathy.wire.server import LogicalDevice
from tests.client.small_meter import SmallMeter, address, device, lookup

ENDPOINT = Endpoint("optical port", 0, "reader", 0)
ENERGY = Quantity(1_234_567, 0, Unit.WH)


class Readout:
    def readout(self, table: str) -> Sequence[str]:
        return ["1.8.0(001234.567*kWh)"]

    def password(self, level: int, answer: str, seed: str) -> bool:
        return False

    def run(self, name: str, data: str) -> Sequence[str] | None:
        return None


def sign_on(endpoint: Endpoint) -> Iec21Server:
    identification = Identification("ISK", "5", "MT372-V01", hdlc=True)
    return Iec21Server(ServerSettings(identification), Readout())


def optical(found: LogicalDevice) -> DlmsSession:
    return DlmsSession(ENDPOINT, lambda _: None, lookup(found), sign_on=sign_on)


def test_mode_e_sign_on_then_dlms_and_again() -> None:
    async def test() -> None:
        session = optical(device(SmallMeter()))
        for _ in range(2):
            line = KeepOpen(session)
            where = address("client=16&mode=e&timeout=30", "dlms+hdlc")
            async with Meter.connect(where, line=line, cache=ObjectCache()) as meter:
                assert session.speed == (9600, False)
                assert await meter.read("1-0:1.8.0") == ENERGY
            assert session.speed == (300, True)

    asyncio.run(asyncio.wait_for(test(), 240))


class KeepOpen(SessionLine):
    """Closing takes the optical head away; the meter's port stays."""

    async def close(self) -> None:
        await Line.close(self)


def test_a_meter_without_mode_e_says_so() -> None:
    async def test() -> None:
        def plain(endpoint: Endpoint) -> Iec21Server:
            return Iec21Server(ServerSettings(Identification("KAM", " ", "382")), Readout())

        session = DlmsSession(ENDPOINT, lambda _: None, lookup(device(SmallMeter())), sign_on=plain)
        where = address("client=16&mode=e&timeout=1", "dlms+hdlc")
        with pytest.raises(Refused, match="mode=e"):
            await Meter.connect(where, line=SessionLine(session)).open()

    asyncio.run(asyncio.wait_for(test(), 240))


def test_dlms_over_a_serial_port() -> None:
    async def test() -> None:
        master, slave = os.openpty()
        tty.setraw(master)
        tty.setraw(slave)
        session = optical(device(SmallMeter()))
        port = PseudoTerminal(master)
        served = asyncio.create_task(serve_line(port, session))
        url = f"serial://{os.ttyname(slave)}?client=16&timeout=30"
        async with Meter.connect(url, cache=ObjectCache()) as meter:
            assert await meter.read("1-0:1.8.0") == ENERGY
            assert len(await meter.profile("1-0:99.1.0")) == 96
        async with Meter.connect(url + "&mode=e", cache=ObjectCache()) as meter:
            assert await meter.read("1-0:1.8.0") == ENERGY
        await port.close()
        served.cancel()
        await asyncio.gather(served, return_exceptions=True)
        os.close(master)
        os.close(slave)

    asyncio.run(asyncio.wait_for(test(), 240))


class PseudoTerminal(Line):
    """The meter's end of a pseudo terminal."""

    def __init__(self, handle: int) -> None:
        super().__init__("pty")
        self._handle = handle
        os.set_blocking(handle, False)
        self._loop.add_reader(handle, self._readable)

    def _readable(self) -> None:
        try:
            self.feed(os.read(self._handle, 4096))
        except OSError:
            self._loop.remove_reader(self._handle)

    def send(self, data: bytes) -> None:
        os.write(self._handle, data)

    async def close(self) -> None:
        self._loop.remove_reader(self._handle)
        await super().close()


def test_32_meters_on_one_loop_each_answer_under_their_own_address() -> None:
    async def test() -> None:
        meters = {number: device(SmallMeter(serial=b"%08d" % number)) for number in range(16, 48)}

        def find(endpoint: Endpoint, server: int, physical: int | None) -> LogicalDevice | None:
            return meters.get(physical or 0) if server == 1 else None

        session = DlmsSession(ENDPOINT, lambda _: None, find)
        for number in meters:
            where = address(f"client=16&physical={number}", "dlms+hdlc")
            async with Meter.connect(where, line=KeepOpen(session), cache=ObjectCache()) as meter:
                assert await meter.read("0-0:96.1.0") == b"%08d" % number

    asyncio.run(asyncio.wait_for(test(), 240))


def test_serial_ports_that_are_not_there() -> None:
    async def test() -> None:
        with pytest.raises(Exception, match="not there") as caught:
            await SerialLine.connect("/dev/no-such-port")
        assert not isinstance(caught.value, Refused)

    asyncio.run(test())
