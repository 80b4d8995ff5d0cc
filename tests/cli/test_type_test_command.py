"""`blathy type-test`: passes with adjusted sensors, breaks limits with poor ones, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.in_process import blathy

VERSIONS: dict[str, list[tuple[str, str, tuple[str, ...]]]] = {
    "MT372-20": [
        ("mt372", "1", ("--currents", "5(85)")),
        ("mt372", "2", ("--currents", "10(85)", "--hz", "60")),
    ],
    "K-16": [
        ("k162m", "B", ("--currents", "5(65)")),
        ("k382m", "2", ("--currents", "10(100)", "--hz", "60")),
    ],
    "OMNI-18": [("omnipower", "A", ()), ("omnipower", "1", ())],
    "ESOX-17": [
        ("esox", "C", ()),
        ("esox", "B", ("--un", "58", "--currents", "1(6)")),
    ],
}
"""Every version that the sheets name, at least once: class, currents, voltage, frequency."""


@pytest.mark.parametrize(
    ("model", "classes", "version"),
    [
        pytest.param(*row, marks=pytest.mark.requirement(promise), id=f"{promise}-{n}")
        for promise, rows in VERSIONS.items()
        for n, row in enumerate(rows)
    ],
)
def test_every_class_of_the_data_sheets_is_kept(
    model: str, classes: str, version: tuple[str, ...]
) -> None:
    done = blathy("type-test", model, "--class", classes, "--json", *version)
    assert done.status == 0, done.err
    (report,) = done.json
    points = report["points"]
    assert report["passed"]
    assert {p["group"] for p in points} >= {"influence", "starting and no-load", "meter constant"}
    assert len(points) > 30
    told = {str(p) for p in points}
    assert any("reactive" in each for each in told) or model == "mt372"


def test_a_poor_sensor_that_nobody_adjusted_breaks_the_limits(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = blathy(
        "type-test", "omnipower", "--class", "A", "--sensor", "ct", "--uncalibrated", "--html", page
    )
    assert done.status == 1
    assert "broken" in done.out
    assert "limits are broken" in page.read_text()


def test_an_unknown_model_or_class_is_one_sentence() -> None:
    for arguments, words in (
        (("type-test", "nobody"), "known are mpta-1"),
        (("type-test", "esox", "--class", "9"), "known are 0.2S"),
        (("type-test", "esox", "--html", "x.doc"), ".html or .pdf"),
        (("type-test", "esox", "--sensor", "eye"), "use ct"),
        (("type-test", "esox", "--hz", "60"), "is for 50 Hz"),
        (("type-test", "esox", "--un", "120"), "58, 100, 230 V"),
        (("type-test", "mt372", "--currents", "many"), "write 5(65)"),
    ):
        done = blathy(*arguments)
        assert done.status == 2
        assert words in done.err
        assert "Traceback" not in done.err
