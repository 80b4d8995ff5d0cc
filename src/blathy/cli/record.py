"""`blathy record` and `blathy replay`: conversations as text files.

A record is made between any client and any meter, over TCP (wrapper or HDLC) or serial lines. It
can be given back as the meter (`replay FILE`, answers in the order recorded), or its requests can
be sent to a meter again (`replay FILE --against PLACE`); what differs is told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer

from blathy.cli.app import CommandError, app
from blathy.client.address import MeterAddress, parse_address
from blathy.client.capture import load
from blathy.client.link import open_line
from blathy.client.turns import Turn, conversations_of, difference, has_said_all
from blathy.transport.errors import MeterError, TimedOut, Unreachable, from_os_error
from blathy.transport.line import Line

ANSWER_PAUSE_S: Final = 3.0
"""A meter that sent less than the record has, and then so long nothing, has said all."""
PAUSE_S: Final = 5.0
"""The same for a client."""
LINE_WAIT_S: Final = 3600.0
PLACE_HELP: Final = "HOST:PORT, or serial:///dev/…?baud=9600."


def _place(text: str, default_port: int = 4059) -> MeterAddress:
    if text.startswith("serial://"):
        return parse_address(text)
    host, colon, port = text.removeprefix("tcp://").rpartition(":")
    if not colon:
        host, port = port, str(default_port)
    if not port.isascii() or not port.isdigit() or not host:
        raise CommandError(f"{text!r} is no place; write HOST:PORT or serial:///dev/ttyUSB0")
    # Port 0, any free one, is nothing that a meter can be reached at.
    return replace(parse_address(f"dlms://{host}:{port}"), port=int(port))


@app.command()
def record(
    meter: Annotated[str, typer.Argument(help=f"The meter, {PLACE_HELP}")],
    file: Annotated[Path, typer.Argument(help="File to write; what it holds is kept.")],
    listen: Annotated[
        str, typer.Option(help=f"Where clients connect, {PLACE_HELP}")
    ] = "127.0.0.1:4060",
    once: Annotated[bool, typer.Option("--once", help="End after one connection.")] = False,
) -> None:
    """Stand between a client and a meter and write down what they say."""
    try:
        out = file.open("a", encoding="ascii")
    except OSError as error:
        raise CommandError(
            f"{file} can't be written: {error.strerror}; check the folder"
        ) from error
    with out:
        recorder = _Recorder(_place(meter), out)
        try:
            asyncio.run(
                _serve(_place(listen, 4060), recorder.relay, recorder.begins(file), once=once)
            )
        except MeterError as error:
            raise CommandError(str(error)) from error


class _Recorder:
    """Passes octets on between clients and the meter, and writes them down."""

    def __init__(self, meter: MeterAddress, out: TextIO) -> None:
        self._meter = meter
        self._out = out
        self._connections = 0

    def begins(self, file: Path) -> str:
        return f"recording {_shown(self._meter)} to {file}, listening on"

    async def relay(self, client: Line) -> None:
        """One connection, from the moment that the client is there until either end is gone."""
        self._connections += 1
        mark = str(self._connections) if self._connections > 1 else ""
        self._out.write(f"# {_shown(self._meter)}\n")
        try:
            there = await open_line(self._meter)
        except MeterError as error:
            typer.echo(str(error), err=True)
            return
        try:
            await asyncio.gather(
                self._pump(client, there, f"{mark}>"), self._pump(there, client, f"{mark}<")
            )
        finally:
            await there.close()

    async def _pump(self, source: Line, target: Line, mark: str) -> None:
        with contextlib.suppress(MeterError):
            while True:
                try:
                    data = await source.receive(LINE_WAIT_S)
                except TimedOut:
                    continue
                self._out.write(f"{mark} {data.hex(' ')}\n")
                self._out.flush()
                target.send(data)
        await target.close()


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A record file, a trace or a packet capture.")],
    listen: Annotated[
        str, typer.Option(help=f"Where to answer as the meter, {PLACE_HELP}")
    ] = "127.0.0.1:4059",
    against: Annotated[
        str, typer.Option(help=f"Send the requests to this meter instead, {PLACE_HELP}")
    ] = "",
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the meter's answer.")
    ] = 20.0,
    once: Annotated[bool, typer.Option("--once", help="End after one connection.")] = False,
) -> None:
    """Give a recorded conversation back, as the meter or to a meter."""
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
                raise CommandError(f"{differences} answers differ from the record")
        else:
            player = _Player(conversations)
            begins = "answering as the meter on"
            asyncio.run(_serve(_place(listen), player.answer, begins, once=once))
    except MeterError as error:
        raise CommandError(str(error)) from error


class _Player:
    """Answers as the meter of a record did; one recorded connection after the other, the last
    one again and again."""

    def __init__(self, conversations: list[list[Turn]]) -> None:
        self._conversations = conversations
        self._next = 0

    async def answer(self, client: Line) -> None:
        turns = self._conversations[min(self._next, len(self._conversations) - 1)]
        self._next += 1
        more = b""
        for turn in turns:
            if turn.from_meter:
                client.send(turn.data)
                continue
            got, more = await _take(client, more, turn)
            for line in difference(turn, got):
                typer.echo(line)
            if not got:
                return


async def _take(line: Line, buffer: bytes, turn: Turn) -> tuple[bytes, bytes]:
    """What the client says now, and what came besides."""
    while not has_said_all(turn, buffer):
        try:
            buffer += await line.receive(PAUSE_S if buffer else LINE_WAIT_S)
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
            differences += await _ask_again(turns, line, timeout_s)
        finally:
            await line.close()
    return differences


async def _ask_again(turns: list[Turn], line: Line, timeout_s: float) -> int:
    differences = 0
    for turn in turns:
        if not turn.from_meter:
            with contextlib.suppress(MeterError):
                line.send(turn.data)
            typer.echo(f"> {turn.data.hex(' ')}")
            continue
        got = b""
        with contextlib.suppress(MeterError):
            while not has_said_all(turn, got):
                got += await line.receive(ANSWER_PAUSE_S if got else timeout_s)
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


async def _serve(
    listen: MeterAddress, talk: Callable[[Line], Awaitable[None]], begins: str, *, once: bool
) -> None:
    """Talk to every client that connects; on a serial line to the one that is there."""
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
    tasks: set[asyncio.Task[None]] = set()

    async def served(line: _AcceptedLine) -> None:
        try:
            with contextlib.suppress(MeterError):
                await talk(line)
        finally:
            await line.close()
            if once:
                finished.set()

    def began(line: _AcceptedLine) -> None:
        task = asyncio.get_running_loop().create_task(served(line))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: _AcceptedLine(began), listen.host, listen.port)
    except OSError as error:
        raise from_os_error(error, listen.place) from error
    async with server:
        port = server.sockets[0].getsockname()[1]
        typer.echo(f"{begins} {listen.host}:{port}")
        await finished.wait()


def _shown(place: MeterAddress) -> str:
    return place.host if place.scheme == "serial" else place.place
