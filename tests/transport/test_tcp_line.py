"""A TCP line towards somebody who does not do his part."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from blathy.transport.errors import Garbled
from blathy.transport.limits import LineLimits
from blathy.transport.line import TcpLine


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """Listens, and never reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        yield server


async def _line_to(server: socket.socket, limits: LineLimits) -> tuple[TcpLine, socket.socket]:
    line = await TcpLine.connect(*server.getsockname()[:2], limits=limits)
    peer, _ = server.accept()
    return line, peer


def test_what_a_peer_does_not_take_is_kept_up_to_a_limit(deaf: socket.socket) -> None:
    async def work() -> None:
        line, peer = await _line_to(deaf, LineLimits(unsent_octets_max=100_000))
        with peer:
            for _ in range(10_000):  # 600 MB, far beyond what the system keeps
                if line.ended:
                    break
                line.send(bytes(60_000))
            with pytest.raises(Garbled, match="does not take what it is sent"):
                line.send(b"1")

    asyncio.run(work())


def test_a_closed_line_does_not_wait_for_ever_for_a_peer_that_does_not_read(
    deaf: socket.socket,
) -> None:
    async def work() -> None:
        line, peer = await _line_to(deaf, LineLimits(closing_s=0.05))
        with peer:
            line.send(bytes(50_000_000))
            await line.close()
            peer.settimeout(120)
            taken = 0
            await asyncio.sleep(0.2)  # the line is gone by now, whatever is unsent with it
            while octets := peer.recv(1 << 20):
                taken += len(octets)
        assert taken < 50_000_000

    asyncio.run(work())
