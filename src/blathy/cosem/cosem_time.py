"""COSEM date-time, date and time: 12, 5 and 4 octets with wildcards (IEC 62056-6-2, 4.1.6).

The deviation counts minutes from local time *to* UTC: `UTC = local + deviation`. Central Europe
sends -60 in winter, -120 in summer with `ClockStatus.DAYLIGHT_SAVING`. A field that is not
specified (0xFF, 0xFFFF, deviation 0x8000) is None.

Times of arrays live in `time_columns`.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Flag, IntFlag, auto
from functools import lru_cache
from typing import Final, Self

from blathy.clock import SECONDS_PER_DAY, UtcS, Zone
from blathy.cosem.axdr import AxdrError, Data, DataType

DST_END_MONTH: Final = 0xFD
DST_BEGIN_MONTH: Final = 0xFE
SECOND_LAST_DAY: Final = 0xFD
LAST_DAY: Final = 0xFE
NO_DEVIATION: Final = 0x8000
DEVIATION_RANGE_MIN: Final = range(-840, 841)
"""The standard says -720 to 840, which leaves the summer of New Zealand (-780) out."""
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()


class CosemTimeError(AxdrError):
    """A date-time that is malformed, or that names no single moment."""


class ClockStatus(IntFlag):
    """Last octet of a date-time; 0xFF means that the status is not specified."""

    INVALID = 0x01
    DOUBTFUL = 0x02
    DIFFERENT_BASE = 0x04
    INVALID_STATUS = 0x08
    DAYLIGHT_SAVING = 0x80


class TimeQuirk(Flag):
    """How some meters depart from the standard; combine with `|`."""

    NONE = 0
    REVERSED_DEVIATION = auto()
    """The deviation is the UTC offset, with the opposite sign of the standard."""
    STANDARD_TIME_ALL_YEAR = auto()
    """Without deviation the wall clock shows standard time; the daylight bit only informs
    (Kamstrup HAN)."""


def _octet(value: int | None) -> int:
    return 0xFF if value is None else value


def _field(octet: int) -> int | None:
    return None if octet == 0xFF else octet


def _check(name: str, value: int | None, allowed: range, special: tuple[int, ...] = ()) -> None:
    if value is not None and value not in allowed and value not in special:
        msg = f"the {name} is {value}; it must be {allowed.start} to {allowed.stop - 1}"
        raise CosemTimeError(msg)


@dataclass(frozen=True, slots=True)
class CosemDate:
    """Five octets: year, month, day of month, day of week (1 = Monday)."""

    year: int | None = None
    month: int | None = None
    day: int | None = None
    weekday: int | None = None

    def __post_init__(self) -> None:
        _check("year", self.year, range(0xFFFF))
        _check("month", self.month, range(1, 13), (DST_BEGIN_MONTH, DST_END_MONTH))
        _check("day of month", self.day, range(1, 32), (LAST_DAY, SECOND_LAST_DAY))
        _check("day of week", self.weekday, range(1, 8))

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """Read five octets; raise CosemTimeError for another length or a field out of range."""
        if len(raw) != 5:
            msg = f"a date has 5 octets, not {len(raw)}"
            raise CosemTimeError(msg)
        year = int.from_bytes(raw[:2], "big")
        return cls(None if year == 0xFFFF else year, *map(_field, raw[2:5]))

    @classmethod
    def of_date(cls, day: date) -> Self:
        return cls(day.year, day.month, day.day, day.isoweekday())

    def raw(self) -> bytes:
        year = 0xFFFF if self.year is None else self.year
        rest = (_octet(self.month), _octet(self.day), _octet(self.weekday))
        return year.to_bytes(2, "big") + bytes(rest)

    @property
    def is_exact(self) -> bool:
        """Whether year, month and day name one calendar day."""
        return (
            self.year is not None
            and self.month is not None
            and self.day is not None
            and self.month <= 12
            and self.day <= 31
        )

    def exact(self) -> date:
        """The calendar day; raise CosemTimeError where there are wildcards or no such day."""
        if not self.is_exact:
            msg = f"{self} has wildcards; it names no single day"
            raise CosemTimeError(msg)
        assert self.year is not None
        assert self.month is not None
        assert self.day is not None
        try:
            return date(self.year, self.month, self.day)
        except ValueError as bad:
            msg = f"{self} is no day of the calendar"
            raise CosemTimeError(msg) from bad

    def matches(self, day: date) -> bool:
        """Whether the pattern covers `day`.

        With a day of month *and* a day of week the pattern means the first such weekday on or
        after that day; with "last" it means the last such weekday of the month.
        """
        if self.day is None:
            in_month = self._covers_month(day.year, day.month)
            return in_month and self.weekday in {None, day.isoweekday()}
        previous = day.replace(day=1) - timedelta(days=1)
        for year, month in ((day.year, day.month), (previous.year, previous.month)):
            if self._covers_month(year, month) and self._resolve(year, month) == day:
                return True
        return False

    def in_year(self, year: int) -> date:
        """The first day of `year` that the pattern covers; raise CosemTimeError without one."""
        day = date(year, 1, 1)
        while day.year == year:
            if self.matches(day):
                return day
            day += timedelta(days=1)
        msg = f"{self} names no day in {year}"
        raise CosemTimeError(msg)

    def _covers_month(self, year: int, month: int) -> bool:
        return self.year in {None, year} and self.month in {None, month}

    def _resolve(self, year: int, month: int) -> date | None:
        """The day that day of month and day of week name in one month."""
        assert self.day is not None
        length = monthrange(year, month)[1]
        if self.day in {LAST_DAY, SECOND_LAST_DAY}:
            back = LAST_DAY - self.day
            last = date(year, month, length)
            if self.weekday is None:
                return last - timedelta(days=back)
            last -= timedelta(days=(last.isoweekday() - self.weekday) % 7)
            return last - timedelta(days=7 * back)
        if self.day > length:
            return None
        day = date(year, month, self.day)
        if self.weekday is None:
            return day
        return day + timedelta(days=(self.weekday - day.isoweekday()) % 7)

    def __str__(self) -> str:
        year = "*" if self.year is None else f"{self.year:04d}"
        months = {None: "*", DST_BEGIN_MONTH: "dst-begin", DST_END_MONTH: "dst-end"}
        month = months.get(self.month) or f"{self.month:02d}"
        days = {None: "*", LAST_DAY: "last", SECOND_LAST_DAY: "second-last"}
        day = days.get(self.day) or f"{self.day:02d}"
        weekday = ""
        if self.weekday is not None and not self.is_exact:
            weekday = " " + ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[self.weekday - 1]
        return f"{year}-{month}-{day}{weekday}"


@dataclass(frozen=True, slots=True)
class CosemTime:
    """Four octets: hour, minute, second, hundredths."""

    hour: int | None = None
    minute: int | None = None
    second: int | None = None
    hundredths: int | None = None

    def __post_init__(self) -> None:
        _check("hour", self.hour, range(24))
        _check("minute", self.minute, range(60))
        _check("second", self.second, range(60))
        _check("hundredths", self.hundredths, range(100))

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """Read four octets; raise CosemTimeError for another length or a field out of range."""
        if len(raw) != 4:
            msg = f"a time has 4 octets, not {len(raw)}"
            raise CosemTimeError(msg)
        return cls(*map(_field, raw))

    def raw(self) -> bytes:
        fields = (self.hour, self.minute, self.second, self.hundredths)
        return bytes(map(_octet, fields))

    def second_of_day(self) -> int:
        """Seconds since midnight; seconds and hundredths that are not specified count as 0."""
        if self.hour is None or self.minute is None:
            msg = f"{self} has wildcards; it names no moment of the day"
            raise CosemTimeError(msg)
        return self.hour * 3600 + self.minute * 60 + (self.second or 0)

    def matches(self, second_of_day: int) -> bool:
        """Whether the pattern covers that second of the local day."""
        minutes, second = divmod(second_of_day, 60)
        hour, minute = divmod(minutes, 60)
        return (
            self.hour in {None, hour}
            and self.minute in {None, minute}
            and self.second in {None, second}
        )

    def __str__(self) -> str:
        fields = (self.hour, self.minute, self.second)
        text = ":".join("*" if field is None else f"{field:02d}" for field in fields)
        return text + (f".{self.hundredths:02d}" if self.hundredths else "")


@dataclass(frozen=True, slots=True)
class CosemDateTime:
    """Twelve octets: date, time, deviation in minutes, clock status."""

    date: CosemDate = CosemDate()
    time: CosemTime = CosemTime()
    deviation_min: int | None = None
    status: int | None = None

    def __post_init__(self) -> None:
        _check("deviation", self.deviation_min, range(-0x7FFF, 0x8000))
        _check("clock status", self.status, range(0xFF))

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """Read twelve octets; raise CosemTimeError for another length or a field out of range."""
        if len(raw) != 12:
            msg = f"a date-time has 12 octets, not {len(raw)}"
            raise CosemTimeError(msg)
        deviation = int.from_bytes(raw[9:11], "big")
        signed = None if deviation == NO_DEVIATION else (deviation ^ 0x8000) - 0x8000
        return cls(CosemDate.of(raw[:5]), CosemTime.of(raw[5:9]), signed, _field(raw[11]))

    @classmethod
    def from_utc(cls, utc_s: int, zone: Zone, status: int = 0, hundredths: int = 0) -> Self:
        """The local date-time of a UTC second, as a meter shows it.

        The daylight bit of `status` is set as the zone says.
        """
        local = zone.civil(utc_s)
        status &= ~ClockStatus.DAYLIGHT_SAVING
        if local.dst():
            status |= ClockStatus.DAYLIGHT_SAVING
        offset = local.utcoffset()
        assert offset is not None
        return cls(
            CosemDate.of_date(local.date()),
            CosemTime(local.hour, local.minute, local.second, hundredths),
            -int(offset.total_seconds()) // 60,
            int(status),
        )

    def raw(self) -> bytes:
        deviation = NO_DEVIATION if self.deviation_min is None else self.deviation_min & 0xFFFF
        tail = deviation.to_bytes(2, "big") + bytes((_octet(self.status),))
        return self.date.raw() + self.time.raw() + tail

    @property
    def is_unset(self) -> bool:
        """Whether date and time are wholly unspecified: "not defined" in an attribute."""
        return self.date == CosemDate() and self.time == CosemTime()

    def local(self) -> datetime:
        """The wall-clock time without zone; raise CosemTimeError where it has wildcards."""
        midnight = datetime.combine(self.date.exact(), datetime.min.time())
        return midnight + timedelta(seconds=self.time.second_of_day())

    def utc(self, zone: Zone | None = None, quirks: TimeQuirk = TimeQuirk.NONE) -> UtcS:
        """The UTC second (hundredths cut).

        Where the deviation is not specified, `zone` says how local time relates to UTC and the
        daylight bit of the status tells the two halves of the hour that occurs twice apart.
        Raise CosemTimeError for wildcards, or without deviation and zone.
        """
        days = self.date.exact().toordinal() - _EPOCH_ORDINAL
        epoch_s = days * SECONDS_PER_DAY + self.time.second_of_day()
        if self.deviation_min is not None:
            sign = -1 if quirks and TimeQuirk.REVERSED_DEVIATION in quirks else 1
            if self.deviation_min not in DEVIATION_RANGE_MIN:
                msg = f"the deviation is {self.deviation_min} min; it must be -840 to 840"
                raise CosemTimeError(msg)
            return UtcS(epoch_s + sign * 60 * self.deviation_min)
        if zone is None:
            msg = f"{self} says no deviation from UTC; give the time zone of the meter"
            raise CosemTimeError(msg)
        return UtcS(epoch_s - self._offset_s(self.local(), zone, quirks))

    def _offset_s(self, local: datetime, zone: Zone, quirks: TimeQuirk) -> int:
        """Seconds that local time is ahead of UTC, from the zone."""
        first = local.replace(tzinfo=zone.tzinfo)
        second = first.replace(fold=1)
        if TimeQuirk.STANDARD_TIME_ALL_YEAR in quirks:
            offset, dst = first.utcoffset(), first.dst()
            assert offset is not None
            return int((offset - (dst or timedelta())).total_seconds())
        chosen = first
        if self.status is not None:
            wanted = bool(self.status & ClockStatus.DAYLIGHT_SAVING)
            if bool(first.dst()) != wanted and bool(second.dst()) == wanted:
                chosen = second
        offset = chosen.utcoffset()
        assert offset is not None
        return int(offset.total_seconds())

    def __str__(self) -> str:
        text = f"{self.date} {self.time}"
        if self.deviation_min is None:
            return text
        ahead = -self.deviation_min
        hours, minutes = divmod(abs(ahead), 60)
        return f"{text} {'-' if ahead < 0 else '+'}{hours:02d}:{minutes:02d}"


UNSET: Final = CosemDateTime()
"""All fields unspecified: `activate_passive_calendar_time` when nothing is planned."""


def _octets_of(data: Data, kind: DataType, size: int) -> bytes:
    """The octets of a date or time in any form that meters send (own tag or octet-string)."""
    if data.type not in {kind, DataType.OCTET_STRING} or len(data.value) != size:
        msg = f"a {kind.text} is expected, not {data.type.text} {data.value!r:.60}"
        raise CosemTimeError(msg)
    return bytes(data.value)


def date_time_of(data: Data) -> CosemDateTime:
    """A date-time from tag 25 or octet-string(12); a bare date (5 octets) has an open time."""
    if data.type is DataType.DATE or (data.type is DataType.OCTET_STRING and len(data.value) == 5):
        return CosemDateTime(CosemDate.of(data.value))
    return _date_time(_octets_of(data, DataType.DATE_TIME, 12))


@lru_cache(maxsize=256)
def _date_time(raw: bytes) -> CosemDateTime:
    """A head-end asks all its meters for the same day: two times out of these."""
    return CosemDateTime.of(raw)


def date_of(data: Data) -> CosemDate:
    """A date from tag 26, octet-string(5), or the date of a date-time."""
    if data.type is DataType.DATE_TIME or (
        data.type is DataType.OCTET_STRING and len(data.value) == 12
    ):
        return CosemDate.of(data.value[:5])
    return CosemDate.of(_octets_of(data, DataType.DATE, 5))


def time_of(data: Data) -> CosemTime:
    """A time from tag 27, octet-string(4), or the time of a date-time."""
    if data.type is DataType.DATE_TIME or (
        data.type is DataType.OCTET_STRING and len(data.value) == 12
    ):
        return CosemTime.of(data.value[5:9])
    return CosemTime.of(_octets_of(data, DataType.TIME, 4))
