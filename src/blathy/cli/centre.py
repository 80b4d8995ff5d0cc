"""A control centre as a command sees it: its REST API over HTTP, logged in."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from typing import Annotated, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

import typer

from blathy.cli.app import CommandError

TIMEOUT_S: Final = 30.0
ANSWER_MAX: Final = 64 * 1024 * 1024
JOB_TIMEOUT_S: Final = 600.0
JOB_LOOK_S: Final = 0.2

ApiOption = Annotated[str, typer.Option("--api", help="Address of the control centre.")]
UserOption = Annotated[str, typer.Option(help="User of the control centre.")]
PasswordOption = Annotated[
    str, typer.Option(help="Its password.", envvar="BLATHY_PASSWORD", show_envvar=True)
]
TokenOption = Annotated[
    str, typer.Option(help="A token instead.", envvar="BLATHY_TOKEN", show_envvar=True)
]
YesOption = Annotated[bool, typer.Option("--yes", help="Confirm without being asked.")]
HERE: Final = "http://127.0.0.1:8000"


class ControlCentre:
    """The REST API of a control centre. Passwords and tokens stay out of messages."""

    def __init__(self, address: str, user: str, password: str, token: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise CommandError(f"--api {address!r} is no address; write {HERE}")
        self._base = address.rstrip("/")
        self._token = token
        self._csrf = ""
        self._opener: OpenerDirector = build_opener(HTTPCookieProcessor())
        if not token:
            if not user:
                raise CommandError("say --user and --password, or --token, of the control centre")
            answer = self.post("/session", {"user": user, "password": password})
            self._csrf = str(answer.get("csrf") or "")

    def get(self, route: str, **query: str) -> Any:
        """The JSON answer of a route."""
        words = urlencode({key: value for key, value in query.items() if value})
        return self._call(f"{route}?{words}" if words else route, None)

    def post(self, route: str, body: Mapping[str, Any]) -> Any:
        """The JSON answer to a document."""
        return self._call(route, json.dumps(body).encode())

    def ordered(self, route: str, body: Mapping[str, Any], *, yes: bool) -> dict[str, Any]:
        """Both steps of a command, the second one asked for on the terminal unless `yes`; the job
        when it has ended well."""
        first = self.post(route, body)
        if not yes:
            typer.echo(f"{first['place']}: {first['consequence']}", err=True)
            if not typer.confirm("Do it?", err=True):
                raise CommandError("nothing was done")
        return self.ended(self.post(route, {**body, "confirm": first["confirm"]}))

    def ended(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Wait for a job; raise CommandError with its message where it failed."""
        end = time.monotonic() + JOB_TIMEOUT_S
        while time.monotonic() < end:
            found: dict[str, Any] = self.get(f"/jobs/{job['id']}")
            if found["state"] == "done":
                return found
            if found["state"] not in {"queued", "running"}:
                raise CommandError(found["message"] or f"the job {found['state']}")
            time.sleep(JOB_LOOK_S)
        raise CommandError(f"the job {job['id']} goes on; see it in the portal")

    def stream(self, topics: str) -> Iterator[tuple[str, Any]]:
        """Name and document of every server-sent event, until the connection ends."""
        name = ""
        with self._open(f"/stream?topics={quote(topics)}", None, None) as answer:
            for raw in answer:
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    yield name, json.loads(line[6:])

    def _call(self, route: str, body: bytes | None) -> Any:
        with self._open(route, body, TIMEOUT_S) as answer:
            try:
                return json.loads(answer.read(ANSWER_MAX))
            except ValueError as error:
                raise CommandError(f"{self._base} answers, but not as a control centre") from error

    def _open(self, route: str, body: bytes | None, timeout_s: float | None) -> Any:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._csrf:
            headers["X-CSRF-Token"] = self._csrf
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        # The address was checked to be http or https when the object was made.
        request = Request(f"{self._base}/api/v1{route}", body, headers)  # noqa: S310
        try:
            return self._opener.open(request, timeout=timeout_s)
        except HTTPError as error:
            raise CommandError(_sentence(error)) from error
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise CommandError(
                f"no control centre answers at {self._base} ({reason}); start one with `blathy up`"
            ) from error


def _sentence(error: HTTPError) -> str:
    """What the problem document says, in one sentence."""
    try:
        problem = json.loads(error.read(65_536))
        words = f"{problem['detail']} {problem.get('remedy') or ''}".strip()
    except (ValueError, KeyError, TypeError):
        return f"the control centre answers {error.code} {error.reason}"
    return words
