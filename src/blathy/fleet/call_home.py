"""Meters that call home (auto connect, class 29), as those behind a NAT have to.

A call is a TCP connection to a destination of the meter's list on which it serves DLMS, the wrapper
or HDLC, as at its own port. It ends when nobody has asked anything for the inactivity time-out of
the TCP-UDP setup (class 41), or with the calling window where the mode says so; a permanent call
goes out again. Destinations outside of this machine are called only where that was allowed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from contextlib import suppress
from typing import Final

import structlog

from blathy.fleet.push_sender import place_of
from blathy.meter.classes.auto_connect import (
    Calling,
    calling_of,
    has_to_end,
    inactivity_s,
    may_begin,
)
from blathy.meter.classes.communication_setup import has_physical_address
from blathy.meter.meter import Meter
from blathy.transport.dlms_session import DlmsSession
from blathy.transport.errors import MeterError
from blathy.transport.limits import LineLimits
from blathy.transport.line import TcpLine
from blathy.transport.open_links import OpenLinks
from blathy.transport.serving import serve_line
from blathy.transport.session import Endpoint
from blathy.wire.association_events import ServerEvent
from blathy.wire.server import LogicalDevice

AT_ONCE: Final = 256
"""Calls under way; other meters wait for their turn."""
NEXT_ROUND_S: Final = 3600.0
"""A permanent call that went out in vain, with all its repetitions, is tried again after this."""
_LIMITS: Final = LineLimits(connect_s=10.0)

log = structlog.get_logger("blathy.call")


class CallHome:
    """The calls of the meters of one process. `outside`: whether destinations beyond this machine
    are called."""

    def __init__(self, open_links: OpenLinks | None = None, *, outside: bool = False) -> None:
        self.outside = outside
        self.connected = 0
        self.failed = 0
        self._open_links = open_links
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._next_round: dict[int, float] = {}

    def collect(self, meter: Meter, device: LogicalDevice, source: str = "") -> None:
        """Begin or end the call of this meter as it stands now; `device` is what it serves,
        `source` the meter's own address."""
        calling = calling_of(meter)
        key = id(meter)
        told, meter.outbox.call_home = meter.outbox.call_home, False
        if key in self._calls:  # which is also the one that it is told to make
            if has_to_end(meter, calling):
                self._calls[key].cancel()
            return
        if calling is None:
            self._next_round.pop(key, None)
            return
        if not told:
            due = time.monotonic() >= self._next_round.get(key, 0.0)
            if not (calling.permanent and due and may_begin(meter, calling)):
                return
        if len(self._calls) >= AT_ONCE:
            meter.outbox.call_home = told
            return
        task = asyncio.get_running_loop().create_task(self._call(meter, device, calling, source))
        self._calls[key] = task
        task.add_done_callback(lambda _task: self._calls.pop(key, None))

    async def stop(self) -> None:
        """End what is under way."""
        tasks = tuple(self._calls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(
        self, meter: Meter, device: LogicalDevice, calling: Calling, source: str
    ) -> None:
        reason = ""
        for attempt in range(calling.repetitions + 1):
            if attempt:
                await asyncio.sleep(calling.delay_s)
            for destination in calling.destinations:
                try:
                    line, endpoint = await self._connect(destination, source)
                except (MeterError, ValueError) as error:
                    reason = str(error)
                    continue
                self.connected += 1
                self._next_round[id(meter)] = time.monotonic() + calling.delay_s
                await serve_line(
                    line, self._session(meter, device, line, endpoint), idle_s=inactivity_s(meter)
                )
                return
        self.failed += 1
        self._next_round[id(meter)] = time.monotonic() + NEXT_ROUND_S
        log.warning("nobody was reached", meter=meter.identity.serial_text, reason=reason)

    async def _connect(self, destination: bytes, source: str) -> tuple[TcpLine, Endpoint]:
        """The connection; ValueError or MeterError where there is none."""
        host, port = place_of(destination)
        address = ipaddress.ip_address(host)
        if not self.outside and not address.is_loopback:
            raise ValueError("the destination is outside of this machine")
        own = source if address.version == 4 else ""
        line = await TcpLine.connect(host, port, source=own or None, limits=_LIMITS)
        return line, Endpoint(own, 0, host, port)

    def _session(
        self, meter: Meter, device: LogicalDevice, line: TcpLine, endpoint: Endpoint
    ) -> DlmsSession:
        def lookup(_endpoint: Endpoint, server: int, physical: int | None) -> LogicalDevice | None:
            known = server in {1, 16} and has_physical_address(meter, physical)
            return device if known else None

        def on_event(_endpoint: Endpoint, _device: LogicalDevice, event: ServerEvent) -> None:
            meter.associations_event(event)

        def transmit(octets: bytes) -> None:
            with suppress(MeterError):  # the peer has just gone, and the session is told next
                line.send(octets)

        return DlmsSession(
            endpoint, transmit, lookup, on_event=on_event, open_links=self._open_links
        )
