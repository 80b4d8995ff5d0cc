r"""Credit tokens: energy bought for one meter, taken once (for the Token gateway, class 115).

This is a form of our own, not that of IEC 62055-41 (STS), which needs tables and a security module
that only members of its association have. A token is 25 octets:

| octets | content |
| --- | --- |
| 1 | kind: 1, credit in energy |
| 8 | number, counted up by the seller: two tokens of one meter never have the same |
| 4 | energy in Wh, 1 to 2^32 - 1 |
| 12 | the first 12 octets of the AES-CMAC (NIST SP 800-38B) over "blathy credit token", the meter's
\ system title (8 octets) and the 13 octets before |

The key is the meter's master key (KEK), so whoever may change a meter's keys may sell to it, and a
token ends with the key. Numbers have no other meaning; milliseconds since 1970 will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from typing import Final

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFCMAC, CounterLocation, Mode

from blathy.wire.errors import LocalProtocolError, RemoteProtocolError

KIND_CREDIT: Final = 1
KEY_OCTETS: Final = 16
HEAD_OCTETS: Final = 13
MAC_OCTETS: Final = 12
TOKEN_OCTETS: Final = HEAD_OCTETS + MAC_OCTETS
NUMBER_MAX: Final = (1 << 63) - 1
ENERGY_MAX_WH: Final = (1 << 32) - 1
_LABEL: Final = b"blathy credit token"


class ForgedTokenError(RemoteProtocolError):
    """The token was not made for this meter, or not by somebody who has its key."""


@dataclass(frozen=True, slots=True)
class CreditToken:
    """What a token says."""

    number: int
    energy_wh: int


def make_token(token: CreditToken, master_key: bytes, meter_title: bytes) -> bytes:
    """The octets to hand to a meter; LocalProtocolError for numbers that no token can say."""
    if not 0 <= token.number <= NUMBER_MAX or not 0 < token.energy_wh <= ENERGY_MAX_WH:
        raise LocalProtocolError(f"a token has a number, and 1 to {ENERGY_MAX_WH} Wh")
    if len(meter_title) != 8 or len(master_key) not in {16, 32}:
        raise LocalProtocolError("a token needs the meter's title and its master key")
    head = bytes((KIND_CREDIT,)) + token.number.to_bytes(8, "big")
    head += token.energy_wh.to_bytes(4, "big")
    return head + _mac(head, master_key, meter_title)


def open_token(octets: bytes, master_key: bytes, meter_title: bytes) -> CreditToken:
    """What it says; RemoteProtocolError where it is no token, ForgedTokenError where it is not one
    for this meter."""
    if len(octets) != TOKEN_OCTETS or octets[0] != KIND_CREDIT:
        raise RemoteProtocolError(f"a credit token has {TOKEN_OCTETS} octets and begins with 1")
    head, mac = octets[:HEAD_OCTETS], octets[HEAD_OCTETS:]
    if not compare_digest(mac, _mac(head, master_key, meter_title)):
        raise ForgedTokenError("the token is not for this meter")
    number, energy_wh = int.from_bytes(head[1:9], "big"), int.from_bytes(head[9:], "big")
    if number > NUMBER_MAX or not energy_wh:
        raise RemoteProtocolError("the token says nothing that can be booked")
    return CreditToken(number, energy_wh)


def _mac(head: bytes, master_key: bytes, meter_title: bytes) -> bytes:
    derivation = KBKDFCMAC(
        AES, Mode.CounterMode, KEY_OCTETS, 4, 4, CounterLocation.BeforeFixed, _LABEL, meter_title,
        None,
    )  # fmt: skip
    mac = CMAC(AES(derivation.derive(master_key)))
    mac.update(head)
    return mac.finalize()[:MAC_OCTETS]
