"""Selective access on every profile, billing archive and log of every model: by range of every
captured column, by entries and by columns, compared with the whole buffer."""

from __future__ import annotations

from typing import Any

import pytest

from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.selective import (
    CaptureObject,
    EntryDescriptor,
    RangeDescriptor,
    parse_capture_objects,
)
from blathy.cosem.service import AccessError, AttributeRef, DataAccessResult
from blathy.meter.meter import Meter
from blathy.models import LABORATORY, MODELS
from blathy.registers.block import Incident
from tests.meter.running import DAY_S, START_S, made, who
from tests.meter.simple_load import ConstantLoad

KEYS = sorted(MODELS | LABORATORY)
METERS: dict[str, Meter] = {}
Rows = list[tuple[Any, ...]]


def shared(key: str) -> Meter:
    """A day with a few events, so that logs and archives hold rows as well."""
    if key not in METERS:
        meter = METERS[key] = made(key)
        phases = len(meter.model.phases)
        names = {name for log in meter.model.logs for name in log.codes}
        for half in range(2):
            start = START_S + half * DAY_S // 2
            hours = [Incident(start + 1800 * n, e) for n, e in enumerate(sorted(names)[:20], 1)]
            meter.advance(ConstantLoad(1000 + 200 * half, phases, tuple(hours)), start + DAY_S // 2)
            if meter.model.demand is not None:
                meter.end_billing()
        meter.flush()
    return METERS[key]


def buffers(meter: Meter) -> list[AttributeRef]:
    return [
        AttributeRef(7, item.obis, 2) for item in meter.tree.objects.values() if item.class_id == 7
    ]


CASES = [
    pytest.param(key, ref, id=f"{key}-{ref.obis}") for key in KEYS for ref in buffers(made(key))
]


def read(meter: Meter, ref: AttributeRef, selector: int = 0, parameters: bytes = b"") -> Rows:
    if selector:
        ref = AttributeRef(ref.class_id, ref.obis, ref.attribute, selector, parameters)
    rows = axdr.decode(meter.objects.get(ref, who(meter)))
    assert rows.type is DataType.ARRAY
    return [tuple(field.value for field in row.value) for row in rows.value]


def captures_of(meter: Meter, ref: AttributeRef) -> tuple[CaptureObject, ...]:
    raw = meter.objects.get(AttributeRef(7, ref.obis, 3), who(meter))
    return parse_capture_objects(raw)


def types_of(meter: Meter, ref: AttributeRef) -> list[DataType]:
    rows = axdr.decode(meter.objects.get(ref, who(meter))).value
    return [field.type for field in rows[0].value] if rows else []


@pytest.mark.parametrize(("key", "ref"), CASES)
def test_a_range_of_any_captured_column_gives_exactly_its_rows(key: str, ref: AttributeRef) -> None:
    meter = shared(key)
    captures, whole = captures_of(meter, ref), read(meter, ref)
    if not whole:
        clock = next(c for c in captures if c.is_clock)
        times = [CosemDateTime.from_utc(at, meter.zone) for at in (START_S, START_S + DAY_S)]
        chosen = RangeDescriptor.between(times[0], times[1], restricting=clock)
        assert read(meter, ref, 1, chosen.encode()) == []
        return
    types = types_of(meter, ref)
    for at, capture in enumerate(captures):
        shown = [row[at] for row in whole if row[at] is not None]
        if capture.is_clock:
            times = sorted(int(CosemDateTime.of(value).utc()) for value in shown)
            low, high = times[len(times) // 4], times[3 * len(times) // 4]
            first = CosemDateTime.from_utc(low, meter.zone)
            last = CosemDateTime.from_utc(high, meter.zone)
            chosen = RangeDescriptor.between(first, last, restricting=capture)
            expected = [row for row in whole if low <= int(CosemDateTime.of(row[at]).utc()) <= high]
        elif types[at] in axdr.INTEGER_TYPES and len(shown) == len(whole):
            ordered = sorted(shown)
            low, high = ordered[len(ordered) // 4], ordered[3 * len(ordered) // 4]
            bounds = (Data(types[at], low), Data(types[at], high))
            chosen = RangeDescriptor(capture, *bounds)
            expected = [row for row in whole if low <= row[at] <= high]
        else:
            chosen = RangeDescriptor(capture, axdr.u32(0), axdr.u32(1))
            with pytest.raises(AccessError) as refused:  # never the whole buffer instead
                read(meter, ref, 1, chosen.encode())
            assert refused.value.result is DataAccessResult.SCOPE_OF_ACCESS_VIOLATED
            continue
        assert read(meter, ref, 1, chosen.encode()) == expected, str(capture)


@pytest.mark.parametrize(("key", "ref"), CASES)
def test_entries_and_columns_are_counted_from_one(key: str, ref: AttributeRef) -> None:
    meter = shared(key)
    whole, columns = read(meter, ref), len(captures_of(meter, ref))
    count = len(whole)
    for first, last in ((1, 1), (2, 5), (count, count), (2, 0), (1, count + 9), (count + 1, 0)):
        if first < 1:
            continue
        found = read(meter, ref, 2, EntryDescriptor(first, last).encode())
        assert found == whole[first - 1 : last or None], (first, last)
    middle = (2, columns - 1) if columns > 2 else (1, 1)
    part = read(meter, ref, 2, EntryDescriptor(1, 3, *middle).encode())
    assert part == [row[middle[0] - 1 : middle[1]] for row in whole[:3]]
    last_column = read(meter, ref, 2, EntryDescriptor(1, 3, columns, 0).encode())
    assert last_column == [row[columns - 1 :] for row in whole[:3]]


@pytest.mark.parametrize(("key", "ref"), CASES)
def test_a_range_may_choose_columns(key: str, ref: AttributeRef) -> None:
    meter = shared(key)
    captures, whole = captures_of(meter, ref), read(meter, ref)
    clock = next((c for c in captures if c.is_clock), None)
    assert clock is not None, "a profile without a clock"
    first = CosemDateTime.from_utc(START_S - 1, meter.zone)
    last = CosemDateTime.from_utc(START_S + 9 * DAY_S, meter.zone)
    wanted = (captures[-1], clock)
    chosen = RangeDescriptor.between(first, last, wanted, clock)
    found = read(meter, ref, 1, chosen.encode())
    at = sorted({len(captures) - 1, captures.index(clock)})
    assert found in (
        [tuple(row[n] for n in at) for row in whole],
        [(row[-1], row[captures.index(clock)]) for row in whole],
    )


@pytest.mark.parametrize(("key", "ref"), CASES)
def test_a_column_that_is_not_captured_is_no_restriction(key: str, ref: AttributeRef) -> None:
    meter = shared(key)
    other = CaptureObject(3, meter.model.clock.obis, 2)
    with pytest.raises(AccessError) as refused:
        read(meter, ref, 1, RangeDescriptor(other, axdr.u32(0), axdr.u32(9)).encode())
    assert refused.value.result is DataAccessResult.SCOPE_OF_ACCESS_VIOLATED
    for selector in (3, 7, 255):
        with pytest.raises(AccessError) as refused:
            read(meter, ref, selector, EntryDescriptor(1, 0).encode())
        assert refused.value.result is DataAccessResult.SCOPE_OF_ACCESS_VIOLATED
