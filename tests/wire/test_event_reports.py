"""What a server tells the client of an open association by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blathy.cosem.service import AttributeRef
from blathy.obis import Obis
from blathy.wire.apdu import Conformance
from blathy.wire.association import Envelope, EventReport, GetAnswer, Mechanism, SecurityPolicy
from tests.wire.association_pair import (
    CLOCK_VALUE,
    ENERGY,
    ENERGY_VALUE,
    LONG,
    LONG_VALUE,
    NOW,
    Pair,
    plain_pair,
    secured_pair,
)

TIME = CLOCK_VALUE[2:]


def told(pair: Pair) -> list[EventReport]:
    """What the client makes of a report of the server."""
    events = []
    for octets in pair.server.report(ENERGY, ENERGY_VALUE, TIME):
        events += pair.client.receive_apdu(octets, NOW)
    assert all(isinstance(event, EventReport) for event in events)
    return [event for event in events if isinstance(event, EventReport)]


def test_in_a_plain_association_it_is_the_octets_of_the_standard() -> None:
    pair = plain_pair()
    pair.associate()
    (octets,) = pair.server.report(ENERGY, ENERGY_VALUE, TIME)
    assert octets.hex() == "c2010c" + TIME.hex() + "0003" + "0100010800ff" + "02" + "0600000539"
    (without,) = pair.server.report(ENERGY, ENERGY_VALUE)
    assert without.hex() == "c200" + "0003" + "0100010800ff" + "02" + "0600000539"
    (event,) = told(pair)
    assert (event.attribute, event.value, event.time) == (ENERGY, ENERGY_VALUE, TIME)
    assert not event.ciphered


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize(("dedicated", "tag"), [(False, 0xCA), (True, 0xD2)])
def test_it_is_protected_as_the_policy_asks(suite: int, dedicated: bool, tag: int) -> None:
    envelope = Envelope.DED if dedicated else Envelope.GLO
    pair = secured_pair(suite=suite, dedicated_key=dedicated, envelope=envelope)
    pair.associate()
    (octets,) = pair.server.report(ENERGY, ENERGY_VALUE, TIME)
    assert octets[0] == tag
    assert bytes(ENERGY.obis) not in octets
    (event,) = pair.client.receive_apdu(octets, NOW)
    assert isinstance(event, EventReport)
    assert (event.attribute, event.value) == (ENERGY, ENERGY_VALUE)
    assert event.ciphered
    assert event.authenticated


@pytest.mark.parametrize("suite", [1, 2])
def test_it_is_signed_where_the_policy_asks_for_signatures(suite: int) -> None:
    policy = SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED | SecurityPolicy.SIGNED_RESPONSE
    pair = secured_pair(suite=suite, policy=policy)
    pair.associate()
    (octets,) = pair.server.report(ENERGY, ENERGY_VALUE, TIME)
    assert octets[0] == 0xDF
    (event,) = pair.client.receive_apdu(octets, NOW)
    assert isinstance(event, EventReport)
    assert event.protection & 0x130 == 0x130


def test_by_short_names_it_is_an_information_report() -> None:
    pair = plain_pair(short_names=True)
    pair.associate()
    (event,) = told(pair)
    assert event.attribute is None
    assert (event.short_name, event.value, event.time) == (0x0108, ENERGY_VALUE, TIME)


def test_it_comes_between_request_and_answer_and_disturbs_neither() -> None:
    pair = secured_pair()
    pair.associate()
    request = pair.client.get(LONG)
    (event,) = told(pair)
    assert event.value == ENERGY_VALUE
    assert pair.client.busy
    (answer,) = pair.exchange(request)
    assert isinstance(answer, GetAnswer)
    assert answer.results == (LONG_VALUE,)


def test_nobody_hears_what_he_may_not_read_or_did_not_agree_to() -> None:
    pair = plain_pair()
    assert not pair.server.report(ENERGY, ENERGY_VALUE, TIME)  # no association yet
    pair.associate()
    assert not pair.server.report(AttributeRef(3, Obis(1, 0, 99, 9, 9), 2), ENERGY_VALUE, TIME)
    deaf = plain_pair(conformance=0xFFFFFF & ~int(Conformance.EVENT_NOTIFICATION))
    deaf.associate()
    assert not deaf.server.report(ENERGY, ENERGY_VALUE, TIME)
    narrow = plain_pair(pdu_size=20)
    narrow.associate()
    assert not narrow.server.report(ENERGY, ENERGY_VALUE, TIME)


def test_no_report_leaves_before_the_client_has_proved_itself() -> None:
    pair = plain_pair(Mechanism.HLS_MD5)
    pair.server.receive_apdu(pair.client.associate(), NOW)
    assert not pair.server.associated
    assert not pair.server.report(ENERGY, ENERGY_VALUE, TIME)


def test_a_forged_or_repeated_report_is_refused() -> None:
    pair = secured_pair()
    pair.associate()
    (octets,) = pair.server.report(ENERGY, ENERGY_VALUE, TIME)
    forged = octets[:-1] + bytes((octets[-1] ^ 1,))
    with pytest.raises(Exception, match="does not verify"):
        pair.client.receive_apdu(forged, NOW)
    pair.client.receive_apdu(octets, NOW)
    with pytest.raises(Exception, match="used before"):
        pair.client.receive_apdu(octets, NOW)


def test_a_report_without_protection_is_told_apart() -> None:
    pair = secured_pair()
    pair.associate()
    plain = plain_pair()
    plain.associate()
    (octets,) = plain.server.report(ENERGY, ENERGY_VALUE, TIME)
    (event,) = pair.client.receive_apdu(octets, NOW)
    assert isinstance(event, EventReport)
    assert not event.ciphered
    assert event == replace(event, protection=0)
    assert not event.authenticated
