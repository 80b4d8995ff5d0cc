"""The store: what was committed comes back, what is visible lasts, counters never repeat."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from blathy.clock import Instant
from blathy.registers.ledger import Ledger
from blathy.registers.state import StateError
from blathy.store import Store, StoreDamagedError
from blathy.store.audit import ChainHead, first_break
from blathy.store.store import AUDIT_PART, mirror_of
from tests.registers.intervals import UTC_2026, A, block, full_plan, random_block

PLAN = full_plan()


def run_some(store: Store, name: str = "m1", seed: int = 1, commits: int = 5) -> Ledger:
    place = store.meter(name)
    ledger = Ledger(PLAN, UTC_2026)
    rng = np.random.default_rng(seed)
    for _ in range(commits):
        ledger.step(random_block(rng, ledger.now, 59, 300))
        ledger.step(block(ledger.now, 1, 300))
        ledger.end_billing_period("tester")
        place.stage(ledger, {"control": b"\x01\x02"})
        assert store.commit().ok
    return ledger


def test_what_was_committed_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "meters.db"
    store = Store.open(path)
    ledgers = {name: run_some(store, name, seed) for seed, name in enumerate(("m1", "m2"))}
    store.close()
    again = Store.open(path)
    assert again.meters() == ["m1", "m2"]
    assert not again.faults
    for name, ledger in ledgers.items():
        found = again.meter(name).load_ledger(PLAN)
        assert found is not None
        back, saved = found
        assert back.state_hash() == ledger.state_hash()
        assert saved.parts["control"] == b"\x01\x02"
        one, other = back.snapshot(), ledger.snapshot()
        for profile in one.profiles:
            assert np.array_equal(one.profiles[profile].rows(), other.profiles[profile].rows())
        assert one.logs == other.logs
        back.step(block(back.now, 30, 60))
        ledger.step(block(ledger.now, 30, 60))
        assert back.state_hash() == ledger.state_hash()
    again.close()


def test_a_snapshot_is_visible_only_after_its_commit() -> None:
    store = Store.in_memory()
    place = store.meter("m1")
    ledger = Ledger(PLAN, UTC_2026)
    ledger.step(block(UTC_2026, 60, 60, watt=3600))
    place.stage(ledger)
    assert place.committed is None
    assert store.commit().meters == ("m1",)
    assert place.committed is not None
    assert place.committed.value(A) == 3600 * 1_000_000
    ledger.step(block(ledger.now, 60, 60, watt=3600))
    assert place.committed.value(A) == 3600 * 1_000_000


def test_all_meters_share_one_commit_a_second() -> None:
    store = Store.in_memory()
    second = 1_000_000_000
    for name in ("m1", "m2"):
        store.meter(name).stage(Ledger(PLAN, UTC_2026))
    commit = store.commit_due(Instant(second))
    assert commit is not None
    assert set(commit.meters) == {"m1", "m2"}
    assert store.commit_due(Instant(second + second - 1)) is None
    assert store.commit_due(Instant(2 * second)) is not None


def test_a_commit_in_between_never_puts_an_older_state_on_top() -> None:
    store = Store.in_memory()
    place = store.meter("m1")
    ledger = Ledger(PLAN, UTC_2026)
    place.stage(ledger)
    slow = store.begin_commit()
    assert slow is not None
    ledger.step(block(UTC_2026, 60, 60))
    place.stage(ledger)
    assert store.commit().ok  # a command that has to be durable at once
    store.write(slow)
    assert store.finish_commit(slow).ok
    assert place.committed is not None
    assert place.committed.clock.true_s == ledger.now
    found = place.load_ledger(PLAN)
    assert found is not None
    assert found[0].now == ledger.now


def test_nothing_staged_is_written_without_commit(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "meters.db")
    ledger = run_some(store)
    committed = ledger.state_hash()
    ledger.step(block(ledger.now, 60, 60))
    store.meter("m1").stage(ledger)
    other = Store.open(tmp_path / "meters.db")
    found = other.meter("m1").load_ledger(PLAN)
    assert found is not None
    assert found[0].state_hash() == committed


def test_another_plan_is_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "meters.db")
    run_some(store)
    with pytest.raises(StateError, match="another plan"):
        store.meter("m1").load_ledger(full_plan(rates=3))


def test_rings_stay_bounded_in_the_file(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "meters.db")
    place = store.meter("m1")
    ledger = Ledger(PLAN, UTC_2026)
    for _ in range(60):
        ledger.step(block(ledger.now, 96, 900))
        place.stage(ledger)
        store.commit()
    saved = place.load()
    assert saved is not None
    capacity = PLAN.profiles[0].capacity_entries
    assert capacity <= len(saved.content.rows["load"].rows) <= capacity + 96


def test_clearing_a_profile_lasts(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "meters.db")
    ledger = run_some(store)
    ledger.clear_profile("load", "tester")
    ledger.step(block(ledger.now, 4, 900))
    store.meter("m1").stage(ledger)
    store.close()
    found = Store.open(tmp_path / "meters.db").meter("m1").load_ledger(PLAN)
    assert found is not None
    assert len(found[0].snapshot().profiles["load"]) == 4


def test_reserved_values_never_repeat(tmp_path: Path) -> None:
    path = tmp_path / "meters.db"
    used: list[int] = []
    for _ in range(4):
        store = Store.open(path)
        for _ in range(3):
            used += store.meter("m1").reserve("invocation/guek", 64)
        del store  # no close: as if the process had died
    assert len(used) == len(set(used))
    assert used == sorted(used)


@pytest.mark.parametrize("harm", ["change", "delete", "move", "cut the end"])
def test_the_audit_trail_shows_every_manipulation(tmp_path: Path, harm: str) -> None:
    store = Store.open(tmp_path / "meters.db")
    run_some(store)
    saved = store.meter("m1").load()
    assert saved is not None
    trail, head = list(saved.audit), ChainHead.from_bytes(saved.parts[AUDIT_PART])
    assert len(trail) == 5
    assert first_break("m1", trail, head) is None
    assert first_break("m2", trail, head) == 0
    if harm == "change":
        trail[2] = type(trail[2])(2, type(trail[2].note)(0, "nobody", "nothing"), trail[2].digest)
    elif harm == "delete":
        del trail[2]
    elif harm == "move":
        trail[2], trail[3] = trail[3], trail[2]
    else:
        trail.pop()
    broken = first_break("m1", trail, head)
    assert broken == (4 if harm == "cut the end" else 2)


# --- storage that fails ----------------------------------------


class Failing(sqlite3.Connection):
    """Fails like a full or broken disk at chosen calls, for one file or both."""

    calls = 0
    fail_at = range(0)
    only = ""
    message = "disk I/O error"

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:  # type: ignore[override]
        Failing.calls += 1
        if Failing.calls in Failing.fail_at and sql != "ROLLBACK":
            raise sqlite3.OperationalError(Failing.message)
        return super().execute(sql, *parameters)  # type: ignore[arg-type]


@pytest.fixture
def disk() -> type[Failing]:
    Failing.calls, Failing.fail_at = 0, range(0)
    return Failing


@pytest.mark.parametrize("lasting", [1, 40])
def test_a_failing_disk_loses_nothing_and_heals(
    tmp_path: Path, disk: type[Failing], lasting: int
) -> None:
    """At every call of a commit, once and for a while: what is visible stays true."""
    for call in range(1, 40, 1 if lasting == 1 else 7):
        path = tmp_path / f"{call}.db"
        disk.fail_at = range(0)
        store = Store.open(path, factory=disk)
        ledger = run_some(store, commits=1)
        seen = store.meter("m1").committed
        disk.fail_at = range(disk.calls + call, disk.calls + call + lasting)
        for _ in range(6):
            ledger.step(block(ledger.now, 15, 60))
            store.meter("m1").stage(ledger)
            before, outcome = seen, store.commit()
            seen = store.meter("m1").committed
            assert seen is not None
            if not outcome.ok:
                assert seen is before
        disk.fail_at = range(0)
        ledger.step(block(ledger.now, 15, 60))
        store.meter("m1").stage(ledger)
        assert store.commit().ok
        found = Store.open(path).meter("m1").load_ledger(PLAN)
        assert found is not None
        assert found[0].state_hash() == ledger.state_hash()
        assert found[0].now == UTC_2026 + 60 * 300 + 7 * 900


def test_a_full_disk_is_an_error_and_the_first_success_says_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "meters.db")
    ledger = run_some(store, commits=1)
    for database in (store._main, store._mirror):
        assert database is not None
        pages = database._connection.execute("PRAGMA page_count").fetchone()[0]
        database._connection.execute(f"PRAGMA max_page_count = {pages}")
    ledger.step(random_block(np.random.default_rng(0), ledger.now, 3000, 300))
    store.meter("m1").stage(ledger)
    outcome = store.commit()
    assert "full" in outcome.error
    seen = store.meter("m1").committed
    assert seen is not None
    assert seen.clock.true_s == UTC_2026 + 60 * 300
    outcome = store.commit()  # the file is opened again, which lifts SQLite's own limit
    assert outcome.ok
    assert outcome.recovered
    seen = store.meter("m1").committed
    assert seen is not None
    assert seen.clock.true_s == ledger.now


# --- damage ----------------------------------------


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(bytes(data))


def small_store(path: Path) -> Ledger:
    store = Store.open(path)
    ledger = run_some(store, commits=3)
    store.meter("m1").reserve("counter", 64)
    store.close()
    return ledger


def check_after_damage(path: Path, ledger: Ledger) -> None:
    store = Store.open(path)
    try:
        place = store.meter("m1")
        found = place.load_ledger(PLAN)
        assert found is not None
        assert found[0].state_hash() == ledger.state_hash()
        assert len(found[1].audit) == 3
        assert place.reserve("counter", 1).start >= 64
    finally:
        store.close()


def flips(path: Path, ledger: Ledger, keep: dict[Path, bytes], bits: list[int]) -> None:
    for damaged in (path, mirror_of(path)):
        for bit in bits:
            for copy, data in keep.items():
                copy.write_bytes(data)
            flip(damaged, bit % (len(keep[damaged]) * 8))
            check_after_damage(path, ledger)
            for rest in path.parent.glob("*.damaged-*"):
                rest.unlink()


def test_a_flipped_bit_is_never_served(tmp_path: Path) -> None:
    path = tmp_path / "meters.db"
    ledger = small_store(path)
    keep = {copy: copy.read_bytes() for copy in (path, mirror_of(path))}
    rng = np.random.default_rng(7)
    flips(path, ledger, keep, rng.integers(0, len(keep[path]) * 8, size=60).tolist())


@pytest.mark.crash
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("share", range(8))
def test_no_flipped_bit_at_all_is_served(tmp_path: Path, share: int) -> None:
    path = tmp_path / "meters.db"
    ledger = small_store(path)
    keep = {copy: copy.read_bytes() for copy in (path, mirror_of(path))}
    flips(path, ledger, keep, list(range(11 * share, len(keep[path]) * 8, 88)))


def test_scrubbing_mends_the_copy_that_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "meters.db"
    small_store(path)
    other = sqlite3.connect(mirror_of(path))
    other.execute("UPDATE rows SET data = x'00' WHERE profile = 'load'")
    other.commit()
    other.close()
    store = Store.open(path)
    assert store.scrub() == 1
    assert "m1" in store.faults[0]
    assert store.scrub() == 0
    store.close()
    path.unlink()
    found = Store.open(path).meter("m1").load_ledger(PLAN)
    assert found is not None
    assert len(found[0].snapshot().profiles["load"]) > 0


def test_one_lost_file_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "meters.db"
    ledger = small_store(path)
    for lost in (path, mirror_of(path)):
        lost.unlink()
        check_after_damage(path, ledger)
        assert lost.exists()


def test_two_damaged_files_are_a_declared_fault_and_never_zero(tmp_path: Path) -> None:
    path = tmp_path / "meters.db"
    small_store(path)
    for copy in (path, mirror_of(path)):
        copy.write_bytes(b"\0" * 4096)
    with pytest.raises(StoreDamagedError, match="restore a backup"):
        Store.open(path)
    store = Store.renew(path)
    assert store.meters() == []
    assert len(list(tmp_path.glob("*.damaged-1"))) == 2
