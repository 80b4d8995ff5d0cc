"""Lines in memory with the faults of real ones, all drawn from one seed.

`pair` gives the two ends of a line; `SessionLine` puts a server session behind a client's line
without any socket, for tests and for whole simulated towns.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from blathy.transport.errors import Garbled, Unreachable
from blathy.transport.limits import LINE, LineLimits
from blathy.transport.line import Line, monotonic_now
from blathy.transport.session import Session


@dataclass(frozen=True, slots=True)
class Faults:
    """Probabilities per transmission, times in seconds; the default is a perfect line."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0  # one bit of one octet
    delay_s: float = 0.0
    jitter_s: float = 0.0
    chunk_octets: int = 0  # deliver in pieces of this size; 0: whole
    seed: int = 0


PERFECT = Faults()


class _Channel:
    """One direction: applies the faults and delivers through the event loop, in order."""

    def __init__(self, faults: Faults, deliver: Callable[[bytes], None]) -> None:
        self._faults = faults
        self._random = random.Random(faults.seed)  # noqa: S311 - a simulated line, no secret
        self._deliver = deliver
        self._free_at = 0.0
        self._loop = asyncio.get_running_loop()

    def transmit(self, data: bytes) -> None:
        faults, draw = self._faults, self._random
        if faults.loss and draw.random() < faults.loss:
            return
        copies = 2 if faults.duplication and draw.random() < faults.duplication else 1
        if faults.corruption and draw.random() < faults.corruption:
            damaged = bytearray(data)
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
            data = bytes(damaged)
        size = faults.chunk_octets or len(data)
        for _ in range(copies):
            for start in range(0, len(data), size):
                self._schedule(data[start : start + size])

    def _schedule(self, piece: bytes) -> None:
        faults = self._faults
        if not faults.delay_s and not faults.jitter_s:
            self._loop.call_soon(self._deliver, piece)
            return
        at = self._loop.time() + faults.delay_s + faults.jitter_s * self._random.random()
        self._free_at = max(self._free_at, at)
        self._loop.call_at(self._free_at, self._deliver, piece)


class MemoryLine(Line):
    """One end of a line in memory."""

    def __init__(self, name: str, limits: LineLimits = LINE) -> None:
        super().__init__(name, limits)
        self._channel: _Channel | None = None
        self._peer: MemoryLine | None = None

    def join(self, peer: MemoryLine, faults: Faults) -> None:
        """Transmit to `peer` with these faults."""
        self._peer = peer
        self._channel = _Channel(faults, peer.arrive)

    def arrive(self, data: bytes) -> None:
        if not self.ended:
            self.feed(data)

    def send(self, data: bytes) -> None:
        if self._channel is None or self.ended:
            raise self.end_or(Unreachable(f"{self.name} is closed"))
        if data:
            self._channel.transmit(data)

    async def close(self) -> None:
        await super().close()
        if self._peer is not None:
            self._peer.finish(Garbled(f"{self._peer.name}: the other end closed the line"))


def pair(there: Faults = PERFECT, back: Faults = PERFECT) -> tuple[MemoryLine, MemoryLine]:
    """The two ends of a line; `there` rules from the first to the second."""
    one, two = MemoryLine("memory line A"), MemoryLine("memory line B")
    one.join(two, there)
    two.join(one, back)
    return one, two


class SessionLine(Line):
    """A client's line with a server session at its other end."""

    def __init__(
        self,
        session: Session,
        there: Faults = PERFECT,
        back: Faults = PERFECT,
        *,
        datagrams: bool = False,
    ) -> None:
        super().__init__("meter in memory")
        self.datagrams = datagrams
        self._session = session
        self._there = _Channel(there, self._serve)
        self._back = _Channel(back, self._arrive)
        self._timer: asyncio.TimerHandle | None = None

    def transmit(self, data: bytes) -> None:
        """From the session to the client, also of its own accord."""
        if data:
            self._back.transmit(data)

    def _arrive(self, data: bytes) -> None:
        if not self.ended:
            self.feed(data)

    def _serve(self, data: bytes) -> None:
        if not self._session.closing:
            self._session.receive(data, monotonic_now())
            self._flush()

    def _tick(self) -> None:
        self._timer = None
        self._session.tick(monotonic_now())
        self._flush()

    def _flush(self) -> None:
        self.transmit(self._session.data_to_send())
        if self._session.closing:
            self._loop.call_soon(self.finish, Garbled(f"{self.name}: the meter closed the line"))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._session.deadline()
        if deadline is not None and not self.ended:
            delay_s = max(0, deadline - monotonic_now()) / 1e9
            self._timer = self._loop.call_later(delay_s, self._tick)

    def send(self, data: bytes) -> None:
        if self.ended:
            raise self.end_or(Unreachable(f"{self.name} is closed"))
        if data:
            self._there.transmit(data)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.ended:
            self._session.lost()
        await super().close()
