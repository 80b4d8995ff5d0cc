"""Prepayment customers of the town: cut when the credit runs out, on again soon, and never counted
by the head of their feeder while they are off."""

from __future__ import annotations

from pathlib import Path

import pytest

from blathy.control.breaker import State
from blathy.fleet.fleet import Fleet
from blathy.quantity import Kind, Measure, Source
from blathy.registers.block import Incident
from blathy.town import customers
from blathy.town.town import Place, Town, TownPlan

DAY_S = 86_400
BEGIN = 1_779_832_800  # 2026-05-27T00:00 local time in Budapest
DAYS = 8
OFF_MAX_S = 9 * 3600  # somebody may sleep through it


@pytest.fixture(scope="module")
def town() -> Town:
    made = Town(TownPlan(3, 34, BEGIN))
    made.let_sample(False)
    return made


@pytest.fixture(scope="module")
def fleet(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Mill Street after eight days, with people who heed no warning; the others are left out."""
    end = BEGIN + DAYS * DAY_S
    fleet = town.fleet(tmp_path_factory.mktemp("prepaid"), lambda: float(end))
    for name in [name for name in fleet.running if not name.startswith("f1-")]:
        del fleet.running[name]
    switched: dict[str, list[tuple[int, bool]]] = {}
    for name, one in fleet.running.items():
        seen = switched.setdefault(name, [])
        before = one.meter.control.on_load

        def tell(at: int, connected: bool, seen=seen, before=before) -> None:  # type: ignore[no-untyped-def]
            seen.append((at, connected))
            if before is not None:
                before(at, connected)

        one.meter.control.on_load = tell
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(customers, "BUYS_WHEN_WARNED", 0.0)
        fleet.catch_up(end)
    fleet.switched = switched  # type: ignore[attr-defined]
    return fleet


def _prepaid(town: Town) -> Place:
    return next(p for p in town.places if p.feeder == 0 and p.plan and p.plan.credit_kwh)


def _spans_off(seen: list[tuple[int, bool]], end: int) -> list[tuple[int, int]]:
    spans, since = [], None
    for at, connected in seen:
        if not connected and since is None:
            since = at
        elif connected and since is not None:
            spans.append((since, at))
            since = None
    return [*spans, (since, end)] if since is not None else spans


def test_who_has_no_credit_is_cut_buys_and_is_on_again_within_hours(
    town: Town, fleet: Fleet
) -> None:
    place = _prepaid(town)
    spans = _spans_off(fleet.switched[place.id], BEGIN + DAYS * DAY_S)  # type: ignore[attr-defined]
    assert spans, "the credit never ran out"
    assert all(0 < after - first <= OFF_MAX_S for first, after in spans), spans
    meter = fleet.running[place.id].meter
    names = [entry.name for entry in meter.books.logs["disconnect"]]
    assert "breaker_opened_automatically" in names
    assert "breaker_closed_locally" in names


def test_a_feeders_head_counts_what_its_meters_have_counted(town: Town, fleet: Fleet) -> None:
    """Its register against the sum of its meters: only the line's losses lie between."""
    counted = 0
    for place in town.places:
        if place.feeder == 0 and place.plan:
            counted += _net(fleet, place.id)
    head = _net(fleet, "f1-head")
    assert 0 <= head - counted <= 0.004 * counted, (head, counted)


def _energy(fleet: Fleet, name: str, measure: Measure) -> int:
    books = fleet.running[name].meter.ledger.snapshot()
    return books.value(Source(Kind.ENERGY, measure))


def _net(fleet: Fleet, name: str) -> int:
    imported, exported = (_energy(fleet, name, m) for m in (Measure.A_IMPORT, Measure.A_EXPORT))
    return imported - exported


def test_a_head_that_goes_on_in_seconds_counts_the_same(
    town: Town, fleet: Fleet, tmp_path: Path
) -> None:
    """Somebody opens a breaker while the town is live: the head's power falls with it."""
    del tmp_path
    place = next(p for p in town.places if p.id == "f1-02")
    one, head = fleet.running[place.id], fleet.running["f1-head"]
    before = _net(fleet, head.name) - _members(town, fleet)
    at = head.now
    for second in range(1, 200):
        if second == 61:
            one.meter.remote_disconnect(place.model.breaker.obis)  # type: ignore[union-attr]
        if second % 7 == 0:
            fleet.step_until(at + second)
    fleet._advance(head, at + 200)
    for running in fleet.running.values():
        fleet._advance(running, at + 200)
    assert not one.meter.control.breaker.connected
    drift = _net(fleet, head.name) - _members(town, fleet) - before
    assert 0 <= drift <= 0.006 * 200 * 20_000 / 3600 * 1e6
    assert place.source.block(at + 100, 1, 1).energy_u[0, 0, 0] > 0  # the site would draw
    assert one.meter.control.breaker.state is State.DISCONNECTED


def test_an_alarm_of_the_past_leaves_the_meter_in_the_past(tmp_path: Path) -> None:
    """What it pushes is read from its books: that must not bring it up to now, past all the
    evenings on which its clock is kept."""
    town = Town(TownPlan(3, 16, BEGIN))
    fleet = town.fleet(tmp_path, lambda: float(BEGIN + 3 * DAY_S))
    for name in [name for name in fleet.running if name != "f1-01"]:
        del fleet.running[name]
    fleet.inject("f1-01", Incident(BEGIN + 3600, "terminal_cover_opened"))
    fleet.catch_up(BEGIN + DAY_S)
    assert fleet.running["f1-01"].now == BEGIN + DAY_S


def _members(town: Town, fleet: Fleet) -> int:
    return sum(_net(fleet, p.id) for p in town.places if p.feeder == 0 and p.plan)
