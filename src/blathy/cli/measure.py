"""`blathy measure FILE`: all quantities, the spectrum and the events of a recorded waveform."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from blathy.cli.app import CommandError, app
from blathy.cli.console import console
from blathy.cli.recording_layout import parse_channels, parse_scale
from blathy.clock import NANOSECONDS_PER_S, iso_utc
from blathy.metrology.engine import Measured
from blathy.report.measure_page import BETWEEN_HEADER, page_of, shown_between, shown_orders
from blathy.report.measuring import Harmonic, Measurement, TableCollector, measure
from blathy.report.quantity_rows import ENERGY_COLUMNS, PHASE_ROWS, figure, total_rows
from blathy.sources.recorded_point import (
    WIRINGS,
    Declared,
    RecordedPoint,
    point_of,
    read_calibrations,
)
from blathy.sources.recording_stream import open_recording
from blathy.sources.recordings import Layout, RecordingError

PAGE_SUFFIXES: Final = (".html", ".htm", ".pdf")


@app.command("measure")
def command(
    file: Annotated[Path, typer.Argument(help="COMTRADE (.cfg, .dat, .cff), .wav, .csv or .npy.")],
    channels: Annotated[
        str,
        typer.Option(
            help="What the columns are, e.g. u1,u2,u3,i1,i2,i3 (also in; - for none). "
            "Default: what the file says, or voltages first."
        ),
    ] = "",
    scale: Annotated[
        str,
        typer.Option(
            help="Volts or amperes per unit of the file: one factor, or one per column; "
            "1/21.4 is allowed, a negative one turns a current transformer round."
        ),
    ] = "",
    sample_rate: Annotated[
        float, typer.Option(help="Samples per second, where the file does not say.")
    ] = 0.0,
    wiring: Annotated[
        str, typer.Option(help=f"{', '.join(WIRINGS)} (phases x wires); default: the channels.")
    ] = "",
    nominal_u: Annotated[float, typer.Option(help="Nominal voltage to neutral [V].")] = 0.0,
    nominal_hz: Annotated[int, typer.Option(help="50 or 60; default: the signal's.")] = 0,
    nominal_i: Annotated[float, typer.Option(help="Nominal current [A], for over-current.")] = 0.0,
    full_scale: Annotated[
        float, typer.Option(help="Value of the file at which a sample is saturated.")
    ] = 0.0,
    start: Annotated[str, typer.Option(help="UTC of the first sample, ISO 8601.")] = "",
    calibration: Annotated[
        Path | None, typer.Option(help="Constants of the sensors by serial number (JSON).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    parquet: Annotated[
        Path | None, typer.Option(help="Write the 10-cycle (12-cycle) values here.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the report with plots here (.html or .pdf).")
    ] = None,
) -> None:
    """Measure a recording: U, I, P, Q, S, energies, harmonics, unbalance, flicker, events."""
    check_page(html)
    if nominal_u < 0 or nominal_i < 0 or sample_rate < 0 or full_scale < 0:
        raise CommandError("nominal values, sample rate and full scale are above zero")
    try:
        layout = Layout(parse_channels(channels), parse_scale(scale), sample_rate)
        stream = open_recording(file, layout, full_scale or None)
        declared = Declared(
            wiring, nominal_u or None, nominal_hz or None, nominal_i or None, start,
            read_calibrations(calibration) if calibration else {},
        )  # fmt: skip
        point = point_of(stream, declared)
        found = _measure(point, parquet, quiet=as_json)
    except RecordingError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error.filename or file}: {error.strerror}") from error
    if as_json:
        typer.echo(json.dumps(plain(found), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        show(found, console())
    if html:
        write_page(page_of(found), html)


def check_page(path: Path | None) -> None:
    """Refuse another suffix before anything is measured."""
    if path and path.suffix.lower() not in PAGE_SUFFIXES:
        raise CommandError(f"{path.name}: a report is written as .html or .pdf")


def write_page(page: Any, path: Path) -> None:
    """Write a report and say where."""
    try:
        page.write(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}") from error
    console(stderr=True).print(f"report written to {path}")


def _measure(point: RecordedPoint, parquet: Path | None, *, quiet: bool) -> Measurement:
    if parquet is None:
        return _with_progress(point, None, quiet=quiet)
    import pyarrow as pa
    import pyarrow.parquet as pq

    collector = TableCollector(point)
    writer: list[Any] = []

    def each(measured: Measured) -> None:
        columns = collector.columns(measured)
        if not columns:
            return
        table = pa.table(columns)
        if not writer:
            writer.append(pq.ParquetWriter(parquet, table.schema, compression="zstd"))
        writer[0].write_table(table)

    try:
        found = _with_progress(point, each, quiet=quiet)
    finally:
        for one in writer:
            one.close()
    if not writer:
        raise CommandError(f"{point.stream.name} is too short for a table: no 10 whole cycles")
    console(stderr=True).print(f"table written to {parquet}")
    return found


def _with_progress(
    point: RecordedPoint, each: Callable[[Measured], None] | None, *, quiet: bool
) -> Measurement:
    if quiet:
        return measure(point, each)
    out = console(stderr=True)
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(point.stream.name, total=point.stream.frames)
        rate = point.up / point.down

        def seen(measured: Measured) -> None:
            if each is not None:
                each(measured)
            done = len(measured.seconds) * point.connection.sample_rate_hz / rate
            bar.advance(task, done)

        return measure(point, seen)


def plain(found: Measurement) -> dict[str, Any]:
    """The measurement as JSON: numbers, text, null for what was not measured."""
    start = found.start_utc_ns
    tree = {
        "file": found.name,
        "start": None if start is None else iso_utc(start // NANOSECONDS_PER_S),
        "duration_s": found.duration_s,
        "sample_rate_hz": found.sample_rate_hz,
        "wiring": found.wiring,
        "nominal_u_v": found.nominal_u_v,
        "nominal_hz": found.nominal_hz,
        "phases": [asdict(phase) for phase in found.phases],
        "total": asdict(found.total),
        "energies": [asdict(energy) for energy in found.energies],
        "harmonics": [asdict(harmonic) for harmonic in found.harmonics],
        "interharmonics": [asdict(one) for one in found.interharmonics],
        "flicker": [asdict(one) for one in found.flicker],
        "events": [asdict(event) for event in found.events],
        "notes": list(found.notes),
    }
    return {key: _finite(value) for key, value in tree.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def show(found: Measurement, out: Console) -> None:
    """The tables of the terminal."""
    start = (
        ""
        if found.start_utc_ns is None
        else ", from " + iso_utc(found.start_utc_ns // NANOSECONDS_PER_S)
    )
    out.print(
        f"{found.name}: {found.duration_s:.3f} s at {found.sample_rate_hz:g} samples/s{start}, "
        f"{found.wiring}, Un {found.nominal_u_v:g} V, {found.nominal_hz} Hz",
        highlight=False,
    )
    for note in found.notes:
        out.print(f"note: {note}", style="yellow", highlight=False, markup=False)
    out.print(_quantities(found))
    if found.energies:
        out.print(_energies(found))
    for table in _spectra(found):
        out.print(table)
    if found.flicker:
        out.print(_flicker(found))
    if found.events:
        out.print(_events(found))


def _quantities(found: Measurement) -> Table:
    table = Table(title="Quantities", title_justify="left")
    table.add_column("Quantity")
    for phase in found.phases:
        table.add_column(phase.name, justify="right")
    several = len(found.phases) > 1
    if several:
        table.add_column("Total", justify="right")
    table.add_column("Unit")
    for words, name, total, unit in PHASE_ROWS:
        values = [getattr(phase, name) for phase in found.phases]
        whole = getattr(found.total, total) if total else None
        if any(value is not None for value in values):
            shown = [figure(whole) if whole is not None else ""] if several else []
            table.add_row(words, *(figure(value) for value in values), *shown, unit)
    for words, text, unit in total_rows(found):
        table.add_row(words, *([""] * len(found.phases) if several else []), text, unit)
    return table


def _energies(found: Measurement) -> Table:
    table = Table(title="Energies", title_justify="left")
    table.add_column("")
    for words, _ in ENERGY_COLUMNS:
        table.add_column(words, justify="right")
    for row in found.energies:
        cells = (figure(getattr(row, name)) for _, name in ENERGY_COLUMNS)
        table.add_row(row.name, *cells)
    return table


def _spectra(found: Measurement) -> list[Table]:
    tables = []
    for phase in found.phases:
        rows = shown_orders(found, phase.name)
        if not rows:
            continue
        table = Table(
            title=f"Harmonics of {phase.name}, % of the fundamental", title_justify="left"
        )
        for words in ("Order", "U [V]", "U [%]"):
            table.add_column(words, justify="right")
        if found.currents:
            for words in ("I [A]", "I [%]", "P [W]"):
                table.add_column(words, justify="right")
            table.add_column("Flows")
        for row in rows:
            table.add_row(*_cells(row, found.currents))
        tables.append(table)
        between = shown_between(found, phase)
        if between:
            tables.append(_between(phase.name, between))
    return tables


def _between(phase: str, rows: list[tuple[str, ...]]) -> Table:
    table = Table(title=f"Interharmonics of {phase}", title_justify="left")
    for words in BETWEEN_HEADER:
        table.add_column(words, justify="right")
    for row in rows:
        table.add_row(*row)
    return table


def _cells(row: Harmonic, currents: bool) -> list[str]:
    cells = [str(row.order), figure(row.u_v), figure(row.u_percent)]
    if currents:
        cells += [figure(row.i_a), figure(row.i_percent), figure(row.p_w), row.direction]
    return cells


def _flicker(found: Measurement) -> Table:
    table = Table(title="Flicker", title_justify="left")
    table.add_column("")
    table.add_column("From [s]", justify="right")
    for phase in found.phases:
        table.add_column(phase.name, justify="right")
    table.add_column("")
    for row in found.flicker:
        flagged = "flagged" if row.flagged else ""
        table.add_row(row.name, f"{row.start_s:.0f}", *(figure(v) for v in row.values), flagged)
    return table


def _events(found: Measurement) -> Table:
    table = Table(title="Events", title_justify="left")
    table.add_column("Event")
    table.add_column("Phases")
    table.add_column("From [s]", justify="right")
    table.add_column("Lasts [s]", justify="right")
    table.add_column("Extreme", justify="right")
    table.add_column("Unit")
    for event in found.events:
        lasts = "to the end" if event.duration_s is None else f"{event.duration_s:.3f}"
        table.add_row(
            event.name, event.phases, f"{event.start_s:.3f}", lasts, figure(event.extreme),
            event.unit,
        )  # fmt: skip
    return table
