"""Commands that switch power or set a clock: asked twice, limited in rate, audited, read back.

The first call answers with the place, the consequence and a confirmation word that holds for a
minute and for exactly this user, point and command; the second call with that word starts the job.
"""

from __future__ import annotations

import json
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from blathy.clock import iso_utc
from blathy.headend.collection.collector import Collector
from blathy.headend.collection.conversation import ConversationError
from blathy.headend.database import Database
from blathy.headend.inventory.registry import Inventory, Point
from blathy.headend.operations import audit
from blathy.headend.operations.jobs import Job, Jobs

CONFIRM_S: Final = 60
PENDING_MAX: Final = 1_000
PER_POINT: Final = (4, 600)
"""At most so many switching commands to one point in so many seconds."""
OFF_PER_SITE: Final = (20, 3600)
"""At most so many disconnections on the whole site in so many seconds."""

CONSEQUENCES: Final[dict[str, str]] = {
    "disconnect": "The supply of this place is switched off; nothing there has power until it is "
    "released or connected.",
    "release": "The supply may be switched on with the meter's button.",
    "connect": "The supply of this place is switched on at once, whatever is plugged in there.",
    "set-clock": "The meter's clock is set to the control centre's time; the slot of this moment "
    "is marked.",
    "relay": "A load relay at this place is switched.",
}


class CommandRefused(Exception):  # noqa: N818 - an answer, not a fault
    """The command is not carried out; `remedy` says what to do."""

    def __init__(self, detail: str, remedy: str, *, too_many: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
        self.too_many = too_many


@dataclass(frozen=True, slots=True)
class _Pending:
    user: str
    point_id: str
    command: str
    arguments: str
    expires_at: float


class Commands:
    """The only way to a switch."""

    def __init__(
        self,
        database: Database,
        inventory: Inventory,
        collector: Collector,
        jobs: Jobs,
        now: Callable[[], float],
    ) -> None:
        self._database = database
        self._inventory = inventory
        self._collector = collector
        self._jobs = jobs
        self._now = now
        self._pending: dict[str, _Pending] = {}
        self._by_point: dict[str, deque[float]] = {}
        self._offs: deque[float] = deque()

    def prepare(
        self, user: str, point: Point, command: str, arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The first step: nothing happens yet."""
        self._check(point, command, arguments)
        now = self._now()
        self._pending = {w: p for w, p in self._pending.items() if p.expires_at > now}
        if len(self._pending) >= PENDING_MAX:
            raise CommandRefused(
                "Too many commands wait for confirmation.", "Wait a minute.", too_many=True
            )
        word = secrets.token_urlsafe(9)
        self._pending[word] = _Pending(
            user, point.id, command, _canonical(arguments), now + CONFIRM_S
        )
        return {
            "confirm": word,
            "place": f"{point.name}, {point.address}" if point.address else point.name,
            "consequence": CONSEQUENCES[command],
            "expires_at": iso_utc(int(now + CONFIRM_S)),
        }

    async def confirm(
        self, user: str, point: Point, command: str, arguments: Mapping[str, Any], word: str
    ) -> Job:
        """The second step: audited, then started as a job."""
        pending = self._pending.get(word)
        asked = (user, point.id, command, _canonical(arguments))
        told = pending and (pending.user, pending.point_id, pending.command, pending.arguments)
        if pending is None or pending.expires_at <= self._now() or asked != told:
            raise CommandRefused(
                "This confirmation is unknown, too old or for another command.",
                "Ask for the command again and confirm within a minute.",
            )
        del self._pending[word]
        self._check(point, command, arguments)
        self._count(point, command)
        await self._audit(user, point, command, arguments, "started")

        async def work(job: Job) -> dict[str, Any]:
            job.progress(0, 2, "Talking to the meter")
            try:
                read_back = await self._run(point, command, arguments)
            except ConversationError as error:
                await self._audit(user, point, command, {"error": str(error)}, error.outcome.value)
                raise
            await self._audit(user, point, command, {"read_back": read_back}, "done")
            job.progress(2, 2, "Done and read back.")
            return {"outcome": "ok", "read_back": read_back}

        return await self._jobs.start(
            "command", f"{command} {point.name}", work, user=user, point_id=point.id
        )

    def _check(self, point: Point, command: str, arguments: Mapping[str, Any]) -> None:
        facts = self._collector.driver.facts(point.meter)
        if command not in CONSEQUENCES or command not in facts.commands:
            able = ", ".join(facts.commands) or "no command"
            raise CommandRefused(
                f"This meter cannot do {command!r}.",
                f"It can do: {able}.",
            )
        if command == "disconnect" and point.protected:
            raise CommandRefused(
                f"{point.name} is protected from disconnection.",
                "Switch on the spot, with the people there.",
            )
        if command == "relay":
            relay, on = arguments.get("relay"), arguments.get("on")
            if relay not in facts.relays or not isinstance(on, bool):
                raise CommandRefused(
                    "A relay command needs the relay and whether it goes on.",
                    f'Send {{"relay": one of {", ".join(facts.relays)}, "on": true}}.',
                )
        elif arguments:
            raise CommandRefused(f"{command} takes no arguments.", "Leave them out.")
        limit, window_s = PER_POINT
        if self._recent(self._by_point.get(point.id, deque()), window_s) >= limit:
            raise CommandRefused(
                f"{point.name} had {limit} commands in the last {window_s // 60} minutes.",
                "Wait before the next one.",
                too_many=True,
            )
        limit, window_s = OFF_PER_SITE
        if command == "disconnect" and self._recent(self._offs, window_s) >= limit:
            raise CommandRefused(
                f"{limit} places were disconnected in the last hour, which is the limit.",
                "Wait, or ask an administrator whether this is meant.",
                too_many=True,
            )

    def _recent(self, moments: deque[float], window_s: int) -> int:
        while moments and moments[0] < self._now() - window_s:
            moments.popleft()
        return len(moments)

    def _count(self, point: Point, command: str) -> None:
        self._by_point.setdefault(point.id, deque()).append(self._now())
        if command == "disconnect":
            self._offs.append(self._now())

    async def _run(
        self, point: Point, command: str, arguments: Mapping[str, Any]
    ) -> dict[str, object]:
        if command == "set-clock":
            return await self._collector.set_clock(point)
        return await self._collector.switch(point, command, arguments)

    async def _audit(
        self, user: str, point: Point, command: str, detail: Mapping[str, Any], outcome: str
    ) -> None:
        now = int(self._now())
        await self._database.write(
            lambda c: audit.append(c, now, user, f"command.{command}", point.id, outcome, detail)
        )


def _canonical(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments), sort_keys=True, default=str)
