"""Live streams through the whole suite: from an author's article to who follows them."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest

from deploy.local.stack import Stack
from services.gateway.tests.listening import Event, Events, events
from services.gateway.tests.running import stopped
from tests.e2e.client import Client
from tests.load.live import idle, members

SILENCE = 5.0  # seconds
STREAMS = 300
MOST_BYTES = 60_000  # of one more stream: 5,000 of them in 300 MB

Listening = Callable[..., AbstractAsyncContextManager[Events]]


@pytest.fixture
def listening(session: aiohttp.ClientSession) -> Listening:
    """A member's stream, perhaps after the last event that they saw."""

    def begin(member: Client, last: int | None = None) -> AbstractAsyncContextManager[Events]:
        return events(session, member.url, member.token, last)

    return begin


async def test_a_follower_hears_of_an_article_as_it_appears(
    client: Client, listening: Listening
) -> None:
    author, reader = await client.register("author"), await client.register()
    async with listening(reader) as stream, listening(author) as of_author:
        assert (await stream.next()).type == "ready"
        assert (await of_author.next()).type == "ready"
        await reader.ok("POST /profiles/{username}/follow", username=author.username)
        (followed,) = await notifications(of_author, 1)
        assert followed.data["kind"] == "followed"
        article = await author.publish("A first story")
        told = await stream.next()
        listed = (await reader.send("GET", "/api/notifications")).body["notifications"]
        assert told.type == "notification"
        assert told.data == listed[0]
        assert told.data["article"] == {"slug": article["slug"], "title": "A first story"}


async def test_who_was_away_hears_exactly_what_they_missed(
    client: Client, listening: Listening
) -> None:
    author, reader = await client.register("author"), await client.register()
    await reader.ok("POST /profiles/{username}/follow", username=author.username)
    async with listening(reader) as stream:
        ready = await stream.next()
        await author.publish("Before")
        before = await stream.next()
    titles = [f"Meanwhile {number}" for number in range(5)]
    for title in titles:
        await author.publish(title)
    async with listening(reader, before.id) as stream:
        told = await notifications(stream, len(titles))
        await author.publish("After")
        told += await notifications(stream, 1)
    assert [one.data["article"]["title"] for one in told] == [*titles, "After"]
    async with listening(reader, ready.id) as stream:
        again = await notifications(stream, 7)
    assert [one.id for one in again] == [before.id, *(one.id for one in told)]


async def test_who_listens_while_nats_is_silent_misses_nothing(
    client: Client, listening: Listening, stack: Stack
) -> None:
    """Its connections stay open, and nobody is told of a cut."""
    author, reader = await client.register("author"), await client.register()
    await reader.ok("POST /profiles/{username}/follow", username=author.username)
    titles = [f"In silence {number}" for number in range(10)]
    async with listening(reader) as stream:
        assert (await stream.next()).type == "ready"
        with stopped(stack.servers, "nats"):
            for title in titles:
                await author.publish(title)
                await asyncio.sleep(SILENCE / len(titles))
        told = await notifications(stream, len(titles))
        await author.publish("After")
        told += await notifications(stream, 1)
    assert [one.data["article"]["title"] for one in told] == [*titles, "After"]


async def test_an_idle_stream_takes_little_memory(client: Client, stack: Stack) -> None:
    tokens = [member.token for member in await members(client, STREAMS // 10)]
    pid = stack.services["gateway"].pid
    assert pid is not None
    await idle(stack.url, pid, tokens, 20)  # what the first ones take is not theirs
    held = await idle(stack.url, pid, tokens, STREAMS)
    assert held.per_stream < MOST_BYTES


async def notifications(stream: Events, count: int) -> list[Event]:
    """The next of them; what says that the stream is ready may come between."""
    found: list[Event] = []
    while len(found) < count:
        event = await stream.next()
        if event.type == "notification":
            found.append(event)
    return found
