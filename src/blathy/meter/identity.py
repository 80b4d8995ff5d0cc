"""Who a meter is and what it knows in secret: names, system title, passwords, keys.

Nothing is shared between meters: each secret is derived from a seed, the model and the serial
number, or given from outside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from blathy.models.model import Level, Model


@dataclass(frozen=True, slots=True)
class MeterIdentity:
    """Names and secrets of one meter. The repr shows no secret."""

    serial: int
    ldn: bytes
    system_title: bytes
    passwords: Mapping[Level, bytes] = field(repr=False)
    hls_secrets: Mapping[Level, bytes] = field(repr=False)
    encryption_key: bytes = field(repr=False)
    authentication_key: bytes = field(repr=False)
    broadcast_key: bytes = field(repr=False)
    master_key: bytes = field(repr=False)
    firmware_key: bytes
    """The maker's public key (Ed25519, 32 octets) that firmware images must be signed with."""

    def __post_init__(self) -> None:
        assert len(self.system_title) == 8
        assert len(self.ldn) <= 16
        for key in (self.encryption_key, self.authentication_key, self.master_key):
            assert len(key) in {16, 32}

    def maker_key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.firmware_key)

    @property
    def serial_text(self) -> str:
        return f"{self.serial:08d}"


def _derived(seed: str, what: str, length: int) -> bytes:
    return hashlib.sha256(f"{seed}/{what}".encode()).digest()[:length]


def maker_private_key(model: Model, seed: str) -> Ed25519PrivateKey:
    """The key that a simulated maker signs its firmware with."""
    return Ed25519PrivateKey.from_private_bytes(_derived(seed, f"maker/{model.maker}", 32))


def identity_of(model: Model, serial: int, seed: str) -> MeterIdentity:
    """The identity of a simulated meter: the same for the same model, serial number and seed."""
    own = f"{seed}/{model.key}/{serial}"
    passwords = {
        association.level: _derived(own, f"password/{association.level.value}", 8)
        .hex()[:8]
        .encode()
        for association in model.associations
    }
    return MeterIdentity(
        serial=serial,
        ldn=model.identity.ldn.format(serial=serial % 10**8).encode()[:16],
        system_title=system_title_of(model, serial),
        passwords=passwords,
        hls_secrets={level: _derived(own, f"hls/{level.value}", 16) for level in passwords},
        encryption_key=_derived(own, "encryption", 16),
        authentication_key=_derived(own, "authentication", 16),
        broadcast_key=_derived(own, "broadcast", 16),
        master_key=_derived(own, "master", 16),
        firmware_key=maker_private_key(model, seed).public_key().public_bytes_raw(),
    )


def system_title_of(model: Model, serial: int) -> bytes:
    """The maker's code, a device-type octet and the serial number as u32."""
    code = (model.flag + "XXX")[:3].encode()
    return code + bytes((model.identity.device_type,)) + (serial & 0xFFFF_FFFF).to_bytes(4, "big")
