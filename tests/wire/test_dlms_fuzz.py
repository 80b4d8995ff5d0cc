"""Mutated APDUs into every parser and into both association cores.

The invariant: any octets lead to a value, an event, an answer or RemoteProtocolError. Nothing else
comes out, nothing hangs, and what was accepted can be encoded again.
"""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from blathy.wire import acse, apdu
from blathy.wire.association import (
    ClientConfig,
    Conformance,
    Protection,
    SecurityPolicy,
    ServerAssociation,
)
from blathy.wire.block_transfer import BlockExchange
from blathy.wire.errors import RemoteProtocolError
from tests.mutations import IN_SUITE, ON_REQUEST, endure, mutations
from tests.wire.association_pair import (
    CLOCK,
    ECHO,
    ENERGY,
    LONG,
    NOW,
    WRITABLE,
    Pair,
    plain_pair,
    secured_pair,
)
from tests.wire.test_acse import WORKED as ACSE_WORKED
from tests.wire.test_apdu import SAMPLES

ACSE_SAMPLES = [bytes.fromhex(octets) for octets in ACSE_WORKED]
GET = int(Conformance.GET)


def round_trip(decode: Callable[[bytes], Any]) -> Callable[[bytes], None]:
    """What is accepted can be encoded, and says the same again."""

    def take(octets: bytes) -> None:
        value = decode(octets)
        if -1 not in (getattr(value, "context", 0), getattr(value, "mechanism", 0)):
            assert decode(value.encode()) == value

    return take


def conversation(secured: bool) -> tuple[Pair, list[bytes], list[bytes]]:
    pair = (
        secured_pair(pdu_size=200, server_pdu_size=200, policy=SecurityPolicy.NONE)
        if secured
        else plain_pair(pdu_size=200, server_pdu_size=200)
    )
    pair.associate()
    client = pair.client
    big = b"\x09\x82\x01\x2c" + bytes(300)
    requests: list[Callable[[], bytes]] = [
        lambda: client.get(ENERGY),
        lambda: client.get(LONG),
        lambda: client.get(ENERGY, CLOCK),
        lambda: client.set((WRITABLE, big)),
        lambda: client.action((ECHO, big)),
        lambda: client.access([(apdu.AccessKind.GET, LONG)], [b""]),
    ]
    for request in requests:
        pair.exchange(request())
    to_server = [octets for way, octets in pair.wire if way == ">"]
    to_client = [octets for way, octets in pair.wire if way == "<"]
    return pair, to_server, to_client


ASSOCIATED_FOR = 100
"""Frames until both sides associate anew, as few mutations leave an association standing."""


def associated(pair: Pair) -> Pair:
    pair.client.disconnected()
    pair.server = ServerAssociation(pair.device, pair.server.client_sap)
    pair.wire.clear()
    pair.associate()
    return pair


def server_core(secured: bool) -> tuple[Callable[[bytes], None], list[bytes]]:
    pair, to_server, _ = conversation(secured)
    numbers = itertools.count()

    def take(octets: bytes) -> None:
        if next(numbers) % ASSOCIATED_FOR == 0:
            associated(pair)
        for answer in pair.server.receive_apdu(octets, NOW):
            assert isinstance(answer, bytes)
        pair.server.take_events()

    return take, to_server + SAMPLES + ACSE_SAMPLES


def client_core(secured: bool) -> tuple[Callable[[bytes], None], list[bytes]]:
    pair, _, to_client = conversation(secured)
    client, numbers = pair.client, itertools.count()

    def take(octets: bytes) -> None:
        if next(numbers) % ASSOCIATED_FOR == 0:
            associated(pair)
        if client.associated and not client.busy and client.conformance & GET:
            client.get(ENERGY)
        client.receive_apdu(octets, NOW)

    return take, to_client + SAMPLES + ACSE_SAMPLES


PARSERS: dict[str, Callable[[], tuple[Callable[[bytes], None], list[bytes]]]] = {
    "apdu": lambda: (round_trip(apdu.decode), SAMPLES),
    "acse": lambda: (round_trip(acse.decode), ACSE_SAMPLES),
    "server": lambda: server_core(secured=False),
    "secured server": lambda: server_core(secured=True),
    "client": lambda: client_core(secured=False),
    "secured client": lambda: client_core(secured=True),
}


def _run(name: str, count: int) -> int:
    take, seeds = PARSERS[name]()
    return endure(name, take, seeds, count, RemoteProtocolError, forgets=name in ("apdu", "acse"))


@pytest.mark.parametrize("name", list(PARSERS))
def test_mutated_apdus(name: str) -> None:
    assert _run(name, IN_SUITE) > IN_SUITE // 100, "the mutations are too wild to test anything"


def test_random_octets_through_everything() -> None:
    dice = random.Random(3)
    pair = plain_pair()
    pair.associate()
    blocks = BlockExchange()
    for _ in range(5_000):
        octets = dice.randbytes(dice.randrange(1, 40))
        for take in (
            apdu.decode,
            lambda o: pair.server.receive_apdu(o, NOW),
            lambda o: pair.client.receive_apdu(o, NOW),
            lambda o: blocks.receive(b"\xe0" + o, NOW),
        ):
            try:
                take(octets)
            except RemoteProtocolError:
                pass


def test_memory_of_a_server_under_fire_stays_bounded() -> None:
    pair, to_server, _ = conversation(secured=True)
    frames = mutations("memory", to_server)
    for octets in to_server:
        pair.server.receive_apdu(octets, NOW)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(4_000):
            pair.server.receive_apdu(next(frames), NOW)
            title = number.to_bytes(8, "big")
            forged = b"\xdb\x08" + title + b"\x12\x30" + bytes(17)
            pair.server.receive_apdu(forged, NOW)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 200_000


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(PARSERS))
def test_a_million_mutated_apdus(name: str) -> None:
    _run(name, ON_REQUEST)


def test_an_unprotected_config_shows_in_no_keys() -> None:
    assert not ClientConfig(protection=Protection.BOTH).ciphered
