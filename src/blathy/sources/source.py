"""The port between a meter and whatever feeds it."""

from __future__ import annotations

from typing import Protocol

from blathy.registers.block import Block


class IntervalSource(Protocol):
    """Delivers consecutive intervals on demand.

    A replayable source answers for any time with the same numbers every time it is asked, so a
    meter may be stepped a month at once or caught up after a stop; a live source answers only for
    intervals that have just passed, and whatever it was not asked for is lost as it would be in a
    real meter.
    """

    @property
    def replayable(self) -> bool:
        """Whether past intervals can be asked for again."""

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        """`n` intervals of `step_s` seconds from `start_utc_s` on; `step_s` divides or is a
        multiple of 60. Raise ValueError for another step."""
