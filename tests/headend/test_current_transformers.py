"""Current transformers in the control centre: registered by serial number over the API, attached to
an input of a real meter over its port, and the accuracy on test waveforms before and after."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from blathy.headend import HeadEnd
from blathy.headend.api import create_app
from blathy.headend.inventory.description import (
    FeederDescription,
    MeterDescription,
    PointDescription,
    SiteDescription,
    StationDescription,
    UserDescription,
)
from blathy.meter.loads import LoadDevices
from blathy.metrology.sensors import Calibration, calibrate
from blathy.town.channels import channels_of
from blathy.town.town import management_of
from tests.meter.running import START_S
from tests.meter.test_current_inputs import (
    ANGLES,
    FULL_SCALE_A,
    client,
    devices_of,
    poor,
    secondary,
    served,
)
from tests.meter.test_promises_over_the_port import number
from tests.meter.waves import Wave, Waves

RATED_A = 100
LOGIN = ("chief", "a long enough password")


def site_of(devices: LoadDevices, port: int) -> SiteDescription:
    model, identity = devices.meter.model, devices.meter.identity
    meter = MeterDescription(
        serial=identity.serial_text,
        model=model.key,
        url=f"dlms://127.0.0.1:{port}",
        associations=(management_of(identity),),
        channels=channels_of(model),
        system_title=identity.system_title.hex(),
    )
    return SiteDescription(
        name="bench",
        stations=(StationDescription("T1", "T1"),),
        feeders=(FeederDescription("F1", "F1", "T1"),),
        points=(
            PointDescription(
                id="p1", name="bench", kind="business", station="T1", feeder="F1", meter=meter
            ),
        ),
        users=(UserDescription(*LOGIN, role="admin"),),
    )


def measured_in_production(serial: str, sensor: Any) -> Calibration:
    """Five currents through the transformer and a reference beside it."""
    t = np.arange(1280) / 6_400
    scale = RATED_A / FULL_SCALE_A
    runs = []
    for share in (0.05, 0.1, 0.2, 0.5, 1.0):
        true = np.sqrt(2) * share * FULL_SCALE_A * np.sin(2 * np.pi * 50 * t)
        runs.append((true * scale, sensor.apply(true, 6_400) * scale))
    return calibrate(serial, RATED_A, runs, 6_400)


def body_of(found: Calibration) -> dict[str, Any]:
    points = [{"share": p.share, "ratio": p.ratio, "phase_min": p.phase_min} for p in found.points]
    return {"rated_a": RATED_A, "points": points, "station": "bench 4", "measured_at": "2026-03-02"}


async def logged_in(head: HeadEnd) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(head))
    one = httpx.AsyncClient(transport=transport, base_url="http://centre/api/v1")
    answer = await one.post("/session", json={"user": LOGIN[0], "password": LOGIN[1]})
    assert answer.status_code == 200, answer.text
    one.headers["X-CSRF-Token"] = answer.json()["csrf"]
    return one


SENSORS = (poor(-3.0, 120.0), poor(2.0, 90.0), poor(-1.5, 240.0))
LOADS = [(share, lag) for share in (0.1, 0.5, 1.0) for lag in (0.0, 60.0, -36.87)]


def bench() -> tuple[LoadDevices, dict[str, tuple[float, float]]]:
    """A three-phase device whose load the test changes while it runs."""
    load = {"now": (1.0, 0.0)}
    devices_feed = Waves(
        (*(Wave(230.0, a) for a in ANGLES), *(Wave(0.0) for _ in range(6))),
        sensors=(*SENSORS, None, None, None),
    )
    plain = devices_feed.second

    def second(at_utc_s: int) -> Any:
        share, lag = load["now"]
        amps = secondary(RATED_A * share, RATED_A)
        devices_feed.channels = (
            *devices_feed.channels[:3], *(Wave(amps, a - lag) for a in ANGLES),
            *devices_feed.channels[6:],
        )  # fmt: skip
        return plain(at_utc_s)

    devices_feed.second = second  # type: ignore[method-assign]
    return devices_of("mpta-3", devices_feed), load


def errors(devices: LoadDevices, load: dict[str, tuple[float, float]], port: int) -> list[float]:
    """Error of P and of the three currents in percent of full scale, at every load, as read at the
    meter's port."""
    full_w = 3 * 230.0 * RATED_A
    found = []
    with client(devices, port) as meter:
        for share, lag in LOADS:
            load["now"] = (share, lag)
            devices.advance(devices.meter.ledger.now + 4)
            true_w = full_w * share * np.cos(np.radians(lag))
            found.append(100 * abs(number(meter.read("1-0:16.7.0")) - true_w) / full_w)
            for code in (31, 51, 71):
                amps = number(meter.read(f"1-0:{code}.7.0"))
                found.append(100 * abs(amps - RATED_A * share) / RATED_A)
    return found


@pytest.mark.requirement("MPTA-16", "MPTA-01", "CC-04")
def test_constants_from_the_centres_database_bring_poor_transformers_to_the_promised_accuracy(
    tmp_path: Path,
) -> None:
    devices, load = bench()
    with served(devices) as port:
        before = errors(devices, load, port)
        head = HeadEnd.open(
            tmp_path / "centre", site_of(devices, port), clock=time.time, schedules=()
        )

        async def work() -> None:
            api = await logged_in(head)
            for channel, sensor in enumerate(SENSORS, 1):
                serial = f"CT-{channel:04d}"
                body = body_of(measured_in_production(serial, sensor))
                answer = await api.put(f"/current-transformers/{serial}", json=body)
                assert answer.status_code == 200, answer.text
                answer = await api.put(
                    f"/points/p1/current-inputs/{channel}", json={"serial": serial}
                )
                assert answer.status_code == 200, answer.text
                assert answer.json()["point"] == "p1"
            listed = (await api.get("/current-transformers")).json()["items"]
            assert [(t["serial"], t["channel"]) for t in listed] == [
                ("CT-0001", 1), ("CT-0002", 2), ("CT-0003", 3),
            ]  # fmt: skip
            point = (await api.get("/points/p1")).json()
            assert (point["feeder"]["id"], point["station"]["id"]) == ("F1", "T1")
            assert (point["meter"]["host"], point["meter"]["port"]) == ("127.0.0.1", port)
            assert point["meter"]["model"] == "mpta-3"
            assert {c["id"] for c in point["channels"]} >= {"a_import", "u_l1"}
            keys = {k["purpose"]: k for k in (await api.get("/points/p1/keys")).json()["items"]}
            assert keys["encryption"]["held"]
            assert keys["authentication"]["held"]
            audit = (await api.get("/audit")).json()["items"]
            assert sum(entry["action"] == "ct.attach" for entry in audit) == 3
            await api.aclose()
            await head.stop()

        asyncio.run(work())
        after = errors(devices, load, port)
        with client(devices, port) as meter:
            serials = [bytes(meter.read(f"1-0:0.4.{144 + n}")) for n in (1, 2, 3)]
    assert serials == [b"CT-0001", b"CT-0002", b"CT-0003"]
    assert max(before) > 1.0  # percent of full scale: the sheet promises 0.5
    assert max(after) < 0.05
    assert devices.meter.clock_utc_s() > START_S


@pytest.mark.requirement("CC-04")
def test_what_cannot_be_registered_or_attached_is_one_sentence(tmp_path: Path) -> None:
    devices, _ = bench()
    with served(devices) as port:
        head = HeadEnd.open(
            tmp_path / "centre", site_of(devices, port), clock=time.time, schedules=()
        )

        async def work() -> None:
            api = await logged_in(head)
            good = body_of(measured_in_production("CT-1", SENSORS[0]))
            falling = {**good, "points": good["points"][::-1]}
            for serial, body, words in (
                ("no space", good, "serial number"),
                ("CT-1", falling, "shares rise"),
                ("CT-1", {**good, "points": [{"share": 1.0, "ratio": 9.0}]}, "ratio"),
            ):
                answer = await api.put(f"/current-transformers/{serial}", json=body)
                assert answer.status_code == 422
                assert words in answer.text
            answer = await api.put("/points/p1/current-inputs/1", json={"serial": "CT-9"})
            assert answer.status_code == 404
            await api.put("/current-transformers/CT-1", json=good)
            assert (await attached(api))[1] is None
            answer = await api.put("/points/p1/current-inputs/7", json={"serial": "CT-1"})
            assert answer.status_code == 422
            assert "no current input 7" in answer.text
            await api.aclose()
            await head.stop()

        asyncio.run(work())


async def attached(api: httpx.AsyncClient) -> dict[int, Any]:
    """Input -> serial number and whether the meter has its constants; None where none is on."""
    items = (await api.get("/points/p1/current-inputs")).json()["items"]
    found = {item["channel"]: item["transformer"] for item in items}
    return {n: one and (one["serial"], one["attached_at"] != "") for n, one in found.items()}


def test_an_input_has_one_transformer_and_new_constants_are_attached_again(tmp_path: Path) -> None:
    devices, _ = bench()
    with served(devices) as port:
        head = HeadEnd.open(
            tmp_path / "centre", site_of(devices, port), clock=time.time, schedules=()
        )

        async def work() -> None:
            api = await logged_in(head)
            one = body_of(measured_in_production("CT-1", SENSORS[0]))
            other = body_of(measured_in_production("CT-2", SENSORS[1]))
            await api.put("/current-transformers/CT-1", json=one)
            await api.put("/current-transformers/CT-2", json=other)
            await api.put("/points/p1/current-inputs/1", json={"serial": "CT-1"})
            assert await attached(api) == {1: ("CT-1", True), **dict.fromkeys(range(2, 7))}
            await api.put("/current-transformers/CT-1", json={**one, "station": "bench 9"})
            assert (await attached(api))[1] == ("CT-1", True)
            await api.put("/current-transformers/CT-1", json=other)
            assert (await attached(api))[1] == ("CT-1", False)
            await api.put("/points/p1/current-inputs/1", json={"serial": "CT-2"})
            await api.put("/points/p1/current-inputs/3", json={"serial": "CT-1"})
            now = await attached(api)
            assert (now[1], now[2], now[3]) == (("CT-2", True), None, ("CT-1", True))
            told = (await api.get("/current-transformers")).json()["items"]
            assert [(t["serial"], t["place"], t["channel"]) for t in told] == [
                ("CT-1", "bench", 3), ("CT-2", "bench", 1),
            ]  # fmt: skip
            history = (await api.get("/points/p1/current-inputs")).json()["history"]
            assert [(h["serial"], h["channel"], h["user"]) for h in history] == [
                ("CT-1", 3, LOGIN[0]), ("CT-2", 1, LOGIN[0]), ("CT-1", 1, LOGIN[0]),
            ]  # fmt: skip
            await api.aclose()
            await head.stop()

        asyncio.run(work())
