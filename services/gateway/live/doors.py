"""Where clients come in for live streams: a request for events, or a WebSocket."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec
from quart import Quart

from services.gateway.cors import Cors
from services.gateway.live.hub import Asked, Hub
from services.gateway.live.stream import Stream
from services.gateway.live.wire import CODES, EventWire, SocketWire
from services.gateway.messages.calls import BrokenOff
from services.gateway.messages.exchange import Exchange
from services.gateway.settings import Settings
from services.gateway.table import Route
from shared.auth import Caller, bearer
from shared.background import background, end
from shared.errors import AppError

FIRST_MESSAGE_SECONDS = 5.0  # for a client that can't set headers to say who it is
LONGEST_MESSAGE = 8_192
_EVENTS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep events back
]


class Message(msgspec.Struct, frozen=True):
    """What a client may say on a WebSocket. `after` resumes, as `Last-Event-ID` does."""

    type: Literal["authenticate", "ping", "pong"]
    token: str = ""
    after: int | None = None


class Gone(Exception):
    """The client has closed, or says what can't be read."""


class Live:
    """Serves live streams, by what `app` keeps open."""

    def __init__(self, app: Quart, settings: Settings, cors: Cors) -> None:
        self._resources = app.extensions
        self._patience = settings.client_timeout
        self._cors = cors

    async def serve(self, exchange: Exchange, route: Route) -> None:
        """Serve one client to the end. Raises `AppError` for what is refused, and `BrokenOff` for
        who does not read.
        """
        socket = exchange.scope["type"] == "websocket"
        hub: Hub = self._resources["hub"]
        try:
            caller = await self._caller(exchange, required=not socket)
        finally:  # a wrong token counts as well
            await self._resources["limits"].admit(exchange, route)
        with hub.place():
            await (self._socket if socket else self._events)(exchange, hub, caller)

    async def _caller(self, exchange: Exchange, *, required: bool) -> Caller | None:
        authorization = exchange.fields.get(b"authorization", b"")
        if not authorization and not required:
            return None
        return await self._verified(exchange, bearer(authorization.decode("latin-1")))

    async def _verified(self, exchange: Exchange, token: str) -> Caller:
        caller: Caller = await self._resources["verifier"].verify(token)
        exchange.account = caller.id
        return caller

    async def _events(self, exchange: Exchange, hub: Hub, caller: Caller | None) -> None:
        assert caller is not None
        with hub.place(caller.id):
            await exchange.start(200, _EVENTS + self._cors.headers(exchange.fields))
            if exchange.method == "HEAD":
                await exchange.send(b"")
                return
            stream = self._stream(caller, _number(exchange), EventWire(exchange.send))
            async with _until_gone(exchange, stream):
                if await hub.run(stream, "events") == "slow":
                    raise BrokenOff

    async def _socket(self, exchange: Exchange, hub: Hub, caller: Caller | None) -> None:
        after = _number(exchange)
        if caller is not None:
            with hub.place(caller.id):
                await exchange.accept()
                await self._converse(exchange, hub, caller, after)
            return
        await exchange.accept()
        try:
            async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
                said = await _next(exchange)
            caller = await self._verified(exchange, said.token)
            with hub.place(caller.id):
                await self._converse(exchange, hub, caller, said.after if after is None else after)
        except (AppError, TimeoutError) as error:
            status = error.status if isinstance(error, AppError) else 401
            await exchange.close(CODES["slow" if status in (429, 503) else "expired"], str(status))
        except Gone:
            await exchange.close(CODES["unreadable"], "unreadable")

    async def _converse(
        self, exchange: Exchange, hub: Hub, caller: Caller, after: int | None
    ) -> None:
        async def hear() -> None:
            try:
                while True:
                    if (await _next(exchange)).type == "ping":
                        stream.ask()
            except Gone as gone:
                stream.end("unreadable" if gone.args else "gone")

        async def close(code: int, reason: str) -> None:
            await end(hearing)
            await exchange.close(code, reason)

        stream = self._stream(caller, after, SocketWire(exchange.send_message, close))
        hearing = asyncio.create_task(hear())
        try:
            await hub.run(stream, "socket")
        finally:
            await end(hearing)

    def _stream(self, caller: Caller, after: int | None, wire: Any) -> Stream:
        return Stream(caller, after, wire, self._resources["told"], self._patience)


def _number(exchange: Exchange) -> int | None:
    """The last event that the client has seen; one that is none of ours says nothing."""
    said = exchange.fields.get(b"last-event-id", b"")
    return int(said) if said.isdigit() and len(said) < 19 else None


@asynccontextmanager
async def _until_gone(exchange: Exchange, stream: Stream) -> AsyncIterator[None]:
    async def watch() -> None:
        while (await exchange.receive())["type"] != "http.disconnect":
            pass
        stream.end("gone")

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        await end(watching)


async def _next(exchange: Exchange) -> Message:
    """The client's next message. Raises `Gone`, with a reason for what can't be read."""
    message = await exchange.receive()
    if message["type"] == "websocket.disconnect":
        raise Gone
    text = message.get("text") or ""
    if len(text) > LONGEST_MESSAGE:
        raise Gone("too long")
    try:
        return msgspec.json.decode(text, type=Message)
    except msgspec.MsgspecError as error:
        raise Gone("no such message") from error


def use_live(app: Quart, settings: Settings) -> None:
    """Let `app` serve live streams. Needs `use_bus` and `use_upstreams` before it."""

    @app.while_serving
    async def live() -> AsyncGenerator[None, None]:
        hub = Hub(app.extensions["bus"], settings)
        app.extensions |= {"hub": hub, "told": Asked(app.extensions["upstreams"])}
        app.extensions["farewells"].append(hub.drain)
        async with background(hub.listen(), hub.tick()):
            yield
