"""Invocation counters and keys that survive: the ports that a client asks for, and their files.

Repeating an invocation counter under one key breaks AES-GCM altogether, so `FileCounterStore`
writes and syncs a number before anybody uses it. What the file says is never lowered, whoever
asks: not by a meter's report, not by an older copy of a line, not by a half-written one.
"""

from __future__ import annotations

import os
import tomllib
import zlib
from pathlib import Path
from typing import Final, Protocol

from blathy.transport.errors import MeterError
from blathy.wire.security import CounterStore, KeySet, VolatileCounterStore

__all__ = [
    "CounterStore",
    "FileCounterStore",
    "FileKeyStore",
    "KeyStore",
    "StoreError",
    "VolatileCounterStore",
]

_COMPACT_LINES: Final = 4096


class StoreError(MeterError):
    """A counter or key file can't be used."""


class FileCounterStore:
    """Counters of any number of meters in one append-only text file.

    Every line is `direction name number crc32`. Reserved numbers are synced to the disk before
    they are given out, and receive floors before what came is handed on: neither a crash nor a
    power cut lets a message be taken twice.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._next: dict[str, int] = {}
        self._lowest: dict[str, int] = {}
        self._file = -1
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._opened()
            if not os.fstat(self._file).st_size:
                _sync_folder(self._path)  # a new file is there after a power cut, too
            if self._load() > _COMPACT_LINES:
                self._compact()
        except OSError as error:
            self.close()
            raise StoreError(
                f"the counter file {self._path} can't be used: {error.strerror}",
                "check the folder and who else uses it",
            ) from error

    def _opened(self) -> int:
        """The file, locked. What it holds is read only then: another process may have written to
        it, or put a new one in its place, until the very moment of the lock."""
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                self._lock(handle)
                if _is_at(handle, self._path):
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)

    def close(self) -> None:
        """Release the file for another process."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def reserve(self, name: str, count: int) -> int:
        """Set numbers aside for ever; durable before it returns."""
        first = self._next.get(name, 1)
        self._write("s", name, first + count)
        self._next[name] = first + count
        return first

    def advance(self, name: str, at_least: int) -> None:
        """Continue at `at_least` or above."""
        if at_least > self._next.get(name, 1):
            self._write("s", name, at_least)
            self._next[name] = at_least

    def lowest(self, name: str) -> int:
        return self._lowest.get(name, 0)

    def accept(self, name: str, lowest: int) -> None:
        """Raise the lowest number still acceptable."""
        if lowest > self._lowest.get(name, 0):
            self._write("r", name, lowest)
            self._lowest[name] = lowest

    def highest_received(self) -> int:
        """The largest number that has been received under any key."""
        return max(self._lowest.values(), default=1) - 1

    def knows(self, name: str) -> bool:
        """Whether a number was ever reserved under this name."""
        return name in self._next

    def _write(self, direction: str, name: str, number: int) -> None:
        """Append a line; it is on the disk when this returns."""
        if self._file < 0:
            raise StoreError(f"the counter file {self._path} is closed", "open it again")
        try:
            line = _line(direction, name, number)
            if os.write(self._file, line) != len(line):
                raise OSError(28, "no space left")
            os.fdatasync(self._file)
        except OSError as error:
            # After a failed sync nobody knows what is on the disk: this file is not used again.
            self.close()
            raise StoreError(
                f"the counter file {self._path} can't be written: {error.strerror}",
                "make room; nothing is sent without a counter that is safe",
            ) from error

    def _load(self) -> int:
        if not self._path.exists():
            return 0
        lines = self._path.read_bytes().split(b"\n")
        for line in lines:
            fields = line.decode("utf-8", "replace").split(" ")
            if len(fields) != 4 or _line(fields[0], fields[1], fields[2])[:-1] != line:
                continue  # a line that a crash cut: its number was never given out
            table = self._next if fields[0] == "s" else self._lowest
            table[fields[1]] = max(table.get(fields[1], 0), int(fields[2]))
        if lines and lines[-1]:
            with self._path.open("ab") as file:
                file.write(b"\n")
        return len(lines)

    def _lock(self, handle: int) -> None:
        try:
            import fcntl
        except ImportError:
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                f"the counter file {self._path} is used by another process",
                "two writers would use numbers twice; stop the other one",
            ) from error

    def _compact(self) -> None:
        fresh = self._path.with_suffix(self._path.suffix + ".new")
        content = b"".join(_line("s", name, number) for name, number in self._next.items())
        content += b"".join(_line("r", name, number) for name, number in self._lowest.items())
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
        os.close(self._file)
        self._file = handle


def _suite_of(written: object) -> int:
    if written not in (0, 1, 2):
        raise ValueError("there are security suites 0, 1 and 2")  # what stands there is not shown
    return int(written)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _sync_folder(path: Path) -> None:
    """Make the file's entry in its folder durable."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _line(direction: str, name: str, number: int | str) -> bytes:
    body = f"{direction} {name} {number}"
    return f"{body} {zlib.crc32(body.encode()):08x}\n".encode()


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
