"""What a client hands out: values with units, tables, and the errors that belong to one object."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from blathy.clock import UtcS, Zone, datetime_of
from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.cosem.classes import interface_class
from blathy.cosem.columns import Column, Profile, ProfileTimes
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.objectlist import ScalerUnit
from blathy.cosem.selective import CaptureObject
from blathy.cosem.service import ActionResult, AttributeRef, DataAccessResult
from blathy.obis import Obis
from blathy.quantity import SYMBOL, Quantity
from blathy.transport.errors import Refused

Value = Quantity | CosemDateTime | Data | int | float | str | bytes | bool | tuple[Any, ...] | None
"""What an attribute holds: a quantity where it has a unit, a time, else the plain value."""

_RESULT_TEXTS: Final = {
    DataAccessResult.READ_WRITE_DENIED: (
        "read and write are denied",
        "this client has no right to it; use another client= and its password or keys",
    ),
    DataAccessResult.OBJECT_UNDEFINED: (
        "there is no such object",
        "see what there is with `blathy objects`",
    ),
    DataAccessResult.OBJECT_CLASS_INCONSISTENT: (
        "the object is of another class",
        "see what there is with `blathy objects`",
    ),
    DataAccessResult.OBJECT_UNAVAILABLE: ("the object is not available now", "try again later"),
    DataAccessResult.TYPE_UNMATCHED: ("the type does not match", "write the type it has"),
    DataAccessResult.SCOPE_OF_ACCESS_VIOLATED: (
        "the access is out of scope",
        "use more protection (protect=both) or another client=",
    ),
    DataAccessResult.TEMPORARY_FAILURE: ("it fails for the moment", "try again later"),
    DataAccessResult.HARDWARE_FAULT: ("the meter reports a hardware fault", "look at the meter"),
}


class ObjectRefused(Refused):
    """The meter is there and refuses this one attribute or method."""

    def __init__(self, what: str, result: int, text: str = "", remedy: str = "") -> None:
        usual, usual_remedy = _RESULT_TEXTS.get(
            DataAccessResult(result) if result in _KNOWN else DataAccessResult.OTHER_REASON,
            (_result_name(result), ""),
        )
        super().__init__(f"{what}: {text or usual}", remedy or usual_remedy)
        self.result = result

    @classmethod
    def of(cls, error: ObjectRefused, remedy: str) -> ObjectRefused:
        """The same with a better remedy."""
        found = cls("", error.result, remedy=remedy)
        found.message = error.message
        return found


_KNOWN: Final = frozenset(DataAccessResult)


def _result_name(result: int) -> str:
    for kind in (DataAccessResult, ActionResult):
        if result in frozenset(kind):
            return kind(result).name.lower().replace("_", " ")
    return f"result {result}"


@dataclass(frozen=True, slots=True)
class Reading:
    """One attribute that was asked for: its value, or why there is none."""

    ref: AttributeRef
    value: Value = None
    error: ObjectRefused | None = None
    raw: bytes = b""
    version: int | None = None  # of the object's class, where it is known

    def named(self) -> Any:
        """The value with the names that the class table gives its elements and enumerations."""
        if self.error is not None:
            raise self.error
        try:
            kind = interface_class(self.ref.class_id, self.version).attribute(self.ref.attribute)
        except KeyError:
            return self.value
        return kind.type.plain(axdr.decode(self.raw))

    @property
    def obis(self) -> Obis:
        return self.ref.obis

    def get(self) -> Value:
        """The value; raise the error that came instead of it."""
        if self.error is not None:
            raise self.error
        return self.value


def plain_value(data: Data) -> Value:
    """A Python value: numbers, text, bytes, times; tuples for arrays and structures."""
    kind, value = data.type, data.value
    if kind in {DataType.ARRAY, DataType.STRUCTURE}:
        return tuple(plain_value(element) for element in value)
    if kind is DataType.COMPACT_ARRAY:
        return tuple(plain_value(element) for element in value.elements)
    if kind is DataType.DATE_TIME:
        return _date_time(value)
    found: Value = value
    return found


def _date_time(raw: bytes) -> Value:
    try:
        return CosemDateTime.of(raw)
    except ValueError:
        return raw


def typed_value(ref: AttributeRef, raw: bytes, unit: ScalerUnit | None) -> Value:
    """The value of an attribute's octets: with its unit, or as a time for clocks.

    Raise ValueError for octets that are no A-XDR data.
    """
    data = axdr.decode(raw)
    if unit is not None and data.type in axdr.NUMERIC_FORMATS:
        return unit.quantity(data)
    if data.type is DataType.OCTET_STRING and len(data.value) == 12 and _is_time(ref):
        return _date_time(data.value)
    return plain_value(data)


def _is_time(ref: AttributeRef | CaptureObject) -> bool:
    if ref.class_id == 8:
        return ref.attribute == 2
    if ref.class_id == 4:
        return ref.attribute == 5
    return ref.class_id == 5 and ref.attribute in {6, 7}


@dataclass(frozen=True, slots=True)
class ProfileReading:
    """A profile as it was read: columns, the unit of each, and the capture period in seconds.

    `period_s` is 0 for profiles that capture on events. Values in the columns are the integers of
    the meter; `quantity` and `scaled` apply scaler and unit.
    """

    obis: Obis
    profile: Profile
    units: tuple[ScalerUnit | None, ...]
    period_s: int
    zone: Zone | None = None

    def __len__(self) -> int:
        return len(self.profile)

    @property
    def columns(self) -> tuple[Column, ...]:
        return self.profile.columns

    @property
    def times(self) -> ProfileTimes:
        """The UTC second of every row; those of null-data are reconstructed and marked."""
        return self.profile.times(self.zone, self.period_s or None)

    def quantity(self, row: int, column: int) -> Quantity | None:
        """One cell that has a unit; None where it is missing or has none."""
        found = self.value(row, column)
        return found if isinstance(found, Quantity) else None

    def value(self, row: int, column: int) -> Value:
        """One cell: with its unit, a time where it is one, else plain; None where it is missing."""
        found = self.columns[column]
        if found.missing is not None and found.missing[row]:
            return None
        unit, cell = self.units[column], found.values[row]
        if unit is not None and found.values.dtype.kind in "iu":
            return Quantity(int(cell), unit.scaler, unit.unit)
        if found.values.ndim == 2:
            cell = bytes(cell)
        if isinstance(cell, bytes):
            return _date_time(cell) if len(cell) == 12 and _is_time(found.capture) else cell
        plain: Value = cell.item() if isinstance(cell, np.generic) else cell
        return plain

    def scaled(self, column: int) -> np.ndarray[Any, Any]:
        """A column in its unit, as floats; NaN where a value is missing."""
        found = self.profile.columns[column]
        unit = self.units[column]
        values = found.values.astype(np.float64)
        if unit is not None and unit.scaler:
            values = values * 10.0**unit.scaler if unit.scaler > 0 else values / 10.0**-unit.scaler
        if found.missing is not None:
            values[found.missing] = np.nan
        return values

    def headings(self) -> list[str]:
        """OBIS code and unit of every column."""
        names = []
        for column, unit in zip(self.profile.columns, self.units, strict=True):
            symbol = SYMBOL[unit.unit] if unit is not None else ""
            scaler = f"10^{unit.scaler} " if unit is not None and unit.scaler and symbol else ""
            names.append(column.name + (f" [{scaler}{symbol}]" if symbol else ""))
        return names

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Rows of Python values as the meter sent them, None where one is missing."""
        return self.profile.rows()

    def index(self, code: str | Obis) -> int:
        """Which column has this code; raise KeyError if there is none."""
        column = self.profile.column(code)
        return next(n for n, each in enumerate(self.columns) if each is column)

    def __getitem__(self, code: str | Obis) -> np.ndarray[Any, Any]:
        """A column by its code, in its unit: `profile["1-0:1.8.0"]`."""
        return self.scaled(self.index(code))

    def __iter__(self) -> Iterator[ProfileRow]:
        """Rows one after the other, made when asked for; the columns are the fast way."""
        times = self.times
        for number in range(len(self)):
            yield ProfileRow(
                self, number, int(times.utc_s[number]) if times.valid[number] else None
            )

    def to_arrow(self) -> Any:
        """A pyarrow Table: `time_utc` and a column per code, integers as the meter sent them; the
        metadata of each field has its `scaler` and `unit`. Needs pyarrow."""
        table = self.profile.to_arrow(self.zone, self.period_s or None)
        units = {column.name: unit for column, unit in zip(self.columns, self.units, strict=True)}
        schema = table.schema
        for place, field in enumerate(schema):
            unit = units.get(field.name)
            if unit is not None:
                about = {"scaler": str(unit.scaler), "unit": SYMBOL[unit.unit]}
                schema = schema.set(place, field.with_metadata(about))
        return table.cast(schema)

    def to_pandas(self) -> Any:
        """A pandas DataFrame over UTC time: numbers in their unit, NaN where one is missing; a
        column is called `1-0:1.8.0 [Wh]`. Needs pandas."""
        pd: Any = import_module("pandas")
        clock, columns = self.profile.clock, {}
        for place, column in enumerate(self.columns):
            if column is clock:
                continue
            numeric = column.values.ndim == 1 and column.values.dtype.kind in "iuf"
            values = self.scaled(place) if numeric else column.to_list()
            columns[column.heading(self.units[place])] = values
        stamps = pd.DatetimeIndex(self.times.datetime64(), name="time", tz="UTC")
        return pd.DataFrame(columns, index=stamps)

    def to_csv(self) -> str:
        """Comma-separated text: UTC of the row, then exact decimal numbers in the unit that the
        heading names, `1-0:1.8.0 [Wh]`."""
        return self.profile.to_csv(self.zone, self.period_s or None, units=self.units)

    def to_parquet(self, path: str | Path) -> None:
        """A Parquet file of `time_utc` and columns in the unit that their name gives, as in CSV:
        integers where the meter's own have no scaler, else floats. Needs pyarrow."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = self.profile.to_arrow(self.zone, self.period_s or None)
        names, clock = ["time_utc"], self.profile.clock
        for place, (column, unit) in enumerate(zip(self.columns, self.units, strict=True)):
            if column is clock:
                continue
            at = len(names)
            names.append(column.heading(unit))
            if unit is not None and unit.scaler and column.values.dtype.kind in "iu":
                scaled = pa.array(self.scaled(place), mask=column.missing)
                table = table.set_column(at, names[at], scaled)
        pq.write_table(table.rename_columns(names), path)


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One row: `row["1-0:1.8.0"]` is a Quantity, or the plain value of a column without unit."""

    reading: ProfileReading
    number: int
    utc_s: int | None

    @property
    def time(self) -> datetime | None:
        """When, in the meter's zone where it is known, else UTC; None where the row has no time."""
        if self.utc_s is None:
            return None
        zone = self.reading.zone
        return datetime_of(self.utc_s) if zone is None else zone.civil(UtcS(self.utc_s))

    def __getitem__(self, code: str | Obis) -> Any:
        return self.reading.value(self.number, self.reading.index(code))
