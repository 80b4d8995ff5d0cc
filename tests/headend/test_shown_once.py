"""What a meter tells twice is kept twice and shown once; what it has no value for is shown as
none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blathy.headend.collection.conversation import LiveValue, LoggedEvent
from blathy.headend.collection.live_quantities import leave_undefined
from blathy.headend.collection.push_meaning import _events_of_code, alarms_of
from blathy.headend.operations.events import EventFilter
from blathy.headend.operations.location import locate
from blathy.headend.operations.vocabulary import MEANINGS
from blathy.models import MODELS
from tests.headend.conftest import Centre, browser

ROOT = Path(__file__).parents[2]
STANDARD, FRAUD = "0-0:99.98.0", "1-1:99.98.2"


def _shown(one: Centre, logged: list[LoggedEvent], raw: bool = False) -> list[dict[str, Any]]:
    async def work() -> list[dict[str, Any]]:
        point = one.head.inventory.point("p-001")
        assert point is not None
        await one.head.events.take(point, logged, 2000)
        await one.head.events.take(point, logged, 2000)
        found, total = await one.head.events.find(EventFilter(("p-001",), raw=raw))
        assert total == len(found)
        return found

    return asyncio.run(work())


COVER = [
    LoggedEvent(STANDARD, 1000, 40, "terminal_cover_opened"),
    LoggedEvent(FRAUD, 1000, 8, "terminal_cover_opened"),
    LoggedEvent(STANDARD, 1400, 40, "terminal_cover_opened"),
    LoggedEvent(FRAUD, 1400, 8, "terminal_cover_opened"),
]


def test_an_event_in_two_logs_is_shown_once(centre: Callable[..., Centre]) -> None:
    one = centre()
    told: list[dict[str, Any]] = []
    one.head.events.on_new = told.append
    found = _shown(one, COVER)
    assert [(e["at"][-3:-1], e["name"]) for e in found] == [
        ("20", "terminal_cover_opened"),
        ("40", "terminal_cover_opened"),
    ]
    assert len(told) == 2
    open_alarms = asyncio.run(one.head.events.open_alarms(2000))
    assert open_alarms == {"p-001": 2}
    assert len(_shown(one, [], raw=True)) == 4


@pytest.mark.parametrize("codes", [(4, 5), (32, 32)])
@pytest.mark.parametrize("after", [990, 1010])
def test_a_clock_that_was_set_is_one_event(
    centre: Callable[..., Centre], codes: tuple[int, int], after: int
) -> None:
    names = ("clock_adjusted_old", "clock_adjusted_new" if codes[0] != codes[1] else None)
    logged = [
        LoggedEvent(log, at, code, name or "clock_adjusted_old")
        for log in (STANDARD, "1-1:99.98.3")
        for at, code, name in zip((1000, after), codes, names, strict=True)
    ]
    found = _shown(centre(), logged)
    assert [e["name"] for e in found] == ["clock_adjusted_new"]
    if codes[0] != codes[1]:  # a log that is read in order of time
        found = _shown(centre(folder="again"), sorted(logged, key=lambda e: (e.log, e.at)))
        assert [e["name"] for e in found] == ["clock_adjusted_new"]


def test_a_login_is_seen_in_the_list_of_users(centre: Callable[..., Centre]) -> None:
    one = centre()

    async def work() -> list[dict[str, Any]]:
        async with browser(one, "demo", "demo") as client:
            answer = await client.get("/api/v1/users")
            return list(answer.json()["items"])

    users = {user["name"]: user for user in asyncio.run(work())}
    assert users["demo"]["last_login_at"] is not None


def test_a_place_is_named_once(centre: Callable[..., Centre]) -> None:
    one = centre()
    point = one.head.inventory.point("p-001")
    assert point is not None
    object.__setattr__(point, "address", f"{point.name}, Budapest")
    assert point.place == f"{point.name}, Budapest"
    located = locate(one.head.inventory, point, "power_down")
    assert located is not None
    assert located["text"].count(point.name) == 1
    object.__setattr__(point, "address", "Elsewhere 3")
    assert point.place == f"{point.name}, Elsewhere 3"


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_code_and_bit_that_a_model_pushes_has_words(model: str) -> None:
    class Known:
        pass

    meter: Any = Known()
    meter.model = model
    table = MODELS[model]
    event_code = table.event_code
    if event_code is not None:
        for log in table.logs:
            for codes in log.codes.values():
                for code in codes if isinstance(codes, tuple) else (codes,):
                    named = _events_of_code(meter, event_code, code, 0)
                    assert named, code
                    assert named[0].name in MEANINGS, (code, named)
    for row in table.rows:
        if not row.source.name.startswith("alarm_register_"):
            continue
        number = row.source.name.removeprefix("alarm_register_")
        for name, (register, bit) in table.alarms.items():
            if str(register) == number:
                assert name in MEANINGS
                (event,) = alarms_of(meter, str(row.obis), 1 << bit, 0)
                assert event.name in MEANINGS


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_alarm_of_every_phase_has_a_bit_of_its_own(model: str) -> None:
    """Else a sag of L2 is told as a swell of L1."""
    table = MODELS[model]
    codes = {name: code for log in table.logs for name, code in log.codes.items()}
    taken = [
        (register, bit + phase)
        for name, (register, bit) in table.alarms.items()
        for phase in range(3 if isinstance(codes.get(name), tuple) else 1)
    ]
    assert len(set(taken)) == len(taken)


def test_without_current_there_is_no_power_factor() -> None:
    def value(quantity: str, phase: int, number: float) -> tuple[tuple[str, int], LiveValue]:
        return (quantity, phase), LiveValue("", quantity, phase, quantity, number, "")

    found = dict(
        value(q, phase, number)
        for phase, current in ((1, 0.0), (2, 1.5))
        for q, number in (("i", current), ("pf", 0.0), ("thd_i", 0.0), ("u", 230.0))
    )
    found.update([value("pf", 0, 0.7)])
    leave_undefined(found)
    assert [found[q, 1].value for q in ("pf", "thd_i", "u")] == [None, None, 230.0]
    assert [found["pf", 2].value, found["pf", 0].value] == [0.0, 0.7]
    found["i", 2] = found["i", 1]
    leave_undefined(found)
    assert found["pf", 0].value is None


@pytest.mark.parametrize("language", ["en", "de", "hu"])
def test_the_portal_has_words_for_every_event(language: str) -> None:
    messages = (ROOT / f"portal/src/messages/{language}.ts").read_text("utf-8")
    assert [name for name in MEANINGS if f"'event.{name}'" not in messages] == []
