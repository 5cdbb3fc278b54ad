"""Journeys through the gateway, as clients take them: one request after the other, no pauses."""

import asyncio
from typing import Any

from deploy.local.stack import Stack
from shared.testing import until
from tests.e2e.client import Client

ROUNDS = 1000
AT_ONCE = 4


async def registration_to_feed(client: Client) -> None:
    """Register, publish, list, follow, read `following`, feed: each must see what came before."""
    author = await client.register("author")
    article = await author.publish()
    listed = await author.ok("GET /articles", query=f"?author={author.username}")
    assert [item["slug"] for item in listed["articles"]] == [article["slug"]]
    reader = await client.register()
    await reader.ok("POST /profiles/{username}/follow", username=author.username)
    read = await reader.ok("GET /articles/{slug}", slug=article["slug"])
    assert read["article"]["author"]["following"] is True
    feed = await reader.ok("GET /articles/feed")
    assert [item["slug"] for item in feed["articles"]] == [article["slug"]]
    assert feed["articlesCount"] == 1


async def test_a_client_reads_its_own_writes_a_thousand_times_in_a_thousand(client: Client) -> None:
    rounds = iter(range(ROUNDS))

    async def keep_going() -> None:
        for _ in rounds:
            await registration_to_feed(client)

    await asyncio.gather(*(keep_going() for _ in range(AT_ONCE)))
    assert next(rounds, None) is None


async def notifications(client: Client, expected: int) -> Any:
    async def enough() -> Any:
        reply = await client.send("GET", "/api/notifications?limit=100")
        assert reply.status == 200
        return reply.body if len(reply.body["notifications"]) >= expected else None

    return await until(enough, what=f"{expected} notifications")


async def test_notifications_tell_of_others_deeds_and_not_of_ones_own(client: Client) -> None:
    author, reader = await client.register("author"), await client.register()
    await reader.ok("POST /profiles/{username}/follow", username=author.username)
    article = await author.publish("A first story")
    slug = article["slug"]
    for member in (author, reader):
        await member.ok("POST /articles/{slug}/favorite", slug=slug)
        said = {"comment": {"body": "Well said."}}
        await member.ok("POST /articles/{slug}/comments", said, slug=slug)
    inbox = await notifications(author, 3)
    kinds = [item["kind"] for item in inbox["notifications"]]
    assert sorted(kinds) == ["commented", "favorited", "followed"]
    assert {item["actor"]["username"] for item in inbox["notifications"]} == {reader.username}
    assert inbox["unreadCount"] == 3
    told = (await notifications(reader, 1))["notifications"]
    assert [(item["kind"], item["article"]) for item in told] == [
        ("published", {"slug": slug, "title": "A first story"})
    ]


async def test_notifications_are_read_one_by_one_and_all_at_once(client: Client) -> None:
    author = await client.register("author")
    readers = [await client.register() for _ in range(3)]
    for reader in readers:
        await reader.ok("POST /profiles/{username}/follow", username=author.username)
    inbox = await notifications(author, 3)
    first = inbox["notifications"][0]["id"]
    assert (await author.send("PUT", f"/api/notifications/{first}/read")).status == 200
    page = await author.send("GET", f"/api/notifications?before={first}&limit=1")
    assert [item["id"] for item in page.body["notifications"]] == [inbox["notifications"][1]["id"]]
    assert page.body["unreadCount"] == 2
    assert (await readers[0].send("PUT", f"/api/notifications/{first}/read")).status == 404
    assert (await author.send("PUT", "/api/notifications/read")).status == 200
    assert (await notifications(author, 3))["unreadCount"] == 0


async def test_content_killed_amid_writes_loses_nothing_and_doubles_nothing(
    client: Client, stack: Stack
) -> None:
    author, reader = await client.register("author"), await client.register()
    await reader.ok("POST /profiles/{username}/follow", username=author.username)
    acknowledged: list[str] = []
    unknown: list[str] = []

    async def write(number: int) -> None:
        title = f"Story {number} of {author.username}"
        article = {"title": title, "description": "d", "body": "b"}
        try:
            reply = await author.send("POST", "/api/articles", {"article": article})
        except OSError:
            unknown.append(title)
            return
        (acknowledged if reply.status == 201 else unknown).append(title)

    async def writes() -> None:
        for start in range(0, 200, 4):
            await asyncio.gather(*(write(start + offset) for offset in range(4)))
            if start == 100:
                stack.services["content"].kill()
            if start >= 100:
                await client_sees_content(client)

    await writes()
    assert len(acknowledged) + len(unknown) == 200
    assert len(acknowledged) >= 150
    stored = await titles(client, author.username)
    assert set(acknowledged) <= set(stored)
    assert set(stored) <= set(acknowledged) | set(unknown)
    assert len(stored) == len(set(stored))

    async def all_told() -> bool:
        told = await told_titles(reader)
        assert len(told) == len(set(told)), "a follower was told twice"
        return set(told) == set(stored)

    await until(all_told, seconds=60, what="one notification for each article")


async def client_sees_content(client: Client) -> None:
    async def answers() -> bool:
        return (await client.send("GET", "/api/tags")).status == 200

    await until(answers, seconds=30, what="content")


async def titles(client: Client, author: str) -> list[str]:
    found: list[str] = []
    while True:
        query = f"?author={author}&limit=100&offset={len(found)}"
        page = (await client.ok("GET /articles", query=query))["articles"]
        if not page:
            return found
        found += [item["title"] for item in page]


async def told_titles(reader: Client) -> list[str]:
    found: list[str] = []
    before = ""
    while True:
        reply = await reader.send("GET", f"/api/notifications?limit=100{before}")
        page = reply.body["notifications"]
        if not page:
            return found
        found += [item["article"]["title"] for item in page]
        before = f"&before={page[-1]['id']}"
