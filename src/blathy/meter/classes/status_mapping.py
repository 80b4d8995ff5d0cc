"""Status mapping (class 63): the status word of the meter and what its bits mean in a table.

The status word is that of the books, the one that rows of load profiles carry: eight bits, bit 0
first. The mapping says to which status of the reference table each bit belongs: one number for the
first bit, the others following in order, or a number for every bit. It is for readers; the meter
makes nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.meter.objects import (
    U8,
    U16,
    Attribute,
    CosemObject,
    array_shape,
    setting,
    structure_shape,
)
from blathy.models.model import Facility

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

CLASS_ID: Final = 63
MAPPING: Final = 3
STATUS_BITS: Final = 8
MAPPING_TABLE: Final = structure_shape(U8, ("either", U16, array_shape(U16)))
FROM_ZERO: Final = axdr.structure(axdr.u8(0), axdr.u16(0))


def status_word(meter: Meter) -> bytes:
    """The status of the books as a bit-string."""
    word = int(meter.books.status)
    return axdr.encode(axdr.bits("".join("01"[word >> bit & 1] for bit in range(STATUS_BITS))))


def _fits_word(data: Data) -> bool:
    """A mapping bit by bit names every bit."""
    numbers = data.value[1]
    return numbers.type is not DataType.ARRAY or len(numbers.value) == STATUS_BITS


def status_mapping_object(facility: Facility) -> CosemObject:
    """Class 63, version 0; as delivered bit n is status n of table 0."""
    mapping = setting(facility.obis, MAPPING, FROM_ZERO, MAPPING_TABLE, check=_fits_word)
    return CosemObject(
        CLASS_ID, 0, facility.obis, facility.group, facility.title,
        (Attribute(status_word), mapping),
    )  # fmt: skip
