"""`blathy town`: the meters of a demonstration town, with what is needed to read them by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from blathy.cli.app import CommandError, app
from blathy.models.model import Level
from blathy.town.town import DLMS_PORT, TOWN_FILE, Place, Town, TownError, plan_in


@app.command("town")
def command(
    data: Annotated[Path, typer.Option(help="The directory of `blathy up`.")] = Path("town"),
    dlms_port: Annotated[int, typer.Option(help="Port of the meters.")] = DLMS_PORT,
    keys: Annotated[
        bool, typer.Option("--keys", help="The management keys as well (they are simulated).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the meters of a town: address, model, and the URL that `blathy read` takes."""
    if not (data / TOWN_FILE).exists():
        raise CommandError(f"there is no town in {data}; start one with `blathy up --data {data}`")
    try:
        kept = json.loads((data / TOWN_FILE).read_text("utf-8"))
        town = Town(plan_in(data, int(kept["seed"]), int(kept["points"]), 1, 0))
    except (TownError, ValueError, KeyError) as error:
        raise CommandError(f"the town in {data} cannot be read: {error}") from error
    rows = [_row(place, dlms_port) for place in town.places]
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    _print_rows(rows, keys=keys)


def _print_rows(rows: list[dict[str, str]], *, keys: bool) -> None:
    """One meter a line, never folded, so that a URL can be copied whole."""
    heads = {"id": "point", "name": "place", "model": "model", "serial": "serial"}
    widths = {key: max(len(head), *(len(row[key]) for row in rows)) for key, head in heads.items()}
    typer.echo(
        "  ".join(f"{head:<{widths[key]}}" for key, head in heads.items()) + "  reader's URL"
    )
    for row in rows:
        typer.echo("  ".join(f"{row[key]:<{widths[key]}}" for key in heads) + f"  {row['url']}")
        if keys:
            typer.echo(f"  management: {row['management']}&ek={row['ek']}&ak={row['ak']}")


def _row(place: Place, port: int) -> dict[str, str]:
    identity = place.identity
    password = identity.passwords[Level.READER].decode()
    return {
        "id": place.id,
        "name": place.name,
        "model": place.model.key,
        "serial": identity.serial_text,
        "host": place.host,
        "url": f"dlms://{place.host}:{port}?client=2&auth=lls&password={password}",
        "management": f"dlms://{place.host}:{port}?client=1&auth=hls5",
        "system_title": identity.system_title.hex(),
        "ek": identity.encryption_key.hex(),
        "ak": identity.authentication_key.hex(),
    }
