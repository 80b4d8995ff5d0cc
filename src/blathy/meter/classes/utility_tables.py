"""Utility tables (class 26): tables of ANSI C12.19 as octets, read whole or in part.

The logical name tells the table: 0.b.65.d.e is number 128 * (d mod 16) + e, standard tables for d
below 16. The meter keeps two of them: table 1, general manufacturer identification, from its own
identity, and table 5, device identification, 20 octets that the utility writes.

Selective access to the buffer is our reading of the class (no second source): 1, by offset, takes
octets; 2, by index, takes elements of the table, counted from 0, of tables without structures in
them. A count of 0 goes to the end. What lies beyond the table is scope-of-access-violated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError, DataAccessResult
from blathy.meter.objects import (
    OS,
    U16,
    U32,
    Attribute,
    CosemObject,
    array_shape,
    constant,
    decoded,
    require,
    structure_shape,
)
from blathy.models.model import Facility

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 26
BUFFER: Final = 4
BY_OFFSET: Final = 1
BY_INDEX: Final = 2
OFFSET_ACCESS: Final = structure_shape(U32, U16)
INDEX_ACCESS: Final = structure_shape(array_shape(U16), U16)
IDENTIFICATION_OCTETS: Final = 20
TABLES_OF_A_KIND: Final = 16


def _manufacturer(meter: Meter) -> tuple[bytes, ...]:
    """Table 1: manufacturer, model, versions and revisions of hardware and firmware, serial
    number."""
    identity = meter.model.identity
    version, _, revision = meter.text("firmware").decode().partition(".")
    return (
        meter.model.flag.encode().ljust(4)[:4],
        identity.type_text.encode().ljust(8)[:8],
        b"\x01",
        b"\x00",
        bytes((_number(version),)),
        bytes((_number(revision.partition(".")[0]),)),
        meter.text("serial").ljust(16)[:16],
    )


def _number(text: str) -> int:
    digits = "".join(c for c in text if c in "0123456789")
    return min(int(digits or 0), 0xFF)


def _identification(meter: Meter) -> tuple[bytes, ...]:
    """Table 5: what the utility wrote, blank as delivered."""
    return (meter.settings.get(DEVICE_IDENTIFICATION, b" " * IDENTIFICATION_OCTETS),)


def _write_identification(meter: Meter, data: Data) -> None:
    require(data, OS)
    if len(data.value) != IDENTIFICATION_OCTETS:
        raise AccessError(DataAccessResult.OTHER_REASON, "this table has 20 octets")
    meter.save_setting(DEVICE_IDENTIFICATION, bytes(data.value))


DEVICE_IDENTIFICATION: Final = b"c12.19 table 5"
Elements = Callable[["Meter"], tuple[bytes, ...]]
TABLES: Final[dict[int, tuple[Elements, Callable[[Meter, Data], None] | None]]] = {
    1: (_manufacturer, None),
    5: (_identification, _write_identification),
}
"""Table number -> its elements, and who writes it."""


def _part(elements: tuple[bytes, ...], selector: int, parameters: Data) -> bytes:
    if selector == BY_OFFSET:
        require(parameters, OFFSET_ACCESS)
        whole = b"".join(elements)
        first, count = (int(each.value) for each in parameters.value)
        _require_inside(first, count, len(whole))
        return whole[first : first + count] if count else whole[first:]
    if selector == BY_INDEX:
        require(parameters, INDEX_ACCESS)
        index, count = [int(each.value) for each in parameters.value[0].value], parameters.value[1]
        first, number = index[0] if len(index) == 1 else len(elements), int(count.value)
        _require_inside(first, number, len(elements))
        return b"".join(elements[first : first + number] if number else elements[first:])
    raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, "there is no such selector")


def _require_inside(first: int, count: int, size: int) -> None:
    if first >= size or first + count > size:
        raise AccessError(DataAccessResult.SCOPE_OF_ACCESS_VIOLATED, "it is not in the table")


def utility_table_object(facility: Facility) -> CosemObject:
    """Class 26, version 0: the table that the logical name tells."""
    obis = facility.obis
    number = 128 * (obis.d % TABLES_OF_A_KIND) + obis.e
    elements, write = TABLES[number]

    def buffer(meter: Meter) -> bytes:
        return axdr.encode_octets(b"".join(elements(meter)))

    def length(meter: Meter) -> bytes:
        return axdr.encode_u32(sum(map(len, elements(meter))))

    def select(meter: Meter, selector: int, parameters: bytes) -> bytes:
        return axdr.encode_octets(_part(elements(meter), selector, decoded(parameters)))

    return CosemObject(
        CLASS_ID, 0, obis, facility.group, facility.title,
        (
            constant(axdr.u16(number)),
            Attribute(length),
            Attribute(buffer, write, select, (BY_OFFSET, BY_INDEX)),
        ),
    )  # fmt: skip
