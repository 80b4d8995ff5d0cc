"""What the head-end has collected equals what the sources delivered, to the register's last
digit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from blathy.headend.head_end import HeadEnd
from blathy.headend.readings.series import read_profile
from blathy.models import MODELS
from blathy.quantity import base_of
from blathy.town import town as town_module
from blathy.town.streets import streets
from blathy.town.town import Place, Town, TownError, TownPlan, plan_in

DAYS = 2
BEGIN = 1_779_832_800  # 2026-05-27T00:00 local time in Budapest


@pytest.fixture
def perfect_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meters whose quartz does not drift, so that their quarters are those of UTC."""
    monkeypatch.setattr(town_module, "drift_ppb", lambda _place: 0)


@pytest.mark.usefixtures("perfect_clocks")
@pytest.mark.requirement("CC-10")
def test_profiles_over_a_feeder_equal_the_sources_energy(tmp_path: Path) -> None:
    asyncio.run(_collect_and_compare(tmp_path))


async def _collect_and_compare(tmp_path: Path) -> None:
    town = Town(TownPlan(3, 16, BEGIN))
    end = BEGIN + DAYS * 86_400
    fleet = town.fleet(tmp_path, lambda: float(end + 60))
    fleet.catch_up(end + 60)
    await fleet.serve(0)
    port = next(iter(fleet.running.values())).port
    head = HeadEnd.open(
        tmp_path / "headend", town.site(port), clock=lambda: float(end + 60), history_days=DAYS
    )
    try:
        await head.collect_history()
        fresh = {place.id: place for place in Town(TownPlan(3, 16, BEGIN)).places}
        assert {place.feeder for place in town.places} == set(range(4))
        for place in town.places:
            _compare(head, fresh[place.id], end)
    finally:
        await head.stop()
        await fleet.stop()


def _compare(head: HeadEnd, place: Place, end: int) -> None:
    """Each channel of energy: the sum of the profile is the difference of the truncated
    register."""
    point = head.inventory.points[place.id]
    block = place.source.block(BEGIN, (end - BEGIN) // 60, 60)
    for channel_id, measure in (("a_import", 0), ("a_export", 1)):
        channel = next(c for c in point.meter.channels if c.slug == channel_id)
        row = place.model.row(channel.obis)
        per_step = 10 ** (channel.scaler - base_of(row.source)[1])
        total_u = block.energy_u[:, 0, measure].cumsum()
        first = channel.step_s // 60 - 1  # the profile's first row ends the first slot
        delivered = int(total_u[-1]) // per_step - int(total_u[first]) // per_step
        answer = head.database.read_now(
            lambda c, channel=channel: read_profile(c, channel, point.zone, BEGIN, end, "slot")
        )
        assert answer.first_register is not None
        assert answer.last_register is not None
        collected = answer.last_register - answer.first_register
        assert collected == delivered, (place.id, channel_id)
        values = [bucket.value for bucket in answer.buckets][1:]
        assert len(values) == DAYS * 86_400 // channel.step_s - 1
        if None not in values:  # no outage made a gap
            assert sum(v for v in values if v is not None) == delivered, (place.id, channel_id)
        else:
            assert (block.supply == 0).any(), place.id


def test_every_meter_of_the_data_sheets_lives_in_the_town() -> None:
    town = Town(TownPlan(1, 40, BEGIN))
    assert {place.model.key for place in town.places} == set(MODELS)
    assert any(place.plan and place.plan.waveforms for place in town.places)
    assert len({place.host for place in town.places}) == len(town.places)
    keys = {place.identity.encryption_key for place in town.places}
    assert len(keys) == len(town.places)


@pytest.mark.parametrize("points", [12, 40, 41, 200])
def test_a_town_has_as_many_points_as_asked_for(points: int) -> None:
    rows = streets(points)
    count = 4 + sum(1 + (row.sub_meter is not None) for street in rows for row in street)
    assert count == points


def test_a_directory_keeps_its_town(tmp_path: Path) -> None:
    first = plan_in(tmp_path, 5, 20, 30, BEGIN)
    assert plan_in(tmp_path, 5, 20, 7, BEGIN + 86_400 * 9) == first
    with pytest.raises(TownError, match="--seed 5 --points 20"):
        plan_in(tmp_path, 6, 20, 30, BEGIN)
    (tmp_path / "town.json").write_text("{")
    with pytest.raises(TownError, match="damaged"):
        plan_in(tmp_path, 5, 20, 30, BEGIN)
