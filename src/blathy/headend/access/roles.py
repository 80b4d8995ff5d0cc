"""Roles, and the one table that says which role may call which route.

A route that is not in the table is refused, and the application does not start with one missing.
A test visits every cell.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class Role(Enum):
    """Who somebody is."""

    VIEWER = "viewer"
    INSTALLER = "installer"
    MANAGER = "manager"
    ADMIN = "admin"
    CONSUMER = "consumer"


class Rule(NamedTuple):
    """`roles` may call; a consumer only for the point that is theirs. Empty: nobody need log in."""

    roles: frozenset[Role]
    public: bool = False


def _roles(*roles: Role) -> Rule:
    return Rule(frozenset(roles))


PUBLIC: Final = Rule(frozenset(Role), public=True)
EVERYBODY: Final = Rule(frozenset(Role))
STAFF: Final = _roles(Role.VIEWER, Role.INSTALLER, Role.MANAGER, Role.ADMIN)
CREW: Final = _roles(Role.INSTALLER, Role.MANAGER, Role.ADMIN)
MANAGERS: Final = _roles(Role.MANAGER, Role.ADMIN)
ADMINS: Final = _roles(Role.ADMIN)

RULES: Final[dict[tuple[str, str], Rule]] = {
    ("POST", "/session"): PUBLIC,
    ("GET", "/site"): PUBLIC,
    ("GET", "/session"): EVERYBODY,
    ("DELETE", "/session"): EVERYBODY,
    ("POST", "/session/password"): EVERYBODY,
    ("GET", "/tokens"): STAFF,
    ("POST", "/tokens"): STAFF,
    ("DELETE", "/tokens/{token_id}"): STAFF,
    ("GET", "/overview"): STAFF,
    ("GET", "/points"): EVERYBODY,
    ("GET", "/points/{point_id}"): EVERYBODY,
    ("GET", "/points/{point_id}/live"): EVERYBODY,
    ("GET", "/points/{point_id}/registers"): EVERYBODY,
    ("GET", "/points/{point_id}/display"): EVERYBODY,
    ("POST", "/points/{point_id}/display/button"): CREW,
    ("GET", "/points/{point_id}/profile"): EVERYBODY,
    ("GET", "/points/{point_id}/profile.csv"): EVERYBODY,
    ("GET", "/points/{point_id}/profile.parquet"): EVERYBODY,
    ("GET", "/points/{point_id}/quality"): STAFF,
    ("GET", "/points/{point_id}/conversations"): STAFF,
    ("GET", "/points/{point_id}/events"): EVERYBODY,
    ("POST", "/points/{point_id}/read"): CREW,
    ("POST", "/points/{point_id}/commands"): MANAGERS,
    ("GET", "/points/{point_id}/supply"): EVERYBODY,
    ("GET", "/points/{point_id}/pushes"): STAFF,
    ("GET", "/points/{point_id}/keys"): CREW,
    ("POST", "/points/{point_id}/keys"): MANAGERS,
    ("POST", "/points/{point_id}/keys/settle"): MANAGERS,
    ("GET", "/points/{point_id}/security"): CREW,
    ("GET", "/points/{point_id}/clock"): STAFF,
    ("POST", "/points/{point_id}/clock"): CREW,
    ("GET", "/points/{point_id}/current-inputs"): STAFF,
    ("PUT", "/points/{point_id}/current-inputs/{channel}"): CREW,
    ("GET", "/current-transformers"): STAFF,
    ("PUT", "/current-transformers/{serial}"): CREW,
    ("GET", "/pushes"): STAFF,
    ("GET", "/security"): CREW,
    ("GET", "/clocks"): STAFF,
    ("POST", "/clocks"): MANAGERS,
    ("GET", "/events"): STAFF,
    ("POST", "/events/{event_id}/acknowledge"): CREW,
    ("GET", "/jobs"): STAFF,
    ("GET", "/jobs/{job_id}"): STAFF,
    ("DELETE", "/jobs/{job_id}"): CREW,
    ("GET", "/feeders/{feeder_id}"): STAFF,
    ("GET", "/feeders/{feeder_id}/balance"): STAFF,
    ("GET", "/collection"): STAFF,
    ("GET", "/users"): ADMINS,
    ("POST", "/users"): ADMINS,
    ("PATCH", "/users/{name}"): ADMINS,
    ("GET", "/audit"): ADMINS,
    ("GET", "/stream"): EVERYBODY,
}
"""(method, path under /api/v1) -> who may call it."""
