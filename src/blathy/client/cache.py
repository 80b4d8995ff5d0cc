"""What a client reads of a meter type once: object list, scalers, capture objects, periods.

The key is the meter type where the caller knows it (a head-end does), else the meter's own place,
and the firmware that the meter says it runs: meters of one type and firmware share everything that
these decide, and a new firmware begins with an empty page. `FileObjectCache` keeps it for the next
run of the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

from blathy.cosem.objectlist import (
    ObjectEntry,
    ScalerUnit,
    ShortName,
    build_object_list,
    build_short_names,
    parse_object_list,
    parse_short_names,
)
from blathy.cosem.selective import CaptureObject
from blathy.obis import Obis

TYPES_MAX: Final = 4096
PLACES_MAX: Final = 1 << 20
_FORMAT: Final = 1

TypeKey = tuple[str, int, bool, str]
"""Type or place, client address, short names, firmware."""


@dataclass(slots=True)
class TypeKnowledge:
    """All that is known of one meter type as one client sees it."""

    objects: tuple[ObjectEntry, ...] = ()
    classes: dict[Obis, tuple[ObjectEntry, ...]] = field(default_factory=dict)
    short_names: dict[tuple[int, Obis], ShortName] = field(default_factory=dict)
    units: dict[tuple[int, Obis, int], ScalerUnit | None] = field(default_factory=dict)
    captures: dict[Obis, tuple[CaptureObject, ...]] = field(default_factory=dict)
    periods_s: dict[Obis, int] = field(default_factory=dict)
    learned: bool = False  # more than what a file holds of it
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
        self.learned = True
        self.objects = objects
        classes: dict[Obis, list[ObjectEntry]] = {}
        for entry in objects:
            classes.setdefault(entry.obis, []).append(entry)
        self.classes = {obis: tuple(entries) for obis, entries in classes.items()}


class ObjectCache:
    """Knowledge per meter type, firmware and client; the least recently used is forgotten."""

    def __init__(self, types_max: int = TYPES_MAX) -> None:
        self._types: OrderedDict[TypeKey, TypeKnowledge] = OrderedDict()
        self._types_max = types_max
        self._firmware: OrderedDict[str, str] = OrderedDict()

    def of(self, key: TypeKey) -> TypeKnowledge:
        """The knowledge of a type, empty at first."""
        found = self._types.get(key)
        if found is None:
            found = self._types[key] = self._fetch(key)
            if len(self._types) > self._types_max:
                self._types.popitem(last=False)
        else:
            self._types.move_to_end(key)
        return found

    def firmware_at(self, place: str) -> str | None:
        """What the meter there said it runs when it was asked last; None for a new face."""
        return self._firmware.get(place)

    def note_firmware(self, place: str, firmware: str) -> None:
        """What the meter there says it runs."""
        self._firmware[place] = firmware
        self._firmware.move_to_end(place)
        if len(self._firmware) > PLACES_MAX:
            self._firmware.popitem(last=False)

    def move(self, key: TypeKey, to: TypeKey) -> None:
        """What was learned before the firmware was known belongs to it."""
        if (found := self._types.pop(key, None)) is not None:
            self._types.setdefault(to, found)

    def forget(self, type_key: str) -> None:
        """Drop a type: its configuration has changed."""
        for key in [key for key in self._types if key[0] == type_key]:
            del self._types[key]

    def keep(self, key: TypeKey) -> None:
        """Store what was learned of a type, where there is something to store it in."""

    def _fetch(self, _key: TypeKey) -> TypeKnowledge:
        return TypeKnowledge()


class FileObjectCache(ObjectCache):
    """The same, kept in a folder with one JSON file for each type, firmware and client.

    A file that is damaged, or that a later edition wrote, counts as absent: its type is read from
    the meter again. A file that cannot be written costs the next run a few requests, nothing else.
    Meters with short names are asked for their list in every run: before it nobody knows where they
    keep the name of their firmware.
    """

    def __init__(self, folder: Path | str, types_max: int = TYPES_MAX) -> None:
        super().__init__(types_max)
        self._folder = Path(folder)

    def keep(self, key: TypeKey) -> None:
        knowledge = self._types.get(key)
        if knowledge is not None and knowledge.learned:
            knowledge.learned = False
            with contextlib.suppress(OSError):
                self._write(key, knowledge)

    def forget(self, type_key: str) -> None:
        for key in [key for key in self._types if key[0] == type_key]:
            with contextlib.suppress(OSError):
                self._path(key).unlink(missing_ok=True)
        super().forget(type_key)

    def _path(self, key: TypeKey) -> Path:
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
        return self._folder / f"{name}.json"

    def _fetch(self, key: TypeKey) -> TypeKnowledge:
        try:
            return _knowledge_of(json.loads(self._path(key).read_bytes()), key)
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return TypeKnowledge()

    def _write(self, key: TypeKey, knowledge: TypeKnowledge) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(key)
        fresh = path.with_suffix(f".{os.getpid()}.new")
        fresh.write_text(json.dumps(_document_of(knowledge, key)))
        fresh.replace(path)


def _document_of(knowledge: TypeKnowledge, key: TypeKey) -> dict[str, Any]:
    body = {
        "format": _FORMAT,
        "key": list(key),
        "objects": build_object_list(knowledge.objects).hex(),
        "short_names": build_short_names(knowledge.short_names.values()).hex(),
        "units": [
            [class_id, obis.hex(), attribute, unit.encode().hex() if unit is not None else ""]
            for (class_id, obis, attribute), unit in knowledge.units.items()
        ],
    }
    return {**body, "check": _check_of(body)}


def _check_of(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _knowledge_of(document: dict[str, Any], key: TypeKey) -> TypeKnowledge:
    """What a file holds; raise ValueError, TypeError or LookupError for a damaged one."""
    check = document.pop("check")
    if check != _check_of(document) or document["format"] != _FORMAT or document["key"] != [*key]:
        raise ValueError("the file is damaged, of another edition or of another type")
    found = TypeKnowledge()
    found.learn_objects(parse_object_list(bytes.fromhex(document["objects"])))
    names = parse_short_names(bytes.fromhex(document["short_names"]))
    found.short_names = {(name.class_id, name.obis): name for name in names}
    for class_id, obis, attribute, unit in document["units"]:
        place = (class_id, Obis.of(bytes.fromhex(obis)), attribute)
        found.units[place] = ScalerUnit.of(bytes.fromhex(unit)) if unit else None
    found.learned = False
    return found


PROCESS_CACHE: Final = ObjectCache()
"""Shared by all clients of this process that do not bring their own."""
