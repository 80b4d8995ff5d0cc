"""Who a meter is and what it knows in secret: names, system title, passwords, keys.

Nothing is shared between meters: each secret is derived from a seed, the model and the serial
number, or given from outside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from blathy.meter.certificates import AGREEMENT, SIGNATURE, issue
from blathy.models.model import Association, Level, Model
from blathy.wire.security import KEY_OCTETS, new_private_key, public_key_of

HEAD_END_TITLE: Final = b"BLY\x00\x00\x00\x00\x01"
"""The system title of the client that a new meter of suite 1 or 2 knows by its certificates."""


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
    suite: int = 0
    signing_key: bytes = field(default=b"", repr=False)
    agreement_key: bytes = field(default=b"", repr=False)
    authority: bytes = b""
    """Public key of the authority whose certificates the meter takes: x and y."""
    certificates: tuple[bytes, ...] = field(default=(), repr=False)
    """DER: its own two, and two of the client that it was delivered for."""

    def __post_init__(self) -> None:
        assert len(self.system_title) == 8
        assert len(self.ldn) <= 16
        for key in (self.encryption_key, self.authentication_key, self.master_key):
            assert len(key) == KEY_OCTETS[self.suite]

    def maker_key(self) -> Ed25519PublicKey:
        return Ed25519PublicKey.from_public_bytes(self.firmware_key)

    @property
    def serial_text(self) -> str:
        return f"{self.serial:08d}"


def _derived(seed: str, what: str, length: int, *, long: bool = False) -> bytes:
    digest = hashlib.sha512 if long else hashlib.sha256
    return digest(f"{seed}/{what}".encode()).digest()[:length]


class DerivedSecrets(Mapping[Level, bytes]):
    """A secret for each level, worked out when it is asked for: meters are many, clients few."""

    __slots__ = ("_levels", "_of_level", "_own")

    def __init__(
        self, own: str, levels: Sequence[Level], of_level: Callable[[str, Level], bytes]
    ) -> None:
        self._own = own
        self._levels = levels
        self._of_level = of_level

    def __getitem__(self, level: Level) -> bytes:
        if level not in self._levels:
            raise KeyError(level)
        return self._of_level(self._own, level)

    def __iter__(self) -> Iterator[Level]:
        return iter(self._levels)

    def __len__(self) -> int:
        return len(self._levels)

    def __repr__(self) -> str:
        return f"DerivedSecrets({len(self)} levels)"


def _password(own: str, level: Level) -> bytes:
    return _derived(own, f"password/{level.value}", 8).hex()[:8].encode()


def _hls_secret(own: str, level: Level) -> bytes:
    return _derived(own, f"hls/{level.value}", 16)


@lru_cache(maxsize=64)
def _levels_of(associations: tuple[Association, ...]) -> tuple[Level, ...]:
    return tuple(dict.fromkeys(association.level for association in associations))


def maker_private_key(model: Model, seed: str) -> Ed25519PrivateKey:
    """The key that a simulated maker signs its firmware with."""
    return _maker_key(model.maker, seed)


def _maker_key(maker: str, seed: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_derived(seed, f"maker/{maker}", 32))


@lru_cache(maxsize=64)
def _maker_public_key(maker: str, seed: str) -> bytes:
    return _maker_key(maker, seed).public_key().public_bytes_raw()


def _private_key(seed: str, what: str, suite: int) -> bytes:
    return new_private_key(suite, lambda count: _derived(seed, what, 64, long=True)[:count])


def authority_private_key(model: Model, seed: str, suite: int) -> bytes:
    """The key that the authority of a simulated maker signs certificates with."""
    return _private_key(seed, f"authority/{model.maker}/{suite}", suite)


def head_end_keys(seed: str, suite: int) -> tuple[bytes, bytes]:
    """The private keys, for signatures and for key agreement, of the client that simulated meters
    are delivered for."""
    signing = _private_key(seed, f"head-end/signing/{suite}", suite)
    return signing, _private_key(seed, f"head-end/agreement/{suite}", suite)


def identity_of(model: Model, serial: int, seed: str, suite: int = 0) -> MeterIdentity:
    """The identity of a simulated meter: the same for the same model, serial number, seed and
    security suite."""
    own = f"{seed}/{model.key}/{serial}"
    size = KEY_OCTETS[suite]
    levels = _levels_of(tuple(model.associations))
    return MeterIdentity(
        serial=serial,
        ldn=model.identity.ldn.format(serial=serial % 10**8).encode()[:16],
        system_title=system_title_of(model, serial),
        passwords=DerivedSecrets(own, levels, _password),
        hls_secrets=DerivedSecrets(own, levels, _hls_secret),
        encryption_key=_derived(own, "encryption", size),
        authentication_key=_derived(own, "authentication", size),
        broadcast_key=_derived(own, "broadcast", size),
        master_key=_derived(own, "master", size),
        firmware_key=_maker_public_key(model.maker, seed),
        suite=suite,
        **(_elliptic(model, serial, seed, suite) if suite else {}),
    )


def _elliptic(model: Model, serial: int, seed: str, suite: int) -> dict[str, Any]:
    """Key pairs and certificates as the maker delivers them."""
    own = f"{seed}/{model.key}/{serial}"
    title = system_title_of(model, serial)
    authority = authority_private_key(model, seed, suite)
    signing = _private_key(own, f"signing/{suite}", suite)
    agreement = _private_key(own, f"agreement/{suite}", suite)
    client_signing, client_agreement = head_end_keys(seed, suite)
    holders = (
        (title, SIGNATURE, signing),
        (title, AGREEMENT, agreement),
        (HEAD_END_TITLE, SIGNATURE, client_signing),
        (HEAD_END_TITLE, AGREEMENT, client_agreement),
    )
    certificates = tuple(
        issue(holder, kind, public_key_of(private, suite), authority, suite)
        for holder, kind, private in holders
    )
    return {
        "signing_key": signing,
        "agreement_key": agreement,
        "authority": public_key_of(authority, suite),
        "certificates": certificates,
    }


def system_title_of(model: Model, serial: int) -> bytes:
    """The maker's code, a device-type octet and the serial number as u32."""
    code = (model.flag + "XXX")[:3].encode()
    return code + bytes((model.identity.device_type,)) + (serial & 0xFFFF_FFFF).to_bytes(4, "big")
