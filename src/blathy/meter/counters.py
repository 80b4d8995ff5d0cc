"""Invocation counters that survive: sent ones reserved ahead, received ones kept as floors.

Reserving is durable before the first number is used. A received floor is written ahead in steps:
after a power cut the meter may refuse a few numbers that the client has not used yet, never accept
one that it has. The floors of transaction-ids, which nobody reads before using them,
are written exactly instead.

There is one floor for each sender and lasting key, one for each sender's signatures and one for all
keys that came along; NAMES_MAX of them are kept. When there is no room, those of keys that are no
longer in force go, which must therefore not be transferred again; else a new sender is refused
until new keys are in force. So whoever holds a key and claims one title after the other fills no
memory, and makes the meter forget nothing that protects the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem.service import AccessError
from blathy.store.store import StorageError
from blathy.wire.errors import LocalProtocolError
from blathy.wire.invocation_counters import ONE_TIME, TRANSACTION, key_fingerprint

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

AHEAD: Final = 64
NAMES_MAX: Final = 256
_BY_TRANSACTION: Final = (TRANSACTION, ONE_TIME)
_RECEIVE: Final = b"ic:receive:"
BASE: Final = b"ic:base"
"""Where a meter's own numbers begin: a simulated meter that is made anew with the keys of an older
one must not repeat that one's numbers."""


class MeterCounterStore:
    """`wire.security.CounterStore` on the keeper and the settings of a meter."""

    __slots__ = ("_floors", "_meter", "_written")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._floors: dict[str, int] = {}
        self._written: dict[str, int] = {}

    def reserve(self, name: str, count: int) -> int:
        try:
            return self._meter.keeper.reserve(name, count) + 1 + self._base()
        except StorageError as error:
            raise LocalProtocolError(str(error)) from error

    def _base(self) -> int:
        return int.from_bytes(self._meter.settings.get(BASE, b""), "big")

    def advance(self, name: str, at_least: int) -> None:
        following = self._meter.keeper.reserve(name, 1) + 2 + self._base()
        if at_least > following:
            self._meter.keeper.reserve(name, at_least - following)

    def lowest(self, name: str) -> int:
        # Not remembered here: whoever claims a title asks for its floor.
        floor = self._floors.get(name)
        return self._kept(name) if floor is None else floor

    def _kept(self, name: str) -> int:
        return int.from_bytes(self._meter.settings.get(_RECEIVE + name.encode(), b""), "big")

    def accept(self, name: str, lowest: int) -> None:
        if name not in self._floors:
            self._make_room(name)
            self._floors[name] = self._written[name] = self._kept(name)
        floor = self._floors[name] = max(self._floors[name], lowest)
        if floor <= self._written[name]:
            return
        self._write(name, floor + (0 if _key_of(name)[0] in _BY_TRANSACTION else AHEAD))
        try:
            self._meter.flush()
        except AccessError as error:
            self._written[name] = 0  # the next message tries again; this one is not served
            raise LocalProtocolError(f"the received counter is not safe: {error}") from error

    def _make_room(self, name: str) -> None:
        """For the floor of a sender or key that is new."""
        settings = self._meter.settings
        names = [key for key in settings if key.startswith(_RECEIVE)]
        if len(names) < NAMES_MAX or _RECEIVE + name.encode() in settings:
            return
        keys = self._meter.key_set()
        used = {
            key_fingerprint(key)
            for key in (
                keys.unicast, keys.broadcast, keys.master, keys.agreement, keys.peer_signing
            )
        }  # fmt: skip
        gone = [key for key in names if _key_of(key.decode())[1] not in used]
        if not gone:
            raise LocalProtocolError(
                f"{NAMES_MAX} senders are known under these keys; transfer new keys"
            )
        for key in gone:
            self._meter.drop_settings(key)
            self._floors.pop(key[len(_RECEIVE) :].decode(), None)

    def _write(self, name: str, floor: int) -> None:
        self._written[name] = floor
        self._meter.save_setting(_RECEIVE + name.encode(), floor.to_bytes(8, "big"))

    def highest_received(self) -> int:
        """The largest number that any client has used under the encryption key in force."""
        mine = b":" + key_fingerprint(self._meter.key("unicast")).encode()
        names = [
            key[len(_RECEIVE) :].decode()
            for key in self._meter.settings
            if key.startswith(_RECEIVE) and key.endswith(mine)
        ]
        return max((self.lowest(name) - 1 for name in names), default=0)

    def settle(self) -> None:
        """Write the floors exactly: called when the meter is switched off in order."""
        for name, floor in self._floors.items():
            if self._written[name] != floor:
                self._write(name, floor)


def _key_of(name: str) -> tuple[str, str]:
    """From the last part of a name: the kind of transaction (empty of counters) and the key;
    protected data go apart."""
    kind, _, key = name.rpartition(":")[2].partition("/")[0].rpartition(".")
    return kind, key
