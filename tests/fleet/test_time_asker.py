"""Meters that ask a time server (NTP setup, class 100), which answers on the loopback device."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from blathy.cosem import axdr
from blathy.cosem.service import AccessError, ActionResult
from blathy.fleet.fleet import Fleet
from blathy.fleet.time_asker import AFTER_FAILURE_S, AGAIN_S, TimeAsker
from blathy.meter.meter import Meter
from blathy.store.store import Store
from blathy.wire import sntp
from blathy.wire.errors import RemoteProtocolError
from tests.meter.running import START_S, call, get, made, put
from tests.meter.simple_load import ConstantLoad
from tests.waiting import run, until

NTP = "0-0:25.10.0"
NONCE = bytes(range(8))
HOUR_S = 3600
SECOND_NS = 1_000_000_000
Answer = Callable[[bytes], list[bytes]]


def answer(nonce: bytes, utc_s: int, first: int = 0x24, stratum: int = 2) -> bytes:
    time = sntp.timestamp(utc_s * SECOND_NS)
    return bytes((first, stratum, 6, 0xEC)) + bytes(8) + b"LOCL" + bytes(8) + nonce + time + time


class Server(asyncio.DatagramProtocol):
    """Answers every question with what `answers` makes of it."""

    def __init__(self, answers: Answer) -> None:
        self.answers = answers
        self.questions: list[bytes] = []
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.questions.append(data)
        for octets in self.answers(data):
            self.transport.sendto(octets, addr)


async def serving(answers: Answer) -> tuple[Server, int]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: Server(answers), local_addr=("127.0.0.1", 0)
    )
    return server, transport.get_extra_info("sockname")[1]


def asking(port: int, *, activated: bool = True, host: bytes = b"127.0.0.1") -> Meter:
    meter = made("omnipower")
    meter.step(ConstantLoad(600, 1).block(START_S, 60, 60))
    meter.commit()
    put(meter, 100, NTP, 2, axdr.boolean(activated))
    put(meter, 100, NTP, 3, axdr.octets(host))
    put(meter, 100, NTP, 4, axdr.u16(port))
    return meter


def result(meter: Meter) -> int:
    with pytest.raises(AccessError) as refused:
        call(meter, 100, NTP, 1)
    return refused.value.result


def test_a_meter_that_is_told_to_synchronize_takes_the_time_of_its_server() -> None:
    async def test() -> None:
        now = START_S + HOUR_S
        server, port = await serving(lambda question: [answer(question[40:48], now + 100)])
        meter = asking(port)
        asker = TimeAsker(lambda: now)
        call(meter, 100, NTP, 1)
        asker.collect(meter)
        await until(lambda: asker.answered == 1)
        meter.flush()
        assert meter.clock_utc_s() == meter.ledger.now + 100
        adjusted = [e.value for log in meter.books.logs.values() for e in log]
        assert START_S + HOUR_S in adjusted  # the old time, and the new one
        assert START_S + HOUR_S + 100 in adjusted
        assert server.questions[0][0] == 0x23  # version 4, client
        asker.collect(meter)
        assert len(server.questions) == 1
        await asker.stop()
        server.transport.close()

    run(test)


def test_an_activated_setup_asks_once_a_day_and_an_hour_after_a_failure() -> None:
    async def test() -> None:
        now = [float(START_S + HOUR_S)]
        good = [False]

        def answers(question: bytes) -> list[bytes]:
            away = answer(question[40:48], int(now[0]), stratum=0)
            return [answer(question[40:48], int(now[0]) + 5) if good[0] else away]

        server, port = await serving(answers)
        meter = asking(port)
        asker = TimeAsker(lambda: now[0], answer_s=0.05)
        asker.collect(meter)
        await until(lambda: asker.failed == 1)
        assert meter.clock_utc_s() == meter.ledger.now
        asker.collect(meter)
        assert asker.failed + asker.answered == 1
        now[0] += AFTER_FAILURE_S
        good[0], asker = True, TimeAsker(lambda: now[0])
        asker.collect(meter)
        await until(lambda: asker.answered == 1)
        now[0] += AGAIN_S - 1
        asker.collect(meter)
        now[0] += 1
        asker.collect(meter)
        await until(lambda: asker.answered == 2)
        assert len(server.questions) == 3
        await asker.stop()
        server.transport.close()

    run(test)


@pytest.mark.parametrize("host", [b"127.0.0.1", b"192.0.2.1", b"time.example", b"\xff", b"::1"])
def test_a_server_that_cannot_be_reached_leaves_the_clock_and_harms_nobody(host: bytes) -> None:
    async def test() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
            nobody.bind(("127.0.0.1", 0))  # takes questions and never answers
            meter = asking(nobody.getsockname()[1], host=host)
            asker = TimeAsker(lambda: START_S, answer_s=0.05)
            call(meter, 100, NTP, 1)
            asker.collect(meter, "127.0.0.1")
            await until(lambda: asker.failed == 1)
            assert meter.ledger.clock_utc_s == meter.ledger.now
            await asker.stop()

    run(test)


def test_a_name_that_cannot_be_one_is_a_failure_like_any_other() -> None:
    async def test() -> None:
        meter = asking(123, host=b"time..example")
        asker = TimeAsker(lambda: START_S, outside=True)
        asker.collect(meter)
        await until(lambda: asker.failed == 1)
        assert meter.outbox.ask_at_s == START_S + AFTER_FAILURE_S
        await asker.stop()

    run(test)


def test_a_forged_answer_is_passed_over_for_the_true_one() -> None:
    async def test() -> None:
        now = START_S + HOUR_S
        server, port = await serving(
            lambda question: [answer(bytes(8), now + 900), b"x", answer(question[40:48], now + 30)]
        )
        meter = asking(port)
        asker = TimeAsker(lambda: now)
        asker.collect(meter)
        await until(lambda: asker.answered == 1)
        assert meter.ledger.clock_utc_s == meter.ledger.now + 30
        await asker.stop()
        server.transport.close()

    run(test)


def test_synchronize_is_refused_where_no_server_can_be_asked() -> None:
    off = asking(123, activated=False)
    assert result(off) == ActionResult.OTHER_REASON
    assert not off.outbox.wants_time
    assert result(asking(123, host=b"")) == ActionResult.OTHER_REASON
    proving = asking(123)
    put(proving, 100, NTP, 5, axdr.enum(1))
    assert result(proving) == ActionResult.OTHER_REASON  # without a key
    assert get(proving, 100, NTP, 2) is True


def shared(number: int, secret: bytes) -> axdr.Data:
    return axdr.structure(axdr.u32(number), axdr.octets(secret))


def proof(number: int, secret: bytes, packet: bytes) -> bytes:
    """As RFC 5905 says: the number of the key, and the MD5 digest of key and packet."""
    return number.to_bytes(4, "big") + hashlib.md5(secret + packet).digest()


def test_with_shared_secrets_question_and_answer_prove_the_newest_key() -> None:
    async def test() -> None:
        now = START_S + HOUR_S

        def answers(question: bytes) -> list[bytes]:
            told = [answer(question[40:48], now + ahead_s) for ahead_s in (900, 800, 700, 30)]
            return [
                told[0], told[1] + proof(9, b"wrong", told[1]), told[2] + proof(8, b"old", told[2]),
                told[3] + proof(9, b"secret", told[3]),
            ]  # fmt: skip

        server, port = await serving(answers)
        meter = asking(port)
        put(meter, 100, NTP, 5, axdr.enum(1))
        call(meter, 100, NTP, 2, shared(8, b"old"))
        call(meter, 100, NTP, 2, shared(9, b"secret"))
        asker = TimeAsker(lambda: now)
        call(meter, 100, NTP, 1)
        asker.collect(meter)
        await until(lambda: asker.answered == 1)
        assert meter.ledger.clock_utc_s == meter.ledger.now + 30
        (question,) = server.questions
        assert question[48:] == proof(9, b"secret", question[:48])
        await asker.stop()
        server.transport.close()

    run(test)


@pytest.mark.parametrize(
    ("number", "data"),
    [
        (5, axdr.enum(2)),  # autokey
        (6, axdr.array(shared(1, b"one"), shared(1, b"two"))), (6, axdr.array(shared(1, b""))),
        (7, axdr.octets(b"key of autokey")),
    ],
)  # fmt: skip
def test_authentication_that_the_meter_does_not_do_is_refused(number: int, data: axdr.Data) -> None:
    meter = asking(123)
    with pytest.raises(AccessError):
        put(meter, 100, NTP, number, data)
    assert get(meter, 100, NTP, 5) == 0
    with pytest.raises(AccessError):
        call(meter, 100, NTP, 3, axdr.u32(1))  # there is no such key


def test_a_server_that_is_lost_and_back_is_an_event_each() -> None:
    async def test() -> None:
        now = [float(START_S + HOUR_S)]
        silent = [True]
        server, port = await serving(
            lambda question: [] if silent[0] else [answer(question[40:48], int(now[0]))]
        )
        meter = asking(port)
        for turn, (answers_, expected) in enumerate((
            (False, [768]), (False, [768]), (True, [768, 769]), (True, [768, 769]),
        )):  # fmt: skip
            silent[0] = not answers_
            asker = TimeAsker(lambda: now[0], answer_s=120 if answers_ else 0.05)
            meter.request_time()
            asker.collect(meter)
            await until(lambda asker=asker: asker.failed + asker.answered == 1)  # type: ignore[misc]
            meter.flush()
            rows = get(meter, 7, "0-0:99.98.5", 2)
            assert [row[-1] for row in rows] == expected, turn
        server.transport.close()

    run(test)


def test_a_fleet_asks_for_its_meters() -> None:
    async def test() -> None:
        now = float(START_S + 2 * HOUR_S)
        server, port = await serving(lambda question: [answer(question[40:48], int(now) + 60)])
        meter = asking(port)
        fleet = Fleet(Store.in_memory(), lambda: now)
        fleet.add("m", meter, ConstantLoad(600, 1), "127.0.0.2")
        fleet.start()
        await until(lambda: fleet.outgoing.times.answered == 1)
        assert meter.ledger.clock_utc_s == meter.ledger.now + 60
        await fleet.stop()
        server.transport.close()

    run(test)


def test_what_is_no_answer_is_refused() -> None:
    good = answer(NONCE, START_S)
    assert sntp.answer(good, NONCE).answered_ns == START_S * SECOND_NS
    for bad in (
        good[:47],
        answer(NONCE, START_S, first=0x23),  # a question
        answer(NONCE, START_S, first=0xE4),  # not synchronised
        answer(NONCE, START_S, first=0x0C),  # version 1
        answer(NONCE, START_S, stratum=16),
        answer(NONCE, START_S, stratum=0),
        answer(NONCE, -sntp.UNIX_EPOCH_S),
        answer(bytes(8), START_S),
    ):
        with pytest.raises(RemoteProtocolError):
            sntp.answer(bad, NONCE)


def test_times_of_the_second_era_and_the_way_there_and_back() -> None:
    in_2040 = 2_208_988_800 + 7
    told = sntp.answer(answer(NONCE, in_2040), NONCE)
    assert told == (in_2040 * SECOND_NS, in_2040 * SECOND_NS)
    assert told.offset_ns(in_2040 * SECOND_NS - 300, in_2040 * SECOND_NS + 100) == 100
