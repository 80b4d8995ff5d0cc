"""An event loop in which time passes only while nothing else can happen.

A second of waiting takes no time, and no time passes while anybody computes: on a machine of any
speed the same answer comes before the same deadline. For what is in memory: whatever comes from
another process or thread comes too late.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any
from unittest.mock import patch

NS_A_SECOND = 1_000_000_000


class _Clock(selectors.DefaultSelector):
    """Waits by moving the clock on, unless something is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = NS_A_SECOND

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits for what will never come"
            self.now_ns += int(timeout * NS_A_SECOND) + (timeout > 0)
        return ready


def run_in_virtual_time(test: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a test in a loop of its own; within it all clocks are that of the loop."""
    clock = _Clock()
    began_s = time.time()
    with (
        patch("time.monotonic_ns", lambda: clock.now_ns),
        patch("time.monotonic", lambda: clock.now_ns / NS_A_SECOND),
        patch("time.time", lambda: began_s + clock.now_ns / NS_A_SECOND),
        asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(clock)) as runner,
    ):
        return runner.run(asyncio.wait_for(test(), 100_000))
