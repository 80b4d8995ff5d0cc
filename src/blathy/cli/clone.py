"""`blathy clone`: a real meter's whole object model into a file that `blathy meter run` serves."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import Progress as Bar

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
)
from blathy.cli.meters import with_meter
from blathy.client.address import MeterAddress
from blathy.client.clone import ALL_ROWS
from blathy.client.clone import clone as read_model
from blathy.client.meter import Meter
from blathy.models.recorded import RecordedMeter, read_recording, write_recording

CONNECTIONS_MAX: Final = 1000
PAUSE_S: Final = 1.0
"""Before a meter is called again whose connection was lost."""


@app.command()
def clone(
    url: UrlArgument,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FILE", help="To write; NAME-OF-METER.json if none."
        ),
    ] = "",
    rows: Annotated[
        str,
        typer.Option(metavar="N", help="Newest rows of every profile to keep: a number, or all."),
    ] = "0",
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: KeysOption = "",
    counters: CountersOption = "",
    as_json: JsonOption = False,
) -> None:
    """Read every object and every readable attribute of a meter into a file.

    Where the connection is lost it is made again and reading goes on; what was read stays in a
    .part file meanwhile, from which the same command goes on later.
    """
    count = _rows(rows)
    if output:
        _check_writable(Path(output))
    part = _Part(rows)

    async def work(meter: Meter) -> RecordedMeter:
        begun = part.begun(meter.address, output)
        out = console()
        with Bar(console=out, transient=True, disable=as_json or not out.is_terminal) as bar:
            task = bar.add_task("reading", total=None)

            def progress(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            return await read_model(
                meter, rows=count, progress=progress, begun=begun, keep=part.keep
            )

    try:
        recorded = _read_on(
            part, lambda: with_meter(
                url, work, password=password, ek=ek, ak=ak, keys=keys, counters=counters
            ),
        )  # fmt: skip
    finally:
        part.save()
    if not recorded.objects:
        raise CommandError("the meter lists no objects for this client; use another client=")
    path = Path(output or f"{_name(recorded.place)}.json")
    _write(path, write_recording(recorded))
    part.remove()
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


def _read_on(part: _Part, read: Callable[[], RecordedMeter]) -> RecordedMeter:
    """Connect again while every connection gets further than the one before."""
    reached = 0
    for number in itertools.count(1):
        try:
            return read()
        except CommandError:
            if part.count <= reached or number == CONNECTIONS_MAX:
                raise
            reached = part.count
            print(f"the connection was lost after {reached} objects; once more", file=sys.stderr)
            time.sleep(PAUSE_S)
    raise AssertionError("counting has no end")


class _Part:
    """What was read of a meter before its connection broke, in a file until all is there."""

    def __init__(self, rows: str) -> None:
        self._rows = rows
        self._path: Path | None = None
        self._latest: RecordedMeter | None = None
        self._complete = False

    @property
    def count(self) -> int:
        """Objects read so far."""
        return len(self._latest.objects) if self._latest is not None else 0

    def begun(self, address: MeterAddress, output: str) -> RecordedMeter | None:
        """What there is already, of this run or of an earlier one to the same file."""
        if self._latest is not None:
            return self._latest
        self._path = Path(f"{output or _name(address.place) + '.json'}.rows-{self._rows}.part")
        try:
            found = read_recording(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if (found.place, found.client) != (address.place, address.client):
            return None
        print(f"{len(found.objects)} objects are there from before", file=sys.stderr)
        self._latest = found
        return found

    def keep(self, meter: RecordedMeter) -> None:
        if len(meter.objects) > self.count:
            self._latest = meter

    def save(self) -> None:
        """For the next time; nothing where all was written, or nothing read."""
        if self._complete or self._latest is None or self._path is None:
            return
        with contextlib.suppress(CommandError):
            _write(self._path, write_recording(self._latest))

    def remove(self) -> None:
        self._complete = True
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _rows(text: str) -> int:
    if text == "all":
        return ALL_ROWS
    if not text.isascii() or not text.isdigit():
        raise CommandError(f"--rows {text} is no number; write 0, 96 or all")
    return int(text)


def _name(place: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", place).strip("-") or "meter"


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
