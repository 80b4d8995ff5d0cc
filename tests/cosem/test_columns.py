"""Profiles as columns: all ways through the bytes agree, and null-data never shifts a column."""

from __future__ import annotations

import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blathy.clock import Zone
from blathy.cosem import axdr
from blathy.cosem import profile_decoding as decoding
from blathy.cosem.axdr import AxdrError, Data, DataType, TypeDescription
from blathy.cosem.columns import (
    OutColumn,
    ProfileError,
    decode_profile,
    encode_compact_profile,
    encode_profile,
    periodic,
    repeats,
)
from blathy.cosem.selective import CLOCK, CaptureObject
from blathy.cosem.time_columns import encode_times
from blathy.obis import Obis
from tests.cosem.strategies import SIMPLE, of_type

ZONE = Zone("Europe/Budapest")
STATUS = CaptureObject(1, Obis.parse("0-0:96.10.1"))
IMPORT = CaptureObject(3, Obis.parse("1-0:1.8.0"))
EXPORT = CaptureObject(3, Obis.parse("1-0:2.8.0"))
CAPTURES = (CLOCK, STATUS, IMPORT, EXPORT)
START = 1_774_692_000  # a quarter of an hour on 2026-03-28: the clock turns within the profile


def rows_of(*listed: tuple[Data, ...]) -> bytes:
    return axdr.encode(axdr.array_of(axdr.structure(*row) for row in listed))


def quarter_hours(rows: int) -> np.ndarray:
    return START + 900 * np.arange(rows, dtype=np.int64)


def generated(rows: int = 2880) -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    return {
        "utc_s": quarter_hours(rows),
        "status": random.integers(0, 3, rows),
        "import": 4_000_000_000 + np.cumsum(random.integers(0, 900, rows)),
        "export": np.cumsum(random.integers(0, 2, rows)),
    }


def out_columns(table: dict[str, np.ndarray], *, compressed: bool) -> list[OutColumn]:
    export, status = table["export"], table["status"]
    masks = (
        (periodic(table["utc_s"], 900), repeats(status), repeats(export))
        if compressed
        else (None, None, None)
    )
    return [
        OutColumn(DataType.OCTET_STRING, encode_times(table["utc_s"], ZONE), masks[0]),
        OutColumn(DataType.UNSIGNED, status, masks[1]),
        OutColumn(DataType.DOUBLE_LONG_UNSIGNED, table["import"]),
        OutColumn(DataType.DOUBLE_LONG_UNSIGNED, export, masks[2]),
    ]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_month_of_quarter_hours_comes_back(compressed: bool) -> None:
    table = generated()
    profile = decode_profile(encode_profile(out_columns(table, compressed=compressed)), CAPTURES)
    assert profile.layout == ("mixed layouts" if compressed else "one layout")
    assert len(profile) == 2880
    assert (profile[STATUS] == table["status"]).all()
    assert (profile["1-0:1.8.0"] == table["import"]).all()
    assert (profile[Obis.parse("1-0:2.8.0")] == table["export"]).all()
    times = profile.times(period_s=900)
    assert (times.utc_s == table["utc_s"]).all()
    assert times.valid.all()
    assert times.reconstructed.sum() == (2879 if compressed else 0)
    assert (times.datetime64().astype(np.int64) == table["utc_s"]).all()


def test_encoding_is_what_the_general_encoder_writes() -> None:
    table = generated(200)
    stamps = encode_times(table["utc_s"], ZONE)
    listed = [
        (axdr.octets(stamp.tobytes()), axdr.u8(int(s)), axdr.u32(int(a)), axdr.u32(int(b)))
        for stamp, s, a, b in zip(
            stamps, table["status"], table["import"], table["export"], strict=True
        )
    ]
    assert encode_profile(out_columns(table, compressed=False)) == rows_of(*listed)


def test_compact_arrays_hold_the_same_table() -> None:
    table = generated(300)
    raw = encode_compact_profile(out_columns(table, compressed=False))
    assert axdr.encode(axdr.decode(raw)) == raw
    profile = decode_profile(raw, CAPTURES)
    assert profile.layout == "one layout"
    assert (profile[IMPORT] == table["import"]).all()
    assert (profile.times().utc_s == table["utc_s"]).all()


def test_null_data_keeps_its_place() -> None:
    """dlms-cosem 25.1.0 drops it, and all later columns move left."""
    stamp = axdr.octets(encode_times([START], ZONE)[0].tobytes())
    raw = rows_of(
        (stamp, axdr.u8(0), axdr.u32(100), axdr.u32(7)),
        (axdr.null(), axdr.null(), axdr.u32(200), axdr.null()),
        (axdr.null(), axdr.u8(8), axdr.null(), axdr.u32(9)),
    )
    profile = decode_profile(raw, CAPTURES)
    assert [column.to_list() for column in profile.columns[1:]] == [
        [0, 0, 8],
        [100, 200, 200],
        [7, 7, 9],
    ]
    assert profile.columns[2].null is not None
    assert profile.columns[2].null.tolist() == [False, False, True]
    kept = decode_profile(raw, CAPTURES, fill_nulls=False)
    assert kept.columns[3].to_list() == [7, None, 9]


def test_the_worked_example_of_the_facts() -> None:
    raw = bytes.fromhex("0103020206000000640600000064020200060 00000C802020000".replace(" ", ""))
    profile = decode_profile(raw, (IMPORT, EXPORT))
    assert list(profile.rows()) == [(100, 100), (100, 200), (100, 200)]


def test_times_are_reconstructed_only_on_request_and_marked() -> None:
    stamps = [axdr.octets(row.tobytes()) for row in encode_times([START, START + 3600], ZONE)]
    raw = rows_of(*[(stamp,) for stamp in (axdr.null(), stamps[0], axdr.null(), stamps[1])])
    profile = decode_profile(raw, (CLOCK,))
    plain = profile.times()
    assert plain.valid.tolist() == [False, True, False, True]
    assert not plain.reconstructed.any()
    assert np.isnat(plain.datetime64()).tolist() == [True, False, True, False]
    asked = profile.times(period_s=900)
    assert asked.valid.tolist() == [False, True, True, True]
    assert asked.reconstructed.tolist() == [False, False, True, False]
    assert asked.utc_s.tolist()[1:] == [START, START + 900, START + 3600]


def test_leading_nulls_and_columns_of_nulls_are_missing() -> None:
    raw = rows_of((axdr.null(), axdr.null()), (axdr.u8(5), axdr.null()), (axdr.null(), axdr.null()))
    profile = decode_profile(raw, (IMPORT, EXPORT))
    assert list(profile.rows()) == [(None, None), (5, None), (5, None)]


def test_types_may_change_within_a_column() -> None:
    raw = rows_of(
        (axdr.u16(1), axdr.i8(-1)), (axdr.u32(70_000), axdr.u16(9)), (axdr.u64(2**40), axdr.null())
    )
    profile = decode_profile(raw, (IMPORT, EXPORT))
    assert profile.layout == "mixed layouts"
    assert list(profile.rows()) == [(1, -1), (70_000, 9), (2**40, 9)]


def test_signed_beside_u64_is_exact() -> None:
    raw = rows_of((axdr.i64(-5),), (axdr.u64(2**64 - 1),))
    assert list(decode_profile(raw, (IMPORT,)).rows()) == [(-5,), (2**64 - 1,)]


def test_delta_values_add_up_from_the_last_absolute_one() -> None:
    up = DataType.DELTA_UNSIGNED
    raw = rows_of(
        (axdr.u32(1000),),
        (Data(up, 5),),
        (axdr.null(),),
        (Data(DataType.DELTA_INTEGER, -3),),
        (axdr.u32(50),),
        (Data(up, 1),),
    )
    profile = decode_profile(raw, (IMPORT,))
    assert profile.columns[0].to_list() == [1000, 1005, 1005, 1002, 50, 51]
    unanchored = decode_profile(rows_of((Data(up, 5),), (axdr.u32(9),)), (IMPORT,))
    assert unanchored.columns[0].to_list() == [None, 9]


def test_rows_with_structures_take_the_general_way() -> None:
    pair = axdr.structure(axdr.u8(1), axdr.u8(2))
    profile = decode_profile(rows_of((axdr.u8(7), pair), (axdr.null(), pair)), (STATUS, IMPORT))
    assert profile.layout == "general"
    assert list(profile.rows()) == [(7, pair), (7, pair)]


def test_event_logs_with_texts_decode() -> None:
    raw = rows_of(
        (axdr.octets(bytes(12)), axdr.u16(4), axdr.visible("cover")),
        (axdr.octets(bytes(12)), axdr.u16(5), axdr.visible("magnet!")),
        (axdr.octets(bytes(12)), axdr.u16(6), axdr.null()),
    )
    profile = decode_profile(raw, (CLOCK, STATUS, IMPORT))
    assert profile.columns[2].to_list() == ["cover", "magnet!", "magnet!"]
    assert not profile.times().valid.any()


def test_an_empty_profile_has_empty_columns() -> None:
    for raw in (b"\x01\x00", bytes.fromhex("1302041106060600")):
        profile = decode_profile(raw, CAPTURES)
        assert len(profile) == 0
        assert list(profile.rows()) == []
        assert len(profile.times().utc_s) == 0
        assert profile.to_csv().count("\n") == 1


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "00",
        "0201 11 05",  # a structure
        "01 01 11 05",  # rows that are no structures
        "01 01 02 03 11 05 11 06 11 07",  # three values for two captures
        "01 02 02 02 11 05 11 06 02 03 11 05 11 06 11 07",
        "01 01 02 02 11 05",
        "01 02 02 02 11 05 11 06",
        "01 00 00",
        "01 01 02 02 11 05 11 06 00",
        "01 84 FF FF FF FF 02 02 11 05 11 06",
        "13 02 02 11 12 02 05 06",  # half a row
        "13 02 01 11 01 05",
        "13 02 02 11 12 03 05 06",
    ],
)
def test_what_is_no_such_profile_is_refused(raw: str) -> None:
    with pytest.raises(AxdrError):
        decode_profile(bytes.fromhex(raw.replace(" ", "")), (IMPORT, EXPORT))


def test_wrong_capture_objects_are_named_as_the_cause() -> None:
    with pytest.raises(ProfileError, match="read the capture objects of this profile again"):
        decode_profile(rows_of((axdr.u8(1), axdr.u8(2))), (IMPORT,))
    with pytest.raises(ProfileError, match="at least one"):
        decode_profile(b"\x01\x00", ())


def _reference(rows: list[list[Data]], captures: tuple[CaptureObject, ...]) -> list[list[object]]:
    """What the columns must hold, value by value."""
    filled: list[list[object]] = [[] for _ in captures]
    for row in rows:
        for column, capture, data in zip(filled, captures, row, strict=True):
            if data.type in (DataType.NULL_DATA, DataType.DONT_CARE):
                repeat = column[-1] if column and not capture.is_clock else None
                column.append(repeat)
            elif data.type is DataType.BOOLEAN:
                column.append(int(data.value))
            else:
                column.append(data.value)
    return filled


_PLAIN = st.sampled_from(
    sorted(
        set(DataType)
        - axdr.DELTA_TYPES
        - {DataType.ARRAY, DataType.STRUCTURE, DataType.COMPACT_ARRAY}
        - axdr.FLOAT_TYPES
    )
)


@st.composite
def tables(draw: st.DrawFn) -> list[list[Data]]:
    width = draw(st.integers(1, 5))
    kinds = [draw(st.lists(_PLAIN, min_size=1, max_size=3)) for _ in range(width)]
    count = draw(st.integers(1, 12))
    return [
        [draw(st.sampled_from(choice).flatmap(of_type)) for choice in kinds] for _ in range(count)
    ]


@given(tables())
@settings(max_examples=100)
def test_mixed_tables_equal_the_value_by_value_reading(table: list[list[Data]]) -> None:
    captures = tuple(CaptureObject(1, Obis(1, 0, i, 8, 0)) for i in range(len(table[0])))
    profile = decode_profile(rows_of(*map(tuple, table)), captures)
    expected = _reference(table, captures)
    for column, values in zip(profile.columns, expected, strict=True):
        assert [_comparable(value) for value in column.to_list()] == [
            _comparable(value) for value in values
        ]


def _comparable(value: object) -> object:
    return (type(value).__name__, value) if not isinstance(value, bool) else ("int", int(value))


@given(tables())
def test_the_three_ways_agree(table: list[list[Data]]) -> None:
    captures = tuple(CaptureObject(1, Obis(1, 0, i, 8, 0)) for i in range(len(table[0])))
    raw = rows_of(*map(tuple, table))
    fast = decode_profile(raw, captures)
    general = decoding._general(axdr.decode(raw).value, len(captures))
    slow = [decoding._finish(c, r, True) for c, r in zip(captures, general, strict=True)]
    assert [column.to_list() for column in fast.columns] == [each.to_list() for each in slow]
    assert [column.type for column in fast.columns] == [each.type for each in slow]


def test_windows_may_cut_rows_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    table = generated(300)
    raw = encode_profile(out_columns(table, compressed=True))
    expected = decode_profile(raw, CAPTURES)
    for window in (1, 7, 40, 64, 1000):
        monkeypatch.setattr(decoding, "WINDOW_OCTETS", window)
        cut = decode_profile(raw, CAPTURES)
        assert cut.layout == "mixed layouts"
        for a, b in zip(cut.columns, expected.columns, strict=True):
            assert (a.values == b.values).all()


@given(st.binary(max_size=120))
def test_any_octets_are_a_profile_or_an_axdr_error(raw: bytes) -> None:
    for prefix in (b"", b"\x01\x02\x02\x02", b"\x01\x01\x02\x02", b"\x13\x02\x02"):
        try:
            profile = decode_profile(prefix + raw, (CLOCK, IMPORT))
        except AxdrError:
            continue
        assert len(list(profile.rows())) == len(profile)
        profile.times(ZONE, 900)


@given(st.lists(SIMPLE, min_size=1, max_size=6), st.integers(1, 5))
def test_compact_arrays_equal_their_general_decoding(row: list[Data], count: int) -> None:
    sized = [d for d in row if d.type not in (DataType.NULL_DATA, DataType.DONT_CARE)]
    if not sized:
        return
    description = TypeDescription(
        DataType.STRUCTURE, tuple(TypeDescription(data.type) for data in sized)
    )
    rows = [axdr.structure(*sized)] * count
    raw = axdr.encode(axdr.compact_array(description, rows))
    captures = tuple(CaptureObject(1, Obis(1, 0, i, 8, 0)) for i in range(len(sized)))
    try:
        profile = decode_profile(raw, captures)
    except AxdrError:
        assert not axdr.decode(raw).value.elements
        return
    general = decoding._general(axdr.decode(raw).value.elements, len(captures))
    slow = [decoding._finish(c, r, True) for c, r in zip(captures, general, strict=True)]
    assert [column.to_list() for column in profile.columns] == [each.to_list() for each in slow]


def test_values_that_do_not_fit_are_refused_when_encoding() -> None:
    cases = [
        [OutColumn(DataType.UNSIGNED, [256])],
        [OutColumn(DataType.UNSIGNED, [-1])],
        [OutColumn(DataType.UNSIGNED, [1.5])],
        [OutColumn(DataType.UNSIGNED, [[1]])],
        [OutColumn(DataType.UNSIGNED, [1]), OutColumn(DataType.UNSIGNED, [1, 2])],
        [OutColumn(DataType.UNSIGNED, [1, 2], np.array([False]))],
        [OutColumn(DataType.DATE_TIME, np.zeros((1, 5), np.uint8))],
        [OutColumn(DataType.VISIBLE_STRING, np.zeros((1, 5), np.uint8))],
        [],
    ]
    for case in cases:
        with pytest.raises(AxdrError):
            encode_profile(case)
        with pytest.raises(AxdrError):
            encode_compact_profile(case)


def test_no_rows_encode_to_an_empty_array() -> None:
    empty = [OutColumn(DataType.UNSIGNED, np.zeros(0, np.uint8))]
    assert encode_profile(empty) == b"\x01\x00"
    assert decode_profile(encode_compact_profile(empty), (IMPORT,)).size == 0


def test_buffers_beyond_32_bit_offsets_take_the_general_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "_FAR", 8)
    profile = decode_profile(rows_of((axdr.u8(1),), (axdr.u16(2),)), (IMPORT,))
    assert profile.layout == "general"
    assert list(profile.rows()) == [(1,), (2,)]


def test_counts_in_a_longer_form_than_needed_are_read() -> None:
    raw = bytes.fromhex("0102 028102 1105 1106 0202 1107 1108".replace(" ", ""))
    profile = decode_profile(raw, (IMPORT, EXPORT))
    assert profile.layout == "general"
    assert list(profile.rows()) == [(5, 6), (7, 8)]


def test_compact_arrays_of_one_column_and_of_strings() -> None:
    single = decode_profile(bytes.fromhex("1311020A0B"), (IMPORT,))
    assert list(single.rows()) == [(10,), (11,)]
    strings = decode_profile(bytes.fromhex("13090703414243024445"), (IMPORT,))
    assert list(strings.rows()) == [(b"ABC",), (b"DE",)]


def test_repeated_and_periodic_rows_never_include_the_first() -> None:
    assert repeats([5]).tolist() == [False]
    assert repeats([5, 5, 6]).tolist() == [False, True, False]
    assert repeats(np.zeros((2, 3))).tolist() == [False, True]
    assert periodic([0, 900, 1000], 900).tolist() == [False, True, False]


def test_equal_texts_and_wrong_clocks() -> None:
    raw = rows_of(*[(axdr.octets(b"?"), axdr.visible("same"))] * 3)
    profile = decode_profile(raw, (CLOCK, IMPORT))
    assert profile.columns[1].to_list() == ["same"] * 3
    assert profile.clock_status() is None
    assert not profile.times().valid.any()
    assert profile.to_csv().splitlines()[1] == ",same"


def test_arrow_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    profile = decode_profile(b"\x01\x00", (IMPORT,))
    with pytest.raises(ImportError, match="pip install"):
        profile.to_arrow()


def test_csv_and_arrow_for_people() -> None:
    stamps = encode_times([START, START + 900], ZONE)
    raw = rows_of(
        (axdr.octets(stamps[0].tobytes()), axdr.u8(0), axdr.null(), axdr.octets(b"\x01\xff")),
        (axdr.octets(stamps[1].tobytes()), axdr.u8(8), axdr.u32(5), axdr.octets(b"\x02")),
    )
    profile = decode_profile(raw, CAPTURES)
    assert profile.to_csv() == (
        "time_utc,0-0:96.10.1,1-0:1.8.0,1-0:2.8.0\n"
        "2026-03-28T10:00:00Z,0,,01ff\n"
        "2026-03-28T10:15:00Z,8,5,02\n"
    )
    table = profile.to_arrow()
    assert table.schema.field("time_utc").type == pa.timestamp("s", "UTC")
    assert table.column("1-0:1.8.0").to_pylist() == [None, 5]
    assert table.column("1-0:2.8.0").to_pylist() == [b"\x01\xff", b"\x02"]


def test_columns_are_found_by_capture_object_or_code() -> None:
    profile = decode_profile(encode_profile(out_columns(generated(3), compressed=False)), CAPTURES)
    assert profile.column("0-0:96.10.1").capture == STATUS
    with pytest.raises(KeyError):
        profile.column("1-0:3.8.0")
    status = profile.clock_status()
    assert status is not None
    assert set(status.tolist()) == {0}
    assert decode_profile(b"\x01\x00", (IMPORT,)).clock is None
