"""The worked conversation with HLS-GMAC and suite 0, octet for octet, on both sides.

Every APDU of it was deciphered by a second library when it was written down.
"""

from __future__ import annotations

from blathy.cosem.service import AttributeRef
from blathy.obis import Obis
from blathy.wire.acse import Mechanism
from blathy.wire.association import (
    Associated,
    AssociationProfile,
    ClientAssociation,
    ClientConfig,
    GetAnswer,
    InvocationCounters,
    KeySet,
    LogicalDevice,
    Released,
    SecurityPolicy,
    Send,
    ServerAssociation,
    VolatileCounterStore,
)
from tests.wire.association_pair import (
    CLIENT_TITLE,
    CLOCK,
    CLOCK_VALUE,
    LONG,
    NOW,
    SERVER_TITLE,
    ToyMeter,
    secured_pair,
)

KEYS = KeySet(0, bytes(range(16)), bytes(range(0xD0, 0xE0)))
AARQ = (
    "6055A109060760857405080103A60A04084D4D4D00000000018A0207808B0760857405080205AC0A80084B353669"
    "56616759BE230421211F30000000019945AB0E570975CCDF31E3C79CA00CE4687C52868A8A5B040284"
)
AARE = (
    "6161A109060760857405080103A203020100A305A10302010EA40A04084D4D4D0000BC614E88020780890760857405"
    "080205AA0A8008503677524A323146BE230421281F3000000001D96106551DB77E310F9BD00B895AED67BF0D725A9C"
    "5EB697F97E"
)
PASS_3 = (
    "CB313000000003603876AB2931261F682CAB4C405FAA04ED038F352A9E2056A40AFA3E365D1B94F2C7AD4E7BAF24AC"
    "03EA34E1"
)
PASS_4 = "CF2A3000000003BCC29BB99B746A2ECC67525F54FB50955879DAB0ECFFA6CDE11B359020398A508CDAD93E1C"
GET = "C81E3000000004C0376965ADE5B79EF38D5538F25D90B2465D22E0A3FB7F0799"
ANSWER = "CC233000000004B2D13F4EE549CBEAF1B17BE31013DE8119E533723FF8A432999CEA7D1F3B"
RLRQ = "6228800100BE230421211F30000000057E307C453D67AAFD39641C613EBBFD06DA660826818BD9B855FE"


def counters() -> InvocationCounters:
    return InvocationCounters(VolatileCounterStore())


def test_the_client_says_what_the_worked_conversation_says() -> None:
    config = ClientConfig(
        Mechanism.HLS_GMAC, b"", CLIENT_TITLE, KEYS, conformance=0x607E1F, pdu_size=1024,
        challenge_octets=8,
    )  # fmt: skip
    client = ClientAssociation(config, lambda _octets: b"K56iVagY", counters())
    client._invoke = 0
    assert client.associate().hex().upper() == AARQ
    (third,) = client.receive_apdu(bytes.fromhex(AARE), NOW)
    assert third == Send(bytes.fromhex(PASS_3))
    (event,) = client.receive_apdu(bytes.fromhex(PASS_4), NOW)
    assert isinstance(event, Associated)
    client._invoke = 0
    assert client.get(CLOCK).hex().upper() == GET
    (answer,) = client.receive_apdu(bytes.fromhex(ANSWER), NOW)
    assert answer == GetAnswer(1, (bytes.fromhex("090C07EA0B15060C000000FFC400"),))
    assert client.release().hex().upper() == RLRQ
    assert client.receive_apdu(bytes.fromhex("6303800100"), NOW) == [Released()]


def test_the_server_says_what_the_worked_conversation_says() -> None:
    profile = AssociationProfile(
        1, Mechanism.HLS_GMAC, b"", KEYS, SecurityPolicy.AUTHENTICATED_AND_ENCRYPTED,
        conformance=0x607E1F, challenge_octets=8,
    )  # fmt: skip
    device = LogicalDevice(
        {1: profile}, ToyMeter(), SERVER_TITLE, lambda _octets: b"P6wRJ21F", counters(),
        pdu_size=1024,
    )  # fmt: skip
    server = ServerAssociation(device, 1)
    for request, answer in ((AARQ, AARE), (PASS_3, PASS_4), (GET, ANSWER)):
        (octets,) = server.receive_apdu(bytes.fromhex(request), NOW)
        assert octets.hex().upper() == answer
    (octets,) = server.receive_apdu(bytes.fromhex(RLRQ), NOW)
    assert octets[0] == 0x63
    assert not server.associated


def test_more_than_64_kib_come_back_whole() -> None:
    """Sizes that wrapped at 16 bits elsewhere: 66 000 octets must not become 464."""
    pair = secured_pair()
    pair.associate()
    value = b"\x09\x83\x01\x01\xd0" + bytes(range(250)) * 264
    pair.meter.values[LONG.class_id, bytes(LONG.obis), LONG.attribute] = value
    (answer,) = pair.exchange(pair.client.get(LONG))
    assert isinstance(answer, GetAnswer)
    assert answer.results == (value,)
    ref = AttributeRef(1, Obis(0, 0, 96, 1, 0), 2)
    pair.exchange(pair.client.set((ref, value)))
    assert pair.meter.values[1, bytes(ref.obis), 2] == value


def test_the_toy_meter_holds_the_clock_of_the_worked_answer() -> None:
    assert bytes.fromhex("090C07EA0B15060C000000FFC400") == CLOCK_VALUE
