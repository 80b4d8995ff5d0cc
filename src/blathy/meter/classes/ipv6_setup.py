"""IPv6 setup (class 48): which addresses its lists take, and the methods that change them.

A list holds each address once and sixteen at most. Multicast addresses begin with FF (RFC 4291),
unicast addresses and those of gateways do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.classes.enumerations import Ipv6AddressType
from blathy.cosem.service import AccessError, ActionResult, Requester
from blathy.meter.objects import (
    ENUM,
    OS,
    Method,
    Shape,
    array_shape,
    fits,
    refused,
    setting_of,
    structure_shape,
)
from blathy.obis import Obis

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

ADDRESSES_MAX: Final = 16
IPV6_ADDRESS: Final[Shape] = ("octets", 16)
IPV6_ADDRESSES: Final = array_shape(IPV6_ADDRESS)
_CHANGE: Final = structure_shape(ENUM, OS)
_LISTS: Final = {
    Ipv6AddressType.UNICAST: 4,
    Ipv6AddressType.MULTICAST: 5,
    Ipv6AddressType.GATEWAY: 6,
}
"""Type of address -> the attribute that lists them."""


def _is_of(kind: Ipv6AddressType, address: bytes) -> bool:
    return (address[0] == 0xFF) is (kind is Ipv6AddressType.MULTICAST)


def ipv6_addresses_fit(kind: Ipv6AddressType) -> Callable[[Data], bool]:
    """Whether a list may be written."""

    def check(data: Data) -> bool:
        addresses = [bytes(item.value) for item in data.value]
        return (
            len(addresses) <= ADDRESSES_MAX
            and len(set(addresses)) == len(addresses)
            and all(_is_of(kind, address) for address in addresses)
        )

    return check


def _change_of(data: Data) -> tuple[Ipv6AddressType, Data]:
    if not fits(data, _CHANGE) or len(data.value[1].value) != 16:
        raise AccessError(ActionResult.TYPE_UNMATCHED, "a type and 16 octets of an address")
    kind, address = data.value
    if kind.value not in set(Ipv6AddressType):
        raise refused("an address is unicast, multicast or of a gateway")
    return Ipv6AddressType(kind.value), address


def ipv6_methods(obis: Obis) -> tuple[Method, ...]:
    """add_IPv6_address and remove_IPv6_address."""

    def listed(meter: Meter, kind: Ipv6AddressType) -> list[Data]:
        found = setting_of(meter, obis, _LISTS[kind])
        return [] if found is None else list(found.value)

    def keep(meter: Meter, kind: Ipv6AddressType, addresses: list[Data]) -> None:
        meter.save_setting(
            bytes(obis) + bytes((_LISTS[kind],)), axdr.encode(axdr.array(*addresses))
        )

    def add(meter: Meter, data: Data, _who: Requester) -> bytes:
        kind, address = _change_of(data)
        known = listed(meter, kind)
        if not _is_of(kind, bytes(address.value)):
            raise refused(f"this is no {kind.name.lower()} address")
        if address in known or len(known) >= ADDRESSES_MAX:
            raise refused(f"the address is listed already, or {ADDRESSES_MAX} others are")
        keep(meter, kind, [*known, address])
        return b""

    def remove(meter: Meter, data: Data, _who: Requester) -> bytes:
        kind, address = _change_of(data)
        known = listed(meter, kind)
        if address not in known:
            raise refused("the address is not listed")
        keep(meter, kind, [item for item in known if item != address])
        return b""

    return add, remove
