"""How APDUs are protected: what each proves, in which envelope it travels, which key it names, and
what a security policy asks for."""

from __future__ import annotations

from enum import Enum, IntFlag
from typing import Final


class Protection(IntFlag):
    """How one APDU is protected; A and E are the bits of the security control octet."""

    NONE = 0
    AUTHENTICATED = 0x10
    ENCRYPTED = 0x20
    BOTH = 0x30
    SIGNED = 0x100
    SIGNED_INSIDE = 0x200
    """With SIGNED and a ciphered APDU: signed first, then ciphered; else the other way round."""


_PROTECTION_NAMES: Final = {
    value: frozenset(
        name
        for bit, name in ((0x10, "authenticated"), (0x20, "encrypted"), (0x100, "signed"))
        if value & bit
    )
    for value in (0, 0x10, 0x20, 0x30, 0x100, 0x110, 0x120, 0x130)
}


def protection_names(protection: int) -> frozenset[str]:
    """The set that `Requester.protected` carries."""
    return _PROTECTION_NAMES[protection & 0x130]


class SecurityPolicy(IntFlag):
    """security_policy of the Security setup, version 1: what every request and response needs."""

    NONE = 0
    AUTHENTICATED_REQUEST = 0x04
    ENCRYPTED_REQUEST = 0x08
    SIGNED_REQUEST = 0x10
    AUTHENTICATED_RESPONSE = 0x20
    ENCRYPTED_RESPONSE = 0x40
    SIGNED_RESPONSE = 0x80
    AUTHENTICATED = 0x24
    ENCRYPTED = 0x48
    AUTHENTICATED_AND_ENCRYPTED = 0x6C

    @classmethod
    def of_version_0(cls, number: int) -> SecurityPolicy:
        """The enumeration of version 0: 0 none, 1 authenticated, 2 encrypted, 3 both."""
        return _POLICIES_V0[number]

    @property
    def request(self) -> int:
        """The Protection that a request needs at least."""
        bits = int(self)
        return (bits & 0x0C) << 2 | (bits & 0x10) << 4

    @property
    def response(self) -> int:
        """The Protection that a response needs at least."""
        bits = int(self)
        return (bits & 0x60) >> 1 | (bits & 0x80) << 1


_POLICIES_V0: Final = (
    SecurityPolicy.NONE,
    SecurityPolicy.AUTHENTICATED,
    SecurityPolicy.ENCRYPTED,
    SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED,
)


class Envelope(Enum):
    """In which kind of ciphered APDU a service travels."""

    PLAIN = "plain"
    GLO = "glo"
    DED = "ded"
    GENERAL_GLO = "general-glo"
    GENERAL_DED = "general-ded"
    GENERAL_CIPHERING = "general-ciphering"

    __hash__ = object.__hash__  # members are single; that of Enum is written in Python

    dedicated: bool
    """Under the dedicated key."""
    titled: bool
    """general-glo and general-ded: the sender's title stands in front."""

    def __init__(self, name: str) -> None:
        self.dedicated = name in {"ded", "general-ded"}
        self.titled = name in {"general-glo", "general-ded"}


class KeyChoice(Enum):
    """How general-ciphering says which key it uses."""

    IDENTIFIED = "identified"
    BROADCAST = "broadcast"
    WRAPPED = "wrapped"
    ONE_PASS = "one-pass"  # noqa: S105
    STATIC = "static"
