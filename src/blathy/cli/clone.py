"""`blathy clone`: a real meter's whole object model into a file that `blathy meter run` serves."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress as Bar

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
    with_meter,
)
from blathy.client.clone import ALL_ROWS
from blathy.client.clone import clone as read_model
from blathy.client.meter import Meter
from blathy.models.recorded import RecordedMeter, write_recording


@app.command()
def clone(
    url: UrlArgument,
    output: Annotated[
        str, typer.Option("--output", "-o", help="The file to write; NAME-OF-METER.json if none.")
    ] = "",
    rows: Annotated[
        str, typer.Option(help="Newest rows of every profile to keep: a number, or all.")
    ] = "0",
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: KeysOption = "",
    counters: CountersOption = "",
    as_json: JsonOption = False,
) -> None:
    """Read every object and every readable attribute of a meter into a file."""
    count = _rows(rows)
    if output:
        _check_writable(Path(output))

    async def work(meter: Meter) -> RecordedMeter:
        with Bar(console=console(), transient=True, disable=as_json) as bar:
            task = bar.add_task("reading", total=None)

            def progress(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            return await read_model(meter, rows=count, progress=progress)

    recorded = with_meter(url, work, password=password, ek=ek, ak=ak, keys=keys, counters=counters)
    if not recorded.objects:
        raise CommandError("the meter lists no objects for this client; use another client=")
    path = Path(output or f"{_name(recorded)}.json")
    _write(path, write_recording(recorded))
    read = sum(a.value is not None for o in recorded.objects for a in o.attributes)
    refused = sum(a.refused is not None for o in recorded.objects for a in o.attributes)
    if as_json:
        found = {
            "file": str(path), "objects": len(recorded.objects), "values": read, "refused": refused,
        }  # fmt: skip
        print(json.dumps(found))
        return
    console().print(
        f"{len(recorded.objects)} objects, {read} values, {refused} refused: {path}", markup=False
    )
    console().print(f"Serve it with: blathy meter run {path}", markup=False)


def _rows(text: str) -> int:
    if text == "all":
        return ALL_ROWS
    if not text.isascii() or not text.isdigit():
        raise CommandError(f"--rows {text} is no number; write 0, 96 or all")
    return int(text)


def _name(recorded: RecordedMeter) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", recorded.place).strip("-") or "meter"


def _check_writable(path: Path) -> None:
    """Before the meter is bothered for minutes."""
    folder = path.parent if str(path.parent) else Path()
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise CommandError(f"{path} can't be written; check the folder")


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise CommandError(
            f"{path} can't be written: {error.strerror}; check the folder"
        ) from error


__all__ = ["clone"]
