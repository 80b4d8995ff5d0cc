"""A meter on a port and our client on it, as one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from blathy.cli.meter import connection_lines
from blathy.client import Meter as Client
from blathy.client import ObjectCache, ObjectRefused, VolatileCounterStore
from blathy.meter.meter import Meter
from blathy.models.model import Level
from tests.meter.running import served

Work = Callable[[Client], Coroutine[Any, Any, None]]


def with_client(meter: Meter, work: Work, level: Level = Level.MANAGEMENT) -> None:
    async def whole() -> None:
        lines = connection_lines(meter, [("127.0.0.1", port)], "test")
        url = next(line.split()[1] for line in lines if line.startswith(level.value))
        async with Client.connect(
            url, counters=VolatileCounterStore(), cache=ObjectCache()
        ) as client:
            await work(client)

    with served(meter) as port:
        asyncio.run(asyncio.wait_for(whole(), 120))


async def value(client: Client, code: str, number: int) -> Any:
    data = await client.get_data(await client.reference((code, number)))
    return data.value


async def refused(work: Coroutine[Any, Any, Any]) -> int:
    """The result of what is refused."""
    with pytest.raises(ObjectRefused) as found:
        await work
    return found.value.result
