"""What the security suites compute with keys: signatures, key agreement, key transport.

| suite | AES-GCM and key wrap | signature and key agreement |
| 0 | 128 bits | none |
| 1 | 128 bits | P-256, SHA-256 |
| 2 | 256 bits | P-384, SHA-384 |

Private keys are the scalar, public keys x and y, signatures r and s, all big-endian and raw: 32
octets a number in suite 1, 48 in suite 2 (IEC 62056-5-3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, utils

from blathy.wire.errors import LocalProtocolError, RemoteProtocolError

Entropy = Callable[[int], bytes]
"""Gives that many unpredictable octets."""

KEY_OCTETS: Final = {0: 16, 1: 16, 2: 32}
COORDINATE_OCTETS: Final = {1: 32, 2: 48}
_CURVES: Final[dict[int, ec.EllipticCurve]] = {1: ec.SECP256R1(), 2: ec.SECP384R1()}
_GROUP_ORDER: Final = {
    1: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    2: int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF"
        "581A0DB248B0A77AECEC196ACCC52973",
        16,
    ),
}
_KDF_OID: Final = bytes.fromhex("608574050803")  # 2.16.756.5.8.3


def _hash_of(suite: int) -> hashes.HashAlgorithm:
    return hashes.SHA256() if suite < 2 else hashes.SHA384()


def _curve(suite: int) -> ec.EllipticCurve:
    if suite not in _CURVES:
        raise LocalProtocolError("security suite 0 has no signatures and no key agreement")
    return _CURVES[suite]


def _private(raw: bytes, suite: int) -> ec.EllipticCurvePrivateKey:
    if not raw:
        raise LocalProtocolError("a private key is missing for this kind of protection")
    return ec.derive_private_key(int.from_bytes(raw, "big"), _curve(suite))


def _public(raw: bytes, suite: int) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_curve(suite), b"\x04" + raw)
    except ValueError as error:
        raise RemoteProtocolError("a public key that is not a point of the curve") from error


def new_private_key(suite: int, entropy: Entropy) -> bytes:
    """A private scalar; eight octets more than needed make the modulo bias negligible."""
    octets = _curve(suite).key_size // 8
    scalar = int.from_bytes(entropy(octets + 8), "big") % (_GROUP_ORDER[suite] - 1) + 1
    return scalar.to_bytes(octets, "big")


def public_key_of(private: bytes, suite: int) -> bytes:
    """x and y of the public key that belongs to a private scalar."""
    numbers = _private(private, suite).public_key().public_numbers()
    octets = COORDINATE_OCTETS[suite]
    return numbers.x.to_bytes(octets, "big") + numbers.y.to_bytes(octets, "big")


def sign(message: bytes, private: bytes, suite: int) -> bytes:
    """ECDSA as raw r and s; deterministic (RFC 6979), so no entropy can be wrong."""
    algorithm = ec.ECDSA(_hash_of(suite), deterministic_signing=True)
    r, s = utils.decode_dss_signature(_private(private, suite).sign(message, algorithm))
    octets = COORDINATE_OCTETS[suite]
    return r.to_bytes(octets, "big") + s.to_bytes(octets, "big")


def verify(message: bytes, signature: bytes, public: bytes, suite: int) -> bool:
    """True where the raw signature is the key holder's over exactly this message."""
    octets = COORDINATE_OCTETS.get(suite, 0)
    if not octets or not public or len(signature) != 2 * octets:
        return False
    r = int.from_bytes(signature[:octets], "big")
    s = int.from_bytes(signature[octets:], "big")
    try:
        der = utils.encode_dss_signature(r, s)
        _public(public, suite).verify(der, message, ec.ECDSA(_hash_of(suite)))
    except (InvalidSignature, RemoteProtocolError, ValueError):
        return False
    return True


def derive_key(suite: int, private: bytes, public: bytes, party_u: bytes, party_v: bytes) -> bytes:
    """ECDH and the one-round concatenation KDF of NIST SP 800-56A, for an AES-GCM key."""
    try:
        shared = _private(private, suite).exchange(ec.ECDH(), _public(public, suite))
    except ValueError as error:
        raise RemoteProtocolError("the key agreement fails with this public key") from error
    algorithm = _KDF_OID + (b"\x00" if suite < 2 else b"\x01")
    message = b"\x00\x00\x00\x01" + shared + algorithm + party_u + party_v
    digest = hashlib.sha256(message) if suite < 2 else hashlib.sha384(message)
    return digest.digest()[: KEY_OCTETS[suite]]


def wrap_key(master: bytes, key: bytes) -> bytes:
    """AES key wrap, RFC 3394."""
    return keywrap.aes_key_wrap(master, key)


def unwrap_key(master: bytes, wrapped: bytes) -> bytes:
    """Raise RemoteProtocolError where it was not wrapped under this master key."""
    try:
        return keywrap.aes_key_unwrap(master, wrapped)
    except (keywrap.InvalidUnwrap, ValueError) as error:
        raise RemoteProtocolError("the key was not wrapped under our master key") from error


def ephemeral_offer(key_id: int, private: bytes, signing: bytes, suite: int) -> bytes:
    """key_data of the Security setup's key_agreement: ephemeral public key and signature."""
    public = public_key_of(private, suite)
    return public + sign(bytes((key_id,)) + public, signing, suite)


def agree_ephemeral(
    key_id: int, private: bytes, offer: bytes, peer_signing: bytes, suite: int, *,
    client_title: bytes, server_title: bytes,
) -> bytes:  # fmt: skip
    """The key that both sides of a key_agreement arrive at; raise where the offer is not signed."""
    half = _curve(suite).key_size // 4
    public, signature = offer[:half], offer[half:]
    if not verify(bytes((key_id,)) + public, signature, peer_signing, suite):
        raise RemoteProtocolError("the ephemeral key of a key agreement is not signed by the peer")
    return derive_key(suite, private, public, client_title, server_title)
