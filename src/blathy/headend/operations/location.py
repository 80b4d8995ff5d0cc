"""Where an event happened, from the network model: station, feeder, point."""

from __future__ import annotations

from typing import Any, Final

from blathy.headend.inventory.registry import Inventory, Point
from blathy.headend.sentence import Sentence, with_code

LOCATED: Final = frozenset(
    (
        "neutral_fault_start", "power_down", "long_outage", "phase_lost", "sag_start",
        "swell_start",
        "undervoltage_start", "overvoltage_start", "voltage_asymmetry_start",
        "phase_sequence_wrong",
    )
)  # fmt: skip
"""Events of the network, not of the installation behind the meter."""


def locate(inventory: Inventory, point: Point, name: str) -> dict[str, Any] | None:
    """Station and feeder of a network event, with one sentence for the crew."""
    if name not in LOCATED:
        return None
    station = inventory.stations[point.station_id]
    feeder = inventory.feeders[point.feeder_id]
    names = {"station": station.name, "feeder": feeder.name}
    if point.kind == "feeder":
        text = Sentence("at-feeder", "{station}, {feeder}, at the feeder's own meter", **names)
    else:
        place = f"{point.name} ({point.beyond_name})" if point.beyond_name else point.name
        text = Sentence(
            "before-point", "{station}, {feeder}, between the station and {place}",
            **names, place=place,
        )  # fmt: skip
    return {
        "station": {"id": station.id, "name": station.name},
        "feeder": {"id": feeder.id, "name": feeder.name},
        **with_code("text", text),
    }
