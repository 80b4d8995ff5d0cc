"""The town's start: from `blathy up` to "portal ready", memory, and what it costs afterwards.

The limits stand in the project's own words: at most 60 s on two cores for 30 days of 40 points,
under 700 MB for everything, afterwards under a quarter of one core on average.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

POINTS, DAYS = 40, 30
WATCH_S = 60


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    assert found
    return int(found[1]) / 1024


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
        )  # fmt: skip
        assert process.stdout is not None
        steps = {}
        for line in process.stdout:
            if match := re.match(r"(.*): ([\d.]+) s$", line.strip()):
                steps[match[1]] = float(match[2])
            if "portal ready" in line:
                break
        ready_s = time.monotonic() - begun
        received = _received(port)
        before = _cpu_s(process.pid)
        time.sleep(WATCH_S)
        share = (_cpu_s(process.pid) - before) / WATCH_S
        memory = _memory_mb(process.pid)
        stopping = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(20)
        stop_s = time.monotonic() - stopping
        process.stdout.close()
    collect_s = steps.get("control centre collects it", 0.0)
    what = f"{DAYS} days of {POINTS} points"
    return [
        _row(f"town ready, {what}", round(ready_s, 1), "s", "≤ 60"),
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
