"""Range and entry descriptors: bytes that two libraries write, and what they select."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blathy.clock import Zone, iso_utc
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError
from blathy.cosem.cosem_time import CosemDateTime, CosemTimeError
from blathy.cosem.selective import (
    CLOCK,
    NOTHING,
    CaptureObject,
    EntryDescriptor,
    RangeDescriptor,
    SelectiveAccessError,
    build_capture_objects,
    element_of,
    parse_capture_objects,
    parse_selection,
    selected_columns,
)
from blathy.obis import Obis

ENERGY = CaptureObject(3, Obis.parse("1-0:1.8.0"))
STATUS = CaptureObject(1, Obis.parse("0-0:96.10.1"))
COLUMNS = (CLOCK, STATUS, ENERGY)
RANGE = bytes.fromhex(
    "0204 0204 120008 0906 0000010000FF 0F02 120000"
    "090C 07E50101FF00000000FFC400 090C 07E50102FF00000000FFC400 0100".replace(" ", "")
)
ENTRY = bytes.fromhex("0204060000000106000 0000A120001120000".replace(" ", ""))

captures = st.builds(
    CaptureObject,
    st.integers(0, 0xFFFF),
    st.binary(min_size=6, max_size=6).map(Obis.of),
    st.integers(-128, 127),
    st.integers(0, 0xFFFF),
)


def test_the_range_descriptor_that_two_libraries_write() -> None:
    selection = parse_selection(1, RANGE)
    assert isinstance(selection, RangeDescriptor)
    assert selection.restricting == CLOCK
    assert [iso_utc(bound) for bound in selection.utc_bounds()] == [
        "2020-12-31T23:00:00Z",
        "2021-01-01T23:00:00Z",
    ]
    assert selection.encode() == RANGE
    built = RangeDescriptor.between(
        CosemDateTime.of(bytes.fromhex("07E50101FF00000000FFC400")),
        CosemDateTime.of(bytes.fromhex("07E50102FF00000000FFC400")),
    )
    assert built.encode() == RANGE


def test_bounds_may_be_date_times_and_lack_a_deviation() -> None:
    zone = Zone("Europe/Budapest")
    first, last = (
        CosemDateTime.from_utc(moment, zone) for moment in (1_800_000_000, 1_800_086_400)
    )
    tagged = RangeDescriptor.between(first, last, tagged=True)
    assert tagged.first.type is axdr.DataType.DATE_TIME
    assert parse_selection(1, tagged.encode()) == tagged
    assert tagged.utc_bounds() == (1_800_000_000, 1_800_086_400)
    naive = CosemDateTime.of(first.raw()[:9] + b"\x80\x00\xff")
    selection = RangeDescriptor.between(naive, naive)
    assert selection.utc_bounds(zone) == (1_800_000_000, 1_800_000_000)
    with pytest.raises(CosemTimeError):
        selection.utc_bounds()


def test_a_range_over_numbers() -> None:
    selection = RangeDescriptor(ENERGY, axdr.u32(10), axdr.u16(20))
    assert parse_selection(1, selection.encode()) == selection
    assert selection.bounds() == (10, 20)


def test_the_entry_descriptor_of_the_facts() -> None:
    selection = parse_selection(2, ENTRY)
    assert selection == EntryDescriptor(1, 10, 1, 0)
    assert selection.encode() == ENTRY


@pytest.mark.parametrize(
    ("first", "last", "entries", "rows"),
    [
        (1, 0, 5, [0, 1, 2, 3, 4]),
        (2, 3, 5, [1, 2]),
        (4, 99, 5, [3, 4]),
        (6, 0, 5, []),
        (3, 2, 5, []),
        (0, 2, 5, [0, 1]),
        (1, 0, 0, []),
    ],
)
def test_entries_count_from_one_and_zero_is_the_end(
    first: int, last: int, entries: int, rows: list[int]
) -> None:
    assert list(EntryDescriptor(first, last).rows(entries)) == rows


def test_selected_columns() -> None:
    assert selected_columns(COLUMNS, None) == (0, 1, 2)
    assert selected_columns(COLUMNS, EntryDescriptor(1, 0, 2, 3)) == (1, 2)
    everything = RangeDescriptor(CLOCK, axdr.octets(bytes(12)), axdr.octets(bytes(12)))
    assert selected_columns(COLUMNS, everything) == (0, 1, 2)
    some = RangeDescriptor(CLOCK, everything.first, everything.last, (ENERGY, CLOCK))
    assert selected_columns(COLUMNS, some) == (0, 2)
    other = RangeDescriptor(CLOCK, everything.first, everything.last, (NOTHING,))
    with pytest.raises(SelectiveAccessError, match="not captured"):
        selected_columns(COLUMNS, other)


@given(st.lists(captures, max_size=8))
def test_capture_objects_come_back(listed: list[CaptureObject]) -> None:
    assert parse_capture_objects(build_capture_objects(listed)) == tuple(listed)


def test_capture_objects_of_old_profiles_have_no_data_index() -> None:
    old = axdr.array(axdr.structure(axdr.u16(3), axdr.octets(ENERGY.obis), axdr.i8(2)))
    assert parse_capture_objects(axdr.encode(old)) == (ENERGY,)
    assert str(ENERGY) == "1-0:1.8.0/3.2"
    assert str(ENERGY._replace(data_index=4)) == "1-0:1.8.0/3.2[4]"


@given(st.integers(1, 2), st.binary(max_size=80))
def test_any_parameters_are_a_selection_or_an_axdr_error(selector: int, raw: bytes) -> None:
    try:
        selection = parse_selection(selector, raw)
    except AxdrError:
        return
    assert parse_selection(selector, selection.encode()) == selection


@pytest.mark.parametrize(
    ("selector", "data"),
    [
        (3, axdr.null()),
        (1, axdr.null()),
        (1, axdr.structure(CLOCK.data(), axdr.u8(1), axdr.u8(2))),
        (1, axdr.structure(CLOCK.data(), axdr.u8(1), axdr.u8(2), axdr.null())),
        (1, axdr.structure(CLOCK.data(), axdr.array(), axdr.u8(2), axdr.array())),
        (1, axdr.structure(axdr.u8(1), axdr.u8(1), axdr.u8(2), axdr.array())),
        (2, axdr.structure(axdr.u32(1), axdr.u32(2), axdr.u16(1))),
        (2, axdr.structure(axdr.u32(1), axdr.visible("2"), axdr.u16(1), axdr.u16(0))),
    ],
)
def test_wrong_parameters_are_refused(selector: int, data: axdr.Data) -> None:
    with pytest.raises(SelectiveAccessError):
        parse_selection(selector, axdr.encode(data))


def test_capture_objects_must_be_an_array_of_names() -> None:
    for wrong in (
        axdr.null(),
        axdr.array(axdr.structure(axdr.u16(3), axdr.octets(b"short"), axdr.i8(2), axdr.u16(0))),
    ):
        with pytest.raises(SelectiveAccessError):
            parse_capture_objects(wrong)


def test_data_index_names_an_element() -> None:
    pair = axdr.structure(axdr.u8(1), axdr.u8(2))
    assert element_of(pair, 0) == pair
    assert element_of(pair, 2) == axdr.u8(2)
    for value, index in ((pair, 3), (axdr.u8(1), 1), (axdr.octets(b"ab"), 1)):
        with pytest.raises(SelectiveAccessError):
            element_of(value, index)
