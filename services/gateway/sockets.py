"""WebSockets (RFC 6455): who may open one, and the way of messages to a service and back."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import structlog
from quart import Quart

from services.gateway.exchange import Exchange, Send
from services.gateway.proxy import Proxy, target_of
from services.gateway.settings import Settings
from services.gateway.table import Route
from services.gateway.upstreams import Upstreams
from shared.background import end
from shared.errors import AppError, BadRequest

RESTART, GOING_AWAY, TOO_SLOW = 1012, 1001, 1013
_UNSAYABLE = frozenset({1004, 1005, 1006, 1015})  # RFC 6455, 7.4.1: never sent in a close frame
_HANDSHAKE = ("Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol")
_KEYS = ("Sec-WebSocket-Key", "Sec-WebSocket-Version")
_log = structlog.get_logger()


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
        for name in (*_HANDSHAKE, *_KEYS):
            fields.popall(name, None)
        upstreams: Upstreams = self._resources["upstreams"]
        protocols = exchange.scope.get("subprotocols", ())
        with self._resources["hub"].place():
            target = target_of(exchange.scope)
            async with await upstreams.open_socket(
                route.upstream, target, fields, protocols
            ) as service:
                await exchange.receive()  # that it wants to connect
                await exchange.accept(service.protocol)
                await self._lead(exchange, service)

    async def _lead(self, exchange: Exchange, service: aiohttp.ClientWebSocketResponse) -> None:
        """Until one side ends, or we do."""
        upwards = asyncio.create_task(_upwards(exchange, service))
        downwards = asyncio.create_task(self._downwards(exchange, service))
        leaving = asyncio.create_task(self._resources["sockets_drain"].wait())
        both = {upwards, downwards, leaving}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                await exchange.close(RESTART, "drain")
                await service.close(code=GOING_AWAY)
        finally:
            await end(*both)

    async def _downwards(
        self, exchange: Exchange, service: aiohttp.ClientWebSocketResponse
    ) -> None:
        try:
            async for message in service:
                key = "text" if message.type is aiohttp.WSMsgType.TEXT else "bytes"
                async with asyncio.timeout(self._patience):
                    await exchange.send_message({"type": "websocket.send", key: message.data})
        except TimeoutError:
            await exchange.close(TOO_SLOW, "slow")
            return
        code = service.close_code or 1000
        await exchange.close(GOING_AWAY if code in _UNSAYABLE else code)


async def _upwards(exchange: Exchange, service: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        message = await exchange.receive()
        if message["type"] == "websocket.disconnect":
            code = message.get("code") or 1000
            await service.close(code=GOING_AWAY if code in _UNSAYABLE else code)
            return
        text = message.get("text")
        if text is None:
            await service.send_bytes(message["bytes"])
        else:
            await service.send_str(text)


def use_sockets(app: Quart) -> None:
    """Let WebSockets of `app` end when it drains."""

    @app.while_serving
    async def sockets() -> AsyncGenerator[None, None]:
        leaving = app.extensions["sockets_drain"] = asyncio.Event()

        async def leave() -> None:
            leaving.set()

        app.extensions["farewells"].append(leave)
        yield
