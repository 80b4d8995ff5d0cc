"""Sockets watched together: any system's way of waiting, deadlines, peers that do not read."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from typing import Any

import pytest

from blathy.clock import Instant
from blathy.transport.errors import Garbled, MeterError
from blathy.transport.limits import ListenerLimits
from blathy.transport.line import TcpLine
from blathy.transport.listener import TcpListener
from blathy.transport.poller import READ, TICK_NS, WRITE, Deadlines, Poller
from tests.transport.test_listener import Echo, ask
from tests.waiting import run, until


async def rest_of(line: TcpLine) -> int:
    """Octets until the peer closes the line."""
    got = 0
    try:
        while True:
            got += len(await line.receive(120))
    except Garbled:
        return got


class Owner:
    """Takes what arrives on one end of a pair."""

    def __init__(self, sock: socket.socket, *, raises: bool = False) -> None:
        self.sock = sock
        self.raises = raises
        self.got = b""
        self.writable = 0
        self.aborted = False

    def ready(self, *, readable: bool, writable: bool) -> None:
        self.writable += writable
        if readable:
            self.got += self.sock.recv(100)
            if self.raises:
                raise RuntimeError("a session that fails")

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize("portable", [False, True], ids=["epoll", "portable"])
def test_each_owner_is_told_of_its_own_socket(portable: bool) -> None:
    async def test() -> None:
        poller = Poller(asyncio.get_running_loop(), portable=portable)
        pairs = [socket.socketpair() for _ in range(5)]
        owners = [Owner(near) for near, _ in pairs]
        for owner in owners:
            owner.sock.setblocking(False)
            poller.watch(owner.sock.fileno(), owner)
        assert len(poller) == 5
        for number, (_, far) in enumerate(pairs):
            far.send(bytes((number,)))
        await until(lambda: all(owner.got for owner in owners))
        assert [owner.got for owner in owners] == [bytes((n,)) for n in range(5)]
        poller.change(owners[0].sock.fileno(), READ | WRITE)
        await until(lambda: owners[0].writable > 0)
        for owner, (_, far) in zip(owners, pairs, strict=True):
            poller.forget(owner.sock.fileno())
            owner.sock.close()
            far.close()
        assert len(poller) == 0

    run(test)


def test_one_that_fails_is_closed_and_the_others_go_on() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        told: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _loop, context: told.append(context))
        poller = Poller(loop)
        pairs = [socket.socketpair() for _ in range(2)]
        owners = [Owner(near, raises=not n) for n, (near, _) in enumerate(pairs)]
        for owner, (_, far) in zip(owners, pairs, strict=True):
            poller.watch(owner.sock.fileno(), owner)
            far.send(b"x")
        await until(lambda: bool(owners[1].got) and bool(told))
        assert owners[0].aborted
        assert not owners[1].aborted
        assert "a session that fails" in str(told[0]["exception"])
        for owner, (_, far) in zip(owners, pairs, strict=True):
            poller.forget(owner.sock.fileno())
            owner.sock.close()
            far.close()

    run(test)


class Alarm:
    """Notes when it was due, and sets itself again as often as it is told."""

    def __init__(self, deadlines: Deadlines, again: int = 0) -> None:
        self.deadlines = deadlines
        self.again = again
        self.seen: list[Instant] = []

    def due(self, now: Instant) -> None:
        self.seen.append(now)
        if self.again:
            self.again -= 1
            self.deadlines.set(self, now)


def test_deadlines_come_in_their_order_never_early_and_can_be_taken_back() -> None:
    async def test() -> None:
        deadlines = Deadlines(asyncio.get_running_loop())
        begun = time.monotonic_ns()
        alarms = {ms: Alarm(deadlines) for ms in (400, 100, 250, 150)}
        buckets = {ms: deadlines.set(one, begun + ms * 1_000_000) for ms, one in alarms.items()}
        deadlines.forget(alarms[150], buckets[150])
        await until(lambda: bool(alarms[400].seen))
        assert not alarms[150].seen
        for ms in (100, 250, 400):
            assert len(alarms[ms].seen) == 1
            assert alarms[ms].seen[0] >= begun + ms * 1_000_000
        assert alarms[100].seen[0] < alarms[400].seen[0]
        deadlines.stop()

    run(test)


def test_a_deadline_in_the_past_comes_at_once_and_set_again_does_not_hold_the_loop() -> None:
    async def test() -> None:
        deadlines = Deadlines(asyncio.get_running_loop())
        eager = Alarm(deadlines, again=5)
        deadlines.set(eager, 0)
        await until(lambda: len(eager.seen) == 6)
        apart = [b - a for a, b in zip(eager.seen, eager.seen[1:], strict=False)]
        assert all(each > 0 for each in apart)
        assert sum(apart) >= 4 * TICK_NS
        deadlines.stop()

    run(test)


class Talker(Echo):
    """Answers every line with a megabyte."""

    def receive(self, data: bytes, now: Instant) -> None:
        super().receive(data, now)
        self._out = self._out and b"x" * (1 << 20)


def test_an_answer_longer_than_the_socket_takes_arrives_whole() -> None:
    async def test() -> None:
        listener = TcpListener(Talker, ListenerLimits(unsent_octets_max=1 << 21))
        port = await listener.start(port=0)
        line = await TcpLine.connect("127.0.0.1", port)
        line.send(b"hello\n")
        got = 0
        while got < 1 << 20:
            got += len(await line.receive(120))
        assert got == 1 << 20
        line.send(b"bye\n")  # what is left is sent before the connection is closed
        assert await rest_of(line) == 1 << 20
        await until(lambda: not listener.connections)
        await listener.stop()

    run(test)


def test_a_request_longer_than_the_socket_takes_arrives_whole() -> None:
    async def test() -> None:
        listener = TcpListener(Echo, ListenerLimits(unsent_octets_max=1 << 24))
        port = await listener.start(port=0)
        line = await TcpLine.connect("127.0.0.1", port)
        long = b"x" * (1 << 22)
        line.send(long[: 1 << 21])
        line.send(long[1 << 21 :] + b"\n")
        line.send(b"bye\n")
        assert await rest_of(line) == len(b"127.0.0.1 \n127.0.0.1 bye\n") + len(long)
        await listener.stop()

    run(test)


def test_a_peer_that_does_not_read_its_answers_is_let_go() -> None:
    async def test() -> None:
        listener = TcpListener(Talker, ListenerLimits(unsent_octets_max=1 << 20))
        port = await listener.start(port=0)
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.sendall(b"hello\n")
            for _ in range(64):
                await asyncio.sleep(0.01)
                if listener.counters.evicted_unread:
                    break
                peer.sendall(b"hello\n")
            await until(lambda: listener.counters.evicted_unread == 1)
            assert listener.connections == 0
        await listener.stop()

    run(test)


def test_a_closed_line_still_sends_what_it_was_given() -> None:
    async def test() -> None:
        server = socket.create_server(("127.0.0.1", 0))
        server.setblocking(False)
        loop = asyncio.get_running_loop()
        line = await TcpLine.connect(*server.getsockname())
        taken, _ = await loop.sock_accept(server)
        line.send(b"x" * (1 << 22))
        await line.close()
        got = 0
        while data := await loop.sock_recv(taken, 1 << 16):
            got += len(data)
        assert got == 1 << 22
        taken.close()
        server.close()

    run(test)


def test_without_file_handles_accepting_pauses_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        listener = TcpListener(Echo)
        port = await listener.start(port=0)
        accept = socket.socket.accept
        failures = 2

        def scarce(sock: socket.socket) -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return accept(sock)

        monkeypatch.setattr("blathy.transport.listener.ACCEPT_PAUSE_S", 0.05)
        monkeypatch.setattr(socket.socket, "accept", scarce)
        line = await TcpLine.connect("127.0.0.1", port)
        line.send(b"who\n")
        assert await line.receive(120) == b"127.0.0.1 who\n"
        assert listener.counters.paused == 2
        await line.close()
        await listener.stop()

    run(test)


def test_a_half_closed_peer_and_a_reset_end_their_sessions() -> None:
    async def test() -> None:
        sessions: list[Echo] = []

        def factory(endpoint: Any, transmit: Any) -> Echo:
            sessions.append(Echo(endpoint, transmit))
            return sessions[-1]

        listener = TcpListener(factory)
        port = await listener.start(port=0)
        for linger in (None, b"\x01\0\0\0\0\0\0\0"):
            peer = socket.create_connection(("127.0.0.1", port))
            await until(lambda: listener.connections == 1)
            if linger:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                peer.close()
            else:
                peer.shutdown(socket.SHUT_WR)
            await until(lambda: listener.connections == 0)
            peer.close()
        assert [session.is_lost for session in sessions] == [True, True]
        line = await TcpLine.connect("127.0.0.1", port)
        assert await ask(line, b"still here") == b"127.0.0.1 still here\n"
        await listener.stop()
        with pytest.raises(MeterError):
            await line.receive(120)
        await line.close()

    run(test)
