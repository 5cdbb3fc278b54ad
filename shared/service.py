"""What every service is: error rendering, access rules, health, tracing and an access log.

`create_service` is all that a service's factory needs to call before it names its own resources.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

import structlog
from opentelemetry import trace
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from quart import Quart, Request, Response, current_app, request
from quart.sessions import NullSession, SessionInterface
from werkzeug.exceptions import HTTPException

from shared import errors, idempotency, position
from shared.auth import identify
from shared.context import current_work, trace_id
from shared.errors import AppError
from shared.http import check_argument, check_target, declared, operation, reply
from shared.lean import LeanQuart
from shared.observed import Observed
from shared.openapi import document
from shared.settings import ServiceSettings
from shared.tags import changing

DEADLINE = "Quartet-Deadline"
PATIENCE_SECONDS = 2.0  # a read can be late or stale; a write may have to be refused
_log = structlog.get_logger()
_BY_STATUS = {
    400: errors.BadRequest,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    413: errors.TooLarge,
    415: errors.UnsupportedMediaType,
}


class NoSession(SessionInterface):
    """Services keep no cookie session; opening one for each request would cost time."""

    async def open_session(self, app: Any, request: Any) -> NullSession:
        return NullSession()

    async def save_session(self, app: Any, session: Any, response: Any) -> None:
        return None


def create_service(name: str, settings: ServiceSettings) -> Quart:
    """A Quart app with everything that services share. Resources register themselves on it by
    `use_…` functions, and keep themselves in `app.extensions`.
    """
    app = LeanQuart(name, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.body_limit
    app.session_interface = NoSession()  # type: ignore[assignment]  # typed as the default
    app.extensions |= {"checks": {}, "soft_checks": {}, "settings": settings, "draining": False}
    app.extensions["farewells"] = []  # what ends what would never end by itself, after the drain
    app.register_error_handler(Exception, _render)
    app.before_request(_admit)
    app.after_request(_end)  # the last to see a reply
    app.after_request(_position)
    app.teardown_request(idempotency.abandon)
    _add_routes(app)
    app.asgi_app = Observed(app.asgi_app)  # type: ignore[method-assign]  # Quart's hook for it
    return app


async def _admit() -> Response | None:
    """Refuse what can't be served, find out who calls, and wait for what the caller has seen.

    Returns a reply that was given before to the same keyed request.
    """
    # Itself: each look by the proxy takes a while.
    asked: Request = cast(Any, request)._get_current_object()
    check_target(asked.scope.get("raw_path", b""), asked.query_string)
    rule = asked.url_rule
    if rule is None:
        return None
    span, work = trace.get_current_span(), current_work()
    if work is not None:
        work.route = rule.rule
        work.deadline = _deadline(asked.headers.get(DEADLINE, ""))
    if span.is_recording():
        span.update_name(f"{asked.method} {rule.rule}")
        span.set_attribute("http.route", rule.rule)
    access = declared(current_app.view_functions[rule.endpoint]).access
    if access != "public":
        await identify(current_app.extensions["verifier"], required=access == "required")
    for name, value in (asked.view_args or {}).items():
        check_argument(name, value)
    header = asked.headers.get(position.AFTER)
    if header:
        await _catch_up(header)
    return await idempotency.begin() if asked.method == "POST" else None


def _deadline(header: str) -> float | None:
    """`Quartet-Deadline` says how many milliseconds are left: clocks of hosts differ."""
    if not header.isdecimal() or len(header) > 9:
        return None
    return asyncio.get_running_loop().time() + int(header) / 1000


async def _catch_up(header: str) -> None:
    """Wait until the projection holds what the caller has seen; give up after a moment, since a
    late answer is better than none.
    """
    applied = current_app.extensions.get("applied")
    if applied is None:
        return
    seconds = position.WAIT_SECONDS if request.method in ("GET", "HEAD") else PATIENCE_SECONDS
    publishers, wanted = current_app.extensions["publishers"], position.parse(header)
    wanted = {source: number for source, number in wanted.items() if source in publishers}
    seen = await asyncio.gather(
        *(applied.wait_for(source, number, seconds) for source, number in wanted.items())
    )
    work = current_work()
    if work is not None:
        held = zip(wanted.items(), seen, strict=True)
        work.applied = dict(one for one, is_there in held if is_there)


async def _position(response: Response) -> Response:
    work = current_work()
    if work is not None and work.position is not None and response.status_code < 400:
        response.headers[position.POSITION] = f"{current_app.name}={work.position}"
        if work.touched is not None:
            changing(response, work.touched, work.aggregate)
    if work is not None and work.applied:
        response.headers[position.APPLIED] = position.write(work.applied)
    return response


async def _end(response: Response) -> Response:
    try:
        return await idempotency.end(response)
    except Exception as error:  # what could not be committed was not done
        return await _render(error)


async def _render(error: Exception) -> Response:
    """Every failure as a problem document; what we did not foresee says nothing of itself."""
    known = error if isinstance(error, AppError) else _translated(error)
    if known is None:
        _log.exception("unexpected error", route=getattr(current_work(), "route", ""))
        known = AppError("The request could not be completed.")
    response = Response(errors.problem(known, trace_id()), status=known.status)
    response.headers.update(errors.headers(known))
    if isinstance(error, HTTPException) and getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))  # type: ignore[attr-defined]
    return response


def _translated(error: Exception) -> AppError | None:
    if isinstance(error, HTTPException) and error.code is not None and error.code < 500:
        return _BY_STATUS.get(error.code, errors.BadRequest)()
    return None


@operation("Health", "The process lives", access="public", tag="Operations", returns={200: None})
async def healthz() -> Response:
    return reply({"status": "ok"})


@operation("Ready", "The service can serve", access="public", tag="Operations", returns={200: None})
async def readyz() -> Response:
    """503 while draining, or while something is away that every route needs; what only some need
    is named as well, and does not count.
    """
    hard = await _run_checks(current_app.extensions["checks"])
    soft = await _run_checks(current_app.extensions["soft_checks"])
    ready = not current_app.extensions["draining"] and all(said == "ok" for said in hard.values())
    return reply(
        {"status": "ready" if ready else "unready", "checks": hard | soft}, 200 if ready else 503
    )


async def _run_checks(checks: dict[str, Callable[[], Awaitable[None]]]) -> dict[str, str]:
    async def run(check: Callable[[], Awaitable[None]]) -> str:
        try:
            await asyncio.wait_for(check(), 1)
        except Exception as error:
            return str(error) or type(error).__name__
        return "ok"

    said = await asyncio.gather(*(run(check) for check in checks.values()))
    return dict(zip(checks, said, strict=True))


@operation("Metrics", "Prometheus metrics", access="public", tag="Operations", returns={200: None})
async def metrics() -> Response:
    return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)


@operation(
    "OpenAPI",
    "This service's OpenAPI document",
    access="public",
    tag="Operations",
    returns={200: None},
)
async def openapi() -> Response:
    return reply(document(current_app))


def _add_routes(app: Quart) -> None:
    for view in (healthz, readyz, metrics):
        app.add_url_rule(f"/{view.__name__}", view.__name__, view, methods=["GET"])
    app.add_url_rule("/openapi.json", "openapi", openapi, methods=["GET"])


def undeclared(app: Quart) -> list[str]:
    """The routes that declare no access; a test holds this empty."""
    return [
        rule.rule
        for rule in app.url_map.iter_rules()
        if not hasattr(inspect.unwrap(app.view_functions[rule.endpoint]), "__operation__")
    ]
