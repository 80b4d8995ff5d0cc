"""The state of the books as one row of 64-bit integers: how every part writes and reads its own."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[np.int64]
"""A row or a table of integers in base units."""


class CellWriter:
    """Collects integers in order."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[Cells] = []

    def put(self, *values: int) -> None:
        self._parts.append(np.array(values, dtype=np.int64))

    def put_all(self, values: Cells | Iterable[int]) -> None:
        array = values if isinstance(values, np.ndarray) else np.array(list(values), dtype=np.int64)
        self._parts.append(np.ravel(array))

    def cells(self) -> Cells:
        return np.concatenate(self._parts) if self._parts else np.zeros(0, dtype=np.int64)


class CellReader:
    """Hands the integers back in the order they were put; raise ValueError past the end."""

    __slots__ = ("_at", "_cells")

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._at = 0

    def take(self) -> int:
        return int(self.take_all(1)[0])

    def take_all(self, count: int) -> Cells:
        if self._at + count > len(self._cells):
            raise ValueError("the state is shorter than the plan asks for")
        part = self._cells[self._at : self._at + count].copy()
        self._at += count
        return part

    @property
    def rest(self) -> int:
        """How many integers have not been taken."""
        return len(self._cells) - self._at
