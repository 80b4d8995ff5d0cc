"""Ports for tests that must name one before somebody listens on it."""

from __future__ import annotations

import random
import socket
from typing import Final

PORTS: Final = range(10_000, 32_000)
"""Below the ports that systems give to outgoing connections: none of those can be in the way."""


def free_port() -> int:
    """A TCP port that is free now on every loopback address, and most likely stays so.

    It is drawn at random, so that test processes side by side do not choose the same one.
    """
    for port in random.SystemRandom().sample(PORTS, 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
