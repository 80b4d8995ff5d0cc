"""The calendar: seasons, weeks, special days, and the two odd hours of the year, to the second."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from blathy.clock import Zone
from blathy.registers.calendar import Calendar, decode_calendar, encode_calendar, matches
from blathy.registers.plan import (
    LAST,
    SECOND_LAST,
    BookPlan,
    CalendarPlan,
    DatePattern,
    DayProfile,
    Season,
    SpecialDay,
    Switch,
    WeekProfile,
)
from tests.registers.intervals import two_rates

BUDAPEST = Zone("Europe/Budapest")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def seasonal() -> CalendarPlan:
    """Summer from 1 April, winter from 1 October; week-ends quiet; Christmas a special day."""
    days = (
        DayProfile(1, (Switch(0, 2), Switch(7 * 3600, 1), Switch(23 * 3600, 2))),
        DayProfile(2, (Switch(0, 2),)),
        DayProfile(3, (Switch(0, 3), Switch(12 * 3600, 4))),
        DayProfile(9, ()),
    )
    return CalendarPlan(
        b"tariff",
        (
            Season(b"summer", DatePattern(4, 1), b"s"),
            Season(b"winter", DatePattern(10, 1), b"w"),
        ),
        (WeekProfile(b"s", (3,) * 7), WeekProfile(b"w", (1, 1, 1, 1, 1, 2, 2))),
        days,
        (SpecialDay(1, DatePattern(12, 25), 2), SpecialDay(2, DatePattern(12, 31), 9)),
    )


@pytest.mark.parametrize(
    ("moment", "rate"),
    [
        ("2026-03-31T21:59:59", 2),  # still 31 March in Budapest: a winter night
        ("2026-03-31T22:00:00", 3),  # 1 April 00:00 local
        ("2026-07-01T09:59:59", 3),
        ("2026-07-01T10:00:00", 4),
        ("2026-09-30T21:59:59", 4),
        ("2026-09-30T22:00:00", 2),
        ("2026-10-03T10:00:00", 2),  # a Saturday
        ("2027-01-05T05:59:59", 2),  # winter goes on over the new year
        ("2027-01-05T06:00:00", 1),
        ("2026-12-25T10:00:00", 2),  # a Friday, but special
    ],
)
def test_season_week_and_special_day(moment: str, rate: int) -> None:
    assert Calendar(seasonal(), BUDAPEST).rate_at(at(moment)) == rate


def test_a_day_without_switchings_takes_over_the_rate_of_the_day_before() -> None:
    calendar = Calendar(seasonal(), BUDAPEST)
    assert calendar.rate_at(at("2026-12-30T22:30:00")) == 2  # 23:30 on the 30th
    assert calendar.rate_at(at("2026-12-31T12:00:00")) == 2


def test_pieces_cover_every_second_once() -> None:
    calendar = Calendar(seasonal(), BUDAPEST)
    moment = at("2026-01-01T00:00:00")
    while moment < at("2027-01-01T00:00:00"):
        piece = calendar.piece_at(moment)
        assert piece.start_utc_s <= moment < piece.end_utc_s
        assert calendar.piece_at(piece.end_utc_s - 1) == piece
        assert calendar.piece_at(piece.end_utc_s).start_utc_s == piece.end_utc_s
        moment = piece.end_utc_s


def wall_rates(switches: tuple[Switch, ...]) -> Calendar:
    plan = CalendarPlan(
        b"",
        (Season(b"", DatePattern(1, 1), b""),),
        (WeekProfile(b"", (1,) * 7),),
        (DayProfile(1, switches),),
    )
    return Calendar(plan, BUDAPEST)


def test_a_switching_in_the_hour_that_never_occurs_comes_with_the_jump() -> None:
    calendar = wall_rates((Switch(0, 1), Switch(9000, 2)))  # 02:30
    jump = at("2026-03-29T01:00:00")
    assert calendar.rate_at(jump - 1) == 1
    assert calendar.rate_at(jump) == 2  # the clock shows 03:00


def test_a_switching_in_the_hour_that_occurs_twice_comes_twice() -> None:
    calendar = wall_rates((Switch(0, 1), Switch(9000, 2)))
    first, back, second = (at(f"2026-10-25T0{h}:{m}:00") for h, m in ((0, 30), (1, "00"), (1, 30)))
    assert [calendar.rate_at(t) for t in (first - 1, first, back - 1)] == [1, 2, 2]
    assert [calendar.rate_at(t) for t in (back, second - 1, second)] == [1, 1, 2]


@pytest.mark.parametrize(
    ("pattern", "day", "expected"),
    [
        (DatePattern(), date(2026, 2, 3), True),
        (DatePattern(5, 1), date(2026, 5, 1), True),
        (DatePattern(5, 1, 2025), date(2026, 5, 1), False),
        (DatePattern(3, LAST, weekday=7), date(2026, 3, 29), True),
        (DatePattern(3, LAST, weekday=7), date(2026, 3, 22), False),
        (DatePattern(3, SECOND_LAST, weekday=7), date(2026, 3, 22), True),
        (DatePattern(day=LAST), date(2028, 2, 29), True),
        (DatePattern(day=LAST), date(2027, 2, 28), True),
        (DatePattern(day=SECOND_LAST), date(2027, 2, 27), True),
        (DatePattern(weekday=1), date(2026, 11, 23), True),
    ],
)
def test_date_patterns(pattern: DatePattern, day: date, expected: bool) -> None:
    assert matches(pattern, day) is expected


def test_a_calendar_survives_as_bytes() -> None:
    for plan in (seasonal(), two_rates(), CalendarPlan()):
        assert decode_calendar(encode_calendar(plan)) == plan
    with pytest.raises(ValueError, match="no calendar"):
        decode_calendar(b"{}")


def test_a_calendar_with_loose_ends_is_refused() -> None:
    week = WeekProfile(b"w", (1,) * 7)
    with pytest.raises(ValueError, match="unknown days"):
        CalendarPlan(b"", (), (week,), ())
    with pytest.raises(ValueError, match="no known week"):
        CalendarPlan(b"", (Season(b"s", DatePattern(1, 1), b"x"),), (), ())
    with pytest.raises(ValueError, match="rates"):
        BookPlan(rates=1, calendar=two_rates())
