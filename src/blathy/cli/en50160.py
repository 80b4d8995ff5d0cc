"""`blathy en50160 POINT|FILE`: the weekly assessment of a voltage after EN 50160."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from blathy.cli.app import CommandError, app
from blathy.cli.centre import ControlCentre
from blathy.cli.console import console
from blathy.cli.measure import check_page, write_page
from blathy.cli.recording_layout import parse_channels, parse_scale
from blathy.clock import iso_utc
from blathy.metrology.en50160 import (
    DIP_DURATIONS_S,
    DIP_RESIDUALS_PERCENT,
    SWELL_DURATIONS_S,
    SWELL_LEVELS_PERCENT,
    Assessment,
    QualityRecord,
    Result,
    assess,
)
from blathy.report.en50160_page import page_of
from blathy.report.page import number
from blathy.report.quality_records import (
    Gathered,
    is_table,
    nominal_of_rating,
    record_of_point,
    record_of_recording,
    record_of_table,
    wanted_channels,
)
from blathy.sources.recorded_point import WIRINGS, Declared, point_of
from blathy.sources.recording_stream import open_recording
from blathy.sources.recordings import SUFFIXES, Layout, RecordingError

EVENT_PAGES_MAX: Final = 50


@app.command("en50160")
def command(
    place: Annotated[
        str,
        typer.Argument(
            help="A recording, a table of 10-min means (.csv with a start column, .parquet), or a "
            "metering point of a control centre."
        ),
    ],
    nominal_u: Annotated[float, typer.Option(help="Nominal voltage to neutral [V].")] = 0.0,
    nominal_hz: Annotated[int, typer.Option(help="50 or 60; default: the signal's, or 50.")] = 0,
    events: Annotated[
        Path | None,
        typer.Option(help="Events of a table: CSV with start,duration_s,extreme_percent."),
    ] = None,
    channels: Annotated[str, typer.Option(help="As for `blathy measure`.")] = "",
    scale: Annotated[str, typer.Option(help="As for `blathy measure`.")] = "",
    sample_rate: Annotated[float, typer.Option(help="As for `blathy measure`.")] = 0.0,
    wiring: Annotated[str, typer.Option(help=f"{', '.join(WIRINGS)}; as for `measure`.")] = "",
    start: Annotated[str, typer.Option(help="UTC of a recording's first sample.")] = "",
    api: Annotated[
        str, typer.Option(help="Address of the control centre.")
    ] = "http://127.0.0.1:8000",
    user: Annotated[str, typer.Option(help="User of the control centre.")] = "",
    password: Annotated[str, typer.Option(help="Its password.", envvar="BLATHY_PASSWORD")] = "",
    token: Annotated[str, typer.Option(help="A token instead.", envvar="BLATHY_TOKEN")] = "",
    end: Annotated[str, typer.Option(help="End of a point's week, UTC; default now.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="All results as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write the page with plots here (.html or .pdf).")
    ] = None,
) -> None:
    """Hold a week of voltage against EN 50160 (low voltage).

    Exit status 1 when a criterion that was measured is not met.
    """
    check_page(html)
    if nominal_u < 0 or nominal_hz not in {0, 50, 60}:
        raise CommandError("the nominal voltage is above zero, the frequency 50 or 60 Hz")
    path = Path(place)
    try:
        if path.suffix.lower() in {*SUFFIXES, ".parquet"}:
            if is_table(path):
                _must_exist(path)
                found = record_of_table(path, nominal_u or 230.0, nominal_hz or 50, events)
            else:
                layout = Layout(parse_channels(channels), parse_scale(scale), sample_rate)
                declared = Declared(wiring, nominal_u or None, nominal_hz or None, None, start)
                found = record_of_recording(point_of(open_recording(path, layout), declared))
        else:
            with_login = ControlCentre(api, user, password, token)
            found = _of_point(with_login, place, nominal_u, nominal_hz, end)
    except RecordingError as error:
        raise CommandError(str(error)) from error
    assessment = assess(found.record)
    if as_json:
        typer.echo(json.dumps(plain(found, assessment), indent=1, ensure_ascii=False))
    else:
        show(found, assessment, console())
    if html:
        page = page_of(found.name, found.record, assessment, found.notes, found.absent)
        write_page(page, html)
    if not assessment.passed:
        raise typer.Exit(1)


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise CommandError(f"there is no file {path}")


def _of_point(
    centre: ControlCentre, point_id: str, nominal_u: float, nominal_hz: int, end: str
) -> Gathered:
    try:
        until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    except ValueError as error:
        raise CommandError(f"--end {end!r} is no time; write 2026-03-08T00:00:00Z") from error
    until = (until if until.tzinfo else until.replace(tzinfo=UTC)).replace(microsecond=0)
    span = {"from": _text(until - timedelta(days=7)), "to": _text(until)}
    route = f"/points/{quote(point_id, safe='')}"
    point = centre.get(route)
    profiles = {
        channel: centre.get(f"{route}/profile", channel=channel, resolution="slot", **span)
        for channel in wanted_channels(point)
    }
    events: list[Any] = []
    for page in range(1, EVENT_PAGES_MAX + 1):
        answer = centre.get(f"{route}/events", page=str(page), **span)
        events += answer["items"]
        if not answer["items"] or len(events) >= answer["total"]:
            break
    nominal = nominal_u or nominal_of_rating(str(point["meter"].get("rated") or ""))
    return record_of_point(point, profiles, events, nominal, nominal_hz or 50)


def _text(instant: datetime) -> str:
    return iso_utc(int(instant.timestamp()))


def plain(found: Gathered, assessment: Assessment) -> dict[str, Any]:
    """The assessment as JSON."""
    record = found.record
    dips = _counts(DIP_RESIDUALS_PERCENT, DIP_DURATIONS_S, assessment.dips)
    swells = _counts(SWELL_LEVELS_PERCENT, SWELL_DURATIONS_S, assessment.swells)
    return {
        "name": found.name,
        "start": iso_utc(record.start_utc_s),
        "days": assessment.days,
        "interval_s": record.interval_s,
        "complete": assessment.complete,
        "passed": assessment.passed,
        "flagged_percent": assessment.flagged_percent,
        "nominal_u_v": record.nominal_u_v,
        "results": [_result(result, found.absent) for result in assessment.results],
        "dips": dips if record.dips_measured else None,
        "swells": swells if record.dips_measured else None,
        "interruptions": {
            "short": assessment.interruptions_short, "long": assessment.interruptions_long,
        },
        "events": [asdict(event) for event in record.events],
        "notes": list(found.notes),
    }  # fmt: skip


def _result(result: Result, absent: str) -> dict[str, Any]:
    verdict = {True: "met", False: "not met", None: absent}[result.passed]
    return {
        **asdict(result.criterion), "phase": result.where, "valid": result.valid,
        "inside_percent": result.inside_percent, "percentile_95": result.percentile_95,
        "worst": result.worst, "verdict": verdict,
    }  # fmt: skip


def _counts(
    levels: tuple[tuple[float, float], ...],
    durations: tuple[tuple[float, float], ...],
    counts: tuple[tuple[int, ...], ...],
) -> list[dict[str, Any]]:
    return [
        {"from_percent": low, "to_percent": high if math.isfinite(high) else None,
         "from_s": a, "to_s": b, "count": count}
        for (low, high), row in zip(levels, counts, strict=True)
        for (a, b), count in zip(durations, row, strict=True)
    ]  # fmt: skip


def show(found: Gathered, assessment: Assessment, out: Console) -> None:
    """The tables of the terminal."""
    record = found.record
    out.print(
        f"{found.name}: {assessment.days:.2f} days from {iso_utc(record.start_utc_s)}, Un "
        f"{record.nominal_u_v:g} V, {assessment.flagged_percent:.1f} % of the intervals flagged",
        highlight=False, markup=False,
    )  # fmt: skip
    if not assessment.complete:
        out.print("note: less than a week: the figures hold for that time only", style="yellow")
    for note in found.notes:
        out.print(f"note: {note}", style="yellow", highlight=False, markup=False)
    out.print(_grid(assessment, found.absent))
    if record.dips_measured or record.events:
        short, long = assessment.interruptions_short, assessment.interruptions_long
        words = f"{_sums(record, assessment)}{short} short and {long} long interruptions"
        out.print(words, highlight=False)
    broken = sum(result.passed is False for result in assessment.results)
    out.print("[red]not met: " + f"{broken} criteria[/red]" if broken else "Within the limits")


def _sums(record: QualityRecord, assessment: Assessment) -> str:
    if not record.dips_measured:
        return ""
    dips, swells = sum(map(sum, assessment.dips)), sum(map(sum, assessment.swells))
    return f"{dips} dips, {swells} swells, "


def _grid(assessment: Assessment, absent: str) -> Table:
    """One row per criterion; harmonics only where measured."""
    grid = Table(title="EN 50160", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column("Parameter")
    grid.add_column("Limits")
    grid.add_column("Within", justify="right", min_width=8)
    grid.add_column("Worst", justify="right", min_width=6)
    grid.add_column("", min_width=12)
    for result in assessment.results:
        c = result.criterion
        if not result.valid and c.parameter.startswith("Harmonic"):
            continue
        limits = f"{c.low:g} … {c.high:g} {c.unit}" if c.low else f"≤ {c.high:g} {c.unit}"
        inside = result.inside_percent
        verdict = {True: "met", False: "not met", None: absent}[result.passed]
        grid.add_row(
            f"{c.parameter} {result.where}".strip(), f"{limits.strip()} for {c.share_percent:g} %",
            "–" if inside is None else f"{inside:.2f} %", number(result.worst, 2), verdict,
            style="red" if result.passed is False else "",
        )  # fmt: skip
    return grid
