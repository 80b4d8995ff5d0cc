"""Where a meter's books and settings are kept: a place in a store, or memory only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from blathy.registers.ledger import Ledger
from blathy.registers.plan import BookPlan
from blathy.registers.snapshot import Snapshot
from blathy.store.store import LEDGER_PART, Commit, MeterStore, StorageError, Store

SETTINGS_PART: Final = "settings"
IMAGE_PART: Final = "image"
CONTROL_PART: Final = "control"


PlanFor = Callable[[Mapping[str, bytes]], BookPlan]
"""The plan of the books, which may depend on the named states kept beside them."""


class Keeper(Protocol):
    """Makes a meter's books last. `committed` is all that anybody may see."""

    @property
    def committed(self) -> Snapshot | None:
        """The books as they last became durable."""

    def load(self, plan_for: PlanFor) -> tuple[Ledger, Mapping[str, bytes]] | None:
        """Books and named states as they were kept; None for a new meter."""

    def stage(self, ledger: Ledger, parts: Mapping[str, bytes]) -> None:
        """Put the books into the next commit."""

    def commit(self) -> None:
        """Make durable what is staged; raise StorageError where that fails."""

    def reserve(self, key: str, count: int) -> int:
        """Set `count` numbers aside for ever; the first of them."""


class VolatileKeeper:
    """Keeps nothing: for simulations and tests. Every stage is committed at once."""

    __slots__ = ("_numbers", "committed")

    def __init__(self) -> None:
        self.committed: Snapshot | None = None
        self._numbers: dict[str, int] = {}

    def load(self, plan_for: PlanFor) -> None:
        """There is never anything."""
        del plan_for

    def stage(self, ledger: Ledger, parts: Mapping[str, bytes]) -> None:
        del parts
        ledger.take_changes()
        self.committed = ledger.snapshot()

    def commit(self) -> None:
        """Nothing waits."""

    def reserve(self, key: str, count: int) -> int:
        first = self._numbers.get(key, 0)
        self._numbers[key] = first + count
        return first


class StoreKeeper:
    """A place in a `store.Store`. Staging is cheap; the store commits all meters together.

    `after` is told how every commit that this keeper asked for went.
    """

    def __init__(
        self, store: Store, name: str, after: Callable[[Commit], None] | None = None
    ) -> None:
        self._store = store
        self._place: MeterStore = store.meter(name)
        self._after = after

    @property
    def committed(self) -> Snapshot | None:
        return self._place.committed

    def load(self, plan_for: PlanFor) -> tuple[Ledger, Mapping[str, bytes]] | None:
        saved = self._place.load()
        if saved is None or LEDGER_PART not in saved.parts:
            return None
        ledger = Ledger.from_state(plan_for(saved.parts), saved.parts[LEDGER_PART], saved.content)
        self._place.committed = ledger.snapshot()
        return ledger, saved.parts

    def stage(self, ledger: Ledger, parts: Mapping[str, bytes]) -> None:
        self._place.stage(ledger, parts)

    def commit(self) -> None:
        done = self._store.commit()
        if self._after is not None:
            self._after(done)
        if not done.ok:
            raise StorageError(done.error)

    def reserve(self, key: str, count: int) -> int:
        return self._place.reserve(key, count).start


def pack_settings(settings: Mapping[bytes, bytes]) -> bytes:
    """Keys and values with their lengths, in order of the keys."""
    parts = []
    for key in sorted(settings):
        value = settings[key]
        parts.append(len(key).to_bytes(2, "big") + key + len(value).to_bytes(4, "big") + value)
    return b"".join(parts)


def unpack_settings(raw: bytes) -> dict[bytes, bytes]:
    """The reverse; raise ValueError for octets that are no settings."""
    settings: dict[bytes, bytes] = {}
    at = 0
    while at < len(raw):
        key_end = at + 2 + int.from_bytes(raw[at : at + 2], "big")
        key = raw[at + 2 : key_end]
        value_at = key_end + 4
        at = value_at + int.from_bytes(raw[key_end:value_at], "big")
        if at > len(raw) or value_at > len(raw):
            raise ValueError("the settings of the meter are damaged")
        settings[key] = raw[value_at:at]
    return settings
