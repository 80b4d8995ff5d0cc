"""Meters on real ports for foreign clients: TCP on the loopback device, pseudo terminals."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from blathy.meter.meter import Meter
from blathy.meter.readout import sign_on_server
from blathy.transport.dlms_session import DlmsSession, serve_dlms
from blathy.transport.line import Line
from blathy.transport.serving import serve_line
from blathy.transport.session import Endpoint
from tests.loop_thread import LoopThread

PDU_OCTETS = 2048


class Served(LoopThread):
    """Serves meters for a whole module of tests."""

    @contextmanager
    def tcp(self, meter: Meter, pdu_size: int = PDU_OCTETS) -> Iterator[dict[str, Any]]:
        """The port as a job names it."""
        device = meter.logical_device(pdu_size)

        async def begin() -> Any:
            return await serve_dlms(
                lambda _endpoint, _server, _physical: device, "127.0.0.1", 0,
                sign_on=lambda _endpoint: sign_on_server(meter),
                on_event=lambda _endpoint, _device, event: meter.associations_event(event),
            )  # fmt: skip

        listener, port = self.run(begin())
        try:
            yield {"port": port}
        finally:
            self.run(listener.stop())

    @contextmanager
    def tty(self, meter: Meter) -> Iterator[dict[str, Any]]:
        """A meter's optical port at a pseudo terminal."""
        served = _terminal(meter)
        name = self.run(served.__aenter__())
        try:
            yield {"tty": name}
        finally:
            self.run(served.__aexit__(None, None, None))


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


@asynccontextmanager
async def _terminal(meter: Meter) -> AsyncIterator[str]:
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    device = meter.logical_device()
    session = DlmsSession(
        Endpoint("optical port", 0, "reader", 0), lambda _: None,
        lambda _endpoint, _server, _physical: device,
        sign_on=lambda _endpoint: sign_on_server(meter),
    )  # fmt: skip
    line = PseudoTerminal(master)
    serving = asyncio.create_task(serve_line(line, session))
    try:
        yield os.ttyname(slave)
    finally:
        await line.close()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        os.close(master)
        os.close(slave)
