"""Meters of one process, each with its own address, keys and association, and sessions a second.

Memory is the resident set of a process that serves 10 000 associated meters on one listening
socket, against the same process before the first one: everything that a meter takes is in it, its
books, keys, counters, connection and association. The clients are in another process. Sessions are
whole ones (connect, HLS-GMAC, a register, 96 rows of a profile, release) over TCP on the loopback
device, one process serving and one reading: two cores. Before they are counted every meter has been
read once. The client keeps its counters in memory; in a file they take what its disk takes to sync.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

METERS: Final = 10_000
PER_CLIENT: Final = 5_000
SESSIONS_S: Final = 6.0
STEP: Final = 64
LANES: Final = 32  # sessions under way at a time
START_S: Final = 1_767_225_600


def _resident_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _address(number: int) -> str:
    return f"127.{2 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}"


def _raise_limit() -> int:
    """Open files that this process may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# --- the server ---------------------------------------------------------------------------------


def _profile_meter(number: int, days: int) -> Any:
    import secrets

    from tests.meter.simple_load import ConstantLoad

    from blathy.meter.meter import new_meter
    from blathy.models import MODELS

    model = MODELS["omnipower"]
    meter = new_meter(
        model, 10_000_000 + number, "bench", start_utc_s=START_S, entropy=secrets.token_bytes
    )
    if days:
        meter.advance(ConstantLoad(500, len(model.phases)), START_S + days * 86_400)
    return meter


async def _serve(count: int, days: int) -> None:
    """Serve until the parent closes standard input; answer `memory` with what is resident."""
    import gc

    from blathy.transport.dlms_session import serve_dlms
    from blathy.transport.limits import ListenerLimits

    limits = ListenerLimits(
        connections_max=count + 64, connections_per_source_max=count + 64,
        connections_per_source_and_meter_max=256,
    )  # fmt: skip
    _profile_meter(0, days).logical_device()
    gc.collect()
    before = _resident_kb()
    devices = {_address(n): _profile_meter(n, days).logical_device() for n in range(count)}
    gc.collect()
    made = _resident_kb()
    listener, port = await serve_dlms(
        lambda endpoint, _sap, _physical: devices.get(endpoint.local_ip), port=0, limits=limits
    )
    print(json.dumps({"port": port, "before": before, "made": made}), flush=True)
    loop = asyncio.get_running_loop()
    while command := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        gc.collect()
        cpu = time.process_time()
        print(json.dumps({"command": command, "resident": _resident_kb(), "cpu": cpu}), flush=True)
    await listener.stop()


# --- the clients --------------------------------------------------------------------------------


def _url(number: int, port: int) -> str:
    from blathy.meter.identity import identity_of
    from blathy.models import MODELS

    keys = identity_of(MODELS["omnipower"], 10_000_000 + number, "bench")
    return (
        f"dlms://{_address(number)}:{port}?client=1&auth=hls5"
        f"&ek={keys.encryption_key.hex()}&ak={keys.authentication_key.hex()}&timeout=60"
    )


async def _associate(first: int, count: int, port: int) -> None:
    """Associate with that many meters at once, read a register of each, hold them."""
    from blathy.client import Meter, ObjectCache, VolatileCounterStore

    cache, held = ObjectCache(), []
    counters = VolatileCounterStore()
    for start in range(first, first + count, STEP):
        numbers = range(start, min(start + STEP, first + count))
        meters = [
            Meter.connect(_url(n, port), counters=counters, cache=cache, type_key="bench")
            for n in numbers
        ]
        await asyncio.gather(*(meter.open() for meter in meters))
        held += meters
    print(json.dumps({"associated": len(held)}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def _sessions(port: int, meters: int, for_s: float) -> None:
    """Whole sessions, many at a time, until the time is over; first one with each meter, which is
    asked for its invocation counter then. Begins at a line on standard input."""
    from blathy.client import Meter, ObjectCache, VolatileCounterStore, parse_address
    from blathy.cosem.service import AttributeRef
    from blathy.obis import Obis

    cache, counters = ObjectCache(), VolatileCounterStore()
    addresses = [parse_address(_url(n, port)) for n in range(meters)]
    energy, profile = AttributeRef(3, Obis.parse("1-1:1.8.0"), 2), Obis.parse("1-1:99.1.0")

    async def session(turn: int) -> None:
        address = addresses[turn % meters]
        async with Meter.connect(
            address, counters=counters, cache=cache, type_key="bench"
        ) as meter:
            await meter.get(energy)
            found = await meter.profile(profile, since=START_S + 1, until=START_S + 86_400)
        assert len(found) == 96, len(found)

    for turn in range(meters):
        await session(turn)
    print(json.dumps({"met": meters}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    done, begun, cpu = 0, time.perf_counter(), time.process_time()

    async def work(lane: int) -> None:
        nonlocal done
        turn = lane
        while time.perf_counter() - begun < for_s:
            await session(turn)
            turn += LANES
            done += 1

    await asyncio.gather(*map(work, range(LANES)))
    elapsed = time.perf_counter() - begun
    figures = {"sessions": done, "seconds": elapsed, "cpu": time.process_time() - cpu}
    print(json.dumps(figures), flush=True)


# --- the benchmark ------------------------------------------------------------------------------


def _process(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.meters_served", *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def _tell(process: subprocess.Popen[str], text: str) -> dict[str, Any]:
    assert process.stdin is not None
    print(text, file=process.stdin, flush=True)
    return _line(process)


def _end(process: subprocess.Popen[str]) -> None:
    process.communicate("\n", timeout=120)


def _memory() -> list[dict[str, Any]]:
    count = min(METERS, _raise_limit() - 256)
    server = _process("serve", count, 0)
    opened = _line(server)
    clients = []
    for first in range(0, count, PER_CLIENT):
        client = _process("associate", first, min(PER_CLIENT, count - first), opened["port"])
        clients.append(client)
    associated = sum(_line(client)["associated"] for client in clients)
    resident = _tell(server, "memory")["resident"]
    for client in clients:
        _end(client)
    _end(server)
    return [
        {"work": "meters associated at once", "figure": associated, "unit": "", "goal": METERS},
        {
            "work": "memory of an associated meter", "unit": "kB", "goal": 20,
            "figure": (resident - opened["before"]) / associated,
        },
        {
            "work": "of it the meter without connection", "unit": "kB", "goal": None,
            "figure": (opened["made"] - opened["before"]) / count,
        },
    ]  # fmt: skip


def _speed() -> list[dict[str, Any]]:
    from bench.dlms_session import PEERS, peer_ms

    server = _process("serve", 64, 2)
    port = _line(server)["port"]
    client = _process("sessions", port, 64, SESSIONS_S)
    _line(client)
    begun = _tell(server, "before")["cpu"]
    figures = _tell(client, "go")
    served = _tell(server, "after")["cpu"] - begun
    _end(client)
    _end(server)
    sessions = figures["sessions"]
    name, of_client = "of it the CPU of the client's process", figures["cpu"] / sessions * 1e3
    return [
        {
            "work": f"whole sessions over TCP, {LANES} at a time, both sides", "unit": "1/s",
            "goal": 500, "figure": sessions / figures["seconds"],
        },
        *(
            {
                "work": name, "unit": "ms", "goal": 1.2, "figure": of_client,
                "peer": f"{peer}, without sockets", "peer_figure": peer_ms(script),
            }
            for peer, script in PEERS.items()
        ),
        {
            "work": "of it the CPU of the server's process", "unit": "ms", "goal": 1.2,
            "figure": served / sessions * 1e3,
        },
    ]  # fmt: skip


def run() -> list[dict[str, Any]]:
    """Memory of 10 000 associated meters, then sessions a second."""
    return [*_memory(), *_speed()]


def main(arguments: list[str]) -> None:
    """The other side of the benchmark, in a process of its own."""
    _raise_limit()
    kind, numbers = arguments[0], arguments[1:]
    if kind == "serve":
        asyncio.run(_serve(int(numbers[0]), int(numbers[1])))
    elif kind == "associate":
        asyncio.run(_associate(*(int(each) for each in numbers)))
    else:
        asyncio.run(_sessions(int(numbers[0]), int(numbers[1]), float(numbers[2])))


if __name__ == "__main__":
    main(sys.argv[1:])
