"""Mutated buffers: no hang, no foreign exception, memory bounded by the octets that are there."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable

import pytest

from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, DataType
from blathy.cosem.captured_items import CapturedItem, parse_items
from blathy.cosem.classes import CLASSES, interface_class
from blathy.cosem.columns import OutColumn, decode_profile, encode_compact_profile, encode_profile
from blathy.cosem.compact_data import build_template, decode_buffer, encode_buffer
from blathy.cosem.cosem_time import CosemDateTime, date_of, date_time_of, time_of
from blathy.cosem.objectlist import (
    ScalerUnit,
    ShortName,
    build_object_list,
    build_short_names,
    parse_object,
    parse_object_list,
    parse_short_names,
    select_objects,
)
from blathy.cosem.recorded_rows import RecordedRows
from blathy.cosem.selective import (
    CLOCK,
    CaptureObject,
    EntryDescriptor,
    RangeDescriptor,
    parse_capture_objects,
    parse_selection,
)
from blathy.cosem.status import status_value
from blathy.cosem.time_columns import encode_times
from blathy.obis import Obis
from blathy.quantity import Unit
from tests.mutations import IN_SUITE, ON_REQUEST, endure, lines_run

ZONE = Zone("Europe/Budapest")
CAPTURES = (CLOCK, *(CaptureObject(3, Obis(1, 0, i, 8, 0)) for i in (1, 2, 3)))


def _profile(rows: int, *, nulls: bool) -> list[OutColumn]:
    import numpy as np

    moments = 1_774_692_000 + 900 * np.arange(rows)
    mask = np.arange(rows) % 3 == 1
    return [
        OutColumn(DataType.OCTET_STRING, encode_times(moments, ZONE), mask if nulls else None),
        OutColumn(DataType.UNSIGNED, np.arange(rows) % 5, mask if nulls else None),
        OutColumn(DataType.DOUBLE_LONG_UNSIGNED, np.arange(rows) * 7),
        OutColumn(DataType.LONG, np.arange(rows) - 3, ~mask if nulls else None),
    ]


def _structures(*rows: axdr.Data) -> bytes:
    return axdr.encode(axdr.array(*rows))


STAMP = bytes.fromhex("07ea0b15060c000000ffc400")
OBJECT = axdr.structure(
    axdr.u16(8),
    axdr.u8(0),
    axdr.octets(bytes(6)),
    axdr.structure(
        axdr.array(axdr.structure(axdr.i8(2), axdr.enum(1), axdr.array(axdr.i8(1)))),
        axdr.array(axdr.structure(axdr.i8(1), axdr.enum(1))),
    ),
)
ITEM = axdr.structure(
    axdr.u16(3),
    axdr.octets(Obis(1, 0, 1, 8, 0)),
    axdr.i8(2),
    axdr.u16(0),
    axdr.structure(axdr.enum(0), axdr.null(), axdr.null()),
    axdr.array(),
)
BY_DATE = CapturedItem(CAPTURES[1], 1, STAMP[:5], STAMP[:5], CAPTURES[:2])
BY_ENTRY = CapturedItem(CAPTURES[1], 2, 1, 7)
PROFILES = (
    encode_profile(_profile(3, nulls=False)),
    encode_profile(_profile(4, nulls=True)),
    encode_compact_profile(_profile(3, nulls=False)),
)
OBJECTS = (
    build_object_list([parse_object(OBJECT, 3)] * 2),
    _structures(OBJECT),
)
NAMES = (build_short_names([ShortName(0xFA00, 12, 4, Obis(0, 0, 40, 0, 0))] * 2),)
IDENTIFIED = (
    axdr.encode(axdr.structure(axdr.u16(8), axdr.octets(bytes(6)))),
    _structures(axdr.structure(axdr.u16(8), axdr.octets(bytes(6)))),
    _structures(axdr.u16(8), axdr.u16(3)),
)
ITEMS = (_structures(ITEM), _structures(BY_DATE.data(6), BY_ENTRY.data(5), BY_ENTRY.data(4)))
SELECTIONS = (
    RangeDescriptor.between(
        CosemDateTime.of(STAMP), CosemDateTime.of(STAMP), CAPTURES[:2]
    ).encode(),
    RangeDescriptor(CLOCK, axdr.date_time(STAMP), axdr.date_time(STAMP)).encode(),
    EntryDescriptor(1, 7, 2, 3).encode(),
)
TYPED = (
    bytes.fromhex("13 02 02 12 11 06 00 0A 01 00 0B 02"),
    bytes.fromhex("13 01 00 03 02 02 12 09 0C 00 01 01 AA 00 02 00 00 03 01 BB"),
)
DESCRIPTIONS = (
    bytes.fromhex("02 04 12 11 06 09"),
    bytes.fromhex("01 00 03 02 02 12 09"),
    bytes.fromhex("01 00 02 01 00 02 11"),
)
TEMPLATE = axdr.structure(axdr.u8(3), axdr.octets(STAMP), axdr.u32(1337), axdr.i16(-2))
COMPACT = tuple(
    bytes((len(description),)) + description + encode_buffer(values)
    for values in (TEMPLATE.value, (axdr.u8(1), axdr.array(axdr.u16(5), axdr.u16(6))))
    for description in (build_template(values),)
)
MOMENTS = (
    axdr.encode(axdr.date_time(STAMP)),
    axdr.encode(axdr.date(STAMP[:5])),
    axdr.encode(axdr.octets(STAMP)),
    axdr.encode(axdr.time(STAMP[5:9])),
)
WORDS = (
    axdr.encode(axdr.bits("10101")),
    axdr.encode(axdr.octets(b"\x00\x80\x01\x00")),
    axdr.encode(axdr.visible("0000A1")),
    axdr.encode(axdr.u32(0x8001)),
)
SCALERS = (ScalerUnit(-1, Unit.V).encode(), ScalerUnit(3, Unit.WH).encode())
SIMPLE = (
    b"\x02\x02\x06\x12" + bytes.fromhex("00000539000a"),
    axdr.encode(
        axdr.structure(axdr.bits("10101"), axdr.utf8("é"), axdr.float64(1.5), axdr.i64(-1))
    ),
)
CAPTURED = (_structures(CLOCK.data(), CAPTURES[1].data()),)
SEEDS = (
    *PROFILES, *OBJECTS, *NAMES, *IDENTIFIED, *ITEMS, *SELECTIONS, *TYPED, *MOMENTS, *WORDS,
    *SCALERS, *SIMPLE, *CAPTURED,
)  # fmt: skip


def _decode_all(raw: bytes) -> None:
    data, end = axdr.decode_prefix(raw)
    assert axdr.skip(raw) == end
    axdr.encode(data)


def _decode_profile(raw: bytes) -> None:
    profile = decode_profile(raw, CAPTURES)
    profile.times(ZONE, 900)


def _descriptions(raw: bytes) -> None:
    description, _ = axdr.decode_description(raw)
    again, _ = axdr.decode_description(axdr.encode_description(description))
    assert again == description


def _compact_data(raw: bytes) -> None:
    """Length and octets of a template, then a buffer, as a meter might send them."""
    end = 1 + (raw[0] if raw else 0)
    template, buffer = raw[1:end], raw[end:]
    octets = encode_buffer(decode_buffer(template, buffer))
    assert encode_buffer(decode_buffer(template, octets)) == octets


def _rows(raw: bytes) -> None:
    rows = RecordedRows(raw, CAPTURES, 900)
    rows.times()
    assert len(decode_profile(rows.encode(range(len(rows))), CAPTURES)) == len(rows)


def _dates(raw: bytes) -> None:
    data = axdr.decode_prefix(raw)[0]
    for read in (date_time_of, date_of, time_of):
        with contextlib.suppress(AxdrError):
            assert str(read(data))


def _by_class(raw: bytes) -> None:
    """Every attribute of a class judges any value, and says something of it."""
    data = axdr.decode_prefix(raw)[0]
    for attribute in interface_class(CLASS_IDS[len(raw) % len(CLASS_IDS)]).attributes:
        attribute.type.accepts(data)
        attribute.type.plain(data)


CLASS_IDS = sorted(CLASSES)
PARSERS: dict[str, tuple[Callable[[bytes], object], tuple[bytes, ...]]] = {
    "axdr": (_decode_all, SEEDS),
    "profile": (_decode_profile, PROFILES),
    "capture objects": (parse_capture_objects, CAPTURED),
    "object list": (parse_object_list, OBJECTS),
    "short names": (parse_short_names, NAMES),
    "objects selected": (lambda raw: select_objects((), 1 + len(raw) % 4, raw), IDENTIFIED),
    "scaler and unit": (lambda raw: ScalerUnit.of(raw).quantity(axdr.u32(1337)), SCALERS),
    "items pushed or captured": (lambda raw: parse_items(axdr.decode_prefix(raw)[0]), ITEMS),
    "type description": (_descriptions, DESCRIPTIONS),
    "compact data": (_compact_data, COMPACT),
    "recorded rows": (_rows, PROFILES),
    "dates and times": (_dates, MOMENTS),
    "attributes by class": (_by_class, SEEDS),
    "status word": (lambda raw: status_value(axdr.decode_prefix(raw)[0]), WORDS),
    "selection": (lambda raw: parse_selection(1 + (len(raw) & 1), raw), SELECTIONS),
    "date-time": (lambda raw: CosemDateTime.of(raw[:12]).utc(ZONE), (STAMP,)),
}
"""Name -> parser and what it is meant for; a part of what it gets is meant for another one."""


def _run(name: str, count: int) -> None:
    parse, own = PARSERS[name]
    seeds = [*own * (len(SEEDS) // len(own)), *SEEDS]
    endure(name, parse, seeds, count, AxdrError, forgets=True)


@pytest.mark.parametrize("name", list(PARSERS))
def test_mutated_buffers(name: str) -> None:
    _run(name, IN_SUITE)


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(PARSERS))
def test_a_million_mutated_buffers(name: str) -> None:
    _run(name, ON_REQUEST)


def test_memory_is_bounded_by_the_octets_that_are_there() -> None:
    lies = (
        b"\x01\x84\xff\xff\xff\xff" + b"\x02\x04" * 100,
        b"\x09\x84\xff\xff\xff\xff" + bytes(200),
        b"\x13\x01\xff\xff" * 30 + b"\x11\x84\xff\xff\xff\xff" + bytes(200),
        b"\x13\x02\x02\x01\xff\xff\x00\x11\x81\xc8" + bytes(200),
        b"\x13\x01\xff\xff\x01\xff\xff\x01\xff\xff\x11\x81\xc8" + bytes(200),
    )
    for lie in lies:
        for parse in (_decode_all, _decode_profile):
            tracemalloc.start()
            with pytest.raises(AxdrError):
                parse(lie)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak < 2_000_000


LINES_A_ROW = 700  # a search upwards from every row of the longer one would run more


@pytest.mark.parametrize("rows", [500, 2_000])
def test_rows_that_lean_on_one_far_above_are_read_in_time(rows: int) -> None:
    """Null-data means "as above"; nothing is searched again for every row."""
    first = axdr.encode(axdr.structure(axdr.octets(STAMP), axdr.u8(5), axdr.u32(1), axdr.i16(1)))
    raw = b"\x01\x82" + rows.to_bytes(2, "big") + first + b"\x02\x04\0\0\0\0" * (rows - 1)

    def read() -> None:
        kept = RecordedRows(raw, CAPTURES, 900)
        times = kept.times()
        assert kept.row(rows - 1)[2] == axdr.u32(1)
        assert times[0] is not None
        assert times[-1] == times[0] + (rows - 1) * 900
        kept.append((axdr.null(),) * 4, rows)
        assert kept.times() == [*times[1:], times[-1] + 900]

    lines_run(read, LINES_A_ROW * rows)
