"""The report of a weekly assessment after EN 50160: verdict, table, plots, table of dips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blathy.clock import datetime_of, iso_utc
from blathy.metrology.en50160 import (
    DIP_DURATIONS_S,
    DIP_RESIDUALS_PERCENT,
    HARMONIC_LIMITS_PERCENT,
    SWELL_DURATIONS_S,
    SWELL_LEVELS_PERCENT,
    Assessment,
    QualityRecord,
    Result,
)
from blathy.report.drawing import Axis, Drawing, Series, bar_chart, line_chart
from blathy.report.page import Heading, Paragraph, Part, Report, Table, Verdict, number

TICKS_S = (600, 1800, 3600, 7200, 10_800, 21_600)
PHASE_COLOURS = ("#8a5a2b", "#1c2430", "#7b8794")


def page_of(
    name: str, record: QualityRecord, assessment: Assessment, notes: Sequence[str] = (),
    absent: str = "not measured",
) -> Report:  # fmt: skip
    """The page of one place; `notes` say what was not measured, and why."""
    end = record.start_utc_s + record.duration_s
    page = Report(
        f"Voltage characteristics of {name}",
        f"{iso_utc(record.start_utc_s)} to {iso_utc(end)}, Un {record.nominal_u_v:g} V, assessed "
        "after EN 50160 (low voltage)",
    )
    broken = [r for r in assessment.results if r.passed is False]
    words = "Within the limits" if not broken else f"{len(broken)} criteria are not met"
    page.add(Verdict(words, not broken))
    if not assessment.complete:
        page.add(
            Paragraph(
                f"The record covers {assessment.days:.2f} days of the seven that the standard "
                "asks for; the figures hold for that time only."
            )
        )
    page.add(
        Paragraph(
            f"{assessment.flagged_percent:.1f} % of the intervals were touched by a dip, swell or "
            "interruption and are left out. Assessed in software, not by a certified instrument."
        ),
        *(Paragraph(f"Note: {note}.") for note in notes),
        Heading("Results"),
        table_of(assessment, absent),
        *_plots(record, assessment),
        *_event_tables(record, assessment),
    )
    return page


def _event_tables(record: QualityRecord, assessment: Assessment) -> list[Part]:
    short, long = assessment.interruptions_short, assessment.interruptions_long
    words = f"Interruptions: {short} short (up to 3 min), {long} long."
    if not record.dips_measured:
        known = words if short or long else ""
        return [
            Heading("Voltage dips and swells"),
            Paragraph(f"Dips and swells were not measured. {known}".strip()),
        ]
    return [
        Heading("Voltage dips (residual voltage against duration)"),
        _events(DIP_RESIDUALS_PERCENT, DIP_DURATIONS_S, assessment.dips),
        Heading("Voltage swells"),
        _events(SWELL_LEVELS_PERCENT, SWELL_DURATIONS_S, assessment.swells),
        Paragraph(words),
    ]


def table_of(assessment: Assessment, absent: str = "not measured") -> Table:
    """One row per criterion; harmonics only where measured."""
    shown = [r for r in assessment.results if r.valid or not r.criterion.parameter.startswith("Ha")]
    rows = tuple(_row(result, absent) for result in shown)
    bad = frozenset(n for n, result in enumerate(shown) if result.passed is False)
    header = (
        "Parameter",
        "Phase",
        "Interval",
        "Limits",
        "Demanded",
        "Valid",
        "Within",
        "Worst",
        "",
    )
    return Table(header, rows, frozenset({4, 5, 6, 7}), bad)


def _row(result: Result, absent: str) -> tuple[str, ...]:
    c = result.criterion
    verdict = {True: "met", False: "not met", None: absent}[result.passed]
    limits = f"{c.low:g} … {c.high:g} {c.unit}" if c.low else f"≤ {c.high:g} {c.unit}"
    inside = result.inside_percent
    return (
        c.parameter, result.where, c.interval, limits, f"{c.share_percent:g} %", str(result.valid),
        "–" if inside is None else f"{inside:.2f} %", number(result.worst, 2), verdict,
    )  # fmt: skip


def _plots(record: QualityRecord, assessment: Assessment) -> list[Heading | Drawing]:
    plots: list[Heading | Drawing] = [Heading("Course of the week")]
    times = [record.start_utc_s + record.interval_s * n for n in range(len(record.u_v))]
    low, high = (float(times[0]), float(times[-1])) if len(times) > 1 else (None, None)
    axis = Axis("UTC", low, high, labels=_days(times))
    phases = record.u_v.shape[1]
    series = [
        Series(f"L{k + 1}", list(zip(times, record.u_v[:, k], strict=True)), PHASE_COLOURS[k])
        for k in range(phases)
    ]
    limits = (0.9 * record.nominal_u_v, 1.1 * record.nominal_u_v)
    plots.append(
        line_chart(
            f"Voltage, {record.interval_s // 60}-min means",
            axis,
            Axis("U [V]"),
            series,
            limits=limits,
        )
    )
    if np.isfinite(record.thd_percent).any():
        series = [
            Series(
                f"L{k + 1}",
                list(zip(times, record.thd_percent[:, k], strict=False)),
                PHASE_COLOURS[k],
            )
            for k in range(record.thd_percent.shape[1])
        ]
        plots.append(line_chart("THD", axis, Axis("THD [%]", 0.0), series, limits=(8.0,)))
    frequencies = record.frequency_10s_hz[np.isfinite(record.frequency_10s_hz)]
    if len(frequencies):
        spread = np.histogram(frequencies, bins=21)
        bars = [(f"{edge:.2f}", float(n)) for n, edge in zip(*spread, strict=False)]
        plots.append(bar_chart("Frequency, 10-s means", Axis("f [Hz]"), Axis("Intervals"), bars))
    found = [r for r in assessment.results if r.criterion.parameter.startswith("Ha") and r.valid]
    if found:
        worst: dict[str, float] = {}
        for result in found:
            order = result.criterion.parameter.split()[1]
            worst[order] = max(worst.get(order, 0.0), result.percentile_95 or 0.0)
        marks = [(str(order), limit) for order, limit in HARMONIC_LIMITS_PERCENT.items()]
        plots.append(
            bar_chart(
                "Harmonics, 95 % values of the worst phase, with limits",
                Axis("Order"), Axis("% of Un"), list(worst.items()), limits=marks,
            )
        )  # fmt: skip
    return plots


def _days(times: list[int]) -> tuple[tuple[float, str], ...]:
    if not times:
        return ()
    long = times[-1] - times[0] >= 2 * 86_400
    span = times[-1] - times[0]
    step = 86_400 if long else next((n for n in TICKS_S if span / n <= 8), TICKS_S[-1])
    first = -(-times[0] // step) * step
    form = "%d %b" if long else "%H:%M"
    marks = range(first, times[-1] + 1, step)
    return tuple((float(t), datetime_of(t).strftime(form)) for t in marks) or (
        (float(times[0]), ""),
    )


def _events(
    levels: tuple[tuple[float, float], ...],
    durations: tuple[tuple[float, float], ...],
    counts: tuple[tuple[int, ...], ...],
) -> Table:
    header = ("% of Un", *(f"{a:g}–{b:g} s" for a, b in durations))
    rows = tuple(
        (f"{low:g}–{high:g}" if np.isfinite(high) else f"above {low:g}", *map(str, row))
        for (low, high), row in zip(levels, counts, strict=True)
    )
    return Table(header, rows, frozenset(range(1, len(header))))
