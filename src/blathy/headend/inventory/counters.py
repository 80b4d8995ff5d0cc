"""Invocation counters in the store: reserved before use, durable, never lowered.

Repeating a counter under one key breaks AES-GCM, so a block is committed ahead and numbers are
handed out of it; after a crash the rest of the block is given up. What the store says is never
lowered, not by a meter's report and not by an older copy of it.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection

from blathy.headend.database import Database, insert_ignore
from blathy.headend.schema import invocation_counter
from blathy.wire.errors import LocalProtocolError

AHEAD: Final = 4096
"""Numbers committed at once: one disk sync for that many protected messages."""
COUNTER_MAX: Final = 2**32 - 1
_FLOOR_EVERY: Final = 256


class CountersExhausted(LocalProtocolError):  # noqa: N818 - a state, said in plain words
    """A key has used all its numbers; it must be replaced."""


def raise_to(connection: Connection, name: str, at_least: int) -> None:
    """Raise a counter within the caller's transaction; a lower number changes nothing."""
    table = invocation_counter
    insert_ignore(connection, table, [{"name": name, "reserved": 0}])
    connection.execute(
        sa.update(table)
        .where(table.c.name == name, table.c.reserved < at_least)
        .values(reserved=at_least)
    )


class StoredCounters:
    """The client's counter store (`blathy.wire.security.CounterStore`) over the head-end's
    database. Blocks for a disk sync once in `AHEAD` numbers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next: dict[str, int] = {}
        self._end: dict[str, int] = {}
        self._lowest: dict[str, int] = {}
        self._written: dict[str, int] = {}
        for name, number in database.read_now(_all_counters):
            if name.startswith("r "):
                self._lowest[name[2:]] = self._written[name[2:]] = number
            else:
                self._next[name[2:]] = self._end[name[2:]] = number

    def reserve(self, name: str, count: int) -> int:
        """First of `count` numbers that nobody has used or will use; durable on return."""
        first = self._next.get(name, 1)
        if first + count - 1 > COUNTER_MAX:
            raise CountersExhausted(
                f"the invocation counter of {name} is used up; replace the encryption key"
            )
        if first + count > self._end.get(name, 0):
            end = min(first + max(count, AHEAD), COUNTER_MAX + 1)
            self._database.write_now(lambda connection: raise_to(connection, f"s {name}", end))
            self._end[name] = end
        self._next[name] = first + count
        return first

    def advance(self, name: str, at_least: int) -> None:
        """Continue at `at_least` or above."""
        if at_least > self._next.get(name, 1):
            self._next[name] = at_least

    def reached(self, name: str) -> int:
        """The highest number that may have been used; 0 where none was."""
        return self._next.get(name, 1) - 1

    def lowest(self, name: str) -> int:
        """The lowest number that is still accepted from the meter."""
        return self._lowest.get(name, 0)

    def accept(self, name: str, lowest: int) -> None:
        """Raise the lowest number still acceptable. Written now and then and on `flush`: a crash
        may let the meter's last few messages pass once more, never one of ours."""
        if lowest <= self._lowest.get(name, 0):
            return
        self._lowest[name] = lowest
        if lowest >= self._written.get(name, 0) + _FLOOR_EVERY:
            self._written[name] = lowest
            self._database.submit(lambda connection: raise_to(connection, f"r {name}", lowest))

    def flush(self) -> None:
        """Write all receive floors."""
        floors = {n: v for n, v in self._lowest.items() if v > self._written.get(n, 0)}
        self._written.update(floors)

        def change(connection: Connection) -> None:
            for name, lowest in floors.items():
                raise_to(connection, f"r {name}", lowest)

        if floors:
            self._database.write_now(change)


def _all_counters(connection: Connection) -> list[tuple[str, int]]:
    rows = connection.execute(sa.select(invocation_counter))
    return [(r.name, r.reserved) for r in rows]
