"""Object lists with access rights of every edition, and values with their units."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError
from blathy.cosem.objectlist import (
    AccessRight,
    AttributeAccess,
    MethodAccess,
    ObjectEntry,
    ObjectListError,
    ScalerUnit,
    ShortName,
    attribute_mode,
    attribute_right,
    build_object_list,
    build_short_names,
    method_mode,
    method_right,
    object_data,
    parse_object,
    parse_object_list,
    parse_short_names,
    select_objects,
)
from blathy.obis import Obis
from blathy.quantity import SYMBOL, Quantity, Unit

CLOCK = ObjectEntry(
    8,
    0,
    Obis(0, 0, 1, 0, 0),
    (AttributeAccess(1, AccessRight.READ), AttributeAccess(2, AccessRight(3))),
    (MethodAccess(1, AccessRight.READ), MethodAccess(6, AccessRight.NONE)),
)
PROFILE = ObjectEntry(
    7, 1, Obis(1, 0, 99, 1, 0), (AttributeAccess(2, AccessRight.READ, (1, 2)),), ()
)
ENTRIES = (CLOCK, PROFILE)
AUTHENTICATED = AccessRight.REQUEST_AUTHENTICATED

rights = st.integers(0, 255).map(AccessRight)
entries = st.builds(
    ObjectEntry,
    st.integers(0, 0xFFFF),
    st.integers(0, 255),
    st.binary(min_size=6, max_size=6).map(Obis.of),
    st.lists(
        st.builds(
            AttributeAccess,
            st.integers(-128, 127),
            rights,
            st.lists(st.integers(-128, 127), max_size=3).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
    st.lists(
        st.builds(
            MethodAccess, st.integers(-128, 127), rights.map(lambda r: r & ~AccessRight.WRITE)
        ),
        max_size=3,
    ).map(tuple),
)


@given(st.lists(entries, max_size=4))
def test_version_3_carries_every_right(listed: list[ObjectEntry]) -> None:
    assert parse_object_list(build_object_list(listed, 3), 3) == tuple(listed)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_plain_rights_come_back_in_every_version(version: int) -> None:
    assert parse_object_list(build_object_list(ENTRIES, version), version) == ENTRIES


def test_the_element_head_of_the_facts() -> None:
    head = "0204120008110009060000010000FF0202"
    right = "010302030F011601000203 0F021603000203 0F03160300".replace(" ", "")
    raw = bytes.fromhex(head + right + "0100")
    entry = parse_object(raw, 1)
    assert entry.class_id == 8
    assert [row.right for row in entry.attributes] == [1, 3, 3]
    assert axdr.encode(object_data(entry, 1)) == raw


def test_modes_mean_what_the_version_of_the_association_says() -> None:
    """4 is "authenticated read" in versions 1 and 2, and no access in version 3."""
    assert attribute_right(4, 1) == AccessRight.READ | AUTHENTICATED
    assert attribute_right(6, 2) == AccessRight(3) | AUTHENTICATED
    assert attribute_right(4, 0) == AccessRight.NONE
    assert attribute_right(4, 3) == AUTHENTICATED
    assert not attribute_right(4, 3) & AccessRight.READ
    assert method_right(2, 1) == AccessRight.READ | AUTHENTICATED
    assert method_right(1, 0) == AccessRight.READ
    assert method_right(0x21, 3) == AccessRight.READ | AccessRight.RESPONSE_AUTHENTICATED
    assert attribute_mode(AccessRight(3) | AccessRight.REQUEST_SIGNED, 1) == 6
    assert attribute_mode(AUTHENTICATED, 1) == 0
    assert attribute_mode(AccessRight(1) | AUTHENTICATED, 0) == 1
    assert method_mode(AccessRight(1) | AUTHENTICATED, 2) == 2
    assert method_mode(AccessRight(1) | AUTHENTICATED, 0) == 1
    assert method_mode(AUTHENTICATED, 2) == 0


def test_methods_of_version_0_are_booleans() -> None:
    raw = build_object_list([CLOCK], 0)
    method = axdr.decode(raw).value[0].value[3].value[1].value[0]
    assert method.value[1] == axdr.boolean(True)


def test_selective_access() -> None:
    everything = parse_object_list(select_objects(ENTRIES, 1, b""))
    assert everything == tuple(each.without_rights() for each in ENTRIES)
    profiles = select_objects(ENTRIES, 2, axdr.encode(axdr.array(axdr.u16(7))))
    assert parse_object_list(profiles) == (PROFILE.without_rights(),)
    key = axdr.structure(axdr.u16(8), axdr.octets(CLOCK.obis))
    assert parse_object_list(select_objects(ENTRIES, 3, axdr.encode(axdr.array(key)))) == (CLOCK,)
    assert parse_object(select_objects(ENTRIES, 4, axdr.encode(key)), 3) == CLOCK
    absent = axdr.structure(axdr.u16(9), axdr.octets(CLOCK.obis))
    for selector, parameters in ((4, absent), (5, key), (2, key), (3, axdr.array(axdr.u8(1)))):
        with pytest.raises(AxdrError):
            select_objects(ENTRIES, selector, axdr.encode(parameters))


def test_rights_of_one_entry() -> None:
    assert CLOCK.attribute_right(2) == AccessRight(3)
    assert CLOCK.attribute_right(9) == AccessRight.NONE
    assert CLOCK.method_right(1) == AccessRight.READ
    assert CLOCK.method_right(2) == AccessRight.NONE


def test_lists_without_rights_and_with_surplus_elements() -> None:
    bare = axdr.array(axdr.structure(axdr.u16(8), axdr.u8(0), axdr.octets(CLOCK.obis)))
    assert parse_object_list(bare) == (CLOCK.without_rights(),)
    longer = axdr.array(
        axdr.structure(axdr.u16(8), axdr.u8(0), axdr.octets(CLOCK.obis), axdr.null(), axdr.u8(1))
    )
    assert parse_object_list(longer) == (CLOCK.without_rights(),)


@given(st.binary(max_size=100))
def test_any_octets_are_an_object_list_or_an_axdr_error(raw: bytes) -> None:
    for parser in (parse_object_list, parse_short_names, ScalerUnit.of):
        for prefix in (b"", b"\x01\x01\x02\x04", b"\x02\x02\x0f"):
            try:
                parser(prefix + raw)
            except AxdrError:
                pass


def test_base_names_are_signed_on_the_wire_only() -> None:
    names = (ShortName(0xFA00, 12, 3, Obis(0, 0, 40, 0, 0)), ShortName(0x100, 3, 0, CLOCK.obis))
    raw = build_short_names(names)
    assert axdr.decode(raw).value[0].value[0] == axdr.i16(-0x600)
    assert parse_short_names(raw) == names


def test_scaler_and_unit_apply_exactly() -> None:
    watt_hours = ScalerUnit.of(bytes.fromhex("02020FFD161E"))
    assert watt_hours == ScalerUnit(-3, Unit.WH)
    assert watt_hours.encode() == bytes.fromhex("02020FFD161E")
    assert str(watt_hours.quantity(axdr.u32(1_234_567_890))) == "1 234.567890 kWh"
    assert watt_hours.quantity(axdr.null()) is None
    assert ScalerUnit(0, Unit.V).quantity(axdr.float32(230.1)) == Quantity(2301, -1, Unit.V)
    assert ScalerUnit(0, Unit.V).quantity(axdr.float64(-0.125)) == Quantity(-125, -3, Unit.V)
    assert ScalerUnit().quantity(axdr.float32(float("nan"))) is None
    for wrong in (axdr.visible("12"), axdr.array(), axdr.bits("1")):
        with pytest.raises(ObjectListError):
            watt_hours.quantity(wrong)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float_reads_as_its_shortest_decimal(value: float) -> None:
    quantity = ScalerUnit(0, Unit.V).quantity(axdr.float32(value))
    assert quantity is not None
    again = axdr.decode(axdr.encode(axdr.float32(float(f"{quantity.mantissa}e{quantity.scaler}"))))
    assert again.value == value


def test_units_that_are_not_assigned_are_kept_apart() -> None:
    def unit(code: int) -> Unit:
        return ScalerUnit.of(axdr.structure(axdr.i8(0), axdr.enum(code))).unit

    assert unit(0) is Unit.COUNT
    assert unit(200) is Unit.OTHER
    assert unit(15) is Unit.CUBIC_METRE_PER_HOUR
    assert set(SYMBOL) == set(Unit)
    with pytest.raises(ObjectListError):
        ScalerUnit.of(axdr.structure(axdr.u8(200), axdr.enum(27)))
