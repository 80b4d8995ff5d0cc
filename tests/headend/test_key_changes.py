"""Keys of a meter are changed, and a kill at any step leaves the meter within reach."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from blathy.headend import HeadEnd
from blathy.headend.collection.conversation import ConversationError, Outcome
from blathy.headend.inventory.description import SiteDescription
from blathy.headend.operations import audit
from blathy.headend.operations.jobs import Job
from blathy.headend.schema import audit_entry, invocation_counter
from blathy.headend.sentence import EMPTY
from blathy.meter.meter import Meter
from blathy.models.model import Mechanism
from tests.headend.small_fleet import SmallFleet, password_way_in, small_fleet
from tests.headend.test_pushes import centre_of, portal_of
from tests.waiting import until

STEPS = ("stored", "sent", "taken", "released", "opened", "confirmed", "proved")
NAMES = {
    "encryption": "unicast", "authentication": "authentication", "broadcast": "broadcast",
    "master": "master",
}  # fmt: skip
CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from blathy.headend import HeadEnd
from blathy.headend.operations.jobs import Job
from blathy.headend.sentence import EMPTY

folder, point, die_at, purposes = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]

async def work():
    head = HeadEnd.open(folder, None, schedules=())
    def step(name):
        print(name, flush=True)
        if name == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
    head.keys.step = step
    place = head.inventory.points[point]
    job = Job("1", "keys", EMPTY, "demo", point, 0)
    await head.keys._change(job, place, tuple(purposes.split(",")), "demo")
    await head.stop()

asyncio.run(work())
"""


def opened(folder: Path, site: SiteDescription) -> HeadEnd:
    return HeadEnd.open(folder, site, history_days=1, schedules=())


def agree(head: HeadEnd, meter: Meter, point: str) -> bool:
    """Whether the head-end holds the keys that the meter has."""
    held = head.inventory.secrets_of(head.inventory.points[point].meter)
    return all(held.of(purpose) == meter.key(name) for purpose, name in NAMES.items())


async def changed(client: Any, point: str, *purposes: str) -> dict[str, Any]:
    """Both steps over the API; the job when it has ended."""
    body = {"purposes": list(purposes)}
    first = await client.post(f"/api/v1/points/{point}/keys", json=body)
    assert first.status_code == 200, first.text
    confirm = body | {"confirm": first.json()["confirm"]}
    second = await client.post(f"/api/v1/points/{point}/keys", json=confirm)
    assert second.status_code == 202, second.text
    job = second.json()["id"]

    async def ended() -> Any:
        found = (await client.get(f"/api/v1/jobs/{job}")).json()
        return found if found["state"] != "running" else None

    found: dict[str, Any] = await until(ended)
    return found


@pytest.mark.requirement("CC-12")
@pytest.mark.parametrize("suite", [0, 2])
def test_keys_of_every_kind_are_changed_over_the_api(tmp_path: Path, suite: int) -> None:
    async def work() -> None:
        async with (
            small_fleet(
                tmp_path / "fleet", ("omnipower",), suite=suite, way_in=way_of(suite)
            ) as small,
            centre_of(tmp_path / "head", small) as head,
            portal_of(head) as client,
        ):
            meter, point = small.meters["omnipower"], head.inventory.points["omnipower"]
            before = {name: meter.key(name) for name in NAMES.values()}
            old = head.inventory.secrets_of(point.meter)
            for purposes in (("encryption", "authentication"), ("broadcast", "master"),
                             ("encryption",), ("authentication",)):  # fmt: skip
                job = await changed(client, "omnipower", *purposes)
                assert job["state"] == "done", job["message"]
                assert agree(head, meter, "omnipower")
                await head.collector.check_clock(point)
            assert all(meter.key(name) != key for name, key in before.items())
            await head.collector.lines.release(point.meter)
            with pytest.raises(ConversationError) as caught:  # the old ones are worth nothing
                await head.driver.open(point.meter, old)
            assert caught.value.outcome is not Outcome.OK
            small.happens("omnipower", "magnet_start")  # pushes come with the new keys
            await until(lambda: head.pushes.counters["accepted"])
            shown = await client.get("/api/v1/points/omnipower/keys")
            document = shown.json()
            assert document["pending"] is None
            assert {i["purpose"] for i in document["items"] if i["can_change"]} == set(NAMES)
            assert [h["outcome"] for h in document["history"][:3]] == ["done", "sent", "started"]
            for name in NAMES.values():
                assert meter.key(name).hex() not in shown.text.lower()
            state = head.database.read_now(audit.verify)
            assert state.intact

    asyncio.run(work())


def way_of(suite: int) -> Callable[[Any], Any]:
    from blathy.town.town import management_of

    return lambda identity: replace(management_of(identity), suite=suite)


def test_the_counter_of_a_new_key_begins_anew(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("mt372",)) as small,
            centre_of(tmp_path / "head", small) as head,
            portal_of(head) as client,
        ):
            point = head.inventory.points["mt372"]
            for _ in range(5):
                await head.collector.check_clock(point)
            assert (await changed(client, "mt372", "encryption"))["state"] == "done"
            numbers = small.meters["mt372"].counters.lowest
            from blathy.client.address import DEFAULT_CLIENT_TITLE
            from blathy.wire.security import key_fingerprint

            fresh = key_fingerprint(small.meters["mt372"].key("unicast"))
            assert numbers(DEFAULT_CLIENT_TITLE, fresh) < 20
            names = head.database.read_now(
                lambda c: [r.name for r in c.execute(sa.select(invocation_counter))]
            )
            assert any(fresh in name for name in names)

    asyncio.run(work())


@pytest.mark.requirement("CC-12")
def test_a_password_is_changed(tmp_path: Path) -> None:
    async def work() -> None:
        from blathy.models.model import Level

        mechanisms = ((Level.MANAGEMENT, Mechanism.LLS),)
        async with (
            small_fleet(
                tmp_path / "fleet", ("mt372",), mechanisms=mechanisms, way_in=password_way_in
            ) as small,
            centre_of(tmp_path / "head", small) as head,
            portal_of(head) as client,
        ):
            point = head.inventory.points["mt372"]
            old = head.inventory.secrets_of(point.meter)
            job = await changed(client, "mt372", "password")
            assert job["state"] == "done", job["message"]
            assert "fingerprints" not in job["result"] or not job["result"]["fingerprints"]
            assert head.inventory.secrets_of(point.meter).password != old.password
            await head.collector.check_clock(point)
            await head.collector.lines.release(point.meter)
            with pytest.raises(ConversationError):
                await head.driver.open(point.meter, old)

    asyncio.run(work())


def kill_at(tmp_path: Path, step: str, purposes: str) -> None:
    """A head-end is killed at that step; the next one talks to the meter and settles the change."""

    async def work() -> None:
        async with small_fleet(tmp_path / "fleet", ("omnipower",)) as small:
            folder = tmp_path / "head"
            head = opened(folder, small.site)
            await head.collector.check_clock(head.inventory.points["omnipower"])
            await head.stop()
            child = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", CHILD, str(folder), "omnipower", step, purposes],
                capture_output=True, text=True, check=False, timeout=300,
            )  # fmt: skip
            assert child.returncode in {0, -9}, child.stderr
            assert child.returncode == 0 or child.stdout.split()[-1] == step
            await look_again(folder, small)

    asyncio.run(work())


async def look_again(folder: Path, small: SmallFleet) -> None:
    meter = small.meters["omnipower"]
    head = opened(folder, small.site)
    try:
        point = head.inventory.points["omnipower"]
        await head.collector.check_clock(point)
        await head.keys.settle(point)
        assert head.inventory.keyring.pending(point.meter.id, point.meter.serial) is None
        assert agree(head, meter, "omnipower")
        await head.collector.lines.release(point.meter)
        await head.collector.check_clock(point)
    finally:
        await head.stop()


class KilledError(BaseException):
    """The process ends here: nothing that follows happens."""


@pytest.mark.requirement("CC-12")
def test_an_end_at_every_step_leaves_the_meter_within_reach(tmp_path: Path) -> None:
    """One after the other on one meter, each change begun with the keys of the one before."""

    async def work() -> None:
        async with small_fleet(tmp_path / "fleet", ("omnipower",)) as small:
            folder = tmp_path / "head"
            cases = [(step, ("encryption", "authentication")) for step in STEPS]
            cases += [(step, ("broadcast", "master")) for step in ("sent", "taken")]
            for step, purposes in cases:
                await ended_at(folder, small, step, purposes)
                await look_again(folder, small)

    asyncio.run(work())


async def ended_at(folder: Path, small: SmallFleet, step: str, purposes: tuple[str, ...]) -> None:
    head = opened(folder, small.site)
    point = head.inventory.points["omnipower"]

    def die(name: str) -> None:
        if name == step:
            raise KilledError

    head.keys.step = die
    job = Job("1", "keys", EMPTY, "demo", point.id, 0)
    with pytest.raises(KilledError):
        await head.keys._change(job, point, purposes, "demo")
    await head.collector.lines.close()
    head.database.close()


@pytest.mark.parametrize("step", ["taken"])
def test_a_kill_leaves_the_meter_within_reach(tmp_path: Path, step: str) -> None:
    kill_at(tmp_path, step, "encryption,authentication")


@pytest.mark.crash
@pytest.mark.parametrize(
    "purposes",
    ["encryption,authentication", "encryption", "authentication", "encryption,master",
     "broadcast,master"],
)  # fmt: skip
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_every_step(tmp_path: Path, step: str, purposes: str) -> None:
    kill_at(tmp_path, step, purposes)


def test_a_description_loaded_again_does_not_bring_an_old_key_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with small_fleet(tmp_path / "fleet", ("mt372",)) as small:
            async with (
                centre_of(tmp_path / "head", small) as head,
                portal_of(head) as client,
            ):
                job = await changed(client, "mt372", "encryption", "authentication")
                assert job["state"] == "done"
            head = opened(tmp_path / "head", small.site)  # the description has the old keys
            assert agree(head, small.meters["mt372"], "mt372")
            await head.collector.check_clock(head.inventory.points["mt372"])
            await head.stop()
            # a description that says something new is followed
            point = small.site.points[0]
            way_in = replace(point.meter.associations[0], encryption_key=b"n" * 16)
            meter = replace(point.meter, associations=(way_in,))
            site = replace(small.site, points=(replace(point, meter=meter),))
            head = opened(tmp_path / "head", site)
            secrets = head.inventory.secrets_of(head.inventory.points["mt372"].meter)
            assert secrets.encryption_key == b"n" * 16
            await head.stop()

    asyncio.run(work())


def test_who_may_change_what(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("mt372",)) as small,
            centre_of(tmp_path / "head", small) as head,
            portal_of(head) as client,
        ):
            place = "/api/v1/points/mt372/keys"
            for purposes in ([], ["nonsense"], ["password"], ["password", "encryption"]):
                answer = await client.post(place, json={"purposes": purposes})
                assert answer.status_code == 409, purposes
            body = {"purposes": ["encryption"], "confirm": "made up"}
            assert (await client.post(place, json=body)).status_code == 409
            user = {"user": "ivan", "password": "installer-password"}
            answer = await client.post("/api/v1/session", json=user)
            client.headers["X-CSRF-Token"] = answer.json()["csrf"]
            assert (await client.get(place)).status_code == 200
            answer = await client.post(place, json={"purposes": ["encryption"]})
            assert answer.status_code == 403
            rows = head.database.read_now(
                lambda c: list(c.execute(sa.select(audit_entry.c.action)))
            )
            assert not any(r.action == "key.change" for r in rows)
            assert json.dumps((await client.get(place)).json())

    asyncio.run(work())
