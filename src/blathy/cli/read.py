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
    parse_item,
    plain_reading,
    told,
    with_meter,
)
from blathy.client.items import Item
from blathy.client.meter import Meter
from blathy.client.protected import COMPACT_DATA, ProtectedAccess, read_compact
from blathy.client.values import Reading
from blathy.cosem import axdr
from blathy.cosem.names import obis_name
from blathy.cosem.service import AttributeRef


@app.command()
def read(
    url: UrlArgument,
    codes: Annotated[
        list[str],
        typer.Argument(
            metavar="OBIS",
            help="1-0:1.8.0 for its value, 1-0:1.8.0/3 or 1-0:1.8.0/scaler_unit for others.",
        ),
    ],
    raw: Annotated[bool, typer.Option("--raw", help="The A-XDR octets in hex.")] = False,
    protected: Annotated[
        str,
        typer.Option(help="Sealed by this data protection object (class 30), e.g. 0-0:43.2.0."),
    ] = "",
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: KeysOption = "",
    counters: CountersOption = "",
    as_json: JsonOption = False,
) -> None:
    """Read values of a meter."""
    items = [parse_item(code) for code in codes]

    async def work(meter: Meter) -> list[Reading]:
        if protected:
            return await _unsealed(meter, protected, items)
        found: list[Reading] = []
        for reading in await meter.read_many(items):
            found += await _unfolded(meter, reading)
        return found

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


async def _unsealed(meter: Meter, seal: str, items: list[Item]) -> list[Reading]:
    """Values that the meter protected itself, for us alone."""
    refs = [await meter.reference(item) for item in items]
    values = await ProtectedAccess(meter, seal).get(*refs)
    return [
        await meter.reading_of(ref, axdr.encode(value))
        for ref, value in zip(refs, values, strict=True)
    ]


async def _unfolded(meter: Meter, reading: Reading) -> list[Reading]:
    """A compact buffer (class 62) as the values that it was captured from."""
    ref = reading.ref
    if (ref.class_id, ref.attribute) != (COMPACT_DATA, 2) or reading.error is not None:
        return [reading]
    found = []
    for one in await read_compact(meter, str(ref.obis)):
        capture = one.capture
        source = AttributeRef(capture.class_id, capture.obis, capture.attribute)
        found.append(await meter.reading_of(source, axdr.encode(one.value)))
    return found


def _print_table(readings: list[Reading]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_column(justify="right")
    for reading in readings:
        if reading.error is None:
            table.add_row(str(reading.obis), _name(reading), told(reading))
    if table.row_count:
        console().print(table)


def _name(reading: Reading) -> str:
    attribute = reading.ref.attribute
    return obis_name(reading.obis) + (f", attribute {attribute}" if attribute != 2 else "")


def _plain(reading: Reading, *, raw: bool) -> dict[str, Any]:
    found = plain_reading(reading)
    return found | {"raw": reading.raw.hex()} if raw and reading.error is None else found
