"""`blathy listen`: a port that meters push to; every push with names, values and units."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import Annotated, Any

import typer

from blathy.cli.app import CommandError, app
from blathy.client.push import Push, Unreadable, push_sessions
from blathy.transport.errors import MeterError
from blathy.transport.listener import TcpListener, UdpListener
from blathy.transport.session import Endpoint
from blathy.wire.security import KeySet


def _keys_of(texts: list[str], ek: str, ak: str, suite: int) -> dict[bytes, KeySet]:
    """System title (empty: any other) -> keys."""
    found: dict[bytes, KeySet] = {}
    try:
        if ek:
            found[b""] = KeySet(suite, bytes.fromhex(ek), bytes.fromhex(ak))
        for text in texts:
            title, _, keys = text.partition("=")
            unicast, _, authentication = keys.partition(":")
            found[bytes.fromhex(title)] = KeySet(
                suite, bytes.fromhex(unicast), bytes.fromhex(authentication)
            )
    except ValueError as error:
        raise CommandError(f"the keys cannot be used: {error}; write them as hex digits") from error
    return found


def as_record(endpoint: Endpoint, push: Push | Unreadable) -> dict[str, Any]:
    """A push as JSON: who, when, how far it is to be trusted, and its values."""
    record: dict[str, Any] = {
        "received": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "from": f"{endpoint.peer_ip}:{endpoint.peer_port}",
        "meter": push.originator.hex(),
    }
    if isinstance(push, Unreadable):
        return record | {"unreadable": push.reason}
    if push.time is not None:
        record["time"] = str(push.time)
    record |= {
        "ciphered": push.ciphered, "authenticated": push.authenticated, "repeated": push.repeated,
    }  # fmt: skip
    record["values"] = [
        {"obis": str(value.obis) if value.obis else None, "value": _shown(value.value)}
        for value in push.values
    ]
    return record


def _shown(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, int | float | str | bool | None) else str(value)


def _print(endpoint: Endpoint, push: Push | Unreadable, *, as_json: bool) -> None:
    record = as_record(endpoint, push)
    if as_json:
        typer.echo(json.dumps(record))
        return
    who = record["meter"] or record["from"]
    if "unreadable" in record:
        typer.echo(f"{record['received']} {who}: not readable, {record['unreadable']}")
        return
    trust = "authenticated" if record["authenticated"] else "not authenticated"
    typer.echo(f"{record['received']} {who}: {len(record['values'])} values, {trust}")
    for value in record["values"]:
        typer.echo(f"  {value['obis'] or '-':<20} {value['value']}")


@app.command()
def listen(
    port: Annotated[int, typer.Option(help="Where meters push to; 0 for any free one.")] = 4059,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    udp: Annotated[bool, typer.Option("--udp", help="Datagrams instead of connections.")] = False,
    ek: Annotated[str, typer.Option(help="Encryption key of every meter, in hex.")] = "",
    ak: Annotated[str, typer.Option(help="Authentication key; without it nothing is proved.")] = "",
    key: Annotated[
        list[str], typer.Option(help="TITLE=EK:AK of one meter, in hex. May be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    suite: Annotated[int, typer.Option(min=0, max=2, help="Security suite of the keys.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    count: Annotated[int, typer.Option(min=0, help="End after so many pushes; 0: never.")] = 0,
    outside: Annotated[bool, typer.Option(help="Take pushes of other machines.")] = False,
) -> None:
    """Show what meters push, until Ctrl-C."""
    keys = _keys_of(key, ek, ak, suite)
    try:
        asyncio.run(_listen(host, port, keys, udp=udp, as_json=as_json, count=count, out=outside))
    except MeterError as error:
        raise CommandError(str(error)) from error


async def _listen(
    host: str, port: int, keys: dict[bytes, KeySet], *, udp: bool, as_json: bool, count: int,
    out: bool,
) -> None:  # fmt: skip
    stop = asyncio.Event()
    taken = 0

    def sink(endpoint: Endpoint, push: Push | Unreadable) -> None:
        nonlocal taken
        taken += 1
        _print(endpoint, push, as_json=as_json)
        if taken == count:
            stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    sessions = push_sessions(sink, lambda title: keys.get(title, keys.get(b"")), datagrams=udp)
    listener = UdpListener(sessions) if udp else TcpListener(sessions)
    bound = await listener.start(host, port, outside=out)
    typer.echo(f"Listening on {host}:{bound}. Ctrl-C ends it.", err=True)
    try:
        await stop.wait()
    finally:
        await listener.stop()


__all__ = ["as_record", "listen"]
