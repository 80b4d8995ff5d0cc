"""What was collected, by hour, day, month and year: gaps filled, validated and estimated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from blathy.clock import iso_utc
from tests.headend.conftest import NOON, Centre, browser

STEP = 900
DAY_S = 86_400
SLOT_NOW = NOON - NOON % STEP


@pytest.mark.requirement("CC-03")
def test_every_resolution_adds_up_and_gaps_are_filled_or_estimated(
    centre: Callable[..., Centre],
) -> None:
    one = centre(days=40)
    meter = one.meter("p-001")
    lost = SLOT_NOW - 3 * DAY_S
    later = SLOT_NOW - 2 * DAY_S
    meter.holes = [(lost, lost + 4 * STEP), (later, later + 8 * STEP)]

    async def collected() -> None:
        await one.head.collector.fill_gaps(one.head.inventory.points["p-001"])
        one.head.collector._complete.clear()

    async def work() -> None:
        async with browser(one, "vera", "viewer-password") as client:
            zone = one.head.inventory.zone
            today = int(zone.day_start(zone.day_of(NOON)))
            start = int(zone.day_start(zone.day_of(NOON - 35 * DAY_S)))

            async def profile(resolution: str, first: int = start) -> Any:
                query = f"channel=a_import&from={iso_utc(first)}&to={iso_utc(today)}"
                url = f"/api/v1/points/p-001/profile?{query}&resolution={resolution}"
                answer = await client.get(url)
                assert answer.status_code == 200, answer.text
                assert answer.json()["resolution"] == resolution
                return answer.json()

            await collected()
            slots = (await profile("slot", today - 4 * DAY_S))["slots"]
            missing = [s for s in slots if s["quality"] == "missing"]
            assert len(missing) >= 10
            findings = (await client.get("/api/v1/points/p-001/quality")).json()["items"]
            assert {"V3"} <= {f["rule"] for f in findings}  # both gaps are found
            await one.head.collector.seal_days()
            await one.head.collector.estimate_gaps()
            slots = (await profile("slot", today - 4 * DAY_S))["slots"]
            assert any(s["quality"] == "estimated" for s in slots)
            assert all(s["value"] is not None for s in slots)
            sums = {}
            for resolution in ("hour", "day", "month", "year"):
                first = start if resolution in {"hour", "day"} else 0
                answer = await profile(resolution, first or start)
                sums[resolution] = answer["sum"]
                assert answer["sum"] == pytest.approx(
                    sum(s["value"] for s in answer["slots"] if s["value"] is not None)
                )
            # from the first collected slot on, every cut of the time gives the same energy
            assert sums["hour"] == sums["day"]
            assert sums["month"] >= sums["day"]
            assert sums["year"] >= sums["month"]
            years = (await profile("year"))["slots"]
            assert [s["start"] for s in years] == [iso_utc(int(zone.day_start(
                zone.day_of(NOON).replace(month=1, day=1))))]  # fmt: skip

    asyncio.run(work())
