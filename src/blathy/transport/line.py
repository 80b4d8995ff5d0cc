"""A line as a client sees it: send octets, await octets with a time-out, close.

`Line` holds the waiting side once for TCP, UDP, serial ports and memory. Errors of the system are
mapped where they enter, so that a caller meets only the tree of `errors`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Sequence
from typing import Any, Final

from blathy.clock import Instant
from blathy.transport.errors import Garbled, MeterError, TimedOut, Unreachable, from_os_error
from blathy.transport.limits import LINE, LineLimits
from blathy.transport.poller import READ, WRITE, poller_of

RECEIVE_OCTETS: Final = 16_384
_UNDER_WAY: Final = frozenset({errno.EINPROGRESS, errno.EALREADY})
_CONNECTED: Final = frozenset({0, errno.EISCONN})


def monotonic_now() -> Instant:
    """The monotonic clock that drives every core behind a real line."""
    return Instant(time.monotonic_ns())


class Line:
    """Received octets and the one who waits for them. Subclasses transmit."""

    called = False
    """Whether the other side has opened it: there is no second connection to be had."""

    def __init__(self, name: str, limits: LineLimits = LINE) -> None:
        self.name = name
        self.limits = limits
        self.datagrams = False
        self._unread: list[bytes] = []
        self._unread_size = 0
        self._end: MeterError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._deadline_s = 0.0
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
            await self._wait(timeout_s)
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

    async def _wait(self, timeout_s: float) -> None:
        """Until something happens on the line, or the time is over."""
        assert self._waiter is None, "one reader per line"
        loop = self._loop
        self._waiter = waiter = loop.create_future()
        self._deadline_s = loop.time() + timeout_s
        # One timer serves many waits: it stays, and goes on where it comes too early.
        timer = self._alarm
        if timer is None or timer.when() > self._deadline_s:
            if timer is not None:
                timer.cancel()
            self._alarm = loop.call_at(self._deadline_s, self._expire)
        try:
            await waiter
        finally:
            self._waiter = None

    def _expire(self) -> None:
        self._alarm = None
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._loop.time() >= self._deadline_s:
            waiter.set_result(None)
        else:
            self._alarm = self._loop.call_at(self._deadline_s, self._expire)

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
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class TcpLine(Line):
    """A TCP connection to a meter."""

    def __init__(self, name: str, limits: LineLimits = LINE) -> None:
        super().__init__(name, limits)
        self._poller = poller_of(self._loop)
        self._socket: socket.socket | None = None
        self._unsent: bytearray | None = None
        self._connecting = True
        self._closing = False

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
        line = cls(f"{host}:{port}", limits)
        until_s = line._loop.time() + limits.connect_s
        failure: OSError | None = None
        try:
            for family, address in await line._addresses(host, port, limits.connect_s):
                try:
                    await line._open(family, address, source, until_s)
                except OSError as error:
                    failure = error
                    line._drop()
                else:
                    return line
        except OSError as error:
            failure = error
        except (ValueError, OverflowError, UnicodeError) as error:
            line._drop()
            raise Unreachable(f"{line.name} is no address", "write host:port") from error
        except BaseException:
            line._drop()
            raise
        assert failure is not None
        raise from_os_error(failure, line.name) from failure

    @classmethod
    def over(cls, sock: socket.socket, name: str, limits: LineLimits = LINE) -> TcpLine:
        """The line of a connection that the other side has opened."""
        line = cls(name, limits)
        line.called = True
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line._socket, line._connecting = sock, False
        line._poller.watch(sock.fileno(), line)
        return line

    async def _addresses(
        self, host: str, port: int, within_s: float
    ) -> Sequence[tuple[int, tuple[Any, ...]]]:
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                socket.inet_pton(family, host)
            except (OSError, ValueError):
                continue
            return [(family, (host, port))]
        async with asyncio.timeout(within_s):
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(each[0], each[4]) for each in found]

    async def _open(
        self, family: int, address: tuple[Any, ...], source: str | None, until_s: float
    ) -> None:
        """Connect; raise what the system says."""
        sock = self._socket = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            sock.bind((source, 0))
        code = sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            code = sock.connect_ex(address)  # on the same machine it often stands by now
        if code in _UNDER_WAY:
            self._poller.watch(sock.fileno(), self, WRITE)
            while code in _UNDER_WAY:
                await self._wait(max(0.0, until_s - self._loop.time()))
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                code = code or sock.connect_ex(address)
                if code in _UNDER_WAY and self._loop.time() >= until_s:
                    code = errno.ETIMEDOUT
            if code in _CONNECTED:
                self._poller.change(sock.fileno(), READ)
        elif code in _CONNECTED:
            self._poller.watch(sock.fileno(), self)
        if code not in _CONNECTED:
            raise OSError(code, os.strerror(code))
        self._connecting = False

    # Watched

    def ready(self, *, readable: bool, writable: bool) -> None:
        """Take what has arrived, send on what did not go."""
        if self._connecting:
            self._wake()
            return
        if writable and self._unsent:
            self._send_on()
        sock = self._socket
        if not readable or sock is None:
            return
        try:
            data = sock.recv(RECEIVE_OCTETS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.finish(from_os_error(error, self.name))
            self._drop()
            return
        if data and not self._closing:
            self.feed(data)
            if self._end is not None:
                self._drop()
        elif not data:
            self.finish(
                Garbled(
                    f"{self.name} closed the connection",
                    "it may be busy with another client, or the framing differs "
                    "(dlms:// or dlms+hdlc://)",
                )
            )
            self._drop()

    def abort(self) -> None:
        """Close at once."""
        self._drop()
        self.finish(Garbled(f"{self.name}: the connection was given up"))

    def _fd(self) -> int:
        assert self._socket is not None
        return self._socket.fileno()

    def _drop(self) -> None:
        sock, self._socket = self._socket, None
        self._unsent = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if sock is not None:
            self._poller.forget(sock.fileno())
            sock.close()

    def _send_on(self) -> None:
        waiting, self._unsent = bytes(self._unsent or b""), None
        self._transmit(waiting)
        if self._socket is not None and not self._unsent:
            if self._closing:
                self._drop()
            else:
                self._poller.change(self._fd(), READ)

    def _transmit(self, data: bytes) -> None:
        assert self._socket is not None
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self.finish(from_os_error(error, self.name))
            self._drop()
            return
        if sent < len(data):
            self._unsent = bytearray(data[sent:])
            self._poller.change(self._fd(), WRITE if self._closing else READ | WRITE)

    # Line

    def send(self, data: bytes) -> None:
        if self._socket is None or self._closing:
            raise self.end_or(Unreachable(f"{self.name} is closed"))
        if self._unsent is None:
            self._transmit(data)
            return
        self._unsent += data
        if len(self._unsent) > self.limits.unsent_octets_max:
            self.finish(Garbled(f"{self.name} asks but does not take what it is sent"))
            self._drop()

    async def close(self) -> None:
        self._closing = True
        self.finish(Unreachable(f"{self.name} is closed"))
        if self._unsent is None:
            self._drop()
        elif self._alarm is None:
            self._poller.change(self._fd(), WRITE)
            self._alarm = self._loop.call_later(self.limits.closing_s, self._drop)


class LentLine(Line):
    """Another line for a while: to close this one leaves that one open."""

    def __init__(self, line: Line) -> None:
        super().__init__(line.name, line.limits)
        self.datagrams = line.datagrams
        self._lender = line

    @property
    def ended(self) -> bool:
        return self._end is not None or self._lender.ended

    def send(self, data: bytes) -> None:
        self._lender.send(data)

    async def receive(self, timeout_s: float) -> bytes:
        return await self._lender.receive(timeout_s)


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
