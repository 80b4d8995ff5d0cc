"""Drive a session over a line: a meter on a serial port, a pseudo terminal, or in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from blathy.clock import NANOSECONDS_PER_S
from blathy.transport.errors import MeterError, TimedOut, Unreachable
from blathy.transport.line import Line, monotonic_now
from blathy.transport.session import Session

IDLE_S = 3600.0
Speed = tuple[int, bool]
"""Rate in Bd, and whether 7E1 (else 8N1)."""


@runtime_checkable
class SpeedLine(Protocol):
    """A serial line whose speed can be changed."""

    async def set_speed(self, baud: int, *, seven_bits: bool) -> None:
        """From the next octet on: 7E1 or 8N1 at this rate."""


@runtime_checkable
class SpeedSession(Session, Protocol):
    """A session that sets the speed of a serial line: at its begin, and where a sign-on says."""

    @property
    def speed(self) -> Speed | None:
        """What the line is to run at, where that is known."""

    @property
    def reaction_s(self) -> float:
        """How long what came is answered after."""

    def speed_changes(self) -> list[tuple[int, Speed]]:
        """After how many octets of `data_to_send`, which is to be called next, at which speed."""


async def serve_line(line: Line, session: Session, *, idle_s: float = 0.0) -> None:
    """Answer until the line ends, the session closes it, or nothing has come for `idle_s` (0: for
    ever); follows changes of speed."""
    try:
        await _answer(line, session, idle_s)
    except MeterError:
        pass  # the line is gone, and so is everything on it
    finally:
        await line.close()


async def serve_port(line: Line, make: Callable[[], Session]) -> MeterError:
    """Answer with one session after the other until the line ends; returns why it did."""
    try:
        while not line.ended:
            await _answer(line, make())
    except MeterError as error:
        return error
    finally:
        await line.close()
    return line.end_or(Unreachable(f"{line.name} is closed"))


async def _answer(line: Line, session: Session, idle_s: float = 0.0) -> None:
    changing = session if isinstance(session, SpeedSession) else None
    if changing is not None and changing.speed is not None:
        await _set_speed(line, changing.speed)
    idle_ns = int(idle_s * NANOSECONDS_PER_S)
    ends_at = monotonic_now() + idle_ns if idle_ns else None
    try:
        while not session.closing:
            now, dues = monotonic_now(), (session.deadline(), ends_at)
            if ends_at is not None and now >= ends_at:
                return
            due = min((due for due in dues if due is not None), default=None)
            wait_s = IDLE_S if due is None else max(0.0, (due - now) / NANOSECONDS_PER_S)
            reaction_s = 0.0
            try:
                data = await line.receive(wait_s)
            except TimedOut:
                session.tick(monotonic_now())
            else:
                now = monotonic_now()
                ends_at = now + idle_ns if idle_ns else None
                session.receive(data, now)
                reaction_s = changing.reaction_s if changing is not None else 0.0
            changes = changing.speed_changes() if changing is not None else []
            if out := session.data_to_send():
                await asyncio.sleep(reaction_s)
            await _send(line, out, changes)
    finally:
        session.lost()


async def _send(line: Line, out: bytes, changes: list[tuple[int, Speed]]) -> None:
    """What a session has to say, at the speed that each part of it needs."""
    sent = 0
    for octets_before, speed in changes:
        if out[sent:octets_before]:
            line.send(out[sent:octets_before])
        sent = octets_before
        await _set_speed(line, speed)
    if out[sent:]:
        line.send(out[sent:])


async def _set_speed(line: Line, speed: Speed) -> None:
    if isinstance(line, SpeedLine):
        await line.set_speed(speed[0], seven_bits=speed[1])
