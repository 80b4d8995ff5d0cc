"""`blathy record` and `blathy replay`: conversations as text files.

A record is made by a proxy between any client and any meter. It can be given back as the meter
(`replay FILE`, answers in the order recorded), or its requests can be sent to a meter again
(`replay FILE --against HOST:PORT`), and answers that differ are shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from blathy.cli.app import CommandError, app
from blathy.client.capture import Chunk, from_record
from blathy.transport.errors import MeterError, TimedOut, from_os_error
from blathy.transport.line import TcpLine

ANSWER_TIMEOUT_S = 5.0


def _place(text: str, default_port: int = 4059) -> tuple[str, int]:
    host, colon, port = text.removeprefix("tcp://").rpartition(":")
    if not colon:
        host, port = port, str(default_port)
    if not port.isascii() or not port.isdigit() or not host:
        raise CommandError(f"{text!r} is no place; write HOST:PORT")
    return host, int(port)


@app.command()
def record(
    meter: Annotated[str, typer.Argument(help="The meter, HOST:PORT.")],
    file: Annotated[Path, typer.Argument(help="File to write.")],
    listen: Annotated[str, typer.Option(help="Where clients connect.")] = "127.0.0.1:4060",
    once: Annotated[bool, typer.Option("--once", help="End after one connection.")] = False,
) -> None:
    """Stand between a client and a meter and write down what they say."""
    try:
        asyncio.run(_record(_place(meter), file, _place(listen, 4060), once=once))
    except MeterError as error:
        raise CommandError(str(error)) from error


async def _record(
    meter: tuple[str, int], file: Path, listen: tuple[str, int], *, once: bool
) -> None:
    finished = asyncio.Event()
    try:
        out = file.open("a", encoding="ascii")
    except OSError as error:
        raise CommandError(
            f"{file} can't be written: {error.strerror}; check the folder"
        ) from error

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mark: str) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                out.write(f"{mark} {data.hex(' ')}\n")
                out.flush()
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        out.write(f"# {meter[0]}:{meter[1]}\n")
        try:
            there = await asyncio.open_connection(*meter)
        except OSError as error:
            print(from_os_error(error, f"{meter[0]}:{meter[1]}"), file=sys.stderr)
            writer.close()
            return
        await asyncio.gather(pump(reader, there[1], ">"), pump(there[0], writer, "<"))
        if once:
            finished.set()

    try:
        server = await asyncio.start_server(serve, *listen)
    except OSError as error:
        raise from_os_error(error, f"{listen[0]}:{listen[1]}") from error
    with out:
        print(f"recording {meter[0]}:{meter[1]} on {listen[0]}:{listen[1]} to {file}", flush=True)
        async with server:
            await finished.wait()


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="A record file.")],
    listen: Annotated[str, typer.Option(help="Where to answer as the meter.")] = "127.0.0.1:4059",
    against: Annotated[str, typer.Option(help="Send the requests to this meter instead.")] = "",
    once: Annotated[bool, typer.Option("--once", help="End after one connection.")] = False,
) -> None:
    """Give a recorded conversation back, as the meter or to a meter."""
    try:
        chunks = list(from_record(file.read_text(encoding="ascii")))
    except (OSError, UnicodeError) as error:
        raise CommandError(f"{file} can't be read; check its name") from error
    except MeterError as error:
        raise CommandError(f"{file}: {error}") from error
    if not chunks:
        raise CommandError(f"{file} holds no conversation; lines begin with > or <")
    try:
        if against:
            differences = asyncio.run(_send_again(chunks, _place(against)))
            if differences:
                raise CommandError(f"{differences} answers differ from the record")
        else:
            asyncio.run(_answer(chunks, _place(listen), once=once))
    except MeterError as error:
        raise CommandError(str(error)) from error


async def _answer(chunks: list[Chunk], listen: tuple[str, int], *, once: bool) -> None:
    finished = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            for chunk in chunks:
                if chunk.sender == "meter":
                    writer.write(chunk.data)
                    await writer.drain()
                    continue
                got = await reader.readexactly(len(chunk.data))
                if got != chunk.data:
                    print(f"# expected {chunk.data.hex(' ')}\n> {got.hex(' ')}", flush=True)
        with contextlib.suppress(OSError):
            writer.close()
        if once:
            finished.set()

    try:
        server = await asyncio.start_server(serve, *listen)
    except OSError as error:
        raise from_os_error(error, f"{listen[0]}:{listen[1]}") from error
    print(f"answering as the meter on {listen[0]}:{listen[1]}", flush=True)
    async with server:
        await finished.wait()


async def _send_again(chunks: list[Chunk], meter: tuple[str, int]) -> int:
    line = await TcpLine.connect(*meter)
    differences = 0
    try:
        for chunk in chunks:
            if chunk.sender != "meter":
                line.send(chunk.data)
                print(f"> {chunk.data.hex(' ')}")
                continue
            got = b""
            with contextlib.suppress(TimedOut):
                while len(got) < len(chunk.data):
                    got += await line.receive(ANSWER_TIMEOUT_S)
            print(f"< {got.hex(' ')}")
            if got != chunk.data:
                differences += 1
                print(f"# the record has {chunk.data.hex(' ')}")
    finally:
        await line.close()
    return differences
