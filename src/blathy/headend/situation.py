"""The situation now: load per point, feeder and site, completeness, what is silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from blathy.clock import Zone, iso_utc
from blathy.headend.collection.collector import Collector
from blathy.headend.collection.rendering import lcd_text
from blathy.headend.inventory.registry import Channel, MeterStanding, Point
from blathy.headend.operations.events import EventFilter, Events
from blathy.headend.operations.jobs import Jobs
from blathy.headend.readings.calendar import DAY_S, slot_floor, slots_in_day
from blathy.headend.readings.series import ProfileAnswer, read_profile, received_by_day
from blathy.headend.schema import channel as channel_table
from blathy.headend.schema import reading_slot, register_snapshot
from blathy.headend.sentence import EMPTY, with_code
from blathy.models import MODELS
from blathy.quantity import SYMBOL

SLOW_S: Final = 30.0
"""How long sums over stored readings are kept before they are computed again."""
POWER_STALE_S: Final = 180
"""A power older than this is no power now."""
COMPLETENESS_DAYS: Final = 30
UNITS: Final = {symbol: unit for unit, symbol in SYMBOL.items()}
LATE_S: Final = 1800
"""A reading is not late before this long after the end of its slot."""


@dataclass(frozen=True, slots=True)
class Completeness:
    """Slots received of those that should be there."""

    expected: int
    received: int
    days: list[tuple[date, int, int]]
    """(day, expected, received), oldest first."""
    by_point: dict[str, float]

    @property
    def ratio(self) -> float:
        return self.received / self.expected if self.expected else 1.0


@dataclass(frozen=True, slots=True)
class _Today:
    """What the readings of today say, by point."""

    energy_wh: dict[str, float]
    registers: dict[str, dict[str, str]]


class _Kept:
    """A value computed again only when it is old; one computation at a time."""

    def __init__(self, compute: Callable[[], Awaitable[Any]], for_s: float) -> None:
        self._compute = compute
        self._for_s = for_s
        self._value: Any = None
        self._at = -1e9
        self._lock = asyncio.Lock()

    async def get(self) -> Any:
        async with self._lock:
            if time.monotonic() - self._at > self._for_s:
                self._value = await self._compute()
                self._at = time.monotonic()
            return self._value


class Situation:
    """Answers for the overview, the list of points and the feeders."""

    def __init__(
        self, collector: Collector, events: Events, jobs: Jobs, now: Callable[[], float]
    ) -> None:
        self._collector = collector
        self._inventory = collector.inventory
        self._database = collector.database
        self._events = events
        self._jobs = jobs
        self._now = now
        self._registers: dict[str, dict[str, str]] = {}
        self._energy = _Kept(self._energy_today, SLOW_S)
        self._complete = _Kept(self._count, SLOW_S)
        self._alarms = _Kept(self._count_alarms, 5.0)

    # -- single figures ---------------------------------------------------------------------------

    def power_w(self, point: Point) -> float | None:
        """Active power now, import positive; None where it is unknown or old."""
        found = self._collector.latest.get(point.id)
        if found is None or found[0] < self._now() - POWER_STALE_S:
            return None
        return next((v.value for v in found[1] if v.quantity == "p" and v.phase == 0), None)

    async def energy_today_wh(self) -> dict[str, float]:
        """Point id -> imported energy since local midnight."""
        found: _Today = await self._energy.get()
        return found.energy_wh

    async def registers(self) -> dict[str, dict[str, str]]:
        """Point id -> its main register as last read, digit for digit as the LCD shows it."""
        found: _Today = await self._energy.get()
        return found.registers

    async def completeness(self) -> Completeness:
        found: Completeness = await self._complete.get()
        return found

    async def alarms(self) -> dict[str, int]:
        found: dict[str, int] = await self._alarms.get()
        return found

    async def _count_alarms(self) -> dict[str, int]:
        return await self._events.open_alarms(int(self._now()))

    async def _energy_today(self) -> _Today:
        now = int(self._now())
        wanted = [
            (point, channel)
            for point in self._inventory.points.values()
            if (channel := main_channel(point)) is not None
        ]

        def query(connection: Connection) -> _Today:
            found = _Today({}, dict(self._registers))
            for point, channel in wanted:
                start = int(point.zone.day_start(point.zone.day_of(now)))
                # before the first slot of a day is over, yesterday's last register is the newest
                begin = start if point.id in found.registers else start - DAY_S
                if now - begin < channel.step_s:
                    continue
                days = read_profile(connection, channel, point.zone, begin, now, "day")
                today = days.buckets[-1] if days.buckets else None
                if today is not None and today.start >= start and today.value is not None:
                    found.energy_wh[point.id] = scaled(channel, today.value)
                kept = _last_register(connection, point, channel, days)
                if kept is not None:
                    found.registers[point.id] = _register_json(point, channel, *kept)
            return found

        answer = await self._database.read(query)
        self._registers = answer.registers
        energies = {point.id for point, channel in wanted if channel is import_channel(point)}
        return _Today(
            {key: wh for key, wh in answer.energy_wh.items() if key in energies}, answer.registers
        )

    async def _count(self) -> Completeness:
        now = int(self._now())
        return await self._database.read(lambda c: self._count_slots(c, now))

    def _count_slots(self, connection: Connection, now: int) -> Completeness:
        zone = self._inventory.zone
        today = zone.day_of(now)
        first = today - timedelta(days=COMPLETENESS_DAYS - 1)
        channels = [(p, c) for p in self._inventory.points.values() for c in p.meter.channels]
        since = {
            r.id: r.since_utc
            for r in connection.execute(sa.select(channel_table.c.id, channel_table.c.since_utc))
        }
        sealed = received_by_day(
            connection, [c.id for _, c in channels], first.toordinal(), today.toordinal()
        )
        hot = _rows_by_day(connection, zone, today)
        totals = {first + timedelta(days=n): [0, 0] for n in range(COMPLETENESS_DAYS)}
        points: dict[str, list[int]] = {}
        due: dict[tuple[str, int, int, date], int] = {}  # many channels share one expectation
        for point, channel in channels:
            begin = since.get(channel.id)
            if begin is None:
                continue
            own = points.setdefault(point.id, [0, 0])
            for day, total in totals.items():
                shared = (point.zone.name, channel.step_s, begin, day)
                expected = due.get(shared)
                if expected is None:
                    expected = due[shared] = _expected(point, channel, day, begin, now)
                key = (channel.id, day.toordinal())
                received = min(expected, sealed.get(key, 0) + hot.get(key, 0))
                total[0] += expected
                total[1] += received
                own[0] += expected
                own[1] += received
        return Completeness(
            sum(t[0] for t in totals.values()),
            sum(t[1] for t in totals.values()),
            [(day, total[0], total[1]) for day, total in totals.items()],
            {key: got / want if want else 1.0 for key, (want, got) in points.items()},
        )

    # -- documents --------------------------------------------------------------------------------

    async def point_row(self, point: Point) -> dict[str, Any]:
        """A row of the list of points."""
        energy, alarms = await self.energy_today_wh(), await self.alarms()
        registers = await self.registers()
        ratio = (await self.completeness()).by_point.get(point.id)
        meter, state = point.meter, point.meter.state
        facts = self._collector.driver.facts(meter)
        return {
            "id": point.id,
            "name": point.name,
            "address": point.address,
            "kind": point.kind,
            "medium": point.medium,
            "station": self.station_ref(point.station_id),
            "feeder": self.feeder_ref(point.feeder_id),
            "model": meter.model,
            "model_name": facts.model_name,
            "serial": meter.serial,
            "state": state.standing.value,
            "last_answer_at": _iso(state.last_answer_at),
            "last_error": self.last_error(point),
            "power_w": _rounded(self.power_w(point)),
            "energy_today_wh": energy.get(point.id),
            "register": registers.get(point.id),
            "alarms": alarms.get(point.id, 0),
            "completeness": None if ratio is None else round(ratio, 4),
        }

    def last_error(self, point: Point) -> dict[str, Any] | None:
        state = point.meter.state
        if state.last_error_kind is None:
            return None
        return {
            "kind": state.last_error_kind,
            **with_code("text", state.last_error or EMPTY),
            "at": _iso(state.last_error_at),
        }

    def station_ref(self, station_id: str) -> dict[str, str]:
        return {"id": station_id, "name": self._inventory.stations[station_id].name}

    def feeder_ref(self, feeder_id: str) -> dict[str, str]:
        return {"id": feeder_id, "name": self._inventory.feeders[feeder_id].name}

    async def feeder(self, feeder_id: str) -> dict[str, Any]:
        """Load, export, energy and alarms of a feeder: its own meter's where it has one."""
        energy, alarms = await self.energy_today_wh(), await self.alarms()
        points = self._inventory.of_feeder(feeder_id)
        sums = [p for p in points if p.kind == "feeder"]
        members = sums or [p for p in points if p.medium == "electricity"]
        powers = [w for p in members if (w := self.power_w(p)) is not None]
        return {
            **self.feeder_ref(feeder_id),
            "points": sum(p.kind != "feeder" for p in points),
            "load_w": _rounded(sum(w for w in powers if w > 0)) if powers else None,
            "export_w": _rounded(-sum(w for w in powers if w < 0)) if powers else None,
            "energy_today_wh": sum(energy.get(p.id, 0.0) for p in members),
            "alarms": sum(alarms.get(p.id, 0) for p in points),
        }

    async def stations(self) -> list[dict[str, Any]]:
        return [
            {
                "id": station.id,
                "name": station.name,
                "feeders": [
                    await self.feeder(feeder.id)
                    for feeder in self._inventory.feeders.values()
                    if feeder.station_id == station.id
                ],
            }
            for station in self._inventory.stations.values()
        ]

    async def overview(self) -> dict[str, Any]:
        """The town on one page."""
        stations = await self.stations()
        feeders = [feeder for station in stations for feeder in station["feeders"]]
        events, _ = await self._events.find(EventFilter(), 1, 10)
        return {
            "now": iso_utc(int(self._now())),
            "load_w": sum(feeder["load_w"] or 0 for feeder in feeders),
            "export_w": sum(feeder["export_w"] or 0 for feeder in feeders),
            "meters": self.standing(),
            "completeness": await self.completeness_json(),
            "stations": stations,
            "events": events,
            "jobs": [job.as_json() for job in self._jobs.latest(5)],
        }

    def standing(self) -> dict[str, int]:
        """Meters by how they stand."""
        states = [p.meter.state.standing for p in self._inventory.points.values()]
        reachable = sum(s is MeterStanding.OK for s in states)
        silent = sum(s in {MeterStanding.SILENT, MeterStanding.QUARANTINED} for s in states)
        return {"total": len(states), "reachable": reachable, "silent": silent}

    async def completeness_json(self) -> dict[str, Any]:
        found = await self.completeness()
        return {
            "expected": found.expected,
            "received": found.received,
            "ratio": round(found.ratio, 5),
            "days": [
                {"day": str(day), "ratio": round(got / want, 5) if want else None}
                for day, want, got in found.days
            ],
        }

    async def silent_points(self) -> list[dict[str, Any]]:
        return [
            await self.point_row(point)
            for point in self._inventory.points.values()
            if point.meter.state.standing in {MeterStanding.SILENT, MeterStanding.QUARANTINED}
        ]

    def collection_json(self) -> dict[str, Any]:
        """Schedules with their last runs, and outcomes since the start."""
        rows = []
        for schedule in self._collector.schedules:
            run = self._collector.runs.get((schedule.group, schedule.task))
            rows.append(
                {
                    "group": schedule.group,
                    "task": schedule.task,
                    "every_s": schedule.every_s,
                    "last_run_at": _iso(run.at) if run else None,
                    "next_run_at": _iso(run.next_at) if run else None,
                    "ok": run.ok if run else 0,
                    "failed": run.failed if run else 0,
                    "duration_s": run.duration_ms / 1000 if run else None,
                }
            )
        return {"schedules": rows, "outcomes": dict(self._collector.outcomes)}


def _rows_by_day(connection: Connection, zone: Zone, today: date) -> dict[tuple[int, int], int]:
    """(channel, day ordinal) -> readings that are not sealed yet: of today, or of the day that
    has just ended."""
    table = reading_slot
    midnight = int(zone.day_start(today))
    found = {}
    for ordinal, when in (
        (today.toordinal(), table.c.slot_utc >= midnight),
        (today.toordinal() - 1, table.c.slot_utc < midnight),
    ):
        rows = connection.execute(
            sa.select(table.c.channel_id, sa.func.count()).where(when).group_by(table.c.channel_id)
        )
        found.update({(row[0], ordinal): row[1] for row in rows})
    return found


def import_channel(point: Point) -> Channel | None:
    """The channel of imported active energy."""
    return next(
        (
            c
            for c in point.meter.channels
            if c.obis.startswith("1-") and ":1." in c.obis and c.adds_up
        ),
        None,
    )


def main_channel(point: Point) -> Channel | None:
    """The channel of a point's main register: imported energy, or what its medium counts."""
    counted = (c for c in point.meter.channels if c.cumulative and c.adds_up)
    return import_channel(point) or next(counted, None)


def _last_register(
    connection: Connection, point: Point, channel: Channel, days: ProfileAnswer
) -> tuple[int, int] | None:
    """Mantissa and scaler of the newest register: of the load profile, or as read by itself
    where the profile holds advances."""
    if days.last_register is not None:
        return days.last_register, channel.scaler
    table = register_snapshot
    row = connection.execute(
        sa.select(table.c.mantissa, table.c.scaler)
        .where(table.c.meter_id == point.meter.id, table.c.obis.in_(_register_codes(channel)))
        .order_by(table.c.at.desc())
        .limit(1)
    ).first()
    return None if row is None else (row.mantissa, row.scaler)


def _register_codes(channel: Channel) -> tuple[str, ...]:
    """The channel's own code and that of its total register: D = 8, E = 0 (IEC 62056-6-1)."""
    medium, _, rest = channel.obis.partition(":")
    return channel.obis, f"{medium}:{rest.split('.')[0]}.8.0"


def _register_json(point: Point, channel: Channel, mantissa: int, scaler: int) -> dict[str, str]:
    model = MODELS.get(point.meter.model) if point.medium == "electricity" else None
    text, unit, _ = lcd_text(model, mantissa, scaler, UNITS[channel.unit])
    return {"value": text, "unit": unit}


def scaled(channel: Channel, value: int) -> float:
    """A stored integer in the channel's unit; whole where the scaler allows."""
    if channel.scaler >= 0:
        return value * int(10**channel.scaler)
    return round(value * 10.0**channel.scaler, -channel.scaler)


def _expected(point: Point, channel: Channel, day: date, begin: int, now: int) -> int:
    start, end = point.zone.day_bounds(day)
    first = max(int(start), begin)
    last = min(int(end), slot_floor(point.zone, now - LATE_S, channel.step_s))
    if first <= start and last >= end:
        return slots_in_day(point.zone, day, channel.step_s)
    return max(0, (last - first) // channel.step_s)


def _iso(utc_s: int | None) -> str | None:
    return iso_utc(utc_s) if utc_s is not None else None


def _rounded(power_w: float | None) -> int | None:
    return None if power_w is None else round(power_w)


def profile_json(answer: ProfileAnswer) -> dict[str, Any]:
    """A profile as the API shows it, in the channel's unit."""
    channel = answer.channel

    def shown(value: int | None) -> float | None:
        return None if value is None else scaled(channel, value)

    return {
        "channel": channel.slug,
        "name": channel.name,
        "unit": channel.unit,
        "timezone": answer.zone.name,
        "resolution": answer.resolution,
        "step_s": answer.step_s,
        "slots": [
            {
                "start": iso_utc(b.start),
                "end": iso_utc(b.end),
                "value": shown(b.value),
                "min": shown(b.low),
                "max": shown(b.high),
                "quality": b.quality,
                "source": b.source,
                "received": b.received,
                "expected": b.expected,
            }
            for b in answer.buckets
        ],
        "register": {
            "first": shown(answer.first_register),
            "last": shown(answer.last_register),
        },
        "sum": shown(answer.total),
    }
