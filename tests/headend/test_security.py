"""What the control centre tells of keys and their counters, seen while it talks to real meters."""

from __future__ import annotations

import asyncio
from pathlib import Path

from blathy.headend import HeadEnd
from tests.headend.small_fleet import small_fleet
from tests.waiting import until


def test_counters_rise_with_every_message_and_begin_anew_with_a_key(tmp_path: Path) -> None:
    async def work() -> None:
        async with small_fleet(tmp_path / "fleet", ("mt372",)) as small:
            head = HeadEnd.open(tmp_path / "head", small.site, history_days=1, schedules=())
            point = head.inventory.points["mt372"]
            fresh = await head.security.of_point(point)
            assert (fresh["mechanism"], fresh["ciphered"]) == ("hls_gmac", True)
            assert (fresh["counters"]["sent"], fresh["counters"]["received"]) == (0, 0)
            await head.collector.read_events(point)
            used = await head.security.of_point(point)
            assert used["counters"]["sent"] > 0
            assert 0 < used["counters"]["received"] < used["counters"]["last"]
            await head.collector.check_clock(point)
            later = await head.security.of_point(point)
            assert later["counters"]["received"] > used["counters"]["received"]
            assert later["clock_offset_s"] is not None

            purposes = ["encryption", "authentication"]
            asked = await head.keys.prepare("demo", point, purposes)
            job = await head.keys.confirm("demo", point, purposes, asked["confirm"])
            await until(lambda: job.state in {"done", "failed"})
            assert job.state == "done", job.message
            changed = await head.security.of_point(point)
            assert changed["counters"]["received"] < later["counters"]["received"]
            assert changed["keys_changed_at"] >= fresh["keys_changed_at"]
            assert not changed["unsettled"]
            page = await head.security.overview(1, 10)
            assert [item["point"]["id"] for item in page["items"]] == ["mt372"]
            assert page["total"] == 1
            await head.stop()

    asyncio.run(work())
