"""A client that this project did not write reads over HDLC through our server."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from blathy.transport.dlms_session import serve_dlms
from tests.client.small_meter import SmallMeter, device, lookup

pytestmark = pytest.mark.interop


@pytest.mark.parametrize(("physical", "size"), [(0, 128), (17, 128), (17, 2030), (300, 64)])
def test_gurux_reads_over_hdlc(physical: int, size: int) -> None:
    async def test() -> None:
        found = device(SmallMeter(rows=300))
        listener, port = await serve_dlms(lookup(found, physical or None), "127.0.0.1", 0)
        script = Path(__file__).with_name("gurux_hdlc_peer.py")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "ignore", str(script), str(port), str(physical), str(size),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, err.decode()[-2000:]
        assert json.loads(out.splitlines()[-1]) == {
            "energy": 1_234_567, "unit": 30, "serial": "00012345", "rows": 300,
            "last": 1_000_000 + 299 * 100, "sizes": [size, size],
        }  # fmt: skip
        await listener.stop()

    asyncio.run(test())
