"""The way of a request to its service, and of the reply back, piece by piece where it is long."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from quart import Quart

from services.gateway.cors import Cors
from services.gateway.messages import headers
from services.gateway.messages.body import Body, ClientGone
from services.gateway.messages.calls import BrokenOff, Reply
from services.gateway.messages.exchange import Exchange
from services.gateway.messages.headers import Told
from services.gateway.settings import Settings
from services.gateway.table import Route
from services.gateway.upstream.bulkhead import Priority
from services.gateway.upstream.upstreams import Upstreams
from shared import position
from shared.auth import bearer
from shared.errors import AppError

LOOK_AFTER_SECONDS = 0.05
_ACCOUNT = b"quartet-account"
_POSITION = position.POSITION.lower().encode()
_VIA = "quartet"


class Proxy:
    """Forwards requests whose route is known, by what `app` keeps open."""

    def __init__(self, app: Quart, settings: Settings, cors: Cors) -> None:
        self._resources = app.extensions
        self._limit = settings.body_limit
        self._patience = settings.client_timeout
        self._cors = cors

    async def forward(self, exchange: Exchange, route: Route) -> None:
        """Serve one request. Raises `AppError` for what is refused, or fails before the reply
        begins; `ClientGone`; and `BrokenOff` for a reply that can't be completed.
        """
        fields = await self.admit(exchange, route)
        body = self.body(exchange)
        sent = await self._open(body, exchange, fields)
        async with ClientWatch(exchange, body) as watch:
            reply = await self._ask(exchange, route, fields, body, sent)
            try:
                await self.remember(exchange, reply)
                await self._deliver(exchange, reply, watch)
            finally:
                reply.close()

    async def admit(self, exchange: Exchange, route: Route) -> Told:
        """Let a request in; what its header says to the service. Raises `AppError`."""
        try:
            await self._identify(exchange, route)
        finally:  # a wrong token counts as well
            await self._resources["limits"].admit(exchange, route)
        return await self.fields(exchange)

    def body(self, exchange: Exchange, limit: int | None = None) -> Body:
        """What the client sends, of `limit` bytes at most."""
        return Body(
            exchange.receive,
            exchange.fields,
            limit=min(limit or self._limit, self._limit),
            patience=self._patience,
        )

    async def _identify(self, exchange: Exchange, route: Route) -> None:
        """A wrong token is refused even where none is needed, as the services do."""
        authorization = exchange.fields.get(b"authorization", b"")
        if route.access == "required" or (route.access == "optional" and authorization):
            token = bearer(authorization.decode("latin-1"))
            exchange.account = (await self._resources["verifier"].verify(token)).id

    async def fields(self, exchange: Exchange) -> Told:
        """What a service is told in the header, for this client."""
        scope, given = exchange.scope, exchange.fields
        fields = headers.to_service(scope["headers"], given.get(b"connection"))
        client = scope.get("client")
        via = f"{scope['http_version']} {_VIA}"
        fields += [
            ("X-Forwarded-For", client[0] if client else "unknown"),
            ("X-Forwarded-Proto", scope["scheme"]),
            ("X-Forwarded-Host", given.get(b"host", b"").decode("latin-1")),
            ("X-Request-Id", exchange.request_id.decode()),
            ("Via", f"{given[b'via'].decode('latin-1')}, {via}" if b"via" in given else via),
            *exchange.trace_fields,
        ]
        after = {}
        if b"quartet-after" in given:
            after = position.parse(given[b"quartet-after"].decode("latin-1"))
        if exchange.account is not None:
            after = position.newest(after, await self._resources["seen"].of(exchange.account))
        if after:
            fields.append((position.AFTER, position.write(after)))
        return fields

    async def _open(
        self, body: Body, exchange: Exchange, fields: Told
    ) -> bytes | AsyncIterator[bytes] | None:
        unframed = body.length is None and b"transfer-encoding" not in exchange.fields
        if body.length == 0 or (unframed and exchange.scope["http_version"][0] == "1"):
            return None
        opened = await body.open()
        if body.length is not None and not isinstance(opened, bytes):
            fields.append(("Content-Length", str(body.length)))
        return opened

    async def _ask(
        self,
        exchange: Exchange,
        route: Route,
        fields: Told,
        body: Body,
        sent: bytes | AsyncIterator[bytes] | None,
    ) -> Reply:
        begun = time.perf_counter()
        scope = exchange.scope
        upstreams: Upstreams = self._resources["upstreams"]
        try:
            return await upstreams.ask(
                route.upstream,
                exchange.method,
                target_of(scope),
                fields,
                sent,
                route.timeout,
                route=route.path,
                priority=Priority.of(exchange.method, member=exchange.account is not None),
                hedge=route.hedge,
                endless=route.stream,
            )
        except AppError:
            if body.fault is not None:
                raise body.fault from None
            raise
        finally:
            exchange.upstream_seconds = time.perf_counter() - begun

    async def remember(self, exchange: Exchange, reply: Reply) -> None:
        """Before the client has the reply: their next request may come by another gateway."""
        said = reply.fields.get(_POSITION)
        if said:
            self._resources["cache"].wrote(reply)
        if exchange.account is None:
            exchange.account = _account(reply.fields.get(_ACCOUNT))
        if said and exchange.account is not None:
            seen = position.parse(said.decode("latin-1"))
            await self._resources["seen"].add(exchange.account, seen)

    async def _deliver(self, exchange: Exchange, reply: Reply, watch: "ClientWatch") -> None:
        fields = headers.to_client(reply.raw_headers, reply.fields.get(b"connection"))
        fields += self._cors.headers(exchange.fields)
        if reply.whole is not None:
            watch.end()
            await exchange.start(reply.status, fields)
            await exchange.send(reply.whole)
            return
        await exchange.start(reply.status, fields)
        async for piece in reply.pieces():
            await self._send(exchange, piece)
        watch.end()
        await exchange.send(b"")

    async def _send(self, exchange: Exchange, piece: bytes) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await exchange.send(piece, more=True)
        except TimeoutError as error:
            raise BrokenOff from error


def target_of(scope: Any) -> str:
    """The target as it was sent, and checked."""
    query: bytes = scope["query_string"]
    raw: bytes = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
    return raw.decode("ascii")


class ClientWatch:
    """Notices while the service works that the client has gone, and raises `ClientGone`: what
    nobody waits for is not worth the service's time. Quick replies don't pay for it.
    """

    def __init__(self, exchange: Exchange, body: Body) -> None:
        self._exchange = exchange
        self._body = body
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._watched = asyncio.current_task()
        self._timer = self._loop.call_later(LOOK_AFTER_SECONDS, self._begin)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        if kind is asyncio.CancelledError and self._exchange.gone:
            assert self._watched is not None
            self._watched.uncancel()
            raise ClientGone from error

    def end(self) -> None:
        """Look no more; the reply is on its way."""
        self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()

    def _begin(self) -> None:
        if self._body.pending:  # it reads from the client itself, and sees it go
            self._timer = self._loop.call_later(LOOK_AFTER_SECONDS, self._begin)
        else:
            self._looking = self._loop.create_task(self._look())

    async def _look(self) -> None:
        while (await self._exchange.receive())["type"] != "http.disconnect":
            pass
        self._exchange.gone = True
        assert self._watched is not None
        self._watched.cancel()


def _account(said: bytes | None) -> UUID | None:
    if said:
        with suppress(ValueError):
            return UUID(said.decode("latin-1"))
    return None
