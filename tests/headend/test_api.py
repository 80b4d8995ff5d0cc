"""The API as the portal sees it: documents, errors, files, the stream."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from blathy.clock import iso_utc
from blathy.headend.access.roles import RULES
from blathy.headend.api import create_app
from blathy.headend.api.guard import PREFIX
from blathy.headend.collection.conversation import LoggedEvent, Outcome
from blathy.headend.sentence import Sentence
from blathy.headend.stream import BACKLOG_MAX, Listener, frame
from tests.headend.conftest import NOON, Centre, Clock, browser

ADMIN = ("demo", "demo")
EVIL = '<script>alert(1)</script>\u2028=HYPERLINK("x")\'"\\\n{{7*7}}'


async def collected(one: Centre) -> None:
    await one.head.collect_history()
    for point in one.head.inventory.points.values():
        await one.head.collector.attempt(point, "live")


def test_overview_and_points(centre: Callable[..., Centre]) -> None:
    one = centre(days=31)

    async def work() -> None:
        await collected(one)
        async with browser(one, *ADMIN) as client:
            overview = (await client.get("/api/v1/overview")).json()
            assert overview["meters"] == {"total": 8, "reachable": 8, "silent": 0}
            assert len(overview["completeness"]["days"]) == 30
            feeders = [f for s in overview["stations"] for f in s["feeders"]]
            assert [f["id"] for f in feeders] == ["fd-1", "fd-2", "fd-3", "fd-4"]
            assert overview["load_w"] == sum(f["load_w"] for f in feeders) > 0
            listed = (await client.get("/api/v1/points?sort=-power_w&size=3")).json()
            assert listed["total"] == 8
            assert listed["items"][0]["id"] == "p-007"
            for query, ids in (
                ("q=bakery", ["p-003"]), ("feeder=fd-3", ["p-005", "p-006"]),
                ("medium=water", ["p-008"]), ("model=esox", ["p-006", "p-007"]),
                ("q=61200137", ["p-001"]), ("state=silent", []),
            ):  # fmt: skip
                rows = (await client.get(f"/api/v1/points?{query}&sort=id")).json()["items"]
                assert [r["id"] for r in rows] == ids
            point = (await client.get("/api/v1/points/p-001")).json()
            assert point["meter"]["system_title"] == "424C540000000001"
            assert point["children"] == ["p-008"]
            assert [c["id"] for c in point["channels"]] == [
                "a_import", "a_export", "r_plus", "u_l1",
            ]  # fmt: skip

    asyncio.run(work())


def test_profile_agrees_with_the_meter(centre: Callable[..., Centre]) -> None:
    one = centre(days=3)

    async def work() -> None:
        await collected(one)
        async with browser(one, *ADMIN) as client:
            url = "/api/v1/points/p-001/profile?channel=a_import&resolution=day"
            found = (await client.get(f"{url}&from=2026-11-19T23:00:00Z")).json()
            assert [s["start"] for s in found["slots"]] == [
                "2026-11-19T23:00:00Z", "2026-11-20T23:00:00Z",
            ]  # fmt: skip
            import numpy as np

            starts = np.arange(NOON - NOON % 86_400 - 86_400 - 3600, NOON, 900)[:96]
            assert found["slots"][0]["value"] == int(one.meter("p-001").slot_wh(starts, 1).sum())
            assert found["register"]["last"] - found["register"]["first"] == found["sum"]
            today = found["slots"][1]
            assert today["quality"] == "valid"
            assert today["received"] == today["expected"] < 96
            csv = await client.get(f"{url.replace('/profile?', '/profile.csv?')}")
            assert csv.headers["content-type"].startswith("text/csv")
            assert "attachment" in csv.headers["content-disposition"]
            parquet = await client.get(f"{url.replace('/profile?', '/profile.parquet?')}")
            assert parquet.content[:4] == b"PAR1"
            empty = await client.get(f"{url}&from=2020-01-01T00:00:00Z&to=2020-01-03T00:00:00Z")
            assert {s["value"] for s in empty.json()["slots"]} == {None}

    asyncio.run(work())


@pytest.mark.requirement("CC-10")
def test_feeder_balance_without_sum_meter_has_no_loss(centre: Callable[..., Centre]) -> None:
    one = centre()

    async def work() -> None:
        await collected(one)
        async with browser(one, *ADMIN) as client:
            found = (await client.get("/api/v1/feeders/fd-1/balance?resolution=hour")).json()
            assert found["resolution"] == "hour"
            assert all(s["feeder_wh"] is None and s["loss_wh"] is None for s in found["slots"])
            assert any(s["metered_wh"] for s in found["slots"])
            assert len((await client.get("/api/v1/feeders/fd-1")).json()["items"]) == 4
            begun = iso_utc(int(one.clock()) // 900 * 900)  # as the day has at its first quarter
            found = await client.get(f"/api/v1/feeders/fd-1/balance?from={begun}")
            assert found.status_code == 200
            assert found.json()["slots"] == []

    asyncio.run(work())


def test_meter_pages(centre: Callable[..., Centre]) -> None:
    one = centre()

    async def work() -> None:
        async with browser(one, *ADMIN) as client:
            live = (await client.get("/api/v1/points/p-001/live")).json()
            assert {v["quantity"] for v in live["values"]} >= {"u", "i", "p", "q", "pf", "f"}
            rows = (await client.get("/api/v1/points/p-001/registers")).json()["rows"]
            assert rows[0]["value"] == f"{int(float(rows[0]['value']) * 1000) / 1000:010.3f}"
            shown = (await client.get("/api/v1/points/p-001/display")).json()
            pressed = await client.post(
                "/api/v1/points/p-001/display/button", json={"button": "scroll", "hold_ms": 80}
            )
            assert shown["list"]["index"] != pressed.json()["list"]["index"]
            answer = await client.post(
                "/api/v1/points/p-001/display/button", json={"button": "self-destruct"}
            )
            assert answer.status_code == 502
            assert answer.json()["outcome"] == "refused"
            job = (await client.post("/api/v1/points/p-001/read", json={"what": "all"})).json()
            for _ in range(6000):
                job = (await client.get(f"/api/v1/jobs/{job['id']}")).json()
                if job["state"] != "running":
                    break
                await asyncio.sleep(0.01)
            assert job["state"] == "done"
            assert job["result"]["readings_new"] > 0
            assert (await client.delete(f"/api/v1/jobs/{job['id']}")).status_code == 409

    asyncio.run(work())


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("unreachable", 502), ("timeout", 504), ("refused", 502), ("garbled", 502),
     ("untrusted", 502)],
)  # fmt: skip
def test_a_silent_meter_is_a_problem_document(
    centre: Callable[..., Centre], outcome: str, status: int
) -> None:
    one = centre()
    one.meter("p-001").fails_with = Outcome(outcome)

    async def work() -> None:
        async with browser(one, *ADMIN) as client:
            answer = await client.get("/api/v1/points/p-001/live")
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
            body = answer.json()
            assert body["outcome"] == outcome
            assert body["detail"]
            assert body["remedy"]

    asyncio.run(work())


def test_text_of_a_meter_is_inert(centre: Callable[..., Centre]) -> None:
    one = centre(1)
    meter = one.meter("p-001")
    meter.events[:] = [LoggedEvent("0-0:99.98.0", NOON - 5, 1, EVIL)]

    async def work() -> None:
        await collected(one)
        async with browser(one, *ADMIN) as client:
            answer = await client.get("/api/v1/points/p-001/events")
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["x-content-type-options"] == "nosniff"
            event = next(e for e in answer.json()["items"] if e["code"] == 1)
            assert event["name"] == EVIL[:64] or event["name"] == EVIL
            data = frame("events", event)
            assert data.count(b"\n") == 3  # nothing in it ends the frame

    asyncio.run(work())


def test_security_headers_and_limits(centre: Callable[..., Centre]) -> None:
    one = centre()

    async def work() -> None:
        async with browser(one, *ADMIN) as client:
            for path in ("/api/v1/site", "/", "/api/openapi.json", "/api/v1/none"):
                headers = (await client.get(path)).headers
                assert "default-src 'self'" in headers["content-security-policy"]
                assert headers["x-frame-options"] == "DENY"
            big = {"title": "x" * 70_000}
            assert (await client.post("/api/v1/tokens", json=big)).status_code == 413
            assert (await client.get("/api/v1/points?size=501")).status_code == 422
            assert (await client.get("/api/v1/points?size=500")).status_code == 200
            assert (await client.get("/api/v1/points?sort=secrets")).status_code == 422
            url = "/api/v1/points/p-001/profile?resolution=slot&from=2000-01-01T00:00:00Z"
            assert (await client.get(url)).status_code == 422
            for bad in ("yesterday", "2026-13-01", "2026-01-01T00:00:00", "9999-01-01T00:00:00Z"):
                url = f"/api/v1/points/p-001/profile?from={bad}"
                assert (await client.get(url)).status_code == 422

    asyncio.run(work())


def test_portal_files_and_routes(centre: Callable[..., Centre], tmp_path: Path) -> None:
    import httpx

    one = centre()
    static = tmp_path / "static"

    async def get(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(create_app(one.head, static))
        async with httpx.AsyncClient(transport=transport, base_url="http://centre") as client:
            return await client.get(path)

    async def work() -> None:
        answer = await get("/")
        assert answer.status_code == 503
        assert "make setup" in answer.text
        (static / "assets").mkdir(parents=True)
        (static / "index.html").write_text("<!doctype html>portal")
        (static / "assets" / "app-1a2b.js").write_text("1")
        (tmp_path / "secret.txt").write_text("no")
        for path in ("/", "/points/p-001", "/events?x=1"):
            assert (await get(path)).text.endswith("portal")
        script = await get("/assets/app-1a2b.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert "immutable" in script.headers["cache-control"]
        for path in ("/assets/none.js", "/../secret.txt", "/%2e%2e/secret.txt", "/api/none"):
            assert (await get(path)).status_code == 404

    asyncio.run(work())


def test_metrics_name_no_customer(centre: Callable[..., Centre]) -> None:
    one = centre()

    async def work() -> None:
        await collected(one)
        async with browser(one) as client:
            text = (await client.get("/metrics")).text
            assert 'blathy_meters{standing="reachable"} 8.0' in text
            assert "Kov" not in text
            assert "p-001" not in text

    asyncio.run(work())


def test_no_request_is_answered_with_500(centre: Callable[..., Centre]) -> None:
    one = centre()
    rng = random.Random(11)
    words = ["", "p-001", "0", "-1", "9" * 30, "\x00", "é" * 50, EVIL, "null", "1e9", "../..",
             "2026-03-29T02:30:00Z", "2026-10-25T02:30:00+02:00"]  # fmt: skip
    names = ["channel", "from", "to", "resolution", "page", "size", "sort", "q", "severity",
             "feeder", "point", "topics", "kind"]  # fmt: skip
    values: list[Any] = [None, 0, -1, 2**70, "x", [], {}, True, EVIL, {"a": {"b": []}}]
    fields = ["user", "password", "name", "role", "command", "arguments", "confirm", "what",
              "button", "hold_ms", "title", "days", "enabled", "old", "new", "point"]  # fmt: skip

    async def work() -> list[str]:
        bad = []
        async with browser(one, *ADMIN) as client:
            for method, path in sorted(RULES):
                if (method, path) in {("DELETE", "/session"), ("GET", "/stream")}:
                    continue
                for _ in range(15):
                    filled = path
                    for part in ("{point_id}", "{feeder_id}", "{job_id}", "{event_id}",
                                 "{token_id}", "{name}"):  # fmt: skip
                        filled = filled.replace(
                            part, rng.choice(["p-001", "fd-1", "1", "%00", "x"])
                        )
                    params = {rng.choice(names): rng.choice(words) for _ in range(2)}
                    body = {rng.choice(fields): rng.choice(values) for _ in range(3)}
                    answer = await client.request(
                        method,
                        PREFIX + filled,
                        params=params,
                        content=rng.choice([json.dumps(body), "{", "[]", "", "\x00"])
                        if method != "GET"
                        else None,
                        headers={"content-type": "application/json"},
                    )
                    if answer.status_code in {500, 503} or "Traceback" in answer.text:
                        bad.append(f"{method} {filled} {params} {body}: {answer.status_code}")
        return bad

    assert asyncio.run(work()) == []


async def first_frames(stream: AsyncIterator[bytes], count: int) -> list[bytes]:
    found = []
    async with asyncio.timeout(120):
        async for data in stream:
            found.append(data)
            if len(found) == count:
                break
    return found


def test_stream_carries_what_happens(centre: Callable[..., Centre], clock: Clock) -> None:
    one = centre()

    async def work() -> None:
        head = one.head
        head.hub.start()
        listener = head.hub.join(
            frozenset(("overview", "events", "jobs", "live:p-001")), lambda _: True
        )
        point = head.inventory.point("p-001")
        assert point is not None
        await head.events.raise_own(point, "clock_off", int(clock.now))
        await head.jobs.start("read", Sentence("", "t"), lambda job: head.collector.read_now(
            point, "clock", job.progress))  # fmt: skip
        kinds: set[bytes] = set()
        stream = listener.frames()
        async with asyncio.timeout(120):
            async for data in stream:
                kinds.add(data.split(b"\n", 1)[0])
                if len(kinds) >= 5:
                    break
        assert kinds == {
            b"retry: 2000", b"event: overview", b"event: events", b"event: jobs", b"event: live",
        }  # fmt: skip
        head.hub.leave(listener)
        assert head.hub.listeners == 0
        await head.hub.stop()
        await head.jobs.stop()

    asyncio.run(work())


def test_a_slow_listener_costs_bounded_memory_and_is_told(centre: Callable[..., Centre]) -> None:
    async def work() -> None:
        listener = Listener(frozenset(("events", "live:p")), lambda _: True)
        for n in range(10 * BACKLOG_MAX):
            listener.put("events", frame("events", {"n": n}), state=False)
            listener.put("live:p", frame("live", {"n": n}), state=True)
        assert listener.waiting() == BACKLOG_MAX + 1
        frames = await first_frames(listener.frames(), BACKLOG_MAX + 3)
        assert frames[1].startswith(b"event: lost")
        assert frames[-1] == frame("live", {"n": 10 * BACKLOG_MAX - 1})

    asyncio.run(work())
