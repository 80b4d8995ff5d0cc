"""The server side of one connection: a core that answers octets with octets.

Listeners, serial ports and memory lines drive a `Session` the same way: `receive` or `tick`, then
transmit `data_to_send()`, close when `closing`, and come back at `deadline()`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from blathy.clock import Instant


class Stage(IntEnum):
    """How far a peer has come; the listener's deadlines depend on it."""

    CONNECTED = 0
    FRAMED = 1  # a complete, valid frame has arrived
    ASSOCIATED = 2


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The two ends of a connection. The local address tells which meter is meant."""

    local_ip: str
    local_port: int
    peer_ip: str
    peer_port: int


class Session(Protocol):
    """What a listener drives. Nothing but bytes comes out and no exception does."""

    @property
    def stage(self) -> Stage:
        """How far the peer has come; may fall back when an association is released."""

    @property
    def frames(self) -> int:
        """Complete valid frames so far: progress that resets the idle time."""

    @property
    def closing(self) -> bool:
        """True when the connection has to be closed after the octets that are left."""

    def receive(self, data: bytes, now: Instant) -> None:
        """Take octets that arrived."""

    def data_to_send(self) -> bytes:
        """Octets to transmit now; empties the store."""

    def deadline(self) -> Instant | None:
        """When `tick` has to run, None for never."""

    def tick(self, now: Instant) -> None:
        """Run what is due."""

    def lost(self) -> None:
        """The connection is gone; every association on it ends."""


Transmit = Callable[[bytes], None]
SessionFactory = Callable[[Endpoint, Transmit], Session | None]
"""Makes the session of a new connection; None refuses it. The second argument transmits octets of
the server's own accord (a push on an open connection)."""
