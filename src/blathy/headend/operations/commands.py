"""Commands that switch power or set a clock: asked twice, limited in rate, audited, read back.

The first call answers with the place, the consequence and a confirmation word that holds for a
minute and for exactly this user, point and command; the second call with that word starts the job.
Limits and the sale of credit go the same way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from blathy.headend.collection.conversation import ConversationError
from blathy.headend.inventory.registry import Point
from blathy.headend.operations import audit
from blathy.headend.operations.clocks import Clocks
from blathy.headend.operations.confirmations import CommandRefused, place_of
from blathy.headend.operations.credit import CreditSales
from blathy.headend.operations.desk import Desk
from blathy.headend.operations.jobs import Job
from blathy.headend.sentence import Sentence

PER_POINT: Final = (4, 600)
"""At most so many switching commands to one point in so many seconds."""
OFF_PER_SITE: Final = (20, 3600)
"""At most so many disconnections on the whole site in so many seconds."""

CONSEQUENCES: Final[dict[str, Sentence]] = {
    "disconnect": Sentence(
        "consequence-disconnect",
        "The supply of this place is switched off; nothing there has power until it is released "
        "or connected.",
    ),
    "release": Sentence(
        "consequence-release", "The supply may be switched on with the meter's button."
    ),
    "connect": Sentence(
        "consequence-connect",
        "The supply of this place is switched on at once, whatever is plugged in there.",
    ),
    "set-clock": Sentence(
        "consequence-set-clock",
        "The meter's clock is set to the control centre's time; the slot of this moment is marked.",
    ),
    "relay": Sentence("consequence-relay", "A load relay at this place is switched."),
    "limit": Sentence(
        "consequence-limit",
        "The supply of this place is switched off whenever it takes more than {power_w} W for "
        "longer than the meter tolerates.",
    ),
    "credit": Sentence(
        "consequence-credit",
        "{energy_wh} Wh are sold to this place: they are booked in its meter at once and cannot "
        "be taken back.",
    ),
}
NO_LIMIT: Final = Sentence("consequence-no-limit", "The power limit of this place is taken away.")
TITLES: Final = {
    "disconnect": Sentence("job-disconnect", "Disconnect: {point}"),
    "release": Sentence("job-release", "Release: {point}"),
    "connect": Sentence("job-connect", "Connect: {point}"),
    "set-clock": Sentence("job-set-clock", "Set clock: {point}"),
    "relay": Sentence("job-relay", "Relay: {point}"),
    "limit": Sentence("job-limit", "Limit: {point}"),
    "credit": Sentence("job-credit", "Credit: {point}"),
}
"""Command -> what its job is called."""
TALKING: Final = Sentence("talking", "Talking to the meter")
READ_BACK: Final = Sentence("done-and-read-back", "Done and read back.")
AMOUNTS: Final = {
    "limit": ("power_w", 1_000, 1_000_000, (0,)),
    "credit": ("energy_wh", 1, 1_000_000, ()),
}
"""Command -> argument, least, most, and what else it may be. Less than a kilowatt would be a
disconnection by another name."""


class Commands:
    """The only way to a switch."""

    def __init__(self, desk: Desk, clocks: Clocks) -> None:
        self._database = desk.database
        self._inventory = desk.inventory
        self._collector = desk.collector
        self._jobs = desk.jobs
        self._now = desk.now
        self._confirmations = desk.confirmations
        self._clocks = clocks
        self.sales = CreditSales(desk)
        self._by_point: dict[str, deque[float]] = {}
        self._offs: deque[float] = deque()

    def prepare(
        self, user: str, point: Point, command: str, arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The first step: nothing happens yet."""
        self._check(point, command, arguments)
        consequence = CONSEQUENCES[command].of(**arguments)
        if command == "limit" and not arguments["power_w"]:
            consequence = NO_LIMIT
        return self._confirmations.ask(
            user, _request(point, command, arguments), place_of([point]), consequence
        )

    async def confirm(
        self, user: str, point: Point, command: str, arguments: Mapping[str, Any], word: str
    ) -> Job:
        """The second step: audited, then started as a job."""
        self._confirmations.take(user, _request(point, command, arguments), word)
        self._check(point, command, arguments)
        self._count(point, command)
        await self._audit(user, point, command, arguments, "started")

        async def work(job: Job) -> dict[str, Any]:
            job.progress(0, 2, TALKING)
            try:
                read_back = await self._run(user, point, command, arguments)
            except ConversationError as error:
                await self._audit(user, point, command, {"error": str(error)}, error.outcome.value)
                raise
            await self._audit(user, point, command, {"read_back": read_back}, "done")
            job.progress(2, 2, READ_BACK)
            return {"outcome": "ok", "read_back": read_back}

        return await self._jobs.start(
            "command",
            TITLES[command].of(point=point.name),
            work,
            user=user,
            point_id=point.id,
        )

    def _check(self, point: Point, command: str, arguments: Mapping[str, Any]) -> None:
        facts = self._collector.driver.facts(point.meter)
        if command not in CONSEQUENCES or command not in facts.commands:
            able = ", ".join(facts.commands) or "no command"
            raise CommandRefused(
                "command-unknown",
                "This meter cannot do '{command}'.",
                "It can do: {commands}.",
                command=command,
                commands=able,
            )
        if command == "disconnect" and point.protected:
            raise CommandRefused(
                "point-protected",
                "{point} is protected from disconnection.",
                "Switch on the spot, with the people there.",
                point=point.name,
            )
        if command == "relay":
            relay, on = arguments.get("relay"), arguments.get("on")
            whole = set(arguments) == {"relay", "on"} and isinstance(on, bool)
            if not whole or relay not in facts.relays:
                raise CommandRefused(
                    "relay-needs",
                    "A relay command needs the relay and whether it goes on.",
                    'Send {{"relay": one of {relays}, "on": true}}.',
                    relays=", ".join(facts.relays),
                )
        elif command in AMOUNTS:
            self._check_amount(point, command, arguments)
        elif arguments:
            raise CommandRefused(
                "no-arguments", "{command} takes no arguments.", "Leave them out.", command=command
            )
        limit, window_s = PER_POINT
        if self._recent(self._by_point.get(point.id, deque()), window_s) >= limit:
            raise CommandRefused(
                "point-busy",
                "{point} had {count} commands in the last {minutes} minutes.",
                "Wait before the next one.",
                too_many=True,
                point=point.name,
                count=limit,
                minutes=window_s // 60,
            )
        limit, window_s = OFF_PER_SITE
        if command == "disconnect" and self._recent(self._offs, window_s) >= limit:
            raise CommandRefused(
                "disconnections-many",
                "{count} places were disconnected in the last hour, which is the limit.",
                "Wait, or ask an administrator whether this is meant.",
                too_many=True,
                count=limit,
            )

    @staticmethod
    def _check_amount(point: Point, command: str, arguments: Mapping[str, Any]) -> None:
        name, least, most, extra = AMOUNTS[command]
        amount = arguments.get(name)
        whole = isinstance(amount, int) and not isinstance(amount, bool)
        fits = whole and (amount in extra or least <= int(amount or 0) <= most)
        if not fits or set(arguments) != {name}:
            also = f", or {extra[0]} for none" if extra else ""
            raise CommandRefused(
                "amount-wrong",
                "{command} needs {argument}, a whole number from {least} to {most}{also}.",
                'Send {{"{argument}": {least}}}.',
                command=command,
                argument=name,
                least=least,
                most=most,
                also=also,
            )
        if command == "limit" and point.protected and amount:
            raise CommandRefused(
                "limit-protected",
                "{point} is protected: a limit could disconnect it.",
                "Agree on the limit with the people there.",
                point=point.name,
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
        self, user: str, point: Point, command: str, arguments: Mapping[str, Any]
    ) -> dict[str, object]:
        if command == "limit":
            return await self._collector.set_limit(point, arguments["power_w"])
        if command == "credit":
            return await self.sales.sell(user, point, arguments["energy_wh"])
        if command == "set-clock":
            return await self._clocks.correct(point, "set", user=user, large=True)
        return await self._collector.switch(point, command, arguments)

    async def _audit(
        self, user: str, point: Point, command: str, detail: Mapping[str, Any], outcome: str
    ) -> None:
        now = int(self._now())
        await self._database.write(
            lambda c: audit.append(c, now, user, f"command.{command}", point.id, outcome, detail)
        )


def _request(point: Point, command: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"point": point.id, "command": command, "arguments": dict(arguments)}
