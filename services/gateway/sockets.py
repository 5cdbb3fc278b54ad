"""WebSockets (RFC 6455): who may open one, and the way of messages to a service and back."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from quart import Quart

from services.gateway.messages.exchange import Exchange, Send
from services.gateway.proxy import Proxy, target_of
from services.gateway.settings import Settings
from services.gateway.table import Route
from services.gateway.upstream.upstreams import Upstreams
from shared.background import end
from shared.errors import AppError, BadRequest

if TYPE_CHECKING:
    from services.gateway.upstream.session import Socket

RESTART, GOING_AWAY, TOO_SLOW = 1012, 1001, 1013
FAREWELL_SECONDS = 3.0
_UNSAYABLE = frozenset({1004, 1005, 1006, 1015})  # RFC 6455, 7.4.1: never sent in a close frame
# What belongs to the handshake with the client; there is another one with the service.
_OURS = frozenset(f"sec-websocket-{name}" for name in ("extensions", "protocol", "key", "version"))


class UpgradeRequired(AppError):
    """The path is a WebSocket's (RFC 9110, 15.5.22)."""

    status, title = 426, "Upgrade Required"


def check_socket(exchange: Exchange, route: Route) -> None:
    """Raises `UpgradeRequired` for a request where there is a WebSocket, `BadRequest` for the
    reverse.
    """
    if not route.websocket:
        raise BadRequest("There is no WebSocket at this path.")
    if exchange.scope["type"] != "websocket":
        if exchange.scope["http_version"].startswith("1"):
            exchange.told += [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]
        raise UpgradeRequired("This path takes a WebSocket only.")


def refusing(send: Send) -> Send:
    """An ASGI `send` for a WebSocket that lets it be refused by a reply like any other."""

    async def send_any(message: Any) -> None:
        if message["type"].startswith("http."):
            message = {**message, "type": f"websocket.{message['type']}"}
        await send(message)

    return send_any


class Sockets:
    """Leads WebSockets to services, message by message: each side waits for the other."""

    def __init__(self, app: Quart, settings: Settings, proxy: Proxy) -> None:
        self._resources = app.extensions
        self._patience = settings.client_timeout
        self._proxy = proxy

    async def serve(self, exchange: Exchange, route: Route) -> None:
        """Serve one client to the end. Raises `AppError` for what is refused."""
        fields = await self._proxy.admit(exchange, route)
        fields = [field for field in fields if field[0].lower() not in _OURS]
        upstreams: Upstreams = self._resources["upstreams"]
        protocols = exchange.scope.get("subprotocols", ())
        with self._resources["hub"].place(), self._resources["leaving"].one():
            target = target_of(exchange.scope)
            async with await upstreams.open_socket(
                route.upstream, target, fields, protocols
            ) as service:
                await exchange.accept(service.protocol)
                await self._lead(exchange, service)

    async def _lead(self, exchange: Exchange, service: "Socket") -> None:
        """Until one side ends, or we do."""
        upwards = asyncio.create_task(_upwards(exchange, service))
        downwards = asyncio.create_task(self._downwards(exchange, service))
        leaving = asyncio.create_task(self._resources["leaving"].begun.wait())
        try:
            await asyncio.wait({upwards, downwards, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(upwards, downwards, leaving)
        if leaving.done() and not leaving.cancelled():
            await exchange.close(RESTART, "drain")
            await service.close(GOING_AWAY)
        elif upwards.done() and not upwards.cancelled():
            await service.close(_said(upwards.result()))
        else:
            await exchange.close(downwards.result())

    async def _downwards(self, exchange: Exchange, service: "Socket") -> int:
        """Until the service ends; how it ended, or why we do."""
        try:
            async for message in service:
                key = "text" if isinstance(message, str) else "bytes"
                async with asyncio.timeout(self._patience):
                    await exchange.send_message({"type": "websocket.send", key: message})
        except TimeoutError:
            return TOO_SLOW
        return _said(service.close_code)


def _said(code: int | None) -> int:
    """What can be said of an end, to the other side."""
    return GOING_AWAY if code in _UNSAYABLE else code or 1000


async def _upwards(exchange: Exchange, service: "Socket") -> int | None:
    """Until the client ends; how it ended."""
    while True:
        message = await exchange.receive()
        if message["type"] == "websocket.disconnect":
            code: int | None = message.get("code")
            return code
        text = message.get("text")
        await service.send(message["bytes"] if text is None else text)


class Leaving:
    """Whether WebSockets are to end, and when all have."""

    def __init__(self) -> None:
        self.begun, self._over = asyncio.Event(), asyncio.Event()
        self._open = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """While a WebSocket is open."""
        self._open += 1
        self._over.clear()
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._over.set()

    async def leave(self) -> None:
        """Let all end, and wait for it."""
        self.begun.set()
        if self._open:
            with suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await self._over.wait()


def use_sockets(app: Quart) -> None:
    """Let WebSockets of `app` end when it drains."""

    @app.while_serving
    async def sockets() -> AsyncGenerator[None, None]:
        leaving = app.extensions["leaving"] = Leaving()
        app.extensions["farewells"].append(leaving.leave)
        yield
