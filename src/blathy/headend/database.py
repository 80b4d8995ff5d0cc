"""The store's connections: one writer thread with group commit, a few readers, migrations.

`write(change)` resolves only after the transaction that holds the change is on the disk: what the
head-end acknowledges is durable. Changes that wait together are committed together, each in a
savepoint of its own, so one that fails takes no other with it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

import alembic.command
import alembic.config
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import QueuePool

_T = TypeVar("_T")
Change = Callable[[Connection], _T]
_GROUP_MAX: Final = 128
_WAITING_MAX: Final = 20_000
_READERS: Final = 2
_CACHE_KIB: Final = 8_192


class StoreError(Exception):
    """The store cannot be opened or is closed; the sentence says what to do."""


def insert_ignore(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
    """Insert the rows whose key is new, leave the others as they are; return how many were new."""
    if not rows:
        return 0
    return connection.execute(_ignoring(connection.dialect.name, table), rows).rowcount


@lru_cache
def _ignoring(dialect: str, table: Table) -> sa.Insert:
    build = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return build(table).on_conflict_do_nothing()


def upsert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert the rows; where the primary key exists, replace all other columns."""
    if rows:
        connection.execute(_replacing(connection.dialect.name, table, tuple(rows[0])), rows)


@lru_cache
def _replacing(dialect: str, table: Table, names: tuple[str, ...]) -> sa.Insert:
    build = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = build(table)
    keys = [column.name for column in table.primary_key.columns]
    changed = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def sqlite_url(path: Path) -> str:
    return f"sqlite+pysqlite:///{path}"


def _sqlite_settings(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun by us, not by the driver
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "busy_timeout=10000",
        f"cache_size=-{_CACHE_KIB}",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_deferred(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def make_engine(url: str) -> Engine:
    """An engine whose connections are durable (SQLite: WAL with `synchronous=FULL`)."""
    if url.startswith("sqlite"):
        engine = sa.create_engine(
            url,
            poolclass=QueuePool,
            pool_size=_READERS + 1,
            connect_args={"check_same_thread": False},
        )
        sa.event.listen(engine, "connect", _sqlite_settings)
        sa.event.listen(engine, "begin", _begin_deferred)
        return engine
    return sa.create_engine(url, pool_size=_READERS + 1)


def migrate(engine: Engine) -> None:
    """Bring the schema to this version; a store of a newer version is refused."""
    config = alembic.config.Config()
    config.set_main_option("script_location", "blathy.headend:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        try:
            alembic.command.upgrade(config, "head")
        except alembic.util.exc.CommandError as error:
            raise StoreError(
                f"this store was written by a newer version of blathy ({error}); "
                "use that version or another data directory"
            ) from error


class Database:
    """One store. `write` and `read` run a function of a connection off the event loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = make_engine(url)
        self._changes: queue.Queue[tuple[Change[Any], Future[Any]] | None] = queue.Queue(
            _WAITING_MAX
        )
        self._closed = False
        migrate(self.engine)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._writer = threading.Thread(target=self._write_loop, name="store-writer", daemon=True)
        self._writer.start()

    @classmethod
    def in_file(cls, path: Path) -> Database:
        """The store in one SQLite file, made when it is not there."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls(sqlite_url(path))
        except (OSError, sa.exc.OperationalError) as error:
            raise StoreError(f"cannot open the store {path}: {error}") from error

    async def write(self, change: Change[_T]) -> _T:
        """Run `change` in a transaction; return its result after the commit."""
        return await asyncio.wrap_future(self.submit(change))

    def write_now(self, change: Change[_T]) -> _T:
        """As `write`, for callers outside the event loop; blocks until the commit."""
        return self.submit(change).result()

    async def read(self, query: Change[_T]) -> _T:
        """Run `query` on a reader connection: a consistent snapshot of what is committed."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self.read_now, query)

    def read_now(self, query: Change[_T]) -> _T:
        with self.engine.connect() as connection, connection.begin():
            return query(connection)

    def close(self) -> None:
        """Commit what waits, then close. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._changes.put(None)
        self._writer.join()
        self._readers.shutdown()
        self.engine.dispose()

    def submit(self, change: Change[_T]) -> Future[_T]:
        """As `write`, without waiting; raise StoreError when the store cannot keep up."""
        if self._closed:
            raise StoreError("the store is closed")
        future: Future[_T] = Future()
        try:
            self._changes.put_nowait((change, future))
        except queue.Full:
            raise StoreError("the store cannot keep up; try again later") from None
        return future

    def _write_loop(self) -> None:
        while True:
            first = self._changes.get()
            if first is None:
                return
            group = [first]
            last = False
            while len(group) < _GROUP_MAX:
                try:
                    more = self._changes.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    last = True
                    break
                group.append(more)
            self._commit(group)
            if last:
                return

    def _commit(self, group: list[tuple[Change[Any], Future[Any]]]) -> None:
        done: list[tuple[Future[Any], Any]] = []
        try:
            with self.engine.connect() as connection, connection.begin():
                for change, future in group:
                    if not future.set_running_or_notify_cancel():
                        continue
                    try:
                        with connection.begin_nested():
                            done.append((future, change(connection)))
                    except Exception as error:  # noqa: BLE001 - belongs to whoever asked for it
                        future.set_exception(error)
        except Exception as error:  # noqa: BLE001 - the commit failed: nobody is acknowledged
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for future, result in done:
            future.set_result(result)
