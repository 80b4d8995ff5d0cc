"""Invocation counters: never given twice, never lowered, whatever happens to the file."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from blathy.client import counters, range_locks
from blathy.client.counters import FileCounterStore, FileKeyStore, StoreError
from blathy.client.range_locks import RangeLocks


def test_numbers_survive_and_never_come_twice(tmp_path: Path) -> None:
    seen: set[int] = set()
    for _ in range(5):
        store = FileCounterStore(tmp_path / "c")
        for _ in range(3):
            first = store.reserve("send:x", 10)
            numbers = set(range(first, first + 10))
            assert not numbers & seen
            seen |= numbers
        store.close()


def test_nothing_lowers_a_counter(tmp_path: Path) -> None:
    store = FileCounterStore(tmp_path / "c")
    store.advance("send:x", 1000)
    store.advance("send:x", 5)
    store.accept("receive:x", 50)
    store.accept("receive:x", 7)
    store.close()
    again = FileCounterStore(tmp_path / "c")
    assert again.reserve("send:x", 1) == 1000
    assert again.lowest("receive:x") == 50
    assert again.lowest("receive:y") == 0
    again.close()


def test_every_cut_and_every_flipped_octet_gives_no_number_twice(tmp_path: Path) -> None:
    file = tmp_path / "c"
    store = FileCounterStore(file)
    given = [store.reserve("send:x", 64) for _ in range(4)]
    store.close()
    whole = file.read_bytes()
    ends = [index for index, octet in enumerate(whole) if octet == 10 and index] + [len(whole)]
    for cut in range(len(whole)):
        # What stands after a crash: every line synced before it, and a part of the next.
        file.write_bytes(whole[:cut])
        synced = sum(end <= cut for end in ends)
        again = FileCounterStore(file)
        first = again.reserve("send:x", 1)
        assert first >= (given[synced - 1] + 64 if synced else 1)
        assert first not in {n + k for n in given[:synced] for k in range(64)}
        again.close()
        once_more = FileCounterStore(file)
        assert once_more.reserve("send:x", 1) > first
        once_more.close()


def test_an_older_line_or_noise_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "c"
    store = FileCounterStore(file)
    store.reserve("send:x", 1)
    early = file.read_bytes()
    store.reserve("send:x", 500)
    store.close()
    draw = random.Random(1)
    file.write_bytes(file.read_bytes() + early + draw.randbytes(300) + b"\n s send:x 1 00000000\n")
    again = FileCounterStore(file)
    assert again.reserve("send:x", 1) == 502
    again.close()


def test_a_long_journal_is_written_anew_without_losing_anything(tmp_path: Path) -> None:
    file = tmp_path / "c"
    store = FileCounterStore(file)
    for number in range(5000):
        store.accept(f"receive:{number % 7}", number)
    store.reserve("send:x", 99)
    store.close()
    large = file.stat().st_size
    store = FileCounterStore(file)
    assert file.stat().st_size < large / 100
    assert store.reserve("send:x", 1) == 100
    assert store.lowest("receive:3") == 4994 // 7 * 7 + 3 - (7 if 4994 // 7 * 7 + 3 > 4999 else 0)
    store.close()


@pytest.mark.parametrize("places", [True, False])
def test_whoever_wants_the_file_alone_gets_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: bool
) -> None:
    """Also where a system has locks of whole files only."""
    monkeypatch.setattr(RangeLocks, "available", RangeLocks.available and places)
    monkeypatch.setattr(counters, "_REWRITING_S", 0.01)
    one = FileCounterStore(tmp_path / "c", alone=True)
    for alone in (True, False):
        with pytest.raises(StoreError, match="another process"):
            FileCounterStore(tmp_path / "c", alone=alone)
    assert one.lease("x") is not None
    one.close()
    with pytest.raises(StoreError, match="closed"):
        one.reserve("send:x", 1)


def test_a_system_without_file_locks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing there would keep two processes from using the same numbers."""
    monkeypatch.setattr(RangeLocks, "available", False)
    monkeypatch.setattr(range_locks, "fcntl", None)
    with pytest.raises(StoreError, match="no locks"):
        FileCounterStore(tmp_path / "c")


def test_a_file_system_that_has_no_more_locks_gives_an_error_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    with closing(FileCounterStore(tmp_path / "ic")) as store:
        monkeypatch.setattr(RangeLocks, "_set", none_left)
        with pytest.raises(StoreError, match="No locks available"):
            store.reserve("unicast", 1)
        with pytest.raises(StoreError, match="No locks available"):
            store.lease("4D4D4D")
        monkeypatch.undo()
        assert store.reserve("unicast", 1) == 1


def test_what_another_process_wrote_until_the_lock_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one reserves, writes the file anew and ends while we are about to take over."""
    file = tmp_path / "c"
    other = FileCounterStore(file)
    given = [other.reserve("send:x", 10)]
    locked = FileCounterStore._lock
    rounds = iter((True, False))

    def slow(store: FileCounterStore, handle: int) -> bool:
        if next(rounds, False):
            given.append(other.reserve("send:x", 10))
            other.close()
            third = FileCounterStore(file)  # finds it long and writes it anew
            given.append(third.reserve("send:x", 10))
            third.close()
        return locked(store, handle)

    monkeypatch.setattr(counters, "_COMPACT_LINES", 1)
    monkeypatch.setattr(FileCounterStore, "_lock", slow)
    ours = FileCounterStore(file)
    assert ours.reserve("send:x", 10) == given[-1] + 10
    ours.close()
    monkeypatch.undo()
    again = FileCounterStore(file)
    assert again.reserve("send:x", 1) == given[-1] + 20, "it was written to the file in place"
    again.close()


def test_half_a_journal_written_anew_does_not_take_the_place_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "c"
    store = FileCounterStore(file)
    store.reserve("send:x", 5)
    store.reserve("send:x", 5)
    store.close()
    monkeypatch.setattr(counters, "_COMPACT_LINES", 1)
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, octets: write(handle, octets[:5]))
    with pytest.raises(StoreError, match="no space"):
        FileCounterStore(file)
    monkeypatch.undo()
    again = FileCounterStore(file)
    assert again.reserve("send:x", 1) == 11
    again.close()


def test_only_the_owner_may_read_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "_COMPACT_LINES", 1)
    for _ in range(3):
        store = FileCounterStore(tmp_path / "c")
        store.reserve("send:x", 10)
        store.close()
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o600


def test_a_disk_that_is_full_gives_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileCounterStore(tmp_path / "c")
    store.reserve("send:x", 1)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(StoreError, match="No space"):
        store.reserve("send:x", 1)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="closed"):
        store.reserve("send:x", 1)


def test_floors_are_synced_once_a_second_and_with_what_is_reserved_or_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync lasts milliseconds and a session has five answers; a kill loses none of them."""
    sync, on_disk = os.fdatasync, [b""]

    def synced(handle: int) -> None:
        sync(handle)
        on_disk[0] = (tmp_path / "c").read_bytes()

    def after_a_power_cut() -> int:
        (tmp_path / "cut").write_bytes(on_disk[0])
        store = FileCounterStore(tmp_path / "cut")
        store.close()
        return store.lowest("receive:x")

    monkeypatch.setattr(os, "fdatasync", synced)
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    store = FileCounterStore(tmp_path / "c")
    store.accept("receive:x", 10)
    assert after_a_power_cut() == 10
    for number in range(11, 20):
        store.accept("receive:x", number)
    other = FileCounterStore(tmp_path / "c")
    assert other.lowest("receive:x") == 19  # whatever happens to the first process
    assert after_a_power_cut() == 10
    now_s += counters.SYNC_EVERY_S
    store.accept("receive:x", 20)
    assert after_a_power_cut() == 20
    store.accept("receive:x", 21)
    store.reserve("send:x", 64)
    assert after_a_power_cut() == 21
    store.accept("receive:x", 22)
    store.close()
    assert after_a_power_cut() == 22
    other.close()


def test_killed_while_reserving_gives_no_number_twice(tmp_path: Path) -> None:
    program = (
        "import sys; from blathy.client.counters import FileCounterStore\n"
        f"s = FileCounterStore({str(tmp_path / 'c')!r})\n"
        "while True: print(s.reserve('send:x', 3), flush=True)"
    )
    seen: list[int] = []
    for round_ in range(3):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert process.stdout is not None
        seen += [int(process.stdout.readline()) for _ in range(20 + 7 * round_)]
        process.kill()
        rest = process.stdout.read().split(b"\n")
        seen += [int(line) for line in rest[:-1]]
        process.stdout.close()
        process.wait()
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't be used"):
        FileCounterStore(tmp_path / "file" / "c")


def test_key_files(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text('["10.0.0.7:4059"]\nek = "' + "00" * 16 + '"\npassword = "pass"\n')
    store = FileKeyStore(file)
    assert store.keys("10.0.0.7:4059").unicast == bytes(16)
    assert store.password("10.0.0.7:4059") == b"pass"
    assert store.keys("other").unicast == b""
    assert "00" * 16 not in repr(store)
    file.write_text('[a]\nek = "0011"\n')
    with pytest.raises(StoreError, match="wrong"):
        FileKeyStore(file).keys("a")
    file.write_text("not toml [")
    with pytest.raises(StoreError):
        FileKeyStore(file)
