"""Weekly windows of local time: when relays follow a schedule and prepayment is friendly."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from blathy.clock import SECONDS_PER_DAY, Zone
from blathy.registers.calendar import matches
from blathy.registers.plan import DatePattern

EVERY_DAY: Final = frozenset(range(1, 8))


@dataclass(frozen=True, slots=True)
class Window:
    """From `start_s` to `end_s` after local midnight, on these weekdays (1 = Monday).

    An end at or before the start lies on the next day. `dates` replaces the weekdays if given.
    """

    start_s: int = 0
    end_s: int = SECONDS_PER_DAY
    weekdays: frozenset[int] = EVERY_DAY
    dates: tuple[DatePattern, ...] = ()

    def __post_init__(self) -> None:
        if not (0 <= self.start_s < SECONDS_PER_DAY and 0 < self.end_s <= SECONDS_PER_DAY):
            raise ValueError("a window begins and ends within a day")
        if not self.weekdays <= EVERY_DAY:
            raise ValueError("weekdays are 1 (Monday) to 7")

    def holds_on(self, day: date) -> bool:
        """Whether the window opens on that day."""
        if self.dates:
            return any(matches(pattern, day) for pattern in self.dates)
        return day.isoweekday() in self.weekdays

    def contains(self, zone: Zone, utc_s: int) -> bool:
        """Whether the moment is inside, by the clock on the wall."""
        local = zone.civil(utc_s)
        wall_s = local.hour * 3600 + local.minute * 60 + local.second
        today = self.holds_on(local.date())
        if self.start_s < self.end_s:
            return today and self.start_s <= wall_s < self.end_s
        yesterday = self.holds_on(date.fromordinal(local.toordinal() - 1))
        return (today and wall_s >= self.start_s) or (yesterday and wall_s < self.end_s)


def next_look(windows: tuple[Window, ...], zone: Zone, utc_s: int) -> int:
    """The next second at which any window may open or close: at the latest the next local hour."""
    offset_s = zone.offset_s(utc_s)
    wall_s = (utc_s + offset_s) % SECONDS_PER_DAY
    edges = {edge for w in windows for edge in (w.start_s, w.end_s % SECONDS_PER_DAY)}
    ahead = [(edge - wall_s) % SECONDS_PER_DAY or SECONDS_PER_DAY for edge in edges]
    hour_ahead = 3600 - (utc_s + offset_s) % 3600  # a change of the UTC offset falls on an hour
    return utc_s + min([hour_ahead, *ahead]) if windows else utc_s + SECONDS_PER_DAY
