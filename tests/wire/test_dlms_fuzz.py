"""Mutated APDUs into every parser and into both association cores.

The invariant: any octets lead to a value, an event, an answer or RemoteProtocolError. Nothing else
comes out, nothing hangs, and what was accepted can be encoded again.
"""

from __future__ import annotations

import contextlib
import random
import time
import tracemalloc

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
PER_APDU_S_MAX = 0.1
GET = int(Conformance.GET)


def mutated(octets: bytes, others: list[bytes], dice: random.Random) -> bytes:
    kind = dice.randrange(7)
    changed = bytearray(octets)
    at = dice.randrange(len(octets)) if octets else 0
    if kind == 0:
        return octets[:at]
    if kind == 1:
        changed[at] ^= 1 << dice.randrange(8)
    elif kind == 2:
        changed[at] = dice.choice((0, 1, 2, 9, 0x13, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xFE, 0xFF))
    elif kind == 3:
        changed[at:at] = dice.randbytes(dice.randrange(1, 9))
    elif kind == 4:
        del changed[at : at + dice.randrange(1, 9)]
    elif kind == 5:
        other = dice.choice(others)
        changed[at:] = other[dice.randrange(len(other)) :]
    else:
        for _ in range(dice.randrange(2, 6)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
    return bytes(changed)


def fuzz_parsers(rounds: int, seed: int) -> int:
    dice = random.Random(seed)
    samples = SAMPLES + ACSE_SAMPLES
    accepted = 0
    for _ in range(rounds):
        octets = mutated(dice.choice(samples), samples, dice)
        decode = acse.decode if octets and 0x60 <= octets[0] <= 0x63 else apdu.decode
        started = time.process_time()
        try:
            value = decode(octets)
        except RemoteProtocolError:
            pass
        else:
            accepted += 1
            if -1 not in (getattr(value, "context", 0), getattr(value, "mechanism", 0)):
                again = decode(value.encode())  # type: ignore[operator]
                assert again == value, octets.hex()
        if time.process_time() - started > PER_APDU_S_MAX:
            # The collector's pauses fall on any APDU; what takes long takes long twice.
            started = time.process_time()
            with contextlib.suppress(RemoteProtocolError):
                decode(octets)
            assert time.process_time() - started < PER_APDU_S_MAX, octets.hex()
    return accepted


def conversation(secured: bool) -> tuple[Pair, list[bytes], list[bytes]]:
    pair = (
        secured_pair(pdu_size=200, server_pdu_size=200, policy=SecurityPolicy.NONE)
        if secured
        else plain_pair(pdu_size=200, server_pdu_size=200)
    )
    pair.associate()
    client = pair.client
    big = b"\x09\x82\x01\x2c" + bytes(300)
    for request in (
        lambda: client.get(ENERGY),
        lambda: client.get(LONG),
        lambda: client.get(ENERGY, CLOCK),
        lambda: client.set((WRITABLE, big)),
        lambda: client.action((ECHO, big)),
        lambda: client.access([(apdu.AccessKind.GET, LONG)], [b""]),
    ):
        pair.exchange(request())
    to_server = [octets for way, octets in pair.wire if way == ">"]
    to_client = [octets for way, octets in pair.wire if way == "<"]
    return pair, to_server, to_client


def fuzz_cores(rounds: int, seed: int) -> None:
    dice = random.Random(seed)
    for secured in (False, True):
        pair, to_server, to_client = conversation(secured)
        pools = {">": to_server + SAMPLES + ACSE_SAMPLES, "<": to_client + SAMPLES + ACSE_SAMPLES}
        server, client = pair.server, pair.client
        for number in range(rounds // 2):
            if number % 500 == 0:
                server = ServerAssociation(pair.device, pair.server.client_sap)
                client.disconnected()
                server.receive_apdu(client.associate(), NOW)
            way = "><"[number & 1]
            octets = mutated(dice.choice(pools[way]), pools[way], dice)
            if way == ">":
                for answer in server.receive_apdu(octets, NOW):
                    assert isinstance(answer, bytes)
                server.take_events()
            else:
                if client.associated and not client.busy and client.conformance & GET:
                    client.get(ENERGY)
                try:
                    client.receive_apdu(octets, NOW)
                except RemoteProtocolError:
                    pass


def test_a_hundred_thousand_mutated_apdus_through_the_parsers() -> None:
    accepted = fuzz_parsers(100_000, seed=1)
    assert accepted > 1_000, "the mutations are too wild to test anything"


def test_mutated_apdus_through_both_association_cores() -> None:
    fuzz_cores(50_000, seed=2)


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
    dice = random.Random(4)
    for octets in to_server:
        pair.server.receive_apdu(octets, NOW)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(4_000):
            octets = mutated(dice.choice(to_server), to_server, dice)
            pair.server.receive_apdu(octets, NOW)
            title = number.to_bytes(8, "big")
            forged = b"\xdb\x08" + title + b"\x12\x30" + bytes(17)
            pair.server.receive_apdu(forged, NOW)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 200_000


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
def test_a_million_mutated_apdus() -> None:
    for seed in range(10):
        fuzz_parsers(100_000, seed=1000 + seed)
        fuzz_cores(100_000, seed=2000 + seed)


def test_an_unprotected_config_shows_in_no_keys() -> None:
    assert not ClientConfig(protection=Protection.BOTH).ciphered
