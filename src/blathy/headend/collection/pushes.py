"""The receiver of pushes: meters tell alarms and readings by themselves, over TCP and UDP.

A push is opened with the keys of its sender, its counter is checked, what it says is committed, and
only then it is confirmed where the meter asked for that. What cannot be taken now (too much at
once, the store is full) is not confirmed, so the meter sends it again. Senders that nobody knows,
replays and forgeries change nothing but counters; memory is bounded whatever arrives.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from blathy.client.address import DEFAULT_CLIENT_TITLE
from blathy.client.lease import counters_of
from blathy.client.push import Push, PushReceiver, Unreadable, read_push
from blathy.client.push_layers import originator_of
from blathy.clock import Instant, iso_utc
from blathy.cosem.selective import CaptureObject
from blathy.headend.collection.alarm_state import new_bits
from blathy.headend.collection.conversation import LoggedEvent
from blathy.headend.collection.push_meaning import (
    Meaning,
    alarms_of,
    device_name_of,
    meaning_of_push,
    spent,
    usual_objects,
)
from blathy.headend.database import Database, StoreError, insert_ignore, upsert
from blathy.headend.inventory.counters import StoredCounters
from blathy.headend.inventory.keyring import Secrets
from blathy.headend.inventory.registry import Inventory, Meter, Point
from blathy.headend.operations.events import Events, insert_pushed
from blathy.headend.schema import (
    push_counter,
    push_message,
    register_snapshot,
)
from blathy.headend.sentence import EMPTY, Sentence, with_code
from blathy.models import MODELS
from blathy.transport.limits import ListenerLimits
from blathy.transport.listener import TcpListener, UdpListener
from blathy.transport.session import Endpoint, Session, Stage, Transmit
from blathy.wire import apdu, wrapper
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.security import Envelope, KeySet, Protection, SecurityContext

log = structlog.get_logger(__name__)

PUSH_PORT: Final = 4061
LISTENER_TITLE: Final = b"BLY\x00\x00\x00\x00\x02"
"""Confirmations overtake requests, so they have a title and counters of their own."""
LIMITS: Final = ListenerLimits(
    connections_max=4_000,
    connections_per_source_max=2_000,
    connections_per_source_and_meter_max=2_000,
    first_frame_s=10.0,
    association_s=30.0,
    idle_s=60.0,
)
WAITING_MAX: Final = 1_000
"""Pushes read from the line and not yet committed; more are left for the meter's retry."""
WORKERS: Final = 8
BURST: Final = 200
"""Pushes of one source at once, and"""
PER_SECOND: Final = 50.0
"""so many a second in the long run; more are left for the meter's retry."""
SOURCES_MAX: Final = 10_000
BAD_MAX: Final = 8
"""Pushes of one connection that are refused before it is closed."""
UNKNOWN_KEPT: Final = 200
MESSAGES_KEPT: Final = 100
"""Of each meter."""
WINDOW: Final = 62
"""Counters below the highest that are known one by one."""
TOLD_TWICE_S: Final = 15
"""An event code and an alarm bit this near in time are one event, told in two ways."""
WARN_EVERY: Final = 100
REPLAY_EVENT_S: Final = 600
DETAIL_MAX: Final = 200
"""Characters of a push's detail that are stored."""

UNKNOWN_TITLE: Final = Sentence("push-unknown-title", "No meter of the inventory has this title.")
UNKNOWN_NAME: Final = Sentence(
    "push-unknown-name", "No meter of the inventory has this name or address."
)
NO_KEY: Final = Sentence("push-no-key", "The inventory holds no key of this meter.")
UNREADABLE: Final = Sentence("push-unreadable", "It cannot be read: {fault}.")
NOT_AUTHENTICATED: Final = Sentence(
    "push-not-authenticated", "It is encrypted but not authenticated."
)
IN_CLEAR: Final = Sentence("push-in-clear", "It came in clear, and this meter must encrypt.")
COUNTER_USED: Final = Sentence("push-counter-used", "Its counter was used before.")
UNPROVED: Final = Sentence("push-unproved", "Not authenticated.")


@dataclass(slots=True)
class _Sender:
    """A sender that is not in the inventory."""

    at: int
    source: str
    meter: str
    reason: Sentence
    count: int = 0


@dataclass(frozen=True, slots=True)
class _Arrival:
    whole: bytes
    endpoint: Endpoint
    transport: str
    session: _PushSession


@dataclass(slots=True)
class _Taken:
    """What the transaction made of a push."""

    outcome: str
    events: list[dict[str, Any]] = field(default_factory=list)


class _PushSession:
    """The receiving side of one connection, or of the datagrams of one peer."""

    def __init__(
        self, owner: PushListener, endpoint: Endpoint, transmit: Transmit, *, datagrams: bool
    ) -> None:
        self._owner = owner
        self._endpoint = endpoint
        self._datagrams = datagrams
        self._receiver = PushReceiver()
        self._bad = 0
        self.transmit = transmit
        self.closing = False

    @property
    def stage(self) -> Stage:
        return Stage.ASSOCIATED if self._receiver.frames else Stage.CONNECTED

    @property
    def frames(self) -> int:
        return self._receiver.frames

    def receive(self, data: bytes, now: Instant) -> None:
        receiver = self._receiver
        kind = "udp" if self._datagrams else "tcp"
        one = receiver.apdu_of_datagram
        bodies = [one(data)] if self._datagrams else receiver.apdus(data, now)
        for body in bodies:
            try:
                whole = receiver.whole(body)
            except RemoteProtocolError:
                self._owner.counters["unreadable"] += 1
                self.refuse()
                continue
            if whole is not None:
                arrival = _Arrival(whole, self._endpoint, kind, self)
                if not self._owner.offer(arrival):
                    self.closing = True
                    return
        self.closing = self.closing or receiver.broken

    def refuse(self) -> None:
        """One that was no good; the connection ends after a few."""
        self._bad += 1
        self.closing = self.closing or self._bad >= BAD_MAX

    def data_to_send(self) -> bytes:
        return b""

    def deadline(self) -> Instant | None:
        return None

    def tick(self, now: Instant) -> None:
        """Nothing is due: the listener keeps the idle time."""

    def lost(self) -> None:
        """What was not complete is sent again by the meter."""


class PushListener:
    """Ports that meters push to. `follow(point)` is called after an alarm was committed: whoever
    reads event logs looks there soon."""

    def __init__(
        self,
        database: Database,
        inventory: Inventory,
        events: Events,
        counters: StoredCounters,
        now: Callable[[], float],
        follow: Callable[[Point], None],
    ) -> None:
        self._database = database
        self._inventory = inventory
        self._events = events
        self._sent = counters
        self._now = now
        self._follow = follow
        self.counters: Counter[str] = Counter()
        self.host, self.port = "", 0
        self._unknown: OrderedDict[tuple[str, str], _Sender] = OrderedDict()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._replays: dict[int, float] = {}
        self._above: set[str] = set()
        """Keys whose confirmations have a counter above what the meter may know."""
        self._queue: asyncio.Queue[_Arrival] = asyncio.Queue(WAITING_MAX)
        self._workers: list[asyncio.Task[None]] = []
        self._tcp: TcpListener | None = None
        self._udp: UdpListener | None = None

    # -- running ----------------------------------------------------------------------------------

    async def start(self, host: str, port: int = PUSH_PORT, *, outside: bool = False) -> int:
        """Listen for TCP and UDP on one port (0: any free one); return it. Raise MeterError, in
        one sentence, where it cannot be had."""
        self._workers = [
            asyncio.create_task(self._work(), name=f"push worker {n}") for n in range(WORKERS)
        ]
        tcp = TcpListener(self._session, LIMITS)
        try:
            self.port = await tcp.start(host, port, outside=outside)
            self._tcp = tcp
            udp = UdpListener(self._datagram_session, LIMITS)
            await udp.start(host, self.port, outside=outside)
            self._udp = udp
        except BaseException:
            await self.stop()
            raise
        self.host = host
        return self.port

    async def stop(self) -> None:
        """Close the ports. What is not committed was not confirmed."""
        for listener in (self._tcp, self._udp):
            if listener is not None:
                await listener.stop()
        self._tcp = self._udp = None
        self.port = 0
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers = []

    def _session(self, endpoint: Endpoint, transmit: Transmit) -> Session:
        return _PushSession(self, endpoint, transmit, datagrams=False)

    def _datagram_session(self, endpoint: Endpoint, transmit: Transmit) -> Session:
        return _PushSession(self, endpoint, transmit, datagrams=True)

    def offer(self, arrival: _Arrival) -> bool:
        """Take a push in, or leave it for the meter's retry."""
        if not self._admits(arrival.endpoint.peer_ip):
            self.counters["throttled"] += 1
            return False
        try:
            self._queue.put_nowait(arrival)
        except asyncio.QueueFull:
            self.counters["throttled"] += 1
            return False
        return True

    def _admits(self, source: str) -> bool:
        now = time.monotonic()
        tokens, at = self._buckets.pop(source, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - at) * PER_SECOND)
        while len(self._buckets) >= SOURCES_MAX:
            self._buckets.popitem(last=False)
        self._buckets[source] = (max(0.0, tokens - 1.0), now)
        return tokens >= 1.0

    async def _work(self) -> None:
        while True:
            arrival = await self._queue.get()
            try:
                await self._take(arrival)
            except StoreError as error:
                self.counters["lost"] += 1
                log.warning("push.not_stored", reason=str(error))
            except Exception:
                self.counters["lost"] += 1
                log.exception("push.failed", source=arrival.endpoint.peer_ip)

    # -- one push ---------------------------------------------------------------------------------

    async def _take(self, arrival: _Arrival) -> None:
        title = originator_of(arrival.whole)
        if title is None:
            await self._take_plain(arrival)
            return
        meter = self._inventory.by_title.get(title)
        if meter is None:
            self._stranger(arrival, title.hex().upper(), UNKNOWN_TITLE)
            return
        candidates = await asyncio.to_thread(self._inventory.candidates, meter)
        push: Push | Unreadable | None = None
        keys = KeySet(meter.suite)
        for secrets in candidates:
            if not secrets.encryption_key:
                continue
            keys = _keys_of(meter, secrets)
            push = read_push(arrival.whole, (keys,), self._objects_of)
            if isinstance(push, Push):
                break
        if not isinstance(push, Push):
            reason = NO_KEY if push is None else UNREADABLE.of(fault=push.reason)
            await self._refused(arrival, meter, reason)
            return
        if not push.ciphered:  # signed alone: public keys of meters are not in the inventory
            await self._refused(arrival, meter, IN_CLEAR)
            return
        if keys.authentication and not push.authenticated:
            await self._refused(arrival, meter, NOT_AUTHENTICATED)
            return
        await self._keep(arrival, meter, push, keys)

    async def _take_plain(self, arrival: _Arrival) -> None:
        """A push in clear: only of a meter that the inventory says to speak in clear."""
        push = read_push(arrival.whole, ())
        if isinstance(push, Unreadable):
            self.counters["unreadable"] += 1
            arrival.session.refuse()
            return
        meter = self._sender_of(push, arrival.endpoint)
        if meter is None:
            name = device_name_of(push).decode("ascii", "replace")
            self._stranger(arrival, name, UNKNOWN_NAME)
            return
        if meter.ciphered:
            await self._refused(arrival, meter, IN_CLEAR)
            return
        if not device_name_of(push):
            push = read_push(arrival.whole, (), lambda _title: self._list_of(meter))
            assert isinstance(push, Push)
        await self._keep(arrival, meter, push, None)

    def _sender_of(self, push: Push, endpoint: Endpoint) -> Meter | None:
        for value in push.values:  # by its logical device name, also where no list names the values
            name = value.value.encode() if isinstance(value.value, str) else value.value
            if isinstance(name, bytes) and name in self._inventory.by_name:
                return self._inventory.by_name[name]
        return self._inventory.alone_at.get(endpoint.peer_ip)

    def _objects_of(self, title: bytes) -> Sequence[CaptureObject]:
        meter = self._inventory.by_title.get(title)
        return () if meter is None else self._list_of(meter)

    def _list_of(self, meter: Meter) -> Sequence[CaptureObject]:
        found = self._inventory.push_objects.get(meter.id)
        if found is None:
            model = MODELS.get(meter.model)
            found = usual_objects(model) if model is not None else ()
        return found

    async def _keep(self, arrival: _Arrival, meter: Meter, push: Push, keys: KeySet | None) -> None:
        point = self._inventory.points[meter.point_id]
        meaning = meaning_of_push(push, meter)
        now = int(self._now())
        floor = self._floor(push)
        source = f"{arrival.endpoint.peer_ip}:{arrival.endpoint.peer_port}"
        row = _message(meter, now, source, arrival.transport, push.counter)
        taken = await self._database.write(
            lambda c: self._commit(c, point, push, meaning, floor, row)
        )
        if taken.outcome == "replayed":
            self.counters["replayed"] += 1
            log.warning("push.replayed", meter=meter.serial, source=source, counter=push.counter)
            arrival.session.refuse()
            await self._raise_replay(point)
            return
        self.counters["accepted"] += 1
        if keys is not None or not meter.ciphered:
            self._confirm(arrival, meter, push, keys)
        meter.state.last_answer_at = now
        self._events.tell(taken.events)
        if meaning.alarm_registers or meaning.codes or not push.values:
            self._follow(point)

    async def told(self, point: Point, push: Push) -> None:
        """What a meter told on an association that was open: proved by the association."""
        meaning, now = meaning_of_push(push, point.meter), int(self._now())
        row = _message(point.meter, now, f"{point.meter.host}:{point.meter.port}", "open", -1)
        taken = await self._database.write(lambda c: self._commit(c, point, push, meaning, -1, row))
        self.counters["told"] += 1
        self._events.tell(taken.events)
        if push.event is not None or meaning.alarm_registers:
            self._follow(point)

    def _floor(self, push: Push) -> int | None:
        """A first push of a meter is not older than what its associations have shown. None: there
        is no counter to check."""
        if not push.ciphered:
            return None
        return counters_of(self._sent).lowest(push.originator, push.key_id) - WINDOW

    def _commit(
        self,
        connection: Connection,
        point: Point,
        push: Push,
        meaning: Meaning,
        floor: int | None,
        row: dict[str, Any],
    ) -> _Taken:
        """Counter, alarms, readings and the note of the push: all of it or nothing."""
        meter, now = point.meter, row["at"]
        if floor is not None and not _is_new(connection, meter, push, floor):
            _note(connection, row | {"outcome": "replayed"} | _detail(COUNTER_USED))
            return _Taken("replayed")
        at = meaning.at if meaning.at is not None else now
        logged: list[LoggedEvent] = []
        for register, bits in meaning.alarm_registers.items():
            fresh = new_bits(connection, meter, register, bits, now)
            logged += alarms_of(meter, register, fresh, at)
        rows = insert_pushed(connection, self._events.pushed_rows(point, logged, now))
        codes = self._events.pushed_rows(point, meaning.codes, now)
        rows += insert_pushed(connection, codes, TOLD_TWICE_S)
        readings = [
            {"meter_id": meter.id, "obis": r.obis, "at": at, "mantissa": r.mantissa,
             "scaler": r.scaler, "unit": r.unit}
            for r in meaning.readings
        ]  # fmt: skip
        insert_ignore(connection, register_snapshot, readings)
        unproved = meter.ciphered and not push.authenticated
        told = {"events": len(rows), "readings": len(readings)}
        _note(connection, row | told | (_detail(UNPROVED) if unproved else {}))
        return _Taken("accepted", rows)

    def _confirm(self, arrival: _Arrival, meter: Meter, push: Push, keys: KeySet | None) -> None:
        """Answer a push whose service class asks for it; protected as the push was."""
        if not push.wants_confirmation:
            return
        octets = apdu.DataNotificationConfirm(push.long_invoke).encode()
        if keys is not None:
            try:
                octets = self._protected(octets, push, keys)
            except LocalProtocolError as error:
                log.warning("push.not_confirmed", meter=meter.serial, reason=str(error))
                self._follow(self._inventory.points[meter.point_id])
                return
        with suppress(OSError):
            arrival.session.transmit(wrapper.encode(meter.client_sap, meter.server_sap, octets))
            self.counters["confirmed"] += 1

    def _protected(self, octets: bytes, push: Push, keys: KeySet) -> bytes:
        """Protect a confirmation. Its counter is one that no earlier head-end of this site can have
        used either: an association has asked the meter for its highest, and we go on above."""
        counters, key_id = counters_of(self._sent), push.key_id
        if key_id not in self._above:
            if not counters.lowest(push.originator, key_id):
                raise LocalProtocolError("the meter has not been spoken to with this key yet")
            above = counters.next(DEFAULT_CLIENT_TITLE, key_id) + 1
            counters.follow_report(LISTENER_TITLE, key_id, above)
            self._above.add(key_id)
        context = SecurityContext(
            LISTENER_TITLE, keys, counters, os.urandom, peer_title=push.originator
        )
        protection = Protection.BOTH if keys.authentication else Protection.ENCRYPTED
        return context.protect(octets, protection, Envelope.GENERAL_GLO)

    # -- what is not taken ------------------------------------------------------------------------

    async def _refused(self, arrival: _Arrival, meter: Meter, reason: Sentence) -> None:
        self.counters["refused"] += 1
        arrival.session.refuse()
        source = f"{arrival.endpoint.peer_ip}:{arrival.endpoint.peer_port}"
        if self.counters["refused"] % WARN_EVERY == 1:
            log.warning("push.refused", meter=meter.serial, source=source, reason=reason)
        row = _message(meter, int(self._now()), source, arrival.transport, -1)
        told = row | {"outcome": "refused"} | _detail(reason)
        await self._database.write(lambda c: _note(c, told))

    def _stranger(self, arrival: _Arrival, meter: str, reason: Sentence) -> None:
        """Counted and listed, not stored: anybody may claim any name."""
        self.counters["unknown"] += 1
        arrival.session.refuse()
        key = (arrival.endpoint.peer_ip, meter[:64])
        sender = self._unknown.pop(key, None)
        if sender is None:
            sender = _Sender(0, *key, reason)
            while len(self._unknown) >= UNKNOWN_KEPT:
                self._unknown.popitem(last=False)
        sender.at, sender.count = int(self._now()), sender.count + 1
        self._unknown[key] = sender
        if sender.count % WARN_EVERY == 1 and self.counters["unknown"] % 10 == 1:
            log.warning(
                "push.unknown_sender",
                source=sender.source,
                meter=sender.meter,
                reason=f"{reason}; add it to the site, or let it push elsewhere",
            )

    async def _raise_replay(self, point: Point) -> None:
        now = time.monotonic()
        if now - self._replays.get(point.meter.id, -REPLAY_EVENT_S) >= REPLAY_EVENT_S:
            self._replays[point.meter.id] = now
            await self._events.raise_own(point, "push_replayed", int(self._now()))

    # -- what people see --------------------------------------------------------------------------

    async def as_json(
        self, meter: Meter | None = None, count: int = MESSAGES_KEPT
    ) -> dict[str, Any]:
        """Counters, unknown senders and the latest pushes; of one meter only its pushes."""
        table = push_message
        where = sa.true() if meter is None else table.c.meter_id == meter.id
        query = sa.select(table).where(where).order_by(table.c.id.desc()).limit(count)
        rows = await self._database.read(lambda c: list(c.execute(query)))
        items = [self._item(row) for row in rows]
        if meter is not None:
            return {"items": items, "total": len(items)}
        names = (
            "accepted", "told", "replayed", "refused", "unknown", "unreadable", "throttled",
            "confirmed", "lost",
        )  # fmt: skip
        place = {"host": self.host, "port": self.port, "tcp": True, "udp": True}
        return {
            "listening": place if self.port else None,
            "counters": {name: self.counters[name] for name in names},
            "unknown": [
                {"at": iso_utc(s.at), "from": s.source, "meter": s.meter, "count": s.count,
                 **with_code("reason", s.reason)}
                for s in reversed(self._unknown.values())
            ],
            "items": items,
        }  # fmt: skip

    def _item(self, row: Any) -> dict[str, Any]:
        meter = self._inventory.meters.get(row.meter_id)
        point = self._inventory.points[meter.point_id] if meter is not None else None
        return {
            "id": str(row.id),
            "at": iso_utc(row.at),
            "point": None if point is None else {"id": point.id, "name": point.name},
            "from": row.source,
            "transport": row.transport,
            "counter": row.counter if row.counter >= 0 else None,
            "outcome": row.outcome,
            **with_code("detail", Sentence.restored(row.detail, row.detail_words)),
            "events": row.events,
            "values": row.readings,
        }


def _keys_of(meter: Meter, secrets: Secrets) -> KeySet:
    return KeySet(
        meter.suite, unicast=secrets.encryption_key, authentication=secrets.authentication_key
    )


def _message(meter: Meter, now: int, source: str, transport: str, counter: int) -> dict[str, Any]:
    return {
        "meter_id": meter.id, "at": now, "source": source[:64], "transport": transport,
        "counter": counter, "outcome": "accepted", "events": 0, "readings": 0, **_detail(EMPTY),
    }  # fmt: skip


def _detail(sentence: Sentence) -> dict[str, Any]:
    return {"detail": str(sentence)[:DETAIL_MAX], "detail_words": sentence.kept()}


def _note(connection: Connection, row: dict[str, Any]) -> None:
    """Keep the note of a push; of each meter the latest `MESSAGES_KEPT`."""
    table = push_message
    connection.execute(sa.insert(table).values(row))
    mine = table.c.meter_id == row["meter_id"]
    oldest = (
        sa.select(table.c.id).where(mine).order_by(table.c.id.desc()).offset(MESSAGES_KEPT).limit(1)
    )
    last = connection.execute(oldest).scalar()
    if last is not None:
        connection.execute(sa.delete(table).where(mine, table.c.id <= last))


def _is_new(connection: Connection, meter: Meter, push: Push, floor: int) -> bool:
    """Spend the counter of a push; False where it was spent before."""
    table = push_counter
    known = connection.execute(
        sa.select(table).where(table.c.meter_id == meter.id, table.c.key_id == push.key_id)
    ).first()
    if known is None and push.counter < floor:
        return False
    window = (push.counter, 0)
    if known is not None:
        moved = spent(push.counter, known.highest, known.below, WINDOW)
        if moved is None:
            return False
        window = moved
    row = {"meter_id": meter.id, "key_id": push.key_id}
    upsert(connection, table, [row | {"highest": window[0], "below": window[1]}])
    return True
