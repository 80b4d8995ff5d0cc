"""Which client and server addresses a meter knows: tried one after the other, politely.

No password and no key is tried: an association without authentication is asked for, and what the
meter answers tells whether it knows the client. Servers are looked for with the first client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from blathy.client.address import MeterAddress
from blathy.client.conversation import AssociationDenied
from blathy.client.meter import Meter
from blathy.client.session import LOGICAL_DEVICE_NAME
from blathy.cosem import axdr
from blathy.cosem.axdr import AxdrError
from blathy.transport.errors import MeterError, Refused, TimedOut, Unreachable
from blathy.wire.acse import UserDiagnostic

CLIENTS: Final = (16, 1, 2, 3, 4, 5, 6, 7, 32, 48, 64, 80, 96, 100, 102, 103)
SERVERS: Final = (1, 16, 17, 18)
TRIES_MAX: Final = 256
_AUTHENTICATION: Final = "wants a password or keys (auth=)"
_WANTS_MORE: Final[dict[int, str]] = {
    UserDiagnostic.AUTHENTICATION_REQUIRED: _AUTHENTICATION,
    UserDiagnostic.MECHANISM_REQUIRED: _AUTHENTICATION,
    UserDiagnostic.MECHANISM_NOT_RECOGNISED: _AUTHENTICATION,
    UserDiagnostic.CONTEXT_NOT_SUPPORTED: "wants ciphering (ek=, ak=) or short names (sn=1)",
}


class Answer(Enum):
    """What a meter makes of a client that proves nothing."""

    OPEN = "open"
    """It lets the client in without authentication."""
    SECURED = "secured"
    """It knows the client and wants authentication or ciphering."""
    REFUSED = "refused"
    """It answers and does not want this client."""
    SILENT = "silent"
    """It says nothing."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One pair of addresses and what came of it; `device` is the logical device's name."""

    client: int
    server: int
    physical: int | None
    answer: Answer
    detail: str = ""
    device: str = ""


Progress = Callable[[int, int], None]


async def scan(
    address: MeterAddress,
    *,
    clients: Sequence[int] = CLIENTS,
    servers: Sequence[int] = SERVERS,
    physicals: Sequence[int | None] = (None,),
    pause_s: float = 0.2,
    progress: Progress | None = None,
) -> list[Tried]:
    """Every pair tried, those that answer first. Unreachable ends it: there is nobody to ask."""
    places = [(server, physical) for physical in physicals for server in servers]
    tries = len(places) + len(places) * (len(clients) - 1)
    if not clients or not places or tries > TRIES_MAX:
        raise Refused(
            f"{tries} pairs of addresses are not between 1 and {TRIES_MAX}", "name fewer of them"
        )
    found: list[Tried] = []

    async def attempt(client: int, server: int, physical: int | None) -> Tried:
        if found:
            await asyncio.sleep(pause_s)
        here = replace(address.public(), client=client, server=server, physical=physical)
        one = await _attempt(here)
        found.append(one)
        if progress is not None:
            progress(len(found), tries)
        return one

    for server, physical in places:
        first = await attempt(clients[0], server, physical)
        if first.answer is not Answer.SILENT:
            for client in clients[1:]:
                await attempt(client, server, physical)
    order = list(Answer)
    return sorted(found, key=lambda each: order.index(each.answer))


async def _attempt(here: MeterAddress) -> Tried:
    try:
        async with Meter.connect(here) as meter:
            return _tried(here, Answer.OPEN, "", await _name(meter))
    except Unreachable:
        raise
    except TimedOut as error:
        return _tried(here, Answer.SILENT, error.message)
    except AssociationDenied as error:
        wanted = _WANTS_MORE.get(error.diagnostic)
        if wanted is None:
            return _tried(here, Answer.REFUSED, error.reason)
        return _tried(here, Answer.SECURED, wanted)
    except Refused as error:
        if "refuses the connection" in error.message:
            raise
        return _tried(here, Answer.REFUSED, error.message)
    except MeterError as error:
        return _tried(here, Answer.REFUSED, error.message)


def _tried(here: MeterAddress, answer: Answer, detail: str, device: str = "") -> Tried:
    return Tried(here.client, here.server, here.physical, answer, detail, device)


async def _name(meter: Meter) -> str:
    """The logical device's name; empty where it is not told."""
    try:
        value = axdr.decode(await meter.get(LOGICAL_DEVICE_NAME)).value
    except (MeterError, AxdrError):
        return ""
    return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
