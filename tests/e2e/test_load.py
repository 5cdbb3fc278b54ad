"""An ordinary crowd: nobody is refused for want of room."""

import asyncio
import time
from collections import Counter

from tests.e2e.client import Client

CLIENTS = 60
SECONDS = 2.0


async def test_an_ordinary_crowd_is_served_to_the_last(client: Client) -> None:
    author = await client.register("crowded")
    statuses, until = Counter[int](), time.monotonic() + SECONDS

    async def reads(path: str, reader: Client) -> None:
        while time.monotonic() < until:
            statuses[(await reader.send("GET", path)).status] += 1

    async def writes() -> None:
        while time.monotonic() < until:
            await author.publish("A crowded title")
            statuses[201] += 1

    paths = ["/api/articles", "/api/tags", "/api/articles?limit=5"] * (CLIENTS // 3)
    members = [reads(path, author) for path in ("/api/user", "/api/articles/feed")]
    await asyncio.gather(*(reads(path, client) for path in paths), *members, writes())
    assert set(statuses) == {200, 201}
    assert statuses.total() > 2 * CLIENTS
