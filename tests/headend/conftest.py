"""A control centre over fake meters, in a fresh directory, at a moment that tests choose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI

from blathy.headend import HeadEnd
from blathy.headend.api import create_app
from blathy.headend.inventory.description import SiteDescription
from tests.headend.fake_meters import FakeDriver, FakeMeter, demo_site, fake_meters

NOON = 1_795_262_400 - 1_795_262_400 % 86_400 + 11 * 3600 + 7 * 60  # 2026-11-21, local noon and 7


class Clock:
    """Time that stands until a test moves it."""

    def __init__(self, now: float = NOON) -> None:
        self.now = float(now)

    def __call__(self) -> float:
        return self.now


class Centre:
    """A head-end with what tests want to touch."""

    def __init__(self, folder: Path, clock: Clock, site: SiteDescription, days: int) -> None:
        self.clock = clock
        self.meters: dict[str, FakeMeter] = fake_meters(clock.now, days)
        self.driver = FakeDriver(self.meters, clock)
        self.head = HeadEnd.open(
            folder, site, clock=clock, driver=self.driver, schedules=(), history_days=days
        )

    @cached_property
    def app(self) -> FastAPI:
        return create_app(self.head)

    def meter(self, point_id: str) -> FakeMeter:
        point = self.head.inventory.point(point_id)
        assert point is not None
        return self.meters[point.meter.serial]


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords with the least work: their cost is not what is tested here."""
    monkeypatch.setattr(
        "blathy.headend.access.accounts.PasswordHasher",
        lambda **_: PasswordHasher(time_cost=1, memory_cost=8, parallelism=1),
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def centre(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Centre]]:
    """Makes control centres; all are closed at the end."""
    made: list[Centre] = []

    def make(points: int = 8, days: int = 3, folder: str = "data", **changes: Any) -> Centre:
        site = demo_site(points)
        if points < 8:
            site = replace(site, users=tuple(u for u in site.users))
        found = Centre(tmp_path / folder, clock, replace(site, **changes), days)
        made.append(found)
        return found

    yield make
    for one in made:
        one.head.database.close()


@asynccontextmanager
async def browser(centre: Centre, user: str = "", password: str = "") -> AsyncIterator[Any]:
    """An HTTP client on the application; logged in as `user`, with the CSRF header."""
    transport = httpx.ASGITransport(centre.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://centre") as client:
        if user:
            answer = await client.post(
                "/api/v1/session", json={"user": user, "password": password or f"{user}"}
            )
            assert answer.status_code == 200, answer.text
            client.headers["X-CSRF-Token"] = answer.json()["csrf"]
        yield client
