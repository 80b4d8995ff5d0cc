"""Switching: asked twice, limited, protected, audited, read back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from blathy.headend.collection.conversation import Outcome
from blathy.headend.operations import audit, commands
from blathy.headend.operations.jobs import Jobs
from blathy.headend.schema import audit_entry
from tests.headend.conftest import Centre, Clock, browser
from tests.headend.fake_meters import FakeDriver

MANAGER = ("mira", "manager-password")


async def finished(client: Any, job: dict[str, Any]) -> dict[str, Any]:
    for _ in range(6000):
        found: dict[str, Any] = (await client.get(f"/api/v1/jobs/{job['id']}")).json()
        if found["state"] != "running":
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("the job does not end")


async def command(client: Any, point: str, name: str, **more: Any) -> Any:
    body = {"command": name, **more}
    return await client.post(f"/api/v1/points/{point}/commands", json=body)


def test_disconnect_in_two_steps_with_read_back(centre: Callable[..., Centre]) -> None:
    one = centre()

    async def work() -> None:
        async with browser(one, *MANAGER) as client:
            first = await command(client, "p-001", "disconnect")
            assert first.status_code == 200
            told = first.json()
            assert "Kovács household" in told["place"]
            assert "switched off" in told["consequence"]
            assert one.meter("p-001").connected
            second = await command(client, "p-001", "disconnect", confirm=told["confirm"])
            assert second.status_code == 202
            job = await finished(client, second.json())
            assert job["state"] == "done"
            assert job["result"]["read_back"]["output_state"] is False
            assert not one.meter("p-001").connected
            again = await command(client, "p-001", "disconnect", confirm=told["confirm"])
            assert again.status_code == 409
        rows = one.head.database.read_now(
            lambda c: list(c.execute(sa.select(audit_entry).order_by(audit_entry.c.id)))
        )
        mine = [(r.user_name, r.outcome) for r in rows if r.action == "command.disconnect"]
        assert mine == [("mira", "started"), ("mira", "done")]

    asyncio.run(work())


def test_a_confirmation_is_for_one_user_point_command_and_minute(
    centre: Callable[..., Centre], clock: Clock
) -> None:
    one = centre()

    async def work() -> None:
        async with browser(one, *MANAGER) as client, browser(one, "demo", "demo") as other:
            word = (await command(client, "p-001", "disconnect")).json()["confirm"]
            for caller, point, name in (
                (other, "p-001", "disconnect"), (client, "p-002", "disconnect"),
                (client, "p-001", "connect"),
            ):  # fmt: skip
                answer = await command(caller, point, name, confirm=word)
                assert answer.status_code == 409
            clock.now += 61
            assert (await command(client, "p-001", "disconnect", confirm=word)).status_code == 409
            assert one.meter("p-001").connected
            assert one.meter("p-002").connected

    asyncio.run(work())


def test_every_sentence_has_its_code_also_when_the_job_is_loaded_again(
    centre: Callable[..., Centre],
) -> None:
    one = centre()

    async def work() -> None:
        async with browser(one, *MANAGER) as client:
            refused = (await command(client, "p-005", "disconnect")).json()
            assert (refused["code"], refused["values"]) == (
                "point-protected", {"point": "Dairy farm"},
            )  # fmt: skip
            amount = {"power_w": 5_000}
            first = (await command(client, "p-001", "limit", arguments=amount)).json()
            assert first["consequence_code"] == "consequence-limit"
            assert first["consequence_values"] == amount
            one.meter("p-001").fails_with = Outcome.TIMED_OUT
            word = first["confirm"]
            second = await command(client, "p-001", "limit", arguments=amount, confirm=word)
            failed = await finished(client, second.json())
        assert (failed["state"], failed["title_code"]) == ("failed", "job-limit")
        assert failed["title_values"] == {"point": "Kovács household"}
        assert failed["message_code"] == "conversation-failed"
        assert failed["message_values"]["outcome"] == "timeout"
        later = Jobs(one.head.database, one.clock)
        later.open()
        again = later.get(failed["id"])
        assert again is not None
        assert again.as_json() == failed

    asyncio.run(work())


def test_protected_unable_and_unknown_are_refused(centre: Callable[..., Centre]) -> None:
    one = centre()

    async def work() -> None:
        async with browser(one, *MANAGER) as client:
            answer = await command(client, "p-005", "disconnect")
            assert answer.status_code == 409
            assert "protected" in answer.json()["detail"]
            assert (await command(client, "p-008", "disconnect")).status_code == 409
            assert (await command(client, "p-001", "explode")).status_code == 409
            assert (await command(client, "p-001", "relay")).status_code == 409
            answer = await command(client, "p-001", "connect", arguments={"now": True})
            assert answer.status_code == 409

    asyncio.run(work())


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"relay": "K1", "on": True}, 200),
        ({"relay": "K1", "on": 1}, 409),
        ({"relay": "K9", "on": True}, 409),
        ({"relay": "K1", "on": True, "self": 1}, 409),
    ],
)
def test_a_relay_command_has_its_two_arguments_and_no_other(
    centre: Callable[..., Centre], monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any], status: int,
) -> None:  # fmt: skip
    facts = FakeDriver.facts
    monkeypatch.setattr(
        FakeDriver, "facts",
        lambda driver, meter: replace(facts(driver, meter), commands=("relay",), relays=("K1",)),
    )  # fmt: skip
    one = centre()

    async def work() -> None:
        async with browser(one, *MANAGER) as client:
            answer = await command(client, "p-001", "relay", arguments=arguments)
            assert answer.status_code == status

    asyncio.run(work())


def test_rate_limits_per_point_and_site(
    centre: Callable[..., Centre], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "OFF_PER_SITE", (6, 3600))
    one = centre()

    async def off(client: Any, point: str) -> int:
        first = await command(client, point, "disconnect")
        if first.status_code != 200:
            return int(first.status_code)
        second = await command(client, point, "disconnect", confirm=first.json()["confirm"])
        await finished(client, second.json())
        return int(second.status_code)

    async def work() -> None:
        async with browser(one, *MANAGER) as client:
            assert [await off(client, "p-001") for _ in range(5)] == [202] * 4 + [429]
            assert [await off(client, p) for p in ("p-002", "p-003", "p-004")] == [202, 202, 429]

    asyncio.run(work())


def test_a_failed_command_says_so_and_is_not_repeated(centre: Callable[..., Centre]) -> None:
    one = centre()
    one.meter("p-001").fails_with = Outcome.TIMED_OUT

    async def work() -> None:
        async with browser(one, *MANAGER) as client:
            word = (await command(client, "p-001", "disconnect")).json()["confirm"]
            job = (await command(client, "p-001", "disconnect", confirm=word)).json()
            ended = await finished(client, job)
            assert (ended["state"], ended["result"]["outcome"]) == ("failed", "timeout")
            assert one.head.collector.outcomes["timeout"] == 1

    asyncio.run(work())


@pytest.mark.requirement("CC-11")
def test_the_clock_is_set_and_read_back(centre: Callable[..., Centre]) -> None:
    one = centre()
    one.meter("p-002").clock_offset_s = 500

    async def work() -> None:
        async with browser(one, *MANAGER) as client:
            word = (await command(client, "p-002", "set-clock")).json()["confirm"]
            job = (await command(client, "p-002", "set-clock", confirm=word)).json()
            result = (await finished(client, job))["result"]["read_back"]
            assert (result["offset_before_s"], result["offset_s"]) == (500, 0)

    asyncio.run(work())


@pytest.mark.parametrize("how", ["change", "delete", "insert", "reorder"])
def test_the_audit_chain_notices(centre: Callable[..., Centre], how: str) -> None:
    one = centre()
    database = one.head.database
    for n in range(6):
        database.write_now(lambda c, n=n: audit.append(c, n, "mira", "x", str(n), "done"))
    assert database.read_now(audit.verify).intact
    table = audit_entry

    def tamper(connection: sa.Connection) -> None:
        rows = list(connection.execute(sa.select(table).order_by(table.c.id)))
        third = table.c.id == rows[2].id
        if how == "change":
            connection.execute(sa.update(table).where(third).values(user_name="demo"))
        elif how == "delete":
            connection.execute(sa.delete(table).where(third))
        elif how == "insert":
            row = dict(rows[2]._mapping) | {"id": None, "hash": "0" * 64}
            connection.execute(sa.insert(table), [row])
        else:
            connection.execute(sa.update(table).where(third).values(id=rows[-1].id + 1))

    database.write_now(tamper)
    state = database.read_now(audit.verify)
    assert not state.intact
