"""Many sockets on one event loop, without a transport, handle and timer each.

asyncio spends some kilobytes on a connection and some tens of microseconds on a message. A meter's
connection is idle nearly always and its messages are short, so here one `Poller` per event loop
watches all sockets: its epoll (or kqueue) is itself a single file of the loop, and what is ready is
handled in one turn. `Deadlines` is the clock of the same connections: buckets of time with one
timer of the loop for the earliest, so that setting a deadline costs no timer either.
"""

from __future__ import annotations

import asyncio
import heapq
import select
import selectors
import time
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary, ref

from blathy.clock import NANOSECONDS_PER_S, Instant

READ: Final = 1
WRITE: Final = 4
"""The bits of epoll's EPOLLIN and EPOLLOUT."""
BATCH: Final = 256
TICK_NS: Final = 50_000_000
"""How late a deadline may be seen."""


class Watched(Protocol):
    """The owner of a watched socket."""

    def ready(self, *, readable: bool, writable: bool) -> None:
        """The socket can be read or written, or has failed: then it counts as readable."""

    def abort(self) -> None:
        """Close at once: handling it has raised."""


class Due(Protocol):
    """Something with a deadline."""

    def due(self, now: Instant) -> None:
        """The deadline that was set has come; it is forgotten until set again."""


class _Selector:
    """epoll's calls on whatever the system has instead of it."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def fileno(self) -> int:
        return self._selector.fileno()

    def register(self, fd: int, events: int) -> None:
        self._selector.register(fd, _wanted(events))

    def modify(self, fd: int, events: int) -> None:
        self._selector.modify(fd, _wanted(events))

    def unregister(self, fd: int) -> None:
        self._selector.unregister(fd)

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        found = self._selector.select(timeout)[:maxevents]
        return [
            (key.fd, (READ if events & selectors.EVENT_READ else 0)
             | (WRITE if events & selectors.EVENT_WRITE else 0))
            for key, events in found
        ]  # fmt: skip

    def close(self) -> None:
        self._selector.close()


def _wanted(events: int) -> int:
    return (selectors.EVENT_READ if events & READ else 0) | (
        selectors.EVENT_WRITE if events & WRITE else 0
    )


class Poller:
    """The sockets of one event loop. Take it with `poller_of`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, portable: bool = False) -> None:
        self._loop = ref(loop)
        self._owners: dict[int, Watched] = {}
        epoll: Any = None if portable else getattr(select, "epoll", None)
        self._queue: Any = _Selector() if epoll is None else epoll()
        loop.add_reader(self._queue.fileno(), self._run)

    def __len__(self) -> int:
        return len(self._owners)

    def watch(self, fd: int, owner: Watched, events: int = READ) -> None:
        """Tell `owner` when the socket is ready."""
        self._queue.register(fd, events)
        self._owners[fd] = owner

    def change(self, fd: int, events: int) -> None:
        """Wait for other events on a watched socket."""
        self._queue.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watch no more; before the socket is closed."""
        if self._owners.pop(fd, None) is not None:
            self._queue.unregister(fd)

    def _run(self) -> None:
        owners = self._owners
        for fd, events in self._queue.poll(0, BATCH):
            owner = owners.get(fd)
            if owner is None:
                continue  # closed by one before it in this batch
            try:
                owner.ready(readable=events != WRITE, writable=events & WRITE != 0)
            except Exception as error:  # noqa: BLE001 - one connection must not stop the others
                owner.abort()
                if (loop := self._loop()) is not None:
                    loop.call_exception_handler(
                        {"message": f"a connection failed in {owner!r}", "exception": error}
                    )


_POLLERS: WeakKeyDictionary[asyncio.AbstractEventLoop, Poller] = WeakKeyDictionary()


def poller_of(loop: asyncio.AbstractEventLoop) -> Poller:
    """The one poller of an event loop."""
    found = _POLLERS.get(loop)
    if found is None:
        found = _POLLERS[loop] = Poller(loop)
    return found


class Deadlines:
    """Deadlines of many, each seen at most TICK_NS late."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, set[Due]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_bucket = 0
        self._first = 0  # buckets before this one have been seen

    def set(self, who: Due, at_ns: int) -> int:
        """Call `who.due` when `at_ns` has come; the bucket, which `forget` wants."""
        number = max(at_ns // TICK_NS + 1, self._first)
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = set()
            heapq.heappush(self._order, number)
            if self._timer is None or number < self._timer_bucket:
                self._arm(number)
        bucket.add(who)
        return number

    def forget(self, who: Due, bucket: int) -> None:
        """Take a deadline back."""
        found = self._buckets.get(bucket)
        if found is not None:
            found.discard(who)

    def stop(self) -> None:
        """Forget all of them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._buckets.clear()
        self._order.clear()

    def _arm(self, bucket: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0, bucket * TICK_NS - time.monotonic_ns()) / NANOSECONDS_PER_S
        self._timer = self._loop.call_later(delay_s, self._fire)
        self._timer_bucket = bucket

    def _fire(self) -> None:
        self._timer = None
        now = Instant(time.monotonic_ns())
        self._first = now // TICK_NS + 1
        while self._order and self._order[0] * TICK_NS <= now:
            for who in self._buckets.pop(heapq.heappop(self._order)):
                who.due(now)
        # An empty bucket costs one wake-up, once.
        if self._order:
            self._arm(self._order[0])
