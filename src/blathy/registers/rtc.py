"""The real-time clock against true time: drift, corrections, reserve without supply, validity.

Everything is linear in integers (nanoseconds, parts per billion), so advancing in many small steps
or one large one gives the same clock.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from blathy.registers.cells import CellReader, Cells, CellWriter
from blathy.registers.plan import ClockPlan

NS: Final = 1_000_000_000
EARLIEST_UTC_S: Final = 946_684_800
"""2000-01-01: no meter clock is set to a time before."""
LATEST_UTC_S: Final = 4_294_967_295
"""2106-02-07: the largest time an unsigned 32-bit time stamp can say."""


class Rtc:
    """`utc_s(true_s)` is what the meter's clock shows at a second of true time."""

    __slots__ = ("_anchor_s", "_down_s", "_offset_ns", "drift_ppb", "reserve_s", "valid")

    def __init__(self, plan: ClockPlan, start_utc_s: int) -> None:
        self.drift_ppb = plan.drift_ppb
        self.reserve_s = plan.reserve_s
        self.valid = True
        self._anchor_s = start_utc_s
        self._offset_ns = 0
        self._down_s = -1

    def utc_ns(self, true_s: int) -> int:
        """The clock in nanoseconds; without supply it stands still once the reserve is used up."""
        if self._down_s >= 0:
            true_s = min(true_s, self._down_s + self.reserve_s)
        return true_s * NS + self._offset_ns + self.drift_ppb * (true_s - self._anchor_s)

    def utc_s(self, true_s: int) -> int:
        """The clock in whole seconds, as shown and recorded."""
        return self.utc_ns(true_s) // NS

    def true_s_when(self, utc_s: int) -> int:
        """The first second of true time at which the running clock shows `utc_s` or later."""
        rate = NS + self.drift_ppb
        ahead = utc_s * NS - self._offset_ns + self.drift_ppb * self._anchor_s
        return -(-ahead // rate)

    def true_s_when_all(self, utc_s: Cells) -> Cells:
        """`true_s_when` for many."""
        ahead = utc_s * NS - self._offset_ns + self.drift_ppb * self._anchor_s
        result: Cells = -(-ahead // np.int64(NS + self.drift_ppb))
        return result

    def rebase(self, true_s: int) -> None:
        """Refer the linear law to `true_s`: the same clock, one form of its state."""
        if self._down_s < 0:
            self._offset_ns += self.drift_ppb * (true_s - self._anchor_s)
            self._anchor_s = true_s

    def power_down(self, true_s: int) -> None:
        """From now on the clock runs on its reserve."""
        self.rebase(true_s)
        self._down_s = true_s

    def power_up(self, true_s: int) -> bool:
        """Supply is back; return whether the reserve lasted. If not, the clock is invalid."""
        lasted = true_s <= self._down_s + self.reserve_s
        shown_ns = self.utc_ns(true_s)
        self._down_s = -1
        self._anchor_s = true_s
        self._offset_ns = shown_ns - true_s * NS
        self.valid = self.valid and lasted
        return lasted

    def set(self, true_s: int, utc_s: int) -> None:
        """Show `utc_s` now; the clock is valid again. Raise ValueError outside 2000 … 2106."""
        if not EARLIEST_UTC_S <= utc_s <= LATEST_UTC_S:
            raise ValueError("a meter's clock can be set to years from 2000 to 2106 only")
        self.rebase(true_s)
        self._offset_ns = (utc_s - true_s) * NS
        self.valid = True

    def write(self, cells: CellWriter) -> None:
        cells.put(self.drift_ppb, self.valid, self._anchor_s, self._offset_ns, self._down_s)

    def read(self, cells: CellReader) -> None:
        self.drift_ppb = cells.take()
        self.valid = bool(cells.take())
        self._anchor_s = cells.take()
        self._offset_ns = cells.take()
        self._down_s = cells.take()
