"""Meters' clocks: kept within limits, shifted or set by rule, every correction noted and audited.

| offset | what the rule does |
| up to 2 s | nothing: that is what a reading can tell |
| up to 60 s | a shift (shift_time of the clock): the records of the profile stay in their slots |
| up to an hour | the clock is set; the meter marks the slots in between |
| more | refused, unless it is asked for by `large`: somebody should know why |
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from blathy.clock import iso_utc
from blathy.headend.collection.conversation import ClockAction, ConversationError
from blathy.headend.inventory.registry import Meter, Point
from blathy.headend.operations import audit
from blathy.headend.operations.confirmations import CommandRefused, place_of
from blathy.headend.operations.desk import Desk
from blathy.headend.operations.jobs import Job
from blathy.headend.schema import clock_record
from blathy.headend.sentence import Sentence, with_code

LEAVE_S: Final = 2
SHIFT_S: Final = 60
SET_S: Final = 3600
SHIFT_MOST_S: Final = 900
"""What class 8 allows in one shift (IEC 62056-6-2)."""
KEPT_S: Final = 400 * 86_400
HISTORY_SHOWN: Final = 200
DRIFT_OVER_S: Final = 6 * 3600
"""Two looks at a clock tell its drift when they lie so far apart: a reading tells whole seconds."""
AT_ONCE: Final = 8
GROUP_MAX: Final = 100_000
KEEPER: Final = "head-end"
HOWS: Final = ("auto", "shift", "set")
CONSEQUENCES: Final = {
    "auto": Sentence(
        "consequence-clock-auto",
        "The clock is corrected by the rule: a shift up to {shift_s} s, else it is set and the "
        "slots of this time are marked.",
    ),
    "shift": Sentence(
        "consequence-clock-shift", "The clock is shifted to the time of the control centre."
    ),
    "set": Sentence("consequence-clock-set", "The clock is set to the time of the control centre."),
}
RULE: Final = {"leave_s": LEAVE_S, "shift_s": SHIFT_S, "set_s": SET_S}


def decide(offset_s: int, how: str = "auto", *, large: bool = False) -> ClockAction:
    """What is done about a clock that is `offset_s` ahead. `how` shift or set overrides the rule
    between leaving, shifting and setting, not its limits."""
    off = abs(offset_s)
    if off == 0 or (how == "auto" and off <= LEAVE_S):
        return ClockAction.NONE
    if off > SET_S and not large:
        return ClockAction.REFUSED
    if how == "shift":
        return ClockAction.SHIFT if off <= SHIFT_MOST_S else ClockAction.REFUSED
    return ClockAction.SHIFT if how == "auto" and off <= SHIFT_S else ClockAction.SET


class Clocks:
    """Corrects clocks and remembers how they went."""

    def __init__(self, desk: Desk) -> None:
        self._database = desk.database
        self._inventory = desk.inventory
        self._collector = desk.collector
        self._jobs = desk.jobs
        self._confirmations = desk.confirmations
        self._now = desk.now
        desk.collector.on_clock = self.checked

    async def checked(self, point: Point, offset_s: int) -> None:
        """A clock was looked at: noted, and corrected at once on a site that keeps clocks."""
        if self._inventory.keep_clocks and decide(offset_s) is ClockAction.SHIFT:
            await self.correct(point, "auto", user=KEEPER)
            return
        await self._note(point.meter, "check", offset_s, None, KEEPER)

    async def correct(
        self, point: Point, how: str, *, user: str, large: bool = False
    ) -> dict[str, object]:
        """Correct one clock now. Raise CommandRefused where the rule forbids it."""
        action, before, after = await self._collector.correct_clock(
            point, partial(decide, how=how, large=large)
        )
        if action is ClockAction.REFUSED:
            await self._note(point.meter, "check", before, None, user)
            raise CommandRefused(
                "clock-far-off",
                "The clock of {point} is {offset_s} s off, more than may be corrected so.",
                "Find out why, then ask with large; a shift is {most_s} s at most.",
                point=point.name,
                offset_s=before,
                most_s=SHIFT_MOST_S,
            )
        if action is ClockAction.NONE:
            await self._note(point.meter, "check", before, None, user)
        else:
            await self._note(point.meter, action.value, before, after, user)
        return {
            "outcome": "ok",
            "action": action.value,
            "offset_before_s": before,
            "offset_s": after,
        }

    async def _note(
        self, meter: Meter, action: str, before: int, after: int | None, user: str
    ) -> None:
        now = int(self._now())
        row = {
            "meter_id": meter.id, "at": now, "action": action, "before_s": before,
            "after_s": after, "user_name": user,
        }  # fmt: skip

        def change(connection: Connection) -> None:
            connection.execute(sa.insert(clock_record).values(row))
            connection.execute(
                sa.delete(clock_record).where(
                    clock_record.c.meter_id == meter.id, clock_record.c.at < now - KEPT_S
                )
            )
            if after is not None:
                detail = {"action": action, "before_s": before, "after_s": after}
                audit.append(connection, now, user, "clock.set", meter.point_id, "done", detail)

        await self._database.write(change)

    # -- in two steps -----------------------------------------------------------------------------

    def prepare(
        self, user: str, points: Sequence[Point], request: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The first step for one point or many."""
        consequence = CONSEQUENCES[request["how"]].of(shift_s=SHIFT_S)
        answer = self._confirmations.ask(user, request, place_of(points), consequence)
        offset = points[0].meter.state.clock_offset_s if len(points) == 1 else None
        return {**answer, "points": len(points), "offset_s": offset}

    async def start(
        self, user: str, points: Sequence[Point], request: Mapping[str, Any], word: str
    ) -> Job:
        """The second step: a job that corrects one clock, or one after another."""
        self._confirmations.take(user, request, word)
        how, large = str(request["how"]), bool(request["large"])
        if len(points) == 1 and "points" not in request:
            point = points[0]
            return await self._jobs.start(
                "clock",
                Sentence("job-clock", "Clock of {point}", point=point.name),
                lambda _job: self.correct(point, how, user=user, large=large),
                user=user,
                point_id=point.id,
            )
        return await self._jobs.start(
            "clocks",
            Sentence("job-clocks", "Clocks of {count} meters", count=len(points)),
            lambda job: self._many(job, points, how, user, large=large),
            user=user,
        )

    async def _many(
        self, job: Job, points: Sequence[Point], how: str, user: str, *, large: bool
    ) -> dict[str, Any]:
        counts = {"done": 0, "left": 0, "failed": 0, "refused": 0}
        items: list[dict[str, Any]] = []
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(point: Point) -> None:
            row: dict[str, Any] = {
                "point": point.id, "action": None, "before_s": None, "after_s": None,
                "error": None,
            }  # fmt: skip
            async with turn:
                try:
                    result = await self.correct(point, how, user=user, large=large)
                except CommandRefused as error:
                    counts["refused"] += 1
                    row |= with_code("error", error.detail)
                except ConversationError as error:
                    counts["failed"] += 1
                    row |= with_code("error", error.whole)
                else:
                    left = result["action"] == ClockAction.NONE.value
                    counts["left" if left else "done"] += 1
                    row["action"] = result["action"]
                    row["before_s"], row["after_s"] = result["offset_before_s"], result["offset_s"]
            items.append(row)
            corrected = Sentence("clocks-corrected", "{count} corrected", count=counts["done"])
            job.progress(len(items), len(points), corrected)

        await asyncio.gather(*(one(point) for point in points))
        return {"outcome": "ok" if not counts["failed"] else "partly", **counts, "items": items}

    # -- what people see --------------------------------------------------------------------------

    async def as_json(self, point: Point) -> dict[str, Any]:
        """The clock of a meter: how far off, how it drifts, what was done about it."""
        rows = await self._database.read(lambda c: _history(c, point.meter.id, HISTORY_SHOWN))
        history = [
            {
                "at": iso_utc(r.at),
                "action": r.action,
                "before_s": r.before_s,
                "after_s": r.after_s,
                "user": r.user_name,
            }
            for r in rows
        ]
        return {**_standing(point.meter, rows), "rule": RULE, "history": history}

    async def overview(self, page: int, size: int) -> dict[str, Any]:
        """The clocks of the site, the worst first, a page at a time."""
        able = [
            point
            for point in self._inventory.points.values()
            if "clock" in self._collector.driver.facts(point.meter).capabilities
        ]
        able.sort(key=lambda point: -abs(point.meter.state.clock_offset_s or 0))
        found = []
        for point in able[(page - 1) * size : page * size]:
            rows = await self._database.read(partial(_history, meter_id=point.meter.id, count=50))
            found.append(
                {"point": {"id": point.id, "name": point.name}, **_standing(point.meter, rows)}
            )
        return {"items": found, "total": len(able), "page": page, "size": size, "rule": RULE}


def _history(connection: Connection, meter_id: int, count: int) -> list[Any]:
    table = clock_record
    query = (
        sa.select(table)
        .where(table.c.meter_id == meter_id)
        .order_by(table.c.id.desc())
        .limit(count)
    )
    return list(connection.execute(query))


def _standing(meter: Meter, rows: Sequence[Any]) -> dict[str, Any]:
    offset = meter.state.clock_offset_s
    newest = rows[0] if rows else None
    drift = drift_s_per_day(rows)
    return {
        "offset_s": offset,
        "checked_at": iso_utc(newest.at) if newest is not None else None,
        "drift_s_per_day": None if drift is None else round(drift, 2),
        "drift_ppm": None if drift is None else round(drift / 0.0864, 1),
        "proposed": "unknown" if offset is None else decide(offset).value,
    }


def drift_s_per_day(rows: Sequence[Any]) -> float | None:
    """From the records since the last correction, newest first; None where they are too near."""
    points: list[tuple[int, int]] = []
    for row in rows:
        if row.after_s is not None:
            points.append((row.at, row.after_s))
            break
        points.append((row.at, row.before_s))
    if len(points) < 2 or points[0][0] - points[-1][0] < DRIFT_OVER_S:
        return None
    middle_t = sum(at for at, _ in points) / len(points)
    middle_s = sum(offset for _, offset in points) / len(points)
    spread = sum((at - middle_t) ** 2 for at, _ in points)
    slope = sum((at - middle_t) * (offset - middle_s) for at, offset in points) / spread
    return slope * 86_400
