"""`blathy type-test`: passes with adjusted sensors, breaks limits with poor ones, and says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def blathy(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from blathy.cli import main; main()", *arguments],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


@pytest.mark.requirement("MT372-20", "K-16", "OMNI-18", "ESOX-17")
@pytest.mark.parametrize(
    ("model", "classes"),
    [("mt372", "1"), ("k162m", "B"), ("omnipower", "B"), ("esox", "C")],
)
def test_every_class_of_the_data_sheets_is_kept(model: str, classes: str) -> None:
    done = blathy("type-test", model, "--class", classes, "--json")
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)
    points = report["points"]
    assert report["passed"]
    assert {p["group"] for p in points} >= {"influence", "starting and no-load", "meter constant"}
    assert len(points) > 30


def test_a_poor_sensor_that_nobody_adjusted_breaks_the_limits(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = blathy(
        "type-test", "esox", "--class", "C", "--sensor", "ct", "--uncalibrated", "--html", str(page)
    )
    assert done.returncode == 1
    assert "broken" in done.stdout
    assert "limits are broken" in page.read_text()


def test_an_unknown_model_or_class_is_one_sentence() -> None:
    for arguments, words in (
        (("type-test", "nobody"), "known are mpta-1"),
        (("type-test", "esox", "--class", "9"), "known are 0.2S"),
        (("type-test", "esox", "--html", "x.doc"), ".html or .pdf"),
        (("type-test", "esox", "--sensor", "eye"), "use ct"),
    ):
        done = blathy(*arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
