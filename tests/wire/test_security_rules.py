"""Rules of protection that a penetration tester tries one by one, on both sides.

Goal: each row of the tables is a message that a holder of the wrong thing (another key, an old
number, another title, a weaker form) could send; none is served, delivered or remembered. Method:
a secured association, one message made by hand, and a look at what the meter was asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest

from blathy.clock import Instant
from blathy.wire import acse, apdu
from blathy.wire.acse import Mechanism
from blathy.wire.apdu import AgreedKey, GeneralCiphering, GeneralHeader, IdentifiedKey, WrappedKey
from blathy.wire.association import (
    Associated,
    AssociationProfile,
    AssociationRefused,
    ClientAssociation,
    ClientConfig,
    Conformance,
    Envelope,
    FailureThrottle,
    GetAnswer,
    InvocationCounters,
    KeyChoice,
    Protection,
    SecurityPolicy,
    SecurityViolation,
    Send,
    ServerAssociation,
    SetAnswer,
    Violation,
    VolatileCounterStore,
)
from blathy.wire.client import REPLY_TO_HLS
from blathy.wire.data_protection import ProtectionElement, protect_data, unprotect_data
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.hls import reflects
from blathy.wire.invocation_counters import (
    COUNTER_LAST,
    COUNTER_WARNING,
    RESERVED_AHEAD,
    key_fingerprint,
)
from blathy.wire.octets import length_octets, octet_string
from blathy.wire.security import (
    GcmKey,
    KeySet,
    SecurityContext,
    new_private_key,
    public_key_of,
    sign,
    wrap_key,
)
from tests.wire.association_pair import (
    CLIENT_TITLE,
    ECHO,
    ENERGY,
    LONG,
    NOW,
    SERVER_TITLE,
    WRITABLE,
    Pair,
    key_pair,
    keys,
    make_pair,
    plain_pair,
    repeatable_entropy,
    secured_pair,
)

GET = apdu.GetRequestNormal(0xC1, ENERGY).encode()
GET_UNCONFIRMED = apdu.GetRequestNormal(0x81, ENERGY).encode()
SET = apdu.SetRequestNormal(0xC1, WRITABLE, b"\x11\x07").encode()
SET_UNCONFIRMED = apdu.SetRequestNormal(0x81, WRITABLE, b"\x11\x07").encode()
ACTION = apdu.ActionRequestNormal(0xC1, ECHO, b"\x11\x07").encode()
SIGNED = Protection.SIGNED
BOTH = Protection.BOTH
ALL_BITS = SecurityPolicy(0xFC)
HIGH = 50_000
"""A counter above all that the set-up used."""


def secured(**options: object) -> Pair:
    pair = secured_pair(**options)  # type: ignore[arg-type]
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    pair.server.take_events()
    return pair


def served(pair: Pair) -> int:
    return len(pair.meter.asked) + len(pair.meter.calls) + len(pair.meter.writes)


def violations(pair: Pair) -> list[Violation]:
    events = pair.server.take_events()
    return [event.kind for event in events if isinstance(event, SecurityViolation)]


def sealed(
    key: bytes, plain: bytes, counter: int = HIGH, *, control: int = 0x30,
    title: bytes = CLIENT_TITLE, header: bytes = b"", suite: int = 0,
) -> bytes:  # fmt: skip
    """Security control, counter, ciphertext and tag, made with any key, number and title."""
    nonce = title + counter.to_bytes(4, "big")
    return GcmKey(key, keys(suite).authentication).seal(control | suite, nonce, plain, header)


def glo(content: bytes, tag: int = 0xC8) -> bytes:
    return bytes((tag,)) + length_octets(len(content)) + content


def general_glo(content: bytes, title: bytes = CLIENT_TITLE, tag: int = 0xDB) -> bytes:
    return bytes((tag,)) + octet_string(title) + length_octets(len(content)) + content


GUEK, GBEK = keys().unicast, keys().broadcast
OTHER = bytes(range(100, 116))

MISUSES: dict[str, Callable[[], bytes]] = {
    "the number was used": lambda: glo(sealed(GUEK, GET, 1)),
    "the number that ends a key": lambda: glo(sealed(GUEK, GET, 0xFFFF_FFFF)),
    "another encryption key": lambda: glo(sealed(OTHER, GET)),
    "the broadcast key without its bit": lambda: glo(sealed(GBEK, GET)),
    "the unicast key with the broadcast bit": lambda: glo(sealed(GUEK, GET, control=0x70)),
    "compressed": lambda: glo(sealed(GUEK, GET, control=0xB0)),
    "authenticated only": lambda: glo(sealed(GUEK, GET, control=0x10)),
    "encrypted only": lambda: glo(sealed(GUEK, GET, control=0x20)),
    "neither": lambda: glo(b"\x00" + bytes(4) + GET),
    "no content": lambda: b"\xc8\x00",
    "no length": lambda: b"\xc8",
    "security control alone": lambda: glo(b"\x30"),
    "a security header alone": lambda: glo(b"\x30" + HIGH.to_bytes(4, "big")),
    "half a tag": lambda: glo(sealed(GUEK, GET)[:-6]),
    "no tag": lambda: glo(sealed(GUEK, GET)[:-12]),
    "a longer tag": lambda: glo(sealed(GUEK, GET) + bytes(4)),
    "an APDU of no octets": lambda: glo(sealed(GUEK, b"")),
    "another service than the tag says": lambda: glo(sealed(GUEK, SET)),
    "a length of 4 GB": lambda: b"\xc8\x84\xff\xff\xff\xff" + sealed(GUEK, GET),
    "a length of 2^64": lambda: b"\xc8\x88" + b"\xff" * 8 + sealed(GUEK, GET),
    "an indefinite length": lambda: b"\xc8\x80" + sealed(GUEK, GET),
    "octets behind the end": lambda: glo(sealed(GUEK, GET)) + b"\x00",
    "under a dedicated key that there is not": lambda: glo(sealed(GUEK, GET), 0xD0),
    "our title": lambda: general_glo(sealed(GUEK, GET, title=SERVER_TITLE), SERVER_TITLE),
    "another title": lambda: general_glo(sealed(GUEK, GET, title=b"STRANGER"), b"STRANGER"),
    "a title of 7 octets": lambda: general_glo(sealed(GUEK, GET), CLIENT_TITLE[:7]),
    "another title outside than inside": lambda: general_glo(sealed(GUEK, GET, title=b"STRANGER")),
    "general-ded without dedicated key": lambda: general_glo(sealed(GUEK, GET), tag=0xDC),
    "glo in glo": lambda: glo(sealed(GUEK, glo(sealed(GUEK, GET, HIGH + 1)))),
    "glo in general-glo": lambda: general_glo(sealed(GUEK, glo(sealed(GUEK, SET, HIGH + 1)))),
    "an AARQ inside": lambda: general_glo(sealed(GUEK, acse.Aarq(1, b"\x01").encode())),
    "an RLRQ inside": lambda: general_glo(sealed(GUEK, acse.Rlrq(0, b"").encode())),
    "a block inside": lambda: general_glo(sealed(GUEK, b"\xe0\x80\x00\x01\x00\x00" + glo(GET)[1:])),
    "an answer": lambda: glo(sealed(GUEK, b"\xc4\x01\xc1\x00\x11\x01"), 0xCC),
    "a notification": lambda: general_glo(sealed(GUEK, bytes.fromhex("0F00000001001101"))),
}  # fmt: skip


@pytest.mark.parametrize("what", MISUSES)
def test_the_server_serves_no_misuse_and_goes_on(what: str) -> None:
    pair = secured()
    before = served(pair)
    for answer in pair.server.receive_apdu(MISUSES[what](), NOW):
        assert answer[0] not in (0xC4, 0xC5, 0xC7), what
    assert served(pair) == before
    assert pair.server.associated
    (answer,) = pair.server.receive_apdu(glo(sealed(GUEK, GET, HIGH + 2)), NOW)
    assert answer[0] == 0xCC


def test_every_misuse_is_one_change_away_from_what_is_served() -> None:
    """The tables would pass against a server that serves nothing."""
    pair = secured()
    for number, octets in enumerate((
        glo(sealed(GUEK, GET)),
        general_glo(sealed(GUEK, GET, HIGH + 1)),
        general_glo(sealed(GUEK, GET, HIGH + 2), b""),  # the field leaves the title out
    ), 1):  # fmt: skip
        (answer,) = pair.server.receive_apdu(octets, NOW)
        assert answer[0] in (0xCC, 0xDB)
        assert len(pair.meter.asked) == number


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("other", [0, 1, 2, 3, 15])
def test_the_suite_in_the_security_control_must_be_ours(suite: int, other: int) -> None:
    pair = secured(suite=suite)
    control = 0x30 | other
    nonce = CLIENT_TITLE + HIGH.to_bytes(4, "big")
    content = GcmKey(keys(suite).unicast, keys(suite).authentication).seal(control, nonce, GET)
    pair.server.receive_apdu(glo(content), NOW)
    assert served(pair) == (suite == other)


@pytest.mark.parametrize("suite", [0, 1, 2])
def test_general_protection_is_served_where_it_was_agreed_to(suite: int) -> None:
    without = 0xFFFFFF & ~int(Conformance.GENERAL_PROTECTION)
    for conformance, number in ((without, 0), (0xFFFFFF, 1)):
        pair = secured(suite=suite, conformance=conformance)
        octets = general_glo(sealed(keys(suite).unicast, GET, suite=suite))
        pair.server.receive_apdu(octets, NOW)
        assert served(pair) == number
        pair.server.receive_apdu(glo(sealed(keys(suite).unicast, GET, HIGH + 1, suite=suite)), NOW)
        assert served(pair) == number + 1


# --- nesting ------------------------------------------------------------------------------------


def test_signatures_around_signatures_are_refused_at_any_depth() -> None:
    client_keys, _ = key_pair(1)
    pair = secured(mechanism=Mechanism.HLS_ECDSA, suite=1, policy=SecurityPolicy.NONE)
    octets = GET
    for depth in range(1, 200):
        header = GeneralHeader(depth.to_bytes(8, "big"), CLIENT_TITLE, SERVER_TITLE)
        signature = sign(header.encode() + octets, client_keys.signing, 1)
        octets = apdu.GeneralSigning(header, octets, signature).encode()
        if depth == 1:
            continue
        pair.server.receive_apdu(octets, NOW)
        if len(octets) > 4096:
            break
    assert served(pair) == 0
    assert pair.server.associated


def sealed_get() -> bytes:
    return glo(sealed(GUEK, GET, suite=1))


def decoded(octets: bytes) -> GeneralCiphering:
    message = apdu.decode(octets)
    assert isinstance(message, GeneralCiphering)
    return message


def signed_get(suite: int = 1, number: int = 9, content: bytes = GET, **fields: bytes) -> bytes:
    header = GeneralHeader(number.to_bytes(8, "big"), CLIENT_TITLE, SERVER_TITLE)
    header = replace(header, **fields)
    signature = sign(header.encode() + content, key_pair(suite)[0].signing, suite)
    return apdu.GeneralSigning(header, content, signature).encode()


INSIDE = BOTH | SIGNED | Protection.SIGNED_INSIDE


@pytest.mark.parametrize("suite", [1, 2])
@pytest.mark.parametrize(
    ("envelope", "choice"),
    [
        (Envelope.GLO, KeyChoice.IDENTIFIED), (Envelope.DED, KeyChoice.IDENTIFIED),
        (Envelope.GENERAL_GLO, KeyChoice.IDENTIFIED), (Envelope.GENERAL_DED, KeyChoice.IDENTIFIED),
        *((Envelope.GENERAL_CIPHERING, choice) for choice in KeyChoice if choice.value[0] != "b"),
    ],
)  # fmt: skip
def test_what_is_signed_first_satisfies_the_same_policy(
    suite: int, envelope: Envelope, choice: KeyChoice
) -> None:
    """Requests and answers, in every envelope, long ones in blocks; the meter answers alike."""
    pair = secured(
        mechanism=Mechanism.HLS_ECDSA, suite=suite, policy=ALL_BITS, protection=INSIDE,
        envelope=envelope, key_choice=choice, dedicated_key=envelope.value.endswith("ded"),
    )  # fmt: skip
    pair.wire.clear()
    for make in (
        lambda: pair.client.get(ENERGY), lambda: pair.client.get(LONG),
        lambda: pair.client.set((WRITABLE, b"\x11\x05")),
    ):  # fmt: skip
        events = pair.exchange(make())
        assert [type(event) for event in events[-1:]] in ([GetAnswer], [SetAnswer])
    assert {octets[0] for _, octets in pair.wire} <= {0xDB, 0xDC, 0xDD}
    assert not violations(pair)


def test_a_signature_inside_cannot_be_stripped_wrapped_up_again_or_doubled() -> None:
    """Whoever holds the encryption key and not the signing key gains nothing by what it saw."""
    pair = secured(mechanism=Mechanism.HLS_ECDSA, suite=1, policy=ALL_BITS, protection=INSIDE)

    numbers = itertools.count(HIGH + 1)

    def wrapped_up(inner: bytes) -> bytes:
        return general_glo(sealed(GUEK, inner, next(numbers), suite=1))

    stripped = (
        signed_get(),  # without the cipher
        wrapped_up(GET), sealed_get(),  # without the signature
        wrapped_up(signed_get(recipient=b"")),
        wrapped_up(signed_get(recipient=b"STRANGER")),
        wrapped_up(signed_get(originator=b"STRANGER")),
        wrapped_up(signed_get(content=b"")),
        wrapped_up(signed_get(content=signed_get(number=8))),
        wrapped_up(signed_get(content=sealed_get())),
        wrapped_up(signed_get(content=wrapped_up(GET))),
        wrapped_up(wrapped_up(signed_get())),
        wrapped_up(signed_get()[:-1] + b"\0"), wrapped_up(signed_get()[:-70]),
        signed_get(content=wrapped_up(signed_get(number=8))),
    )  # fmt: skip
    (transaction,) = (name for name in floors(pair) if ":transaction." in name)
    before = floors(pair)[transaction]
    for octets in stripped:
        pair.server.receive_apdu(octets, NOW)
        assert served(pair) == 0, octets.hex()
        assert floors(pair)[transaction] == before, octets.hex()
    pair.server.receive_apdu(wrapped_up(signed_get()), NOW)
    assert served(pair) == 1, "the right one is served"
    for octets in (wrapped_up(signed_get()), wrapped_up(signed_get(number=8))):
        pair.server.receive_apdu(octets, NOW)
    assert served(pair) == 1, "the same signature in a new envelope is a replay"
    pair.server.receive_apdu(wrapped_up(signed_get(number=10)), NOW)
    assert served(pair) == 2


def test_the_client_takes_no_answer_whose_signature_inside_was_stripped() -> None:
    pair = secured(mechanism=Mechanism.HLS_ECDSA, suite=1, policy=ALL_BITS, protection=INSIDE)
    request = pair.client.get(ENERGY)
    side = pair.server._security
    assert side is not None
    plain = apdu.GetResponseNormal(0xC0 | pair.client._invoke & 15, b"\x11\x07").encode()
    for octets in (
        side.protect(plain, BOTH), side.protect(plain, SIGNED), side.protect(plain, BOTH,
        Envelope.GENERAL_GLO), plain,
    ):  # fmt: skip
        with pytest.raises(RemoteProtocolError):
            pair.client.receive_apdu(octets, NOW)
    (answer,) = pair.server.receive_apdu(request, NOW)
    (event,) = pair.client.receive_apdu(answer, NOW)
    assert isinstance(event, GetAnswer)


# --- general-ciphering and general-signing ------------------------------------------------------


def ciphered(
    info: apdu.KeyInfo | None, key: bytes, *, control: int = 0x31, counter: int = HIGH,
    changed: GeneralHeader | None = None, **fields: bytes,
) -> bytes:  # fmt: skip
    """A general-ciphering APDU of suite 1; `changed`: the header that is sent instead."""
    header = replace(GeneralHeader(bytes(8), CLIENT_TITLE, SERVER_TITLE), **fields)
    content = sealed(key, GET, counter, control=control, header=header.encode(), suite=1)
    return GeneralCiphering(changed or header, info, content).encode()


def one_pass_key(signed: bytes = b"", scheme: bytes = b"\x01") -> AgreedKey:
    public = public_key_of(new_private_key(1, repeatable_entropy(5)), 1)
    return AgreedKey(scheme, public + sign(signed or public, key_pair(1)[0].signing, 1))


FRESH = bytes(range(50, 66))
WRAPPED = WrappedKey(0, wrap_key(keys().master, FRESH))
PLAIN_HEADER = GeneralHeader(bytes(8), CLIENT_TITLE, SERVER_TITLE)
GENERAL: dict[str, Callable[[], bytes]] = {
    "another recipient": lambda: ciphered(IdentifiedKey(0), GUEK, recipient=b"STRANGER"),
    "another originator": lambda: ciphered(IdentifiedKey(0), GUEK, originator=b"STRANGER"),
    "our own title": lambda: ciphered(IdentifiedKey(0), GUEK, originator=SERVER_TITLE),
    "no key named, none known": lambda: ciphered(None, GUEK),
    "a key that is not there": lambda: ciphered(IdentifiedKey(2), GUEK),
    "broadcast named, unicast used": lambda: ciphered(IdentifiedKey(1), GUEK),
    "broadcast bit, unicast named": lambda: ciphered(IdentifiedKey(0), GUEK, control=0x71),
    "broadcast, confirmed": lambda: ciphered(IdentifiedKey(1), GBEK, control=0x71),
    "transaction-id changed": lambda: ciphered(
        IdentifiedKey(0), GUEK, changed=replace(PLAIN_HEADER, transaction_id=b"\1" * 8)),
    "recipient removed": lambda: ciphered(
        IdentifiedKey(0), GUEK, changed=replace(PLAIN_HEADER, recipient=b"")),
    "originator removed": lambda: ciphered(
        IdentifiedKey(0), GUEK, changed=replace(PLAIN_HEADER, originator=b"")),
    "other information added": lambda: ciphered(
        IdentifiedKey(0), GUEK, changed=replace(PLAIN_HEADER, other_information=b"x")),
    "wrapped under another key": lambda: ciphered(WrappedKey(0, wrap_key(OTHER, FRESH)), FRESH),
    "wrapped under a key of another number": lambda: ciphered(
        WrappedKey(1, wrap_key(keys().master, FRESH)), FRESH),
    "a wrapped key too long": lambda: ciphered(
        WrappedKey(0, wrap_key(keys().master, FRESH * 2)), FRESH),
    "a wrapped key cut": lambda: ciphered(WrappedKey(0, WRAPPED.wrapped[:-8]), FRESH),
    "an empty wrapped key": lambda: ciphered(WrappedKey(0, b""), FRESH),
    "a scheme that there is not": lambda: ciphered(one_pass_key(scheme=b"\3"), FRESH),
    "an unsigned ephemeral key": lambda: ciphered(
        replace(one_pass_key(), key_data=one_pass_key().key_data[:64]), FRESH),
    "an ephemeral key signed for something else": lambda: ciphered(one_pass_key(b"else"), FRESH),
    "a point that is not on the curve": lambda: ciphered(
        AgreedKey(b"\1", b"\1" * 64 + sign(b"\1" * 64, key_pair(1)[0].signing, 1)), FRESH),
    "static agreement with octets behind": lambda: ciphered(AgreedKey(b"\2", b"x"), FRESH),
}  # fmt: skip


@pytest.mark.parametrize("what", GENERAL)
def test_general_ciphering_is_refused(what: str) -> None:
    pair = secured(mechanism=Mechanism.HLS_ECDSA, suite=1)
    for answer in pair.server.receive_apdu(GENERAL[what](), NOW):
        assert answer[0] == 0xD8
    assert served(pair) == 0
    assert violations(pair)
    pair.server.receive_apdu(ciphered(IdentifiedKey(0), GUEK), NOW)
    pair.server.receive_apdu(ciphered(WRAPPED, FRESH, counter=1), NOW)
    assert served(pair) == 2, "the right ones are served"


def test_a_wrapped_key_cannot_be_used_for_old_numbers_again() -> None:
    """In the same association, in another one, and after a restart of the meter."""
    pair = secured(mechanism=Mechanism.HLS_ECDSA, suite=1)
    store = pair.device.counters._store
    used = ciphered(WRAPPED, FRESH, counter=9)
    pair.server.receive_apdu(used, NOW)
    assert served(pair) == 1
    pair.server.receive_apdu(used, NOW)
    pair.server.receive_apdu(ciphered(WRAPPED, FRESH, counter=5), NOW)
    pair.device.counters = InvocationCounters(store)
    pair.server = ServerAssociation(pair.device, 1)
    pair.client.disconnected()
    pair.associate()
    pair.server.receive_apdu(used, NOW)
    assert served(pair) == 1
    assert violations(pair) == [Violation.REPLAY]


def floors(pair: Pair) -> dict[str, int]:
    store = pair.device.counters._store
    assert isinstance(store, VolatileCounterStore)
    return dict(store._lowest)


@pytest.mark.parametrize("choice", [KeyChoice.WRAPPED, KeyChoice.ONE_PASS, KeyChoice.STATIC])
def test_a_thousand_keys_that_came_along_leave_one_number_and_no_replay(choice: KeyChoice) -> None:
    """All that was ever sent is played again, in a new association after a restart of the meter,
    also with the key-info of another APDU: none of the keys is remembered, none works twice."""
    pair = secured(
        mechanism=Mechanism.HLS_ECDSA, suite=1, envelope=Envelope.GENERAL_CIPHERING,
        key_choice=choice,
    )  # fmt: skip
    security = pair.client.security
    assert security is not None
    frames = []
    for _ in range(60):
        security._derived_out = None  # a new key, then an APDU under it that brings none
        frames += [security.protect(GET, BOTH, Envelope.GENERAL_CIPHERING, choice)]
        frames += [security.protect(GET, BOTH, Envelope.GENERAL_CIPHERING, choice)]
    names = set(floors(pair))
    for frame in frames:
        pair.server.receive_apdu(frame, NOW)
    assert served(pair) == len(frames)
    assert len(set(floors(pair)) - names) <= 1
    pair.device.counters = InvocationCounters(pair.device.counters._store)
    pair.server = ServerAssociation(pair.device, 1)
    pair.client.disconnected()
    pair.associate()
    for first, second in itertools.pairwise(frames):
        before, after = decoded(first), decoded(second)
        for octets in (first, second, replace(after, key_info=before.key_info).encode()):
            pair.server.receive_apdu(octets, NOW)
    assert served(pair) == len(frames)
    pair.exchange(pair.client.get(ENERGY))
    assert served(pair) == len(frames) + 1


@pytest.mark.parametrize("choice", [KeyChoice.WRAPPED, KeyChoice.ONE_PASS, KeyChoice.STATIC])
@pytest.mark.parametrize("protection", [BOTH, BOTH | SIGNED, INSIDE, SIGNED])
def test_a_client_that_lost_its_transactions_is_told_where_to_go_on(
    choice: KeyChoice, protection: Protection
) -> None:
    """Key holders hear the number, once refused go on with it; who sends less proves nothing."""
    pair = secured(
        mechanism=Mechanism.HLS_ECDSA, suite=1, envelope=Envelope.GENERAL_CIPHERING,
        key_choice=choice, protection=protection, policy=SecurityPolicy.NONE,
    )  # fmt: skip
    for _ in range(30):
        pair.exchange(pair.client.get(ENERGY))
    client = pair.client._config
    lost = InvocationCounters(VolatileCounterStore())
    pair.client = ClientAssociation(client, repeatable_entropy(8), lost)
    pair.server = ServerAssociation(pair.device, 1)
    lost.follow_report(CLIENT_TITLE, key_fingerprint(GUEK), HIGH, COUNTER_LAST)
    (event,) = pair.associate()
    assert isinstance(event, AssociationRefused)
    assert event.lowest_counter is not None
    pair.client.follow_counter(event.lowest_counter)
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    (event,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(event, GetAnswer)


def test_what_brings_a_key_is_authenticated_and_its_transaction_rises() -> None:
    pair = secured(mechanism=Mechanism.HLS_ECDSA, suite=1, policy=SecurityPolicy.NONE)
    before = floors(pair)
    for octets in (
        ciphered(WRAPPED, FRESH, control=0x21), ciphered(WRAPPED, FRESH, transaction_id=b""),
        ciphered(WRAPPED, FRESH, transaction_id=bytes(9)),
        ciphered(WRAPPED, FRESH, transaction_id=b"\xff" * 8),
    ):  # fmt: skip
        pair.server.receive_apdu(octets, NOW)
        assert floors(pair) == before
    assert served(pair) == 0
    for number, expected in ((7, 1), (7, 1), (6, 1), (8, 2)):
        key = bytes((number,)) * 16
        info = WrappedKey(0, wrap_key(keys().master, key))
        octets = ciphered(info, key, counter=0, transaction_id=bytes((number,)))
        pair.server.receive_apdu(octets, NOW)
        assert served(pair) == expected, number
    unproved = ciphered(None, bytes((8,)) * 16, control=0x21, counter=1)
    for _ in range(3):
        pair.server.receive_apdu(unproved, NOW)
    assert served(pair) == 3, "within the association the numbers of the key itself count"


def signing(**fields: bytes) -> GeneralHeader:
    return replace(GeneralHeader((9).to_bytes(8, "big"), CLIENT_TITLE, SERVER_TITLE), **fields)


SIGNATURES: dict[str, tuple[GeneralHeader, bytes]] = {
    "no recipient: it would do for every meter": (signing(recipient=b""), GET),
    "another recipient": (signing(recipient=b"STRANGER"), GET),
    "another originator": (signing(originator=b"STRANGER"), GET),
    "our own title": (signing(originator=SERVER_TITLE), GET),
    "no transaction-id": (signing(transaction_id=b""), GET),
    "a transaction-id of 9 octets": (signing(transaction_id=bytes(9)), GET),
    "a transaction-id that no store can count": (signing(transaction_id=b"\xff" * 8), GET),
    "no content": (signing(), b""),
}


@pytest.mark.parametrize("suite", [1, 2])
@pytest.mark.parametrize("what", SIGNATURES)
def test_signed_plain_apdus_are_refused(suite: int, what: str) -> None:
    client_keys, _ = key_pair(suite)
    pair = secured(
        mechanism=Mechanism.HLS_ECDSA, suite=suite, policy=SecurityPolicy.SIGNED_REQUEST,
        protection=Protection.BOTH | SIGNED,
    )  # fmt: skip

    def signed(header: GeneralHeader, content: bytes, private: bytes) -> bytes:
        signature = sign(header.encode() + content, private, suite)
        return apdu.GeneralSigning(header, content, signature).encode()

    pair.server.receive_apdu(signed(*SIGNATURES[what], client_keys.signing), NOW)
    pair.server.receive_apdu(signed(signing(), GET, client_keys.agreement), NOW)
    assert served(pair) == 0
    right = signed(signing(transaction_id=(1 << 40).to_bytes(8, "big")), GET, client_keys.signing)
    for octets in (right, right, signed(signing(), GET, client_keys.signing)):
        pair.server.receive_apdu(octets, NOW)
    assert served(pair) == 1, "once, and nothing older"


def test_the_other_form_of_a_signature_opens_no_replay() -> None:
    """With (r, s) also (r, n - s) verifies: the content must not be taken twice by that."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    pair = secured(mechanism=Mechanism.HLS_ECDSA, suite=1, policy=ALL_BITS,
                   protection=Protection.BOTH | SIGNED)  # fmt: skip
    request = pair.client.get(ENERGY)
    pair.server.receive_apdu(request, NOW)
    twin = request[:-32] + (order - int.from_bytes(request[-32:], "big")).to_bytes(32, "big")
    pair.server.receive_apdu(twin, NOW)
    assert served(pair) == 1


# --- broadcast ----------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [GET, SET, ACTION], ids=["get", "set", "action"])
def test_nothing_confirmed_is_served_under_the_broadcast_key(plain: bytes) -> None:
    """Every meter of the group holds this key: none may act for the head-end with it."""
    pair = secured()
    octets = general_glo(sealed(GBEK, plain, control=0x70))
    assert pair.server.receive_apdu(octets, NOW) == []
    assert served(pair) == 0
    assert violations(pair) == [Violation.POLICY]
    assert pair.server.receive_apdu(
        general_glo(sealed(GBEK, SET_UNCONFIRMED, HIGH + 1, control=0x70)), NOW
    ) == []  # fmt: skip
    assert served(pair) == 1


def test_a_broadcast_is_not_answered_whatever_is_wrong_with_it() -> None:
    pair = secured()
    once = general_glo(sealed(GBEK, SET_UNCONFIRMED, control=0x70))
    for octets in (once, once, once[:-1] + b"\x00"):
        assert pair.server.receive_apdu(octets, NOW) == []
    assert served(pair) == 1


def test_an_association_is_not_opened_nor_ended_under_the_broadcast_key() -> None:
    initiate = apdu.InitiateRequest(0xFFFFFF, 1024).encode()
    under_gbek = glo(sealed(GBEK, initiate, control=0x70), 0x21)
    pair = secured_pair(Mechanism.LLS)
    aarq = acse.decode_aarq(pair.client.associate())
    (answer,) = pair.server.receive_apdu(replace(aarq, user_information=under_gbek).encode(), NOW)
    assert acse.decode_aare(answer).result == 1
    assert not pair.server.associated
    pair = secured()
    pair.server.receive_apdu(acse.Rlrq(0, under_gbek).encode(), NOW)
    assert pair.server.associated


def test_the_client_takes_no_answer_under_the_broadcast_key() -> None:
    pair = secured()
    pair.client.get(ENERGY)
    invoke = 0xC0 | pair.client._invoke & 0x0F
    forged = bytes((0xC4, 1, invoke, 0)) + b"\x06" + bytes(4)
    octets = glo(sealed(GBEK, forged, control=0x70, title=SERVER_TITLE), 0xCC)
    with pytest.raises(RemoteProtocolError, match="broadcast"):
        pair.client.receive_apdu(octets, NOW)
    assert pair.client.busy


# --- counters -----------------------------------------------------------------------------------


def test_counters_are_kept_for_each_key_and_each_sender() -> None:
    """A high number under one key, or of one sender, says nothing of another."""
    profile = AssociationProfile(
        102, keys=keys(), policy=SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED, pre_established=True
    )
    pair = make_pair(ClientConfig(), profile)
    taken: set[tuple[bytes, bytes, int]] = set()
    for key, control in ((GUEK, 0x30), (GBEK, 0x70)):
        for title in (CLIENT_TITLE, b"ANOTHER1"):
            for number in (1000, 1001, 7, 1001, 1002):
                before = served(pair)
                pair.server.receive_apdu(
                    general_glo(sealed(key, SET_UNCONFIRMED, number, control=control, title=title),
                                title), NOW)  # fmt: skip
                if served(pair) > before:
                    taken.add((key, title, number))
    assert len(taken) == 12
    assert {number for _, _, number in taken} == {1000, 1001, 1002}


def test_associations_of_one_client_share_its_numbers_however_they_are_interleaved() -> None:
    pair = secured()
    other = ServerAssociation(pair.device, 1)
    second = ClientAssociation(
        ClientConfig(Mechanism.HLS_GMAC, b"", CLIENT_TITLE, keys()), repeatable_entropy(3),
        pair.client.security.counters,  # type: ignore[union-attr]
    )  # fmt: skip
    beside = Pair(second, other, pair.meter, pair.device)
    (event,) = beside.associate()
    assert isinstance(event, Associated)
    for _ in range(5):
        for each in (pair, beside):
            (answer,) = each.exchange(each.client.get(ENERGY))
            assert isinstance(answer, GetAnswer)
    request = pair.client.get(ENERGY)
    other.receive_apdu(request, NOW)  # sent into the other association first
    before = served(pair)
    pair.server.receive_apdu(request, NOW)
    assert served(pair) == before


def test_the_counter_is_told_to_key_holders_only() -> None:
    pair = secured(policy=SecurityPolicy.ENCRYPTED, protection=Protection.ENCRYPTED)
    (answer,) = pair.server.receive_apdu(glo(sealed(OTHER, GET, 0, control=0x20)), NOW)
    assert answer == bytes.fromhex("D80105")
    assert violations(pair) == [Violation.REPLAY]
    pair = secured()
    for octets, expected in (
        (glo(sealed(GUEK, GET, 0)), "D80106"),
        (glo(sealed(OTHER, GET, 0)), "D80105"),
        (glo(sealed(GUEK, GET, 0, control=0x20)), "D80101"),
    ):
        (answer,) = pair.server.receive_apdu(octets, NOW)
        assert answer[:3].hex().upper() == expected
        assert (len(answer) == 7) == (expected == "D80106")


def test_a_key_at_its_end_is_refused_on_receipt_and_nothing_overflows() -> None:
    pair = secured()
    (answer,) = pair.server.receive_apdu(glo(sealed(GUEK, GET, COUNTER_LAST)), NOW)
    assert answer[0] == 0xCC
    for number in (0xFFFF_FFFF, COUNTER_LAST, 0):
        (answer,) = pair.server.receive_apdu(glo(sealed(GUEK, GET, number)), NOW)
        assert answer == bytes.fromhex("D80106FFFFFFFF")
    assert served(pair) == 1


def test_a_floor_written_ahead_past_the_end_is_told_as_the_end() -> None:
    """A meter writes floors ahead of what came; after a power cut they may pass the last number."""
    pair = secured()
    counters = pair.device.counters
    counters.accept(CLIENT_TITLE, key_fingerprint(GUEK), (1 << 32) + 49)
    (answer,) = pair.server.receive_apdu(glo(sealed(GUEK, GET)), NOW)
    assert answer == bytes.fromhex("D80106FFFFFFFF")


def test_a_server_whose_numbers_are_used_up_says_so_and_does_not_wrap() -> None:
    pair = secured()
    server = pair.server._security
    assert server is not None
    server.counters._blocks[SERVER_TITLE, server.unicast_key_id] = (
        count(COUNTER_LAST), COUNTER_LAST + 9,
    )  # fmt: skip
    (last,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(last, GetAnswer)
    for _ in range(3):
        assert pair.server.receive_apdu(pair.client.get(ENERGY), NOW) == [bytes.fromhex("D80101")]
        pair.client.cancel()
    assert set(violations(pair)) == {Violation.OWN_KEYS}


def test_a_key_that_nears_its_end_is_told_of_once_and_long_before() -> None:
    pair = secured()
    server = pair.server._security
    assert server is not None
    blocks = server.counters._blocks
    blocks[SERVER_TITLE, server.unicast_key_id] = (count(COUNTER_WARNING - 2), COUNTER_WARNING + 50)
    told = []
    for _ in range(6):
        pair.exchange(pair.client.get(ENERGY))
        told.append(violations(pair))
    assert told == [[], [], [Violation.OWN_KEYS], [], [], []]
    for number in (COUNTER_WARNING - 1, COUNTER_WARNING, COUNTER_WARNING + 1):
        pair.server.receive_apdu(glo(sealed(GUEK, GET, number)), NOW)
    assert violations(pair) == [Violation.OWN_KEYS], "the numbers of the client are watched, too"
    assert COUNTER_LAST - COUNTER_WARNING > 1 << 27


def test_numbers_set_aside_before_a_crash_are_never_used_again() -> None:
    """Cut between setting aside and use, and between use and the next message."""
    store = VolatileCounterStore()
    used: list[bytes] = []
    for crash_after in (0, 1, RESERVED_AHEAD, RESERVED_AHEAD + 1, 5):
        counters = InvocationCounters(store)
        context = SecurityContext(
            CLIENT_TITLE, keys(), counters, repeatable_entropy(1), peer_title=SERVER_TITLE
        )
        used += [context.protect(GET, Protection.BOTH)[3:7] for _ in range(crash_after)]
        store.reserve("send:" + CLIENT_TITLE.hex() + ":" + context.unicast_key_id, 1)
    assert len(set(used)) == len(used)
    assert used == sorted(used)


# --- dedicated key ------------------------------------------------------------------------------


def test_a_dedicated_key_taken_again_repeats_no_nonce_and_no_request() -> None:
    """A client with a fixed dedicated key, over associations and restarts of the meter."""
    store, fixed = VolatileCounterStore(), bytes(range(16))
    seen: list[bytes] = []
    pair = secured_pair(dedicated_key=True, envelope=Envelope.DED)
    for restart in range(4):
        if restart != 1:  # the second association is on the same running meter
            pair.device.counters = InvocationCounters(store)
        pair.server = ServerAssociation(pair.device, 1)
        pair.client.disconnected()
        draw = repeatable_entropy(40 + restart)
        pair.client._entropy = lambda count, draw=draw: fixed if count == 16 else draw(count)  # type: ignore[misc]
        pair.client._config = replace(pair.client._config, challenge_octets=20)
        pair.wire.clear()
        (event,) = pair.associate()
        assert isinstance(event, Associated)
        for _ in range(3):
            pair.exchange(pair.client.get(ENERGY))
        seen += [octets[3:7] for way, octets in pair.wire if way == "<" and octets[0] == 0xD4]
    assert len(seen) == 12
    assert len(set(seen)) == len(seen)


def test_a_dedicated_key_ends_with_its_association() -> None:
    pair = secured(dedicated_key=True, envelope=Envelope.DED)
    old = [octets for way, octets in pair.wire if way == ">" and octets[0] == 0xD0]
    old.append(pair.client.get(ENERGY))
    pair.client.cancel()
    key = pair.client._dedicated
    pair.client.disconnected()
    pair.associate()
    before = served(pair)
    for octets in (*old, glo(sealed(key, GET), 0xD0), general_glo(sealed(key, GET), tag=0xDC)):
        assert pair.server.receive_apdu(octets, NOW) == [bytes.fromhex("D80105")]
    assert served(pair) == before


# --- opening ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [0, 1, 2])
def test_the_third_pass_is_protected_as_the_initiate_was(suite: int) -> None:
    """Also where the policy asks for nothing; the right one is still taken afterwards."""
    pair = secured_pair(suite=suite, policy=SecurityPolicy.NONE)
    (aare,) = pair.server.receive_apdu(pair.client.associate(), NOW)
    (third,) = pair.client.receive_apdu(aare, NOW)
    assert isinstance(third, Send)
    security = pair.client.security
    assert security is not None

    def plain() -> bytes:
        proof = pair.client._party().prove(pair.client._stoc, pair.client._challenge)
        return apdu.ActionRequestNormal(0xC1, REPLY_TO_HLS, b"\x09" + octet_string(proof)).encode()

    for weaker in (
        plain(),
        security.protect(plain(), Protection.AUTHENTICATED),
        security.protect(plain(), Protection.BOTH, Envelope.GLO, KeyChoice.BROADCAST),
    ):
        answers = pair.server.receive_apdu(weaker, NOW)
        assert answers in ([], [bytes.fromhex("D80101")])
        assert not pair.server.associated
    pair.server.receive_apdu(security.protect(plain(), Protection.BOTH), NOW)
    assert pair.server.associated


def test_a_third_pass_counts_once_and_for_its_own_challenge() -> None:
    pair = secured_pair(Mechanism.HLS_SHA256, policy=SecurityPolicy.NONE)
    pair.associate()
    thirds = [octets for way, octets in pair.wire if way == ">" and octets[0] == 0xCB]
    answers = pair.server.receive_apdu(thirds[0], NOW)
    assert [answer[:3] for answer in answers] == [b"\xd8\x01\x06"]
    assert pair.server.associated
    again = ServerAssociation(pair.device, 1)
    pair.client.disconnected()
    again.receive_apdu(pair.client.associate(), NOW)
    again.receive_apdu(thirds[0], NOW)
    assert not again.associated
    # In a plain context nothing but the challenge stands between a recording and the meter.
    plain = plain_pair(Mechanism.HLS_MD5)
    plain.associate()
    third = next(octets for way, octets in plain.wire if way == ">" and octets[0] == 0xC3)
    (answer,) = plain.server.receive_apdu(third, NOW)
    assert answer[0] != 0xC7 or answer[3] != 0, "there is nothing left to answer"
    plain.client.disconnected()
    fresh = ServerAssociation(plain.device, 16)
    fresh.receive_apdu(plain.client.associate(), NOW)
    fresh.receive_apdu(third, NOW)
    assert not fresh.associated


OURS = bytes(range(16))


@pytest.mark.parametrize(
    ("mechanism", "challenge", "reflected"),
    [
        (Mechanism.HLS_MD5, OURS, True),
        (Mechanism.HLS_MD5, OURS + b"\x00", False),
        (Mechanism.HLS, OURS, True),
        (Mechanism.HLS, OURS + OURS[:8], True),
        (Mechanism.HLS, bytes(16) + OURS, True),
        (Mechanism.HLS, bytes(16) + OURS[:15], False),
        (Mechanism.HLS, bytes(8) + OURS + bytes(8), False),
    ],
)
def test_a_challenge_that_would_answer_our_own_is_seen(
    mechanism: Mechanism, challenge: bytes, reflected: bool
) -> None:
    assert reflects(mechanism, OURS, challenge) is reflected


@pytest.mark.parametrize("sent", [8, 12, 16, 24, 32])
@pytest.mark.parametrize("around", [b"", bytes(16), b"x" * 16])
def test_mechanism_2_gives_no_server_the_answer_to_our_own_challenge(
    sent: int, around: bytes
) -> None:
    """AES-ECB works block by block: a server without the secret could send our challenge among
    other blocks and hand our own answer back."""
    pair = plain_pair(Mechanism.HLS, challenge_octets=sent)
    (aare,) = pair.server.receive_apdu(pair.client.associate(), NOW)
    ours = pair.client._challenge
    padded = ours + bytes(-len(ours) % 16)
    for challenge in (around + padded, padded + around):
        forged = replace(acse.decode_aare(aare), authentication_value=challenge)
        (event,) = pair.client.receive_apdu(forged.encode(), NOW)
        assert isinstance(event, AssociationRefused)
        pair.client._state = type(pair.client._state).OPENING


def test_guesses_are_slowed_down_over_many_associations_opened_at_once() -> None:
    pair = plain_pair(Mechanism.HLS_MD5)
    pair.device.guard = FailureThrottle(at_once=10)
    opened = []
    for _ in range(40):
        guesser = ClientAssociation(
            ClientConfig(Mechanism.HLS_MD5, b"wrong-secret", CLIENT_TITLE), repeatable_entropy(7)
        )
        server = ServerAssociation(pair.device, 16)
        (aare,) = server.receive_apdu(guesser.associate(), NOW)
        (third,) = guesser.receive_apdu(aare, NOW)
        assert isinstance(third, Send)
        opened.append((server, third.apdu))
    right = ServerAssociation(pair.device, 16)
    (aare,) = right.receive_apdu(pair.client.associate(), NOW)
    (third,) = pair.client.receive_apdu(aare, NOW)
    for server, guess in opened:
        server.receive_apdu(guess, NOW)
    assert isinstance(third, Send)
    right.receive_apdu(third.apdu, NOW)
    assert not right.associated, "the forty-first guess is not looked at, right or wrong"


def test_one_client_that_guesses_locks_no_other_out_and_itself_for_a_while_only() -> None:
    guard = FailureThrottle()
    pair = plain_pair(Mechanism.LLS)
    pair.device.guard = guard
    other = AssociationProfile(2, Mechanism.LLS, b"of another client")
    pair.device.profiles = {**pair.device.profiles, 2: other}

    def attempt(sap: int, secret: bytes, now: int = 0) -> bool:
        client = ClientAssociation(ClientConfig(Mechanism.LLS, secret), repeatable_entropy(1))
        server = ServerAssociation(pair.device, sap)
        server.receive_apdu(client.associate(), Instant(now))
        return server.associated

    assert not any(attempt(16, b"guess") for _ in range(100_000 // 100))
    assert not attempt(16, b"12345678")
    assert attempt(2, b"of another client")
    assert attempt(16, b"12345678", now=3600 * 10**9 // 10 + 1), "no longer than one guess costs"


@pytest.mark.parametrize("mechanism", [m for m in Mechanism if m.is_hls or m is Mechanism.LLS])
def test_no_client_can_be_set_up_with_an_empty_secret(mechanism: Mechanism) -> None:
    if mechanism in (Mechanism.HLS_GMAC, Mechanism.HLS_ECDSA):
        with pytest.raises(ValueError, match="keys"):
            AssociationProfile(1, mechanism)
        return
    with pytest.raises(ValueError, match="secret"):
        AssociationProfile(1, mechanism)


# --- changes while associations stand -----------------------------------------------------------


def changed_profile(pair: Pair, **changes: object) -> None:
    pair.device.profiles = {1: replace(pair.device.profiles[1], **changes)}  # type: ignore[arg-type]


def test_a_key_changed_in_one_association_ends_the_old_one_in_all() -> None:
    pair = secured()
    fresh = replace(keys(), unicast=OTHER)
    changed_profile(pair, keys=fresh)  # another association of the same client did it
    assert pair.server.receive_apdu(pair.client.get(ENERGY), NOW) == [bytes.fromhex("D80105")]
    assert served(pair) == 0
    pair.client.cancel()
    pair.client.security.rekey(fresh)  # type: ignore[union-attr]
    (answer,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(answer, GetAnswer)


def test_a_policy_strengthened_in_one_association_holds_in_all_from_the_next_apdu() -> None:
    pair = secured(policy=SecurityPolicy.NONE)
    assert pair.server.receive_apdu(GET, NOW)[0][0] == 0xC4
    changed_profile(pair, policy=SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED)
    assert pair.server.receive_apdu(GET, NOW) == [bytes.fromhex("D80101")]
    assert pair.server.receive_apdu(
        glo(sealed(GUEK, GET, control=0x10)), NOW
    ) == [bytes.fromhex("D80101")]  # fmt: skip
    (answer,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(answer, GetAnswer)


def test_a_client_that_is_no_longer_there_loses_its_association() -> None:
    pair = secured()
    pair.device.profiles = {}
    assert pair.server.receive_apdu(pair.client.get(ENERGY), NOW) == [bytes.fromhex("D80101")]
    assert not pair.server.associated


@pytest.mark.parametrize("policy", [SecurityPolicy.NONE, ALL_BITS & 0x6C])
def test_a_ciphered_association_is_ended_by_a_protected_release_only(policy: int) -> None:
    pair = secured(policy=SecurityPolicy(policy))
    initiate = apdu.InitiateRequest(0xFFFFFF, 1024).encode()
    security = pair.client.security
    assert security is not None
    for information in (
        b"", initiate, security.protect(initiate, Protection.AUTHENTICATED),
        security.protect(initiate, Protection.ENCRYPTED), glo(sealed(OTHER, initiate), 0x21),
    ):  # fmt: skip
        pair.server.receive_apdu(acse.Rlrq(0, information).encode(), NOW)
        assert pair.server.associated, information.hex()
    pair.exchange(pair.client.release())
    assert not pair.server.associated


def test_without_a_known_title_nothing_unauthenticated_is_taken_or_remembered() -> None:
    """Else anybody could make a meter keep counters for titles without end."""
    profile = AssociationProfile(102, keys=keys(), pre_established=True)
    pair = make_pair(ClientConfig(), profile)
    for number in range(300):
        title = number.to_bytes(8, "big")
        octets = general_glo(sealed(GUEK, GET, control=0x20, title=title), title)
        pair.server.receive_apdu(octets, NOW)
    assert served(pair) == 0
    assert not pair.device.counters._floors
    store = pair.device.counters._store
    assert isinstance(store, VolatileCounterStore)
    assert not store._lowest


# --- secrets ------------------------------------------------------------------------------------


def test_nothing_on_the_way_shows_a_secret() -> None:
    """Challenges, dedicated keys and passwords pass through objects that tracebacks print."""
    canary = b"CANARY-16-OCTETS"
    pair = secured_pair(dedicated_key=True)
    pair.client._entropy = lambda count: canary[:count] if count == 16 else bytes(count)
    aarq = pair.client.associate()
    pair.server.receive_apdu(aarq, NOW)
    password = acse.decode_aarq(plain_pair(Mechanism.LLS, secret=canary).client.associate())
    texts = [repr(pair.server._challenges), repr(password), repr(KeySet(0, canary))]
    for text in texts:
        assert "CANARY" not in text
        assert canary.hex() not in text


def test_a_security_error_shows_no_key() -> None:
    context = SecurityContext(
        SERVER_TITLE, keys(), InvocationCounters(VolatileCounterStore()), repeatable_entropy(1),
        peer_title=CLIENT_TITLE,
    )  # fmt: skip
    context.needs = Protection.BOTH
    reasons = []
    for make in (*MISUSES.values(), *GENERAL.values()):
        try:
            context.unprotect(make())
        except RemoteProtocolError as error:
            reasons.append(repr(error))
    assert len(reasons) > 40
    for key in (GUEK, GBEK, OTHER, FRESH, keys().authentication, keys().master):
        assert not any(key.hex() in text or repr(key)[2:-1] in text for text in reasons)


# --- protected data (class 30) ------------------------------------------------------------------


def sides(suite: int) -> tuple[SecurityContext, SecurityContext]:
    """Who protects data and who takes them, apart from any association."""
    client_keys, server_keys = key_pair(suite)
    return (
        SecurityContext(CLIENT_TITLE, client_keys, InvocationCounters(VolatileCounterStore()),
                        repeatable_entropy(1), peer_title=SERVER_TITLE),
        SecurityContext(SERVER_TITLE, server_keys, InvocationCounters(VolatileCounterStore()),
                        repeatable_entropy(2), peer_title=CLIENT_TITLE),
    )  # fmt: skip


WAYS_TO_NAME = {
    "identified": IdentifiedKey(0), "broadcast": IdentifiedKey(1), "wrapped": WrappedKey(0, b""),
    "one-pass": AgreedKey(b"\x01", b""), "static": AgreedKey(b"\x02", b""),
}  # fmt: skip
LAYERS = [(0,), (2,), (3,), (1, 3), (2, 3), (3, 2), (0, 1), (2, 2)]


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("way", WAYS_TO_NAME)
@pytest.mark.parametrize("layers", LAYERS)
def test_protected_data_are_taken_once_and_unaltered(
    suite: int, way: str, layers: tuple[int, ...]
) -> None:
    if not suite and (3 in layers or way in ("one-pass", "static")):
        return
    sender, receiver = sides(suite)
    wanted = [ProtectionElement(kind, key_info=WAYS_TO_NAME[way]) for kind in layers]
    used, octets = protect_data(sender, b"\x11\x07", wanted)
    for bit in range(0, len(octets) * 8, 37):
        changed = bytearray(octets)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteProtocolError):
            unprotect_data(receiver, bytes(changed), used)
    for field in ("transaction_id", "originator", "recipient", "other_information"):
        other = tuple(replace(each, **{field: b"STRANGER"}) for each in used)
        with pytest.raises(RemoteProtocolError):
            unprotect_data(receiver, octets, other)
    with pytest.raises(RemoteProtocolError):
        unprotect_data(sender, octets, used)  # reflected
    store = receiver.counters._store
    assert isinstance(store, VolatileCounterStore)
    assert not store._lowest, "nothing was remembered of what was refused"
    assert unprotect_data(receiver, octets, used) == b"\x11\x07"
    with pytest.raises(RemoteProtocolError):
        unprotect_data(receiver, octets, used)
    again, later = protect_data(sender, b"\x11\x08", wanted)
    assert unprotect_data(receiver, later, again) == b"\x11\x08"


def test_data_that_are_only_encrypted_cannot_use_a_key_up() -> None:
    sender, receiver = sides(0)
    element = ProtectionElement(1, key_info=IdentifiedKey(0))
    used, octets = protect_data(sender, b"\x11\x07", [element])
    unprotect_data(receiver, octets, used)
    for number in (0xFFFF_FF00, 0xFFFF_FFFF):
        with pytest.raises(RemoteProtocolError):
            unprotect_data(receiver, octets[:1] + number.to_bytes(4, "big") + octets[5:], used)
    again, later = protect_data(sender, b"\x11\x08", [element])
    assert unprotect_data(receiver, later, again) == b"\x11\x08"
