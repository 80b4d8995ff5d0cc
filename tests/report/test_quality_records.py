"""A meter's profile as a quality record: joined, flagged by outages, and nothing invented."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from blathy.clock import iso_utc
from blathy.metrology.en50160 import assess
from blathy.report.quality_records import nominal_of_rating, record_of_point
from blathy.sources.recordings import RecordingError

START = 1_772_409_600  # 2026-03-02T00:00:00Z
POINT = {"id": "p-7", "name": "Workshop"}


def profile(values: list[float | None], step_s: int, quality: str = "valid") -> dict[str, Any]:
    slots = [
        {"start": iso_utc(START + n * step_s), "value": v, "quality": quality if v else "missing"}
        for n, v in enumerate(values)
    ]
    return {"step_s": step_s, "slots": slots}


def test_five_minute_means_are_joined_and_a_missing_one_leaves_the_interval_out() -> None:
    profiles = {"u_l1": profile([230.0, 240.0, None, 231.0, 229.0, 229.0], 300)}
    found = record_of_point(POINT, profiles, [], 230.0, 50)
    assert found.record.interval_s == 600
    expected = [[np.sqrt((230**2 + 240**2) / 2)], [np.nan], [229.0]]
    np.testing.assert_allclose(found.record.u_v, expected)
    assert not np.isfinite(found.record.thd_percent).any()
    assert not found.record.dips_measured


def test_an_outage_is_counted_and_flags_what_it_touched() -> None:
    profiles = {"u_l1": profile([230.0, 120.0, 230.0, 230.0], 900)}
    events = [
        {"at": iso_utc(START + 1000), "name": "power_down"},
        {"at": iso_utc(START + 1300), "name": "power_up"},
        {"at": iso_utc(START + 2000), "name": "sag_start"},
        {"at": iso_utc(START + 3000), "name": "power_down"},  # nobody knows for how long
    ]
    found = record_of_point(POINT, profiles, events, 230.0, 50)
    assert found.record.flagged.tolist() == [False, True, False, False]
    result = assess(found.record)
    assert (result.interruptions_short, result.interruptions_long) == (0, 1)
    assert result.passed
    assert any("reports 1 sags" in note for note in found.notes)
    assert any("means over 15 min" in note for note in found.notes)


def test_estimated_values_are_not_measured_ones() -> None:
    profiles = {"u_l1": profile([230.0, 231.0], 600, "estimated")}
    assert not np.isfinite(record_of_point(POINT, profiles, [], 230.0, 50).record.u_v).any()


def test_a_meter_without_a_profile_of_the_voltage_is_refused() -> None:
    with pytest.raises(RecordingError, match="keeps no profile of the voltage"):
        record_of_point(POINT, {}, [], 230.0, 50)


@pytest.mark.parametrize(
    ("rated", "volts"),
    [("3×230/400 V, 5(85) A", 230.0), ("57.7/100 V, 1(6) A", 57.7), ("", 230.0),
     ("58/100/230/400 V, 5(6) A", 230.0)],
)  # fmt: skip
def test_the_nominal_voltage_of_a_rating(rated: str, volts: float) -> None:
    assert nominal_of_rating(rated) == volts
