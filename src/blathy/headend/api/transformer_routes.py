"""Routes of the current transformers: the registry by serial number, and attaching one to a meter's
input."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from blathy.headend.api.asking import Head, Who, point_of
from blathy.headend.api.bodies import Body, json
from blathy.headend.api.guard import authorise
from blathy.headend.operations.current_transformers import CurrentTransformer

router = APIRouter(dependencies=[Depends(authorise)])


class CurvePointBody(Body):
    share: float
    ratio: float
    phase_min: float = 0.0


class TransformerBody(Body):
    """What production measured of a transformer."""

    rated_a: Annotated[int, Field(ge=1, le=65_535)]
    points: Annotated[list[CurvePointBody], Field(min_length=1, max_length=16)]
    measured_at: Annotated[str, Field(max_length=32)] = ""
    station: Annotated[str, Field(max_length=64)] = ""


class AttachBody(Body):
    serial: Annotated[str, Field(min_length=1, max_length=16)]


@router.get("/current-transformers", summary="Current transformers by serial number")
async def transformers(head: Head) -> Response:
    items = []
    for each in await head.transformers.all():
        place = head.inventory.point(each.point)
        items.append({**each.as_json(), "place": place.name if place else ""})
    return json({"items": items})


@router.put("/current-transformers/{serial}", summary="What production measured of one")
async def register(serial: str, body: TransformerBody, head: Head, who: Who) -> Response:
    points = tuple((p.share, p.ratio, p.phase_min) for p in body.points)
    made = CurrentTransformer(serial, body.rated_a, points, body.measured_at, body.station)
    return json((await head.transformers.register(who.user, made)).as_json())


@router.get("/points/{point_id}/current-inputs", summary="A meter's inputs and what is attached")
async def inputs(point_id: str, head: Head) -> Response:
    return json(await head.transformers.of_point(point_of(head, point_id)))


@router.put(
    "/points/{point_id}/current-inputs/{channel}",
    summary="Attach a current transformer to an input",
)
async def attach(point_id: str, channel: int, body: AttachBody, head: Head, who: Who) -> Response:
    point = point_of(head, point_id)
    return json(await head.transformers.attach(who.user, point, channel, body.serial))
