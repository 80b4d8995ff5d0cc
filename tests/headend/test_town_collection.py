"""The head-end over real ports: every model of the town is read, switched and set by DLMS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blathy.clock import Zone
from blathy.fleet.fleet import COARSE_STEP_S, Fleet
from blathy.headend import HeadEnd
from blathy.headend.collection.conversation import ConversationError, Outcome
from blathy.headend.inventory.description import PointDescription, SiteDescription
from blathy.headend.inventory.registry import Point
from blathy.headend.readings.balance import feeder_balance
from blathy.headend.readings.calendar import slot_floor
from blathy.headend.readings.series import read_profile
from blathy.models import MODELS
from blathy.quantity import Measure
from blathy.registers.block import ENERGY_MEASURES
from blathy.town.town import Town, TownPlan

STEP = 900
LATE_S = 14
A_PLUS = ENERGY_MEASURES.index(Measure.A_IMPORT)


@dataclass
class Running:
    town: Town
    fleet: Fleet
    site: SiteDescription
    begin: int


@asynccontextmanager
async def running_town(folder: Path, points: int) -> AsyncIterator[Running]:
    """Meters with the past of yesterday and today on ports of their own addresses."""
    zone = Zone("Europe/Budapest")
    now = int(time.time())
    begin = int(zone.day_start(zone.day_of(now - 86_400)))
    town = Town(TownPlan(3, points, begin))
    town.let_sample(False)
    folder.mkdir(exist_ok=True)
    fleet = town.fleet(folder, time.time)
    fleet.catch_up(now)
    await fleet.serve(0)
    fleet.start()
    port = next(iter(fleet.running.values())).port
    try:
        yield Running(town, fleet, town.site(port), begin)
    finally:
        await fleet.stop()


def one_of_each_model(site: SiteDescription) -> list[str]:
    found: dict[str, str] = {}
    for point in site.points:
        if point.meter.model in MODELS:  # others are the bus meters behind them
            found.setdefault(point.meter.model, point.id)
    return list(found.values())


async def check_energy(head: HeadEnd, town: Running, point: Point) -> None:
    """The sum of the day equals what the source delivered, but for where its minutes begin."""
    channel = point.meter.channel("a_import")
    assert channel is not None
    start = town.begin + 3600
    end = slot_floor(point.zone, int(time.time()) - 300, 3600)
    answer = await head.database.read(
        lambda c: read_profile(c, channel, point.zone, start, end, "hour")
    )
    assert answer.first_register is not None
    assert answer.last_register is not None
    counted = (answer.last_register - answer.first_register) * 10 ** (6 + channel.scaler)
    resolution = 10 ** (6 + channel.scaler)
    # the past is measured in steps of a minute, so a slot of a slow quartz ends with the minute
    # that has begun: its register may be read a step late, and one step early by a fast quartz
    step = COARSE_STEP_S
    assert abs(await head.collector.check_clock(point)) < step
    least = delivered(town, point, start + 2 * step, end - step)
    most = delivered(town, point, start - step, end + 2 * step)
    assert least - 2 * resolution <= counted <= most + 2 * resolution


def delivered(town: Running, point: Point, start: int, end: int) -> int:
    """µWh that the source delivered; what the meter's outages took is not in its register."""
    source = next(p.source for p in town.town.places if p.id == point.id)
    block = source.block(start, (end - start) // COARSE_STEP_S, COARSE_STEP_S)
    return int(block.energy_u[:, 0, A_PLUS][block.supply > 0].sum())


@pytest.mark.requirement("CC-03", "CC-10", "CC-11")
def test_the_town_is_read_over_its_ports(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_town(tmp_path / "town", 24) as town:
            assert {p.meter.model for p in town.site.points} >= set(MODELS)
            head = HeadEnd.open(tmp_path / "head", town.site, history_days=1, schedules=())
            try:
                await first_visit(head, town)
            finally:
                await head.stop()
            again = HeadEnd.open(tmp_path / "head", town.site, history_days=1, schedules=())
            try:
                # only what has been measured meanwhile is new
                assert (await again.collect_history()).known <= 24 * 30
                assert again.collector.outcomes.keys() == {"ok"}
            finally:
                await again.stop()

    asyncio.run(work())


async def first_visit(head: HeadEnd, town: Running) -> None:
    receipt = await head.collect_history()
    assert head.collector.outcomes.keys() == {"ok"}
    assert (receipt.misaligned, receipt.conflicts) == (0, [])
    assert (await head.situation.completeness()).ratio > 0.97
    for point_id in one_of_each_model(town.site):
        point = head.inventory.point(point_id)
        assert point is not None
        if not await is_supplied(head, point):
            continue
        _, registers = await head.collector.registers(point)
        total = next(r for r in registers if ":1.8.0" in r.obis)
        assert total.mantissa > 0
        assert total.text_unit == "kWh"
        assert abs(await head.collector.check_clock(point)) < 60
        assert point.meter.state.firmware
        facts = head.driver.facts(point.meter)
        if "display" in facts.capabilities:
            shown = await head.collector.display(point)
            assert shown.buttons
            assert 1 <= shown.list_index <= shown.list_length
            assert any(light.imp_per_kwh for light in shown.leds)
            pressed = await head.collector.press(point, shown.buttons[0][0], 100)
            assert pressed.mode == "manual"
        await check_energy(head, town, point)
        if "disconnect" in facts.commands and not point.protected:
            await switched(head, point, facts.commands)
        await head.clocks.correct(point, "set", user="test", large=True)
        # it is asked and compared late
        assert abs(await head.collector.check_clock(point)) <= LATE_S
    await check_balance(head, town)


async def is_supplied(head: HeadEnd, point: Point) -> bool:
    """Values of a grid that is there, or of one that is dead all over: feeders have outages."""
    _, live = await head.collector.live(point)
    by = {(v.quantity, v.phase): v.value or 0 for v in live}
    if by["f", 0] == 0:
        assert (by["u", 1], by["p", 0]) == (0, 0)
        return False
    assert 49 < by["f", 0] < 51
    assert 180 < by["u", 1] < 260
    assert ("p", 0) in by
    return True


async def switched(head: HeadEnd, point: Point, commands: tuple[str, ...]) -> None:
    off = await head.collector.switch(point, "disconnect", {})
    assert off == {"output_state": False, "control_state": "disconnected"}
    back = "release" if "release" in commands else "connect"
    on = await head.collector.switch(point, back, {})
    wanted = "ready for reconnection" if back == "release" else "connected"
    assert on["control_state"] == wanted


async def check_balance(head: HeadEnd, town: Running) -> None:
    for feeder in head.inventory.feeders:
        points = head.inventory.of_feeder(feeder)
        start, end = town.begin + 3600, slot_floor(points[0].zone, int(time.time()) - 900, 3600)
        found = await head.database.read(
            lambda c, p=points, s=start, e=end: feeder_balance(c, p, s, e, "hour")
        )
        whole = [s for s in found.slots if s.complete and s.loss_wh is not None]
        assert whole
        fed = sum(s.feeder_wh or 0 for s in whole)
        lost = sum(s.loss_wh or 0 for s in whole)
        # registers of whole kWh or 100 Wh leave up to one unit a meter at either end
        slack = len(points) * 2000
        assert -slack <= lost <= 0.15 * abs(fed) + slack


async def outcome(head: HeadEnd, point: Point) -> Outcome:
    try:
        await head.collector.live(point)
    except ConversationError as error:
        assert error.detail  # noqa: PT017 - every way to fail is good
        assert "real key" not in str(error)  # noqa: PT017
        return error.outcome
    return Outcome.OK


def changed(point: PointDescription, **meter: Any) -> PointDescription:
    return replace(point, meter=replace(point.meter, **meter))


def test_wrong_key_port_client_and_title_are_told_apart(tmp_path: Path) -> None:
    async def work() -> None:
        async with running_town(tmp_path / "town", 12) as town:
            points = town.site.points[:5]
            way_in = [p.meter.associations[0] for p in points]
            wrong_key = replace(way_in[0], encryption_key=b"not the real key")
            wrong_client = replace(way_in[2], client_sap=77)
            bad = [
                changed(points[0], associations=(wrong_key,)),
                changed(points[1], url=f"dlms://{points[1].meter.host}:1"),
                changed(points[2], associations=(wrong_client,)),
                changed(points[3], system_title="4142434445464748"),
                points[4],
            ]
            site = replace(town.site, points=tuple(bad))
            head = HeadEnd.open(tmp_path / "head", site, history_days=1, schedules=())
            try:
                kinds = [await outcome(head, p) for p in head.inventory.points.values()]
                assert kinds[0] is Outcome.UNTRUSTED
                assert kinds[1] in {Outcome.REFUSED, Outcome.UNREACHABLE}
                assert kinds[2] in {Outcome.REFUSED, Outcome.TIMED_OUT}
                assert kinds[3] is Outcome.UNTRUSTED
                assert kinds[4] is Outcome.OK
            finally:
                await head.stop()

    asyncio.run(work())


def test_rows_come_back_as_whole_numbers() -> None:
    from blathy.headend.collection.profile_rows import rescaled

    values = np.array([1234, -1234, 7], np.int32)
    assert rescaled(values, 2).tolist() == [123_400, -123_400, 700]
    assert rescaled(values, -2).tolist() == [12, -12, 0]
    assert rescaled(values, 0).tolist() == [1234, -1234, 7]
