"""The collector: schedules, on-demand reads, gap filling; one bad meter never blocks another."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
import sqlalchemy as sa
import structlog
from sqlalchemy import Connection

from blathy.clock import iso_utc
from blathy.headend import schema
from blathy.headend.collection.alarm_state import cleared
from blathy.headend.collection.backoff import Backoff
from blathy.headend.collection.conversation import (
    RETRIED,
    ClockAction,
    Conversation,
    ConversationError,
    DisplayState,
    Driver,
    LiveValue,
    Outcome,
    ProfileRows,
    RegisterValue,
    SupplyState,
)
from blathy.headend.collection.lines import Lines
from blathy.headend.database import Database, insert_ignore, upsert
from blathy.headend.inventory.registry import (
    Channel,
    Inventory,
    Meter,
    MeterStanding,
    Point,
    store_states,
)
from blathy.headend.operations.events import Events
from blathy.headend.readings.calendar import slot_floor, start_of_ending_slot
from blathy.headend.readings.estimation import days_to_estimate, estimate_day
from blathy.headend.readings.ingest import Batch, Receipt, ingest, seal
from blathy.headend.readings.series import missing_ranges
from blathy.headend.sentence import Sentence

log = structlog.get_logger(__name__)
_T = TypeVar("_T")
Clock = Callable[[], float]
Progress = Callable[[int, int, Sentence], None]

HISTORY_DAYS: Final = 30
CONCURRENT_MAX: Final = 64
"""Meters talked to at the same time by schedules; on-demand reads come on top."""
ATTEMPTS: Final = 3
RANGE_SLOTS_MAX: Final = 96 * 31
"""Largest piece of a profile asked for at once."""
HOLE_SLOTS: Final = 4
"""Two gaps this near are asked for together."""
SETTLE_S: Final = 5
"""A slot is asked for this long after its end, so that the meter has captured it."""
ABSENT_AFTER_S: Final = 3600
"""A slot that the meter does not hold this long after its end will never come."""
CLOCK_WARN_S: Final = 10
FOLLOW_AFTER_S: Final = 0.3
"""An alarm is followed by a reading of the logs after this time: others may come with it."""
FOLLOWED_MAX: Final = 1_000
CONVERSATIONS_KEPT: Final = 20_000
STATE_WRITE_S: Final = 30.0
READING: Final = Sentence("reading", "Reading {what}")
READINGS: Final = Sentence("new-readings", "{count} new readings")
DONE: Final = Sentence("job-done", "Done.")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A task of a group: every `every_s`, `offset_s` after the full period, spread by jitter."""

    group: str
    task: str
    every_s: int
    offset_s: int = 0
    spread_s: float = 5.0


SCHEDULES: Final = (
    Schedule("all", "live", 30, 0, 10.0),
    Schedule("all", "profile", 900, SETTLE_S + 3, 20.0),
    Schedule("all", "events", 60, 20, 20.0),
    Schedule("all", "registers", 86_400, 300, 120.0),
    Schedule("all", "clock", 21_600, 1800, 300.0),
)


@dataclass(slots=True)
class Run:
    """The last run of a schedule."""

    at: int | None = None
    ok: int = 0
    failed: int = 0
    duration_ms: int = 0
    next_at: int | None = None


@dataclass(slots=True)
class _Waiting:
    """A meter that failed waits; quarantined ones longer."""

    until: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(random.random))


class Collector:
    """Talks to meters and hands what they say to the stores."""

    def __init__(
        self,
        database: Database,
        inventory: Inventory,
        driver: Driver,
        events: Events,
        now: Clock,
        schedules: Sequence[Schedule] = SCHEDULES,
        history_days: int = HISTORY_DAYS,
    ) -> None:
        self.database = database
        self.inventory = inventory
        self.driver = driver
        self.events = events
        self.now = now
        self.schedules = tuple(schedules)
        self.history_days = history_days
        self.lines = Lines(inventory, driver)
        self.runs: dict[tuple[str, str], Run] = {}
        self.outcomes: Counter[str] = Counter()
        self.latest: dict[str, tuple[int, list[LiveValue]]] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._complete: dict[int, int] = {}  # channel -> UTC second before which nothing is missing
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(CONCURRENT_MAX)
        self._begun: set[int] = set()
        self._talks: deque[dict[str, Any]] = deque(maxlen=5_000)
        self._followed: set[str] = set()
        self._stopping = False
        self.on_clock: Callable[[Point, int], Awaitable[None]] = _nothing
        """Told the offset of a clock, in s, whenever it was checked."""

    # -- running --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the schedules."""
        self._load_runs()
        for schedule in self.schedules:
            self._spawn(partial(self._keep, schedule), f"schedule {schedule.task}")
        self._spawn(self._housekeep, "housekeeping")

    async def stop(self) -> None:
        """Stop the schedules, release the lines, write what is known of the meters."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(2.0):
                await self.lines.close()
        except TimeoutError:
            log.warning("collector.lines_not_released")
        await self._write_states(everything=True)

    def _spawn(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        async def guarded() -> None:
            try:
                await work()
            except Exception:
                log.exception("collector.task_failed", task=name)

        task = asyncio.get_running_loop().create_task(guarded(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, schedule: Schedule) -> None:
        run = self.runs.setdefault((schedule.group, schedule.task), Run())
        if schedule.task == "live":
            await self.run_schedule(schedule)
        while True:
            now = self.now()
            due = now - (now - schedule.offset_s) % schedule.every_s + schedule.every_s
            run.next_at = int(due)
            await asyncio.sleep(due - now)
            await self.run_schedule(schedule)

    async def run_schedule(self, schedule: Schedule) -> Run:
        """Run a schedule's task on every meter of its group now."""
        run = self.runs.setdefault((schedule.group, schedule.task), Run())
        began, run.at = time.monotonic(), int(self.now())
        points = [p for p in self.inventory.of_group(schedule.group) if self._may_try(p)]
        points = [p for p in points if self._applies(schedule.task, p)]

        async def one(point: Point) -> bool:
            await asyncio.sleep(random.random() * schedule.spread_s)  # noqa: S311 - spreading load
            async with self._slots:
                return await self.attempt(point, schedule.task)

        results = await asyncio.gather(*(one(point) for point in points))
        run.ok, run.failed = sum(results), len(results) - sum(results)
        run.duration_ms = int((time.monotonic() - began) * 1000)
        row = {
            "group_name": schedule.group,
            "task": schedule.task,
            "last_run_at": run.at,
            "ok": run.ok,
            "failed": run.failed,
            "duration_ms": run.duration_ms,
        }
        if schedule.every_s >= 300:
            await self.database.write(lambda c: upsert(c, schema.schedule_run, [row]))
        return run

    def _applies(self, task: str, point: Point) -> bool:
        capabilities = self.driver.facts(point.meter).capabilities
        return task in capabilities or (task == "profile" and bool(point.meter.channels))

    def _may_try(self, point: Point) -> bool:
        waiting = self._waiting.get(point.meter.id)
        return waiting is None or time.monotonic() >= waiting.until

    async def attempt(self, point: Point, task: str) -> bool:
        """One task on one meter; every failure is recorded and ends here."""
        work: dict[str, Callable[[Point], Awaitable[Any]]] = {
            "live": self._poll,
            "profile": self.fill_gaps,
            "events": self.read_events,
            "registers": self.snapshot_registers,
            "clock": self.check_clock,
        }
        try:
            await work[task](point)
        except ConversationError:
            return False
        except Exception as error:
            log.exception("collector.attempt_failed", point=point.id, task=task)
            self._note(point.meter, task, Outcome.GARBLED, f"{type(error).__name__}: {error}", 0.0)
            return False
        return True

    async def _poll(self, point: Point) -> None:
        await self.live(point, brief=True)

    async def _housekeep(self) -> None:
        day = None
        while True:
            await asyncio.sleep(STATE_WRITE_S)
            await self.lines.close_idle()
            await self._write_states()
            today = self.inventory.zone.day_of(int(self.now()))
            if day != today:
                day = today
                await self.seal_days()
                await self.estimate_gaps()

    async def seal_days(self) -> None:
        """Turn the rows of days that are over into meter-channel-days."""
        now = int(self.now())
        work = [(c, p.zone) for p in self.inventory.points.values() for c in p.meter.channels]

        def change(connection: Connection) -> None:
            for channel, zone in work:
                seal(connection, channel, zone, now)

        await self.database.write(change)

    async def estimate_gaps(self) -> int:
        """Estimate the gaps of days that ended a day ago or earlier; return how many days."""
        now = int(self.now())
        today = self.inventory.zone.day_of(now).toordinal()
        points = self.inventory.points.values()
        known = {c.id: (c, p.zone) for p in points for c in p.meter.channels}
        wanted = await self.database.read(lambda c: days_to_estimate(c, today - 1))
        done = 0
        for channel_id, ordinal in wanted:
            if channel_id not in known:
                continue
            channel, zone = known[channel_id]
            work = partial(
                estimate_day, channel=channel, zone=zone, day=date.fromordinal(ordinal), now=now
            )
            done += bool(await self.database.write(work))
        return done

    async def _write_states(self, *, everything: bool = False) -> None:
        rows = self.inventory.changed_states(everything=everything)
        talks = list(self._talks)
        self._talks.clear()
        if not rows and not talks:
            return

        def change(connection: Connection) -> None:
            store_states(connection, rows)
            insert_ignore(connection, schema.conversation, talks)
            newest = connection.execute(sa.select(sa.func.max(schema.conversation.c.id))).scalar()
            connection.execute(
                sa.delete(schema.conversation).where(
                    schema.conversation.c.id < (newest or 0) - CONVERSATIONS_KEPT
                )
            )

        await self.database.write(change)

    def _load_runs(self) -> None:
        for r in self.database.read_now(lambda c: list(c.execute(sa.select(schema.schedule_run)))):
            key = (r.group_name, r.task)
            self.runs[key] = Run(r.last_run_at, r.ok, r.failed, r.duration_ms)

    # -- one conversation -------------------------------------------------------------------------

    async def _talk(
        self,
        point: Point,
        task: str,
        ask: Callable[[Conversation], Awaitable[_T]],
        *,
        attempts: int = 1,
    ) -> _T:
        """Ask, retry what may be retried, remember how it ended."""
        backoff = Backoff(random.random, first_s=0.5, longest_s=5.0)
        for left in range(attempts - 1, -1, -1):
            began = time.monotonic()
            try:
                async with self.lines.use(point.meter) as conversation:
                    answer = await ask(conversation)
            except ConversationError as error:
                self._note(point.meter, task, error.outcome, str(error), time.monotonic() - began)
                if left == 0 or error.outcome not in RETRIED:
                    await self._after_failure(point, error)
                    raise
                await asyncio.sleep(backoff.delay_s())
            else:
                self._note(point.meter, task, Outcome.OK, "", time.monotonic() - began)
                await self._after_success(point)
                return answer
        raise AssertionError("unreachable")

    def _note(
        self, meter: Meter, task: str, outcome: Outcome, detail: str, duration_s: float
    ) -> None:
        self.outcomes[outcome.value] += 1
        if task == "live" and outcome is Outcome.OK:
            return  # every few seconds: counted, not listed
        self._talks.append(
            {
                "meter_id": meter.id,
                "task": task,
                "at": int(self.now()),
                "outcome": outcome.value,
                "detail": detail[:500],
                "duration_ms": int(duration_s * 1000),
            }
        )

    async def conversations(self, point: Point, count: int) -> list[dict[str, Any]]:
        """The latest conversations with a meter, newest first; polls that went well are left
        out."""
        table = schema.conversation
        rows = await self.database.read(
            lambda c: list(
                c.execute(
                    sa.select(table)
                    .where(table.c.meter_id == point.meter.id)
                    .order_by(table.c.id.desc())
                    .limit(count)
                )
            )
        )
        kept = [dict(row._mapping) for row in rows]
        fresh = [talk for talk in reversed(self._talks) if talk["meter_id"] == point.meter.id]
        names = ("task", "outcome", "detail", "duration_ms")
        return [
            {"at": iso_utc(talk["at"]), **{name: talk[name] for name in names}}
            for talk in (*fresh, *kept)
        ][:count]

    async def _after_failure(self, point: Point, error: ConversationError) -> None:
        meter, now = point.meter, int(self.now())
        if error.outcome is Outcome.REFUSED and meter.state.standing is MeterStanding.OK:
            # the meter answers; only this question was refused
            meter.state.last_error_kind = error.outcome.value
            meter.state.last_error, meter.state.last_error_at = error.whole, now
            meter.state.changed = True
            return
        before = meter.state.standing
        self.inventory.failed(meter, now, error.outcome.value, error.whole)
        waiting = self._waiting.setdefault(meter.id, _Waiting())
        waiting.until = time.monotonic() + waiting.backoff.delay_s()
        quarantined = meter.state.standing is MeterStanding.QUARANTINED
        if quarantined and before is not MeterStanding.QUARANTINED:
            await self.events.raise_own(point, "meter_quarantined", now)

    async def _after_success(self, point: Point) -> None:
        meter, now = point.meter, int(self.now())
        before = meter.state.standing
        self.inventory.answered(meter, now)
        self._waiting.pop(meter.id, None)
        if before is MeterStanding.QUARANTINED:
            await self.events.raise_own(point, "meter_returned", now)

    # -- what can be asked ------------------------------------------------------------------------

    async def live(self, point: Point, *, brief: bool = False) -> tuple[int, list[LiveValue]]:
        """The meter's quantities now, over its port."""
        if self.inventory.answering(point.meter) is not point.meter:
            at, registers = await self.registers(point)  # a sub-meter has nothing but its register
            quantity = point.meter.medium
            shown = [
                LiveValue(r.obis, r.name, 0, quantity, r.mantissa * 10.0**r.scaler, r.unit)
                for r in registers
            ]
            self.latest[point.id] = at, shown
            return at, shown
        values = await self._talk(point, "live", lambda c: c.live(brief=brief))
        at = int(self.now())
        if not brief or point.id not in self.latest:
            self.latest[point.id] = at, values
        else:
            fresh = {(v.quantity, v.phase) for v in values}
            kept = [v for v in self.latest[point.id][1] if (v.quantity, v.phase) not in fresh]
            self.latest[point.id] = at, [*values, *kept]
        return at, values

    async def registers(self, point: Point) -> tuple[int, list[RegisterValue]]:
        behind = self.inventory.answering(point.meter) is not point.meter
        channels = point.meter.channels if behind or point.medium != "electricity" else ()
        values = await self._talk(point, "registers", lambda c: c.registers(channels))
        return int(self.now()), values

    async def display(self, point: Point) -> DisplayState:
        return await self._talk(point, "display", lambda c: c.display())

    async def press(self, point: Point, button: str, hold_ms: int) -> DisplayState:
        async def ask(conversation: Conversation) -> DisplayState:
            await conversation.press(button, hold_ms)
            return await conversation.display()

        return await self._talk(point, "button", ask)

    async def switch(
        self, point: Point, command: str, arguments: Mapping[str, object]
    ) -> dict[str, object]:
        """Run a switching command once (never retried) and read back."""
        return await self._talk(point, command, lambda c: c.switch(command, arguments))

    async def supply(self, point: Point) -> SupplyState:
        """Switch, limit and account of a meter now."""
        return await self._talk(point, "supply", lambda c: c.supply(), attempts=ATTEMPTS)

    async def set_limit(self, point: Point, power_w: int) -> dict[str, object]:
        """Set the limiter's threshold (0: none) and read it back."""

        async def ask(conversation: Conversation) -> dict[str, object]:
            await conversation.set_limit(power_w)
            state = await conversation.supply()
            return {"limit_w": state.limit_w, "active_limit_w": state.active_limit_w}

        return await self._talk(point, "limit", ask)

    async def set_parameters(self, point: Point, values: Mapping[str, int | bytes]) -> None:
        """Write parameters of the meter, each read back."""

        async def ask(conversation: Conversation) -> None:
            for name, value in values.items():
                await conversation.set_parameter(name, value)

        await self._talk(point, "parameters", ask)

    async def add_credit(self, point: Point, energy_wh: int) -> SupplyState:
        """Book a purchase once (never retried) and read the account."""

        async def ask(conversation: Conversation) -> SupplyState:
            await conversation.add_credit(energy_wh)
            return await conversation.supply()

        return await self._talk(point, "credit", ask)

    async def correct_clock(
        self, point: Point, decide: Callable[[int], ClockAction]
    ) -> tuple[ClockAction, int, int]:
        """Read the clock, do what `decide` says for its offset in s, read again; return what was
        done and the offset before and after."""

        async def ask(conversation: Conversation) -> tuple[ClockAction, int, int]:
            before = await conversation.clock() - int(self.now())
            action = decide(before)
            if action is ClockAction.SHIFT:
                await conversation.shift_clock(-before)
            elif action is ClockAction.SET:
                await conversation.set_clock(int(self.now()))
            else:
                return action, before, before
            return action, before, await conversation.clock() - int(self.now())

        result = await self._talk(point, "set-clock", ask)
        point.meter.state.clock_offset_s = result[2]
        point.meter.state.changed = True
        return result

    async def check_clock(self, point: Point) -> int:
        """Seconds that the meter's clock is ahead; an event where it is far off."""

        async def ask(conversation: Conversation) -> tuple[int, str]:
            offset = await conversation.clock() - int(self.now())
            firmware = point.meter.state.firmware or await conversation.firmware()
            return offset, firmware

        offset, firmware = await self._talk(point, "clock", ask, attempts=ATTEMPTS)
        point.meter.state.clock_offset_s = offset
        point.meter.state.firmware = firmware
        point.meter.state.changed = True
        if abs(offset) > CLOCK_WARN_S:
            await self.events.raise_own(point, "clock_off", int(self.now()), offset)
        await self.on_clock(point, offset)
        return offset

    async def snapshot_registers(self, point: Point) -> int:
        """Read the registers and keep them with their time; return how many."""
        at, values = await self.registers(point)
        rows = [
            {
                "meter_id": point.meter.id,
                "obis": v.obis,
                "at": at,
                "mantissa": v.mantissa,
                "scaler": v.scaler,
                "unit": v.unit,
            }
            for v in values
        ]
        await self.database.write(lambda c: insert_ignore(c, schema.register_snapshot, rows))
        return len(rows)

    def follow(self, point: Point) -> None:
        """Read a meter's logs soon, because it has just told of an alarm; once for many alarms."""
        known = point.id in self._followed or len(self._followed) >= FOLLOWED_MAX
        if known or self._stopping:
            return
        self._followed.add(point.id)
        self._spawn(partial(self._follow, point), f"follow {point.id}")

    async def _follow(self, point: Point) -> None:
        try:
            await asyncio.sleep(FOLLOW_AFTER_S)
        finally:
            self._followed.discard(point.id)
        if self._may_try(point):
            async with self._slots:
                await self.attempt(point, "events")

    async def read_events(self, point: Point) -> int:
        """Read the event logs from the last known event on; return how many are new. Alarm
        registers that stood before are cleared then: their events are known."""
        if "alarms" not in self.driver.facts(point.meter).capabilities:
            return await self._read_logs(point)
        if point.meter.id not in self.inventory.push_objects:
            listed = await self._talk(point, "events", lambda c: c.push_objects())
            self.inventory.push_objects[point.meter.id] = listed
        standing = await self._talk(point, "events", lambda c: c.alarms(), attempts=ATTEMPTS)
        found = await self._read_logs(point)
        await self._clear_alarms(point, standing)
        return found

    async def _clear_alarms(self, point: Point, standing: Mapping[str, int]) -> None:
        now = int(self.now())
        for register, bits in standing.items():
            if bits:
                await self._talk(
                    point, "events", partial(_clear_alarms, register=register, bits=bits)
                )
            await self.database.write(
                partial(cleared, meter=point.meter, register=register, bits=bits, now=now)
            )

    async def _read_logs(self, point: Point) -> int:
        newest = await self.events.latest_at(point)
        now = int(self.now())
        first = now - self.history_days * 86_400
        logs = point.meter.logs or self.driver.facts(point.meter).logs
        found = 0
        for name in logs:
            since = newest.get(name, first)

            async def ask(
                conversation: Conversation, name: str = name, since: int = since
            ) -> list[Any]:
                return await conversation.events(name, since)

            logged = await self._talk(point, "events", ask, attempts=ATTEMPTS)
            found += await self.events.take(point, logged, now)
        return found

    # -- gap filling ------------------------------------------------------------------------------

    async def fill_gaps(self, point: Point, progress: Progress | None = None) -> Receipt:
        """Ask for exactly the slots that nobody has, per load profile; commit, then return."""
        total = Receipt()
        for profile, channels in point.meter.profiles().items():
            ranges = await self._wanted(point, channels)
            for number, (start, end) in enumerate(ranges):
                total.add(await self._read_range(point, profile, channels, start, end))
                if progress is not None:
                    progress(number + 1, len(ranges), READINGS.of(count=total.new))
        if total.conflicts:
            await self.events.raise_own(
                point, "reading_contradicted", int(self.now()), len(total.conflicts)
            )
        return total

    async def _wanted(self, point: Point, channels: Sequence[Channel]) -> list[tuple[int, int]]:
        now = int(self.now())
        step = channels[0].step_s
        end = slot_floor(point.zone, now - SETTLE_S, step)
        oldest = int(point.zone.day_start(point.zone.day_of(now - self.history_days * 86_400)))
        # a register's first slot needs the register at its beginning: ask for one slot more
        oldest = slot_floor(point.zone, oldest - 1, step)

        def query(connection: Connection) -> list[tuple[int, int]]:
            found: list[tuple[int, int]] = []
            for channel in channels:
                start = max(oldest, self._complete.get(channel.id, 0))
                runs = missing_ranges(connection, channel, point.zone, start, end)
                self._complete[channel.id] = runs[0][0] if runs else end
                found += runs
            return found

        runs = await self.database.read(query)
        return _joined(runs, HOLE_SLOTS * step, RANGE_SLOTS_MAX * step)

    async def _read_range(
        self, point: Point, profile: str, channels: Sequence[Channel], start: int, end: int
    ) -> Receipt:
        step = channels[0].step_s
        first_stamp = start + min(step, 86_400)
        if step >= 86_400:
            first_stamp = start + 1

        async def ask(conversation: Conversation) -> ProfileRows:
            return await conversation.profile(profile, channels, first_stamp, end)

        rows = await self._talk(point, "profile", ask, attempts=ATTEMPTS)
        now = int(self.now())
        settled = min(end, slot_floor(point.zone, now - ABSENT_AFTER_S, step))
        asked = (start, settled) if settled > start else None
        batches = [_batch(point, channel, rows, asked) for channel in channels]
        await self._begin_channels(batches, start + step * channels[0].cumulative)
        return await self.database.write(lambda connection: ingest(connection, batches, now))

    async def _begin_channels(self, batches: Sequence[Batch], start: int) -> None:
        """Note from when on a channel is expected: not before the meter's memory begins, and
        the first slot of a register only opens the account."""
        rows = [
            {"channel": batch.channel.id, "since": max(start, int(batch.slot_utc.min()))}
            for batch in batches
            if batch.channel.id not in self._begun and len(batch.slot_utc)
        ]
        if not rows:
            return
        self._begun.update(row["channel"] for row in rows)
        table = schema.channel
        statement = (
            sa.update(table)
            .where(table.c.id == sa.bindparam("channel"), table.c.since_utc.is_(None))
            .values(since_utc=sa.bindparam("since"))
        )
        await self.database.write(lambda c: c.execute(statement, rows).rowcount)

    # -- initial collection -----------------------------------------------------------------------

    async def collect_history(self, progress: Progress | None = None) -> Receipt:
        """Everything the meters hold of the last days: profiles, events, registers."""
        points = [p for p in self.inventory.points.values() if self._may_try(p)]
        total, done = Receipt(), 0

        async def one(point: Point) -> None:
            nonlocal done
            async with self._slots:
                try:
                    total.add(await self.fill_gaps(point))
                except ConversationError as error:
                    log.info("collector.history_failed", point=point.id, error=str(error))
                else:
                    for task in ("events", "registers", "clock"):
                        if self._applies(task, point):
                            await self.attempt(point, task)
            done += 1
            if progress is not None:
                progress(done, len(points), READINGS.of(count=total.new))

        await asyncio.gather(*(one(point) for point in points))
        await self._write_states()
        return total

    async def read_now(self, point: Point, what: str, progress: Progress) -> dict[str, Any]:
        """On demand: `registers`, `profile`, `events` or `all` of one meter."""
        tasks = ("profile", "registers", "events", "clock") if what == "all" else (what,)
        result: dict[str, Any] = {"outcome": Outcome.OK.value}
        for number, task in enumerate(tasks):
            progress(number, len(tasks), READING.of(what=task))
            if task == "profile":
                receipt = await self.fill_gaps(point)
                result["readings_new"] = receipt.new
                result["readings_contradicted"] = len(receipt.conflicts)
            elif task == "registers":
                result["registers"] = await self.snapshot_registers(point)
            elif task == "events":
                result["events_new"] = await self.read_events(point)
            else:
                result["clock_offset_s"] = await self.check_clock(point)
        progress(len(tasks), len(tasks), DONE)
        return result


async def _nothing(_point: Point, _offset_s: int) -> None:
    """Where nobody keeps clocks."""


async def _clear_alarms(conversation: Conversation, register: str, bits: int) -> None:
    await conversation.clear_alarms(register, bits)


def _joined(runs: list[tuple[int, int]], hole_s: int, longest_s: int) -> list[tuple[int, int]]:
    """Merge runs that overlap or lie near each other; cut what is longer than one request."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(runs):
        if joined and start - joined[-1][1] <= hole_s:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return [
        (cut, min(end, cut + longest_s))
        for start, end in joined
        for cut in range(start, end, longest_s)
    ]


def _batch(
    point: Point, channel: Channel, rows: ProfileRows, asked: tuple[int, int] | None
) -> Batch:
    there = rows.present[channel.slug]
    ends = rows.end_utc[there]
    if channel.step_s >= 86_400:
        slots = np.array(
            [start_of_ending_slot(point.zone, int(e), channel.step_s) for e in ends], np.int64
        )
    else:
        slots = ends - channel.step_s
    return Batch(
        channel,
        point.zone,
        slots,
        rows.values[channel.slug][there],
        rows.status[there],
        provenance="load profile",
        asked=asked,
    )
