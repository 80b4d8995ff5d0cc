"""The listener: one socket for many meters, and every limit at its bound and one above it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from blathy.clock import Instant
from blathy.transport.errors import Garbled, MeterError, Refused, TimedOut, Unreachable
from blathy.transport.limits import LineLimits, ListenerLimits
from blathy.transport.line import Line, TcpLine, UdpLine
from blathy.transport.listener import ANY_LOOPBACK, TcpListener, UdpListener, bind_socket
from blathy.transport.memory import Faults, SessionLine, pair
from blathy.transport.session import Endpoint, Session, Stage, Transmit
from tests.waiting import run, until


class Echo:
    """Answers each line of text with the address it came to; `hello` counts as association."""

    def __init__(self, endpoint: Endpoint, transmit: Transmit | None = None) -> None:
        self.endpoint = endpoint
        self.transmit = transmit
        self.stage = Stage.CONNECTED
        self.frames = 0
        self.closing = False
        self.is_lost = False
        self._in = b""
        self._out = b""

    def receive(self, data: bytes, now: Instant) -> None:
        self._in += data
        while b"\n" in self._in:
            line, _, self._in = self._in.partition(b"\n")
            self.frames += 1
            self.stage = Stage.ASSOCIATED if line == b"hello" else max(self.stage, Stage.FRAMED)
            self.closing = line == b"bye"
            self._out += self.endpoint.local_ip.encode() + b" " + line + b"\n"

    def data_to_send(self) -> bytes:
        data, self._out = self._out, b""
        return data

    def deadline(self) -> Instant | None:
        return None

    def tick(self, now: Instant) -> None:
        pass

    def lost(self) -> None:
        self.is_lost = True


async def ask(line: Line, text: bytes) -> bytes:
    line.send(text + b"\n")
    return await line.receive(60)


async def drain(line: Line) -> None:
    while True:
        await line.receive(60)


def test_one_socket_serves_any_loopback_address() -> None:
    async def test() -> None:
        listener = TcpListener(Echo)
        port = await listener.start(port=0)
        for host in ("127.0.0.1", "127.1.2.3", "127.200.0.9"):
            line = await TcpLine.connect(host, port)
            assert await ask(line, b"who") == host.encode() + b" who\n"
            await line.close()
        await listener.stop()

    run(test)


def test_addresses_outside_the_machine_are_not_bound_unasked() -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::"):
        with pytest.raises(Refused, match="outside"):
            bind_socket(socket.SOCK_STREAM, host, 0, outside=False)


@pytest.mark.parametrize("kind", [TcpListener, UdpListener])
@pytest.mark.parametrize("host", ["127.0.0.1", ANY_LOOPBACK])
def test_a_taken_port_says_so(kind: type[TcpListener | UdpListener], host: str) -> None:
    async def test() -> None:
        listener = kind(Echo)
        port = await listener.start(host, 0)
        with pytest.raises(Refused, match="taken"):
            await kind(Echo).start(host, port)
        await listener.stop()

    run(test)


def test_unknown_meters_are_refused() -> None:
    async def test() -> None:
        def factory(endpoint: Endpoint, transmit: Transmit) -> Session | None:
            return Echo(endpoint) if endpoint.local_ip == "127.0.0.5" else None

        listener = TcpListener(factory)
        port = await listener.start(port=0)
        line = await TcpLine.connect("127.0.0.5", port)
        assert await ask(line, b"x")
        other = await TcpLine.connect("127.0.0.6", port)
        with pytest.raises(MeterError):
            await other.receive(2)
        assert listener.counters.refused_unknown == 1
        await line.close()
        await listener.stop()

    run(test)


@pytest.mark.parametrize(
    ("limits", "counter"),
    [
        (ListenerLimits(connections_max=3), "refused_full"),
        (ListenerLimits(connections_per_source_max=3), "refused_source"),
        (ListenerLimits(connections_per_source_and_meter_max=3), "refused_source"),
    ],
)
def test_connection_limits_hold_at_the_bound_and_places_come_free(
    limits: ListenerLimits, counter: str
) -> None:
    async def test() -> None:
        listener = TcpListener(Echo, limits)
        port = await listener.start(port=0)
        lines = [await TcpLine.connect("127.0.0.1", port) for _ in range(3)]
        for line in lines:
            assert await ask(line, b"x")
        fourth = await TcpLine.connect("127.0.0.1", port)
        with pytest.raises(MeterError):
            await fourth.receive(2)
        assert getattr(listener.counters, counter) == 1
        await lines[0].close()
        await until(lambda: listener.connections == 2)
        assert await ask(await TcpLine.connect("127.0.0.1", port), b"again")
        await listener.stop()

    run(test)


FAST = ListenerLimits(first_frame_s=0.7, association_s=1.4, idle_s=2.1)


@pytest.mark.parametrize(
    ("says", "counter", "at_least_s"),
    [
        (b"", "evicted_first_frame", 0.7),
        (b"no end of line", "evicted_first_frame", 0.7),
        (b"a frame\n", "evicted_association", 1.4),
        (b"hello\n", "evicted_idle", 2.1),
    ],
)
def test_peers_that_do_not_get_on_are_evicted(says: bytes, counter: str, at_least_s: float) -> None:
    async def test() -> None:
        listener = TcpListener(Echo, FAST)
        port = await listener.start(port=0)
        loop = asyncio.get_running_loop()
        began = loop.time()
        line = await TcpLine.connect("127.0.0.1", port)
        if says:
            line.send(says)
        with pytest.raises(MeterError):
            await drain(line)
        assert at_least_s - 0.05 <= loop.time() - began
        assert getattr(listener.counters, counter) == 1
        assert listener.connections == 0
        await listener.stop()

    run(test)


def test_slow_peers_are_evicted_while_a_good_one_is_served() -> None:
    async def test() -> None:
        limits = ListenerLimits(first_frame_s=0.4, association_s=0.8, idle_s=20)
        listener = TcpListener(Echo, ListenerLimits(
            connections_per_source_and_meter_max=400, first_frame_s=0.4, association_s=0.8,
            idle_s=limits.idle_s,
        ))  # fmt: skip
        port = await listener.start(port=0)
        good = await TcpLine.connect("127.0.0.1", port)
        assert await ask(good, b"hello")
        slow = [await TcpLine.connect("127.0.0.1", port) for _ in range(300)]
        for _ in range(8):
            for line in slow:
                if not line.ended:
                    line.send(b"x")
            assert await ask(good, b"hello") == b"127.0.0.1 hello\n"
            await asyncio.sleep(0.1)
        await until(lambda: listener.connections == 1)
        assert listener.counters.evicted_first_frame == 300
        await listener.stop()

    run(test)


def test_a_session_that_wants_to_close_is_closed_after_its_last_octets() -> None:
    async def test() -> None:
        sessions: list[Echo] = []

        def factory(endpoint: Endpoint, transmit: Transmit) -> Session:
            sessions.append(Echo(endpoint, transmit))
            return sessions[-1]

        listener = TcpListener(factory)
        port = await listener.start(port=0)
        line = await TcpLine.connect("127.0.0.1", port)
        await ask(line, b"hello")
        assert sessions[0].transmit is not None
        sessions[0].transmit(b"pushed")
        assert await line.receive(60) == b"pushed"
        assert await ask(line, b"bye") == b"127.0.0.1 bye\n"
        with pytest.raises(Garbled, match="closed"):
            await line.receive(60)
        await until(lambda: sessions[0].is_lost)
        await listener.stop()

    run(test)


def test_datagrams_reach_the_meter_of_their_address_and_answers_come_from_it() -> None:
    async def test() -> None:
        listener = UdpListener(Echo)
        port = await listener.start(port=0)
        for host in ("127.0.0.1", "127.9.8.7"):
            line = await UdpLine.connect(host, port)
            assert await ask(line, b"who") == host.encode() + b" who\n"
            await line.close()
        await listener.stop()

    run(test)


def test_outcomes_of_lines_that_do_not_come_about() -> None:
    async def test() -> None:
        listener = TcpListener(Echo)
        port = await listener.start(port=0)
        await listener.stop()
        with pytest.raises(Refused, match="refuses"):
            await TcpLine.connect("127.0.0.1", port)
        with pytest.raises(Unreachable):
            await TcpLine.connect("no.such.host.invalid", port)
        with pytest.raises(Unreachable):
            await TcpLine.connect("127.0.0.1", 70_000)
        full = socket.socket()
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        taken = [socket.socket() for _ in range(4)]
        for sock in taken:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        with pytest.raises(TimedOut):
            await TcpLine.connect(*full.getsockname(), limits=LineLimits(connect_s=0.2))
        for sock in (full, *taken):
            sock.close()

    run(test)


def test_silence_times_out_and_a_flood_is_cut_off() -> None:
    async def test() -> None:
        one, two = pair()
        with pytest.raises(TimedOut, match="no answer"):
            await one.receive(0.05)
        one.limits = LineLimits(unread_octets_max=1000)
        two.send(bytes(600))
        two.send(bytes(600))
        await asyncio.sleep(0.01)
        assert len(await one.receive(1)) == 600
        with pytest.raises(Garbled, match="without end"):
            await one.receive(1)
        await one.close()

    run(test)


def test_faults_come_from_their_seed() -> None:
    async def deliver(faults: Faults) -> list[bytes]:
        one, two = pair(faults)
        got: list[bytes] = []
        for number in range(50):
            one.send(bytes((number, 0, 0, 0)))
        try:
            while True:
                got.append(await two.receive(0.1))
        except TimedOut:
            return got

    async def test() -> None:
        rough = Faults(loss=0.3, duplication=0.2, corruption=0.2, delay_s=0.001, seed=7)
        one, again = await deliver(rough), await deliver(rough)
        assert b"".join(one) == b"".join(again)
        assert b"".join(one) != b"".join(await deliver(Faults()))

    run(test)


def test_a_session_behind_a_line_in_memory() -> None:
    async def test() -> None:
        session = Echo(Endpoint("meter", 1, "client", 2))
        line = SessionLine(session, there=Faults(chunk_octets=1))
        assert await ask(line, b"who") == b"meter who\n"
        line.send(b"bye\n")
        assert await line.receive(1) == b"meter bye\n"
        with pytest.raises(Garbled):
            await line.receive(1)
        await line.close()

    run(test)
