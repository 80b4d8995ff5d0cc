"""Set-up classes that only hold values: ports, modem, network. One table, one builder.

Attributes as in IEC 62056-6-2; defaults are what the standard or ordinary practice says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from blathy.cosem import axdr
from blathy.cosem.axdr import Data, DataType
from blathy.cosem.classes.enumerations import Ipv6AddressType
from blathy.cosem.service import Requester
from blathy.meter.classes.auto_connect import (
    DELIVERED_DELAY_S,
    DELIVERED_MODE,
    DELIVERED_REPETITIONS,
    INACTIVITY_S,
    connect,
)
from blathy.meter.classes.ipv6_setup import (
    IPV6_ADDRESS,
    IPV6_ADDRESSES,
    ipv6_addresses_fit,
    ipv6_methods,
)
from blathy.meter.classes.time_server import SHARED_SECRETS, synchronize
from blathy.meter.objects import (
    ANY,
    BOOL,
    ENUM,
    I8,
    LN,
    OS,
    U8,
    U16,
    U32,
    WINDOWS,
    Attribute,
    CosemObject,
    Method,
    Shape,
    array_shape,
    refused,
    require,
    setting,
    setting_of,
    structure_shape,
)
from blathy.models.model import Facility
from blathy.obis import Obis
from blathy.wire.hdlc import INFORMATION_MAX, HdlcParameters, PortSetup
from blathy.wire.iec62056_21 import BAUD_MODE_C, Identification
from blathy.wire.sntp import KEY_OCTETS_MAX

if TYPE_CHECKING:
    from blathy.meter.meter import Meter

NO_REFERENCE: Final = axdr.octets(bytes(6))
HDLC_SETUP: Final = Obis(0, 0, 22, 0, 0)
LOCAL_PORT: Final = Obis(0, 0, 20, 0, 0)
BAUD_RATES: Final = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
"""The enumeration of speeds."""
HDLC_DIRECTLY: Final = 1  # default_mode of the local port
EMPTY: Final = axdr.array()
NO_TEXT: Final = axdr.octets(b"")
ELEMENTS_MAX: Final = 64
OCTETS_MAX: Final = 255
MULTICAST_MAX: Final = 16
NTP_KEYS_MAX: Final = 16
CONNECT_MODES: Final = frozenset({*range(7), *range(101, 105)})
"""Modes of class 29 that are assigned."""


@dataclass(frozen=True, slots=True)
class Held:
    """One held attribute: its type, its default, who sees it."""

    shape: Shape
    default: Data
    writable: bool = True
    readable: bool = True
    lowest: int = 0
    highest: int | None = None
    check: Callable[[Data], bool] | None = None


def _at_most(count: int) -> Callable[[Data], bool]:
    return lambda data: len(data.value) <= count


def _are_ntp_keys(data: Data) -> bool:
    keys = [key.value for key in data.value]
    numbers = {int(number.value) for number, _ in keys}
    return len(numbers) == len(keys) <= NTP_KEYS_MAX and all(
        0 < len(octets.value) <= KEY_OCTETS_MAX for _, octets in keys
    )


def _qos() -> Data:
    return axdr.structure(*(axdr.u8(0) for _ in range(5)))


_QOS: Final = structure_shape(*([U8] * 5))
_SPEED: Final = Held(ENUM, axdr.enum(5), highest=9)
_NTP_KEY: Final = structure_shape(U32, OS)
_PPP_OPTIONS: Final = Held(array_shape(structure_shape(U8, U8, ANY)), EMPTY)

HELD: Final[Mapping[int, tuple[Held, ...]]] = {
    19: (
        Held(ENUM, axdr.enum(0), highest=2),
        Held(ENUM, axdr.enum(0), highest=9),
        Held(ENUM, axdr.enum(6), highest=9),
        Held(ENUM, axdr.enum(1), highest=1),
        Held(OS, NO_TEXT),
        Held(OS, NO_TEXT, readable=False),
        Held(OS, NO_TEXT, readable=False),
        Held(OS, NO_TEXT, writable=False, readable=False),  # of national applications: none here
    ),
    23: (
        _SPEED,
        Held(U8, axdr.u8(1), lowest=1, highest=7),
        Held(U8, axdr.u8(1), lowest=1, highest=7),
        Held(U16, axdr.u16(INFORMATION_MAX), lowest=32, highest=INFORMATION_MAX),
        Held(U16, axdr.u16(INFORMATION_MAX), lowest=32, highest=INFORMATION_MAX),
        Held(U16, axdr.u16(25), lowest=20, highest=6000),
        Held(U16, axdr.u16(120)),
        Held(U16, axdr.u16(16), highest=0x3FFF),
    ),
    24: (
        Held(ENUM, axdr.enum(0), highest=1),
        _SPEED,
        Held(array_shape(U8), EMPTY),
        Held(array_shape(I8), EMPTY),
    ),
    27: (
        _SPEED,
        Held(array_shape(structure_shape(OS, OS, U16)), EMPTY),
        Held(
            array_shape(OS),
            axdr.array(
                *(
                    axdr.octets(word.encode())
                    for word in ("OK", "CONNECT", "RING", "NO CARRIER", "ERROR")
                )
            ),
        ),
    ),
    28: (
        Held(ENUM, axdr.enum(0), highest=4),
        Held(WINDOWS, EMPTY),
        Held(ENUM, axdr.enum(1), writable=False),
        Held(U8, axdr.u8(0)),
        Held(structure_shape(U8, U8), axdr.structure(axdr.u8(1), axdr.u8(1))),
        Held(array_shape(structure_shape(OS, ENUM)), EMPTY),
    ),
    29: (
        Held(ENUM, axdr.enum(DELIVERED_MODE), check=lambda data: data.value in CONNECT_MODES),
        Held(U8, axdr.u8(DELIVERED_REPETITIONS)),
        Held(U16, axdr.u16(DELIVERED_DELAY_S)),
        Held(WINDOWS, EMPTY),
        Held(array_shape(OS), EMPTY),
    ),
    41: (
        Held(U16, axdr.u16(4059)),
        Held(LN, NO_REFERENCE),
        Held(U16, axdr.u16(576), lowest=40, highest=0xFFFF),
        Held(U8, axdr.u8(4), lowest=1, highest=0xFF),
        Held(U16, axdr.u16(INACTIVITY_S)),
    ),
    42: (
        Held(LN, NO_REFERENCE),
        Held(U32, axdr.u32(0)),
        Held(array_shape(U32), EMPTY, check=_at_most(MULTICAST_MAX)),
        Held(array_shape(structure_shape(U8, U8, OS)), EMPTY),
        Held(U32, axdr.u32(0)),
        Held(U32, axdr.u32(0)),
        Held(BOOL, axdr.boolean(True)),
        Held(U32, axdr.u32(0)),
        Held(U32, axdr.u32(0)),
    ),
    43: (Held(("octets", 6), NO_REFERENCE),),
    44: (
        Held(LN, NO_REFERENCE),
        _PPP_OPTIONS,
        _PPP_OPTIONS,
        Held(("either", DataType.NULL_DATA, structure_shape(OS, OS)), axdr.null(), readable=False),
    ),
    45: (
        Held(OS, NO_TEXT),
        Held(U16, axdr.u16(0), readable=False),
        Held(structure_shape(_QOS, _QOS), axdr.structure(_qos(), _qos())),
    ),
    46: (
        Held(U16, axdr.u16(25)),
        Held(OS, NO_TEXT),
        Held(OS, NO_TEXT, readable=False),
        Held(OS, NO_TEXT),
        Held(OS, NO_TEXT),
    ),
    48: (
        Held(LN, NO_REFERENCE),
        Held(ENUM, axdr.enum(0), highest=3),
        Held(IPV6_ADDRESSES, EMPTY, check=ipv6_addresses_fit(Ipv6AddressType.UNICAST)),
        Held(IPV6_ADDRESSES, EMPTY, check=ipv6_addresses_fit(Ipv6AddressType.MULTICAST)),
        Held(IPV6_ADDRESSES, EMPTY, check=ipv6_addresses_fit(Ipv6AddressType.GATEWAY)),
        Held(IPV6_ADDRESS, axdr.octets(bytes(16))),
        Held(IPV6_ADDRESS, axdr.octets(bytes(16))),
        Held(U8, axdr.u8(0)),
        Held(array_shape(structure_shape(U8, U16, U32)), EMPTY),
    ),
    74: (_SPEED,),
    76: (
        Held(LN, NO_REFERENCE),
        Held(ENUM, axdr.enum(0), writable=False),
        Held(ENUM, axdr.enum(0), highest=2),
        Held(U8, axdr.u8(0), highest=250),
        Held(U32, axdr.u32(0)),
        Held(U16, axdr.u16(0)),
        Held(U8, axdr.u8(0)),
        Held(U8, axdr.u8(2)),
        Held(U16, axdr.u16(0)),
        Held(WINDOWS, EMPTY),
    ),
    100: (
        Held(BOOL, axdr.boolean(False)),
        Held(OS, NO_TEXT),
        Held(U16, axdr.u16(123)),
        Held(ENUM, axdr.enum(0), highest=SHARED_SECRETS),
        Held(array_shape(_NTP_KEY), EMPTY, readable=False, check=_are_ntp_keys),
        Held(OS, NO_TEXT, writable=False, readable=False),
    ),
}
"""Class id -> attributes 2, 3, ..."""


def _key(obis: Obis, number: int) -> bytes:
    return bytes(obis) + bytes((number,))


def _current(meter: Meter, obis: Obis, number: int) -> tuple[Data, ...]:
    raw = meter.settings.get(_key(obis, number))
    return () if raw is None else tuple(axdr.decode(raw).value)


def _multicast_methods(obis: Obis) -> tuple[Method, ...]:
    """Class 42: add, delete and count multicast addresses."""

    def add(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, U32, "a multicast address is a double-long-unsigned")
        known = _current(meter, obis, 4)
        if len(known) >= MULTICAST_MAX:
            raise refused("no room for another multicast address")
        if data not in known:
            meter.save_setting(_key(obis, 4), axdr.encode(axdr.array(*known, data)))
        return b""

    def delete(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, U32, "a multicast address is a double-long-unsigned")
        known = _current(meter, obis, 4)
        kept = tuple(item for item in known if item != data)
        if len(kept) == len(known):
            raise refused("this multicast address is not listed")
        meter.save_setting(_key(obis, 4), axdr.encode(axdr.array(*kept)))
        return b""

    def count(meter: Meter, _data: Data, _who: Requester) -> bytes:
        return axdr.encode_u16(len(_current(meter, obis, 4)))

    return add, delete, count


def _ntp_methods(obis: Obis) -> tuple[Method, ...]:
    """Class 100: synchronize, add and delete an authentication key."""

    def add(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, _NTP_KEY, "a key is a structure of its number and its octets")
        kept = [k for k in _current(meter, obis, 6) if k.value[0] != data.value[0]]
        keys = axdr.array(*kept, data)
        if not _are_ntp_keys(keys):
            raise refused(f"a key has 1 to {KEY_OCTETS_MAX} octets; {NTP_KEYS_MAX} are kept")
        meter.save_setting(_key(obis, 6), axdr.encode(keys))
        return b""

    def delete(meter: Meter, data: Data, _who: Requester) -> bytes:
        require(data, U32, "the number of a key is a double-long-unsigned")
        known = _current(meter, obis, 6)
        kept = [k for k in known if k.value[0] != data]
        if len(kept) == len(known):
            raise refused("there is no key with this number")
        meter.save_setting(_key(obis, 6), axdr.encode(axdr.array(*kept)))
        return b""

    return synchronize, add, delete


def _in_bounds(held: Held) -> Callable[[Data], bool]:
    """Whether a value of the right type may be kept."""

    def fine(data: Data) -> bool:
        if held.highest is not None:
            return held.lowest <= int(data.value) <= held.highest
        if data.type is DataType.ARRAY and len(data.value) > ELEMENTS_MAX:
            return False
        if data.type is OS and len(data.value) > OCTETS_MAX:
            return False
        return held.check is None or held.check(data)

    return fine


def held_object(facility: Facility) -> CosemObject:
    """The object of a class of the table above."""
    attributes: list[Attribute] = []
    for number, held in enumerate(HELD[facility.class_id], 2):
        as_identified = _AS_IDENTIFIED.get(number) if facility.class_id == 19 else None
        attributes.append(
            setting(
                facility.obis,
                number,
                held.default,
                held.shape,
                writable=held.writable,
                readable=held.readable,
                check=_in_bounds(held),
                otherwise=as_identified,
            )
        )
    methods: tuple[Method, ...] = ()
    if facility.class_id == 42:
        methods = _multicast_methods(facility.obis)
    elif facility.class_id == 100:
        methods = _ntp_methods(facility.obis)
    elif facility.class_id == 29:
        methods = (connect,)
    elif facility.class_id == 48:
        methods = ipv6_methods(facility.obis)
    return CosemObject(
        facility.class_id,
        facility.version,
        facility.obis,
        facility.group,
        facility.title,
        tuple(attributes),
        methods,
    )


def _identification(meter: Meter) -> Identification | None:
    return Identification.parse(meter.model.identity.identification)


def _identified_baud(meter: Meter) -> Data:
    """prop_baud: 0 to 6 are at the same time the characters of mode C."""
    found = _identification(meter)
    fine = found is not None and found.baud_character in BAUD_MODE_C
    return axdr.enum(int(found.baud_character) if found is not None and fine else 0)


def _identified_reaction(meter: Meter) -> Data:
    """response_time: 0 for 20 ms, 1 for 200 ms."""
    found = _identification(meter)
    return axdr.enum(int(found is None or found.reaction_ms > 20))


_AS_IDENTIFIED: Final = {4: _identified_baud, 5: _identified_reaction}
"""Attributes of the local port whose default is what the meter is delivered with."""


def _held(meter: Meter, class_id: int, obis: Obis, number: int) -> Data:
    """What was set; else the default."""
    return setting_of(meter, obis, number) or HELD[class_id][number - 2].default


def hdlc_port(meter: Meter, obis: Obis = HDLC_SETUP) -> PortSetup:
    """What the HDLC setup object says of the port that this meter listens at."""

    def held(number: int) -> int:
        """What was set, within what holds today."""
        return max(int(_held(meter, 23, obis, number).value), HELD[23][number - 2].lowest)

    return PortSetup(HdlcParameters(held(5), held(6), held(3), held(4)), held(8), held(7))


def hdlc_speed(meter: Meter) -> tuple[int, bool]:
    """The rate of the HDLC port in Bd, 8N1."""
    return BAUD_RATES[int(_held(meter, 23, HDLC_SETUP, 2).value)], False


def has_physical_address(meter: Meter, physical: int | None) -> bool:
    """Whether frames with this lower address are for this meter: its device address, or none."""
    if physical is None or all(f.obis != HDLC_SETUP for f in meter.model.facilities):
        return True
    return physical == int(_held(meter, 23, HDLC_SETUP, 9).value)


def local_speed(meter: Meter) -> tuple[int, bool]:
    """The rate of the local port at rest in Bd, and whether 7E1: before a sign-on it is."""
    baud = BAUD_RATES[int(_held(meter, 19, LOCAL_PORT, 3).value)]
    return baud, not local_is_hdlc(meter)


def local_is_hdlc(meter: Meter) -> bool:
    """Whether HDLC is spoken at the local port without a sign-on before."""
    return int(_held(meter, 19, LOCAL_PORT, 2).value) == HDLC_DIRECTLY


def local_address(meter: Meter) -> str:
    """The device address of sign-on requests; "" where none was set."""
    return bytes(_held(meter, 19, LOCAL_PORT, 6).value).decode("ascii", "replace")


def local_password(meter: Meter, level: int) -> bytes:
    """What was set as the password of P1 or P2; empty for none."""
    return bytes(_held(meter, 19, LOCAL_PORT, 6 + level).value)


def as_set_up(meter: Meter, identification: Identification) -> Identification:
    """How the meter identifies itself with the proposed rate and the response time that are set:
    the third letter of the manufacturer is a small one for 20 ms."""
    proposed, response = (setting_of(meter, LOCAL_PORT, number) for number in (4, 5))
    if proposed is not None and identification.baud_character in BAUD_MODE_C:
        fastest = max(int(character) for character in BAUD_MODE_C)
        character = str(min(int(proposed.value), fastest))
        identification = replace(identification, baud_character=character)
    if response is not None:
        maker = identification.manufacturer
        third = maker[2:].upper() if int(response.value) else maker[2:].lower()
        identification = replace(identification, manufacturer=maker[:2] + third)
    return identification
