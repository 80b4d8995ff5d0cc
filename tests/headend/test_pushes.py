"""Alarms that meters send by themselves: taken once, from whom they say, before they are
confirmed."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import sqlalchemy as sa
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from blathy.headend import HeadEnd
from blathy.headend.api import create_app
from blathy.headend.collection import pushes
from blathy.headend.collection.push_meaning import spent
from blathy.headend.database import StoreError
from blathy.headend.schema import event
from blathy.meter.pushing import push_apdus
from blathy.obis import Obis
from blathy.wire import wrapper
from blathy.wire.security import KeySet
from tests.headend.small_fleet import ADMIN, SmallFleet, small_fleet
from tests.waiting import until

COVER = "terminal_cover_opened"


@asynccontextmanager
async def centre_of(folder: Path, small: SmallFleet, port: int = 0) -> AsyncIterator[HeadEnd]:
    """A head-end that listens for pushes; the meters push there, and their logs have been read."""
    head = HeadEnd.open(folder, small.site, history_days=1, schedules=())
    await head.start()
    try:
        bound = await head.listen("127.0.0.1", port)
        small.push_to(bound)
        for point in head.inventory.points.values():
            await head.collector.read_events(point)
        yield head
    finally:
        await head.stop()


class Portal(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """The test's own."""


@asynccontextmanager
async def portal_of(head: HeadEnd) -> AsyncIterator[httpx.AsyncClient]:
    """The API on a real port, logged in."""
    config = uvicorn.Config(
        create_app(head), port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1
    )
    server = Portal(config)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve([sock]))
        await until(lambda: server.started)
        base = f"http://127.0.0.1:{sock.getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=base, timeout=120) as client:
                user = {"user": ADMIN[0], "password": ADMIN[1]}
                answer = await client.post("/api/v1/session", json=user)
                client.headers["X-CSRF-Token"] = answer.json()["csrf"]
                yield client
        finally:
            server.should_exit = True
            await asyncio.wait({task}, timeout=60)


async def pushed_of(client: httpx.AsyncClient, point: str) -> list[dict[str, Any]]:
    """Alarms that the meter told by itself. Some models keep an event in two logs: the second
    record is not one of them."""
    answer = await client.get(f"/api/v1/events?point={point}&severity=alarm")
    return [item for item in answer.json()["items"] if item["pushed_at"] is not None]


async def first_alarm(client: httpx.AsyncClient, ready: asyncio.Event) -> dict[str, Any]:
    """The first event of the alarm stream."""
    async with client.stream("GET", "/api/v1/stream?topics=alarms") as stream:
        ready.set()
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                found: dict[str, Any] = orjson.loads(line[6:])
                return found
    raise AssertionError("the stream ended")


@pytest.mark.requirement("CC-02", "ESOX-10")
def test_an_alarm_comes_by_itself_and_is_seen_at_once(tmp_path: Path) -> None:
    """Nothing polls here: the head-end has no schedules."""

    async def work() -> None:
        models = ("esox", "mt372", "k382m", "omnipower")
        names = {"esox": "magnet_start", "mt372": COVER, "k382m": "magnet_start"}
        async with (
            small_fleet(tmp_path / "fleet", models) as small,
            centre_of(tmp_path / "head", small) as head,
            portal_of(head) as client,
        ):
            for point in head.inventory.points.values():
                await head.collector.lines.release(point.meter)  # no association is open either
            for model in models:
                name = names.get(model, "magnet_start")
                ready = asyncio.Event()
                shown = asyncio.create_task(first_alarm(client, ready))
                await ready.wait()
                await until(lambda: head.hub.listeners)
                small.happens(model, name)
                told = await asyncio.wait_for(shown, 60)
                assert (told["point"]["id"], told["name"]) == (model, name)
                assert told["pushed_at"] is not None
                (row,) = await pushed_of(client, model)
                assert row["id"] == told["id"]
                await until(lambda: not head.hub.listeners)

                async def logged(model: str = model) -> bool:
                    (row,) = await pushed_of(client, model)
                    return bool(row["log"] != "push")

                await until(logged)  # its record in the meter's log is the same event
            answer = (await client.get("/api/v1/pushes")).json()
            assert answer["counters"]["accepted"] >= 4
            assert answer["counters"]["confirmed"] == answer["counters"]["accepted"]
            assert answer["listening"]["port"] == head.pushes.port
            assert {item["point"]["id"] for item in answer["items"]} == set(models)
            mine = (await client.get("/api/v1/points/esox/pushes")).json()
            assert mine["items"][0]["outcome"] == "accepted"
            await until(lambda: small.fleet.outgoing.pushes.sent >= 4)
            assert small.fleet.outgoing.pushes.failed == 0

    asyncio.run(work())


@pytest.mark.requirement("MT372-09")
def test_the_meter_calls_after_a_power_failure_and_answers_on_demand(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("mt372",)) as small,
            centre_of(tmp_path / "head", small) as head,
            portal_of(head) as client,
        ):
            now = int(time.time())
            small.loads["mt372"].dark = (now + 1, now + 3)

            async def both() -> bool:
                answer = await client.get("/api/v1/events?point=mt372&group=supply")
                found = {i["name"] for i in answer.json()["items"] if i["pushed_at"] is not None}
                return {"power_down", "power_up"} <= found

            await until(both)
            answer = await client.post("/api/v1/points/mt372/read", json={"what": "registers"})
            job = answer.json()["id"]

            async def done() -> bool:
                state = (await client.get(f"/api/v1/jobs/{job}")).json()
                return bool(state["state"] == "done" and state["result"]["registers"] > 0)

            await until(done)

    asyncio.run(work())


def test_alarms_wait_for_a_head_end_that_is_down(tmp_path: Path) -> None:
    async def work() -> None:
        async with small_fleet(tmp_path / "fleet", ("mt372",)) as small:
            async with centre_of(tmp_path / "head", small) as head:
                port = head.pushes.port
            small.happens("mt372", COVER)
            await until(lambda: small.fleet.outgoing.pushes._tasks)
            async with centre_of(tmp_path / "head", small, port) as head:
                await until(lambda: head.pushes.counters["accepted"])
                await until(lambda: small.fleet.outgoing.pushes.sent)
                await until(lambda: not small.fleet.outgoing.pushes._tasks)
                assert named(head, COVER) == 1

    asyncio.run(work())


def counted(head: HeadEnd, number: int) -> bool:
    return named(head, COVER) == number


def named(head: HeadEnd, name: str) -> int:
    """How many events of that name are kept."""
    query = sa.select(sa.func.count()).select_from(event).where(event.c.name == name)
    return int(head.database.read_now(lambda c: c.execute(query).scalar_one()))


def test_what_was_not_committed_is_not_confirmed_and_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("mt372",)) as small,
            centre_of(tmp_path / "head", small) as head,
        ):
            whole = head.database.write
            failures = [2]

            async def failing(change: Any) -> Any:
                if failures[0]:
                    failures[0] -= 1
                    raise StoreError("the disk is full")
                return await whole(change)

            monkeypatch.setattr("blathy.fleet.push_sender.CONNECT_TIMEOUT_S", 1.0)
            monkeypatch.setattr(head.pushes._database, "write", failing)
            small.happens("mt372", COVER)
            await until(lambda: head.pushes.counters["accepted"])
            assert head.pushes.counters["lost"] == 2
            await until(lambda: small.fleet.outgoing.pushes.sent == 1)
            assert named(head, COVER) == 1

    asyncio.run(work())


async def sent(port: int, packets: list[bytes]) -> None:
    """Over a connection of its own; the receiver may close it."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"".join(packets))
        await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def captured(small: SmallFleet, model: str = "mt372") -> bytes:
    """A push of the meter as an eavesdropper has it."""
    meter = small.meters[model]
    meter.push(Obis.parse("0-0:25.9.0"))
    (message,) = meter.outbox.pushes
    meter.outbox.pushes.clear()
    (octets,) = push_apdus(meter, message, 1)
    return octets


def wrapped(octets: bytes) -> list[bytes]:
    return [wrapper.encode(1, 102, octets)]


def test_replays_forgeries_strangers_and_plain_text_change_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with small_fleet(tmp_path / "fleet", ("mt372",)) as small:
            async with centre_of(tmp_path / "head", small) as head:
                port, count = head.pushes.port, head.pushes.counters
                first, second = captured(small), captured(small)
                await sent(port, wrapped(second))
                await until(lambda: count["accepted"] == 1)
                await sent(port, wrapped(first))  # overtaken, not replayed
                await until(lambda: count["accepted"] == 2)
                await sent(port, wrapped(first) + wrapped(second))
                await until(lambda: count["replayed"] == 2)
                for at in (1, 12, 14, 20, len(first) - 1):
                    forged = bytearray(captured(small))
                    forged[at] ^= 1
                    await sent(port, wrapped(bytes(forged)))
                await until(lambda: count["refused"] + count["unknown"] + count["unreadable"] == 5)
                meter = small.meters["mt372"]
                meter.push(Obis.parse("0-0:25.9.0"))
                (message,) = meter.outbox.pushes
                meter.outbox.pushes.clear()
                plain = b"\x0f\x00\x00\x00\x01\x00" + message.body
                await sent(port, wrapped(plain))
                told = await until_detail(head, "in clear")
                assert told["outcome"] == "refused"
                stranger = bytearray(captured(small))
                stranger[2:10] = b"XYZ\x00\x00\x00\x00\x07"
                await sent(port, wrapped(bytes(stranger)))
                await until(lambda: any(u.meter.startswith("58595A") for u in strangers(head)))
                assert count["accepted"] == 2
                await until(lambda: named(head, "push_replayed") == 1)
            async with centre_of(tmp_path / "head", small) as again:  # counters are durable
                await sent(again.pushes.port, wrapped(second))
                await until(lambda: again.pushes.counters["replayed"] == 1)
                assert again.pushes.counters["accepted"] == 0

    asyncio.run(work())


def strangers(head: HeadEnd) -> list[Any]:
    return list(head.pushes._unknown.values())


async def until_detail(head: HeadEnd, text: str) -> dict[str, Any]:
    async def found() -> dict[str, Any] | None:
        items = (await head.pushes.as_json())["items"]
        return next((item for item in items if text in item["detail"]), None)

    told: dict[str, Any] = await until(found)
    return told


def test_a_flood_of_strangers_is_bounded_and_does_not_keep_a_meter_out(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("mt372",)) as small,
            centre_of(tmp_path / "head", small) as head,
        ):
            port, count = head.pushes.port, head.pushes.counters
            octets = captured(small)
            for n in range(60):
                title = b"FLD" + n.to_bytes(5, "big")
                packet = wrapper.encode(1, 102, octets[:2] + title + octets[10:])
                await sent(port, [packet] * 40)
            await sent(port, [bytes(200_000)])
            await until(lambda: count["unknown"] > 0 and count["throttled"] > 0)
            assert len(strangers(head)) <= pushes.UNKNOWN_KEPT
            assert len(head.pushes._buckets) <= 2
            small.happens("mt372", COVER)
            await until(lambda: count["accepted"] == 1)
            listed = (await head.pushes.as_json())["unknown"]
            assert "No meter of the inventory" in listed[0]["reason"]
            assert listed[0]["reason_code"].startswith("push-unknown-")

    asyncio.run(work())


def test_an_open_association_tells_too_and_it_is_one_event(tmp_path: Path) -> None:
    """The meter sends an event notification on the association and a push to the port."""

    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("esox",)) as small,
            centre_of(tmp_path / "head", small) as head,
        ):
            point = head.inventory.points["esox"]
            small.happens("esox", "magnet_start")
            small.happens("esox", "sag_start")

            async def both() -> bool:
                await head.collector.live(point, brief=True)
                return head.pushes.counters["told"] > 0 and head.pushes.counters["accepted"] > 0

            await until(both)
            await until(lambda: not small.meters["esox"].alarm_bits(1))
            assert named(head, "magnet_start") == 1
            assert named(head, "sag_start") == 1
            names = head.database.read_now(lambda c: list(c.execute(sa.select(event.c.name))))
            assert not [row.name for row in names if row.name.startswith("code_")]

    asyncio.run(work())


def test_pushes_by_udp(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("omnipower",)) as small,
            centre_of(tmp_path / "head", small) as head,
        ):
            small.push_to(head.pushes.port, service=1)
            small.happens("omnipower", "magnet_start")
            await until(lambda: named(head, "magnet_start"))
            items = (await head.pushes.as_json())["items"]
            assert items[0]["transport"] == "udp"

    asyncio.run(work())


def test_a_second_alarm_of_the_same_kind_is_another_alarm(tmp_path: Path) -> None:
    """Alarm bits stay set in the meter until the head-end has read the log and clears them."""

    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("mt372",)) as small,
            centre_of(tmp_path / "head", small) as head,
        ):
            for number in (1, 2):
                await until(lambda: not small.meters["mt372"].alarm_bits(1))
                small.happens("mt372", COVER)
                await until(partial(counted, head, number))
            await until(lambda: not small.meters["mt372"].alarm_bits(1))
            assert named(head, COVER) == 2

    asyncio.run(work())


@given(st.lists(st.integers(0, 300), min_size=1, max_size=200))
def test_no_counter_is_taken_twice(counters: list[int]) -> None:
    """Against a set: within the window every number once, below it none."""
    window = pushes.WINDOW
    taken: set[int] = {counters[0]}
    state = (counters[0], 0)
    for counter in counters[1:]:
        moved = spent(counter, *state, window)
        highest = max(taken)
        fresh = counter not in taken and counter >= highest - window
        assert (moved is not None) == fresh
        if moved is not None:
            state = moved
            taken.add(counter)
        assert state[0] == max(taken)
        assert state[1] < 1 << window


def test_keys_are_never_shown_by_the_receiver(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            small_fleet(tmp_path / "fleet", ("mt372",)) as small,
            centre_of(tmp_path / "head", small) as head,
        ):
            keys = KeySet(0, small.meters["mt372"].key("unicast"))
            shown = repr(keys) + repr(await head.pushes.as_json())
            assert keys.unicast.hex() not in shown

    asyncio.run(work())


def test_a_site_says_which_port_is_taken(tmp_path: Path) -> None:
    from blathy.transport.errors import MeterError

    async def work(folder: Path, tell: Callable[[str], None]) -> None:
        async with (
            small_fleet(folder / "fleet", ("mt372",)) as small,
            centre_of(folder / "head", small) as head,
        ):
            second = HeadEnd.open(folder / "second", small.site, schedules=())
            await second.start()
            try:
                await second.listen("127.0.0.1", head.pushes.port)
            except MeterError as error:
                tell(str(error))
            finally:
                await second.stop()

    said: list[str] = []
    asyncio.run(work(tmp_path, said.append))
    assert "taken" in said[0]
