"""Meters that answer to short names: where each object stands, and the Association SN (class 12).

Attributes stand 8 apart from a base name, methods where their class says. The base names follow
from the order of the logical names, so that they are the same for every meter of a kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.objectlist import ShortName, build_short_names
from blathy.cosem.service import Requester
from blathy.meter.access import CURRENT_ASSOCIATION
from blathy.meter.classes.associations import change_secret_of
from blathy.meter.objects import OS, Attribute, CosemObject, Method, require
from blathy.models.model import Group
from blathy.obis import Obis
from blathy.wire.short_names import ASSOCIATION_SN_BASE, FIRST_METHOD_OFFSET

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

FIRST_BASE: Final = 0x0100
RESERVED_BASES: Final[Mapping[Obis, int]] = {
    CURRENT_ASSOCIATION: ASSOCIATION_SN_BASE,
    Obis(0, 0, 10, 0, 125): 0xFB00,  # scripts of broadcast receivers
    Obis(0, 0, 41, 0, 0): 0xFC00,  # SAP assignment
    Obis(0, 0, 42, 0, 0): 0xFD00,  # COSEM logical device name
}
"""Where a client looks before it knows the object list."""
METHODS: Final = 8
"""Short-name methods are numbered as the standard does; 3 to 8 are in use."""


def _octets_of(item: CosemObject) -> int:
    """How many short names the object takes up."""
    end = 8 * (len(item.attributes) + 1)
    first = FIRST_METHOD_OFFSET.get(item.class_id)
    if first is not None:
        end = max(end, first + 8 * len(item.methods))
    return end


def short_names_of(items: Iterable[CosemObject]) -> Mapping[int, CosemObject]:
    """Base name -> object; those with a reserved name at their fixed places."""
    names: dict[int, CosemObject] = {}
    at = FIRST_BASE
    for item in sorted(items, key=lambda item: bytes(item.obis)):
        reserved = RESERVED_BASES.get(item.obis)
        if reserved is not None:
            names[reserved] = item
            continue
        if at + _octets_of(item) > ASSOCIATION_SN_BASE:
            break
        names[at] = item
        at += _octets_of(item)
    return names


def association_sn_object() -> CosemObject:
    """Class 12, version 0: the object list of whoever asks, and its secrets to change."""

    def object_list(meter: Meter, who: Requester) -> bytes:
        view = meter.objects.view_of(who)
        return build_short_names(
            ShortName(base, item.class_id, item.version, item.obis)
            for base, item in meter.tree.short_names.items()
            if view.entries[bytes(item.obis)].right
        )

    def change_secret(meter: Meter, data: Data, who: Requester) -> bytes:
        require(data, OS, "the secret is an octet-string")
        association = meter.model.association(who.client_sap)
        assert association is not None
        change_secret_of(meter, association, bytes(data.value))
        return axdr.encode_null()

    methods: list[Method | None] = [None] * METHODS
    methods[4] = methods[5] = change_secret
    return CosemObject(
        12,
        0,
        CURRENT_ASSOCIATION,
        Group.ASSOCIATION,
        "current association",
        (Attribute(None, personal=object_list),),
        tuple(methods),
    )
