"""A running control centre from the command line."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.cli.in_process import Done, blathy
from tests.headend.small_fleet import ADMIN, small_fleet
from tests.headend.test_pushes import centre_of, portal_of
from tests.waiting import until

WAY_IN = ("--user", ADMIN[0], "--password", ADMIN[1])


async def command(client: httpx.AsyncClient, *words: str) -> Done:
    """A command while the control centre goes on in this process."""
    return await asyncio.to_thread(blathy, *words, *WAY_IN, "--api", client.base_url)


async def first_alarm(client: httpx.AsyncClient) -> tuple[int, str]:
    """Exit status and output of `blathy alarms`, in a process of its own."""
    code = "from blathy.cli.app import main; main()"
    words = ("alarms", "--follow", "--count", "1", "--json", "--api", str(client.base_url))
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, *words, *WAY_IN],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_keys_clocks_orders_and_alarms(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("mt372",)) as small,
            centre_of(tmp_path / "head", small) as head,
            portal_of(head) as client,
        ):
            watching = asyncio.create_task(first_alarm(client))
            meter = small.meters["mt372"]
            old = meter.key("unicast")
            done = await command(
                client, "keys", "mt372", "--change", "encryption", "--yes", "--json"
            )
            assert done.status == 0, done.err
            assert meter.key("unicast") != old
            assert done.json["history"][0]["outcome"] == "done"
            assert old.hex() not in done.out
            assert meter.key("unicast").hex() not in done.out
            done = await command(client, "keys", "mt372", "--settle")
            assert "can be changed" in done.out
            done = await command(client, "order", "mt372", "limit", "power_w=5000", "--yes")
            assert re.search(r"^limit +5\s000 W$", done.out, re.MULTILINE)
            limit = ("order", "mt372", "limit", "power_w=4000", "--yes", "--json")
            assert (await command(client, *limit)).json["limit_w"] == 4000
            done = await command(client, "order", "mt372", "limit", "power_w=4", "--yes")
            assert done.status == 2
            assert "from 1000" in done.err
            done = await command(client, "clock", "--group", "all", "--yes", "--json")
            assert "1 left as they are" in done.err
            assert done.json[0]["proposed"] == "none"
            assert "mt372" in (await command(client, "clock")).out
            assert "mt372" in (await command(client, "clock", "mt372")).out
            await until(lambda: head.hub.listeners)
            small.happens("mt372", "terminal_cover_opened")
            status, out = await watching
            assert status == 0
            assert json.loads(out)["name"] == "terminal_cover_opened"
            assert "Terminal cover opened" in (await command(client, "alarms")).out
            done = await command(client, "keys", "nowhere")
            assert done.status == 2
            assert "nowhere" in done.err

    asyncio.run(work())
