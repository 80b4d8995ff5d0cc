"""Drive a session over a line: a meter on a serial port, a pseudo terminal, or in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from blathy.clock import NANOSECONDS_PER_S
from blathy.transport.errors import MeterError, TimedOut, Unreachable
from blathy.transport.line import Line, monotonic_now
from blathy.transport.session import Session

IDLE_S = 3600.0


@runtime_checkable
class SpeedLine(Protocol):
    """A serial line whose speed can be changed."""

    async def set_speed(self, baud: int, *, seven_bits: bool) -> None:
        """From the next octet on: 7E1 or 8N1 at this rate."""


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
    speed: Any = getattr(session, "speed", None)
    if speed is not None and isinstance(line, SpeedLine):
        await line.set_speed(speed[0], seven_bits=speed[1])
    heard, idle_ns = monotonic_now(), int(idle_s * NANOSECONDS_PER_S)
    try:
        while not session.closing:
            if idle_ns and monotonic_now() - heard >= idle_ns:
                return
            deadline = session.deadline()
            wait_s = idle_s or IDLE_S
            if deadline is not None:
                due_s = max(0.0, (deadline - monotonic_now()) / NANOSECONDS_PER_S)
                wait_s = min(wait_s, due_s) if idle_ns else due_s
            reaction_s = 0.0
            try:
                data = await line.receive(wait_s)
            except TimedOut:
                session.tick(monotonic_now())
            else:
                heard = monotonic_now()
                session.receive(data, heard)
                reaction_s = getattr(session, "reaction_s", 0.0)
            await _send(line, session, reaction_s)
    finally:
        session.lost()


async def _send(line: Line, session: Session, reaction_s: float) -> None:
    """What the session has to say, at the speed that each part of it needs."""
    changes = session.speed_changes() if hasattr(session, "speed_changes") else []
    out, sent = session.data_to_send(), 0
    if out and reaction_s:
        await asyncio.sleep(reaction_s)
    for octets_before, (baud, seven_bits) in changes:
        if out[sent:octets_before]:
            line.send(out[sent:octets_before])
        sent = octets_before
        if isinstance(line, SpeedLine):
            await line.set_speed(baud, seven_bits=seven_bits)
    if out[sent:]:
        line.send(out[sent:])
