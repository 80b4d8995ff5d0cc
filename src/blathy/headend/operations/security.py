"""How the conversation with each meter is protected: since when its keys, how far their counters,
how its clock stands. Nothing here shows a key."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from blathy.client.address import DEFAULT_CLIENT_TITLE
from blathy.clock import iso_utc
from blathy.headend.inventory.counters import COUNTER_MAX, StoredCounters
from blathy.headend.inventory.registry import Inventory, Point
from blathy.wire.invocation_counters import counter_name, key_fingerprint

IN_USE: Final = ("encryption", "authentication")
"""The purposes whose age counts: they protect every message."""


class Security:
    """The standing of a point and of the site."""

    def __init__(self, inventory: Inventory, counters: StoredCounters) -> None:
        self._inventory = inventory
        self._counters = counters

    async def of_point(self, point: Point) -> dict[str, Any]:
        """The standing of one point's meter."""
        return await asyncio.to_thread(self._standing, point)

    async def overview(self, page: int, size: int) -> dict[str, Any]:
        """The meters that have an association of their own, by name, a page at a time."""
        points = [p for p in self._inventory.points.values() if p.parent_id is None]
        points.sort(key=lambda point: (point.name.casefold(), point.id))
        cut = points[(page - 1) * size : page * size]
        items = await asyncio.to_thread(lambda: [self._standing(point) for point in cut])
        return {"items": items, "total": len(points), "page": page, "size": size}

    def _standing(self, point: Point) -> dict[str, Any]:
        meter, keyring = point.meter, self._inventory.keyring
        held = keyring.overview(meter.id)
        changed = [held[purpose][0] for purpose in IN_USE if purpose in held]
        return {
            "point": {"id": point.id, "name": point.name},
            "mechanism": meter.mechanism,
            "ciphered": meter.ciphered,
            "suite": meter.suite,
            "keys_changed_at": iso_utc(min(changed)) if changed else None,
            "unsettled": keyring.pending(meter.id, meter.serial) is not None,
            "clock_offset_s": meter.state.clock_offset_s,
            "counters": self._counted(point) if meter.ciphered else None,
        }

    def _counted(self, point: Point) -> dict[str, Any] | None:
        """The invocation counters of the encryption key in force; None without one."""
        meter = point.meter
        key = self._inventory.keyring.secrets_of(meter.id, meter.serial).encryption_key
        if not key:
            return None
        name, title = key_fingerprint(key), bytes.fromhex(meter.system_title)
        sent = self._counters.reached(counter_name("send", DEFAULT_CLIENT_TITLE, name))
        received = max(self._counters.lowest(counter_name("receive", title, name)) - 1, 0)
        used = max(sent, received) / COUNTER_MAX
        return {"sent": sent, "received": received, "last": COUNTER_MAX, "used": used}
