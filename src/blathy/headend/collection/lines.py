"""Lines to meters: one conversation per meter at a time, bounded in number, kept open a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from blathy.headend.collection.conversation import (
    Conversation,
    ConversationError,
    Driver,
    Outcome,
)
from blathy.headend.inventory.keyring import Secrets
from blathy.headend.inventory.registry import Inventory, Meter

OPEN_MAX: Final = 512
"""Conversations open at once; more wait their turn."""
IDLE_CLOSE_S: Final = 40.0
"""An unused conversation is released after this time."""
OPEN_TIMEOUT_S: Final = 15.0
EXCHANGE_TIMEOUT_S: Final = 60.0
"""Longest use of a line by one task; a meter that drips octets for ever ends here."""


@dataclass(slots=True)
class _Line:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    conversation: Conversation | None = None
    used_at: float = 0.0


async def _nothing(_meter: Meter, _fresh: bool) -> None:
    """Where nobody changes keys."""


class Lines:
    """Hands out conversations. What one meter does never blocks another."""

    def __init__(self, inventory: Inventory, driver: Driver) -> None:
        self._inventory = inventory
        self._driver = driver
        self._lines: dict[int, _Line] = {}
        self._slots = asyncio.Semaphore(OPEN_MAX)
        self.on_keys: Callable[[Meter, bool], Awaitable[None]] = _nothing
        """Told which keys a meter took while they were being changed: True for the new ones."""

    @asynccontextmanager
    async def use(self, meter: Meter, limit_s: float = EXCHANGE_TIMEOUT_S) -> AsyncIterator[
        Conversation
    ]:  # fmt: skip
        """The meter's conversation, opened when it is not; closed after any failure."""
        meter = self._inventory.answering(meter)
        line = self._lines.setdefault(meter.id, _Line())
        async with line.lock, self._slots:
            try:
                async with asyncio.timeout(limit_s):
                    if line.conversation is None:
                        line.conversation = await self._open(meter)
                    yield line.conversation
            except TimeoutError as error:
                await self._drop(line)
                raise ConversationError(
                    Outcome.TIMED_OUT,
                    "meter-slow",
                    "The meter did not finish within {seconds} s.",
                    "Check the quality of its line.",
                    seconds=round(limit_s),
                ) from error
            except ConversationError as error:
                if error.outcome is not Outcome.REFUSED:
                    await self._drop(line)
                raise
            except BaseException:
                await self._drop(line)
                raise
            line.used_at = time.monotonic()

    async def _open(self, meter: Meter) -> Conversation:
        """Open with the keys in force, or find out which ones are while they are being changed."""
        candidates = await asyncio.to_thread(self._inventory.candidates, meter)
        for number, secrets in enumerate(candidates, 1):
            try:
                conversation = await self._open_with(meter, secrets)
            except ConversationError as error:
                if number == len(candidates) or error.outcome is Outcome.UNREACHABLE:
                    raise
                continue
            if len(candidates) > 1:
                try:
                    await self.on_keys(meter, secrets.pending)
                except BaseException:
                    await conversation.close()
                    raise
            return conversation
        raise AssertionError("unreachable")

    async def _open_with(self, meter: Meter, secrets: Secrets) -> Conversation:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                return await self._driver.open(meter, secrets)
        except TimeoutError as error:
            raise ConversationError(
                Outcome.TIMED_OUT,
                "meter-not-associated",
                "The meter did not associate within {seconds} s.",
                "Check its address and its line.",
                seconds=round(OPEN_TIMEOUT_S),
            ) from error

    async def release(self, meter: Meter) -> None:
        """Close the meter's conversation: the next one opens anew, with the keys of then."""
        line = self._lines.get(self._inventory.answering(meter).id)
        if line is not None:
            async with line.lock:
                await self._drop(line)

    async def _drop(self, line: _Line) -> None:
        conversation, line.conversation = line.conversation, None
        if conversation is not None:
            await conversation.close()

    async def close_idle(self) -> None:
        """Release the conversations that nobody has used for `IDLE_CLOSE_S`."""
        limit = time.monotonic() - IDLE_CLOSE_S
        for line in list(self._lines.values()):
            if line.conversation is not None and not line.lock.locked() and line.used_at < limit:
                async with line.lock:
                    await self._drop(line)

    async def close(self) -> None:
        """Release everything."""

        async def one(line: _Line) -> None:
            async with line.lock:
                await self._drop(line)

        await asyncio.gather(*(one(line) for line in self._lines.values()), return_exceptions=True)

    @property
    def open_count(self) -> int:
        return sum(line.conversation is not None for line in self._lines.values())
