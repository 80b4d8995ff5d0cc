"""Rings of rows: the newest so many, oldest dropped first, seen through views that never change.

Rows live in chunks that are only ever appended to (a chunk that grows is another one, with the same
rows), so a view is a tuple of chunks and two numbers.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np

from blathy.registers.cells import CellReader, Cells, CellWriter

CHUNK_ROWS: Final = 256
FIRST_ROWS: Final = 8
"""The room of a new chunk: it doubles until it is whole, so a new meter keeps almost nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Rows as a store kept them: consecutive, the first with this sequence number."""

    first_sequence: int
    rows: Cells


@dataclass(frozen=True, slots=True, eq=False)
class RingView:
    """The rows `first` … `end` - 1 (counted since the meter was made), oldest first."""

    chunks: tuple[Cells, ...]
    base: int
    first: int
    end: int
    width: int

    def __len__(self) -> int:
        return self.end - self.first

    def rows(self, first: int | None = None, end: int | None = None) -> Cells:
        """The rows with these sequence numbers, (m, width); all of them without arguments."""
        low = max(self.first, self.first if first is None else first)
        high = min(self.end, self.end if end is None else end)
        if low >= high:
            return np.zeros((0, self.width), dtype=np.int64)
        parts = []
        for index in range(
            (low - self.base) // CHUNK_ROWS, (high - 1 - self.base) // CHUNK_ROWS + 1
        ):
            at = self.base + index * CHUNK_ROWS
            parts.append(self.chunks[index][max(0, low - at) : high - at])
        return np.concatenate(parts)

    def cell(self, sequence: int, column: int) -> int:
        """One value of the row with this sequence number, which must be there."""
        index, inside = divmod(sequence - self.base, CHUNK_ROWS)
        return int(self.chunks[index][inside, column])


class Ring:
    """The newest `capacity` rows of `width` integers."""

    __slots__ = ("_base", "_chunks", "_digest", "capacity", "end", "first", "width")

    def __init__(self, width: int, capacity: int) -> None:
        self.width = width
        self.capacity = capacity
        self.first = 0
        self.end = 0
        self._base = 0
        self._digest = 0
        self._chunks: tuple[Cells, ...] = ()

    def __len__(self) -> int:
        return self.end - self.first

    def append(self, rows: Cells) -> None:
        """Add rows (m, width), newest last, and drop what no longer fits."""
        assert rows.ndim == 2
        assert rows.shape[1] == self.width
        self._digest = zlib.crc32(np.ascontiguousarray(rows).tobytes(), self._digest)
        self._place(rows)
        self._drop(max(self.first, self.end - self.capacity))

    def _place(self, rows: Cells) -> None:
        done = 0
        while done < len(rows):
            index, inside = divmod(self.end - self._base, CHUNK_ROWS)
            count = min(CHUNK_ROWS - inside, len(rows) - done)
            chunk = self._room(index, inside, inside + count)
            chunk[inside : inside + count] = rows[done : done + count]
            self.end += count
            done += count

    def _room(self, index: int, used: int, needed: int) -> Cells:
        """The chunk at `index` with room for `needed` rows, of which `used` are there."""
        if index < len(self._chunks) and len(self._chunks[index]) >= needed:
            return self._chunks[index]
        size = min(CHUNK_ROWS, max(FIRST_ROWS, 1 << (needed - 1).bit_length()))
        grown = np.zeros((size, self.width), dtype=np.int64)
        if used:
            grown[:used] = self._chunks[index][:used]
        self._chunks = (*self._chunks[:index], grown)
        return grown

    def _drop(self, first: int) -> None:
        self.first = first
        gone = (first - self._base) // CHUNK_ROWS
        if self._chunks and gone:
            self._chunks = self._chunks[gone:]
            self._base += gone * CHUNK_ROWS

    def clear(self) -> None:
        """Forget every row; sequence numbers go on."""
        self._chunks = ()
        self._base = self.first = self.end

    def view(self) -> RingView:
        """The rows as they are now, for ever."""
        return RingView(self._chunks, self._base, self.first, self.end, self.width)

    def write(self, cells: CellWriter) -> None:
        """Where the ring stands; the rows themselves are kept elsewhere."""
        cells.put(self.first, self.end, self._digest)

    def read(self, cells: CellReader, kept: Kept) -> None:
        """Stand where the cells say, with the content taken from `kept`.

        Raise ValueError if rows that should be there are missing.
        """
        first, end, digest = cells.take(), cells.take(), cells.take()
        first = max(first, end - self.capacity)
        if first == end:
            kept = Kept(first, np.zeros((0, self.width), dtype=np.int64))
        rows = kept.rows[max(0, first - kept.first_sequence) : max(0, end - kept.first_sequence)]
        if end < first or rows.shape != (end - first, self.width):
            raise ValueError(f"{end - first} rows should be there and {len(rows)} are")
        self._base = self.first = self.end = first
        self._chunks = ()
        self._place(rows)
        self._digest = digest
