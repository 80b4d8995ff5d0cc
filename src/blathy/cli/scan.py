"""`blathy scan`: the client and server addresses that one meter knows."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from blathy.cli.app import CommandError, app
from blathy.cli.console import console
from blathy.cli.meter_options import JsonOption
from blathy.client.address import parse_address
from blathy.client.scan import CLIENTS, SERVERS, Answer, Tried
from blathy.client.scan import scan as try_addresses
from blathy.transport.errors import MeterError

TIMEOUT_S = 2.0


def _list(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


@app.command()
def scan(
    url: Annotated[
        str,
        typer.Argument(
            help="dlms://HOST:4059, dlms+hdlc://HOST:PORT or serial:///dev/…?baud=9600, mode=e."
        ),
    ],
    clients: Annotated[str, typer.Option(metavar="LIST", help="Client addresses.")] = _list(
        CLIENTS
    ),
    servers: Annotated[str, typer.Option(metavar="LIST", help="Server addresses.")] = _list(
        SERVERS
    ),
    physical: Annotated[
        str,
        typer.Option(metavar="LIST", help="Physical addresses on HDLC, e.g. 16-48 or 17,4660."),
    ] = "",
    pause: Annotated[float, typer.Option(min=0.0, max=60.0, help="Seconds between two.")] = 0.2,
    as_json: JsonOption = False,
) -> None:
    """Find the addresses that one meter answers to; no password or key is tried."""
    try:
        address = parse_address(url)
        if "timeout=" not in url:
            address = replace(address, timeout_s=TIMEOUT_S)
        lowers: list[int | None] = [*_numbers("--physical", physical)] or [address.physical]
        with Progress(
            console=console(), transient=True, disable=as_json or not console().is_terminal
        ) as bar:
            task = bar.add_task("asking", total=None)
            found = asyncio.run(
                try_addresses(
                    address,
                    clients=_numbers("--clients", clients),
                    servers=_numbers("--servers", servers),
                    physicals=lowers,
                    pause_s=pause,
                    progress=lambda done, all_: bar.update(task, completed=done, total=all_),
                )
            )
    except MeterError as error:
        raise CommandError(str(error)) from error
    if as_json:
        print(json.dumps([_plain(one) for one in found], indent=1))
        return
    _print_table([one for one in found if one.answer in {Answer.OPEN, Answer.SECURED}])
    rest = len([one for one in found if one.answer in {Answer.REFUSED, Answer.SILENT}])
    console().print(f"{rest} of {len(found)} pairs of addresses are not known to the meter")


def _print_table(found: list[Tried]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("client", "server", "answer", "device"):
        table.add_column(heading)
    for one in found:
        physical = "" if one.physical is None else f", physical {one.physical}"
        said = "open without authentication" if one.answer is Answer.OPEN else one.detail
        table.add_row(str(one.client), f"{one.server}{physical}", said, one.device)
    if found:
        console().print(table)


def _plain(one: Tried) -> dict[str, object]:
    return {
        "client": one.client, "server": one.server, "physical": one.physical,
        "answer": one.answer.value, "detail": one.detail, "device": one.device,
    }  # fmt: skip


def _numbers(option: str, text: str) -> list[int]:
    """`1,2,16-20` as numbers."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        try:
            low, high = int(first), int(last) if dash else int(first)
        except ValueError:
            low, high = 1, 0
        if not 0 <= low <= high <= 0x3FFF or high - low > 1000:
            raise CommandError(f"{option} {text} is no list of addresses; write 1,2,16-20")
        found += range(low, high + 1)
    return found
