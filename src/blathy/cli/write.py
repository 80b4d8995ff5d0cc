"""`blathy write` and `blathy call`: change an attribute, run a method, of any DLMS meter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from blathy.cli.app import CommandError, app
from blathy.cli.console import console
from blathy.cli.meter_options import (
    AkOption,
    CountersOption,
    EkOption,
    JsonOption,
    KeysOption,
    PasswordOption,
    UrlArgument,
    YesOption,
)
from blathy.cli.meters import (
    ask,
    parse_item,
    plain_reading,
    subject,
    told,
    with_meter,
)
from blathy.client.items import Item, parse_obis
from blathy.client.meter import Meter
from blathy.client.values import Reading
from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.names import obis_name
from blathy.transport.errors import MeterError

ValueArgument = Annotated[
    str,
    typer.Argument(
        help="As `blathy read` shows it: 25.5 W, text, 0x hex, true, an enumeration's name, "
        '2026-11-21T10:00+01:00, JSON such as {"scaler": 0, "unit": "Wh"} for structures; raw:255 '
        "for a register's integer, u16:5 to say the type."
    ),
]


@dataclass(frozen=True, slots=True)
class Change:
    """What an attribute holds, and what it is to hold."""

    old: Reading
    new: Reading
    data: Data


_NEGATIVE = {"ignore_unknown_options": True}
"""-60 is a value, not an option."""


@app.command(context_settings=_NEGATIVE)
def write(
    url: UrlArgument,
    code: Annotated[
        str, typer.Argument(metavar="OBIS", help="1-0:0.4.2, 0-0:1.0.0/time_zone or 0-0:1.0.0/3.")
    ],
    value: ValueArgument,
    yes: YesOption = False,
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: KeysOption = "",
    counters: CountersOption = "",
    as_json: JsonOption = False,
) -> None:
    """Write a value; shows the one that it replaces and what the meter holds then."""
    item, given = parse_item(code), _value(value)

    async def look(meter: Meter) -> Change:
        return await _change(meter, item, given)

    async def work(meter: Meter) -> Change:
        found = await _change(meter, item, given)
        await meter.write(found.old.ref, found.data)
        (now,) = await meter.read_many([found.old.ref])
        return Change(found.old, now, found.data)

    secrets = {"password": password, "ek": ek, "ak": ak, "keys": keys, "counters": counters}
    if not yes:
        wanted = with_meter(url, look, **secrets)
        ask(f"{_line(wanted)}. Write it?")
    done = with_meter(url, work, **secrets)
    if as_json:
        found = {"old": plain_reading(done.old).get("value"), **plain_reading(done.new)}
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        console().print(_line(done), markup=False)


async def _change(meter: Meter, item: Item, given: Any) -> Change:
    ref = await meter.reference(item)
    (old,) = await meter.read_many([ref])
    data = await meter.data_for(ref, given)
    return Change(old, await meter.reading_of(ref, axdr.encode(data)), data)


def _line(change: Change) -> str:
    new = change.new
    return f"{new.obis} {subject(new)}: {told(change.old)} → {told(new)}"


@app.command(context_settings=_NEGATIVE)
def call(
    url: UrlArgument,
    code: Annotated[str, typer.Argument(metavar="OBIS", help="The object, e.g. 0-0:96.3.10.")],
    method: Annotated[
        str, typer.Argument(help="Number or name, e.g. 1 or remote_disconnect; `list` lists them.")
    ],
    parameter: Annotated[
        str, typer.Argument(help="As for `blathy write`; most methods need none.")
    ] = "",
    yes: YesOption = False,
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: KeysOption = "",
    counters: CountersOption = "",
    as_json: JsonOption = False,
) -> None:
    """Run a method of an object; print what it returns."""
    try:
        obis = parse_obis(code)
    except MeterError as error:
        raise CommandError(str(error)) from error
    given = _value(parameter) if parameter else None
    chosen: int | str = int(method) if method.isascii() and method.isdigit() else method
    if method != "list" and not yes:
        with_what = f" with {parameter}" if parameter else ""
        ask(f"Run {method} of {obis} {obis_name(obis)}{with_what}?")

    async def work(meter: Meter) -> Any:
        if method == "list":
            return await meter.methods(obis)
        return await meter.call(obis, chosen, given)

    found = with_meter(url, work, password=password, ek=ek, ak=ak, keys=keys, counters=counters)
    if as_json:
        print(json.dumps({"obis": str(obis), "method": chosen, "returned": found}))
    elif method == "list":
        for number, name in found.items():
            console().print(f"{number} {name}", markup=False)
    else:
        console().print("done" if found is None else json.dumps(found, ensure_ascii=False))


def _value(text: str) -> Any:
    """JSON for what is built of parts; all else is text that the type reads."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandError(f"{text!r} is no JSON: {error}; quote it for the shell") from error
