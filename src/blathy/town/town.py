"""The town as a running whole: sources, meters on their ports, and the description the head-end
reads.

Everything follows from the seed and the day the history begins; both are kept in the data
directory, so a town that is started again has the same meters, keys, loads and past.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from blathy.clock import Zone, iso_utc
from blathy.cosem import axdr
from blathy.fleet.bus import Bus
from blathy.fleet.fleet import Fleet
from blathy.headend.inventory.description import (
    AssociationDescription,
    ChannelDescription,
    FeederDescription,
    MeterDescription,
    PointDescription,
    SiteDescription,
    StationDescription,
    UserDescription,
)
from blathy.meter.identity import MeterIdentity, identity_of
from blathy.meter.measuring import adapt, parameter_named, set_parameter
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.metrology.transformer import LossParameters, Ratios
from blathy.models import MODELS
from blathy.models.model import Level, Mechanism, Model
from blathy.sources.happenings import GridSupply, LiveOutages
from blathy.sources.measured import MeasuredSource
from blathy.sources.source import IntervalSource
from blathy.sources.sub_meters import SubMeterDevice, SubMeterLoad, header_of
from blathy.sources.synthetic import FeederSource, LoadSpec, SyntheticSource
from blathy.town.channels import channels_of
from blathy.town.compilation import SampledWhenReady, load_engine
from blathy.town.customers import PrepaidCustomer
from blathy.town.streets import FEEDERS, STATIONS, SubMeter, TownPoint, streets
from blathy.wire.mbus import MbusSlave, Medium

TOWN_FILE: Final = "town.json"
METERS_FILE: Final = "meters.sqlite"
ZONE: Final = "Europe/Budapest"
SERIAL_BASE: Final = 68_500_000
HEAD_MODEL: Final = "esox"
HEAD_CT_RATIO: Final = 80
MPTA_CT_A: Final = 100
"""Primary current of the clamps that the MPTA comes with."""
DLMS_PORT: Final = 4059
DEMO_LOGIN: Final = ("demo", "demo")
NEUTRAL_BREAK_DAYS_AGO: Final = 6
CONFIGURATION: Final = (
    (Level.MANAGEMENT, Mechanism.HLS_GMAC),
    (Level.INSTALLER, Mechanism.HLS_GMAC),
    (Level.READER, Mechanism.LLS),
)


PUSH_RETRIES: Final = 240
PUSH_DELAY_S: Final = 15
"""An alarm waits an hour for a control centre that is down."""
UWH_PER_KWH: Final = 10**9
MEDIA: Final = {"water": Medium.WATER, "heat": Medium.HEAT_OUTLET}
UNIT_OF: Final = {"water": ("m³", -3, "volume", "Volume"), "heat": ("Wh", 3, "energy", "Heat")}


class TownError(Exception):
    """The town cannot be set up; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class TownPlan:
    """What a town is made from. `begin_utc_s` is the first second of its history; `salt` makes the
    keys of every new town its own, so that no two ever share a key and a counter."""

    seed: int
    points: int
    begin_utc_s: int
    salt: str = ""

    def to_json(self) -> str:
        return json.dumps(
            {
                "seed": self.seed,
                "points": self.points,
                "begin": self.begin_utc_s,
                "salt": self.salt,
            },
            indent=1,
        )


def plan_in(data_dir: Path, seed: int, points: int, days: int, now_utc_s: int) -> TownPlan:
    """The plan kept in the directory, or a new one that is written there.

    Raise TownError where the directory holds another town.
    """
    path = data_dir / TOWN_FILE
    if path.exists():
        try:
            kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
            found = TownPlan(
                int(kept["seed"]), int(kept["points"]), int(kept["begin"]), str(kept["salt"])
            )
        except (ValueError, KeyError, TypeError) as error:
            raise TownError(f"{path} is damaged; use another directory with --data") from error
        if (found.seed, found.points) != (seed, points):
            raise TownError(
                f"{data_dir} holds a town of {found.points} points with seed {found.seed}; "
                f"start it with --seed {found.seed} --points {found.points}, or use another --data"
            )
        return found
    zone = Zone(ZONE)
    begin = zone.day_start(zone.day_of(now_utc_s) - timedelta(days=days))
    made = TownPlan(seed, points, int(begin), secrets.token_hex(8))
    data_dir.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)  # the keys follow from it
    draft.write_text(made.to_json(), "utf-8")
    draft.replace(path)
    return made


@dataclass(frozen=True, slots=True)
class Place:
    """One electricity meter of the town."""

    id: str
    name: str
    kind: str
    feeder: int
    host: str
    serial: int
    model: Model
    identity: MeterIdentity
    options: MeterOptions
    source: IntervalSource
    plan: TownPoint | None


class Town:
    """The places of a town and how to run them."""

    def __init__(self, plan: TownPlan) -> None:
        self.plan = plan
        self.zone = Zone(ZONE)
        self.places: list[Place] = []
        self.outages = tuple(LiveOutages() for _ in FEEDERS)
        self._heads: list[FeederSource] = []
        for index, rows in enumerate(streets(plan.points)):
            self._feeder(index, rows)

    def _feeder(self, feeder: int, rows: tuple[TownPoint, ...]) -> None:
        loads = []
        for number, row in enumerate(rows, 1):
            point = self._load(feeder, number, row)
            loads.append(point)
            source: IntervalSource = point
            if row.waveforms:
                ratios = transformers_of(MODELS[row.model], row.ct_ratio)
                source = SampledWhenReady(point, MeasuredSource(point, ratios=ratios))
            self._place(feeder, number, row.name, row.kind, row.model, row.ct_ratio, source, row)
        head = FeederSource(
            LoadSpec(phases=3),
            self.plan.seed,
            (feeder + 1) * 1000,
            self.zone,
            parts=tuple(loads),
            resistance_ohm=FEEDERS[feeder].resistance_ohm,
        )
        self._heads.append(head)
        name = f"{FEEDERS[feeder].name} feeder"
        self._place(feeder, 250, name, "feeder", HEAD_MODEL, HEAD_CT_RATIO, head, None)

    def _load(self, feeder: int, number: int, row: TownPoint) -> SyntheticSource:
        key = (feeder + 1) * 1000 + number
        neutral = None
        if row.neutral_breaks:
            day = (self.plan.begin_utc_s + 24 * 86_400) // 86_400
            neutral = (day, 11 * 60 + 20, 35)
        supply = GridSupply(self.plan.seed, feeder, key, row.load.phases, neutral_break=neutral)
        return SyntheticSource(row.load, self.plan.seed, key, self.zone, supply)

    def _place(
        self,
        feeder: int,
        number: int,
        name: str,
        kind: str,
        model_key: str,
        ct_ratio: int,
        source: IntervalSource,
        row: TownPoint | None,
    ) -> None:
        model = MODELS[model_key]
        keys = f"town/{self.plan.seed}/{self.plan.salt}"
        serial = SERIAL_BASE + (feeder + 1) * 1000 + number
        options = MeterOptions(
            zone=ZONE,
            mechanisms=CONFIGURATION,
            overcurrent_ma=model.ratings.i_max_ma * ct_ratio if ct_ratio > 1 else 0,
            prepayment=bool(row and row.credit_kwh),
            alarms=True,
        )
        self.places.append(
            Place(
                f"{FEEDERS[feeder].id.lower()}-{f'{number:02d}' if row else 'head'}",
                name, kind, feeder, f"127.1.{feeder + 1}.{number}", serial, model,
                identity_of(model, serial, keys), options, source, row,
            )
        )  # fmt: skip

    def forget_days(self) -> None:
        """Let the feeders' sums be computed anew: an outage has been added."""
        for head in self._heads:
            head.forget_days()

    def let_sample(self, sampled: bool) -> None:
        """Whether the places that have waveforms measure them while the town is live."""
        for place in self.places:
            if isinstance(place.source, SampledWhenReady):
                place.source.ready = sampled

    def warm_up(self) -> None:
        """Let the measuring engine compile, or load, before the town is live."""
        load_engine()
        self.let_sample(True)

    # --- the meters -------------------------------------------------------------------------------

    def fleet(self, data_dir: Path, now: Callable[[], float]) -> Fleet:
        """The meters with their books as they were kept, not yet caught up."""
        fleet = Fleet.open(data_dir / METERS_FILE, now)
        for place in self.places:
            meter = Meter(
                place.model,
                place.identity,
                start_utc_s=self.plan.begin_utc_s,
                entropy=secrets.token_bytes,
                options=place.options,
                keeper=fleet.keeper(place.id),
                drift_ppb=drift_ppb(place),
            )
            if meter.ledger.now == self.plan.begin_utc_s:
                install(meter, place)
            for part in parts_of(place.source):
                adapt(part, meter)
            running = fleet.add(place.id, meter, place.source, place.host)
            if place.plan and place.plan.credit_kwh:
                if meter.ledger.now == self.plan.begin_utc_s:
                    meter.add_credit(round(place.plan.credit_kwh * UWH_PER_KWH))
                running.visitor = PrepaidCustomer(self.plan.seed, place.serial, self.zone)
            sub = place.plan.sub_meter if place.plan else None
            if sub:
                running.bus = self._bus(place, sub, meter)
            self._listen(place, meter)
        for head in (place for place in self.places if place.plan is None):
            self._sum(fleet, head)
        return fleet

    @staticmethod
    def _listen(place: Place, meter: Meter) -> None:
        """Let the head of the feeder know what the meter's breaker lets through."""
        if meter.model.breaker is None:
            return
        for part in parts_of(place.source):
            if isinstance(part, SyntheticSource):
                part.connection.tell(meter.ledger.now, meter.control.breaker.connected)
                meter.control.on_load = part.connection.tell

    def _sum(self, fleet: Fleet, head: Place) -> None:
        """Let the meters behind breakers go on before the head of their feeder."""
        switched = (
            fleet.running[place.id]
            for place in self.places
            if place.feeder == head.feeder and place.plan and place.model.breaker is not None
        )
        one = fleet.running[head.id]
        one.counts = tuple(switched)
        for part in one.counts:
            part.counted = True

    def push_to(self, fleet: Fleet, port: int) -> None:
        """Let every meter that has alarms push them to the control centre on this machine: again
        and again until it has confirmed them."""
        fleet.outgoing.pushes.confirmed = True
        destination = axdr.structure(
            axdr.enum(0), axdr.octets(f"127.0.0.1:{port}".encode()), axdr.enum(0)
        )
        values = ((3, destination), (6, axdr.u8(PUSH_RETRIES)), (7, axdr.u16(PUSH_DELAY_S)))
        for running in fleet.running.values():
            meter = running.meter
            setup = next((f.obis for f in meter.model.facilities if f.class_id == 40), None)
            if setup is None or not meter.model.alarms:
                continue
            for number, value in values:
                meter.save_setting(bytes(setup) + bytes((number,)), axdr.encode(value))

    def _bus(self, place: Place, sub: SubMeter, meter: Meter) -> Bus:
        """The M-Bus of a place with its one slave on the channel of its medium."""
        medium = MEDIA[sub.medium]
        load = SubMeterLoad(medium, sub.annual, self.plan.seed, place.serial, self.plan.begin_utc_s)

        name = b"mbus-device:1"  # what the device itself remembers stands with its meter's settings

        def slave(now: Callable[[], int]) -> MbusSlave:
            header = header_of(sub_serial(place), sub.manufacturer, medium)
            device = SubMeterDevice(
                load, header, now, remembered=meter.settings.get(name, b""),
                remember=lambda octets: meter.save_setting(name, octets),
            )  # fmt: skip
            return device.slave

        bus = Bus(meter)
        bus.attach(1, slave)
        return bus

    # --- what the head-end is told ----------------------------------------------------------------

    def site(self, port: int, ports: dict[str, int] | None = None) -> SiteDescription:
        """The site as the head-end's inventory takes it. `ports` names a port of 127.0.0.1 per
        place where the meters do not have addresses of their own."""
        return SiteDescription(
            name="Blathy town",
            stations=tuple(StationDescription(s.id, s.name, s.rated_kva) for s in STATIONS),
            feeders=tuple(FeederDescription(f.id, f.name, f.station) for f in FEEDERS),
            points=(
                *(self._point(place, port, ports) for place in self.places),
                *(
                    self._sub_point(place, place.plan.sub_meter, port, ports)
                    for place in self.places
                    if place.plan and place.plan.sub_meter
                ),
            ),
            timezone=ZONE,
            simulated=True,
            users=(UserDescription(*DEMO_LOGIN, role="admin"),),
            demo_login=DEMO_LOGIN,
        )

    def _point(self, place: Place, port: int, ports: dict[str, int] | None) -> PointDescription:
        feeder = FEEDERS[place.feeder]
        where = f"127.0.0.1:{ports[place.id]}" if ports else f"{place.host}:{port}"
        return PointDescription(
            id=place.id,
            name=place.name,
            kind=place.kind,
            station=feeder.station,
            feeder=feeder.id,
            meter=MeterDescription(
                serial=place.identity.serial_text,
                model=place.model.key,
                url=f"dlms://{where}",
                associations=(management_of(place.identity),),
                channels=channels_of(place.model),
                system_title=place.identity.system_title.hex(),
                manufacturer=place.model.maker,
                installed_at=iso_utc(self.plan.begin_utc_s),
            ),
            address=f"{place.name}, {ZONE.partition('/')[2]}",
            timezone=ZONE,
            groups=("feeders",) if place.plan is None else ("customers",),
            protected=bool(place.plan and place.plan.protected),
        )

    def _sub_point(
        self, place: Place, sub: SubMeter, port: int, ports: dict[str, int] | None
    ) -> PointDescription:
        """The water or heat meter as a point of its own, read through the electricity meter."""
        parent = self._point(place, port, ports)
        unit, scaler, kind, name = UNIT_OF[sub.medium]
        channel = ChannelDescription(
            sub.medium, name, "0-1:24.2.1", unit, scaler, 3600, kind, profile="0-1:24.3.0"
        )
        return replace(
            parent,
            id=f"{place.id}-{sub.medium}",
            name=f"{place.name}, {sub.medium}",
            kind=sub.medium,
            medium=sub.medium,
            parent=place.id,
            meter=replace(
                parent.meter,
                serial=f"{sub_serial(place):08d}",
                model=f"mbus-{sub.medium}",
                manufacturer=sub.manufacturer,
                channels=(channel,),
                associations=(),  # spoken to through its parent
                system_title="",
            ),
        )


def transformers_of(model: Model, ct_ratio: int) -> Ratios:
    """The current transformers in front of a meter."""
    if model.ratings.current_full_scale_ma:
        return Ratios(MPTA_CT_A, model.ratings.current_full_scale_ma / 1000)
    return Ratios(5 * ct_ratio, 5)


def parts_of(source: IntervalSource) -> tuple[object, ...]:
    """A source and what it is made of."""
    if isinstance(source, SampledWhenReady):
        return source, source.measured, source.point
    return (source,)


def install(meter: Meter, place: Place) -> None:
    """Set what the installer sets: the ratio, and the transformer whose losses are to be counted.

    Ohms are per phase on the side that is measured.
    """
    ratio = HEAD_CT_RATIO if place.plan is None else place.plan.ct_ratio
    if parameter_named(meter.model, "ct_ratio") is not None:
        set_parameter(meter, "ct_ratio", ratio)
    if place.plan is None or place.plan.transformer is None:
        return
    losses = LossParameters.of_nameplate(**asdict(place.plan.transformer))
    set_parameter(meter, "rcu_microohm", round(losses.r_cu_ohm * 1e6))
    set_parameter(meter, "xs_microohm", round(losses.x_s_ohm * 1e6))
    set_parameter(meter, "rfe_milliohm", round(losses.r_fe_ohm * 1e3))
    set_parameter(meter, "xm_milliohm", round(losses.x_m_ohm * 1e3))


def sub_serial(place: Place) -> int:
    """Serial number of the sub-meter behind a place."""
    return place.serial + 500_000


def management_of(identity: MeterIdentity) -> AssociationDescription:
    """How the head-end enters: client 1, HLS-GMAC, everything authenticated and encrypted."""
    return AssociationDescription(
        client_sap=1,
        mechanism="hls_gmac",
        ciphered=True,
        encryption_key=identity.encryption_key,
        authentication_key=identity.authentication_key,
        broadcast_key=identity.broadcast_key,
        master_key=identity.master_key,
    )


def drift_ppb(place: Place) -> int:
    """The error of the meter's quartz: within its model's limit, the same for ever."""
    limit_ppb = place.model.clock.drift_ppm * 1000
    draw = int.from_bytes(place.identity.master_key[:4], "big")
    return draw % (2 * limit_ppb + 1) - limit_ppb if limit_ppb else 0
