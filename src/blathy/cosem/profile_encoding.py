"""NumPy columns to buffers of profiles: one matrix of octets, filled column by column."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from blathy.cosem import axdr
from blathy.cosem.axdr import (
    FIXED_SIZES,
    LENGTHED_TYPES,
    NUMERIC_FORMATS,
    OCTET_TYPES,
    DataType,
    TypeDescription,
    encode_length,
)
from blathy.cosem.profile import ProfileError, Values
from blathy.cosem.time_columns import Mask, Octets


class OutColumn(NamedTuple):
    """A column to send: numbers, or octets as a matrix (rows x width). `null`: send null-data."""

    type: DataType
    values: npt.ArrayLike
    null: Mask | None = None


def encode_profile(columns: Sequence[OutColumn]) -> bytes:
    """The array of structures for columns of equal length, canonical, built as one matrix.

    Raise AxdrError where a value does not fit its type or the lengths differ.
    """
    if not columns:
        raise ProfileError("a profile has at least one column")
    header = b"\x02" + encode_length(len(columns))
    prepared = [_prepared(column) for column in columns]
    count = len(prepared[0])
    template, places = bytearray(header), []
    for column, values in zip(columns, prepared, strict=True):
        if len(values) != count or (column.null is not None and len(column.null) != count):
            raise ProfileError("the columns of a profile have the same number of rows")
        template.append(column.type)
        if column.type in LENGTHED_TYPES:
            template += encode_length(values.shape[1])
        width = values.shape[1] if values.ndim == 2 else FIXED_SIZES[column.type]
        places.append(len(template))
        template += bytes(width)
    matrix = np.empty((count, len(template)), np.uint8)
    matrix[:] = np.frombuffer(bytes(template), np.uint8)
    _fill(matrix, columns, prepared, places)
    body = _without_nulls(matrix, columns, len(header), places)
    return b"\x01" + encode_length(count) + body


def encode_compact_profile(columns: Sequence[OutColumn]) -> bytes:
    """The same rows as a compact-array, which has no null-data."""
    if not columns or any(column.null is not None for column in columns):
        raise ProfileError("a compact profile has columns, and no null-data in them")
    prepared = [_prepared(column) for column in columns]
    if len({len(values) for values in prepared}) != 1:
        raise ProfileError("the columns of a profile have the same number of rows")
    template, places = bytearray(), []
    for column, values in zip(columns, prepared, strict=True):
        if column.type in LENGTHED_TYPES:
            template += encode_length(values.shape[1])
        places.append(len(template))
        template += bytes(values.shape[1] if values.ndim == 2 else FIXED_SIZES[column.type])
    matrix = np.empty((len(prepared[0]), len(template)), np.uint8)
    matrix[:] = np.frombuffer(bytes(template), np.uint8)
    _fill(matrix, columns, prepared, places)
    elements = tuple(TypeDescription(column.type) for column in columns)
    description = axdr.encode_description(TypeDescription(DataType.STRUCTURE, elements))
    return b"\x13" + description + encode_length(matrix.size) + matrix.tobytes()


def _prepared(column: OutColumn) -> Values:
    """The values as an array of the wire's type; raise AxdrError where one does not fit."""
    values = np.asarray(column.values)
    kind = column.type
    if kind in NUMERIC_FORMATS or kind is DataType.BOOLEAN:
        if values.ndim != 1:
            raise ProfileError("numbers are one per row")
        return _checked_numbers(kind, values)
    if kind not in OCTET_TYPES or values.ndim != 2 or values.dtype != np.uint8:
        msg = f"a column of {kind.text} is sent from a matrix of octets, rows x width"
        raise ProfileError(msg)
    if kind in FIXED_SIZES and values.shape[1] != FIXED_SIZES[kind]:
        msg = f"a {kind.text} has {FIXED_SIZES[kind]} octets, not {values.shape[1]}"
        raise ProfileError(msg)
    return values


def _checked_numbers(kind: DataType, values: Values) -> Values:
    dtype = np.dtype(NUMERIC_FORMATS.get(kind, "B"))
    if dtype.kind == "f" or values.dtype == dtype:
        return values
    if values.dtype.kind not in "biuO":
        msg = f"a column of {kind.text} is sent from integers, not {values.dtype}"
        raise ProfileError(msg)
    lowest, highest = _limits(dtype.char)
    if len(values) and not (lowest <= values.min() and values.max() <= highest):
        msg = f"a value of {values.min()} to {values.max()} does not fit into {kind.text}"
        raise ProfileError(msg)
    return values


@lru_cache
def _limits(letter: str) -> tuple[int, int]:
    limits = np.iinfo(letter)
    return int(limits.min), int(limits.max)


def _fill(
    matrix: Octets, columns: Sequence[OutColumn], prepared: Sequence[Values], places: list[int]
) -> None:
    count, length = matrix.shape
    for column, values, place in zip(columns, prepared, places, strict=True):
        if values.ndim == 2:
            matrix[:, place : place + values.shape[1]] = values
        elif count:
            letter = NUMERIC_FORMATS.get(column.type, "B")
            wire = np.ndarray((count,), ">" + letter, matrix.data, place, (length,))
            wire[:] = values


def _without_nulls(
    matrix: Octets, columns: Sequence[OutColumn], header: int, places: list[int]
) -> bytes:
    """The octets of all rows; a null cell shrinks to its tag."""
    if all(column.null is None for column in columns):
        return matrix.tobytes()
    keep = np.ones(matrix.shape, np.bool_)
    tag = header
    for index, column in enumerate(columns):
        width = FIXED_SIZES.get(column.type)
        if width is None:
            width = np.asarray(column.values).shape[1]
        stop = places[index] + width
        if column.null is not None:
            matrix[column.null, tag] = DataType.NULL_DATA
            keep[column.null, tag + 1 : stop] = False
        tag = stop
    return matrix[keep].tobytes()


def repeats(values: npt.ArrayLike) -> Mask:
    """Rows whose value equals the row before: what null-data may stand for. Never the first."""
    array = np.asarray(values)
    same = np.zeros(len(array), np.bool_)
    if len(array) > 1:
        equal = array[1:] == array[:-1]
        same[1:] = equal.all(axis=1) if equal.ndim == 2 else equal
    return same


def periodic(utc_s: npt.ArrayLike, period_s: int) -> Mask:
    """Rows whose time is one period after the row before: null-data in a clock column."""
    seconds = np.asarray(utc_s, np.int64)
    regular = np.zeros(len(seconds), np.bool_)
    regular[1:] = np.diff(seconds) == period_s
    return regular
