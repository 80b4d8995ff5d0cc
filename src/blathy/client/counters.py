"""Invocation counters and keys that survive: the ports that a client asks for, and their files.

Repeating an invocation counter under one key breaks AES-GCM altogether, so `FileCounterStore`
writes and syncs a number before anybody uses it. What the file says is never lowered, whoever
asks: not by a meter's report, not by an older copy of a line, not by a half-written one.

Receive floors are written before what came is handed on, but synced once a second at most: a sync
takes milliseconds and holds the loop, and a session has five answers. No crash of the process
loses one. A power cut can lose those of the last moments; the proof of the next HLS association,
which answers a fresh challenge under a number above all of them, puts the floor back before
anything else is taken.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import tomllib
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from blathy.client.range_locks import RangeLocks
from blathy.transport.errors import MeterError
from blathy.wire.security import CounterStore, KeySet, VolatileCounterStore

__all__ = [
    "CounterStore",
    "FileCounterStore",
    "FileKeyStore",
    "KeyStore",
    "LeasingStore",
    "StoreError",
    "VolatileCounterStore",
]

_COMPACT_LINES: Final = 4096
_PRESENT: Final = 0  # locked, beside each other, by all who use the file
_WRITING: Final = 1  # locked while numbers are set aside
_LEASES: Final = 2
_REWRITING_S: Final = 1.0  # a file is written anew in less
_LOOK_AGAIN_S: Final = 0.005
SYNC_EVERY_S: Final = 1.0
"""How often receive floors alone make the file be synced."""


class StoreError(MeterError):
    """A counter or key file can't be used."""


@runtime_checkable
class LeasingStore(Protocol):
    """A counter store that several processes share: one at a time speaks with a meter, since the
    meter takes counters in rising order only."""

    def lease(self, name: str) -> Collection[str] | None:
        """The names whose numbers others have raised since they were last looked at; None while
        another process has the lease. It ends with `end_lease` or with the process."""

    def end_lease(self, name: str) -> None:
        """Let another process have it."""


class FileCounterStore:
    """Counters of any number of meters in one append-only text file.

    Every line is `direction name number crc32`. Reserved numbers are synced to the disk before
    they are given out: neither a crash nor a power cut lets one be used twice. Receive floors are
    in the file before what came is handed on, and on the disk with the next number reserved, with
    `close`, or at once where nothing was synced for a second.

    Any number of processes may use one file, each of them a store that it opened itself; with
    `alone` (and always where the system is not Linux) only one. Locks end with their process.
    """

    def __init__(self, path: Path | str, *, alone: bool = False) -> None:
        self._path = Path(path)
        self._next: dict[str, int] = {}
        self._lowest: dict[str, int] = {}
        self._file = -1
        self._read_to = 0
        self._synced_s = -SYNC_EVERY_S
        self._unsynced = False
        self._raised: set[str] = set()
        self._process = os.getpid()
        self._reserving = threading.Lock()
        self._shared = not alone and RangeLocks.available
        try:
            with self._refusals():
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._opened()
                if not os.fstat(self._file).st_size:
                    _sync_folder(self._path)  # a new file is there after a power cut, too
                self._catch_up()
        except StoreError:
            self.close()
            raise

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """What the system refuses, said as an error of the store."""
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the counter file {self._path} can't be used: {error.strerror}",
                "check the folder and who else uses it",
            ) from error

    def _opened(self) -> int:
        """The file, with our mark that it is in use. A long one is written anew by whoever is
        alone with it; another process may have done so until the very moment of the lock."""
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                alone = self._lock(handle)
                if _is_at(handle, self._path):
                    if alone and self._is_long(handle):
                        handle = self._written_anew(handle)
                    if alone and self._shared:
                        RangeLocks(handle).share(_PRESENT)
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def _lock(self, handle: int) -> bool:
        """Mark the file as used; whether nobody else does."""
        locks = RangeLocks(handle)
        if locks.take(_PRESENT):
            return True
        until_s = time.monotonic() + _REWRITING_S
        while self._shared:
            if locks.share(_PRESENT):
                return False
            if time.monotonic() > until_s:
                break
            time.sleep(_LOOK_AGAIN_S)
        raise StoreError(
            f"the counter file {self._path} is used by another process",
            "two writers would use numbers twice; stop the other one",
        )

    def close(self) -> None:
        """Release the file, and every lease with it."""
        if self._file >= 0:
            try:
                if self._unsynced:
                    _sync_data(self._file)
            except OSError:
                pass  # what only a power cut can lose is the system's to write now
            finally:
                os.close(self._file)
                self._file = -1

    def reserve(self, name: str, count: int) -> int:
        """Set numbers aside for ever; durable before it returns."""
        with self._reserving, self._writing():
            first = self._next.get(name, 1)
            self._write("s", name, first + count)
            self._next[name] = first + count
        return first

    def advance(self, name: str, at_least: int) -> None:
        """Continue at `at_least` or above."""
        with self._reserving, self._writing():
            if at_least > self._next.get(name, 1):
                self._write("s", name, at_least)
                self._next[name] = at_least

    def lowest(self, name: str) -> int:
        return self._lowest.get(name, 0)

    def accept(self, name: str, lowest: int) -> None:
        """Raise the lowest number still acceptable."""
        if lowest > self._lowest.get(name, 0):
            due = time.monotonic() - self._synced_s >= SYNC_EVERY_S
            self._write("r", name, lowest, sync=due)
            self._lowest[name] = lowest

    def highest_received(self) -> int:
        """The largest number that has been received under any key."""
        return max(self._lowest.values(), default=1) - 1

    def knows(self, name: str) -> bool:
        """Whether a number was ever reserved under this name."""
        return name in self._next

    def lease(self, name: str) -> Collection[str] | None:
        """See `LeasingStore`: the numbers of others are known before the lease is given."""
        self._check_open()
        if not self._shared:
            return ()
        with self._refusals():
            if not RangeLocks(self._file).take(_place_of(name)):
                return None
            with self._reserving:
                self._catch_up()
                raised, self._raised = self._raised, set()
        return raised

    def end_lease(self, name: str) -> None:
        if self._shared and self._file >= 0:
            RangeLocks(self._file).free(_place_of(name))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Nobody else sets numbers aside, and all that were are known."""
        self._check_open()
        if not self._shared:
            yield
            return
        locks = RangeLocks(self._file)
        with self._refusals():
            locks.wait(_WRITING)
        try:
            with self._refusals():
                self._catch_up()
            yield
        finally:
            if self._file >= 0:
                locks.free(_WRITING)

    def _check_open(self) -> None:
        if self._file < 0:
            raise StoreError(f"the counter file {self._path} is closed", "open it again")
        if os.getpid() != self._process:
            raise StoreError(
                f"the counter file {self._path} was opened by the process that this one came from",
                "open it in every process: both would use the same numbers",
            )

    def _write(self, direction: str, name: str, number: int, *, sync: bool = True) -> None:
        """Append a line; with `sync` it is on the disk when this returns, and all before it."""
        self._check_open()
        try:
            line = _line(direction, name, number)
            if os.write(self._file, line) != len(line):
                raise OSError(28, "no space left")
            self._unsynced = not sync
            if sync:
                _sync_data(self._file)
                self._synced_s = time.monotonic()
        except OSError as error:
            # After a failed sync nobody knows what is on the disk: this file is not used again.
            self.close()
            raise StoreError(
                f"the counter file {self._path} can't be written: {error.strerror}",
                "make room; nothing is sent without a counter that is safe",
            ) from error

    def _catch_up(self) -> None:
        """Read what was written since the last time."""
        unread = os.fstat(self._file).st_size - self._read_to
        content = os.pread(self._file, unread, self._read_to) if unread > 0 else b""
        for direction, name, number in _entries(content):
            table = self._next if direction == "s" else self._lowest
            if number > table.get(name, 0):
                table[name] = number
                self._raised.add(name)
        # The last line is read again: another process may have been writing it.
        self._read_to += max(0, content.rfind(b"\n"))

    @staticmethod
    def _is_long(handle: int) -> bool:
        return os.pread(handle, os.fstat(handle).st_size, 0).count(b"\n") > _COMPACT_LINES

    def _written_anew(self, old: int) -> int:
        """One line for each name, in a file that takes the place of the old one: its handle."""
        highest: dict[tuple[str, str], int] = {}
        for direction, name, number in _entries(os.pread(old, os.fstat(old).st_size, 0)):
            highest[direction, name] = max(number, highest.get((direction, name), 0))
        content = b"".join(_line(*key, number) for key, number in highest.items())
        fresh = self._path.with_suffix(self._path.suffix + ".new")
        handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        try:
            # Half a file must not take the place of a whole one.
            if os.write(handle, content) != len(content):
                raise OSError(28, "no space left")
            os.fsync(handle)
            self._lock(handle)
            fresh.replace(self._path)
        except BaseException:
            os.close(handle)
            raise
        _sync_folder(self._path)
        os.close(old)
        return handle


def _suite_of(written: object) -> int:
    if written not in (0, 1, 2):
        raise ValueError("there are security suites 0, 1 and 2")  # what stands there is not shown
    return int(written)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _sync_data(handle: int) -> None:
    """What was written is on the disk; macOS knows the whole way only."""
    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(handle)


def _sync_folder(path: Path) -> None:
    """Make the file's entry in its folder durable."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _line(direction: str, name: str, number: int | str) -> bytes:
    """Begins with the line end, so that half a line of another process spoils no other."""
    body = f"{direction} {name} {number}"
    return f"\n{body} {zlib.crc32(body.encode()):08x}".encode()


def _entries(content: bytes) -> Iterator[tuple[str, str, int]]:
    for line in content.split(b"\n"):
        fields = line.decode("utf-8", "replace").split(" ")
        if len(fields) == 4 and _line(fields[0], fields[1], fields[2])[1:] == line:
            yield fields[0], fields[1], int(fields[2])
        # any other is one that a crash cut: its number was never given out


def _place_of(name: str) -> int:
    """Where in the file, far beyond its end, the lock of a lease is."""
    return _LEASES + int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


class KeyStore(Protocol):
    """Where keys and passwords of meters are kept."""

    def keys(self, meter: str) -> KeySet:
        """The keys of a meter, named by its place or serial number; an empty set for none."""

    def password(self, meter: str) -> bytes:
        """Its LLS password or HLS secret; empty for none."""


class FileKeyStore:
    """A TOML file, a table per meter: `["10.0.0.7:4059"]` with `ek`, `ak`, `password`, `suite`."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        try:
            self._meters = tomllib.loads(self._path.read_text())
        except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
            raise StoreError(
                f"the key file {self._path} can't be read", 'it holds tables like ["HOST:4059"]'
            ) from error

    def __repr__(self) -> str:
        return f"FileKeyStore({str(self._path)!r}, {len(self._meters)} meters)"

    def keys(self, meter: str) -> KeySet:
        entry = self._meters.get(meter, {})
        names = {"ek": "unicast", "ak": "authentication", "bk": "broadcast", "kek": "master"}
        try:
            found = {names[n]: bytes.fromhex(v) for n, v in entry.items() if n in names}
            return KeySet(_suite_of(entry.get("suite", 0)), **found)
        except (ValueError, TypeError) as error:
            raise StoreError(f"the keys of {meter} in {self._path} are wrong", str(error)) from None

    def password(self, meter: str) -> bytes:
        return str(self._meters.get(meter, {}).get("password", "")).encode()
