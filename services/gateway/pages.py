"""The gateway's own pages: the suite's document, and a page to read and try it with."""

import base64
import hashlib
import re
from collections.abc import AsyncGenerator
from pathlib import Path

from opentelemetry import propagate
from quart import Blueprint, Quart, Response, current_app

from services.gateway.documents import Documents
from services.gateway.settings import Settings
from services.gateway.table import Table
from shared.http import operation, reply

pages = Blueprint("pages", __name__)
_PAGE = Path(__file__).with_name("docs.html").read_text()


@operation(
    "OpenAPI",
    "The suite's OpenAPI document",
    access="public",
    tag="Operations",
    returns={200: None},
)
async def openapi() -> Response:
    document = await current_app.extensions["documents"].merged()
    return reply(document, cache_control="no-cache")


@pages.get("/docs")
@operation(
    "Docs", "The API, to read and try", access="public", tag="Operations", returns={200: None}
)
async def docs() -> Response:
    response = Response(_PAGE, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-cache"
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    if carrier:  # how a page learns of the trace that it came by, for its beacon
        response.headers["Server-Timing"] = f'traceparent;desc="{carrier["traceparent"]}"'
    return response


@pages.get("/")
@operation("Index", "Leads to the docs", access="public", tag="Operations", returns={307: None})
async def index() -> Response:
    return Response("", status=307, headers={"Location": "/docs"})


def _policy(page: str) -> str:
    """Nothing but the page's own script and style, and requests to this very gateway."""
    sources = {
        kind: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        )
        for kind in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {sources['script']}; style-src {sources['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


_POLICY = _policy(_PAGE)


def use_pages(app: Quart, table: Table, settings: Settings) -> None:
    """Let `app` serve the suite's document, in place of its own, and the page that shows it."""
    app.register_blueprint(pages)
    app.view_functions["openapi"] = openapi

    @app.while_serving
    async def documents() -> AsyncGenerator[None, None]:
        upstreams = app.extensions["upstreams"]
        app.extensions["documents"] = Documents(upstreams, table, settings.upstreams)
        yield
