"""Routes of the site as a whole: session, overview, events, jobs, feeders, users, audit, stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response, StreamingResponse

from blathy import __version__
from blathy.clock import iso_utc
from blathy.headend.access.accounts import SESSION_S
from blathy.headend.access.roles import Role
from blathy.headend.api.asking import Head, Page, Size, Text, Who, between, listed
from blathy.headend.api.bodies import (
    GroupClock,
    LogIn,
    NewPassword,
    NewToken,
    NewUser,
    UserChanges,
    json,
)
from blathy.headend.api.guard import COOKIE, authorise
from blathy.headend.api.problems import ApiProblem, no_point
from blathy.headend.head_end import HeadEnd
from blathy.headend.inventory.registry import Point
from blathy.headend.operations import audit
from blathy.headend.operations.events import EventFilter
from blathy.headend.readings.balance import Balance, feeder_balance
from blathy.headend.readings.calendar import DAY_S
from blathy.headend.stream import PLAIN_TOPICS, TOPICS_MAX

router = APIRouter(dependencies=[Depends(authorise)])


# -- session ------------------------------------------------------------------------------------


@router.post("/session", summary="Log in")
async def log_in(body: LogIn, request: Request, head: Head) -> Response:
    address = request.client.host if request.client else "-"
    secret, caller = await head.accounts.log_in(body.user, body.password, address)
    answer = json({"user": caller.user, "role": caller.role.value, "csrf": caller.csrf,
                   "point": caller.point_id})  # fmt: skip
    answer.set_cookie(
        COOKIE,
        secret,
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        path="/",
        secure=request.url.scheme == "https",
    )
    return answer


@router.get("/session", summary="Who is logged in")
async def session(who: Who) -> Response:
    return json({"user": who.user, "role": who.role.value, "csrf": who.csrf, "point": who.point_id})


@router.delete("/session", status_code=204, summary="Log out")
async def log_out(request: Request, head: Head) -> Response:
    if secret := request.cookies.get(COOKIE):
        await head.accounts.log_out(secret)
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/")
    return answer


@router.post("/session/password", status_code=204, summary="Change one's own password")
async def change_password(body: NewPassword, who: Who, head: Head) -> Response:
    await head.accounts.change_own_password(who, body.old, body.new)
    return Response(status_code=204)


@router.get("/tokens", summary="One's own tokens")
async def tokens(who: Who, head: Head) -> Response:
    return json({"items": await head.accounts.tokens_of(who)})


@router.post("/tokens", status_code=201, summary="A token for a program")
async def new_token(body: NewToken, who: Who, head: Head) -> Response:
    return json(await head.accounts.create_token(who, body.title, body.days), 201)


@router.delete("/tokens/{token_id}", status_code=204, summary="Withdraw a token")
async def delete_token(token_id: str, who: Who, head: Head) -> Response:
    await head.accounts.delete_token(who, token_id)
    return Response(status_code=204)


# -- site ---------------------------------------------------------------------------------------


@router.get("/site", summary="What this is")
async def site(head: Head) -> Response:
    inventory = head.inventory
    document = {
        "name": inventory.name,
        "timezone": inventory.zone.name,
        "version": __version__,
        "started_at": iso_utc(head.started_at),
        "now": iso_utc(int(head.now())),
        "simulated": inventory.simulated,
    }
    if inventory.demo_login is not None:
        user, password = inventory.demo_login
        document["demo_login"] = {"user": user, "password": password}
    return json(document)


@router.get("/overview", summary="The site on one page")
async def overview(head: Head) -> Response:
    return json(await head.situation.overview())


@router.get("/collection", summary="Schedules, outcomes, completeness, silent meters")
async def collection(head: Head) -> Response:
    return json(
        {
            **head.situation.collection_json(),
            "completeness": await head.situation.completeness_json(),
            "silent": await head.situation.silent_points(),
            "open_lines": head.collector.lines.open_count,
        }
    )


# -- events -------------------------------------------------------------------------------------


@router.get("/events", summary="Events of all points, newest first")
async def events(
    request: Request,
    head: Head,
    point: Text = "",
    feeder: Text = "",
    severity: Text = "",
    kind: Text = "",
    group: Text = "",
    q: Text = "",
    raw: bool = False,
    page: Page = 1,
    size: Size = 50,
) -> Response:
    points = listed(point)
    if feeder:
        points += tuple(p.id for p in head.inventory.of_feeder(feeder))
    start, end = between(request)
    wanted = EventFilter(
        points,
        listed(severity),
        listed(kind),
        listed(group),
        q,
        start,
        end,
        any_point=not (point or feeder),
        raw=raw,
    )
    items, total = await head.events.find(wanted, page, size)
    return json({"items": items, "total": total, "page": page, "size": size})


@router.post("/events/{event_id}/acknowledge", summary="Mark an event as seen")
async def acknowledge(event_id: int, who: Who, head: Head) -> Response:
    found = None
    if 0 <= event_id < 2**62:
        found = await head.events.acknowledge(event_id, who.user, int(head.now()))
    if found is None:
        raise ApiProblem(404, "Not found", "no-event", "There is no such event.", "See the list.")
    return json(found)


# -- jobs ---------------------------------------------------------------------------------------


@router.get("/jobs", summary="The latest jobs")
async def jobs(head: Head, size: Size = 50) -> Response:
    found = [job.as_json() for job in head.jobs.latest(size)]
    return json({"items": found, "total": len(found)})


def _no_job(job_id: str) -> ApiProblem:
    return ApiProblem(
        404, "Not found", "no-job", "There is no job {job}.", "See the list.", job=job_id[:64]
    )


@router.get("/jobs/{job_id}", summary="A job with its progress")
async def job(job_id: str, head: Head) -> Response:
    found = head.jobs.get(job_id)
    if found is None:
        raise _no_job(job_id)
    return json(found.as_json())


@router.delete("/jobs/{job_id}", summary="Cancel a job")
async def cancel_job(job_id: str, who: Who, head: Head) -> Response:
    found = head.jobs.get(job_id)
    if found is None:
        raise _no_job(job_id)
    if found.user != who.user and who.role not in {Role.MANAGER, Role.ADMIN}:
        raise ApiProblem(
            403, "Refused", "not-your-job", "This is the job of somebody else.", "Ask a manager."
        )
    if not await head.jobs.cancel(job_id):
        raise ApiProblem(409, "Over", "job-over", "This job is over already.", "See its result.")
    return json(found.as_json())


# -- pushes and clocks --------------------------------------------------------------------------


@router.get("/pushes", summary="What meters sent by themselves, and who was not let in")
async def pushes(head: Head, size: Size = 100) -> Response:
    return json(await head.pushes.as_json(None, size))


@router.get("/clocks", summary="All clocks, the worst first")
async def clocks(head: Head, page: Page = 1, size: Size = 500) -> Response:
    return json(await head.clocks.overview(page, size))


@router.get("/security", summary="Age of keys, counters and clocks of all meters")
async def security(head: Head, page: Page = 1, size: Size = 100) -> Response:
    return json(await head.security.overview(page, size))


@router.post("/clocks", summary="Correct the clocks of a group by rule, in two steps")
async def correct_clocks(body: GroupClock, head: Head, who: Who) -> Response:
    points = _chosen(head, body)
    request = {
        "clocks": body.group, "points": body.points, "how": body.how, "large": body.large,
    }  # fmt: skip
    if body.confirm is None:
        return json(head.clocks.prepare(who.user, points, request))
    return json((await head.clocks.start(who.user, points, request, body.confirm)).as_json(), 202)


def _chosen(head: HeadEnd, body: GroupClock) -> list[Point]:
    """The points of a group or a list that have a clock to set."""
    inventory = head.inventory
    if bool(body.group) == bool(body.points):
        raise ApiProblem(
            422,
            "Not valid",
            "no-clocks-named",
            "Name a group or points.",
            "See the points' groups.",
        )
    named = [(name, inventory.point(name)) for name in dict.fromkeys(body.points)]
    for name, point in named:
        if point is None:
            raise no_point(name)
    found = inventory.of_group(body.group) if body.group else [p for _, p in named if p]
    able = [p for p in found if "set-clock" in head.driver.facts(p.meter).commands]
    if not able:
        raise ApiProblem(
            422, "Not valid", "no-clocks", "No meter there has a clock to set.", "See /clocks."
        )
    return able


# -- feeders ------------------------------------------------------------------------------------


def _no_feeder(feeder_id: str) -> ApiProblem:
    return ApiProblem(
        404, "Not found", "no-feeder", "There is no feeder {feeder}.", "See the list.",
        feeder=feeder_id[:64],
    )  # fmt: skip


@router.get("/feeders/{feeder_id}", summary="A feeder with its points")
async def feeder(feeder_id: str, head: Head) -> Response:
    place = head.inventory.feeders.get(feeder_id)
    if place is None:
        raise _no_feeder(feeder_id)
    points = head.inventory.of_feeder(feeder_id)
    return json(
        {
            **await head.situation.feeder(feeder_id),
            "station": head.situation.station_ref(place.station_id),
            "items": [await head.situation.point_row(point) for point in points],
        }
    )


@router.get("/feeders/{feeder_id}/balance", summary="A feeder against its meters")
async def balance(
    request: Request, feeder_id: str, head: Head, resolution: Text = "auto"
) -> Response:
    if feeder_id not in head.inventory.feeders:
        raise _no_feeder(feeder_id)
    now = int(head.now())
    start, end = between(request)
    points = head.inventory.of_feeder(feeder_id)
    over = now - now % 900
    end = over if end is None else min(end, over)
    start = end - DAY_S if start is None else start
    if start < end:
        read = head.database.read
        found = await read(lambda c: feeder_balance(c, points, start, end, resolution))
    else:  # a time that has begun, and no quarter-hour of it is over
        found = Balance("slot" if resolution == "auto" else resolution, [])
    return json(
        {
            "feeder": head.situation.feeder_ref(feeder_id),
            "resolution": found.resolution,
            "slots": [
                {
                    "start": iso_utc(slot.start),
                    "end": iso_utc(slot.end),
                    "metered_wh": slot.metered_wh,
                    "feeder_wh": slot.feeder_wh,
                    "loss_wh": slot.loss_wh,
                    "complete": slot.complete,
                }
                for slot in found.slots
            ],
        }
    )


# -- administration -----------------------------------------------------------------------------


@router.get("/users", summary="Who may log in")
async def users(head: Head) -> Response:
    found = head.accounts.all()
    return json({"items": found, "total": len(found)})


@router.post("/users", status_code=201, summary="A new user")
async def new_user(body: NewUser, who: Who, head: Head) -> Response:
    _check_point(head, body.point)
    return json(
        await head.accounts.create(who.user, body.name, body.password, body.role, body.point), 201
    )


@router.patch("/users/{name}", summary="Change a user; ends their sessions")
async def edit_user(name: str, body: UserChanges, who: Who, head: Head) -> Response:
    changes = body.model_dump(exclude_unset=True)
    _check_point(head, changes.get("point"))
    return json(await head.accounts.edit(who.user, name, changes))


def _check_point(head: HeadEnd, point_id: str | None) -> None:
    if point_id is not None and head.inventory.point(point_id) is None:
        raise ApiProblem(
            422,
            "Not valid",
            "no-point",
            "There is no point {point}.",
            "See the list.",
            point=point_id,
        )


@router.get("/audit", summary="The audit chain, newest first")
async def read_audit(head: Head, page: Page = 1, size: Size = 50, user: Text = "") -> Response:
    return json(await head.database.read(lambda c: audit.latest(c, user, page, size)))


# -- stream -------------------------------------------------------------------------------------


@router.get("/stream", summary="Server-sent events")
async def stream(head: Head, who: Who, topics: Text = "overview") -> Response:
    wanted = frozenset(listed(topics))
    if not wanted or len(wanted) > TOPICS_MAX:
        raise ApiProblem(
            422, "Not valid", "topics-many", "topics: 1 to {most} names.", "See /api/docs.",
            most=TOPICS_MAX,
        )  # fmt: skip
    for topic in wanted:
        word, _, point_id = topic.partition(":")
        if word == "live" and point_id:
            if head.inventory.point(point_id) is None and who.role is not Role.CONSUMER:
                raise no_point(point_id)
            if not who.may_see(point_id):
                raise ApiProblem(
                    403, "Refused", "not-your-point", "This is not your point.", "Watch your own."
                )
        elif topic not in PLAIN_TOPICS:
            raise ApiProblem(
                422,
                "Not valid",
                "no-topic",
                "topics: '{topic}' is not known.",
                "Use overview, events, alarms, jobs or live:POINT.",
                topic=topic,
            )
        elif who.role is Role.CONSUMER and topic == "overview":
            raise ApiProblem(
                403, "Refused", "staff-only", "The overview is for staff.", "Watch your point."
            )
    listener = head.hub.join(wanted, who.may_see)

    async def produce() -> AsyncIterator[bytes]:
        try:
            async for data in listener.frames():
                yield data
        finally:
            head.hub.leave(listener)

    return StreamingResponse(
        produce(),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
