"""`blathy readout`: the IEC 62056-21 readout of a meter, over TCP or an optical head."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer
from rich.table import Table

from blathy.cli.app import CommandError, app
from blathy.cli.console import console
from blathy.cli.meter_options import JsonOption
from blathy.client.readout import TextMeter
from blathy.cosem.names import known_name
from blathy.obis import Obis
from blathy.transport.errors import MeterError
from blathy.wire.iec62056_21 import DataSet, Identification


@app.command()
def readout(
    url: Annotated[
        str,
        typer.Argument(
            help="iec62056-21://HOST:PORT or iec62056-21:///dev/ttyUSB0; options address, table, "
            "wake=1, baud, timeout."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Read the readout table of a meter with a text interface."""

    async def work() -> tuple[Identification | None, list[DataSet]]:
        async with TextMeter.connect(url) as meter:
            rows = await meter.readout()
            return meter.identification, rows

    try:
        identification, rows = asyncio.run(work())
    except MeterError as error:
        raise CommandError(str(error)) from error
    if as_json:
        found = [{"address": r.address, "values": list(r.values), "unit": r.unit} for r in rows]
        print(json.dumps(found, indent=1))
        return
    if identification is not None:
        console().print(f"{identification.manufacturer} {identification.text}", markup=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    for row in rows:
        more = " ".join(f"({value})" for value in row.values[1:])
        table.add_row(row.address, _name(row.address), f"{row.value} {row.unit}".strip(), more)
    console().print(table)


def _name(address: str) -> str:
    try:
        return known_name(Obis.parse(address)) or ""
    except ValueError:
        return ""
