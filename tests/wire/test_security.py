"""Sealing, opening, counters and HLS proofs against the worked examples of the standard."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blathy.wire import apdu
from blathy.wire.acse import Mechanism
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.hls import HlsParty
from blathy.wire.security import (
    COUNTER_LAST,
    Envelope,
    GcmKey,
    InvocationCounters,
    KeyChoice,
    KeySet,
    Protection,
    SecurityContext,
    SecurityError,
    SecurityPolicy,
    VolatileCounterStore,
    agree_ephemeral,
    derive_key,
    ephemeral_offer,
    key_fingerprint,
    new_private_key,
    protection_names,
    public_key_of,
    sign,
    unwrap_key,
    verify,
    wrap_key,
)
from tests.wire.association_pair import CLIENT_TITLE, SERVER_TITLE, key_pair, repeatable_entropy

EK = bytes(range(16))
AK = bytes(range(0xD0, 0xE0))
STANDARD = KeySet(0, EK, AK, master=bytes.fromhex("00112233445566778899AABBCCDDEEFF"))
CLOCK_REQUEST = bytes.fromhex("C0010000080000010000FF0200")
GET_REQUEST = bytes.fromhex("C001C100080000010000FF0200")
TRANSFER = "DD08000000000000000108" + CLIENT_TITLE.hex() + "08" + SERVER_TITLE.hex() + "0000"


def context(title: bytes, peer: bytes, keys: KeySet = STANDARD, first: int = 1) -> SecurityContext:
    store = VolatileCounterStore()
    if keys.unicast:
        store.advance(f"send:{title.hex()}:{key_fingerprint(keys.unicast)}", first)
    counters = InvocationCounters(store)
    return SecurityContext(title, keys, counters, repeatable_entropy(4), peer_title=peer)


@pytest.mark.parametrize(
    ("protection", "expected"),
    [
        (0x10, "C81E1001234567C0010000080000010000FF020006725D910F9221D263877516"),
        (0x20, "C8122001234567411312FF935A47566827C467BC"),
        (0x30, "C81E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B"),
    ],
)
def test_service_ciphering_gives_the_octets_of_the_standard(protection: int, expected: str) -> None:
    sender = context(SERVER_TITLE, CLIENT_TITLE, first=0x01234567)
    octets = sender.protect(CLOCK_REQUEST, protection)
    assert octets == bytes.fromhex(expected)
    opened = context(CLIENT_TITLE, SERVER_TITLE).unprotect(octets)
    assert opened.plain == CLOCK_REQUEST
    assert opened.protection == protection
    assert opened.counter == 0x01234567


def test_suite_2_gives_the_worked_octets() -> None:
    keys = KeySet(2, bytes(range(32)), bytes(range(0xD0, 0xF0)))
    octets = context(CLIENT_TITLE, SERVER_TITLE, keys).protect(GET_REQUEST, 0x30)
    assert octets == bytes.fromhex(
        "C81E32000000011F5915CFF1FA1759DD4970082459D4A523027A6531D08C4B11"
    )


def test_initiate_with_dedicated_key_gives_the_octets_of_the_standard() -> None:
    initiate = apdu.InitiateRequest(
        0x007E1F, 1200, bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    )
    sender = context(SERVER_TITLE, CLIENT_TITLE, first=0x01234567)
    assert sender.protect(initiate.encode(), 0x30) == bytes.fromhex(
        "21303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211BE6841DB204D39EE"
        "6FDB8E356855"
    )


def test_general_ciphering_with_identified_key_gives_the_worked_octets() -> None:
    sender = context(CLIENT_TITLE, SERVER_TITLE, first=6)
    octets = sender.protect(GET_REQUEST, 0x30, Envelope.GENERAL_CIPHERING)
    expected = "0100001E30000000068F3861628599811FB71DAC55FF95AFA71FCBE8636784712E2C"
    assert octets == bytes.fromhex(TRANSFER + expected)


@pytest.mark.parametrize(
    "tail",
    [
        (
            "01010018922BE1927C9C7CB7DB4A00EC559E5F0BF525D8E159CD094D"
            "1E300000000170F76E1E20B628501CF96C771373847DA49FBE7F3A41632DC5"
        ),
        "0100001E30000000068F3861628599811FB71DAC55FF95AFA71FCBE8636784712E2C",
    ],
)
def test_general_ciphering_of_suite_0_is_opened(tail: str) -> None:
    receiver = context(SERVER_TITLE, CLIENT_TITLE)
    opened = receiver.unprotect(bytes.fromhex(TRANSFER + tail))
    assert opened.plain == GET_REQUEST
    assert opened.protection == Protection.BOTH


def test_general_ciphering_with_static_key_agreement_is_opened() -> None:
    one, two = (1).to_bytes(32, "big"), (2).to_bytes(32, "big")
    keys = KeySet(1, EK, AK, agreement=two, peer_agreement=public_key_of(one, 1))
    octets = bytes.fromhex(
        TRANSFER
        + "0102010200" + "1E3100000001D6466C1F32E676C0791AF8B05D2FA339BD7F36F421430D5C88"
    )  # fmt: skip
    assert context(SERVER_TITLE, CLIENT_TITLE, keys).unprotect(octets).plain == GET_REQUEST


def test_key_derivation_and_wrap_give_the_worked_values() -> None:
    one, two = (1).to_bytes(32, "big"), (2).to_bytes(32, "big")
    derived = derive_key(1, one, public_key_of(two, 1), CLIENT_TITLE, SERVER_TITLE)
    assert derived == bytes.fromhex("759054204D0DE4139B3DDEC34A0E42BB")
    key = bytes.fromhex("0F0E0D0C0B0A09080706050403020100")
    wrapped = wrap_key(STANDARD.master, key)
    assert wrapped == bytes.fromhex("922BE1927C9C7CB7DB4A00EC559E5F0BF525D8E159CD094D")
    assert unwrap_key(STANDARD.master, wrapped) == key
    with pytest.raises(RemoteProtocolError, match="master key"):
        unwrap_key(EK, wrapped)


@pytest.mark.parametrize(
    ("mechanism", "third", "fourth"),
    [
        (3, "53D4537E37DAB4FF089629E25557AF9F", None),
        (4, "6DBD949D1B1EFDD6FE5F9EA627877E986E8708CB", None),
        (
            6,
            "67342BAA6815DA654EEFBB879B6A23DA0D2BB0404ABBB1A738631241A6B96516",
            "5DA97807E1B30B5D95A5B48BDA34C4232130F761E57C316CCDEF70322605A90D",
        ),
    ],
)
def test_hls_digests_give_the_worked_values(mechanism: int, third: str, fourth: str | None) -> None:
    client = HlsParty(Mechanism(mechanism), b"12345678", CLIENT_TITLE, SERVER_TITLE, None)
    server = HlsParty(Mechanism(mechanism), b"12345678", SERVER_TITLE, CLIENT_TITLE, None)
    proof = client.prove(b"P6wRJ21F", b"K56iVagY")
    assert proof == bytes.fromhex(third)
    assert server.check(proof, b"P6wRJ21F", b"K56iVagY", None)
    own = server.prove(b"K56iVagY", b"P6wRJ21F")
    assert fourth is None or own == bytes.fromhex(fourth)
    assert client.check(own, b"K56iVagY", b"P6wRJ21F", None)
    assert not server.check(own, b"P6wRJ21F", b"K56iVagY", None)


def test_gmac_gives_the_worked_values_and_cannot_be_reflected() -> None:
    client = HlsParty(
        Mechanism.HLS_GMAC, b"", CLIENT_TITLE, SERVER_TITLE, context(CLIENT_TITLE, SERVER_TITLE)
    )
    proof = client.prove(b"P6wRJ21F", b"K56iVagY")
    assert proof == bytes.fromhex("10000000011A52FE7DD3E72748973C1E28")
    server = HlsParty(
        Mechanism.HLS_GMAC, b"", SERVER_TITLE, CLIENT_TITLE,
        context(SERVER_TITLE, CLIENT_TITLE, first=0x01234567),
    )  # fmt: skip
    assert server.prove(b"K56iVagY", b"") == bytes.fromhex("1001234567FE1466AFB3DBCD4F9389E2B7")
    assert server.check(proof, b"P6wRJ21F", b"", None)
    assert not server.check(proof, b"P6wRJ21F", b"", None), "the same counter again"
    assert not client.check(proof, b"P6wRJ21F", b"", None), "our own proof sent back"


@pytest.mark.parametrize("suite", [1, 2])
def test_raw_signatures_verify_only_for_key_and_message(suite: int) -> None:
    private = new_private_key(suite, repeatable_entropy(1))
    other = new_private_key(suite, repeatable_entropy(2))
    signature = sign(b"message", private, suite)
    assert len(signature) == (64, 96)[suite - 1]
    assert verify(b"message", signature, public_key_of(private, suite), suite)
    assert not verify(b"massage", signature, public_key_of(private, suite), suite)
    assert not verify(b"message", signature, public_key_of(other, suite), suite)
    assert not verify(b"message", signature[:-1], public_key_of(private, suite), suite)
    assert not verify(b"message", bytes(len(signature)), public_key_of(private, suite), suite)
    assert not verify(b"message", signature, bytes(len(signature)), suite)
    assert sign(b"message", private, suite) == signature, "signing needs no entropy"


@pytest.mark.parametrize("suite", [1, 2])
def test_both_sides_of_a_key_agreement_arrive_at_one_key(suite: int) -> None:
    client, server = key_pair(suite)
    mine = new_private_key(suite, repeatable_entropy(5))
    theirs = new_private_key(suite, repeatable_entropy(6))
    to_server = ephemeral_offer(0, mine, client.signing, suite)
    to_client = ephemeral_offer(0, theirs, server.signing, suite)
    titles = {"client_title": CLIENT_TITLE, "server_title": SERVER_TITLE}
    at_server = agree_ephemeral(0, theirs, to_server, server.peer_signing, suite, **titles)
    at_client = agree_ephemeral(0, mine, to_client, client.peer_signing, suite, **titles)
    assert at_server == at_client
    assert len(at_server) == (16, 32)[suite - 1]
    with pytest.raises(RemoteProtocolError, match="not signed"):
        agree_ephemeral(1, mine, to_client, client.peer_signing, suite, **titles)


def test_a_tag_that_differs_or_is_missing_is_refused_and_moves_no_counter() -> None:
    receiver = context(CLIENT_TITLE, SERVER_TITLE)
    octets = context(SERVER_TITLE, CLIENT_TITLE, first=9).protect(CLOCK_REQUEST, 0x30)
    for position in range(2, len(octets)):
        changed = bytearray(octets)
        changed[position] ^= 1
        with pytest.raises(RemoteProtocolError):
            receiver.unprotect(bytes(changed))
    assert receiver.lowest_unicast() == 0
    assert receiver.unprotect(octets).counter == 9
    assert receiver.lowest_unicast() == 10


def test_replay_names_the_lowest_counter_and_only_to_the_key_holder() -> None:
    receiver = context(CLIENT_TITLE, SERVER_TITLE)
    octets = context(SERVER_TITLE, CLIENT_TITLE, first=16).protect(CLOCK_REQUEST, 0x30)
    receiver.unprotect(octets)
    with pytest.raises(SecurityError) as error:
        receiver.unprotect(octets)
    assert error.value.answer == bytes.fromhex("D8010600000011")
    with pytest.raises(SecurityError) as error:
        receiver.unprotect(octets[:-1] + b"\x00")
    assert error.value.answer == bytes.fromhex("D80105")


def test_the_lowest_counter_survives_in_the_store() -> None:
    store = VolatileCounterStore()
    octets = context(SERVER_TITLE, CLIENT_TITLE, first=9).protect(CLOCK_REQUEST, 0x30)
    for accepted in (True, False):
        counters = InvocationCounters(store)
        receiver = SecurityContext(CLIENT_TITLE, STANDARD, counters, bytes, peer_title=SERVER_TITLE)
        if accepted:
            receiver.unprotect(octets)
        else:
            with pytest.raises(SecurityError):
                receiver.unprotect(octets)


def test_numbers_are_reserved_ahead_and_never_given_twice_over_restarts() -> None:
    store = VolatileCounterStore()
    given: list[int] = []
    for used in (1, 0, 63, 64, 65, 200, 3):
        counters = InvocationCounters(store)  # a crash: whatever was reserved is lost
        given += [counters.next(CLIENT_TITLE, "key") for _ in range(used)]
    assert len(set(given)) == len(given)
    assert given == sorted(given)
    assert min(given) == 1


def test_an_exhausted_key_is_refused_and_does_not_wrap() -> None:
    sender = context(CLIENT_TITLE, SERVER_TITLE, first=COUNTER_LAST)
    octets = sender.protect(GET_REQUEST, 0x30)
    assert octets[3:7] == COUNTER_LAST.to_bytes(4, "big")
    for _ in range(3):
        with pytest.raises(LocalProtocolError, match="used up"):
            sender.protect(GET_REQUEST, 0x30)


def test_a_reported_counter_raises_ours_but_never_lowers_it_and_never_jumps_far() -> None:
    counters = InvocationCounters(VolatileCounterStore())
    for _ in range(100):
        counters.next(CLIENT_TITLE, "key")
    counters.follow_report(CLIENT_TITLE, "key", 50)
    assert counters.next(CLIENT_TITLE, "key") > 100
    counters.follow_report(CLIENT_TITLE, "key", 5_000)
    assert counters.next(CLIENT_TITLE, "key") == 5_000
    with pytest.raises(LocalProtocolError, match="far above"):
        counters.follow_report(CLIENT_TITLE, "key", 0xFFFF_FFF0)
    assert counters.next(CLIENT_TITLE, "key") < 10_000


def test_a_liar_on_the_line_cannot_use_our_key_up() -> None:
    """Far reports are followed one at a time, each only after the meter proved itself; one that is
    not costs no more than a number."""
    counters = InvocationCounters(VolatileCounterStore())
    counters.follow_report(CLIENT_TITLE, "key", 10_000_000)
    for _ in range(1000):
        wanted = counters.next(CLIENT_TITLE, "key") + 100_000
        with pytest.raises(LocalProtocolError, match="far above"):
            counters.follow_report(CLIENT_TITLE, "key", wanted)
    assert counters.next(CLIENT_TITLE, "key") == 10_002_000
    counters.follow_report(CLIENT_TITLE, "key", 10_060_000)  # a near one is followed
    counters.accept(SERVER_TITLE, "key", 7)
    counters.follow_report(CLIENT_TITLE, "key", 20_000_000)
    assert counters.next(CLIENT_TITLE, "key") == 20_000_000
    counters.follow_report(CLIENT_TITLE, "key", 0xF000_0000, jump_max=COUNTER_LAST)  # by hand
    assert counters.next(CLIENT_TITLE, "key") == 0xF000_0000


def test_a_frame_without_tag_cannot_use_a_key_up() -> None:
    receiver = context(CLIENT_TITLE, SERVER_TITLE)
    sender = context(SERVER_TITLE, CLIENT_TITLE, first=5)
    receiver.unprotect(sender.protect(CLOCK_REQUEST, 0x20))
    far = context(SERVER_TITLE, CLIENT_TITLE, first=0xFFFF_0000).protect(CLOCK_REQUEST, 0x20)
    with pytest.raises(SecurityError, match="jumps"):
        receiver.unprotect(far)
    assert receiver.lowest_unicast() == 6


def test_new_keys_start_new_counters_on_both_sides() -> None:
    sender = context(SERVER_TITLE, CLIENT_TITLE, first=1000)
    receiver = context(CLIENT_TITLE, SERVER_TITLE)
    receiver.unprotect(sender.protect(CLOCK_REQUEST, 0x30))
    fresh = replace(STANDARD, unicast=b"\x99" * 16)
    sender.rekey(fresh)
    receiver.rekey(fresh)
    octets = sender.protect(CLOCK_REQUEST, 0x30)
    assert octets[3:7] == b"\x00\x00\x00\x01"
    assert receiver.unprotect(octets).plain == CLOCK_REQUEST


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({0: 0xC9}, "another service than inside"),
        ({2: 0x31}, "suite 1"),
        ({2: 0x3F}, "suite 15"),
        ({2: 0x70}, "broadcast key that we do not have"),
        ({2: 0xB0}, "compressed"),
        ({2: 0x00}, "no protection at all"),
        ({2: 0x10}, "authenticated only"),
        ({2: 0x20}, "encrypted only"),
        ({0: 0xD0}, "dedicated key that we do not have"),
    ],
)
def test_what_the_security_header_must_not_say(changed: dict[int, int], what: str) -> None:
    octets = bytearray(context(SERVER_TITLE, CLIENT_TITLE).protect(CLOCK_REQUEST, 0x30))
    for position, value in changed.items():
        octets[position] = value
    receiver = context(CLIENT_TITLE, SERVER_TITLE)
    receiver.needs = Protection.BOTH
    with pytest.raises(RemoteProtocolError):
        receiver.unprotect(bytes(octets))
    assert receiver.lowest_unicast() == 0, what


def test_our_own_and_foreign_system_titles_are_refused() -> None:
    own = context(CLIENT_TITLE, SERVER_TITLE)
    reflected = own.protect(GET_REQUEST, 0x30, Envelope.GENERAL_GLO)
    with pytest.raises(SecurityError, match="reflected"):
        own.unprotect(reflected)
    stranger = context(b"STRANGER", CLIENT_TITLE).protect(GET_REQUEST, 0x30, Envelope.GENERAL_GLO)
    with pytest.raises(SecurityError, match="another system title"):
        own.unprotect(stranger)


def test_signed_plain_content_cannot_be_replayed() -> None:
    client_keys, server_keys = key_pair(1)
    sender = context(CLIENT_TITLE, SERVER_TITLE, client_keys)
    receiver = context(SERVER_TITLE, CLIENT_TITLE, server_keys)
    octets = sender.protect(GET_REQUEST, Protection.SIGNED)
    assert receiver.unprotect(octets).protection == Protection.SIGNED
    with pytest.raises(SecurityError, match="used before"):
        receiver.unprotect(octets)
    for position in range(0, len(octets), 7):
        changed = bytearray(sender.protect(GET_REQUEST, Protection.SIGNED))
        changed[position] ^= 0x10
        with pytest.raises(RemoteProtocolError):
            receiver.unprotect(bytes(changed))


def test_policies_say_what_requests_and_responses_need() -> None:
    both = SecurityPolicy.of_version_0(3)
    assert (both.request, both.response) == (0x30, 0x30)
    assert SecurityPolicy.of_version_0(1).request == 0x10
    assert SecurityPolicy.of_version_0(2).response == 0x20
    assert SecurityPolicy.SIGNED_REQUEST.request == Protection.SIGNED
    assert SecurityPolicy.SIGNED_RESPONSE.response == Protection.SIGNED
    assert SecurityPolicy.AUTHENTICATED_REQUEST.response == 0
    assert protection_names(0x130) == {"authenticated", "encrypted", "signed"}


def test_keys_and_secrets_never_show() -> None:
    keys = KeySet(0, b"k" * 16, b"a" * 16, master=b"m" * 16)
    subject = context(CLIENT_TITLE, SERVER_TITLE, keys)
    party = HlsParty(Mechanism.HLS_MD5, b"s3cr3t-s3cr3t", CLIENT_TITLE, SERVER_TITLE, subject)
    texts = [repr(keys), repr(subject), repr(party), repr(GcmKey(keys.unicast, b"")), str(subject)]
    initiate = apdu.InitiateRequest(0, 0, b"d" * 16)
    texts.append(repr(initiate))
    for text in texts:
        for secret in (b"k" * 8, b"a" * 8, b"m" * 8, b"s3cr3t", b"d" * 8):
            assert secret.decode() not in text
            assert secret.hex() not in text


@pytest.mark.parametrize(
    ("suite", "length"), [(0, 15), (0, 32), (1, 17), (2, 16), (2, 31), (3, 16)]
)
def test_keys_of_the_wrong_length_are_refused_at_once(suite: int, length: int) -> None:
    with pytest.raises(ValueError, match=r"octets|suites"):
        KeySet(suite, unicast=bytes(length))


def test_what_is_missing_is_said_before_anything_is_sent() -> None:
    bare = context(CLIENT_TITLE, SERVER_TITLE, KeySet(0, EK))
    for protection, envelope, choice in (
        (0x30, Envelope.GLO, KeyChoice.IDENTIFIED),
        (0x10, Envelope.GLO, KeyChoice.IDENTIFIED),
        (0x20, Envelope.DED, KeyChoice.IDENTIFIED),
        (0x20, Envelope.GLO, KeyChoice.BROADCAST),
        (0x20, Envelope.GENERAL_CIPHERING, KeyChoice.WRAPPED),
        (0x20, Envelope.GENERAL_CIPHERING, KeyChoice.ONE_PASS),
        (Protection.SIGNED, Envelope.GLO, KeyChoice.IDENTIFIED),
    ):
        with pytest.raises(LocalProtocolError):
            bare.protect(GET_REQUEST, protection, envelope, choice)
