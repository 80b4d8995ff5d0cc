"""COSEM security (IEC 62056-5-3, IEC 62056-6-2): protection of APDUs in suites 0, 1, 2.

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

A key that comes along with an APDU (wrapped, or agreed for it) is new with every partner and day:
a floor for each would fill any memory. What proves that such an APDU is no replay is therefore its
transaction-id, which the tag covers: per originator it must rise from one APDU to the next, so one
number stands for all keys that ever were, and a key need not be remembered to be refused. What
brings a key must be authenticated, as only then its transaction-id is proved. The floor belongs to
what such keys are made from (the master key, our agreement key, the signer's public key): once that
was replaced nothing old can be opened again, and the floor may be forgotten.

Signature and encryption may come in either order: general-signing around a ciphered APDU, or a
general-glo, general-ded or general-ciphering APDU around general-signing. The facts that we have
name the first; the second follows from these envelopes taking any APDU, and signs for the receiver
itself, whoever else holds the encryption key. A signature that stands inside or alone has a
transaction-id that must rise, so that nobody can wrap it up again.
"""

from __future__ import annotations

from typing import Final, NamedTuple

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
from blathy.wire.invocation_counters import (
    COUNTER_LAST,
    DEDICATED,
    ONE_TIME,
    TRANSACTION,
    CounterStore,
    DedicatedCounters,
    InvocationCounters,
    VolatileCounterStore,
    counter_name,
    key_fingerprint,
)
from blathy.wire.key_set import TAG_OCTETS, GcmKey, KeySet
from blathy.wire.octets import Reader, length_octets, octet_string
from blathy.wire.protection import (
    Envelope,
    KeyChoice,
    Protection,
    SecurityPolicy,
    protection_names,
)
from blathy.wire.suites import (
    COORDINATE_OCTETS,
    KEY_OCTETS,
    Entropy,
    agree_ephemeral,
    derive_key,
    ephemeral_offer,
    new_private_key,
    public_key_of,
    sign,
    unwrap_key,
    verify,
    wrap_key,
)

__all__ = [
    "COUNTER_LAST",
    "KEY_OCTETS",
    "UNPROVEN_JUMP_MAX",
    "CounterStore",
    "Entropy",
    "Envelope",
    "GcmKey",
    "InvocationCounters",
    "KeyChoice",
    "KeySet",
    "Opened",
    "Protection",
    "SecurityContext",
    "SecurityError",
    "SecurityPolicy",
    "VolatileCounterStore",
    "agree_ephemeral",
    "counter_name",
    "derive_key",
    "ephemeral_offer",
    "key_fingerprint",
    "new_private_key",
    "protection_names",
    "public_key_of",
    "sign",
    "transaction_number",
    "unwrap_key",
    "verify",
    "wrap_key",
]

TITLE_OCTETS: Final = 8
UNPROVEN_JUMP_MAX: Final = 0x1_0000
"""How far a frame without tag may move the receive floor: noise must not use a key up."""

_ONE_PASS: Final = b"\x01"
_STATIC: Final = b"\x02"
_NONE_TAKEN: Final = DedicatedCounters()
"""What an association has before it has a key of its own; never taken from."""
TRANSACTION_OCTETS_MAX: Final = 8
_BROADCAST: Final = 0x40
_COMPRESSED: Final = 0x80
# Plain integers: an IntFlag costs a microsecond per operation, and every APDU passes here.
_A: Final = int(Protection.AUTHENTICATED)
_AE: Final = int(Protection.BOTH)
_SIGNED: Final = int(Protection.SIGNED)
_INSIDE: Final = int(Protection.SIGNED_INSIDE)
_LASTING: Final = (KeyChoice.IDENTIFIED, KeyChoice.BROADCAST)
"""Keys that stay; any other comes along with an APDU."""

# What every APDU is compared with: to read a member off its class takes Python 3.11 0.2 µs, these
# 0.02, and a session reads two hundred.
_PLAIN: Final = Envelope.PLAIN
_GLO: Final = Envelope.GLO
_GENERAL_CIPHERING: Final = Envelope.GENERAL_CIPHERING
_BY_BROADCAST_KEY: Final = KeyChoice.BROADCAST
_GENERAL_SIGNING_TAG: Final = int(Tag.GENERAL_SIGNING)


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
    """A protected APDU that was refused. `kind` says why, `answer` is the exception-response.

    `lowest`: the counter to tell; None where the sender did not prove to hold the key, who then
    hears of a deciphering error only.
    """

    def __init__(self, kind: ServiceError, reason: str, lowest: int | None = None) -> None:
        told = kind
        if kind is ServiceError.INVOCATION_COUNTER_ERROR and lowest is None:
            told = ServiceError.DECIPHERING_ERROR
        answer = ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, told, lowest).encode()
        super().__init__(reason, answer)
        self.kind = kind
        self.lowest = lowest
        self.broadcast = False  # True: it came under the broadcast key, so that nobody answers


def _refused(reason: str) -> SecurityError:
    return SecurityError(ServiceError.DECIPHERING_ERROR, reason)


def _wrong_counter(counter: int, lowest: int, *, authentic: bool) -> SecurityError:
    used = "was used before" if counter < lowest else "is the one that ends a key"
    return SecurityError(
        ServiceError.INVOCATION_COUNTER_ERROR,
        f"invocation counter {counter} {used}; the lowest acceptable is {lowest}",
        min(lowest, COUNTER_LAST + 1) if authentic else None,
    )


class SecurityContext:
    """Keys, counters and titles of one side towards one partner.

    `peer_title` empty: not known yet; then general ciphering tells it. `needs`: the Protection (A,
    E) that a received APDU must prove; one with less is refused before it can move a counter.
    `verify_tags=False` lets a listener without the authentication key read what it can; nothing
    then counts as authenticated. `outer_only`: a signed APDU inside a ciphered one is given as it
    is, for whoever looks on.
    """

    __slots__ = (
        "_broadcast_made", "_dedicated", "_dedicated_counters", "_derived_counters", "_derived_in",
        "_derived_lowest", "_derived_out", "_entropy", "_own_dedicated", "_unicast", "counters",
        "keys", "needs", "outer_only", "peer_title", "title", "transactions_from", "verify_tags",
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
        self.outer_only = False
        self.transactions_from = 0  # where somebody set by hand which number is the next
        self._entropy = entropy
        self._dedicated: GcmKey | None = None
        self._dedicated_counters = self._derived_counters = _NONE_TAKEN
        self._own_dedicated = False
        self._derived_in: tuple[KeyChoice, GcmKey] | None = None
        self._derived_lowest = 0
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
        self.forget_derived()
        self._load()

    def forget_derived(self) -> None:
        """Keys that came along end with their association."""
        self._derived_in = self._derived_out = None

    def use_dedicated(self, key: bytes, *, own: bool = False) -> None:
        """Protect with the dedicated key from now on. `own`: we drew it, so that it is new and our
        numbers may start anew; the peer's choice may be a key that it has used before."""
        self._dedicated = GcmKey(key, self.keys.authentication)
        self._dedicated_counters = self.counters.dedicated(self.peer_title, self._dedicated.key_id)
        self._own_dedicated = own

    @property
    def has_dedicated(self) -> bool:
        return self._dedicated is not None

    @property
    def unicast_key_id(self) -> str:
        """Names the global unicast encryption key in the counters."""
        return self.unicast_key().key_id

    def lowest_unicast(self) -> int:
        """The lowest counter that the peer may use under the global unicast key."""
        if self._unicast is None:
            return 0
        return self.counters.lowest(self.peer_title, self._unicast.key_id)

    def unicast_key(self) -> GcmKey:
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
        if envelope is _PLAIN:
            return 0
        total = 5 + 5 + (TAG_OCTETS if protection & 0x10 else 0)
        if envelope.titled:
            total += 9
        elif envelope is _GENERAL_CIPHERING:
            total += 60 + 4 * COORDINATE_OCTETS.get(self.keys.suite, 0)
        elif protection & _INSIDE:
            total += 9  # it becomes general-glo or general-ded
        if protection & _SIGNED:
            total += 40 + 2 * COORDINATE_OCTETS.get(self.keys.suite, 0)
        return total

    def protect(
        self, apdu: bytes, protection: int, envelope: Envelope = Envelope.GLO,
        key_choice: KeyChoice = KeyChoice.IDENTIFIED,
    ) -> bytes:  # fmt: skip
        """The ciphered (and, if asked for, signed) form of a plain APDU."""
        protection = int(protection)
        if protection & _INSIDE and protection & _SIGNED and protection & _AE:
            return self._cipher(self._signed(apdu), protection & _AE, envelope, key_choice)
        if protection & _AE:
            apdu = self._cipher(apdu, protection & _AE, envelope, key_choice)
        if protection & _SIGNED:
            apdu = self._signed(apdu)
        return apdu

    def _cipher(self, apdu: bytes, kind: int, envelope: Envelope, choice: KeyChoice) -> bytes:
        if envelope is _GENERAL_CIPHERING:
            return self._general_ciphering(apdu, kind, choice)
        broadcast = choice is _BY_BROADCAST_KEY
        if envelope.dedicated:
            key, counter, tags = self._next_dedicated()
        else:
            key = self._broadcast_key() if broadcast else self.unicast_key()
            counter, tags = self.counters.next(self.title, key.key_id), GLO_OF
        control = kind | self.keys.suite | (_BROADCAST if broadcast else 0)
        content = key.seal(control, self.title + counter.to_bytes(4, "big"), apdu)
        tag = tags.get(apdu[0])
        if tag is None or envelope.titled:
            head = b"\xdb\x08" if tags is GLO_OF else b"\xdc\x08"
            return head + self.title + length_octets(len(content)) + content
        return bytes((tag,)) + length_octets(len(content)) + content

    def _next_dedicated(self) -> tuple[GcmKey, int, dict[int, int]]:
        if self._dedicated is None:
            raise LocalProtocolError("this association has no dedicated key")
        if self._own_dedicated:
            return self._dedicated, self._dedicated_counters.take(), DED_OF
        return self._dedicated, self.counters.next(self.title, DEDICATED), DED_OF

    def new_transaction(self) -> bytes:
        """A transaction-id that rises with every exchange with this partner."""
        name = f"transaction:{self.peer_title.hex()}"
        if self.transactions_from:
            self.counters.follow_report(self.title, name, self.transactions_from, COUNTER_LAST)
            self.transactions_from = 0
        number = self.counters.next(self.title, name)
        return number.to_bytes(8, "big")

    def _general_header(self) -> GeneralHeader:
        return GeneralHeader(self.new_transaction(), self.title, self.peer_title)

    def _general_ciphering(self, apdu: bytes, kind: int, choice: KeyChoice) -> bytes:
        header = self._general_header()
        key, info = self._outgoing_key(choice, header)
        counter = self._next_number(choice, key)
        control = kind | self.keys.suite
        if choice is KeyChoice.BROADCAST:
            control |= _BROADCAST
        nonce = self.title + counter.to_bytes(4, "big")
        content = key.seal(control, nonce, apdu, header.encode())
        return GeneralCiphering(header, info, content).encode()

    def _outgoing_key(
        self, choice: KeyChoice, header: GeneralHeader
    ) -> tuple[GcmKey, KeyInfo | None]:
        """The key to protect with, and what tells it; None where the peer knows it already."""
        if self._derived_out is not None and self._derived_out[0] is choice is not KeyChoice.STATIC:
            return self._derived_out[1], None
        key, info = self.named_key(choice, header)
        if choice not in _LASTING:
            self._derived_out = (choice, key)
            self._derived_counters = DedicatedCounters()
        return key, info

    def named_key(self, choice: KeyChoice, header: GeneralHeader) -> tuple[GcmKey, KeyInfo]:
        """A key to protect with and what tells the peer: a new one where it is not a global one
        (of static agreement: the one that belongs to the header)."""
        keys = self.keys
        if choice is KeyChoice.IDENTIFIED:
            return self.unicast_key(), IdentifiedKey(0)
        if choice is KeyChoice.BROADCAST:
            return self._broadcast_key(), IdentifiedKey(1)
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
        return GcmKey(raw, keys.authentication), info

    def _next_number(self, choice: KeyChoice, key: GcmKey) -> int:
        """A key that was made for this association starts a sequence that ends with it."""
        if choice in _LASTING:
            return self.counters.next(self.title, key.key_id)
        return self._derived_counters.take()

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
        if tag == _GENERAL_SIGNING_TAG:
            return self._open_signed(apdu)
        return self._open(apdu)

    def _open(self, apdu: bytes, *, signed: bool = False) -> Opened:
        """`signed`: it came inside a signature, so that none may be in it."""
        tag = apdu[0] if apdu else 0
        plain_tag = PLAIN_OF_GLO.get(tag)
        if plain_tag is not None:
            return self._open_global(Reader(apdu, 1), self.peer_title, _GLO, plain_tag)
        plain_tag = PLAIN_OF_DED.get(tag)
        if plain_tag is not None:
            return self._open_dedicated(Reader(apdu, 1), Envelope.DED, plain_tag)
        if tag in (Tag.GENERAL_GLO, Tag.GENERAL_DED):
            reader = Reader(apdu, 1)
            title = self._originator(reader.octets())
            if tag == Tag.GENERAL_GLO:
                return self._open_global(reader, title, Envelope.GENERAL_GLO, None, signed=signed)
            return self._open_dedicated(reader, Envelope.GENERAL_DED, None, signed=signed)
        if tag == Tag.GENERAL_CIPHERING:
            return self._open_general(apdu, signed=signed)
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
        self, reader: Reader, title: bytes, envelope: Envelope, plain_tag: int | None, *,
        signed: bool = False,
    ) -> Opened:  # fmt: skip
        content, control = self._content(reader)
        broadcast = control & _BROADCAST != 0
        key = self._broadcast if broadcast else self._unicast
        if key is None:
            raise _refused("there is no key of the set that the APDU names")
        if len(title) != TITLE_OCTETS:
            raise _refused("the system title of the sender is not known")
        lowest = self.counters.lowest(title, key.key_id)
        try:
            plain, counter, proved = self._verified(key, content, title, lowest, plain_tag)
            inside = self._inside(plain, title, signed=signed) if plain[0] == 0xDF else None
        except SecurityError as error:
            error.broadcast = broadcast
            raise
        self.counters.accept(title, key.key_id, counter)
        opened = Opened(plain, proved, envelope, counter, lowest, broadcast, title)
        return opened if inside is None else self._spend(inside, opened)

    def _open_dedicated(
        self, reader: Reader, envelope: Envelope, plain_tag: int | None, *, signed: bool = False
    ) -> Opened:
        content, control = self._content(reader)
        key = self._dedicated
        if key is None or control & _BROADCAST:
            raise _refused("this association has no dedicated key")
        lowest = self._dedicated_counters.lowest
        plain, counter, proved = self._verified(key, content, self.peer_title, lowest, plain_tag)
        title = self.peer_title
        inside = self._inside(plain, title, signed=signed) if plain[0] == 0xDF else None
        self._dedicated_counters.lowest = counter + 1
        opened = Opened(plain, proved, envelope, counter, lowest, False, title)
        return opened if inside is None else self._spend(inside, opened)

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
        proved = kind if key.can_verify else kind & ~0x10
        if self.needs & ~proved:
            raise SecurityError(
                ServiceError.OPERATION_NOT_POSSIBLE,
                "the APDU has less protection than it must have",
            )
        authentic = proved & _A != 0
        if counter < lowest or counter > COUNTER_LAST:
            raise _wrong_counter(counter, lowest, authentic=authentic)
        if not authentic and self.verify_tags:
            self._check_unproved(counter, lowest)
        if not plain or (plain[0] != plain_tag if plain_tag is not None else plain[0] < 1):
            raise _refused("the APDU inside is not of the kind that its envelope says")
        return plain, counter, proved

    def _check_unproved(self, counter: int, lowest: int) -> None:
        """What an APDU without a tag may do to the counter."""
        if not self.peer_title:
            # Whoever claims a title must not make us remember a counter for it.
            raise _refused("nothing proves who sent an unauthenticated APDU")
        if lowest and counter - lowest > UNPROVEN_JUMP_MAX:
            raise SecurityError(
                ServiceError.INVOCATION_COUNTER_ERROR,
                "the invocation counter of an unauthenticated APDU jumps too far",
            )

    def _open_general(self, apdu: bytes, *, signed: bool = False) -> Opened:
        envelope = decode(apdu)
        assert isinstance(envelope, GeneralCiphering)
        header = envelope.header
        title = self._addressed(header)
        content, control = self._content(Reader(octet_string(envelope.content)))
        key, choice = self.incoming_key(envelope.key_info, header)
        if (choice is KeyChoice.BROADCAST) != (control & _BROADCAST != 0):
            raise _refused("security control and key-info name different keys")
        lasting = choice in _LASTING
        lowest = self.counters.lowest(title, key.key_id) if lasting else self._lowest_derived(key)
        plain, counter, proved = self._verified(key, content, title, lowest, None, header.encode())
        inside = self._inside(plain, title, signed=signed) if plain[0] == 0xDF else None
        if lasting:
            self.counters.accept(title, key.key_id, counter)
        else:
            if self.verify_tags:
                brought = envelope.key_info is not None
                self._accept_one_time(title, header, choice, proved, brought=brought)
            self._derived_in, self._derived_lowest = (choice, key), counter + 1
        broadcast = choice is KeyChoice.BROADCAST
        opened = Opened(
            plain, proved, Envelope.GENERAL_CIPHERING, counter, lowest, broadcast, title, choice
        )
        return opened if inside is None else self._spend(inside, opened)

    def _addressed(self, header: GeneralHeader) -> bytes:
        """The originator of an APDU that is meant for us."""
        title = self._originator(header.originator)
        if header.recipient and header.recipient != self.title:
            raise _refused("the APDU is meant for another system title")
        return title

    def _lowest_derived(self, key: GcmKey) -> int:
        known = self._derived_in
        return self._derived_lowest if known is not None and known[1].key_id == key.key_id else 0

    def _accept_one_time(
        self, title: bytes, header: GeneralHeader, choice: KeyChoice, proved: int, *, brought: bool
    ) -> None:
        """Take an APDU under a key that came along, once: by its transaction-id.

        The key-info is not covered by the tag, so that also what names no key must move the floor:
        it could be sent again with the key-info of another APDU.
        """
        if not proved & 0x10:
            if brought:
                raise _refused("an APDU that brings its own key must be authenticated")
            return  # the sequence of the key, which ends with the association, is its floor
        floor = self.one_time_floor(choice)
        transaction = self._rising(title, floor, header.transaction_id)
        self.counters.accept(title, floor, transaction)

    def one_time_floor(self, choice: KeyChoice) -> str:
        """Names the floor of the transaction-ids under keys that come along in this way."""
        maker = self.keys.master if choice is KeyChoice.WRAPPED else self.keys.agreement
        return f"{ONE_TIME}.{key_fingerprint(maker)}"

    @property
    def signature_floor(self) -> str:
        """Names the floor of the transaction-ids of what the peer signs."""
        return f"{TRANSACTION}.{key_fingerprint(self.keys.peer_signing)}"

    def _rising(self, title: bytes, name: str, transaction_id: bytes) -> int:
        """The number of a transaction-id; refuse one that is not above all before.

        Tag or signature are verified by now: the sender is told the lowest, as of a counter.
        """
        transaction = transaction_number(transaction_id)
        lowest = self.counters.lowest(title, name)
        if transaction < lowest:
            raise SecurityError(
                ServiceError.INVOCATION_COUNTER_ERROR,
                f"transaction-id {transaction} was used before; the lowest acceptable is {lowest}",
                lowest if lowest <= COUNTER_LAST else None,
            )
        return transaction

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
        half = 2 * COORDINATE_OCTETS.get(keys.suite, 0)
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
        envelope, title = self._verified_signature(apdu)
        inner = envelope.content[:1]
        if inner and inner[0] in _CIPHERED_INSIDE:
            opened = self._open(envelope.content, signed=True)
            return opened._replace(protection=opened.protection | Protection.SIGNED)
        transaction = self._signed_plain(envelope, title)
        if self.needs:
            raise SecurityError(
                ServiceError.OPERATION_NOT_POSSIBLE, "a signed APDU that is not ciphered"
            )
        self.counters.accept(title, self.signature_floor, transaction)
        return Opened(envelope.content, Protection.SIGNED, Envelope.PLAIN, originator=title)

    def _verified_signature(self, apdu: bytes) -> tuple[GeneralSigning, bytes]:
        """A signed APDU for us and its originator, whose signature it bears."""
        envelope = decode(apdu)
        assert isinstance(envelope, GeneralSigning)
        header, keys = envelope.header, self.keys
        title = self._addressed(header)
        signed = header.encode() + envelope.content
        if not verify(signed, envelope.signature, keys.peer_signing, keys.suite):
            raise _refused("the signature does not verify")
        return envelope, title

    def _signed_plain(self, envelope: GeneralSigning, title: bytes) -> int:
        """The number of the transaction that a signed plain APDU is.

        It has no invocation counter: the transaction-id takes its place. And without a recipient it
        could be played to every other meter that knows the signer.
        """
        inner = envelope.content[:1]
        nested = inner and (inner[0] == Tag.GENERAL_SIGNING or inner[0] in _CIPHERED_INSIDE)
        if not inner or nested or not envelope.header.recipient:
            raise _refused("a signed APDU without content or recipient, or layers beyond two")
        return self._rising(title, self.signature_floor, envelope.header.transaction_id)

    def _inside(self, plain: bytes, title: bytes, *, signed: bool) -> tuple[bytes, int] | None:
        """Content and transaction of the signed APDU that a ciphered one holds."""
        if self.outer_only:
            return None
        if signed:
            raise _refused("a signature around a signature")
        envelope, signer = self._verified_signature(plain)
        if signer != title:
            raise _refused("the APDU is signed by another than who ciphered it")
        return envelope.content, self._signed_plain(envelope, signer)

    def _spend(self, inside: tuple[bytes, int], opened: Opened) -> Opened:
        content, transaction = inside
        self.counters.accept(opened.originator, self.signature_floor, transaction)
        return opened._replace(plain=content, protection=opened.protection | _SIGNED | _INSIDE)

    def __repr__(self) -> str:
        return f"SecurityContext({self.title.hex()} to {self.peer_title.hex()}, {self.keys!r})"


def transaction_number(transaction_id: bytes) -> int:
    """The number that a transaction-id stands for where nothing else shows a replay."""
    if not 0 < len(transaction_id) <= TRANSACTION_OCTETS_MAX or (
        transaction_id[0] & 0x80 and (len(transaction_id) == TRANSACTION_OCTETS_MAX)
    ):
        raise _refused("the transaction-id is no number of at most 63 bits")
    return int.from_bytes(transaction_id, "big")


_CIPHERED_INSIDE: Final = (
    frozenset(PLAIN_OF_GLO) | frozenset(PLAIN_OF_DED)
    | {Tag.GENERAL_GLO, Tag.GENERAL_DED, Tag.GENERAL_CIPHERING}
)  # fmt: skip
