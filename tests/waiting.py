"""How tests of an event loop wait: for a condition, never for a time, and on a slow machine too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

RUN_S: Final = 240.0
UNTIL_S: Final = 180.0
LOOK_AGAIN_S: Final = 0.01


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test in a loop of its own, for so long at most."""
    asyncio.run(asyncio.wait_for(test(), RUN_S))


async def until(condition: Callable[[], Any]) -> Any:
    """Wait until the condition, which may be awaited, gives something; return that."""
    end = time.monotonic() + UNTIL_S
    while time.monotonic() < end:
        found = condition()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        await asyncio.sleep(LOOK_AGAIN_S)
    raise AssertionError(f"it did not happen within {UNTIL_S:g} s")
