"""The activity calendar at work: which rate counts at a moment, and until when.

The rate is a function of local wall time alone, so in the hour that occurs twice the schedule runs
twice, and a switching inside the hour that never occurs takes effect when the clock jumps over it.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from blathy.clock import Zone
from blathy.registers.plan import (
    LAST,
    SECOND_LAST,
    CalendarPlan,
    DatePattern,
    DayProfile,
    Season,
    SpecialDay,
    Switch,
    WeekProfile,
)

FIRST_RATE: Final = 1
DAYS_CACHED: Final = 64
DAYS_LOOKED_BACK: Final = 8
"""A day without switchings takes over the rate of the day before; so far back is looked."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of meter time with one rate and one offset from UTC: [`start`, `end`) in UTC s."""

    start_utc_s: int
    end_utc_s: int
    rate: int
    offset_s: int
    is_dst: bool


def matches(pattern: DatePattern, day: date) -> bool:
    """Whether the date falls under the pattern."""
    if pattern.year not in {None, day.year} or pattern.month not in {None, day.month}:
        return False
    if pattern.weekday not in {None, day.isoweekday()}:
        return False
    if pattern.day is None or pattern.day == day.day:
        return True
    if pattern.day not in {LAST, SECOND_LAST}:
        return False
    behind = 1 if pattern.day == LAST else 2
    if pattern.weekday is None:
        return (day + timedelta(days=behind)).day == 1
    weeks_left = (_days_in_month(day) - day.day) // 7
    return weeks_left == behind - 1


def _days_in_month(day: date) -> int:
    first_of_next = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
    return (first_of_next - timedelta(days=1)).day


class Calendar:
    """A `CalendarPlan` in a time zone, answering with pieces of constant rate."""

    def __init__(self, plan: CalendarPlan, zone: Zone) -> None:
        self.plan = plan
        self.encoded = encode_calendar(plan)
        self._zone = zone
        self._days = {day.day_id: day for day in plan.days}
        self._weeks = {week.name: week for week in plan.weeks}
        self._cache: dict[date, list[Piece]] = {}

    def piece_at(self, utc_s: int) -> Piece:
        """The piece that the meter's UTC second belongs to."""
        pieces = self._pieces(self._zone.day_of(utc_s))
        return pieces[bisect_right([p.start_utc_s for p in pieces], utc_s) - 1]

    def rate_at(self, utc_s: int) -> int:
        """The rate that counts at that second."""
        return self.piece_at(utc_s).rate

    def _pieces(self, day: date) -> list[Piece]:
        pieces = self._cache.get(day)
        if pieces is None:
            pieces = list(self._cut(day))
            if len(self._cache) >= DAYS_CACHED:
                self._cache.clear()
            self._cache[day] = pieces
        return pieces

    def _cut(self, day: date) -> Iterator[Piece]:
        start, end = self._zone.day_bounds(day)
        starts = {int(start)}
        change = _offset_change(self._zone, start, end)
        if change is not None:
            starts.add(change)
        profile = self._day_profile(day)
        for switch in profile.switches if profile else ():
            for offset in {self._zone.offset_s(start), self._zone.offset_s(end - 1)}:
                moment = _naive_midnight(day) + switch.start_s - offset
                if start <= moment < end and self._zone.offset_s(moment) == offset:
                    starts.add(moment)
        ordered = [*sorted(starts), int(end)]
        for first, last in pairwise(ordered):
            offset = self._zone.offset_s(first)
            wall_s = first + offset - _naive_midnight(day)
            rate = self._rate(day, wall_s, DAYS_LOOKED_BACK)
            yield Piece(first, last, rate, offset, self._zone.is_dst(first))

    def _rate(self, day: date, wall_s: int, days_back: int) -> int:
        profile = self._day_profile(day)
        if profile is None or days_back == 0:
            return FIRST_RATE
        past = [s.rate for s in profile.switches if s.start_s <= wall_s]
        return past[-1] if past else self._rate(day - timedelta(days=1), 86_400, days_back - 1)

    def _day_profile(self, day: date) -> DayProfile | None:
        for special in sorted(self.plan.special_days, key=lambda s: s.index):
            if matches(special.date, day):
                return self._days[special.day_id]
        season = self._season(day)
        if season is None:
            return None
        return self._days[self._weeks[season.week].day_ids[day.isoweekday() - 1]]

    def _season(self, day: date) -> Season | None:
        """The season that began last on or before the day, looking back over the new year."""
        if len(self.plan.seasons) < 2:
            return self.plan.seasons[0] if self.plan.seasons else None
        begun = [(start, s) for s in self.plan.seasons if (start := _last_start(s.start, day))]
        return max(begun, key=lambda pair: pair[0])[1] if begun else self.plan.seasons[-1]


@lru_cache(maxsize=256)
def calendar_of(plan: CalendarPlan, zone: Zone) -> Calendar:
    """The calendar of a plan: one for all meters that have it."""
    return Calendar(plan, zone)


def _last_start(pattern: DatePattern, day: date) -> date | None:
    if pattern.month is not None and pattern.day is not None and pattern.weekday is None:
        for year in (day.year, day.year - 1):
            start = _dated(pattern, year)
            if start is not None and start <= day and matches(pattern, start):
                return start
        return None
    for back in range(366):
        candidate = day - timedelta(days=back)
        if matches(pattern, candidate):
            return candidate
    return None


def _dated(pattern: DatePattern, year: int) -> date | None:
    assert pattern.month is not None and pattern.day is not None  # noqa: PT018
    first = date(year, pattern.month, 1)
    day = pattern.day if pattern.day > 0 else _days_in_month(first) + 1 + pattern.day
    return first.replace(day=day) if day <= _days_in_month(first) else None


def _naive_midnight(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 86_400


def _offset_change(zone: Zone, start: int, end: int) -> int | None:
    """The second in (start, end) from which another UTC offset holds; None if none does."""
    before, low, high = zone.offset_s(start), start, end - 1
    if zone.offset_s(high) == before:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if zone.offset_s(middle) == before:
            low = middle
        else:
            high = middle
    return high


# --- as bytes -----------------------------------------------------------------------------------


def encode_calendar(plan: CalendarPlan) -> bytes:
    """The calendar as canonical bytes, for the state and for comparing."""

    def pattern(p: DatePattern) -> list[int | None]:
        return [p.month, p.day, p.year, p.weekday]

    table = {
        "name": plan.name.hex(),
        "seasons": [[s.name.hex(), pattern(s.start), s.week.hex()] for s in plan.seasons],
        "weeks": [[w.name.hex(), list(w.day_ids)] for w in plan.weeks],
        "days": [[d.day_id, [[s.start_s, s.rate] for s in d.switches]] for d in plan.days],
        "special": [[s.index, pattern(s.date), s.day_id] for s in plan.special_days],
    }
    return json.dumps(table, separators=(",", ":"), sort_keys=True).encode()


def decode_calendar(encoded: bytes) -> CalendarPlan:
    """The reverse of `encode_calendar`; raise ValueError for anything else."""
    try:
        table: dict[str, Any] = json.loads(encoded)
        return CalendarPlan(
            bytes.fromhex(table["name"]),
            tuple(
                Season(bytes.fromhex(n), DatePattern(*p), bytes.fromhex(w))
                for n, p, w in table["seasons"]
            ),
            tuple(WeekProfile(bytes.fromhex(n), tuple(ids)) for n, ids in table["weeks"]),
            tuple(
                DayProfile(i, tuple(Switch(*switch) for switch in switches))
                for i, switches in table["days"]
            ),
            tuple(SpecialDay(i, DatePattern(*p), d) for i, p, d in table["special"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError("these bytes are no calendar") from error
