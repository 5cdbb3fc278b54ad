"""Kept replies over the whole suite: after every write, nobody reads what was before."""

import asyncio
import json
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
FAVORITES, RENAMES = 100, 20
READS, WRITES = 50, 25  # a second
SLACK = 5  # others may be busy on the same machine
BYPASS = {"Quartet-After": "content=999999999"}  # a write that nobody here has heard of


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack with two gateways, which tell when they hear of an event."""
    told = CHEAP | {"GATEWAY_LOG_LEVEL": "debug"}
    async with Stack(tmp_path_factory.mktemp("c"), told=told, replicas={"gateway": 2}) as stack:
        yield stack


@pytest.fixture(scope="module")
async def client(session: aiohttp.ClientSession, stack: Stack) -> Client:
    """A client of the first gateway."""
    return Client(session, stack.url)


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

    await until(all_same, seconds=WITHIN * SLACK, what="what was written, on every page")
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


async def test_once_a_write_is_acknowledged_nobody_reads_what_was_before(client: Client) -> None:
    author, reader = await client.register("author"), await client.register()
    slug = (await author.publish())["slug"]
    path = f"/api/articles/{slug}"
    for number in range(FAVORITES):
        await page(client, path)
        method = "DELETE" if number % 2 else "POST"
        written = await reader.ok(f"{method} /articles/{{slug}}/favorite", slug=slug)
        _, read = await page(client, path)
        assert read["article"]["favoritesCount"] == written["article"]["favoritesCount"]
    for number in range(RENAMES):
        await page(client, path)
        await author.ok("PUT /user", {"user": {"bio": f"Wrote {number} times."}})
        _, read = await page(client, path)
        assert read["article"]["author"]["bio"] == f"Wrote {number} times."


async def test_a_purge_takes_milliseconds_in_every_gateway(
    client: Client, session: aiohttp.ClientSession, stack: Stack
) -> None:
    """From the fact, just before its commit, while others read at both gateways."""
    author, reader = await client.register("author"), await client.register()
    slugs = [(await author.publish())["slug"] for _ in range(10)]
    begun = len(lags(stack, "gateway")), len(lags(stack, "gateway-2"))
    another = Client(session, stack.addresses.services["gateway-2"])
    reading = [asyncio.create_task(keep_reading(one, slugs)) for one in (client, another)]
    for number in range(FAVORITES * 4):
        method, slug = "DELETE" if number // 10 % 2 else "POST", slugs[number % 10]
        await reader.ok(f"{method} /articles/{{slug}}/favorite", slug=slug)
        await asyncio.sleep(1 / WRITES)
    for task in reading:
        task.cancel()
    for name, before in zip(("gateway", "gateway-2"), begun, strict=True):

        async def all_heard(name: str = name, before: int = before) -> bool:
            return len(lags(stack, name)) >= before + FAVORITES * 4

        await until(all_heard, what="all events")
        took = sorted(lags(stack, name)[before:])
        p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
        print(f"{name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {took[-1]:.1f} ms")
        assert p50 < 50
        assert p99 < 50 * SLACK


async def keep_reading(client: Client, slugs: list[str]) -> None:
    while True:
        for slug in slugs:
            assert (await client.send("GET", f"/api/articles/{slug}")).status == 200
            await asyncio.sleep(1 / READS)


def lags(stack: Stack, name: str) -> list[float]:
    lines = (stack.state.logs / f"{name}.log").read_text().splitlines()
    heard = (json.loads(line) for line in lines if '"event heard"' in line)
    return [line["lag_ms"] for line in heard]
