"""Who may pass: session or token, CSRF word, role table, own point. On every route, always."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blathy.headend.access.accounts import Accounts, Caller
from blathy.headend.access.roles import RULES, Rule
from blathy.headend.api.problems import ApiProblem, problem
from blathy.headend.sentence import ExplainedError

COOKIE: Final = "blathy_session"
CSRF_HEADER: Final = "X-CSRF-Token"
PREFIX: Final = "/api/v1"
BODY_MAX: Final = 64 * 1024
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_TOO_LARGE: Final = ExplainedError(
    "too-large", "A request has at most {octets} octets.", "Send less.", octets=BODY_MAX
)
_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))


def rule_of(method: str, path: str) -> Rule | None:
    """The row of the role table for a route template such as `/api/v1/points/{point_id}`."""
    return RULES.get((method, path.removeprefix(PREFIX)))


def check_table(routers: Iterable[APIRouter]) -> None:
    """Raise where a route has no row or a row no route: neither may ship."""
    there = {
        (method, route.path)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    missing, idle = there - set(RULES), set(RULES) - there
    if missing or idle:
        raise AssertionError(f"role table: no row for {sorted(missing)}, no route {sorted(idle)}")


async def authorise(request: Request) -> None:
    """Dependency of every API route: sets `request.state.caller` or raises."""
    route = request.scope["route"]
    rule = rule_of(request.method, route.path)
    if rule is None:
        raise ApiProblem(403, "Refused", "nobody-may", "Nobody may call this.", "See /api/docs.")
    accounts: Accounts = request.app.state.headend.accounts
    caller = _caller(request, accounts)
    request.state.caller = caller
    if rule.public:
        return
    if caller is None:
        raise ApiProblem(
            401, "Not logged in", "not-logged-in", "Nobody is logged in.", "Log in and try again."
        )
    if request.method not in _SAFE and caller.csrf is not None:
        _check_csrf(request, caller)
    point_id = request.path_params.get("point_id")
    if caller.role not in rule.roles or (point_id is not None and not caller.may_see(point_id)):
        raise ApiProblem(
            403,
            "Refused",
            "role-may-not",
            "The role {role} may not do this.",
            "Ask an administrator.",
            role=caller.role.value,
        )


def _caller(request: Request, accounts: Accounts) -> Caller | None:
    header = request.headers.get("authorization", "")
    if header.lower().startswith("bearer "):
        return accounts.bearer(header[7:].strip())
    secret = request.cookies.get(COOKIE)
    return accounts.session(secret) if secret else None


def _check_csrf(request: Request, caller: Caller) -> None:
    given = request.headers.get(CSRF_HEADER, "")
    if caller.csrf is None or not hmac.compare_digest(given.encode(), caller.csrf.encode()):
        raise ApiProblem(
            403,
            "Refused",
            "wrong-csrf",
            "The header {header} is missing or wrong.",
            "Load the page again.",
            header=CSRF_HEADER,
        )


class Shell:
    """ASGI middleware: security headers on every answer, a bound on every body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if not length.isdigit() or int(length) > BODY_MAX:
            await problem(413, "Too large", _TOO_LARGE)(scope, receive, send)
            return
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_MAX:
                return {"type": "http.disconnect"}
            return message

        api = scope["path"].startswith("/api/")

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if api:
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, bounded, dressed)


def caller_of(request: Request) -> Caller:
    """The caller that `authorise` found."""
    caller: Any = request.state.caller
    assert isinstance(caller, Caller)
    return caller
