"""Exports of a profile: CSV for people and spreadsheets, Parquet for analysis."""

from __future__ import annotations

import csv
import io
from typing import Final

import numpy as np

from blathy.clock import iso_utc
from blathy.headend.readings.series import ProfileAnswer
from blathy.headend.sentence import ExplainedError

CSV_HEADER: Final = ("start", "end", "value", "unit", "min", "max", "quality", "source")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class ExportUnavailable(ExplainedError):  # noqa: N818 - a missing extra, said in plain words
    """The optional library for this format is not installed."""


def inert(text: str) -> str:
    """Text from outside that no spreadsheet runs as a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _decimal(value: int | None, scaler: int) -> str:
    if value is None:
        return ""
    return str(value * 10**scaler) if scaler >= 0 else f"{value * 10.0**scaler:.{-scaler}f}"


def to_csv(answer: ProfileAnswer) -> str:
    """One line per slot, UTC times, missing values empty (never 0)."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(CSV_HEADER)
    scaler, unit = answer.channel.scaler, inert(answer.channel.unit)
    for b in answer.buckets:
        writer.writerow(
            (
                iso_utc(b.start),
                iso_utc(b.end),
                _decimal(b.value, scaler),
                unit,
                _decimal(b.low, scaler),
                _decimal(b.high, scaler),
                b.quality,
                b.source or "",
            )
        )
    return out.getvalue()


def to_parquet(answer: ProfileAnswer) -> bytes:
    """The same columns; raise ExportUnavailable where pyarrow is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ExportUnavailable(
            "no-parquet",
            "Parquet needs the library pyarrow: pip install 'blathy[parquet]'.",
            "Ask for CSV instead.",
        ) from error
    factor = 10.0**answer.channel.scaler
    moment = pa.timestamp("s", tz="UTC")

    def values(column: list[int | None]) -> object:
        return pa.array([None if v is None else v * factor for v in column], pa.float64())

    buckets = answer.buckets
    table = pa.table(
        {
            "start": pa.array(np.array([b.start for b in buckets], np.int64), moment),
            "end": pa.array(np.array([b.end for b in buckets], np.int64), moment),
            "value": values([b.value for b in buckets]),
            "min": values([b.low for b in buckets]),
            "max": values([b.high for b in buckets]),
            "quality": pa.array([b.quality for b in buckets]),
            "source": pa.array([b.source for b in buckets]),
        },
        metadata={"channel": answer.channel.slug, "unit": answer.channel.unit},
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
