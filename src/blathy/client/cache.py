"""What a client reads of a meter type once: object list, scalers, capture objects, periods.

The key is the meter type with its firmware where the caller knows it (a head-end does), else the
meter's own place; meters of one type share everything that the type decides.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

from blathy.cosem.objectlist import ObjectEntry, ScalerUnit, ShortName
from blathy.cosem.selective import CaptureObject
from blathy.obis import Obis

TYPES_MAX: Final = 4096


@dataclass(slots=True)
class TypeKnowledge:
    """All that is known of one meter type as one client sees it."""

    objects: tuple[ObjectEntry, ...] = ()
    classes: dict[Obis, tuple[ObjectEntry, ...]] = field(default_factory=dict)
    short_names: dict[tuple[int, Obis], ShortName] = field(default_factory=dict)
    units: dict[tuple[int, Obis, int], ScalerUnit | None] = field(default_factory=dict)
    captures: dict[Obis, tuple[CaptureObject, ...]] = field(default_factory=dict)
    periods_s: dict[Obis, int] = field(default_factory=dict)
    _turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = field(
        default_factory=WeakKeyDictionary, repr=False, compare=False
    )

    @asynccontextmanager
    async def turn(self, wait_s: float) -> AsyncIterator[None]:
        """One client learns, the others of its loop wait for what it learns: forty meters of a new
        type met at once would else send the same object list forty times.

        Nobody waits longer than `wait_s`: who learns may have a slow meter, or a dead one.
        """
        lock = self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        held = False
        try:
            async with asyncio.timeout(wait_s):
                held = await lock.acquire()
        except TimeoutError:
            pass
        try:
            yield
        finally:
            if held:
                lock.release()

    def learn_objects(self, objects: tuple[ObjectEntry, ...]) -> None:
        """Take an object list."""
        self.objects = objects
        classes: dict[Obis, list[ObjectEntry]] = {}
        for entry in objects:
            classes.setdefault(entry.obis, []).append(entry)
        self.classes = {obis: tuple(entries) for obis, entries in classes.items()}


class ObjectCache:
    """Knowledge per meter type and client; the least recently used types are forgotten."""

    def __init__(self, types_max: int = TYPES_MAX) -> None:
        self._types: OrderedDict[tuple[str, int, bool], TypeKnowledge] = OrderedDict()
        self._types_max = types_max

    def of(self, type_key: str, client: int, *, short_names: bool = False) -> TypeKnowledge:
        """The knowledge of a type, empty at first."""
        key = (type_key, client, short_names)
        found = self._types.get(key)
        if found is None:
            found = self._types[key] = TypeKnowledge()
            if len(self._types) > self._types_max:
                self._types.popitem(last=False)
        else:
            self._types.move_to_end(key)
        return found

    def forget(self, type_key: str) -> None:
        """Drop a type: its firmware or configuration has changed."""
        for key in [key for key in self._types if key[0] == type_key]:
            del self._types[key]


PROCESS_CACHE: Final = ObjectCache()
"""Shared by all clients of this process that do not bring their own."""
