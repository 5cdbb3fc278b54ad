"""Each request of a service, observed: its span, its duration by route, its line in the log.

OpenTelemetry's own ASGI middleware does the first two, and takes as long as the rest of a read.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from shared.context import Work, begin_work
from shared.tally import Requests

_TRACE = b"quartet-trace"
UNOBSERVED = frozenset({"/healthz", "/readyz", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CARRIED = {b"traceparent", b"tracestate", b"baggage"}
_tracer = trace.get_tracer("quartet")
_log = structlog.get_logger()
requests = Requests()


class Observed:
    """Plain ASGI around an app: begins the work and the span that the request is, and tells of them
    when it has ended. Every reply carries the id of its trace, and what its SQL cost.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        work, begun = begin_work(), time.perf_counter()
        if scope["path"] in UNOBSERVED:
            return await self._app(scope, receive, _naming_no_trace(send))
        span = _begun(scope)
        token = otel_context.attach(trace.set_span_in_context(span, Context()))
        trace_id = format(span.get_span_context().trace_id, "032x").encode()
        status = size = 0

        async def observed(message: Any) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                added = [(_TRACE, trace_id), *_timing(work)]
                message = {**message, "headers": [*message["headers"], *added]}
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            seconds = time.perf_counter() - begun
            _tell(scope, work, status, size, seconds)
            method = known_method(scope["method"], "_OTHER")
            requests.add(method, scope["scheme"], work.route, status, seconds)
            end_span(span, status)
            otel_context.detach(token)


def _naming_no_trace(send: Any) -> Any:
    async def named(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (_TRACE, b"0" * 32)]}
        await send(message)

    return named


def _begun(scope: Any) -> Span:
    """The span of a request, a child of what its header names. Most are sampled by nobody, and cost
    no attributes.
    """
    carrier = {
        name.decode(): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in _CARRIED
    }
    parent = propagate.extract(carrier, Context()) if carrier else Context()
    span = _tracer.start_span(known_method(scope["method"], "HTTP"), parent, SpanKind.SERVER)
    if span.is_recording():
        client = scope.get("client")
        span.set_attributes(
            {
                "http.request.method": known_method(scope["method"], "_OTHER"),
                "url.path": scope["path"],
                "url.scheme": scope["scheme"],
                "client.address": client[0] if client else "",
                "network.protocol.version": scope["http_version"],
            }
        )
    return span


def end_span(span: Span, status: int) -> None:
    """End the span of a request that was answered so."""
    if span.is_recording():
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(Status(StatusCode.ERROR))
    span.end()


def _tell(scope: Any, work: Work, status: int, size: int, seconds: float) -> None:
    _log.info(
        "request",
        method=scope["method"],
        route=work.route,
        status=status,
        bytes=size,
        ms=round(seconds * 1000, 2),
        db_ms=round(work.database_seconds * 1000, 2),
        db_n=work.statements,
        account=str(work.account) if work.account else None,
    )


def _timing(work: Work) -> list[tuple[bytes, bytes]]:
    """What the SQL cost until now, for browsers to show (W3C Server Timing); milliseconds."""
    if not work.statements:
        return []
    queries = "1 query" if work.statements == 1 else f"{work.statements} queries"
    said = f'db;dur={work.database_seconds * 1000:.2f};desc="{queries}"'
    return [(b"server-timing", said.encode())]


def known_method(method: str, otherwise: str) -> str:
    """The method, if it is one of HTTP's: names of spans and series must be few."""
    return method if method in _METHODS else otherwise
