"""DLMS on real sockets: UDP, several clients at once, and the map of the system's errors."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from blathy.client import Meter, ObjectCache, VolatileCounterStore
from blathy.quantity import Quantity, Unit
from blathy.transport.dlms_session import dlms_sessions, serve_dlms
from blathy.transport.errors import (
    Garbled,
    MeterError,
    Refused,
    TimedOut,
    Unreachable,
    from_os_error,
)
from blathy.transport.line import TcpLine
from blathy.transport.listener import UdpListener
from tests.client.small_meter import SECURE, SmallMeter, device, lookup

ENERGY = Quantity(1_234_567, 0, Unit.WH)


def test_udp_serves_any_loopback_address_with_security() -> None:
    async def test() -> None:
        listener = UdpListener(dlms_sessions(lookup(device(SmallMeter()))))
        port = await listener.start(port=0)
        for host in ("127.0.0.1", "127.3.2.1"):
            url = f"dlms+udp://{host}:{port}?{SECURE}&pdu=400"
            async with Meter.connect(
                url, counters=VolatileCounterStore(), cache=ObjectCache()
            ) as meter:
                assert await meter.read("1-0:1.8.0") == ENERGY
                assert len(await meter.profile("1-0:99.1.0")) == 96
        await listener.stop()

    asyncio.run(asyncio.wait_for(test(), 240))


def test_fifty_clients_at_once() -> None:
    async def test() -> None:
        found = device(SmallMeter())
        listener, port = await serve_dlms(lookup(found), port=0)
        cache, counters = ObjectCache(), VolatileCounterStore()

        async def one(number: int) -> int:
            url = f"dlms://127.0.1.{number}:{port}?client=16"
            async with Meter.connect(url, counters=counters, cache=cache) as meter:
                assert await meter.read("1-0:1.8.0") == ENERGY
                return len(await meter.profile("1-0:99.1.0"))

        assert await asyncio.gather(*(one(n) for n in range(1, 51))) == [96] * 50
        await listener.stop()

    asyncio.run(asyncio.wait_for(test(), 240))


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x02\x00\x10", b"\x16\x03\x01"]
)
def test_what_is_no_dlms_is_closed_unanswered(octets: bytes) -> None:
    async def test() -> None:
        listener, port = await serve_dlms(lookup(device(SmallMeter())), port=0)
        line = await TcpLine.connect("127.0.0.1", port)
        line.send(octets.ljust(16, b"\0"))
        with pytest.raises(MeterError):
            await line.receive(5)
        await listener.stop()

    asyncio.run(asyncio.wait_for(test(), 240))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), Refused),
        (PermissionError(errno.EACCES, ""), Refused),
        (OSError(errno.EHOSTUNREACH, ""), Unreachable),
        (OSError(errno.ENETUNREACH, ""), Unreachable),
        (OSError(errno.EMFILE, ""), Unreachable),
        (FileNotFoundError(errno.ENOENT, ""), Unreachable),
        (socket.gaierror(-2, ""), Unreachable),
        (OSError(errno.EIO, "odd"), Unreachable),
        (TimeoutError(), TimedOut),
        (OSError(errno.ETIMEDOUT, ""), TimedOut),
        (ConnectionResetError(errno.ECONNRESET, ""), Garbled),
        (BrokenPipeError(errno.EPIPE, ""), Garbled),
    ],
)
def test_every_error_of_the_system_is_one_of_five_outcomes(
    error: OSError, outcome: type[MeterError]
) -> None:
    found = from_os_error(error, "10.0.0.7:4059")
    assert type(found) is outcome
    assert "10.0.0.7:4059" in str(found)
    assert found.remedy
