"""`blathy town`: the meters of a demonstration town, with what is needed to read them by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

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
    table = Table(title=f"Meters of the town in {data}", title_justify="left")
    for name in ("point", "place", "model", "serial", "reader's URL"):
        table.add_column(name, overflow="fold")
    if keys:
        table.add_column("ek / ak of management (client 1, hls5)", overflow="fold")
    for row in rows:
        cells = [row["id"], row["name"], row["model"], row["serial"], row["url"]]
        table.add_row(*cells, *([f"{row['ek']}\n{row['ak']}"] if keys else []))
    Console().print(table)


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
