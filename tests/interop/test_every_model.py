"""The whole object list of every model, attribute by attribute, read by foreign clients.

What a client decodes must be what the meter says itself, and Gurux' class of the object must take
it. What a peer cannot take is listed here, by class and attribute, and on the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import pytest

from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.cosem.cosem_time import CosemDateTime
from blathy.cosem.service import AttributeRef
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models import MODELS
from blathy.models.model import Level, Mechanism
from blathy.obis import Obis
from tests.interop.matrix import DLMS_COSEM, GURUX
from tests.interop.peers import EVERY, Peer, job_of
from tests.interop.ports import Served
from tests.meter.running import START_S, made, who
from tests.meter.simple_load import ConstantLoad

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]
KEYS: Final = (*MODELS, "reference")
HOURS = 4


@pytest.fixture(scope="module")
def peers() -> Iterator[dict[str, Peer]]:
    with Peer("gurux_client") as gurux, Peer("dlms_cosem_client") as dlms_cosem:
        yield {GURUX: gurux, DLMS_COSEM: dlms_cosem}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.end()


def meter_named(key: str, *, short_names: bool = False) -> Meter:
    mechanisms = tuple((level, Mechanism.LLS) for level in EVERY)
    options = MeterOptions(mechanisms=mechanisms, encryption=False, short_names=short_names)
    meter = made(key, options=options)
    meter.advance(ConstantLoad(1200, len(meter.model.phases)), START_S + HOURS * 3600)
    return meter


def readable(meter: Meter) -> list[list[Any]]:
    """Every attribute that the management client may read."""
    entries = meter.tree.view(Level.MANAGEMENT).entries.values()
    return [
        [e.object.class_id, e.object.obis.dotted(), number]
        for e in entries
        for number in _columns_first(e.object.class_id, len(e.object.attributes) + 1)
        if e.may_get(number)
    ]


def _columns_first(class_id: int, count: int) -> Iterable[int]:
    """Gurux takes the rows of a profile only after its columns."""
    return (1, 3, 4, 2, *range(5, count + 1)) if class_id == 7 else range(1, count + 1)


def ours(meter: Meter, class_id: int, name: str, number: int) -> Data:
    ref = AttributeRef(class_id, Obis.parse(name), number)
    return axdr.decode(meter.objects.get(ref, who(meter)))


def as_the_peer_writes(data: Data) -> Any:
    """Our value in the words of `plain` of the two scripts."""
    kind, value = data.type, data.value
    if kind in {DataType.ARRAY, DataType.STRUCTURE}:
        return [as_the_peer_writes(item) for item in value]
    if kind is DataType.COMPACT_ARRAY:
        return [as_the_peer_writes(item) for item in value.elements]
    if kind is DataType.DATE_TIME:
        return f"t{CosemDateTime.of(bytes(value)).utc()}"
    if kind is DataType.OCTET_STRING:
        return "x" + bytes(value).hex()
    if kind is DataType.BIT_STRING:
        return f"b{value}"
    if kind in {DataType.VISIBLE_STRING, DataType.UTF8_STRING}:
        text = value if isinstance(value, str) else bytes(value).decode()
        return "s" + text
    if value is None or isinstance(value, (bool, float)):
        return value
    return int(value)


NOT_DECODED: Final = {
    GURUX: set(),
    DLMS_COSEM: {DataType.BIT_STRING, DataType.UTF8_STRING, DataType.COMPACT_ARRAY},
}
"""Types that a peer knows by name only."""
NOTHING: Final[tuple[Any, ...]] = ([], "x", "s")
"""Gurux has one value for no value and for empty ones."""
WITHOUT_CLASS: Final = {30, 46, 61, 62, 63, 66, 67, 68, 73, 76, 77, 116}
"""Classes of the reference meter that Gurux leaves out of an object list."""
ASSOCIATION_SN: Final = 12
CLIENT_TITLE: Final = (64, 4)
"""Each client reads its own."""
NOT_TAKEN: Final = {(24, 4), (24, 5), (28, 7), (65, 5), (65, 6), (65, 7), (65, 8)}
"""What Gurux decodes and its class of the object does not take."""


def contains(data: Data, kinds: set[DataType]) -> bool:
    if data.type in {DataType.ARRAY, DataType.STRUCTURE}:
        return any(contains(item, kinds) for item in data.value)
    return data.type in kinds


def has_wildcards(data: Data) -> bool:
    """A date-time that names no moment: each peer has its own idea of it."""
    if data.type in {DataType.ARRAY, DataType.STRUCTURE}:
        return any(has_wildcards(item) for item in data.value)
    wild = data.type is DataType.DATE_TIME
    return wild and not CosemDateTime.of(bytes(data.value)).date.is_exact


@pytest.mark.requirement("K-17", "ESOX-12", "OMNI-19")
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("peer", [GURUX, DLMS_COSEM])
def test_every_attribute_is_read_as_the_meter_says_it(
    peers: dict[str, Peer], served: Served, key: str, peer: str
) -> None:
    meter = meter_named(key)
    asked = readable(meter)
    wanted = {(c, n, a): ours(meter, c, n, a) for c, n, a in asked}
    work: list[Any] = ["object_list", ["walk", asked]]
    if key == "reference" and peer == DLMS_COSEM:
        del work[0]  # its list of classes ends an object list at the first that it lacks
    with served.tcp(meter) as at:
        result = peers[peer](job_of(meter, 0, work) | at)
    assert "failed" not in result, result
    listed = meter.tree.view(Level.MANAGEMENT).list_entries
    if "object_list" in result:
        found = [tuple(row[:3]) for row in result["object_list"]]
        named = [(e.class_id, e.version, e.obis.dotted()) for e in listed]
        assert found == [row for row in named if row[0] not in WITHOUT_CLASS]
    assert differences(result["walk"], wanted, peer) == []


@pytest.mark.requirement("K-17")
@pytest.mark.parametrize("key", ["mt372", "esox"])
def test_every_attribute_is_read_by_its_short_name(
    peers: dict[str, Peer], served: Served, key: str
) -> None:
    meter = meter_named(key, short_names=True)
    names = {i.obis.dotted(): base for base, i in meter.tree.short_names.items()}
    asked = [row for row in readable(meter) if row[1] in names and row[0] != ASSOCIATION_SN]
    wanted = {(c, n, a): ours(meter, c, n, a) for c, n, a in asked}
    with served.tcp(meter) as at:
        work: list[Any] = ["objects", ["walk", asked]]
        job = job_of(meter, 0, work, names=names) | at
        result = peers[GURUX](job)
    assert "failed" not in result, result
    assert len(result["walk"]) == len(asked) > 500
    assert differences(result["walk"], wanted, GURUX) == []


Wanted = dict[tuple[int, str, int], Data]


def differences(walked: list[list[Any]], wanted: Wanted, peer: str) -> list[list[Any]]:
    """What the peer decoded otherwise than we mean, or its class did not take."""
    differ = []
    for class_id, name, number, value, wrong in walked:
        data = wanted[class_id, name, number]
        if (class_id, number) == CLIENT_TITLE or has_wildcards(data):
            continue
        if wrong and contains(data, NOT_DECODED[peer]):
            continue
        taken = wrong in {"", "no class"} or (class_id, number) in NOT_TAKEN
        mine = as_the_peer_writes(data)
        same = value == mine or (value is None and mine in NOTHING)
        if not taken or not same:
            differ.append([class_id, name, number, value, wrong, mine])
    return differ
