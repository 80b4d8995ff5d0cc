"""The meter-channel-day keeps exactly what was put in, and notices damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blathy.headend.readings.packing import DayRecord, ValueSource, pack, unpack

SOURCES = st.sampled_from([s.value for s in ValueSource])
VALUES = st.integers(-(2**62), 2**62)


@settings(deadline=None)
@given(st.lists(st.tuples(VALUES, st.integers(0, 255), SOURCES), min_size=1, max_size=100))
def test_a_day_comes_back_as_it_was(cells: list[tuple[int, int, int]]) -> None:
    record = DayRecord(
        np.array([c[0] for c in cells], np.int64),
        np.array([c[1] for c in cells], np.uint8),
        np.array([c[2] for c in cells], np.uint8),
    )
    record.values[~record.present] = 0
    packed = pack(record)
    back = unpack(len(cells), packed.first, packed.payload, packed.status, packed.sources)
    assert (back.values == record.values).all()
    assert (back.status == record.status).all()
    assert (back.sources == record.sources).all()


def test_a_quiet_household_day_is_small() -> None:
    rng = np.random.default_rng(1)
    record = DayRecord(
        np.cumsum(rng.integers(20, 200, 96)).astype(np.int64),
        np.zeros(96, np.uint8),
        np.full(96, ValueSource.METER, np.uint8),
    )
    packed = pack(record)
    assert len(packed.payload) + len(packed.status) + len(packed.sources) < 200


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_a_damaged_day_is_noticed(cut: int) -> None:
    record = DayRecord(
        np.arange(96, dtype=np.int64) ** 2,
        np.zeros(96, np.uint8),
        np.full(96, ValueSource.METER, np.uint8),
    )
    packed = pack(record)
    with pytest.raises(ValueError, match="damaged"):
        unpack(96, packed.first, packed.payload[:1] + packed.payload[2 + cut :], b"", b"\x01")
    with pytest.raises(ValueError, match="damaged"):
        unpack(97, packed.first, packed.payload, packed.status, packed.sources)
