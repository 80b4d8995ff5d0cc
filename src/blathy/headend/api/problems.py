"""Errors as problem documents (RFC 9457): what is wrong, and what to try."""

from __future__ import annotations

from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from blathy.headend.access.accounts import AccessError
from blathy.headend.collection.conversation import ConversationError, Outcome
from blathy.headend.database import StoreError
from blathy.headend.operations.confirmations import CommandRefused
from blathy.headend.operations.jobs import JobsFull
from blathy.headend.readings.export import ExportUnavailable
from blathy.headend.readings.series import QueryError
from blathy.headend.stream import StreamFull

STATUS_OF_OUTCOME: Final = {
    Outcome.UNREACHABLE: (502, "Meter not reachable"),
    Outcome.TIMED_OUT: (504, "No answer in time"),
    Outcome.REFUSED: (502, "Meter refused"),
    Outcome.GARBLED: (502, "Answer not understood"),
    Outcome.UNTRUSTED: (502, "Meter not trusted"),
}
_TITLES: Final = {
    401: "Not logged in", 403: "Refused", 404: "Not found", 405: "Method not allowed",
    413: "Too large", 415: "Wrong media type",
}  # fmt: skip


class ApiProblem(Exception):  # noqa: N818 - named after the document it becomes
    """An error of the API with its status."""

    def __init__(self, status: int, title: str, detail: str, remedy: str, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.remedy = remedy
        self.more = more


def problem(status: int, title: str, detail: str, remedy: str, **more: Any) -> Response:
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "remedy": remedy,
        **more,
    }
    return Response(orjson.dumps(body), status, media_type="application/problem+json")


def not_found(what: str) -> ApiProblem:
    return ApiProblem(404, "Not found", f"There is no {what}.", "See the list.")


def install(app: FastAPI) -> None:
    """Turn every exception that may leave a route into its document."""

    async def known(_request: Request, error: Exception) -> Response:
        return _of(error)

    for kind in (
        ApiProblem, AccessError, ConversationError, CommandRefused, QueryError, StoreError,
        JobsFull, StreamFull, ExportUnavailable, RequestValidationError, HTTPException, Exception,
    ):  # fmt: skip
        app.add_exception_handler(kind, known)


def _of(error: Exception) -> Response:
    if isinstance(error, ApiProblem):
        return problem(error.status, error.title, error.detail, error.remedy, **error.more)
    if isinstance(error, AccessError):
        return problem(error.status, error.title, error.detail, error.remedy)
    if isinstance(error, ConversationError):
        status, title = STATUS_OF_OUTCOME[error.outcome]
        return problem(
            status, title, error.detail, error.remedy or "Try again later.",
            outcome=error.outcome.value,
        )  # fmt: skip
    if isinstance(error, CommandRefused):
        return problem(429 if error.too_many else 409, "Refused", error.detail, error.remedy)
    if isinstance(error, QueryError):
        return problem(422, "Question not possible", str(error), "Change the question.")
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        title = _TITLES.get(error.status_code, "Refused")
        return problem(error.status_code, title, str(error.detail), "See /api/docs.")
    if isinstance(error, JobsFull | StreamFull):
        return problem(503, "Busy", "Too much is going on at once.", "Try again in a minute.")
    if isinstance(error, ExportUnavailable):
        return problem(501, "Not installed", str(error), "Ask for CSV instead.")
    if isinstance(error, StoreError):
        return problem(503, "Store not ready", str(error), "Try again later.")
    return problem(
        500, "Internal error", "The control centre made a mistake.", "See its log, or try again."
    )


def _invalid(error: RequestValidationError) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in {"body", "query", "path"})
    detail = f"{where or 'The request'}: {first['msg']}"
    return problem(422, "Not valid", detail, "See /api/docs for what is expected.")
