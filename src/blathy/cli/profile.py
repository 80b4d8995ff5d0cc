"""`blathy profile`: a load profile or log as a table, CSV, JSON, Parquet or a plot."""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path
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
    ZoneOption,
    console,
    parse_moment,
    parse_zone,
    plain,
    shown,
    utc_text,
    with_meter,
)
from blathy.client.items import parse_obis
from blathy.client.meter import Meter
from blathy.client.values import ProfileReading
from blathy.clock import iso_utc
from blathy.cosem.columns import Column
from blathy.cosem.names import obis_name
from blathy.quantity import SYMBOL
from blathy.transport.errors import MeterError

PLOT_HEIGHT = 8
PLOT_WIDTH = 96
_BARS = " ▁▂▃▄▅▆▇█"


@app.command()
def profile(
    url: UrlArgument,
    code: Annotated[str, typer.Argument(help="OBIS code of the profile, e.g. 1-0:99.1.0.")],
    start: Annotated[
        str, typer.Option("--from", help="First time: 2026-11-20, yesterday, -7d, …Z.")
    ] = "",
    end: Annotated[str, typer.Option("--to", help="Last time, included.")] = "",
    entries: Annotated[str, typer.Option(help="Entries by number instead, e.g. 1-96.")] = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on the output.")] = False,
    parquet: Annotated[str, typer.Option(help="Write a Parquet file.")] = "",
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
    if parquet:
        _write_parquet(reading, Path(parquet))
    if as_csv:
        print(reading.profile.to_csv(here, reading.period_s or None), end="")
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
    table = Table(box=None, pad_edge=False)
    table.add_column("time", no_wrap=True)
    shown_columns = _shown_columns(reading)
    for number in shown_columns:
        column, unit = reading.columns[number], reading.units[number]
        symbol = f" [{SYMBOL[unit.unit]}]" if unit is not None and SYMBOL[unit.unit] else ""
        heading = f"{column.capture.obis}{symbol}".replace("[", r"\[")
        table.add_column(heading, justify="right")
    times = reading.times
    listed = {number: reading.columns[number].to_list() for number in shown_columns}
    for row in range(len(reading)):
        valid = bool(times.valid[row])
        mark = "~" if times.reconstructed[row] else ""
        moment = utc_text(int(times.utc_s[row]), reading.zone) + mark if valid else "–"
        table.add_row(
            moment, *(_cell(reading, row, number, listed[number][row]) for number in shown_columns)
        )
    console().print(table)
    names = ", ".join(obis_name(reading.columns[n].capture.obis) for n in shown_columns)
    period = f", every {reading.period_s} s" if reading.period_s else ""
    console().print(f"{len(reading)} rows{period}: {names}")
    if not len(reading):
        console().print("No row lies in this time; see what there is without --from and --to.")


def _cell(reading: ProfileReading, row: int, number: int, value: Any) -> str:
    quantity = reading.quantity(row, number)
    return shown(value) if quantity is None else quantity.decimal_text()


def _plain(reading: ProfileReading) -> dict[str, Any]:
    times = reading.times
    numbers = _shown_columns(reading)
    listed = [reading.columns[number].to_list() for number in numbers]
    rows = []
    for row in range(len(reading)):
        values = []
        for number, column in zip(numbers, listed, strict=True):
            quantity = reading.quantity(row, number)
            values.append(
                plain(column[row]) if quantity is None else float(quantity.decimal_text())
            )
        time = iso_utc(int(times.utc_s[row])) if times.valid[row] else None
        rows.append([time, *values])
    columns = []
    for number in numbers:
        unit = reading.units[number]
        obis = reading.columns[number].capture.obis
        columns.append({
            "obis": str(obis),
            "name": obis_name(obis),
            "unit": SYMBOL[unit.unit] if unit is not None else None,
        })  # fmt: skip
    return {
        "obis": str(reading.obis), "period_s": reading.period_s, "columns": columns, "rows": rows,
    }  # fmt: skip


def _write_parquet(reading: ProfileReading, path: Path) -> None:
    try:
        import pyarrow.parquet as pq

        table = reading.profile.to_arrow(reading.zone, reading.period_s or None)
        pq.write_table(table, path)
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
