"""`blathy objects`: the object list of any DLMS meter, with names and rights."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from blathy.cli.app import app
from blathy.cli.console import console
from blathy.cli.meter_options import (
    AkOption,
    CountersOption,
    EkOption,
    JsonOption,
    KeysOption,
    PasswordOption,
    UrlArgument,
)
from blathy.cli.meters import with_meter
from blathy.cli.object_table import plain_object, print_objects
from blathy.client.meter import Meter
from blathy.cosem.objectlist import ObjectEntry


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
        print(json.dumps([plain_object(entry) for entry in chosen], indent=1, ensure_ascii=False))
        return
    print_objects(chosen)
    plural = "" if len(chosen) == 1 else "s"
    legend = "; attributes: r to read, w to write, * part of it by range or entry"
    console().print(f"{len(chosen)} object{plural}{legend if chosen else ''}", markup=False)
