"""Changing the keys of a meter, so that a crash at any moment leaves it within reach.

1. The new keys are stored as pending: the meter knows nothing of them.
2. They are marked as sent, and only then handed over, wrapped under the master key.
3. The association is opened again. While keys are marked as sent, both are tried; the ones that
   open it are put in force, and the others forgotten, before anything else is asked.

Keys that open no association (broadcast, master) are in force when the meter has accepted them;
where its answer was lost they are handed over again, which changes nothing if it has them.
Invocation counters begin anew with a new encryption key: they are kept by key.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from blathy.clock import iso_utc
from blathy.headend.collection.conversation import Conversation, ConversationError, Outcome
from blathy.headend.inventory import keyring
from blathy.headend.inventory.keyring import PURPOSES, STORED, PendingKeys
from blathy.headend.inventory.registry import Meter, Point
from blathy.headend.operations import audit
from blathy.headend.operations.confirmations import CommandRefused, place_of
from blathy.headend.operations.desk import Desk
from blathy.headend.operations.jobs import Job
from blathy.headend.schema import audit_entry
from blathy.headend.sentence import EMPTY, Sentence, with_code
from blathy.wire.security import KEY_OCTETS, wrap_key

log = structlog.get_logger(__name__)
ACTION: Final = "key.change"
PASSWORD_OCTETS: Final = 16
ASSOCIATING: Final = ("encryption", "authentication", "password")
"""Keys that are proved by opening an association with them."""
HISTORY_SHOWN: Final = 50
SETTLE_EVERY_S: Final = 60.0
HEAD_END: Final = "head-end"
CONSEQUENCE: Final = Sentence(
    "consequence-keys",
    "New keys are made and handed to the meter ({purposes}). Other programs that read this meter "
    "with the old ones are shut out.",
)
ELSEWHERE: Final = "Complete the site description, or use the meter's tool."
SETTLING: Final = Sentence("keys-settling", "Settling what was open before")
HANDING_OVER: Final = Sentence("keys-handing-over", "Handing the keys over")
PROVING: Final = Sentence("keys-proving", "Proving them by a new association")
IN_FORCE: Final = Sentence("keys-in-force", "The new keys are in force.")


class KeyChanges:
    """Makes keys, hands them over, proves them. `step` is called at every boundary."""

    def __init__(self, desk: Desk) -> None:
        self._database = desk.database
        self._inventory = desk.inventory
        self._collector = desk.collector
        self._jobs = desk.jobs
        self._confirmations = desk.confirmations
        self._now = desk.now
        self._busy: set[int] = set()
        self._settler: asyncio.Task[None] | None = None
        self.step: Callable[[str], None] = lambda _name: None
        desk.collector.lines.on_keys = self._found_out

    # -- running ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Settle what an earlier run left open, and go on looking."""
        self._settler = asyncio.create_task(self._keep_settling(), name="key settling")

    async def stop(self) -> None:
        if self._settler is not None:
            self._settler.cancel()
            await asyncio.gather(self._settler, return_exceptions=True)

    async def _keep_settling(self) -> None:
        while True:
            try:
                for meter_id in await asyncio.to_thread(self._inventory.keyring.unsettled):
                    meter = self._inventory.meters.get(meter_id)
                    if meter is not None and meter_id not in self._busy:
                        await self._try_settle(self._inventory.points[meter.point_id])
            except Exception:
                log.exception("keys.settling_failed")
            await asyncio.sleep(SETTLE_EVERY_S)

    async def _try_settle(self, point: Point) -> None:
        try:
            await self.settle(point)
        except (ConversationError, CommandRefused) as error:
            log.info("keys.not_settled", point=point.id, reason=str(error))

    # -- the two steps of a person ----------------------------------------------------------------

    async def prepare(self, user: str, point: Point, purposes: Sequence[str]) -> dict[str, Any]:
        """Check and ask back; nothing happens yet."""
        await asyncio.to_thread(self._check, point, purposes)
        consequence = CONSEQUENCE.of(purposes=", ".join(_ordered(purposes)))
        place = place_of([point])
        return self._confirmations.ask(user, _request(point, purposes), place, consequence)

    async def confirm(self, user: str, point: Point, purposes: Sequence[str], word: str) -> Job:
        """Start the change as a job."""
        self._confirmations.take(user, _request(point, purposes), word)
        await asyncio.to_thread(self._check, point, purposes)
        wanted = _ordered(purposes)
        return await self._jobs.start(
            "keys",
            Sentence("job-keys", "Keys of {point}", point=point.name),
            lambda job: self._change(job, point, wanted, user),
            user=user,
            point_id=point.id,
        )

    def _check(self, point: Point, purposes: Sequence[str]) -> None:
        wanted = set(purposes)
        if not wanted or not wanted <= set(PURPOSES):
            raise CommandRefused(
                "no-keys", "These are no keys.", "Name one or more of {purposes}.",
                purposes=", ".join(PURPOSES),
            )  # fmt: skip
        if "password" in wanted and len(wanted) > 1:
            raise CommandRefused(
                "password-alone", "A password is changed by itself.",
                "Change it and the keys one after the other.",
            )  # fmt: skip
        for purpose in wanted:
            if refusal := self._why_not(point.meter, purpose):
                raise refusal
        if point.meter.id in self._busy:
            raise _being_changed()

    def _why_not(self, meter: Meter, purpose: str) -> CommandRefused | None:
        if self._inventory.answering(meter) is not meter:
            return CommandRefused(
                "keys-elsewhere", "This meter has no keys: it is read through another one.",
                ELSEWHERE,
            )  # fmt: skip
        held = self._inventory.keyring.overview(meter.id)
        if purpose == "password":
            if "password" in held:
                return None
            return CommandRefused(
                "no-password", "This meter is entered without a password.", ELSEWHERE
            )
        if not meter.ciphered or "encryption" not in held:
            return CommandRefused("no-encryption", "This meter does not encrypt.", ELSEWHERE)
        if "master" in held:
            return None
        return CommandRefused(
            "no-master-key", "The master key of this meter is not known here.", ELSEWHERE
        )

    # -- the change -------------------------------------------------------------------------------

    async def _change(
        self, job: Job, point: Point, purposes: tuple[str, ...], user: str
    ) -> dict[str, Any]:
        meter = point.meter
        if meter.id in self._busy:
            raise _being_changed()
        self._busy.add(meter.id)
        try:
            job.progress(0, 4, SETTLING)
            await self._settle(point)
            fresh = {purpose: _new_secret(meter, purpose) for purpose in purposes}
            await self._propose(point, job.id, fresh, user)
            self.step("stored")
            job.progress(1, 4, HANDING_OVER)
            try:
                await self._hand_over(point, fresh, user)
            finally:
                await self._collector.lines.release(meter)
            self.step("released")
            job.progress(3, 4, PROVING)
            await self._prove(point, fresh, user)
        except (ConversationError, CommandRefused):
            await self._forget_unsent(point)
            raise
        finally:
            self._busy.discard(meter.id)
        marks = {p: self._inventory.keyring.mark_of(key) for p, key in fresh.items()}
        marks.pop("password", None)
        job.progress(4, 4, IN_FORCE)
        return {"outcome": "ok", "purposes": list(purposes), "fingerprints": marks}

    async def _propose(
        self, point: Point, change_id: str, fresh: Mapping[str, bytes], user: str
    ) -> None:
        meter, now = point.meter, int(self._now())

        def change(connection: Connection) -> bool:
            took = self._inventory.keyring.propose(
                connection, meter.id, meter.serial, change_id, fresh, user, now
            )
            if took:
                self._log(connection, point, user, "started", list(fresh))
            return took

        if not await self._database.write(change):
            raise CommandRefused(
                "keys-not-settled",
                "An earlier change of this meter's keys is not settled yet.",
                "Let it answer once, then try again.",
            )

    async def _hand_over(self, point: Point, fresh: Mapping[str, bytes], user: str) -> None:
        meter = point.meter
        async with self._collector.lines.use(meter) as conversation:
            held = await asyncio.to_thread(self._inventory.secrets_of, meter)

            def sent(connection: Connection) -> None:
                keyring.mark_sent(connection, meter.id)
                self._log(connection, point, user, "sent", list(fresh))

            await self._database.write(sent)
            self.step("sent")
            try:
                if "password" in fresh:
                    await conversation.change_secret(fresh["password"])
                else:
                    await conversation.transfer_keys(_wrapped(held.master_key, fresh))
            except ConversationError as error:
                if error.outcome is Outcome.REFUSED:  # it answered, and has changed nothing
                    await self._end(point, tuple(fresh), user, "refused", taken=False)
                raise
            self.step("taken")

    async def _forget_unsent(self, point: Point) -> None:
        waiting = await self._pending(point.meter)
        if waiting is not None and waiting.state == STORED:
            await self._end(point, waiting.purposes, waiting.user, "withdrawn", taken=False)

    async def _prove(self, point: Point, fresh: Mapping[str, bytes], user: str) -> None:
        """The meter has said that it took them; those that can be tried are tried."""
        others = tuple(p for p in fresh if p not in ASSOCIATING)
        if others:
            await self._end(point, others, user, "done", taken=True)
        if len(others) < len(fresh):
            async with self._collector.lines.use(point.meter) as conversation:
                await conversation.clock()
            held = await asyncio.to_thread(self._inventory.secrets_of, point.meter)
            if any(held.of(purpose) != key for purpose, key in fresh.items()):
                raise CommandRefused(
                    "keys-not-taken",
                    "The meter said that it took the new keys and goes on with the old ones.",
                    "Try again; if that happens again its firmware does not do what it says.",
                )
        self.step("proved")

    async def _found_out(self, meter: Meter, fresh: bool) -> None:
        """An association was opened while keys were marked as sent: these are in force."""
        waiting = await self._pending(meter)
        if waiting is None:
            return
        mine = tuple(p for p in waiting.purposes if p in ASSOCIATING)
        point = self._inventory.points[meter.point_id]
        if mine:
            self.step("opened")
            outcome = "done" if fresh else "withdrawn"
            await self._end(point, mine, waiting.user, outcome, taken=fresh)
            self.step("confirmed")

    async def _end(
        self, point: Point, purposes: tuple[str, ...], user: str, outcome: str, *, taken: bool
    ) -> None:
        now = int(self._now())

        def change(connection: Connection) -> None:
            if taken:
                keyring.confirm(connection, point.meter.id, purposes, now)
            else:
                keyring.withdraw(connection, point.meter.id, purposes)
            self._log(connection, point, user, outcome, list(purposes))

        await self._database.write(change)

    def _log(
        self, connection: Connection, point: Point, user: str, outcome: str, purposes: list[str]
    ) -> None:
        detail = {"purposes": purposes}
        audit.append(connection, int(self._now()), user, ACTION, point.id, outcome, detail)

    # -- after an interruption --------------------------------------------------------------------

    async def settle(self, point: Point) -> dict[str, Any]:
        """Find out which keys a meter has and end an interrupted change."""
        if point.meter.id in self._busy:
            raise _being_changed()
        self._busy.add(point.meter.id)
        try:
            await self._settle(point)
        finally:
            self._busy.discard(point.meter.id)
        return {"outcome": "ok"}

    async def _settle(self, point: Point) -> None:
        meter = point.meter
        waiting = await self._pending(meter)
        if waiting is None:
            return
        if waiting.state == STORED:  # the meter never heard of them
            await self._end(point, waiting.purposes, waiting.user, "withdrawn", taken=False)
            return
        await self._collector.lines.release(meter)
        async with self._collector.lines.use(meter) as conversation:
            waiting = await self._pending(meter)  # opening has settled what it can
            if waiting is not None:
                await self._hand_over_again(point, conversation, waiting)

    async def _hand_over_again(
        self, point: Point, conversation: Conversation, waiting: PendingKeys
    ) -> None:
        """Master and broadcast key: the new master is wrapped under itself first, which succeeds
        only where the meter has it."""
        meter = point.meter
        held = await asyncio.to_thread(self._inventory.secrets_of, meter)
        kek = held.master_key
        if fresh := waiting.keys.get("master"):
            try:
                await conversation.transfer_keys({"master": wrap_key(fresh, fresh)})
            except ConversationError as error:
                if error.outcome is not Outcome.REFUSED:
                    raise
                await conversation.transfer_keys({"master": wrap_key(kek, fresh)})
            kek = fresh
            await self._end(point, ("master",), waiting.user, "done", taken=True)
        if broadcast := waiting.keys.get("broadcast"):
            await conversation.transfer_keys({"broadcast": wrap_key(kek, broadcast)})
            await self._end(point, ("broadcast",), waiting.user, "done", taken=True)

    async def _pending(self, meter: Meter) -> PendingKeys | None:
        return await asyncio.to_thread(self._inventory.keyring.pending, meter.id, meter.serial)

    # -- what people see --------------------------------------------------------------------------

    async def as_json(self, point: Point) -> dict[str, Any]:
        """The keys of a meter by purpose: never a key, only fingerprints."""
        meter = point.meter
        held = await asyncio.to_thread(self._inventory.keyring.overview, meter.id)
        waiting = await self._pending(meter)
        items = []
        for purpose in PURPOSES:
            changed_at, mark = held.get(purpose, (None, None))
            why = await asyncio.to_thread(self._why_not, meter, purpose)
            items.append(
                {
                    "purpose": purpose,
                    "held": purpose in held,
                    "changed_at": None if changed_at is None else iso_utc(changed_at),
                    "fingerprint": None if purpose == "password" else mark,
                    "can_change": why is None,
                    **with_code("why_not", EMPTY if why is None else why.detail),
                }
            )
        return {
            "items": items,
            "pending": None
            if waiting is None
            else {
                "id": waiting.change_id,
                "purposes": list(waiting.purposes),
                "state": waiting.state,
                "started_at": iso_utc(waiting.started_at),
                "user": waiting.user,
            },
            "history": await self._database.read(lambda c: _history(c, point.id)),
        }


def _being_changed() -> CommandRefused:
    return CommandRefused(
        "keys-busy", "The keys of this meter are being changed.", "Wait for the end."
    )


def _ordered(purposes: Sequence[str]) -> tuple[str, ...]:
    return tuple(purpose for purpose in PURPOSES if purpose in set(purposes))


def _request(point: Point, purposes: Sequence[str]) -> dict[str, Any]:
    return {"keys": point.id, "purposes": list(_ordered(purposes))}


def _new_secret(meter: Meter, purpose: str) -> bytes:
    if purpose == "password":
        return secrets.token_hex(PASSWORD_OCTETS // 2).encode()
    return secrets.token_bytes(KEY_OCTETS[meter.suite])


def _wrapped(master: bytes, fresh: Mapping[str, bytes]) -> dict[str, bytes]:
    return {purpose: wrap_key(master, key) for purpose, key in fresh.items()}


def _history(connection: Connection, point_id: str) -> list[dict[str, Any]]:
    table = audit_entry
    query = (
        sa.select(table)
        .where(table.c.action == ACTION, table.c.target == point_id)
        .order_by(table.c.id.desc())
        .limit(HISTORY_SHOWN)
    )
    return [
        {
            "at": iso_utc(r.at),
            "user": r.user_name,
            "purposes": json.loads(r.detail)["purposes"],
            "outcome": r.outcome,
            "detail": "",
        }
        for r in connection.execute(query)
    ]
