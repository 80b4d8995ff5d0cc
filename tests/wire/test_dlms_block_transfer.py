"""General block transfer: windows, lost, doubled and swapped blocks, pushes, both ends of it."""

from __future__ import annotations

import random

import pytest

from blathy.clock import Instant
from blathy.wire.apdu import GeneralBlockTransfer, decode_block_transfer
from blathy.wire.association import (
    Associated,
    Conformance,
    GetAnswer,
    Notification,
    Send,
    SetAnswer,
    TransferAborted,
)
from blathy.wire.block_transfer import ANSWER_TIMEOUT_NS, REPEATS_MAX, BlockExchange
from blathy.wire.errors import RemoteProtocolError
from blathy.wire.octets import Reader
from tests.wire.association_pair import (
    ENERGY,
    LONG,
    LONG_VALUE,
    NOW,
    WRITABLE,
    Pair,
    plain_pair,
    secured_pair,
)

BIG = b"\x09\x82\x03\xe8" + bytes(range(250)) * 4
ONLY_GENERAL = 0xFFFFFF & ~int(
    Conformance.BLOCK_TRANSFER_GET_OR_READ
    | Conformance.BLOCK_TRANSFER_SET_OR_WRITE
    | Conformance.BLOCK_TRANSFER_ACTION
)


def block(octets: bytes) -> GeneralBlockTransfer:
    return decode_block_transfer(Reader(octets, 1))


def test_the_stream_of_the_standard() -> None:
    """Three blocks to a window of three, the client acknowledges, the rest follows."""
    client = BlockExchange(window=3)
    blocks = ["E04300010001 05 C401C10009", "E04300020001 01 AA", "E00300030001 01 BB"]
    steps = [client.receive(bytes.fromhex(b.replace(" ", "")), NOW) for b in blocks]
    assert [step.send for step in steps] == [
        [],
        [],
        [bytes.fromhex("E083000100 0300".replace(" ", ""))],
    ]
    last = client.receive(bytes.fromhex("E080000400 0103AABBCC".replace(" ", "")), NOW)
    assert last.send == []
    assert last.apdu == bytes.fromhex("C401C10009AABBAABBCC")


def test_a_lost_block_is_asked_for_and_sent_again() -> None:
    server, client = BlockExchange(8, initiator=False), BlockExchange(8)
    stream = server.start(bytes(range(100)), 19, NOW)
    assert len(stream) == 1  # the window of the client is not known yet
    (ack,) = client.receive(stream[0], NOW).send
    stream = server.receive(ack, NOW).send
    assert len(stream) == 8
    for octets in (stream[0], stream[2], stream[3], stream[4], stream[5], stream[6]):
        assert client.receive(octets, NOW).send == []
    (ack,) = client.receive(stream[7], NOW).send
    assert block(ack).acknowledged == 2
    again = server.receive(ack, NOW).send
    assert block(again[0]).block == 3
    complete = None
    for octets in again:
        complete = client.receive(octets, NOW).apdu or complete
    assert complete == bytes(range(100))


def _converse(pair: Pair, request: bytes, lossy: random.Random, rate: float) -> list[object]:
    """Deliver APDUs over a link that loses, doubles and swaps; time passes when it is quiet."""
    events: list[object] = []
    now = 0
    up, down = [request], []
    for _ in range(5_000):
        if events:
            return events
        if not up and not down:
            now += ANSWER_TIMEOUT_NS + 1
            up += [e.apdu for e in pair.client.tick(Instant(now)) if isinstance(e, Send)]
            down += pair.server.tick(Instant(now))
            if not up and not down:
                return events
        if up:
            octets = up.pop(0)
            if octets is request or lossy.random() >= rate:
                down += pair.server.receive_apdu(octets, Instant(now))
                if lossy.random() < rate and len(down) > 1:
                    down[-1], down[-2] = down[-2], down[-1]
        if down:
            octets = down.pop(0)
            if lossy.random() < rate:
                continue
            for _ in range(2 if lossy.random() < rate else 1):
                for event in pair.client.receive_apdu(octets, Instant(now)):
                    if isinstance(event, Send):
                        up.append(event.apdu)
                    else:
                        events.append(event)
    return events


@pytest.mark.parametrize("seed", range(40))
def test_a_bad_link_delivers_the_whole_answer_or_none(seed: int) -> None:
    lossy = random.Random(seed)
    pair = plain_pair(
        pdu_size=lossy.choice([30, 64, 200]),
        conformance=ONLY_GENERAL,
        block_window=lossy.choice([1, 2, 5, 20, 63]),
    )
    pair.device.block_window = lossy.choice([1, 3, 63])
    (event,) = pair.associate()
    assert isinstance(event, Associated)
    events = _converse(pair, pair.client.get(LONG), lossy, rate=0.05)
    if not events:
        assert pair.client.deadline() is None
        return  # the first block was lost: the client has to ask again
    for answer in events:
        if isinstance(answer, GetAnswer):
            assert answer.results == (LONG_VALUE,)
        else:
            assert isinstance(answer, TransferAborted)


@pytest.mark.parametrize("seed", range(20))
def test_a_long_request_over_a_bad_link_is_executed_once_or_not_at_all(seed: int) -> None:
    lossy = random.Random(seed)
    pair = secured_pair(pdu_size=120, server_pdu_size=120, conformance=ONLY_GENERAL, block_window=5)
    pair.associate()
    writes: list[bytes] = []
    pair.meter.set = lambda ref, value, who: writes.append(value)  # type: ignore[method-assign]
    _converse(pair, pair.client.set((WRITABLE, BIG)), lossy, rate=0.05)
    assert writes in ([], [BIG])


def test_without_losses_the_answer_follows_in_the_same_exchange() -> None:
    pair = plain_pair(pdu_size=100, server_pdu_size=100, conformance=ONLY_GENERAL)
    pair.associate()
    (written,) = pair.exchange(pair.client.set((WRITABLE, BIG)))
    assert isinstance(written, SetAnswer)
    last = [octets for way, octets in pair.wire if way == "<"][-1]
    assert last[0] == 0xE0
    assert block(last).last
    (answer,) = pair.exchange(pair.client.get(ENERGY))
    assert isinstance(answer, GetAnswer)
    assert pair.wire[-1][1][0] == 0xC4, "a short answer to a plain request stays plain"


def test_a_push_with_a_missing_block_is_never_delivered() -> None:
    pair = plain_pair(pdu_size=60)
    pair.associate()
    blocks = pair.server.notify(LONG_VALUE, NOW)
    for missing in (0, 1, len(blocks) - 1):
        pair.client.cancel()
        events = [
            event
            for number, octets in enumerate(blocks)
            if number != missing
            for event in pair.client.receive_apdu(octets, NOW)
        ]
        assert events == []
    events = [event for octets in blocks for event in pair.client.receive_apdu(octets, NOW)]
    assert [type(event) for event in events] == [Notification]


def test_streaming_pushes_with_window_zero_end_on_the_last_block_alone() -> None:
    listener = BlockExchange()
    steps = [
        listener.receive(bytes.fromhex(octets), NOW)
        for octets in ("E0400001000002" + "0F00", "E0400002000001" + "01", "E0C0000300000102")
    ]
    assert all(step.send == [] for step in steps)
    assert steps[-1].apdu == bytes.fromhex("0F000102")


def test_block_number_zero_aborts() -> None:
    pair = plain_pair(pdu_size=60, conformance=ONLY_GENERAL)
    pair.associate()
    pair.server.receive_apdu(pair.client.get(LONG), NOW)
    (event,) = pair.client.receive_apdu(bytes.fromhex("E0C00000000000"), NOW)
    assert isinstance(event, TransferAborted)
    assert not pair.client.busy


def test_the_client_gives_up_after_its_repeats() -> None:
    client = BlockExchange()
    client.start(bytes(500), 100, NOW)
    now = 0
    sent = 0
    for _ in range(REPEATS_MAX):
        now += ANSWER_TIMEOUT_NS
        sent += len(client.tick(Instant(now)).send)
    assert sent == REPEATS_MAX
    assert client.tick(Instant(now + ANSWER_TIMEOUT_NS)).aborted
    assert client.deadline() is None


def test_what_is_assembled_and_queued_is_bounded() -> None:
    receiver = BlockExchange(window=4, octets_max=1000)
    raw = GeneralBlockTransfer(False, True, 4, 1, 0, bytes(600)).encode()
    receiver.receive(raw, NOW)
    for number in range(3, 2000):
        ahead = GeneralBlockTransfer(False, True, 4, number, 0, bytes(100)).encode()
        receiver.receive(ahead, NOW)
    assert len(receiver._queue) <= 4
    with pytest.raises(RemoteProtocolError, match="more than 1000"):
        receiver.receive(GeneralBlockTransfer(False, True, 4, 2, 0, bytes(600)).encode(), NOW)
    assert not receiver.active


def test_an_apdu_that_needs_more_than_65535_blocks_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="too small"):
        BlockExchange().start(bytes(70_000), 10, NOW)


def test_a_refused_apdu_does_not_disturb_a_running_transfer() -> None:
    pair = secured_pair(pdu_size=150, conformance=ONLY_GENERAL)
    pair.associate()
    first = pair.server.receive_apdu(pair.client.get(LONG), NOW)
    for forged in ("C001C100080000010000FF0200", "C8163000000001" + "00" * 17, "6000", "E2"):
        (answer,) = pair.server.receive_apdu(bytes.fromhex(forged), NOW)
        assert answer[0] in (0xD8, 0x61)
    events = []
    down = first
    while down:
        for event in pair.client.receive_apdu(down.pop(0), NOW):
            if isinstance(event, Send):
                down += pair.server.receive_apdu(event.apdu, NOW)
            else:
                events.append(event)
    (answer_event,) = events
    assert isinstance(answer_event, GetAnswer)
    assert answer_event.results == (LONG_VALUE,)
