"""The gateway in front of its own pages: admits a request, and forwards it or answers at once."""

from typing import Any

import structlog
from quart import Quart

from services.gateway.cors import Cors
from services.gateway.door.address import Clients
from services.gateway.door.again import Again
from services.gateway.door.outgoing import Outgoing
from services.gateway.door.security import Security
from services.gateway.live.doors import Live
from services.gateway.messages import headers, target
from services.gateway.messages.body import ClientGone
from services.gateway.messages.calls import BrokenOff
from services.gateway.messages.exchange import (
    CLIENT_GONE,
    SERVER,
    Exchange,
    Receive,
    Send,
    request_id,
)
from services.gateway.own import Own
from services.gateway.proxy import Proxy
from services.gateway.settings import Settings
from services.gateway.sockets import Sockets, check_socket, refusing
from services.gateway.table import Table, allowed
from shared import errors
from shared.errors import AppError, BadRequest, MethodNotAllowed, NotFound
from shared.http1.messages import Ready

PAGES = frozenset({"/", "/docs", "/healthz", "/openapi.json", "/readyz"})
_log = structlog.get_logger()


class NotThisMethod(MethodNotAllowed):
    """`allow` are the methods that the path has (RFC 9110, 15.5.6)."""

    def __init__(self, allow: str) -> None:
        super().__init__("The path has no such method.")
        self.allow = allow


class Front:
    """Plain ASGI before Quart, which serves the gateway's own pages only."""

    def __init__(self, app: Quart, table: Table, settings: Settings) -> None:
        self._pages = app.asgi_app
        self._table = table
        self._clients = Clients(settings)
        self._cors = Cors(settings.allowed_origins)
        self._security = Security(settings)
        self._again = Again(app, table, self._cors, self._security)
        self._proxy = Proxy(app, settings, self._cors)
        self._own = Own(app, settings, self._proxy, self._cors)
        self._live = Live(app, settings, self._cors)
        self._sockets = Sockets(app, settings, self._proxy)
        self._resources = app.extensions

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = self._clients.found(scope)
            if await self._again.answer(scope, send):
                return
            send = Outgoing(scope, send, self._security)
            if scope["path"] in PAGES and scope["method"] != "OPTIONS":
                await self._page(scope, receive, send)
            else:
                await self._serve(Exchange(scope, receive, send))
        elif scope["type"] == "websocket":
            scope = {**self._clients.found(scope), "method": "GET"}
            await self._serve(Exchange(scope, receive, refusing(send)))
        else:
            await self._pages(scope, receive, send)

    def at_once(self, scope: Any) -> Ready | None:
        """The reply to a request, if it is there already."""
        return self._again.at_once(self._clients.found(scope))

    async def _serve(self, exchange: Exchange) -> None:
        """Whatever happens, the client gets an answer, or a connection that ends too early: never
        half a reply that looks like a whole one.
        """
        try:
            await self._answer(exchange)
        except AppError as error:
            await self._refuse(exchange, error)
        except ClientGone:
            await self._let_go(exchange)
        except BrokenOff:
            _log.warning("the reply could not be completed")
            raise
        except Exception:
            _log.exception("unexpected error")
            if exchange.started:
                raise
            await self._refuse(exchange, AppError("The request could not be completed."))
        finally:
            exchange.end()

    async def _answer(self, exchange: Exchange) -> None:
        scope = exchange.scope
        path = target.read(scope["raw_path"], scope["query_string"])
        headers.check(scope["headers"], exchange.fields, scope["http_version"])
        routes = self._table.find(path)
        if not routes and path not in PAGES:
            raise NotFound("There is nothing at this path.")
        if exchange.method == "OPTIONS":
            await self._options(exchange, allowed(routes or ["GET"]))
            return
        route = routes.get("GET" if exchange.method == "HEAD" else exchange.method)
        if route is None:
            raise NotThisMethod(allowed(routes))
        exchange.routed(route)
        if scope["type"] == "websocket" or route.websocket:
            check_socket(exchange, route)
        if route.upstream == "gateway" and (route.stream or route.websocket):
            await self._live.serve(exchange, route)
        elif route.upstream == "gateway":
            await self._own.answer(exchange, route)
        elif route.websocket:
            await self._sockets.serve(exchange, route)
        elif not await self._resources["cache"].answer(exchange, route):
            await self._proxy.forward(exchange, route)

    async def _options(self, exchange: Exchange, allow: str) -> None:
        fields = [(b"allow", allow.encode()), *self._cors.headers(exchange.fields)]
        await exchange.start(204, fields + self._cors.preflight(exchange.fields, allow))
        await exchange.send(b"")

    async def _refuse(self, exchange: Exchange, error: AppError) -> None:
        if exchange.started:
            raise error
        body = errors.problem(error, exchange.trace_id)
        said = errors.headers(error) | {"Content-Length": str(len(body))}
        if isinstance(error, NotThisMethod):
            said["Allow"] = error.allow
        fields = [(name.lower().encode(), value.encode()) for name, value in said.items()]
        await exchange.start(error.status, fields + self._cors.headers(exchange.fields))
        await exchange.send(b"" if exchange.method == "HEAD" else body)

    async def _let_go(self, exchange: Exchange) -> None:
        """Of a body in malformed pieces our server says that its client is gone, who waits: whoever
        is gone hears nothing.
        """
        if not exchange.started:
            await self._refuse(exchange, BadRequest("The body is malformed, or broke off."))
        exchange.status = CLIENT_GONE

    async def _page(self, scope: Any, receive: Receive, send: Send) -> None:
        fields = headers.read(scope["headers"])
        added = [(b"x-request-id", request_id(fields)), SERVER, *self._cors.headers(fields)]

        async def dressed(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self._pages(scope, receive, dressed)
