"""Retries: exponential back-off with full jitter, and the waiting list of quarantined meters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

FIRST_S: Final = 2.0
FACTOR: Final = 2.0
LONGEST_S: Final = 900.0


@dataclass(slots=True)
class Backoff:
    """When to try again. `draw` gives a number in [0, 1)."""

    draw: Callable[[], float]
    first_s: float = FIRST_S
    longest_s: float = LONGEST_S
    attempt: int = 0

    def delay_s(self) -> float:
        """The next delay: between a half and all of `first_s` x 2^attempt, at most `longest_s`."""
        ceiling = min(self.longest_s, self.first_s * FACTOR ** min(self.attempt, 40))
        self.attempt += 1
        return ceiling * (0.5 + 0.5 * self.draw())

    def reset(self) -> None:
        self.attempt = 0
