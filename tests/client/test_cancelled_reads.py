"""A read that is given up half-way leaves an association that still tells the truth, or none."""

from __future__ import annotations

import asyncio

import pytest

from blathy.client import Garbled, Meter, MeterError, ObjectCache, VolatileCounterStore
from blathy.quantity import Quantity, Unit
from blathy.transport.dlms_session import serve_dlms
from blathy.transport.memory import Faults
from tests.client.small_meter import PROFILE, SECURE, SmallMeter, address, device, line
from tests.client.small_meter import lookup as lookup_of
from tests.virtual_time import run_in_virtual_time

ENERGY = Quantity(1_234_567, 0, Unit.WH)
SHORT_NAMES = "client=5&sn=1"


@pytest.mark.parametrize("scheme", ["dlms", "dlms+hdlc"])
@pytest.mark.parametrize("query", ["client=16", SECURE, SHORT_NAMES])
def test_wherever_it_is_given_up_the_next_answer_is_right_or_an_outcome(
    query: str, scheme: str
) -> None:
    async def test() -> None:
        right = 0
        for steps in range(0, 128, 4):
            cache = ObjectCache()
            found = line(
                device(SmallMeter(), pdu_size=128), back=Faults(seed=steps, chunk_octets=7)
            )
            one = Meter.connect(
                address(f"{query}&timeout=2&frame=128", scheme), line=found, cache=cache,
                counters=VolatileCounterStore(),
            )  # fmt: skip
            async with one:
                assert await one.read("1-0:1.8.0") == ENERGY
                long = asyncio.create_task(one.profile(PROFILE))
                for _ in range(steps):
                    await asyncio.sleep(0)
                long.cancel()
                await asyncio.gather(long, return_exceptions=True)
                try:
                    told = await one.read("1-0:1.8.0"), len(await one.profile(PROFILE))
                except MeterError:
                    assert query == SHORT_NAMES  # whose answers carry no number: it must be closed
                    continue
                assert told == (ENERGY, 96)
                right += 1
        if query != SHORT_NAMES:
            assert right == 32

    run_in_virtual_time(test)


def test_an_error_in_the_body_releases_the_association() -> None:
    async def test() -> None:
        found = line(device(SmallMeter()))
        one = Meter.connect(address("client=16"), line=found, cache=ObjectCache())
        talks = []

        async def body() -> None:
            async with one:
                talks.append(one.conversation)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await body()
        assert not talks[0].association.associated
        assert found.ended

    run_in_virtual_time(test)


@pytest.mark.parametrize("scheme", ["dlms", "dlms+hdlc"])
def test_a_connection_that_ends_in_between_is_told_and_made_again_by_opening(scheme: str) -> None:
    async def test() -> None:
        lookup = lookup_of(device(SmallMeter()))
        listener, port = await serve_dlms(lookup, port=0)
        meter = Meter.connect(f"{scheme}://127.0.0.1:{port}?client=16", cache=ObjectCache())
        async with meter:
            assert await meter.read("1-0:1.8.0") == ENERGY
            await listener.stop()
            with pytest.raises(Garbled, match="association; open the meter again"):
                await meter.read("1-0:1.8.0")
        listener, _ = await serve_dlms(lookup, port=port)
        async with meter:
            assert await meter.read("1-0:1.8.0") == ENERGY
        await listener.stop()

    asyncio.run(asyncio.wait_for(test(), 240))
