"""Mutated input for the cores that the fuzzing of APDUs, links and text does not reach: M-Bus,
short names, general block transfer, protected data, key transport, proofs. Only RemoteProtocolError
and the data errors of cosem may leave them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from random import Random

import pytest

from blathy.clock import Instant
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError
from blathy.wire import apdu, mbus
from blathy.wire.acse import Mechanism
from blathy.wire.apdu import IdentifiedKey, WrappedKey
from blathy.wire.block_transfer import BlockExchange
from blathy.wire.data_protection import (
    ProtectionElement,
    elements_data,
    parse_elements,
    protect_data,
    unprotect_data,
)
from blathy.wire.errors import LocalProtocolError, RemoteProtocolError
from blathy.wire.hls import HlsParty
from blathy.wire.invocation_counters import InvocationCounters, VolatileCounterStore
from blathy.wire.mbus_keys import (
    UserKey,
    unwrap_user_key,
    unwrap_user_key_dsmr4,
    wrap_user_key,
    wrap_user_key_dsmr4,
)
from blathy.wire.octets import Reader
from blathy.wire.security import Envelope, Protection, SecurityContext
from tests.mutations import IN_SUITE, ON_REQUEST, endure
from tests.wire.association_pair import (
    CLIENT_TITLE,
    CLOCK,
    ENERGY,
    LONG,
    SERVER_TITLE,
    WRITABLE,
    keys,
    plain_pair,
    repeatable_entropy,
)
from tests.wire.test_apdu import SAMPLES

Parser = Callable[[bytes], object]
MASTER = bytes(range(16))
WATER = mbus.Header(12_345_678, "BLT", 1, mbus.Medium.WATER)
RECORDS = b"".join((
    bytes.fromhex("0413FF880000"), bytes.fromhex("026C592B"), bytes.fromhex("0C78 78563412"),
    bytes.fromhex("0D780641424344 4546"), bytes.fromhex("84808040 1301000000"),
    bytes.fromhex("02FD17 0000"), bytes.fromhex("0F010203"), bytes.fromhex("055B0000A041"),
))  # fmt: skip
TELEGRAM = mbus.Frame(0x08, 1, 0x72, WATER.encode() + RECORDS).encode()


def context(title: bytes, peer: bytes) -> SecurityContext:
    counters = InvocationCounters(VolatileCounterStore())
    return SecurityContext(title, keys(), counters, repeatable_entropy(5), peer_title=peer)


# --- M-Bus --------------------------------------------------------------------------------------


def mbus_frames(draw: Random) -> tuple[Parser, list[bytes]]:
    reader = mbus.FrameReader()

    def take(octets: bytes) -> None:
        size = (1, 7, 300, 300, 300, 300, 300, 300)[int(draw.random() * 8)]
        for at in range(0, len(octets), size):
            for frame in reader.receive(octets[at : at + size]):
                if isinstance(frame, mbus.Frame):
                    with contextlib.suppress(RemoteProtocolError):
                        mbus.decode_telegram(frame)
        assert len(reader._buffer) <= 261

    short = [mbus.Frame(0x5B, 1).encode(), mbus.Frame(0x40, 254).encode(), b"\xe5"]
    return take, [TELEGRAM, TELEGRAM + b"\xe5", *short]


def mbus_records(_draw: Random) -> tuple[Parser, list[bytes]]:
    return mbus.decode_records, [RECORDS, RECORDS[:30], RECORDS[20:]]


def mbus_slave_and_master(draw: Random) -> tuple[Parser, list[bytes]]:
    slave = mbus.MbusSlave(1, WATER, lambda: [RECORDS])
    master = mbus.MbusMaster()
    now = Instant(0)

    def take(octets: bytes) -> None:
        nonlocal now
        slave.receive(octets, now)
        if not master.waiting:
            master.read(1, now)
        master.to_send()
        master.receive(octets, now)
        now = Instant(now + draw.choice((1, 400_000_000)))
        master.tick(now)

    select = mbus.Frame(0x53, 253, 0x52, bytes.fromhex("78563412FFFFFFFF")).encode()
    asks = [mbus.Frame(control, 1).encode() for control in (0x40, 0x5B, 0x7B)]
    return take, [TELEGRAM, select, b"\xe5", *asks]


def mbus_keys(_draw: Random) -> tuple[Parser, list[bytes]]:
    device = bytes.fromhex("140031998f195003")
    wrapped = wrap_user_key(MASTER, device, UserKey(2, 7, bytes(16)))

    def take(octets: bytes) -> None:
        for unwrap in (
            lambda: unwrap_user_key(MASTER, device, octets),
            lambda: unwrap_user_key_dsmr4(MASTER, octets),
        ):
            with contextlib.suppress(RemoteProtocolError, LocalProtocolError):
                unwrap()

    return take, [wrapped, wrap_user_key_dsmr4(MASTER, bytes(16))]


# --- associations by short names ----------------------------------------------------------------


def short_names(draw: Random) -> tuple[Parser, list[bytes]]:
    pair = plain_pair(short_names=True, pdu_size=120, server_pdu_size=120)
    pair.associate()
    name = apdu.VariableName
    energy, big = name(0x0108), b"\x09\x82\x01\x00" + bytes(256)
    for request in (
        apdu.ReadRequest((energy,)), apdu.ReadRequest((name(0x0308),)),
        apdu.ReadRequest((apdu.ParameterizedAccess(0x0308, 2, b"\x02\x04" + b"\x06\0\0\0\1" * 2
                                                   + b"\x12\0\1" * 2),)),
        apdu.WriteRequest((name(0x0408),), (big[:90],)),
        apdu.UnconfirmedWriteRequest((name(0x0408),), (b"\x09\x01\x01",)),
        apdu.InformationReport((energy,), (b"\x06\0\0\0\1",)),
    ):  # fmt: skip
        for answer in pair.server.receive_apdu(request.encode(), Instant(0)):
            pair.wire.append(("<", answer))
        pair.wire.append((">", request.encode()))
    seeds = [octets for _, octets in pair.wire] + [s for s in SAMPLES if s[0] < 0x20]

    def take(octets: bytes) -> None:
        if draw.randrange(300) == 0:
            pair.client.disconnected()
            for answer in pair.server.receive_apdu(pair.client.associate(), Instant(0)):
                pair.client.receive_apdu(answer, Instant(0))
        pair.server.receive_apdu(octets, Instant(0))
        pair.server.take_events()
        if pair.client.associated and not pair.client.busy:
            pair.client.read(draw.choice((energy, name(0x0308))))
        pair.client.receive_apdu(octets, Instant(0))

    return take, seeds


# --- blocks and protection ----------------------------------------------------------------------


def general_blocks(draw: Random) -> tuple[Parser, list[bytes]]:
    sender = BlockExchange(4)
    seeds = sender.start(bytes(300), 60, Instant(0))
    seeds += [
        apdu.GeneralBlockTransfer(last, streaming, window, number, number - 1, bytes(size)).encode()
        for last, streaming, window, number, size in (
            (False, True, 0, 1, 50), (False, False, 3, 2, 50), (True, False, 3, 3, 0),
            (True, True, 63, 0xFFFF, 4),
        )
    ]  # fmt: skip
    exchange = BlockExchange(3, octets_max=2000)
    now = Instant(0)

    def take(octets: bytes) -> None:
        nonlocal now
        now = Instant(now + draw.choice((0, 1_000_000, 20_000_000_000)))
        if draw.randrange(50) == 0:
            exchange.start(bytes(500), 64, now)
        if octets[:1] == b"\xe0":
            exchange.receive(octets, now)
        exchange.tick(now)

    return take, seeds


def protected_apdus(draw: Random) -> tuple[Parser, list[bytes]]:
    sender = context(SERVER_TITLE, CLIENT_TITLE)
    plain = apdu.GetResponseNormal(0xC1, b"\x06\0\0\5\x39").encode()
    envelopes = (Envelope.GLO, Envelope.GENERAL_GLO, Envelope.GENERAL_CIPHERING)
    seeds = [sender.protect(plain, Protection.BOTH, each) for each in envelopes]

    def take(octets: bytes) -> None:
        receiver = context(CLIENT_TITLE, SERVER_TITLE)
        receiver.needs = int(Protection.BOTH)
        opened = receiver.unprotect(octets)
        # Only how the optional key-info is marked is outside of what the tag covers.
        assert opened.plain == plain, f"a forged APDU was taken: {octets.hex()}"

    return take, seeds


def protected_data(_draw: Random) -> tuple[Parser, list[bytes]]:
    sender = context(SERVER_TITLE, CLIENT_TITLE)
    data = b"\x09\x03abc"
    elements = [
        ProtectionElement(2, key_info=info) for info in (IdentifiedKey(0), WrappedKey(0, b""))
    ]
    seeds, layers = [], []
    for element in elements:
        used, octets = protect_data(sender, data, (element,))
        layers.append(used)
        seeds.append(axdr.encode(elements_data(used)))
        seeds.append(octets)

    receiver = context(CLIENT_TITLE, SERVER_TITLE)

    def opened(octets: bytes, found: tuple[ProtectionElement, ...]) -> None:
        nonlocal receiver
        with contextlib.suppress(RemoteProtocolError):
            unprotect_data(receiver, octets, found)
            receiver = context(CLIENT_TITLE, SERVER_TITLE)  # the counter of this one is spent

    def take(octets: bytes) -> None:
        with contextlib.suppress(AxdrError, RemoteProtocolError, LocalProtocolError):
            opened(seeds[1], parse_elements(axdr.decode(octets)))
        for used in layers:
            opened(octets, used)

    return take, seeds


def proofs(draw: Random) -> tuple[Parser, list[bytes]]:
    sent, received = b"12345678" * 4, b"abcdefgh" * 4
    mechanisms = [Mechanism.HLS, Mechanism.HLS_MD5, Mechanism.HLS_SHA256, Mechanism.HLS_GMAC]

    def party(mechanism: Mechanism, own: bytes, peer: bytes) -> HlsParty:
        return HlsParty(mechanism, b"secret", own, peer, context(own, peer))

    made = {
        each: party(each, SERVER_TITLE, CLIENT_TITLE).prove(sent, received) for each in mechanisms
    }

    def take(octets: bytes) -> None:
        mechanism = draw.choice(mechanisms)
        right = party(mechanism, CLIENT_TITLE, SERVER_TITLE).check(octets, sent, received, None)
        assert right is (octets == made[mechanism])

    return take, list(made.values())


def gateway_and_reader(_draw: Random) -> tuple[Parser, list[bytes]]:
    """The cursor under every APDU, field by field."""

    def take(octets: bytes) -> None:
        for name in ("attribute", "method", "octets", "data_value", "last_data", "length", "u32"):
            reader = Reader(octets, 0)
            with contextlib.suppress(RemoteProtocolError):
                getattr(reader, name)()
            assert reader.position <= max(len(octets), 4)

    return take, [
        apdu.GetRequestNormal(0xC1, ref).encode()[3:] for ref in (ENERGY, CLOCK, LONG)
    ] + [apdu.SetRequestNormal(0xC1, WRITABLE, b"\x09\x01\x00").encode()[3:]]


CORES: dict[str, Callable[[Random], tuple[Parser, list[bytes]]]] = {
    "mbus frames": mbus_frames,
    "mbus records": mbus_records,
    "mbus slave and master": mbus_slave_and_master,
    "mbus keys": mbus_keys,
    "short names": short_names,
    "general blocks": general_blocks,
    "protected apdus": protected_apdus,
    "protected data": protected_data,
    "proofs": proofs,
    "reader": gateway_and_reader,
}


STATEFUL = ("mbus frames", "mbus slave and master", "short names", "general blocks")


def _run(name: str, count: int) -> None:
    parse, seeds = CORES[name](Random(name))
    endure(name, parse, seeds, count, RemoteProtocolError, forgets=name not in STATEFUL)


@pytest.mark.parametrize("name", list(CORES))
def test_mutated_input(name: str) -> None:
    _run(name, IN_SUITE)


@pytest.mark.fuzz
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", list(CORES))
def test_a_million_mutations(name: str) -> None:
    _run(name, ON_REQUEST)
