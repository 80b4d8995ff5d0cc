"""`blathy read`: values of any DLMS meter, with unit and name."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from blathy.cli.app import CommandError, app
from blathy.cli.meters import (
    AkOption,
    CountersOption,
    EkOption,
    JsonOption,
    KeysOption,
    PasswordOption,
    UrlArgument,
    console,
    plain,
    shown,
    with_meter,
)
from blathy.client.meter import Item, Meter, parse_obis
from blathy.client.values import Reading
from blathy.cosem.names import obis_name
from blathy.transport.errors import MeterError


@app.command()
def read(
    url: UrlArgument,
    codes: Annotated[
        list[str], typer.Argument(help="OBIS codes, e.g. 1-0:1.8.0; 1-0:1.8.0/3 for attribute 3.")
    ],
    raw: Annotated[bool, typer.Option("--raw", help="The A-XDR octets in hex.")] = False,
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: KeysOption = "",
    counters: CountersOption = "",
    as_json: JsonOption = False,
) -> None:
    """Read values of a meter."""
    items = [_item(code) for code in codes]

    async def work(meter: Meter) -> list[Reading]:
        return await meter.read_many(items)

    readings = with_meter(url, work, password=password, ek=ek, ak=ak, keys=keys, counters=counters)
    if as_json:
        print(json.dumps([_plain(r, raw=raw) for r in readings], indent=1, ensure_ascii=False))
    elif raw:
        for reading in readings:
            if reading.error is None:
                print(f"{reading.obis}\t{reading.raw.hex(' ')}")
    else:
        _print_table(readings)
    failed = [reading.error for reading in readings if reading.error is not None]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise CommandError(f"{failed[0]}{more}")


def _item(code: str) -> Item:
    text, slash, attribute = code.partition("/")
    try:
        obis = parse_obis(text)
    except MeterError as error:
        raise CommandError(str(error)) from error
    if not slash:
        return obis
    if not attribute.isascii() or not attribute.isdigit() or not 0 < int(attribute) < 128:
        raise CommandError(f"{code!r} names no attribute; write {text}/2")
    return (text, int(attribute))


def _print_table(readings: list[Reading]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_column(justify="right")
    for reading in readings:
        if reading.error is None:
            table.add_row(str(reading.obis), _name(reading), shown(reading.value))
    if table.row_count:
        console().print(table)


def _name(reading: Reading) -> str:
    attribute = reading.ref.attribute
    return obis_name(reading.obis) + (f", attribute {attribute}" if attribute != 2 else "")


def _plain(reading: Reading, *, raw: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "obis": str(reading.obis),
        "name": obis_name(reading.obis),
        "class": reading.ref.class_id,
        "attribute": reading.ref.attribute,
    }
    if reading.error is not None:
        found["error"] = str(reading.error)
        return found
    value = plain(reading.value)
    found |= value if isinstance(value, dict) else {"value": value, "unit": None}
    if raw:
        found["raw"] = reading.raw.hex()
    return found
