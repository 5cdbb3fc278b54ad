"""Kept replies while something is away: the service, NATS, Valkey; and those over their time."""

import os
from uuid import UUID

from aiohttp import web

from deploy.local.servers import Servers
from services.gateway.tests.behind import Behind
from services.gateway.tests.library import Library, library
from services.gateway.tests.running import Running, stopped
from services.gateway.tests.test_cache import another, books, caching, hearing, read, status
from shared.testing import Signer, until

__all__ = ["another", "books", "caching"]


async def test_without_valkey_memory_serves(
    caching: Running, books: Library, servers: Servers
) -> None:
    with stopped(servers, "valkey"):
        assert await status(caching, "eve-1") == "quartet; fwd=miss; stored"
        assert await status(caching, "eve-1") == "quartet; hit"
        await books.write("eve-1")

        async def fresh() -> bool:
            return bool((await read(caching, "eve-1")).json["article"] == 1)

        await until(fresh, what="the purge")


async def test_what_valkey_missed_is_found_by_nobody(
    caching: Running, another: Running, books: Library, servers: Servers
) -> None:
    await read(caching, "eve-2")
    with stopped(servers, "valkey"):
        await books.write("eve-2")

        async def fresh(gateway: Running) -> bool:
            return bool((await read(gateway, "eve-2")).json["article"] == 1)

        await until(lambda: fresh(caching), what="the purge")
    for number in range(40):
        for gateway in (caching, another):
            assert (await read(gateway, "eve-2")).json["article"] == 1
            await read(gateway, f"eve-3{number}")

    async def used_again() -> bool:
        slug = f"fay-{os.urandom(4).hex()}"
        await read(caching, slug)
        return await status(another, slug) == "quartet; hit; detail=shared"

    await until(used_again, what="the second tier")


async def test_without_nats_nothing_is_kept(
    caching: Running, behind: Behind, servers: Servers
) -> None:
    async with library(behind, servers.nats_url) as books:
        await read(caching, "gus-1")
        assert await status(caching, "gus-1") == "quartet; hit"
        nats = servers.children["nats"]
        nats.kill()
        books.articles["gus-1"] = 7

        async def noticed() -> bool:
            return await status(caching, "gus-1") == "quartet; fwd=bypass"

        await until(noticed, what="the loss")
        assert (await read(caching, "gus-1")).json["article"] == 7
        await nats.ready(20)
        await hearing(caching)
        assert (await read(caching, "gus-1")).json["article"] == 7
        assert await status(caching, "gus-1") == "quartet; hit"


async def test_what_is_over_its_time_serves_while_a_new_one_comes_or_none_does(
    caching: Running, behind: Behind, signer: Signer, account: UUID
) -> None:
    """The keys have no tags, and live as long as their service says; they are for members too."""
    count, failing = 0, False

    async def keys(request: web.Request) -> web.StreamResponse:
        nonlocal count
        if failing:
            return web.Response(status=503)
        count += 1
        return web.json_response({"keys": [count]}, headers={"Cache-Control": "max-age=1"})

    async def said() -> str:
        reply = await caching.send("GET", "/.well-known/jwks.json", headers=signer.headers(account))
        assert reply.status == 200
        told: str = reply.headers["Cache-Status"]
        return told

    async def hears(wanted: str) -> None:
        async def heard() -> bool:
            return await said() == f"quartet; {wanted}"

        await until(heard, what=wanted)

    behind.answer = keys
    await said()
    for wanted in ("hit", "hit; detail=stale", "hit"):
        await hears(wanted)
    assert count >= 2
    failing = True
    await hears("fwd=stale; detail=error")
    failing = False
    await hears("hit")
