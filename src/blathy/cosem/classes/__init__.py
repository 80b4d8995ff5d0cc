"""The interface classes of COSEM as tables (IEC 62056-6-2), checked when they are imported.

`CLASSES[7]` is the newest version of Profile generic that we know; `interface_class(7, 0)` the
one of a meter whose object list says version 0. A version that we do not know is read as the
nearest lower one.
"""

from __future__ import annotations

from typing import Final

from blathy.cosem.classes import communication, management, parameters, payment, scheduling
from blathy.cosem.classes.model import (
    Attribute,
    Family,
    InterfaceClass,
    Method,
    TableError,
)
from blathy.cosem.classes.types import Type

__all__ = [
    "CLASSES",
    "FAMILIES",
    "Attribute",
    "Family",
    "InterfaceClass",
    "Method",
    "TableError",
    "Type",
    "class_by_name",
    "class_name",
    "interface_class",
]

FAMILIES: Final[dict[int, Family]] = {}
_VERSIONS: Final[dict[tuple[int, int], InterfaceClass]] = {}
CLASSES: Final[dict[int, InterfaceClass]] = {}
"""Newest version by class id."""


def _register(families: tuple[Family, ...]) -> None:
    for family in families:
        if family.class_id in FAMILIES:
            msg = f"class {family.class_id} is in the tables twice"
            raise TableError(msg)
        if not family.versions or list(family.versions) != sorted(set(family.versions)):
            msg = f"class {family.class_id}: versions are listed once, in order"
            raise TableError(msg)
        FAMILIES[family.class_id] = family
        for version in family.versions:
            _VERSIONS[family.class_id, version] = family.at(version)
        CLASSES[family.class_id] = _VERSIONS[family.class_id, family.versions[-1]]


for _table in (parameters, management, scheduling, payment, communication):
    _register(_table.FAMILIES)

_BY_NAME: Final = {each.name.lower(): each for each in CLASSES.values()}


def interface_class(class_id: int, version: int | None = None) -> InterfaceClass:
    """The class as of `version` (None: the newest); raise KeyError for an unknown class id.

    A version that is not in the tables is taken as the nearest lower one, or as the lowest.
    """
    if version is None:
        return CLASSES[class_id]
    known = _VERSIONS.get((class_id, version))
    if known is not None:
        return known
    versions = FAMILIES[class_id].versions
    lower = [each for each in versions if each < version]
    return _VERSIONS[class_id, lower[-1] if lower else versions[0]]


def class_by_name(name: str) -> InterfaceClass:
    """By the name of the standard, e.g. `Profile generic`, whatever its case; raise KeyError."""
    return _BY_NAME[name.strip().lower()]


def class_name(class_id: int) -> str:
    """The name, or `class N` where the class is not in the tables."""
    known = CLASSES.get(class_id)
    return known.name if known else f"class {class_id}"
