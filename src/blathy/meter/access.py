"""The access table: level x object x attribute x {get, set, action}, computed once per level.

What the table grants is what an object list shows and what every request is checked against, so
the three cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blathy.cosem.objectlist import (
    AccessRight,
    AttributeAccess,
    MethodAccess,
    ObjectEntry,
    build_object_list,
)
from blathy.meter.objects import CosemObject
from blathy.models.model import Group, Level, Model, Right
from blathy.obis import Obis

ASSOCIATION_VERSION: Final = 1
CURRENT_ASSOCIATION: Final = Obis(0, 0, 40, 0, 0)
REPLY_TO_HLS: Final = (15, 1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One object as one level sees it."""

    object: CosemObject
    right: Right
    shown: bool
    """Whether `right` has GET: every request asks, and an IntFlag takes a microsecond to tell."""

    def may_get(self, number: int) -> bool:
        if not self.shown:
            return False
        attribute = self.object.attribute(number)
        if number == 1:
            return True
        return attribute is not None and attribute.readable

    def may_set(self, number: int) -> bool:
        attribute = self.object.attribute(number)
        return bool(self.right & Right.SET) and attribute is not None and attribute.writable

    def may_invoke(self, number: int) -> bool:
        return bool(self.right & Right.ACTION) and self.object.method(number) is not None


class View:
    """Everything one level may see, and its object list as bytes."""

    __slots__ = ("entries", "level", "list_bytes", "list_entries")

    def __init__(
        self, model: Model, level: Level, own: frozenset[Obis], objects: dict[bytes, CosemObject]
    ) -> None:
        self.level = level
        self.entries: dict[bytes, Entry] = {}
        for name, item in objects.items():
            right = _right(model, level, own, item)
            self.entries[name] = Entry(item, right, bool(right & Right.GET))
        shown = [entry for entry in self.entries.values() if entry.right]
        self.list_entries = tuple(_list_entry(entry) for entry in shown)
        self.list_bytes = build_object_list(self.list_entries, ASSOCIATION_VERSION)


def _right(model: Model, level: Level, own: frozenset[Obis], item: CosemObject) -> Right:
    right = model.right(level, item.group)
    if item.group is not Group.ASSOCIATION:
        return right
    mine = item.obis == CURRENT_ASSOCIATION or item.obis in own
    if mine:
        return right | Right.GET
    return right if level is Level.MANAGEMENT else Right.NONE


def _list_entry(entry: Entry) -> ObjectEntry:
    item = entry.object
    attributes = [AttributeAccess(1, AccessRight.READ if entry.may_get(1) else AccessRight.NONE)]
    for number, attribute in enumerate(item.attributes, 2):
        right = AccessRight.NONE
        if entry.may_get(number):
            right |= AccessRight.READ
        if entry.may_set(number):
            right |= AccessRight.WRITE
        selectors = attribute.selectors if right & AccessRight.READ else ()
        attributes.append(AttributeAccess(number, right, selectors))
    methods = []
    for number in range(1, len(item.methods) + 1):
        open_to_all = (item.class_id, number) == REPLY_TO_HLS
        granted = entry.may_invoke(number) or open_to_all
        methods.append(MethodAccess(number, AccessRight.READ if granted else AccessRight.NONE))
    return ObjectEntry(item.class_id, item.version, item.obis, tuple(attributes), tuple(methods))
