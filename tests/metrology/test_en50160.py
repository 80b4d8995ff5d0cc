"""EN 50160: shares of intervals, outer limits, exclusions and the event tables, on made records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blathy.metrology.en50160 import Assessment, QualityRecord, Result, VoltageEvent, assess
from blathy.report.en50160_page import page_of

WEEK = 7 * 144


def record(**changes: Any) -> QualityRecord:
    values: dict[str, Any] = {
        "nominal_u_v": 230.0,
        "nominal_hz": 50.0,
        "start_utc_s": 1_779_998_400,
        "u_v": np.full((WEEK, 3), 231.0),
        "flagged": np.zeros(WEEK, bool),
        "frequency_10s_hz": np.full(60_480, 50.01),
        "plt": np.full((84, 3), 0.6),
        "u2_percent": np.full(WEEK, 0.8),
        "thd_percent": np.full((WEEK, 3), 3.0),
        "harmonics_percent": np.full((WEEK, 3, 24), 0.3),
    }
    return QualityRecord(**(values | changes))


def one(assessment: Assessment, parameter: str, where: str = "", share: float = 95.0) -> Result:
    (found,) = [
        r
        for r in assessment.results
        if (r.criterion.parameter, r.where, r.criterion.share_percent) == (parameter, where, share)
    ]
    return found


def test_a_good_week_passes_and_is_complete() -> None:
    found = assess(record())
    assert found.passed
    assert found.complete
    assert one(found, "Supply voltage", "L2").inside_percent == 100.0


@pytest.mark.parametrize(("low", "passed"), [(50, True), (51, False)])
def test_five_percent_of_a_week_may_lie_outside_ten_percent(low: int, passed: bool) -> None:
    u_v = np.full((WEEK, 3), 231.0)
    u_v[:low, 0] = 200.0
    found = assess(record(u_v=u_v))
    assert one(found, "Supply voltage", "L1").passed is passed
    assert one(found, "Supply voltage", "L1", 100.0).passed is True


def test_one_interval_beyond_the_outer_limit_fails() -> None:
    u_v = np.full((WEEK, 3), 231.0)
    u_v[3, 1] = 194.0
    found = assess(record(u_v=u_v))
    assert one(found, "Supply voltage", "L2", 100.0).passed is False
    assert one(found, "Supply voltage", "L2", 100.0).worst == 194.0
    flagged = np.zeros(WEEK, bool)
    flagged[3] = True
    again = assess(record(u_v=u_v, flagged=flagged))
    assert again.passed
    assert again.flagged_percent == pytest.approx(100 / WEEK)


def test_a_flagged_ten_minutes_takes_its_two_hours_of_flicker_out() -> None:
    plt = np.full((84, 3), 0.6)
    plt[0:5] = 1.4
    assert one(assess(record(plt=plt)), "Long-term flicker Plt", "L1").passed is False
    flagged = np.zeros(WEEK, bool)
    flagged[[0, 12, 24, 36, 48]] = True
    assert one(assess(record(plt=plt, flagged=flagged)), "Long-term flicker Plt", "L1").valid == 79


def test_what_was_not_measured_is_neither_good_nor_bad() -> None:
    bare = QualityRecord(230.0, 50.0, 0, np.full((10, 1), np.nan), np.zeros(10, bool))
    found = assess(bare)
    assert one(found, "Supply voltage", "L1").passed is None
    assert one(found, "Mains signalling", share=99.0).passed is None
    assert not found.complete


def test_a_single_harmonic_above_its_limit_is_named() -> None:
    harmonics = np.full((WEEK, 3, 24), 0.3)
    harmonics[:, 2, 15 - 2] = 0.6
    broken = [r for r in assess(record(harmonics_percent=harmonics)).results if r.passed is False]
    assert [(r.criterion.parameter, r.where) for r in broken] == [("Harmonic 15", "L3")]


def test_events_fall_into_the_cells_of_the_tables() -> None:
    events = (
        VoltageEvent(0, 0.1, 85.0),
        VoltageEvent(0, 0.3, 70.0),
        VoltageEvent(0, 2.0, 39.0),
        VoltageEvent(0, 0.2, 130.0),
        VoltageEvent(0, 200.0, 0.0),
        VoltageEvent(0, 30.0, 1.0),
    )
    found = assess(record(events=events))
    assert found.dips[0] == (1, 0, 0, 0, 0)
    assert found.dips[1] == (0, 1, 0, 0, 0)
    assert found.dips[3] == (0, 0, 0, 1, 0)
    assert found.swells[0] == (1, 0, 0)
    assert (found.interruptions_short, found.interruptions_long) == (1, 1)


def test_the_report_is_a_page_and_a_paper(tmp_path: Path) -> None:
    made = record()
    page = page_of("Riverside 4", made, assess(made))
    html = page.html()
    assert "Within the limits" in html
    assert html.count("<svg") == 4
    page.write(tmp_path / "week.pdf")
    assert (tmp_path / "week.pdf").stat().st_size > 5000
