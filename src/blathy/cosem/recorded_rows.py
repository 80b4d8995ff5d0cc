"""Rows of a profile buffer that can be cut out one by one although rows may lean on others.

Null-data means "as in the row before", and in a clock column "one period later"; a row that becomes
the first of an answer has to say what it means (IEC 62056-6-2, class 7).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, timedelta

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.cosem_time import (
    CosemDate,
    CosemDateTime,
    CosemTime,
    CosemTimeError,
    date_time_of,
)
from blathy.cosem.selective import CaptureObject


def shifted(stamp: CosemDateTime, seconds: int) -> CosemDateTime:
    """The same clock so much later, its deviation and status kept."""
    local = stamp.local() + timedelta(seconds=seconds)
    return CosemDateTime(
        CosemDate.of_date(local.date()),
        CosemTime(local.hour, local.minute, local.second, stamp.time.hundredths),
        stamp.deviation_min,
        stamp.status,
    )


def wall_clock_s(stamp: CosemDateTime) -> int:
    """The wall clock as seconds since 1970, its deviation left aside."""
    return int(stamp.local().replace(tzinfo=UTC).timestamp())


class RecordedRows:
    """A buffer as rows of Data. Raise AxdrError where the octets are no buffer."""

    def __init__(self, raw: bytes, captures: Sequence[CaptureObject], period_s: int) -> None:
        data = axdr.decode(raw)
        if data.type is DataType.COMPACT_ARRAY:
            rows = tuple(data.value.elements)
        elif data.type is DataType.ARRAY:
            rows = tuple(data.value)
        else:
            raise AxdrError(f"the buffer of a profile is an array, not {data.type.text}")
        for row in rows:
            if row.type is not DataType.STRUCTURE or len(row.value) != len(captures):
                raise AxdrError(f"a row of the profile has not {len(captures)} columns")
        self._rows: list[tuple[Data, ...]] = []
        self._ages: list[tuple[int, ...]] = []  # of each cell: so many rows ago it was last told
        self._captures = tuple(captures)
        self._period_s = period_s
        for row in rows:
            self._take(tuple(row.value))

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, row: Sequence[Data], entries_max: int) -> None:
        """A new row; the oldest gives way where there are more than `entries_max`."""
        self._take(tuple(row))
        while len(self._rows) > entries_max:
            self._rows[1:2] = [self.row(1)] if len(self._rows) > 1 else []
            del self._rows[0], self._ages[0]

    def _take(self, row: tuple[Data, ...]) -> None:
        before = self._ages[-1] if self._ages else (0,) * len(row)
        untold = (cell.type is DataType.NULL_DATA for cell in row)
        self._ages.append(tuple((a + 1) * u for a, u in zip(before, untold, strict=True)))
        self._rows.append(row)

    def clear(self) -> None:
        self._rows.clear()
        self._ages.clear()

    def row(self, index: int) -> tuple[Data, ...]:
        """A row with every null-data replaced by what it means."""
        return tuple(self._cell(index, column) for column in range(len(self._captures)))

    def _cell(self, index: int, column: int) -> Data:
        at = max(0, index - self._ages[index][column])
        cell = self._rows[at][column]
        if at == index or not self._captures[column].is_clock:
            return cell
        try:
            stamp = shifted(date_time_of(cell), (index - at) * self._period_s)
        except CosemTimeError:
            return cell
        return axdr.octets(stamp.raw())

    def times(self) -> list[int | None]:
        """The wall clock of every row in seconds, None where a row has no time."""
        column = next((n for n, c in enumerate(self._captures) if c.is_clock), None)
        if column is None:
            return [None] * len(self._rows)
        return [self._time(index, column) for index in range(len(self._rows))]

    def _time(self, index: int, column: int) -> int | None:
        try:
            stamp = date_time_of(self._cell(index, column))
            return stamp.utc() if stamp.deviation_min is not None else wall_clock_s(stamp)
        except AxdrError:
            return None

    def encode(self, indices: Iterable[int], columns: Sequence[int] | None = None) -> bytes:
        """These rows as a buffer of their own; consecutive rows keep their null-data."""
        wanted = tuple(range(len(self._captures))) if columns is None else tuple(columns)
        out = []
        before = -2
        for index in indices:
            row = self._rows[index] if index == before + 1 else self.row(index)
            out.append(axdr.structure(*(row[column] for column in wanted)))
            before = index
        return axdr.encode(axdr.array(*out))
