"""The store of all meters of one process: group commit, two copies, nothing shown before it lasts.

Use: `meter = store.meter("m1")`; after every step `meter.stage(ledger)`; once a second
`store.commit()`. What a display, a port or a pulse shows is `meter.committed`, the snapshot that
the last successful commit made durable. So a crash never contradicts anything anybody saw.

Every commit goes into two files. A record whose check sum is wrong is taken from the other file; a
file whose structure is damaged is set aside and made anew from the other one. When the disk is full
or fails, staging goes on in memory, the committed snapshots stand still, and the first commit that
succeeds writes everything.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import numpy as np

from blathy.clock import NANOSECONDS_PER_S, Instant
from blathy.registers.changes import Changes, Content
from blathy.registers.ledger import Ledger
from blathy.registers.plan import BookPlan
from blathy.registers.ring import Kept
from blathy.registers.snapshot import Snapshot
from blathy.store.audit import AuditEntry, ChainHead, first_break
from blathy.store.database import UNREADABLE, Database, Writing, remove_file, set_aside
from blathy.store.records import DamagedRecordError, pack_parts, unpack_parts

LEDGER_PART: Final = "ledger"
AUDIT_PART: Final = "audit"
EXTENTS_PART: Final = "extents"
BATCH_ROWS_MAX: Final = 1024
"""So many rows of a profile are kept in one record where they come together."""
MIRROR_RETRY_COMMITS: Final = 30
"""After the second copy has failed, it is tried again every so many commits."""


class StoreDamagedError(Exception):
    """Both copies are damaged; the text says which file and what to do."""


class StorageError(Exception):
    """Something could not be made durable; nothing that depends on it may be shown or sent."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What the store holds of a meter: named states, rows and entries, audit trail."""

    parts: Mapping[str, bytes]
    content: Content
    audit: tuple[AuditEntry, ...]
    generation: int


@dataclass(frozen=True, slots=True)
class Commit:
    """How a commit went. `error` says why nothing became durable; `recovered` is True for the first
    success after errors; `degraded` says that only one of the two copies was written."""

    meters: tuple[str, ...] = ()
    error: str = ""
    recovered: bool = False
    degraded: str = ""

    @property
    def ok(self) -> bool:
        return not self.error


@dataclass(slots=True)
class Batch:
    """One commit on its way: taken by `begin_commit`, written by any thread, then finished."""

    number: int
    writings: dict[str, Writing]
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    error: str = ""
    written: bool = False
    outcome: Commit | None = None


class MeterStore:
    """One meter's place in the store."""

    __slots__ = ("_found", "_generation", "_head", "_store", "committed", "name")

    def __init__(self, store: Store, name: str, found: Saved | None) -> None:
        self.name = name
        self.committed: Snapshot | None = None
        self._store = store
        self._found = found  # read once for the place itself, handed out by the first load
        self._generation = found.generation if found else 0
        self._head = ChainHead.from_bytes(found.parts[AUDIT_PART]) if found else ChainHead()

    def load(self) -> Saved | None:
        """What was committed last, None for a new meter; raise StoreDamagedError if both copies
        are damaged."""
        found, self._found = self._found, None
        return found or self._store.read_meter(self.name)

    def load_ledger(self, plan: BookPlan, *, adopt: bool = False) -> tuple[Ledger, Saved] | None:
        """The books as they were committed last, which makes them the committed snapshot again.

        `adopt` carries them over to another plan, as `Ledger.from_state` says. Raise
        StoreDamagedError as `load`, and registers.state.StateError where the plan does not fit.
        """
        saved = self.load()
        if saved is None or LEDGER_PART not in saved.parts:
            return None
        ledger = Ledger.from_state(plan, saved.parts[LEDGER_PART], saved.content, adopt=adopt)
        self.committed = ledger.snapshot()
        return ledger, saved

    def stage(self, ledger: Ledger, parts: Mapping[str, bytes] | None = None) -> None:
        """Put the books, and the other named states of this meter, into the next commit.

        `parts` must name every state of the meter each time: they replace the ones before.
        """
        self._found = None
        changes = ledger.take_changes()
        snapshot = ledger.snapshot()
        rows = {name: _together(batches) for name, batches in changes.rows.items()}
        writing = Writing(0, b"", rows, changes.entries, [], _keep_from(changes, snapshot))
        for note in changes.audit:
            entry, self._head = self._head.follow(self.name, note)
            writing.audit.append(entry)
        self._generation += 1
        writing.generation = self._generation
        states = {
            LEDGER_PART: ledger.state_bytes(),
            AUDIT_PART: self._head.to_bytes(),
            EXTENTS_PART: json.dumps(_extents(snapshot)).encode(),
        }
        writing.checkpoint = pack_parts({**(parts or {}), **states})
        self._store.put(self.name, writing, snapshot)

    def reserve(self, key: str, count: int) -> range:
        """The next `count` values of a counter that must never repeat, durable before it returns.

        Raise StorageError if they could not be made durable: then none may be used.
        """
        return self._store.reserve(self.name, key, count)

    def audit_trail(self) -> tuple[AuditEntry, ...]:
        """Every committed intervention, oldest first."""
        saved = self.load()
        return saved.audit if saved else ()


class Store:
    """All meters of one process in one database and its mirror."""

    def __init__(
        self, path: Path | None, *, factory: type[sqlite3.Connection] = sqlite3.Connection
    ) -> None:
        self.faults: list[str] = []
        """What was found damaged or failing since the store was opened, in words."""
        self._path = path
        self._factory = factory
        self._lock = threading.RLock()
        self._meters: dict[str, MeterStore] = {}
        self._in_flight: Batch | None = None
        self._pending: dict[str, Writing] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._failing = ""
        self._mirror_wait = 0
        self._last_commit: Instant | None = None
        self._main: Database | None
        self._mirror: Database | None = None
        if path is None:
            self._main = Database(None, factory)
        else:
            self._main, self._mirror = self._open_both(path)
        self._number = self._main.commits()

    @classmethod
    def open(cls, path: Path, *, factory: type[sqlite3.Connection] = sqlite3.Connection) -> Self:
        """Open or create the store; raise StoreDamagedError if neither copy can be read."""
        path.parent.mkdir(parents=True, exist_ok=True)
        return cls(path, factory=factory)

    @classmethod
    def in_memory(cls) -> Self:
        """A store that lasts as long as the object, for tests and simulations."""
        return cls(None)

    @classmethod
    def renew(cls, path: Path) -> Self:
        """Set both damaged copies aside and begin empty: a declared loss, for an operator only."""
        for copy in (path, mirror_of(path)):
            if copy.exists():
                set_aside(copy)
        return cls.open(path)

    def close(self) -> None:
        """Commit what is staged and close the files."""
        self.commit()
        with self._lock:
            for database in (self._main, self._mirror):
                if database is not None:
                    database.close()
            self._main = self._mirror = None

    # --- opening --------------------------------------------------------------------------------

    def _open_both(self, path: Path) -> tuple[Database, Database]:
        paths = (path, mirror_of(path))
        existed = [p.exists() for p in paths]
        opened = [self._try_open(p) if p.exists() else None for p in paths]
        if any(existed) and not any(opened):
            raise StoreDamagedError(
                f"{path} and its mirror cannot be read: restore a backup of either, or renew the "
                "store and accept that its readings are lost"
            )
        counts = [database.commits() if database else -1 for database in opened]
        best = opened[counts.index(max(counts))]
        for index, copy in enumerate(paths):
            if opened[index] is None and existed[index]:
                self._fault(f"{copy.name} was damaged and is set aside as {set_aside(copy).name}")
            if best is not None and counts[index] < max(counts):
                opened[index] = self._copy(best, opened[index], copy)
        main = opened[0] or Database(paths[0], self._factory)
        return main, opened[1] or Database(paths[1], self._factory)

    def _try_open(self, path: Path) -> Database | None:
        try:
            database = Database(path, self._factory)
        except UNREADABLE as error:
            self._fault(f"{path.name}: {error}")
            return None
        try:
            database.check()
            database.commits()
            return database
        except UNREADABLE as error:
            self._fault(f"{path.name}: {error}")
            database.close()
            return None

    def _copy(self, best: Database, old: Database | None, path: Path) -> Database:
        if old is not None:
            old.close()
        remove_file(path)
        best.copy_to(path)
        return Database(path, self._factory)

    def _fault(self, text: str) -> None:
        self.faults.append(text)

    # --- meters ---------------------------------------------------------------------------------

    def meters(self) -> list[str]:
        """The names of all meters that have ever been committed."""
        with self._lock:
            return self._open_main().meters()

    def meter(self, name: str) -> MeterStore:
        """This meter's place, the same object every time."""
        if name not in self._meters:
            self._meters[name] = MeterStore(self, name, self.read_meter(name))
        return self._meters[name]

    def read_meter(self, name: str) -> Saved | None:
        """What the better copy holds of a meter; a damaged record is mended from the other one."""
        with self._lock:
            readings: list[tuple[Database, Saved | None]] = []
            faults = len(self.faults)
            main, mirror = self._open_main(), self._mirror
            saved = self._try_read(main, name)
            if mirror is None or (saved and self._generation(mirror, name) == saved.generation):
                found = saved
            else:
                readings = [(main, saved), (mirror, self._try_read(mirror, name))]
                found = max((s for _, s in readings if s), key=lambda s: s.generation, default=None)
            if found is None and len(self.faults) > faults:
                raise StoreDamagedError(
                    f"both copies of the meter {name} are damaged; restore a backup of the store"
                )
            for database, copy in readings:
                if found and (copy is None or copy.generation < found.generation):
                    self._mend(database, name, found)
            return found

    def scrub(self) -> int:
        """Read every record of both copies and mend what is damaged; return how many meters were.

        Raise StoreDamagedError where both copies of a meter are.
        """
        mended = 0
        with self._lock:
            for name in self.meters():
                found = self.read_meter(name)
                if self._mirror and found and self._try_read(self._mirror, name) is None:
                    self._mend(self._mirror, name, found)
                    mended += 1
        return mended

    def _try_read(self, database: Database, name: str) -> Saved | None:
        try:
            return _read(database, name)
        except UNREADABLE as error:
            self._fault(f"{name}: {error}")
            return None

    def _generation(self, database: Database, name: str) -> int:
        try:
            checkpoint = database.checkpoint(name)
        except UNREADABLE:
            return -1
        return checkpoint[0] if checkpoint else -1

    def _mend(self, database: Database, name: str, saved: Saved) -> None:
        rows = {profile: [kept] for profile, kept in saved.content.rows.items()}
        entries = {log: list(found) for log, found in saved.content.entries.items()}
        checkpoint = pack_parts(saved.parts)
        writing = Writing(saved.generation, checkpoint, rows, entries, list(saved.audit))
        try:
            database.forget(name)
            database.write(database.commits(), {name: writing})
        except UNREADABLE as error:
            self._fault(f"{name} could not be mended: {error}")

    def _open_main(self) -> Database:
        if self._main is None:
            assert self._path is not None
            self._main = Database(self._path, self._factory)
        return self._main

    # --- committing -----------------------------------------------------------------------------

    def put(self, name: str, writing: Writing, snapshot: Snapshot) -> None:
        """Add to the next commit (called by `MeterStore.stage`)."""
        older = self._pending.get(name)
        self._pending[name] = writing if older is None else _merge(older, writing)
        self._snapshots[name] = snapshot

    def commit(self) -> Commit:
        """Make durable what is staged and publish its snapshots."""
        batch = self.begin_commit()
        if batch is None:
            return Commit()
        self.write(batch)
        return self.finish_commit(batch)

    def commit_due(self, now: Instant) -> Commit | None:
        """`commit` if the last one is at least a second ago, for all meters together."""
        if self._last_commit is not None and now - self._last_commit < NANOSECONDS_PER_S:
            return None
        self._last_commit = now
        return self.commit()

    def begin_commit(self) -> Batch | None:
        """Take what is staged. `write` may then run in another thread, `finish_commit` again here.

        A batch that is still on its way is brought to its end first.
        """
        if self._in_flight is not None:
            self.write(self._in_flight)
            self.finish_commit(self._in_flight)
        if not self._pending:
            return None
        self._in_flight = Batch(self._number + 1, self._pending, self._snapshots)
        self._pending, self._snapshots = {}, {}
        return self._in_flight

    def write(self, batch: Batch) -> None:
        """Write to both files; `batch.error` says why nothing became durable."""
        with self._lock:
            if batch.written:
                return
            batch.written = True
            try:
                self._open_main().write(batch.number, batch.writings)
            except UNREADABLE as error:
                batch.error = str(error)
                self._abandon_main()
                return
            self._write_mirror(batch)

    def _abandon_main(self) -> None:
        """After a failed write the connection's view of the file is not to be trusted: reopen."""
        if self._main is not None and self._path is not None:
            try:
                self._main.close()
            except UNREADABLE as error:
                self._fault(f"closing after a failed write: {error}")
            self._main = None

    def _write_mirror(self, batch: Batch) -> None:
        if self._path is None:
            return
        try:
            if self._mirror is None:
                if self._mirror_wait > 0:
                    self._mirror_wait -= 1
                    return
                mirror_path = mirror_of(self._path)
                self._mirror = self._copy(self._open_main(), None, mirror_path)
            else:
                self._mirror.write(batch.number, batch.writings)
        except (*UNREADABLE, OSError) as error:
            self._drop_mirror(str(error))

    def _drop_mirror(self, error: str) -> None:
        """Go on with one copy; the other is removed, for it must not be taken for the newest."""
        self._fault(f"the second copy cannot be written: {error}")
        self._mirror_wait = MIRROR_RETRY_COMMITS
        assert self._path is not None
        try:
            if self._mirror is not None:
                self._mirror.close()
            remove_file(mirror_of(self._path))
        except (*UNREADABLE, OSError) as failure:
            self._fault(f"the second copy cannot be removed: {failure}")
        self._mirror = None

    def finish_commit(self, batch: Batch) -> Commit:
        """Publish the snapshots, or keep everything for the next try; once per batch."""
        if batch.outcome is None:
            self._in_flight = None
            batch.outcome = self._finish(batch)
        return batch.outcome

    def _finish(self, batch: Batch) -> Commit:
        if batch.error:
            self._failing = batch.error
            for name, writing in batch.writings.items():
                newer = self._pending.get(name)
                self._pending[name] = writing if newer is None else _merge(writing, newer)
                self._snapshots.setdefault(name, batch.snapshots[name])
            return Commit(error=batch.error)
        recovered, self._failing = bool(self._failing), ""
        self._number = batch.number
        for name, snapshot in batch.snapshots.items():
            self._meters[name].committed = snapshot
        degraded = "" if self._mirror or self._path is None else "the second copy is missing"
        return Commit(tuple(batch.writings), "", recovered, degraded)

    # --- counters -------------------------------------------------------------------------------

    def reserve(self, meter: str, key: str, count: int) -> range:
        """See `MeterStore.reserve`. The higher of the two copies counts."""
        if count < 1:
            raise ValueError("at least one value must be reserved")
        with self._lock:
            first = max(self._reserved(d, meter, key) for d in (self._open_main(), self._mirror))
            try:
                self._open_main().reserve(meter, key, first + count)
            except UNREADABLE as error:
                self._abandon_main()
                raise StorageError(f"no counter values could be reserved: {error}") from error
            try:
                if self._mirror is not None:
                    self._mirror.reserve(meter, key, first + count)
            except UNREADABLE as error:
                self._drop_mirror(str(error))
            return range(first, first + count)

    def _reserved(self, database: Database | None, meter: str, key: str) -> int:
        if database is None:
            return 0
        try:
            return database.reserved(meter, key)
        except UNREADABLE as error:
            if self._mirror is None:
                raise StorageError(f"the counter {key} of {meter} is damaged: {error}") from error
            self._fault(f"{meter}: the counter {key} is damaged in one copy")
            return 0


def mirror_of(path: Path) -> Path:
    """Where the second copy of a store lies."""
    return path.with_name(f"{path.stem}.mirror{path.suffix}")


def _read(database: Database, name: str) -> Saved | None:
    checkpoint = database.checkpoint(name)
    if checkpoint is None:
        return None
    generation, packed = checkpoint
    parts = unpack_parts(packed)
    try:
        audit = database.audit(name)
        if first_break(name, audit, ChainHead.from_bytes(parts[AUDIT_PART])) is not None:
            raise DamagedRecordError("the audit trail is broken")
        rows = {profile: _join(batches) for profile, batches in database.batches(name).items()}
        content = Content(rows, database.log_entries(name))
        _require_extents(json.loads(parts[EXTENTS_PART]), content)
    except (ValueError, TypeError, KeyError, OverflowError, struct.error) as error:
        raise DamagedRecordError(str(error)) from error
    return Saved(parts, content, tuple(audit), generation)


def _extents(snapshot: Snapshot) -> dict[str, list[int]]:
    """First and end sequence number of everything that a recovery must find."""
    extents = {
        name: [view.ring.first, view.ring.end]
        for name, view in (*snapshot.profiles.items(), *snapshot.billings.items())
        if len(view)
    }
    for name, entries in snapshot.logs.items():
        if entries:
            extents[name] = [entries[0].sequence, entries[-1].sequence + 1]
    return extents


def _require_extents(extents: dict[str, list[int]], content: Content) -> None:
    for name, (first, end) in extents.items():
        if name in content.rows:
            kept = content.rows[name]
            whole = kept.first_sequence <= first and kept.first_sequence + len(kept.rows) >= end
        else:
            wanted = range(first, end)
            entries = content.entries.get(name, ())
            whole = [e.sequence for e in entries if e.sequence in wanted] == list(wanted)
        if not whole:
            raise DamagedRecordError(f"rows or entries of {name} are missing")


def _join(batches: list[Kept]) -> Kept:
    expected = batches[0].first_sequence
    for batch in batches:
        if batch.first_sequence != expected:
            raise DamagedRecordError("rows of a profile are missing")
        expected += len(batch.rows)
    return Kept(batches[0].first_sequence, np.concatenate([batch.rows for batch in batches]))


def _together(batches: list[Kept]) -> list[Kept]:
    """Rows that follow each other in as few batches as may be: each costs a record of its own."""
    groups: list[list[Kept]] = []
    count, end = 0, -1
    for batch in batches:
        count += len(batch.rows)
        if batch.first_sequence != end or count > BATCH_ROWS_MAX:
            groups.append([])
            count = len(batch.rows)
        groups[-1].append(batch)
        end = batch.first_sequence + len(batch.rows)
    return [_join(group) if len(group) > 1 else group[0] for group in groups]


def _keep_from(changes: Changes, snapshot: Snapshot) -> dict[str, int]:
    """From which sequence numbers on the changed profiles and logs are still needed."""
    keep = dict(changes.cleared)
    for name in changes.rows:
        view = snapshot.profiles.get(name) or snapshot.billings[name]
        keep[name] = view.ring.first
    for name in changes.entries:
        entries = snapshot.logs[name]
        keep[name] = entries[0].sequence if entries else keep.get(name, 0)
    return keep


def _merge(older: Writing, newer: Writing) -> Writing:
    """Both as one; rows and entries that are no longer needed stay out, which bounds the memory."""
    keep = {**older.keep_from, **newer.keep_from}
    merged = Writing(newer.generation, newer.checkpoint, keep_from=keep)
    merged.audit = older.audit + newer.audit
    for name in {**older.rows, **newer.rows}:
        batches = [*older.rows.get(name, ()), *newer.rows.get(name, ())]
        first = keep.get(name, 0)
        kept = [b for b in batches if b.first_sequence + len(b.rows) > first]
        if kept:
            merged.rows[name] = kept
    for name in {**older.entries, **newer.entries}:
        entries = [*older.entries.get(name, ()), *newer.entries.get(name, ())]
        wanted = [e for e in entries if e.sequence >= keep.get(name, 0)]
        if wanted:
            merged.entries[name] = wanted
    return merged
