"""One SQLite file of a store: schema, one transaction per commit, checked reading.

One connection, write-ahead log, `synchronous=FULL`: a commit that returned is on the disk. Writing
raises sqlite3.Error; reading a damaged file raises any of `UNREADABLE`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from blathy.registers.changes import AuditNote
from blathy.registers.eventlog import LogEntry
from blathy.registers.ring import Kept
from blathy.store.audit import AuditEntry
from blathy.store.records import (
    DamagedRecordError,
    checksum,
    pack_entry,
    pack_rows,
    unpack_entry,
    unpack_rows,
)

SCHEMA_VERSION: Final = 1
UNREADABLE: Final = (sqlite3.Error, UnicodeDecodeError, DamagedRecordError)
"""What reading a damaged file raises: SQLite's own texts can be damaged too."""
IN_MEMORY: Final = ":memory:"
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE checkpoint (
  meter TEXT PRIMARY KEY, generation INTEGER NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE rows (
  meter TEXT NOT NULL, profile TEXT NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
  data BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (meter, profile, first)
) WITHOUT ROWID;
CREATE TABLE entries (
  meter TEXT NOT NULL, log TEXT NOT NULL, sequence INTEGER NOT NULL,
  data BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (meter, log, sequence)
) WITHOUT ROWID;
CREATE TABLE audit (
  meter TEXT NOT NULL, sequence INTEGER NOT NULL, at_utc_s INTEGER NOT NULL, who TEXT NOT NULL,
  what TEXT NOT NULL, detail TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (meter, sequence)
) WITHOUT ROWID;
CREATE TABLE counters (
  meter TEXT NOT NULL, key TEXT NOT NULL, reserved INTEGER NOT NULL, crc INTEGER NOT NULL,
  PRIMARY KEY (meter, key)
) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Writing:
    """What one commit writes for one meter. Writing it twice is the same as once."""

    generation: int
    checkpoint: bytes
    rows: dict[str, list[Kept]] = field(default_factory=dict)
    entries: dict[str, list[LogEntry]] = field(default_factory=dict)
    audit: list[AuditEntry] = field(default_factory=list)
    keep_from: dict[str, int] = field(default_factory=dict)  # older rows and entries may go
    _records: dict[str, list[tuple[object, ...]]] = field(default_factory=dict, repr=False)

    def row_records(self, meter: str, profile: str) -> list[tuple[object, ...]]:
        """The rows of a profile as both files keep them: compressed once."""
        if profile not in self._records:
            batches = self.rows[profile]
            self._records[profile] = [_row_record(meter, profile, batch) for batch in batches]
        return self._records[profile]


class Database:
    """A store's file, opened."""

    def __init__(
        self, path: Path | None, factory: type[sqlite3.Connection] = sqlite3.Connection
    ) -> None:
        self.path = path
        if path is not None:
            _only_for_its_owner(path)
        self._connection = sqlite3.connect(
            IN_MEMORY if path is None else path,
            isolation_level=None,
            check_same_thread=False,
            factory=factory,
        )
        try:
            self._set_up()
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA fullfsync = ON")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            with self._transaction():
                for statement in _SCHEMA.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(
                f"{self.path} is a store of version {version}; this program reads {SCHEMA_VERSION}"
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._connection.close()

    # --- writing ------------------------------------------------------------------------------

    def write(self, number: int, writings: dict[str, Writing]) -> None:
        """One transaction: commit `number` with everything that these meters have staged."""
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('commits', ?)", (number,))
            for meter, writing in writings.items():
                self._write_meter(meter, writing)

    def _write_meter(self, meter: str, writing: Writing) -> None:
        execute = self._connection.execute
        key = _checkpoint_key(meter, writing.generation)
        record = (meter, writing.generation, writing.checkpoint, checksum(key, writing.checkpoint))
        execute("INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?)", record)
        for profile, batches in writing.rows.items():
            # Rows at or behind these numbers can only be left over from before a recovery.
            first = batches[0].first_sequence
            execute(
                "DELETE FROM rows WHERE meter = ? AND profile = ? AND first >= ?",
                (meter, profile, first),
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?)",
                writing.row_records(meter, profile),
            )
        for log, entries in writing.entries.items():
            execute(
                "DELETE FROM entries WHERE meter = ? AND log = ? AND sequence >= ?",
                (meter, log, entries[0].sequence),
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)",
                [_entry_record(meter, log, entry) for entry in entries],
            )
        self._connection.executemany(
            "INSERT OR REPLACE INTO audit VALUES (?, ?, ?, ?, ?, ?, ?)",
            [_audit_record(meter, entry) for entry in writing.audit],
        )
        for name, first in writing.keep_from.items():
            execute(
                "DELETE FROM rows WHERE meter = ? AND profile = ? AND first < ? "
                "AND first + count <= ?",
                (meter, name, first, first),
            )
            execute(
                "DELETE FROM entries WHERE meter = ? AND log = ? AND sequence < ?",
                (meter, name, first),
            )

    def forget(self, meter: str) -> None:
        """Delete a meter's records, damaged ones included; its counters stay."""
        with self._transaction():
            for table in ("checkpoint", "rows", "entries", "audit"):
                self._connection.execute(f"DELETE FROM {table} WHERE meter = ?", (meter,))  # noqa: S608 - our own names

    def reserve(self, meter: str, key: str, reserved: int) -> None:
        """Make durable that every value below `reserved` may have been used."""
        crc = checksum(f"{meter}/{key}", str(reserved).encode())
        with self._transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO counters VALUES (?, ?, ?, ?)", (meter, key, reserved, crc)
            )

    def copy_to(self, target: Path) -> None:
        """Make `target` a whole new copy of this file."""
        _only_for_its_owner(target)
        other = sqlite3.connect(target)
        try:
            self._connection.backup(other)
            other.execute("PRAGMA journal_mode = WAL")
        finally:
            other.close()

    # --- reading ------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise sqlite3.DatabaseError if the file's structure is damaged."""
        (answer,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise sqlite3.DatabaseError(str(answer))

    def commits(self) -> int:
        """The number of the last commit in this file."""
        found = self._connection.execute("SELECT value FROM meta WHERE key = 'commits'").fetchone()
        _require(found is None or isinstance(found[0], int))
        return int(found[0]) if found else 0

    def meters(self) -> list[str]:
        found = self._connection.execute("SELECT meter FROM checkpoint ORDER BY meter")
        return [meter for (meter,) in found]

    def checkpoint(self, meter: str) -> tuple[int, bytes] | None:
        """Generation and content; raise DamagedRecordError if it is not as written."""
        found = self._connection.execute(
            "SELECT generation, data, crc FROM checkpoint WHERE meter = ?", (meter,)
        ).fetchone()
        if found is None:
            return None
        generation, data, crc = found
        _require(_is_bytes(data) and checksum(_checkpoint_key(meter, generation), data) == crc)
        return int(generation), data

    def batches(self, meter: str) -> dict[str, list[Kept]]:
        """The rows of every profile in order; raise DamagedRecordError if any is not as written."""
        found = self._connection.execute(
            "SELECT profile, first, count, data, crc FROM rows WHERE meter = ? "
            "ORDER BY profile, first",
            (meter,),
        )
        batches: dict[str, list[Kept]] = {}
        for profile, first, count, data, crc in found:
            _require(
                _is_bytes(data) and checksum(f"{meter}/{profile}/{first}/{count}", data) == crc
            )
            rows = unpack_rows(data)
            batches.setdefault(profile, []).append(Kept(first, rows))
        return batches

    def log_entries(self, meter: str) -> dict[str, tuple[LogEntry, ...]]:
        """The entries of every log; raise DamagedRecordError if any is not as written."""
        found = self._connection.execute(
            "SELECT log, sequence, data, crc FROM entries WHERE meter = ? ORDER BY log, sequence",
            (meter,),
        )
        logs: dict[str, list[LogEntry]] = {}
        for log, sequence, data, crc in found:
            _require(_is_bytes(data) and checksum(f"{meter}/{log}/{sequence}", data) == crc)
            logs.setdefault(log, []).append(unpack_entry(sequence, data))
        return {log: tuple(entries) for log, entries in logs.items()}

    def audit(self, meter: str) -> list[AuditEntry]:
        """The audit trail, oldest first."""
        found = self._connection.execute(
            "SELECT sequence, at_utc_s, who, what, detail, digest FROM audit WHERE meter = ? "
            "ORDER BY sequence",
            (meter,),
        )
        return [
            AuditEntry(sequence, AuditNote(at, who, what, detail), digest)
            for sequence, at, who, what, detail, digest in found
        ]

    def reserved(self, meter: str, key: str) -> int:
        """Below which value all may have been used; raise DamagedRecordError if not as written."""
        found = self._connection.execute(
            "SELECT reserved, crc FROM counters WHERE meter = ? AND key = ?", (meter, key)
        ).fetchone()
        if found is None:
            return 0
        _require(checksum(f"{meter}/{key}", str(found[0]).encode()) == found[1])
        return int(found[0])


def _checkpoint_key(meter: str, generation: int) -> str:
    return f"{meter}#{generation}"


def _row_record(meter: str, profile: str, batch: Kept) -> tuple[object, ...]:
    data, first, count = pack_rows(batch.rows), batch.first_sequence, len(batch.rows)
    crc = checksum(f"{meter}/{profile}/{first}/{count}", data)
    return meter, profile, first, count, data, crc


def _entry_record(meter: str, log: str, entry: LogEntry) -> tuple[object, ...]:
    data = pack_entry(entry)
    crc = checksum(f"{meter}/{log}/{entry.sequence}", data)
    return meter, log, entry.sequence, data, crc


def _audit_record(meter: str, entry: AuditEntry) -> tuple[object, ...]:
    note = entry.note
    return meter, entry.sequence, note.at_utc_s, note.who, note.what, note.detail, entry.digest


def _is_bytes(data: object) -> bool:
    return isinstance(data, bytes)


def _require(as_written: bool) -> None:
    if not as_written:
        raise DamagedRecordError("a record is not as it was written")


def _only_for_its_owner(path: Path) -> None:
    """Let others not read a new file: a store holds keys. SQLite makes its journals alike."""
    with suppress(OSError):  # what is wrong with the place is said when it is opened
        path.touch(mode=0o600)


def remove_file(path: Path) -> None:
    """Remove a database with its write-ahead log."""
    for name in _names(path):
        name.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged database out of the way, for whoever wants to look at it."""
    number = next(n for n in range(1, 1_000_000) if not _aside(path, n).exists())
    for name in _names(path):
        if name.exists():
            name.rename(_aside(name, number))
    return _aside(path, number)


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.damaged-{number}")


def _names(path: Path) -> Iterable[Path]:
    return (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm"))
