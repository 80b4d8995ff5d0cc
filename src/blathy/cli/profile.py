"""`blathy profile`: a load profile or log as a table, CSV, JSON, Parquet or a plot."""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
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
    ZoneOption,
)
from blathy.cli.meters import (
    parse_moment,
    parse_zone,
    plain,
    shown,
    utc_text,
    with_meter,
)
from blathy.client.items import parse_obis
from blathy.client.meter import Meter
from blathy.client.values import ProfileReading, Value
from blathy.clock import iso_utc
from blathy.cosem.columns import Column
from blathy.cosem.names import obis_name
from blathy.quantity import SYMBOL, Quantity
from blathy.transport.errors import MeterError

PLOT_HEIGHT = 8
PLOT_WIDTH = 96
_BARS = " ▁▂▃▄▅▆▇█"


@app.command()
def profile(
    url: UrlArgument,
    code: Annotated[str, typer.Argument(metavar="OBIS", help="The profile, e.g. 1-0:99.1.0.")],
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="TIME",
            help="First time: 2026-11 (its first day), 2026-11-20, 2026-11-20T10:15, "
            "2026-11-20T09:15Z, yesterday, -7d, -12h.",
        ),
    ] = "",
    end: Annotated[
        str,
        typer.Option(
            "--to", metavar="TIME", help="Last time, included; a date is its 0:00, as for --from."
        ),
    ] = "",
    entries: Annotated[
        str, typer.Option(metavar="N-N", help="Entries by number instead, e.g. 1-96.")
    ] = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on the output.")] = False,
    parquet: Annotated[str, typer.Option(metavar="FILE", help="Write a Parquet file.")] = "",
    plot: Annotated[bool, typer.Option("--plot", help="Draw the columns.")] = False,
    zone: ZoneOption = "",
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: KeysOption = "",
    counters: CountersOption = "",
    as_json: JsonOption = False,
) -> None:
    """Read a profile between two times."""
    if as_csv + as_json + plot > 1:
        raise CommandError("--csv, --json and --plot exclude each other; give one of them")
    if entries and (start or end):
        raise CommandError("--entries counts rows, --from and --to give times; use one of the two")
    here = parse_zone(zone)
    since, until = parse_moment(start, here), parse_moment(end, here)
    if since is not None and until is not None and since > until:
        raise CommandError(f"--from {start} is after --to {end}; swap them")
    chosen = _entries(entries)
    try:
        obis = parse_obis(code)
    except MeterError as error:
        raise CommandError(str(error)) from error

    async def work(meter: Meter) -> ProfileReading:
        return await meter.profile(obis, since, until, entries=chosen)

    reading = with_meter(
        url, work, password=password, ek=ek, ak=ak, keys=keys, counters=counters, zone=zone
    )
    if reading.zone is None and not reading.times.valid.all() and reading.profile.clock is not None:
        typer.echo("blathy: some times are no full ones; give the meter's --zone", err=True)
    if parquet:
        _write_parquet(reading, Path(parquet))
    if as_csv:
        print(reading.to_csv(), end="")
    elif as_json:
        print(json.dumps(_plain(reading), ensure_ascii=False))
    elif plot:
        _plot(reading)
    elif not parquet:
        _print_table(reading)


def _entries(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    first, dash, last = text.partition("-")
    try:
        found = int(first), int(last) if dash else int(first)
    except ValueError:
        found = (0, 0)
    if not 1 <= found[0] <= found[1]:
        raise CommandError(f"--entries {text} is no range; write 1-96")
    return found


def _shown_columns(reading: ProfileReading) -> list[int]:
    """All columns but the clock, which is shown as the time of the row."""
    clock = reading.profile.clock
    return [n for n, column in enumerate(reading.columns) if column is not clock]


def _print_table(reading: ProfileReading) -> None:
    """Columns side by side; where the terminal is too narrow for all of them, in turns."""
    times, out = reading.times, console()
    stamps = ["time"]
    for utc_s, valid, rebuilt in zip(*(part.tolist() for part in times), strict=True):
        stamps.append(utc_text(utc_s, reading.zone) + "~" * rebuilt if valid else "–")
    numbers = _shown_columns(reading)
    columns = [
        [reading.columns[n].heading(reading.units[n])]
        + [_cell(reading.value(row, n)) for row in range(len(reading))]
        for n in numbers
    ]
    for part in _parts(stamps, columns, out.width if out.is_terminal else sys.maxsize):
        for line in zip(*(_aligned(part)), strict=True):
            print("  ".join(line))
    names = ", ".join(obis_name(reading.columns[n].capture.obis) for n in numbers)
    period = f", every {reading.period_s} s" if reading.period_s else ""
    rows = "1 row" if len(reading) == 1 else f"{len(reading)} rows"
    out.print(f"{rows}{period}: {names}", markup=False)
    if not len(reading):
        out.print("No row lies in this time; see what there is without --from and --to.")


def _parts(
    stamps: list[str], columns: list[list[str]], width: int
) -> Iterator[tuple[list[str], ...]]:
    """The columns, with the times before them, in parts that are not wider than `width`."""
    margin = max(map(len, stamps))
    part, used = [stamps], margin
    for column in columns:
        wide = max(map(len, column)) + 2
        if used + wide > width and len(part) > 1:
            yield tuple(part)
            part, used = [stamps], margin
        part.append(column)
        used += wide
    yield tuple(part)


def _aligned(columns: tuple[list[str], ...]) -> Iterator[list[str]]:
    stamps, *others = columns
    yield [text.ljust(max(map(len, stamps))) for text in stamps]
    for column in others:
        yield [text.rjust(max(map(len, column))) for text in column]


def _cell(value: Value) -> str:
    return value.decimal_text() if isinstance(value, Quantity) else shown(value)


def _plain(reading: ProfileReading) -> dict[str, Any]:
    times = reading.times
    numbers = _shown_columns(reading)
    rows = []
    for row in range(len(reading)):
        values = [plain(reading.value(row, number)) for number in numbers]
        time = iso_utc(int(times.utc_s[row])) if times.valid[row] else None
        rows.append([time, *(each["value"] if isinstance(each, dict) else each for each in values)])
    columns = []
    for number in numbers:
        unit = reading.units[number]
        obis = reading.columns[number].capture.obis
        columns.append({
            "obis": str(obis),
            "attribute": reading.columns[number].capture.attribute,
            "name": obis_name(obis),
            "unit": SYMBOL[unit.unit] if unit is not None else None,
        })  # fmt: skip
    return {
        "obis": str(reading.obis), "period_s": reading.period_s, "columns": columns, "rows": rows,
    }  # fmt: skip


def _write_parquet(reading: ProfileReading, path: Path) -> None:
    try:
        reading.to_parquet(path)
    except ImportError as error:
        raise CommandError(
            "Parquet needs pyarrow; install it: pip install 'blathy[parquet]'"
        ) from error
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else "the disk refuses it"
        raise CommandError(f"{path} can't be written: {why}; check the folder") from error
    console().print(f"{len(reading)} rows written to {path}")


def _plot(reading: ProfileReading) -> None:
    drawn = 0
    columns = _shown_columns(reading)
    measured = [number for number in columns if reading.units[number] is not None]
    for number in measured or columns:  # a status word is no curve
        column = reading.columns[number]
        if column.values.dtype.kind not in "iuf" or not len(reading):
            continue
        _plot_column(reading, number, column)
        drawn += 1
    if not drawn:
        raise CommandError("there is nothing to draw; the profile has no rows or no numbers")


def _plot_column(reading: ProfileReading, number: int, column: Column) -> None:
    values = [float(v) for v in reading.scaled(number)]
    obis = column.capture.obis
    counts_up = reading.period_s and obis.d == 8
    times = reading.times
    stamps = [int(t) if ok else None for t, ok in zip(times.utc_s, times.valid, strict=True)]
    if counts_up and len(values) > 1:
        values = [b - a for a, b in itertools.pairwise(values)]
        stamps = stamps[1:]
    out = console()
    unit = reading.units[number]
    symbol = SYMBOL[unit.unit] if unit is not None else ""
    per = " per interval" if counts_up else ""
    out.print(f"{obis} {obis_name(obis)} [{symbol or '–'}]{per}", markup=False)
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(0.0, *finite, 0.0), max(0.0, *finite, 0.0)
    labels = [f"{high:.4g}", *[""] * (PLOT_HEIGHT - 2), f"{low:.4g}"]
    margin = max(map(len, labels))
    width = max(10, min(PLOT_WIDTH, out.width - margin - 3))
    size = math.ceil(len(values) / width)
    means = [_mean(values[start : start + size]) for start in range(0, len(values), size)]
    span = (high - low) or 1.0
    levels = [
        round((value - low) / span * PLOT_HEIGHT * 8) if math.isfinite(value) else 0
        for value in means
    ]
    for line, label in zip(range(PLOT_HEIGHT - 1, -1, -1), labels, strict=True):
        bars = "".join(_BARS[min(8, max(0, level - line * 8))] for level in levels)
        out.print(f"{label:>{margin}} ┤{bars}", markup=False)
    known = [stamp for stamp in stamps if stamp is not None]
    if known:
        ends = [utc_text(stamp, reading.zone) for stamp in (known[0], known[-1])]
        gap = max(1, len(means) - sum(map(len, ends)))
        out.print(f"{'':>{margin}} └{ends[0]}{' ' * gap}{ends[1]}", markup=False)


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
