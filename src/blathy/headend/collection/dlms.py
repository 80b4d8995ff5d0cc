"""The DLMS/COSEM driver: conversations over `blathy.client`, models as tables."""

from __future__ import annotations

from collections.abc import Callable

from blathy.headend.collection.conversation import Conversation, MeterFacts
from blathy.headend.inventory.registry import Meter, Secrets
from blathy.wire.security import CounterStore


class DlmsDriver:
    def __init__(self, counters: CounterStore, now: Callable[[], float]) -> None:
        self._counters = counters
        self._now = now

    def facts(self, meter: Meter) -> MeterFacts:
        raise LookupError

    async def open(self, meter: Meter, secrets: Secrets) -> Conversation:
        raise LookupError
