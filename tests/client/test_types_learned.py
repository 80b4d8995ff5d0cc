"""Many meters of one type met at the same time: one is asked for what the type decides."""

from __future__ import annotations

import asyncio
from typing import Any

from blathy.client import Meter, ObjectCache
from blathy.transport.errors import MeterError
from blathy.transport.memory import Faults
from tests.client.small_meter import SmallMeter, address, device, line
from tests.virtual_time import run_in_virtual_time


def connect(model: SmallMeter, cache: ObjectCache, query: str, **faults: Any) -> Meter:
    where = address(f"client=16&{query}")
    return Meter.connect(where, line=line(device(model), **faults), cache=cache, type_key="small")


def test_forty_meters_of_a_type_met_at_once_send_one_object_list() -> None:
    async def test() -> None:
        models, cache = [SmallMeter() for _ in range(40)], ObjectCache()

        async def read(model: SmallMeter) -> object:
            async with connect(model, cache, "timeout=60") as one:
                return await one.read("1-0:1.8.0")

        values = await asyncio.gather(*map(read, models))
        assert len(set(map(str, values))) == 1
        lists = sum(ref.class_id == 15 for model in models for ref in model.asked)
        assert lists == 1

    run_in_virtual_time(test)


def test_a_dead_meter_holds_the_others_of_its_type_up_no_longer_than_a_timeout() -> None:
    async def test() -> None:
        cache = ObjectCache()
        dead = connect(SmallMeter(), cache, "timeout=60")
        knowledge = dead.knowledge
        held = asyncio.Event()

        async def learn_for_ever() -> None:
            async with knowledge.turn(60):
                held.set()
                await asyncio.Event().wait()

        stuck = asyncio.create_task(learn_for_ever())
        await held.wait()
        async with connect(SmallMeter(), cache, "timeout=1") as alive:
            assert await alive.objects()
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        async with knowledge.turn(60):
            pass  # whoever is cancelled gives the turn back

    run_in_virtual_time(test)


def test_who_fails_to_learn_leaves_it_to_the_next() -> None:
    async def test() -> None:
        cache, good = ObjectCache(), SmallMeter()

        async def objects(model: SmallMeter, **faults: Any) -> int:
            one = connect(model, cache, "timeout=1", **faults)
            try:
                async with one:
                    return len(await one.objects())
            except MeterError:
                return 0

        deaf = Faults(loss=1.0)
        found = await asyncio.gather(objects(SmallMeter(), back=deaf), objects(good))
        assert found[0] == 0
        assert found[1] > 0

    run_in_virtual_time(test)
