"""Whatever a line does to a conversation, the client ends it in one of its own outcomes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from blathy.client import Meter, MeterError, ObjectCache, VolatileCounterStore
from blathy.quantity import Quantity, Unit
from blathy.transport.memory import Faults
from tests.client.small_meter import SECURE, SmallMeter, address, device, line
from tests.virtual_time import run_in_virtual_time

ENERGY = Quantity(1_234_567, 0, Unit.WH)


async def _one(seed: int, query: str, scheme: str, damage: float) -> str:
    where = replace(address(query, scheme), timeout_s=0.03)
    there = Faults(corruption=damage, loss=damage / 4, duplication=damage / 4, seed=seed)
    back = Faults(corruption=damage, loss=damage / 4, duplication=damage / 4, seed=seed + 1)
    made = line(device(SmallMeter()), there=there, back=back)
    meter = Meter.connect(where, line=made, cache=ObjectCache(), counters=VolatileCounterStore())
    try:
        async with meter:
            assert await meter.read("1-0:1.8.0") == ENERGY or "hdlc" not in scheme
            assert len(await meter.profile("1-0:99.1.0")) in range(97)
    except MeterError as error:
        return type(error).__name__
    return "fine"


def _many(count: int, query: str, scheme: str, damage: float) -> set[str]:
    async def run() -> set[str]:
        outcomes: set[str] = set()
        for start in range(0, count, 50):
            batch = (_one(seed * 7, query, scheme, damage) for seed in range(start, start + 50))
            outcomes |= set(await asyncio.gather(*batch))
        return outcomes

    outcomes: set[str] = run_in_virtual_time(run)
    return outcomes


@pytest.mark.parametrize("query", ["client=16", SECURE])
@pytest.mark.parametrize("scheme", ["dlms", "dlms+hdlc"])
def test_damaged_conversations_end_in_an_outcome(query: str, scheme: str) -> None:
    outcomes = _many(100, query, scheme, 0.1)
    assert len(outcomes) > 1


def test_hdlc_over_a_bad_line_is_right_or_says_so() -> None:
    assert "fine" in _many(100, "client=16", "dlms+hdlc", 0.02)


@pytest.mark.fuzz
def test_fuzz_many_damaged_conversations() -> None:
    for query in ("client=16", SECURE):
        for scheme in ("dlms", "dlms+hdlc", "dlms+udp"):
            _many(5000, query, scheme, 0.1)
