"""One request as it goes through the gateway: its trace, and what is said of it in the end."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias
from uuid import UUID

import structlog
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind
from uuid_utils import uuid7

from services.gateway.messages import headers
from services.gateway.table import Route
from shared.observed import end_span, known_method, requests

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
        self._span = _tracer.start_span(
            known_method(self.method, "HTTP"), _parent(self.fields), SpanKind.SERVER
        )
        if self._span.is_recording():  # few are, where traffic is high
            self._span.set_attributes(self._attributes())
        self._token = otel_context.attach(trace.set_span_in_context(self._span, Context()))
        self.trace_id = format(self._span.get_span_context().trace_id, "032x")

    @property
    def trace_fields(self) -> dict[str, str]:
        """What carries the trace to a service (W3C Trace Context)."""
        ours = self._span.get_span_context()
        if not ours.is_valid:
            return {}
        fields = {"traceparent": f"00-{self.trace_id}-{ours.span_id:016x}-{ours.trace_flags:02x}"}
        if ours.trace_state:
            fields["tracestate"] = ours.trace_state.to_header()
        return fields

    def routed(self, route: Route) -> None:
        """Note the route; the span is named after it."""
        self.route = route
        if self._span.is_recording():
            self._span.update_name(f"{known_method(self.method, 'HTTP')} {route.path}")
            self._span.set_attribute("http.route", route.path)
            self._span.set_attribute("quartet.upstream", route.upstream)

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
        """What browsers show of where the time went, in milliseconds (W3C Server Timing)."""
        upstream = self.upstream_seconds
        ours = time.perf_counter() - self._begun - upstream
        said = f"gateway;dur={ours * 1000:.2f}"
        return (said + f", upstream;dur={upstream * 1000:.2f}" if upstream else said).encode()

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
        """End a WebSocket (RFC 6455, 7.4) on which nobody waits for a message: Granian would say
        nothing while somebody does. Returns when the client has heard it, or does not answer.
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
        route = self.route.path if self.route else None
        method = known_method(self.method, "_OTHER")
        requests.add(method, self.scope["scheme"], route, self.status, seconds)
        _log.info(
            "request",
            method=self.method,
            route=route,
            upstream=self.route.upstream if self.route else None,
            status=self.status,
            bytes=self.size,
            ms=round(seconds * 1000, 2),
            cache=self.cache or None,
            upstream_ms=round(self.upstream_seconds * 1000, 2),
            account=str(self.account) if self.account else None,
            request_id=self.request_id.decode(),
        )
        end_span(self._span, self.status)
        otel_context.detach(self._token)

    def _attributes(self) -> dict[str, str]:
        """As the semantic conventions name them. A query may hold anything, and is left out."""
        client = self.scope.get("client")
        return {
            "http.request.method": known_method(self.method, "_OTHER"),
            "url.path": self.scope["raw_path"].decode("latin-1"),
            "url.scheme": self.scope["scheme"],
            "server.address": self.fields.get(b"host", b"").decode("latin-1"),
            "client.address": client[0] if client else "",
            "network.protocol.version": self.scope["http_version"],
            "user_agent.original": self.fields.get(b"user-agent", b"").decode("latin-1"),
        }


def request_id(fields: Mapping[bytes, bytes]) -> bytes:
    """The id that the client gave its request, or a new one where it is none."""
    given = fields.get(b"x-request-id", b"")
    return given if _REQUEST_ID.fullmatch(given) else uuid7().hex.encode()


def _parent(fields: Mapping[bytes, bytes]) -> Context:
    """The trace that the client began, if it did. Its baggage is nobody's business here."""
    if b"traceparent" not in fields:
        return Context()
    carrier = {"traceparent": fields[b"traceparent"].decode("latin-1")}
    state = fields.get(b"tracestate", b"")
    if len(state) <= _LONGEST_TRACESTATE and _TRACESTATE.fullmatch(state):
        carrier["tracestate"] = state.decode("ascii")
    return propagate.extract(carrier, Context())
