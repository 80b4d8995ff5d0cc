"""A few meters on ports of their own addresses, with alarms, keys and a supply that can fail."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blathy.cosem import axdr
from blathy.fleet.fleet import Fleet
from blathy.headend.inventory.description import (
    AssociationDescription,
    FeederDescription,
    MeterDescription,
    PointDescription,
    SiteDescription,
    StationDescription,
    UserDescription,
)
from blathy.meter.identity import MeterIdentity, identity_of
from blathy.meter.meter import Meter
from blathy.meter.plan import MeterOptions
from blathy.models import MODELS
from blathy.models.model import Level
from blathy.registers.block import Block, Incident
from blathy.town.channels import channels_of
from blathy.town.town import CONFIGURATION, management_of
from tests.meter.simple_load import ConstantLoad

PUSH_SETUP = bytes.fromhex("0000190900FF")
ADMIN = ("demo", "demo-password")
USERS = (
    UserDescription(*ADMIN, "admin"),
    UserDescription("ivan", "installer-password", "installer"),
    UserDescription("mira", "manager-password", "manager"),
)


class FailingSupply(ConstantLoad):
    """A constant load whose supply is dark from `dark[0]` to `dark[1]`."""

    dark = (0, 0)

    def block(self, start_utc_s: int, n: int, step_s: int) -> Block:
        made = super().block(start_utc_s, n, step_s)
        at = start_utc_s + np.arange(n) * step_s
        off = (at >= self.dark[0]) & (at < self.dark[1])
        made.supply[off] = 0
        made.energy_u[off] = 0
        made.instant[off] = 0
        return made


@dataclass
class SmallFleet:
    """Meters by model, and the site that a head-end reads them by."""

    fleet: Fleet
    site: SiteDescription
    meters: dict[str, Meter] = field(default_factory=dict)
    loads: dict[str, FailingSupply] = field(default_factory=dict)

    def push_to(self, port: int, *, service: int = 0, delay_s: int = 1) -> None:
        """Let the meters push there; again after `delay_s` until it is confirmed."""
        self.fleet.outgoing.pushes.confirmed = True
        place = axdr.octets(f"127.0.0.1:{port}".encode())
        destination = axdr.structure(axdr.enum(service), place, axdr.enum(0))
        for meter in self.meters.values():
            for number, value in (
                (3, destination), (6, axdr.u8(200)), (7, axdr.u16(delay_s)),
            ):  # fmt: skip
                meter.save_setting(PUSH_SETUP + bytes((number,)), axdr.encode(value))

    def happens(self, model: str, name: str) -> None:
        """Something happens at a meter now."""
        self.fleet.inject(model, Incident(int(time.time()), name))


def meter_of(
    fleet: Fleet, model: str, begin: int, identity: MeterIdentity, mechanisms: Any
) -> Meter:
    return Meter(
        MODELS[model],
        identity,
        start_utc_s=begin,
        entropy=secrets.token_bytes,
        options=MeterOptions(mechanisms=mechanisms, alarms=True, prepayment=model == "omnipower"),
        keeper=fleet.keeper(model),
        drift_ppb=0,
    )


def point_of(
    model: str, identity: MeterIdentity, host: str, way_in: AssociationDescription
) -> PointDescription:
    return PointDescription(
        id=model,
        name=f"Place of {model}",
        kind="household",
        station="t1",
        feeder="f1",
        meter=MeterDescription(
            serial=identity.serial_text,
            model=model,
            url=f"dlms://{host}:1",
            associations=(way_in,),
            channels=channels_of(MODELS[model]),
            system_title=identity.system_title.hex(),
        ),
    )


@asynccontextmanager
async def small_fleet(
    folder: Path,
    models: Sequence[str] = ("mt372", "omnipower"),
    *,
    suite: int = 0,
    mechanisms: Any = CONFIGURATION,
    way_in: Callable[[MeterIdentity], AssociationDescription] = management_of,
) -> AsyncIterator[SmallFleet]:
    """Meters that were made half an hour ago; each serves and is stepped live."""
    folder.mkdir(exist_ok=True)
    begin = int(time.time()) - 1800
    fleet = Fleet.open(folder / "meters.sqlite", time.time)
    found = SmallFleet(fleet, SiteDescription("Small", (), (), ()))
    points = []
    for number, model in enumerate(models, 1):
        identity = identity_of(MODELS[model], 77_000_000 + number, "small fleet", suite)
        meter = meter_of(fleet, model, begin, identity, mechanisms)
        host = f"127.3.0.{number}"
        load = FailingSupply(600, len(MODELS[model].phases))
        fleet.add(model, meter, load, host)
        found.meters[model], found.loads[model] = meter, load
        points.append(point_of(model, identity, host, way_in(identity)))
    fleet.catch_up(int(time.time()))
    await fleet.serve(0)
    fleet.start()
    found.site = site_of(points, next(iter(fleet.running.values())).port)
    try:
        yield found
    finally:
        await fleet.stop()


def site_of(points: Sequence[PointDescription], port: int) -> SiteDescription:
    from dataclasses import replace

    placed = tuple(
        replace(p, meter=replace(p.meter, url=p.meter.url[:-1] + str(port))) for p in points
    )
    return SiteDescription(
        "Small",
        (StationDescription("t1", "Transformer 1"),),
        (FeederDescription("f1", "Feeder 1", "t1"),),
        placed,
        users=USERS,
    )


def password_way_in(identity: MeterIdentity) -> AssociationDescription:
    """In clear, with the password of management."""
    return AssociationDescription(
        client_sap=1,
        mechanism="lls",
        ciphered=False,
        password=identity.passwords[Level.MANAGEMENT],
    )
