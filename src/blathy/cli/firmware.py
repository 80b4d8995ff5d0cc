"""`blathy firmware`: a firmware image to a meter, going on where a transfer broke off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
from blathy.cli.meters import ask, with_meter
from blathy.client.firmware import transfer_image
from blathy.client.meter import Meter
from blathy.client.values import Value
from blathy.transport.errors import MeterError


@app.command()
def firmware(
    url: UrlArgument,
    file: Annotated[Path, typer.Argument(help="The image, as the maker signed it.")],
    name: Annotated[str, typer.Option(help="image_identifier; the file's name if none.")] = "",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="From the first block, whatever the meter has of it.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--no-activate", help="Transfer and verify; leave the old one running.")
    ] = False,
    yes: YesOption = False,
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: KeysOption = "",
    counters: CountersOption = "",
    as_json: JsonOption = False,
) -> None:
    """Transfer a firmware image, let the meter verify it and activate it."""
    try:
        image = file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} can't be read: {error.strerror}; check its name") from error
    what = "Transfer" if keep else "Transfer and activate"
    if not yes:
        ask(f"{what} {file.name}, {len(image)} octets?")

    async def work(meter: Meter) -> Value:
        with Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("blocks"), TimeRemainingColumn(),
            console=console(), transient=True,
            disable=as_json or not console().is_terminal,
        ) as bar:  # fmt: skip
            task = bar.add_task("transferring", total=None)

            def progress(done: int, blocks: int) -> None:
                bar.update(task, completed=done, total=blocks)

            await transfer_image(
                meter, image, name or file.stem, resume=not fresh, activate=not keep,
                progress=progress,
            )  # fmt: skip
        return await _running(meter)

    runs = with_meter(url, work, password=password, ek=ek, ak=ak, keys=keys, counters=counters)
    shown = runs.decode("utf-8", "replace") if isinstance(runs, bytes) else str(runs or "unknown")
    if as_json:
        print(json.dumps({"octets": len(image), "activated": not keep, "firmware": shown}))
    else:
        done = "verified" if keep else "verified and activated"
        console().print(f"{len(image)} octets transferred, {done}; it runs {shown}", markup=False)


async def _running(meter: Meter) -> Value:
    """Which firmware the meter names now; None where it restarts or names none."""
    try:
        return await meter.read("1-0:0.2.0")
    except MeterError:
        return None
