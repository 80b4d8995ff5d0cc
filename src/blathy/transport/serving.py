"""Drive a session over a line: a meter on a serial port, a pseudo terminal, or in memory."""

from __future__ import annotations

from blathy.clock import NANOSECONDS_PER_S
from blathy.transport.errors import MeterError, TimedOut
from blathy.transport.line import Line, monotonic_now
from blathy.transport.session import Session

IDLE_S = 3600.0


async def serve_line(line: Line, session: Session) -> None:
    """Answer until the line ends or the session closes it; follows changes of speed."""
    set_speed = getattr(line, "set_speed", None)
    speed = getattr(session, "speed", None)
    try:
        while not session.closing:
            deadline = session.deadline()
            wait_s = IDLE_S
            if deadline is not None:
                wait_s = max(0.0, (deadline - monotonic_now()) / NANOSECONDS_PER_S)
            try:
                data = await line.receive(wait_s)
            except TimedOut:
                session.tick(monotonic_now())
            else:
                session.receive(data, monotonic_now())
            if out := session.data_to_send():
                line.send(out)
            wanted = getattr(session, "speed", None)
            if wanted is not None and wanted != speed and set_speed is not None:
                speed = wanted
                await set_speed(speed[0], seven_bits=speed[1])
    except MeterError:
        pass  # the line is gone, and so is everything on it
    finally:
        session.lost()
        await line.close()
