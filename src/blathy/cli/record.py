"""`blathy record` and `blathy replay`: conversations as text files.

A record is made between any client and any meter, over TCP (wrapper or HDLC), UDP or serial lines;
with `mode=e` it follows the speeds of the IEC 62056-21 sign-on. It can be given back as the meter
(`replay FILE`, answers in the order recorded), or its requests can be sent to a meter again
(`replay FILE --against PLACE`); what differs is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer

from blathy.cli.app import CommandError, app
from blathy.client.address import MeterAddress, parse_address
from blathy.client.capture import load
from blathy.client.link import open_line
from blathy.client.sign_on import SignOnFollower
from blathy.client.turns import (
    Turn,
    conversations_of,
    difference,
    has_said_all,
    proves_its_client,
)
from blathy.transport.errors import MeterError, TimedOut, Unreachable, from_os_error
from blathy.transport.line import Line, monotonic_now
from blathy.transport.serving import SpeedLine
from blathy.wire import wrapper
from blathy.wire.errors import RemoteProtocolError

ANSWER_PAUSE_S: Final = 3.0
"""A meter that sent less than the record has, and then so long nothing, has said all."""
PAUSE_S: Final = 5.0
"""The same for a client."""
LINE_WAIT_S: Final = 3600.0
QUIET_S: Final = 120.0
"""After so long without an octet a line with sign-ons is at rest again, and a client over UDP that
says something is a new one."""
PEERS_MAX: Final = 64
PLACE_HELP: Final = "HOST:PORT, udp://HOST:PORT, or serial:///dev/…?baud=9600 or ?mode=e."


def _place(text: str, default_port: int = 4059) -> MeterAddress:
    if text.startswith("serial://"):
        return parse_address(text)
    scheme = "dlms+udp" if text.startswith("udp://") else "dlms"
    host, colon, port = text.removeprefix("tcp://").removeprefix("udp://").rpartition(":")
    if not colon:
        host, port = port, str(default_port)
    if not port.isascii() or not port.isdigit() or not host:
        raise CommandError(
            f"{text!r} is no place; write HOST:PORT, udp://HOST:PORT or serial:///dev/ttyUSB0"
        )
    # Port 0, any free one, is nothing that a meter can be reached at.
    return replace(parse_address(f"{scheme}://{host}:{port}"), port=int(port))


@app.command()
def record(
    meter: Annotated[str, typer.Argument(help=f"The meter, {PLACE_HELP}")],
    file: Annotated[Path, typer.Argument(help="File to write; what it holds is kept.")],
    listen: Annotated[
        str, typer.Option(metavar="PLACE", help=f"Where clients connect, {PLACE_HELP}")
    ] = "127.0.0.1:4060",
    once: Annotated[bool, typer.Option("--once", help="End after one connection.")] = False,
) -> None:
    """Stand between a client and a meter and write down what they say, until Ctrl-C."""
    there, here = _place(meter), _place(listen, 4060)
    try:
        asyncio.run(_record(there, here, file, once=once))
    except MeterError as error:
        raise CommandError(str(error)) from error


async def _record(there: MeterAddress, here: MeterAddress, file: Path, *, once: bool) -> None:
    if there.scheme == "serial":  # else it is missed only when the first client is there
        await (await open_line(there)).close()
    try:
        out = file.open("a", encoding="ascii")
    except OSError as error:
        raise CommandError(
            f"{file} can't be written: {error.strerror}; check the folder"
        ) from error
    with out:
        recorder = _Recorder(there, out, follows=there.mode_e or here.mode_e)
        await _until_stopped(_serve(here, recorder.relay, recorder.begins(file), once=once))


class _Speeds:
    """The speed of the lines of one conversation, where a sign-on goes before it."""

    def __init__(self, *lines: Line, follows: bool) -> None:
        self._lines = [line for line in lines if isinstance(line, SpeedLine)]
        self._follower = SignOnFollower() if follows else None
        self._heard_at_s = time.monotonic()
        self.changing = asyncio.Lock()
        """Held until a change is done: what the other side says meanwhile goes at the new speed."""

    async def begin(self) -> None:
        """At rest: for a new reader, and when both sides were silent for long."""
        if self._follower is not None:
            self._follower.begin()
            await self._apply()

    async def silent(self) -> None:
        """Nothing came for a while."""
        if time.monotonic() - self._heard_at_s >= QUIET_S:
            await self.begin()

    def plain(self, data: bytes) -> bytes:
        """What came, without parity bits."""
        self._heard_at_s = time.monotonic()
        return data if self._follower is None else self._follower.plain(data)

    async def passed(self, data: bytes, *, from_meter: bool) -> None:
        """Go on as both sides do once they have said this."""
        if self._follower is not None and self._follower.take(data, from_meter=from_meter):
            await self._apply()

    async def _apply(self) -> None:
        assert self._follower is not None
        baud, seven_bits = self._follower.speed
        try:
            for line in self._lines:
                await line.set_speed(baud, seven_bits=seven_bits)
        except MeterError as error:  # else a conversation would end here without a word
            raise CommandError(str(error)) from error


class _Recorder:
    """Passes octets on between clients and the meter, and writes them down."""

    def __init__(self, meter: MeterAddress, out: TextIO, *, follows: bool) -> None:
        self._meter = meter
        self._out = out
        self._follows = follows
        self._connections = 0

    def begins(self, file: Path) -> str:
        return f"recording {_shown(self._meter)} to {file}, listening on"

    async def relay(self, client: Line) -> None:
        """One connection, from the moment that the client is there until either end is gone.

        CommandError where the meter cannot be reached.
        """
        self._connections += 1
        mark = str(self._connections) if self._connections > 1 else ""
        self._out.write(f"# {_shown(self._meter)}\n")
        try:
            there = await open_line(self._meter)
        except MeterError as error:
            raise CommandError(str(error)) from error
        speeds = _Speeds(client, there, follows=self._follows)
        try:
            await speeds.begin()
            await asyncio.gather(
                self._pump(client, there, mark, speeds, from_meter=False),
                self._pump(there, client, mark, speeds, from_meter=True),
            )
        finally:
            await there.close()

    async def _pump(
        self, source: Line, target: Line, mark: str, speeds: _Speeds, *, from_meter: bool
    ) -> None:
        with contextlib.suppress(MeterError):
            while True:
                try:
                    raw = await source.receive(QUIET_S)
                except TimedOut:
                    await speeds.silent()
                    if isinstance(source, _Peer):
                        break  # nobody says goodbye over UDP
                    continue
                async with speeds.changing:
                    data = speeds.plain(raw)
                    self._out.write(f"{mark}{'<' if from_meter else '>'} {data.hex(' ')}\n")
                    self._out.flush()
                    target.send(data)
                    await speeds.passed(data, from_meter=from_meter)
        await target.close()


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A record file, a trace or a packet capture.")],
    listen: Annotated[
        str, typer.Option(metavar="PLACE", help=f"Where to answer as the meter, {PLACE_HELP}")
    ] = "127.0.0.1:4059",
    against: Annotated[
        str,
        typer.Option(
            metavar="PLACE", help=f"Send the requests to this meter instead, {PLACE_HELP}"
        ),
    ] = "",
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="SECONDS", min=0.1, help="How long the meter has to answer."
        ),
    ] = 20.0,
    once: Annotated[bool, typer.Option("--once", help="End after one connection.")] = False,
) -> None:
    """Give a recorded conversation back, as the meter (until Ctrl-C) or to a meter."""
    if not file.is_file():
        raise CommandError(f"{file} can't be read; check its name")
    try:
        conversations = conversations_of(load(str(file)))
    except MeterError as error:
        raise CommandError(f"{file}: {error}") from error
    if not any(turn.from_meter for turns in conversations for turn in turns):
        raise CommandError(f"{file} holds no conversation; lines begin with > or <")
    try:
        if against:
            differences = asyncio.run(_send_again(conversations, _place(against), timeout_s))
            if differences:
                raise CommandError(_differ(differences, conversations))
        else:
            place = _place(listen)
            player = _Player(conversations, follows=place.mode_e)
            serving = _serve(place, player.answer, "answering as the meter on", once=once)
            asyncio.run(_until_stopped(serving))
    except MeterError as error:
        raise CommandError(str(error)) from error


def _differ(count: int, conversations: list[list[Turn]]) -> str:
    differ = "1 answer differs" if count == 1 else f"{count} answers differ"
    if any(map(proves_its_client, conversations)):
        return (
            f"{differ} from the record, which is no fault of the meter: it is ciphered or holds "
            "proofs of HLS, whose counters and challenges are used up; ask anew with `blathy read`"
        )
    return f"{differ} from the record"


class _Player:
    """Answers as the meter of a record did; one recorded connection after the other, the last
    one again and again."""

    def __init__(self, conversations: list[list[Turn]], *, follows: bool) -> None:
        self._conversations = conversations
        self._follows = follows
        self._next = 0

    async def answer(self, client: Line) -> None:
        turns = self._conversations[min(self._next, len(self._conversations) - 1)]
        self._next += 1
        speeds = _Speeds(client, follows=self._follows)
        await speeds.begin()
        more = b""
        for turn in turns:
            if turn.from_meter:
                _send(client, turn.data)
                await speeds.passed(turn.data, from_meter=True)
                continue
            got, more = await _take(client, more, turn, speeds)
            for line in difference(turn, got):
                typer.echo(line)
            if not got:
                return
            if got != turn.data and proves_its_client(turns):
                raise CommandError(
                    "this record is ciphered or holds proofs of HLS and answers only its own client"
                    " with the same octets; copy the meter with `blathy clone` and serve the copy"
                    " with `blathy meter run FILE`"
                )
            await speeds.passed(got, from_meter=False)


def _send(line: Line, data: bytes) -> None:
    """What one side said, each packet in a datagram of its own where there are such."""
    if not line.datagrams:
        line.send(data)
        return
    try:
        packets = [each.encode() for each in wrapper.WrapperStream().receive(data, monotonic_now())]
    except RemoteProtocolError:
        packets = [data]
    for packet in packets:
        line.send(packet)


async def _take(line: Line, buffer: bytes, turn: Turn, speeds: _Speeds) -> tuple[bytes, bytes]:
    """What the client says now, and what came besides."""
    while not has_said_all(turn, buffer):
        try:
            buffer += speeds.plain(await line.receive(PAUSE_S if buffer else LINE_WAIT_S))
        except MeterError:
            break
    size = len(turn.data)
    return buffer[:size], buffer[size:]


async def _send_again(
    conversations: list[list[Turn]], meter: MeterAddress, timeout_s: float
) -> int:
    differences = 0
    for turns in conversations:
        line = await open_line(meter)
        try:
            speeds = _Speeds(line, follows=meter.mode_e)
            await speeds.begin()
            differences += await _ask_again(turns, line, timeout_s, speeds)
        finally:
            await line.close()
    return differences


async def _ask_again(turns: list[Turn], line: Line, timeout_s: float, speeds: _Speeds) -> int:
    differences = 0
    for turn in turns:
        if not turn.from_meter:
            with contextlib.suppress(MeterError):
                _send(line, turn.data)
                await speeds.passed(turn.data, from_meter=False)
            typer.echo(f"> {turn.data.hex(' ')}")
            continue
        got = b""
        with contextlib.suppress(MeterError):
            while not has_said_all(turn, got):
                got += speeds.plain(await line.receive(ANSWER_PAUSE_S if got else timeout_s))
        await speeds.passed(got, from_meter=True)
        typer.echo(f"< {got.hex(' ')}")
        for text in difference(turn, got):
            typer.echo(text)
        differences += got != turn.data
    return differences


# --- clients ------------------------------------------------------------------------------------


class _AcceptedLine(Line, asyncio.Protocol):
    """The connection that a client has opened to us."""

    def __init__(self, began: Callable[[_AcceptedLine], None]) -> None:
        super().__init__("the client")
        self._began = began
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._began(self)

    def data_received(self, data: bytes) -> None:
        self.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's form
        self.finish(Unreachable("the client has gone"))

    def send(self, data: bytes) -> None:
        if self.ended:
            raise self.end_or(Unreachable("the client has gone"))
        self._transport.write(data)

    async def close(self) -> None:
        self._transport.close()
        await super().close()


class _Peer(Line):
    """One client of a UDP port."""

    def __init__(self, transport: asyncio.DatagramTransport, peer: Any) -> None:
        super().__init__("the client")
        self.datagrams = True
        self._transport = transport
        self._peer = peer

    def send(self, data: bytes) -> None:
        if self.ended:
            raise self.end_or(Unreachable("the client has gone"))
        self._transport.sendto(data, self._peer)


class _UdpPort(asyncio.DatagramProtocol):
    """Clients by where their datagrams come from; beyond `PEERS_MAX` nobody is heard."""

    def __init__(self, began: Callable[[Line], None]) -> None:
        self._began = began
        self._transport: Any = None
        self._peers: dict[Any, _Peer] = {}

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        peer = self._peers.get(addr)
        if peer is None or peer.ended:
            self._peers = {at: each for at, each in self._peers.items() if not each.ended}
            if len(self._peers) >= PEERS_MAX:
                return
            peer = self._peers[addr] = _Peer(self._transport, addr)
            self._began(peer)
        peer.feed(data)


async def _until_stopped(serving: Coroutine[Any, Any, None]) -> None:
    """Serve until the end of it, or until Ctrl-C or SIGTERM, which are an end in order."""
    task = asyncio.create_task(serving)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()


async def _serve(
    listen: MeterAddress, talk: Callable[[Line], Awaitable[None]], begins: str, *, once: bool
) -> None:
    """Talk to every client that connects; on a serial line to the one that is there.

    A conversation that can't be held (CommandError) is told; where it is the only one, raised.
    """
    if listen.scheme == "serial":
        line = await open_line(listen)
        typer.echo(f"{begins} {_shown(listen)}")
        try:
            await talk(line)
            while not once and not line.ended:
                await talk(line)
        finally:
            await line.close()
        return
    finished = asyncio.Event()
    failed: list[CommandError] = []
    tasks: set[asyncio.Task[None]] = set()

    async def served(line: Line) -> None:
        try:
            with contextlib.suppress(MeterError):
                await talk(line)
        except CommandError as error:
            if once:
                failed.append(error)
            else:
                typer.echo(f"blathy: {error}", err=True)
        finally:
            await line.close()
            if once:
                finished.set()

    def began(line: Line) -> None:
        task = asyncio.get_running_loop().create_task(served(line))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop = asyncio.get_running_loop()
    try:
        if listen.scheme == "dlms+udp":
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _UdpPort(began), (listen.host, listen.port)
            )
            port, close = transport.get_extra_info("sockname")[1], transport.close
        else:
            server = await loop.create_server(
                lambda: _AcceptedLine(began), listen.host, listen.port
            )
            port, close = server.sockets[0].getsockname()[1], server.close
    except OSError as error:
        raise from_os_error(error, listen.place) from error
    try:
        typer.echo(f"{begins} {listen.host}:{port}")
        await finished.wait()
    finally:
        close()
    if failed:
        raise failed[0]


def _shown(place: MeterAddress) -> str:
    return place.host if place.scheme == "serial" else place.place
