"""`blathy up` in a process of its own, for tests that look at it from outside."""

from __future__ import annotations

import http.cookiejar
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.cli.in_process import blathy
from tests.free_ports import free_port
from tests.town.town_nursery import MARK

READY_S: Final = 240.0
"""A start takes four seconds; a busy machine that compiles for the first time needs minutes."""
GONE_S: Final = 120.0
MOMENT: Final = "%Y-%m-%dT%H:%M:%SZ"
READY: Final = "portal ready"


def last_hours(hours: int) -> tuple[str, str]:
    """The last whole hours as the API takes them; all of them are in the meters' profiles."""
    ended = datetime.now(UTC) - timedelta(minutes=10)  # the meters' clocks may be late
    until = ended.replace(minute=0, second=0, microsecond=0)
    return f"{until - timedelta(hours=hours):{MOMENT}}", f"{until:{MOMENT}}"


class RunningTown:
    """One run of `blathy up --headless`; `api` talks to it as the demo user."""

    def __init__(self, data: Path, *, points: int = 14, days: int = 3, seed: int = 7) -> None:
        self.data, self.port, self.dlms_port = data, free_port(), free_port()
        self.arguments = [
            "up", "--headless", "--data", str(data), "--port", str(self.port), "--dlms-port",
            str(self.dlms_port), "--points", str(points), "--days", str(days), "--seed", str(seed),
        ]  # fmt: skip
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._pid = 0
        self._status: int | None = None
        self.signalled = False
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )
        self._csrf = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # --- the process ------------------------------------------------------------------------------

    def start(self, *, wait: bool = True) -> RunningTown:
        """Start it, and with `wait` log in when the portal is ready."""
        self.lines = []
        self._status = None
        self.signalled = False
        self._launch()
        if wait:
            assert self.says(READY), "\n".join(self.lines)
            self.log_in()
        return self

    def _launch(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", "from blathy.cli import main; main()", *self.arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self._pid = process.pid
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._heard(line)
        self._ended(process.wait())

    def _heard(self, line: str) -> None:
        with self._changed:
            self.lines.append(line.rstrip())
            self._changed.notify_all()

    def _ended(self, status: int) -> None:
        with self._changed:
            self._status = status
            self._changed.notify_all()

    @property
    def status(self) -> int | None:
        """The exit status, None while it runs."""
        return self._status

    def says(self, text: str, seconds: float = READY_S) -> bool:
        """Wait until a line of its output has `text`; False where it ends or time is over first."""

        def said() -> bool:
            return any(text in line for line in self.lines)

        with self._changed:
            self._changed.wait_for(lambda: said() or self._status is not None, seconds)
            return said()

    def send(self, number: int) -> None:
        """Send a signal, if it still runs."""
        self.signalled = True
        if self._status is None:
            os.kill(self._pid, number)

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop with a signal, and wait until it has ended."""
        self.send(number)
        self.wait(GONE_S)

    def wait(self, seconds: float) -> int:
        """Wait until it ends by itself; its exit status."""
        with self._changed:
            ended = self._changed.wait_for(lambda: self._status is not None, seconds)
        assert ended, "it does not end:\n" + "\n".join(self.lines)
        assert self._status is not None
        return self._status

    def kill(self) -> None:
        """End it, if it has been started and still runs."""
        if self._pid and self._status is None:
            self.stop(signal.SIGKILL)

    # --- what it shows ----------------------------------------------------------------------------

    def log_in(self) -> None:
        answer = self.api("POST", "session", {"user": "demo", "password": "demo"})
        self._csrf = answer["csrf"]

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """One request under /api/v1; the decoded answer."""
        request = urllib.request.Request(
            f"{self.address}/api/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "X-CSRF-Token": self._csrf},
        )
        with self._opener.open(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def meters(self) -> list[dict[str, str]]:
        """What `blathy town --json` tells of the meters."""
        where = ["--data", str(self.data), "--dlms-port", str(self.dlms_port)]
        done = blathy("town", "--json", *where)
        assert done.status == 0, done.err
        found: list[dict[str, str]] = done.json
        return found


class Nursery:
    """A process that has imported everything and starts towns by forking (town_nursery)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.town.town_nursery"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            cwd=Path(__file__).resolve().parents[2], env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self._expect("ready")

    def _expect(self, word: str) -> str:
        """The rest of the nursery's own next line, which must begin with `word`."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith(MARK + word), line + self._process.stdout.read()
        return line.removeprefix(MARK + word).strip()

    def launch(
        self, arguments: list[str], heard: Callable[[str], None], ended: Callable[[int], None]
    ) -> int:
        """Start `blathy`; its process number. One at a time: the next one when it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        pid = int(self._expect("pid"))
        threading.Thread(target=self._read, args=(heard, ended), daemon=True).start()
        return pid

    def _read(self, heard: Callable[[str], None], ended: Callable[[int], None]) -> None:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            said, mark, status = line.partition(f"{MARK}ended")
            if said:
                heard(said)
            if mark:
                ended(int(status))
                return

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(GONE_S)
        self._process.stdout.close()


class NurseryTown(RunningTown):
    """A town that starts in a second, because its process is forked from a prepared one."""

    def __init__(self, nursery: Nursery, data: Path, **more: int) -> None:
        super().__init__(data, **more)
        self._nursery = nursery

    def _launch(self) -> None:
        self._pid = self._nursery.launch(self.arguments, self._heard, self._ended)
