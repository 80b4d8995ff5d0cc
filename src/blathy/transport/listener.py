"""Listening sockets with limits: TCP and UDP, one socket for every meter of a town.

Bound to the wildcard address of the loopback device, one socket takes connections to any address
of 127.0.0.0/8; the local address of each connection tells which meter is meant. A listener never
takes connections from outside the machine unless `outside=True` says so: where the system cannot
bind to a device, connections with another local address are closed unread.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import struct
import sys
from collections import Counter
from dataclasses import dataclass
from typing import Final

from blathy.clock import Instant
from blathy.transport.errors import Refused, from_os_error
from blathy.transport.limits import LISTENER, ListenerLimits
from blathy.transport.line import monotonic_now
from blathy.transport.session import Endpoint, Session, SessionFactory, Stage

ANY_LOOPBACK: Final = "127.0.0.0"
"""As the address to bind: every address of 127.0.0.0/8."""

_NS: Final = 1_000_000_000


@dataclass(slots=True)
class ListenerCounters:
    """What happened at the door."""

    accepted: int = 0
    refused_full: int = 0
    refused_source: int = 0
    refused_outside: int = 0
    refused_unknown: int = 0
    evicted_first_frame: int = 0
    evicted_association: int = 0
    evicted_idle: int = 0
    evicted_unread: int = 0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def bind_socket(kind: socket.SocketKind, host: str, port: int, *, outside: bool) -> socket.socket:
    """A bound socket for `host`; Refused where it would be open to the outside unasked."""
    wide = host == ANY_LOOPBACK
    if not wide and not outside and not _is_loopback(host):
        raise Refused(
            f"{host} is reachable from outside this machine",
            "use an address of 127.0.0.0/8, or allow it with --outside",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if wide and hasattr(socket, "SO_BINDTODEVICE"):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")
        sock.bind(("0.0.0.0" if wide else host, port))  # noqa: S104 - loopback device, see above
    except OSError as error:
        sock.close()
        if error.errno != errno.EADDRINUSE:
            raise from_os_error(error, f"{host}:{port}") from error
        raise Refused(
            f"{host}:{port} is taken by another program", "choose another port"
        ) from error
    return sock


class _Connection(asyncio.Protocol):
    """One accepted connection: drives its session and keeps its deadline with one timer."""

    __slots__ = (
        "_accepted_at",
        "_endpoint",
        "_frames",
        "_listener",
        "_loop",
        "_moved_at",
        "_session",
        "_timer",
        "_transport",
        "_unassociated_at",
    )

    def __init__(self, listener: TcpListener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._endpoint: Endpoint | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._accepted_at = self._moved_at = self._unassociated_at = monotonic_now()
        self._frames = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        local = transport.get_extra_info("sockname")
        peer = transport.get_extra_info("peername")
        if local is None or peer is None:
            transport.abort()
            return
        endpoint = Endpoint(local[0], local[1], peer[0], peer[1])
        if not self._listener.admit(self, endpoint):
            transport.abort()
            return
        self._endpoint = endpoint
        self._session = self._listener.factory(endpoint, self._transmit)
        if self._session is None:
            self._listener.counters.refused_unknown += 1
            transport.abort()
            return
        transport.set_write_buffer_limits(high=self._listener.limits.unsent_octets_max)
        self._arm(self._accepted_at)

    def data_received(self, data: bytes) -> None:
        if self._session is None:
            return
        now = monotonic_now()
        self._session.receive(data, now)
        self._flush(now)

    def pause_writing(self) -> None:
        self._listener.counters.evicted_unread += 1
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's form
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._endpoint is not None:
            self._listener.forget(self, self._endpoint)
            self._endpoint = None
        if self._session is not None:
            session, self._session = self._session, None
            session.lost()

    def stop(self) -> None:
        """Close after what is left to be sent."""
        if self._transport is not None:
            self._transport.close()

    def _transmit(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _flush(self, now: Instant) -> None:
        session, transport = self._session, self._transport
        assert transport is not None
        if session is None or transport.is_closing():
            return
        data = session.data_to_send()
        if data:
            transport.write(data)
        if session.closing:
            transport.close()
            return
        if session.frames != self._frames:
            self._frames = session.frames
            self._moved_at = now
            if session.stage is Stage.ASSOCIATED:
                self._unassociated_at = now
        if self._timer is None or self._due_ns(session) < self._timer.when() * _NS - 1e6:
            self._arm(now)

    def _limit_ns(self, session: Session) -> int:
        limits = self._listener.limits
        if session.stage is Stage.CONNECTED:
            return self._accepted_at + int(limits.first_frame_s * _NS)
        if session.stage is Stage.FRAMED:
            return self._unassociated_at + int(limits.association_s * _NS)
        return self._moved_at + int(limits.idle_s * _NS)

    def _due_ns(self, session: Session) -> int:
        own, limit = session.deadline(), self._limit_ns(session)
        return limit if own is None else min(limit, own)

    def _arm(self, now: Instant) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._session is not None:
            delay_s = max(0.0, (self._due_ns(self._session) - now) / _NS)
            self._timer = self._loop.call_later(delay_s + 0.001, self._wake)

    def _wake(self) -> None:
        self._timer = None
        session, transport = self._session, self._transport
        if session is None or transport is None or transport.is_closing():
            return
        now = monotonic_now()
        own = session.deadline()
        if own is not None and now >= own:
            session.tick(now)
            self._flush(now)
            if transport.is_closing():
                return
        if now >= self._limit_ns(session):
            self._evict(session.stage)
            return
        self._arm(now)

    def _evict(self, stage: Stage) -> None:
        counters = self._listener.counters
        if stage is Stage.CONNECTED:
            counters.evicted_first_frame += 1
        elif stage is Stage.FRAMED:
            counters.evicted_association += 1
        else:
            counters.evicted_idle += 1
        if self._transport is not None:
            self._transport.abort()


class TcpListener:
    """Accepts connections within its limits and gives each a session."""

    def __init__(self, factory: SessionFactory, limits: ListenerLimits = LISTENER) -> None:
        self.factory = factory
        self.limits = limits
        self.counters = ListenerCounters()
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._sources: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._loopback_only = True

    async def start(
        self, host: str = ANY_LOOPBACK, port: int = 4059, *, outside: bool = False
    ) -> int:
        """Bind and listen; the port that was bound (port 0 chooses a free one)."""
        self._loopback_only = not outside
        sock = bind_socket(socket.SOCK_STREAM, host, port, outside=outside)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), sock=sock, backlog=self.limits.backlog
        )
        return int(sock.getsockname()[1])

    async def stop(self) -> None:
        """Take no more connections and close the open ones."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.stop()
        if self._server is not None:
            if sys.version_info >= (3, 12):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._server.wait_closed(), 1.0)
            self._server = None

    @property
    def connections(self) -> int:
        return len(self._connections)

    def admit(self, connection: _Connection, endpoint: Endpoint) -> bool:
        """Count a new connection in, or say no."""
        limits, counters = self.limits, self.counters
        if self._loopback_only and not _is_loopback(endpoint.local_ip):
            counters.refused_outside += 1
            return False
        if len(self._connections) >= limits.connections_max:
            counters.refused_full += 1
            return False
        pair = (endpoint.peer_ip, endpoint.local_ip)
        if (
            self._sources[endpoint.peer_ip] >= limits.connections_per_source_max
            or self._pairs[pair] >= limits.connections_per_source_and_meter_max
        ):
            counters.refused_source += 1
            return False
        counters.accepted += 1
        self._connections.add(connection)
        self._sources[endpoint.peer_ip] += 1
        self._pairs[pair] += 1
        return True

    def forget(self, connection: _Connection, endpoint: Endpoint) -> None:
        """Count a connection out."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        pair = (endpoint.peer_ip, endpoint.local_ip)
        self._sources[endpoint.peer_ip] -= 1
        self._pairs[pair] -= 1
        if not self._sources[endpoint.peer_ip]:
            del self._sources[endpoint.peer_ip]
        if not self._pairs[pair]:
            del self._pairs[pair]


_PKTINFO = struct.Struct("@I4s4s")
_IP_PKTINFO: Final[int] = getattr(socket, "IP_PKTINFO", 8 if sys.platform == "linux" else 0)


class UdpListener:
    """Datagrams for any meter on one socket; a session per peer and meter, few and short-lived.

    The destination address of each datagram (IP_PKTINFO) tells the meter, and answers leave from
    that same address. Without IP_PKTINFO the bound address is taken.
    """

    def __init__(
        self, factory: SessionFactory, limits: ListenerLimits = LISTENER, sessions_max: int = 4096
    ) -> None:
        self.factory = factory
        self.limits = limits
        self.counters = ListenerCounters()
        self._sessions: dict[Endpoint, tuple[Session, Instant]] = {}
        self._sessions_max = sessions_max
        self._socket: socket.socket | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._loopback_only = True
        self._packet_info = bool(_IP_PKTINFO)

    async def start(
        self, host: str = ANY_LOOPBACK, port: int = 4059, *, outside: bool = False
    ) -> int:
        """Bind; the port that was bound."""
        self._loopback_only = not outside
        sock = bind_socket(socket.SOCK_DGRAM, host, port, outside=outside)
        if self._packet_info and sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            self._packet_info = False
        self._socket = sock
        loop = asyncio.get_running_loop()
        loop.add_reader(sock.fileno(), self._readable)
        self._sweeper = loop.call_later(1.0, self._sweep)
        return int(sock.getsockname()[1])

    async def stop(self) -> None:
        """Release the socket and the sessions."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None
        for session, _ in self._sessions.values():
            session.lost()
        self._sessions.clear()

    def _readable(self) -> None:
        sock = self._socket
        for _ in range(64):
            if sock is None:
                return
            try:
                data, ancillary, _, peer = sock.recvmsg(65_535, 64)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                return
            self._take(data, self._local_ip(sock, ancillary), peer)

    def _local_ip(self, sock: socket.socket, ancillary: list[tuple[int, int, bytes]]) -> str:
        for level, kind, content in ancillary:
            if (
                self._packet_info
                and (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO)
                and len(content) >= _PKTINFO.size
            ):
                return socket.inet_ntoa(_PKTINFO.unpack_from(content)[2])
        return str(sock.getsockname()[0])

    def _take(self, data: bytes, local_ip: str, peer: tuple[str, int]) -> None:
        assert self._socket is not None
        if self._loopback_only and not _is_loopback(local_ip):
            self.counters.refused_outside += 1
            return
        endpoint = Endpoint(local_ip, int(self._socket.getsockname()[1]), peer[0], peer[1])
        now = monotonic_now()
        known = self._sessions.get(endpoint)
        if known is None:
            if len(self._sessions) >= self._sessions_max:
                self.counters.refused_full += 1
                return
            made = self.factory(endpoint, lambda answer: self._send(answer, endpoint))
            if made is None:
                self.counters.refused_unknown += 1
                return
            self.counters.accepted += 1
            session = made
        else:
            session = known[0]
        session.receive(data, now)
        self._send(session.data_to_send(), endpoint)
        if session.closing:
            self._sessions.pop(endpoint, None)
            session.lost()
        else:
            self._sessions[endpoint] = (session, now)

    def _send(self, data: bytes, endpoint: Endpoint) -> None:
        if not data or self._socket is None:
            return
        ancillary: list[tuple[int, int, bytes]] = []
        if self._packet_info:
            source = _PKTINFO.pack(0, socket.inet_aton(endpoint.local_ip), b"\0\0\0\0")
            ancillary.append((socket.IPPROTO_IP, _IP_PKTINFO, source))
        with contextlib.suppress(OSError):  # a datagram that can't leave is a datagram lost
            self._socket.sendmsg([data], ancillary, 0, (endpoint.peer_ip, endpoint.peer_port))

    def _sweep(self) -> None:
        now = monotonic_now()
        for endpoint, (session, moved_at) in list(self._sessions.items()):
            idle_s = (
                self.limits.idle_s
                if session.stage is Stage.ASSOCIATED
                else self.limits.first_frame_s
            )
            if now - moved_at > idle_s * _NS:
                del self._sessions[endpoint]
                self.counters.evicted_idle += 1
                session.lost()
        self._sweeper = asyncio.get_running_loop().call_later(1.0, self._sweep)
