"""COSEM date-times: both directions, wildcards, deviations, and how meters depart."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blathy.clock import Zone, iso_utc, utc_of
from blathy.cosem import axdr
from blathy.cosem.cosem_time import (
    LAST_DAY,
    SECOND_LAST_DAY,
    UNSET,
    ClockStatus,
    CosemDate,
    CosemDateTime,
    CosemTime,
    CosemTimeError,
    TimeQuirk,
    date_of,
    date_time_of,
    time_of,
)
from blathy.cosem.time_columns import decode_times, encode_times, offsets_s

BUDAPEST = Zone("Europe/Budapest")
MOMENTS = st.integers(0, 4_102_444_800)
ZONES = st.sampled_from(
    ["UTC", "Europe/Budapest", "Asia/Kolkata", "America/St_Johns", "Pacific/Auckland"]
).map(Zone)


def raw(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


@given(MOMENTS, ZONES)
def test_utc_comes_back_from_what_the_meter_shows(utc_s: int, zone: Zone) -> None:
    shown = CosemDateTime.from_utc(utc_s, zone)
    assert CosemDateTime.of(shown.raw()) == shown
    assert shown.utc() == utc_s
    assert bool((shown.status or 0) & ClockStatus.DAYLIGHT_SAVING) == zone.is_dst(utc_s)


@given(st.lists(MOMENTS, min_size=1, max_size=20), ZONES)
def test_columns_agree_with_single_values(moments: list[int], zone: Zone) -> None:
    octets = encode_times(moments, zone)
    assert [row.tobytes() for row in octets] == [
        CosemDateTime.from_utc(moment, zone).raw() for moment in moments
    ]
    times = decode_times(octets)
    assert times.valid.all()
    assert times.utc_s.tolist() == moments
    assert offsets_s(np.array(moments), zone).tolist() == [zone.offset_s(m) for m in moments]


@given(st.lists(st.binary(min_size=12, max_size=12), min_size=1, max_size=30))
def test_any_octets_as_columns_agree_with_single_values(rows: list[bytes]) -> None:
    octets = np.frombuffer(b"".join(rows), np.uint8).reshape(-1, 12)
    times = decode_times(octets, BUDAPEST)
    for row, utc_s, valid in zip(rows, times.utc_s, times.valid, strict=True):
        try:
            expected = CosemDateTime.of(row[:4] + b"\xff" + row[5:8] + b"\xff" + row[9:])
            if not 1 <= (expected.date.year or 0) <= 9998:
                continue
            wanted = expected.utc(BUDAPEST)
        except CosemTimeError:
            assert not valid
        else:
            assert valid
            assert utc_s == wanted


@given(MOMENTS)
def test_without_deviation_the_zone_and_the_daylight_bit_tell_the_moment(utc_s: int) -> None:
    octets = encode_times([utc_s], BUDAPEST, deviation=False)
    shown = CosemDateTime.of(octets[0].tobytes())
    assert shown.deviation_min is None
    assert shown.utc(BUDAPEST) == utc_s
    assert decode_times(octets, BUDAPEST).utc_s[0] == utc_s
    with pytest.raises(CosemTimeError, match="give the time zone"):
        shown.utc()
    assert not decode_times(octets).valid[0]


def test_the_hour_that_occurs_twice() -> None:
    first = utc_of(datetime(2026, 10, 25, 0, 30, tzinfo=UTC))  # 02:30 summer time
    for utc_s, status in ((first, 0x80), (first + 3600, 0x00)):
        shown = CosemDateTime.of(encode_times([utc_s], BUDAPEST, deviation=False)[0].tobytes())
        assert str(shown) == "2026-10-25 02:30:00"
        assert shown.status == status
        assert shown.utc(BUDAPEST) == utc_s


def test_deviation_counts_from_local_time_to_utc() -> None:
    """07E5 01 1E 03 0A 1E 00 00 FFC4 00 is 10:30 +01:00."""
    winter = CosemDateTime.of(raw("07E5011E03 0A1E0000FF C4 00".replace("FF C4", "FFC4")))
    assert winter.deviation_min == -60
    assert iso_utc(winter.utc()) == "2021-01-30T09:30:00Z"
    summer = CosemDateTime.of(raw("07e50701040a1e0000ff8880"))
    assert iso_utc(summer.utc()) == "2021-07-01T08:30:00Z"
    assert str(summer) == "2021-07-01 10:30:00 +02:00"


def test_quirks_of_meters() -> None:
    reversed_sign = CosemDateTime.of(raw("07e50701040a1e0000007880"))
    assert iso_utc(reversed_sign.utc(quirks=TimeQuirk.REVERSED_DEVIATION)) == "2021-07-01T08:30:00Z"
    kamstrup = CosemDateTime.of(raw("07e50701040a1e00ff800080"))
    quirks = TimeQuirk.STANDARD_TIME_ALL_YEAR
    assert iso_utc(kamstrup.utc(BUDAPEST, quirks)) == "2021-07-01T09:30:00Z"
    assert iso_utc(kamstrup.utc(BUDAPEST)) == "2021-07-01T08:30:00Z"
    octets = np.frombuffer(kamstrup.raw(), np.uint8).reshape(1, 12)
    assert decode_times(octets, BUDAPEST, quirks).utc_s[0] == kamstrup.utc(BUDAPEST, quirks)
    octets = np.frombuffer(reversed_sign.raw(), np.uint8).reshape(1, 12)
    times = decode_times(octets, None, TimeQuirk.REVERSED_DEVIATION)
    assert iso_utc(int(times.utc_s[0])) == "2021-07-01T08:30:00Z"


def test_unspecified_hundredths_status_and_weekday_are_accepted() -> None:
    moment = CosemDateTime.of(raw("07e30c10ff073b28ffffc4ff"))
    assert moment.status is None
    assert moment.time.hundredths is None
    assert iso_utc(moment.utc()) == "2019-12-16T06:59:40Z"


@pytest.mark.parametrize(
    "text",
    [
        "07e5 0d 01 ff 00 00 00 00 ffc4 00",  # month 13
        "07e5 01 20 ff 00 00 00 00 ffc4 00",  # day 32
        "07e5 01 01 08 00 00 00 00 ffc4 00",  # weekday 8
        "07e5 01 01 ff 18 00 00 00 ffc4 00",  # hour 24
        "07e5 01 01 ff 00 3c 00 00 ffc4 00",  # minute 60
        "07e5 01 01 ff 00 00 00 64 ffc4 00",  # hundredths 100
        "07e5 01 01 ff 00 00 00 00 ffc4",  # eleven octets
    ],
)
def test_fields_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(CosemTimeError):
        CosemDateTime.of(raw(text))


@pytest.mark.parametrize(
    "text",
    [
        "ffff 01 01 ff 00 00 00 00 ffc4 00",
        "07e5 02 1e ff 00 00 00 00 ffc4 00",  # 30 February
        "07e5 03 fe 07 02 00 00 00 ffc4 00",  # last Sunday of March
        "07e5 01 01 ff ff 00 00 00 ffc4 00",
        "07e5 01 01 ff 00 00 00 00 7000 00",  # deviation of 28672 min
    ],
)
def test_what_names_no_moment_has_no_utc(text: str) -> None:
    with pytest.raises(CosemTimeError):
        CosemDateTime.of(raw(text)).utc(BUDAPEST)
    octets = np.frombuffer(raw(text), np.uint8).reshape(1, 12)
    assert not decode_times(octets, BUDAPEST).valid[0]


def test_daylight_saving_rules_resolve_to_days() -> None:
    last_sunday = CosemDate(None, 3, LAST_DAY, 7)
    assert last_sunday.in_year(2026) == date(2026, 3, 29)
    assert last_sunday.in_year(2027) == date(2027, 3, 28)
    assert CosemDate(None, 2, LAST_DAY).in_year(2028) == date(2028, 2, 29)
    assert CosemDate(None, 2, SECOND_LAST_DAY).in_year(2027) == date(2027, 2, 27)
    assert CosemDate(None, 11, 1, 4).in_year(2026) == date(2026, 11, 5)  # first Thursday
    with pytest.raises(CosemTimeError, match="names no day"):
        CosemDate(2025, 1, 1).in_year(2026)


def test_wildcards_repeat() -> None:
    christmas = CosemDate(None, 12, 24)
    assert christmas.matches(date(2026, 12, 24))
    assert not christmas.matches(date(2026, 12, 25))
    mondays = CosemDate(None, None, None, 1)
    assert mondays.matches(date(2026, 11, 23))
    assert not mondays.matches(date(2026, 11, 24))
    assert CosemDate().matches(date(1999, 1, 1))
    hourly = CosemTime(None, 15, 0)
    assert hourly.matches(3 * 3600 + 900)
    assert not hourly.matches(3 * 3600)


@given(st.dates(date(1990, 1, 1), date(2090, 12, 31)))
def test_a_full_date_covers_exactly_its_day(day: date) -> None:
    pattern = CosemDate.of_date(day)
    assert pattern.exact() == day
    assert pattern.matches(day)
    assert pattern.in_year(day.year) == day


def test_dates_and_times_are_read_in_every_form_that_meters_send() -> None:
    whole = CosemDateTime.from_utc(1_800_000_000, BUDAPEST)
    for wrap in (axdr.octets, axdr.date_time):
        assert date_time_of(wrap(whole.raw())) == whole
        assert date_of(wrap(whole.raw())) == whole.date
        assert time_of(wrap(whole.raw())) == whole.time
    for wrap in (axdr.octets, axdr.date):
        assert date_of(wrap(whole.date.raw())) == whole.date
        assert date_time_of(wrap(whole.date.raw())).time == CosemTime()
    for wrap in (axdr.octets, axdr.time):
        assert time_of(wrap(whole.time.raw())) == whole.time
    for reader in (date_time_of, date_of, time_of):
        for wrong in (axdr.u32(1), axdr.octets(b"abc"), axdr.null()):
            with pytest.raises(CosemTimeError):
                reader(wrong if wrong.value is not None else axdr.octets(b""))


def test_unset_is_all_wildcards() -> None:
    assert UNSET.raw() == raw("ffff ffffff ffffffff 8000 ff")
    assert UNSET.is_unset
    assert CosemDateTime.of(UNSET.raw()) == UNSET
    assert not CosemDateTime.from_utc(0, BUDAPEST).is_unset


def test_texts_for_people() -> None:
    assert str(CosemDate(None, 3, LAST_DAY, 7)) == "*-03-last Sun"
    assert str(CosemTime(None, 15, 0)) == "*:15:00"
    assert str(CosemTime(1, 2, 3, 50)) == "01:02:03.50"


def test_times_outside_the_calendar_are_refused() -> None:
    with pytest.raises(ValueError, match="years 1 to 9998"):
        encode_times([10**12], BUDAPEST)


def test_a_day_that_the_month_lacks_is_never_covered() -> None:
    assert not any(CosemDate(None, 2, 30).matches(date(2026, 2, d)) for d in range(1, 29))
    with pytest.raises(CosemTimeError, match="5 octets"):
        CosemDate.of(b"")
    with pytest.raises(CosemTimeError, match="4 octets"):
        CosemTime.of(b"")
