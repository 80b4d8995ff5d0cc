"""`blathy listen`: a port that meters push to, or an open association on which one tells events;
every push with names, values and units."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from blathy.cli.app import CommandError, app
from blathy.cli.curve_options import PublicKeyOption, curve_keys
from blathy.cli.meter_options import CountersOption, PasswordOption
from blathy.cli.meters import with_meter
from blathy.cli.title_keys import KeyOption, TitleKeysOption, title_keys
from blathy.client.address import secret_octets
from blathy.client.meter import Meter
from blathy.client.push import Push, PushSink, Unreadable, push_of, push_sessions
from blathy.client.push_model import PushModel, model_of
from blathy.models.recorded import RecordingError, read_recording
from blathy.transport.errors import MeterError, TimedOut
from blathy.transport.listener import TcpListener, UdpListener
from blathy.transport.session import Endpoint
from blathy.wire.security import KeySet

KEEP_ALIVE_S: Final = 30.0
"""On an open association: so long without a word, and the meter is asked for its clock."""


def _keys_of(
    texts: list[str], file: str, ek: str, ak: str, suite: int, public: list[str]
) -> dict[bytes, KeySet]:
    """System title (empty: any other) -> keys."""
    found = title_keys(texts, suite, file)
    if ek:
        try:
            found[b""] = KeySet(suite, secret_octets("--ek", ek), secret_octets("--ak", ak))
        except (MeterError, ValueError) as error:
            raise CommandError(str(error)) from error
    for title, keys in curve_keys(public, []).public.items():
        if len(keys) > 1:
            raise CommandError(
                f"--public-key of {title.hex()} is given twice; give the one that it signs with"
            )
        known = found.get(title) or found.get(b"") or KeySet(suite)
        found[title] = replace(known, peer_signing=keys[0])
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
    if push.signed:
        record["signature"] = "holds" if push.signature_checked else "not checked"
    if push.event is not None:
        record["event"] = str(push.event.obis)
    record["values"] = [
        {"obis": str(value.obis) if value.obis else None, "value": _shown(value.value)}
        for value in push.values
    ]
    return record


def _shown(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, int | float | str | bool | None) else str(value)


def _models(files: list[str]) -> list[PushModel]:
    found = []
    for file in files:
        try:
            found.append(PushModel(read_recording(Path(file).read_text(encoding="utf-8"))))
        except OSError as error:
            raise CommandError(f"{file} can't be read: {error.strerror}; check its name") from error
        except (RecordingError, UnicodeError) as error:
            raise CommandError(
                f"{file} is no recorded meter: {error}; make one with `blathy clone URL`"
            ) from error
    return found


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
    if "signature" in record:
        trust += f", signature {record['signature']}"
    count = len(record["values"])
    what = "an event" if "event" in record else f"{count} value{'' if count == 1 else 's'}"
    typer.echo(f"{record['received']} {who}: {what}, {trust}")
    for value in record["values"]:
        typer.echo(f"  {value['obis'] or '-':<20} {value['value']}")


@app.command()
def listen(
    url: Annotated[
        str,
        typer.Argument(
            help="A meter to associate with, and to hear what it tells by itself; without it, a "
            "port is opened for pushes."
        ),
    ] = "",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Where meters push to; 0 for any free one.")
    ] = 4059,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    udp: Annotated[bool, typer.Option("--udp", help="Datagrams instead of connections.")] = False,
    ek: Annotated[
        str,
        typer.Option(metavar="KEY", help="Encryption key of every meter: hex, @FILE or env:NAME."),
    ] = "",
    ak: Annotated[
        str,
        typer.Option(metavar="KEY", help="Authentication key; without it nothing is proved."),
    ] = "",
    key: KeyOption = [],  # noqa: B006 - typer copies it
    keys: TitleKeysOption = "",
    public_key: PublicKeyOption = [],  # noqa: B006
    suite: Annotated[int, typer.Option(min=0, max=2, help="Security suite of the keys.")] = 0,
    clone: Annotated[
        list[str],
        typer.Option(
            metavar="FILE", help="Of `blathy clone`: codes and units for what this meter pushes."
        ),
    ] = [],  # noqa: B006 - typer copies it
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    count: Annotated[int, typer.Option(min=0, help="End after so many pushes; 0: never.")] = 0,
    outside: Annotated[bool, typer.Option(help="Take pushes of other machines.")] = False,
    password: PasswordOption = "",
    counters: CountersOption = "",
) -> None:
    """Show what meters push, until Ctrl-C.

    With a URL as `blathy read` takes it: stay associated with this meter and show what it tells on
    the association (EventNotification, InformationReport, DataNotification). The invocation
    counters are held meanwhile.
    """
    if url:
        work = partial(_hear, url, as_json=as_json, count=count)
        with_meter(url, work, password=password, ek=ek, ak=ak, counters=counters)
        return
    known = _keys_of(key, keys, ek, ak, suite, public_key)
    show = partial(_show, _models(clone), as_json=as_json)
    try:
        asyncio.run(_listen(host, port, known, show, udp=udp, count=count, out=outside))
    except MeterError as error:
        raise CommandError(str(error)) from error


def _show(
    models: list[PushModel], endpoint: Endpoint, push: Push | Unreadable, *, as_json: bool
) -> None:
    model = model_of(push, models) if isinstance(push, Push) else None
    if model is not None and isinstance(push, Push):
        push = model.read(push)
    _print(endpoint, push, as_json=as_json)


async def _listen(
    host: str, port: int, keys: dict[bytes, KeySet], show: PushSink, *, udp: bool, count: int,
    out: bool,
) -> None:  # fmt: skip
    stop = asyncio.Event()
    taken = 0

    def sink(endpoint: Endpoint, push: Push | Unreadable) -> None:
        nonlocal taken
        taken += 1
        show(endpoint, push)
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


async def _hear(url: str, meter: Meter, *, as_json: bool, count: int) -> None:
    """Show what this meter tells; its clock is read now and then, so that neither side gives up."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    place = meter.address.place.rpartition(":")
    ends = Endpoint("", 0, place[0], int(place[2]) if place[2].isdigit() else 0)
    typer.echo(f"Associated with {url.partition('?')[0]}. Ctrl-C ends it.", err=True)
    taken = 0
    waiting = loop.create_task(stop.wait())
    try:
        while not stop.is_set() and (not count or taken < count):
            heard = loop.create_task(meter.next_push(KEEP_ALIVE_S))
            await asyncio.wait({heard, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                heard.cancel()
                await asyncio.gather(heard, return_exceptions=True)
                return
            try:
                event = heard.result()
            except TimedOut:
                await meter.clock()
                continue
            taken += 1
            _print(ends, push_of(event), as_json=as_json)
    finally:
        waiting.cancel()


__all__ = ["as_record", "listen"]
