"""What answers at an address, and how to ask whether it serves."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg

Kind = Literal["postgres", "nats", "redis", "otlp", "smtp", "http"]


@dataclass(frozen=True)
class Endpoint:
    """Something that serves. `target` is where to ask, and may hold a password."""

    name: str
    kind: Kind
    target: str

    @property
    def url(self) -> str:
        """The address for people: no secret, no path of a probe."""
        return without_secret(self.target, path="")

    async def is_ready(self, within: float = 2.0) -> bool:
        """Whether it serves now; who fails or takes too long does not."""
        try:
            async with asyncio.timeout(within):
                return await _PROBES[self.kind](self.target)
        except Exception:
            return False


def without_secret(url: str, *, path: str | None = None) -> str:
    """The URL with no user, password or query; `path` takes the place of its own."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, place, parts.path if path is None else path, "", ""))


async def _postgres(url: str) -> bool:
    connection = await asyncpg.connect(url, timeout=2)
    await connection.close()
    return True


async def _nats(url: str) -> bool:
    place = urlsplit(url)
    host, port = place.hostname or "127.0.0.1", place.port or 4222
    reader, writer = await asyncio.open_connection(host, port)
    try:
        # A server greets with `INFO {…}`, before TLS and before any password.
        greeting = await reader.readline()
    finally:
        writer.close()
    return bool(json.loads(greeting.removeprefix(b"INFO ")).get("jetstream"))


async def _redis(url: str) -> bool:
    place = urlsplit(url)
    tls = place.scheme == "rediss"
    host, port = place.hostname or "127.0.0.1", place.port or 6379
    reader, writer = await asyncio.open_connection(host, port, ssl=tls or None)
    try:
        writer.write(b"PING\r\n")
        answer = await reader.readline()
    finally:
        writer.close()
    # Who asks for a password before anything else serves too.
    return answer.startswith((b"+PONG", b"-NOAUTH"))


async def _otlp(url: str) -> bool:
    # No request fits all: one may speak HTTP there, another gRPC.
    place = urlsplit(url)
    port = place.port or (443 if place.scheme == "https" else 80)
    _, writer = await asyncio.open_connection(place.hostname, port)
    writer.close()
    return True


async def _smtp(url: str) -> bool:
    place = urlsplit(url)
    tls = place.scheme == "smtps"
    port = place.port or smtp_port(place.scheme)
    reader, writer = await asyncio.open_connection(place.hostname, port, ssl=tls or None)
    try:
        greeting = await reader.readline()
        writer.write(b"QUIT\r\n")
        await writer.drain()
    finally:
        writer.close()
    return greeting.startswith(b"220")


def smtp_port(scheme: str) -> int:
    """The port of a URL that names none (RFC 8314, RFC 6409, RFC 5321)."""
    return {"smtps": 465, "smtp+starttls": 587}.get(scheme, 25)


async def _http(url: str) -> bool:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status == 200


_PROBES: dict[Kind, Callable[[str], Awaitable[bool]]] = {
    "postgres": _postgres,
    "nats": _nats,
    "redis": _redis,
    "otlp": _otlp,
    "smtp": _smtp,
    "http": _http,
}
