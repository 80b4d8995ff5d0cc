"""The keys of one partner, and one of them at work: AES-GCM with the tag of 12 octets.

Keys are hidden from every repr.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hmac import compare_digest
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blathy.wire.errors import LocalProtocolError
from blathy.wire.invocation_counters import key_fingerprint
from blathy.wire.protection import Protection
from blathy.wire.suites import KEY_OCTETS

TAG_OCTETS: Final = 12
CIPHERS_MAX: Final = 256  # keys that are kept expanded, the most recently used ones
_AES_OCTETS: Final = frozenset({16, 24, 32})
# Plain integers: an IntFlag costs a microsecond per operation, and every APDU passes here.
_A: Final = int(Protection.AUTHENTICATED)
_E: Final = int(Protection.ENCRYPTED)
_AE: Final = int(Protection.BOTH)


@dataclass(frozen=True, slots=True, repr=False)
class KeySet:
    """The keys of one partner under one suite, as raw octets; empty where there is none.

    `unicast` (GUEK), `broadcast` (GBEK), `authentication` (GAK), `master` (KEK). Private keys are
    the scalar, public keys x and y, big-endian: 32 + 32 octets in suite 1, 48 + 48 in suite 2.
    """

    suite: int = 0
    unicast: bytes = b""
    authentication: bytes = b""
    broadcast: bytes = b""
    master: bytes = b""
    signing: bytes = b""
    agreement: bytes = b""
    peer_signing: bytes = b""
    peer_agreement: bytes = b""

    def __post_init__(self) -> None:
        if self.suite not in KEY_OCTETS:
            raise ValueError(f"there are security suites 0, 1 and 2, not {self.suite}")
        expected = KEY_OCTETS[self.suite]
        for name in ("unicast", "authentication", "broadcast", "master"):
            key = getattr(self, name)
            if key and len(key) != expected:
                called = "encryption" if name == "unicast" else name
                raise ValueError(
                    f"the {called} key has {len(key)} octets; suite {self.suite} needs {expected}"
                )

    def __repr__(self) -> str:
        names = [n for n in self.__slots__ if n != "suite" and getattr(self, n)]
        return f"KeySet(suite={self.suite}, holds={'+'.join(names) or 'nothing'})"


@lru_cache(maxsize=CIPHERS_MAX)
def _cipher_of(key: bytes) -> AESGCM:
    """The expanded key. It takes 2.5 kB and a microsecond: idle associations keep none."""
    return AESGCM(key)


class GcmKey:
    """An encryption key with its authentication key."""

    __slots__ = ("_authentication", "_key", "can_verify", "key_id")

    def __init__(self, key: bytes, authentication: bytes) -> None:
        if len(key) not in _AES_OCTETS:
            raise ValueError(f"an AES key has 16, 24 or 32 octets, not {len(key)}")
        self._key = key
        self._authentication = authentication
        self.can_verify = bool(authentication)
        self.key_id = key_fingerprint(key)

    def seal(self, control: int, nonce: bytes, plain: bytes, header: bytes = b"") -> bytes:
        """Security control, counter (the nonce's last four octets), and what belongs behind."""
        kind = control & _AE
        sc = bytes((control,))
        if kind == _E:
            return sc + nonce[8:] + _cipher_of(self._key).encrypt(nonce, plain, None)[:-16]
        if not self._authentication:
            raise LocalProtocolError("an authenticated APDU needs the authentication key")
        associated = sc + self._authentication + header
        # A 12-octet GCM tag is the first 12 octets of the 16-octet one (NIST SP 800-38D).
        if kind == _AE:
            return sc + nonce[8:] + _cipher_of(self._key).encrypt(nonce, plain, associated)[:-4]
        tag = _cipher_of(self._key).encrypt(nonce, b"", associated + plain)[:TAG_OCTETS]
        return sc + nonce[8:] + plain + tag

    def open(self, content: bytes, nonce: bytes, header: bytes = b"") -> bytes | None:
        """The plain APDU; None where the tag does not verify.

        Without the authentication key the tag is not looked at: `can_verify` tells the caller that
        the result is not authenticated.
        """
        kind = content[0] & _AE
        if kind == _E:
            return _cipher_of(self._key).encrypt(nonce, content[5:], None)[:-16]
        if len(content) < 5 + TAG_OCTETS:
            return None
        body, tag = content[5:-TAG_OCTETS], content[-TAG_OCTETS:]
        associated = content[:1] + self._authentication + header
        if kind == _A:
            if not self._authentication:
                return body
            expected = _cipher_of(self._key).encrypt(nonce, b"", associated + body)
            return body if compare_digest(expected[:TAG_OCTETS], tag) else None
        # AESGCM.decrypt takes 16-octet tags only. GCM is a stream cipher: encrypting the ciphertext
        # gives the plaintext, and encrypting that gives the tag to compare with.
        plain = _cipher_of(self._key).encrypt(nonce, body, None)[:-16]
        if not self._authentication:
            return plain
        expected = _cipher_of(self._key).encrypt(nonce, plain, associated)[-16:-4]
        return plain if compare_digest(expected, tag) else None

    def __repr__(self) -> str:
        return f"GcmKey({self.key_id})"
