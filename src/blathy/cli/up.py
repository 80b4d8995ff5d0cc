"""`blathy up`: the town and its control centre, or a real site, with a live status on one
screen."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self

import typer
import uvicorn
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import DatabaseError

from blathy.cli.app import CommandError, app
from blathy.cli.console import console
from blathy.cli.quiet_log import configure_log
from blathy.cli.status_screen import status_screen
from blathy.headend.api.app import STATIC, create_app
from blathy.headend.collection.pushes import PUSH_PORT
from blathy.headend.head_end import HeadEnd
from blathy.headend.inventory.description import DescriptionError, SiteDescription, read_site
from blathy.registers.state import StateError
from blathy.store.store import StoreDamagedError
from blathy.town.compilation import Compilation
from blathy.town.director import Director, load_outages
from blathy.town.town import DEMO_LOGIN, DLMS_PORT, Town, TownError, plan_in
from blathy.transport.errors import MeterError

HTTP_PORT: Final = 8000
STATUS_EVERY_S: Final = 2.0
STOP_S: Final = 3.0
STOPPED_BY_S: Final = 4.5
POINTS_MIN: Final = 12
POINTS_MAX: Final = 1000
LOCK_FILE: Final = "blathy.lock"


@app.command("up")
def command(
    config: Annotated[
        Path | None, typer.Option(help="Run a real site from site.toml instead of the town.")
    ] = None,
    data: Annotated[Path, typer.Option(help="Where meters and readings are kept.")] = Path("town"),
    port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Port of the portal on 127.0.0.1.")
    ] = HTTP_PORT,
    dlms_port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Port of the meters.")
    ] = DLMS_PORT,
    push_port: Annotated[
        int,
        typer.Option(min=0, max=65_535, help="Where meters push to; 0: as the site says, or 4061."),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Which town.")] = 1,
    days: Annotated[int, typer.Option(min=1, max=370, help="Days of history.")] = 30,
    points: Annotated[
        int, typer.Option(min=POINTS_MIN, max=POINTS_MAX, help="Metering points, about.")
    ] = 40,
    separate_ports: Annotated[
        bool,
        typer.Option(
            "--separate-ports", help="One port per meter on 127.0.0.1, from --dlms-port up."
        ),
    ] = False,
    headless: Annotated[bool, typer.Option("--headless", help="Plain lines, no screen.")] = False,
) -> None:
    """Start the town (or a site) with its meters, control centre and portal. Ctrl-C stops it."""
    headless = headless or not sys.stdout.isatty()
    settings = Settings(
        config, data, port, dlms_port, push_port, seed, days, points, separate_ports, headless
    )
    if config is not None and not config.is_file():
        msg = f"there is no file {config}; leave --config out to start the town"
        raise CommandError(msg)
    try:
        data.mkdir(parents=True, exist_ok=True)
        with _alone_in(data):
            configure_log(data / "blathy.log")
            asyncio.run(_run(settings))
    except StateError as error:
        msg = (
            f"the meters in {data} were kept by another version of blathy ({error}); "
            "start it with that version, or new meters with another --data"
        )
        raise CommandError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{config} holds no text; a site is described in .toml, .json or .csv"
        raise CommandError(msg) from error
    except (TownError, DescriptionError, StoreDamagedError, ValueError) as error:
        raise CommandError(str(error)) from error
    except DatabaseError as error:
        msg = (
            f"the readings in {data / 'headend'} cannot be used ({error.orig}); restore a backup, "
            "or choose another place with --data"
        )
        raise CommandError(msg) from error
    except BrokenPipeError:  # who reads has seen enough
        raise
    except OSError as error:
        msg = (
            f"cannot use {error.filename or data}: {error.strerror}; try another place with --data"
        )
        raise CommandError(msg) from error


@contextlib.contextmanager
def _alone_in(data: Path) -> Iterator[None]:
    """Keep the directory for this process; the lock goes with it, however it ends."""
    with (data / LOCK_FILE).open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            msg = (
                f"{data} is in use by another `blathy up` (process {lock.read().strip()}); "
                "stop that one, or choose another place with --data"
            )
            raise CommandError(msg) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


class _StoppedEarlyError(Exception):
    """Ctrl-C came while the meters were still measuring their history."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line said."""

    config: Path | None
    data: Path
    port: int
    dlms_port: int
    push_port: int
    seed: int
    days: int
    points: int
    separate_ports: bool
    headless: bool


class Steps:
    """Progress as bars on a screen, or as lines."""

    def __init__(self, console: Console, headless: bool) -> None:
        self.console = console
        self._headless = headless
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )

    def __enter__(self) -> Self:
        if not self._headless:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._headless:
            self._bars.stop()

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[Callable[[int, int, str], None]]:
        """One step; the yielded function reports (done, total, note)."""
        begun = time.monotonic()
        if self._headless:
            self.console.print(f"{what} …", highlight=False)
            yield lambda _done, _total, _note: None
            self.console.print(f"{what}: {time.monotonic() - begun:.1f} s", highlight=False)
            return
        task = self._bars.add_task(what, total=None, note="")

        def report(done: int, total: int, note: str) -> None:
            self._bars.update(task, completed=done, total=total or 1, note=note)

        yield report
        self._bars.update(task, completed=1, total=1)


def _free(port: int, what: str, option: str) -> None:
    """Say early and clearly that a port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise CommandError(
                f"port {port} for {what} is in use ({error.strerror}); choose another with {option}"
            ) from error


async def _run(settings: Settings) -> None:
    _free(settings.port, "the portal", "--port")
    screen = console(soft_wrap=settings.headless)
    if not STATIC.joinpath("index.html").exists():
        screen.print("[yellow]The portal is not built; run `make setup`. The API works.[/yellow]")
    stop = asyncio.Event()
    at_the_latest = threading.Timer(STOPPED_BY_S, _leave)
    at_the_latest.daemon = True

    def asking() -> None:
        if not stop.is_set():
            stop.set()
            at_the_latest.start()

    collected = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # loops of Windows take no signals
            loop.add_signal_handler(number, asking)
    with contextlib.suppress(_StoppedEarlyError):
        async with contextlib.AsyncExitStack() as stack:
            with Steps(screen, settings.headless) as steps:
                if settings.config:
                    head = await stack.enter_async_context(_site(settings))
                else:
                    head = await stack.enter_async_context(_town(settings, steps, stop, collected))
                await stack.enter_async_context(_portal(head, settings.port))
                if not stop.is_set():
                    await _collect(head, steps, stop)
            collected.set()
            if not stop.is_set():
                await _watch(screen, head, settings, stop)
            screen.print("stopping …")
    at_the_latest.cancel()
    screen.print("stopped; everything is kept in", str(settings.data))


def _leave() -> None:
    """End the process where something cannot be interrupted (a compilation, a slow disk).

    Everything that was shown is durable, so this loses what a power cut loses: nothing shown."""
    with contextlib.suppress(OSError):  # nobody reads on
        print("stopped; everything that was shown is kept", flush=True)
    os._exit(0)


@contextlib.asynccontextmanager
async def _site(settings: Settings) -> AsyncIterator[HeadEnd]:
    assert settings.config is not None
    site = read_site(settings.config)
    async with _head_end(settings, site) as head:
        yield head


@contextlib.asynccontextmanager
async def _head_end(settings: Settings, site: SiteDescription) -> AsyncIterator[HeadEnd]:
    head = HeadEnd.open(settings.data / "headend", site, history_days=settings.days)
    await head.start()
    try:
        if site.push_host:
            await _listen(head, site, settings.push_port or site.push_port)
        yield head
    finally:
        with contextlib.suppress(TimeoutError):  # what was acknowledged is durable anyway
            await asyncio.wait_for(head.stop(), STOP_S)


async def _listen(head: HeadEnd, site: SiteDescription, port: int) -> None:
    """Open the port that meters push to; where nobody chose one, any free one will do."""
    try:
        outside = not ipaddress.ip_address(site.push_host).is_loopback
    except ValueError as error:
        raise CommandError(f"push_host: {error}; write an address of this machine") from error
    try:
        await head.listen(site.push_host, port or PUSH_PORT, outside=outside)
    except MeterError as error:
        if port:
            raise CommandError(
                f"meters cannot push to port {port}: {error}; choose another with --push-port"
            ) from error
        await head.listen(site.push_host, 0, outside=outside)


@contextlib.asynccontextmanager
async def _town(
    settings: Settings, steps: Steps, stop: asyncio.Event, collected: asyncio.Event
) -> AsyncIterator[HeadEnd]:
    if not settings.separate_ports:
        _free(settings.dlms_port, "the meters", "--dlms-port")
    plan = plan_in(settings.data, settings.seed, settings.points, settings.days, int(time.time()))
    town = Town(plan)
    load_outages(town, settings.data)
    town.let_sample(False)
    fleet = town.fleet(settings.data, time.time)
    sampling = asyncio.create_task(_sample(town, collected), name="sampling")
    try:
        with steps.step("meters measure their history") as report:
            note = f"{len(fleet.running)} meters"

            def progress(done: int, total: int) -> None:
                report(done, total, note)
                if stop.is_set():
                    raise _StoppedEarlyError

            await asyncio.to_thread(fleet.catch_up, int(time.time()), progress)
        await fleet.serve(settings.dlms_port, separate_ports=settings.separate_ports)
        fleet.start()
        ports = {one.name: one.port for one in fleet.running.values()}
        site = town.site(settings.dlms_port, ports if settings.separate_ports else None)
        director = asyncio.create_task(
            Director(town, fleet, settings.data, time.time).run(), name="director"
        )
        try:
            async with _head_end(settings, site) as head:
                town.push_to(fleet, head.pushes.port)
                yield head
        finally:
            director.cancel()
            await asyncio.gather(director, return_exceptions=True)
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        await fleet.stop()


async def _sample(town: Town, collected: asyncio.Event) -> None:
    """Let the town measure waveforms as soon as the engine is compiled: nobody waits for that, so
    it begins when the history, which everybody waits for, is there."""
    await collected.wait()
    compilation = Compilation()
    try:
        await compilation.loaded()
    finally:
        compilation.stop()
    town.let_sample(True)


class _Server(uvicorn.Server):
    """Uvicorn without its own signal handlers: stopping is one decision for the whole process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _portal(head: HeadEnd, port: int) -> AsyncIterator[None]:
    server = _Server(
        uvicorn.Config(
            create_app(head), host="127.0.0.1", port=port, log_config=None, access_log=False,
            lifespan="off", timeout_graceful_shutdown=1,
        )
    )  # fmt: skip
    task = asyncio.create_task(server.serve(), name="portal")
    while not server.started and not task.done():  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0.02)
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait({task}, timeout=2.0)


async def _collect(head: HeadEnd, steps: Steps, stop: asyncio.Event) -> None:
    with steps.step("control centre collects it") as report:
        work = asyncio.create_task(head.collect_history(report))
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not work.done():
            work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        if work.done() and not work.cancelled() and (error := work.exception()):
            raise error


async def _watch(screen: Console, head: HeadEnd, settings: Settings, stop: asyncio.Event) -> None:
    address = f"http://127.0.0.1:{settings.port}"
    login = "" if settings.config else f" (log in: {DEMO_LOGIN[0]} / {DEMO_LOGIN[1]})"
    if settings.headless:
        screen.print(f"portal ready at {address}{login}")
        await stop.wait()
        return
    zone = head.inventory.zone
    with Live(console=screen, auto_refresh=False, transient=True) as live:
        while not stop.is_set():
            now = await head.situation.overview()
            shown = status_screen(now, address, login, zone, *screen.size)
            live.update(shown, refresh=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), STATUS_EVERY_S)
