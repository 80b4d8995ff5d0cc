"""Every limit of the listeners and lines, in one table.

Precedents: nginx gives a client 60 s for its header and httpd 20 s; a DLMS meter on a
GPRS line needs 2 to 5 s for a frame; IEC 62056-46 uses 120 s of inactivity.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """What one listener grants. Times in seconds from the moment they name."""

    connections_max: int = 20_000
    connections_per_source_max: int = 10_000  # a head-end reads a whole town from one address
    connections_per_source_and_meter_max: int = 8
    first_frame_s: float = 10.0  # from accept to the first complete frame
    association_s: float = 30.0  # from accept to the association
    idle_s: float = 120.0  # without a complete frame, once associated
    unsent_octets_max: int = 1 << 20  # a peer that does not read its answers is dropped
    backlog: int = 4096

    def __post_init__(self) -> None:
        if not 0 < self.first_frame_s <= self.association_s <= self.idle_s:
            msg = "first frame, association and idle time must not get shorter in this order"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class LineLimits:
    """What one line is granted."""

    connect_s: float = 10.0
    response_s: float = 10.0
    unread_octets_max: int = 1 << 22
    unsent_octets_max: int = 1 << 22
    closing_s: float = 30.0
    """So long what is unsent may still go out after the line was closed."""


LISTENER = ListenerLimits()
LINE = LineLimits()
