"""COSEM security (IEC 62056-5-3, IEC 62056-6-2): suites 0, 1, 2, keys, counters, HLS proofs.

Theory of operation. Every protected APDU carries a security control octet (suite, authenticated A,
encrypted E, key set) and an invocation counter. The AES-GCM nonce is the originator's system title
and that counter, so a counter must never be used twice under one key and title: numbers are set
aside durably before they are used (`CounterStore.reserve`). A receiver accepts a counter once and
only upwards, and moves its floor only after the tag has verified: a rejected frame leaves no trace.

| protection | plaintext | associated data | content |
| A   | none | SC AK I | SC IC I tag |
| E   | I | none | SC IC ciphertext |
| A+E | I | SC AK | SC IC ciphertext tag |

Tags are 12 octets. Keys and secrets are hidden from every repr.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntFlag
from functools import lru_cache
from hmac import compare_digest
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blathy.wire.acse import Mechanism
from blathy.wire.apdu import (
    DED_OF,
    GLO_OF,
    PLAIN_OF_DED,
    PLAIN_OF_GLO,
    AgreedKey,
    ExceptionResponse,
    GeneralCiphering,
    GeneralHeader,
    GeneralSigning,
    IdentifiedKey,
    KeyInfo,
    ServiceError,
    StateError,
    Tag,
    WrappedKey,
    decode,
)
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.octets import Reader, length_octets, octet_string

Entropy = Callable[[int], bytes]
"""Gives that many unpredictable octets."""

TAG_OCTETS: Final = 12
TITLE_OCTETS: Final = 8
COUNTER_LAST: Final = 0xFFFF_FFFE  # at FFFFFFFF the key is exhausted
RESERVED_AHEAD: Final = 64  # numbers lost at a crash at most, against one durable write per number
CIPHERS_MAX: Final = 256  # keys that are kept expanded, the most recently used ones
DEDICATED_KEYS_MAX: Final = 64  # dedicated keys whose sequences are remembered
UNPROVEN_JUMP_MAX: Final = 0x1_0000
"""How far a frame without tag may move the receive floor: noise must not use a key up."""
REPORTED_JUMP_MAX: Final = 0x0100_0000
"""How far an unauthenticated report of the peer may move our own counter at once."""

_AES_OCTETS: Final = frozenset({16, 24, 32})
KEY_OCTETS: Final = {0: 16, 1: 16, 2: 32}
_COORDINATE_OCTETS: Final = {1: 32, 2: 48}


class Protection(IntFlag):
    """How one APDU is protected; A and E are the bits of the security control octet."""

    NONE = 0
    AUTHENTICATED = 0x10
    ENCRYPTED = 0x20
    BOTH = 0x30
    SIGNED = 0x100


_BROADCAST: Final = 0x40
_COMPRESSED: Final = 0x80
# Plain integers: an IntFlag costs a microsecond per operation, and every APDU passes here.
_AE: Final = 0x30
_A: Final = 0x10
_SIGNED: Final = 0x100
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


class KeyChoice(Enum):
    """How general-ciphering says which key it uses."""

    IDENTIFIED = "identified"
    BROADCAST = "broadcast"
    WRAPPED = "wrapped"
    ONE_PASS = "one-pass"  # noqa: S105
    STATIC = "static"


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
                raise ValueError(
                    f"the {name} key has {len(key)} octets; suite {self.suite} needs {expected}"
                )

    def __repr__(self) -> str:
        names = [n for n in self.__slots__ if n != "suite" and getattr(self, n)]
        return f"KeySet(suite={self.suite}, holds={'+'.join(names) or 'nothing'})"


# --- Invocation counters ------------------------------------------------------------------------


class CounterStore(Protocol):
    """Where invocation counters survive. Names are opaque; every write is durable on return."""

    def reserve(self, name: str, count: int) -> int:
        """Set `count` consecutive numbers aside for ever and return the first; 1 for a new name."""

    def advance(self, name: str, at_least: int) -> None:
        """The next number reserved is `at_least` or more; never lowers."""

    def lowest(self, name: str) -> int:
        """The lowest number still acceptable from a sender; 0 for a new name."""

    def accept(self, name: str, lowest: int) -> None:
        """Raise the lowest acceptable number; never lowers."""


class VolatileCounterStore:
    """Counters that end with the process: simulations and tests."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}
        self._lowest: dict[str, int] = {}

    def reserve(self, name: str, count: int) -> int:
        first = self._next.get(name, 1)
        self._next[name] = first + count
        return first

    def advance(self, name: str, at_least: int) -> None:
        self._next[name] = max(self._next.get(name, 1), at_least)

    def lowest(self, name: str) -> int:
        return self._lowest.get(name, 0)

    def accept(self, name: str, lowest: int) -> None:
        self._lowest[name] = max(self._lowest.get(name, 0), lowest)


@dataclass(slots=True)
class DedicatedCounters:
    """The two sequences of one dedicated key: the next number to send, the lowest to accept."""

    next: int = 1
    lowest: int = 0


class InvocationCounters:
    """The counters of one meter or one client in front of their store, reserved ahead.

    One per system title and store: two of them for one title would hand numbers out of order.
    """

    __slots__ = ("_ahead", "_blocks", "_dedicated", "_lowest", "_store")

    def __init__(self, store: CounterStore, reserved_ahead: int = RESERVED_AHEAD) -> None:
        self._store = store
        self._ahead = reserved_ahead
        self._blocks: dict[tuple[bytes, str], list[int]] = {}
        self._lowest: dict[tuple[bytes, str], int] = {}
        self._dedicated: dict[tuple[bytes, str], DedicatedCounters] = {}

    def next(self, title: bytes, key_id: str) -> int:
        """A number never given before for this title and key; raise when the key is exhausted."""
        block = self._blocks.get((title, key_id))
        if block is None or block[0] >= block[1]:
            first = self._store.reserve(_name("send", title, key_id), self._ahead)
            block = self._blocks[title, key_id] = [first, first + self._ahead]
        number = block[0]
        if number > COUNTER_LAST:
            raise LocalProtocolError(
                "the invocation counter of this key is used up; transfer a new key"
            )
        block[0] = number + 1
        return number

    def untouched(self, title: bytes, key_id: str) -> bool:
        """Whether no number was ever taken for this title and key, also not in an earlier run."""
        if (title, key_id) in self._blocks:
            return False
        first = self._store.reserve(_name("send", title, key_id), self._ahead)
        self._blocks[title, key_id] = [first, first + self._ahead]
        return first == 1

    def follow_report(
        self, title: bytes, key_id: str, at_least: int, jump_max: int = REPORTED_JUMP_MAX
    ) -> None:
        """Continue at `at_least`, which the peer reported; upwards only and by a bounded jump."""
        block = self._blocks.pop((title, key_id), None)
        name = _name("send", title, key_id)
        current = block[0] if block is not None else self._store.reserve(name, 1)
        if at_least - current > jump_max:
            raise LocalProtocolError(
                f"the peer wants invocation counter {at_least}, far above our {current}; "
                "set it by hand if that is right"
            )
        self._store.advance(name, max(at_least, current))

    def lowest(self, title: bytes, key_id: str) -> int:
        """The lowest number that this originator may still use under this key."""
        # Not remembered here: anybody may claim any title, and memory must not grow by claims.
        lowest = self._lowest.get((title, key_id))
        return self._store.lowest(_name("receive", title, key_id)) if lowest is None else lowest

    def accept(self, title: bytes, key_id: str, counter: int) -> None:
        """Call after the tag verified: this number and all below are spent."""
        self._store.accept(_name("receive", title, key_id), counter + 1)
        self._lowest[title, key_id] = counter + 1

    def dedicated(self, peer_title: bytes, key_id: str) -> DedicatedCounters:
        """The sequences of a dedicated key: new for a new key, going on for one used before.

        A client that takes the same key for every association would otherwise open the door to
        replays, and make us use a nonce twice.
        """
        at = (peer_title, key_id)
        counters = self._dedicated.pop(at, None) or DedicatedCounters()
        if len(self._dedicated) >= DEDICATED_KEYS_MAX:
            del self._dedicated[next(iter(self._dedicated))]
        self._dedicated[at] = counters
        return counters


def _name(direction: str, title: bytes, key_id: str) -> str:
    return f"{direction}:{title.hex()}:{key_id}"


def key_fingerprint(key: bytes) -> str:
    """Names a key without showing it: counters start anew with every new key by themselves."""
    return hashlib.sha256(b"invocation counter of" + key).hexdigest()[:16]


# --- One key ------------------------------------------------------------------------------------


@lru_cache(maxsize=CIPHERS_MAX)
def _cipher_of(key: bytes) -> AESGCM:
    """The expanded key. It takes 2.5 kB and a microsecond: idle associations keep none."""
    return AESGCM(key)


class GcmKey:
    """An encryption key with its authentication key."""

    __slots__ = ("_authentication", "_key", "key_id")

    def __init__(self, key: bytes, authentication: bytes) -> None:
        if len(key) not in _AES_OCTETS:
            raise ValueError(f"an AES key has 16, 24 or 32 octets, not {len(key)}")
        self._key = key
        self._authentication = authentication
        self.key_id = key_fingerprint(key)

    @property
    def can_verify(self) -> bool:
        return bool(self._authentication)

    def seal(self, control: int, nonce: bytes, plain: bytes, header: bytes = b"") -> bytes:
        """Security control, counter (the nonce's last four octets), and what belongs behind."""
        kind = control & _AE
        sc = bytes((control,))
        if kind == Protection.ENCRYPTED:
            return sc + nonce[8:] + _cipher_of(self._key).encrypt(nonce, plain, None)[:-16]
        if not self._authentication:
            raise LocalProtocolError("an authenticated APDU needs the authentication key")
        associated = sc + self._authentication + header
        # A 12-octet GCM tag is the first 12 octets of the 16-octet one (NIST SP 800-38D).
        if kind == Protection.BOTH:
            return sc + nonce[8:] + _cipher_of(self._key).encrypt(nonce, plain, associated)[:-4]
        tag = _cipher_of(self._key).encrypt(nonce, b"", associated + plain)[:TAG_OCTETS]
        return sc + nonce[8:] + plain + tag

    def open(self, content: bytes, nonce: bytes, header: bytes = b"") -> bytes | None:
        """The plain APDU; None where the tag does not verify.

        Without the authentication key the tag is not looked at: `can_verify` tells the caller that
        the result is not authenticated.
        """
        kind = content[0] & _AE
        if kind == Protection.ENCRYPTED:
            return _cipher_of(self._key).encrypt(nonce, content[5:], None)[:-16]
        if len(content) < 5 + TAG_OCTETS:
            return None
        body, tag = content[5:-TAG_OCTETS], content[-TAG_OCTETS:]
        associated = content[:1] + self._authentication + header
        if kind == Protection.AUTHENTICATED:
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


# --- Elliptic curves ----------------------------------------------------------------------------

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
_ONE_PASS: Final = b"\x01"
_STATIC: Final = b"\x02"


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
    octets = _COORDINATE_OCTETS[suite]
    return numbers.x.to_bytes(octets, "big") + numbers.y.to_bytes(octets, "big")


def sign(message: bytes, private: bytes, suite: int) -> bytes:
    """ECDSA as raw r and s; deterministic (RFC 6979), so no entropy can be wrong."""
    algorithm = ec.ECDSA(_hash_of(suite), deterministic_signing=True)
    r, s = utils.decode_dss_signature(_private(private, suite).sign(message, algorithm))
    octets = _COORDINATE_OCTETS[suite]
    return r.to_bytes(octets, "big") + s.to_bytes(octets, "big")


def verify(message: bytes, signature: bytes, public: bytes, suite: int) -> bool:
    """True where the raw signature is the key holder's over exactly this message."""
    octets = _COORDINATE_OCTETS.get(suite, 0)
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


# --- Protection of an association ---------------------------------------------------------------


class Opened(NamedTuple):
    """A request or response after its protection was removed and checked.

    `protection` holds only what was proved: an APDU whose tag could not be checked is not
    authenticated. `floor` is the lowest counter that was acceptable before this APDU.
    """

    plain: bytes
    protection: int
    envelope: Envelope
    counter: int = -1
    floor: int = 0
    broadcast: bool = False
    originator: bytes = b""
    key_choice: KeyChoice = KeyChoice.IDENTIFIED


class SecurityError(RemoteProtocolError):
    """A protected APDU that was refused. `kind` says why, `answer` is the exception-response."""

    def __init__(self, kind: ServiceError, reason: str, lowest: int | None = None) -> None:
        answer = ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, kind, lowest).encode()
        super().__init__(reason, answer)
        self.kind = kind
        self.lowest = lowest


def _refused(reason: str) -> SecurityError:
    return SecurityError(ServiceError.DECIPHERING_ERROR, reason)


class SecurityContext:
    """Keys, counters and titles of one side towards one partner.

    `peer_title` empty: not known yet; then general ciphering tells it. `needs`: the Protection (A,
    E) that a received APDU must prove; one with less is refused before it can move a counter.
    `verify_tags=False` lets a listener without the authentication key read what it can; nothing
    then counts as authenticated.
    """

    __slots__ = (
        "_broadcast_made", "_dedicated", "_dedicated_counters", "_derived_in", "_derived_out",
        "_entropy", "_unicast", "counters", "keys",
        "needs", "peer_title", "title", "verify_tags",
    )  # fmt: skip

    def __init__(
        self, title: bytes, keys: KeySet, counters: InvocationCounters, entropy: Entropy, *,
        peer_title: bytes = b"", needs: int = 0, verify_tags: bool = True,
    ) -> None:  # fmt: skip
        if len(title) != TITLE_OCTETS:
            raise ValueError(f"a system title has 8 octets, not {len(title)}")
        self.title = title
        self.counters = counters
        self.peer_title = peer_title
        self.needs = needs & _AE if verify_tags else 0
        self.verify_tags = verify_tags
        self._entropy = entropy
        self._dedicated: GcmKey | None = None
        self._dedicated_counters = DedicatedCounters()
        self._derived_in: tuple[KeyChoice, GcmKey] | None = None
        self._derived_out: tuple[KeyChoice, GcmKey] | None = None
        self.keys = keys
        self._load()

    def _load(self) -> None:
        keys = self.keys
        self._unicast = GcmKey(keys.unicast, keys.authentication) if keys.unicast else None
        self._broadcast_made: GcmKey | None = None

    @property
    def _broadcast(self) -> GcmKey | None:
        """Made when the first broadcast comes, which it hardly ever does."""
        keys = self.keys
        if self._broadcast_made is None and keys.broadcast:
            self._broadcast_made = GcmKey(keys.broadcast, keys.authentication)
        return self._broadcast_made

    def rekey(self, keys: KeySet) -> None:
        """Use other keys from the next APDU on; a dedicated key ends with its association."""
        self.keys = keys
        self._derived_in = self._derived_out = None
        self._load()

    def use_dedicated(self, key: bytes) -> None:
        """Both directions start a sequence of their own under the dedicated key."""
        self._dedicated = GcmKey(key, self.keys.authentication)
        self._dedicated_counters = self.counters.dedicated(self.peer_title, self._dedicated.key_id)

    @property
    def has_dedicated(self) -> bool:
        return self._dedicated is not None

    @property
    def unicast_key_id(self) -> str:
        """Names the global unicast encryption key in the counters."""
        return self._unicast_key().key_id

    def lowest_unicast(self) -> int:
        """The lowest counter that the peer may use under the global unicast key."""
        if self._unicast is None:
            return 0
        return self.counters.lowest(self.peer_title, self._unicast.key_id)

    def _unicast_key(self) -> GcmKey:
        if self._unicast is None:
            raise LocalProtocolError("there is no global unicast encryption key")
        return self._unicast

    def _broadcast_key(self) -> GcmKey:
        if self._broadcast is None:
            raise LocalProtocolError("there is no global broadcast encryption key")
        return self._broadcast

    # Sending

    def overhead(self, envelope: Envelope, protection: int) -> int:
        """Octets that protection adds to an APDU at most."""
        if envelope is Envelope.PLAIN:
            return 0
        total = 5 + 5 + (TAG_OCTETS if protection & 0x10 else 0)
        if envelope in (Envelope.GENERAL_GLO, Envelope.GENERAL_DED):
            total += 9
        elif envelope is Envelope.GENERAL_CIPHERING:
            total += 60 + 4 * _COORDINATE_OCTETS.get(self.keys.suite, 0)
        if protection & _SIGNED:
            total += 40 + 2 * _COORDINATE_OCTETS.get(self.keys.suite, 0)
        return total

    def protect(
        self, apdu: bytes, protection: int, envelope: Envelope = Envelope.GLO,
        key_choice: KeyChoice = KeyChoice.IDENTIFIED,
    ) -> bytes:  # fmt: skip
        """The ciphered (and, if asked for, signed) form of a plain APDU."""
        protection = int(protection)
        if protection & _AE:
            apdu = self._cipher(apdu, protection & _AE, envelope, key_choice)
        if protection & _SIGNED:
            apdu = self._signed(apdu)
        return apdu

    def _cipher(self, apdu: bytes, kind: int, envelope: Envelope, choice: KeyChoice) -> bytes:
        suite = self.keys.suite
        if envelope is Envelope.GENERAL_CIPHERING:
            return self._general_ciphering(apdu, kind, choice)
        if envelope in (Envelope.DED, Envelope.GENERAL_DED):
            key, counter, tags = self._next_dedicated()
        else:
            key = self._broadcast_key() if choice is KeyChoice.BROADCAST else self._unicast_key()
            counter, tags = self.counters.next(self.title, key.key_id), GLO_OF
        control = kind | suite | (_BROADCAST if choice is KeyChoice.BROADCAST else 0)
        content = key.seal(control, self.title + counter.to_bytes(4, "big"), apdu)
        tag = tags.get(apdu[0])
        if tag is None or envelope in (Envelope.GENERAL_GLO, Envelope.GENERAL_DED):
            head = b"\xdb\x08" if tags is GLO_OF else b"\xdc\x08"
            return head + self.title + length_octets(len(content)) + content
        return bytes((tag,)) + length_octets(len(content)) + content

    def _next_dedicated(self) -> tuple[GcmKey, int, dict[int, int]]:
        if self._dedicated is None:
            raise LocalProtocolError("this association has no dedicated key")
        counter = self._dedicated_counters.next
        if counter > COUNTER_LAST:
            raise LocalProtocolError("the dedicated key is used up; associate again")
        self._dedicated_counters.next = counter + 1
        return self._dedicated, counter, DED_OF

    def _general_header(self) -> GeneralHeader:
        transaction = self.counters.next(self.title, "transaction")
        return GeneralHeader(transaction.to_bytes(8, "big"), self.title, self.peer_title)

    def _general_ciphering(self, apdu: bytes, kind: int, choice: KeyChoice) -> bytes:
        header = self._general_header()
        key, info = self.outgoing_key(choice, header)
        counter = self.counters.next(self.title, key.key_id)
        control = kind | self.keys.suite
        if choice is KeyChoice.BROADCAST:
            control |= _BROADCAST
        nonce = self.title + counter.to_bytes(4, "big")
        content = key.seal(control, nonce, apdu, header.encode())
        return GeneralCiphering(header, info, content).encode()

    def outgoing_key(
        self, choice: KeyChoice, header: GeneralHeader
    ) -> tuple[GcmKey, KeyInfo | None]:
        """The key to protect with, and what tells it; None where the peer knows it already."""
        keys = self.keys
        if choice is KeyChoice.IDENTIFIED:
            return self._unicast_key(), IdentifiedKey(0)
        if choice is KeyChoice.BROADCAST:
            return self._broadcast_key(), IdentifiedKey(1)
        if self._derived_out is not None and self._derived_out[0] is choice is not KeyChoice.STATIC:
            return self._derived_out[1], None
        info: KeyInfo
        if choice is KeyChoice.WRAPPED:
            if not keys.master:
                raise LocalProtocolError("wrapping a key needs the master key")
            raw = self._entropy(KEY_OCTETS[keys.suite])
            info = WrappedKey(0, wrap_key(keys.master, raw))
        elif choice is KeyChoice.ONE_PASS:
            ephemeral = new_private_key(keys.suite, self._entropy)
            public = public_key_of(ephemeral, keys.suite)
            info = AgreedKey(_ONE_PASS, public + sign(public, keys.signing, keys.suite))
            raw = derive_key(
                keys.suite, ephemeral, keys.peer_agreement, self.title, self.peer_title
            )
        else:
            info = AgreedKey(_STATIC, b"")
            raw = self._static_key(header)
        key = GcmKey(raw, keys.authentication)
        self._derived_out = (choice, key)
        return key, info

    def _static_key(self, header: GeneralHeader) -> bytes:
        keys = self.keys
        party_u = header.originator + octet_string(header.transaction_id)
        return derive_key(
            keys.suite, keys.agreement, keys.peer_agreement, party_u, header.recipient
        )

    def _signed(self, apdu: bytes) -> bytes:
        header = self._general_header()
        signature = sign(header.encode() + apdu, self.keys.signing, self.keys.suite)
        return GeneralSigning(header, apdu, signature).encode()

    # Receiving

    def unprotect(self, apdu: bytes) -> Opened:
        """Check and remove the protection of a ciphered or signed APDU.

        Raise SecurityError (with the exception-response to send) or RemoteProtocolError; then
        nothing has changed.
        """
        tag = apdu[0] if apdu else 0
        if tag == Tag.GENERAL_SIGNING:
            return self._open_signed(apdu)
        return self._open(apdu)

    def _open(self, apdu: bytes) -> Opened:
        tag = apdu[0]
        plain_tag = PLAIN_OF_GLO.get(tag)
        if plain_tag is not None:
            return self._open_global(Reader(apdu, 1), self.peer_title, Envelope.GLO, plain_tag)
        plain_tag = PLAIN_OF_DED.get(tag)
        if plain_tag is not None:
            return self._open_dedicated(Reader(apdu, 1), Envelope.DED, plain_tag)
        if tag in (Tag.GENERAL_GLO, Tag.GENERAL_DED):
            reader = Reader(apdu, 1)
            title = self._originator(reader.octets())
            if tag == Tag.GENERAL_GLO:
                return self._open_global(reader, title, Envelope.GENERAL_GLO, None)
            return self._open_dedicated(reader, Envelope.GENERAL_DED, None)
        if tag == Tag.GENERAL_CIPHERING:
            return self._open_general(apdu)
        raise RemoteProtocolError(f"{tag:02X} is not the tag of a ciphered APDU")

    def _originator(self, title: bytes) -> bytes:
        """The title to take for the nonce; refuse a wrong one and our own (a reflected APDU)."""
        if not title:
            title = self.peer_title
        if len(title) != TITLE_OCTETS:
            raise _refused("the system title of the sender is not known")
        if title == self.title:
            raise _refused("the APDU carries our own system title: it was reflected")
        if self.peer_title and title != self.peer_title:
            raise _refused("the APDU carries another system title than the association")
        return title

    def _content(self, reader: Reader) -> tuple[bytes, int]:
        content = reader.octets()
        reader.done()
        if len(content) < 6:
            raise _refused("a ciphered APDU too short for its security header")
        control = content[0]
        if control & 0x0F != self.keys.suite:
            raise _refused(f"security suite {control & 0x0F} instead of {self.keys.suite}")
        if control & _COMPRESSED:
            raise _refused("compressed APDUs (V.44) are not supported")
        if not control & _AE:
            raise _refused("a ciphered APDU that is neither authenticated nor encrypted")
        return content, control

    def _open_global(
        self, reader: Reader, title: bytes, envelope: Envelope, plain_tag: int | None
    ) -> Opened:
        content, control = self._content(reader)
        broadcast = control & _BROADCAST != 0
        key = self._broadcast if broadcast else self._unicast
        if key is None:
            raise _refused("there is no key of the set that the APDU names")
        if len(title) != TITLE_OCTETS:
            raise _refused("the system title of the sender is not known")
        lowest = self.counters.lowest(title, key.key_id)
        plain, counter, proved = self._verified(key, content, title, lowest, plain_tag)
        self.counters.accept(title, key.key_id, counter)
        return Opened(plain, proved, envelope, counter, lowest, broadcast, title)

    def _open_dedicated(self, reader: Reader, envelope: Envelope, plain_tag: int | None) -> Opened:
        content, control = self._content(reader)
        key = self._dedicated
        if key is None or control & _BROADCAST:
            raise _refused("this association has no dedicated key")
        lowest = self._dedicated_counters.lowest
        plain, counter, proved = self._verified(key, content, self.peer_title, lowest, plain_tag)
        self._dedicated_counters.lowest = counter + 1
        return Opened(plain, proved, envelope, counter, lowest, False, self.peer_title)

    def _verified(
        self, key: GcmKey, content: bytes, title: bytes, lowest: int, plain_tag: int | None,
        header: bytes = b"",
    ) -> tuple[bytes, int, int]:  # fmt: skip
        """Plain APDU, counter and what of the protection is proved; changes nothing."""
        kind = content[0] & _AE
        if kind & 0x10 and not key.can_verify and self.verify_tags:
            raise _refused("the APDU is authenticated and we have no authentication key")
        counter = int.from_bytes(content[1:5], "big")
        plain = key.open(content, title + content[1:5], header)
        if plain is None:
            raise _refused("the authentication tag does not verify: wrong key or altered APDU")
        if counter < lowest:
            raise SecurityError(
                ServiceError.INVOCATION_COUNTER_ERROR,
                f"invocation counter {counter} was used before; the lowest acceptable is {lowest}",
                lowest,
            )
        proved = kind if key.can_verify else kind & ~0x10
        if self.needs & ~proved:
            raise SecurityError(
                ServiceError.OPERATION_NOT_POSSIBLE,
                "the APDU has less protection than it must have",
            )
        if not proved & 0x10 and lowest and counter - lowest > UNPROVEN_JUMP_MAX:
            raise SecurityError(
                ServiceError.INVOCATION_COUNTER_ERROR,
                "the invocation counter of an unauthenticated APDU jumps too far", lowest,
            )  # fmt: skip
        if not plain or (plain[0] != plain_tag if plain_tag is not None else plain[0] < 1):
            raise _refused("the APDU inside is not of the kind that its envelope says")
        return plain, counter, proved

    def _open_general(self, apdu: bytes) -> Opened:
        envelope = decode(apdu)
        assert isinstance(envelope, GeneralCiphering)
        header = envelope.header
        title = self._originator(header.originator)
        if header.recipient and header.recipient != self.title:
            raise _refused("the APDU is meant for another system title")
        content, control = self._content(Reader(octet_string(envelope.content)))
        key, choice = self.incoming_key(envelope.key_info, header)
        if (choice is KeyChoice.BROADCAST) != (control & _BROADCAST != 0):
            raise _refused("security control and key-info name different keys")
        lowest = self.counters.lowest(title, key.key_id)
        plain, counter, proved = self._verified(key, content, title, lowest, None, header.encode())
        self.counters.accept(title, key.key_id, counter)
        if choice not in (KeyChoice.IDENTIFIED, KeyChoice.BROADCAST):
            self._derived_in = (choice, key)
        broadcast = choice is KeyChoice.BROADCAST
        return Opened(
            plain, proved, Envelope.GENERAL_CIPHERING, counter, lowest, broadcast, title, choice
        )

    def incoming_key(self, info: KeyInfo | None, header: GeneralHeader) -> tuple[GcmKey, KeyChoice]:
        """The key that was named or came along; SecurityError where there is none."""
        keys = self.keys
        if info is None:
            if self._derived_in is None:
                raise _refused("the APDU names no key and none was agreed before")
            return self._derived_in[1], self._derived_in[0]
        if isinstance(info, IdentifiedKey):
            key = {0: self._unicast, 1: self._broadcast}.get(info.key_id)
            if key is None:
                raise _refused("the APDU names a key that we do not have")
            return key, KeyChoice.IDENTIFIED if info.key_id == 0 else KeyChoice.BROADCAST
        try:
            raw, choice = self._transported_key(info, header)
        except (LocalProtocolError, RemoteProtocolError) as error:
            raise _refused(str(error)) from error
        if len(raw) != KEY_OCTETS[keys.suite]:
            raise _refused("the key that came with the APDU has the wrong length")
        return GcmKey(raw, keys.authentication), choice

    def _transported_key(self, info: KeyInfo, header: GeneralHeader) -> tuple[bytes, KeyChoice]:
        keys = self.keys
        if isinstance(info, WrappedKey):
            if info.kek_id != 0 or not keys.master:
                raise _refused("there is no master key for the wrapped key of the APDU")
            return unwrap_key(keys.master, info.wrapped), KeyChoice.WRAPPED
        assert isinstance(info, AgreedKey)
        if info.scheme == _STATIC and not info.key_data:
            return self._static_key(header), KeyChoice.STATIC
        half = 2 * _COORDINATE_OCTETS.get(keys.suite, 0)
        public, signature = info.key_data[:half], info.key_data[half:]
        if info.scheme != _ONE_PASS or not half:
            raise _refused("a key agreement scheme that is not used here")
        # Implementations differ in whether the scheme octet is signed with the ephemeral key.
        if not any(
            verify(signed, signature, keys.peer_signing, keys.suite)
            for signed in (public, _ONE_PASS + public)
        ):
            raise _refused("the ephemeral key is not signed by the sender")
        raw = derive_key(keys.suite, keys.agreement, public, header.originator, self.title)
        return raw, KeyChoice.ONE_PASS

    def _open_signed(self, apdu: bytes) -> Opened:
        envelope = decode(apdu)
        assert isinstance(envelope, GeneralSigning)
        header, keys = envelope.header, self.keys
        title = self._originator(header.originator)
        if header.recipient and header.recipient != self.title:
            raise _refused("the APDU is meant for another system title")
        signed = header.encode() + envelope.content
        if not verify(signed, envelope.signature, keys.peer_signing, keys.suite):
            raise _refused("the signature does not verify")
        inner = envelope.content[:1]
        if inner and inner[0] in _CIPHERED_INSIDE:
            opened = self._open(envelope.content)
            return opened._replace(protection=opened.protection | Protection.SIGNED)
        # Plain content has no invocation counter: the transaction-id takes its place.
        if not inner or inner[0] == Tag.GENERAL_SIGNING or not header.transaction_id:
            raise _refused("a signed APDU without content or transaction-id")
        transaction = int.from_bytes(header.transaction_id, "big")
        if transaction < self.counters.lowest(title, "transaction"):
            raise _refused("the transaction-id of a signed APDU was used before")
        self.counters.accept(title, "transaction", transaction)
        return Opened(envelope.content, Protection.SIGNED, Envelope.PLAIN, originator=title)

    def __repr__(self) -> str:
        return f"SecurityContext({self.title.hex()} to {self.peer_title.hex()}, {self.keys!r})"


_CIPHERED_INSIDE: Final = (
    frozenset(PLAIN_OF_GLO) | frozenset(PLAIN_OF_DED)
    | {Tag.GENERAL_GLO, Tag.GENERAL_DED, Tag.GENERAL_CIPHERING}
)  # fmt: skip


# --- HLS ----------------------------------------------------------------------------------------

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
        key = context._unicast_key()
        counter = context.counters.next(self.title, key.key_id)
        nonce = self.title + counter.to_bytes(4, "big")
        sealed = key.seal(_A | context.keys.suite, nonce, challenge)
        return sealed[:5] + sealed[-TAG_OCTETS:]

    def _check_gmac(self, proof: bytes, challenge: bytes, outer: Opened | None) -> bool:
        context = self._context()
        key = context._unicast_key()
        if len(proof) != 5 + TAG_OCTETS:
            return False
        if proof[0] != _A | context.keys.suite:
            return False
        counter = int.from_bytes(proof[1:5], "big")
        nonce = self.peer_title + proof[1:5]
        if key.open(proof[:5] + challenge + proof[5:], nonce) is None or not key.can_verify:
            return False
        lowest = context.counters.lowest(self.peer_title, key.key_id)
        floor = outer.floor if outer is not None and outer.counter >= 0 else lowest
        if counter < floor:
            return False
        if counter >= lowest:
            context.counters.accept(self.peer_title, key.key_id, counter)
        return True

    def __repr__(self) -> str:
        return f"HlsParty({self.mechanism.name})"


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
