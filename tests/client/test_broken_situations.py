"""What goes wrong on a field engineer's first evening: each names its cause and what to try.

Every situation is made for real: a meter that is not there, that says nothing, noise on the line,
wrong addresses, passwords, keys, counters. Nothing but the five outcomes comes out.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from blathy.client import (
    FileCounterStore,
    Garbled,
    Meter,
    MeterError,
    ObjectCache,
    ObjectRefused,
    Refused,
    TimedOut,
    Unreachable,
    Untrusted,
    VolatileCounterStore,
    change_keys,
    disconnect,
    read_events,
)
from blathy.cosem import axdr
from blathy.cosem.service import AttributeRef, Requester
from blathy.obis import Obis
from blathy.transport.dlms_session import serve_dlms
from blathy.wire.apdu import LN_CONFORMANCE, Conformance
from blathy.wire.server import AssociationProfile
from tests.client.small_meter import AK, EK, SECURE, SmallMeter, device, lookup

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
WRONG_EK = f"client=1&auth=hls5&ek={EK[::-1].hex()}&ak={AK.hex()}&ic=off"
WRONG_AK = f"client=1&auth=hls5&ek={EK.hex()}&ak={AK[::-1].hex()}&ic=off"
PASSWORD = "client=2&auth=lls&password=12345678"


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the client has enough
    writer.close()


async def noisy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What 7E1 looks like when it is read as 8N1."""
    await reader.read(64)
    writer.write(
        bytes((octet * 37 + 11) & 0xFF or 1 for octet in range(200)).replace(b"\x7e", b"!")
    )
    await writer.drain()
    await reader.read()  # until the client has enough
    writer.close()


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(64)
    writer.close()


async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(256):
        writer.write(data)
    writer.close()


async def speaks_hdlc(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(64)
    writer.write(bytes.fromhex("7EA0070321931F0F017E") * 2)
    await writer.drain()
    await reader.read()  # until the client has enough
    writer.close()


async def cuts_its_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(64)
    writer.write(bytes.fromhex("000100010010002B6129A1"))
    await writer.drain()
    await reader.read()  # until the client has enough
    writer.close()


async def work(one: Meter) -> Any:
    return await one.read("1-0:1.8.0")


@dataclass(frozen=True)
class Situation:
    """What is asked of which meter, and what must be told."""

    name: str
    query: str
    kind: type[MeterError]
    cause: str
    remedy: str
    handler: Handler | None = None
    scheme: str = "dlms"
    work: Callable[[Meter], Awaitable[Any]] = work


def _reads(code: str) -> Callable[[Meter], Awaitable[Any]]:
    return lambda one: one.read(code)


def _writes(code: str, value: object) -> Callable[[Meter], Awaitable[Any]]:
    return lambda one: one.write(code, value)


TABLE = (
    Situation("wrong client address", "client=77", Refused, "client 77", "client=16"),
    Situation("no password", "client=2&auth=lls", Untrusted, "client 2", "password="),
    Situation(
        "wrong password", f"{PASSWORD}9", Untrusted, "authentication", "password= of client 2"
    ),
    Situation("no authentication", "client=2", Refused, "mechanism|authentic", "auth="),
    Situation("wrong encryption key", WRONG_EK, Untrusted, "key", "ek=, ak="),
    Situation("wrong authentication key", WRONG_AK, Untrusted, "key", "ek=, ak="),
    Situation("no key", "client=1&auth=hls5", Refused, "keys", "ek="),
    Situation(
        "security policy",
        f"{SECURE}&protect=none",
        Refused,
        "does not allow|refuses",
        "protect=both",
    ),
    Situation(
        "wrong logical device",
        "client=16&server=9&timeout=1",
        TimedOut,
        "no answer",
        "server=",
    ),
    Situation(
        "wrong HDLC address",
        "client=16&physical=99&timeout=1",
        TimedOut,
        "server 1/99|does not answer",
        "physical=",
        scheme="dlms+hdlc",
    ),
    Situation("silent meter", "client=16&timeout=1", TimedOut, "no answer", "address|time", silent),
    Situation(
        "silent on HDLC",
        "client=16&timeout=1",
        TimedOut,
        "does not answer SNRM",
        "physical=",
        silent,
        "dlms+hdlc",
    ),
    Situation(
        "wrong parity or speed",
        "client=16&timeout=2",
        Garbled,
        "without a valid frame",
        "baud rate and parity",
        noisy,
        "dlms+hdlc",
    ),
    Situation(
        "noise", "client=16&timeout=60", Garbled, "does not speak the wrapper", "port", noisy
    ),
    Situation(
        "HDLC where the wrapper was meant",
        "client=16&timeout=60",
        Garbled,
        "wrapper",
        r"dlms\+hdlc://",
        speaks_hdlc,
    ),
    Situation(
        "echo", "client=16&timeout=2", TimedOut, "own octets", "adapter echoes", echoes, "dlms+hdlc"
    ),
    Situation(
        "hangs up", "client=16&timeout=60", Garbled, "closed the connection", "busy", hangs_up
    ),
    Situation(
        "half an answer",
        "client=16&timeout=2",
        TimedOut,
        "in the middle of an answer",
        "time",
        cuts_its_answer,
    ),
    Situation(
        "no such object",
        "client=16",
        ObjectRefused,
        "client 16 sees no such object",
        r"near it are 1-0:1\.8\.0 \(active energy import\)",
        work=_reads("1-0:1.8.1"),
    ),
    Situation(
        "no such attribute",
        "client=16",
        Refused,
        "no attribute 'scalar_unit'",
        "scaler_unit",
        work=_reads("1-0:1.8.0/scalar_unit"),
    ),
    Situation(
        "no code", "client=16", Refused, "not an OBIS code", "write it like", work=_reads("hello")
    ),
    Situation(
        "access denied",
        PASSWORD,
        ObjectRefused,
        "denied",
        "client 2 has no right to it",
        work=_reads("0-0:96.1.9"),
    ),
    Situation(
        "value of another type",
        PASSWORD,
        Refused,
        "does not take this",
        "true nor false",
        work=_writes("0-0:96.3.10/2", "perhaps"),
    ),
    Situation(
        "value without unit",
        PASSWORD,
        Refused,
        "has no unit",
        "write '0.5 V'",
        work=_writes("1-0:32.7.0", 230),
    ),
    Situation(
        "no such method",
        PASSWORD,
        Refused,
        "no method 'switch_off'",
        "remote_disconnect",
        work=lambda one: one.call("0-0:96.3.10", "switch_off"),
    ),
    Situation(
        "no profile",
        "client=16",
        MeterError,
        "1-0:98.1.0",
        "",
        work=lambda one: one.profile("1-0:98.1.0"),
    ),
    Situation(
        "naive time",
        "client=16",
        Refused,
        "no time zone",
        "add one",
        work=lambda one: one.profile("1-0:99.1.0", datetime(2026, 1, 1)),  # noqa: DTZ001 - that is what is wrong
    ),
    Situation(
        "no master key",
        SECURE,
        Refused,
        "master key",
        "kek=",
        work=lambda one: change_keys(one, {"encryption": EK}),
    ),
    Situation("no log", "client=16", MeterError, "0-0:99.98.0", "", work=read_events),
    Situation("no switch", "client=16", MeterError, "no such object", "", work=disconnect),
)


async def met(port: int, situation: Situation) -> MeterError:
    url = f"{situation.scheme}://127.0.0.1:{port}?{situation.query}"
    with pytest.raises(MeterError) as caught:
        async with Meter.connect(url, counters=VolatileCounterStore(), cache=ObjectCache()) as one:
            await situation.work(one)
    return caught.value


@pytest.mark.parametrize("situation", TABLE, ids=lambda each: each.name)
def test_cause_and_remedy_are_told(situation: Situation) -> None:
    async def test() -> None:
        if situation.handler is None:
            listener, port = await serve_dlms(lookup(device(SmallMeter())), port=0)
            error = await met(port, situation)
            await listener.stop()
        else:
            server = await asyncio.start_server(situation.handler, "127.0.0.1", 0)
            error = await met(server.sockets[0].getsockname()[1], situation)
            server.close()
        assert isinstance(error, situation.kind), (type(error), error)
        text = str(error)
        assert re.search(situation.cause, text), text
        assert re.search(situation.remedy, text), text
        assert "\n" not in text
        assert EK.hex() not in text
        assert AK.hex() not in text

    asyncio.run(asyncio.wait_for(test(), 240))


def test_nobody_is_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = taken.getsockname()[1]

    async def test() -> None:
        for url, kind, text in (
            (f"dlms://127.0.0.1:{closed}", Refused, "check the port"),
            ("dlms://no-such-meter.invalid?timeout=5", Unreachable, "spelling|address"),
            ("serial:///dev/no-such-port", Unreachable, "cable"),
        ):
            with pytest.raises(kind, match=text):
                await Meter.connect(url).open()

    asyncio.run(asyncio.wait_for(test(), 240))


def test_a_meter_that_sends_no_blocks_and_a_pdu_too_small() -> None:
    async def test() -> None:
        found = device(SmallMeter())
        blocks = Conformance.BLOCK_TRANSFER_GET_OR_READ | Conformance.GENERAL_BLOCK_TRANSFER
        agreed = AssociationProfile(16, conformance=LN_CONFORMANCE & ~blocks)
        found.profiles = {16: agreed}
        listener, port = await serve_dlms(lookup(found), port=0)
        url = f"dlms://127.0.0.1:{port}?client=16&pdu=200"
        async with Meter.connect(url, cache=ObjectCache()) as one:
            with pytest.raises(MeterError, match=r"pdu=|fewer|shorter") as caught:
                await one.profile("1-0:99.1.0")
        assert "; " in str(caught.value)
        await listener.stop()

    asyncio.run(asyncio.wait_for(test(), 240))


class Stubborn(SmallMeter):
    """Shows its public client a counter."""

    def get(self, ref: AttributeRef, who: Requester) -> bytes:
        if ref.obis == Obis.parse("0-0:43.1.0") and who.client_sap == 16:
            return axdr.encode_u32(7000)
        return super().get(ref, who)


def test_a_counter_too_low_at_a_meter_that_keeps_silent_is_found_out(tmp_path: Any) -> None:
    """Restored from an old copy: the store stands below what the meter has seen."""

    async def test() -> None:
        listener, port = await serve_dlms(lookup(device(Stubborn())), port=0)
        store = FileCounterStore(tmp_path / "counters")
        url = f"dlms://127.0.0.1:{port}?{WRONG_EK.removesuffix('&ic=off')}&timeout=1"
        with pytest.raises(Untrusted):  # the first contact follows the meter's counter
            await Meter.connect(url, counters=store).open()
        store.close()
        old = VolatileCounterStore()
        old.reserve(next(iter(FileCounterStore(tmp_path / "counters")._next)), 1)
        with pytest.raises(
            Untrusted, match=r"stands at \d+ and the meter has seen 7000; set ic=7001"
        ):
            await Meter.connect(url, counters=old).open()
        await listener.stop()

    asyncio.run(asyncio.wait_for(test(), 240))
