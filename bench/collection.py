"""Collecting a fleet: every meter's energy register and the 96 rows of yesterday's load profile.

200 virtual meters of one process, each on its own address with keys of its own, read over TCP with
HLS-GMAC and suite 0, many at a time, by one client process. Every meter is connected to, associated
with, read and released. The first round is the first contact (object lists, invocation counters);
the rate is that of the rounds after it. Beside it gurux-dlms reads some of the same meters.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from blathy.client import Meter, ObjectCache, VolatileCounterStore

ROOT = Path(__file__).resolve().parent.parent
METERS, AT_ONCE, ROUNDS, PEER_METERS = 200, 40, 3, 8
REGISTER, PROFILE = "1-1:1.8.0", "1-1:99.1.0"
Place = dict[str, Any]


@contextmanager
def _fleet(count: int) -> Iterator[tuple[list[Place], subprocess.Popen[str]]]:
    """The meters' process, and where they are."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.fleet_server", str(count)], cwd=ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment(),
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline()), server
        finally:
            server.stdin.close()
            server.wait(60)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


def _server_cpu_s(server: subprocess.Popen[str]) -> float:
    assert server.stdin is not None
    assert server.stdout is not None
    print("cpu", file=server.stdin, flush=True)
    return float(server.stdout.readline())


def _yesterday() -> tuple[datetime, datetime]:
    """The quarters of the last whole day: the first stamp is its first quarter's end."""
    zone = ZoneInfo("Europe/Budapest")
    midnight = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    until = midnight.astimezone(UTC)
    return until - timedelta(days=1) + timedelta(minutes=15), until


async def _collect(places: list[Place], cache: ObjectCache, counters: VolatileCounterStore) -> int:
    """Read every meter once; the rows that came."""
    turn = asyncio.Semaphore(AT_ONCE)
    since, until = _yesterday()

    async def one(place: Place) -> int:
        url = (
            f"dlms://{place['host']}:{place['port']}?client=1&auth=hls5"
            f"&ek={place['ek']}&ak={place['ak']}"
        )
        async with (
            turn,
            Meter.connect(url, counters=counters, cache=cache, type_key="omnipower") as meter,
        ):
            await meter.read(REGISTER)
            return len(await meter.profile(PROFILE, since, until))

    return sum(await asyncio.gather(*map(one, places)))


def _gurux(places: list[Place]) -> dict[str, Any]:
    since, until = _yesterday()
    job = {
        "places": places, "client": 1, "auth": "hls5", "counter": 1 << 20,
        "register": "1.1.1.8.0.255", "profile": "1.1.99.1.0.255",
        "since": since.isoformat(), "until": until.isoformat(),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "bench.peers.gurux_collection"], cwd=ROOT, env=_environment(),
        input=json.dumps(job), capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def run() -> list[dict[str, Any]]:
    """Rates in meters a second, CPU in milliseconds a meter at both ends."""
    cache, counters = ObjectCache(), VolatileCounterStore()
    figures = []
    with _fleet(METERS) as (places, server):
        for _ in range(1 + ROUNDS):
            wall, own, theirs = time.perf_counter(), time.process_time(), _server_cpu_s(server)
            rows = asyncio.run(_collect(places, cache, counters))
            assert rows == 96 * METERS, f"{rows} rows of {METERS} meters"
            figures.append((
                METERS / (time.perf_counter() - wall),
                (time.process_time() - own) / METERS * 1e3,
                (_server_cpu_s(server) - theirs) / METERS * 1e3,
            ))  # fmt: skip
        peer = _gurux(places[:PEER_METERS])
        assert peer["rows"] == 96 * PEER_METERS
    first, *later = figures
    rate, own_ms, server_ms = sorted(later)[len(later) // 2]
    peer_rate, peer_ms = PEER_METERS / peer["wall_s"], peer["cpu_s"] / PEER_METERS * 1e3
    named = f"gurux-dlms, {PEER_METERS} one by one"
    return [
        {"work": f"collect {METERS} meters, register and 96 rows, HLS-GMAC", "figure": rate,
         "unit": "meters/s", "peer": named, "peer_figure": peer_rate},
        {"work": "the same at the first contact", "figure": first[0], "unit": "meters/s"},
        {"work": "CPU of the client", "figure": own_ms, "unit": "ms/meter", "peer": named,
         "peer_figure": peer_ms},
        {"work": "CPU of the meters' process", "figure": server_ms, "unit": "ms/meter"},
    ]  # fmt: skip
