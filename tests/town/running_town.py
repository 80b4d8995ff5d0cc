"""`blathy up` in a process of its own, for tests that look at it from outside."""

from __future__ import annotations

import http.cookiejar
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

READY_S = 120.0


def free_port() -> int:
    """A TCP port that is free now on every loopback address."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


class RunningTown:
    """One run of `blathy up --headless`; `api` talks to it as the demo user."""

    def __init__(self, data: Path, *, points: int = 14, days: int = 3, seed: int = 7) -> None:
        self.data, self.port, self.dlms_port = data, free_port(), free_port()
        self.arguments = [
            "up", "--headless", "--data", str(data), "--port", str(self.port), "--dlms-port",
            str(self.dlms_port), "--points", str(points), "--days", str(days), "--seed", str(seed),
        ]  # fmt: skip
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._ready = threading.Event()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        )
        self._csrf = ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> RunningTown:
        self.lines.clear()
        self._ready.clear()
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from blathy.cli import main; main()", *self.arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        if wait:
            assert self._ready.wait(READY_S), "\n".join(self.lines)
            self.log_in()
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip())
            if "portal ready" in line:
                self._ready.set()

    @property
    def is_ready(self) -> bool:
        """Whether this run has said that its portal is ready."""
        return self._ready.is_set()

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
        with self._opener.open(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def stop(self, number: int = signal.SIGINT) -> float:
        """Stop with a signal; the seconds it took."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(20)
        seconds = time.monotonic() - begun
        self._close()
        return seconds

    def _close(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self._reader.join(5)
        self.process.stdout.close()

    def wait(self, seconds: float) -> int:
        """Wait until it ends by itself; its exit status."""
        assert self.process is not None
        status = self.process.wait(seconds)
        self._close()
        return status

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop(signal.SIGKILL)

    def meters(self) -> list[dict[str, str]]:
        """What `blathy town --json` tells of the meters."""
        done = subprocess.run(
            [
                sys.executable, "-c", "from blathy.cli import main; main()", "town", "--json",
                "--data", str(self.data), "--dlms-port", str(self.dlms_port),
            ],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        found: list[dict[str, str]] = json.loads(done.stdout)
        return found
