"""Who asks which control centre, about which point and over which time: what routes depend on."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi import Depends, Query, Request

from blathy.clock import utc_of
from blathy.headend.access.accounts import Caller
from blathy.headend.api.guard import caller_of
from blathy.headend.api.problems import ApiProblem, no_point
from blathy.headend.head_end import HeadEnd
from blathy.headend.inventory.registry import Point

YEAR_MIN: Final = 2000
YEAR_MAX: Final = 2100
LISTED_MAX: Final = 50
"""Values of one filter."""


def head_end(request: Request) -> HeadEnd:
    """The running control centre."""
    head = request.app.state.headend
    assert isinstance(head, HeadEnd)
    return head


Head = Annotated[HeadEnd, Depends(head_end)]
Who = Annotated[Caller, Depends(caller_of)]
Page = Annotated[int, Query(ge=1, le=100_000)]
Size = Annotated[int, Query(ge=1, le=500)]
Text = Annotated[str, Query(max_length=200)]


def point_of(head: HeadEnd, point_id: str) -> Point:
    """The point of that id; a 404 problem where there is none."""
    point = head.inventory.point(point_id)
    if point is None:
        raise no_point(point_id)
    return point


def listed(text: str) -> tuple[str, ...]:
    """The values of a filter: several are separated by commas."""
    return tuple(part for part in text.split(",") if part)[:LISTED_MAX]


def between(request: Request) -> tuple[int | None, int | None]:
    """`from` and `to` of a query in UTC seconds, where given (`from` is no name in Python)."""
    given = request.query_params
    start, end = given.get("from"), given.get("to")
    return _moment("from", start) if start else None, _moment("to", end) if end else None


def _moment(name: str, text: str) -> int:
    """A time in a query as UTC seconds; raise a 422 problem that names the field."""
    try:
        # a plus sign in a query that nobody encoded arrives as a space
        read = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        if not YEAR_MIN <= read.year < YEAR_MAX:
            raise ValueError(f"the year is {YEAR_MIN} to {YEAR_MAX - 1}")
        return int(utc_of(read))
    except ValueError as error:
        raise ApiProblem(
            422, "Not valid", "not-a-time", "{field}: {fault}",
            "Write it like 2026-03-29T01:00:00Z.", field=name, fault=str(error),
        ) from error  # fmt: skip
