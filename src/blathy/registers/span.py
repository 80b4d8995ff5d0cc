"""A quiet stretch of a block: one rate, one supply, one UTC offset, so it can be done at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from blathy.registers.block import Block
from blathy.registers.cells import Cells
from blathy.registers.rtc import Rtc

OPERATING_TIME: Final = "operating_s"
"""The counter of the seconds with supply: it runs with the intervals, like an energy."""
_NONE: Final = np.zeros(0, dtype=np.int64)
_NONE.setflags(write=False)


@dataclass(frozen=True, slots=True, eq=False)
class Boundaries:
    """Period ends inside a span: after how many of its intervals, stamped how, how many at once.

    A period ends with the interval in which the meter's clock reaches its end: `stamps` are the
    nominal ends, `after` is rounded up to whole intervals. What is measured of that interval
    behind the nominal end, up to `step_s` - 1 s, is still in the row, and the next one begins so
    much later: nothing is lost or counted twice. `merged` is above 1 where an interval is so long
    that several periods ended inside it.
    """

    after: Cells
    stamps: Cells
    merged: Cells

    def __len__(self) -> int:
        return len(self.after)


NO_BOUNDARIES: Final = Boundaries(_NONE, _NONE, _NONE)


def next_boundary(utc_s: int, offset_s: int, period_s: int) -> int:
    """The first end of a period after `utc_s`, with periods aligned to local time."""
    return utc_s + period_s - (utc_s + offset_s) % period_s


@dataclass(slots=True, eq=False)
class Span:
    """Intervals `first` … `last` - 1 of the block, with what holds during all of them.

    Intervals are whole: each belongs to one rate and to one period of every profile and demand
    (see `Boundaries` for the one in which a period ends).
    """

    block: Block
    first: int
    last: int
    cumulated: Cells  # (n + 1, flow): the block's flows added up
    rtc: Rtc
    rate: int
    offset_s: int
    flags: int
    operated_s: int  # the counter of the operating time when the span begins
    _boundaries: dict[int, Boundaries]

    @property
    def count(self) -> int:
        return self.last - self.first

    @property
    def duration_s(self) -> int:
        return self.count * self.block.step_s

    @property
    def start_true_s(self) -> int:
        return self.block.start_utc_s + self.first * self.block.step_s

    @property
    def end_true_s(self) -> int:
        return self.block.start_utc_s + self.last * self.block.step_s

    def flows(self, after: Cells) -> Cells:
        """The energy since the span began, after each of these numbers of intervals."""
        flows: Cells = self.cumulated[self.first + after] - self.cumulated[self.first]
        return flows

    def total_flow(self) -> Cells:
        """The energy of the whole span."""
        flow: Cells = self.cumulated[self.last] - self.cumulated[self.first]
        return flow

    def operated(self, after: Cells) -> Cells:
        """The operating time in s after each of these numbers of intervals."""
        seconds: Cells = self.operated_s + after * self.block.step_s
        return seconds

    def boundaries(self, period_s: int) -> Boundaries:
        """Where periods of this length end inside the span."""
        if period_s not in self._boundaries:
            self._boundaries[period_s] = self._find(period_s)
        return self._boundaries[period_s]

    def _find(self, period_s: int) -> Boundaries:
        start, end = self.start_true_s, self.end_true_s
        stamp = next_boundary(self.rtc.utc_s(start), self.offset_s, period_s)
        if self.rtc.true_s_when(stamp) > end:
            return NO_BOUNDARIES
        stamps = np.arange(stamp, self.rtc.utc_s(end) + 1, period_s, dtype=np.int64)
        seconds = self.rtc.true_s_when_all(stamps) - start
        after: Cells = -(-seconds // self.block.step_s)
        if len(after) == 1 or self.block.step_s <= 1 or (np.diff(after) > 0).all():
            return Boundaries(after, stamps, np.ones(len(after), dtype=np.int64))
        keep = np.append(np.diff(after) > 0, True)
        merged = np.diff(np.append(-1, np.flatnonzero(keep)))
        return Boundaries(after[keep], stamps[keep], merged)
