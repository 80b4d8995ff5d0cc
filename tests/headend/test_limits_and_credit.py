"""Limits and the sale of credit: asked twice, booked once, found out when an answer is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from blathy.headend.schema import audit_entry
from tests.headend.conftest import Centre, Clock, browser
from tests.headend.small_fleet import small_fleet
from tests.headend.test_clocks import job_of
from tests.headend.test_pushes import centre_of, portal_of

MANAGER = ("mira", "manager-password")


async def ordered(client: Any, point: str, command: str, **arguments: Any) -> dict[str, Any]:
    """Both steps; the job when it has ended."""
    path = f"/api/v1/points/{point}/commands"
    body = {"command": command, "arguments": arguments}
    first = await client.post(path, json=body)
    assert first.status_code == 200, first.text
    confirm = body | {"confirm": first.json()["confirm"]}
    return await job_of(client, await client.post(path, json=confirm))


@pytest.mark.requirement("CC-08")
def test_a_running_meter_is_limited_sold_to_and_switched(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("omnipower",)) as small,
            centre_of(tmp_path / "head", small) as head,
            portal_of(head) as client,
        ):
            before = (await client.get("/api/v1/points/omnipower/supply")).json()
            assert before["prepaid"] is True
            job = await ordered(client, "omnipower", "credit", energy_wh=25_000)
            assert job["state"] == "done", job["message"]
            after = (await client.get("/api/v1/points/omnipower/supply")).json()
            gained = after["balance_wh"] - before["balance_wh"]
            assert 24_900 <= gained <= 25_000
            (sale,) = after["sales"]
            assert (sale["energy_wh"], sale["state"], sale["user"]) == (25_000, "sold", "demo")
            assert job["result"]["read_back"]["sale"] == sale["id"]
            job = await ordered(client, "omnipower", "limit", power_w=1500)
            assert job["result"]["read_back"]["limit_w"] == 1500
            job = await ordered(client, "omnipower", "limit", power_w=0)
            assert job["result"]["read_back"]["limit_w"] == 0
            facts = head.driver.facts(head.inventory.points["omnipower"].meter)
            back = "connect" if "connect" in facts.commands else "release"
            job = await ordered(client, "omnipower", "disconnect")
            assert job["result"]["read_back"]["output_state"] is False
            rows = head.database.read_now(lambda c: list(c.execute(sa.select(audit_entry))))
            actions = [(r.action, r.outcome) for r in rows if r.action.startswith("command.")]
            assert actions == [
                (f"command.{name}", outcome)
                for name in ("credit", "limit", "limit", "disconnect")
                for outcome in ("started", "done")
            ]
            path = "/api/v1/points/omnipower/commands"
            fifth = await client.post(path, json={"command": back})
            assert fifth.status_code == 429  # four in ten minutes

    asyncio.run(work())


def test_nothing_is_sold_where_it_is_paid_by_bill(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("k382m",)) as small,
            centre_of(tmp_path / "head", small) as head,
            portal_of(head) as client,
        ):
            supply = (await client.get("/api/v1/points/k382m/supply")).json()
            assert supply["prepaid"] is False
            job = await ordered(client, "k382m", "credit", energy_wh=1000)
            assert job["state"] == "failed"
            assert "pays by bill" in job["message"]
            assert job["title"] == "Credit: Place of k382m"
            assert (await client.get("/api/v1/points/k382m/supply")).json()["sales"] == []

    asyncio.run(work())


def test_amounts_out_of_range_are_refused(centre: Callable[..., Centre]) -> None:
    one = centre()

    async def work() -> None:
        async with browser(one, *MANAGER) as client:
            for command, arguments in (
                ("limit", {}), ("limit", {"power_w": 500}), ("limit", {"power_w": True}),
                ("limit", {"power_w": 5000, "x": 1}), ("limit", {"power_w": "5000"}),
                ("credit", {"energy_wh": 0}), ("credit", {"energy_wh": -5}),
                ("credit", {"energy_wh": 1_000_001}), ("credit", {"power_w": 5000}),
            ):  # fmt: skip
                body = {"command": command, "arguments": arguments}
                answer = await client.post("/api/v1/points/p-001/commands", json=body)
                assert answer.status_code == 409, body
            protected = {"command": "limit", "arguments": {"power_w": 5000}}
            answer = await client.post("/api/v1/points/p-005/commands", json=protected)
            assert "protected" in answer.json()["detail"]
            # the word is for that amount only
            body = {"command": "credit", "arguments": {"energy_wh": 1000}}
            one.meter("p-001").balance_wh = 0
            word = (await client.post("/api/v1/points/p-001/commands", json=body)).json()["confirm"]
            more = {"command": "credit", "arguments": {"energy_wh": 900_000}, "confirm": word}
            answer = await client.post("/api/v1/points/p-001/commands", json=more)
            assert answer.status_code == 409
            assert one.meter("p-001").balance_wh == 0

    asyncio.run(work())


@pytest.mark.parametrize("booked", [True, False])
def test_a_lost_answer_is_found_out_by_the_balance(
    centre: Callable[..., Centre], clock: Clock, booked: bool
) -> None:
    one = centre()
    meter = one.meter("p-001")
    meter.balance_wh, meter.loses_answers = 500, True

    async def work() -> None:
        async with browser(one, *MANAGER) as client:
            job = await ordered(client, "p-001", "credit", energy_wh=10_000)
            assert job["state"] == "failed"
            assert meter.balance_wh == 10_500
            meter.loses_answers = False
            sales = (await client.get("/api/v1/points/p-001/supply")).json()["sales"]
            assert [s["state"] for s in sales] == ["sold"]  # booked, although the answer was lost
            if not booked:
                return
            meter.balance_wh -= 200
            clock.now += 601
            job = await ordered(client, "p-001", "credit", energy_wh=1_000)
            assert job["state"] == "done"
            assert meter.balance_wh == 11_300

    asyncio.run(work())


def test_a_sale_that_a_crash_interrupted_is_settled_before_the_next(
    centre: Callable[..., Centre],
) -> None:
    from blathy.headend.schema import credit_sale

    one = centre()
    meter = one.meter("p-001")
    meter.balance_wh = 500
    row = {
        "id": "s1", "point_id": "p-001", "at": int(one.clock.now), "user_name": "mira",
        "energy_wh": 10_000, "state": "started", "before_wh": 500, "detail": "",
    }  # fmt: skip
    one.head.database.write_now(lambda c: c.execute(sa.insert(credit_sale).values(row)).rowcount)
    one.head.commands.sales.open()

    async def work() -> None:
        async with browser(one, *MANAGER) as client:
            job = await ordered(client, "p-001", "credit", energy_wh=1_000)
            assert job["state"] == "done"
            sales = (await client.get("/api/v1/points/p-001/supply")).json()["sales"]
            assert {s["id"]: s["state"] for s in sales}["s1"] == "failed"  # never booked
            assert meter.balance_wh == 1_500

    asyncio.run(work())
