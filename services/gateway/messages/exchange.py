"""One request as it goes through the gateway: its trace, and what is said of it in the end."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from logging import INFO
from typing import Any, TypeAlias
from uuid import UUID

import structlog
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind
from uuid_utils import uuid7

from services.gateway.messages import headers
from services.gateway.table import Route
from shared.observed import end_span, known_method, requests
from shared.roots import begin_root, trace_id_of
from shared.telemetry import logs, trace_of

Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
SERVER = (b"server", b"quartet")
CLIENT_GONE = 499  # nginx's number for it; no client ever sees it
CLOSE_SECONDS = 1.0  # for a client to answer that a WebSocket ends
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}")
_LONGEST_TRACESTATE = 512  # characters; W3C Trace Context, 3.3.1.5
_MEMBER = rb"[ \t]*[a-z0-9][a-z0-9_*/@-]*=[ -+\--<>-~]*"
_TRACESTATE = re.compile(_MEMBER + rb"(?:," + _MEMBER + rb")*")
_tracer = trace.get_tracer("quartet.gateway")
_log = structlog.get_logger()


class Exchange:
    """A request, its span and its facts. `end` must be called, once.

    `fields` are the header fields that the gateway goes by; `cache` is what the cache did
    (RFC 9211), `gone` says that the client is, `started` that the reply has begun, `admitted` that
    the limits have counted the request. `told` are fields that the reply carries, whatever it is.
    """

    __slots__ = (
        "_begun",
        "_send",
        "_span",
        "_token",
        "account",
        "admitted",
        "cache",
        "fields",
        "gone",
        "method",
        "receive",
        "request_id",
        "route",
        "scope",
        "size",
        "started",
        "status",
        "told",
        "trace_id",
        "upstream_seconds",
    )

    def __init__(self, scope: Any, receive: Receive, send: Send) -> None:
        self._begun = time.perf_counter()
        self.scope, self.receive, self._send = scope, receive, send
        self.method: str = scope["method"]
        self.fields = headers.read(scope["headers"])
        self.route: Route | None = None
        self.account: UUID | None = None
        self.gone = self.started = self.admitted = False
        self.cache = ""
        self.status = self.size = 0
        self.upstream_seconds = 0.0
        self.told: list[tuple[bytes, bytes]] = []
        self.request_id = request_id(self.fields)
        self._begin_span()

    def _begin_span(self) -> None:
        self._span = begin_span(self.scope, _parent(self.fields))
        self._token = otel_context.attach(trace.set_span_in_context(self._span, Context()))
        self.trace_id = f"{trace_id_of(self._span):032x}"

    @property
    def trace_fields(self) -> headers.Told:
        """What carries the trace to a service (W3C Trace Context)."""
        _, span_id, _, flags, state, is_valid = self._span.get_span_context()
        if not is_valid:
            return []
        said = f"00-{self.trace_id}-{span_id:016x}-{flags:02x}"
        if state:
            return [("traceparent", said), ("tracestate", state.to_header())]
        return [("traceparent", said)]

    def routed(self, route: Route) -> None:
        """Note the route; the span is named after it."""
        self.route = route
        name_span(self._span, self.method, route)

    async def start(self, status: int, fields: list[tuple[bytes, bytes]]) -> None:
        """Begin the reply; what every reply carries is added."""
        self.status, self.started = status, True
        fields += self.told
        fields.append((b"server-timing", self._timing()))
        if self.cache:
            fields.append((b"cache-status", b"quartet; " + self.cache.encode()))
        fields.append((b"quartet-trace", self.trace_id.encode()))
        fields.append((b"x-request-id", self.request_id))
        fields.append(SERVER)
        await self._send({"type": "http.response.start", "status": status, "headers": fields})

    def _timing(self) -> bytes:
        upstream = self.upstream_seconds
        said = timing(time.perf_counter() - self._begun - upstream)
        return said + b", upstream;dur=%.2f" % (upstream * 1000) if upstream else said

    async def accept(self, protocol: str | None = None) -> None:
        """Take a WebSocket."""
        await self.receive()  # that the client wants to connect
        self.status, self.started = 101, True
        fields = [*self.told, (b"quartet-trace", self.trace_id.encode())]
        fields.append((b"x-request-id", self.request_id))
        await self._send({"type": "websocket.accept", "subprotocol": protocol, "headers": fields})

    async def send_message(self, message: Any) -> None:
        """Send on a WebSocket that was taken; waits for a client that is slow to take it."""
        self.size += len(message.get("text") or message.get("bytes") or "")
        await self._send(message)

    async def close(self, code: int, reason: str = "") -> None:
        """End a WebSocket (RFC 6455, 7.4) on which nobody else waits for a message. Returns when
        the client has heard it, or does not answer.
        """
        await self._send({"type": "websocket.close", "code": code, "reason": reason})
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while (await self.receive())["type"] != "websocket.disconnect":
                    pass

    async def send(self, piece: bytes, *, more: bool = False) -> None:
        """Send a piece of the reply's body; waits for a client that is slow to take it."""
        self.size += len(piece)
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    def end(self) -> None:
        """Close the span, count the request and write the line of the access log."""
        seconds = time.perf_counter() - self._begun
        note(
            self.scope,
            self.route,
            self.status,
            self.size,
            seconds,
            self.request_id,
            self._span,
            cache=self.cache,
            upstream_seconds=self.upstream_seconds,
            account=self.account,
        )
        end_span(self._span, self.status)
        otel_context.detach(self._token)


def begin_span(scope: Any, parent: Context | None, route: Route | None = None) -> Span:
    """The span of a request, a child of `parent`, or the first of a trace. What is recorded is told
    about itself, by the names of the semantic conventions; few are, where traffic is high. A query
    may hold anything, and is left out.
    """
    method = scope["method"]
    name = known_method(method, "HTTP")
    if parent is None:
        span = begin_root(_tracer, name, SpanKind.SERVER)
    else:
        span = _tracer.start_span(name, parent, SpanKind.SERVER)
    if span.is_recording():
        client, fields = scope.get("client"), headers.read(scope["headers"])
        attributes = {
            "http.request.method": known_method(method, "_OTHER"),
            "url.path": scope["raw_path"].decode("latin-1"),
            "url.scheme": scope["scheme"],
            "server.address": fields.get(b"host", b"").decode("latin-1"),
            "client.address": client[0] if client else "",
            "network.protocol.version": scope["http_version"],
            "user_agent.original": fields.get(b"user-agent", b"").decode("latin-1"),
        }
        span.set_attributes(attributes)
        if route is not None:
            name_span(span, method, route)
    return span


def name_span(span: Span, method: str, route: Route) -> None:
    """Name a span after its route."""
    if span.is_recording():
        span.update_name(f"{known_method(method, 'HTTP')} {route.path}")
        span.set_attributes({"http.route": route.path, "quartet.upstream": route.upstream})


def note(
    scope: Any,
    route: Route | None,
    status: int,
    size: int,
    seconds: float,
    request_id: bytes,
    span: Span,
    *,
    cache: str = "",
    upstream_seconds: float = 0.0,
    account: UUID | None = None,
) -> None:
    """Count a request, and write its line of the access log."""
    path, method = route.path if route else None, scope["method"]
    requests.add(known_method(method, "_OTHER"), scope["scheme"], path, status, seconds)
    if not logs(INFO):
        return
    _log.info(
        "request",
        method=method,
        route=path,
        upstream=route.upstream if route else None,
        status=status,
        bytes=size,
        ms=round(seconds * 1000, 2),
        cache=cache or None,
        upstream_ms=round(upstream_seconds * 1000, 2),
        account=str(account) if account else None,
        request_id=request_id.decode(),
        **trace_of(span),
    )


def timing(seconds: float) -> bytes:
    """What the gateway itself took, for browsers to show (W3C Server Timing); in milliseconds."""
    return b"gateway;dur=%.2f" % (seconds * 1000)


def request_id(fields: Mapping[bytes, bytes]) -> bytes:
    """The id that the client gave its request, or a new one where it is none."""
    given = fields.get(b"x-request-id", b"")
    return given if _REQUEST_ID.fullmatch(given) else uuid7().hex.encode()


def _parent(fields: Mapping[bytes, bytes]) -> Context | None:
    """The trace that the client began, if it did. Its baggage is nobody's business here."""
    if b"traceparent" not in fields:
        return None
    carrier = {"traceparent": fields[b"traceparent"].decode("latin-1")}
    state = fields.get(b"tracestate", b"")
    if len(state) <= _LONGEST_TRACESTATE and _TRACESTATE.fullmatch(state):
        carrier["tracestate"] = state.decode("ascii")
    return propagate.extract(carrier, Context())
