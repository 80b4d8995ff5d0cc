"""A-XDR: round trips, the worked bytes of the facts, and the ways in which bytes can lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, DataType, TypeDescription
from tests.cosem.strategies import DATA, SIMPLE


@given(DATA)
def test_every_value_comes_back(data: axdr.Data) -> None:
    raw = axdr.encode(data)
    assert axdr.decode(raw) == data
    assert axdr.skip(raw) == len(raw)
    assert axdr.decode_prefix(b"\xff" + raw + b"\x00", 1) == (data, 1 + len(raw))


@given(DATA)
def test_every_truncation_is_refused(data: axdr.Data) -> None:
    raw = axdr.encode(data)
    for end in range(len(raw)):
        with pytest.raises(AxdrError):
            axdr.decode(raw[:end])
        with pytest.raises(AxdrError):
            axdr.skip(raw[:end])


@given(st.binary(max_size=200))
def test_decoding_is_total_and_its_result_encodes_to_something_equal(raw: bytes) -> None:
    try:
        data, end = axdr.decode_prefix(raw)
    except AxdrError:
        return
    assert axdr.skip(raw) == end
    again = axdr.encode(data)
    assert axdr.encode(axdr.decode(again)) == again


@given(st.lists(SIMPLE, max_size=5))
def test_joining_encoded_elements_equals_encoding_the_whole(elements: list[axdr.Data]) -> None:
    pieces = [axdr.encode(element) for element in elements]
    assert axdr.encode_structure(*pieces) == axdr.encode(axdr.structure(*elements))
    assert axdr.encode_array(pieces) == axdr.encode(axdr.array_of(elements))


@pytest.mark.parametrize(
    ("fast", "general", "values"),
    [
        (axdr.encode_i8, axdr.i8, (-128, 0, 127)),
        (axdr.encode_i16, axdr.i16, (-32768, 32767)),
        (axdr.encode_i32, axdr.i32, (-(2**31), 2**31 - 1)),
        (axdr.encode_i64, axdr.i64, (-(2**63), 2**63 - 1)),
        (axdr.encode_u8, axdr.u8, (0, 255)),
        (axdr.encode_u16, axdr.u16, (0, 65535)),
        (axdr.encode_u32, axdr.u32, (0, 2**32 - 1)),
        (axdr.encode_u64, axdr.u64, (0, 2**64 - 1)),
        (axdr.encode_enum, axdr.enum, (0, 255)),
        (axdr.encode_octets, axdr.octets, (b"", b"x" * 200)),
        (axdr.encode_boolean, axdr.boolean, (True, False)),
    ],
)
def test_fast_encoders_write_what_encode_writes(fast, general, values) -> None:  # type: ignore[no-untyped-def]
    for value in values:
        assert fast(value) == axdr.encode(general(value))


def test_fast_encoders_refuse_what_does_not_fit() -> None:
    for encode, value in ((axdr.encode_u8, 256), (axdr.encode_u32, -1), (axdr.encode_i8, 128)):
        with pytest.raises(AxdrError):
            encode(value)


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        ("020 20FFD161E".replace(" ", ""), axdr.structure(axdr.i8(-3), axdr.enum(30))),
        ("00", axdr.null()),
        ("0301", axdr.boolean(True)),
        ("0409 FF80".replace(" ", ""), axdr.bits("111111111")),
        ("0400", axdr.bits("")),
        ("0A03414243", axdr.visible("ABC")),
        ("0C02C3A9", axdr.utf8("é")),
        ("0D42", axdr.bcd(0x42)),
        ("1600", axdr.enum(0)),
        ("14FFFFFFFFFFFFFFFF", axdr.i64(-1)),
        ("173FC00000", axdr.float32(1.5)),
        ("FF", axdr.dont_care()),
        ("1CFF", axdr.Data(DataType.DELTA_INTEGER, -1)),
        ("0100", axdr.array()),
    ],
)
def test_bytes_of_each_type(raw: str, data: axdr.Data) -> None:
    assert axdr.encode(data).hex().upper() == raw
    assert axdr.decode(bytes.fromhex(raw)) == data


def _compact(raw: str) -> list[object]:
    return [element.value for element in axdr.decode(bytes.fromhex(raw)).value.elements]


def test_compact_arrays_as_worked_out_in_the_facts() -> None:
    pairs = axdr.decode(bytes.fromhex("130202121106000A01000B02")).value.elements
    assert [[each.value for each in pair.value] for pair in pairs] == [[10, 1], [11, 2]]
    assert _compact("1311020A0B") == [10, 11]
    assert _compact("130907034142 43024445".replace(" ", "")) == [b"ABC", b"DE"]
    nested = axdr.decode(bytes.fromhex("1301000212080001000200030004")).value.elements
    assert [[each.value for each in pair.value] for pair in nested] == [[1, 2], [3, 4]]


def test_a_truncated_u32_ends_at_once() -> None:
    """dlms-cosem 25.1.0 appends None for ever on these very octets."""
    with pytest.raises(AxdrError, match="needs 4 octets, 3 are left"):
        axdr.decode(b"\x06\x00\x00\x13")


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "08",  # not assigned
        "0B00",
        "0180",  # indefinite length
        "0185000000000100",
        "01 84 FF FF FF FF 00".replace(" ", ""),  # count far beyond the octets
        "09 84 7F FF FF FF 00".replace(" ", ""),
        "04 84 FF FF FF FF 00".replace(" ", ""),
        "0000",  # surplus octet
        "13",
        "1311",
        "131103 0A0B".replace(" ", ""),
        "1312 03 0A0B0C".replace(" ", ""),  # remainder of half a value
        "130001 00".replace(" ", ""),  # contents, but elements without size
        "131300",  # compact-array of compact-arrays
        "1301FFFF000100",  # an array of 65535 nulls
    ],
)
def test_lies_are_refused(raw: str) -> None:
    with pytest.raises(AxdrError):
        axdr.decode(bytes.fromhex(raw))


def test_nesting_is_bounded_both_ways() -> None:
    deepest = b"\x01\x01" * axdr.MAX_DEPTH + b"\x00"
    data = axdr.decode(deepest)
    assert axdr.encode(data) == deepest
    with pytest.raises(AxdrError, match="nested deeper"):
        axdr.decode(b"\x02\x01" * 100_000 + b"\x00")
    with pytest.raises(AxdrError, match="nested deeper"):
        axdr.decode(b"\x13" + b"\x02\x01" * 100_000 + b"\x11\x00")
    with pytest.raises(AxdrError, match="nested deeper"):
        axdr.encode(axdr.array(axdr.array(data)))
    assert axdr.skip(b"\x02\x01" * 100_000 + b"\x00") == 200_001


def test_a_small_compact_array_cannot_unfold_into_millions_of_values() -> None:
    columns = b"\x02\x82\xff\xff" + b"\x11" + b"\x00" * 65_534
    contents = bytes(60_000)
    with pytest.raises(AxdrError, match="far more elements"):
        axdr.decode(b"\x13" + columns + b"\x82" + len(contents).to_bytes(2, "big") + contents)


def test_length_forms_longer_than_needed_are_read() -> None:
    assert axdr.decode(bytes.fromhex("0984000000 0141".replace(" ", ""))) == axdr.octets(b"A")
    assert axdr.decode_length(b"\x82\x00\x05", 0) == (5, 3)


def test_any_boolean_octet_but_zero_is_true_and_padding_bits_are_ignored() -> None:
    assert axdr.decode(b"\x03\xff") == axdr.boolean(True)
    assert axdr.decode(b"\x04\x01\xff") == axdr.bits("1")


@pytest.mark.parametrize(
    "data",
    [
        axdr.u8(256),
        axdr.u8(-1),
        axdr.i16(1.5),  # type: ignore[arg-type]
        axdr.Data(DataType.OCTET_STRING, "text"),
        axdr.Data(DataType.OCTET_STRING, 5),
        axdr.Data(DataType.VISIBLE_STRING, b"raw"),
        axdr.visible("Ω"),
        axdr.bits("012"),
        axdr.Data(DataType.BIT_STRING, 5),
        axdr.date_time(b"short"),
        axdr.Data(DataType.NULL_DATA, 0),
        axdr.Data(DataType.BOOLEAN, "yes"),
        axdr.Data(DataType.ARRAY, 3),
        axdr.Data(DataType.ARRAY, (1, 2)),
        axdr.Data(DataType.FLOAT32, 1e300),
        axdr.Data(8, None),  # type: ignore[arg-type]
        axdr.Data(DataType.COMPACT_ARRAY, None),
        axdr.compact_array(TypeDescription(DataType.UNSIGNED), [axdr.u16(1)]),
        axdr.compact_array(
            TypeDescription(DataType.ARRAY, (TypeDescription(DataType.UNSIGNED),), 2),
            [axdr.array(axdr.u8(1))],
        ),
        axdr.compact_array(TypeDescription(DataType.ARRAY, (), 2), []),
        axdr.compact_array(TypeDescription(DataType.COMPACT_ARRAY), []),
    ],
)
def test_values_that_their_type_cannot_carry_are_refused(data: axdr.Data) -> None:
    with pytest.raises(AxdrError):
        axdr.encode(data)


def test_lengths_outside_four_octets_are_refused() -> None:
    for length in (-1, 1 << 32):
        with pytest.raises(AxdrError):
            axdr.encode_length(length)
    for length in (0, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x1_0000, 0xFFFF_FFFF):
        raw = axdr.encode_length(length)
        assert axdr.decode_length(raw, 0) == (length, len(raw))


def test_names_are_those_of_the_standard() -> None:
    assert DataType.NULL_DATA.text == "null-data"
    assert DataType.DOUBLE_LONG_UNSIGNED.text == "double-long-unsigned"
    assert DataType.LONG64.text == "long64"


def test_null_and_offsets_and_unknown_tags() -> None:
    assert axdr.encode_null() == axdr.encode(axdr.null())
    with pytest.raises(AxdrError, match="not negative"):
        axdr.decode_prefix(b"\x00", -1)
    with pytest.raises(AxdrError, match="no data type"):
        axdr.skip(b"\x08")
