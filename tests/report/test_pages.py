"""Reports: self-contained HTML and PDF from one description, and nothing from outside."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blathy.report.drawing import Axis, Series, bar_chart, line_chart, printable
from blathy.report.page import Heading, Paragraph, Report, Table, Verdict, number


def page() -> Report:
    chart = line_chart(
        "Error <curve>",
        Axis("Current [A]", logarithmic=True),
        Axis("Error [%]", -2, 2),
        [Series("cos φ 1", [(0.1, 0.5), (1, 0.1), (10, float("nan")), (100, -0.2)], marked=True)],
        limits=(1.0, -1.0),
    )
    bars = bar_chart(
        "Harmonics", Axis("Order"), Axis("%"), [("3", 4.0), ("5", 7.0)], limits=[("5", 6.0)]
    )
    made = Report("A & B", "lead")
    made.add(
        Heading("One"), Paragraph("Text < more"), Verdict("Broken", good=False), chart, bars,
        Table(("Name", "Value"), (("φ", "−1.5"), ("x", "2")), frozenset({1}), frozenset({1})),
    )  # fmt: skip
    return made


def test_html_is_one_file_without_anything_from_outside() -> None:
    html = page().html()
    assert "<script" not in html
    assert not re.search(r"(src|href)=", html)
    assert html.count("<svg") == 2
    assert "A &amp; B" in html
    assert "Text &lt; more" in html
    assert '<tr class="bad"><td>x</td>' in html


def test_a_break_in_a_series_is_a_gap_and_not_a_line() -> None:
    chart = line_chart(
        "t",
        Axis("x"),
        Axis("y"),
        [Series("a", [(0, 1), (1, 2), (2, float("nan")), (3, 1), (4, 2)])],
    )
    assert chart.svg().count('stroke="#1d4ed8"') == 2


def test_a_bar_above_its_limit_takes_the_limits_colour() -> None:
    svg = page().parts[4].svg()  # type: ignore[union-attr]
    assert svg.count('fill="#c2410c"') == 1


def test_pdf_has_the_words_and_is_the_same_every_time(tmp_path: Path) -> None:
    path = tmp_path / "r.pdf"
    page().write(path)
    first = path.read_bytes()
    assert first.startswith(b"%PDF-")
    page().write(path)
    assert path.read_bytes() == first


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.html or \.pdf"):
        page().write(tmp_path / "r.doc")


def test_numbers_have_a_real_minus_and_nothing_is_a_dash() -> None:
    assert number(-1.5, 1) == "−1.5"
    assert number(None) == "–"


def test_ranges_are_written_in_letters_that_the_pdf_fonts_have() -> None:
    assert printable("207 … 253 V, ≤ 8 %, ≥ 2 Ω") == "207 to 253 V, <= 8 %, >= 2 ohm"
