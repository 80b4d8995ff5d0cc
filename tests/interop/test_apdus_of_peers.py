"""Our APDUs as foreign parsers understand them, theirs as we do: hundreds of every service.

Gurux: our octets to its XML and back. What the XML says must be what we meant, and the octets that
it makes of the XML must be ours again. dlms-cosem: parsed and encoded again by its own classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, Final

import pytest

from blathy.client.chunk import Chunk
from blathy.client.explain import explain_all
from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.cosem.service import AttributeRef, MethodRef
from blathy.wire import apdu
from tests.interop.generated_apdus import ACSE, MAKERS, generated
from tests.interop.peers import Peer
from tests.interop.test_every_model import as_the_peer_writes

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]
EACH: Final = 25
NEVER: Final = "has the name of the class only"
GURUX_READS_NOT: Final = {
    "set-request-first-datablock": "shows the head only",
    "action-request-first-pblock": NEVER,
    "action-request-next-pblock": "takes the block number for a method",
    "access-response": "loses its place after some values",
    "confirmed-service-error": "",
    "initiate-request": "",
    "initiate-response": "",
}
"""Kind -> what its translator does instead; empty where it reads and its XML has another form."""
GURUX_WRITES_NOT: Final = {
    "get-request-with-list": "puts the length of all in front of each attribute",
    "get-response-with-list": "calls a method that Python's XML has not",
    "set-request-first-datablock": "writes the head only",
    "set-response-last-datablock": "calls a method that Python's XML has not",
    "set-response-with-list": "takes the number of results for an error",
    "action-request-first-pblock": NEVER,
    "action-request-next-pblock": "takes the block number for a method",
    "action-response-normal": "leaves out the octet for no data",
    "access-response": "loses its place after some values",
    "data-notification": "has no way to set the date-time",
    "read-response": "forgets the choice octet of every value but the first",
    "read-response, errors": "puts the values before the choices",
    "write-request": "writes the number of values twice",
    "write-response": "puts the results before the errors",
    "confirmed-service-error": "calls a method of another language",
    "initiate-request": "writes a conformance block of its own",
    "initiate-response": "writes an empty conformance block",
    "general-block-transfer": "has no such command",
    "aarq": "adds the ACSE requirements and a conformance block of its own",
    "aare": "writes an empty conformance block",
}
NAMES: Final = {"Result", "DataAccessResult", "DataAccessError", "StateError", "ServiceError"}
"""Numbers that the XML has words for; the way back shows that they are the right ones."""
UNSAID: Final = {"result", "results", "returned", "state", "service", "tagged_time", "bare_time"}
SIGNED: Final = {"Int8": 8, "Int16": 16, "Int32": 32, "Int64": 64}


@pytest.fixture(scope="module")
def gurux() -> Iterator[Peer]:
    with Peer("gurux_client") as peer:
        yield peer


@pytest.fixture(scope="module")
def dlms_cosem() -> Iterator[Peer]:
    with Peer("dlms_cosem_client") as peer:
        yield peer


@pytest.mark.requirement("K-17")
@pytest.mark.parametrize("kind", [k for k in MAKERS if k not in GURUX_READS_NOT])
def test_gurux_reads_what_we_mean(gurux: Peer, kind: str) -> None:
    octets = generated(kind, EACH)
    answer = gurux({"translate": [each.hex() for each in octets]})
    for each, found in zip(octets, answer["translated"], strict=True):
        assert said(found["xml"]) == meant(apdu.decode(each)), found["xml"]


@pytest.mark.requirement("K-17")
@pytest.mark.parametrize("kind", [k for k in (*MAKERS, *ACSE) if k not in GURUX_WRITES_NOT])
def test_gurux_makes_the_same_octets(gurux: Peer, kind: str) -> None:
    octets = generated(kind, EACH)
    answer = gurux({"translate": [each.hex() for each in octets]})
    assert [found["back"] for found in answer["translated"]] == [each.hex() for each in octets]


@pytest.mark.parametrize("kind", GURUX_WRITES_NOT)
def test_what_gurux_does_not_write_is_still_so(gurux: Peer, kind: str) -> None:
    octets = generated(kind, EACH)
    answer = gurux({"translate": [each.hex() for each in octets]})
    back = [found.get("back") for found in answer["translated"]]
    assert back != [each.hex() for each in octets]


WITH_VALUES: Final = (
    "get-response-normal", "get-response-with-list", "set-request-normal",
    "action-request-normal", "action-response-normal, data", "access-request",
    "event-notification", "data-notification", "read-response", "information-report",
)  # fmt: skip


@pytest.mark.parametrize("kind", WITH_VALUES)
def test_our_explanation_says_the_values_that_gurux_says(gurux: Peer, kind: str) -> None:
    octets = generated(kind, EACH)
    answer = gurux({"translate": [each.hex() for each in octets]})
    for each, found in zip(octets, answer["translated"], strict=True):
        nodes = explain_all([Chunk("meter", each)])
        text = "\n".join(line for node in nodes for line in node.lines())
        for tag, digits in re.findall(r'<(U?Int\d+|Enum) Value="(\w+)"', found["xml"]):
            assert re.search(rf"(?<!\d){_word(tag, digits)}(?!\d)", text), (found["xml"], text)


DLMS_COSEM_KNOWS: Final = (
    "get-request-normal", "get-request-next", "get-request-with-list",
    "get-response-normal, error", "get-response-with-datablock", "set-request-normal",
    "set-response-normal", "action-request-normal", "action-request-normal, bare",
    "action-response-normal", "action-response-normal, data", "exception-response",
    "confirmed-service-error",
)  # fmt: skip
NO_BITS: Final = "BitStringData have not implemented"


@pytest.mark.requirement("K-17")
@pytest.mark.parametrize("kind", DLMS_COSEM_KNOWS)
def test_dlms_cosem_makes_the_same_octets(dlms_cosem: Peer, kind: str) -> None:
    octets = generated(kind, EACH)
    answer = dlms_cosem({"translate": [each.hex() for each in octets]})["translated"]
    known = [
        (each.hex(), found)
        for each, found in zip(octets, answer, strict=True)
        if NO_BITS not in found.get("failed", "")
    ]
    assert len(known) > EACH // 2
    assert [found.get("back", found) for _, found in known] == [each for each, _ in known]


@pytest.mark.requirement("K-17")
@pytest.mark.parametrize("kind", ["get-response-normal", "set-request-normal"])
def test_dlms_cosem_decodes_the_values_that_we_mean(dlms_cosem: Peer, kind: str) -> None:
    octets = generated(kind, EACH)
    answer = dlms_cosem({"translate": [each.hex() for each in octets]})["translated"]
    compared = 0
    for each, found in zip(octets, answer, strict=True):
        if "value" not in found:
            assert NO_BITS in found["failed"]
            continue
        ours = apdu.decode(each)
        assert isinstance(ours, (apdu.GetResponseNormal, apdu.SetRequestNormal))
        carried = ours.result if isinstance(ours, apdu.GetResponseNormal) else ours.value
        assert isinstance(carried, bytes)
        assert found["value"] == as_the_peer_writes(axdr.decode(carried))
        compared += 1
    assert compared > EACH // 2


# What an XML of Gurux says and what one of our APDUs means, in one language


def said(xml: str) -> list[Any]:
    return [
        _word(tag, text)
        for tag, text in re.findall(r'<(\w+) (?:Value|Name)="([^"]*)"', xml)
        if tag not in NAMES
    ]


def _word(tag: str, text: str) -> Any:
    if tag in SIGNED:
        number = int(text, 16)
        return number - (1 << SIGNED[tag]) if number >> SIGNED[tag] - 1 else number
    if tag in {"String", "BitString"}:
        return text
    if tag in {"OctetString", "InstanceId", "RawData", "BlockData", "DateTime"}:
        return text.lower()
    return int(text, 16)


def meant(item: Any, name: str = "") -> list[Any]:
    if isinstance(item, AttributeRef):
        head = [item.class_id, bytes(item.obis).hex(), item.attribute]
        if item.selector is None:
            return head
        return [*head, item.selector, *leaves(axdr.decode(item.parameters))]
    if isinstance(item, MethodRef):
        return [item.class_id, bytes(item.obis).hex(), item.method]
    if isinstance(item, apdu.GeneralBlockTransfer):
        control = item.last << 7 | item.streaming << 6 | item.window
        return [control, item.block, item.acknowledged, item.data.hex()]
    if is_dataclass(item):
        return [word for f in fields(item) for word in meant(getattr(item, f.name), f.name)]
    if isinstance(item, tuple):
        return [word for each in item for word in meant(each, name)]
    if isinstance(item, bytes):
        if name in {"time", "raw"}:
            return [item.hex()]
        return leaves(axdr.decode(item)) if item else []
    if name in UNSAID or item is None or isinstance(item, apdu.AccessKind):
        return []
    return [int(item)]


def leaves(data: Data) -> list[Any]:
    if data.type in {DataType.ARRAY, DataType.STRUCTURE}:
        return [word for item in data.value for word in leaves(item)]
    if data.type is DataType.NULL_DATA:
        return []
    if data.type is DataType.OCTET_STRING:
        return [bytes(data.value).hex()]
    if data.type in {DataType.VISIBLE_STRING, DataType.BIT_STRING}:
        return [data.value]
    return [int(data.value)]
