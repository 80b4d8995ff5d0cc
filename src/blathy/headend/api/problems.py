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
from blathy.headend.operations.current_transformers import TransformerRefused
from blathy.headend.operations.jobs import JobsFull
from blathy.headend.readings.export import ExportUnavailable
from blathy.headend.readings.series import QueryError
from blathy.headend.sentence import ExplainedError, Value
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
_BUSY: Final = ExplainedError("busy", "Too much is going on at once.", "Try again in a minute.")
_BROKEN: Final = ExplainedError(
    "broken", "The control centre made a mistake.", "See its log, or try again."
)


class ApiProblem(ExplainedError):  # noqa: N818 - named after the document it becomes
    """An error of the API with its status."""

    def __init__(
        self, status: int, title: str, code: str, detail: str, remedy: str, /, **values: Value
    ) -> None:
        super().__init__(code, detail, remedy, **values)
        self.status = status
        self.title = title


def problem(status: int, title: str, error: ExplainedError, **more: Any) -> Response:
    """The document of an error; `code` and `values` are those of its detail."""
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": error.detail,
        "remedy": error.remedy,
        "code": error.code,
        "values": dict(error.values),
        **more,
    }
    return Response(orjson.dumps(body), status, media_type="application/problem+json")


def no_point(point_id: str) -> ApiProblem:
    return ApiProblem(
        404, "Not found", "no-point", "There is no point {point}.", "See the list.",
        point=point_id[:64],
    )  # fmt: skip


def install(app: FastAPI) -> None:
    """Turn every exception that may leave a route into its document."""

    async def known(_request: Request, error: Exception) -> Response:
        return _of(error)

    for kind in (
        ApiProblem, AccessError, ConversationError, CommandRefused, TransformerRefused,
        QueryError, StoreError, JobsFull, StreamFull, ExportUnavailable, RequestValidationError,
        HTTPException, Exception,
    ):  # fmt: skip
        app.add_exception_handler(kind, known)


def _of(error: Exception) -> Response:
    if isinstance(error, ApiProblem | AccessError):
        return problem(error.status, error.title, error)
    if isinstance(error, ConversationError):
        status, title = STATUS_OF_OUTCOME[error.outcome]
        return problem(status, title, error, outcome=error.outcome.value)
    if isinstance(error, TransformerRefused):
        return problem(*((404, "Not found") if error.unknown else (422, "Not valid")), error)
    if isinstance(error, CommandRefused):
        return problem(429 if error.too_many else 409, "Refused", error)
    if isinstance(error, QueryError):
        return problem(422, "Question not possible", error)
    if isinstance(error, RequestValidationError):
        return problem(422, "Not valid", _invalid(error))
    if isinstance(error, HTTPException):
        told = ExplainedError("no-such-call", "{fault}.", "See /api/docs.", fault=error.detail)
        return problem(error.status_code, _TITLES.get(error.status_code, "Refused"), told)
    if isinstance(error, JobsFull | StreamFull):
        return problem(503, "Busy", _BUSY)
    if isinstance(error, ExportUnavailable):
        return problem(501, "Not installed", error)
    if isinstance(error, StoreError):
        told = ExplainedError("store-not-ready", "{fault}", "Try again later.", fault=str(error))
        return problem(503, "Store not ready", told)
    return problem(500, "Internal error", _BROKEN)


def _invalid(error: RequestValidationError) -> ExplainedError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in {"body", "query", "path"})
    return ExplainedError(
        "not-valid", "{field}: {fault}", "See /api/docs for what is expected.",
        field=where or "The request", fault=first["msg"],
    )  # fmt: skip
