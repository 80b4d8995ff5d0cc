"""Schedule (class 10): scripts at switching times, by weekday, special day and part of the year.

On a special day (class 11) the bit of its day_id in exec_specdays decides, on any other day the
bit of the weekday in exec_weekdays; both count from 1, the first bit being day_id 1 and Monday.
Entries that an outage, or a clock that was set forward, passed over run afterwards, in order of
time, if they are late by no more than their validity window: minutes, 0xFFFF for however late, 0
for not at all. Where two are due together the smaller script goes first. A clock that was set back
repeats entries, a synchronisation (nearer than the shift limit of the clock) and the end of summer
time do not. While the clock is invalid or the meter in error nothing runs, as with relays.

Our choice where our sources say nothing: an unspecified hour or minute of a switching time repeats
it in every one, an unspecified second is 0; a switching time that the beginning of summer time
skips comes an hour later by the wall clock; bounds of the year with wildcards repeat every year
and may span its end; a lateness below a minute, or within one interval of the meter, is none; what
is older than a year has passed unused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.cosem_time import CosemDate, CosemTime, date_of, time_of
from blathy.cosem.service import AccessError, DataAccessResult, Requester
from blathy.meter.classes.calendar import special_days_data
from blathy.meter.classes.scripts import require_script
from blathy.meter.deciding import Decider, Span, act, intervals_until
from blathy.meter.local_times import seconds_of, utc_of
from blathy.meter.objects import (
    BITS,
    BOOL,
    DATE,
    LN,
    TIME,
    U16,
    Attribute,
    CosemObject,
    array_shape,
    refused,
    require,
    structure_shape,
)
from blathy.models.model import Facility
from blathy.registers.block import Block

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 10
ENTRIES: Final = 2
ENTRIES_MAX: Final = 64
INDEX_MAX: Final = 9999
ALWAYS: Final = 0xFFFF
MINUTE_S: Final = 60
LOOK_BACK_DAYS: Final = 366
WEEKDAYS: Final = 6
"""Where exec_weekdays stands in a row."""
ENTRY: Final = structure_shape(U16, BOOL, LN, U16, TIME, U16, BITS, BITS, DATE, DATE)
FOUR_INDICES: Final = structure_shape(U16, U16, U16, U16)
TWO_INDICES: Final = structure_shape(U16, U16)
NONE: Final = axdr.encode(axdr.array())


@dataclass(frozen=True, slots=True)
class Entry:
    """One row. `action` is its script as an action item; times are the meter's, local."""

    index: int
    enabled: bool
    action: Data
    time: CosemTime
    window_min: int
    weekdays: str
    special_days: str
    begin: CosemDate
    end: CosemDate

    @classmethod
    def of(cls, data: Data) -> Entry:
        """Read a structure that fits ENTRY."""
        fields = data.value
        return cls(
            int(fields[0].value),
            bool(fields[1].value),
            axdr.structure(fields[2], fields[3]),
            time_of(fields[4]),
            int(fields[5].value),
            str(fields[6].value),
            str(fields[7].value),
            date_of(fields[8]),
            date_of(fields[9]),
        )

    def runs_on(self, day: date, day_id: int | None) -> bool:
        """`day_id` where the day is a special one."""
        if not self.enabled or not _within(day, self.begin, self.end):
            return False
        bits, place = self.weekdays, day.isoweekday()
        if day_id is not None:
            bits, place = self.special_days, day_id
        return 0 < place <= len(bits) and bits[place - 1] == "1"


@dataclass(frozen=True, slots=True)
class Due:
    """A switching of one day: `at_utc_s` by the meter's clock."""

    at_utc_s: int
    window_min: int
    action: Data


def _within(day: date, begin: CosemDate, end: CosemDate) -> bool:
    """Whether a day lies between two bounds; what neither or only one of them specifies does not
    count."""
    triples = list(
        zip(
            (day.year, day.month, day.day),
            (begin.year, begin.month, begin.day),
            (end.year, end.month, end.day),
            strict=True,
        )
    )
    from_begin = _at_least([(here, first) for here, first, _ in triples])
    to_end = _at_least([(last, here) for here, _, last in triples])
    yearly = begin.year is None and end.year is None
    if yearly and _field(begin) > _field(end) and begin.month and end.month:
        return from_begin or to_end
    return from_begin and to_end


def _field(bound: CosemDate) -> tuple[int, int]:
    return bound.month or 0, bound.day or 0


def _at_least(pairs: list[tuple[int | None, int | None]]) -> bool:
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return [a for a, _ in known] >= [b for _, b in known]


@lru_cache(maxsize=64)
def entries_of(raw: bytes) -> tuple[Entry, ...]:
    """The rows of attribute 2."""
    return tuple(Entry.of(each) for each in axdr.decode(raw).value)


@lru_cache(maxsize=256)
def switchings(raw: bytes, special: bytes, zone: Zone, day: date) -> tuple[Due, ...]:
    """What runs on a local day, in order; `special` is attribute 2 of the special days table."""
    day_id = _day_id(special, day)
    due = [
        Due(utc_of(zone, day, second), entry.window_min, entry.action)
        for entry in entries_of(raw)
        if entry.runs_on(day, day_id)
        for second in seconds_of(entry.time)
    ]
    return tuple(sorted(due, key=lambda each: (each.at_utc_s, int(each.action.value[1].value))))


def _day_id(special: bytes, day: date) -> int | None:
    """The lowest index that matches wins, as in the calendar."""
    for entry in sorted(axdr.decode(special).value, key=lambda each: int(each.value[0].value)):
        if date_of(entry.value[1]).matches(day):
            return int(entry.value[2].value)
    return None


class _Schedule(Decider):
    """What one object does; entries and the last switching are in the settings of the meter."""

    def __init__(self, facility: Facility) -> None:
        self._key = bytes(facility.obis) + bytes((ENTRIES,))
        self._last_key = bytes(facility.obis) + b"last"

    # --- deciding -------------------------------------------------------------------------------

    def watching(self, meter: Meter) -> bool:
        return self.get(meter) != NONE

    def look(self, meter: Meter, block: Block) -> int:
        if not self.watching(meter):
            return len(block)
        now_s = meter.ledger.clock_utc_s
        today = meter.zone.day_of(now_s)
        ahead = self._due(meter, today, today + timedelta(days=1))
        at_s = next((due.at_utc_s for due in ahead if due.at_utc_s > now_s), None)
        if at_s is None:  # looked at again tomorrow at the latest
            at_s = meter.zone.day_start(today + timedelta(days=1))
        return intervals_until(meter, block, at_s)

    def decide(self, meter: Meter, span: Span) -> None:
        if not self.watching(meter) or not meter.ledger.trusted:
            return
        now_s = meter.ledger.clock_utc_s
        last = meter.settings.get(self._last_key)
        since_s = max(span.since_utc_s, int.from_bytes(last, "big") if last else 0)
        today = meter.zone.day_of(now_s)
        first = max(meter.zone.day_of(since_s), today - timedelta(days=LOOK_BACK_DAYS))
        on_time_s = max(MINUTE_S, span.step_s)
        for due in self._due(meter, first, today):
            late_s = now_s - due.at_utc_s
            if due.at_utc_s <= since_s or late_s < 0:
                continue
            in_time = late_s < on_time_s or late_s <= due.window_min * MINUTE_S
            if in_time or due.window_min == ALWAYS:
                meter.save_setting(self._last_key, due.at_utc_s.to_bytes(8, "big"))
                act(meter, due.action)
                meter.parameters_set()

    def _due(self, meter: Meter, first: date, last: date) -> Iterator[Due]:
        with meter.as_written():
            special = axdr.encode(special_days_data(meter.books.calendar.special_days))
        raw = self.get(meter)
        for offset in range((last - first).days + 1):
            yield from switchings(raw, special, meter.zone, first + timedelta(days=offset))

    def clock_set(self, meter: Meter, before_utc_s: int) -> None:
        """Set forward it is late, set back what has run is due again."""
        now_s = meter.ledger.clock_utc_s
        if now_s > before_utc_s:
            self.decide(meter, Span(before_utc_s, 1))
        elif before_utc_s - now_s >= meter.ledger.plan.clock.shift_limit_s:
            meter.drop_settings(self._last_key)

    # --- attribute and methods ------------------------------------------------------------------

    def get(self, meter: Meter) -> bytes:
        return meter.settings.get(self._key, NONE)

    def write(self, meter: Meter, data: Data, who: Requester) -> None:
        require(data, array_shape(ENTRY))
        rows = {int(row.value[0].value): _checked(meter, row, who) for row in data.value}
        if len(rows) != len(data.value):
            raise AccessError(DataAccessResult.OTHER_REASON, "an index is there twice")
        self._keep(meter, rows)

    def _keep(self, meter: Meter, rows: dict[int, Data]) -> None:
        if len(rows) > ENTRIES_MAX:
            raise AccessError(DataAccessResult.OTHER_REASON, "too many entries")
        ordered = axdr.array_of(rows[index] for index in sorted(rows))
        meter.save_setting(self._key, axdr.encode(ordered))

    def _rows(self, meter: Meter) -> dict[int, Data]:
        return {int(each.value[0].value): each for each in axdr.decode(self.get(meter)).value}

    def enable_disable(self, meter: Meter, data: Data, _who: Requester) -> bytes:
        """Disables the first range of indices, then enables the second; a range from a greater to
        a smaller index, or beyond 9999, is none. (One client writes what it enables as the first
        range; the standard's text and a second source have it this way.)"""
        require(data, FOUR_INDICES, "two ranges of indices")
        first_a, last_a, first_b, last_b = (int(each.value) for each in data.value)
        rows = self._rows(meter)
        for first, last, enabled in ((first_a, last_a, False), (first_b, last_b, True)):
            if last > INDEX_MAX:
                continue
            for index in [index for index in rows if first <= index <= last]:
                fields = list(rows[index].value)
                fields[1] = axdr.boolean(enabled)
                rows[index] = axdr.structure(*fields)
        self._keep(meter, rows)
        return b""

    def insert(self, meter: Meter, data: Data, who: Requester) -> bytes:
        require(data, ENTRY, "an entry has ten elements")
        row = _checked(meter, data, who)
        self._keep(meter, {**self._rows(meter), int(data.value[0].value): row})
        return b""

    def delete(self, meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, TWO_INDICES, "a range of indices")
        first, last = (int(each.value) for each in data.value)
        if last > INDEX_MAX:
            raise refused("indices are 1 to 9999")
        rows = {i: row for i, row in self._rows(meter).items() if not first <= i <= last}
        self._keep(meter, rows)
        return b""


def _checked(meter: Meter, row: Data, who: Requester) -> Data:
    """The row if it may be kept. A week that a client pads to a whole octet (gurux-dlms does) is
    taken for its seven days."""
    fields = list(row.value)
    if len(fields[WEEKDAYS].value) == 8:
        fields[WEEKDAYS] = axdr.bits(fields[WEEKDAYS].value[:7])
    checked = axdr.structure(*fields)
    entry = Entry.of(checked)
    if not 1 <= entry.index <= INDEX_MAX:
        raise AccessError(DataAccessResult.OTHER_REASON, "indices are 1 to 9999")
    if len(entry.weekdays) != 7:
        raise AccessError(DataAccessResult.TYPE_UNMATCHED, "a week has seven days")
    require_script(meter, entry.action, who)
    return checked


def schedule_object(facility: Facility) -> CosemObject:
    """Class 10, version 0; as delivered without entries."""
    one = _Schedule(facility)
    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (Attribute(one.get, personal_set=one.write),),
        (one.enable_disable, one.insert, one.delete),
        one,
    )  # fmt: skip
