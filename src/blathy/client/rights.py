"""Which client may what, and which code was meant: what turns a refusal into a remedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError
from blathy.cosem.objectlist import AccessRight, parse_object
from blathy.cosem.service import AttributeRef, MethodRef
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.client.meter import Meter

ASSOCIATION_LN_CLASS: Final = 15
NEAR_MAX: Final = 3
_ONE_OBJECT: Final = 4  # selector of an object list: the element of one object
_WEIGHTS: Final = (2, 1, 8, 6, 2, 1)


async def clients_that_may(
    meter: Meter, ref: AttributeRef | MethodRef, *, write: bool = False
) -> list[int]:
    """Client addresses whose association grants this, of those that the meter shows us."""
    objects = [
        entry for entry in await meter.objects()
        if entry.class_id == ASSOCIATION_LN_CLASS and (entry.obis[3], entry.obis[4]) != (0, 0)
    ]  # fmt: skip
    wanted = axdr.encode(axdr.structure(axdr.u16(ref.class_id), axdr.octets(ref.obis)))
    found: list[int] = []
    for entry in objects:
        partners, element = await meter.read_octets((
            AttributeRef(entry.class_id, entry.obis, 3),
            AttributeRef(entry.class_id, entry.obis, 2, _ONE_OBJECT, wanted),
        ))  # fmt: skip
        if isinstance(partners, int) or isinstance(element, int):
            continue
        try:
            client = int(axdr.decode(partners).value[0].value)
            granted = parse_object(element, entry.version)
        except (AxdrError, TypeError, ValueError, IndexError, AttributeError):
            continue
        if isinstance(ref, MethodRef):
            right = granted.method_right(ref.method) & AccessRight.READ
        else:
            needed = AccessRight.WRITE if write else AccessRight.READ
            right = granted.attribute_right(ref.attribute) & needed
        if right and client not in {meter.address.client, *found}:
            found.append(client)
    return found


def nearest(wanted: Obis, known: Iterable[Obis]) -> list[Obis]:
    """Codes that differ little from the one wanted, the likeliest first."""
    scored = []
    for code in known:
        score = sum(weight for weight, a, b in zip(_WEIGHTS, wanted, code, strict=True) if a == b)
        if wanted[2] == code[2] and score >= sum(_WEIGHTS) - 7:
            distance = sum(abs(a - b) for a, b in zip(wanted, code, strict=True))
            scored.append((-score, distance, code))
    return [code for _, _, code in sorted(scored)[:NEAR_MAX]]
