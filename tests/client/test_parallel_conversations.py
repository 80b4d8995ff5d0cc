"""Several conversations with one meter under one system title and key: every counter arrives in
order, whoever of the tasks, threads and processes speaks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blathy.client import (
    FileCounterStore,
    Meter,
    ObjectCache,
    SyncMeter,
    VolatileCounterStore,
    lease,
)
from blathy.client.counters import StoreError
from blathy.transport.dlms_session import serve_dlms
from blathy.transport.memory import Faults
from blathy.wire.security import CounterStore, InvocationCounters
from blathy.wire.server import LogicalDevice
from tests.client.small_meter import (
    ENERGY,
    SECURE,
    TITLE,
    Entropy,
    SmallMeter,
    address,
    device,
    line,
    lookup,
    profiles,
)
from tests.loop_thread import listening

READS = 12


@contextmanager
def served(title: bytes = TITLE) -> Iterator[int]:
    """The port of a meter with a loop and a thread of its own."""

    async def begin() -> Any:
        own = InvocationCounters(VolatileCounterStore())
        one = LogicalDevice(profiles(), SmallMeter(), title, Entropy(), own)
        return await serve_dlms(lookup(one), port=0)

    with listening(begin) as port:
        yield port


def connect(port: int, counters: CounterStore, options: str = "") -> Meter:
    url = f"dlms://127.0.0.1:{port}?{SECURE}&ic=off{options}"
    return Meter.connect(url, counters=counters, cache=ObjectCache())


async def read_often(meter: Meter) -> int:
    found = 0
    async with meter:
        for _ in range(READS):
            found += (await meter.quantity(ENERGY)).mantissa == 1_234_567
    return found


@pytest.mark.parametrize("options", ["", "&dedicated=1", "&general=1"])
def test_tasks_of_one_process_take_turns(options: str) -> None:
    """Every connection has delays of its own, so that each overtakes the others."""

    async def work() -> None:
        counters, found = VolatileCounterStore(), device(SmallMeter())
        meters = [
            Meter.connect(
                address(SECURE + options), counters=counters, cache=ObjectCache(),
                line=line(found, there=Faults(jitter_s=0.003, seed=number)),
            )
            for number in range(6)
        ]  # fmt: skip
        assert await asyncio.gather(*map(read_often, meters)) == [READS] * 6

    asyncio.run(asyncio.wait_for(work(), 120))


def test_an_answer_that_another_conversation_has_overtaken_is_not_taken_for_an_attack() -> None:
    """One gives its request up; what the meter sends to it all the same is older than what the
    other has read in between."""

    async def work() -> None:
        counters, found = VolatileCounterStore(), device(SmallMeter())
        slow, quick = (
            Meter.connect(
                address(SECURE), counters=counters, cache=ObjectCache(),
                line=line(found, back=Faults(delay_s=delay_s)),
            )
            for delay_s in (0.05, 0.0)
        )  # fmt: skip
        async with slow, quick:
            reference = await slow.reference(ENERGY)
            asked = asyncio.create_task(slow.get(reference))
            await asyncio.sleep(0)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            assert (await quick.quantity(ENERGY)).mantissa == 1_234_567
            assert (await slow.quantity(ENERGY)).mantissa == 1_234_567

    asyncio.run(asyncio.wait_for(work(), 120))


def test_threads_with_one_store_take_turns(tmp_path: Path) -> None:
    store = FileCounterStore(tmp_path / "counters")
    found: list[int] = []

    def work(port: int) -> None:
        with SyncMeter(connect(port, store)) as meter:
            found.extend(meter.quantity(ENERGY).mantissa for _ in range(READS))

    with served() as port:
        threads = [threading.Thread(target=work, args=(port,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    store.close()
    assert found == [1_234_567] * 4 * READS


PROGRAM = """
import asyncio, sys
from blathy.client import FileCounterStore, Meter
async def work(url, file, sessions):
    counters = FileCounterStore(file)
    for _ in range(sessions):
        async with Meter.connect(url, counters=counters) as meter:
            print((await meter.read("1-0:1.8.0")).mantissa, flush=True)
            if sessions == 1:
                await asyncio.sleep(3600)
asyncio.run(work(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@contextmanager
def other_process(port: int, file: Path, sessions: int) -> Iterator[subprocess.Popen[bytes]]:
    url = f"dlms://127.0.0.1:{port}?{SECURE}&ic=off&cache=off"
    command = [sys.executable, "-c", PROGRAM, url, str(file), str(sessions)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_processes_with_one_counter_file_speak_with_one_meter_in_turn(tmp_path: Path) -> None:
    async def work(port: int) -> list[int]:
        store = FileCounterStore(tmp_path / "counters")
        try:
            return [await read_often(connect(port, store)) for _ in range(6)]
        finally:
            store.close()

    with served() as port, other_process(port, tmp_path / "counters", 8) as process:
        assert asyncio.run(asyncio.wait_for(work(port), 120)) == [READS] * 6
        assert process.communicate(timeout=120)[0].split() == [b"1234567"] * 8


def test_a_meter_that_another_process_speaks_with_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only that one; the error names what to do; and a process that is killed keeps nothing."""
    monkeypatch.setattr(lease, "LEASE_WAIT_S", 0.2)
    file = tmp_path / "counters"

    async def read(port: int, options: str = "") -> int:
        return await read_often(connect(port, store, options))

    with (
        served() as port,
        served(b"BLY\x00\x00\x00\x00\x07") as elsewhere,
        other_process(port, file, 1) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == b"1234567\n"
        store = FileCounterStore(file)
        with pytest.raises(StoreError, match=r"another process speaks .* title= of its own"):
            asyncio.run(read(port))
        assert asyncio.run(read(elsewhere)) == READS
        assert asyncio.run(read(port, "&title=4D4D4D0000000009")) == READS
        process.kill()
        process.communicate()
        assert asyncio.run(read(port)) == READS
        store.close()


def test_a_meter_at_rest_is_left_to_other_processes_and_taken_up_again(tmp_path: Path) -> None:
    """Two stores of one file are to each other as two processes are."""

    async def work(port: int) -> None:
        ours, theirs = (FileCounterStore(tmp_path / "counters") for _ in range(2))
        async with connect(port, ours) as meter:
            for _ in range(3):
                assert (await meter.quantity(ENERGY)).mantissa == 1_234_567
                meter.rest()
                assert await read_often(connect(port, theirs)) == READS
        ours.close()
        theirs.close()

    with served() as port:
        asyncio.run(asyncio.wait_for(work(port), 120))


def test_a_store_from_before_a_fork_gives_no_number(tmp_path: Path) -> None:
    store = FileCounterStore(tmp_path / "counters")
    child = os.fork()
    if not child:
        try:
            store.lease("x")
        except StoreError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert store.lease("x") is not None
    store.close()
