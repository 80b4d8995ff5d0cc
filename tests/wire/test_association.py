"""Client core against server core: every service, every security level, every PDU size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blathy.clock import Instant
from blathy.cosem.service import AttributeRef
from blathy.obis import Obis
from blathy.wire import acse, apdu
from blathy.wire.acse import Mechanism
from blathy.wire.apdu import AccessKind
from blathy.wire.association import (
    STATES,
    AccessAnswer,
    ActionAnswer,
    Associated,
    AssociationProfile,
    AssociationRefused,
    AuthenticationFailed,
    ClientAssociation,
    ClientConfig,
    ClientReleased,
    Conformance,
    Discarded,
    Envelope,
    EventReport,
    FailureThrottle,
    GetAnswer,
    InvocationCounters,
    KeyChoice,
    Notification,
    NotificationConfirmed,
    Protection,
    Released,
    ReleaseRefused,
    SecurityPolicy,
    SecurityViolation,
    Send,
    ServerAssociation,
    ServiceRefused,
    SetAnswer,
    State,
    Step,
    TransferAborted,
    Violation,
    VolatileCounterStore,
)
from blathy.wire.association_events import after
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from tests.wire.association_pair import (
    ABSENT,
    CLIENT_TITLE,
    CLOCK,
    CLOCK_VALUE,
    DISCONNECT,
    ECHO,
    ENERGY,
    ENERGY_VALUE,
    LONG,
    LONG_VALUE,
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

BIG = b"\x09\x82\x03\xe8" + bytes(range(250)) * 4  # an octet-string of 1 000 octets
ALL_MECHANISMS = list(Mechanism)
SECURED = [(m, s) for s in (0, 1, 2) for m in Mechanism if not (m is Mechanism.HLS_ECDSA and not s)]


def every_service(pair: Pair) -> None:
    """Walk through all services by logical name and check what comes back."""
    client = pair.client
    (answer,) = pair.exchange(client.get(ENERGY))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (ENERGY_VALUE,)
    (answer,) = pair.exchange(client.get(ABSENT))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (4,)
    (answer,) = pair.exchange(client.get(LONG))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (LONG_VALUE,)
    (answer,) = pair.exchange(client.get(ENERGY, ABSENT, LONG, CLOCK))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (ENERGY_VALUE, 4, LONG_VALUE, CLOCK_VALUE)
    (written,) = pair.exchange(client.set((WRITABLE, BIG)))
    assert isinstance(written, SetAnswer)
    assert written.results == (0,)
    assert pair.meter.values[1, bytes(WRITABLE.obis), 2] == BIG
    (written,) = pair.exchange(client.set((ENERGY, ENERGY_VALUE), (WRITABLE, BIG), (WRITABLE, BIG)))
    assert isinstance(written, SetAnswer)
    assert written.results == (3, 0, 0)
    (done,) = pair.exchange(client.action((DISCONNECT, b"\x0f\x00")))
    assert isinstance(done, ActionAnswer)
    assert done.results == ((0, None),)
    (done,) = pair.exchange(client.action((ECHO, BIG)))
    assert isinstance(done, ActionAnswer)
    assert done.results == ((0, BIG),)
    (done,) = pair.exchange(client.action((ECHO, BIG), (DISCONNECT, b""), (ECHO, b"\x11\x01")))
    assert isinstance(done, ActionAnswer)
    assert done.results == ((0, BIG), (0, None), (0, b"\x11\x01"))


def access_service(pair: Pair) -> None:
    (answer,) = pair.exchange(
        pair.client.access(
            [
                (AccessKind.GET, ENERGY),
                (AccessKind.SET, WRITABLE),
                (AccessKind.ACTION, ECHO),
                (AccessKind.GET, ABSENT),
                (AccessKind.GET, LONG),
            ],
            [b"", BIG, b"\x11\x07", b"", b""],
        )
    )
    assert isinstance(answer, AccessAnswer)
    response = answer.response
    assert [code for _, code in response.results] == [0, 0, 0, 4, 0]
    assert response.data == (ENERGY_VALUE, b"\x00", b"\x11\x07", b"\x00", LONG_VALUE)


def released(pair: Pair) -> None:
    assert pair.exchange(pair.client.release()) == [Released()]
    assert pair.server.state is State.IDLE
    assert pair.server.receive_apdu(bytes.fromhex("C001C100080000010000FF0200"), NOW) == [
        bytes.fromhex("D80101")
    ]


@pytest.mark.parametrize("mechanism", ALL_MECHANISMS)
def test_every_mechanism_in_a_plain_context(mechanism: Mechanism) -> None:
    pair = plain_pair(mechanism)
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    assert event.mechanism is mechanism
    every_service(pair)
    released(pair)
    kinds = [type(e) for e in pair.server.take_events()]
    assert ClientReleased in kinds


@pytest.mark.parametrize(("mechanism", "suite"), SECURED)
def test_every_mechanism_in_a_ciphered_context(mechanism: Mechanism, suite: int) -> None:
    pair = secured_pair(mechanism, suite)
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    assert event.server_title == SERVER_TITLE
    every_service(pair)
    access_service(pair)
    released(pair)
    for _, octets in pair.wire:
        assert octets[0] in apdu.CIPHERED_TAGS or octets[0] in (0x60, 0x61, 0x62, 0x63, 0xE0, 0xD8)


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize(
    "protection", [Protection.AUTHENTICATED, Protection.ENCRYPTED, Protection.BOTH]
)
@pytest.mark.parametrize(
    ("envelope", "dedicated"),
    [
        (Envelope.GLO, False),
        (Envelope.DED, True),
        (Envelope.GENERAL_GLO, False),
        (Envelope.GENERAL_DED, True),
        (Envelope.GENERAL_CIPHERING, False),
    ],
)
def test_every_envelope_and_protection(
    suite: int, protection: Protection, envelope: Envelope, dedicated: bool
) -> None:
    pair = secured_pair(
        Mechanism.HLS_GMAC,
        suite,
        policy=SecurityPolicy.NONE,
        protection=protection,
        envelope=envelope,
        dedicated_key=dedicated,
    )
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    every_service(pair)
    access_service(pair)
    assert all(who.protected for _, who in pair.meter.asked)
    used = {octets[0] for direction, octets in pair.wire[4:] if direction == ">"}
    wanted = {
        Envelope.GLO: 0xC8,
        Envelope.DED: 0xD0,
        Envelope.GENERAL_GLO: 0xDB,
        Envelope.GENERAL_DED: 0xDC,
        Envelope.GENERAL_CIPHERING: 0xDD,
    }
    assert wanted[envelope] in used
    released(pair)


@pytest.mark.parametrize("suite", [1, 2])
@pytest.mark.parametrize(
    "choice", [KeyChoice.IDENTIFIED, KeyChoice.WRAPPED, KeyChoice.ONE_PASS, KeyChoice.STATIC]
)
@pytest.mark.parametrize("signed", [Protection.NONE, Protection.SIGNED])
def test_general_ciphering_with_every_way_to_name_the_key(
    suite: int, choice: KeyChoice, signed: Protection
) -> None:
    pair = secured_pair(
        Mechanism.HLS_ECDSA,
        suite,
        protection=Protection.BOTH | signed,
        envelope=Envelope.GENERAL_CIPHERING,
        key_choice=choice,
    )
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    (answer,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (ENERGY_VALUE,)
    (answer,) = pair.exchange(pair.client.get(LONG))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (LONG_VALUE,)
    _, who = pair.meter.asked[-1]
    assert who.protected >= {"authenticated", "encrypted"}
    assert ("signed" in who.protected) is bool(signed)


def test_a_policy_that_asks_for_signatures_gets_them_both_ways() -> None:
    policy = (
        SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED
        | SecurityPolicy.SIGNED_REQUEST
        | SecurityPolicy.SIGNED_RESPONSE
    )
    signed = secured_pair(
        Mechanism.HLS_ECDSA, 1, policy=policy, protection=Protection.BOTH | Protection.SIGNED
    )
    (event,) = signed.associate()
    assert isinstance(event, Associated)
    every_service(signed)
    assert all(octets[0] in (0xDF, 0x60, 0x61) for _, octets in signed.wire)
    unsigned = secured_pair(Mechanism.HLS_ECDSA, 1, policy=policy)
    (event,) = unsigned.associate()
    assert isinstance(event, AssociationRefused)
    assert not unsigned.server.associated


@pytest.mark.parametrize("size", [12, 13, 20, 37, 64, 127, 128, 129, 140, 255, 256, 257, 300, 1024])
def test_every_pdu_size_in_a_plain_context(size: int) -> None:
    pair = plain_pair(pdu_size=size, server_pdu_size=max(size, 60))
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    every_service(pair)
    for direction, octets in pair.wire[2:]:
        assert len(octets) <= (size if direction == "<" else max(size, 60))


@pytest.mark.parametrize("size", [100, 127, 128, 150, 256, 300, 1024])
@pytest.mark.parametrize(
    "envelope", [Envelope.GLO, Envelope.GENERAL_GLO, Envelope.GENERAL_CIPHERING]
)
def test_every_pdu_size_in_a_ciphered_context(size: int, envelope: Envelope) -> None:
    pair = secured_pair(pdu_size=size, server_pdu_size=size, envelope=envelope)
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    every_service(pair)
    access_service(pair)
    for _, octets in pair.wire[4:]:
        assert len(octets) <= size


@pytest.mark.parametrize("size", [40, 100, 300])
@pytest.mark.parametrize("secured", [False, True])
def test_general_block_transfer_alone_carries_every_service(size: int, secured: bool) -> None:
    blocks = (
        Conformance.BLOCK_TRANSFER_GET_OR_READ
        | Conformance.BLOCK_TRANSFER_SET_OR_WRITE
        | Conformance.BLOCK_TRANSFER_ACTION
    )
    proposal = 0xFFFFFF & ~int(blocks)
    pair = (
        secured_pair(pdu_size=size, server_pdu_size=size, conformance=proposal)
        if secured
        else plain_pair(pdu_size=size, server_pdu_size=size, conformance=proposal)
    )
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    every_service(pair)
    access_service(pair)
    assert any(octets[0] == 0xE0 for _, octets in pair.wire)
    for _, octets in pair.wire[4:]:
        assert len(octets) <= size


@pytest.mark.parametrize("mechanism", ALL_MECHANISMS)
@pytest.mark.parametrize("secured", [False, True])
def test_short_names_serve_every_mechanism(mechanism: Mechanism, secured: bool) -> None:
    if secured:
        suite = 1 if mechanism is Mechanism.HLS_ECDSA else 0
        pair = secured_pair(mechanism, suite, short_names=True)
    else:
        pair = plain_pair(mechanism, short_names=True)
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    name = apdu.VariableName
    (answer,) = pair.exchange(pair.client.read(name(0x0108)))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (ENERGY_VALUE,)
    (answer,) = pair.exchange(pair.client.read(name(0x0108), name(0x7000), name(0x0208)))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (ENERGY_VALUE, 4, CLOCK_VALUE)
    (answer,) = pair.exchange(pair.client.read(name(0x0308)))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (LONG_VALUE,)
    (written,) = pair.exchange(pair.client.write((name(0x0408), BIG)))
    assert isinstance(written, SetAnswer)
    assert written.results == (0,)
    assert pair.meter.values[1, bytes(WRITABLE.obis), 2] == BIG
    call = apdu.ParameterizedAccess(0x0520, 0, b"\x11\x05")  # method 1 of the script table
    (answer,) = pair.exchange(pair.client.read(call))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (b"\x11\x05",)
    released(pair)


@pytest.mark.parametrize("size", [30, 100, 128, 300])
def test_short_names_in_blocks_both_ways(size: int) -> None:
    pair = plain_pair(short_names=True, pdu_size=size, server_pdu_size=size)
    pair.associate()
    (answer,) = pair.exchange(pair.client.read(apdu.VariableName(0x0308)))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (LONG_VALUE,)
    (written,) = pair.exchange(pair.client.write((apdu.VariableName(0x0408), BIG)))
    assert isinstance(written, SetAnswer)
    assert written.results == (0,)
    assert pair.meter.values[1, bytes(WRITABLE.obis), 2] == BIG
    many = [apdu.VariableName(0x0108)] * 60
    (answer,) = pair.exchange(pair.client.read(*many))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (ENERGY_VALUE,) * 60
    assert all(len(octets) <= size for _, octets in pair.wire[2:])


@pytest.mark.parametrize("head", [b"\x01\x00", b""])
@pytest.mark.parametrize(
    "value", [LONG_VALUE, b"\x01\x02" + LONG_VALUE * 2, b"\x02\x01" + LONG_VALUE]
)
def test_short_name_blocks_hold_the_list_of_results_and_the_value_alone_is_taken(
    head: bytes, value: bytes
) -> None:
    """As a list, 01 00 value, it goes over the line between real head-ends and meters; other stacks
    leave count and choice out."""
    pair = plain_pair(short_names=True)
    pair.associate()
    pair.client.read(apdu.VariableName(0x0308))
    octets = head + value
    middle = len(octets) // 2
    for number, part in enumerate((octets[:middle], octets[middle:]), 1):
        block = apdu.DataBlockResult(number == 2, number, part)
        events = pair.client.receive_apdu(apdu.ReadResponse((block,)).encode(), NOW)
    assert [event.results for event in events if isinstance(event, GetAnswer)] == [(value,)]


def test_selective_access_reaches_the_object_unchanged() -> None:
    pair = plain_pair()
    pair.associate()
    parameters = bytes.fromhex("0204060000000106 0000000A120001120000".replace(" ", ""))
    pair.exchange(pair.client.get(replace(LONG, selector=2, parameters=parameters)))
    ref, who = pair.meter.asked[-1]
    assert (ref.selector, ref.parameters) == (2, parameters)
    assert (who.client_sap, who.server_sap, who.max_pdu_size) == (16, 1, 0xFFFF)


def test_selective_access_that_was_not_negotiated_never_returns_the_whole_buffer() -> None:
    pair = plain_pair(conformance=int(Conformance.GET))
    pair.associate()
    (answer,) = pair.exchange(pair.client.get(replace(LONG, selector=2, parameters=b"\x00")))
    assert isinstance(answer, GetAnswer)
    assert isinstance(answer.results[0], int)
    assert not pair.meter.asked


def test_unconfirmed_requests_are_executed_and_never_answered() -> None:
    pair = plain_pair()
    pair.associate()
    assert pair.exchange(pair.client.set((WRITABLE, b"\x11\x2a"), confirmed=False)) == []
    assert pair.meter.values[1, bytes(WRITABLE.obis), 2] == b"\x11\x2a"
    assert pair.exchange(pair.client.set((ENERGY, b"\x00"), confirmed=False)) == []
    assert pair.exchange(pair.client.action((DISCONNECT, b"\x0f\x00"), confirmed=False)) == []
    assert pair.meter.calls == [(DISCONNECT, b"\x0f\x00")]
    assert not pair.client.busy


# --- Errors of block transfer -------------------------------------------------------------------


def test_get_next_with_the_wrong_block_number_ends_the_transfer_with_error_19() -> None:
    pair = plain_pair(pdu_size=100)
    pair.associate()
    request = pair.client.get(LONG)
    (first,) = pair.server.receive_apdu(request, NOW)
    assert first[:8] == bytes((0xC4, 2, request[2], 0, 0, 0, 0, 1))
    (answer,) = pair.server.receive_apdu(bytes((0xC0, 2, request[2], 0, 0, 0, 7)), NOW)
    assert answer[3] == 1
    assert answer[8:] == b"\x01\x13"
    (answer,) = pair.server.receive_apdu(bytes((0xC0, 2, request[2], 0, 0, 0, 1)), NOW)
    assert answer[8:] == b"\x01\x10"


def test_a_new_request_ends_the_transfer_that_was_running() -> None:
    pair = plain_pair(pdu_size=100)
    pair.associate()
    request = pair.client.get(LONG)
    pair.server.receive_apdu(request, NOW)
    pair.client.cancel()
    (answer,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(answer, GetAnswer)
    (answer_octets,) = pair.server.receive_apdu(bytes((0xC0, 2, request[2], 0, 0, 0, 1)), NOW)
    assert answer_octets[8:] == b"\x01\x10"


def test_set_blocks_out_of_order_write_nothing() -> None:
    pair = plain_pair(server_pdu_size=100)
    pair.associate()
    before = dict(pair.meter.values)
    first = pair.client.set((WRITABLE, BIG))
    pair.server.receive_apdu(first, NOW)
    invoke = first[2]
    block = bytes((0xC1, 3, invoke, 1, 0, 0, 0, 9, 2, 1, 2))
    assert pair.server.receive_apdu(block, NOW) == [bytes((0xC5, 3, invoke, 19, 0, 0, 0, 9))]
    block = bytes((0xC1, 3, invoke, 1, 0, 0, 0, 2, 2, 1, 2))
    assert pair.server.receive_apdu(block, NOW) == [bytes((0xC5, 3, invoke, 18, 0, 0, 0, 2))]
    assert pair.meter.values == before


def test_an_upload_longer_than_the_meter_takes_is_refused_and_forgotten() -> None:
    config = ClientConfig()
    profile = AssociationProfile(16, conformance=0xFFFFFF)
    pair = make_pair(config, profile, server_pdu_size=100, upload_octets_max=500)
    pair.associate()
    (written,) = pair.exchange(pair.client.set((WRITABLE, BIG)))
    # The client learns of it in the middle of its transfer.
    assert isinstance(written, SetAnswer)
    assert written.results == (17,)
    (done,) = pair.exchange(pair.client.action((ECHO, BIG)))
    assert isinstance(done, ActionAnswer)
    assert done.results == ((15, None),)


def test_client_aborts_when_block_numbers_jump() -> None:
    pair = plain_pair(pdu_size=100)
    pair.associate()
    request = pair.client.get(LONG)
    (first,) = pair.server.receive_apdu(request, NOW)
    forged = first[:4] + b"\x00\x00\x00\x05" + first[8:]
    (event,) = pair.client.receive_apdu(forged, NOW)
    assert isinstance(event, TransferAborted)
    assert not pair.client.busy


def test_client_stops_at_endless_empty_blocks() -> None:
    pair = plain_pair()
    pair.associate()
    request = pair.client.get(LONG)
    events = []
    for number in range(1, 40):
        block = apdu.GetResponseBlock(request[2], False, number, b"").encode()
        events = pair.client.receive_apdu(block, NOW)
        if not isinstance(events[0], Send):
            break
    assert isinstance(events[0], TransferAborted)


def test_blocks_that_make_no_answer_are_an_aborted_transfer() -> None:
    pair = plain_pair()
    pair.associate()
    request = pair.client.get(ENERGY, CLOCK)
    block = apdu.GetResponseBlock(request[2], True, 1, b"\x02\x00\x06").encode()
    (event,) = pair.client.receive_apdu(block, NOW)
    assert isinstance(event, TransferAborted)
    assert not pair.client.busy


def test_an_error_that_answers_nothing_is_discarded() -> None:
    pair = plain_pair()
    pair.associate()
    (event,) = pair.client.receive_apdu(bytes.fromhex("D80101"), NOW)
    assert isinstance(event, Discarded)
    assert pair.client.associated


def test_a_late_answer_is_discarded_and_the_right_one_still_taken() -> None:
    pair = plain_pair()
    pair.associate()
    first = pair.client.get(ENERGY)
    (late,) = pair.server.receive_apdu(first, NOW)
    pair.client.cancel()
    second = pair.client.get(CLOCK)
    (event,) = pair.client.receive_apdu(late, NOW)
    assert isinstance(event, Discarded)
    (answer,) = pair.exchange(second)
    assert isinstance(answer, GetAnswer)
    assert answer.results == (CLOCK_VALUE,)


def test_action_blocks_that_hold_only_the_data_are_understood_too() -> None:
    pair = plain_pair()
    pair.associate()
    request = pair.client.action((ECHO, b"\x11\x01"))
    half = apdu.ActionResponseBlock(request[2], False, 1, BIG[:500]).encode()
    (event,) = pair.client.receive_apdu(half, NOW)
    assert isinstance(event, Send)
    rest = apdu.ActionResponseBlock(request[2], True, 2, BIG[500:]).encode()
    (answer,) = pair.client.receive_apdu(rest, NOW)
    assert isinstance(answer, ActionAnswer)
    assert answer.results == ((0, BIG),)


# --- Opening, refusing, releasing ---------------------------------------------------------------


def _refused(pair: Pair) -> AssociationRefused:
    (event,) = pair.associate()
    assert isinstance(event, AssociationRefused)
    assert pair.client.state is State.IDLE
    assert not pair.server.associated
    return event


def test_wrong_password_is_refused_with_authentication_failure() -> None:
    pair = make_pair(
        ClientConfig(Mechanism.LLS, b"wrong"), AssociationProfile(16, Mechanism.LLS, b"right")
    )
    event = _refused(pair)
    assert (event.result, event.diagnostic) == (1, 13)
    assert "password" in event.reason
    (failure,) = pair.server.take_events()
    assert isinstance(failure, AuthenticationFailed)


@pytest.mark.parametrize("mechanism", [m for m in Mechanism if m.is_hls])
def test_wrong_hls_secret_or_key_ends_the_association(mechanism: Mechanism) -> None:
    client_keys, server_keys = key_pair(1)
    wrong = replace(client_keys, unicast=b"\x55" * 16, signing=client_keys.agreement)
    with_keys = mechanism in (Mechanism.HLS_GMAC, Mechanism.HLS_ECDSA)
    config = ClientConfig(
        mechanism,
        b"wrong secret 123",
        CLIENT_TITLE,
        wrong if with_keys else None,
        protection=Protection.NONE,
    )
    profile = AssociationProfile(
        1, mechanism, b"right secret 123", server_keys if with_keys else None
    )
    pair = make_pair(config, profile)
    event = _refused(pair)
    assert event.diagnostic == 13
    assert any(isinstance(e, AuthenticationFailed) for e in pair.server.take_events())
    request = bytes.fromhex("C001C100080000010000FF0200")
    assert pair.server.receive_apdu(request, NOW) == [bytes.fromhex("D80101")]


def test_nothing_but_the_third_pass_is_served_before_it() -> None:
    pair = plain_pair(Mechanism.HLS_SHA256)
    pair.server.receive_apdu(pair.client.associate(), NOW)
    assert pair.server.state is State.AUTHENTICATING
    for request in (
        "C001C100080000010000FF0200",
        "C101C1000100006001 00FF0200 1101".replace(" ", ""),
        "C301C10046000060030AFF01010F00",
        "D940000000000101000300006001 00FF020100".replace(" ", ""),
    ):
        assert pair.server.receive_apdu(bytes.fromhex(request), NOW) == [bytes.fromhex("D80101")]
    assert not pair.meter.asked
    assert not pair.meter.calls
    assert pair.server.state is State.AUTHENTICATING


def test_server_that_skips_the_challenge_is_not_trusted() -> None:
    pair = plain_pair(Mechanism.HLS_SHA256)
    pair.client.associate()
    response = apdu.InitiateResponse(0x00FFFFFF, 1024).encode()
    accepted = acse.Aare(1, 0, 1, 0, response, SERVER_TITLE).encode()
    (event,) = pair.client.receive_apdu(accepted, NOW)
    assert isinstance(event, AssociationRefused)
    assert "authenticate itself" in event.reason


def test_server_that_reflects_our_challenge_is_not_trusted() -> None:
    pair = plain_pair(Mechanism.HLS_SHA256)
    aarq = acse.decode_aarq(pair.client.associate())
    response = apdu.InitiateResponse(0x00FFFFFF, 1024).encode()
    accepted = acse.Aare(
        1, 0, 1, 14, response, SERVER_TITLE, None, b"\x07\x80", 6, aarq.authentication_value
    ).encode()
    (event,) = pair.client.receive_apdu(accepted, NOW)
    assert isinstance(event, AssociationRefused)
    assert "own challenge" in event.reason


@pytest.mark.parametrize(
    ("change", "diagnostic"),
    [
        ({"context": 2}, 2),
        ({"context": 3}, 2),
        ({"context": -1}, None),
        ({"mechanism": None}, 12),
        ({"mechanism": None, "authentication_value": None}, 14),
        ({"mechanism": 2}, 11),
        ({"mechanism": 5}, 11),
        ({"authentication_value": b""}, 13),
        ({"authentication_value": b"12345679"}, 13),
        ({"authentication_value": None}, 13),
        ({"user_information": b""}, 1),
    ],
)
def test_aarq_refusals_carry_the_diagnostic_of_the_standard(
    change: dict[str, object], diagnostic: int | None
) -> None:
    pair = plain_pair(Mechanism.LLS)
    aarq = replace(acse.decode_aarq(pair.client.associate()), **change)  # type: ignore[arg-type]
    octets = aarq.encode() if aarq.context > 0 else b"\x60\x03\xa1\x01\x06"
    (answer,) = pair.server.receive_apdu(octets, NOW)
    aare = acse.decode_aare(answer)
    assert aare.result == 1
    if diagnostic is None:
        assert (aare.source, aare.diagnostic) == (2, 1)
    else:
        assert (aare.source, aare.diagnostic) == (1, diagnostic)
    assert pair.server.state is State.IDLE


def _initiate_error(initiate: apdu.InitiateRequest) -> tuple[int, bytes]:
    pair = plain_pair()
    aarq = acse.Aarq(1, initiate.encode())
    (answer,) = pair.server.receive_apdu(aarq.encode(), NOW)
    aare = acse.decode_aare(answer)
    return aare.result, aare.user_information


@pytest.mark.parametrize(
    ("initiate", "error"),
    [
        (apdu.InitiateRequest(0xFFFFFF, 1024, version=5), "0E010601"),
        (apdu.InitiateRequest(0x1C0320, 1024), "0E010602"),
        (apdu.InitiateRequest(0, 1024), "0E010602"),
        (apdu.InitiateRequest(0xFFFFFF, 11), "0E010603"),
        (apdu.InitiateRequest(0xFFFFFF, 1), "0E010603"),
        (apdu.InitiateRequest(0xFFFFFF, 1024, bytes(16)), "0E010604"),
    ],
)
def test_terms_that_cannot_be_met_are_refused_with_their_error(
    initiate: apdu.InitiateRequest, error: str
) -> None:
    assert _initiate_error(initiate) == (1, bytes.fromhex(error))


@pytest.mark.parametrize(
    "initiate",
    [
        apdu.InitiateRequest(0xFFFFFF, 12),
        apdu.InitiateRequest(0xFFFFFF, 0),
        apdu.InitiateRequest(0xFFFFFF, 1024, version=7),
        apdu.InitiateRequest(0xFFFFFF, 1024, quality_of_service=-5),
    ],
)
def test_terms_at_the_limit_are_accepted_and_answered_with_version_6(
    initiate: apdu.InitiateRequest,
) -> None:
    result, information = _initiate_error(initiate)
    response = apdu.decode(information)
    assert result == 0
    assert isinstance(response, apdu.InitiateResponse)
    assert response.version == 6


def test_acse_version_without_version_1_is_refused_by_the_provider() -> None:
    pair = plain_pair()
    aarq = replace(acse.decode_aarq(pair.client.associate()), protocol_version=b"\x07\x40")
    (answer,) = pair.server.receive_apdu(aarq.encode(), NOW)
    aare = acse.decode_aare(answer)
    assert (aare.result, aare.source, aare.diagnostic) == (1, 2, 2)


def test_user_id_is_asked_for_where_the_profile_lists_them() -> None:
    profile = AssociationProfile(16, user_ids=frozenset({5}))
    for user, result in ((5, 0), (6, 1), (None, 1)):
        pair = make_pair(ClientConfig(user_id=user), profile)
        (event,) = pair.associate()
        assert isinstance(event, Associated) is (result == 0)
        if isinstance(event, AssociationRefused):
            assert event.diagnostic == 6


def test_unknown_client_gets_a_refusal_and_no_silence() -> None:
    pair = plain_pair()
    stranger = ServerAssociation(pair.device, 77)
    (answer,) = stranger.receive_apdu(pair.client.associate(), NOW)
    assert acse.decode_aare(answer).result == 1


def test_public_aare_carries_no_responding_fields() -> None:
    pair = plain_pair()
    (answer,) = pair.server.receive_apdu(pair.client.associate(), NOW)
    aare = acse.decode_aare(answer)
    assert aare.responding_ap_title is None
    assert aare.mechanism is None
    assert aare.responder_requirements is None


def test_an_aarq_in_an_association_starts_anew() -> None:
    pair = plain_pair()
    pair.associate()
    pair.client.disconnected()
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    (answer,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(answer, GetAnswer)


def test_an_aarq_that_is_refused_leaves_the_association_alone() -> None:
    pair = plain_pair(Mechanism.LLS)
    pair.associate()
    for octets in (b"\x60\x00", b"\x60\x1d\xa1", acse.Aarq(1, b"", 1, b"wrong").encode()):
        (answer,) = pair.server.receive_apdu(octets, NOW)
        assert acse.decode_aare(answer).result == 1
    (event,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(event, GetAnswer)


def test_after_a_lost_link_requests_are_refused() -> None:
    pair = plain_pair()
    pair.associate()
    request = pair.client.get(ENERGY)
    pair.server.disconnected()
    (event,) = pair.client.receive_apdu(pair.server.receive_apdu(request, NOW)[0], NOW)
    assert isinstance(event, ServiceRefused)
    assert "associate" in event.reason


def test_release_of_a_ciphered_association_needs_the_protected_initiate() -> None:
    pair = secured_pair(protected_release=False)
    pair.associate()
    (event,) = pair.exchange(pair.client.release())
    assert isinstance(event, ReleaseRefused)
    assert pair.server.associated
    assert pair.client.associated
    (answer,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(answer, GetAnswer)


def test_release_may_be_bare_where_the_profile_allows_it() -> None:
    client_keys, server_keys = key_pair(0)
    profile = AssociationProfile(
        1,
        Mechanism.HLS_GMAC,
        b"",
        server_keys,
        SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED,
        bare_release=True,
    )
    config = ClientConfig(
        Mechanism.HLS_GMAC, b"", CLIENT_TITLE, client_keys, protected_release=False
    )
    pair = make_pair(config, profile)
    pair.associate()
    assert pair.exchange(pair.client.release()) == [Released()]


@pytest.mark.parametrize("answer", ["6300", "6303800100", "63058003020100", "6303800101"])
def test_every_form_of_release_response_ends_the_association(answer: str) -> None:
    pair = plain_pair()
    pair.associate()
    pair.client.release()
    assert pair.client.receive_apdu(bytes.fromhex(answer), NOW) == [Released()]
    assert pair.client.state is State.IDLE


def test_state_table_is_total() -> None:
    for state in State:
        for step in Step:
            following = STATES[state].get(step)
            if following is None:
                with pytest.raises(LocalProtocolError, match="not possible"):
                    after(state, step)
            else:
                assert after(state, step) is following


def test_client_refuses_to_speak_before_it_is_associated() -> None:
    client = ClientAssociation(ClientConfig(), repeatable_entropy(5))
    for call in (
        lambda: client.get(ENERGY),
        lambda: client.set((WRITABLE, b"\x00")),
        lambda: client.action((ECHO, b"")),
        lambda: client.read(apdu.VariableName(8)),
        client.release,
    ):
        with pytest.raises(LocalProtocolError):
            call()


def test_one_request_at_a_time() -> None:
    pair = plain_pair()
    pair.associate()
    pair.client.get(ENERGY)
    with pytest.raises(LocalProtocolError, match="outstanding"):
        pair.client.get(CLOCK)


def test_services_that_were_not_negotiated_are_refused_on_both_sides() -> None:
    pair = plain_pair(conformance=int(Conformance.GET))
    pair.associate()
    with pytest.raises(LocalProtocolError, match="did not agree"):
        pair.client.set((WRITABLE, b"\x00"))
    with pytest.raises(LocalProtocolError, match="multiple references"):
        pair.client.get(ENERGY, CLOCK)
    for request in (
        "C101C10001000060010 0FF020011".replace(" ", "") + "01",
        "C003C1020008000001 0000FF02000003010001 0800FF0200".replace(" ", ""),
        "C301C10046000060030AFF01010F00",
        "D940000000000101000300006001 00FF020100".replace(" ", ""),
        "050102" + "0108",
        "E0830001000001C0",
    ):
        (answer,) = pair.server.receive_apdu(bytes.fromhex(request), NOW)
        assert answer == bytes.fromhex("D80102"), request
    assert not pair.meter.calls


def test_malformed_requests_are_answered_and_leave_the_association_alone() -> None:
    pair = plain_pair()
    pair.associate()
    for request in ("C0", "C001", "C009C1", "C001C10008", "C301C1", "FF00", "D9", "C0C0C0", "05"):
        (answer,) = pair.server.receive_apdu(bytes.fromhex(request), NOW)
        assert answer[0] == 0xD8, request
    (event,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(event, GetAnswer)


# --- Notifications ------------------------------------------------------------------------------


def test_push_in_an_association_is_protected_as_the_policy_says_and_decoded() -> None:
    pair = secured_pair()
    pair.associate()
    (octets,) = pair.server.notify(b"\x02\x01" + ENERGY_VALUE, NOW, long_invoke=7, time=bytes(12))
    assert octets[0] == 0xDB
    (event,) = pair.client.receive_apdu(octets, NOW)
    assert isinstance(event, Notification)
    assert event.authenticated
    assert (event.long_invoke, event.body) == (7, b"\x02\x01" + ENERGY_VALUE)
    assert event.originator == SERVER_TITLE


def test_long_push_goes_in_unconfirmed_blocks() -> None:
    pair = secured_pair(pdu_size=100)
    pair.associate()
    blocks = pair.server.notify(LONG_VALUE, NOW)
    assert len(blocks) > 20
    assert all(len(block) <= 100 and block[0] == 0xE0 for block in blocks)
    events = [event for block in blocks for event in pair.client.receive_apdu(block, NOW)]
    (push,) = events
    assert isinstance(push, Notification)
    assert push.body == LONG_VALUE


def test_listener_reads_pushes_without_any_association_and_refuses_replays() -> None:
    server = secured_pair()
    server.associate()
    (octets,) = server.server.notify(ENERGY_VALUE, NOW)
    config = ClientConfig(title=b"LISTENER", keys=keys(0))
    listener = ClientAssociation(
        config, repeatable_entropy(3), InvocationCounters(VolatileCounterStore())
    )
    (push,) = listener.receive_apdu(octets, NOW)
    assert isinstance(push, Notification)
    assert push.authenticated
    with pytest.raises(RemoteProtocolError, match="used before"):
        listener.receive_apdu(octets, NOW)


def test_listener_without_authentication_key_reads_and_flags() -> None:
    server = secured_pair()
    server.associate()
    (octets,) = server.server.notify(ENERGY_VALUE, NOW)
    config = ClientConfig(
        title=b"LISTENER", keys=replace(keys(0), authentication=b""), verify_tags=False
    )
    listener = ClientAssociation(
        config, repeatable_entropy(3), InvocationCounters(VolatileCounterStore())
    )
    (push,) = listener.receive_apdu(octets, NOW)
    assert isinstance(push, Notification)
    assert push.ciphered
    assert not push.authenticated
    assert push.body == ENERGY_VALUE


def test_notification_confirmation_reaches_the_meter() -> None:
    pair = plain_pair()
    pair.associate()
    assert pair.exchange(pair.client.confirm_notification(0x123)) == []
    assert NotificationConfirmed(16, 0x123) in pair.server.take_events()


def test_event_notification_and_information_report_are_events() -> None:
    client = ClientAssociation(ClientConfig(), repeatable_entropy(5))
    octets = bytes.fromhex("C2010C07EA0B15060C000000FFC40000010000616200FF020600000001")
    (event,) = client.receive_apdu(octets, NOW)
    assert isinstance(event, EventReport)
    assert event.attribute == AttributeRef(1, Obis(0, 0, 97, 98, 0), 2)
    assert event.value == bytes.fromhex("0600000001")
    (event,) = client.receive_apdu(bytes.fromhex("18000102FA08010600000539"), NOW)
    assert isinstance(event, EventReport)
    assert (event.short_name, event.value) == (0xFA08, ENERGY_VALUE)


# --- Pre-established and broadcast --------------------------------------------------------------


def test_broadcast_set_is_executed_once_and_never_answered() -> None:
    profile = AssociationProfile(
        102,
        keys=keys(0),
        policy=SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED,
        client_title=CLIENT_TITLE,
        pre_established=True,
    )
    config = ClientConfig(
        title=CLIENT_TITLE,
        keys=keys(0),
        envelope=Envelope.GENERAL_GLO,
        key_choice=KeyChoice.BROADCAST,
        server_title=SERVER_TITLE,
        pre_established=True,
    )
    pair = make_pair(config, profile)
    request = pair.client.set((WRITABLE, b"\x11\x09"), confirmed=False)
    assert request[11] & 0x40
    assert pair.exchange(request) == []
    assert pair.meter.values[1, bytes(WRITABLE.obis), 2] == b"\x11\x09"
    pair.meter.values[1, bytes(WRITABLE.obis), 2] = b"\x00"
    pair.server.receive_apdu(request, NOW)
    assert pair.meter.values[1, bytes(WRITABLE.obis), 2] == b"\x00"
    kinds = [e.kind for e in pair.server.take_events() if isinstance(e, SecurityViolation)]
    assert kinds == [Violation.REPLAY]
    (answer,) = pair.server.receive_apdu(acse.Aarq(1, b"\x01").encode(), NOW)
    assert acse.decode_aare(answer).result == 1
    assert pair.server.associated


# --- Keys and counters --------------------------------------------------------------------------


def test_key_transfer_takes_effect_after_its_own_response() -> None:
    pair = secured_pair()
    pair.associate()
    old = pair.device.profiles[1]
    assert old.keys is not None
    new_keys = replace(old.keys, unicast=b"\x77" * 16)
    request = pair.client.action((ECHO, b"\x11\x01"))
    profiles = pair.device.profiles
    invoke = pair.meter.invoke

    def transfer(*arguments: object) -> bytes:
        profiles[1] = replace(old, keys=new_keys)  # type: ignore[index]
        return invoke(*arguments)  # type: ignore[arg-type]

    pair.meter.invoke = transfer  # type: ignore[method-assign]
    (done,) = pair.exchange(request)
    assert isinstance(done, ActionAnswer)  # the response came under the old key
    (refused,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(refused, ServiceRefused)
    assert pair.client.security is not None
    pair.client.security.rekey(new_keys)
    (answer,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (ENERGY_VALUE,)


def test_client_with_a_counter_behind_learns_the_lowest_acceptable_one() -> None:
    pair = secured_pair()
    pair.associate()
    pair.exchange(pair.client.release())
    client_keys, _ = key_pair(0)
    forgetful = ClientAssociation(
        ClientConfig(Mechanism.HLS_GMAC, b"", CLIENT_TITLE, client_keys),
        repeatable_entropy(9),
        InvocationCounters(VolatileCounterStore()),
    )
    again = Pair(forgetful, pair.server, pair.meter, pair.device)
    (refused,) = again.associate()
    assert isinstance(refused, AssociationRefused)
    assert refused.lowest_counter is not None
    forgetful.follow_counter(refused.lowest_counter)
    (event,) = again.associate()
    assert isinstance(event, Associated)


def test_guessing_is_throttled_over_connections_and_restarts() -> None:
    profile = AssociationProfile(16, Mechanism.LLS, b"right")
    pair = make_pair(ClientConfig(Mechanism.LLS, b"wrong"), profile)
    pair.device.guard = FailureThrottle()
    hour = 3600 * 10**9

    def attempt(secret: bytes, now: int) -> acse.Aare:
        client = ClientAssociation(ClientConfig(Mechanism.LLS, secret), repeatable_entropy(1))
        server = ServerAssociation(pair.device, 16)
        (answer,) = server.receive_apdu(client.associate(), Instant(now))
        return acse.decode_aare(answer)

    for _ in range(10):
        assert attempt(b"wrong", 0).result == 1
    assert attempt(b"right", 0).result == 2
    pair.device.guard = FailureThrottle(pair.device.guard.debts(Instant(0)))
    assert attempt(b"right", 0).result == 2
    assert attempt(b"right", hour // 10 + 1).result == 0
    failures = sum(attempt(b"wrong", t).result == 1 for t in range(hour, 3 * hour, hour // 100))
    assert failures <= 10 + 20


def test_wrong_keys_do_not_lock_the_owner_of_the_right_ones_out() -> None:
    pair = secured_pair()
    pair.device.guard = FailureThrottle()
    wrong = replace(keys(0), unicast=b"\x55" * 16)
    for _ in range(30):
        stranger = ClientAssociation(
            ClientConfig(Mechanism.HLS_GMAC, b"", CLIENT_TITLE, wrong),
            repeatable_entropy(8),
            InvocationCounters(VolatileCounterStore()),
        )
        (answer,) = pair.server.receive_apdu(stranger.associate(), NOW)
        assert acse.decode_aare(answer).result == 1
    (event,) = pair.associate()
    assert isinstance(event, Associated)
