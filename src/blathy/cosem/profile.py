"""A decoded profile: one column per capture object, times, and ways out (rows, CSV, Arrow)."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blathy.clock import Zone, iso_utc
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.cosem_time import TimeQuirk
from blathy.cosem.objectlist import ScalerUnit
from blathy.cosem.selective import CaptureObject
from blathy.cosem.time_columns import Mask, Seconds, decode_times
from blathy.obis import Obis
from blathy.quantity import SYMBOL, Quantity

Values = npt.NDArray[Any]


class ProfileError(AxdrError):
    """Bytes that are no buffer of the profile that the capture objects describe."""


@dataclass(frozen=True, slots=True)
class Column:
    """One captured attribute over all rows.

    `values` holds integers or floats; for octet-strings and date-times of one width a matrix of
    octets (rows x width); otherwise Python objects, None where there is no value.
    `null` marks rows in which the meter sent null-data (the value was taken from the row before),
    `missing` rows that have no value at all (their entry in `values` is 0). None means no such row.
    """

    capture: CaptureObject
    type: DataType | None
    values: Values
    null: Mask | None = None
    missing: Mask | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def name(self) -> str:
        """Its OBIS code, with `/5` where it is another attribute than the value."""
        attribute = self.capture.attribute
        return f"{self.capture.obis}" + (f"/{attribute}" if attribute != 2 else "")

    def heading(self, unit: ScalerUnit | None) -> str:
        """Name and unit: `1-0:1.8.0 [Wh]`."""
        symbol = SYMBOL[unit.unit] if unit is not None else ""
        return f"{self.name} [{symbol}]" if symbol else self.name

    def to_list(self) -> list[Any]:
        """Python values (int, float, str, bytes, tuple of Data); None where a value is missing."""
        if self.values.ndim == 2:
            raw, (count, width) = self.values.tobytes(), self.values.shape
            listed: list[Any] = [raw[i * width : i * width + width] for i in range(count)]
        else:
            listed = self.values.tolist()
        if self.missing is not None:
            for row in np.flatnonzero(self.missing):
                listed[row] = None
        return listed


class ProfileTimes(NamedTuple):
    """UTC seconds per row. `valid`: the row has a time. `reconstructed`: it was not sent."""

    utc_s: Seconds
    valid: Mask
    reconstructed: Mask

    def datetime64(self) -> npt.NDArray[np.datetime64]:
        """UTC as datetime64[s]; NaT where a row has no time."""
        moments = self.utc_s.astype("datetime64[s]")
        if not self.valid.all():
            moments[~self.valid] = np.datetime64("NaT", "s")
        return moments


@dataclass(frozen=True, slots=True)
class Profile:
    """A decoded buffer: one column per capture object, rows in the order of the answer."""

    columns: tuple[Column, ...]
    size: int
    layout: str = field(default="", compare=False)
    """How it was decoded: `one layout`, `mixed layouts` or `general`."""

    def __len__(self) -> int:
        return self.size

    def column(self, key: Obis | str | CaptureObject) -> Column:
        """The column of a capture object or of an OBIS code; raise KeyError if there is none."""
        obis = Obis.parse(key) if isinstance(key, str) else key
        for column in self.columns:
            if obis in (column.capture, column.capture.obis):
                return column
        raise KeyError(str(key))

    def __getitem__(self, key: Obis | str | CaptureObject) -> Values:
        return self.column(key).values

    @property
    def clock(self) -> Column | None:
        """The first clock column, if the profile captures the clock."""
        return next((column for column in self.columns if column.capture.is_clock), None)

    def times(
        self,
        zone: Zone | None = None,
        period_s: int | None = None,
        quirks: TimeQuirk = TimeQuirk.NONE,
    ) -> ProfileTimes:
        """The time of every row.

        `zone` is needed for clocks that send no deviation. With `period_s` (attribute 4 of the
        profile) rows whose clock is null-data get the time of the row before plus the period.
        """
        none = np.zeros(self.size, np.bool_)
        column = self.clock
        if column is None or self.size == 0:
            return ProfileTimes(np.zeros(self.size, np.int64), none, none)
        utc_s, valid = _column_times(column, zone, quirks)
        if column.missing is not None:
            valid &= ~column.missing
        if column.null is None or not period_s:
            return ProfileTimes(utc_s, valid, none)
        return _reconstructed(utc_s, valid, column.null, period_s)

    def clock_status(self) -> npt.NDArray[np.uint8] | None:
        """The clock status octet of every row, or None without a clock column of 12 octets."""
        column = self.clock
        if column is None or column.values.ndim != 2 or column.values.shape[1] != 12:
            return None
        return column.values[:, 11].copy()

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Rows of Python values, None where a value is missing."""
        return zip(*(column.to_list() for column in self.columns), strict=True)

    def to_csv(
        self,
        zone: Zone | None = None,
        period_s: int | None = None,
        quirks: TimeQuirk = TimeQuirk.NONE,
        units: Sequence[ScalerUnit | None] = (),
    ) -> str:
        """Comma-separated text: UTC of the row first, then the columns under their OBIS codes.

        With the `units` of all columns, values are exact decimal numbers in their unit, which the
        heading names: `1-0:1.8.0 [Wh]`; else they are the integers of the meter. Octet-strings are
        written in hex; a missing value is an empty field.
        """
        out = io.StringIO()
        times = self.times(zone, period_s, quirks)
        names, listed = ["time_utc"], []
        for column, unit in zip(self.columns, units or [None] * len(self.columns), strict=True):
            if column is not self.clock:
                names.append(column.heading(unit))
                listed.append(_csv_texts(column, unit))
        out.write(",".join(names) + "\n")
        moments = zip(times.utc_s.tolist(), times.valid.tolist(), strict=True)
        for (moment, valid), *texts in zip(moments, *listed, strict=True):
            out.write(",".join([iso_utc(moment) if valid else "", *texts]) + "\n")
        return out.getvalue()

    def to_arrow(
        self,
        zone: Zone | None = None,
        period_s: int | None = None,
        quirks: TimeQuirk = TimeQuirk.NONE,
    ) -> Any:
        """A pyarrow Table: `time_utc` and one column per capture object, nulls where missing.

        Needs `pip install blathy[parquet]`; raise ImportError with that advice otherwise.
        """
        try:
            import pyarrow as pa
        except ImportError as absent:
            msg = "pyarrow is not installed; run: pip install 'blathy[parquet]'"
            raise ImportError(msg) from absent
        times = self.times(zone, period_s, quirks)
        moments = pa.array(times.datetime64(), pa.timestamp("s", "UTC"), mask=~times.valid)
        names, arrays = ["time_utc"], [moments]
        for column in self.columns:
            if column is self.clock:
                continue
            names.append(column.name)
            if column.values.ndim == 1 and column.values.dtype != object:
                arrays.append(pa.array(column.values, mask=column.missing))
            else:
                arrays.append(pa.array([_arrow_value(value) for value in column.to_list()]))
        return pa.table(arrays, names)


def _csv_texts(column: Column, unit: ScalerUnit | None) -> list[str]:
    values = column.to_list()
    if unit is None or not unit.scaler or column.values.dtype.kind not in "iu":
        return [_csv_text(value) for value in values]
    return [
        "" if value is None else Quantity(value, unit.scaler, unit.unit).decimal_text()
        for value in values
    ]


def _csv_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.hex()
    text = axdr.encode(value).hex() if isinstance(value, Data) else str(value)
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def _arrow_value(value: Any) -> Any:
    return axdr.encode(value) if isinstance(value, Data) else value


def _column_times(column: Column, zone: Zone | None, quirks: TimeQuirk) -> tuple[Seconds, Mask]:
    values = column.values
    if values.ndim == 2 and values.shape[1] == 12:
        return decode_times(values, zone, quirks)
    if values.dtype != object:
        return np.zeros(len(values), np.int64), np.zeros(len(values), np.bool_)
    raw = np.zeros((len(values), 12), np.uint8)
    for row, value in enumerate(values):
        if isinstance(value, bytes) and len(value) == 12:
            raw[row] = np.frombuffer(value, np.uint8)
    return decode_times(raw, zone, quirks)


def _reconstructed(utc_s: Seconds, valid: Mask, null: Mask, period_s: int) -> ProfileTimes:
    """Times of null-data rows: the last time that was sent plus so many periods."""
    row = np.arange(len(utc_s))
    anchor = np.maximum.accumulate(np.where(null, -1, row))
    known = null & (anchor >= 0)
    known &= valid[anchor]
    times = utc_s.copy()
    times[known] = utc_s[anchor[known]] + (row - anchor)[known] * period_s
    return ProfileTimes(times, valid | known, known)
