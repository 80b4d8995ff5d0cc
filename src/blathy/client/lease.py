"""Whose turn it is to speak with a meter.

A meter takes the invocation counters of a system title and key in rising order only, and so do we
its own. Conversations of one process with one meter, key and title therefore take turns, a request
with its answer at a time; processes that share a counter file take turns by whole conversations.
Meters with keys of their own never wait for each other.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Final
from weakref import WeakKeyDictionary

from blathy.client.address import MeterAddress
from blathy.client.counters import LeasingStore, StoreError
from blathy.wire.security import CounterStore, InvocationCounters, key_fingerprint

LEASE_WAIT_S: Final = 30.0
"""So long another process may go on with its conversation before we give up."""
LOOK_AGAIN_S: Final = 0.05


class Turn:
    """A lock for tasks, also of different event loops; first come, first served."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        with self._guard:
            if not self._taken:
                self._taken = True
                return
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
        try:
            await waiter
        except BaseException:
            with self._guard:
                given = waiter not in self._waiting
                if not given:
                    self._waiting.remove(waiter)
            if given:
                self._hand_on()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._hand_on()

    def _hand_on(self) -> None:
        while True:
            with self._guard:
                if not self._waiting:
                    self._taken = False
                    return
                waiter = self._waiting.popleft()
            try:
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)
            except RuntimeError:
                continue  # its loop has ended
            return


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Lease:
    """What the conversations of this process with one meter, title and key share."""

    __slots__ = ("_holders", "_name", "_shared", "held", "protecting", "turn", "was_shared")

    def __init__(self, name: str, shared: _Shared) -> None:
        self._name = name
        self._shared = shared
        self.held = shared.leasing is None
        """Whether no other process may speak with the meter; `hold` sees to it."""
        self._holders = 0
        self.was_shared = False
        """Whether others spoke with the meter meanwhile: what one of us is still to read may be
        older than what another has had."""
        self.turn = Turn()
        """To be had for a request and its answer."""
        self.protecting = Turn()
        """To be had from the protection of data inside a request until its answer."""

    @classmethod
    async def take(cls, store: CounterStore, address: MeterAddress) -> Lease:
        """The lease of this meter, title and key; StoreError when another process keeps it."""
        key_id = key_fingerprint(address.keys.unicast)
        name = f"{address.title.hex()} {key_id} {address.place}"
        shared = _shared_of(store)
        with _GUARD:
            lease = shared.leases.get(name)
            if lease is None:
                lease = shared.leases[name] = cls(name, shared)
            lease._holders += 1
            lease.was_shared = lease.was_shared or lease._holders > 1
        try:
            if not lease.held:
                async with lease.turn:
                    await lease.hold(address)
        except BaseException:
            lease.give_back()
            raise
        return lease

    async def hold(self, address: MeterAddress) -> None:
        """To be called in one's turn: wait until no other process has the lease."""
        loop, store = asyncio.get_running_loop(), self._shared.leasing
        assert store is not None
        until_s = loop.time() + LEASE_WAIT_S
        while not self.held:
            moved = store.lease(self._name)
            if moved is not None:
                self._shared.counters.forget(moved)
                self.held = True
            elif loop.time() > until_s:
                raise StoreError(
                    f"{address.place}: another process speaks with this meter under system title "
                    f"{address.title.hex()} and the same key",
                    "wait until it has ended, or give this one a title= of its own",
                )
            else:
                await asyncio.sleep(LOOK_AGAIN_S)

    def rest(self) -> None:
        """Until the next request another process may have it."""
        with _GUARD:
            if self.held and self._holders == 1 and self._shared.leasing is not None:
                self._shared.leasing.end_lease(self._name)
                self.held = False
                self.was_shared = True

    def give_back(self) -> None:
        """One conversation fewer; after the last another process may speak with the meter."""
        with _GUARD:
            self._holders -= 1
            if self._holders:
                return
            self._shared.leases.pop(self._name, None)
            if self.held and self._shared.leasing is not None:
                self._shared.leasing.end_lease(self._name)


class _Shared:
    """One counter object for a store, since two of them would hand numbers out of order."""

    def __init__(self, store: CounterStore) -> None:
        self.counters = InvocationCounters(store)
        self.leasing = store if isinstance(store, LeasingStore) else None
        self.leases: dict[str, Lease] = {}


_GUARD: Final = threading.RLock()
_SHARED: Final[WeakKeyDictionary[object, _Shared]] = WeakKeyDictionary()


def _shared_of(store: CounterStore) -> _Shared:
    with _GUARD:
        found = _SHARED.get(store)
        if found is None:
            found = _SHARED[store] = _Shared(store)
        return found


def counters_of(store: CounterStore) -> InvocationCounters:
    """The one counter object of a store."""
    return _shared_of(store).counters
