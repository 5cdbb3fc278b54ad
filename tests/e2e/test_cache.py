"""Kept replies over the whole suite: after every write, nobody reads what was before."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from deploy.local.stack import Stack
from shared.testing import until
from tests.e2e.client import Client
from tests.e2e.conftest import CHEAP

WITHIN = 1.0  # seconds after the reply to a write
FAVORITES = 100
BYPASS = {"Quartet-After": "content=999999999"}  # a write that nobody here has heard of


@pytest.fixture(scope="module")
async def client(
    session: aiohttp.ClientSession, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """A client of a stack whose gateway keeps replies."""
    state = tmp_path_factory.mktemp("c")
    async with Stack(state, told=CHEAP | {"GATEWAY_CACHE": "on"}) as stack:
        yield Client(session, stack.url)


async def page(client: Client, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    reply = await client.send("GET", path, headers=headers)
    body = reply.body
    if reply.status != 200:
        body = body["title"]  # the rest is about this request
    return reply.status, body


async def settled(client: Client, paths: list[str], users: str = "") -> None:
    """Wait until every page is what its service says, and is kept."""
    truth = {"Quartet-After": f"{BYPASS['Quartet-After']}, {users}"} if users else BYPASS

    async def same(path: str) -> bool:
        return await page(client, path) == await page(client, path, truth)

    async def all_same() -> bool:
        return all(await asyncio.gather(*map(same, paths)))

    await until(all_same, seconds=WITHIN, what="what was written, on every page")
    for path in paths:
        assert await page(client, path) == await page(client, path, truth), path


async def test_every_write_shows_on_every_page(client: Client) -> None:
    author, reader = await client.register("author"), await client.register()
    tag = f"tag-{author.username}"
    slug = (await author.publish("The first of many", tagList=[tag]))["slug"]
    await author.publish("The second")
    name = author.username
    new_slug, new_name = f"{slug}-again", f"{name}-again"
    paths = [
        *("/api/articles", "/api/tags", f"/api/articles?tag={tag}", f"/api/articles?author={name}"),
        *(f"/api/articles?author={new_name}", f"/api/articles?favorited={reader.username}"),
        *(f"/api/articles/{slug}", f"/api/articles/{slug}/comments"),
        *(f"/api/articles/{new_slug}", f"/api/articles/{new_slug}/comments"),
        *(f"/api/profiles/{name}", f"/api/profiles/{new_name}", "/api/articles?limit=100"),
    ]

    async def after(write: Awaitable[Any]) -> Any:
        await settled(client, paths)
        done = await write
        await settled(client, paths)
        return done

    article = {"slug": slug}
    await after(author.ok("PUT /articles/{slug}", {"article": {"body": "New."}}, **article))
    await after(reader.ok("POST /articles/{slug}/favorite", **article))
    said = {"comment": {"body": "Well said."}}
    comment = await after(reader.ok("POST /articles/{slug}/comments", said, **article))
    changed = {"article": {"title": "The first of many again", "tagList": [tag, "x"]}}
    found = await after(author.ok("PUT /articles/{slug}", changed, **article))
    new_slug = quote(found["article"]["slug"])
    paths += [f"/api/articles/{new_slug}", f"/api/articles/{new_slug}/comments"]
    await after(reader.ok("POST /articles/{slug}/comments", said, slug=new_slug))
    id_ = comment["comment"]["id"]
    await after(reader.ok("DELETE /articles/{slug}/comments/{id}", slug=new_slug, id=id_))
    await after(reader.ok("DELETE /articles/{slug}/favorite", slug=new_slug))
    for user in ({"bio": "Writes."}, {"username": new_name}):
        await settled(client, paths)
        reply = await author.call("PUT /user", {"user": user})
        await settled(client, paths, users=reply.headers["Quartet-Position"])
    await after(author.publish("The third", tagList=[tag]))
    await after(author.ok("DELETE /articles/{slug}", slug=new_slug))


async def test_a_purge_takes_milliseconds(client: Client) -> None:
    author, reader = await client.register("author"), await client.register()
    slug = (await author.publish())["slug"]
    path, took = f"/api/articles/{slug}", []
    for number in range(FAVORITES):
        method = "DELETE" if number % 2 else "POST"
        await page(client, path)
        written = await reader.ok(f"{method} /articles/{{slug}}/favorite", slug=slug)
        begun, count = time.monotonic(), written["article"]["favoritesCount"]
        while (await page(client, path))[1]["article"]["favoritesCount"] != count:
            assert time.monotonic() - begun < WITHIN
        took.append(time.monotonic() - begun)
    took.sort()
    print(f"purged after {took[FAVORITES // 2]:.4f} s, p99 {took[FAVORITES * 99 // 100]:.4f} s")
    assert took[FAVORITES // 2] < 0.1
