"""The fleet: meters with their sources, stepped lazily, committed together, served on one socket.

Time passes in `step_until`: a meter that somebody looks at is stepped every second, the others
every few seconds in one block, which gives the same books. All of them are committed at once; ports
show what was committed. A replayable source is caught up after a stop as if the meter had gone on;
a live one leaves a power cut.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import structlog

from blathy.clock import SECONDS_PER_DAY
from blathy.fleet.bus import Bus
from blathy.fleet.outgoing import Outgoing
from blathy.meter.classes.communication_setup import has_physical_address
from blathy.meter.keeping import StoreKeeper
from blathy.meter.meter import Meter
from blathy.meter.readout import sign_on_server
from blathy.registers.block import Incident
from blathy.sources.source import IntervalSource
from blathy.store.store import Batch, Commit, Store
from blathy.transport.dlms_session import serve_dlms
from blathy.transport.listener import ANY_LOOPBACK, TcpListener
from blathy.transport.session import Endpoint
from blathy.wire.association_events import ServerEvent
from blathy.wire.iec62056_21 import Iec21Server
from blathy.wire.server import LogicalDevice

HOT_S: Final = 15.0
"""So long after the last reading, and while anybody is associated, a meter is stepped every
second."""
COLD_STEP_S: Final = 10
"""Every so many seconds the meters that nobody reads are stepped."""
STALE_S: Final = 2
"""A reading brings a meter up to now when its books are older than this."""
CLOCK_TOLERANCE_S: Final = 2
"""While catching up, clocks that are off by more are set at the end of every day."""
CATCH_UP_COMMIT_DAYS: Final = 5
"""While catching up, the meters are committed every so many days: what is not yet is measured
again, and gives the same."""
COARSE_STEP_S: Final = 60
FINE_STEP_S: Final = 10
FINE_SPAN_S: Final = 3 * 3600
"""So much of a catch-up goes in fine steps for a meter with a profile shorter than a minute."""

log = structlog.get_logger("blathy.fleet")


class Visitor(Protocol):
    """Comes to a meter at moments of true time, each a whole minute, whether or not it is live."""

    def next_visit(self, after_utc_s: int) -> int: ...

    def visit(self, meter: Meter, at_utc_s: int) -> None: ...


@dataclass(slots=True, eq=False)
class Running:
    """One meter of the fleet: where it is reached, what feeds it, when somebody last looked."""

    name: str
    meter: Meter
    source: IntervalSource
    host: str
    device: LogicalDevice
    port: int = 0
    looked_at: float = 0.0
    injected: list[Incident] = field(default_factory=list)
    bus: Bus | None = None
    visitor: Visitor | None = None
    """Somebody who looks after the meter now and then (and buys credit)."""
    counts: tuple[Running, ...] = ()
    """The meters whose load this one sums: they go on before it does, so that it can know what
    their breakers let through."""
    counted: bool = False
    """Whether another meter sums this one's load."""

    @property
    def now(self) -> int:
        """True time up to which the meter has measured."""
        return self.meter.ledger.now


class Fleet:
    """Meters of one process. `now` is true time in seconds since 1970 UTC."""

    def __init__(self, store: Store, now: Callable[[], float] = time.time) -> None:
        self.store = store
        self.now = now
        self.running: dict[str, Running] = {}
        self.by_host: dict[str, Running] = {}
        self.by_port: dict[int, Running] = {}
        self.commits = 0
        self.storage_error = ""
        self.outgoing = Outgoing(now)
        self._stepping = False
        self._live = True
        """Whether every step is staged; while catching up, only what is committed."""
        self._own_addresses = True
        self._listeners: list[TcpListener] = []
        self._task: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, path: Path, now: Callable[[], float] = time.time) -> Fleet:
        """A fleet that keeps its meters in the file `path`."""
        return cls(Store.open(path), now)

    def keeper(self, name: str) -> StoreKeeper:
        """The place of a meter in the store."""
        return StoreKeeper(self.store, name)

    def add(self, name: str, meter: Meter, source: IntervalSource, host: str) -> Running:
        """Take a meter in; raise ValueError where its name or address is taken."""
        if name in self.running or host in self.by_host:
            msg = f"two meters have the name {name} or the address {host}"
            raise ValueError(msg)
        one = Running(name, meter, source, host, meter.logical_device())
        meter.catch_up = lambda: self.look_at(one)
        self.running[name] = self.by_host[host] = one
        return one

    # --- time -------------------------------------------------------------------------------------

    def catch_up(
        self, until_utc_s: int, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Bring every meter to `until_utc_s` in coarse blocks, a day at a time, and commit.

        `progress(done, total)` counts meter-days.
        """
        self._live = False
        try:
            self._catch_up(until_utc_s, progress)
        finally:
            self._live = True
        for one in self.running.values():
            one.meter.outbox.forget()

    def _catch_up(self, until_utc_s: int, progress: Callable[[int, int], None] | None) -> None:
        spans = {one.name: max(0, until_utc_s - one.now) for one in self.running.values()}
        total = sum(-(-span // SECONDS_PER_DAY) for span in spans.values())
        done = days = 0
        while behind := [one for one in self.running.values() if until_utc_s - one.now > 0]:
            for one in behind:
                self._advance(one, min(until_utc_s, one.now + SECONDS_PER_DAY))
                self._synchronise(one)
                done += 1
                if progress:
                    progress(min(done, total), total)
            days += 1
            if days % CATCH_UP_COMMIT_DAYS == 0:
                self._commit_all()
        if total:
            self._commit_all()

    @staticmethod
    def _synchronise(one: Running) -> None:
        """Set the clock as a control centre does every day, where it is off by more than a
        little."""
        clock = one.meter.ledger.snapshot().clock
        if clock.valid and abs(clock.utc_s - one.now) > CLOCK_TOLERANCE_S:
            one.meter.ledger.set_clock(one.now, "catching up")

    def _advance(self, one: Running, until_utc_s: int) -> None:
        """Step one meter to `until_utc_s`, after those that it sums: seconds to the minute,
        minutes, seconds again; what somebody does at it happens at its moment."""
        if not one.source.replayable and until_utc_s - one.now > SECONDS_PER_DAY:
            msg = "a live source cannot be asked for the past"
            raise ValueError(msg)
        for part in one.counts:
            self._advance(part, until_utc_s)
        while one.visitor and (visit := one.visitor.next_visit(one.now)) <= until_utc_s:
            self._go_on(one, visit)
            one.visitor.visit(one.meter, visit)
        self._go_on(one, until_utc_s)

    def _go_on(self, one: Running, until_utc_s: int) -> None:
        while (left := until_utc_s - one.now) > 0:
            to_minute = -one.now % COARSE_STEP_S
            if to_minute or left < COARSE_STEP_S:
                self._step(one, min(left, to_minute or left), 1)
                continue
            step_s = COARSE_STEP_S
            span = left // COARSE_STEP_S * COARSE_STEP_S
            if self._is_fine(one):
                coarse = max(0, left - FINE_SPAN_S) // COARSE_STEP_S * COARSE_STEP_S
                step_s, span = (COARSE_STEP_S, coarse) if coarse else (FINE_STEP_S, span)
            self._step(one, span, step_s)

    @staticmethod
    def _is_fine(one: Running) -> bool:
        return any(p.period_s < COARSE_STEP_S for p in one.meter.model.profiles)

    def _step(self, one: Running, span_s: int, step_s: int) -> None:
        block = one.source.block(one.now, span_s // step_s, step_s)
        if one.injected:
            due = [i for i in one.injected if i.at_utc_s < block.end_utc_s]
            one.injected = [i for i in one.injected if i.at_utc_s >= block.end_utc_s]
            moved = (Incident(max(i.at_utc_s, one.now), i.name, i.phase, i.value) for i in due)
            block = block.with_incidents(moved)
        self._stepping = True
        try:
            one.meter.step(one.bus.feed(block) if one.bus else block, stage=self._live)
        finally:
            self._stepping = False

    def inject(self, name: str, incident: Incident) -> None:
        """Let something happen at a meter at its next step (a cover opened, a magnet)."""
        self.running[name].injected.append(incident)

    def look_at(self, one: Running) -> None:
        """Somebody reads this meter: bring it up to now if it is behind, and keep it hot."""
        if self._stepping:
            return  # the meter itself reads what it pushes: that is of the time of its alarm
        one.looked_at = self.now()
        if one.looked_at - one.now > STALE_S and self._writing is None:
            self._advance(one, int(one.looked_at))
            self._commit()

    def step_until(self, utc_s: int) -> int:
        """Step what is due at `utc_s`; how many meters were stepped. Nothing is committed yet."""
        stepped = 0
        for index, one in enumerate(self.running.values()):
            behind = utc_s - one.now
            hot = utc_s - one.looked_at < HOT_S or self.outgoing.open_links.has(one.device)
            hot = hot or any(incident.at_utc_s <= utc_s for incident in one.injected)
            turn = (utc_s + index) % COLD_STEP_S == 0
            if one.counted:  # mostly it has gone on with the meter that sums it
                turn = turn and behind >= COLD_STEP_S
            if behind > 0 and (hot or turn or behind > 60):
                self._advance(one, utc_s)
                stepped += 1
        return stepped

    # --- committing -------------------------------------------------------------------------------

    def _commit_all(self) -> None:
        """Stage every meter, and commit."""
        for one in self.running.values():
            one.meter.stage_all()
        self._commit()

    def _commit(self) -> None:
        self._committed(self.store.commit())

    async def commit(self) -> None:
        """Commit what is staged, writing in a thread; ports show the old books until it is done."""
        batch = self.store.begin_commit()
        if batch is None:
            return
        self._writing = asyncio.get_running_loop().create_task(self._write(batch))
        await asyncio.shield(self._writing)

    async def _write(self, batch: Batch) -> None:
        try:
            await asyncio.to_thread(self.store.write, batch)
        finally:
            self._writing = None
            self._committed(self.store.finish_commit(batch))

    def _committed(self, done: Commit) -> None:
        self.commits += 1
        if done.error and done.error != self.storage_error:
            log.error("the meters' store cannot be written; measuring goes on", reason=done.error)
            for one in self.running.values():
                one.meter.record("storage_failed")
        if done.recovered:
            log.info("the meters' store is written again")
            for one in self.running.values():
                one.meter.record("storage_restored")
        self.storage_error = done.error

    # --- serving ----------------------------------------------------------------------------------

    async def serve(
        self, port: int = 4059, *, host: str = ANY_LOOPBACK, separate_ports: bool = False
    ) -> None:
        """Serve every meter: on its own address at one port with one socket, or, with
        `separate_ports`, on 127.0.0.1 at `port`, `port` + 1, … in order of their names. Only the
        loopback device."""
        self._own_addresses = not separate_ports
        if separate_ports:
            for index, one in enumerate(self.running.values()):
                await self._listen("127.0.0.1", port + index if port else 0, (one,))
            return
        await self._listen(host, port, tuple(self.running.values()))

    async def _listen(self, host: str, port: int, meters: Sequence[Running]) -> None:
        single = meters[0] if len(meters) == 1 and host != ANY_LOOPBACK else None

        def lookup(endpoint: Endpoint, server_sap: int, hdlc: int | None) -> LogicalDevice | None:
            one = single or self.by_host.get(endpoint.local_ip)
            if one is None or server_sap not in {1, 16}:
                return None
            return one.device if has_physical_address(one.meter, hdlc) else None

        def knows(local_ip: str) -> bool:
            return single is not None or local_ip in self.by_host

        def on_event(endpoint: Endpoint, device: LogicalDevice, event: ServerEvent) -> None:
            del device
            one = single or self.by_host.get(endpoint.local_ip)
            if one is not None:
                one.meter.associations_event(event)

        def sign_on(endpoint: Endpoint) -> Iec21Server | None:
            one = single or self.by_host.get(endpoint.local_ip)
            return sign_on_server(one.meter) if one is not None else None

        listener, bound = await serve_dlms(
            lookup, host, port, knows=knows, on_event=on_event, sign_on=sign_on,
            open_links=self.outgoing.open_links,
        )  # fmt: skip
        self._listeners.append(listener)
        for one in meters:
            one.port = bound

    async def run(self) -> None:
        """Let time pass until cancelled: once a second step what is due and commit."""
        while True:
            second = int(self.now())
            if self._writing is None:
                self.step_until(second)
                await self.commit()
            for one in self.running.values():
                source = one.host if self._own_addresses else ""
                self.outgoing.collect(one.meter, one.device, source=source)
            await asyncio.sleep(max(0.02, second + 1.0 - self.now()))

    def start(self) -> None:
        """Run in the background."""
        self._task = asyncio.get_running_loop().create_task(self.run(), name="fleet")
        self._task.add_done_callback(_tell_failure)

    async def stop(self) -> None:
        """Close the ports, make everything durable, close the store."""
        for listener in self._listeners:
            await listener.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.outgoing.stop()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        self._commit_all()
        self.store.close()


def _tell_failure(task: asyncio.Task[None]) -> None:
    """A fleet that has come to a stop by a fault must not do so in silence."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        log.error("the meters have come to a stop", exc_info=fault)
