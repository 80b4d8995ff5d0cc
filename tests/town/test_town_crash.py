"""kill -9 of the whole town at random moments: nothing that its API had shown is lost or doubled.

The town is killed while it starts, measures, collects and lives. After each kill it is started
again on the same directory and asked the same questions. The number of moments is 200 under
`make crash` (BLATHY_CRASHES sets another), and one or two otherwise.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.town.running_town import RunningTown

CRASHES: Final = int(os.environ.get("BLATHY_CRASHES", "200"))
CHECKED_POINTS: Final = 4
SLOT: Final = "%Y-%m-%dT%H:%M:%SZ"

pytestmark = [pytest.mark.xdist_group("town"), pytest.mark.timeout(7200)]

Seen = dict[tuple[str, str], Any]
"""(point, slot or register) -> what the API has shown last."""


def _hours(now: datetime) -> tuple[str, str]:
    """The last twenty whole hours: all of them are in the meters' profiles."""
    until = now.replace(minute=0, second=0, microsecond=0)
    return f"{until - timedelta(hours=20):{SLOT}}", f"{until:{SLOT}}"


def _slots(town: RunningTown, point: str, since: str, until: str) -> list[tuple[str, Any]]:
    answer = town.api(
        "GET", f"points/{point}/profile?channel=a_import&resolution=slot&from={since}&to={until}"
    )
    return [(slot["start"], slot["value"]) for slot in answer["slots"]]


def _look(town: RunningTown, points: list[str], since: str, until: str, seen: Seen) -> None:
    """Compare with what was shown before and remember what is shown now."""
    for point in points:
        shown = _slots(town, point, since, until)
        starts = [start for start, _ in shown]
        assert starts == sorted(set(starts)), f"{point} shows a slot twice"
        for start, value in shown:
            before = seen.get((point, start))
            assert before in (None, value), f"{point} {start}: {before} became {value}"
            if value is not None:
                seen[point, start] = value
        for row in town.api("GET", f"points/{point}/registers")["rows"]:
            if row["unit"] != "kWh" or not row["obis"].endswith(":1.8.0"):
                continue
            value = float(row["value"])
            before = seen.get((point, row["obis"]), 0.0)
            assert value >= before, f"{point}: register fell from {before} to {value}"
            seen[point, row["obis"]] = value


def _look_until_killed(
    town: RunningTown, points: list[str], since: str, until: str, seen: Seen
) -> None:
    """Read the API as a visitor would, until the kill cuts the connection."""
    with contextlib.suppress(OSError, http.client.HTTPException):  # the kill cut the line
        town.log_in()
        while True:
            _look(town, points, since, until, seen)


def _kill_and_look(town: RunningTown, seconds: float, points: list[str], seen: Seen) -> None:
    """Start the town, kill it after `seconds`, start it again and ask everything again."""
    since, until = _hours(datetime.now(UTC))
    town.start(wait=False)
    assert town.process is not None
    killer = threading.Timer(seconds, town.process.kill)
    killer.start()
    while town.process.poll() is None:
        if town.is_ready:
            _look_until_killed(town, points, since, until, seen)
        time.sleep(0.02)
    killer.join()
    town.wait(20)
    town.start()
    _look(town, points, since, until, seen)
    for point in points:
        values = [value for _, value in _slots(town, point, since, until)]
        assert len(values) >= 20
        assert None not in values, f"{point} has gaps after a kill at {seconds:.2f} s"
    town.stop(signal.SIGKILL)  # the check's own run ends the hard way, too


def _kill_often(path: Path, times: int, seed: int) -> None:
    rng = random.Random(seed)
    town = RunningTown(path / "data", points=12, days=1)
    seen: Seen = {}
    begun = time.monotonic()
    try:
        town.start()
        whole = time.monotonic() - begun
        meters = [meter["id"] for meter in town.meters()]
        points = rng.sample(meters, CHECKED_POINTS)
        _look(town, points, *_hours(datetime.now(UTC)), seen)
        town.stop(signal.SIGKILL)
        for _ in range(times):
            _kill_and_look(town, rng.uniform(0.5, whole + 3.0), points, seen)
    finally:
        town.kill()
    assert seen


def test_the_town_survives_a_kill_at_a_random_moment(tmp_path: Path) -> None:
    _kill_often(tmp_path, 1, seed=int(time.time()))


@pytest.mark.crash
def test_the_town_survives_two_hundred_kills(tmp_path: Path) -> None:
    _kill_often(tmp_path, CRASHES, seed=int(time.time()))
