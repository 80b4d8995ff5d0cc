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
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from blathy.clock import Instant
from blathy.transport.errors import Refused, from_os_error
from blathy.transport.limits import LISTENER, ListenerLimits
from blathy.transport.line import monotonic_now
from blathy.transport.poller import READ, TICK_NS, WRITE, Deadlines, Poller, poller_of
from blathy.transport.session import Endpoint, Session, SessionFactory, Stage

ANY_LOOPBACK: Final = "127.0.0.0"
"""As the address to bind: every address of 127.0.0.0/8."""

RECEIVE_OCTETS: Final = 16_384
ACCEPTED_AT_ONCE: Final = 64
ACCEPT_PAUSE_S: Final = 1.0
MSG_DONTWAIT: Final = socket.MSG_DONTWAIT
_NS: Final = 1_000_000_000
_ASSOCIATED: Final = Stage.ASSOCIATED  # read off its class once: 0.2 µs each time on Python 3.11
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_Key = TypeVar("_Key", str, tuple[str, str])


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
    paused: int = 0


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
        if kind == socket.SOCK_STREAM:  # for datagrams it would share a port that is taken
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


class _Connection:
    """One accepted connection: its socket, its session and its deadline.

    Calling it transmits octets of the server's own accord.
    """

    __slots__ = (
        "_accepted_at",
        "_bucket",
        "_closing",
        "_endpoint",
        "_frames",
        "_listener",
        "_moved_at",
        "_session",
        "_socket",
        "_unassociated_at",
        "_unsent",
    )

    def __init__(self, listener: TcpListener, sock: socket.socket, endpoint: Endpoint) -> None:
        self._listener = listener
        self._socket: socket.socket | None = sock
        self._endpoint = endpoint
        self._session: Session | None = None
        self._unsent: bytearray | None = None
        self._closing = False
        self._bucket = 0
        self._frames = 0
        self._accepted_at = self._moved_at = self._unassociated_at = monotonic_now()

    def begin(self, session: Session) -> None:
        """Serve from now on."""
        assert self._socket is not None
        self._session = session
        self._listener.poller.watch(self._socket.fileno(), self)
        self._set_deadline()

    def ready(self, *, readable: bool, writable: bool) -> None:
        """Watched: take what has arrived, send on what did not go."""
        if writable and self._unsent:
            waiting, self._unsent = bytes(self._unsent), None
            self._write(waiting)
            if self._closing and self._unsent is None:
                self.abort()
            self._watch()
        sock, session = self._socket, self._session
        if not readable or sock is None or session is None:
            return
        try:
            data = sock.recv(RECEIVE_OCTETS, MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.abort()
            return
        if not data:
            self.abort() if self._closing else self.stop()
        elif not self._closing:
            now = monotonic_now()
            session.receive(data, now)
            self._flush(now)

    def stop(self) -> None:
        """Close after what is left to be sent."""
        self._closing = True
        if self._unsent is None:
            self.abort()
        self._watch()

    def _watch(self) -> None:
        sock = self._socket
        if sock is not None:
            events = (0 if self._closing else READ) | (WRITE if self._unsent else 0)
            self._listener.poller.change(sock.fileno(), events)

    def abort(self) -> None:
        """Close now; every association on the connection ends."""
        sock, self._socket = self._socket, None
        session, self._session = self._session, None
        self._unsent = None
        self._closing = True
        if sock is not None:
            listener = self._listener
            listener.poller.forget(sock.fileno())
            sock.close()
            listener.deadlines.forget(self, self._bucket)
            listener.forget(self, self._endpoint)
        if session is not None:
            session.lost()

    def __call__(self, data: bytes) -> None:
        if data and not self._closing:
            self._write(data)

    def _write(self, data: bytes) -> None:
        sock = self._socket
        if sock is None:
            return
        if self._unsent is not None:
            self._unsent += data
        else:
            try:
                sent = sock.send(data, MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.abort()
                return
            if sent == len(data):
                return
            self._unsent = bytearray(data[sent:])
            self._watch()
        if len(self._unsent) > self._listener.limits.unsent_octets_max:
            self._listener.counters.evicted_unread += 1
            self.abort()

    def _flush(self, now: Instant) -> None:
        session = self._session
        if session is None:
            return
        if data := session.data_to_send():
            self._write(data)
            if self._session is None:
                return
        if session.closing:
            self.stop()
            return
        if session.frames != self._frames:
            self._frames = session.frames
            self._moved_at = now
            if session.stage is _ASSOCIATED:
                self._unassociated_at = now
        self._set_deadline()

    def _limit_ns(self, stage: Stage) -> int:
        limits = self._listener.limits
        if stage is _ASSOCIATED:
            return self._moved_at + int(limits.idle_s * _NS)
        if stage is Stage.FRAMED:
            return self._unassociated_at + int(limits.association_s * _NS)
        return self._accepted_at + int(limits.first_frame_s * _NS)

    def _set_deadline(self) -> None:
        """One that is too early is moved when it comes; one that is too late at once."""
        session, deadlines = self._session, self._listener.deadlines
        assert session is not None
        due, limit = session.deadline(), self._limit_ns(session.stage)
        if due is None or due > limit:
            due = Instant(limit)
        if self._bucket and self._bucket * TICK_NS <= due + TICK_NS:
            return
        deadlines.forget(self, self._bucket)
        self._bucket = deadlines.set(self, due)

    def due(self, now: Instant) -> None:
        """Deadlines: tick the session, or let it go where it does not get on."""
        self._bucket = 0
        session = self._session
        if session is None:
            return
        own = session.deadline()
        if own is not None and now >= own:
            session.tick(now)
            self._flush(now)
            if self._session is None:
                return
        if now >= self._limit_ns(session.stage):
            self._evict(session.stage)
        elif not self._bucket:
            self._set_deadline()

    def _evict(self, stage: Stage) -> None:
        counters = self._listener.counters
        if stage is Stage.CONNECTED:
            counters.evicted_first_frame += 1
        elif stage is Stage.FRAMED:
            counters.evicted_association += 1
        else:
            counters.evicted_idle += 1
        self.abort()


class TcpListener:
    """Accepts connections within its limits and gives each a session."""

    def __init__(self, factory: SessionFactory, limits: ListenerLimits = LISTENER) -> None:
        self.factory = factory
        self.limits = limits
        self.counters = ListenerCounters()
        self.poller: Poller
        self.deadlines: Deadlines
        self._socket: socket.socket | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._connections: set[_Connection] = set()
        self._sources: dict[str, int] = {}
        self._pairs: dict[tuple[str, str], int] = {}
        self._loopback_only = True
        self._port = 0

    async def start(
        self, host: str = ANY_LOOPBACK, port: int = 4059, *, outside: bool = False
    ) -> int:
        """Bind and listen; the port that was bound (port 0 chooses a free one)."""
        self._loopback_only = not outside
        sock = bind_socket(socket.SOCK_STREAM, host, port, outside=outside)
        # Accepted sockets inherit it; an answer in several frames must not wait for the peer.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.listen(self.limits.backlog)
        loop = asyncio.get_running_loop()
        self.poller, self.deadlines = poller_of(loop), Deadlines(loop)
        self._socket, self._port = sock, int(sock.getsockname()[1])
        self.poller.watch(sock.fileno(), self)
        return self._port

    async def stop(self) -> None:
        """Take no more connections and close the open ones."""
        if self._socket is None and not self._connections:
            return
        self.abort()
        for connection in list(self._connections):
            connection.stop()
        # What a peer does not take now is not waited for.
        for connection in list(self._connections):
            connection.abort()
        self.deadlines.stop()

    def abort(self) -> None:
        """Take no more connections."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._socket is not None:
            self.poller.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    @property
    def connections(self) -> int:
        return len(self._connections)

    def ready(self, *, readable: bool, writable: bool) -> None:  # noqa: ARG002 - Watched
        """Watched: accept what is waiting."""
        for _ in range(ACCEPTED_AT_ONCE):
            listening = self._socket
            if listening is None:
                return
            try:
                sock, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause_accepting(error)
                return
            self._accepted(sock, peer)

    def _pause_accepting(self, error: OSError) -> None:
        """No file handle or memory is left: the peers wait in the backlog for a second."""
        if error.errno not in _EXHAUSTED:
            return
        self.counters.paused += 1
        assert self._socket is not None
        self.poller.forget(self._socket.fileno())
        self._pause = asyncio.get_running_loop().call_later(ACCEPT_PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if self._socket is not None:
            self.poller.watch(self._socket.fileno(), self)

    def _accepted(self, sock: socket.socket, peer: tuple[Any, ...]) -> None:
        try:
            local = sock.getsockname()
        except OSError:
            sock.close()
            return
        endpoint = Endpoint(local[0], self._port, sys.intern(peer[0]), peer[1])
        connection = _Connection(self, sock, endpoint)
        if not self.admit(connection, endpoint):
            sock.close()
            return
        session = self.factory(endpoint, connection)
        if session is None:
            self.counters.refused_unknown += 1
            connection.abort()
            return
        connection.begin(session)

    def admit(self, connection: _Connection, endpoint: Endpoint) -> bool:
        """Count a new connection in, or say no."""
        limits, counters = self.limits, self.counters
        local_ip = endpoint.local_ip  # from the kernel, no name: 127. is the loopback device
        if self._loopback_only and not (local_ip[:4] == "127." or _is_loopback(local_ip)):
            counters.refused_outside += 1
            return False
        if len(self._connections) >= limits.connections_max:
            counters.refused_full += 1
            return False
        pair = (endpoint.peer_ip, endpoint.local_ip)
        of_source, of_pair = self._sources.get(pair[0], 0), self._pairs.get(pair, 0)
        if (
            of_source >= limits.connections_per_source_max
            or of_pair >= limits.connections_per_source_and_meter_max
        ):
            counters.refused_source += 1
            return False
        counters.accepted += 1
        self._connections.add(connection)
        self._sources[pair[0]] = of_source + 1
        self._pairs[pair] = of_pair + 1
        return True

    def forget(self, connection: _Connection, endpoint: Endpoint) -> None:
        """Count a connection out."""
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        _count_out(self._sources, endpoint.peer_ip)
        _count_out(self._pairs, (endpoint.peer_ip, endpoint.local_ip))


def _count_out(counts: dict[_Key, int], key: _Key) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]


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
