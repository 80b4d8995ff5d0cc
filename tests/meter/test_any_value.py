"""Whatever is written to an attribute or given to a method, a meter refuses it or takes it: nothing
but AccessError leaves its objects, what it shows stays of its class, and it goes on measuring."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError, Data, DataType
from blathy.cosem.classes import interface_class
from blathy.cosem.classes import types as kinds
from blathy.cosem.service import AccessError, AttributeRef, MethodRef
from blathy.meter.meter import Meter
from blathy.meter.objects import CosemObject
from blathy.models import LABORATORY, MODELS
from blathy.obis import Obis
from tests.meter.running import made, who
from tests.meter.simple_load import ConstantLoad

NUMBERS: Final = (
    0, 1, 2, 3, 10, 99, 127, 200, 255, 1000, 32_767, 65_535, -1, -128, -32_768,
    2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63),
)  # fmt: skip
OCTETS: Final = (0x00, 0x01, 0x02, 0x07, 0x0C, 0x50, 0xEA, 0xFD, 0xFE, 0xFF)
LENGTHS: Final = (0, 1, 4, 5, 6, 8, 12, 16, 25, 300)
STRAY: Final = 0.06
"""How often a value is of another type than its place."""
CHANGED: Final = 0.15
"""How often a part of a value that works is replaced."""


def _action(selector: int) -> Data:
    return axdr.structure(axdr.octets(bytes((0, 0, 10, 0, 103, 255))), axdr.u16(selector))


MOMENT: Final = axdr.octets(bytes.fromhex("07EA0101FF02000000800000"))
ANY_DATE: Final = axdr.octets(b"\xff" * 5)
AT_ONE: Final = axdr.octets(b"\x01\x05\0\0")
WORKING: Final = {
    (10, 2): axdr.array(
        axdr.structure(
            axdr.u16(1), axdr.boolean(True), *_action(1).value, AT_ONE, axdr.u16(5),
            axdr.bits("1111111"), axdr.bits(""), ANY_DATE, ANY_DATE,
        )
    ),
    (20, 10): MOMENT,
    (21, 2): axdr.array(axdr.u32(100)),
    (21, 3): axdr.structure(axdr.u16(3), axdr.octets(Obis.parse("1-0:1.7.0")), axdr.i8(2)),
    (21, 4): axdr.array(axdr.structure(_action(2), _action(1))),
    (22, 4): axdr.array(axdr.structure(AT_ONE, ANY_DATE)),
    (66, 7): axdr.u32(3),
    (71, 8): axdr.structure(axdr.u16(0), MOMENT, axdr.u32(600)),
    (113, 7): MOMENT,
    (113, 8): axdr.u32(600),
}  # fmt: skip
"""What makes an object act; as delivered most wait to be told."""


class Values:
    """Values that are nearly right, from a seed."""

    def __init__(self, seed: int, names: list[bytes]) -> None:
        self.random = Random(seed)
        self.names = names

    def of(self, kind: kinds.Type, depth: int = 0) -> Data:
        if self.random.random() < STRAY:
            return self.simple(self.random.choice(list(DataType)[3:]))
        if isinstance(kind, kinds.LogicalName):
            return axdr.octets(self.random.choice(self.names))
        if isinstance(kind, kinds.Moment):
            return axdr.octets(self.octets(kind.size))
        if isinstance(kind, kinds.Enumerated):
            return axdr.enum(self.random.choice([*map(int, kind.members), 7, 255]) & 0xFF)
        if isinstance(kind, kinds.Structure):
            return axdr.structure(*(self.of(field, depth + 1) for _, field in kind.fields))
        if isinstance(kind, kinds.Choice):
            return self.of(self.random.choice(kind.options), depth)
        if isinstance(kind, kinds.ArrayOf):
            count = self.random.choice((0, 1, 2, 3, 70 if depth == 0 else 1))
            return axdr.array(*(self.of(kind.element, depth + 1) for _ in range(count)))
        if isinstance(kind, kinds.Simple):
            return self.simple(self.random.choice(sorted(kind.kinds)), kind.size)
        return axdr.structure(*(self.simple(DataType.LONG_UNSIGNED) for _ in range(depth + 1)))

    def octets(self, length: int) -> bytes:
        return bytes(self.random.choices(OCTETS, k=length))

    def simple(self, kind: DataType, size: int | None = None) -> Data:
        length = self.random.choice(LENGTHS) if size is None else size
        if kind is DataType.BIT_STRING:
            return axdr.bits("".join(self.random.choices("01", k=length)))
        texts = {DataType.VISIBLE_STRING: axdr.visible, DataType.UTF8_STRING: axdr.utf8}
        if kind in texts:
            return texts[kind]("a" * length)
        number = self.random.choice(NUMBERS)
        for value in (number, number & 0x7F, bool(number & 1), 1.5, None):
            data = Data(kind, value)
            try:
                axdr.encode(data)
            except AxdrError:
                continue
            return data
        return axdr.octets(self.octets(length))

    def near(self, data: Data) -> Data:
        """A value that works, with some of its parts replaced by others of their type."""
        if data.type in {DataType.ARRAY, DataType.STRUCTURE}:
            parts = tuple(self.near(part) for part in data.value)
            longer = data.type is DataType.ARRAY and self.random.random() < CHANGED
            return Data(data.type, parts * self.random.choice((0, 2)) if longer else parts)
        if self.random.random() >= CHANGED:
            return data
        if data.type is DataType.OCTET_STRING:
            octets = bytearray(data.value) or bytearray(1)
            first = self.random.randrange(len(octets))
            open_to = first + self.random.choice((1, 1, len(octets)))
            octets[first:open_to] = b"\xff" * len(octets[first:open_to])
            octets[first] = self.random.choice(OCTETS)
            return axdr.octets(bytes(octets))
        return self.simple(data.type)


def standing(meter: Meter, item: CosemObject, number: int) -> Data | None:
    """What would make an attribute act, or what it holds."""
    working: Data | None = WORKING.get((item.class_id, number))
    if working is not None:
        return working
    ref = AttributeRef(item.class_id, item.obis, number)
    try:
        return axdr.decode(meter.objects.get(ref, who(meter)))
    except AccessError:
        return None


def try_one(meter: Meter, item: CosemObject, values: Values) -> None:
    table, requester = interface_class(item.class_id, item.version), who(meter)
    if table.methods and values.random.random() < 0.5:
        method = values.random.choice(table.methods)
        parameters = axdr.encode(values.of(method.parameter))
        meter.objects.invoke(
            MethodRef(item.class_id, item.obis, method.index), parameters, requester
        )
    else:
        column = values.random.choice(table.attributes)
        held = standing(meter, item, column.index) if values.random.random() < 0.5 else None
        value = axdr.encode(values.of(column.type) if held is None else values.near(held))
        meter.objects.set(AttributeRef(item.class_id, item.obis, column.index), value, requester)


def shown(meter: Meter, item: CosemObject) -> None:
    table = interface_class(item.class_id, item.version)
    for column in table.attributes:
        ref = AttributeRef(item.class_id, item.obis, column.index)
        try:
            data = axdr.decode(meter.objects.get(ref, who(meter)))
        except AccessError:
            continue
        assert column.type.accepts(data), (item.class_id, column.name, data)


def survives(key: str, seed: int, count: int) -> None:
    meter = made(key)
    items = list(meter.tree.objects.values())
    acting = [item for item in items if any(item.class_id == each for each, _ in WORKING)]
    values = Values(seed, [bytes(item.obis) for item in items] + [bytes(6)])
    load = ConstantLoad(1200, len(meter.model.phases))
    for number in range(count):  # every third time something that acts by itself
        item = values.random.choice(acting if acting and number % 3 == 0 else items)
        try:
            try_one(meter, item, values)
        except AccessError:
            continue
        shown(meter, item)
        if number % 10 == 0:
            meter.advance(load, meter.ledger.now + values.random.choice((60, 3600)))


@pytest.mark.parametrize("seed", range(4))
def test_the_reference_meter_takes_or_refuses_anything(seed: int) -> None:
    survives("reference", seed, 1500)


@pytest.mark.parametrize("key", sorted(MODELS))
def test_every_model_takes_or_refuses_anything(key: str) -> None:
    survives(key, 1, 500)


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 110))
@pytest.mark.parametrize("key", sorted(MODELS | LABORATORY))
def test_at_length(key: str, seed: int) -> None:
    survives(key, seed, 10_000)
