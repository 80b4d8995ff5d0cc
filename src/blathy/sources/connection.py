"""Whether the load of a point is connected: what its meter's breaker did, second by second.

The meter tells; the head of the feeder asks, so that it does not count a load that an open breaker
kept from drawing. The meter must have gone on at least as far as the head is asked for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Final

CHANGES_KEPT: Final = 4096
"""More than a breaker makes in a day of catching up; the oldest are forgotten."""


@dataclass(slots=True)
class LoadConnection:
    """Connected until it is told otherwise. Times are true seconds since 1970 (UTC)."""

    _at: list[int] = field(default_factory=list)
    _connected: list[bool] = field(default_factory=list)

    def tell(self, from_utc_s: int, connected: bool) -> None:
        """From this second on, which is not before one that was told already."""
        if connected == (self._connected[-1] if self._connected else True):
            return
        self._at.append(from_utc_s)
        self._connected.append(connected)
        del self._at[:-CHANGES_KEPT], self._connected[:-CHANGES_KEPT]

    def connected(self, at_utc_s: int) -> bool:
        """Whether the load can draw in the second that begins at `at_utc_s`."""
        place = bisect_right(self._at, at_utc_s)
        return self._connected[place - 1] if place else True

    def changes(self, after_utc_s: int, before_utc_s: int) -> list[int]:
        """The seconds after `after_utc_s` and before `before_utc_s` from which it changed."""
        first = bisect_right(self._at, after_utc_s)
        return self._at[first : bisect_left(self._at, before_utc_s, first)]
