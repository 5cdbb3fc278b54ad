"""Clients of live streams, and a cable that can be cut."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

STREAM = "/api/notifications/stream"
_ENDED = "ended"


@dataclass
class Event:
    """One event; `data` is decoded."""

    type: str
    id: int | None
    data: Any
    retry: int | None = None


@dataclass
class Events:
    """A stream of events, read one by one; `beats` counts comments."""

    reply: aiohttp.ClientResponse
    beats: int = 0

    async def next(self, seconds: float = 30.0) -> Event:
        """The next event; one of type `ended` where the stream has come to a clean end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(seconds):
            while line := (await self.reply.content.readline()).decode():
                name, _, value = line.rstrip("\n").partition(":")
                if line.startswith(":"):
                    self.beats += 1
                elif name:
                    fields[name] = value.removeprefix(" ")
                elif fields:
                    return Event(
                        fields.get("event", "message"),
                        int(fields["id"]) if "id" in fields else None,
                        json.loads(fields["data"]),
                        int(fields["retry"]) if "retry" in fields else None,
                    )
        return Event(_ENDED, None, None)

    async def numbers(self, count: int) -> list[int | None]:
        """The ids of so many notifications."""
        found = [await self.next() for _ in range(count)]
        assert {event.type for event in found} <= {"notification"}, found
        return [event.id for event in found]


@asynccontextmanager
async def events(
    session: aiohttp.ClientSession, url: str, token: str, last: int | None = None
) -> AsyncIterator[Events]:
    """A stream of events that has begun."""
    headers = {"Authorization": f"Token {token}"}
    if last is not None:
        headers["Last-Event-ID"] = str(last)
    timeout = aiohttp.ClientTimeout(total=None)
    async with session.get(url + STREAM, headers=headers, timeout=timeout) as reply:
        assert reply.status == 200, await reply.text()
        yield Events(reply)
        reply.close()


@dataclass
class Cable:
    """Carries TCP connections to a server, until it is cut."""

    target: str
    url: str = ""
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _whole: bool = True

    def cut(self) -> None:
        """End all connections, and let none through."""
        self._whole = False
        for writer in list(self._writers):
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self._whole = True

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = urlsplit(self.target)
        if not self._whole:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(place.hostname, place.port)
        self._writers |= {writer, far_writer}
        with suppress(OSError):
            await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))
        self._writers -= {writer, far_writer}


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All bytes from one end to the other."""
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def cable(target: str) -> AsyncIterator[Cable]:
    """A cable to a server, whose near end is at `url`."""
    laid = Cable(target)
    server = await asyncio.start_server(laid._connect, "127.0.0.1")
    place = urlsplit(target)
    near = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    laid.url = target.replace(f"{place.hostname}:{place.port}", near)
    try:
        yield laid
    finally:
        laid.cut()
        server.close()
