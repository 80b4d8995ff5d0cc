"""The application: API under /api/v1, its description, metrics, and the portal."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from blathy import __version__
from blathy.headend.api import point_routes, site_routes, transformer_routes
from blathy.headend.api.guard import PREFIX, Shell, check_table
from blathy.headend.api.metrics import HeadEndMetrics
from blathy.headend.api.problems import ApiProblem, install
from blathy.headend.head_end import HeadEnd

STATIC: Final = Path(__file__).parent / "static"
NOT_BUILT: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>blathy</title>
<body style="font-family:system-ui;max-width:38em;margin:15vh auto;line-height:1.5">
<h1>The portal is not built</h1><p>The control centre is running and its API answers under
<code>/api/v1</code>. Build the portal with <code>make setup</code>, then load this page again.</p>
<p><a href="/api/docs">Description of the API</a></p></body></html>
"""


def create_app(headend: HeadEnd, static: Path = STATIC) -> FastAPI:
    """The ASGI application of a control centre; starting and stopping `headend` is the caller's."""
    app = FastAPI(
        title="blathy control centre",
        version=__version__,
        description="REST API of the control centre. Times are UTC, missing values are null.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.headend = headend
    install(app)
    router = APIRouter(prefix=PREFIX)
    router.include_router(site_routes.router)
    router.include_router(point_routes.router)
    router.include_router(transformer_routes.router)
    app.include_router(router)
    _add_metrics(app, headend)
    _add_pages(app, static)
    check_table((site_routes.router, point_routes.router, transformer_routes.router))
    app.add_middleware(Shell)
    return app


def _add_metrics(app: FastAPI, headend: HeadEnd) -> None:
    registry = CollectorRegistry()
    registry.register(HeadEndMetrics(headend))

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _add_pages(app: FastAPI, static: Path) -> None:
    """The built portal. Every path that is no file of it is the portal's own route."""
    mimetypes.add_type("text/javascript", ".js")

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> Response:
        return RedirectResponse("/api/openapi.json")

    @app.api_route(
        "/api/{rest:path}",
        methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        include_in_schema=False,
    )
    async def nothing(rest: str) -> Response:
        raise ApiProblem(
            404, "Not found", "no-route", "There is no /api/{path}.", "See /api/openapi.json.",
            path=rest[:80],
        )  # fmt: skip

    @app.get("/{path:path}", include_in_schema=False)
    async def page(path: str) -> Response:
        root = static.resolve()
        wanted = (root / path).resolve()
        if path and wanted.is_relative_to(root) and wanted.is_file():
            hashed = path.startswith("assets/")
            age = "public, max-age=31536000, immutable" if hashed else "no-cache"
            return FileResponse(wanted, headers={"Cache-Control": age})
        if path.startswith("assets/") or "." in path.rsplit("/", 1)[-1]:
            raise ApiProblem(
                404, "Not found", "no-file", "There is no such file.", "Load the page again."
            )
        index = root / "index.html"
        if not index.is_file():
            return HTMLResponse(NOT_BUILT, 503)
        return FileResponse(index, headers={"Cache-Control": "no-cache"})
