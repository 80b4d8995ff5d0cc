"""What a recording or a packet capture consists of: octets of one sender, in order."""

from __future__ import annotations

from dataclasses import dataclass

from blathy.transport.errors import MeterError


class CaptureError(MeterError):
    """A file or text that holds no conversation."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Octets of one sender.

    `datagram`: they stand alone, nothing continues them. `conversation` names the connection they
    belong to and `meter` its end that serves, where a packet capture tells it. `lost`: so many
    octets of this sender before these are not in the capture. `remark`: what has to be said of the
    source itself; such a chunk has no octets.
    """

    sender: str
    data: bytes
    datagram: bool = False
    conversation: str = ""
    meter: str = ""
    lost: int = 0
    remark: str = ""
