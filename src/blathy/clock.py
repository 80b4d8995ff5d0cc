"""Three kinds of time, never mixed: `Instant` (monotonic), UTC, civil time with its zone.

- `Instant`: nanoseconds of a monotonic clock that was passed in. Deadlines and time-outs only.
- `UtcS`: whole seconds since 1970-01-01T00:00:00Z. Slots, time stamps, storage keys.
- civil time: `Zone.civil(utc)`, an aware datetime whose `fold` tells the hour that occurs twice.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from io import BytesIO
from typing import NewType
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Instant = NewType("Instant", int)
"""Nanoseconds on the monotonic clock of whoever drives the code."""

UtcS = NewType("UtcS", int)
"""Whole seconds since 1970-01-01T00:00:00Z (POSIX, no leap seconds)."""

NANOSECONDS_PER_S = 1_000_000_000
SECONDS_PER_DAY = 86_400


def utc_of(moment: datetime) -> UtcS:
    """The UTC second of an aware datetime; raise ValueError for a naive one."""
    if moment.tzinfo is None:
        msg = f"{moment.isoformat()} has no time zone; add one, e.g. {moment.isoformat()}Z"
        raise ValueError(msg)
    return UtcS(int(moment.timestamp() // 1))


def datetime_of(utc_s: int) -> datetime:
    """The aware UTC datetime of a UTC second."""
    return datetime.fromtimestamp(utc_s, UTC)


def iso_utc(utc_s: int) -> str:
    """`2026-03-29T01:00:00Z`."""
    return datetime_of(utc_s).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Zone:
    """A civil time zone: an IANA name, or a rule as in POSIX's TZ: `<S>-1:00<D>-2:00,M3.5.0/2:00,
    M10.5.0/3:00` (offsets count westwards; start in standard, end in daylight-saving time)."""

    name: str = "Europe/Budapest"

    def __post_init__(self) -> None:
        _load(self.name)

    @property
    def tzinfo(self) -> tzinfo:
        return _load(self.name)

    def civil(self, utc_s: int) -> datetime:
        """The local datetime of a UTC second."""
        return datetime.fromtimestamp(utc_s, _load(self.name))

    def is_dst(self, utc_s: int) -> bool:
        return bool(self.civil(utc_s).dst())

    def offset_s(self, utc_s: int) -> int:
        """Seconds that local time is ahead of UTC at that moment."""
        offset = self.civil(utc_s).utcoffset()
        assert offset is not None
        return int(offset.total_seconds())

    def day_start(self, day: date) -> UtcS:
        """The UTC second at which the local day begins."""
        return _day_start(self.name, day)

    def day_bounds(self, day: date) -> tuple[UtcS, UtcS]:
        """First second of the local day and of the next one: 23, 24 or 25 hours apart."""
        return self.day_start(day), self.day_start(day + timedelta(days=1))

    def day_of(self, utc_s: int) -> date:
        """The local day that a UTC second belongs to."""
        return self.civil(utc_s).date()


_RULE = re.compile(r"<[^<>]+>[^<>]+(<[^<>]+>[^<>,]+,[^<>,]+,[^<>,]+)?", re.ASCII)
_TZIF = struct.Struct(">4sc15x6I")


def _of_rule(rule: str) -> ZoneInfo:
    """A zone that is nothing but its rule: a time-zone file (RFC 8536) without transitions."""
    block = _TZIF.pack(b"TZif", b"2", 0, 0, 0, 0, 1, 4) + struct.pack(">iBB", 0, 0, 0) + b"UTC\0"
    return ZoneInfo.from_file(BytesIO(block + block + b"\n" + rule.encode() + b"\n"), key=rule)


@lru_cache(maxsize=64)
def _load(name: str) -> ZoneInfo:
    try:
        return _of_rule(name) if _RULE.fullmatch(name) else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        msg = f"{name!r} is not a time zone; use an IANA name such as Europe/Budapest"
        raise ValueError(msg) from error


@lru_cache(maxsize=4096)
def _day_start(name: str, day: date) -> UtcS:
    midnight = datetime(day.year, day.month, day.day, tzinfo=_load(name))
    return UtcS(int(midnight.timestamp()))
