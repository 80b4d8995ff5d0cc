"""The class tables: complete, consistent, and able to tell right values from wrong ones."""

from __future__ import annotations

import pytest
from hypothesis import given

from blathy.cosem import axdr, classes
from blathy.cosem.classes import (
    CLASSES,
    FAMILIES,
    TableError,
    class_by_name,
    class_name,
    interface_class,
)
from blathy.cosem.classes.enumerations import TRANSITIONS, ControlMode
from blathy.cosem.classes.model import Attribute, Family, InterfaceClass, dynamic, method, static
from blathy.cosem.classes.types import SHARED, TypeTextError, parse, plain
from blathy.cosem.cosem_time import UNSET
from blathy.obis import Obis
from tests.cosem.strategies import DATA

# Ids, attributes (logical_name included) and methods of the newest version: the fact sheet's
# index, which is made from other sources than the attribute tables.
COUNTS = {
    1: (2, 0), 3: (3, 1), 4: (5, 1), 5: (9, 2), 6: (4, 3), 7: (8, 2), 8: (9, 6), 9: (2, 1),
    10: (2, 3), 11: (2, 2), 12: (6, 6), 15: (11, 6), 17: (2, 1), 18: (7, 4), 19: (9, 0),
    20: (10, 1), 21: (4, 0), 22: (4, 0), 23: (9, 0), 24: (5, 0), 25: (5, 0), 26: (4, 0),
    27: (4, 0), 28: (7, 0), 29: (6, 1), 30: (6, 3), 40: (13, 2), 41: (6, 0), 42: (10, 3),
    43: (2, 0), 44: (5, 0), 45: (4, 0), 46: (6, 0), 47: (8, 0), 48: (10, 2), 61: (4, 2),
    62: (6, 2), 63: (3, 0), 64: (6, 8), 65: (8, 2), 66: (9, 2), 67: (15, 1), 68: (6, 2),
    70: (4, 2), 71: (11, 0), 72: (14, 8), 73: (4, 0), 74: (2, 0), 76: (11, 0), 77: (9, 1),
    100: (7, 3), 111: (19, 3), 112: (11, 3), 113: (13, 5), 115: (6, 1), 116: (12, 0),
    122: (3, 3), 123: (2, 5), 124: (10, 1), 151: (3, 0),
}  # fmt: skip


def test_every_class_has_its_attributes_and_methods() -> None:
    assert {i: (len(c.attributes), len(c.methods)) for i, c in CLASSES.items()} == COUNTS


@pytest.mark.parametrize(
    ("class_id", "version", "attributes", "methods"),
    [
        (7, 0, 8, 4),
        (12, 0, 2, 4),
        (15, 0, 8, 4),
        (15, 1, 9, 4),
        (24, 0, 5, 0),
        (28, 0, 6, 0),
        (40, 0, 7, 1),
        (40, 1, 10, 1),
        (64, 0, 5, 2),
        (65, 0, 4, 2),
        (72, 0, 12, 8),
        (151, 0, 2, 0),
    ],
)
def test_older_versions_have_less(
    class_id: int, version: int, attributes: int, methods: int
) -> None:
    known = interface_class(class_id, version)
    assert (len(known.attributes), len(known.methods)) == (attributes, methods)
    assert known.version == version


def test_unknown_versions_are_read_as_the_nearest_lower_one() -> None:
    assert interface_class(15, 9).version == 3
    assert interface_class(28, 1).version == 0
    assert interface_class(28).version == 2
    assert interface_class(7, 1) is CLASSES[7]
    with pytest.raises(KeyError):
        interface_class(9999)


def test_rows_are_found_by_index_and_by_name() -> None:
    profile = class_by_name("profile GENERIC")
    assert profile.attribute("capture_period").index == 4
    assert profile.attribute(2).dynamic
    assert profile.method("capture").index == 2
    assert profile.method(1).is_dataless
    assert class_name(8) == "Clock"
    assert class_name(9998) == "class 9998"
    for key in (9, "nonsense"):
        with pytest.raises(KeyError):
            profile.attribute(key)
        with pytest.raises(KeyError):
            profile.method(key)


def test_short_name_offsets() -> None:
    assert CLASSES[3].attribute_offset(2) == 8
    assert CLASSES[3].method_offset(1) == 0x28
    assert CLASSES[12].method_offset(3) == 0x30
    assert CLASSES[12].method_offset(8) == 0x58
    assert interface_class(64, 0).method_offset(1) == 0x28
    assert interface_class(64, 1).method_offset(2) == 0x38
    assert interface_class(72, 1).method_offset(1) == 0x70
    assert CLASSES[1].method_offset(1) is None


@pytest.mark.parametrize(
    ("class_id", "attribute", "good", "bad"),
    [
        (3, "scaler_unit", axdr.structure(axdr.i8(-3), axdr.enum(30)), axdr.structure(axdr.i8(0))),
        (4, "capture_time", axdr.octets(bytes(12)), axdr.octets(bytes(11))),
        (4, "capture_time", axdr.date_time(bytes(12)), axdr.u32(1)),
        (7, "sort_method", axdr.enum(200), axdr.u8(1)),
        (7, "buffer", axdr.array(), axdr.octets(b"")),
        (8, "time_zone", axdr.i16(-60), axdr.i8(-60)),
        (18, "image_transfer_enabled", axdr.boolean(False), axdr.u8(0)),
        (71, "threshold_normal", axdr.u32(1), axdr.array()),
        (42, "multicast_IP_address", axdr.array(axdr.u32(1)), axdr.array(axdr.u16(1))),
        (44, "PPP_authentication", axdr.null(), axdr.structure(axdr.octets(b"user"))),
        (111, "current_credit_status", axdr.bits("00000000"), axdr.bits("0000000")),
        (64, "security_policy", axdr.enum(0x0C), axdr.bits("00")),
        (63, "status_word", axdr.u8(1), axdr.null()),
        (15, "security_setup_reference", axdr.octets(bytes(6)), axdr.octets(b"")),
    ],
)
def test_types_tell_right_from_wrong(
    class_id: int, attribute: str, good: axdr.Data, bad: axdr.Data
) -> None:
    row = CLASSES[class_id].attribute(attribute)
    assert row.type.accepts(good)
    assert not row.type.accepts(bad)


def test_values_print_with_the_names_of_their_elements() -> None:
    captured = axdr.array(
        axdr.structure(axdr.u16(8), axdr.octets(Obis(0, 0, 1, 0, 0)), axdr.i8(2), axdr.u16(0))
    )
    assert CLASSES[7].attribute(3).type.plain(captured) == [
        {"class_id": 8, "logical_name": "0-0:1.0.0", "attribute_index": 2, "data_index": 0}
    ]
    assert CLASSES[70].attribute(3).type.plain(axdr.enum(2)) == "ready_for_reconnection"
    assert CLASSES[70].attribute(3).type.plain(axdr.enum(99)) == 99
    unit = CLASSES[3].attribute(3).type
    assert unit.plain(axdr.structure(axdr.i8(-3), axdr.enum(30))) == {"scaler": -3, "unit": "Wh"}
    surplus = axdr.structure(axdr.i8(0), axdr.enum(27), axdr.u8(7))
    assert unit.plain(surplus)["element_3"] == 7
    policy = CLASSES[64].attribute(2).type
    assert policy.plain(axdr.enum(0x0C)) == "request_authenticated|request_encrypted"
    assert policy.plain(axdr.enum(0x01)) == 0x01
    assert policy.plain(axdr.u8(0x0C)) == 0x0C
    assert unit.plain(axdr.structure(axdr.i8(0), axdr.enum(255)))["unit"] == "count"
    calendar = CLASSES[20].attribute(10).type
    assert calendar.plain(axdr.octets(UNSET.raw())) == "*-*-* *:*:*"
    assert calendar.plain(axdr.octets(b"\x00" * 12)) == "00" * 12
    assert plain(axdr.structure(axdr.octets(b"\x01"), axdr.array(axdr.u8(1)))) == ["01", [1]]


@given(DATA)
def test_every_type_judges_and_prints_any_value(data: axdr.Data) -> None:
    for family in FAMILIES.values():
        for row in family.attributes:
            row.type.accepts(data)
            row.type.plain(data)


def test_the_modes_of_the_disconnector_permit_what_their_table_says() -> None:
    """Every mode but 0 lets a remote command open the breaker; 5 to 7 let it close by itself."""
    for mode in ControlMode:
        permitted = TRANSITIONS[mode]
        assert permitted <= frozenset("abcdefghi")
        assert ("b" in permitted) == (mode is not ControlMode.NONE)
        assert ("h" in permitted) == (mode >= ControlMode.MODE_5)
        assert ("f" in permitted) == (mode in {1, 2, 5})


@pytest.mark.parametrize(
    "text", ["", "u7", "array", "{a u8", "{a u8, a u8}", "u8 u8", "u8;", "enum(Nonsense)", "(u8"]
)
def test_types_that_nobody_can_read_are_refused(text: str) -> None:
    with pytest.raises((TypeTextError, IndexError)):
        parse(text)


def test_shared_structures_are_types() -> None:
    for text in SHARED.values():
        assert parse(text).text


def test_tables_that_contradict_themselves_are_refused() -> None:
    value = static(2, "value", "u8")
    with pytest.raises(TableError, match="twice"):
        InterfaceClass(1, "X", 0, (static(1, "a", "u8"), static(1, "b", "u8")))
    with pytest.raises(TableError, match="leaves attributes out"):
        InterfaceClass(1, "X", 0, (value,))
    with pytest.raises(TableError, match="not in order"):
        InterfaceClass(1, "X", 0, (), (method(2, "a"), method(1, "b")))
    with pytest.raises(TableError, match="access is one of"):
        static(2, "value", "u8", "X")
    with pytest.raises(TableError, match="indices are 1 to 127"):
        dynamic(0, "value", "u8")
    with pytest.raises(TableError, match="indices are 1 to 127"):
        method(128, "reset")
    with pytest.raises(TableError, match="in the tables twice"):
        classes._register((FAMILIES[7],))
    for versions in ((), (1, 0), (0, 0)):
        with pytest.raises(TableError, match="versions are listed once"):
            classes._register((Family(4000, "X", versions, (value,)),))
    assert isinstance(value, Attribute)
    assert Family(1, "X", (0,), (value,)).at(0).attribute(1).name == "logical_name"
