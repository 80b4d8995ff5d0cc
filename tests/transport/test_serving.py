"""A session that is driven over a line until nobody has said anything for long enough."""

from __future__ import annotations

import asyncio

import pytest

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.transport import serving
from blathy.transport.errors import TimedOut
from blathy.transport.line import Line
from blathy.transport.session import Stage

IDLE_S = 10


class Time:
    """Passes only while somebody waits on the line."""

    def __init__(self) -> None:
        self.now = Instant(0)

    def __call__(self) -> Instant:
        return self.now


class SilentLine(Line):
    """Says one thing at once, and then nothing any more."""

    def __init__(self, time: Time) -> None:
        super().__init__("a line")
        self.time = time
        self.said = False

    async def receive(self, timeout_s: float) -> bytes:
        if not self.said:
            self.said = True
            return b"hello"
        self.time.now = Instant(self.time.now + int(timeout_s * NANOSECONDS_PER_S))
        raise TimedOut("nothing came")


class Ticking:
    """A session that wants to be called every seven seconds, as an HDLC link may."""

    stage, frames, closing = Stage.CONNECTED, 0, False

    def __init__(self, every_s: int) -> None:
        self.every_ns = every_s * NANOSECONDS_PER_S
        self.due = Instant(self.every_ns)
        self.ended = False

    def receive(self, data: bytes, now: Instant) -> None: ...

    def data_to_send(self) -> bytes:
        return b""

    def deadline(self) -> Instant | None:
        return self.due

    def tick(self, now: Instant) -> None:
        self.due = Instant(now + self.every_ns)

    def lost(self) -> None:
        self.ended = True


@pytest.mark.parametrize("every_s", [3, 7, 10, 70])
def test_the_idle_time_counts_from_what_came_last_whatever_else_is_due(
    every_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    time, session = Time(), Ticking(every_s)
    monkeypatch.setattr(serving, "monotonic_now", time)

    async def work() -> None:
        line = SilentLine(time)
        await serving.serve_line(line, session, idle_s=IDLE_S)
        assert line.ended

    asyncio.run(work())
    assert session.ended
    assert time.now == IDLE_S * NANOSECONDS_PER_S
