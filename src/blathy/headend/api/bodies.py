"""What requests carry, checked, and what answers are made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response


class Body(BaseModel):
    """A request body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", str_max_length=1000)


class LogIn(Body):
    user: Annotated[str, Field(max_length=64)]
    password: Annotated[str, Field(max_length=256)]


class NewPassword(Body):
    old: Annotated[str, Field(max_length=256)]
    new: Annotated[str, Field(max_length=256)]


class NewToken(Body):
    title: Annotated[str, Field(min_length=1, max_length=100)]
    days: Annotated[int | None, Field(ge=1, le=3650)] = None


class Button(Body):
    button: Annotated[str, Field(max_length=32)]
    hold_ms: Annotated[int, Field(ge=0, le=10_000)] = 100


class ReadNow(Body):
    what: Literal["registers", "profile", "events", "clock", "all"] = "all"


class Command(Body):
    command: Annotated[str, Field(max_length=32)]
    arguments: Annotated[dict[str, Any], Field(max_length=8)] = {}
    confirm: Annotated[str | None, Field(max_length=64)] = None


class Keys(Body):
    purposes: Annotated[list[Annotated[str, Field(max_length=16)]], Field(max_length=8)]
    confirm: Annotated[str | None, Field(max_length=64)] = None


class Clock(Body):
    how: Literal["auto", "shift", "set"] = "auto"
    large: bool = False
    confirm: Annotated[str | None, Field(max_length=64)] = None


class GroupClock(Clock):
    group: Annotated[str, Field(max_length=64)] = ""
    points: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=1000)] = []


class NewUser(Body):
    name: Annotated[str, Field(max_length=32)]
    password: Annotated[str, Field(max_length=256)]
    role: Annotated[str, Field(max_length=16)]
    point: Annotated[str | None, Field(max_length=64)] = None


class UserChanges(Body):
    role: Annotated[str | None, Field(max_length=16)] = None
    point: Annotated[str | None, Field(max_length=64)] = None
    enabled: bool | None = None
    password: Annotated[str | None, Field(max_length=256)] = None


def json(document: Any, status: int = 200) -> Response:
    """An answer as JSON. NumPy numbers are not expected here, so they fail in tests."""
    return Response(orjson.dumps(document), status, media_type="application/json")
