"""Asks time servers (NTP setup, class 100) for the meters that are to: one SNTP question over UDP.

A meter asks when it is told to synchronize, and by itself while its setup is activated: once a day,
and again an hour after a server that did not answer. What comes sets its clock as a control centre
would, with the events of that; without an answer the clock stays as it is, and the first failure is
an event. A server outside of this machine is asked only where that was allowed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Final

import structlog

from blathy.clock import NANOSECONDS_PER_S
from blathy.cosem.service import AccessError
from blathy.meter.classes.clock import require_in_range
from blathy.meter.classes.time_server import (
    is_activated,
    shared_key,
    tell_server,
    time_server,
)
from blathy.meter.meter import Meter
from blathy.wire import sntp
from blathy.wire.errors import RemoteProtocolError

ANSWER_S: Final = 5.0
AGAIN_S: Final = 86_400
AFTER_FAILURE_S: Final = 3600
AT_ONCE: Final = 256
"""Questions under way; other meters wait for their turn."""
_DATAGRAM_OCTETS: Final = 1024

log = structlog.get_logger("blathy.time")


class TimeAsker:
    """`now` is what the meters' sources go by, in seconds since 1970 UTC. `outside`: whether
    servers beyond this machine are asked."""

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        *,
        outside: bool = False,
        answer_s: float = ANSWER_S,
    ) -> None:
        self.outside = outside
        self.answered = 0
        self.failed = 0
        self._now = now
        self._answer_s = answer_s
        self._tasks: set[asyncio.Task[None]] = set()

    def collect(self, meter: Meter, source: str = "") -> None:
        """Ask where this meter wants to know; `source`: the meter's own address."""
        outbox = meter.outbox
        if not outbox.wants_time and not (is_activated(meter) and self._now() >= outbox.ask_at_s):
            return
        if len(self._tasks) >= AT_ONCE:
            return
        outbox.wants_time, outbox.ask_at_s = False, self._now() + AGAIN_S
        task = asyncio.get_running_loop().create_task(self._set(meter, source))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Give up what is under way."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _set(self, meter: Meter, source: str) -> None:
        try:
            offset_ns = await self._offset_ns(meter, source)
            half_s = NANOSECONDS_PER_S // 2
            utc_s = meter.ledger.now + (offset_ns + half_s) // NANOSECONDS_PER_S
            require_in_range(utc_s)
            meter.set_clock(utc_s)
            tell_server(meter, answers=True)
        except (AccessError, OSError, ValueError, RemoteProtocolError) as error:
            self.failed += 1
            meter.outbox.ask_at_s = self._now() + AFTER_FAILURE_S
            if not isinstance(error, AccessError):
                tell_server(meter, answers=False)
            log.warning(
                "the clock was not set by the time server",
                meter=meter.identity.serial_text,
                reason=str(error) or type(error).__name__,
            )
        else:
            self.answered += 1

    async def _offset_ns(self, meter: Meter, source: str) -> int:
        """How far the server is ahead of `now`."""
        host, port = time_server(meter)
        key = shared_key(meter)
        family, place = await self._place(host, port)
        nonce = meter.entropy(sntp.NONCE_OCTETS)
        loop = asyncio.get_running_loop()
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            if source and family == socket.AF_INET:
                sock.bind((source, 0))
            sock.connect(place)
            reason = "no answer came"
            sent_ns = self._now_ns()
            try:
                async with asyncio.timeout(self._answer_s):
                    await loop.sock_sendall(sock, sntp.question(nonce, key))
                    while True:
                        octets = await loop.sock_recv(sock, _DATAGRAM_OCTETS)
                        arrived_ns = self._now_ns()
                        try:
                            return sntp.answer(octets, nonce, key).offset_ns(sent_ns, arrived_ns)
                        except RemoteProtocolError as error:
                            reason = str(error)  # anybody can send one: the true one may come yet
            except TimeoutError as error:
                raise OSError(reason) from error

    def _now_ns(self) -> int:
        return int(self._now() * NANOSECONDS_PER_S)

    async def _place(self, host: str, port: int) -> tuple[int, tuple[str, int]]:
        """The server's address; names are looked up only where it may be outside."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            if not self.outside:
                raise OSError("the time server is no address of this machine") from None
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(self._answer_s):
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            return found[0][0], (str(found[0][4][0]), port)
        if not self.outside and not address.is_loopback:
            raise OSError("the time server is outside of this machine")
        return (socket.AF_INET if address.version == 4 else socket.AF_INET6), (host, port)
