"""`blathy doctor`: what of this machine is missing or in the way, and what to do about it."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table

from blathy.cli.app import CommandError, app
from blathy.cli.console import console
from blathy.cli.meter_options import JsonOption
from blathy.cli.meters import state_directory
from blathy.clock import Zone
from blathy.transport.errors import MeterError
from blathy.transport.listener import ANY_LOOPBACK, bind_socket

FILES_WANTED: Final = 4096
DISK_WANTED_MB: Final = 500
SYNC_SLOW_MS: Final = 50.0


class Verdict(Enum):
    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One examined thing. Only MISSING stands in the way of `make run`."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""


def _python() -> Finding:
    found = platform.python_version()
    fine = sys.version_info >= (3, 11)
    advice = "" if fine else "install Python 3.11 or newer; make PYTHON=python3.12 run"
    return Finding("Python", Verdict.OK if fine else Verdict.MISSING, found, advice)


def _packages() -> Finding:
    wanted = ("numpy", "numba", "cryptography", "fastapi", "sqlalchemy", "uvicorn", "typer", "rich")
    absent = [name for name in wanted if importlib.util.find_spec(name) is None]
    if absent:
        return Finding("packages", Verdict.MISSING, f"no {', '.join(absent)}", "run make setup")
    return Finding("packages", Verdict.OK, f"{len(wanted)} found")


def _extras() -> Finding:
    extras = {"serial": "serial ports: pip install 'blathy[serial]'",
              "pyarrow": "Parquet: pip install 'blathy[parquet]'"}  # fmt: skip
    absent = [text for name, text in extras.items() if importlib.util.find_spec(name) is None]
    if absent:
        return Finding("extras", Verdict.NOTE, f"{len(absent)} absent", "; ".join(absent))
    return Finding("extras", Verdict.OK, "serial, parquet")


def _time_zones() -> Finding:
    try:
        Zone("Europe/Budapest")
    except ValueError:
        return Finding("time zones", Verdict.MISSING, "no zone data", "pip install tzdata")
    return Finding("time zones", Verdict.OK, "IANA data found")


def _loopback() -> Finding:
    try:
        with socket.socket() as sock:
            sock.bind(("127.9.8.7", 0))
    except OSError:
        return Finding(
            "loopback addresses", Verdict.NOTE, "only 127.0.0.1",
            "meters then get a port each instead of an address each",
        )  # fmt: skip
    return Finding("loopback addresses", Verdict.OK, "any of 127.0.0.0/8")


def _port(port: int, name: str) -> Finding:
    try:
        bind_socket(socket.SOCK_STREAM, ANY_LOOPBACK, port, outside=False).close()
    except MeterError:
        advice = f"another program (or a running town) holds it; use --port for {name}"
        return Finding(f"port {port}", Verdict.NOTE, "taken", advice)
    return Finding(f"port {port}", Verdict.OK, f"free for {name}")


def _open_files() -> Finding:
    try:
        import resource
    except ImportError:
        return Finding("open files", Verdict.NOTE, "no limit known")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= FILES_WANTED:
        return Finding("open files", Verdict.OK, str(soft))
    advice = f"ulimit -n {min(hard, 65_536)} to serve or read thousands of meters at once"
    return Finding("open files", Verdict.NOTE, str(soft), advice)


def _disk() -> Finding:
    free_mb = shutil.disk_usage(Path.cwd()).free // (1 << 20)
    if free_mb < DISK_WANTED_MB:
        return Finding("disk", Verdict.MISSING, f"{free_mb} MB free", f"free {DISK_WANTED_MB} MB")
    return Finding("disk", Verdict.OK, f"{free_mb} MB free")


def _sync() -> Finding:
    with tempfile.TemporaryFile(dir=Path.cwd()) as file:
        began = time.perf_counter()
        for _ in range(3):
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
        each_ms = (time.perf_counter() - began) * 1000 / 3
    verdict = Verdict.OK if each_ms < SYNC_SLOW_MS else Verdict.NOTE
    advice = "" if verdict is Verdict.OK else "a slow disk: use --data on a faster one"
    return Finding("disk sync", verdict, f"{each_ms:.1f} ms", advice)


def _memory() -> Finding:
    try:
        size_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    except (ValueError, OSError, AttributeError):
        return Finding("memory", Verdict.NOTE, "not known")
    advice = "" if size_mb >= 1000 else "the town needs about 700 MB; use --points 10"
    return Finding("memory", Verdict.OK if not advice else Verdict.NOTE, f"{size_mb} MB", advice)


def _portal() -> Finding:
    static = Path(__file__).resolve().parent.parent / "headend" / "api" / "static" / "index.html"
    if static.is_file():
        return Finding("portal", Verdict.OK, "built")
    return Finding("portal", Verdict.MISSING, "not built", "run make setup")


def _state() -> Finding:
    folder = state_directory()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        advice = f"invocation counters need it ({error.strerror}); set BLATHY_STATE"
        return Finding("state folder", Verdict.MISSING, str(folder), advice)
    return Finding("state folder", Verdict.OK, str(folder))


def _serial_ports() -> Finding:
    try:
        from serial.tools import list_ports
    except ImportError:
        return Finding("serial ports", Verdict.NOTE, "not known", "pip install 'blathy[serial]'")
    found = [port.device for port in list_ports.comports()]
    denied = [name for name in found if not os.access(name, os.R_OK | os.W_OK)]
    if denied:
        advice = f"no right to {', '.join(denied)}; join the group dialout"
        return Finding("serial ports", Verdict.NOTE, ", ".join(found), advice)
    return Finding("serial ports", Verdict.OK, ", ".join(found) or "none")


def examine() -> list[Finding]:
    """Everything, in the order in which a new user meets it."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python, _packages, _extras, _portal, _time_zones, _loopback,
        lambda: _port(4059, "meters"), lambda: _port(8000, "the portal"),
        _open_files, _memory, _disk, _sync, _state, _serial_ports,
    )  # fmt: skip
    return [check() for check in checks]


_STYLE = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.MISSING: "red"}


@app.command()
def doctor(
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show only what is not fine.")] = False,
) -> None:
    """Look at this machine: what is missing, and what to do."""
    findings = examine()
    shown = [f for f in findings if not quiet or f.verdict is not Verdict.OK]
    if as_json:
        rows = [asdict(f) | {"verdict": f.verdict.value} for f in shown]
        print(json.dumps(rows, indent=1))
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for f in shown:
            style = _STYLE[f.verdict]
            table.add_row(f"[{style}]{f.verdict.value}[/]", f.what, f.found, f.advice)
        console().print(table)
    missing = [f for f in findings if f.verdict is Verdict.MISSING]
    if missing:
        raise CommandError(f"{missing[0].what}: {missing[0].found}; {missing[0].advice}")
