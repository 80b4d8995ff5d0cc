"""`blathy model`: the meters of the data sheets, as their tables say."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from blathy.cli.app import CommandError, app
from blathy.cli.console import console
from blathy.cli.meter_options import JsonOption
from blathy.models import MODELS, Model, model
from blathy.quantity import SYMBOL

models_app = typer.Typer(help="The meters of the data sheets.", no_args_is_help=True)
app.add_typer(models_app, name="model")


def model_of(name: str) -> Model:
    """The model of that name; CommandError with the names there are."""
    try:
        return model(name)
    except KeyError as error:
        raise CommandError(f"{error.args[0]}; see blathy model list") from error


@models_app.command("list")
def list_models(
    as_json: JsonOption = False,
) -> None:
    """List the meters that can be run and read."""
    if as_json:
        rows = [{"key": m.key, "name": m.name, "title": m.title} for m in MODELS.values()]
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table("model", "meter", "phases", "rows", "load profile", box=None, pad_edge=False)
    for found in MODELS.values():
        main = found.profiles[0]
        table.add_row(
            found.key,
            f"{found.name}: {found.title}",
            str(len(found.phases)),
            str(len(found.rows)),
            f"{main.records():,} x {main.period_s // 60} min".replace(",", " "),
        )
    console().print(table)


@models_app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="A name from `blathy model list`.")],
    rows: Annotated[bool, typer.Option("--rows/--no-rows", help="List every register.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Show what a meter has, and what of it is assumed."""
    found = model_of(name)
    if as_json:
        print(json.dumps(_plain(found, rows=rows), indent=1, ensure_ascii=False))
        return
    out = console()
    out.print(f"[bold]{found.name}[/bold] · {found.title} · {found.maker} ({found.flag})")
    out.print(found.description)
    out.print("sources: " + "; ".join(found.sources))
    _print_ratings(out, found)
    _print_profiles(out, found)
    _print_logs(out, found)
    _print_access(out, found)
    if rows:
        _print_rows(out, found)
    _print_assumptions(out, found)


def _plain(found: Model, *, rows: bool) -> dict[str, Any]:
    registers = [
        {
            "obis": str(row.obis), "class": row.class_id, "what": row.title,
            "type": row.data_type.name.lower(), "scaler": row.scaler,
            "unit": SYMBOL.get(row.shown_unit, ""), "assumed": row.assumed,
        }
        for row in found.rows
    ]  # fmt: skip
    profiles = [
        {
            "obis": str(profile.obis), "title": profile.title, "columns": len(profile.columns),
            "period_s": period_s, "records": profile.records(period_s),
        }
        for profile in found.profiles
        for period_s in profile.periods_s
    ]  # fmt: skip
    return {
        "key": found.key,
        "name": found.name,
        "title": found.title,
        "maker": found.maker,
        "flag": found.flag,
        "sources": list(found.sources),
        "profiles": profiles,
        "logs": [
            {"obis": str(log.obis), "title": log.title, "entries": log.entries}
            for log in found.logs
        ],
        "associations": [
            {
                "client": association.client_sap,
                "level": association.level.value,
                "mechanisms": [way.name.lower() for way in association.mechanisms],
                "ciphering": association.ciphering.value,
            }
            for association in found.associations
        ],
        **({"registers": registers} if rows else {}),
        "assumed": list(_assumptions(found)),
    }


def _heading(out: Console, text: str) -> None:
    out.print(f"\n[bold]{text}[/bold]")


def _print_ratings(out: Console, found: Model) -> None:
    ratings = found.ratings
    _heading(out, "Name plate")
    currents = ", ".join(f"{ma / 1000:g}" for ma in ratings.i_ref_ma)
    lines = {
        "connection": found.connection,
        "voltage": ", ".join(f"{volt} V" for volt in ratings.un_v),
        "current": f"{currents} ({ratings.i_max_ma / 1000:g}) A",
        "class": "active "
        + " / ".join(ratings.accuracy_active)
        + (
            ", reactive " + " / ".join(ratings.accuracy_reactive)
            if ratings.accuracy_reactive
            else ""
        ),
        "constant": f"{ratings.imp_per_kwh} imp/kWh" if ratings.imp_per_kwh else "none",
        **found.plate,
    }
    for key, value in lines.items():
        out.print(f"  {key:<18} {value}")
    for port in found.ports:
        note = f" ({port.note})" if port.note else ""
        out.print(f"  port {port.key:<13} {', '.join(port.protocols)}{note}")


def _print_profiles(out: Console, found: Model) -> None:
    _heading(out, "Profiles")
    table = Table("profile", "OBIS", "columns", "period", "records", "days", box=None)
    for profile in found.profiles:
        for period_s in profile.periods_s:
            records = profile.records(period_s)
            minutes = f"{period_s // 60} min" if period_s >= 60 else f"{period_s} s"
            table.add_row(
                profile.title,
                str(profile.obis),
                str(len(profile.columns)),
                minutes,
                str(records),
                str(records * period_s // 86_400),
            )
    for billing in found.billing:
        table.add_row(
            billing.title,
            str(billing.obis),
            str(len(billing.columns)),
            billing.stop.value,
            str(billing.entries),
            "",
        )
    out.print(table)


def _print_logs(out: Console, found: Model) -> None:
    _heading(out, "Event logs")
    for log in found.logs:
        out.print(
            f"  {log.obis!s:<16} {log.title:<36} {log.entries} entries, {len(log.codes)} kinds"
        )


def _print_access(out: Console, found: Model) -> None:
    _heading(out, "Associations")
    for association in found.associations:
        ways = ", ".join(m.name.lower().replace("_", "-") for m in association.mechanisms)
        seal = ", only with the seal open" if association.needs_open_seal else ""
        out.print(
            f"  client {association.client_sap:<4} {association.level.value:<13} {ways},"
            f" cipher {association.ciphering.value}{seal}"
        )


def _print_rows(out: Console, found: Model) -> None:
    _heading(out, "Registers")
    table = Table("OBIS", "class", "what", "type", "unit", "", box=None)
    for row in found.rows:
        unit = SYMBOL.get(row.shown_unit, "")
        scaled = f"10^{row.scaler} {unit}".rstrip() if row.scaler else unit
        table.add_row(
            str(row.obis),
            str(row.class_id),
            row.title,
            row.data_type.name.lower(),
            scaled,
            "assumed" if row.assumed else "",
        )
    out.print(table)


def _print_assumptions(out: Console, found: Model) -> None:
    _heading(out, "Assumed, because no public document says it")
    for text in _assumptions(found):
        out.print(f"  - {text}")
    if found.quirks:
        _heading(out, "Peculiarities")
        for text in found.quirks:
            out.print(f"  - {text}")


def _assumptions(found: Model) -> Iterable[str]:
    yield from found.assumptions
    count = len(found.assumed_rows())
    if count:
        yield f"{count} of {len(found.rows)} registers (marked above): code, type or scaler."
