"""A client that this project did not write reads over HDLC through our server."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest

from blathy.transport.dlms_session import serve_dlms
from tests.client.small_meter import SmallMeter, device, lookup
from tests.processes import run

pytestmark = pytest.mark.interop


@pytest.mark.parametrize(("physical", "size"), [(0, 128), (17, 128), (17, 2030), (300, 64)])
def test_gurux_reads_over_hdlc(physical: int, size: int) -> None:
    async def test() -> None:
        found = device(SmallMeter(rows=300))
        listener, port = await serve_dlms(lookup(found, physical or None), "127.0.0.1", 0)
        peer = partial(run, port, physical, size, program="tests.transport.gurux_hdlc_peer")
        done = await asyncio.to_thread(peer)
        assert done.returncode == 0, done.stderr[-2000:]
        assert json.loads(done.stdout.splitlines()[-1]) == {
            "energy": 1_234_567, "unit": 30, "serial": "00012345", "rows": 300,
            "last": 1_000_000 + 299 * 100, "sizes": [size, size],
        }  # fmt: skip
        await listener.stop()

    asyncio.run(test())
