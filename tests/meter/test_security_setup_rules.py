"""What the Security setup (class 64) refuses, row by row, and that a refusal changes nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from blathy.cosem import axdr
from blathy.cosem.axdr import Data
from blathy.cosem.service import AccessError
from blathy.meter.certificates import (
    AGREEMENT,
    CLIENT,
    SERVER,
    SIGNATURE,
    TLS,
    issue,
    issue_for_request,
    read,
)
from blathy.meter.counters import NAMES_MAX
from blathy.meter.identity import HEAD_END_TITLE, authority_private_key, head_end_keys
from blathy.meter.keeping import StoreKeeper, pack_settings
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models import MODELS
from blathy.store.store import StorageError, Store
from blathy.wire.errors import LocalProtocolError
from blathy.wire.invocation_counters import ONE_TIME
from blathy.wire.security import (
    KEY_OCTETS,
    Envelope,
    InvocationCounters,
    KeyChoice,
    Protection,
    SecurityContext,
    SecurityError,
    SecurityPolicy,
    VolatileCounterStore,
    ephemeral_offer,
    key_fingerprint,
    new_private_key,
    public_key_of,
)
from tests.meter.running import call, get, made, put

SECURITY = "0-0:43.0.0"
ACTIVATE, TRANSFER, AGREE, GENERATE, REQUEST, IMPORT, EXPORT, REMOVE = range(1, 9)
NAMES = ("unicast", "broadcast", "authentication", "master")


def of_suite(suite: int, **named: Any) -> Meter:
    meter = made("omnipower", options=MeterOptions(suite=suite, encryption=False), **named)
    meter.entropy = os.urandom
    return meter


def standing(meter: Meter) -> tuple[object, ...]:
    """All that the Security setup can change."""
    own = ("signing", "agreement") if meter.identity.suite else ()
    return (
        *(meter.key(name) for name in (*NAMES, *own)), int(meter.policy),
        get(meter, 64, SECURITY, 6), meter.key_set(),
    )  # fmt: skip


def refuses(meter: Meter, method: int, parameter: Data) -> None:
    before = standing(meter)
    with pytest.raises(AccessError):
        call(meter, 64, SECURITY, method, parameter)
    assert standing(meter) == before


def items(*pairs: tuple[int, bytes]) -> Data:
    return axdr.array(*(axdr.structure(axdr.enum(n), axdr.octets(o)) for n, o in pairs))


# --- key transfer -------------------------------------------------------------------------------

FRESH = bytes(range(200, 232))


def wrapped(meter: Meter, key: bytes | None = None, master: bytes | None = None) -> bytes:
    size = KEY_OCTETS[meter.identity.suite]
    return aes_key_wrap(master or meter.key("master"), key or FRESH[:size])


TRANSFERS: dict[str, Callable[[Meter], Data]] = {
    "a key id that there is not": lambda m: items((4, wrapped(m))),
    "the last key id": lambda m: items((255, wrapped(m))),
    "the same id twice": lambda m: items((0, wrapped(m)), (0, wrapped(m))),
    "wrapped under another key": lambda m: items((0, wrapped(m, master=m.key("unicast")))),
    "not wrapped": lambda m: items((0, FRESH[: KEY_OCTETS[m.identity.suite]])),
    "a key of 24 octets": lambda m: items((0, wrapped(m, FRESH[:24]))),
    "a key of 40 octets": lambda m: items((0, wrapped(m, FRESH + FRESH[:8]))),
    "a cut key": lambda m: items((0, wrapped(m)[:-8])),
    "an altered key": lambda m: items((0, wrapped(m)[:-1] + b"\x00")),
    "no octets": lambda m: items((0, b"")),
    "a right one and a wrong one": lambda m: items((1, wrapped(m)), (2, bytes(24))),
    "a wrong one and a right one": lambda m: items((1, bytes(24)), (2, wrapped(m))),
    "under the master that comes with it": lambda m: items(
        (3, wrapped(m)), (0, wrapped(m, master=FRESH[: KEY_OCTETS[m.identity.suite]]))),
    "no array": lambda m: axdr.octets(wrapped(m)),
    "an array of octets": lambda m: axdr.array(axdr.octets(wrapped(m))),
}  # fmt: skip


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("what", TRANSFERS)
def test_a_key_transfer_that_is_wrong_changes_nothing(suite: int, what: str) -> None:
    meter = of_suite(suite)
    refuses(meter, TRANSFER, TRANSFERS[what](meter))
    for number, name in enumerate(NAMES):  # and each right one is taken
        key = bytes((number,)) * KEY_OCTETS[suite]
        call(meter, 64, SECURITY, TRANSFER, items((number, wrapped(meter, key))))
        assert meter.key(name) == key


def test_a_key_that_comes_back_goes_on_where_its_numbers_ended() -> None:
    """Else the numbers used under it before could be used, and taken, once more."""
    meter = of_suite(0)
    first, title = meter.key("unicast"), meter.identity.system_title
    sent = [meter.counters.next(title, key_fingerprint(first)) for _ in range(3)]
    meter.counters.accept(HEAD_END_TITLE, key_fingerprint(first), 500)
    for key in (FRESH[:16], first):
        call(meter, 64, SECURITY, TRANSFER, items((0, wrapped(meter, key))))
    assert meter.key("unicast") == first
    assert meter.counters.next(title, key_fingerprint(first)) > max(sent)
    assert meter.counters.lowest(HEAD_END_TITLE, key_fingerprint(first)) == 501


def kept_floors(meter: Meter) -> int:
    return sum(key.startswith(b"ic:receive:") for key in meter.settings)


def test_keys_that_come_along_take_no_room_and_work_once_also_after_a_power_cut() -> None:
    """A meter that hears a new key with every APDU keeps a number for each way to make them."""
    store = Store.in_memory()
    meter = of_suite(1, keeper=StoreKeeper(store, "m"))
    signing, agreement = head_end_keys("test", 1)
    keys = dataclasses.replace(
        meter.key_set(), signing=signing, agreement=agreement,
        peer_signing=public_key_of(meter.key("signing"), 1),
        peer_agreement=public_key_of(meter.key("agreement"), 1),
    )  # fmt: skip
    title = meter.identity.system_title
    client = SecurityContext(
        HEAD_END_TITLE, keys, InvocationCounters(VolatileCounterStore()), os.urandom,
        peer_title=title,
    )  # fmt: skip

    def hears(at: Meter) -> SecurityContext:
        return SecurityContext(
            title, at.key_set(), at.counters, os.urandom, peer_title=HEAD_END_TITLE
        )

    choices = (KeyChoice.WRAPPED, KeyChoice.ONE_PASS, KeyChoice.STATIC)
    frames: list[bytes] = []
    sizes: list[tuple[int, int]] = []
    for number in range(36):
        client.forget_derived()
        frames.append(
            client.protect(
                b"\xc0", Protection.BOTH, Envelope.GENERAL_CIPHERING, choices[number % 3]
            )
        )
        assert hears(meter).unprotect(frames[-1]).plain == b"\xc0"
        sizes.append((kept_floors(meter), len(pack_settings(meter.settings))))
    assert set(sizes[1:]) == {sizes[1]}, "one for all wrapped, one for all agreed keys"
    again = of_suite(1, keeper=StoreKeeper(store, "m"))  # nobody switched the first one off
    for frame in frames:
        with pytest.raises(SecurityError, match="used before"):
            hears(again).unprotect(frame)
    client.forget_derived()
    following = client.protect(
        b"\xc0", Protection.BOTH, Envelope.GENERAL_CIPHERING, KeyChoice.WRAPPED
    )
    assert hears(again).unprotect(following).plain == b"\xc0", "the very next one is taken"


def test_whoever_claims_title_after_title_fills_no_memory_and_frees_no_replay() -> None:
    meter = of_suite(0)
    old = key_fingerprint(meter.key("unicast"))
    for number in range(NAMES_MAX):
        meter.counters.accept(number.to_bytes(8, "big"), old, 7)
    with pytest.raises(LocalProtocolError, match="transfer new keys"):
        meter.counters.accept(HEAD_END_TITLE, old, 7)
    meter.counters.accept(bytes(8), old, 9)  # whom it knows it goes on to hear
    assert kept_floors(meter) == NAMES_MAX
    assert all(meter.counters.lowest(n.to_bytes(8, "big"), old) >= 8 for n in range(NAMES_MAX))
    call(meter, 64, SECURITY, TRANSFER, items((0, wrapped(meter, FRESH[:16]))))
    fresh = key_fingerprint(FRESH[:16])
    meter.counters.accept(HEAD_END_TITLE, fresh, 7)
    assert meter.counters.lowest(HEAD_END_TITLE, fresh) == 8
    assert kept_floors(meter) == 1


def test_floors_of_replaced_makers_of_keys_make_room_and_no_others() -> None:
    """Under the old master key nothing wrapped opens again; what the new one wraps is counted."""
    meter = of_suite(0)
    meter.counters.accept(HEAD_END_TITLE, key_fingerprint(meter.key("unicast")), 7)
    for number in range(NAMES_MAX - 1):
        floor = f"{ONE_TIME}.{key_fingerprint(meter.key('master'))}"
        meter.counters.accept(number.to_bytes(8, "big"), floor, 7)
    with pytest.raises(LocalProtocolError, match="transfer new keys"):
        meter.counters.accept(b"ANOTHER1", floor, 7)
    call(meter, 64, SECURITY, TRANSFER, items((3, wrapped(meter, FRESH[:16]))))
    meter.counters.accept(b"ANOTHER1", f"{ONE_TIME}.{key_fingerprint(FRESH[:16])}", 7)
    assert kept_floors(meter) == 2
    assert meter.received_counter() >= 7


# --- policy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("start", [0x00, 0x04, 0x24, 0x48, 0x6C])
def test_a_policy_is_taken_exactly_where_it_asks_for_more(suite: int, start: int) -> None:
    signatures = 0x00 if suite else 0x90
    meter = of_suite(suite)
    meter.raise_policy(start)
    for wanted in range(256):
        meter.raise_policy(start)
        stronger = wanted & start == start and not wanted & (0x03 | signatures)
        if stronger:
            call(meter, 64, SECURITY, ACTIVATE, axdr.enum(wanted))
        else:
            with pytest.raises(AccessError):
                call(meter, 64, SECURITY, ACTIVATE, axdr.enum(wanted))
        assert int(meter.policy) == (wanted if stronger else start)
    for wrong in (axdr.u8(0xFC), axdr.octets(b"\xfc"), axdr.null()):
        refuses(meter, ACTIVATE, wrong)


# --- key agreement ------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [1, 2])
def test_a_key_agreement_that_is_wrong_changes_nothing(suite: int) -> None:
    meter = of_suite(suite)
    private = new_private_key(suite, os.urandom)
    signing, agreement = head_end_keys("test", suite)
    offer = ephemeral_offer(0, private, signing, suite)
    half = len(offer) // 2
    for wrong in (
        items((0, ephemeral_offer(0, private, agreement, suite))),  # signed by another key
        items((1, offer)),  # signed for another key id
        items((4, ephemeral_offer(4, private, signing, suite))),
        items((0, offer[:-1])),
        items((0, offer + b"\x00")),
        items((0, offer[:half])),
        items((0, b"")),
        items((0, b"\x01" * half + offer[half:])),  # no point of the curve
        items((0, bytes(half) + offer[half:])),  # the point at infinity
        items((0, offer), (1, offer)),
        items((0, offer), (0, offer)),
        axdr.octets(offer),
    ):
        refuses(meter, AGREE, wrong)


# --- key pairs and certificates -----------------------------------------------------------------


def certificate(
    suite: int, private: bytes, *, name: str = "424C590000000009", signature: bool = True,
    agreement: bool = False, usage: bool = True, days: tuple[int, int] = (-3650, 36_500),
    public: ec.EllipticCurvePublicKey | None = None, common_name: bool = True,
    issuer: str = "blathy CA", sign: bool = False, limits: x509.BasicConstraints | None = None,
    more: x509.ExtensionType | None = None, critical: bool = True,
) -> bytes:  # fmt: skip
    """A certificate with one thing wrong, signed with `private`."""
    curve = {1: ec.SECP256R1(), 2: ec.SECP384R1()}[suite]
    signer = ec.derive_private_key(int.from_bytes(private, "big"), curve)
    if public is None:
        public = ec.generate_private_key(curve).public_key()
    kind = NameOID.COMMON_NAME if common_name else NameOID.ORGANIZATION_NAME
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        x509.Name([x509.NameAttribute(kind, name)]), public, 77,
        start + dt.timedelta(days=days[0]), start + dt.timedelta(days=days[1]),
    )  # fmt: skip
    if usage:
        use = x509.KeyUsage(signature, False, False, False, agreement, sign, False, False, False)
        builder = builder.add_extension(use, critical=True)
    for extension in (limits, more):
        if extension is not None:
            builder = builder.add_extension(extension, critical=critical)
    algorithm: hashes.SHA256 | hashes.SHA384 = hashes.SHA256() if suite == 1 else hashes.SHA384()
    made_one = builder.sign(signer, algorithm)
    return made_one.public_bytes(serialization.Encoding.DER)


def self_signed(suite: int) -> bytes:
    curve = {1: ec.SECP256R1(), 2: ec.SECP384R1()}[suite]
    private = new_private_key(suite, os.urandom)
    own = ec.derive_private_key(int.from_bytes(private, "big"), curve).public_key()
    return certificate(suite, private, public=own)


OTHER_CURVE = {1: ec.SECP384R1(), 2: ec.SECP256R1()}
CERTIFICATES: dict[str, Callable[[Meter, int, bytes], bytes]] = {
    "no certificate": lambda m, s, ca: b"\x30\x03\x02\x01\x00",
    "no octets": lambda m, s, ca: b"",
    "a request": lambda m, s, ca: bytes(call(m, 64, SECURITY, REQUEST, axdr.enum(SIGNATURE))),
    "self-signed": lambda m, s, ca: self_signed(s),
    "of another authority": lambda m, s, ca: certificate(s, new_private_key(s, os.urandom)),
    "of an end device instead of the authority": lambda m, s, ca: certificate(
        s, head_end_keys("test", s)[0]),
    "expired": lambda m, s, ca: certificate(s, ca, days=(-3650, -3000)),
    "not valid yet": lambda m, s, ca: certificate(s, ca, days=(36_000, 36_500)),
    "a name that is no title": lambda m, s, ca: certificate(s, ca, name="head-end"),
    "a title of 7 octets": lambda m, s, ca: certificate(s, ca, name="424C5900000009"),
    "a title of 9 octets": lambda m, s, ca: certificate(s, ca, name="424C59000000000909"),
    "no common name": lambda m, s, ca: certificate(s, ca, common_name=False),
    "for both uses": lambda m, s, ca: certificate(s, ca, agreement=True),
    "for neither use": lambda m, s, ca: certificate(s, ca, signature=False),
    "without a use": lambda m, s, ca: certificate(s, ca, usage=False),
    "of another curve": lambda m, s, ca: certificate(
        s, ca, public=ec.generate_private_key(OTHER_CURVE[s]).public_key()),
    "with a critical extension that nobody here understands": lambda m, s, ca: certificate(
        s, ca, more=x509.NameConstraints([x509.DNSName("example.org")], None)),
    "an end device that may sign certificates": lambda m, s, ca: certificate(s, ca, sign=True),
    "an authority that may not": lambda m, s, ca: certificate(
        s, ca, limits=x509.BasicConstraints(True, None)),
    "of an end device that was made an issuer": lambda m, s, ca: certificate(
        s, head_end_keys("test", s)[0], issuer=HEAD_END_TITLE.hex().upper()),
    "of an authority that nobody imported": lambda m, s, ca: certificate(
        s, new_private_key(s, os.urandom), issuer="sub-CA"),
    "of TLS without signatures": lambda m, s, ca: certificate(
        s, ca, signature=False, agreement=True,
        more=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])),
    "the meter's title with a key of somebody else": lambda m, s, ca: certificate(
        s, ca, name=m.identity.system_title.hex()),
}  # fmt: skip


@pytest.mark.parametrize("suite", [1, 2])
@pytest.mark.parametrize("what", CERTIFICATES)
def test_a_certificate_that_is_wrong_is_not_imported(suite: int, what: str) -> None:
    meter = of_suite(suite)
    authority = authority_private_key(MODELS["omnipower"], "test", suite)
    refuses(meter, IMPORT, axdr.octets(CERTIFICATES[what](meter, suite, authority)))
    call(meter, 64, SECURITY, IMPORT, axdr.octets(certificate(suite, authority)))
    assert len(get(meter, 64, SECURITY, 6)) == 5, "the right one is"


SUB_CA, BELOW, LEAF = (n.to_bytes(32, "big") for n in (11, 12, 13))
LEAF_TITLE = bytes.fromhex("424C590000000009")


def holder(private: bytes) -> ec.EllipticCurvePublicKey:
    return ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1()).public_key()


def authority(
    signer: bytes, own: bytes, name: str, issuer: str = "blathy CA", length: int | None = None,
    days: tuple[int, int] = (-3650, 36_500),
) -> bytes:  # fmt: skip
    """The certificate of an authority below another."""
    return certificate(
        1, signer, name=name, issuer=issuer, public=holder(own), signature=False, sign=True,
        limits=x509.BasicConstraints(True, length), days=days,
    )  # fmt: skip


def imports(meter: Meter, der: bytes) -> None:
    call(meter, 64, SECURITY, IMPORT, axdr.octets(der))


def test_chains_lead_over_authorities_below_and_end_where_one_is_removed() -> None:
    store = Store.in_memory()
    meter = of_suite(1, keeper=StoreKeeper(store, "m"))
    root = authority_private_key(MODELS["omnipower"], "test", 1)
    first = authority(root, SUB_CA, "sub-CA")
    second = authority(SUB_CA, BELOW, "below", "sub-CA")
    leaf = certificate(1, BELOW, issuer="below", public=holder(LEAF))
    refuses(meter, IMPORT, axdr.octets(leaf))
    refuses(meter, IMPORT, axdr.octets(second))
    for der in (first, second, leaf):
        imports(meter, der)
    assert meter.key_set().peer_signing == public_key_of(LEAF, 1)
    listed = [row[:2] for row in get(meter, 64, SECURITY, 6)]
    assert sorted(map(tuple, listed)) == [(0, 0), (0, 1), (1, 0), (1, 0), (1, 1), (2, 3), (2, 3)]
    serial = x509.load_der_x509_certificate(first).serial_number
    issuer = x509.load_der_x509_certificate(first).issuer.public_bytes()
    by_serial = axdr.structure(
        axdr.enum(1), axdr.structure(axdr.octets(bytes((serial,))), axdr.octets(issuer))
    )
    assert bytes(call(meter, 64, SECURITY, EXPORT, by_serial)) == first
    meter = of_suite(1, keeper=StoreKeeper(store, "m"))
    assert meter.key_set().peer_signing == public_key_of(LEAF, 1), "also after a restart"
    call(meter, 64, SECURITY, REMOVE, by_serial)
    assert meter.key_set().peer_signing == b"", "with an authority goes what it issued"
    offer = ephemeral_offer(0, new_private_key(1, os.urandom), LEAF, 1)
    refuses(meter, AGREE, items((0, offer)))
    refuses(meter, IMPORT, axdr.octets(leaf))
    imports(meter, first)
    assert meter.key_set().peer_signing == public_key_of(LEAF, 1)


CHAINS: dict[str, Callable[[bytes], tuple[bytes, bytes]]] = {
    "an authority that allows none below": lambda root: (
        authority(root, SUB_CA, "sub-CA", length=0), authority(SUB_CA, BELOW, "below", "sub-CA")),
    "another name for the issuer": lambda root: (
        authority(root, SUB_CA, "sub-CA"), certificate(1, SUB_CA, issuer="sub-ca 2")),
    "the name of the issuer and another key": lambda root: (
        authority(root, SUB_CA, "sub-CA"), certificate(1, BELOW, issuer="sub-CA")),
    "an authority that signed itself": lambda root: (
        authority(root, SUB_CA, "sub-CA"), authority(BELOW, BELOW, "below", "below")),
}  # fmt: skip


@pytest.mark.parametrize("what", CHAINS)
def test_chains_that_are_wrong_lead_nowhere(what: str) -> None:
    meter = of_suite(1)
    root = authority_private_key(MODELS["omnipower"], "test", 1)
    good, wrong = CHAINS[what](root)
    imports(meter, good)
    refuses(meter, IMPORT, axdr.octets(wrong))
    imports(meter, certificate(1, SUB_CA, issuer="sub-CA"))


def test_certificates_count_within_their_time_by_the_clock_of_the_meter() -> None:
    """At import and at use: also the issuer's time, in an association that stands, both ways."""
    meter = of_suite(1)
    root = authority_private_key(MODELS["omnipower"], "test", 1)
    now, day = meter.clock_utc_s(), 86_400
    start = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp())
    today = (now - start) // day
    device = meter.logical_device()

    def signing_at(utc_s: int) -> bytes:
        meter.set_clock(utc_s)
        meter.flush()
        found = device.profiles[1].keys
        assert found is not None
        return found.peer_signing

    imports(meter, authority(root, SUB_CA, "sub-CA", days=(today - 2, today + 20)))
    leaf = certificate(1, SUB_CA, issuer="sub-CA", public=holder(LEAF), days=(today - 5, today + 9))
    imports(meter, leaf)
    public = public_key_of(LEAF, 1)
    assert signing_at(now) == public
    before = device.profiles[1]
    assert signing_at(now + day) == public
    assert device.profiles[1] is before, "nothing is made anew while nothing changes"
    assert signing_at(now + 11 * day) == b"", "the certificate is over"
    assert device.profiles[1] is not before
    assert signing_at(now) == public
    assert signing_at(now - 4 * day) == b"", "its issuer's has not begun"
    refuses(meter, IMPORT, axdr.octets(leaf))
    assert signing_at(now + 21 * day) == b""
    refuses(meter, IMPORT, axdr.octets(certificate(1, SUB_CA, issuer="sub-CA")))


def test_a_pair_for_tls_is_made_requested_and_certified_like_the_others() -> None:
    store = Store.in_memory()
    meter = of_suite(1, keeper=StoreKeeper(store, "m"))
    root = authority_private_key(MODELS["omnipower"], "test", 1)
    refuses(meter, REQUEST, axdr.enum(TLS))  # nothing was delivered
    before = meter.key_set()
    call(meter, 64, SECURITY, GENERATE, axdr.enum(TLS))
    asked = bytes(call(meter, 64, SECURITY, REQUEST, axdr.enum(TLS)))
    assert x509.load_der_x509_csr(asked).is_signature_valid
    refuses(meter, IMPORT, axdr.octets(issue_for_request(asked, SIGNATURE, root, 1)))
    imports(meter, issue_for_request(asked, TLS, root, 1))
    again = of_suite(1, keeper=StoreKeeper(store, "m"))
    place = by_entity(SERVER, TLS, again.identity.system_title)
    der = bytes(call(again, 64, SECURITY, EXPORT, place))
    assert read(der, 1).kind == TLS
    assert bytes(call(again, 64, SECURITY, REQUEST, axdr.enum(TLS)))[:2] == b"\x30\x81"
    assert again.key_set() == before, "it signs nothing else"
    refuses(again, REMOVE, place)


def test_certificates_have_room_for_sixteen() -> None:
    meter = of_suite(1)
    authority = authority_private_key(MODELS["omnipower"], "test", 1)
    for number in range(12):
        one = certificate(1, authority, name=f"424C5901{number:08X}")
        call(meter, 64, SECURITY, IMPORT, axdr.octets(one))
    refuses(meter, IMPORT, axdr.octets(certificate(1, authority, name="424C5900000000FF")))


def by_entity(entity: int, kind: int, title: bytes) -> Data:
    place = axdr.structure(axdr.enum(entity), axdr.enum(kind), axdr.octets(title))
    return axdr.structure(axdr.enum(0), place)


def test_what_names_no_certificate_exports_and_removes_none() -> None:
    meter = of_suite(1)
    own = meter.identity.system_title
    for method in (EXPORT, REMOVE):
        for wrong in (
            by_entity(CLIENT, SIGNATURE, own),
            by_entity(SERVER, SIGNATURE, HEAD_END_TITLE),
            by_entity(SERVER, 2, own),
            by_entity(9, SIGNATURE, own),
            axdr.structure(axdr.enum(1), axdr.structure(axdr.octets(b"1"), axdr.octets(b""))),
            axdr.structure(axdr.enum(2), axdr.octets(b"")),
            axdr.octets(own),
        ):
            refuses(meter, method, wrong)
    for kind in (SIGNATURE, AGREEMENT):
        refuses(meter, REMOVE, by_entity(SERVER, kind, own))


def test_key_pairs_of_other_kinds_are_not_generated() -> None:
    meter = of_suite(1)
    for method in (GENERATE, REQUEST):
        for wrong in (axdr.enum(3), axdr.enum(4), axdr.enum(255), axdr.u8(0), axdr.null()):
            refuses(meter, method, wrong)


def test_a_certificate_for_a_generated_pair_is_of_the_use_that_it_was_generated_for() -> None:
    meter = of_suite(1)
    authority = authority_private_key(MODELS["omnipower"], "test", 1)
    call(meter, 64, SECURITY, GENERATE, axdr.enum(SIGNATURE))
    asked = bytes(call(meter, 64, SECURITY, REQUEST, axdr.enum(SIGNATURE)))
    refuses(meter, IMPORT, axdr.octets(issue_for_request(asked, AGREEMENT, authority, 1)))
    call(
        meter, 64, SECURITY, IMPORT, axdr.octets(issue_for_request(asked, SIGNATURE, authority, 1))
    )


def test_after_a_client_certificate_is_removed_its_signature_proves_nothing() -> None:
    meter = of_suite(1)
    call(meter, 64, SECURITY, REMOVE, by_entity(CLIENT, SIGNATURE, HEAD_END_TITLE))
    assert meter.key_set().peer_signing == b""
    private = new_private_key(1, os.urandom)
    signing, _ = head_end_keys("test", 1)
    refuses(meter, AGREE, items((0, ephemeral_offer(0, private, signing, 1))))


# --- durable or not at all ----------------------------------------------------------------------


def test_a_change_that_cannot_be_kept_is_not_made() -> None:
    """Keys, certificates, passwords: the old ones stay, now and after a restart."""
    store = Store.in_memory()
    meter = of_suite(1, keeper=StoreKeeper(store, "m"))
    authority = authority_private_key(MODELS["omnipower"], "test", 1)
    one = issue(b"BLY\0\0\0\0\2", SIGNATURE, public_key_of(authority, 1), authority, 1)
    password = meter.logical_device().profiles[2].secret
    working = meter.keeper.commit

    def failing() -> None:
        raise StorageError("no space")

    meter.keeper.commit = failing  # type: ignore[method-assign]
    for method, parameter in (
        (TRANSFER, items((0, wrapped(meter)), (3, wrapped(meter)))),
        (IMPORT, axdr.octets(one)),
        (REMOVE, by_entity(CLIENT, SIGNATURE, HEAD_END_TITLE)),
    ):
        refuses(meter, method, parameter)
    with pytest.raises(AccessError):
        put(meter, 15, "0-0:40.0.2", 7, axdr.octets(b"another-password"))
    meter.keeper.commit = working  # type: ignore[method-assign]
    before = standing(meter)
    assert meter.logical_device().profiles[2].secret == password
    meter.commit()
    again = of_suite(1, keeper=StoreKeeper(store, "m"))
    assert standing(again) == before
    assert again.logical_device().profiles[2].secret == password
    assert int(again.policy) == SecurityPolicy.NONE
