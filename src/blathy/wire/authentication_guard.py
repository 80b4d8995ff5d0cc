"""Slows down the guessing of passwords and keys, across connections and restarts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from blathy.clock import NANOSECONDS_PER_S, Instant

FAILURES_AT_ONCE: Final = 10
FAILURES_PER_HOUR: Final = 10
_HOUR_NS: Final = 3600 * NANOSECONDS_PER_S


class FailureThrottle:
    """Each client of a profile may fail FAILURES_AT_ONCE times, then FAILURES_PER_HOUR on average.

    A success does not refill: whoever knows one secret must not guess another for free. Persist
    `debts()` and give it back after a restart.
    """

    def __init__(
        self,
        debts: Mapping[int, int] | None = None,
        *,
        at_once: int = FAILURES_AT_ONCE,
        per_hour: int = FAILURES_PER_HOUR,
    ) -> None:
        self._at_once = at_once
        self._cost_ns = _HOUR_NS // per_hour
        self._clears_at: dict[int, int] = {}
        self._restored = dict(debts or {})

    def locked(self, client_sap: int, now: Instant) -> bool:
        """True while one more failure would be one too many."""
        return self._debt_ns(client_sap, now) > (self._at_once - 1) * self._cost_ns

    def failed(self, client_sap: int, now: Instant) -> None:
        """Count a failure."""
        self._clears_at[client_sap] = now + self._debt_ns(client_sap, now) + self._cost_ns

    def succeeded(self, client_sap: int, now: Instant) -> None:
        """Nothing changes: see the class."""

    def debts(self, now: Instant) -> dict[int, int]:
        """Client -> nanoseconds until its failures are forgotten."""
        clients = self._clears_at.keys() | self._restored.keys()
        debts = {client: self._debt_ns(client, now) for client in clients}
        return {client: debt for client, debt in debts.items() if debt}

    def _debt_ns(self, client_sap: int, now: Instant) -> int:
        restored = self._restored.pop(client_sap, None)
        if restored is not None:
            self._clears_at[client_sap] = now + restored
        return max(self._clears_at.get(client_sap, now) - now, 0)
