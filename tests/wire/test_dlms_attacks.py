"""Forged, replayed, reflected, truncated and downgraded APDUs against a secured association.

The goal: not one of them is executed or delivered, and none changes what the association accepts
next. Method: a working session is recorded at every step, then each APDU is sent again in a changed
form; the meter counts what reaches its objects.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from blathy.wire import acse, apdu
from blathy.wire.acse import Mechanism
from blathy.wire.apdu import GeneralCiphering, GeneralHeader, GeneralSigning
from blathy.wire.association import (
    Associated,
    ClientAssociation,
    ClientConfig,
    Envelope,
    GetAnswer,
    InvocationCounters,
    KeyChoice,
    Notification,
    Protection,
    SecurityPolicy,
    Send,
    ServerAssociation,
    VolatileCounterStore,
)
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import Reader, length_octets
from tests.wire.association_pair import (
    CLIENT_TITLE,
    CLOCK,
    ECHO,
    ENERGY,
    ENERGY_VALUE,
    LONG,
    NOW,
    SERVER_TITLE,
    WRITABLE,
    Pair,
    key_pair,
    make_pair,
    repeatable_entropy,
    secured_pair,
)

POLICIES = [
    (SecurityPolicy.AUTHENTICATED, Protection.AUTHENTICATED),
    (SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED, Protection.BOTH),
]
SIGNED = Protection.BOTH | Protection.SIGNED
INSIDE = SIGNED | Protection.SIGNED_INSIDE
PROTECTED = [(suite, *row) for suite in (0, 1, 2) for row in POLICIES] + [
    (suite, SecurityPolicy(0xFC), signed) for suite in (1, 2) for signed in (SIGNED, INSIDE)
]


def changed_bits(octets: bytes, protection: Protection) -> Iterator[bytes]:
    """Every bit changed; every seventh where a signature has to be checked each time."""
    for bit in range(0, len(octets) * 8, 7 if protection & Protection.SIGNED else 1):
        changed = bytearray(octets)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def requests(pair: Pair) -> Iterator[bytes]:
    client = pair.client
    for make in (
        lambda: client.get(ENERGY),
        lambda: client.get(ENERGY, CLOCK),
        lambda: client.set((WRITABLE, b"\x11\x05")),
        lambda: client.action((ECHO, b"\x11\x05")),
    ):
        yield make()
        client.cancel()


def touched(pair: Pair) -> int:
    return len(pair.meter.asked) + len(pair.meter.calls) + len(pair.meter.writes)


def secure(pair: Pair) -> Pair:
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    return pair


@pytest.mark.parametrize(("suite", "policy", "protection"), PROTECTED)
def test_every_single_bit_of_a_request_counts(
    suite: int, policy: SecurityPolicy, protection: Protection
) -> None:
    pair = secure(secured_pair(suite=suite, policy=policy, protection=protection))
    for request in requests(pair):
        before = touched(pair)
        lowest = pair.server._security.lowest_unicast()  # type: ignore[union-attr]
        for changed in changed_bits(request, protection):
            pair.server.receive_apdu(changed, NOW)
            assert pair.server.associated, changed.hex()
        assert touched(pair) == before
        assert pair.server._security.lowest_unicast() == lowest  # type: ignore[union-attr]
        pair.server.receive_apdu(request, NOW)
        assert touched(pair) > before, "the request itself still works"


@pytest.mark.parametrize(("suite", "policy", "protection"), PROTECTED)
def test_every_single_bit_of_an_answer_counts(
    suite: int, policy: SecurityPolicy, protection: Protection
) -> None:
    pair = secure(secured_pair(suite=suite, policy=policy, protection=protection))
    (answer,) = pair.server.receive_apdu(pair.client.get(ENERGY), NOW)
    for changed in changed_bits(answer, protection):
        try:
            events = pair.client.receive_apdu(changed, NOW)
        except RemoteProtocolError:
            continue
        assert not any(isinstance(event, (GetAnswer, Send)) for event in events), changed.hex()
    (event,) = pair.client.receive_apdu(answer, NOW)
    assert isinstance(event, GetAnswer)
    assert event.results == (ENERGY_VALUE,)


# --- every kind of forgery, on every kind of protection, against both sides ---------------------

BOTH = Protection.BOTH
ENVELOPES: list[tuple[Envelope, KeyChoice, Protection]] = [
    (Envelope.GLO, KeyChoice.IDENTIFIED, BOTH),
    (Envelope.GLO, KeyChoice.IDENTIFIED, Protection.AUTHENTICATED),
    (Envelope.DED, KeyChoice.IDENTIFIED, BOTH),
    (Envelope.GENERAL_GLO, KeyChoice.IDENTIFIED, BOTH),
    (Envelope.GENERAL_DED, KeyChoice.IDENTIFIED, BOTH),
    (Envelope.GENERAL_CIPHERING, KeyChoice.IDENTIFIED, BOTH),
    (Envelope.GENERAL_CIPHERING, KeyChoice.WRAPPED, BOTH),
]
WITH_CURVES: list[tuple[Envelope, KeyChoice, Protection]] = [
    (Envelope.GENERAL_CIPHERING, KeyChoice.ONE_PASS, BOTH),
    (Envelope.GENERAL_CIPHERING, KeyChoice.STATIC, BOTH),
    (Envelope.GLO, KeyChoice.IDENTIFIED, SIGNED),
    (Envelope.GENERAL_CIPHERING, KeyChoice.IDENTIFIED, SIGNED),
    (Envelope.GLO, KeyChoice.IDENTIFIED, INSIDE),
    (Envelope.GENERAL_CIPHERING, KeyChoice.ONE_PASS, INSIDE),
]
SECURED = [
    (suite, *way) for suite in (0, 1, 2) for way in ENVELOPES + (WITH_CURVES if suite else [])
]
POLICY_OF = {
    BOTH: SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED,
    Protection.AUTHENTICATED: SecurityPolicy.AUTHENTICATED,
    SIGNED: SecurityPolicy(0xFC),
    INSIDE: SecurityPolicy(0xFC),
}


def control_at(octets: bytes) -> int:
    """Where the security control octet stands; inside the signed content of a signed APDU."""
    reader = Reader(octets, 1)
    if octets[0] in (0xDB, 0xDC):
        reader.octets()
    elif octets[0] in (0xDD, 0xDF):
        for _ in range(5):
            reader.octets()
        if octets[0] == 0xDF:
            content = reader.octets()
            return reader.position - len(content) + control_at(content)
        content = decoded(octets).content
        return octets.index(content, reader.position)
    content = reader.octets()
    return reader.position - len(content)


def decoded(octets: bytes) -> GeneralCiphering:
    envelope = apdu.decode(octets)
    assert isinstance(envelope, GeneralCiphering)
    return envelope


def flip(octets: bytes, others: list[bytes], dice: random.Random) -> bytes:
    changed = bytearray(octets)
    for _ in range(dice.randrange(1, 4)):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def counted(octets: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Another invocation counter: near, far, the last one."""
    at = control_at(octets) + 1
    known = int.from_bytes(octets[at : at + 4], "big")
    number = dice.choice((0, known + 1, known + 1000, dice.randrange(1 << 32), 0xFFFF_FFFF))
    return octets[:at] + (number & 0xFFFF_FFFF).to_bytes(4, "big") + octets[at + 4 :]


def controlled(octets: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Another security control octet: weaker, another suite, the broadcast key, compressed."""
    at = control_at(octets)
    weaker = [value for value in range(256) if value != octets[at]]
    return octets[:at] + bytes((dice.choice(weaker),)) + octets[at + 1 :]


def retagged(octets: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """The same content as another service, under the dedicated key or in another envelope."""
    at = control_at(octets)
    content = octets[at:]
    head = dice.choice((
        bytes((dice.choice(sorted(apdu.CIPHERED_TAGS)),)), b"\xdb\x08" + CLIENT_TITLE,
        b"\xdb\x08" + SERVER_TITLE, b"\xdc\x08" + CLIENT_TITLE, b"\xdb\x00",
    ))  # fmt: skip
    return head + length_octets(len(content)) + content


def spliced(octets: bytes, others: list[bytes], dice: random.Random) -> bytes:
    other = dice.choice(others)
    cut = dice.randrange(min(len(octets), len(other)))
    return octets[:cut] + other[cut:]


def nested(octets: bytes, others: list[bytes], dice: random.Random) -> bytes:
    for _ in range(dice.randrange(1, 20)):
        title = dice.choice((CLIENT_TITLE, SERVER_TITLE))
        header = GeneralHeader(dice.randbytes(8), title, b"")
        octets = dice.choice((
            GeneralSigning(header, octets, dice.randbytes(64)).encode(),
            b"\xdb\x08" + title + length_octets(len(octets)) + octets,
            b"\xe0\x80\x00\x01\x00\x00" + length_octets(len(octets)) + octets,
        ))  # fmt: skip
    return octets


def weakened(octets: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """No protection at all, or one that proves nothing, on content of the attacker's choice."""
    plain = dice.choice((
        apdu.GetRequestNormal(0xC1, ENERGY).encode(),
        apdu.SetRequestNormal(0xC1, WRITABLE, b"\x11\x07").encode(),
        apdu.ActionRequestNormal(0xC1, ECHO, b"\x11\x07").encode(),
        *(bytes((0xC4, 1, 0xC0 | n, 0)) + ENERGY_VALUE for n in range(16)),
    ))  # fmt: skip
    if dice.randrange(2):
        return plain
    content = bytes((0x20 | dice.randrange(3),)) + dice.randbytes(4) + plain
    return bytes((dice.choice((0xC8, 0xD0, 0xCC, 0xD4)), len(content))) + content


Forgery = Callable[[bytes, list[bytes], random.Random], bytes]
FORGERIES: dict[str, Forgery] = {
    "replayed or reflected": lambda octets, others, dice: octets,
    "truncated": lambda octets, others, dice: octets[: dice.randrange(len(octets))],
    "extended": lambda octets, others, dice: octets + dice.randbytes(dice.randrange(1, 20)),
    "bits flipped": flip,
    "another counter": counted,
    "another security control": controlled,
    "another service or envelope": retagged,
    "spliced of two": spliced,
    "nested": nested,
    "weakened": weakened,
}  # fmt: skip


def recorded_pair(
    suite: int, envelope: Envelope, choice: KeyChoice, protection: Protection
) -> tuple[Pair, list[bytes]]:
    """An association in use, and all that was protected in it, both ways: every number is spent."""
    mechanism = Mechanism.HLS_GMAC if suite == 0 else Mechanism.HLS_ECDSA
    pair = secure(
        secured_pair(
            mechanism, suite, policy=POLICY_OF[protection], protection=protection,
            envelope=envelope, key_choice=choice,
            dedicated_key=envelope in (Envelope.DED, Envelope.GENERAL_DED),
        )
    )  # fmt: skip
    for make in (
        lambda: pair.client.get(LONG),
        lambda: pair.client.get(ENERGY, CLOCK),
        lambda: pair.client.set((WRITABLE, b"\x11\x05")),
        lambda: pair.client.action((ECHO, b"\x11\x05")),
    ):
        for _ in range(3):
            pair.exchange(make())
    return pair, [octets for _, octets in pair.wire if octets[0] in apdu.CIPHERED_TAGS]


def floors_of(pair: Pair) -> list[object]:
    """What both sides take next: by key and sender, and under the dedicated key."""
    found: list[object] = []
    for security in (pair.server._security, pair.client.security):
        assert security is not None
        store = security.counters._store
        assert isinstance(store, VolatileCounterStore)
        found += [dict(store._lowest), security._dedicated_counters.lowest]
        found.append(security._derived_lowest)
    return found


def forge(pair: Pair, recorded: list[bytes], forgery: Forgery, rounds: int, seed: int) -> None:
    """Send forged APDUs to server and client; none is served, delivered or remembered."""
    dice = random.Random(seed)
    before, values, floors = touched(pair), dict(pair.meter.values), floors_of(pair)
    for number in range(rounds):
        forged = forgery(dice.choice(recorded), recorded, dice)
        if number % 2:
            pair.server.receive_apdu(forged, NOW)
            continue
        if not pair.client.busy:
            pair.client.get(ENERGY)
        try:
            events = pair.client.receive_apdu(forged, NOW)
        except RemoteProtocolError:
            continue
        assert not any(isinstance(e, (GetAnswer, Send, Notification)) for e in events), forged.hex()
    assert touched(pair) == before
    assert pair.meter.values == values
    assert floors_of(pair) == floors, "a refused APDU moved a counter"
    assert pair.server.associated
    pair.client.cancel()
    (event,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(event, GetAnswer)


@pytest.mark.parametrize(("suite", "envelope", "choice", "protection"), SECURED)
def test_forged_apdus_are_all_refused(
    suite: int, envelope: Envelope, choice: KeyChoice, protection: Protection
) -> None:
    pair, recorded = recorded_pair(suite, envelope, choice, protection)
    for seed, forgery in enumerate(FORGERIES.values()):
        forge(pair, recorded, forgery, 200, seed)


@pytest.mark.fuzz
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", FORGERIES)
def test_a_million_forged_apdus_of_each_kind_are_all_refused(kind: str) -> None:
    """Spread evenly over suites, envelopes, ways to name the key, signatures and both sides."""
    share = -(-1_000_000 // len(SECURED))
    for seed, way in enumerate(SECURED):
        pair, recorded = recorded_pair(*way)
        forge(pair, recorded, FORGERIES[kind], share, 1000 + seed)


def test_a_recorded_session_cannot_be_played_again() -> None:
    pair = secure(secured_pair())
    pair.exchange(pair.client.set((WRITABLE, b"\x11\x05")))
    pair.exchange(pair.client.release())
    session = [octets for way, octets in pair.wire if way == ">"]
    pair.meter.values[1, bytes(WRITABLE.obis), 2] = b"\x00"
    again = ServerAssociation(pair.device, 1)
    for octets in session:
        again.receive_apdu(octets, NOW)
    assert not again.associated
    assert pair.meter.values[1, bytes(WRITABLE.obis), 2] == b"\x00"


def test_answers_of_another_session_or_meter_are_not_taken() -> None:
    first = secure(secured_pair())
    (old,) = first.server.receive_apdu(first.client.get(ENERGY), NOW)
    first.client.receive_apdu(old, NOW)
    first.client.get(ENERGY)
    for octets in (old, first.wire[-1][1], first.wire[1][1]):
        try:
            events = first.client.receive_apdu(octets, NOW)
        except RemoteProtocolError:
            continue
        assert not any(isinstance(event, GetAnswer) for event in events)


def test_own_requests_sent_back_are_no_answers() -> None:
    pair = secure(secured_pair())
    for request in requests(pair):
        pair.client.cancel()
        pair.client.get(ENERGY)
        try:
            events = pair.client.receive_apdu(request, NOW)
        except RemoteProtocolError:
            continue
        assert not any(isinstance(event, GetAnswer) for event in events)


def test_plain_and_weaker_requests_are_refused_under_a_policy() -> None:
    pair = secure(secured_pair(dedicated_key=True))
    plain = apdu.GetRequestNormal(0xC1, ENERGY).encode()
    security = pair.client.security
    assert security is not None
    for octets in (
        plain,
        security.protect(plain, Protection.AUTHENTICATED),
        security.protect(plain, Protection.ENCRYPTED),
    ):
        lowest = pair.server._security.lowest_unicast()  # type: ignore[union-attr]
        (answer,) = pair.server.receive_apdu(octets, NOW)
        assert answer == bytes.fromhex("D80101")
        assert pair.server._security.lowest_unicast() == lowest  # type: ignore[union-attr]
    assert not pair.meter.asked
    assert pair.server.associated


def test_plain_and_weaker_answers_are_refused_by_the_client() -> None:
    pair = secure(secured_pair())
    request = pair.client.get(ENERGY)
    (answer,) = pair.server.receive_apdu(request, NOW)
    invoke = 0xC0 | (pair.client._invoke & 0x0F)
    plain = apdu.GetResponseNormal(invoke, b"\x06\xff\xff\xff\xff").encode()
    server_side = pair.server._security
    assert server_side is not None
    for octets in (
        plain,
        server_side.protect(plain, Protection.AUTHENTICATED),
        server_side.protect(plain, Protection.ENCRYPTED),
    ):
        with pytest.raises(RemoteProtocolError):
            pair.client.receive_apdu(octets, NOW)
    (event,) = pair.client.receive_apdu(answer, NOW)
    assert isinstance(event, GetAnswer)


DOWNGRADES = {
    "plain context": {"context": 1},
    "no mechanism": {"mechanism": None, "authentication_value": None},
    "password instead": {"mechanism": 1, "authentication_value": b"12345678"},
    "MD5 instead": {"mechanism": 3},
    "plain initiate": {"user_information": apdu.InitiateRequest(0xFFFFFF, 1024).encode()},
    "no title": {"calling_ap_title": None},
    "short title": {"calling_ap_title": b"1234567"},
    "the meter's own title": {"calling_ap_title": SERVER_TITLE},
    "another title": {"calling_ap_title": b"STRANGER"},
    "short challenge": {"authentication_value": b"1234567"},
    "long challenge": {"authentication_value": bytes(65)},
}


@pytest.mark.parametrize("name", DOWNGRADES)
def test_downgraded_aarqs_open_nothing(name: str) -> None:
    from dataclasses import replace

    pair = secured_pair()
    aarq = acse.decode_aarq(pair.client.associate())
    changed = replace(aarq, **DOWNGRADES[name])  # type: ignore[arg-type]
    (answer,) = pair.server.receive_apdu(changed.encode(), NOW)
    assert acse.decode_aare(answer).result == 1
    assert not pair.server.associated
    plain = apdu.GetRequestNormal(0xC1, ENERGY).encode()
    assert pair.server.receive_apdu(plain, NOW) == [bytes.fromhex("D80101")]


def test_a_dedicated_key_needs_a_fully_protected_initiate() -> None:
    pair = secured_pair(
        policy=SecurityPolicy.NONE, protection=Protection.AUTHENTICATED, dedicated_key=True
    )
    aarq = acse.decode_aarq(pair.client.associate())
    security = pair.client.security
    assert security is not None
    initiate = apdu.InitiateRequest(0xFFFFFF, 1024, bytes(16)).encode()
    for protection in (Protection.AUTHENTICATED, Protection.ENCRYPTED):
        from dataclasses import replace

        weak = replace(aarq, user_information=security.protect(initiate, protection))
        (answer,) = pair.server.receive_apdu(weak.encode(), NOW)
        aare = acse.decode_aare(answer)
        assert aare.result == 1
        assert aare.user_information == bytes.fromhex("0E010604")


def test_downgraded_aares_are_not_accepted() -> None:
    from dataclasses import replace

    for change in (
        {"user_information": apdu.InitiateResponse(0xFFFFFF, 1024).encode()},
        {"context": 1},
        {"mechanism": 3},
        {"responding_ap_title": CLIENT_TITLE},
        {"authentication_value": b"short"},
        {"diagnostic": 0, "authentication_value": None, "mechanism": None},
    ):
        pair = secured_pair()
        (octets,) = pair.server.receive_apdu(pair.client.associate(), NOW)
        changed = replace(acse.decode_aare(octets), **change)  # type: ignore[arg-type]
        try:
            events = pair.client.receive_apdu(changed.encode(), NOW)
        except RemoteProtocolError:
            continue
        assert not any(isinstance(event, (Associated, Send)) for event in events), change
        assert not pair.client.associated


def test_a_meter_that_only_plays_back_cannot_authenticate_itself() -> None:
    """Pass 4 of an earlier session does not answer a fresh challenge."""
    for mechanism in (m for m in Mechanism if m.is_hls):
        suite = 1 if mechanism is Mechanism.HLS_ECDSA else 0
        recorded = secure(secured_pair(mechanism, suite))
        answers = [octets for way, octets in recorded.wire if way == "<"]
        config = ClientConfig(mechanism, b"0123456789ABCDEF", CLIENT_TITLE, key_pair(suite)[0])
        victim = ClientAssociation(
            config, repeatable_entropy(77), InvocationCounters(VolatileCounterStore())
        )
        victim.associate()
        for octets in answers:
            try:
                events = victim.receive_apdu(octets, NOW)
            except RemoteProtocolError:
                continue
            assert not any(isinstance(event, Associated) for event in events)
        assert not victim.associated


def test_challenges_never_repeat() -> None:
    pair = make_pair(ClientConfig(), secured_pair().device.profiles[1])
    seen = set()
    source = secured_pair()
    for _ in range(500):
        server = ServerAssociation(pair.device, 1)
        (answer,) = server.receive_apdu(source.client.associate(), NOW)
        challenge = acse.decode_aare(answer).authentication_value
        assert challenge is not None
        seen.add(challenge)
        source.client.disconnected()
    assert len(seen) == 500


def test_secrets_never_show_in_events_errors_or_reprs() -> None:
    pair = secured_pair(Mechanism.HLS_SHA256, secret=b"S3CR3T-CANARY-16")
    secure(pair)
    profile = pair.device.profiles[1]
    assert profile.keys is not None
    texts = [repr(profile), repr(profile.keys), repr(pair.client.security), repr(pair.device)]
    texts += [repr(event) for event in pair.server.take_events()]
    texts.append(repr(ClientConfig(Mechanism.LLS, b"S3CR3T-CANARY-16", keys=profile.keys)))
    for text in texts:
        assert "CANARY" not in text
        assert profile.keys.unicast.hex() not in text
        assert repr(profile.keys.unicast)[2:-1] not in text
