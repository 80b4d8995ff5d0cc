"""`blathy type-test MODEL`: the type tests of a model's accuracy classes, in software."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from blathy.cli.app import CommandError, app
from blathy.cli.console import console
from blathy.metrology.accuracy_limits import (
    AccuracyClass,
    Energy,
    accuracy_class,
    full_scale_class,
)
from blathy.metrology.sensors import (
    IDEAL,
    Converter,
    Sensor,
    current_transformer,
    divider,
    rogowski,
    shunt,
    voltage_transformer,
)
from blathy.metrology.type_test import TypeTestPlan, TypeTestReport, type_test
from blathy.models import MODELS, Model
from blathy.report.type_test_page import page_of

SENSORS = {"ct": current_transformer, "rogowski": rogowski, "shunt": shunt}
FULL_SCALE_A = 100.0
"""The current transformer that a meter without a rated current is tested with."""


@app.command("type-test")
def command(
    model: Annotated[str, typer.Argument(help="A model, as `blathy model list` names it.")],
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Only this active class (may be repeated).")
    ] = None,
    sensor: Annotated[
        str, typer.Option(help="Current sensor: ct, rogowski, shunt or ideal; default the model's.")
    ] = "",
    uncalibrated: Annotated[
        bool, typer.Option("--uncalibrated", help="Leave the sensors' errors as they are.")
    ] = False,
    hz: Annotated[int, typer.Option(help="Nominal frequency; default 50.")] = 50,
    un: Annotated[float, typer.Option(help="Nominal voltage to neutral; default 230 V.")] = 0.0,
    currents: Annotated[
        str, typer.Option(help="Reference and largest current, such as '5(65)'.")
    ] = "",
    html: Annotated[Path | None, typer.Option(help="Write the report with plots here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All points as JSON.")] = False,
) -> None:
    """Every load point and influence quantity of the model's classes against the limits.

    Exit status 1 when a limit is broken.
    """
    table = MODELS.get(model.lower())
    if table is None:
        raise CommandError(f"there is no model {model!r}; known are {', '.join(MODELS)}")
    if html and html.suffix.lower() not in {".html", ".htm", ".pdf"}:
        raise CommandError(f"{html.name}: a report is written as .html or .pdf")
    rating = rating_of(table, hz, un, currents)
    plans = [
        plan_of(table, active, sensor, calibrated=not uncalibrated, rating=rating)
        for active in active_classes(table, classes)
    ]
    reports = [_run(plan, quiet=as_json) for plan in plans]
    if as_json:
        typer.echo(json.dumps([_plain(report) for report in reports], indent=1))
    else:
        for report in reports:
            _show(report)
    if html:
        _write(reports, html)
    if not all(report.passed for report in reports):
        raise typer.Exit(1)


def active_classes(model: Model, wanted: list[str] | None) -> list[AccuracyClass]:
    """The active classes to prove; the model's own unless some are asked for."""
    names = wanted or list(model.ratings.accuracy_active)
    transformer = model.ratings.transformers
    found = []
    for name in names:
        share = re.match(r"([\d.]+) %", name)
        try:
            found.append(
                full_scale_class(float(share[1]), Energy.ACTIVE)
                if share
                else accuracy_class(name, Energy.ACTIVE, transformer=transformer)
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
    return found


@dataclass(frozen=True, slots=True)
class Rating:
    """The version of a model that is on the bench: frequency, voltage to neutral, currents."""

    hz: int
    un_v: float
    i_ref_a: float
    i_max_a: float


def rating_of(model: Model, hz: int = 50, un_v: float = 0.0, currents: str = "") -> Rating:
    """What is asked for, or the model's usual; CommandError for what its plate does not say."""
    ratings = model.ratings
    if hz not in ratings.fn_hz:
        raise CommandError(f"{model.name} is for {' or '.join(map(str, ratings.fn_hz))} Hz")
    if un_v and not any(abs(un_v - known) <= 1 for known in ratings.un_v if known <= 300):
        known = ", ".join(str(v) for v in ratings.un_v if v <= 300)
        raise CommandError(f"{model.name} is for {known} V to neutral")
    usual = 230.0 if 230 in ratings.un_v else float(ratings.un_v[0])
    i_ref_a, i_max_a = ratings.i_ref_ma[-1] / 1000.0, ratings.i_max_ma / 1000.0
    if currents:
        found = re.fullmatch(r"([\d.]+)\(([\d.]+)\)", currents, re.ASCII)
        if not found or not 0 < float(found[1]) <= float(found[2]):
            raise CommandError(f"--currents {currents!r} are none; write 5(65)")
        i_ref_a, i_max_a = float(found[1]), float(found[2])
    return Rating(hz, un_v or usual, i_ref_a, i_max_a)


def plan_of(
    model: Model, active: AccuracyClass, sensor: str, *, calibrated: bool,
    rating: Rating | None = None,
) -> TypeTestPlan:  # fmt: skip
    """The bench for a model: its ratings, and the sensor it is built with."""
    ratings = model.ratings
    chosen = rating or rating_of(model)
    phases = len(model.phases)
    un_v = chosen.un_v
    i_ref_a = FULL_SCALE_A if active.of_full_scale else chosen.i_ref_a
    i_max_a = i_ref_a * 1.2 if active.of_full_scale else chosen.i_max_a
    reactive = None
    if ratings.accuracy_reactive:
        name = min(ratings.accuracy_reactive)
        reactive = (
            full_scale_class(float(name.split()[0]), Energy.REACTIVE)
            if "%" in name
            else accuracy_class(name, Energy.REACTIVE, transformer=ratings.transformers)
        )
    kind = sensor or ("ct" if ratings.transformers or phases == 3 else "shunt")
    return TypeTestPlan(
        name=f"{model.name}, class {active.name}",
        phases=phases,
        un_v=un_v,
        i_ref_a=i_ref_a,
        i_max_a=i_max_a,
        active=active,
        reactive=reactive,
        voltage_sensor=_voltage_sensor(un_v, kind),
        current_sensor=_current_sensor(i_max_a, kind),
        imp_per_kwh=ratings.imp_per_kwh or 1000,
        starting_a=ratings.starting_ma / 1000.0,
        calibrated=calibrated and kind != "ideal",
        nominal_hz=chosen.hz,
    )


def _current_sensor(i_max_a: float, kind: str) -> Sensor:
    if kind == "ideal":
        return IDEAL
    if kind not in SENSORS:
        raise CommandError(f"there is no sensor {kind!r}; use {', '.join(SENSORS)} or ideal")
    made = SENSORS[kind](i_max_a)
    return made.with_range(1.6 * i_max_a * 2**0.5, 24)


def _voltage_sensor(un_v: float, kind: str) -> Sensor:
    if kind == "ideal":
        return IDEAL
    made = voltage_transformer(un_v) if un_v < 100 else divider(un_v)
    return Sensor(
        made.name, made.rated_rms, made.ratio_error_percent, made.phase_error_min, made.offset,
        made.noise_rms, made.cubic_percent, made.saturation_peak, made.temperature_ppm_per_k,
        made.phase_min_per_k, made.blocks_dc, Converter(24, 2.2 * un_v * 2**0.5),
    )  # fmt: skip


def _run(plan: TypeTestPlan, *, quiet: bool) -> TypeTestReport:
    if quiet:
        return type_test(plan)
    out = console(stderr=True)
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(plan.name, total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"{plan.name}: {what}", completed=done, total=total)

        return type_test(plan, progress)


def _show(report: TypeTestReport) -> None:
    table = Table(title=f"Type test of {report.plan.name}", title_justify="left")
    table.add_column("Group")
    table.add_column("Energy")
    table.add_column("Points", justify="right")
    table.add_column("Largest share of the limit", justify="right")
    table.add_column("Largest error [%]", justify="right")
    table.add_column("Verdict")
    keys = dict.fromkeys((p.group, p.energy) for p in report.points)
    for group, energy in keys:
        points = [p for p in report.points if (p.group, p.energy) == (group, energy)]
        measured = [p for p in points if p.error_percent is not None]
        shares = [
            abs(p.error_percent) / p.limit_percent
            for p in measured
            if p.limit_percent and p.error_percent is not None
        ]
        worst = max((abs(p.error_percent or 0.0) for p in measured), default=None)
        table.add_row(
            group, energy.value, str(len(points)),
            f"{max(shares):.1%}" if shares else "–", "–" if worst is None else f"{worst:.4f}",
            "passed" if all(p.passed for p in points) else "[red]broken[/red]",
        )  # fmt: skip
    out = console()
    out.print(table)
    for point in report.points:
        if not point.passed:
            limit = "" if point.limit_percent is None else f", limit ±{point.limit_percent:g} %"
            error = "" if point.error_percent is None else f": {point.error_percent:+.3f} %"
            out.print(
                f"[red]broken[/red] {point.group}, {point.test}, {point.energy.value}, "
                f"{point.current_a:.4g} A, {point.factor}{error}{limit} {point.note}"
            )


def _plain(report: TypeTestReport) -> dict[str, object]:
    points = [{**asdict(p), "energy": p.energy.value} for p in report.points]
    return {"meter": report.plan.name, "passed": report.passed, "points": points}


def _write(reports: list[TypeTestReport], path: Path) -> None:
    page = page_of(reports[0])
    for report in reports[1:]:
        more = page_of(report)
        page.add(*more.parts)
    page.write(path)
    console(stderr=True).print(f"report written to {path}")
