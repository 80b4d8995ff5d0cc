"""`blathy en50160`: a table, a recording with dips, and a point of a running control centre."""

from __future__ import annotations

import csv
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.in_process import blathy
from tests.cli.made_recordings import RATE, three_phase
from tests.free_ports import free_port

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
INTERVALS = 2 * 144


def two_days(step_s: int = 600) -> dict[str, list[Any]]:
    """Two days of 231 V on three phases with little distortion."""
    count = INTERVALS * 600 // step_s
    starts = [(MONDAY + timedelta(seconds=step_s * n)).isoformat() for n in range(count)]
    columns: dict[str, list[Any]] = {"start": starts}
    for phase in ("l1", "l2", "l3"):
        columns[f"u_{phase}_v"] = [231.0] * count
        columns[f"thd_u_{phase}_percent"] = [2.5] * count
        columns[f"h5_{phase}_percent"] = [2.0] * count
        columns[f"plt_{phase}"] = [0.4 if n * step_s % 7200 == 0 else "" for n in range(count)]
    columns["u2_percent"] = [0.3] * count
    columns["flagged"] = [0] * count
    return columns


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def result(found: Any, parameter: str, phase: str = "", share: float = 95.0) -> Any:
    return next(
        row for row in found["results"]
        if (row["parameter"], row["phase"], row["share_percent"]) == (parameter, phase, share)
    )  # fmt: skip


@pytest.mark.requirement("OMNI-09")
def test_a_good_table_is_met_and_says_what_it_does_not_hold(tmp_path: Path) -> None:
    path = write(tmp_path / "week.csv", two_days())
    done = blathy("en50160", path, "--json")
    assert done.status == 0, done.err
    found = done.json
    assert found["passed"]
    assert not found["complete"]
    assert found["days"] == 2.0
    assert result(found, "Supply voltage", "L2")["verdict"] == "met"
    assert result(found, "Supply voltage", "L2")["valid"] == INTERVALS
    assert result(found, "Long-term flicker Plt", "L1")["valid"] == 24
    assert result(found, "Frequency", "", 99.5)["verdict"] == "not measured"
    assert result(found, "Harmonic 7", "L1")["verdict"] == "not measured"
    assert result(found, "Harmonic 5", "L1")["verdict"] == "met"
    assert any("dips and swells are not measured" in note for note in found["notes"])
    assert found["dips"] is None
    shown = blathy("en50160", path)
    assert "not measured" in shown.out
    assert "Within the limits" in shown.out


@pytest.mark.requirement("OMNI-09")
def test_what_breaks_a_limit_is_named(tmp_path: Path) -> None:
    columns = two_days()
    for n in range(15):  # 5.2 % of the time
        columns["u_l2_v"][n] = 206.0
        columns["thd_u_l3_percent"][n] = 8.5
    columns["u_l1_v"][100] = 195.4  # once below 85 %
    columns["h5_l1_percent"][:20] = [6.5] * 20
    columns["u_l3_v"][7] = ""
    path = write(tmp_path / "week.csv", columns)
    events = write(
        tmp_path / "events.csv",
        {"start": [MONDAY.isoformat()] * 3, "duration_s": [0.1, 0.3, 200],
         "extreme_percent": [75, 115, 0]},
    )  # fmt: skip
    page = tmp_path / "week.html"
    done = blathy("en50160", path, "--events", events, "--json", "--html", page)
    assert done.status == 1
    found = done.json
    assert result(found, "Supply voltage", "L2")["verdict"] == "not met"
    assert result(found, "Supply voltage", "L2", 100.0)["verdict"] == "met"
    assert result(found, "Supply voltage", "L1")["verdict"] == "met"
    assert result(found, "Supply voltage", "L1", 100.0)["verdict"] == "not met"
    assert result(found, "Supply voltage", "L3")["valid"] == INTERVALS - 1
    assert result(found, "THD to the 40th", "L3")["verdict"] == "not met"
    assert result(found, "Harmonic 5", "L1")["verdict"] == "not met"
    dips = {(row["from_percent"], row["from_s"]): row["count"] for row in found["dips"]}
    assert dips[(70, 0.01)] == 1
    assert sum(row["count"] for row in found["swells"]) == 1
    assert found["interruptions"] == {"short": 0, "long": 1}
    assert "criteria are not met" in page.read_text()


@pytest.mark.requirement("OMNI-09")
def test_other_intervals_are_joined_or_told(tmp_path: Path) -> None:
    five = two_days(300)
    five["u_l1_v"][0], five["u_l1_v"][1] = 240.0, 250.0
    five["flagged"][5] = 1
    table = pa.table({k: [None if v == "" else v for v in col] for k, col in five.items()})
    pq.write_table(table, tmp_path / "five.parquet")
    found = blathy("en50160", tmp_path / "five.parquet", "--json").json
    assert found["interval_s"] == 600
    assert found["days"] == 2.0
    worst = result(found, "Supply voltage", "L1")
    assert worst["worst"] == pytest.approx(np.sqrt((240**2 + 250**2) / 2))
    assert worst["valid"] == INTERVALS - 1
    fifteen = write(tmp_path / "fifteen.csv", two_days(900))
    found = blathy("en50160", fifteen, "--json").json
    assert found["interval_s"] == 900
    assert found["days"] == 2.0
    assert result(found, "Supply voltage", "L1")["interval"] == "15 min"
    assert any("means over 15 min" in note for note in found["notes"])


@pytest.mark.requirement("OMNI-09", "ESOX-05")
def test_a_recording_with_dips(tmp_path: Path) -> None:
    rate = 4_000
    t = np.arange(rate * 665) / rate
    u = 230.0 * np.sqrt(2.0) * (np.sin(2 * np.pi * 50.1 * t) + 0.04 * np.sin(10 * np.pi * 50.1 * t))
    u[rate * 100 : rate * 100 + rate // 10] *= 0.75
    u[rate * 640 : rate * 641] *= 0.3
    path = tmp_path / "dips.npy"
    np.save(path, u[:, None].astype(np.float32))
    done = blathy(
        "en50160", path, "--sample-rate", rate, "--channels", "u1", "--nominal-u", 230,
        "--start", "2026-03-02T00:00:00Z", "--html", tmp_path / "dips.pdf", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    found = done.json
    frequency = result(found, "Frequency", "", 99.5)
    assert 60 <= frequency["valid"] <= 65  # slots in which a dip lost the grid do not count
    assert frequency["worst"] == pytest.approx(50.1, abs=1e-3)
    assert found["start"] == "2026-03-02T00:00:00Z"
    dips = {(row["from_percent"], row["from_s"]): row["count"] for row in found["dips"]}
    assert dips[(70, 0.01)] == 1
    assert dips[(5, 0.5)] + dips[(5, 1.0)] == 1
    assert found["flagged_percent"] == 100.0  # the only ten minutes hold a dip
    assert result(found, "Supply voltage", "L1")["verdict"] == "not measured"
    assert result(found, "THD to the 40th", "L1")["verdict"] == "not measured"
    assert (tmp_path / "dips.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.requirement("OMNI-09")
def test_ten_undisturbed_minutes_of_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "ten.npy"
    np.save(path, three_phase(602.0, 4_000, 50.02)[:, :3].astype(np.float32))
    names = ("--channels", "u1,u2,u3", "--nominal-u", 230)
    found = blathy("en50160", path, "--sample-rate", 4_000, *names, "--json").json
    voltage = result(found, "Supply voltage", "L1")
    assert voltage["valid"] == 1
    assert voltage["worst"] == pytest.approx(230.0 * np.sqrt(1 + 0.03**2), rel=1e-5)
    frequency = result(found, "Frequency", "", 100.0)
    assert frequency["valid"] == 60
    assert frequency["worst"] == pytest.approx(50.02, abs=1e-3)
    assert result(found, "Harmonic 5", "L3")["worst"] == pytest.approx(3.0, abs=0.01)
    assert result(found, "Unbalance u2")["worst"] == pytest.approx(0.0, abs=0.01)
    assert result(found, "Long-term flicker Plt", "L1")["verdict"] == "not measured"


def test_a_short_recording_is_not_more_than_it_is(tmp_path: Path) -> None:
    path = tmp_path / "short.npy"
    np.save(path, three_phase(3.0).astype(np.float32))
    done = blathy("en50160", path, "--sample-rate", RATE)
    assert done.status == 0
    assert "shorter than ten minutes" in done.out
    assert blathy("en50160", path, "--sample-rate", RATE, "--html", tmp_path / "s.html").status == 0


@pytest.mark.parametrize(
    ("name", "content", "options", "words"),
    [
        ("a.csv", "start,u_l1_v\n2026-03-02T00:00:00Z,230\n", [], "less than two intervals"),
        ("a.csv", "start,u_l1_v\nnoon,230\nnight,231\n", [], "is no time"),
        ("a.csv", "start,x\n0,1\n600,2\n", [], "no column u_l1_v"),
        ("a.csv", "start,u_l1_v\n0,1\n600\n", [], "not as many columns"),
        ("a.csv", "start,u_l1_v\n0,1\n86400,2\n", [], "too long"),
        ("a.parquet", "no parquet", [], "no readable Parquet"),
        ("a.csv", "start,u_l1_v\n0,230\n600,230\n", ["--events", "no.csv"], "cannot be read"),
        ("a.csv", "start,u_l1_v\n0,230\n600,230\n", ["--html", "a.doc"], ".html or .pdf"),
        ("a.csv", "start,u_l1_v\n0,230\n600,230\n", ["--nominal-hz", "16"], "50 or 60"),
    ],
)
def test_a_bad_table_is_one_sentence(
    name: str, content: str, options: list[str], words: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content)
    done = blathy("en50160", path, *options)
    assert done.status == 2
    assert words in done.err


def test_a_control_centre_that_is_not_there_is_one_sentence() -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    done = blathy("en50160", "p-001", "--api", address, "--user", "u", "--password", "secret")
    assert done.status == 2
    assert "blathy up" in done.err
    assert "secret" not in done.err
    assert "--user" in blathy("en50160", "p-001", "--api", address).err
    assert "no address" in blathy("en50160", "p-001", "--api", "file:///etc", "--user", "u").err


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def centre() -> Iterator[str]:
    """A control centre in a process of its own, over meters that are not real."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.headend.demo_server", "--port", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 240
        while not _listens(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(120)


@pytest.mark.requirement("OMNI-09")
def test_a_point_of_a_running_control_centre(centre: str, tmp_path: Path) -> None:
    login = ("--api", centre, "--user", "demo", "--password", "demo")
    page = tmp_path / "point.html"
    done = blathy("en50160", "p-001", *login, "--json", "--html", page)
    assert done.status == 0, done.err
    found = done.json
    assert found["interval_s"] == 900
    assert 6.9 < found["days"] <= 7.0
    voltage = result(found, "Supply voltage", "L1")
    assert voltage["valid"] > 600
    assert 227.9 < voltage["worst"] < 232.1
    assert result(found, "Frequency", "", 99.5)["verdict"] == "not measured by this meter"
    assert result(found, "THD to the 40th", "L1")["verdict"] == "not measured by this meter"
    assert any("means over 15 min" in note for note in found["notes"])
    assert "p-001" in page.read_text()
    assert "There is no point" in blathy("en50160", "nobody", *login).err
    wrong = blathy("en50160", "p-001", "--api", centre, "--user", "demo", "--password", "hush")
    assert wrong.status == 2
    assert "hush" not in wrong.err
    water = blathy("en50160", "p-008", *login)
    assert water.status == 2
    assert "no profile of the voltage" in water.err
