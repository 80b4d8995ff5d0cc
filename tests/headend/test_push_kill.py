"""kill -9 while pushes come in: what was confirmed is there, and nothing is there twice."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from blathy.headend import HeadEnd
from blathy.headend.schema import event, push_message
from blathy.meter.meter import Meter
from blathy.meter.pushing import PushMessage, is_confirmation, push_apdus
from blathy.models import MODELS
from blathy.obis import Obis
from blathy.wire import wrapper
from tests.headend.small_fleet import SmallFleet, small_fleet

PUSHES = 6
CONFIRMED = 0x4000_0000
NAMES = ("terminal_cover_opened", "main_cover_opened", "device_error", "phase_lost",
         "overvoltage_start", "undervoltage_start")  # fmt: skip
BITS = tuple(MODELS["mt372"].alarms[name][1] for name in NAMES)
"""Their bits in the first alarm register."""
CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
import sqlalchemy as sa
from blathy.headend import HeadEnd

folder, die_at = Path(sys.argv[1]), int(sys.argv[2])
steps = 0

def step(*_):
    global steps
    steps += 1
    if steps == die_at:
        os.kill(os.getpid(), signal.SIGKILL)

async def work():
    head = HeadEnd.open(folder, None, schedules=())
    head.collector.follow = lambda point: None
    head.pushes._follow = lambda point: None
    port = await head.listen("127.0.0.1", 0)
    for name in ("before_cursor_execute", "after_cursor_execute", "commit", "savepoint",
                 "release_savepoint"):
        sa.event.listen(head.database.engine, name, step)
    whole = head.pushes._confirm
    def confirm(*arguments):
        step()
        whole(*arguments)
        step()
    head.pushes._confirm = confirm
    print(port, flush=True)
    await asyncio.sleep(600)

asyncio.run(work())
"""


class Sender:
    """A meter that keeps its messages until they are confirmed."""

    def __init__(self, small: SmallFleet) -> None:
        self.meter: Meter = small.meters["mt372"]
        self.messages: list[PushMessage] = []
        bits = 0
        for bit in BITS:
            bits |= 1 << bit
            self.meter.settings[b"alarm:\x01"] = bits.to_bytes(4, "big")
            self.meter.push(Obis.parse("0-0:25.9.0"))
            self.messages.append(self.meter.outbox.pushes.pop())
        self.invoke = 0
        self.confirmed: list[int] = []

    async def send(self, port: int, number: int) -> bool:
        """One attempt; whether it was confirmed."""
        self.invoke += 1
        invoke = self.invoke | CONFIRMED
        message = self.messages[number]
        packets = [wrapper.encode(1, 102, o) for o in push_apdus(self.meter, message, invoke)]
        try:
            async with asyncio.timeout(60):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(b"".join(packets))
                    await writer.drain()
                    header = await reader.readexactly(8)
                    answer = await reader.readexactly(int.from_bytes(header[6:8], "big"))
                finally:
                    writer.close()
        except (OSError, asyncio.IncompleteReadError):
            return False
        assert is_confirmation(self.meter, message, answer, invoke)
        self.confirmed.append(number)
        return True


@contextlib.asynccontextmanager
async def child(folder: Path, die_at: int) -> Any:
    line = [sys.executable, "-c", CHILD, str(folder), str(die_at)]
    process = await asyncio.create_subprocess_exec(*line, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 120))
        yield port
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def killed(tmp_path: Path, small: SmallFleet, die_at: int) -> bool:
    """The head-end dies at that step; the rest is sent to the next one. False: it lived on."""
    folder = tmp_path / f"head-{die_at}"
    first = HeadEnd.open(folder, small.site, schedules=())
    await first.collector.read_events(first.inventory.points["mt372"])
    await first.stop()
    sender = Sender(small)
    died = False
    async with child(folder, die_at) as port:
        for number in range(PUSHES):
            died = not await sender.send(port, number)
            if died:
                break
    check(folder, sender.confirmed)
    async with child(folder, 0) as port:
        for number in range(len(sender.confirmed), PUSHES):
            assert await sender.send(port, number)
    check(folder, list(range(PUSHES)))
    return died


def check(folder: Path, confirmed: list[int]) -> None:
    head = HeadEnd.open(folder, None, schedules=())
    try:
        kept = head.database.read_now(
            lambda c: [r.name for r in c.execute(sa.select(event).order_by(event.c.id))]
        )
        kept = [name for name in kept if name in NAMES]
        assert len(kept) == len(set(kept))
        assert {NAMES[n] for n in confirmed} <= set(kept)
        notes = head.database.read_now(lambda c: len(list(c.execute(sa.select(push_message)))))
        assert notes >= len(confirmed)
    finally:
        head.database.close()


def kill_at(tmp_path: Path, steps: list[int]) -> None:
    async def work() -> None:
        async with small_fleet(tmp_path / "fleet", ("mt372",)) as small:
            for step in steps:
                await killed(tmp_path, small, step)

    asyncio.run(work())


@pytest.mark.parametrize("step", [24])
def test_a_kill_loses_no_confirmed_push(tmp_path: Path, step: int) -> None:
    kill_at(tmp_path, [step])


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("share", range(4))
def test_a_kill_at_every_step_of_a_push(tmp_path: Path, share: int) -> None:
    async def work() -> None:
        async with small_fleet(tmp_path / "fleet", ("mt372",)) as small:
            step = 1 + share
            while await killed(tmp_path, small, step):
                step += 4

    asyncio.run(work())
