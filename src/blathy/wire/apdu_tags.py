"""Tags of xDLMS APDUs, the conformance block, and what every family of APDUs builds on."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Final, Protocol

from blathy.wire.octets import Reader


class Tag(IntEnum):
    """First octet of an APDU."""

    INITIATE_REQUEST = 0x01
    READ_REQUEST = 0x05
    WRITE_REQUEST = 0x06
    INITIATE_RESPONSE = 0x08
    READ_RESPONSE = 0x0C
    WRITE_RESPONSE = 0x0D
    CONFIRMED_SERVICE_ERROR = 0x0E
    DATA_NOTIFICATION = 0x0F
    DATA_NOTIFICATION_CONFIRM = 0x10
    UNCONFIRMED_WRITE = 0x16
    INFORMATION_REPORT = 0x18
    AARQ = 0x60
    AARE = 0x61
    RLRQ = 0x62
    RLRE = 0x63
    GET_REQUEST = 0xC0
    SET_REQUEST = 0xC1
    EVENT_NOTIFICATION = 0xC2
    ACTION_REQUEST = 0xC3
    GET_RESPONSE = 0xC4
    SET_RESPONSE = 0xC5
    ACTION_RESPONSE = 0xC7
    EXCEPTION_RESPONSE = 0xD8
    ACCESS_REQUEST = 0xD9
    ACCESS_RESPONSE = 0xDA
    GENERAL_GLO = 0xDB
    GENERAL_DED = 0xDC
    GENERAL_CIPHERING = 0xDD
    GENERAL_SIGNING = 0xDF
    GENERAL_BLOCK_TRANSFER = 0xE0
    GATEWAY_REQUEST = 0xE6
    GATEWAY_RESPONSE = 0xE7


_OLD_FAMILY: Final = (0x01, 0x05, 0x06, 0x08, 0x0C, 0x0D, 0x0E, 0x16, 0x18)
_LN_FAMILY: Final = (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xC7)
GLO_OF: Final[dict[int, int]] = {t: t + 0x20 for t in _OLD_FAMILY} | {t: t + 8 for t in _LN_FAMILY}
"""Plain tag -> tag of the service under a global key."""
DED_OF: Final[dict[int, int]] = {t: t + 0x40 for t in _OLD_FAMILY} | {
    t: t + 0x10 for t in _LN_FAMILY
}
"""Plain tag -> tag of the service under the dedicated key."""
PLAIN_OF_GLO: Final[dict[int, int]] = {glo: plain for plain, glo in GLO_OF.items()}
PLAIN_OF_DED: Final[dict[int, int]] = {ded: plain for plain, ded in DED_OF.items()}
CIPHERED_TAGS: Final = frozenset(PLAIN_OF_GLO) | frozenset(PLAIN_OF_DED) | {0xDB, 0xDC, 0xDD, 0xDF}


class Conformance(IntFlag):
    """The conformance block: bit n of the standard is mask 800000 >> n."""

    GENERAL_PROTECTION = 1 << 22
    GENERAL_BLOCK_TRANSFER = 1 << 21
    READ = 1 << 20
    WRITE = 1 << 19
    UNCONFIRMED_WRITE = 1 << 18
    DELTA_VALUE_ENCODING = 1 << 17
    ATTRIBUTE_0_SET = 1 << 15
    PRIORITY = 1 << 14
    ATTRIBUTE_0_GET = 1 << 13
    BLOCK_TRANSFER_GET_OR_READ = 1 << 12
    BLOCK_TRANSFER_SET_OR_WRITE = 1 << 11
    BLOCK_TRANSFER_ACTION = 1 << 10
    MULTIPLE_REFERENCES = 1 << 9
    INFORMATION_REPORT = 1 << 8
    DATA_NOTIFICATION = 1 << 7
    ACCESS = 1 << 6
    PARAMETERIZED_ACCESS = 1 << 5
    GET = 1 << 4
    SET = 1 << 3
    SELECTIVE_ACCESS = 1 << 2
    EVENT_NOTIFICATION = 1 << 1
    ACTION = 1 << 0


_GENERAL = (
    Conformance.GENERAL_PROTECTION
    | Conformance.GENERAL_BLOCK_TRANSFER
    | Conformance.DELTA_VALUE_ENCODING
    | Conformance.BLOCK_TRANSFER_GET_OR_READ
    | Conformance.BLOCK_TRANSFER_SET_OR_WRITE
    | Conformance.MULTIPLE_REFERENCES
)
LN_CONFORMANCE: Final = (
    _GENERAL
    | Conformance.ATTRIBUTE_0_SET
    | Conformance.PRIORITY
    | Conformance.ATTRIBUTE_0_GET
    | Conformance.BLOCK_TRANSFER_ACTION
    | Conformance.DATA_NOTIFICATION
    | Conformance.ACCESS
    | Conformance.GET
    | Conformance.SET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.EVENT_NOTIFICATION
    | Conformance.ACTION
)
"""What may be negotiated in a logical-name context."""
SN_CONFORMANCE: Final = (
    _GENERAL
    | Conformance.READ
    | Conformance.WRITE
    | Conformance.UNCONFIRMED_WRITE
    | Conformance.INFORMATION_REPORT
    | Conformance.DATA_NOTIFICATION
    | Conformance.PARAMETERIZED_ACCESS
)
"""What may be negotiated in a short-name context."""

DLMS_VERSION: Final = 6
VAA_NAME_LN: Final = 0x0007
VAA_NAME_SN: Final = 0xFA00
CONFIRMED: Final = 0x40  # service class in invoke-id-and-priority
HIGH_PRIORITY: Final = 0x80
LONG_CONFIRMED: Final = 0x4000_0000  # the same in long-invoke-id-and-priority
LONG_BREAK_ON_ERROR: Final = 0x2000_0000
LONG_SELF_DESCRIPTIVE: Final = 0x1000_0000
LONG_INVOKE_ID_MASK: Final = 0x00FF_FFFF

GetResult = bytes | int
"""A value as A-XDR octets, or the data-access-result that came instead of it."""
ReturnValue = bytes | int | None
"""What a method gave back: A-XDR octets, a data-access-result, or nothing."""


class Apdu(Protocol):
    """Anything that goes over the wire as one APDU."""

    def encode(self) -> bytes:
        """The octets, tag first."""


Decoder = Callable[[Reader], Apdu]
"""Reads what follows the tag, and the choice where there is one, to the end of the APDU."""
