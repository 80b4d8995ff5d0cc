"""Current transformers by serial number: what production measured of each, and where it is.

A transformer's ratio and phase errors are measured once and kept here. Attaching it to a current
input of a meter writes serial number, rated current and errors into the meter, which undoes them
from then on. Each transformer is a small document in the site's table under `ct/SERIAL`; an input
has one transformer, and what was done to it stands in the audit chain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from blathy.clock import iso_utc
from blathy.headend import schema
from blathy.headend.collection.collector import Collector
from blathy.headend.database import Database, upsert
from blathy.headend.inventory.registry import Point
from blathy.headend.operations import audit
from blathy.headend.schema import audit_entry
from blathy.headend.sentence import ExplainedError, Value
from blathy.models import MODELS
from blathy.models.current_inputs import CurvePoint, curve_fault, pack_curve

PREFIX: Final = "ct/"
SERIAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,15}", re.ASCII)
RATED_A_MAX: Final = 65_535
INPUTS_MAX: Final = 16
HISTORY_SHOWN: Final = 20
ATTACHED: Final = "ct.attach"


class TransformerRefused(ExplainedError):  # noqa: N818 - an answer, not a fault
    """The registry does not take or attach it."""

    def __init__(
        self, code: str, detail: str, remedy: str, /, *, unknown: bool = False, **values: Value
    ) -> None:
        super().__init__(code, detail, remedy, **values)
        self.unknown = unknown


@dataclass(frozen=True, slots=True)
class CurrentTransformer:
    """One transformer. `points` are (share of rated current, indicated over true, lead in minutes
    of arc); `point` and `channel` say where it is attached. Without `attached_at` the meter there
    holds other constants than these: they were registered anew since."""

    serial: str
    rated_a: int
    points: tuple[CurvePoint, ...]
    measured_at: str = ""
    station: str = ""
    point: str = ""
    channel: int = 0
    attached_at: str = ""

    def as_json(self) -> dict[str, Any]:
        """As the API tells it."""
        told = asdict(self)
        told["points"] = [
            {"share": share, "ratio": ratio, "phase_min": lead}
            for share, ratio, lead in self.points
        ]
        return told


def _of(document: str) -> CurrentTransformer:
    kept: dict[str, Any] = json.loads(document)
    points = tuple((float(a), float(b), float(c)) for a, b, c in kept.pop("points"))
    return CurrentTransformer(points=points, **kept)


class CurrentTransformers:
    """The registry, and the only way to write a transformer's constants into a meter."""

    def __init__(self, database: Database, collector: Collector, now: Callable[[], float]) -> None:
        self._database = database
        self._collector = collector
        self._now = now

    async def all(self) -> list[CurrentTransformer]:
        """Every transformer that is known, by serial number."""

        def query(connection: Connection) -> list[str]:
            table = schema.site
            found = sa.select(table.c.value).where(table.c.key.startswith(PREFIX))
            return list(connection.execute(found.order_by(table.c.key)).scalars())

        return [_of(document) for document in await self._database.read(query)]

    async def find(self, serial: str) -> CurrentTransformer:
        """The transformer of that number; TransformerRefused where nobody registered it."""

        def query(connection: Connection) -> str | None:
            table = schema.site
            wanted = sa.select(table.c.value).where(table.c.key == PREFIX + serial)
            return connection.execute(wanted).scalar()

        document = await self._database.read(query)
        if document is None:
            raise TransformerRefused(
                "no-transformer",
                "There is no current transformer '{serial}'.",
                "Register it with what production measured.",
                unknown=True,
                serial=serial[:32],
            )
        return _of(document)

    async def register(self, user: str, found: CurrentTransformer) -> CurrentTransformer:
        """Take up what production measured; where it is attached already stays as it is. Constants
        that are new are to be attached again: only then the meter gets them."""
        if not SERIAL.fullmatch(found.serial):
            raise TransformerRefused(
                "not-a-serial",
                "'{serial}' is no serial number.",
                "Use up to 16 letters, digits, dots, dashes and underscores.",
                serial=found.serial[:32],
            )
        if not 1 <= found.rated_a <= RATED_A_MAX:
            raise TransformerRefused(
                "rated-current", "A rated current of {rated_a} A does not fit.",
                "Use 1 to {most_a} A.", rated_a=found.rated_a, most_a=RATED_A_MAX,
            )  # fmt: skip
        if fault := curve_fault(found.points):
            raise TransformerRefused(
                "wrong-constants", "The constants do not fit.", "{fault}.",
                fault=fault.capitalize(),
            )  # fmt: skip
        before = next((t for t in await self.all() if t.serial == found.serial), None)
        if before is not None:
            same = (before.rated_a, before.points) == (found.rated_a, found.points)
            written = before.attached_at if same else ""
            found = replace(found, point=before.point, channel=before.channel, attached_at=written)
        await self._keep(user, "ct.register", [found], {"rated_a": found.rated_a})
        return found

    async def attach(self, user: str, point: Point, channel: int, serial: str) -> dict[str, Any]:
        """Write a transformer's constants into an input of a point's meter, read them back, and
        remember where it is."""
        if channel not in inputs_of(point):
            raise TransformerRefused(
                "no-current-input",
                "The meter of {point} has no current input {input} with constants.",
                "Choose a point and an input that have them, such as input 1 of an MPTA.",
                point=point.name,
                input=channel,
            )
        found = await self.find(serial)
        values: dict[str, int | bytes] = {
            f"ct_{channel}_nominal": found.rated_a,
            f"ct_{channel}_serial": found.serial.encode("ascii"),
            f"ct_{channel}_constants": pack_curve(found.points),
        }
        await self._collector.set_parameters(point, values)
        now = iso_utc(int(self._now()))
        kept = replace(found, point=point.id, channel=channel, attached_at=now)
        there = [t for t in await self.all() if (t.point, t.channel) == (point.id, channel)]
        freed = [
            replace(t, point="", channel=0, attached_at="") for t in there if t.serial != serial
        ]
        await self._keep(user, ATTACHED, [kept, *freed], {"point": point.id, "channel": channel})
        return kept.as_json()

    async def of_point(self, point: Point) -> dict[str, Any]:
        """The current inputs of a point's meter with what is attached, and what was attached when,
        newest first."""
        known = {(t.point, t.channel): t for t in await self.all()}
        items = []
        for channel in inputs_of(point):
            found = known.get((point.id, channel))
            items.append({"channel": channel, "transformer": found.as_json() if found else None})
        history = await self._database.read(lambda connection: _attached(connection, point.id))
        return {"items": items, "history": history}

    async def _keep(
        self,
        user: str,
        action: str,
        changed: list[CurrentTransformer],
        detail: Mapping[str, Any],
    ) -> None:
        """Keep what changed in one transaction; the first is what the action is about."""
        now = int(self._now())
        rows = [{"key": PREFIX + t.serial, "value": json.dumps(asdict(t))} for t in changed]

        def change(connection: Connection) -> None:
            upsert(connection, schema.site, rows)
            audit.append(connection, now, user, action, changed[0].serial, "done", detail)

        await self._database.write(change)


def inputs_of(point: Point) -> list[int]:
    """The inputs of a point's meter that take the constants of a transformer."""
    model = MODELS.get(point.meter.model)
    names = {p.name for p in model.parameters} if model is not None else set()
    return [n for n in range(1, INPUTS_MAX + 1) if f"ct_{n}_constants" in names]


def _attached(connection: Connection, point_id: str) -> list[dict[str, Any]]:
    """The latest entries of the audit chain about the inputs of a point."""
    table = audit_entry
    named = f'"point": {json.dumps(point_id)}'
    query = (
        sa.select(table)
        .where(table.c.action == ATTACHED, table.c.detail.contains(named, autoescape=True))
        .order_by(table.c.id.desc())
        .limit(HISTORY_SHOWN)
    )
    return [
        {
            "at": iso_utc(row.at),
            "user": row.user_name,
            "serial": row.target,
            "channel": json.loads(row.detail)["channel"],
        }
        for row in connection.execute(query)
    ]
