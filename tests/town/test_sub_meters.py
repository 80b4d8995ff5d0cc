"""Water and heat meters on a meter's M-Bus: read in frames, kept as hourly values, seen by the
centre."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from blathy.fleet.bus import Bus
from blathy.quantity import Kind, Source
from blathy.sources.sub_meters import SubMeterLoad, header_of
from blathy.town.town import Town, TownPlan
from blathy.wire.mbus import MbusSlave, Medium

BEGIN = 1_779_832_800
DAY_S = 86_400


def water(annual: float = 118.0) -> SubMeterLoad:
    return SubMeterLoad(Medium.WATER, annual, 1, 2, BEGIN)


def test_a_household_uses_about_what_it_uses_a_year() -> None:
    litres = water().counted(BEGIN + 365 * DAY_S)
    assert litres == pytest.approx(118_000, rel=0.08)
    heat = SubMeterLoad(Medium.HEAT_OUTLET, 9_500, 1, 3, BEGIN).counted(BEGIN + 365 * DAY_S)
    assert heat == pytest.approx(9_500, rel=0.15)


def test_the_register_never_falls_and_is_the_same_whoever_asks() -> None:
    once, again = water(), water()
    values = [once.counted(BEGIN + h * 1800) for h in range(500)]
    assert values == sorted(values)
    assert again.counted(BEGIN + 499 * 1800) == values[-1]


@pytest.mark.requirement("MPTA-02", "MPTA-04")
def test_a_meter_reads_its_bus_every_hour_and_counts_like_the_slave(tmp_path: Path) -> None:
    town = Town(TownPlan(1, 40, BEGIN))
    place = next(p for p in town.places if p.plan and p.plan.sub_meter)
    town.places = [place]
    fleet = town.fleet(tmp_path, lambda: 0.0)
    running = fleet.running[place.id]
    fleet.catch_up(BEGIN + 2 * DAY_S + 1800)
    books = running.meter.books
    assert place.plan is not None
    assert place.plan.sub_meter is not None
    load = SubMeterLoad(Medium.HEAT_OUTLET, place.plan.sub_meter.annual, 1, place.serial, BEGIN)
    number = place.model.pulse_inputs() + 1
    counted = books.value(Source(Kind.COUNTER, name=f"pulses_{number}"))
    assert counted == load.counted(BEGIN + 2 * DAY_S)
    assert len(books.profiles["mbus_1"]) == 48
    fleet.store.close()


def test_a_silent_slave_leaves_the_counter_and_is_noticed(tmp_path: Path) -> None:
    town = Town(TownPlan(1, 40, BEGIN))
    place = next(p for p in town.places if p.plan and p.plan.sub_meter)
    town.places = [place]
    fleet = town.fleet(tmp_path, lambda: 0.0)
    running = fleet.running[place.id]
    bus = Bus(running.meter)

    def deaf(_now: Callable[[], int]) -> MbusSlave:
        return MbusSlave(1, header_of(7, "BLT", Medium.WATER), list)

    bus.attach(2, deaf)
    running.bus = bus
    fleet.catch_up(BEGIN + DAY_S)
    assert bus.silent == {1, 2}  # the device that was installed at 1 has gone with its bus
    number = place.model.pulse_inputs() + 2
    assert running.meter.books.value(Source(Kind.COUNTER, name=f"pulses_{number}")) == 0
    fleet.store.close()


def test_the_head_end_is_told_of_sub_meters_as_points_of_their_own() -> None:
    site = Town(TownPlan(1, 40, BEGIN)).site(4059)
    behind = [point for point in site.points if point.parent]
    assert {point.medium for point in behind} == {"water", "heat"}
    assert len(site.points) == 40
