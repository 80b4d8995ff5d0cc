"""M-Bus slave port (class 25) and wireless mode Q (class 73): an address, and whether there is one.

The state says what the address says: an address that is written is assigned, writing "not assigned"
takes it away, and "assigned" without an address is refused. In class 25 that address 0 means none,
in class 73 that an empty one does, is our reading.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.classes.enumerations import AddressState
from blathy.cosem.service import AccessError, DataAccessResult
from blathy.meter.objects import ENUM, OS, U8, Attribute, CosemObject, Shape, require, setting
from blathy.models.model import Facility
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

ADDRESS_MAX: Final = 250
"""Primary addresses that may be assigned (EN 13757-2)."""
OCTETS_MAX: Final = 16
_SPEED: Final = axdr.enum(3)
"""2400 Bd, the usual speed of the bus."""


def _address(obis: Obis, number: int, none: Data, shape: Shape) -> Attribute:
    def fine(data: Data) -> bool:
        if data.type is U8:
            return int(data.value) <= ADDRESS_MAX
        return len(data.value) <= OCTETS_MAX

    return setting(obis, number, none, shape, check=fine)


def _state(obis: Obis, number: int, none: Data) -> Attribute:
    """The state that belongs to the address in attribute `number`."""
    key, nowhere = bytes(obis) + bytes((number,)), axdr.encode(none)

    def assigned(meter: Meter) -> bool:
        return meter.settings.get(key, nowhere) != nowhere

    def get(meter: Meter) -> bytes:
        return axdr.encode_enum(
            AddressState.ASSIGNED if assigned(meter) else AddressState.NOT_ASSIGNED
        )

    def write(meter: Meter, data: Data) -> None:
        require(data, ENUM)
        if data.value == AddressState.NOT_ASSIGNED:
            meter.save_setting(key, nowhere)
        elif data.value != AddressState.ASSIGNED or not assigned(meter):
            raise AccessError(DataAccessResult.OTHER_REASON, "write the address to assign it")

    return Attribute(get, write)


def _speed(obis: Obis, number: int) -> Attribute:
    return setting(obis, number, _SPEED, ENUM, check=lambda data: int(data.value) <= 9)


def mbus_slave_port_object(facility: Facility) -> CosemObject:
    """Class 25."""
    obis, none = facility.obis, axdr.u8(0)
    return CosemObject(
        25, 0, obis, facility.group, facility.title,
        (_speed(obis, 2), _speed(obis, 3), _state(obis, 5, none), _address(obis, 5, none, U8)),
    )  # fmt: skip


def wireless_mode_q_object(facility: Facility) -> CosemObject:
    """Class 73."""
    obis, none = facility.obis, axdr.octets(b"")
    return CosemObject(
        73, facility.version, obis, facility.group, facility.title,
        (_state(obis, 3, none), _address(obis, 3, none, OS), _address(obis, 4, none, OS)),
    )  # fmt: skip
