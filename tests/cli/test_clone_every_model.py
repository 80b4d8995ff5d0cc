"""Every model, cloned over its port as each of its clients: the clone answers as the original."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from blathy.cli.recorded_meter import Place, RecordedDevice
from blathy.client import Meter as Client
from blathy.client import ObjectCache, VolatileCounterStore
from blathy.client.clone import ALL_ROWS, clone
from blathy.cosem.objectlist import AccessRight, ObjectEntry
from blathy.cosem.service import AttributeRef
from blathy.meter.meter import Meter
from blathy.models import MODELS
from blathy.models.model import Association, Level, Mechanism
from blathy.models.recorded import RecordedMeter, read_recording, write_recording
from blathy.transport.dlms_session import serve_dlms
from blathy.transport.session import Endpoint
from blathy.wire.server import LogicalDevice
from tests.meter.running import fed, gurux, served
from tests.meter.test_interop_gurux import BY_GURUX_ITSELF

LIMIT_S = 600
MOVING_CLASS = 8
BY_GURUX_ELSEWHERE = frozenset({"mt372"})  # in test_clone_command
NOT_ALIKE = "the clock and the counters of received messages go on"


def clients_of(model: str) -> list[int]:
    """Those that associate: broadcasts have no answer, the maker's client needs the seal open."""
    return [
        each.client_sap
        for each in fed(model, 0).model.associations
        if each.level not in {Level.BROADCAST, Level.MANUFACTURER}
    ]


MANAGEMENT = 1
ALWAYS = (("mpta-1", True), ("k382m", True), ("esox", False))
"""The smallest, one in the middle and the largest, which gurux takes ten seconds to walk through;
the others, and the largest by gurux, come with the thorough rows."""
THOROUGH = [
    (model, client, client == MANAGEMENT and model not in BY_GURUX_ELSEWHERE)
    for model in MODELS
    for client in clients_of(model)
]
CASES = [
    *((model, MANAGEMENT, by_gurux) for model, by_gurux in ALWAYS),
    *(
        pytest.param(model, client, by_gurux, marks=pytest.mark.thorough)
        for model, client, by_gurux in THOROUGH
        if client != MANAGEMENT or (model, by_gurux) not in ALWAYS
    ),
]


def url_of(meter: Meter, association: Association, port: int) -> str:
    mechanism = meter.mechanism_of(association)
    names = {Mechanism.NONE: "none", Mechanism.LLS: "lls", Mechanism.HLS_GMAC: "hls5"}
    text = f"dlms://127.0.0.1:{port}?client={association.client_sap}&auth={names[mechanism]}"
    if mechanism is Mechanism.LLS:
        text += f"&password={meter.secret_of(association).decode()}"
    if mechanism is Mechanism.HLS_GMAC:
        keys = meter.key("unicast").hex(), meter.key("authentication").hex()
        text += f"&ek={keys[0]}&ak={keys[1]}"
    return text


Found = tuple[list[ObjectEntry], dict[tuple[int, str, int], bytes | int]]


async def everything(one: Client) -> Found:
    """The object list with its rights, and every attribute that it grants."""
    objects = await one.objects()
    refs = [
        AttributeRef(entry.class_id, entry.obis, row.index)
        for entry in objects
        for row in entry.attributes
        if row.right & AccessRight.READ
    ]
    octets = await one.read_octets(refs)
    keys = [(ref.class_id, str(ref.obis), ref.attribute) for ref in refs]
    return list(objects), dict(zip(keys, octets, strict=True))


def connect(url: str) -> Client:
    return Client.connect(url, cache=ObjectCache(), counters=VolatileCounterStore())


async def read_and_clone(url: str) -> tuple[Found, RecordedMeter]:
    async with connect(url) as one:
        return await everything(one), await clone(one, rows=ALL_ROWS)


async def read_the_clone(recorded: RecordedMeter, job: dict[str, Any]) -> tuple[Found, Any]:
    """With our client, and with gurux-dlms where a job is given."""
    served_one = RecordedDevice(recorded, 1, None)

    def lookup(_endpoint: Endpoint, server: int, _physical: int | None) -> LogicalDevice | None:
        return served_one.device if server == recorded.server else None

    listener, port = await serve_dlms(lookup, "127.0.0.1", 0)
    try:
        ready = served_one.ready([Place("dlms", "127.0.0.1", port)])
        url = ready["connections"][0]["url"]
        async with connect(url) as one:
            found = await everything(one)
        told = None
        if job:
            told = await asyncio.to_thread(gurux, job | job_of_url(url) | {"counter": 5000})
        return found, told
    finally:
        await listener.stop()


def job_of_url(url: str) -> dict[str, Any]:
    job: dict[str, Any] = dict(re.findall(r"(auth|password|ek|ak)=([^&]+)", url))
    job["client"] = int(re.findall(r"client=(\d+)", url)[0])
    job["port"] = int(url.split(":")[2].split("?")[0])
    return job


@pytest.mark.parametrize(("model", "client", "by_gurux"), CASES)
def test_a_clone_answers_as_its_original(model: str, client: int, by_gurux: bool) -> None:
    original = fed(model, 1)
    association = next(a for a in original.model.associations if a.client_sap == client)
    with served(original) as port:
        url = url_of(original, association, port)
        (objects, values), recorded = asyncio.run(asyncio.wait_for(read_and_clone(url), LIMIT_S))
    text = write_recording(recorded)
    assert read_recording(text) == recorded
    for secret in re.findall(r"(?:password|ek|ak)=([^&]+)", url):
        assert secret not in text
    job = {"walk": True, "clock": original.model.clock.obis.dotted()} if by_gurux else {}
    (cloned_objects, cloned), told = asyncio.run(
        asyncio.wait_for(read_the_clone(read_recording(text), job), LIMIT_S)
    )
    assert cloned_objects == objects
    assert cloned.keys() == values.keys()
    differing = {
        key
        for key, value in values.items()
        if key[0] != MOVING_CLASS and ":43.1." not in key[1] and cloned[key] != value
    }
    assert differing == set(), NOT_ALIKE
    if told is not None:
        assert [row[:2] for row in told["objects"]] == [
            [entry.class_id, entry.obis.dotted()] for entry in objects
        ]
        assert [row for row in told["wrong"] if (row[0], row[2]) not in BY_GURUX_ITSELF] == []
