"""Events and alarms: kept once, named, located, told to whoever listens."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from blathy.clock import iso_utc
from blathy.headend.collection.conversation import LoggedEvent
from blathy.headend.database import Database, insert_ignore
from blathy.headend.inventory.registry import Inventory, Point
from blathy.headend.operations.location import locate
from blathy.headend.operations.vocabulary import HEADEND_CODES, HEADEND_LOG, meaning_of
from blathy.headend.schema import event

PUSH_LOG: Final = "push"
"""The log name of what is known by push only, until its record in the meter's log is read."""
SAME_EVENT_S: Final = 120
"""A push and a log record of one name this near in time are one event."""
ALARM_WINDOW_S: Final = 86_400
"""An alarm counts as open until it is acknowledged or a day has passed."""
PAGE_MAX: Final = 500
CLOCK_BEFORE: Final = "clock_adjusted_old"
CLOCK_AFTER: Final = "clock_adjusted_new"
"""A clock that is set leaves two records in a log, one behind the other: one event is shown. Some
meters have one code for both, so the second is known by its place."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What `find` looks for; empty means any. Times are UTC seconds, [from, to)."""

    points: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    text: str = ""
    from_utc: int | None = None
    to_utc: int | None = None
    any_point: bool = True
    raw: bool = False
    """Also the records of an event that is shown already: the meter keeps it in two logs."""


class Events:
    """The event store."""

    def __init__(self, database: Database, inventory: Inventory) -> None:
        self._database = database
        self._inventory = inventory
        self.on_new: Callable[[dict[str, Any]], None] = lambda _event: None

    async def take(self, point: Point, logged: Sequence[LoggedEvent], now: int) -> int:
        """Keep the events that are new; return how many. The same log read twice adds nothing."""
        if not logged:
            return 0
        rows = self._rows(point, logged, now)
        fresh = await self._database.write(lambda connection: _insert_new(connection, rows))
        self.tell([row for row in fresh if not row["twin"]])
        return len(fresh)

    def pushed_rows(
        self, point: Point, logged: Sequence[LoggedEvent], now: int
    ) -> list[dict[str, Any]]:
        """Rows for `insert_pushed`, within the caller's transaction."""
        rows = self._rows(point, logged, now)
        return [row | {"pushed_at": now, "push_clock": row["at"]} for row in rows]

    def tell(self, rows: Sequence[dict[str, Any]]) -> None:
        """Tell whoever listens; call it after the commit."""
        for row in rows:
            self.on_new(self._json(row))

    async def raise_own(self, point: Point, name: str, now: int, value: int | None = None) -> None:
        """An event that the head-end itself found."""
        logged = LoggedEvent(HEADEND_LOG, now, HEADEND_CODES[name], name, None, value)
        await self.take(point, [logged], now)

    def _rows(self, point: Point, logged: Sequence[LoggedEvent], now: int) -> list[dict[str, Any]]:
        seen: Counter[tuple[str, int, int]] = Counter()
        rows: list[dict[str, Any]] = []
        halves: dict[str, dict[str, Any]] = {}
        """Log -> the record of a clock's old or new time that waits for the other one."""
        for item in logged:
            key = (item.log, item.at, item.code)
            name = item.name
            other = halves.pop(item.log, None) if name in {CLOCK_BEFORE, CLOCK_AFTER} else None
            second = other is not None and other["name"] == CLOCK_AFTER
            if other is not None and not second:
                other["twin"], name = 1, CLOCK_AFTER
            meaning = meaning_of(name, item.code)
            location = locate(self._inventory, point, name)
            rows.append(
                {
                    "point_id": point.id,
                    "log": item.log,
                    "at": item.at,
                    "received_at": now,
                    "name": name or f"code_{item.code}",
                    "text": meaning.text,
                    "severity": meaning.severity,
                    "group_name": meaning.group,
                    "code": item.code,
                    "phase": item.phase,
                    "value": item.value,
                    "occurrence": seen[key],
                    "location": json.dumps(location) if location else None,
                    "acknowledged_by": None,
                    "acknowledged_at": None,
                    "pushed_at": None,
                    "push_clock": None,
                    "twin": int(second),
                }
            )
            if other is None and name in {CLOCK_BEFORE, CLOCK_AFTER}:
                halves[item.log] = rows[-1]
            seen[key] += 1
        return rows

    async def find(
        self, wanted: EventFilter, page: int = 1, size: int = 50
    ) -> tuple[list[dict[str, Any]], int]:
        """One page, newest first, and how many there are in all."""
        size = min(size, PAGE_MAX)

        def query(connection: Connection) -> tuple[list[Row[Any]], int]:
            condition = _condition(wanted)
            count = connection.execute(
                sa.select(sa.func.count()).select_from(event).where(condition)
            ).scalar_one()
            rows = connection.execute(
                sa.select(event)
                .where(condition)
                .order_by(event.c.at.desc(), event.c.id.desc())
                .limit(size)
                .offset((page - 1) * size)
            )
            return list(rows), count

        rows, count = await self._database.read(query)
        return [self._json(dict(row._mapping)) for row in rows], count

    async def latest_at(self, point: Point) -> dict[str, int]:
        """Log -> time of the newest event kept, to read on from there."""

        def query(connection: Connection) -> dict[str, int]:
            rows = connection.execute(
                sa.select(event.c.log, sa.func.max(event.c.at))
                .where(event.c.point_id == point.id)
                .group_by(event.c.log)
            )
            return {row[0]: row[1] for row in rows}

        return await self._database.read(query)

    async def open_alarms(self, now: int) -> dict[str, int]:
        """Point id -> alarms of the last day that nobody has acknowledged."""

        def query(connection: Connection) -> dict[str, int]:
            rows = connection.execute(
                sa.select(event.c.point_id, sa.func.count())
                .where(
                    event.c.severity == "alarm",
                    event.c.twin == 0,
                    event.c.at >= now - ALARM_WINDOW_S,
                    event.c.acknowledged_at.is_(None),
                )
                .group_by(event.c.point_id)
            )
            return {row[0]: row[1] for row in rows}

        return await self._database.read(query)

    async def acknowledge(self, event_id: int, user: str, now: int) -> dict[str, Any] | None:
        """Mark an event as seen; None where there is none of that id."""

        def change(connection: Connection) -> Row[Any] | None:
            connection.execute(
                sa.update(event)
                .where(event.c.id == event_id, event.c.acknowledged_at.is_(None))
                .values(acknowledged_by=user, acknowledged_at=now)
            )
            return connection.execute(sa.select(event).where(event.c.id == event_id)).first()

        row = await self._database.write(change)
        return None if row is None else self._json(dict(row._mapping))

    def _feeder(self, point: Point | None) -> dict[str, str] | None:
        feeder = self._inventory.feeders.get(point.feeder_id) if point is not None else None
        return None if feeder is None else {"id": feeder.id, "name": feeder.name}

    def _json(self, row: dict[str, Any]) -> dict[str, Any]:
        point = self._inventory.point(row["point_id"])
        acknowledged = row["acknowledged_at"]
        return {
            "id": str(row["id"]),
            "at": iso_utc(row["at"]),
            "received_at": iso_utc(row["received_at"]),
            "pushed_at": iso_utc(row["pushed_at"]) if row["pushed_at"] is not None else None,
            "point": {"id": row["point_id"], "name": point.name if point else row["point_id"]},
            "feeder": self._feeder(point),
            "name": row["name"],
            "text": row["text"],
            "severity": row["severity"],
            "group": row["group_name"],
            "code": row["code"],
            "phase": row["phase"],
            "value": row["value"],
            "log": row["log"],
            "location": json.loads(row["location"]) if row["location"] else None,
            "acknowledged": None
            if acknowledged is None
            else {"by": row["acknowledged_by"], "at": iso_utc(acknowledged)},
        }


def _insert_new(connection: Connection, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    first, last = min(r["at"] for r in rows), max(r["at"] for r in rows)
    columns = (event.c.log, event.c.at, event.c.code, event.c.occurrence)
    known = {
        tuple(row)
        for row in connection.execute(
            sa.select(*columns).where(
                event.c.point_id == rows[0]["point_id"], event.c.at >= first, event.c.at <= last
            )
        )
    }
    fresh = [
        row for row in rows if (row["log"], row["at"], row["code"], row["occurrence"]) not in known
    ]
    if _any_pushed(connection, rows[0]["point_id"], first, last):
        fresh = [row for row in fresh if not _settled(connection, row)]
    if not fresh:
        return []
    _mark_twins(connection, fresh)
    before = connection.execute(sa.select(sa.func.max(event.c.id))).scalar() or 0
    insert_ignore(connection, event, fresh)
    added = connection.execute(sa.select(event).where(event.c.id > before).order_by(event.c.id))
    return [dict(row._mapping) for row in added]


def _mark_twins(connection: Connection, fresh: list[dict[str, Any]]) -> None:
    """Find the rows whose event another log of the meter told before, or tells beside them."""
    own = (HEADEND_LOG, PUSH_LOG)
    first, last = min(r["at"] for r in fresh), max(r["at"] for r in fresh)
    told: dict[tuple[Any, ...], str] = {}
    columns = (event.c.name, event.c.at, event.c.phase, event.c.occurrence, event.c.log)
    query = sa.select(*columns).where(
        event.c.point_id == fresh[0]["point_id"],
        event.c.at.between(first, last),
        event.c.log.not_in(own),
        event.c.twin == 0,
    )
    for name, at, phase, occurrence, log in connection.execute(query):
        told[name, at, phase or 0, occurrence] = log
    for row in fresh:
        if row["log"] in own or row["twin"]:
            continue
        key = (row["name"], row["at"], row["phase"] or 0, row["occurrence"])
        if told.setdefault(key, row["log"]) != row["log"]:
            row["twin"] = 1


def _any_pushed(connection: Connection, point: str, first: int, last: int) -> bool:
    """Whether anything that the point pushed may be in its logs of that time."""
    pushed = sa.select(event.c.id).where(
        event.c.point_id == point,
        event.c.log == PUSH_LOG,
        event.c.at.between(first - SAME_EVENT_S, last + SAME_EVENT_S),
    )
    return connection.execute(pushed.limit(1)).first() is not None


def _settled(connection: Connection, row: dict[str, Any]) -> bool:
    """Whether this log record is an event that is known by push: it then takes the record's time,
    code, phase and place, and stays the one event that it is."""
    if row["log"] in {HEADEND_LOG, PUSH_LOG}:
        return False
    found = _nearest(connection, row, event.c.log == PUSH_LOG)
    if found is None:
        return False
    names = ("log", "at", "code", "phase", "value", "occurrence", "location")
    connection.execute(
        sa.update(event).where(event.c.id == found).values({name: row[name] for name in names})
    )
    return True


def _nearest(
    connection: Connection, row: dict[str, Any], condition: sa.ColumnElement[bool]
) -> int | None:
    """The event of that name at that point nearest in time, not farther than `SAME_EVENT_S`."""
    return connection.execute(
        sa.select(event.c.id)
        .where(
            event.c.point_id == row["point_id"],
            event.c.name == row["name"],
            event.c.at.between(row["at"] - SAME_EVENT_S, row["at"] + SAME_EVENT_S),
            condition,
        )
        .order_by(sa.func.abs(event.c.at - row["at"]), event.c.id)
        .limit(1)
    ).scalar()


def insert_pushed(
    connection: Connection, rows: Sequence[dict[str, Any]], apart_s: int = 0
) -> list[dict[str, Any]]:
    """Keep what a push told, within the caller's transaction; return the rows that are new.

    The same push again adds nothing, and an event that is in a log already is only marked. What was
    pushed with a time not more than `apart_s` off is the same, told in another way.
    """
    fresh = []
    for row in rows:
        again = sa.select(event.c.id).where(
            event.c.point_id == row["point_id"],
            event.c.name == row["name"],
            event.c.push_clock.between(row["push_clock"] - apart_s, row["push_clock"] + apart_s),
        )
        if connection.execute(again.limit(1)).first() is not None:
            continue
        logged = event.c.log.not_in((HEADEND_LOG, PUSH_LOG)) & event.c.pushed_at.is_(None)
        logged &= event.c.twin == 0
        found = _nearest(connection, row, logged)
        if found is not None:
            told = {name: row[name] for name in ("pushed_at", "push_clock")}
            connection.execute(sa.update(event).where(event.c.id == found).values(told))
            continue
        added = connection.execute(sa.insert(event).values(row).returning(event)).one()
        fresh.append(dict(added._mapping))
    return fresh


def _condition(wanted: EventFilter) -> sa.ColumnElement[bool]:
    parts: list[sa.ColumnElement[bool]] = [sa.true()]
    if not wanted.raw:
        parts.append(event.c.twin == 0)
    if not wanted.any_point or wanted.points:
        parts.append(event.c.point_id.in_(wanted.points))
    if wanted.severities:
        parts.append(event.c.severity.in_(wanted.severities))
    if wanted.kinds:
        parts.append(event.c.name.in_(wanted.kinds))
    if wanted.groups:
        parts.append(event.c.group_name.in_(wanted.groups))
    if wanted.text:
        parts.append(event.c.text.icontains(wanted.text, autoescape=True))
    if wanted.from_utc is not None:
        parts.append(event.c.at >= wanted.from_utc)
    if wanted.to_utc is not None:
        parts.append(event.c.at < wanted.to_utc)
    return sa.and_(*parts)
