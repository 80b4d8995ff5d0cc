"""Every cell of docs/interoperability.md: clients that this project did not write, over real ports.

`python -m tests.interop.test_matrix` writes the page again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from blathy.meter.meter import Meter
from blathy.models.model import Level
from tests.interop.matrix import DLMS_COSEM, GURUX, Cell, cells
from tests.interop.peers import Peer, job_of, meter_of
from tests.interop.ports import Served

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]
ENERGY_WH = 3 * 1200 * 24
MODULES = {GURUX: ("gurux_client", "-O"), DLMS_COSEM: ("dlms_cosem_client",)}
"""Without -O the ciphered short names of Gurux end in an assertion that is the wrong way round."""


@dataclass
class World:
    """What the tests of this module share: the peers' processes and a loop that serves meters."""

    served: Served
    peers: dict[str, Peer] = field(default_factory=dict)
    meters: dict[tuple[Any, ...], Meter] = field(default_factory=dict)

    def peer(self, name: str) -> Peer:
        if name not in self.peers:
            self.peers[name] = Peer(*MODULES[name])
        return self.peers[name]

    def meter(self, cell: Cell) -> Meter:
        """Meters are kept for a while: a session leaves nothing that the next one minds."""
        key = (cell.mechanism, cell.suite, cell.short_names)
        if key not in self.meters:
            self.meters[key] = meter_of(cell.mechanism, cell.suite, short_names=cell.short_names)
        return self.meters[key]

    def session(self, cell: Cell) -> dict[str, Any]:
        meter = self.meter(cell)
        where = self.served.tty(meter) if cell.line == "tty" else None
        with where or self.served.tcp(meter, cell.pdu_size) as at:
            job = job_of(meter, 0, list(cell.work), ciphered=cell.ciphered)
            return self.peer(cell.peer)(job | at | extra_of(cell, meter))


def extra_of(cell: Cell, meter: Meter) -> dict[str, Any]:
    extra = dict(cell.extra)
    if extra.get("dedicated"):
        extra["dedicated"] = bytes(range(32 if cell.suite == 2 else 16)).hex()
    if cell.short_names:
        extra["names"] = {i.obis.dotted(): base for base, i in meter.tree.short_names.items()}
    return extra


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World(Served())
    yield world
    for peer in world.peers.values():
        peer.__exit__()
    world.served.end()


ALL = cells()


@pytest.mark.requirement("K-17", "MT372-12")
@pytest.mark.parametrize(
    "cell", [c for c in ALL if not c.lack and not c.refused], ids=lambda c: c.name
)
def test_the_peer_does_its_work(world: World, cell: Cell) -> None:
    result = world.session(cell)
    assert "failed" not in result, result
    assert result["released"]
    assert cell.tags <= set(result["tags"]), result["tags"]
    for work in cell.work:
        name, *given = (work,) if isinstance(work, str) else work
        CHECKS[name](result[name], world.meter(cell), cell, *given)


@pytest.mark.parametrize("cell", [c for c in ALL if c.refused and not c.lack], ids=lambda c: c.name)
def test_the_peer_hears_what_the_standard_refuses(world: World, cell: Cell) -> None:
    assert cell.refused in world.session(cell)["failed"]


@pytest.mark.parametrize("cell", [c for c in ALL if c.fails], ids=lambda c: c.name)
def test_the_peer_still_fails_as_the_page_says(world: World, cell: Cell) -> None:
    assert cell.fails in world.session(cell).get("failed", "")


# What a piece of work must have brought

Check = Callable[..., None]


def _clock(found: str, _meter: Meter, cell: Cell) -> None:
    assert found.startswith("2026-01-02T01:" if cell.peer == GURUX else "090c07ea0102")


def _objects(found: int, meter: Meter, cell: Cell) -> None:
    listed = meter.tree.view(Level.MANAGEMENT).list_entries
    known = {bytes(i.obis) for i in meter.tree.short_names.values()} if cell.short_names else None
    assert found == (len(listed) if known is None else len(known))


def _range(found: list[Any], _meter: Meter, _cell: Cell, *_given: str) -> None:
    assert found == [5, "2026-01-01T03:00:00+01:00", 3 * 1200 * 3]


def _reconnected(found: list[int], meter: Meter, _cell: Cell) -> None:
    assert found[0] == 0
    assert found[1] in {1, 2}
    assert meter.control_view.connected is (found[1] == 1)


def _clock_methods(found: list[str], _meter: Meter, _cell: Cell, *_given: str) -> None:
    minutes = [text[14:19] for text in found]
    quarter = minutes[1]
    assert quarter[3:] == "00"
    assert int(quarter[:2]) % 15 == 0
    assert minutes[2:4] == [f"{quarter[:3]}20", quarter]
    assert found[-1] == "2026-01-02T01:30:00+01:00"


CHECKS: dict[str, Check] = {
    "clock": _clock,
    "register": lambda found, *_: _equal(found, [ENERGY_WH, 30]),
    "objects": _objects,
    "by_range": _range,
    "by_entry": lambda found, *_: _equal(found, [7, "2026-01-01T01:45:00+01:00"]),
    "set": lambda found, *_: _equal(found, 1),
    "set_many": lambda found, *_: _equal(found, 3),
    "action": lambda _found, meter, *_: _equal(meter.control_view.connected, False),
    "many": lambda found, *_: _within(found, {2, 3}),
    "access": lambda found, *_: _equal(found, [ENERGY_WH, [0, 0, 4], 5]),
    "reconnect": _reconnected,
    "clock_methods": _clock_methods,
    "set_clock": lambda found, *_: _equal(found, "2026-01-02T01:20:00+01:00"),
    "script": lambda _found, meter, *_: _equal(meter.control_view.connected, False),
    "reset": lambda found, *_: _equal(found, True),
    "special_days": lambda found, *_: _equal([day[0] for day in found], [2, 3]),
    "long_insert": lambda found, *_: _equal(found, True),
    "calendar": lambda found, *_: _equal(found["name"], "gurux"),
    "long_calendar": lambda found, *_: _equal(found[0], found[1]),
    "capture": lambda found, *_: _equal(found[1] - found[0], 1),
}


def _equal(found: Any, wanted: Any) -> None:
    assert found == wanted


def _within(found: Any, wanted: Any) -> None:
    assert found in wanted
