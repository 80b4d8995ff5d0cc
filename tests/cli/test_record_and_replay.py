"""`blathy record` and `blathy replay` over TCP, HDLC and serial lines, in clear and ciphered."""

from __future__ import annotations

import asyncio
import os
import sys
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from blathy.client import Meter, ObjectCache, VolatileCounterStore
from blathy.client.capture import load
from blathy.client.turns import conversations_of
from blathy.quantity import Quantity, Unit
from blathy.transport.dlms_session import DlmsSession, Framing, serve_dlms
from blathy.transport.line import Line
from blathy.transport.serving import serve_line
from tests.cli.in_process import blathy
from tests.client.small_meter import AK, EK, SECURE, SmallMeter, device, lookup
from tests.client.test_optical_port import ENDPOINT, PseudoTerminal
from tests.wire.association_pair import repeatable_entropy

ENERGY = Quantity(1_234_567, 0, Unit.WH)
LIMIT_S = 240


@asynccontextmanager
async def command(*arguments: object) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The verb in a process of its own, and the place that it listens on."""
    ran = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from blathy.cli import main; main()", *map(str, arguments),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert ran.stdout is not None
    first = (await ran.stdout.readline()).decode()
    assert first, f"{arguments[0]} ended before it listened"
    try:
        yield ran, first.split()[-1]
    finally:
        if ran.returncode is None:
            ran.terminate()
        await ran.wait()


async def said(ran: asyncio.subprocess.Process) -> str:
    """What the verb printed until its end."""
    assert ran.stdout is not None
    text = (await ran.stdout.read()).decode()
    assert await ran.wait() == 0
    return text


@asynccontextmanager
async def meter_port(framing: Framing) -> AsyncIterator[str]:
    found = device(SmallMeter())
    listener, port = await serve_dlms(lookup(found), "127.0.0.1", 0, framing=framing)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await listener.stop()


async def energy(url: str, line: Line | None = None, seed: int = 7) -> object:
    """Read with a client whose challenges and counters are the same for the same seed."""
    one = Meter.connect(
        url, cache=ObjectCache(), counters=VolatileCounterStore(),
        entropy=repeatable_entropy(seed), line=line,
    )  # fmt: skip
    async with one:
        return await one.read("1-0:1.8.0")


@pytest.mark.parametrize(
    ("framing", "secured"), [(Framing.WRAPPER, True), (Framing.HDLC, False), (Framing.HDLC, True)]
)
def test_what_was_recorded_answers_as_the_meter(
    framing: Framing, secured: bool, tmp_path: Path
) -> None:
    """The record opens with its keys, plays the meter, and tells where a client differs."""
    file = tmp_path / "talk.txt"
    scheme = "dlms+hdlc" if framing is Framing.HDLC else "dlms"
    query = f"{SECURE}&ic=off" if secured else "client=2&auth=lls&password=12345678"

    async def test() -> None:
        async with meter_port(framing) as meter:
            verb = ("record", meter, file, "--listen", "127.0.0.1:0", "--once")
            async with command(*verb) as (ran, place):
                assert await energy(f"{scheme}://{place}?{query}") == ENERGY
                await said(ran)
            again = ("replay", file, "--listen", "127.0.0.1:0", "--once")
            async with command(*again) as (ran, place):
                assert await energy(f"{scheme}://{place}?{query}") == ENERGY
                assert "differs" not in await said(ran)
            if secured and framing is Framing.HDLC:
                return
            wait_s = 2 if secured else 120  # secured: the meter's silence is expected
            once_more = ("replay", file, "--against", meter, "--timeout", wait_s)
            async with command(*once_more) as (ran, _):
                assert ran.stdout is not None
                told = (await ran.stdout.read()).decode()
                status = await ran.wait()
            # fresh challenges and used counters: a meter can't answer a ciphered record alike
            assert (status != 0) is secured
            assert ("differs" in told) is secured

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))
    shown = blathy("explain", file, "--ek", EK.hex(), "--ak", AK.hex()) if secured else blathy(
        "explain", file
    )  # fmt: skip
    assert "1-0:1.8.0 value (active energy import" in shown.out
    assert "1 234.567 kWh" in shown.out
    assert "12345678" not in shown.out


def test_a_client_that_asks_something_else_is_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"

    async def test() -> None:
        async with meter_port(Framing.WRAPPER) as meter:
            verb = ("record", meter, file, "--listen", "127.0.0.1:0", "--once")
            async with command(*verb) as (ran, place):
                await energy(f"dlms://{place}?client=16")
                await said(ran)
        again = ("replay", file, "--listen", "127.0.0.1:0", "--once")
        async with command(*again) as (ran, place):
            one = Meter.connect(f"dlms://{place}?client=16&pdu=512", cache=ObjectCache())
            async with one:
                pass
            told = await said(ran)
        assert "the client differs from octet" in told
        assert "record: max pdu size: 65535" in told
        assert "now: max pdu size: 512" in told

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_two_clients_at_a_time_are_recorded_apart_and_both_given_back(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"

    async def test() -> None:
        async with (
            meter_port(Framing.WRAPPER) as meter,
            command("record", meter, file, "--listen", "127.0.0.1:0") as (_, place),
        ):
            url = f"dlms://{place}?client=16"
            assert set(await asyncio.gather(energy(url), energy(url))) == {ENERGY}
        assert len(conversations_of(load(str(file)))) == 2
        async with command("replay", file, "--listen", "127.0.0.1:0") as (_, place):
            for _ in range(2):
                assert await energy(f"dlms://{place}?client=16") == ENERGY

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_serial_lines_are_recorded_and_played(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"

    async def test() -> None:
        masters, slaves = zip(*(os.openpty() for _ in range(2)), strict=True)
        for handle in (*masters, *slaves):
            tty.setraw(handle)
        session = DlmsSession(
            ENDPOINT, lambda _: None, lookup(device(SmallMeter())), framing=Framing.HDLC
        )
        there, here = (PseudoTerminal(handle) for handle in masters)
        served = asyncio.create_task(serve_line(there, session))
        meter = f"serial://{os.ttyname(slaves[0])}?baud=9600"
        verb = ("record", meter, file, "--listen", "127.0.0.1:0", "--once")
        async with command(*verb) as (ran, place):
            assert await energy(f"dlms+hdlc://{place}?client=16&timeout=60") == ENERGY
            await said(ran)
        again = ("replay", file, "--listen", f"serial://{os.ttyname(slaves[1])}", "--once")
        async with command(*again) as (ran, _):
            url = "dlms+hdlc://meter?client=16&timeout=60"
            assert await energy(url, line=here) == ENERGY
            assert "differs" not in await said(ran)
        served.cancel()
        await asyncio.gather(served, return_exceptions=True)
        for line in (there, here):
            await line.close()
        for handle in (*masters, *slaves):
            os.close(handle)

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))
