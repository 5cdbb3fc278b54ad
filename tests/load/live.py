"""Live streams under load: `python -m tests.load.live` starts the suite and prints what it found.

How much memory idle streams take of the one gateway process, and how long it takes from a fact to
the stream of who is told of it.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import psutil

from deploy.local.stack import Stack
from tests.e2e.client import Client

STREAM = "/api/notifications/stream"
AT_ONCE = 50  # clients that connect at a time
REGISTERING = 8  # the users service refuses more passwords than it can hash soon
TOLD = {
    "USERS_HASH_MEMORY_KIB": "1024",
    "USERS_HASH_TIME_COST": "1",
    "QUARTET_LIMITS": "off",
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.1",
}


@dataclass(frozen=True)
class Idle:
    """Memory of a gateway process, in bytes, without streams and with them."""

    streams: int
    before: int
    after: int

    @property
    def per_stream(self) -> float:
        """Bytes that one more stream takes."""
        return (self.after - self.before) / self.streams


@dataclass(frozen=True)
class Delays:
    """Milliseconds from a fact, by the time that its notification bears, to the client. Those times
    are taken before the commit, and are whole milliseconds: the true delays are less.
    """

    events: int
    p50: float
    p99: float
    most: float


class Listener:
    """A client of a stream on a bare socket: it must take less memory and time than what it
    measures.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, url: str, token: str) -> "Listener":
        """A stream that is ready."""
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(
            f"GET {STREAM} HTTP/1.1\r\nHost: {place.netloc}\r\n"
            f"Authorization: Token {token}\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        await reader.readuntil(b"event: ready\n")
        return cls(reader, writer)

    async def delay(self) -> float:
        """Of the next notification, in milliseconds."""
        await self._reader.readuntil(b"event: notification\ndata: ")
        told = json.loads(await self._reader.readline())
        at = datetime.fromisoformat(told["createdAt"])
        return (time.time() - at.timestamp()) * 1000

    def close(self) -> None:
        """Go away."""
        self._writer.close()


async def members(client: Client, count: int) -> list[Client]:
    """New accounts."""
    found: list[Client] = []
    while len(found) < count:
        more = min(REGISTERING, count - len(found))
        found += await asyncio.gather(*(client.register() for _ in range(more)))
    return found


async def idle(url: str, pid: int, tokens: Sequence[str], count: int) -> Idle:
    """Open so many streams, in turn for each of `tokens`, to the gateway that is process `pid`."""
    gateway = psutil.Process(pid)
    before: int = gateway.memory_info().rss
    listeners: list[Listener] = []
    try:
        while len(listeners) < count:
            numbers = range(len(listeners), min(count, len(listeners) + AT_ONCE))
            listeners += await asyncio.gather(
                *(Listener.connect(url, tokens[number % len(tokens)]) for number in numbers)
            )
        after: int = gateway.memory_info().rss
        return Idle(count, before, after)
    finally:
        for listener in listeners:
            listener.close()


async def delays(
    client: Client, *, rate: float, seconds: float, pairs: int = 10, warm: int = 50
) -> Delays:
    """Let authors publish so many articles a second in all, each to one follower with a stream.
    The first `warm` do not count.
    """
    authors, followers = await members(client, pairs), await members(client, pairs)
    for author, follower in zip(authors, followers, strict=True):
        await follower.ok("POST /profiles/{username}/follow", username=author.username)
    listeners = [await Listener.connect(client.url, one.token) for one in followers]
    total = round(rate * seconds)
    hearing = [
        asyncio.create_task(_hear(listener, len(range(number, total, pairs))))
        for number, listener in enumerate(listeners)
    ]
    begun, writing = time.perf_counter(), []
    for number in range(total):
        await asyncio.sleep(begun + number / rate - time.perf_counter())
        writing.append(asyncio.create_task(authors[number % pairs].publish(f"News {number}")))
    await asyncio.gather(*writing)
    heard = await asyncio.wait_for(asyncio.gather(*hearing), 30)
    for listener in listeners:
        listener.close()
    counted = sorted(delay for each in heard for delay in each[warm // pairs :])
    return Delays(
        len(counted), _quantile(counted, 0.5), _quantile(counted, 0.99), round(counted[-1], 1)
    )


async def _hear(listener: Listener, count: int) -> list[float]:
    return [await listener.delay() for _ in range(count)]


def _quantile(ordered: Sequence[float], part: float) -> float:
    return round(ordered[int(len(ordered) * part)], 1)


async def measure(streams: int, rate: float, seconds: float) -> dict[str, object]:
    """Both, on a suite of its own."""
    state = Path(tempfile.mkdtemp(prefix="live"))
    async with Stack(state, told=TOLD) as stack, aiohttp.ClientSession() as session:
        client = Client(session, stack.url)
        found = await delays(client, rate=rate, seconds=seconds)
        print(found, file=sys.stderr)
        tokens = [member.token for member in await members(client, streams // 10)]
        pid = stack.services["gateway"].pid
        assert pid is not None
        held = await idle(stack.url, pid, tokens, streams)
        return {"delays": asdict(found), "idle": asdict(held) | {"per_stream": held.per_stream}}


if __name__ == "__main__":
    given = [float(argument) for argument in sys.argv[1:]] or [5_000.0, 100.0, 20.0]
    print(json.dumps(asyncio.run(measure(int(given[0]), given[1], given[2])), indent=2))
