"""Routes of metering points: the list, a point, what its meter says, what was read, commands."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from blathy.clock import iso_utc
from blathy.headend.api.asking import Head, Page, Size, Text, Who, between, listed, point_of
from blathy.headend.api.bodies import Button, Clock, Command, Keys, ReadNow, json
from blathy.headend.api.guard import authorise
from blathy.headend.api.problems import ApiProblem
from blathy.headend.collection.conversation import DisplayState
from blathy.headend.operations.current_transformers import inputs_of
from blathy.headend.operations.events import EventFilter
from blathy.headend.readings.calendar import DAY_S
from blathy.headend.readings.export import to_csv, to_parquet
from blathy.headend.readings.rules import judge_point
from blathy.headend.readings.series import ProfileAnswer, read_profile
from blathy.headend.sentence import Sentence
from blathy.headend.situation import profile_json
from blathy.headend.stream import live_json

router = APIRouter(dependencies=[Depends(authorise)])
SORTABLE: Final = frozenset(
    (
        "id", "name", "address", "kind", "medium", "model", "model_name", "serial", "state",
        "last_answer_at", "power_w", "energy_today_wh", "alarms", "completeness",
    )
)  # fmt: skip

QUALITY_DAYS_MAX: Final = 400


@router.get("/points", summary="Metering points, searched, sorted, in pages")
async def points(
    head: Head,
    who: Who,
    q: Text = "",
    feeder: Text = "",
    model: Text = "",
    state: Text = "",
    medium: Text = "",
    kind: Text = "",
    sort: Text = "name",
    page: Page = 1,
    size: Size = 50,
) -> Response:
    column = sort.removeprefix("-")
    if column not in SORTABLE:
        raise ApiProblem(
            422,
            "Not valid",
            "not-sortable",
            "sort: '{column}' is no column.",
            "Use {columns}.",
            column=column,
            columns=", ".join(sorted(SORTABLE)),
        )
    found = [p for p in head.inventory.points.values() if who.may_see(p.id)]
    wanted = {"feeder_id": feeder, "medium": medium, "kind": kind}
    found = [p for p in found if all(not v or getattr(p, k) == v for k, v in wanted.items())]
    found = [p for p in found if not model or p.meter.model == model]
    found = [p for p in found if not state or p.meter.state.standing.value == state]
    rows = [await head.situation.point_row(p) for p in found]
    needle = q.casefold().strip()
    if needle:
        names = ("id", "name", "address", "serial", "model_name", "model", "kind")
        rows = [r for r in rows if any(needle in str(r[n]).casefold() for n in names)]
    known = [r for r in rows if r[column] is not None]
    unknown = [r for r in rows if r[column] is None]
    known.sort(key=lambda r: _sort_key(r[column]), reverse=sort.startswith("-"))
    rows = known + unknown
    cut = rows[(page - 1) * size : page * size]
    return json({"items": cut, "total": len(rows), "page": page, "size": size})


def _sort_key(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value


@router.get("/points/{point_id}", summary="A point and its meter")
async def point(point_id: str, head: Head) -> Response:
    found = point_of(head, point_id)
    meter, facts = found.meter, head.driver.facts(found.meter)
    state = meter.state
    inputs = ["current-inputs"] if inputs_of(found) else []
    row = await head.situation.point_row(found)
    behind = [p.id for p in head.inventory.points.values() if p.parent_id == found.id]
    document = {
        **row,
        "timezone": found.zone.name,
        "meter": {
            "serial": meter.serial,
            "model": meter.model,
            "model_name": facts.model_name,
            "manufacturer": meter.manufacturer or facts.manufacturer,
            "host": meter.host,
            "port": meter.port,
            "client": meter.client_sap,
            "security": meter.mechanism,
            "ciphered": meter.ciphered,
            "firmware": state.firmware or None,
            "system_title": meter.system_title or None,
            "installed_at": iso_utc(meter.installed_at) if meter.installed_at else None,
            "phases": facts.phases,
            "rated": facts.rated,
            "clock_offset_s": state.clock_offset_s,
        },
        "channels": [
            {
                "id": c.slug,
                "name": c.name,
                "obis": c.obis,
                "unit": c.unit,
                "step_s": c.step_s,
                "kind": c.kind,
            }
            for c in meter.channels
        ],
        "capabilities": [*facts.capabilities, *inputs],
        "commands": list(facts.commands),
        "relays": list(facts.relays),
        "protected": found.protected,
        "parent": found.parent_id,
        "children": behind,
    }
    return json(document)


@router.get("/points/{point_id}/live", summary="Quantities now, over the meter's port")
async def live(point_id: str, head: Head) -> Response:
    at, values = await head.collector.live(point_of(head, point_id))
    return json(live_json(point_id, at, values))


@router.get("/points/{point_id}/registers", summary="Registers, digit for digit")
async def registers(point_id: str, head: Head) -> Response:
    at, values = await head.collector.registers(point_of(head, point_id))
    rows = [
        {
            "obis": v.obis,
            "name": v.name,
            "value": v.text,
            "unit": v.text_unit,
            "tariff": v.tariff,
            "digits": v.digits,
            "at": iso_utc(v.at) if v.at is not None else None,
        }
        for v in values
    ]
    return json({"at": iso_utc(at), "rows": rows})


def display_json(at: int, shown: DisplayState) -> dict[str, Any]:
    return {
        "at": iso_utc(at),
        "mode": shown.mode,
        "code": shown.code,
        "value": shown.value,
        "unit": shown.unit,
        "digits": shown.digits,
        "decimals": shown.decimals,
        "annunciators": [{"id": s.id, "label": s.label, "on": s.on} for s in shown.annunciators],
        "leds": [
            {
                "id": s.id,
                "label": s.label,
                "state": s.state,
                "imp_per_kwh": s.imp_per_kwh or None,
            }
            for s in shown.leds
        ],
        "buttons": [{"id": key, "label": label} for key, label in shown.buttons],
        "list": {
            "name": shown.list_name, "index": shown.list_index, "length": shown.list_length,
        },
    }  # fmt: skip


@router.get("/points/{point_id}/display", summary="The meter's LCD as it looks now")
async def display(point_id: str, head: Head) -> Response:
    shown = await head.collector.display(point_of(head, point_id))
    return json(display_json(int(head.now()), shown))


@router.post("/points/{point_id}/display/button", summary="Press a button of the meter")
async def press(point_id: str, body: Button, head: Head) -> Response:
    found = point_of(head, point_id)
    shown = await head.collector.press(found, body.button, body.hold_ms)
    return json(display_json(int(head.now()), shown))


async def _profile(
    request: Request, point_id: str, head: Head, channel: Text = "", resolution: Text = "auto"
) -> ProfileAnswer:
    """The question of the three profile routes, answered."""
    found = point_of(head, point_id)
    slug = channel or (found.meter.channels[0].slug if found.meter.channels else "")
    wanted = found.meter.channel(slug)
    if wanted is None:
        able = ", ".join(c.slug for c in found.meter.channels) or "none"
        raise ApiProblem(
            422, "Not valid", "no-channel", "channel: '{channel}' is not collected here.",
            "There is: {channels}.", channel=slug, channels=able,
        )  # fmt: skip
    start, end = between(request)
    end = int(head.now()) if end is None else end
    start = end - DAY_S if start is None else start
    return await head.database.read(
        lambda c: read_profile(c, wanted, found.zone, start, end, resolution, int(head.now()))
    )


Answer = Annotated[ProfileAnswer, Depends(_profile)]


@router.get("/points/{point_id}/profile", summary="A channel over a time")
async def profile(answer: Answer) -> Response:
    return json(profile_json(answer))


@router.get("/points/{point_id}/profile.csv", summary="The same as CSV")
async def profile_csv(point_id: str, answer: Answer) -> Response:
    return _file(to_csv(answer).encode(), "text/csv; charset=utf-8", point_id, answer, "csv")


@router.get("/points/{point_id}/profile.parquet", summary="The same as Parquet")
async def profile_parquet(point_id: str, answer: Answer) -> Response:
    kind = "application/vnd.apache.parquet"
    return _file(to_parquet(answer), kind, point_id, answer, "parquet")


def _file(
    content: bytes, media_type: str, point_id: str, answer: ProfileAnswer, suffix: str
) -> Response:
    name = f"{point_id}_{answer.channel.slug}.{suffix}"  # both are checked keys: no quotes inside
    return Response(
        content,
        media_type=media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.get("/points/{point_id}/quality", summary="Validation rules over a time")
async def quality(request: Request, point_id: str, head: Head) -> Response:
    found = point_of(head, point_id)
    start, end = between(request)
    end = int(head.now()) if end is None else end
    start = end - 7 * DAY_S if start is None else start
    if end - start > QUALITY_DAYS_MAX * DAY_S:
        raise ApiProblem(
            422, "Not valid", "too-long", "This is more than {days} days.", "Ask for less.",
            days=QUALITY_DAYS_MAX,
        )  # fmt: skip
    facts = head.driver.facts(found.meter)
    now = int(head.now())
    findings = await head.database.read(
        lambda c: judge_point(c, found, start, end, now, facts.capacity_w)
    )
    return json({"items": [f.as_json() for f in findings], "total": len(findings)})


@router.get("/points/{point_id}/conversations", summary="How the meter was talked to lately")
async def conversations(point_id: str, head: Head, size: Size = 50) -> Response:
    found = point_of(head, point_id)
    rows = await head.collector.conversations(found, size)
    return json({"items": rows, "total": len(rows)})


@router.get("/points/{point_id}/events", summary="Events of a point, newest first")
async def events(
    request: Request,
    point_id: str,
    head: Head,
    severity: Text = "",
    kind: Text = "",
    group: Text = "",
    q: Text = "",
    raw: bool = False,
    page: Page = 1,
    size: Size = 50,
) -> Response:
    found = point_of(head, point_id)
    start, end = between(request)
    wanted = EventFilter(
        (found.id,),
        listed(severity),
        listed(kind),
        listed(group),
        q,
        from_utc=start,
        to_utc=end,
        raw=raw,
    )
    items, total = await head.events.find(wanted, page, size)
    return json({"items": items, "total": total, "page": page, "size": size})


@router.post("/points/{point_id}/read", status_code=202, summary="Read the meter now")
async def read(point_id: str, body: ReadNow, head: Head, who: Who) -> Response:
    found = point_of(head, point_id)
    job = await head.jobs.start(
        "read",
        Sentence("job-read", "Read {what} of {point}", what=body.what, point=found.name),
        lambda job: head.collector.read_now(found, body.what, job.progress),
        user=who.user,
        point_id=found.id,
    )
    return json(job.as_json(), 202)


@router.post("/points/{point_id}/commands", summary="A command, in two steps")
async def command(point_id: str, body: Command, head: Head, who: Who) -> Response:
    found = point_of(head, point_id)
    if body.confirm is None:
        return json(head.commands.prepare(who.user, found, body.command, body.arguments))
    job = await head.commands.confirm(who.user, found, body.command, body.arguments, body.confirm)
    return json(job.as_json(), 202)


@router.get("/points/{point_id}/supply", summary="Switch, limit and credit as the meter has them")
async def supply(point_id: str, head: Head) -> Response:
    return json(await head.commands.sales.as_json(point_of(head, point_id)))


@router.get("/points/{point_id}/pushes", summary="What the meter sent by itself, newest first")
async def pushes(point_id: str, head: Head, size: Size = 100) -> Response:
    return json(await head.pushes.as_json(point_of(head, point_id).meter, size))


@router.get("/points/{point_id}/keys", summary="The meter's keys: when changed, not what they are")
async def keys(point_id: str, head: Head) -> Response:
    return json(await head.keys.as_json(point_of(head, point_id)))


@router.post("/points/{point_id}/keys", summary="Change keys, in two steps")
async def change_keys(point_id: str, body: Keys, head: Head, who: Who) -> Response:
    found = point_of(head, point_id)
    if body.confirm is None:
        return json(await head.keys.prepare(who.user, found, body.purposes))
    return json(
        (await head.keys.confirm(who.user, found, body.purposes, body.confirm)).as_json(), 202
    )


@router.post("/points/{point_id}/keys/settle", status_code=202, summary="End an interrupted change")
async def settle_keys(point_id: str, head: Head, who: Who) -> Response:
    found = point_of(head, point_id)
    job = await head.jobs.start(
        "keys",
        Sentence("job-settle-keys", "Settle the keys of {point}", point=found.name),
        lambda _job: head.keys.settle(found),
        user=who.user,
        point_id=found.id,
    )
    return json(job.as_json(), 202)


@router.get("/points/{point_id}/security", summary="Age of keys, counters, clock of the meter")
async def security(point_id: str, head: Head) -> Response:
    return json(await head.security.of_point(point_of(head, point_id)))


@router.get("/points/{point_id}/clock", summary="How far the clock is off, and how it drifts")
async def clock(point_id: str, head: Head) -> Response:
    return json(await head.clocks.as_json(point_of(head, point_id)))


@router.post("/points/{point_id}/clock", summary="Correct the clock by rule, in two steps")
async def correct_clock(point_id: str, body: Clock, head: Head, who: Who) -> Response:
    found = point_of(head, point_id)
    request = {"clock": found.id, "how": body.how, "large": body.large}
    if body.confirm is None:
        return json(head.clocks.prepare(who.user, [found], request))
    return json((await head.clocks.start(who.user, [found], request, body.confirm)).as_json(), 202)
