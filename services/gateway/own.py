"""What the gateway answers itself of its routes: composed of the services, or taken in."""

from collections.abc import Mapping
from typing import Protocol

from quart import Quart

from services.gateway.asking import Asking
from services.gateway.cors import Cors
from services.gateway.graph import Graph
from services.gateway.home import Home
from services.gateway.messages.body import Body
from services.gateway.messages.exchange import Exchange
from services.gateway.messages.said import Said
from services.gateway.proxy import ClientWatch, Proxy
from services.gateway.settings import Settings
from services.gateway.table import Route
from services.gateway.vitals import Vitals


class Handler(Protocol):
    """Answers one route. `largest`: bytes of the body that it reads; 0 is none."""

    largest: int

    async def answer(self, asking: Asking, data: bytes) -> Said:
        """The answer to one request. Raises `AppError`."""
        ...


class Own:
    """Serves the routes whose upstream is the gateway."""

    def __init__(self, app: Quart, settings: Settings, proxy: Proxy, cors: Cors) -> None:
        self._app, self._proxy, self._cors = app, proxy, cors
        self._timeout = settings.timeout
        self._handlers: Mapping[str, Handler] = {
            "/api/home": Home(),
            "/api/vitals": Vitals(settings),
            "/graphql": Graph(app, settings),
        }

    async def answer(self, exchange: Exchange, route: Route) -> None:
        """Serve one request, as `Proxy.forward` does, and raise as it does."""
        fields = await self._proxy.admit(exchange, route)
        handler = self._handlers[route.path]
        body = self._proxy.body(exchange, handler.largest)
        data = await _read(body) if handler.largest else b""
        seconds = route.timeout or self._timeout
        asking = Asking(self._app, self._proxy, exchange, fields, seconds)
        async with ClientWatch(exchange, body) as watch:
            said = await handler.answer(asking, data)
            watch.end()
            await self._send(exchange, said)

    async def _send(self, exchange: Exchange, said: Said) -> None:
        fields = [*said.fields, *self._cors.headers(exchange.fields)]
        if said.status != 204:
            fields.append((b"content-length", b"%d" % len(said.body)))
        await exchange.start(said.status, fields)
        await exchange.send(b"" if exchange.method == "HEAD" else said.body)


async def _read(body: Body) -> bytes:
    opened = await body.open()
    if isinstance(opened, bytes):
        return opened
    return b"".join([piece async for piece in opened])
