"""A running control centre from the command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import httpx

from blathy.models.model import Level
from tests.headend.small_fleet import ADMIN, small_fleet, until
from tests.headend.test_pushes import centre_of, portal_of

WAY_IN = ("--user", ADMIN[0], "--password", ADMIN[1])


async def blathy(client: httpx.AsyncClient, *words: str) -> tuple[int, str, str]:
    """Exit status, output and errors of a command in a process of its own."""
    code = "from blathy.cli.app import main; main()"
    line = [sys.executable, "-c", code, *words, "--api", str(client.base_url)]
    done = await asyncio.to_thread(
        subprocess.run, line, capture_output=True, text=True, check=False, timeout=300
    )
    return done.returncode, done.stdout, done.stderr


def test_keys_clocks_orders_and_alarms(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("mt372",)) as small,
            centre_of(tmp_path / "head", small) as head,
            portal_of(head) as client,
        ):
            meter = small.meters["mt372"]
            watching = asyncio.create_task(
                blathy(client, "alarms", *WAY_IN, "--follow", "--count", "1", "--json")
            )
            old = meter.key("unicast")
            status, out, _ = await blathy(
                client, "keys", "mt372", *WAY_IN, "--change", "encryption", "--yes", "--json"
            )
            assert status == 0
            assert meter.key("unicast") != old
            assert json.loads(out)["history"][0]["outcome"] == "done"
            assert old.hex() not in out
            assert meter.key("unicast").hex() not in out
            status, out, _ = await blathy(client, "order", "mt372", "limit", "power_w=4000",
                                          *WAY_IN, "--yes")  # fmt: skip
            assert status == 0
            assert json.loads(out)["limit_w"] == 4000
            status, out, err = await blathy(client, "clock", "--group", "all", *WAY_IN, "--yes",
                                            "--json")  # fmt: skip
            assert status == 0
            assert "1 left as they are" in err
            assert json.loads(out)[0]["proposed"] == "none"
            await until(lambda: head.hub.listeners)
            small.happens("mt372", "terminal_cover_opened")
            status, out, _ = await watching
            assert status == 0
            assert json.loads(out)["name"] == "terminal_cover_opened"
            status, _, err = await blathy(client, "keys", "nowhere", *WAY_IN)
            assert status == 2
            assert "nowhere" in err
            assert "Traceback" not in err
            password = meter.identity.passwords[Level.READER].decode()
            assert password not in out + err

    asyncio.run(work())
