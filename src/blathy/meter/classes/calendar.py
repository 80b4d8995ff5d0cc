"""Activity calendar (class 20) and special days (class 11): the ledger's calendar as COSEM data.

The active calendar is what the ledger runs; the passive one waits until it is activated, by
method or at its time. A calendar that does not hold together is refused when it is activated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data
from blathy.cosem.cosem_time import (
    UNSET,
    CosemDate,
    CosemDateTime,
    CosemTime,
    CosemTimeError,
    date_of,
    time_of,
)
from blathy.cosem.service import AccessError, ActionResult, DataAccessResult, Requester
from blathy.meter.deciding import Decider, Span, attempt, intervals_until
from blathy.meter.objects import (
    DATE,
    LN,
    OS,
    OS_DT,
    TIME,
    U8,
    U16,
    Attribute,
    CosemObject,
    array_shape,
    require,
    setting,
    structure_shape,
)
from blathy.models.model import Facility, Tariffs
from blathy.obis import Obis
from blathy.registers.block import Block
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

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

ACTIVATION_TIME: Final = 10
_UNSET: Final = axdr.encode_octets(UNSET.raw())
_ANY_ZONE: Final = Zone("UTC")
TARIFF_SCRIPTS: Final = Obis.parse("0-0:10.0.100")
DAYS: Final = array_shape(structure_shape(U8, array_shape(structure_shape(TIME, LN, U16))))
WEEKS: Final = array_shape(structure_shape(OS, *([U8] * 7)))
SEASONS: Final = array_shape(structure_shape(OS, OS_DT, OS))
SPECIAL: Final = structure_shape(U16, DATE, U8)


def _date_data(pattern: DatePattern) -> CosemDate:
    day = {None: None, LAST: 0xFE, SECOND_LAST: 0xFD}.get(pattern.day, pattern.day)
    return CosemDate.of(
        (0xFFFF if pattern.year is None else pattern.year).to_bytes(2, "big")
        + bytes(
            (
                0xFF if pattern.month is None else pattern.month,
                0xFF if day is None else day,
                0xFF if pattern.weekday is None else pattern.weekday,
            )
        )
    )


def _pattern_of(day: CosemDate) -> DatePattern:
    raw = day.raw()
    year = int.from_bytes(raw[:2], "big")
    number = {0xFF: None, 0xFE: LAST, 0xFD: SECOND_LAST}.get(raw[3], raw[3])
    return DatePattern(
        month=None if raw[2] == 0xFF else raw[2],
        day=number,
        year=None if year == 0xFFFF else year,
        weekday=None if raw[4] == 0xFF else raw[4],
    )


def days_data(plan: CalendarPlan) -> Data:
    """day_profile_table: the rate is the selector of the tariff script."""
    return axdr.array_of(
        axdr.structure(
            axdr.u8(day.day_id),
            axdr.array_of(
                axdr.structure(
                    axdr.octets(_clock_time(switch.start_s)),
                    axdr.octets(TARIFF_SCRIPTS),
                    axdr.u16(switch.rate),
                )
                for switch in day.switches
            ),
        )
        for day in plan.days
    )


def _clock_time(second: int) -> bytes:
    return CosemTime(second // 3600, second // 60 % 60, second % 60, 0).raw()


def weeks_data(plan: CalendarPlan) -> Data:
    return axdr.array_of(
        axdr.structure(axdr.octets(week.name), *(axdr.u8(day) for day in week.day_ids))
        for week in plan.weeks
    )


def seasons_data(plan: CalendarPlan) -> Data:
    return axdr.array_of(
        axdr.structure(
            axdr.octets(season.name),
            axdr.octets(CosemDateTime(_date_data(season.start), CosemTime(0, 0, 0, 0)).raw()),
            axdr.octets(season.week),
        )
        for season in plan.seasons
    )


def special_days_data(days: tuple[SpecialDay, ...]) -> Data:
    return axdr.array_of(
        axdr.structure(
            axdr.u16(day.index), axdr.octets(_date_data(day.date).raw()), axdr.u8(day.day_id)
        )
        for day in days
    )


def calendar_of(
    name: bytes, seasons: Data, weeks: Data, days: Data, special: tuple[SpecialDay, ...]
) -> CalendarPlan:
    """The calendar that the tables describe; raise ValueError where they do not hold together."""
    day_profiles = tuple(
        DayProfile(
            int(day.value[0].value),
            tuple(
                Switch(time_of(switch.value[0]).second_of_day(), int(switch.value[2].value))
                for switch in day.value[1].value
            ),
        )
        for day in days.value
    )
    week_profiles = tuple(
        WeekProfile(bytes(week.value[0].value), tuple(int(d.value) for d in week.value[1:]))
        for week in weeks.value
    )
    season_profiles = tuple(
        Season(
            bytes(season.value[0].value),
            _pattern_of(CosemDate.of(bytes(season.value[1].value)[:5])),
            bytes(season.value[2].value),
        )
        for season in seasons.value
    )
    known = {day.day_id for day in day_profiles}
    kept = tuple(day for day in special if day.day_id in known)
    return CalendarPlan(name, season_profiles, week_profiles, day_profiles, kept)


def special_day_of(entry: Data) -> SpecialDay:
    """One entry of the special days table; AccessError for a date that comes in no year."""
    index, day, day_id = entry.value
    try:
        return SpecialDay(int(index.value), _pattern_of(date_of(day)), int(day_id.value))
    except ValueError as error:
        raise AccessError(DataAccessResult.OTHER_REASON, str(error)) from error


def _limit(data: Data, most: int) -> bool:
    return len(data.value) <= most


def _days_fit(tariffs: Tariffs) -> Callable[[Data], bool]:
    """As many day profiles and switchings as the meter holds, and rates that it has, chosen by the
    tariff scripts: a calendar of this meter runs no others."""

    def check(data: Data) -> bool:
        return len(data.value) <= tariffs.day_profiles and all(
            len(day.value[1].value) <= tariffs.switchings
            and all(
                switch.value[1] == axdr.octets(TARIFF_SCRIPTS)
                and 1 <= int(switch.value[2].value) <= max(tariffs.rates, 1)
                for switch in day.value[1].value
            )
            for day in data.value
        )

    return check


def _is_moment(data: Data) -> bool:
    """A time that comes once, or none."""
    moment = CosemDateTime.of(bytes(data.value))
    try:
        return moment.is_unset or moment.utc(_ANY_ZONE) > 0
    except CosemTimeError:
        return False


class _PlannedActivation(Decider):
    """The passive calendar becomes active with the interval that reaches its time: once, also
    where it does not hold together."""

    def __init__(self, obis: Obis) -> None:
        self._obis = obis
        self._key = bytes(obis) + bytes((ACTIVATION_TIME,))

    def _planned_utc_s(self, meter: Meter) -> int | None:
        raw = meter.settings.get(self._key, _UNSET)
        if raw == _UNSET:
            return None
        moment = CosemDateTime.of(bytes(axdr.decode(raw).value))
        try:
            return None if moment.is_unset else int(moment.utc(meter.zone))
        except CosemTimeError:
            return None  # set by an earlier version, which took any date-time

    def watching(self, meter: Meter) -> bool:
        return self._planned_utc_s(meter) is not None

    def look(self, meter: Meter, block: Block) -> int:
        at_s = self._planned_utc_s(meter)
        return len(block) if at_s is None else intervals_until(meter, block, at_s)

    def decide(self, meter: Meter, span: Span) -> None:
        del span
        at_s = self._planned_utc_s(meter)
        if at_s is None or at_s > meter.ledger.clock_utc_s:
            return
        meter.save_setting(self._key, _UNSET)
        attempt(meter, lambda: activate_passive(meter, self._obis))
        meter.parameters_set()


def activate_passive(meter: Meter, obis: Obis) -> None:
    """Copy the passive calendar over the active one; AccessError where it is not whole."""
    tables = [axdr.decode(_passive(meter, obis, number)) for number in (6, 7, 8, 9)]
    name, seasons, weeks, days = tables
    try:
        plan = calendar_of(
            bytes(name.value), seasons, weeks, days, meter.books.calendar.special_days
        )
        meter.activate_calendar(plan)
    except (AxdrError, ValueError) as error:
        raise AccessError(ActionResult.OTHER_REASON, str(error)) from error
    meter.save_setting(bytes(obis) + bytes((ACTIVATION_TIME,)), _UNSET)


_EMPTY: Final = {
    6: axdr.encode_octets(b""),
    7: axdr.encode(axdr.array()),
    8: axdr.encode(axdr.array()),
    9: axdr.encode(axdr.array()),
}


def _passive(meter: Meter, obis: Obis, number: int) -> bytes:
    return meter.settings.get(bytes(obis) + bytes((number,)), _EMPTY[number])


def calendar_object(facility: Facility, tariffs: Tariffs) -> CosemObject:
    """Class 20: the active tables from the ledger, the passive ones as written."""
    obis = facility.obis

    def active_name(meter: Meter) -> bytes:
        return axdr.encode_octets(meter.books.calendar.name)

    def active_seasons(meter: Meter) -> bytes:
        return axdr.encode(seasons_data(meter.books.calendar))

    def active_weeks(meter: Meter) -> bytes:
        return axdr.encode(weeks_data(meter.books.calendar))

    def active_days(meter: Meter) -> bytes:
        return axdr.encode(days_data(meter.books.calendar))

    def activate(meter: Meter, _data: Data, _who: Requester) -> bytes:
        activate_passive(meter, obis)
        return b""

    return CosemObject(
        20,
        facility.version,
        obis,
        facility.group,
        facility.title,
        (
            Attribute(active_name),
            Attribute(active_seasons),
            Attribute(active_weeks),
            Attribute(active_days),
            setting(obis, 6, axdr.octets(b""), OS, check=lambda d: _limit(d, 32)),
            setting(obis, 7, axdr.array(), SEASONS, check=lambda d: _limit(d, tariffs.seasons)),
            setting(obis, 8, axdr.array(), WEEKS, check=lambda d: _limit(d, tariffs.seasons)),
            setting(obis, 9, axdr.array(), DAYS, check=_days_fit(tariffs)),
            setting(obis, ACTIVATION_TIME, axdr.octets(UNSET.raw()), OS_DT, check=_is_moment),
        ),
        (activate,),
        _PlannedActivation(obis),
    )


def special_days_object(facility: Facility, tariffs: Tariffs) -> CosemObject:
    """Class 11: the ledger's special days."""

    def entries(meter: Meter) -> bytes:
        return axdr.encode(special_days_data(meter.books.calendar.special_days))

    def write(meter: Meter, data: Data) -> None:
        require(data, array_shape(SPECIAL))
        if len(data.value) > tariffs.special_days:
            raise AccessError(DataAccessResult.OTHER_REASON, "too many special days")
        if len({entry.value[0].value for entry in data.value}) < len(data.value):
            raise AccessError(DataAccessResult.OTHER_REASON, "an index is there twice")
        _store(meter, [special_day_of(entry) for entry in data.value])

    def insert(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, SPECIAL, "an entry is index, date and day id")
        entry = special_day_of(data)
        kept = [d for d in meter.books.calendar.special_days if d.index != entry.index]
        if len(kept) >= tariffs.special_days:
            raise AccessError(ActionResult.OTHER_REASON, "too many special days")
        _store(meter, [*kept, entry])
        return b""

    def delete(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, U16, "the index is a long-unsigned")
        _store(meter, [d for d in meter.books.calendar.special_days if d.index != data.value])
        return b""

    return CosemObject(
        11,
        facility.version,
        facility.obis,
        facility.group,
        facility.title,
        (Attribute(entries, write),),
        (insert, delete),
    )


def _store(meter: Meter, days: list[SpecialDay]) -> None:
    plan = meter.books.calendar
    ordered = tuple(sorted(days, key=lambda day: day.index))
    try:
        changed = CalendarPlan(plan.name, plan.seasons, plan.weeks, plan.days, ordered)
        meter.activate_calendar(changed)
    except ValueError as error:
        raise AccessError(DataAccessResult.OTHER_REASON, str(error)) from error
