"""The town as a stranger meets it: one command, then the portal's API and any DLMS client."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.cli.in_process import blathy
from tests.town.running_town import GONE_S, Nursery, NurseryTown, RunningTown, last_hours

PATIENCE_S = 100
CLOCK_OFF_S = 20
"""A meter's quartz and the second in which it was read."""


def gurux(job: dict[str, Any]) -> dict[str, Any]:
    """An independent client in its own process."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.meter.gurux_peer"],
        input=json.dumps(job), capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return found


def _shown_kwh(town: RunningTown, point: str, code: str) -> tuple[float, float]:
    """A register as the portal shows it, cut at its last digit, and what that digit is worth."""
    rows = town.api("GET", f"points/{point}/registers")["rows"]
    shown = next(row for row in rows if row["obis"] == code)
    assert shown["unit"] == "kWh"
    decimals = len(shown["value"].partition(".")[2])
    return float(shown["value"]), 10**-decimals


def test_all_points_answer_and_their_history_is_complete(town: RunningTown) -> None:
    overview = town.api("GET", "overview")
    complete = overview["completeness"]
    assert complete["ratio"] > 0.99  # what an outage took from the meters nobody can collect
    assert overview["meters"]["reachable"] == overview["meters"]["total"] >= 12
    assert overview["completeness"]["received"] > 10_000
    assert len(overview["stations"]) == 2
    assert sum(len(station["feeders"]) for station in overview["stations"]) == 4


@pytest.mark.interop
@pytest.mark.requirement("K-17", "K-12")
@pytest.mark.parametrize("model", ["omnipower", "esox"])
def test_gurux_reads_with_hls_gmac_what_the_portal_shows(town: RunningTown, model: str) -> None:
    meter = next(m for m in town.meters() if m["model"] == model)
    b = 1 if model == "omnipower" else 0
    zone = ZoneInfo("Europe/Budapest")
    today = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    since = today - timedelta(days=1)
    code = f"1-{b}:1.8.0"
    (first_kwh, digit_kwh), begun = _shown_kwh(town, meter["id"], code), time.time()
    read = gurux(
        {
            "host": meter["host"], "port": town.dlms_port, "client": 1, "auth": "hls5",
            "ek": meter["ek"], "ak": meter["ak"], "counter": 1 << 20,
            "clock": "0.1.1.0.0.255" if b else "0.0.1.0.0.255",
            "register": f"1.{b}.1.8.0.255", "profile": f"1.{b}.99.1.0.255",
            "since": since.isoformat(),
            "until": (today + timedelta(seconds=1)).isoformat(),
        }
    )  # fmt: skip
    clock = datetime.fromisoformat(read["clock"]).replace(tzinfo=zone).timestamp()
    assert begun - CLOCK_OFF_S < clock < time.time() + CLOCK_OFF_S
    assert read["unit"] == 30
    read_kwh = float(read["register"]) / 1000
    assert first_kwh <= read_kwh
    deadline = time.monotonic() + PATIENCE_S
    while _shown_kwh(town, meter["id"], code)[0] < read_kwh - digit_kwh:
        assert time.monotonic() < deadline, f"the portal does not come to show {read_kwh} kWh"
        time.sleep(0.5)
    query = (
        f"points/{meter['id']}/profile?channel=a_import&resolution=slot"
        f"&from={since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}&to={today.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    )
    slots = town.api("GET", query)["slots"]
    quarters = round((today.timestamp() - since.timestamp()) / 900)
    assert len(slots) == quarters
    values = [float(row[2]) for row in read["rows"]]
    step = 10.0 if model == "omnipower" else 0.01
    steps = [(b - a) * step for a, b in pairwise(values)]
    assert len(steps) == quarters
    assert [s["value"] for s in slots] == pytest.approx(steps, abs=1e-6)


def test_live_values_and_the_display_move(town: RunningTown) -> None:
    meter = next(m for m in town.meters() if m["model"] == "mt372")
    first = town.api("GET", f"points/{meter['id']}/live")
    names = {(v["quantity"], v["phase"]) for v in first["values"]}
    assert {("u", 1), ("u", 2), ("u", 3), ("i", 1), ("p", 0)} <= names
    screen = town.api("GET", f"points/{meter['id']}/display")
    deadline = time.monotonic() + PATIENCE_S
    while town.api("GET", f"points/{meter['id']}/display")["code"] == screen["code"]:
        assert time.monotonic() < deadline, "the display does not scroll"
        time.sleep(0.5)
    while town.api("GET", f"points/{meter['id']}/live")["at"] <= first["at"]:
        assert time.monotonic() < deadline + PATIENCE_S, "the live values stand still"
        time.sleep(0.2)


def test_happenings_reach_the_control_centre(town: RunningTown) -> None:
    deadline = time.monotonic() + 2 * PATIENCE_S
    while True:
        found = town.api("GET", "events")
        names = {event["name"] for event in found["items"]}
        if {"sag_start"} <= names:
            return
        assert time.monotonic() < deadline, sorted(names)
        time.sleep(2)


MEASURED: dict[str, set[str]] = {
    "omnipower": {"Supply voltage", "Frequency", "THD to the 40th"},
    "mt372": {"Supply voltage", "Frequency"},
    "k382m": {"Supply voltage", "Frequency"},
    "esox": {"Supply voltage", "Frequency", "THD to the 40th", "Unbalance u2"},
}
"""What EN 50160 asks for and the model's sheet says it measures (of the models of this town)."""


@pytest.mark.requirement("OMNI-09", "K-03")
@pytest.mark.parametrize("model", sorted(MEASURED))
def test_the_supply_of_a_point_is_assessed_by_its_own_meter(town: RunningTown, model: str) -> None:
    found = [m for m in town.meters() if m["model"] == model]
    login = ("--api", town.address, "--user", "demo", "--password", "demo", "--json")
    done = blathy("en50160", found[0]["id"], *login)
    assert done.status in {0, 1}, done.err
    answer = done.json
    assert answer["interval_s"] == 600
    phases = {"L1"} if model == "omnipower" else {"L1", "L2", "L3"}
    told = {r["parameter"] for r in answer["results"]}
    assert told >= {"Supply voltage", "Frequency", "Unbalance u2", "Mains signalling"}
    for result in answer["results"]:
        if result["parameter"] in MEASURED[model] and (result["phase"] or "L1") in phases:
            assert result["valid"] > 2 * 144, result
            assert result["verdict"] in {"met", "not met"}
        else:
            assert result["valid"] == 0, result
            assert result["verdict"] == "not measured by this meter"


def test_the_mill_has_the_losses_of_its_transformer(town: RunningTown) -> None:
    mill = next(m for m in town.meters() if m["model"] == "esox" and "head" not in m["id"])
    begun, ended = last_hours(20)
    energy = {}
    for channel in ("ola", "nla"):
        answer = town.api(
            "GET",
            f"points/{mill['id']}/profile?channel={channel}&resolution=slot"
            f"&from={begun}&to={ended}",
        )
        values = [slot["value"] for slot in answer["slots"] if slot["value"] is not None]
        assert len(values) > 60
        energy[channel] = sum(values)
    # 650 W of iron at nominal voltage all the time, give or take the voltage's square
    hours = 20
    assert 0.7 * 650 * hours < energy["nla"] < 1.3 * 650 * hours
    assert 0 < energy["ola"] < 3_250 * hours


def _export(town: RunningTown, point: str, since: str, until: str) -> list[tuple[str, Any]]:
    answer = town.api(
        "GET",
        f"points/{point}/profile?channel=a_import&resolution=slot&from={since}&to={until}",
    )
    return [(slot["start"], slot["value"]) for slot in answer["slots"]]


def test_stop_start_kill_start_loses_and_doubles_nothing(nursery: Nursery, tmp_path: Path) -> None:
    town = NurseryTown(nursery, tmp_path / "data", points=12, days=1)
    try:
        town.start()
        since, until = last_hours(20)
        points = [m["id"] for m in town.meters()]
        before = {p: _export(town, p, since, until) for p in points}
        registers = {p: town.api("GET", f"points/{p}/registers")["rows"][0] for p in points}
        assert all(value is not None for rows in before.values() for _, value in rows)
        town.stop()
        assert town.status == 0
        assert town.lines[-1].startswith("stopped; everything")
        town.start()
        assert {p: _export(town, p, since, until) for p in points} == before
        town.stop(signal.SIGKILL)
        town.start()
        assert {p: _export(town, p, since, until) for p in points} == before
        for point, row in registers.items():
            again = town.api("GET", f"points/{point}/registers")["rows"][0]
            assert float(again["value"]) >= float(row["value"])
        deadline = time.monotonic() + PATIENCE_S
        while town.api("GET", "overview")["completeness"]["ratio"] < 1.0:
            assert time.monotonic() < deadline, "readings are missing"  # a quarter may just end
            time.sleep(1)
    finally:
        town.kill()


def test_a_second_town_on_the_same_ports_says_what_to_do(
    town: RunningTown, nursery: Nursery, tmp_path: Path
) -> None:
    other = NurseryTown(nursery, tmp_path / "other")
    other.arguments[other.arguments.index("--port") + 1] = str(town.port)
    other.start(wait=False)
    assert other.wait(GONE_S) == 2
    assert f"port {town.port} for the portal is in use" in other.lines[-1]
    assert "--port" in other.lines[-1]


def test_damaged_readings_are_one_sentence(nursery: Nursery, tmp_path: Path) -> None:
    town = NurseryTown(nursery, tmp_path / "data", points=12, days=1)
    (town.data / "headend").mkdir(parents=True)
    (town.data / "headend" / "headend.sqlite").write_bytes(b"no database at all" * 300)
    town.start(wait=False)
    assert town.wait(GONE_S) == 2
    assert "the readings in" in town.lines[-1]
    assert "--data" in town.lines[-1]


def test_stopped_while_measuring_it_ends_in_order(nursery: Nursery, tmp_path: Path) -> None:
    town = NurseryTown(nursery, tmp_path / "data", points=40, days=30)
    try:
        town.start(wait=False)
        assert town.says("measure their history")
        town.stop()
        assert town.status == 0
        assert town.lines[-1].startswith("stopped")
        assert not any("Traceback" in line for line in town.lines)
    finally:
        town.kill()
