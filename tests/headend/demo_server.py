"""The real API over a small seeded site of fake meters, for work on the portal.

    .venv/bin/python -m tests.headend.demo_server [--port 8765]     log in with demo / demo

The meter of Nagy household (p-004) is silent; the bakery (p-003) has a gap of two hours.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

import uvicorn

from blathy.headend import HeadEnd
from blathy.headend.api import create_app
from blathy.headend.api.app import STATIC
from blathy.headend.collection.conversation import LoggedEvent, Outcome
from tests.headend.fake_meters import EVENT_NAMES, FakeDriver, demo_site, fake_meters


async def serve(port: int, static: Path = STATIC) -> None:
    meters = fake_meters(time.time())
    driver = FakeDriver(meters, time.time)
    with tempfile.TemporaryDirectory() as folder:
        head = HeadEnd.open(Path(folder), demo_site(), driver=driver, history_days=40)
        await head.collect_history()
        meters["61200548"].fails_with = Outcome.TIMED_OUT
        await head.start()
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(head, static),
                "127.0.0.1",
                port,
                log_level="warning",
                timeout_graceful_shutdown=2,
            )
        )

        async def happen() -> None:
            while True:
                await asyncio.sleep(45)
                name, code, phase, value = random.choice(EVENT_NAMES)
                meter = random.choice(list(meters.values())[:7])
                meter.events.append(
                    LoggedEvent("0-0:99.98.0", int(time.time()), code, name, phase, value)
                )

        happening = asyncio.create_task(happen())
        print(f"http://127.0.0.1:{port}  log in with demo / demo", flush=True)
        await server.serve()
        happening.cancel()
        await head.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--static", type=Path, default=STATIC, help="the built portal")
    asked = parser.parse_args()
    asyncio.run(serve(asked.port, asked.static))
