"""The report of a type test: verdict, error curves against the limits, every point as a table."""

from __future__ import annotations

from collections.abc import Iterator

from blathy.metrology.accuracy_limits import Energy
from blathy.metrology.type_test import TypeTestPoint, TypeTestReport
from blathy.report.drawing import Axis, Drawing, Series, line_chart
from blathy.report.page import Heading, Paragraph, Report, Table, Verdict, number


def page_of(report: TypeTestReport) -> Report:
    """The page of one meter's type test."""
    plan = report.plan
    broken = [p for p in report.points if not p.passed]
    page = Report(
        f"Type test of {plan.name}",
        f"{plan.phases} x {plan.un_v:g} V, {plan.i_ref_a:g} ({plan.i_max_a:g}) A, "
        f"{plan.imp_per_kwh} imp/kWh; voltage sensor: {plan.voltage_sensor.name}; current sensor: "
        f"{plan.current_sensor.name}{'' if plan.calibrated else ', not adjusted'}",
    )
    words = "No limit is broken" if not broken else f"{len(broken)} limits are broken"
    page.add(Verdict(f"{words} in {len(report.points)} points", not broken))
    classes = [plan.active] + ([plan.reactive] if plan.reactive else [])
    named = "; ".join(f"{c.energy.value} class {c.name} ({c.standard})" for c in classes)
    page.add(
        Paragraph(
            f"Held against: {named}. A test in software, with a model of the sensors: it proves "
            "the algorithm and its error budget, it certifies nothing."
        )
    )
    for energy in Energy:
        drawings = list(_curves(report, energy))
        if drawings:
            page.add(Heading(f"Error curves, {energy.value} energy"), *drawings)
    for group in dict.fromkeys(p.group for p in report.points):
        points = [p for p in report.points if p.group == group]
        page.add(Heading(group[0].upper() + group[1:]), table_of(points))
    return page


def _curves(report: TypeTestReport, energy: Energy) -> Iterator[Drawing]:
    errors = [p for p in report.points if p.energy is energy and p.test == "error"]
    for group in dict.fromkeys(p.group for p in errors):
        points = [p for p in errors if p.group == group]
        series = [
            Series(
                factor,
                [(p.current_a, p.error_percent or 0.0) for p in points if p.factor == factor],
                marked=True,
            )
            for factor in dict.fromkeys(p.factor for p in points)
        ]
        top = max((p.limit_percent or 0.0 for p in points), default=1.0)
        bound = min(p.limit_percent or top for p in points)
        yield line_chart(
            f"{group[0].upper()}{group[1:]}",
            Axis("Current [A]", logarithmic=True),
            Axis("Error [%]", -1.15 * top, 1.15 * top),
            series,
            limits=(bound, -bound, top, -top),
        )


def table_of(points: list[TypeTestPoint]) -> Table:
    """Points as rows: current, factor, error, limit, verdict."""
    rows = tuple(
        (
            p.test if p.test != "error" else p.energy.value,
            f"{p.current_a:.4g}",
            p.factor,
            number(p.error_percent, 4),
            "–" if p.limit_percent is None else f"±{p.limit_percent:g}",
            p.note,
            "passed" if p.passed else "broken",
        )
        for p in points
    )
    bad = frozenset(n for n, p in enumerate(points) if not p.passed)
    header = ("Test", "Current [A]", "Factor", "Error [%]", "Limit [%]", "Note", "Verdict")
    return Table(header, rows, frozenset({1, 3, 4}), bad)
