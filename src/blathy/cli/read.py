"""`blathy read`: values of any DLMS meter, with unit and name."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Annotated, Any

import typer

from blathy.cli.app import CommandError, app
from blathy.cli.meter_options import (
    AkOption,
    CountersOption,
    EkOption,
    JsonOption,
    KeysOption,
    PasswordOption,
    UrlArgument,
)
from blathy.cli.meters import (
    parse_item,
    plain_reading,
    with_meter,
)
from blathy.cli.reading_table import key_of, print_table
from blathy.client.items import Item
from blathy.client.meter import Meter
from blathy.client.protected import COMPACT_DATA, ProtectedAccess, read_compact
from blathy.client.values import ObjectRefused, Reading
from blathy.clock import iso_utc
from blathy.cosem import axdr
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
        typer.Option(
            metavar="OBIS",
            help="Sealed by this data protection object (class 30), e.g. 0-0:43.2.0.",
        ),
    ] = "",
    every: Annotated[
        float,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="Stay connected and read so often, until Ctrl-C; with --json a line each time.",
        ),
    ] = 0.0,
    count: Annotated[
        int, typer.Option(min=0, help="With --every: end after so many times; 0: never.")
    ] = 0,
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: KeysOption = "",
    counters: CountersOption = "",
    as_json: JsonOption = False,
) -> None:
    """Read values of a meter."""
    items = [parse_item(code) for code in codes]
    rounds, done = (count or sys.maxsize) if every else 1, 0
    failed: list[ObjectRefused] = []

    async def work(meter: Meter) -> None:
        nonlocal done
        while True:
            due = time.monotonic() + every
            readings = await _read(meter, items, protected)
            _show(readings, raw=raw, as_json=as_json, each_round=bool(every))
            failed[:] = [reading.error for reading in readings if reading.error is not None]
            done += 1
            if done >= rounds:
                return
            meter.rest()
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    secrets = {"password": password, "ek": ek, "ak": ak, "keys": keys, "counters": counters}
    try:
        while done < rounds:
            try:
                with_meter(url, work, **secrets)
            except CommandError as error:
                if not done:
                    raise
                typer.echo(f"blathy: {error}; trying again in {every:g} s", err=True)
                time.sleep(every)
    except KeyboardInterrupt:  # as `listen` ends
        if not every:
            raise
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise CommandError(f"{failed[0]}{more}")


async def _read(meter: Meter, items: list[Item], protected: str) -> list[Reading]:
    if protected:
        return await _unsealed(meter, protected, items)
    found: list[Reading] = []
    for reading in await meter.read_many(items):
        found += await _unfolded(meter, reading)
    return found


def _show(readings: list[Reading], *, raw: bool, as_json: bool, each_round: bool) -> None:
    now = iso_utc(int(time.time()))
    if as_json and each_round:
        found = {key_of(r): _plain(r, raw=raw) for r in readings}
        print(json.dumps({"time": now, "readings": found}, ensure_ascii=False), flush=True)
    elif as_json:
        print(json.dumps([_plain(r, raw=raw) for r in readings], indent=1, ensure_ascii=False))
    else:
        if each_round:
            print(now)
        if raw:
            for reading in readings:
                if reading.error is None:
                    print(f"{reading.obis}\t{reading.raw.hex(' ')}")
        else:
            print_table(readings)
        sys.stdout.flush()


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


def _plain(reading: Reading, *, raw: bool) -> dict[str, Any]:
    found = plain_reading(reading)
    return found | {"raw": reading.raw.hex()} if raw and reading.error is None else found
