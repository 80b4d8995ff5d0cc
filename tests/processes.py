"""Commands in processes of their own, as cheap as a fork (see `tests.nursery`)."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, Self

from tests.nursery import BLATHY

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 240.0


class Process:
    """A process that runs; what it prints, and after `wait` how it ended (a signal: negative)."""

    def __init__(
        self, pid: int, report: socket.socket, stdin: IO[str] | None, stdout: IO[str] | None
    ) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin, self.stdout = stdin, stdout
        self._report = report

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def output(self) -> IO[str]:
        """What it prints, where that is read as it comes."""
        assert self.stdout is not None
        return self.stdout

    def poll(self) -> int | None:
        """How it ended, or None as long as it runs."""
        try:
            return self.wait(0.0)
        except TimeoutError:
            return None

    def wait(self, timeout: float = LIMIT_S) -> int:
        """Its exit status; TimeoutError where it does not end."""
        if self.returncode is None:
            self._report.settimeout(timeout)
            try:
                told = self._report.recv(64)
            except BlockingIOError:
                raise TimeoutError from None
            assert told, "the nursery ended before its child"
            self.returncode = int(told)
            self._report.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def until(self, mark: str) -> list[str]:
        """The lines that it prints up to one with this mark."""
        lines = []
        for line in self.output:
            lines.append(line)
            if mark in line:
                return lines
        raise AssertionError(f"it ended with {self.wait()} before {mark!r}: {''.join(lines)}")

    def rest(self, timeout: float = LIMIT_S) -> str:
        """What it still prints, until its end."""
        text = self.output.read()
        self.wait(timeout)
        return text

    def close(self) -> None:
        """End it at once, if it still runs, and let go of its streams."""
        self.kill()
        self.wait()
        for stream in (self.stdin, self.stdout):
            if stream is not None:
                stream.close()


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has run to its end."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class _Nursery:
    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd=ROOT,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        atexit.register(self._close)

    def _close(self) -> None:
        self._control.close()
        self._process.wait(LIMIT_S)

    def fork(self, job: dict[str, Any], streams: Sequence[int]) -> tuple[int, socket.socket]:
        """The number of the new process, and where its end is told."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            handles = [*streams, theirs.fileno()]
            socket.send_fds(self._control, [json.dumps(job).encode() + b"\n"], handles)
        number = b""
        while not number.endswith(b"\n"):
            octet = ours.recv(1)
            assert octet, f"the nursery ended before it started {job['program']} {job['words']}"
            number += octet
        return int(number), ours


@cache
def _nursery(ours: bool) -> _Nursery:
    """`ours` for `blathy`; the libraries that it is tested against are imported in another."""
    assert isinstance(ours, bool)
    return _Nursery()


def start(
    *words: object, program: str = BLATHY, environment: Mapping[str, str] | None = None,
    folder: Path | None = None, stdin: bool = False, with_errors: bool = False,
    first: Sequence[str] = (),
) -> Process:  # fmt: skip
    """Start `blathy` (or the `main` of another module) with these words; read what it prints.

    `environment` is added to ours, `with_errors` adds its messages to its output, `first` names
    what is done once for all (`module:function`), before any such process starts."""
    job = _job(program, words, environment, folder, first)
    reading, out = os.pipe()
    given, giving = os.pipe() if stdin else (os.open(os.devnull, os.O_RDONLY), -1)
    try:
        pid, report = _nursery(program == BLATHY).fork(job, [given, out, out if with_errors else 2])
    finally:
        os.close(given)
        os.close(out)
    return Process(
        pid, report, os.fdopen(giving, "w", encoding="utf-8") if stdin else None,
        os.fdopen(reading, encoding="utf-8"),
    )  # fmt: skip


def run(
    *words: object, program: str = BLATHY, environment: Mapping[str, str] | None = None,
    folder: Path | None = None, given: str = "", limit_s: float = LIMIT_S,
    first: Sequence[str] = (),
) -> Ended:  # fmt: skip
    """Run it to its end; `given` is its input."""
    job = _job(program, words, environment, folder, first)
    with ExitStack() as stack:
        source, out, err = (
            stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(3)
        )
        source.write(given)
        source.seek(0)
        streams = [stream.fileno() for stream in (source, out, err)]
        process = Process(*_nursery(program == BLATHY).fork(job, streams), None, None)
        try:
            status = process.wait(limit_s)
        finally:
            process.close()
        for stream in (out, err):
            stream.seek(0)
        return Ended(status, out.read(), err.read())


def _job(
    program: str, words: Sequence[object], environment: Mapping[str, str] | None,
    folder: Path | None, first: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    return {
        "program": program, "words": [str(word) for word in words], "first": list(first),
        "environment": {**os.environ, **(environment or {})}, "folder": str(folder or Path.cwd()),
    }  # fmt: skip
