"""`blathy record` and `blathy replay` over TCP, HDLC and serial lines, in clear and ciphered."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import termios
import threading
import tty
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from blathy.cli import record
from blathy.client import Meter, ObjectCache, VolatileCounterStore
from blathy.client.capture import load
from blathy.client.turns import conversations_of
from blathy.quantity import Quantity, Unit
from blathy.transport.dlms_session import (
    DlmsSession,
    Framing,
    serve_dlms,
    serve_dlms_datagrams,
)
from blathy.transport.errors import MeterError
from blathy.transport.line import Line
from blathy.transport.serving import serve_line
from blathy.wire import wrapper
from blathy.wire.hdlc_frames import CONTROL, POLL, Frame, FrameType
from blathy.wire.iec62056_21 import block
from tests.cli.in_process import Watched, blathy
from tests.client.small_meter import AK, EK, SECURE, SmallMeter, device, lookup
from tests.client.test_optical_port import ENDPOINT, PseudoTerminal
from tests.processes import Process, start
from tests.wire.association_pair import repeatable_entropy

ENERGY = Quantity(1_234_567, 0, Unit.WH)
LIMIT_S = 240
GLO_GET = bytes.fromhex("C81E3000000004C0376965ADE5B79EF38D5538F25D90B2465D22E0A3FB7F0799")


@asynccontextmanager
async def command(*arguments: object) -> AsyncIterator[tuple[Process, str]]:
    """The verb in a process of its own, and the place that it listens on."""
    with await asyncio.to_thread(start, *arguments) as ran:
        first = await asyncio.to_thread(ran.output.readline)
        assert first, f"{arguments[0]} ended before it listened"
        yield ran, first.split()[-1]
        if ran.returncode is None:
            ran.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(ran.wait) == 0


async def said(ran: Process) -> str:
    """What the verb printed until its end."""
    text = await asyncio.to_thread(ran.rest)
    assert ran.returncode == 0
    return text


@asynccontextmanager
async def meter_port(framing: Framing) -> AsyncIterator[str]:
    found = device(SmallMeter())
    listener, port = await serve_dlms(lookup(found), "127.0.0.1", 0, framing=framing)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await listener.stop()


async def energy(url: str, line: Line | None = None, seed: int = 7) -> object:
    """Read with a client whose challenges and counters are the same for the same seed."""
    one = Meter.connect(
        url, cache=ObjectCache(), counters=VolatileCounterStore(),
        entropy=repeatable_entropy(seed), line=line,
    )  # fmt: skip
    async with one:
        return await one.read("1-0:1.8.0")


@pytest.mark.parametrize(
    ("framing", "secured"), [(Framing.WRAPPER, True), (Framing.HDLC, False), (Framing.HDLC, True)]
)
def test_what_was_recorded_answers_as_the_meter(
    framing: Framing, secured: bool, tmp_path: Path
) -> None:
    """The record opens with its keys, plays the meter, and tells where a client differs."""
    file = tmp_path / "talk.txt"
    scheme = "dlms+hdlc" if framing is Framing.HDLC else "dlms"
    query = f"{SECURE}&ic=off" if secured else "client=2&auth=lls&password=12345678"

    async def test() -> None:
        async with meter_port(framing) as meter:
            verb = ("record", meter, file, "--listen", "127.0.0.1:0", "--once")
            async with command(*verb) as (ran, place):
                assert await energy(f"{scheme}://{place}?{query}") == ENERGY
                await said(ran)
            again = ("replay", file, "--listen", "127.0.0.1:0", "--once")
            async with command(*again) as (ran, place):
                assert await energy(f"{scheme}://{place}?{query}") == ENERGY
                assert "differs" not in await said(ran)
            if secured and framing is Framing.HDLC:
                return
            wait_s = 2 if secured else 120  # secured: the meter's silence is expected
            once_more = ("replay", file, "--against", meter, "--timeout", wait_s)
            async with command(*once_more) as (ran, _):
                told = await asyncio.to_thread(ran.rest)
                status = ran.returncode
            # fresh challenges and used counters: a meter can't answer a ciphered record alike
            assert (status != 0) is secured
            assert ("differs" in told) is secured

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))
    shown = blathy("explain", file, "--ek", EK.hex(), "--ak", AK.hex()) if secured else blathy(
        "explain", file
    )  # fmt: skip
    assert "1-0:1.8.0 value (active energy import" in shown.out
    assert "1 234.567 kWh" in shown.out
    assert "12345678" not in shown.out


@pytest.mark.parametrize("scheme", ["dlms", "dlms+hdlc"])
def test_a_ciphered_record_refuses_another_client_and_names_the_remedy(
    scheme: str, tmp_path: Path
) -> None:
    """Its challenge and counters are others, so that nobody but the meter could answer it."""
    file = tmp_path / "talk.txt"
    framing = Framing.WRAPPER if scheme == "dlms" else Framing.HDLC
    url = f"{{}}?{SECURE}&ic=off&timeout=60"

    async def recorded() -> None:
        async with meter_port(framing) as meter:
            verb = ("record", meter, file, "--listen", "127.0.0.1:0", "--once")
            async with command(*verb) as (ran, place):
                await energy(f"{scheme}://{url.format(place)}")
                await said(ran)

    asyncio.run(asyncio.wait_for(recorded(), LIMIT_S))
    clients: list[threading.Thread] = []

    def ask(line: str) -> None:
        def run() -> None:
            with pytest.raises(MeterError):
                asyncio.run(energy(f"{scheme}://{url.format(line.split()[-1])}", seed=8))

        clients.append(threading.Thread(target=run))
        clients[0].start()

    begins = Watched("answering as the meter on", ask)
    done = blathy("replay", file, "--listen", "127.0.0.1:0", "--once", stdout=begins)
    clients[0].join(LIMIT_S)
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert "ciphered or holds proofs of HLS" in done.err
    assert "copy the meter with `blathy clone`" in done.err


def test_a_ciphered_record_sent_again_says_why_the_answers_differ(tmp_path: Path) -> None:
    talk = tmp_path / "talk.txt"
    talk.write_text(f"> {wrapper.encode(1, 1, GLO_GET).hex()}\n< 0001000100010002d802\n")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        place = f"127.0.0.1:{deaf.getsockname()[1]}"
        done = blathy("replay", talk, "--against", place, "--timeout", "0.1")
    assert done.status == 2
    assert "1 answer differs from the record, which is no fault of the meter" in done.err
    assert "ask anew with `blathy read`" in done.err


def test_a_client_that_asks_something_else_is_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"

    async def test() -> None:
        async with meter_port(Framing.WRAPPER) as meter:
            verb = ("record", meter, file, "--listen", "127.0.0.1:0", "--once")
            async with command(*verb) as (ran, place):
                await energy(f"dlms://{place}?client=16")
                await said(ran)
        again = ("replay", file, "--listen", "127.0.0.1:0", "--once")
        async with command(*again) as (ran, place):
            one = Meter.connect(f"dlms://{place}?client=16&pdu=512", cache=ObjectCache())
            async with one:
                pass
            told = await said(ran)
        assert "the client differs from octet" in told
        assert "record: max pdu size: 65535" in told
        assert "now: max pdu size: 512" in told

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_two_clients_at_a_time_are_recorded_apart_and_both_given_back(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"

    async def test() -> None:
        async with (
            meter_port(Framing.WRAPPER) as meter,
            command("record", meter, file, "--listen", "127.0.0.1:0") as (_, place),
        ):
            url = f"dlms://{place}?client=16"
            assert set(await asyncio.gather(energy(url), energy(url))) == {ENERGY}
        assert len(conversations_of(load(str(file)))) == 2
        async with command("replay", file, "--listen", "127.0.0.1:0") as (_, place):
            for _ in range(2):
                assert await energy(f"dlms://{place}?client=16") == ENERGY

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_serial_lines_are_recorded_and_played(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"

    async def test() -> None:
        masters, slaves = zip(*(os.openpty() for _ in range(2)), strict=True)
        for handle in (*masters, *slaves):
            tty.setraw(handle)
        session = DlmsSession(
            ENDPOINT, lambda _: None, lookup(device(SmallMeter())), framing=Framing.HDLC
        )
        there, here = (PseudoTerminal(handle) for handle in masters)
        served = asyncio.create_task(serve_line(there, session))
        meter = f"serial://{os.ttyname(slaves[0])}?baud=9600"
        verb = ("record", meter, file, "--listen", "127.0.0.1:0", "--once")
        async with command(*verb) as (ran, place):
            assert await energy(f"dlms+hdlc://{place}?client=16&timeout=60") == ENERGY
            await said(ran)
        again = ("replay", file, "--listen", f"serial://{os.ttyname(slaves[1])}", "--once")
        async with command(*again) as (ran, _):
            url = "dlms+hdlc://meter?client=16&timeout=60"
            assert await energy(url, line=here) == ENERGY
            assert "differs" not in await said(ran)
        served.cancel()
        await asyncio.gather(served, return_exceptions=True)
        for line in (there, here):
            await line.close()
        for handle in (*masters, *slaves):
            os.close(handle)

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


def test_datagrams_are_recorded_and_given_back_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"

    async def test() -> None:
        found = device(SmallMeter())
        listener, port = await serve_dlms_datagrams(lookup(found), "127.0.0.1", 0)
        verb = ("record", f"udp://127.0.0.1:{port}", file, "--listen", "udp://127.0.0.1:0")
        async with command(*verb) as (_, place):
            assert await energy(f"dlms+udp://{place}?client=16&timeout=60") == ENERGY
        await listener.stop()
        async with command("replay", file, "--listen", "udp://127.0.0.1:0", "--once") as (
            ran,
            place,
        ):
            assert await energy(f"dlms+udp://{place}?client=16&timeout=60") == ENERGY
            assert "differs" not in await said(ran)

    asyncio.run(asyncio.wait_for(test(), LIMIT_S))


SPEEDS = {300: termios.B300, 9600: termios.B9600}


class End:
    """One end of a line: says something, hears something, waits for the speed of the other."""

    def __init__(self) -> None:
        self.handle, self._other = os.openpty()
        for end in (self.handle, self._other):
            tty.setraw(end)
        self.device = f"serial://{os.ttyname(self._other)}?mode=e"
        os.set_blocking(self.handle, False)

    def close(self) -> None:
        os.close(self.handle)
        os.close(self._other)

    async def at(self, baud: int) -> None:
        while termios.tcgetattr(self.handle)[5] != SPEEDS[baud]:  # noqa: ASYNC110 - it is a device
            await asyncio.sleep(0.01)

    async def hear(self, wanted: bytes, *, parity: bool) -> None:
        got = b""
        while len(got) < len(wanted):
            try:
                got += os.read(self.handle, len(wanted) - len(got))
            except BlockingIOError:
                await asyncio.sleep(0.01)
        assert got == (with_parity(wanted) if parity else wanted)

    def say(self, text: bytes, *, parity: bool) -> None:
        os.write(self.handle, with_parity(text) if parity else text)


def with_parity(text: bytes) -> bytes:
    """7E1 as 8N1 shows it."""
    return bytes(octet | (octet.bit_count() & 1) << 7 for octet in text)


SNRM = Frame(b"\x03", b"\x21", CONTROL[FrameType.SNRM] | POLL).encode()
DISC = Frame(b"\x03", b"\x21", CONTROL[FrameType.DISC] | POLL).encode()
UA = Frame(b"\x21", b"\x03", CONTROL[FrameType.UA] | POLL).encode()
SIGN_ON = (
    # who says it, what, with parity, and the speed from then on
    (">", b"/?!\r\n", True, 300),
    ("<", b"/ISk5\\2MT372-1001\r\n", True, 300),
)
MODE_E = (
    *SIGN_ON,
    (">", b"\x06252\r\n", True, 9600),
    ("<", b"\x06252\r\n", True, 9600),
    (">", SNRM, False, 9600),
    ("<", UA, False, 9600),
    (">", DISC, False, 9600),
    ("<", UA, False, 300),
)
MODE_C = (
    *SIGN_ON,
    (">", b"\x06050\r\n", True, 9600),
    ("<", block("1.8.0(000123*kWh)\r\n!\r\n"), True, 300),
)


def test_a_reader_with_an_optical_head_is_recorded_through_all_its_speeds(tmp_path: Path) -> None:
    """Mode E and, on the same line afterwards, a readout of mode C; then the record answers."""
    file = tmp_path / "talk.txt"
    reader, meter = End(), End()

    async def test() -> None:
        async with command("record", meter.device, file, "--listen", reader.device):
            for end in (reader, meter):
                await end.at(300)
            for who, text, parity, speed in MODE_E + MODE_C:
                speaker, hearer = (reader, meter) if who == ">" else (meter, reader)
                speaker.say(text, parity=parity)
                await hearer.hear(text, parity=parity)
                for end in (reader, meter):
                    await end.at(speed)
        async with command("replay", file, "--listen", reader.device):
            await reader.at(300)
            for who, text, parity, speed in MODE_E + MODE_C:
                if who == ">":
                    reader.say(text, parity=parity)
                else:
                    await reader.hear(text, parity=parity)
                    await reader.at(speed)

    try:
        asyncio.run(asyncio.wait_for(test(), LIMIT_S))
    finally:
        reader.close()
        meter.close()
    lines = [line for line in file.read_text().splitlines() if line[0] != "#"]
    assert lines == [f"{who} {text.hex(' ')}" for who, text, _, _ in MODE_E + MODE_C]


@pytest.mark.parametrize(
    "line",
    [
        "record serial:///dev/ttyNone FILE",
        "record 127.0.0.1:4059 FILE --listen serial:///dev/ttyNone",
        "replay FILE --listen serial:///dev/ttyNone",
        "replay FILE --against serial:///dev/ttyNone",
    ],
)
def test_a_device_that_is_not_there_is_told_at_once(line: str, tmp_path: Path) -> None:
    file = tmp_path / "talk.txt"
    file.write_text("> 7e\n< 7e\n")
    done = blathy(*line.replace("FILE", str(file)).split())
    assert (done.status, done.out) == (2, "")
    assert done.err == (
        "blathy: /dev/ttyNone: the device is not there; check the cable and its name\n"
    )
    assert file.read_text() == "> 7e\n< 7e\n"


@pytest.mark.parametrize("here", ["127.0.0.1:0", "udp://127.0.0.1:0", "serial"])
@pytest.mark.parametrize("verb", ["record 127.0.0.1:4059 FILE", "replay FILE"])
def test_ctrl_c_ends_a_recording_and_a_player_in_order(
    verb: str, here: str, tmp_path: Path
) -> None:
    file = tmp_path / "talk.txt"
    file.write_text("> 7e\n< 7e\n")
    if here == "serial" and verb.startswith("record"):
        verb = "record udp://127.0.0.1:4059 FILE"  # a meter that cannot be missed
    end = End()
    try:
        place = end.device if here == "serial" else here
        words = [str(file) if word == "FILE" else word for word in verb.split()]
        interrupted = Watched(" on ", lambda _: signal.raise_signal(signal.SIGINT))
        done = blathy(*words, "--listen", place, stdout=interrupted)
    finally:
        end.close()
    assert (done.status, done.err) == (0, "")
    assert file.read_text().startswith("> 7e\n< 7e\n")


def test_a_meter_that_cannot_be_reached_is_one_sentence_and_the_end(tmp_path: Path) -> None:
    """With --once at the first client; on a serial line, where there is one client, at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    clients: list[socket.socket] = []

    def connect(announced: str) -> None:
        port = int(announced.rpartition(":")[2])
        clients.append(socket.create_connection(("127.0.0.1", port)))

    verb = ("record", nobody, tmp_path / "talk.txt", "--listen")
    end = End()
    try:
        for done in (
            blathy(*verb, "127.0.0.1:0", "--once", stdout=Watched(" on ", connect)),
            blathy(*verb, end.device),
        ):
            assert done.status == 2
            assert done.err.startswith(f"blathy: {nobody} refuses the connection")
            assert done.err.count("\n") == 1
    finally:
        end.close()
        for client in clients:
            client.close()


def test_clients_over_udp_are_bounded_and_one_that_has_gone_makes_room() -> None:
    async def work() -> None:
        began: list[Line] = []
        port = record._UdpPort(began.append)
        for number in range(record.PEERS_MAX + 3):
            port.datagram_received(b"1", ("127.0.0.1", number))
        assert len(began) == record.PEERS_MAX
        await began[0].close()
        port.datagram_received(b"1", ("127.0.0.1", record.PEERS_MAX))
        assert len(began) == record.PEERS_MAX + 1

    asyncio.run(work())
