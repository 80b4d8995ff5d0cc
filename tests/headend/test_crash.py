"""kill -9 at any step of ingest: what was acknowledged is there, and nothing is there twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from blathy.headend import schema
from blathy.headend.database import Database
from blathy.headend.inventory.registry import Inventory
from blathy.headend.inventory.sealing import Sealer
from blathy.headend.readings.ingest import ingest
from blathy.headend.readings.series import read_series
from tests.headend.conftest import NOON
from tests.headend.fake_meters import ZONE

STEP = 900
BATCHES = 12
SLOTS = 40
SHARES = 8
"""The steps are shared out, so that several processes can kill at a time."""
FIRST = NOON - NOON % STEP - BATCHES * SLOTS * STEP // 2
CHILD = """
import os, signal, sys
from pathlib import Path
import sqlalchemy as sa
from blathy.headend.database import Database
from blathy.headend.inventory.registry import Inventory
from blathy.headend.inventory.sealing import Sealer
from blathy.headend.readings.ingest import ingest, seal
from tests.headend import test_crash as t
from tests.headend.fake_meters import ZONE, demo_site

def work(path, die_at, say):
    database = Database.in_file(path)
    inventory = Inventory(database, Sealer(b"k" * 32))
    inventory.load(demo_site(1), t.NOON)
    steps = 0

    def step(*_):
        nonlocal steps
        steps += 1
        if steps == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("before_cursor_execute", "after_cursor_execute", "commit", "savepoint",
                 "release_savepoint"):
        sa.event.listen(database.engine, name, step)
    channel = inventory.points["p-001"].meter.channels[0]
    for n in range(t.BATCHES):
        database.write_now(lambda c: ingest(c, [t.part(channel, n)], t.NOON + n * 7200))
        step()
        say(n)
        step()
        if n % 4 == 3:
            database.write_now(lambda c: seal(c, channel, ZONE, t.NOON + 86_400))
    say("steps", steps)

for die_at in map(int, sys.argv[2:]):
    child = os.fork()
    if child == 0:
        said = open(f"{sys.argv[1]}/{die_at}.txt", "w")
        work(Path(sys.argv[1]) / f"{die_at}.sqlite", die_at,
             lambda *what: print(*what, file=said, flush=True))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def part(channel: object, n: int) -> object:
    """Batch `n`: half of its slots are those of the batch before."""
    from tests.headend.test_ingest import batch

    slots = [FIRST + (n * SLOTS // 2 + k) * STEP for k in range(SLOTS)]
    return batch(channel, slots, [(s - FIRST) // STEP * 3 + 17 for s in slots])  # type: ignore[arg-type]


def run_children(folder: Path, die_at: Sequence[int]) -> dict[int, list[str]]:
    """What each of the processes had said when it died at its step; -1 is never."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), *map(str, die_at)],
        capture_output=True, text=True, check=False, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) <= {"0", "-9"}, done.stderr
    return {step: (folder / f"{step}.txt").read_text().splitlines() for step in die_at}


def check(path: Path, acknowledged: list[int]) -> None:
    """Everything acknowledged is there; then the rest is sent again, and all is there once."""
    database = Database.in_file(path)
    try:
        inventory = Inventory(database, Sealer(b"k" * 32))
        inventory.refresh()
        if not inventory.points:
            assert acknowledged == []
            return
        channel = inventory.points["p-001"].meter.channels[0]
        end = FIRST + (BATCHES + 1) * SLOTS // 2 * STEP
        series = database.read_now(lambda c: read_series(c, channel, ZONE, FIRST, end))
        there = set(series.start[series.register_known].tolist())
        for n in acknowledged:
            assert set(part(channel, n).slot_utc.tolist()) <= there  # type: ignore[attr-defined]
        for n in range(BATCHES):
            receipt = database.write_now(
                lambda c, n=n: ingest(c, [part(channel, n)], NOON + 10 * 86_400)  # type: ignore[list-item]
            )
            assert receipt.conflicts == []
        series = database.read_now(lambda c: read_series(c, channel, ZONE, FIRST, end))
        assert series.register_known.all()
        assert series.registers.tolist() == [n * 3 + 17 for n in range(len(series))]
        rows = database.read_now(
            lambda c: c.execute(
                sa.select(sa.func.count()).select_from(schema.reading_revision)
            ).scalar_one()
        )
        assert rows == 0
    finally:
        database.close()


def crash_at(folder: Path, steps: Sequence[int]) -> None:
    for step, lines in run_children(folder, steps).items():
        check(folder / f"{step}.sqlite", [int(line) for line in lines if line.isdigit()])


def test_a_kill_loses_nothing_acknowledged(tmp_path: Path) -> None:
    crash_at(tmp_path, [19, 47])


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("share", range(SHARES))
def test_a_kill_at_every_step(tmp_path: Path, share: int) -> None:
    (lines,) = run_children(tmp_path, [-1]).values()
    steps = int(lines[-1].split()[1])
    assert steps > 80
    crash_at(tmp_path, range(1 + share, steps + 1, SHARES))
