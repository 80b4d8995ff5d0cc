"""`blathy answer`: the place that meters call which open the connection themselves."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from blathy.cli.app import CommandError, app
from blathy.cli.meter_options import (
    AkOption,
    CountersOption,
    EkOption,
    PasswordOption,
)
from blathy.cli.meters import (
    counter_file,
    parse_item,
    plain_reading,
    state_directory,
)
from blathy.cli.object_table import plain_object, print_objects
from blathy.cli.reading_table import key_of, print_table
from blathy.client.address import MeterAddress, parse_address
from blathy.client.cache import FileObjectCache
from blathy.client.calls import caller_of, device_name
from blathy.client.counters import FileCounterStore, FileKeyStore
from blathy.client.items import Item
from blathy.client.meter import Meter
from blathy.client.session import LOGICAL_DEVICE_NAME
from blathy.client.values import Reading
from blathy.clock import iso_utc
from blathy.cosem.objectlist import ObjectEntry
from blathy.transport.call_listener import CallListener
from blathy.transport.errors import MeterError, TimedOut
from blathy.transport.line import TcpLine
from blathy.wire.acse import Mechanism
from blathy.wire.security import CounterStore, VolatileCounterStore

AT_ONCE: Final = 64
"""Callers that are read at the same time; others wait on their connections."""
ACCEPT_S: Final = 60.0


@dataclass(slots=True)
class Answered:
    """One call: who it was and what was read, or why that was not possible."""

    place: str
    name: str = ""
    title: bytes = b""
    readings: list[Reading] = field(default_factory=list)
    objects: tuple[ObjectEntry, ...] | None = None
    error: str = ""

    @property
    def fault(self) -> str:
        """What went wrong first; empty where all that was asked for is there."""
        refused = next((each.error for each in self.readings if each.error is not None), "")
        return self.error or str(refused)


@app.command()
def answer(
    url: Annotated[
        str,
        typer.Argument(
            help="Where meters call, and how to associate: dlms://HOST:PORT?client=1&auth=hls5 "
            "with an address of this machine, or dlms+hdlc://."
        ),
    ],
    codes: Annotated[
        list[str] | None,
        typer.Argument(metavar="OBIS", help="What to read of each; without it who it is."),
    ] = None,
    objects: Annotated[
        bool, typer.Option("--objects", help="List the objects of each meter.")
    ] = False,
    count: Annotated[int, typer.Option(min=0, help="End after so many calls; 0: never.")] = 0,
    outside: Annotated[bool, typer.Option(help="Take calls of other machines.")] = False,
    password: PasswordOption = "",
    ek: EkOption = "",
    ak: AkOption = "",
    keys: Annotated[
        str,
        typer.Option(
            "--keys",
            metavar="FILE",
            help='TOML with a table per meter: its logical device name, ["POZESOXP12345678"], or '
            'its address, ["10.0.0.7"]; in it ek, ak, suite, password.',
        ),
    ] = "",
    counters: CountersOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object a call.")] = False,
) -> None:
    """Answer meters that call home, and read each, until Ctrl-C.

    For meters with this machine as a destination of their auto connect object (class 29). Each is
    asked for its name first, as the public client, and its keys are looked up by that.
    """
    try:
        desk = _Desk(
            _address(url, {"password": password, "ek": ek, "ak": ak}),
            [parse_item(code) for code in codes or ()],
            FileKeyStore(keys) if keys else None,
            counters,
            objects=objects,
        )
        calls = asyncio.run(_take_calls(desk, count=count, outside=outside, as_json=as_json))
    except MeterError as error:
        raise CommandError(str(error)) from error
    failed = [f"{call.name or call.place}: {fault}" for call in calls if (fault := call.fault)]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise CommandError(f"{failed[0]}{more}")


def _address(url: str, secrets: dict[str, str]) -> MeterAddress:
    """As for a meter that is called, but the place is ours; port 0 for any free one."""
    address = parse_address(url, secrets)
    if address.scheme not in {"dlms", "dlms+hdlc"}:
        raise CommandError(
            f"meters do not call by {address.scheme}://; write dlms://HOST:PORT or dlms+hdlc://"
        )
    with suppress(ValueError):
        if urlsplit(url if "://" in url else f"dlms://{url}").port == 0:
            return replace(address, port=0)
    return address


class _Desk:
    """Identifies callers and reads them."""

    def __init__(
        self,
        address: MeterAddress,
        items: list[Item],
        keys: FileKeyStore | None,
        counters: str,
        *,
        objects: bool,
    ) -> None:
        self.address = address
        self._items = items
        self._keys = keys
        self._objects = objects
        ciphered = keys is not None or address.keys.unicast
        self._counters: CounterStore = (
            counter_file(counters)
            if ciphered or address.mechanism is Mechanism.HLS_GMAC
            else VolatileCounterStore()
        )
        self._cache = FileObjectCache(state_directory() / "objects")

    def close(self) -> None:
        if isinstance(self._counters, FileCounterStore):
            self._counters.close()

    async def answer(self, line: TcpLine) -> Answered:
        """Read one caller; its line is closed after that."""
        call = Answered(line.name)
        try:
            await self._read(line, call)
        except MeterError as error:
            call.error = str(error)
        finally:
            await line.close()
        return call

    async def _read(self, line: TcpLine, call: Answered) -> None:
        host = line.name.rpartition(":")[0]
        call.name = await caller_of(line, self.address)
        address = self._with_keys(call.name, host)
        counters, cache = self._counters, self._cache
        async with Meter.connect(address, line=line, counters=counters, cache=cache) as meter:
            call.title = meter.system_title
            (named,) = await meter.read_octets([LOGICAL_DEVICE_NAME])
            call.name = device_name(named) if isinstance(named, bytes) else call.name
            if self._items:
                call.readings = await meter.read_many(self._items)
            if self._objects:
                call.objects = await meter.objects()

    def _with_keys(self, name: str, host: str) -> MeterAddress:
        """How to associate with this caller; its name stands for the place that it has not."""
        address = replace(self.address, host=name or host)
        if self._keys is None:
            return address
        for known in filter(None, (name, host)):
            keys, password = self._keys.keys(known), self._keys.password(known)
            if keys.unicast or password:
                found = address.with_keys(keys) if keys.unicast else address
                return replace(found, password=address.password or password)
        raise MeterError(
            "the key file holds nothing for this meter", f'add a table ["{name or host}"]'
        )


async def _take_calls(desk: _Desk, *, count: int, outside: bool, as_json: bool) -> list[Answered]:
    """Answer every call until somebody ends it, or `count` of them: how those ended."""
    stop, free = asyncio.Event(), asyncio.Semaphore(AT_ONCE)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    answered: list[Answered] = []
    under_way: set[asyncio.Task[None]] = set()
    broken: list[BaseException] = []

    async def serve(line: TcpLine) -> None:
        try:
            call = await desk.answer(line)
        finally:
            free.release()
        _show(call, as_json=as_json)
        if count:  # else nobody asks for them at the end, which is far
            answered.append(call)
            if len(answered) == count:
                stop.set()

    def ended(task: asyncio.Task[None]) -> None:
        under_way.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            broken.append(fault)  # nobody reads on what we print, say
            stop.set()

    async def wait() -> None:
        taken = 0
        while not count or taken < count:
            await free.acquire()
            line = await _next(listener)
            taken += 1
            task = loop.create_task(serve(line))
            under_way.add(task)
            task.add_done_callback(ended)
        await stop.wait()

    listener = CallListener()
    host = desk.address.host
    port = await listener.start(host, desk.address.port, outside=outside)
    typer.echo(f"Waiting for calls on {host}:{port}. Ctrl-C ends it.", err=True)
    waiting = loop.create_task(wait())
    stopped = loop.create_task(stop.wait())
    try:
        await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            waiting.result()
    finally:
        for task in (waiting, stopped, *under_way):
            task.cancel()
        await asyncio.gather(waiting, stopped, *under_way, return_exceptions=True)
        await listener.stop()
        desk.close()
    if broken:
        raise broken[0]
    return answered


async def _next(listener: CallListener) -> TcpLine:
    while True:
        with suppress(TimedOut):
            return await listener.accept(ACCEPT_S)


def _show(call: Answered, *, as_json: bool) -> None:
    now = iso_utc(int(time.time()))
    if as_json:
        print(json.dumps({"time": now} | _plain(call), ensure_ascii=False), flush=True)
        return
    who = f"{call.name or 'a meter without name'} ({call.place})"
    if call.error:
        print(f"{now} {who}: {call.error}", flush=True)
        return
    title = f", system title {call.title.hex()}" if call.title else ""
    print(f"{now} {who}{title}")
    print_table(call.readings, "  ")
    for reading in call.readings:
        if reading.error is not None:
            print(f"  {reading.error}")
    if call.objects is not None:
        print_objects(call.objects)
    sys.stdout.flush()


def _plain(call: Answered) -> dict[str, Any]:
    found: dict[str, Any] = {"from": call.place, "name": call.name}
    if call.error:
        return found | {"error": call.error}
    found["system_title"] = call.title.hex()
    if call.readings:
        found["readings"] = {key_of(each): plain_reading(each) for each in call.readings}
    if call.objects is not None:
        found["objects"] = [plain_object(entry) for entry in call.objects]
    return found
