"""A line as a client sees it: send octets, await octets with a time-out, close.

`Line` holds the waiting side once for TCP, UDP, serial ports and memory. Errors of the system are
mapped where they enter, so that a caller meets only the tree of `errors`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from blathy.clock import Instant
from blathy.transport.errors import Garbled, MeterError, TimedOut, Unreachable, from_os_error
from blathy.transport.limits import LINE, LineLimits


def monotonic_now() -> Instant:
    """The monotonic clock that drives every core behind a real line."""
    return Instant(time.monotonic_ns())


class Line:
    """Received octets and the one who waits for them. Subclasses transmit."""

    def __init__(self, name: str, limits: LineLimits = LINE) -> None:
        self.name = name
        self.limits = limits
        self.datagrams = False
        self._unread: list[bytes] = []
        self._unread_size = 0
        self._end: MeterError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    def send(self, data: bytes) -> None:  # noqa: ARG002 - subclasses transmit it
        """Transmit; raise MeterError when the line is gone."""
        raise self.end_or(Unreachable(f"{self.name} is closed"))

    async def close(self) -> None:
        """Release the line; closing twice is harmless."""
        self.finish(Unreachable(f"{self.name} is closed"))

    def end_or(self, default: MeterError) -> MeterError:
        return self._end or default

    @property
    def ended(self) -> bool:
        return self._end is not None

    async def receive(self, timeout_s: float) -> bytes:
        """The next octets, at least one; TimedOut after `timeout_s`, or why the line has ended."""
        if not self._unread:
            if self._end is not None:
                raise self._end
            assert self._waiter is None, "one reader per line"
            self._waiter = waiter = self._loop.create_future()
            timer = self._loop.call_later(timeout_s, self._expire, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
            if not self._unread:
                if self._end is not None:
                    raise self._end
                raise TimedOut(
                    f"{self.name} gave no answer within {timeout_s:g} s",
                    "check the client and server address, or allow more time",
                )
        if self.datagrams or len(self._unread) == 1:
            data = self._unread.pop(0)
            self._unread_size -= len(data)
            return data
        data = b"".join(self._unread)
        self._unread.clear()
        self._unread_size = 0
        return data

    @staticmethod
    def _expire(waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    def feed(self, data: bytes) -> None:
        """Hand in octets that have arrived."""
        if self._unread_size + len(data) > self.limits.unread_octets_max:
            self.finish(Garbled(f"{self.name} sends without end", "check what is connected there"))
            return
        self._unread.append(data)
        self._unread_size += len(data)
        self._wake()

    def finish(self, error: MeterError) -> None:
        """The line has ended; what was received before is still handed out."""
        if self._end is None:
            self._end = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class TcpLine(Line, asyncio.Protocol):
    """A TCP connection to a meter."""

    def __init__(self, name: str, limits: LineLimits = LINE) -> None:
        super().__init__(name, limits)
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        *,
        source: str | None = None,
        limits: LineLimits = LINE,
    ) -> TcpLine:
        """Open a connection within `limits.connect_s`; `source` is our own address."""
        name = f"{host}:{port}"
        loop = asyncio.get_running_loop()
        local = (source, 0) if source else None
        line = cls(name, limits)
        timer = None
        task = asyncio.current_task()
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            assert task is not None
            task.cancel()

        try:
            timer = loop.call_later(limits.connect_s, expire)
            await loop.create_connection(lambda: line, host, port, local_addr=local)
        except asyncio.CancelledError:
            if expired and task is not None and not task.uncancel():
                raise TimedOut(
                    f"{name} does not answer", "check the address, the route and the power"
                ) from None
            raise
        except OSError as error:
            raise from_os_error(error, name) from error
        except (ValueError, OverflowError, UnicodeError) as error:
            raise Unreachable(f"{name} is no address", "write host:port") from error
        finally:
            if timer is not None:
                timer.cancel()
        return line

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.feed(data)
        if self._end is not None and self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError):
            self.finish(from_os_error(exc, self.name))
        else:
            self.finish(
                Garbled(
                    f"{self.name} closed the connection",
                    "it may be busy with another client, or the framing differs "
                    "(dlms:// or dlms+hdlc://)",
                )
            )

    # Line

    def send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise self.end_or(Unreachable(f"{self.name} is closed"))
        self._transport.write(data)

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self.finish(Unreachable(f"{self.name} is closed"))


class UdpLine(Line, asyncio.DatagramProtocol):
    """Datagrams to and from one meter; `receive` gives one datagram at a time."""

    def __init__(self, name: str, limits: LineLimits = LINE) -> None:
        super().__init__(name, limits)
        self.datagrams = True
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def connect(
        cls, host: str, port: int, *, source: str | None = None, limits: LineLimits = LINE
    ) -> UdpLine:
        """Open a socket that speaks with this one peer."""
        line = cls(f"{host}:{port}/udp", limits)
        local = (source, 0) if source else None
        loop = asyncio.get_running_loop()
        try:
            await loop.create_datagram_endpoint(
                lambda: line, remote_addr=(host, port), local_addr=local
            )
        except OSError as error:
            raise from_os_error(error, line.name) from error
        return line

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ARG002 - asyncio's form
        self.feed(data)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self.finish(from_os_error(exc, self.name))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's form
        self.finish(Unreachable(f"{self.name} is closed"))

    def send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise self.end_or(Unreachable(f"{self.name} is closed"))
        self._transport.sendto(data)

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self.finish(Unreachable(f"{self.name} is closed"))
