"""The second step: a word that holds for a minute and for exactly this user and request."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from blathy.clock import iso_utc
from blathy.headend.inventory.registry import Point
from blathy.headend.sentence import ExplainedError, Sentence, Value, with_code

CONFIRM_S: Final = 60
PENDING_MAX: Final = 1_000


class CommandRefused(ExplainedError):  # noqa: N818 - an answer, not a fault
    """The command is not carried out."""

    def __init__(
        self, code: str, detail: str, remedy: str, /, *, too_many: bool = False, **values: Value
    ) -> None:
        super().__init__(code, detail, remedy, **values)
        self.too_many = too_many


@dataclass(frozen=True, slots=True)
class _Pending:
    user: str
    request: str
    expires_at: float


class Confirmations:
    """Words that were handed out and not yet used."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._pending: dict[str, _Pending] = {}

    def ask(
        self, user: str, request: Mapping[str, Any], place: Sentence, consequence: Sentence
    ) -> dict[str, Any]:
        """The answer to the first step: nothing has happened yet."""
        now = self._now()
        self._pending = {w: p for w, p in self._pending.items() if p.expires_at > now}
        if len(self._pending) >= PENDING_MAX:
            raise CommandRefused(
                "too-many-waiting", "Too many commands wait for confirmation.", "Wait a minute.",
                too_many=True,
            )  # fmt: skip
        word = secrets.token_urlsafe(9)
        self._pending[word] = _Pending(user, _canonical(request), now + CONFIRM_S)
        return {
            "confirm": word,
            **with_code("place", place),
            **with_code("consequence", consequence),
            "expires_at": iso_utc(int(now + CONFIRM_S)),
        }

    def take(self, user: str, request: Mapping[str, Any], word: str) -> None:
        """The second step, once; raise CommandRefused where the word is not for this."""
        pending = self._pending.get(word)
        asked = (user, _canonical(request))
        told = pending and (pending.user, pending.request)
        if pending is None or pending.expires_at <= self._now() or asked != told:
            raise CommandRefused(
                "not-confirmed",
                "This confirmation is unknown, too old or for another command.",
                "Ask for the command again and confirm within a minute.",
            )
        del self._pending[word]


def place_of(points: Sequence[Point]) -> Sentence:
    """One place by its name, several by their number."""
    if len(points) > 1:
        return Sentence("places", "{count} places", count=len(points))
    return Sentence("", points[0].place)


def _canonical(request: Mapping[str, Any]) -> str:
    return json.dumps(dict(request), sort_keys=True, default=str)
