"""The audit chain: who did what to what, each entry holding the hash of the one before.

Deleting, inserting, changing or reordering an entry breaks the chain from there on; cutting its
end is seen by whoever kept the last hash (`GET /audit` tells it).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from blathy.clock import iso_utc
from blathy.headend.schema import audit_entry

GENESIS: Final = "0" * 64


def _hash(previous: str, at: int, user: str, action: str, target: str, outcome: str,
          detail: str) -> str:  # fmt: skip
    body = json.dumps([previous, at, user, action, target, outcome, detail], ensure_ascii=True)
    return hashlib.sha256(body.encode()).hexdigest()


def append(
    connection: Connection,
    at: int,
    user: str,
    action: str,
    target: str,
    outcome: str,
    detail: Mapping[str, Any] | None = None,
) -> str:
    """Append an entry within the caller's transaction; return its hash.

    The writer thread is the only one that appends, so the chain cannot fork.
    """
    table = audit_entry
    previous = (
        connection.execute(sa.select(table.c.hash).order_by(table.c.id.desc()).limit(1)).scalar()
        or GENESIS
    )
    text = json.dumps(dict(detail or {}), sort_keys=True, default=str)
    mark = _hash(previous, at, user, action, target, outcome, text)
    connection.execute(
        sa.insert(table),
        [
            {
                "at": at,
                "user_name": user,
                "action": action,
                "target": target,
                "outcome": outcome,
                "detail": text,
                "previous": previous,
                "hash": mark,
            }
        ],
    )
    return mark


@dataclass(frozen=True, slots=True)
class ChainState:
    """Result of walking the chain: `broken_at` is the id of the first bad entry."""

    entries: int
    last_hash: str
    broken_at: int | None

    @property
    def intact(self) -> bool:
        return self.broken_at is None


def verify(connection: Connection) -> ChainState:
    """Walk the whole chain."""
    previous, count = GENESIS, 0
    for r in connection.execute(sa.select(audit_entry).order_by(audit_entry.c.id)):
        mark = _hash(previous, r.at, r.user_name, r.action, r.target, r.outcome, r.detail)
        if r.previous != previous or r.hash != mark:
            return ChainState(count, previous, r.id)
        previous, count = r.hash, count + 1
    return ChainState(count, previous, None)


def latest(connection: Connection, user: str, page: int, size: int) -> dict[str, Any]:
    """A page of the chain, newest first, of one user or of all, with how the chain stands."""
    table = audit_entry
    where = table.c.user_name == user if user else sa.true()
    count = sa.select(sa.func.count()).select_from(table).where(where)
    rows = connection.execute(
        sa.select(table)
        .where(where)
        .order_by(table.c.id.desc())
        .limit(size)
        .offset((page - 1) * size)
    )
    items = [
        {
            "id": r.id,
            "at": iso_utc(r.at),
            "user": r.user_name,
            "action": r.action,
            "target": r.target,
            "outcome": r.outcome,
            "detail": json.loads(r.detail),
            "hash": r.hash,
        }
        for r in rows
    ]
    state = verify(connection)
    return {
        "items": items,
        "total": connection.execute(count).scalar_one(),
        "page": page,
        "size": size,
        "intact": state.intact,
        "broken_at": state.broken_at,
        "last_hash": state.last_hash,
    }
