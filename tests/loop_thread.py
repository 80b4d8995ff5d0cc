"""An event loop in a thread of its own: what it serves is asked by the thread of the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

WITHIN_S: Final = 120.0


class LoopThread:
    """Runs until `end`, or to the end of its block."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What the coroutine gives, run over there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WITHIN_S)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WITHIN_S)
        self.loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


@contextmanager
def listening(begin: Callable[[], Coroutine[Any, Any, tuple[Any, int]]]) -> Iterator[int]:
    """The port of the listener that `begin` starts, in a loop of its own."""
    with LoopThread() as there:
        listener, port = there.run(begin())
        try:
            yield port
        finally:
            there.run(listener.stop())
