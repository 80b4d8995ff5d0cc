"""Proofs of HLS mechanisms 2 to 7 (IEC 62056-5-3): what the third and fourth pass carry.

| mechanism | f(challenge received) |
| 2 | AES-ECB of it under the secret |
| 3, 4 | MD5, SHA-1 of it and the secret |
| 5 | SC, IC and the GMAC of it under the global unicast key |
| 6 | SHA-256 of secret, both titles, both challenges |
| 7 | ECDSA over both titles and both challenges |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from hmac import compare_digest
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from blathy.wire.acse import Mechanism
from blathy.wire.errors import LocalProtocolError
from blathy.wire.invocation_counters import COUNTER_LAST
from blathy.wire.key_set import TAG_OCTETS
from blathy.wire.security import Opened, Protection, SecurityContext
from blathy.wire.suites import sign, verify

_AUTHENTICATED: Final = int(Protection.AUTHENTICATED)
CHALLENGE_OCTETS: Final = dict.fromkeys(range(2, 7), (8, 64)) | {7: (32, 64)}
"""Mechanism -> shortest and longest challenge."""


@dataclass(frozen=True, slots=True, repr=False)
class HlsParty:
    """What one side needs to prove itself and to check the other in HLS mechanisms 2 to 7."""

    mechanism: Mechanism
    secret: bytes
    title: bytes
    peer_title: bytes
    context: SecurityContext | None

    def prove(self, received: bytes, sent: bytes) -> bytes:
        """f(challenge received), for pass 3 (client) and pass 4 (server)."""
        if self.mechanism is Mechanism.HLS_GMAC:
            return self._gmac(received)
        if self.mechanism is Mechanism.HLS_ECDSA:
            keys = self._context().keys
            return sign(self.title + self.peer_title + received + sent, keys.signing, keys.suite)
        return _digest(self.mechanism, self.secret, self.title, self.peer_title, received, sent)

    def check(self, proof: bytes, sent: bytes, received: bytes, outer: Opened | None) -> bool:
        """Whether the peer's proof answers the challenge that we sent.

        `outer`: the protected APDU that carried the proof. Its counter is already spent, and the
        GMAC was made before it, so the GMAC is measured at the floor from before.
        """
        if self.mechanism is Mechanism.HLS_GMAC:
            return self._check_gmac(proof, sent, outer)
        if self.mechanism is Mechanism.HLS_ECDSA:
            keys = self._context().keys
            signed = self.peer_title + self.title + sent + received
            return verify(signed, proof, keys.peer_signing, keys.suite)
        expected = _digest(self.mechanism, self.secret, self.peer_title, self.title, sent, received)
        return compare_digest(expected, proof)

    def _context(self) -> SecurityContext:
        if self.context is None:
            raise LocalProtocolError(f"{self.mechanism.name} needs keys")
        return self.context

    def _gmac(self, challenge: bytes) -> bytes:
        context = self._context()
        key = context.unicast_key()
        counter = context.counters.next(self.title, key.key_id)
        nonce = self.title + counter.to_bytes(4, "big")
        sealed = key.seal(_AUTHENTICATED | context.keys.suite, nonce, challenge)
        return sealed[:5] + sealed[-TAG_OCTETS:]

    def _check_gmac(self, proof: bytes, challenge: bytes, outer: Opened | None) -> bool:
        context = self._context()
        key = context.unicast_key()
        if len(proof) != 5 + TAG_OCTETS:
            return False
        if proof[0] != _AUTHENTICATED | context.keys.suite:
            return False
        counter = int.from_bytes(proof[1:5], "big")
        nonce = self.peer_title + proof[1:5]
        if key.open(proof[:5] + challenge + proof[5:], nonce) is None or not key.can_verify:
            return False
        lowest = context.counters.lowest(self.peer_title, key.key_id)
        floor = outer.floor if outer is not None and outer.counter >= 0 else lowest
        if counter < floor or counter > COUNTER_LAST:
            return False
        if counter >= lowest:
            context.counters.accept(self.peer_title, key.key_id, counter)
        return True

    def __repr__(self) -> str:
        return f"HlsParty({self.mechanism.name})"


def reflects(mechanism: Mechanism, sent: bytes, received: bytes) -> bool:
    """Whether a server's challenge would make us answer our own: then it need not know the secret.

    Mechanism 2 enciphers block by block, so one block of ours among theirs is enough.
    """
    if mechanism is not Mechanism.HLS:
        return received == sent
    ours, theirs = set(_blocks(sent)), set(_blocks(received))
    return not ours.isdisjoint(theirs)


def _blocks(challenge: bytes) -> list[bytes]:
    padded = challenge + bytes(-len(challenge) % 16)
    return [padded[at : at + 16] for at in range(0, len(padded), 16)]


def _digest(
    mechanism: Mechanism, secret: bytes, own: bytes, peer: bytes, challenge: bytes, other: bytes
) -> bytes:
    if mechanism is Mechanism.HLS_MD5:
        return hashlib.md5(challenge + secret, usedforsecurity=False).digest()
    if mechanism is Mechanism.HLS_SHA1:
        return hashlib.sha1(challenge + secret, usedforsecurity=False).digest()
    if mechanism is Mechanism.HLS_SHA256:
        return hashlib.sha256(secret + own + peer + challenge + other).digest()
    if mechanism is Mechanism.HLS:
        return _manufacturer(challenge, secret)
    raise LocalProtocolError(f"{mechanism.name} has no digest")


def _manufacturer(challenge: bytes, secret: bytes) -> bytes:
    """The common form of mechanism 2: AES-ECB of the challenge, both padded with zeros to 16n."""
    if not 0 < len(secret) <= 32:
        raise LocalProtocolError("the secret of mechanism 2 has 1 to 32 octets")
    key = secret.ljust(16 if len(secret) <= 16 else 32, b"\x00")
    padded = challenge + bytes(-len(challenge) % 16)
    # ECB is what the meters in the field do here; the challenge is fresh and never repeats.
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(padded) + encryptor.finalize()
