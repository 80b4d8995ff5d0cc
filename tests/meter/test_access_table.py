"""Every association x object x attribute x {get, set, action} answers as the object list says."""

from __future__ import annotations

import pytest

from blathy.cosem import axdr
from blathy.cosem.classes import interface_class
from blathy.cosem.objectlist import AccessRight, ObjectEntry, parse_object_list
from blathy.cosem.service import (
    AccessError,
    ActionResult,
    AttributeRef,
    DataAccessResult,
    MethodRef,
    Requester,
)
from blathy.meter.access import ASSOCIATION_VERSION
from blathy.meter.meter import Meter
from blathy.models import LABORATORY, MODELS
from blathy.models.model import Association, Level
from blathy.obis import Obis
from tests.meter.running import fed, get, made, who

CURRENT = Obis.parse("0-0:40.0.0")
EVERY_MODEL = MODELS | LABORATORY
CASES = [
    pytest.param(key, association, id=f"{key}-{association.level.value}")
    for key, table in EVERY_MODEL.items()
    for association in table.associations
]
METERS: dict[str, Meter] = {}


def shared(key: str) -> Meter:
    """One fed meter per model: these tests write back only what stands there."""
    return METERS.setdefault(key, fed(key, 1))


def listed(meter: Meter, level: Level) -> tuple[ObjectEntry, ...]:
    raw = meter.objects.get(AttributeRef(15, CURRENT, 2), who(meter, level))
    return parse_object_list(raw, ASSOCIATION_VERSION)


def may_list(association: Association) -> bool:
    return association.level is not Level.BROADCAST


@pytest.mark.parametrize(("key", "association"), CASES)
def test_get_answers_as_the_list_says(key: str, association: Association) -> None:
    meter = shared(key)
    requester = who(meter, association.level)
    entries = meter.tree.view(association.level).list_entries
    if may_list(association):
        assert listed(meter, association.level) == entries
    for entry in entries:
        for row in entry.attributes:
            ref = AttributeRef(entry.class_id, entry.obis, row.index)
            if row.right & AccessRight.READ:
                axdr.decode(meter.objects.get(ref, requester))
                continue
            with pytest.raises(AccessError) as refused:
                meter.objects.get(ref, requester)
            assert refused.value.result is DataAccessResult.READ_WRITE_DENIED


@pytest.mark.parametrize(("key", "association"), CASES)
def test_objects_that_are_not_listed_give_nothing_away(key: str, association: Association) -> None:
    meter = shared(key)
    requester = who(meter, association.level)
    shown = {entry.obis for entry in meter.tree.view(association.level).list_entries}
    for item in meter.tree.objects.values():
        if item.obis in shown:
            continue
        for number in range(1, len(item.attributes) + 2):
            with pytest.raises(AccessError) as refused:
                meter.objects.get(AttributeRef(item.class_id, item.obis, number), requester)
            assert refused.value.result is DataAccessResult.READ_WRITE_DENIED


@pytest.mark.parametrize(("key", "association"), CASES)
def test_set_answers_as_the_list_says(key: str, association: Association) -> None:
    """What may be written takes its own value back; everything else is denied."""
    meter = made(key)
    requester = who(meter, association.level)
    nothing = axdr.encode(axdr.null())
    for entry in meter.tree.view(association.level).list_entries:
        for row in entry.attributes:
            ref = AttributeRef(entry.class_id, entry.obis, row.index)
            if not row.right & AccessRight.WRITE:
                with pytest.raises(AccessError) as refused:
                    meter.objects.set(ref, nothing, requester)
                assert refused.value.result is DataAccessResult.READ_WRITE_DENIED
            elif row.right & AccessRight.READ:
                meter.objects.set(ref, meter.objects.get(ref, requester), requester)


def outcome(
    meter: Meter, ref: MethodRef, parameters: bytes, requester: Requester
) -> ActionResult | DataAccessResult:
    try:
        meter.objects.invoke(ref, parameters, requester)
    except AccessError as error:
        return error.result
    return ActionResult.SUCCESS


@pytest.mark.parametrize(("key", "association"), CASES)
def test_action_answers_as_the_list_says(key: str, association: Association) -> None:
    """A method that is not granted is denied; one that is granted judges its parameter."""
    meter = made(key)
    requester = who(meter, association.level)
    wrong = axdr.encode(axdr.bits("1"))
    for entry in meter.tree.view(association.level).list_entries:
        for row in entry.methods:
            ref = MethodRef(entry.class_id, entry.obis, row.index)
            result = outcome(meter, ref, wrong, requester)
            reply_to_hls = (entry.class_id, row.index) == (15, 1)
            if not row.right or reply_to_hls:
                assert result is ActionResult.READ_WRITE_DENIED, (entry.obis, row.index)
            else:
                assert result is not ActionResult.READ_WRITE_DENIED, (entry.obis, row.index)


@pytest.mark.parametrize("key", EVERY_MODEL)
def test_objects_have_the_attributes_and_methods_of_their_class(key: str) -> None:
    for item in made(key).tree.objects.values():
        known = interface_class(item.class_id, item.version)
        assert len(item.attributes) + 1 == len(known.attributes), (item.obis, item.class_id)
        assert len(item.methods) == len(known.methods), (item.obis, item.class_id)


@pytest.mark.parametrize("key", EVERY_MODEL)
def test_every_attribute_is_of_the_type_its_class_says(key: str) -> None:
    meter = shared(key)
    requester = who(meter)
    for entry in meter.tree.view(Level.MANAGEMENT).list_entries:
        known = interface_class(entry.class_id, entry.version)
        for row in entry.attributes:
            if not row.right & AccessRight.READ:
                continue
            raw = meter.objects.get(AttributeRef(entry.class_id, entry.obis, row.index), requester)
            wanted = known.attribute(row.index)
            data = axdr.decode(raw)
            assert wanted.type.accepts(data), (entry.class_id, entry.obis, row.index, data)


CLASSES_OF_THE_STANDARD = (
    1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 40,
    41, 42, 43, 44, 45, 46, 47, 48, 61, 62, 63, 64, 65, 66, 67, 68, 70, 71, 72, 73, 74, 76, 77, 100,
    111, 112, 113, 115, 116, 122, 123, 124, 151,
)  # fmt: skip
"""12, Association SN, is there instead of 15 where short names are: test_short_names."""


def test_the_reference_meter_has_an_object_of_every_class() -> None:
    held = {item.class_id for item in made("reference").tree.objects.values()}
    assert held >= set(CLASSES_OF_THE_STANDARD)


def test_a_value_of_another_type_is_refused_everywhere() -> None:
    """Whatever may be written takes no compact-array of nothing and changes nothing."""
    meter = made("reference")
    requester = who(meter)
    wrong = axdr.structure(axdr.null(), axdr.bcd(1))
    for entry in meter.tree.view(Level.MANAGEMENT).list_entries:
        known = interface_class(entry.class_id, entry.version)
        for row in entry.attributes:
            if not row.right & AccessRight.WRITE or known.attribute(row.index).type.accepts(wrong):
                continue
            ref = AttributeRef(entry.class_id, entry.obis, row.index)
            readable = row.right & AccessRight.READ
            before = meter.objects.get(ref, requester) if readable else b""
            with pytest.raises(AccessError):
                meter.objects.set(ref, axdr.encode(wrong), requester)
            assert not readable or meter.objects.get(ref, requester) == before


def test_an_unknown_object_a_wrong_class_and_an_unknown_attribute_are_told_apart() -> None:
    meter = shared("mt372")
    requester = who(meter)
    cases = (
        (AttributeRef(3, Obis.parse("1-0:99.8.0"), 2), DataAccessResult.OBJECT_UNDEFINED),
        (
            AttributeRef(4, Obis.parse("1-0:1.8.0"), 2),
            DataAccessResult.OBJECT_CLASS_INCONSISTENT,
        ),
        (AttributeRef(3, Obis.parse("1-0:1.8.0"), 9), DataAccessResult.READ_WRITE_DENIED),
    )
    for ref, result in cases:
        with pytest.raises(AccessError) as refused:
            meter.objects.get(ref, requester)
        assert refused.value.result is result


def test_attribute_0_gives_all_attributes_at_once() -> None:
    name, value, unit = get(shared("mt372"), 3, "1-0:1.8.0", 0)
    assert name == Obis.parse("1-0:1.8.0")
    assert value == 3 * 1200 * 24
    assert unit == [0, 30]


def test_refused_writes_are_an_event() -> None:
    meter = made("esox")
    with pytest.raises(AccessError):
        meter.objects.set(
            AttributeRef(3, Obis.parse("1-0:1.8.0"), 2), axdr.encode_u64(0), who(meter)
        )
    meter.flush()
    assert [e.name for e in meter.books.logs["access"]] == ["access_refused"]
