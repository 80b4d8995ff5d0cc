"""Crashes: kill -9 at random moments, and every way a write-ahead log can be cut or torn."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blathy.registers.ledger import Ledger
from blathy.store import Store
from blathy.store.audit import ChainHead, first_break
from blathy.store.database import Database
from blathy.store.store import AUDIT_PART, mirror_of
from tests.registers.intervals import QUARTER, UTC_2026, WH, A, block, full_plan
from tests.store.killed_meter import NAME, PLAN

ROOT = Path(__file__).resolve().parents[2]


def run_until_killed(path: Path, seconds: float) -> list[int]:
    """Start the meter process, kill it after a while, and return the last thing it showed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.killed_meter", str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(seconds)
    process.kill()
    lines = [first, *process.stdout.read().splitlines(keepends=True)]
    process.wait()
    process.stdout.close()
    whole = [line for line in lines if line.endswith("\n")]
    return [int(number) for number in whole[-1].split()]


def check_after_kill(path: Path, shown: list[int]) -> None:
    energy_uwh, rows, reserved = shown
    store = Store.open(path)
    place = store.meter(NAME)
    found = place.load_ledger(PLAN)
    assert found is not None
    ledger, saved = found
    seen = ledger.snapshot()
    assert seen.value(A) >= energy_uwh
    assert seen.profiles["load"].ring.end >= rows
    assert place.reserve("counter", 1).start >= reserved
    hours = (ledger.now - UTC_2026) // 3600
    assert seen.value(A) == hours * 6000 * WH  # nothing lost, nothing twice
    stamps = seen.profiles["load"].rows()[:, 0]
    assert stamps.tolist() == list(range(int(stamps[0]), ledger.now + 1, QUARTER))
    assert first_break(NAME, saved.audit, ChainHead.from_bytes(saved.parts[AUDIT_PART])) is None
    assert len(saved.audit) == hours
    store.close()


def kill_often(path: Path, times: int, seed: int) -> None:
    rng = random.Random(seed)
    before = 0
    for _ in range(times):
        shown = run_until_killed(path, rng.uniform(0.0, 0.25))
        check_after_kill(path, shown)
        assert shown[0] > before
        before = shown[0]


@pytest.mark.requirement("OMNI-01")
def test_killed_at_a_few_random_moments_nothing_shown_is_lost(tmp_path: Path) -> None:
    kill_often(tmp_path / "meters.db", 4, seed=11)


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("turn", range(10))
def test_killed_at_two_hundred_random_moments_nothing_shown_is_lost(
    tmp_path: Path, turn: int
) -> None:
    kill_often(tmp_path / "meters.db", 20, seed=12 + turn)


# --- the write-ahead log cut and torn at every place ----------------------------------------------


class Recorded:
    """Commits of one meter, with what was visible and how long the log was after each."""

    def __init__(self, path: Path, commits: int) -> None:
        self.path = path
        self.visible: list[tuple[int, str]] = []  # bytes of the log, state
        self._wal = path.with_name(path.name + "-wal")
        store = Store.open(path)
        place = store.meter(NAME)
        ledger = Ledger(full_plan(), UTC_2026)
        for _ in range(commits):
            ledger.step(block(ledger.now, 15, 60, watt=6000))
            place.stage(ledger)
            assert store.commit().ok
            self.visible.append((self._wal.stat().st_size, ledger.state_hash()))
        self.main = path.read_bytes()
        self.wal = self._wal.read_bytes()

    def recover(self, folder: Path, wal: bytes) -> str | None:
        """The state that a store finds after a crash that left this log; None for no meter."""
        folder.mkdir()
        copy = folder / self.path.name
        copy.write_bytes(self.main)
        copy.with_name(copy.name + "-wal").write_bytes(wal)
        store = Store.open(copy)
        found = store.meter(NAME).load_ledger(PLAN)
        store.close()
        shutil.rmtree(folder)
        return found[0].state_hash() if found else None


def test_a_log_cut_anywhere_gives_a_committed_state_not_older_than_the_last_synced(
    tmp_path: Path,
) -> None:
    recorded = Recorded(tmp_path / "meters.db", 8)
    first_size = recorded.visible[0][0]
    states = [state for _, state in recorded.visible]
    for length in [*range(first_size, len(recorded.wal), 1201), len(recorded.wal)]:
        whole = [state for size, state in recorded.visible if size <= length]
        found = recorded.recover(tmp_path / "crash", recorded.wal[:length])
        assert found in states
        assert states.index(found) >= len(whole) - 1


def test_a_torn_last_commit_gives_the_one_before_or_itself(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path / "meters.db", 5)
    synced, before = recorded.visible[-2]
    last = recorded.visible[-1][1]
    rng = random.Random(3)
    for torn_at in range(synced, len(recorded.wal), 997):
        noise = rng.randbytes(len(recorded.wal) - torn_at)
        found = recorded.recover(tmp_path / "crash", recorded.wal[:torn_at] + noise)
        assert found in {before, last}


def test_a_crash_between_the_two_copies_goes_on_from_the_newer(tmp_path: Path) -> None:
    path = tmp_path / "meters.db"
    store = Store.open(path)
    place = store.meter(NAME)
    ledger = Ledger(PLAN, UTC_2026)
    for _ in range(3):
        ledger.step(block(ledger.now, 15, 60))
        place.stage(ledger)
        store.commit()
    assert store._mirror is not None
    mirror, store._mirror = store._mirror, None
    store._mirror_wait = 100  # the process dies before the second copy is written
    ledger.step(block(ledger.now, 15, 60))
    place.stage(ledger)
    assert store.commit().degraded
    mirror.close()
    again = Store.open(path)
    found = again.meter(NAME).load_ledger(PLAN)
    assert found is not None
    assert found[0].state_hash() == ledger.state_hash()
    both = Database(mirror_of(path))
    assert both.commits() == 4
