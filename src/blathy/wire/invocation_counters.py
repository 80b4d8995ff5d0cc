"""Invocation counters (IEC 62056-5-3): those to send with, and the floors of those received.

The AES-GCM nonce is the originator's system title and this counter, so a counter must never be used
twice under one key and title. A sender reserves numbers in its store before the first of them is
used; a receiver takes a number once and only upwards, per originator and key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol

from blathy.wire.errors import LocalProtocolError

COUNTER_LAST: Final = 0xFFFF_FFFE  # at FFFFFFFF the key is exhausted
COUNTER_WARNING: Final = 0xF000_0000
"""From here on a key should be replaced: a sixteenth of its numbers is left."""
RESERVED_AHEAD: Final = 64  # numbers lost at a crash at most, against one durable write per number
DEDICATED_KEYS_MAX: Final = 64  # dedicated keys whose sequences are remembered
DEDICATED: Final = "dedicated"
"""Names the one sequence that a server sends with under all dedicated keys: clients choose them,
and one that takes the same key again must not make us use a nonce twice, not over a restart
either."""
TRANSACTION: Final = "transaction"
"""Begins the name of the floor of the transaction-ids of signed APDUs."""
ONE_TIME: Final = "one-time"
"""Begins the name of the floor of the transaction-ids under keys that came along, one for all that
were made from one key; and names the sequence that such keys of ours are used with where no
association ends it."""
REPORTED_JUMP_MAX: Final = 0x0100_0000
"""How far an unauthenticated report of the peer may move our own counter at once."""
FAR_JUMP: Final = 0x1_0000
"""A report of more than this is followed once, until the peer has proved itself."""


class CounterStore(Protocol):
    """Where invocation counters survive. Names are opaque; every write is durable on return."""

    def reserve(self, name: str, count: int) -> int:
        """Set `count` consecutive numbers aside for ever and return the first; 1 for a new name."""

    def advance(self, name: str, at_least: int) -> None:
        """The next number reserved is `at_least` or more; never lowers."""

    def lowest(self, name: str) -> int:
        """The lowest number still acceptable from a sender; 0 for a new name."""

    def accept(self, name: str, lowest: int) -> None:
        """Raise the lowest acceptable number; never lowers."""


class VolatileCounterStore:
    """Counters that end with the process: simulations and tests."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._lowest: dict[str, int] = {}

    def reserve(self, name: str, count: int) -> int:
        first = self._next.get(name, 1)
        self._next[name] = first + count
        return first

    def advance(self, name: str, at_least: int) -> None:
        self._next[name] = max(self._next.get(name, 1), at_least)

    def lowest(self, name: str) -> int:
        return self._lowest.get(name, 0)

    def accept(self, name: str, lowest: int) -> None:
        self._lowest[name] = max(self._lowest.get(name, 0), lowest)


@dataclass(slots=True)
class DedicatedCounters:
    """The two sequences of a key of one association: the next number to send, the lowest to
    accept."""

    next: int = 1
    lowest: int = 0

    def take(self) -> int:
        """The next number; raise when the key is exhausted."""
        number = self.next
        if number > COUNTER_LAST:
            raise LocalProtocolError("the key of this association is used up; associate again")
        self.next = number + 1
        return number


@dataclass(slots=True)
class _Floor:
    """The lowest number still acceptable from a sender, and what the store calls it."""

    name: str
    lowest: int


class InvocationCounters:
    """The counters of one meter or one client in front of their store, reserved ahead.

    One per system title and store: two of them for one title would hand numbers out of order.
    """

    __slots__ = (
        "_ahead",
        "_blocks",
        "_dedicated",
        "_ending",
        "_floors",
        "_followed",
        "_store",
        "warned",
    )

    def __init__(self, store: CounterStore, reserved_ahead: int = RESERVED_AHEAD) -> None:
        self._store = store
        self._ahead = reserved_ahead
        self._blocks: dict[tuple[bytes, str], tuple[count[int], int]] = {}
        self._floors: dict[tuple[bytes, str], _Floor] = {}
        self._dedicated: dict[tuple[bytes, str], DedicatedCounters] = {}
        self._ending: set[tuple[bytes, str]] = set()
        self._followed: set[str] = set()
        self.warned = False
        """Whether a key came near its end since somebody last set this back."""

    def next(self, title: bytes, key_id: str) -> int:
        """A number never given before for this title and key; raise when the key is exhausted."""
        block = self._blocks.get((title, key_id))
        # One step of a `count` is one step for threads, too: none is given the number of another.
        if block is None or (number := next(block[0])) >= block[1]:
            number = next(self._reserved(title, key_id)[0])
        if number > COUNTER_LAST:
            raise LocalProtocolError(
                "the invocation counter of this key is used up; transfer a new key"
            )
        if number >= COUNTER_WARNING and (title, key_id) not in self._ending:
            self._ending.add((title, key_id))
            self.warned = True
        return number

    def untouched(self, title: bytes, key_id: str) -> bool:
        """Whether no number was ever taken for this title and key, also not in an earlier run."""
        if (title, key_id) in self._blocks:
            return False
        return self._reserved(title, key_id)[1] == 1 + self._ahead

    def _reserved(self, title: bytes, key_id: str) -> tuple[count[int], int]:
        """A new block: the numbers from its first on, and where they end."""
        first = self._store.reserve(counter_name("send", title, key_id), self._ahead)
        block = self._blocks[title, key_id] = (count(first), first + self._ahead)
        return block

    def forget(self, names: Iterable[str]) -> None:
        """Ask the store anew for these: another process has used the key in between."""
        for name in names:
            _, title, key_id = name.split(":", 2)
            self._blocks.pop((bytes.fromhex(title), key_id), None)
            self._floors.pop((bytes.fromhex(title), key_id), None)

    def follow_report(
        self, title: bytes, key_id: str, at_least: int, jump_max: int = REPORTED_JUMP_MAX
    ) -> None:
        """Continue at `at_least`, which the peer reported; upwards only and by a bounded jump.

        After a far one the next is followed only once the peer has proved to hold the key: else
        somebody on the line could use our key up, report by report. A `jump_max` of COUNTER_LAST
        is the word of whoever sets the counter by hand.
        """
        block = self._blocks.get((title, key_id))
        name = counter_name("send", title, key_id)
        current = next(block[0]) if block is not None else self._store.reserve(name, 1)
        far = at_least - current > FAR_JUMP and jump_max < COUNTER_LAST
        if at_least - current > jump_max or (far and key_id in self._followed):
            raise LocalProtocolError(
                f"the peer wants invocation counter {at_least}, far above our {current}; "
                "set it by hand if that is right"
            )
        self._blocks.pop((title, key_id), None)
        if far:
            self._followed.add(key_id)
        self._store.advance(name, max(at_least, current))

    def lowest(self, title: bytes, key_id: str) -> int:
        """The lowest number that this originator may still use under this key."""
        # Not remembered here: anybody may claim any title, and memory must not grow by claims.
        floor = self._floors.get((title, key_id))
        if floor is None:
            return self._store.lowest(counter_name("receive", title, key_id))
        return floor.lowest

    def accept(self, title: bytes, key_id: str, counter: int) -> None:
        """Call after the tag verified: this number and all below are spent."""
        floor = self._floors.get((title, key_id))
        if floor is None:
            name = counter_name("receive", title, key_id)
            self._store.accept(name, counter + 1)
            self._floors[title, key_id] = _Floor(name, counter + 1)
        else:
            self._store.accept(floor.name, counter + 1)
            floor.lowest = max(counter + 1, floor.lowest)
        if self._followed:
            self._followed.discard(key_id)

    def dedicated(self, peer_title: bytes, key_id: str) -> DedicatedCounters:
        """The sequences of a dedicated key: new for a new key, going on for one used before.

        A client that takes the same key for every association would otherwise open the door to
        replays.
        """
        at = (peer_title, key_id)
        counters = self._dedicated.pop(at, None) or DedicatedCounters()
        if len(self._dedicated) >= DEDICATED_KEYS_MAX:
            del self._dedicated[next(iter(self._dedicated))]
        self._dedicated[at] = counters
        return counters


def counter_name(direction: str, title: bytes, key_id: str) -> str:
    """What a store calls the numbers that `title` uses under a key."""
    return f"{direction}:{title.hex()}:{key_id}"


def key_fingerprint(key: bytes) -> str:
    """Names a key without showing it: counters start anew with every new key by themselves."""
    return hashlib.sha256(b"invocation counter of" + key).hexdigest()[:16]
