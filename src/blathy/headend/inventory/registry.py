"""The inventory: what a site description said, kept in the store and in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy import Connection

from blathy.clock import Zone, utc_of
from blathy.cosem.selective import CaptureObject
from blathy.headend import schema
from blathy.headend.database import Database, insert_ignore, upsert
from blathy.headend.inventory.description import (
    AssociationDescription,
    DescriptionError,
    MeterDescription,
    PointDescription,
    SiteDescription,
)
from blathy.headend.inventory.keyring import Keyring, Secrets
from blathy.headend.inventory.sealing import Sealer
from blathy.headend.sentence import Sentence
from blathy.models import MODELS

QUARANTINE_AFTER: Final = 3
"""Failed conversations in a row after which a meter waits in quarantine."""


class MeterStanding(Enum):
    """How the last conversations left a meter."""

    NEW = "new"
    OK = "ok"
    SILENT = "silent"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Channel:
    """A collected quantity of a meter."""

    id: int
    slug: str
    name: str
    obis: str
    attribute: int
    column_index: int
    profile: str
    unit: str
    scaler: int
    step_s: int
    kind: str
    cumulative: bool

    @property
    def adds_up(self) -> bool:
        """Energies and volumes are summed, everything else is averaged."""
        return self.kind != "instant"


@dataclass(slots=True)
class MeterState:
    """What is known of a meter from talking to it."""

    standing: MeterStanding = MeterStanding.NEW
    failures: int = 0
    last_answer_at: int | None = None
    last_error_kind: str | None = None
    last_error: Sentence | None = None
    last_error_at: int | None = None
    clock_offset_s: int | None = None
    firmware: str = ""
    changed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Meter:
    """A meter of the inventory. Secrets are not here: `Inventory.secrets_of`."""

    id: int
    serial: str
    point_id: str
    model: str
    manufacturer: str
    url: str
    host: str
    port: int
    client_sap: int
    server_sap: int
    mechanism: str
    ciphered: bool
    suite: int
    system_title: str
    installed_at: int | None
    logs: tuple[str, ...]
    channels: tuple[Channel, ...]
    state: MeterState
    zone: Zone
    medium: str
    via_point_id: str | None
    """The point whose meter answers for this one (M-Bus behind an electricity meter)."""

    def channel(self, slug: str) -> Channel | None:
        return next((c for c in self.channels if c.slug == slug), None)

    def profiles(self) -> dict[str, tuple[Channel, ...]]:
        """Channels by the load profile that holds them."""
        found: dict[str, list[Channel]] = {}
        for channel in self.channels:
            found.setdefault(channel.profile, []).append(channel)
        return {profile: tuple(channels) for profile, channels in found.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A metering point with its meter."""

    id: str
    name: str
    address: str
    kind: str
    medium: str
    station_id: str
    feeder_id: str
    zone: Zone
    parent_id: str | None
    protected: bool
    groups: tuple[str, ...]
    meter: Meter

    @property
    def beyond_name(self) -> str:
        """What the address adds to the name: many addresses begin with it."""
        if not self.address.startswith(self.name):
            return self.address
        return self.address[len(self.name) :].lstrip(" ,")

    @property
    def place(self) -> str:
        """The place as people know it: its name, and where that is."""
        return ", ".join(part for part in (self.name, self.beyond_name) if part)


@dataclass(frozen=True, slots=True)
class Place:
    """A station or a feeder."""

    id: str
    name: str
    station_id: str = ""


class Inventory:
    """Everything of `SiteDescription`, found by id in memory, durable in the store."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self.keyring = Keyring(database, sealer)
        self.name = ""
        self.zone = Zone()
        self.simulated = False
        self.keep_clocks = False
        self.demo_login: tuple[str, str] | None = None
        self.stations: dict[str, Place] = {}
        self.feeders: dict[str, Place] = {}
        self.points: dict[str, Point] = {}
        self.meters: dict[int, Meter] = {}
        self.by_title: dict[bytes, Meter] = {}
        self.by_name: dict[bytes, Meter] = {}
        """Meters by their logical device name, for pushes in clear."""
        self.alone_at: dict[str, Meter | None] = {}
        """Address -> the only meter there; None where there are several."""
        self.push_objects: dict[int, tuple[CaptureObject, ...]] = {}
        """Push object lists, by meter, as the meters were found to have them."""

    # -- loading --------------------------------------------------------------------------------

    def load(self, site: SiteDescription, now: int) -> None:
        """Write the description into the store (adding and changing, never removing), then read
        it back. Raise DescriptionError, with nothing changed, where a key is already used by
        another meter or a point's meter has another serial number than before.
        """
        self._database.write_now(lambda connection: self._store(connection, site, now))
        self.refresh()

    def refresh(self) -> None:
        """Read the whole inventory from the store."""
        self._database.read_now(self._fetch)

    def _store(self, connection: Connection, site: SiteDescription, now: int) -> None:
        facts = {
            "name": site.name,
            "timezone": site.timezone,
            "simulated": "1" if site.simulated else "",
            "keep_clocks": "1" if site.keep_clocks else "",
            "demo_login": json.dumps(site.demo_login) if site.demo_login else "",
        }
        upsert(connection, schema.site, [{"key": k, "value": v} for k, v in facts.items()])
        upsert(
            connection,
            schema.station,
            [{"id": s.id, "name": s.name, "rated_kva": s.rated_kva} for s in site.stations],
        )
        upsert(
            connection,
            schema.feeder,
            [{"id": f.id, "name": f.name, "station_id": f.station} for f in site.feeders],
        )
        ordered = sorted(enumerate(site.points), key=lambda item: bool(item[1].parent))
        urls = {point.id: point.meter.url for point in site.points}
        for position, point in ordered:
            self._store_point(connection, point, position, urls, now)

    def _store_point(
        self,
        connection: Connection,
        point: PointDescription,
        position: int,
        urls: Mapping[str, str],
        now: int,
    ) -> None:
        row = {
            "id": point.id,
            "name": point.name,
            "address": point.address,
            "kind": point.kind,
            "medium": point.medium,
            "station_id": point.station,
            "feeder_id": point.feeder,
            "timezone": point.timezone,
            "parent_id": point.parent or None,
            "protected": point.protected,
            "position": position,
        }
        upsert(connection, schema.point, [row])
        insert_ignore(
            connection,
            schema.point_group,
            [{"point_id": point.id, "group_name": g} for g in ("all", *point.groups)],
        )
        meter_id = _store_meter(connection, point)
        through_parent = bool(point.parent) and urls.get(point.parent) == point.meter.url
        for association in () if through_parent else point.meter.associations[:1]:
            self.keyring.describe(connection, meter_id, point.meter, association, now)
        _store_channels(connection, meter_id, point.meter)

    def _fetch(self, connection: Connection) -> None:
        facts = {r.key: r.value for r in connection.execute(sa.select(schema.site))}
        self.name = facts.get("name", "")
        self.zone = Zone(facts.get("timezone", "Europe/Budapest"))
        self.simulated = bool(facts.get("simulated"))
        self.keep_clocks = bool(facts.get("keep_clocks"))
        login = json.loads(facts["demo_login"]) if facts.get("demo_login") else None
        self.demo_login = (str(login[0]), str(login[1])) if login else None
        self.stations = {
            r.id: Place(r.id, r.name)
            for r in connection.execute(sa.select(schema.station).order_by(schema.station.c.id))
        }
        self.feeders = {
            r.id: Place(r.id, r.name, r.station_id)
            for r in connection.execute(sa.select(schema.feeder).order_by(schema.feeder.c.id))
        }
        channels = _channels_by_meter(connection)
        groups: dict[str, list[str]] = {}
        for r in connection.execute(sa.select(schema.point_group)):
            groups.setdefault(r.point_id, []).append(r.group_name)
        states = {meter.id: meter.state for meter in self.meters.values()}
        places = {r.id: r for r in connection.execute(sa.select(schema.point))}
        meters = {
            r.point_id: _meter_of(r, places[r.point_id], channels.get(r.id, ()), states.get(r.id))
            for r in connection.execute(sa.select(schema.meter))
        }
        self.points = {
            r.id: _point_of(r, tuple(sorted(groups.get(r.id, ()))), meters[r.id])
            for r in connection.execute(sa.select(schema.point).order_by(schema.point.c.position))
        }
        self.meters = {point.meter.id: point.meter for point in self.points.values()}
        self.by_title = {
            bytes.fromhex(m.system_title): m for m in meters.values() if m.system_title
        }
        self.by_name = {name: m for m in meters.values() if (name := _logical_device_name(m))}
        self.alone_at = {}
        for meter in meters.values():
            if self.answering(meter) is meter:
                self.alone_at[meter.host] = None if meter.host in self.alone_at else meter

    # -- questions ------------------------------------------------------------------------------

    def point(self, point_id: str) -> Point | None:
        return self.points.get(point_id)

    def of_feeder(self, feeder_id: str) -> list[Point]:
        return [p for p in self.points.values() if p.feeder_id == feeder_id]

    def of_group(self, group: str) -> list[Point]:
        return [p for p in self.points.values() if group in p.groups]

    def answering(self, meter: Meter) -> Meter:
        """The meter that is spoken to for this one: its parent's where both have one address."""
        parent = self.points.get(meter.via_point_id or "")
        return parent.meter if parent is not None and parent.meter.url == meter.url else meter

    def secrets_of(self, meter: Meter) -> Secrets:
        """The meter's keys in force for a conversation; they are not kept."""
        return self.keyring.secrets_of(meter.id, meter.serial)

    def candidates(self, meter: Meter) -> list[Secrets]:
        """The keys to try, those in force last: more than one while they are being changed."""
        return self.keyring.candidates(meter.id, meter.serial)

    # -- what conversations taught ----------------------------------------------------------------

    def learn_title(self, meter: Meter, title: bytes) -> None:
        """A meter whose description names no system title has told it: pushes carry it. Another
        meter's title is not taken over."""
        if not meter.system_title and self.by_title.setdefault(title, meter) is meter:
            statement = (
                sa.update(schema.meter)
                .where(schema.meter.c.id == meter.id, schema.meter.c.system_title == "")
                .values(system_title=title.hex().upper())
            )
            self._database.submit(lambda c: c.execute(statement).rowcount)

    def answered(self, meter: Meter, now: int) -> None:
        """The meter answered: whatever was wrong is over."""
        state = meter.state
        state.changed = state.changed or state.standing is not MeterStanding.OK
        state.standing = MeterStanding.OK
        state.failures = 0
        state.last_answer_at = now

    def failed(self, meter: Meter, now: int, kind: str, error: Sentence) -> None:
        """A conversation failed; after `QUARANTINE_AFTER` in a row the meter is set apart."""
        state = meter.state
        state.failures += 1
        state.last_error_kind, state.last_error, state.last_error_at = kind, error, now
        quarantined = state.failures >= QUARANTINE_AFTER
        state.standing = MeterStanding.QUARANTINED if quarantined else MeterStanding.SILENT
        state.changed = True

    def changed_states(self, *, everything: bool = False) -> list[dict[str, Any]]:
        """Rows to write for the meters whose state changed since the last call."""
        rows = []
        for meter in self.meters.values():
            state = meter.state
            if not (state.changed or everything):
                continue
            state.changed = False
            rows.append(
                {
                    "meter_id": meter.id,
                    "state": state.standing.value,
                    "failures": state.failures,
                    "last_answer_at": state.last_answer_at,
                    "last_error_kind": state.last_error_kind,
                    "last_error_text": state.last_error and str(state.last_error),
                    "last_error_words": state.last_error and state.last_error.kept(),
                    "last_error_at": state.last_error_at,
                    "clock_offset_s": state.clock_offset_s,
                    "firmware": state.firmware,
                }
            )
        return rows


def store_states(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write what `Inventory.changed_states` gave."""
    listed = [dict(row) for row in rows]
    if not listed:
        return
    names = [name for name in listed[0] if name != "meter_id"]
    statement = (
        sa.update(schema.meter)
        .where(schema.meter.c.id == sa.bindparam("meter_id"))
        .values({name: sa.bindparam(f"new_{name}") for name in names})
    )
    connection.execute(
        statement,
        [
            {"meter_id": row["meter_id"], **{f"new_{name}": row[name] for name in names}}
            for row in listed
        ],
    )


def _store_meter(connection: Connection, point: PointDescription) -> int:
    meter = point.meter
    table = schema.meter
    none = AssociationDescription(mechanism="none", ciphered=False)
    way_in = meter.associations[0] if meter.associations else none
    values = {
        "model": meter.model,
        "manufacturer": meter.manufacturer,
        "url": meter.url,
        "client_sap": way_in.client_sap,
        "server_sap": way_in.server_sap,
        "mechanism": way_in.mechanism,
        "ciphered": way_in.ciphered,
        "suite": way_in.suite,
        "system_title": meter.system_title.upper(),
        "installed_at": _moment(meter.installed_at),
        "logs": ",".join(meter.events),
    }
    known = connection.execute(sa.select(table).where(table.c.serial == meter.serial)).first()
    at_point = connection.execute(sa.select(table).where(table.c.point_id == point.id)).first()
    if at_point is not None and at_point.serial != meter.serial:
        raise DescriptionError(
            f"point {point.id} has meter {at_point.serial}, the description says {meter.serial}; "
            "give the new meter a point of its own"
        )
    if known is not None:
        if known.point_id != point.id:
            raise DescriptionError(f"meter {meter.serial} is already at point {known.point_id}")
        if not meter.system_title:
            del values["system_title"]  # what the meter told stays
        connection.execute(sa.update(table).where(table.c.id == known.id).values(values))
        return int(known.id)
    row = connection.execute(
        sa.insert(table)
        .values(
            serial=meter.serial,
            point_id=point.id,
            firmware="",
            state=MeterStanding.NEW.value,
            failures=0,
            **values,
        )
        .returning(table.c.id)
    ).one()
    return int(row.id)


def _moment(text: str) -> int | None:
    return utc_of(datetime.fromisoformat(text)) if text else None


def _store_channels(connection: Connection, meter_id: int, meter: MeterDescription) -> None:
    table = schema.channel
    known = {
        r.slug: r for r in connection.execute(sa.select(table).where(table.c.meter_id == meter_id))
    }
    for position, channel in enumerate(meter.channels):
        values = {
            "name": channel.name,
            "obis": channel.obis,
            "attribute": channel.attribute,
            "column_index": channel.column,
            "profile": channel.profile,
            "unit": channel.unit,
            "scaler": channel.scaler,
            "step_s": channel.step_s,
            "kind": channel.kind,
            "cumulative": channel.cumulative,
            "position": position,
        }
        old = known.get(channel.id)
        if old is None:
            connection.execute(
                sa.insert(table).values(meter_id=meter_id, slug=channel.id, **values)
            )
            continue
        fixed = ("unit", "scaler", "step_s", "cumulative")
        if any(getattr(old, name) != values[name] for name in fixed):
            raise DescriptionError(
                f"meter {meter.serial}: channel {channel.id} has readings with another unit, "
                "scaler or period; give the changed one another id"
            )
        connection.execute(sa.update(table).where(table.c.id == old.id).values(values))


def _channels_by_meter(connection: Connection) -> dict[int, tuple[Channel, ...]]:
    table = schema.channel
    found: dict[int, list[Channel]] = {}
    for r in connection.execute(sa.select(table).order_by(table.c.meter_id, table.c.position)):
        found.setdefault(r.meter_id, []).append(
            Channel(
                r.id, r.slug, r.name, r.obis, r.attribute, r.column_index, r.profile,
                r.unit, r.scaler, r.step_s, r.kind, r.cumulative,
            )
        )  # fmt: skip
    return {meter_id: tuple(channels) for meter_id, channels in found.items()}


def _meter_of(
    row: Any, place: Any, channels: tuple[Channel, ...], state: MeterState | None
) -> Meter:
    address = urlsplit(row.url)
    return Meter(
        id=row.id,
        serial=row.serial,
        point_id=row.point_id,
        model=row.model,
        manufacturer=row.manufacturer,
        url=row.url,
        host=address.hostname or "",
        port=address.port or 4059,
        client_sap=row.client_sap,
        server_sap=row.server_sap,
        mechanism=row.mechanism,
        ciphered=row.ciphered,
        suite=row.suite,
        system_title=row.system_title,
        installed_at=row.installed_at,
        logs=tuple(log for log in row.logs.split(",") if log),
        channels=channels,
        zone=Zone(place.timezone),
        medium=place.medium,
        via_point_id=place.parent_id,
        state=state
        or MeterState(
            MeterStanding(row.state),
            row.failures,
            row.last_answer_at,
            row.last_error_kind,
            Sentence.restored(row.last_error_text or "", row.last_error_words),
            row.last_error_at,
            row.clock_offset_s,
            row.firmware,
        ),
    )


def _logical_device_name(meter: Meter) -> bytes:
    """As the model's table says; empty for other models and for meters behind one."""
    model = MODELS.get(meter.model)
    if model is None or meter.medium != "electricity" or not meter.serial.isdigit():
        return b""
    return model.identity.ldn.format(serial=int(meter.serial) % 10**8).encode()[:16]


def _point_of(row: Any, groups: tuple[str, ...], meter: Meter) -> Point:
    return Point(
        id=row.id,
        name=row.name,
        address=row.address,
        kind=row.kind,
        medium=row.medium,
        station_id=row.station_id,
        feeder_id=row.feeder_id,
        zone=Zone(row.timezone),
        parent_id=row.parent_id,
        protected=row.protected,
        groups=groups,
        meter=meter,
    )
