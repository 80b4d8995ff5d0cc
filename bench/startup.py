"""The town's first start: from `blathy up` to "portal ready", memory, and what it costs afterwards.
Nothing is compiled before: the measuring engine is, as soon as the portal is ready. The CPU time
compares machines and days on which something else runs beside it.

The limits stand in the project's own words: at most 60 s on two cores for 30 days of 40 points,
under 700 MB for everything, afterwards under a quarter of one core on average.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

POINTS, DAYS = 40, 30
SETTLED_S = 5
WATCH_S = 60


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _cpu_of_all_s(pid: int) -> float:
    """Of the process and everything that it has started, ended or not."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ended_s = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
    return _cpu_s(pid) + ended_s + sum(map(_cpu_of_all_s, _children(pid)))


def _children(pid: int) -> list[int]:
    """Processes that were started by any thread of that one."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, thread.read_text().split())
    return found


def _memory_mb(pid: int) -> float:
    """What the process and its children have resident now."""
    total_kb = 0
    for each in (pid, *_children(pid)):
        with contextlib.suppress(OSError):
            found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{each}/status").read_text())
            total_kb += int(found[1]) if found else 0
    return total_kb / 1024


class _MemoryWatch:
    """The largest memory of a process and its children, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        self.largest_mb = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.largest_mb = max(self.largest_mb, _memory_mb(self._pid))

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self.largest_mb


def _received(port: int) -> int:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    base = f"http://127.0.0.1:{port}/api/v1"
    login = urllib.request.Request(
        f"{base}/session",
        data=b'{"user":"demo","password":"demo"}',
        headers={"Content-Type": "application/json"},
    )
    opener.open(login, timeout=30).read()
    overview = json.loads(opener.open(f"{base}/overview", timeout=60).read())
    return int(overview["completeness"]["received"])


def run() -> list[dict[str, Any]]:
    """Start a town in a new directory, watch it for a minute, stop it."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        begun = time.monotonic()
        process = subprocess.Popen(
            [
                sys.executable, "-c", "from blathy.cli import main; main()", "up", "--headless",
                "--data", folder, "--port", str(port), "--dlms-port", str(_free_port()),
                "--points", str(POINTS), "--days", str(DAYS),
            ],
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, "NUMBA_CACHE_DIR": f"{folder}/compiled", "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        memory_watch = _MemoryWatch(process.pid)
        steps = {}
        for line in process.stdout:
            if match := re.match(r"(.*): ([\d.]+) s$", line.strip()):
                steps[match[1]] = float(match[2])
            if "portal ready" in line:
                break
        ready_s, ready_cpu_s = time.monotonic() - begun, _cpu_of_all_s(process.pid)
        received = _received(port)
        while _children(process.pid):
            time.sleep(0.5)
        sampled_s = time.monotonic() - begun
        time.sleep(SETTLED_S)
        before = _cpu_s(process.pid)
        time.sleep(WATCH_S)
        share = (_cpu_s(process.pid) - before) / WATCH_S
        memory = memory_watch.stop()
        stopping = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(20)
        stop_s = time.monotonic() - stopping
        process.stdout.close()
    collect_s = steps.get("control centre collects it", 0.0)
    what = f"{DAYS} days of {POINTS} points"
    return [
        _row(f"town ready, {what}", round(ready_s, 1), "s", "≤ 60"),
        _row("CPU of it all until ready", round(ready_cpu_s, 1), "s", ""),
        _row("measuring engine compiled and waveforms measured", round(sampled_s, 1), "s", ""),
        _row("readings collected over the meters' ports", received, "", ""),
        _row("collection rate", round(received / max(collect_s, 0.1)), "readings/s", ""),
        _row("largest memory of everything", round(memory), "MB", "< 700"),
        _row("afterwards, of one core", round(100 * share, 1), "%", "< 25"),
        _row("stops in", round(stop_s, 1), "s", "≤ 5"),
    ]


def _row(work: str, figure: float, unit: str, goal: str) -> dict[str, Any]:
    return {
        "work": work, "figure": figure, "unit": unit, "goal": goal, "peer": "", "peer_figure": "",
    }  # fmt: skip
