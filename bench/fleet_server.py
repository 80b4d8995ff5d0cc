"""A fleet for `bench.collection`, in a process of its own: prints where its meters are, then, for
every line it is sent, the CPU seconds it has used; ends with its input."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import tempfile
import time
from pathlib import Path

from blathy.clock import Zone
from blathy.fleet.fleet import Fleet
from blathy.meter.meter import new_meter
from blathy.models import MODELS
from blathy.sources.synthetic import LoadSpec, SyntheticSource

MODEL = "omnipower"
HISTORY_S = 2 * 86_400
FIRST_SERIAL = 41_000_000


async def serve(count: int, folder: Path) -> None:
    fleet = Fleet.open(folder / "fleet.sqlite")
    start = int(time.time()) // 86_400 * 86_400 - HISTORY_S
    zone = Zone("Europe/Budapest")
    for number in range(count):
        meter = new_meter(
            MODELS[MODEL], FIRST_SERIAL + number, "bench", start_utc_s=start,
            entropy=secrets.token_bytes, keeper=fleet.keeper(f"m{number}"),
        )  # fmt: skip
        source = SyntheticSource(LoadSpec(annual_kwh=3000.0), 1, number, zone)
        host = f"127.77.{number // 250}.{number % 250 + 1}"
        fleet.add(f"m{number}", meter, source, host)
    fleet.catch_up(int(time.time()))
    await fleet.serve(0)
    fleet.start()
    places = [
        {
            "host": one.host, "port": one.port, "ek": one.meter.key("unicast").hex(),
            "ak": one.meter.key("authentication").hex(),
        }
        for one in fleet.running.values()
    ]  # fmt: skip
    print(json.dumps(places), flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(time.process_time(), flush=True)
    await fleet.stop()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as where:
        asyncio.run(serve(int(sys.argv[1]), Path(where)))
