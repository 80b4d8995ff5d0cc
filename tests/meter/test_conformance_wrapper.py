"""IEC 62056-4-7 rule by rule: a real meter behind the wrapper over TCP and UDP."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from blathy.models.model import Level
from tests.meter.conformance_lab import (
    PATIENCE_S,
    STRANGER,
    Bench,
    WrapperLink,
    aarq,
    bench,
    initiate,
    one,
    outcome,
    packet,
)
from tests.meter.running import fed

CLOCK = bytes.fromhex("C001C100080000010000FF0200")
OPEN = bytes.fromhex(aarq(initiate(0x20FE9F)))
NOT_ALLOWED = "D80101"
ALL_STATIONS = 0x7F


@pytest.fixture(scope="module")
def meter() -> Iterator[Bench]:
    with bench(fed("mt372", 1)) as found:
        yield found


def opened(meter: Bench, over: str = "tcp", client: int = 16, octets: bytes = OPEN) -> WrapperLink:
    link = WrapperLink(meter, client, over)
    link.open()
    assert outcome(one(link, octets)) == "0 user 0"
    return link


def test_the_answer_swaps_the_ports(meter: Bench) -> None:
    for over in ("tcp", "udp"):
        link = WrapperLink(meter, 16, over)
        link.open()
        link.put(bytes.fromhex("000100100001001F") + OPEN)
        assert link.next()[:2] == (1, 16)
        link.close()


STREAMS: tuple[tuple[str, tuple[bytes, ...], int], ...] = (
    # rule, what is sent on an open association, how many answers there are
    ("one packet", (packet(CLOCK),), 1),
    ("three packets in one piece", (packet(CLOCK) * 3,), 3),
    ("a packet in two pieces", (packet(CLOCK)[:11], packet(CLOCK)[11:]), 1),
    ("the header in pieces", (packet(CLOCK)[:1], packet(CLOCK)[1:7], packet(CLOCK)[7:]), 1),
    ("octet by octet", tuple(bytes((octet,)) for octet in packet(CLOCK)), 1),
    ("one and a half, then the rest", (packet(CLOCK) + packet(CLOCK)[:9], packet(CLOCK)[9:]), 2),
    ("length 0 is ignored", (packet(b""), packet(CLOCK)), 1),
    ("an unknown logical device: no answer", (packet(CLOCK, server=5),), 0),
    ("no-station as destination: no answer", (packet(CLOCK, server=0),), 0),
    ("all-station: heard, never answered", (packet(CLOCK, server=ALL_STATIONS),), 0),
)


@pytest.mark.parametrize(
    ("sent", "answers"), [row[1:] for row in STREAMS], ids=[row[0] for row in STREAMS]
)
def test_a_stream(meter: Bench, sent: tuple[bytes, ...], answers: int) -> None:
    link = opened(meter)
    for octets in sent:
        link.put(octets)
    found = link.packets()
    assert len(found) == answers
    assert all(apdu[:4] == bytes.fromhex("C401C100") for _, _, apdu in found)
    link.close()


@pytest.mark.parametrize("version", [0, 2, 0x0100, 0xFFFF])
def test_another_version_is_lost_step_and_ends_the_connection(meter: Bench, version: int) -> None:
    link = opened(meter)
    link.put(packet(CLOCK) + packet(CLOCK, version=version) + packet(CLOCK))
    assert link.next()[2][:2] == bytes.fromhex("C401")  # what came before is served
    assert link.ended()
    link.close()


def test_a_lost_connection_ends_its_associations(meter: Bench) -> None:
    opened(meter).close()
    link = WrapperLink(meter, 16)
    link.open()
    assert one(link, CLOCK) == NOT_ALLOWED
    link.close()


def test_one_connection_carries_several_associations(meter: Bench) -> None:
    link = opened(meter)
    password = meter.meter.identity.passwords[Level.MANAGEMENT]
    opening = aarq(initiate(0x20FE9F), mechanism=1, password=password)
    link.put(packet(bytes.fromhex(opening), 1) + packet(CLOCK, 1) + packet(CLOCK, 16))
    found = link.packets()
    assert [client for _, client, _ in found] == [1, 16, 1] or [
        client for _, client, _ in found
    ] == [1, 1, 16]
    assert [apdu[0] for _, _, apdu in found] == [0x61, 0xC4, 0xC4]
    link.put(packet(bytes.fromhex("6200"), 1) + packet(CLOCK, 1) + packet(CLOCK, 16))
    assert [apdu[0] for _, _, apdu in link.packets()] == [0x63, 0xD8, 0xC4]
    link.close()


def test_a_scan_of_all_client_addresses_on_one_connection_is_answered(meter: Bench) -> None:
    link = WrapperLink(meter, 16)
    link.open()
    for client in range(1, 128):
        if client in {STRANGER, 102}:  # 102 is pre-established
            continue
        link.client = client
        result = outcome(one(link, OPEN))
        assert result.split()[0] == ("0" if client == 16 else "1"), client
    link.client = 16
    assert one(link, CLOCK).startswith("C401C100")
    link.close()


# --- UDP ------------------------------------------------------------------------------------------

DATAGRAMS: tuple[tuple[str, bytes, int], ...] = (
    ("one packet", packet(CLOCK), 1),
    ("two packets in a datagram: the length does not match", packet(CLOCK) * 2, 0),
    ("a length one too long", packet(CLOCK)[:6] + b"\x00\x0e" + CLOCK, 0),
    ("a length one too short", packet(CLOCK)[:6] + b"\x00\x0c" + CLOCK, 0),
    ("half a packet is forgotten", packet(CLOCK)[:12], 0),
    ("half a header is forgotten", packet(CLOCK)[:5], 0),
    ("length 0", packet(b""), 0),
    ("another version", packet(CLOCK, version=2), 0),
    ("an unknown logical device", packet(CLOCK, server=5), 0),
    ("all-station", packet(CLOCK, server=ALL_STATIONS), 0),
    ("no DLMS at all", b"GET / HTTP/1.1\r\n\r\n", 0),
)


@pytest.mark.parametrize(
    ("sent", "answers"), [row[1:] for row in DATAGRAMS], ids=[row[0] for row in DATAGRAMS]
)
def test_a_datagram(meter: Bench, sent: bytes, answers: int) -> None:
    link = opened(meter, "udp")
    link.put(sent)
    assert len(link.packets()) == answers
    # Nothing of it disturbs the association, which no disconnection can end here.
    assert one(link, CLOCK).startswith("C401C100")
    link.close()


def test_every_block_of_a_stream_is_a_datagram_of_its_own(meter: Bench) -> None:
    link = WrapperLink(meter, 16, "udp")
    link.open()
    assert outcome(one(link, aarq(initiate(0x20009F, 100)))) == "0 user 0"
    request = bytes.fromhex("E0C300010000") + b"\x0d" + bytes.fromhex("C001C1000F0000280000FF0200")
    answers = link.ask(bytes((0xE0, 0x84)) + request[2:])
    assert len(answers) == 4
    assert all(len(answer) <= 100 and answer[0] == 0xE0 for answer in answers)
    link.close()


def test_an_association_belongs_to_the_peer_that_opened_it(meter: Bench) -> None:
    mine, other = opened(meter, "udp"), WrapperLink(meter, 16, "udp")
    other.open()
    assert one(other, CLOCK) == NOT_ALLOWED
    assert one(mine, CLOCK).startswith("C401C100")
    assert one(mine, "6200").startswith("63")
    assert one(mine, CLOCK) == NOT_ALLOWED
    mine.close()
    other.close()


def test_a_hundred_wrong_datagrams_leave_the_meter_alone(meter: Bench) -> None:
    link = opened(meter, "udp")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(PATIENCE_S)
        for n in range(100):
            stranger.sendto(packet(CLOCK)[: n % 21], ("127.0.0.1", meter.udp))
    assert one(link, CLOCK).startswith("C401C100")
    link.close()
