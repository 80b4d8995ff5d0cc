"""Rings of rows: the newest stay, in order, and a view shows for ever what it showed at first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blathy.registers.cells import CellReader, CellWriter
from blathy.registers.ring import CHUNK_ROWS, FIRST_ROWS, Kept, Ring


@given(
    capacity=st.integers(1, 600),
    appended=st.lists(st.integers(0, 300), max_size=12),
    cleared=st.sets(st.integers(0, 11), max_size=2),
)
def test_the_newest_rows_stay_and_views_never_change(
    capacity: int, appended: list[int], cleared: set[int]
) -> None:
    ring, kept = Ring(2, capacity), np.zeros((0, 2), dtype=np.int64)
    views = []
    for turn, count in enumerate(appended):
        numbers = np.arange(ring.end, ring.end + count, dtype=np.int64)
        ring.append(np.stack([numbers, -numbers], axis=1))
        kept = np.concatenate([kept, np.stack([numbers, -numbers], axis=1)])[-capacity:]
        if turn in cleared:
            ring.clear()
            kept = kept[:0]
        views.append((ring.view(), kept))
    for view, rows in views:
        assert len(view) == len(rows)
        assert view.rows().tolist() == rows.tolist()
        assert view.rows(view.first + 1, view.end - 1).tolist() == rows[1:-1].tolist()


@given(capacity=st.integers(1, 600), count=st.integers(0, 700), more=st.integers(0, 300))
def test_a_ring_that_is_read_back_goes_on_as_if_it_had_never_stopped(
    capacity: int, count: int, more: int
) -> None:
    rows = np.arange(2 * count, dtype=np.int64).reshape(count, 2)
    ring, again = Ring(2, capacity), Ring(2, capacity)
    ring.append(rows)
    cells = CellWriter()
    ring.write(cells)
    again.read(CellReader(cells.cells()), Kept(ring.first, ring.view().rows()))
    for one in (ring, again):
        one.append(np.full((more, 2), 7, dtype=np.int64))
    assert again.view().rows().tolist() == ring.view().rows().tolist()
    written, written_again = CellWriter(), CellWriter()
    ring.write(written)
    again.write(written_again)
    assert written.cells().tolist() == written_again.cells().tolist()


def test_a_chunk_grows_with_its_rows() -> None:
    ring = Ring(3, 10_000)
    row = np.zeros((1, 3), dtype=np.int64)
    rooms = []
    for _ in range(CHUNK_ROWS + 1):
        ring.append(row)
        rooms.append(sum(len(chunk) for chunk in ring.view().chunks))
    assert rooms[0] == FIRST_ROWS
    assert max(room / (n + 1) for n, room in enumerate(rooms[FIRST_ROWS:], FIRST_ROWS)) <= 2
    assert rooms[-2:] == [CHUNK_ROWS, CHUNK_ROWS + FIRST_ROWS]
