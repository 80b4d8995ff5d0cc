"""`blathy objects`: the object list of any DLMS meter, with names and rights."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from blathy.cli.app import app
from blathy.cli.console import console
from blathy.cli.meters import (
    AkOption,
    CountersOption,
    EkOption,
    JsonOption,
    KeysOption,
    PasswordOption,
    UrlArgument,
    with_meter,
)
from blathy.client.meter import Meter
from blathy.cosem.classes import class_name
from blathy.cosem.names import obis_name
from blathy.cosem.objectlist import AccessRight, ObjectEntry


@app.command()
def objects(
    url: UrlArgument,
    class_id: Annotated[
        int | None, typer.Option("--class", help="Only objects of this class, e.g. 3 or 7.")
    ] = None,
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: KeysOption = "",
    counters: CountersOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the objects of a meter: class, OBIS code, meaning and rights."""

    async def work(meter: Meter) -> tuple[ObjectEntry, ...]:
        return await meter.objects()

    found = with_meter(url, work, password=password, ek=ek, ak=ak, keys=keys, counters=counters)
    chosen = [entry for entry in found if class_id in {None, entry.class_id}]
    chosen.sort(key=lambda entry: (entry.class_id, entry.obis))
    if as_json:
        print(json.dumps([_plain(entry) for entry in chosen], indent=1, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("class", "OBIS", "name", "attributes", "methods"):
        table.add_column(heading, no_wrap=heading == "OBIS")
    for entry in chosen:
        table.add_row(
            f"{entry.class_id} {class_name(entry.class_id)} v{entry.version}",
            str(entry.obis),
            obis_name(entry.obis),
            _attributes(entry),
            " ".join(str(row.index) for row in entry.methods if row.right),
        )
    console().print(table)
    plural = "" if len(chosen) == 1 else "s"
    legend = "; attributes: r to read, w to write, * part of it by range or entry"
    console().print(f"{len(chosen)} object{plural}{legend if chosen else ''}", markup=False)


def _attributes(entry: ObjectEntry) -> str:
    """`1r 2rw`: number and right of each attribute; `*` marks selective access."""
    parts = []
    for row in entry.attributes:
        text = ("r" if row.right & AccessRight.READ else "") + (
            "w" if row.right & AccessRight.WRITE else ""
        )
        if text:
            parts.append(f"{row.index}{text}{'*' if row.selectors else ''}")
    return " ".join(parts)


def _plain(entry: ObjectEntry) -> dict[str, Any]:
    return {
        "class": entry.class_id,
        "class_name": class_name(entry.class_id),
        "version": entry.version,
        "obis": str(entry.obis),
        "name": obis_name(entry.obis),
        "attributes": {
            str(row.index): {
                "read": bool(row.right & AccessRight.READ),
                "write": bool(row.right & AccessRight.WRITE),
                "selectors": list(row.selectors),
            }
            for row in entry.attributes
        },
        "methods": [row.index for row in entry.methods if row.right],
    }
