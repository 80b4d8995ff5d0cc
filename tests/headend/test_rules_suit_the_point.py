"""A healthy town has few warnings, and each of them a cause."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from blathy.headend.head_end import HeadEnd
from blathy.headend.readings.rules import Finding, judge_point
from blathy.town.town import Town, TownPlan

DAY_S = 86_400
BEGIN = 1_779_832_800  # 2026-05-27T00:00 local time in Budapest
DAYS = 3


def test_a_healthy_town_has_no_warning(tmp_path: Path) -> None:
    """No V12, V17 or V18 of any channel of any point: cookers come and go, a house without a roof
    feeds nothing back, a voltage keeps its value for an hour. And nothing is missing (V3) of the
    days before the meters were there, nor of the first slot of their registers."""
    found = asyncio.run(_findings(tmp_path))
    assert [f for f in found if f[1].rule in {"V12", "V17", "V18"}] == []
    assert [f for f in found if f[1].rule == "V3" and f[1].start <= BEGIN] == []


async def _findings(folder: Path) -> list[tuple[str, Finding]]:
    end = BEGIN + DAYS * DAY_S
    town = Town(TownPlan(3, 26, BEGIN))
    town.let_sample(False)
    fleet = town.fleet(folder, lambda: float(end + 60))
    fleet.catch_up(end + 60)
    await fleet.serve(0)
    port = next(iter(fleet.running.values())).port
    head = HeadEnd.open(
        folder / "headend",
        town.site(port),
        clock=lambda: float(end + 60),
        history_days=DAYS + 1 + 1,
    )
    try:
        await head.collect_history()
        found: list[tuple[str, Finding]] = []
        for point in head.inventory.points.values():
            judged = partial(judge_point, point=point, from_utc=BEGIN - DAY_S, to_utc=end, now=end)
            findings = head.database.read_now(partial(judged, capacity_w=0))
            found += [(point.id, finding) for finding in findings]
        return found
    finally:
        await head.stop()
        await fleet.stop()
