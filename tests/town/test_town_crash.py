"""kill -9 of the whole town at random moments: nothing that it had shown is lost or doubled.

The town is killed while it starts, measures, collects, lives and stops, and looked at through its
API and a meter's port up to the kill. After each kill it is started again on the same directory and
asked the same questions: every slot, register and event that was shown is there, once; the readings
are complete; and in the end the books of every meter equal what its source has delivered.

`make crash` kills BLATHY_CRASHES (200) times, in chains of TURN kills on one directory. A chain
starts from a copy of a town that has measured nothing yet, or has measured and not been collected.
A failure prints the command that kills at the same moments again.
"""

from __future__ import annotations

import http.client
import os
import random
import secrets
import shutil
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from blathy.client import Meter, MeterError, SyncMeter
from blathy.quantity import Kind, Measure, Quantity, Source
from blathy.town.director import load_outages
from blathy.town.town import Place, Town, plan_in
from tests.town.running_town import GONE_S, READY, Nursery, NurseryTown, RunningTown, last_hours

POINTS: Final = 12
CRASHES: Final = int(os.environ.get("BLATHY_CRASHES", "200"))
TURN: Final = 5
SEED: Final = int(os.environ.get("BLATHY_CRASH_SEED") or secrets.randbelow(10**9))
CHECKED_POINTS: Final = 4
HOURS: Final = 20
EVENTS_MAX: Final = 200
SAMPLED_PPM: Final = 3000
"""A meter that measures samples is as good as its class; all others are exact."""
ENERGY: Final = (
    (Source(Kind.ENERGY, Measure.A_IMPORT), 0),
    (Source(Kind.ENERGY, Measure.A_EXPORT), 1),
)
"""A register of the books, and its column in the blocks of a source."""

pytestmark = pytest.mark.timeout(1800)


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run: the line it begins with, and about how long it lasts."""

    name: str
    begins: str
    lasts_s: float


FIRST_START_S: Final = 3.0
"""In about this time a prepared process has a new town ready."""
STARTS: Final = Stage("starting", "", 0.4)
MEASURES: Final = Stage("measuring its history", "measure their history …", 0.8)
COLLECTS: Final = Stage("collecting", "collects it …", 1.0)
LIVES: Final = Stage("living", READY, 3.0)
STOPS: Final = Stage("stopping", READY, 0.5)
ANY: Final = (STARTS, COLLECTS, LIVES, LIVES, STOPS)


@dataclass(slots=True)
class Visitor:
    """Looks at some points of a town and remembers what it was shown."""

    town: RunningTown
    points: list[str]
    port_url: str
    port_code: str
    slots: dict[tuple[str, str], float] = field(default_factory=dict)
    registers: dict[tuple[str, str], float] = field(default_factory=dict)
    events: Counter[tuple[Any, ...]] = field(default_factory=Counter)

    def look(self, *, complete: bool = False) -> None:
        """Compare with what was shown before, and remember what is shown now."""
        since, until = last_hours(HOURS)
        for point in self.points:
            shown = self._slots(point, since, until)
            if complete:
                assert len(shown) >= HOURS
                missing = [start for start, value in shown if value is None]
                assert not missing, f"{point} has lost {missing}"
            for row in self.town.api("GET", f"points/{point}/registers")["rows"]:
                if row["unit"] == "kWh" and row["obis"].endswith(":1.8.0"):
                    self._register(point, row["obis"], float(row["value"]))
        self._look_at_events()
        self._look_at_the_port()

    def _slots(self, point: str, since: str, until: str) -> list[tuple[str, float | None]]:
        query = f"channel=a_import&resolution=slot&from={since}&to={until}"
        answer = self.town.api("GET", f"points/{point}/profile?{query}")
        shown = [(slot["start"], slot["value"]) for slot in answer["slots"]]
        starts = [start for start, _ in shown]
        assert starts == sorted(set(starts)), f"{point} shows a slot twice"
        for start, value in shown:
            before = self.slots.get((point, start))
            assert before in (None, value), f"{point} {start}: {before} became {value}"
            if value is not None:
                self.slots[point, start] = value
        return shown

    def _register(self, point: str, code: str, value: float) -> None:
        before = self.registers.get((point, code), 0.0)
        assert value >= before, f"{point}: {code} fell from {before} to {value}"
        self.registers[point, code] = value

    def _look_at_events(self) -> None:
        found = self.town.api("GET", f"events?size={EVENTS_MAX}")["items"]
        assert len(found) < EVENTS_MAX
        shown = Counter(
            (e["point"]["id"], e["at"], e["name"], e["phase"], e["value"], e["log"]) for e in found
        )
        for event, times in self.events.items():
            assert shown[event] == times, f"{event} was shown {times} times, now {shown[event]}"
        self.events = shown

    def _look_at_the_port(self) -> None:
        with SyncMeter(Meter.connect(self.port_url)) as meter:
            value = meter.read(self.port_code)
        assert isinstance(value, Quantity)
        self._register("port", self.port_code, float(value))

    def look_until_cut(self) -> None:
        """Look again and again, until the kill cuts the connection."""
        try:
            self.town.log_in()
            while self.town.status is None:
                self.look()
        except (OSError, http.client.HTTPException, MeterError):
            if not self.town.signalled:
                raise


def visitor_of(town: RunningTown, rng: random.Random) -> Visitor:
    """Somebody who looks at a few meters of the town, one of them through its port."""
    meters = town.meters()
    points = rng.sample([meter["id"] for meter in meters], CHECKED_POINTS)
    meter = next(meter for meter in meters if meter["model"] == "mt372")
    return Visitor(town, points, meter["url"], "1-0:1.8.0")


def kill_at(town: RunningTown, stage: Stage, seconds: float, visitor: Visitor | None) -> None:
    """Start the town and kill it `seconds` into a stage, looking at it where there is a portal."""
    town.start(wait=False)
    killer = threading.Timer(seconds, town.send, (signal.SIGKILL,))
    assert not stage.begins or town.says(stage.begins), "\n".join(town.lines)
    if stage is STOPS:
        if visitor is not None:
            town.log_in()
            visitor.look()
        town.send(signal.SIGINT)
    killer.start()
    if visitor is not None and stage is not STOPS and town.says(COLLECTS.begins):
        visitor.look_until_cut()
    killer.join()
    assert town.wait(GONE_S) in (-signal.SIGKILL, 0), "\n".join(town.lines)


def check_after(town: RunningTown, visitor: Visitor) -> None:
    """Start the town again: what was shown is there, complete and once. Ends with a kill, too."""
    town.start()
    visitor.look(complete=True)
    town.stop(signal.SIGKILL)


def check_books(data: Path) -> None:
    """The books as the last kill left them equal what the sources have delivered until then."""
    plan = plan_in(data, 7, POINTS, 1, 0)
    kept, fresh = Town(plan), Town(plan)
    load_outages(fresh, data)
    fleet = kept.fleet(data, time.time)
    try:
        for place in fresh.places:
            ledger = fleet.running[place.id].meter.ledger
            for source, column in ENERGY:
                booked_uwh = ledger.snapshot().value(source)
                delivered_uwh = energy_of(place, column, plan.begin_utc_s, ledger.now)
                sampled = place.plan is not None and place.plan.waveforms
                off_uwh = delivered_uwh * SAMPLED_PPM // 10**6 if sampled else 0
                assert abs(booked_uwh - delivered_uwh) <= off_uwh, (place.id, source)
    finally:
        fleet.store.close()


def energy_of(place: Place, column: int, begin: int, end: int) -> int:
    """What the source of a place has delivered, in µWh."""
    minutes, seconds = divmod(end - begin, 60)
    total = 0
    for start, count, step in ((begin, minutes, 60), (end - seconds, seconds, 1)):
        if count:
            total += int(place.source.block(start, count, step).energy_u[:, 0, column].sum())
    return total


# --- the default suite ----------------------------------------------------------------------------


def test_the_town_survives_a_kill_at_a_random_moment(nursery: Nursery, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    town = NurseryTown(nursery, tmp_path / "data", points=POINTS, days=1)
    try:
        seconds = rng.uniform(0.0, FIRST_START_S)
        print(f"BLATHY_CRASH_SEED={SEED}: killed {seconds:.2f} s after its start, then alive")
        kill_at(town, STARTS, seconds, None)
        town.start()
        visitor = visitor_of(town, rng)
        visitor.look(complete=True)
        town.stop(signal.SIGKILL)
        kill_at(town, LIVES, rng.uniform(0.0, LIVES.lasts_s), visitor)
        check_after(town, visitor)
        check_books(town.data)
    finally:
        town.kill()


# --- on request -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def templates(
    nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, tuple[Stage, ...]]]:
    """Directories to begin with, and the stages that are worth killing there first."""
    root = tmp_path_factory.mktemp("templates")
    for name, line in (("planned", MEASURES.begins), ("measured", "measure their history:")):
        town = NurseryTown(nursery, root / name, points=POINTS, days=1)
        town.start(wait=False)
        assert town.says(line), "\n".join(town.lines)
        town.stop(signal.SIGKILL)
    return {
        "planned": (root / "planned", (STARTS, MEASURES, MEASURES)),
        "measured": (root / "measured", (COLLECTS, COLLECTS, LIVES)),
    }


@pytest.mark.crash
@pytest.mark.parametrize("turn", range(-(-CRASHES // TURN)))
def test_the_town_survives_kills_at_random_moments(
    turn: int,
    nursery: Nursery,
    templates: dict[str, tuple[Path, tuple[Stage, ...]]],
    tmp_path: Path,
) -> None:
    rng = random.Random(f"{SEED}/{turn}")
    print(f"repeat with: BLATHY_CRASH_SEED={SEED} pytest -m crash tests/town -k '[{turn}]'")
    template, first = templates[("measured", "planned")[turn % 2]]
    shutil.copytree(template, tmp_path / "data")
    town = NurseryTown(nursery, tmp_path / "data", points=POINTS, days=1)
    visitor = visitor_of(town, rng)
    try:
        kills = 0
        while kills < min(TURN, CRASHES - turn * TURN):
            stage = rng.choice(ANY if kills else first)
            seconds = rng.uniform(0.0, stage.lasts_s)
            kill_at(town, stage, seconds, visitor)
            print(f"kill {kills + 1}: {seconds:.3f} s into {stage.name}; status {town.status}")
            kills += town.status == -signal.SIGKILL  # it may have stopped before the kill
            check_after(town, visitor)
        check_books(town.data)
    finally:
        town.kill()
    assert visitor.slots
    assert visitor.registers
