"""The keys of meters: those in force, those a meter is being told, and where they came from.

A new key is stored as pending before the meter hears of it. Until it is confirmed the head-end
tries both, so that it can talk to the meter whatever it was doing when it was killed. A site
description that is loaded again does not bring back a key that was changed since.
"""

from __future__ import annotations

import secrets as entropy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from blathy.headend import schema
from blathy.headend.database import Database, upsert
from blathy.headend.inventory.description import (
    AssociationDescription,
    DescriptionError,
    MeterDescription,
)
from blathy.headend.inventory.sealing import Sealer

PURPOSES: Final = ("encryption", "authentication", "broadcast", "master", "password")
STORED, SENT = "stored", "sent"
MARK_DIGITS: Final = 8


@dataclass(frozen=True, slots=True)
class Secrets:
    """Key material of one meter for the driver. `repr` shows none of it."""

    password: bytes = field(default=b"", repr=False)
    encryption_key: bytes = field(default=b"", repr=False)
    authentication_key: bytes = field(default=b"", repr=False)
    broadcast_key: bytes = field(default=b"", repr=False)
    master_key: bytes = field(default=b"", repr=False)
    pending: bool = False
    """These hold a key that the meter may not have yet."""

    def of(self, purpose: str) -> bytes:
        """The secret of a purpose of `PURPOSES`."""
        found: bytes = getattr(self, _FIELDS[purpose])
        return found


_FIELDS: Final = {
    "password": "password",
    "encryption": "encryption_key",
    "authentication": "authentication_key",
    "broadcast": "broadcast_key",
    "master": "master_key",
}


@dataclass(frozen=True, slots=True)
class PendingKeys:
    """A change under way. `keys` are the new ones by purpose; `repr` shows none."""

    change_id: str
    state: str
    started_at: int
    user: str
    keys: Mapping[str, bytes] = field(repr=False)

    @property
    def purposes(self) -> tuple[str, ...]:
        return tuple(name for name in PURPOSES if name in self.keys)


class Keyring:
    """Keys at rest: `meter_key` and `pending_key` of the store, sealed."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    # -- what the site description says -----------------------------------------------------------

    def describe(
        self,
        connection: Connection,
        meter_id: int,
        meter: MeterDescription,
        association: AssociationDescription,
        now: int,
    ) -> None:
        """Take the keys of a description, unless it says the same as the last time."""
        table = schema.meter_key
        known = {
            r.purpose: r
            for r in connection.execute(sa.select(table).where(table.c.meter_id == meter_id))
        }
        for purpose, name in _FIELDS.items():
            secret = getattr(association, name)
            if not secret:
                continue
            described = self._sealer.fingerprint(f"{meter.serial}/{purpose}/".encode() + secret)
            old = known.get(purpose)
            if old is not None and old.described == described:
                continue
            # in a store of before nothing tells a changed key from one that was described
            before = old is not None and old.described is None and old.fingerprint
            if before and before == self._sealer.fingerprint(secret):
                place = (table.c.meter_id == meter_id, table.c.purpose == purpose)
                connection.execute(sa.update(table).where(*place).values(described=described))
                continue
            self._take(connection, meter_id, meter, purpose, secret, described, now)

    def _take(
        self,
        connection: Connection,
        meter_id: int,
        meter: MeterDescription,
        purpose: str,
        secret: bytes,
        described: str,
        now: int,
    ) -> None:
        mark = self._mark(purpose, secret)
        table = schema.meter_key
        owner = connection.execute(
            sa.select(table.c.meter_id, table.c.purpose).where(table.c.fingerprint == mark)
        ).first()
        if owner is not None and owner.meter_id != meter_id:
            raise DescriptionError(
                f"the {purpose} key of meter {meter.serial} is already that of another meter; "
                "give each meter its own"
            )
        if owner is not None and owner.purpose != purpose:
            raise DescriptionError(
                f"meter {meter.serial}: {owner.purpose} and {purpose} key are the same"
            )
        row = {
            "meter_id": meter_id,
            "purpose": purpose,
            "fingerprint": mark,
            "sealed": self._sealer.seal(secret, f"{meter.serial}/{purpose}"),
            "changed_at": now,
            "described": described,
        }
        upsert(connection, table, [row])

    def _mark(self, purpose: str, secret: bytes) -> str:
        """A fingerprint that tells shared keys; passwords may be equal, so theirs is random."""
        return entropy.token_hex(32) if purpose == "password" else self._sealer.fingerprint(secret)

    # -- for conversations ------------------------------------------------------------------------

    def secrets_of(self, meter_id: int, serial: str) -> Secrets:
        """The keys in force; they are not kept in memory."""
        return self.candidates(meter_id, serial)[-1]

    def candidates(self, meter_id: int, serial: str) -> list[Secrets]:
        """What to try, the keys in force last. Pending keys come first once they may have reached
        the meter, and not at all before."""
        held, waiting = self._database.read_now(lambda c: _rows(c, meter_id))
        now = replace(Secrets(), **self._opened(serial, held))
        if not waiting or waiting[0].state == STORED:
            return [now]
        return [replace(now, **self._opened(serial, waiting), pending=True), now]

    def _opened(self, serial: str, rows: list[Any]) -> dict[str, Any]:
        return {
            _FIELDS[r.purpose]: self._sealer.open(r.sealed, f"{serial}/{r.purpose}") for r in rows
        }

    # -- changing ---------------------------------------------------------------------------------

    def pending(self, meter_id: int, serial: str) -> PendingKeys | None:
        """The change under way, if there is one."""
        _, waiting = self._database.read_now(lambda c: _rows(c, meter_id))
        if not waiting:
            return None
        first = waiting[0]
        keys = {r.purpose: self._sealer.open(r.sealed, f"{serial}/{r.purpose}") for r in waiting}
        return PendingKeys(
            first.change_id, first.state, first.created_at, first.user_name, keys
        )  # fmt: skip

    def propose(
        self,
        connection: Connection,
        meter_id: int,
        serial: str,
        change_id: str,
        keys: Mapping[str, bytes],
        user: str,
        now: int,
    ) -> bool:
        """Store new keys as pending; False where another change of this meter is under way."""
        table = schema.pending_key
        there = connection.execute(
            sa.select(table.c.change_id).where(table.c.meter_id == meter_id).limit(1)
        ).first()
        if there is not None:
            return False
        connection.execute(
            sa.insert(table),
            [
                {
                    "meter_id": meter_id,
                    "purpose": purpose,
                    "change_id": change_id,
                    "fingerprint": self._mark(purpose, secret),
                    "sealed": self._sealer.seal(secret, f"{serial}/{purpose}"),
                    "state": STORED,
                    "created_at": now,
                    "user_name": user,
                }
                for purpose, secret in keys.items()
            ],
        )
        return True

    def mark_of(self, secret: bytes) -> str:
        """The short fingerprint that people see: it tells keys apart and reveals nothing."""
        return self._sealer.fingerprint(secret)[:MARK_DIGITS]

    def overview(self, meter_id: int) -> dict[str, tuple[int, str]]:
        """Purpose -> when it was changed last and its short fingerprint."""
        held, _ = self._database.read_now(lambda c: _rows(c, meter_id))
        return {r.purpose: (r.changed_at, r.fingerprint[:MARK_DIGITS]) for r in held}

    def unsettled(self) -> list[int]:
        """Meters with a change under way."""
        table = schema.pending_key
        query = sa.select(table.c.meter_id).distinct()
        return self._database.read_now(lambda c: [r.meter_id for r in c.execute(query)])


def mark_sent(connection: Connection, meter_id: int) -> None:
    """From now on the meter may have the pending keys."""
    table = schema.pending_key
    connection.execute(sa.update(table).where(table.c.meter_id == meter_id).values(state=SENT))


def confirm(connection: Connection, meter_id: int, purposes: tuple[str, ...], now: int) -> None:
    """Put pending keys of these purposes in force."""
    waiting = schema.pending_key
    held = schema.meter_key
    for r in connection.execute(
        sa.select(waiting).where(waiting.c.meter_id == meter_id, waiting.c.purpose.in_(purposes))
    ).all():
        values = {"fingerprint": r.fingerprint, "sealed": r.sealed, "changed_at": now}
        where = (held.c.meter_id == meter_id, held.c.purpose == r.purpose)
        if connection.execute(sa.update(held).where(*where).values(values)).rowcount == 0:
            connection.execute(
                sa.insert(held).values(meter_id=meter_id, purpose=r.purpose, **values)
            )
    withdraw(connection, meter_id, purposes)


def withdraw(connection: Connection, meter_id: int, purposes: tuple[str, ...]) -> None:
    """Forget pending keys of these purposes."""
    table = schema.pending_key
    connection.execute(
        sa.delete(table).where(table.c.meter_id == meter_id, table.c.purpose.in_(purposes))
    )


def _rows(connection: Connection, meter_id: int) -> tuple[list[Any], list[Any]]:
    held, waiting = schema.meter_key, schema.pending_key
    return (
        list(connection.execute(sa.select(held).where(held.c.meter_id == meter_id))),
        list(connection.execute(sa.select(waiting).where(waiting.c.meter_id == meter_id))),
    )
