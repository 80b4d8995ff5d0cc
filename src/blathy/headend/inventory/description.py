"""What a site is made of, as frozen tables: the input of `Inventory.load`.

The simulated town hands these over as Python objects; a real site writes them as TOML or JSON (the
same field names), or lists its points in a CSV file. Every mistake is one sentence that names the
point and the field.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from blathy.clock import Zone
from blathy.obis import Obis

KINDS: Final = frozenset(
    ("household", "business", "farm", "workshop", "industry", "feeder", "water", "heat", "charger")
)
MEDIA: Final = frozenset(("electricity", "water", "heat", "gas"))
MECHANISMS: Final = frozenset(
    ("none", "lls", "hls_md5", "hls_sha1", "hls_gmac", "hls_sha256", "hls_ecdsa")
)
CHANNEL_KINDS: Final = frozenset(("energy", "instant", "volume"))
_OCTET_FIELDS: Final = ("encryption_key", "authentication_key", "broadcast_key", "master_key")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


class DescriptionError(ValueError):
    """The description contradicts itself; the sentence names the place and what to change."""


def _check_key(what: str, key: str) -> None:
    if not _KEY.fullmatch(key):
        raise DescriptionError(
            f"{what} {key!r}: use 1 to 64 letters, digits, dot, dash or underscore"
        )


@dataclass(frozen=True, slots=True)
class StationDescription:
    """A transformer station."""

    id: str
    name: str
    rated_kva: int = 0

    def __post_init__(self) -> None:
        _check_key("station", self.id)


@dataclass(frozen=True, slots=True)
class FeederDescription:
    """A low-voltage feeder of a station. Its sum meter is a point of kind `feeder`."""

    id: str
    name: str
    station: str

    def __post_init__(self) -> None:
        _check_key("feeder", self.id)


@dataclass(frozen=True, slots=True)
class AssociationDescription:
    """How the head-end enters a meter: client address, proof, keys. `repr` shows no secret.

    Keys and the password are octets; in TOML and JSON they are written as hexadecimal text (the
    password as plain text).
    """

    client_sap: int = 1
    mechanism: str = "hls_gmac"
    """none, lls, hls_md5, hls_sha1, hls_gmac, hls_sha256 or hls_ecdsa."""
    ciphered: bool = True
    """Whether APDUs are authenticated and encrypted (security suite `suite`)."""
    suite: int = 0
    password: bytes = field(default=b"", repr=False)
    encryption_key: bytes = field(default=b"", repr=False)
    """Global unicast encryption key (GUEK)."""
    authentication_key: bytes = field(default=b"", repr=False)
    """Authentication key (GAK)."""
    broadcast_key: bytes = field(default=b"", repr=False)
    """Global broadcast encryption key (GBEK), where the head-end is to change it."""
    master_key: bytes = field(default=b"", repr=False)
    """Key-encryption key (KEK): keys are changed under it, and only where it is given."""
    server_sap: int = 1
    purpose: str = "management"
    """What it is for: the head-end reads and commands over `management`."""

    def __post_init__(self) -> None:
        if self.mechanism not in MECHANISMS:
            raise DescriptionError(
                f"mechanism {self.mechanism!r}: use one of {', '.join(sorted(MECHANISMS))}"
            )
        for name in _OCTET_FIELDS:
            if len(getattr(self, name)) not in {0, 16, 32}:
                raise DescriptionError(f"{name}: a key has 16 or 32 octets")


@dataclass(frozen=True, slots=True)
class ChannelDescription:
    """A quantity to collect from a load profile of the meter.

    `profile` is the logical name of the load profile, `obis` the captured object. A `cumulative`
    channel captures a register (the head-end takes differences); otherwise the captured value
    belongs to the period itself (an energy of the period, a mean, a maximum).
    """

    id: str
    name: str
    obis: str
    unit: str
    """Unit of values in the API: Wh, varh, VAh, V, A, W, m³, ..."""
    scaler: int = 0
    """Stored integers are `value` x 10^`scaler` `unit`."""
    step_s: int = 900
    kind: str = "energy"
    """energy (adds up), volume (adds up), instant (is averaged)."""
    cumulative: bool = True
    profile: str = "1-0:99.1.0"
    attribute: int = 2
    column: int = -1
    """Index among the profile's captured objects where one object is captured more than once."""

    def __post_init__(self) -> None:
        _check_key("channel", self.id)
        if self.kind not in CHANNEL_KINDS:
            raise DescriptionError(f"channel {self.id}: kind is energy, volume or instant")
        if self.step_s not in {60, 300, 600, 900, 1200, 1800, 3600, 86400}:
            raise DescriptionError(f"channel {self.id}: a period of {self.step_s} s is not usual")
        for code in (self.obis, self.profile):
            try:
                Obis.parse(code)
            except ValueError as error:
                raise DescriptionError(f"channel {self.id}: {error}") from error


@dataclass(frozen=True, slots=True)
class MeterDescription:
    """The meter at a point: what it is and how it is reached.

    `url` is `dlms://HOST:PORT` (wrapper over TCP); client and security come from `associations`.
    """

    serial: str
    model: str
    url: str
    associations: tuple[AssociationDescription, ...]
    channels: tuple[ChannelDescription, ...]
    system_title: str = ""
    """Eight octets in hexadecimal; empty where the meter tells it itself."""
    manufacturer: str = ""
    installed_at: str = ""
    """UTC, like 2026-03-29T01:00:00Z; empty if unknown."""
    events: tuple[str, ...] = ()
    """Logical names of the event logs to collect; empty: those of the model's table."""

    def __post_init__(self) -> None:
        if not self.serial:
            raise DescriptionError("a meter needs its serial number")
        parts = urlsplit(self.url)
        if not parts.scheme.startswith("dlms") or not parts.hostname:
            raise DescriptionError(
                f"meter {self.serial}: {self.url!r} is no address; write dlms://HOST:4059"
            )
        if self.system_title and not re.fullmatch(r"[0-9A-Fa-f]{16}", self.system_title):
            raise DescriptionError(
                f"meter {self.serial}: write the system title as 16 hexadecimal digits"
            )
        ids = [channel.id for channel in self.channels]
        if len(ids) != len(set(ids)):
            raise DescriptionError(f"meter {self.serial}: two channels have the same id")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 4059


@dataclass(frozen=True, slots=True)
class PointDescription:
    """A metering point: a place in the network with its meter."""

    id: str
    name: str
    kind: str
    station: str
    feeder: str
    meter: MeterDescription
    address: str = ""
    medium: str = "electricity"
    timezone: str = "Europe/Budapest"
    parent: str = ""
    """For a water or heat meter behind an electricity meter: the point that reads it. Give it the
    parent's `url` and no association: it is then read in the parent's conversation."""
    groups: tuple[str, ...] = ()
    protected: bool = False
    """Never disconnected by command (hospital, life support)."""

    def __post_init__(self) -> None:
        _check_key("point", self.id)
        if self.kind not in KINDS:
            raise DescriptionError(
                f"point {self.id}: kind {self.kind!r}; use one of {', '.join(sorted(KINDS))}"
            )
        if self.medium not in MEDIA:
            raise DescriptionError(f"point {self.id}: medium {self.medium!r} is not known")
        try:
            Zone(self.timezone)
        except ValueError as error:
            raise DescriptionError(f"point {self.id}: {error}") from error


@dataclass(frozen=True, slots=True)
class UserDescription:
    """A user to create at the first start. The password is not kept in clear."""

    name: str
    password: str = field(repr=False)
    role: str = "viewer"
    point: str = ""
    """For a consumer: the point that is theirs."""


@dataclass(frozen=True, slots=True)
class SiteDescription:
    """A whole site."""

    name: str
    stations: tuple[StationDescription, ...]
    feeders: tuple[FeederDescription, ...]
    points: tuple[PointDescription, ...]
    timezone: str = "Europe/Budapest"
    simulated: bool = False
    users: tuple[UserDescription, ...] = ()
    demo_login: tuple[str, str] | None = field(default=None, repr=False)
    """Shown on the log-in page of a demonstration; None on a real site."""
    keep_clocks: bool = False
    """Clocks that are a little off when they are checked are shifted at once, without asking."""
    push_host: str = "127.0.0.1"
    push_port: int = 0
    """Where meters push to, TCP and UDP; 0: port 4061, or another where that is taken. 0.0.0.0 (or
    an address of this machine) lets meters of the network in; an empty host closes the receiver."""

    def __post_init__(self) -> None:
        stations = {station.id for station in self.stations}
        feeders = {feeder.id: feeder for feeder in self.feeders}
        for feeder in self.feeders:
            if feeder.station not in stations:
                raise DescriptionError(f"feeder {feeder.id}: no station {feeder.station!r}")
        points: set[str] = set()
        serials: set[str] = set()
        for point in self.points:
            if point.id in points:
                raise DescriptionError(f"point {point.id} is there twice")
            if point.meter.serial in serials:
                raise DescriptionError(f"meter {point.meter.serial} is at two points")
            if point.feeder not in feeders:
                raise DescriptionError(f"point {point.id}: no feeder {point.feeder!r}")
            if feeders[point.feeder].station != point.station:
                raise DescriptionError(
                    f"point {point.id}: feeder {point.feeder} is not of station {point.station}"
                )
            points.add(point.id)
            serials.add(point.meter.serial)
        for point in self.points:
            if point.parent and point.parent not in points:
                raise DescriptionError(f"point {point.id}: no point {point.parent!r}")
        check_keys_are_not_shared(self.points)


def check_keys_are_not_shared(points: Sequence[PointDescription]) -> None:
    """Raise DescriptionError where two meters would have the same encryption key.

    A sub-meter that is read through its parent has the parent's.
    """
    owner: dict[bytes, str] = {}
    urls = {point.id: point.meter.url for point in points}
    for point in points:
        if point.parent and urls.get(point.parent) == point.meter.url:
            continue
        for association in point.meter.associations:
            key = association.encryption_key
            if key and owner.setdefault(key, point.meter.serial) != point.meter.serial:
                raise DescriptionError(
                    f"meters {owner[key]} and {point.meter.serial} have the same encryption key; "
                    "give each its own"
                )


_NESTED: Final[dict[str, type[Any]]] = {
    "stations": StationDescription,
    "feeders": FeederDescription,
    "points": PointDescription,
    "users": UserDescription,
    "associations": AssociationDescription,
    "channels": ChannelDescription,
}


def _build(kind: type[Any], table: object, where: str) -> Any:
    if not isinstance(table, Mapping):
        raise DescriptionError(f"{where}: a table with named fields is expected")
    known = {f.name for f in fields(kind)}
    given: dict[str, Any] = {}
    for name, value in table.items():
        if name not in known:
            raise DescriptionError(f"{where}: there is no field {name!r}")
        given[name] = _value(name, value, f"{where}.{name}")
    try:
        return kind(**given)
    except TypeError as error:
        raise DescriptionError(f"{where}: {error}") from error


def _value(name: str, value: Any, where: str) -> Any:
    if name in _NESTED:
        if not isinstance(value, list):
            raise DescriptionError(f"{where}: a list is expected")
        return tuple(_build(_NESTED[name], item, f"{where}[{n}]") for n, item in enumerate(value))
    if name == "meter":
        return _build(MeterDescription, value, where)
    if name in _OCTET_FIELDS:
        try:
            return bytes.fromhex(value)
        except (ValueError, TypeError) as error:
            raise DescriptionError(f"{where}: write the key as hexadecimal text") from error
    if name == "password" and ".associations" in where:
        return str(value).encode()
    return tuple(value) if isinstance(value, list) else value


def site_of_table(table: Mapping[str, Any]) -> SiteDescription:
    """The site of a parsed TOML or JSON document."""
    site = _build(SiteDescription, table, "site")
    assert isinstance(site, SiteDescription)
    return site


def read_site(path: Path) -> SiteDescription:
    """Read a site from `.toml`, `.json` or `.csv`; raise DescriptionError with one sentence."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise DescriptionError(f"cannot read {path}: {error.strerror}") from error
    try:
        if path.suffix == ".toml":
            return site_of_table(tomllib.loads(text))
        if path.suffix == ".json":
            return site_of_table(json.loads(text))
        if path.suffix == ".csv":
            return site_of_csv(text, path.stem)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        raise DescriptionError(f"{path}: {error}") from error
    raise DescriptionError(f"{path}: a site is described in .toml, .json or .csv")


CSV_COLUMNS: Final = (
    "id", "name", "kind", "station", "feeder", "serial", "model", "url",
    "address", "medium", "timezone", "client_sap", "mechanism", "password",
    "encryption_key", "authentication_key", "system_title",
)  # fmt: skip


def site_of_csv(text: str, name: str) -> SiteDescription:
    """One point a row, columns `CSV_COLUMNS`; stations and feeders are made from their ids.

    Every point collects A+ (1-0:1.8.0) from the load profile 1-0:99.1.0 in quarter-hours.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    for column in CSV_COLUMNS[:8]:
        if rows and column not in rows[0]:
            raise DescriptionError(f"the CSV file has no column {column!r}")
    stations: dict[str, StationDescription] = {}
    feeders: dict[str, FeederDescription] = {}
    points = []
    for number, row in enumerate(rows, 2):
        stations.setdefault(row["station"], StationDescription(row["station"], row["station"]))
        feeders.setdefault(
            row["feeder"], FeederDescription(row["feeder"], row["feeder"], row["station"])
        )
        points.append(_csv_point(row, f"line {number}"))
    return SiteDescription(name, tuple(stations.values()), tuple(feeders.values()), tuple(points))


def _csv_point(row: Mapping[str, str], where: str) -> PointDescription:
    association = {
        "client_sap": int(row.get("client_sap") or 1),
        "mechanism": row.get("mechanism") or "none",
        "ciphered": bool(row.get("encryption_key")),
        "password": row.get("password") or "",
        "encryption_key": row.get("encryption_key") or "",
        "authentication_key": row.get("authentication_key") or "",
    }
    meter = MeterDescription(
        serial=row["serial"],
        model=row["model"],
        url=row["url"],
        system_title=row.get("system_title") or "",
        associations=(_build(AssociationDescription, association, f"{where}.associations"),),
        channels=(ChannelDescription("a_import", "A+ energy", "1-0:1.8.0", "Wh"),),
    )
    return PointDescription(
        id=row["id"],
        name=row["name"],
        kind=row["kind"],
        station=row["station"],
        feeder=row["feeder"],
        meter=meter,
        address=row.get("address") or "",
        medium=row.get("medium") or "electricity",
        timezone=row.get("timezone") or "Europe/Budapest",
    )
