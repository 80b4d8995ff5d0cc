"""Forged, replayed, reflected, truncated and downgraded APDUs against a secured association.

The goal: not one of them is executed or delivered, and none changes what the association accepts
next. Method: a working session is recorded at every step, then each APDU is sent again in a changed
form; the meter counts what reaches its objects.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from blathy.wire import acse, apdu
from blathy.wire.acse import Mechanism
from blathy.wire.association import (
    Associated,
    ClientAssociation,
    ClientConfig,
    GetAnswer,
    InvocationCounters,
    Protection,
    SecurityPolicy,
    Send,
    ServerAssociation,
    VolatileCounterStore,
)
from blathy.wire.errors import RemoteProtocolError
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


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize(("policy", "protection"), POLICIES)
def test_every_single_bit_of_a_request_counts(
    suite: int, policy: SecurityPolicy, protection: Protection
) -> None:
    pair = secure(secured_pair(suite=suite, policy=policy, protection=protection))
    for request in requests(pair):
        before = touched(pair)
        lowest = pair.server._security.lowest_unicast()  # type: ignore[union-attr]
        for bit in range(len(request) * 8):
            changed = bytearray(request)
            changed[bit // 8] ^= 1 << bit % 8
            pair.server.receive_apdu(bytes(changed), NOW)
            assert pair.server.associated, bit
        assert touched(pair) == before
        assert pair.server._security.lowest_unicast() == lowest  # type: ignore[union-attr]
        pair.server.receive_apdu(request, NOW)
        assert touched(pair) > before, "the request itself still works"


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize(("policy", "protection"), POLICIES)
def test_every_single_bit_of_an_answer_counts(
    suite: int, policy: SecurityPolicy, protection: Protection
) -> None:
    pair = secure(secured_pair(suite=suite, policy=policy, protection=protection))
    (answer,) = pair.server.receive_apdu(pair.client.get(ENERGY), NOW)
    for bit in range(len(answer) * 8):
        changed = bytearray(answer)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            events = pair.client.receive_apdu(bytes(changed), NOW)
        except RemoteProtocolError:
            continue
        assert not any(isinstance(event, (GetAnswer, Send)) for event in events), bit
    (event,) = pair.client.receive_apdu(answer, NOW)
    assert isinstance(event, GetAnswer)
    assert event.results == (ENERGY_VALUE,)


def attack(octets: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """One forged form of an APDU."""
    kind = dice.randrange(8)
    changed = bytearray(octets)
    if kind == 0:
        return octets  # replayed as it is
    if kind == 1:
        return octets[: dice.randrange(len(octets))]
    if kind == 2:
        for _ in range(dice.randrange(1, 4)):
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    elif kind == 3:
        changed[dice.randrange(len(changed))] = dice.randrange(256)
    elif kind == 4 and len(changed) > 7:  # another counter
        changed[3:7] = dice.randrange(1 << 32).to_bytes(4, "big")
    elif kind == 5:  # weaker protection by the header
        changed[2] = dice.choice((0x00, 0x10, 0x20, 0x31, 0x32, 0x70, 0xB0))
    elif kind == 6:  # the head of one, the tail of another
        other = dice.choice(others)
        cut = dice.randrange(min(len(octets), len(other)))
        return octets[:cut] + other[cut:]
    else:
        changed[0] = dice.choice((0xC0, 0xC8, 0xC9, 0xCB, 0xD0, 0xDB, 0xDC, 0xDD, 0xE0, 0xCC))
    return bytes(changed)


def forge(rounds: int, seed: int) -> None:
    dice = random.Random(seed)
    pair = secure(secured_pair())
    pair.exchange(pair.client.get(LONG))
    recorded = [octets for _, octets in pair.wire]
    for _ in range(20):
        for request in requests(pair):
            recorded.append(request)
            for answer in pair.server.receive_apdu(request, NOW):
                recorded.append(answer)
                pair.client.receive_apdu(answer, NOW)
    tagged = [octets for octets in recorded if octets[0] in apdu.CIPHERED_TAGS]
    before = touched(pair)
    values = dict(pair.meter.values)
    lowest = pair.server._security.lowest_unicast()  # type: ignore[union-attr]
    for number in range(rounds):
        forged = attack(dice.choice(tagged), tagged, dice)
        if number % 2:
            pair.server.receive_apdu(forged, NOW)
        else:
            pair.client.cancel()
            pair.client.get(ENERGY)
            try:
                events = pair.client.receive_apdu(forged, NOW)
            except RemoteProtocolError:
                continue
            assert not any(isinstance(event, GetAnswer) for event in events), forged.hex()
    assert touched(pair) == before
    assert pair.meter.values == values
    assert pair.server.associated
    assert pair.server._security.lowest_unicast() == lowest  # type: ignore[union-attr]
    pair.client.cancel()
    (event,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(event, GetAnswer)


def test_ten_thousand_forged_apdus_are_all_refused() -> None:
    forge(10_000, seed=1)


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_a_million_forged_apdus_are_all_refused() -> None:
    for seed in range(10):
        forge(100_000, seed=100 + seed)


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
