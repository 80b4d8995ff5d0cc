"""Who lives where: the town's network and its points as tables, the same for every run.

Two transformer stations, four feeders, a sum meter at the head of each. Loads follow the BDEW
shapes plus appliances; the seed varies people's habits, days and weather.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from blathy.sources.synthetic import Charger, LoadSpec, Machines

SMALL_HOME: Final = ("kettle", "refrigerator", "laptop", "television")
FAMILY: Final = (
    "kettle",
    "refrigerator",
    "induction-cooker",
    "television",
    "washing-machine",
    "laptop",
    "range-hood",
    "desktop-computer",
)
ELECTRIC: Final = (*FAMILY, "water-heater", "air-conditioner", "rice-cooker")
OFFICE: Final = ("desktop-computer", "laptop", "water-dispenser", "kettle", "refrigerator")
POINTS_MIN: Final = 12
POINTS_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Station:
    id: str
    name: str
    rated_kva: int


@dataclass(frozen=True, slots=True)
class Feeder:
    id: str
    name: str
    station: str
    resistance_ohm: float


@dataclass(frozen=True, slots=True)
class SubMeter:
    """A water or heat meter on the M-Bus of an electricity meter."""

    medium: str
    annual: float  # m³ of water, or kWh of heat
    manufacturer: str = "BLT"


@dataclass(frozen=True, slots=True)
class Nameplate:
    """What the plate of a three-phase power transformer says."""

    rated_va: float
    rated_line_v: float
    no_load_w: float
    load_loss_w: float
    magnetising_percent: float
    impedance_percent: float


@dataclass(frozen=True, slots=True)
class TownPoint:
    """One metering point. `model` is a name of `blathy.models`; `feeder` indexes FEEDERS.

    `ct_ratio` is primary over secondary current of a transformer-operated meter. `credit_kwh` makes
    it a prepayment customer. `waveforms` runs the meter on samples while the town is live.
    `transformer` is the customer's own, whose losses are counted behind it.
    """

    name: str
    kind: str
    model: str
    load: LoadSpec
    sub_meter: SubMeter | None = None
    ct_ratio: int = 1
    credit_kwh: float | None = None
    waveforms: bool = False
    protected: bool = False
    neutral_breaks: bool = False
    transformer: Nameplate | None = None


STATIONS: Final = (
    Station("T1", "Mill Street station", 630),
    Station("T2", "Station Road station", 400),
)
FEEDERS: Final = (
    Feeder("F1", "Mill Street", "T1", 0.006),
    Feeder("F2", "Riverside", "T1", 0.009),
    Feeder("F3", "Station Road", "T2", 0.005),
    Feeder("F4", "Orchard Hill", "T2", 0.014),
)


def _home(
    kwh: float, *, phases: int = 1, things: tuple[str, ...] = FAMILY, **more: object
) -> LoadSpec:
    return LoadSpec("h0", kwh, phases, appliances=things, **more)  # type: ignore[arg-type]


F1: Final = (
    TownPoint("Mill Street 1", "household", "omnipower", _home(2400, things=SMALL_HOME)),
    TownPoint(
        "Mill Street 2", "household", "mt372", _home(4300, phases=3), SubMeter("heat", 9500, "KAM")
    ),
    TownPoint("Mill Street 3", "household", "omnipower", _home(3100), waveforms=True),
    TownPoint(
        "Mill Street 4, bakery", "business", "mt372", LoadSpec("g5", 21_000, 3, appliances=OFFICE)
    ),
    TownPoint("Mill Street 5", "household", "k162m", _home(1900, things=SMALL_HOME)),
    TownPoint("Mill Street 6", "household", "mt372", _home(3900, phases=3, pv_peak_w=5200)),
    TownPoint("Mill Street 7", "household", "omnipower", _home(2700), credit_kwh=42.0),
    TownPoint(
        "Mill Street 8, shop", "business", "k382m", LoadSpec("g4", 14_500, 3, appliances=OFFICE)
    ),
)
F2: Final = (
    TownPoint("Riverside 1", "household", "omnipower", _home(3400, phase_of_single=2)),
    TownPoint(
        "Riverside 2",
        "household",
        "mt372",
        _home(5200, phases=3, things=ELECTRIC, charger=Charger()),
    ),
    TownPoint("Riverside 3", "household", "mpta-1", _home(2900, things=SMALL_HOME)),
    TownPoint(
        "Riverside 4",
        "household",
        "k382m",
        _home(4800, phases=3, pv_peak_w=8600, charger=Charger(7400, 1)),
        waveforms=True,
    ),
    TownPoint("Riverside 5", "household", "k162m", _home(2200, things=SMALL_HOME)),
    TownPoint("Riverside 6", "household", "omnipower", _home(3000), SubMeter("water", 118.0)),
    TownPoint(
        "Riverside 7, surgery",
        "business",
        "mt372",
        LoadSpec("g1", 9_800, 3, appliances=OFFICE),
        protected=True,
    ),
    TownPoint("Riverside 8", "household", "omnipower", _home(2500, phase_of_single=3)),
)
F3: Final = (
    TownPoint(
        "Station Road 1, joinery",
        "workshop",
        "mpta-3",
        LoadSpec("g1", 6_000, 3, machines=Machines(), base_power_factor=0.9),
        waveforms=True,
    ),
    TownPoint(
        "Station Road 2, mill",
        "industry",
        "esox",
        LoadSpec("g3", 190_000, 3, machines=Machines(48_000, 0.78, (6, 22)), line_ohm=0.02),
        ct_ratio=40,
        waveforms=True,
        transformer=Nameplate(250_000, 400, 650, 3_250, 1.6, 4.0),
    ),
    TownPoint(
        "Station Road 3, school",
        "business",
        "k382m",
        LoadSpec("g1", 32_000, 3, appliances=OFFICE, pv_peak_w=14_000),
    ),
    TownPoint("Station Road 4", "household", "omnipower", _home(2100, things=SMALL_HOME)),
    TownPoint("Station Road 5", "household", "k162m", _home(2600)),
    TownPoint(
        "Station Road 6, inn", "business", "mt372", LoadSpec("g2", 26_000, 3, appliances=OFFICE)
    ),
    TownPoint("Station Road 7", "household", "omnipower", _home(3300, phase_of_single=2)),
)
F4: Final = (
    TownPoint(
        "Orchard Hill 1, farm", "farm", "mt372", LoadSpec("l1", 24_000, 3, machines=Machines(5_500))
    ),
    TownPoint(
        "Orchard Hill 2",
        "household",
        "k382m",
        _home(4600, phases=3, things=ELECTRIC),
        neutral_breaks=True,
    ),
    TownPoint(
        "Orchard Hill 3",
        "household",
        "mpta-3",
        _home(6100, phases=3, things=ELECTRIC, pv_peak_w=9900),
    ),
    TownPoint("Orchard Hill 4", "household", "omnipower", _home(2800, phase_of_single=3)),
    TownPoint(
        "Orchard Hill 5", "household", "k162m", _home(1700, things=SMALL_HOME), credit_kwh=24.0
    ),
    TownPoint("Orchard Hill 6", "household", "omnipower", _home(3600, pv_peak_w=3600)),
    TownPoint("Orchard Hill 7, cellar", "farm", "mt372", LoadSpec("l2", 11_000, 3)),
    TownPoint(
        "Orchard Hill 8", "household", "mpta-1", _home(2300, things=SMALL_HOME, phase_of_single=2)
    ),
)
STREETS: Final = (F1, F2, F3, F4)
"""The points of each feeder, in the order along it."""


def streets(points: int) -> tuple[tuple[TownPoint, ...], ...]:
    """The points of the four feeders for a town of about `points` metering points.

    Feeder heads and sub-meters count. Smaller towns keep the first points of every feeder in turn;
    in larger ones the streets go on with more houses of the same kinds. Raise ValueError outside
    12…1000.
    """
    if not POINTS_MIN <= points <= POINTS_MAX:
        msg = f"a town has {POINTS_MIN} to {POINTS_MAX} points, not {points}"
        raise ValueError(msg)
    rows: list[list[TownPoint]] = [[] for _ in FEEDERS]
    left = points - len(FEEDERS)
    place = 0
    while left > 0:
        feeder = place % len(FEEDERS)
        house = place // len(FEEDERS)
        street = STREETS[feeder]
        point = street[house % len(street)]
        lap = house // len(street)
        cost = 2 if point.sub_meter and left > 1 else 1
        if lap:
            point = _again(point, lap, len(street))
            cost = 1
        if cost == 1 and point.sub_meter:
            point = _without_sub_meter(point)
        rows[feeder].append(point)
        left -= cost
        place += 1
    return tuple(tuple(row) for row in rows)


def _again(point: TownPoint, lap: int, houses: int) -> TownPoint:
    """The same kind of house further along the street, without what is there only once."""
    street, _, rest = point.name.rpartition(" ")
    if "," in point.name:
        head, _, what = point.name.partition(",")
        street, _, number = head.rpartition(" ")
        name = f"{street} {int(number) + lap * houses},{what}"
    else:
        name = f"{street} {int(rest) + lap * houses}"
    return TownPoint(
        name, point.kind, point.model, point.load, ct_ratio=point.ct_ratio,
        transformer=point.transformer,
    )  # fmt: skip


def _without_sub_meter(point: TownPoint) -> TownPoint:
    return replace(point, sub_meter=None)
