"""Asking several services for one request of a client, which is answered with what they say."""

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple

from quart import Quart

from services.gateway.messages.calls import BrokenOff, Reply
from services.gateway.messages.exchange import Exchange
from services.gateway.messages.headers import Told
from services.gateway.proxy import Proxy
from services.gateway.upstream.bulkhead import Priority
from services.gateway.upstream.upstreams import Upstreams
from shared import idempotency, position
from shared.errors import BadGateway, GatewayTimeout

LARGEST = 8_388_608  # bytes of one reply: each is held whole
_SHORTEST = 0.01  # seconds; with less there is no use in asking
# Of what the client said of its own request. What it accepts and has already concerns ours.
_PASSED_ON = frozenset(
    {
        "authorization",
        "quartet-after",
        "traceparent",
        "tracestate",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
    }
)


class Part(NamedTuple):
    """What one service said."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Asking:
    """Asks as the client of `exchange`, who waits `seconds` for all of it; `fields` are what a
    service would be told if the request were forwarded.
    """

    def __init__(
        self,
        app: Quart,
        proxy: Proxy,
        exchange: Exchange,
        fields: Told,
        seconds: float,
    ) -> None:
        self.exchange = exchange
        self._upstreams: Upstreams = app.extensions["upstreams"]
        self._proxy = proxy
        self._until = asyncio.get_running_loop().time() + seconds
        self._fields = _passed_on(fields)
        self._running, self._begun = 0, 0.0
        self._seen: dict[str, int] = {}

    async def ask(
        self,
        upstream: str,
        method: str,
        target: str,
        body: bytes | None = None,
        key: str = "",
        *,
        route: str,
    ) -> Part:
        """Ask a service. JSON is sent as `body`, `key` is the `Idempotency-Key` of a write; `route`
        is the path in the table that leads there.

        Raises `Unavailable`, `BadGateway` and `GatewayTimeout` where it gives no answer in time.
        """
        fields = self._told(body, key)
        self._count(1)
        try:
            async with asyncio.timeout_at(self._until):
                reply = await self._upstreams.ask(
                    upstream,
                    method,
                    target,
                    fields,
                    body,
                    self._left(upstream),
                    route=route,
                    priority=Priority.of(method, member=self.exchange.account is not None),
                )
                part = await _whole(upstream, reply)
        except TimeoutError as error:
            raise GatewayTimeout(f"The {upstream} service did not answer in time.") from error
        finally:
            self._count(-1)
        if position.POSITION in reply.headers:
            await self._written(reply)
        return part

    def _told(self, body: bytes | None, key: str) -> Told:
        told = [*self._fields, ("Accept", "application/json")]
        if body is not None:
            told.append(("Content-Type", "application/json"))
        if key:
            told.append((idempotency.HEADER, key))
        return told

    def _left(self, upstream: str) -> float:
        left = self._until - asyncio.get_running_loop().time()
        if left < _SHORTEST:
            raise GatewayTimeout(f"There was no time left to ask the {upstream} service.")
        return left

    def _count(self, more: int) -> None:
        """While one or more services are asked, the time is theirs."""
        now = time.perf_counter()
        if self._running == 0:
            self._begun = now
        self._running += more
        if self._running == 0:
            self.exchange.upstream_seconds += now - self._begun

    async def _written(self, reply: Reply) -> None:
        """Let whoever asks next see what was written, and the client know it."""
        await self._proxy.remember(self.exchange, reply)
        written = position.parse(reply.headers[position.POSITION])
        self._seen = position.newest(self._seen, written)
        self._fields = _passed_on(await self._proxy.fields(self.exchange))
        name = position.POSITION.lower().encode()
        told = [field for field in self.exchange.told if field[0] != name]
        self.exchange.told = [*told, (name, position.write(self._seen).encode())]


def _passed_on(fields: Told) -> Told:
    return [(name, value) for name, value in fields if name.lower() in _PASSED_ON]


async def _whole(upstream: str, reply: Reply) -> Part:
    body = b""
    try:
        async for piece in reply.pieces():
            body += piece
            if len(body) > LARGEST:
                raise BadGateway(f"The {upstream} service said too much.")
    except BrokenOff as error:
        raise BadGateway(f"The {upstream} service broke off.") from error
    finally:
        reply.close()
    return Part(reply.status, reply.headers, body)
