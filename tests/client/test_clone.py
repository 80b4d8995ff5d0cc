"""Reading a meter's object model: through refusals, odd answers and lost connections."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from blathy.client import Meter, MeterError, ObjectCache, VolatileCounterStore
from blathy.client.clone import ALL_ROWS, clone
from blathy.cosem.service import AttributeRef, DataAccessResult, Requester
from blathy.models.recorded import RecordedMeter, read_recording, write_recording
from blathy.transport.dlms_session import DlmsSession
from blathy.transport.errors import Unreachable
from blathy.transport.memory import SessionLine
from tests.client.small_meter import (
    ENERGY,
    ENTRIES,
    PROFILE,
    SECRET,
    SECURE,
    SERIAL,
    SmallMeter,
    address,
    device,
    line,
    lookup,
)
from tests.client.test_optical_port import ENDPOINT


async def cloned(model: SmallMeter, query: str = "client=16", **options: object) -> RecordedMeter:
    one = Meter.connect(
        address(query), line=line(device(model)), cache=ObjectCache(),
        counters=VolatileCounterStore(),
    )  # fmt: skip
    async with one:
        return await clone(one, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("query", ["client=16", "client=4", "client=5&sn=1", SECURE])
def test_what_is_refused_is_marked_and_the_rest_is_there(query: str) -> None:
    found = asyncio.run(cloned(SmallMeter(), query, rows=ALL_ROWS))
    energy = found.find(3, ENERGY)
    assert energy is not None
    assert energy.value(2) == bytes.fromhex("060012D687")
    secret = found.find(1, SECRET)
    assert secret is not None
    assert {row.refused for row in secret.attributes} == {DataAccessResult.READ_WRITE_DENIED}
    profile = found.find(7, PROFILE)
    assert profile is not None
    assert (profile.value(2) or b"")[:2] == b"\x01\x60"
    assert read_recording(write_recording(found)) == found


def test_secrets_stay_out_of_the_file() -> None:
    text = write_recording(asyncio.run(cloned(SmallMeter(), SECURE)))
    for name in ("ek", "ak"):
        secret = SECURE.split(f"{name}=")[1].split("&")[0]
        assert secret.lower() not in text.lower()


@dataclass
class OddMeter(SmallMeter):
    """One attribute has an answer that is no answer at all."""

    odd: bytes = b"\x09\x10short"

    def get(self, ref: AttributeRef, who: Requester) -> bytes:
        if ref.obis == SERIAL and ref.attribute == 2:
            return self.odd
        return super().get(ref, who)


@pytest.mark.parametrize("query", ["client=16", "client=4", SECURE])
def test_one_odd_answer_does_not_end_it(query: str) -> None:
    found = asyncio.run(cloned(OddMeter(), query))
    assert len(found.objects) == len(ENTRIES)
    energy = found.find(3, ENERGY)
    assert energy is not None
    assert energy.value(2) == bytes.fromhex("060012D687")


class EndingLine(SessionLine):
    """Gone after so many transmissions of the client."""

    left = 0

    def send(self, data: bytes) -> None:
        self.left -= 1
        if self.left < 0:
            self.finish(Unreachable("the line is gone"))
        super().send(data)


def test_a_lost_connection_is_taken_up_again() -> None:
    """Every connection ends after some requests; together they read what one would have read."""
    model = SmallMeter()
    parts: list[RecordedMeter] = []

    async def once(left: int) -> RecordedMeter:
        session = DlmsSession(ENDPOINT, lambda _: None, lookup(device(model)))
        found = EndingLine(session)
        found.left = left
        one = Meter.connect(address("client=4"), line=found, cache=ObjectCache())
        async with one:
            return await clone(
                one, begun=parts[-1] if parts else None, keep=parts.append, rows=ALL_ROWS
            )

    whole = asyncio.run(once(10_000))
    parts.clear()
    model.asked.clear()
    failures = 0
    while True:
        try:
            found = asyncio.run(once(18))
            break
        except MeterError:
            failures += 1
            assert failures < 20
    assert failures > 1
    assert found.objects == whole.objects
    # nothing is read twice but the list and the object at which a connection broke
    asked = [ref for ref in model.asked if (ref.class_id, ref.attribute) == (3, 2)]
    assert len(asked) <= 2 + failures
