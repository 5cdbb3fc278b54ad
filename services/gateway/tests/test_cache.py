"""Kept replies: what is sent of them, when they end, and that none is stale."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import web

from deploy.local.servers import Servers
from services.gateway.tests.behind import Behind, echo
from services.gateway.tests.conftest import Told
from services.gateway.tests.library import Library, library
from services.gateway.tests.running import Answer, Running, running
from shared.testing import Signer, until


@pytest.fixture(scope="module")
async def caching(
    folder: Path,
    session: aiohttp.ClientSession,
    told: Told,
    servers: Servers,
    only_behind: Behind,
) -> AsyncIterator[Running]:
    """A gateway that hears of events."""
    settings = told | {"GATEWAY_CACHE": "on", "GATEWAY_NATS_URL": servers.nats_url}
    only_behind.answer = echo  # whatever another file of tests has left there
    async with running(folder, session, settings) as gateway:
        await hearing(gateway)
        yield gateway


@pytest.fixture(scope="module")
async def another(
    folder: Path,
    session: aiohttp.ClientSession,
    told: Told,
    servers: Servers,
    only_behind: Behind,
) -> AsyncIterator[Running]:
    """Another one of the same suite."""
    on = {"GATEWAY_CACHE": "on", "GATEWAY_NATS_URL": servers.nats_url}
    settings = told | on | {"GATEWAY_SERVER": "hypercorn"}
    only_behind.answer = echo  # whatever another file of tests has left there
    async with running(folder, session, settings) as gateway:
        await hearing(gateway)
        yield gateway


@pytest.fixture
async def books(behind: Behind, servers: Servers) -> AsyncIterator[Library]:
    async with library(behind, servers.nats_url) as books:
        yield books


async def hearing(gateway: Running) -> None:
    async def heard() -> bool:
        said = (await read(gateway, "warming-up")).headers.get("Cache-Status", "bypass")
        return "bypass" not in said

    await until(heard, what="a gateway that hears of events")


async def read(gateway: Running, slug: str, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.send("GET", f"/api/articles/{slug}", headers=named)


async def status(gateway: Running, slug: str, **headers: str) -> str:
    said: str = (await read(gateway, slug, **headers)).headers["Cache-Status"]
    return said


async def test_the_second_reader_gets_what_the_first_got(caching: Running, books: Library) -> None:
    first, second = await read(caching, "ada-1"), await read(caching, "ada-1")
    assert first.headers["Cache-Status"] == "quartet; fwd=miss; stored"
    assert second.headers["Cache-Status"] == "quartet; hit"
    assert second.body == first.body
    assert second.headers["Age"] == "0"
    assert second.headers["ETag"] == first.headers["ETag"]
    assert second.headers["Cache-Control"] == "no-cache"
    assert "Quartet-Tags" not in first.headers
    assert len(books.behind.requests) == 1
    await caching.logged(cache="hit")


async def test_who_has_it_already_gets_no_body(caching: Running, books: Library) -> None:
    etag = (await read(caching, "ada-2", Accept_Encoding="identity")).headers["ETag"]
    for given in (etag, f'"other", W/{etag}', "*"):
        reply = await read(caching, "ada-2", If_None_Match=given)
        assert (reply.status, reply.body) == (304, b"")
        assert reply.headers["ETag"].removeprefix("W/") == etag
    assert (await read(caching, "ada-2", If_None_Match='"other"')).status == 200
    head = await caching.send("HEAD", "/api/articles/ada-2")
    assert (head.status, head.body, head.headers["ETag"]) == (200, b"", etag)


async def test_members_are_served_by_the_service(
    caching: Running, books: Library, signer: Signer, account: UUID
) -> None:
    await read(caching, "ada-3")
    said = await status(caching, "ada-3", **signer.headers(account))
    assert said == "quartet; fwd=bypass"
    assert len(books.behind.requests) == 2


async def shared(one: Running, other: Running) -> str:
    """A slug that both have, the other from the one."""
    numbers = itertools.count()

    async def found() -> str:
        slug = f"both{uuid4().hex}-{next(numbers)}"
        await read(one, slug)
        return slug if await status(other, slug) == "quartet; hit; detail=shared" else ""

    slug: str = await until(found, what="what the other has from the one")
    return slug


async def test_an_event_ends_it_everywhere(
    caching: Running, another: Running, books: Library
) -> None:
    slug = await shared(caching, another)
    for gateway in (caching, another):
        assert await status(gateway, slug) == "quartet; hit"
    await books.write(slug)
    for gateway in (caching, another):

        async def fresh(gateway: Running = gateway) -> bool:
            return bool((await read(gateway, slug)).json["article"] == 1)

        await until(fresh, what="the purge")


async def test_who_wrote_gets_nothing_older(caching: Running, books: Library) -> None:
    await read(caching, "ada-5")
    at = await books.write("ada-5", late=1.5)
    assert await status(caching, "ada-5") == "quartet; hit"
    reply = await read(caching, "ada-5", Quartet_After=f"content={at}")
    assert reply.json["article"] == 1
    assert reply.headers["Cache-Status"] == "quartet; fwd=bypass"

    async def served_again() -> bool:
        await read(caching, "ada-5")
        return await status(caching, "ada-5", Quartet_After=f"content={at}") == "quartet; hit"

    await until(served_again, what="the event")
    assert (await read(caching, "ada-5")).json["article"] == 1


async def test_once_a_write_is_acknowledged_nobody_gets_what_was_before(
    caching: Running, books: Library, signer: Signer, account: UUID
) -> None:
    await read(caching, "ada-12")
    books.late = 0.2
    favorite = "/api/articles/ada-12/favorite"
    assert (await caching.send("POST", favorite, headers=signer.headers(account))).status == 200
    after = await read(caching, "ada-12")
    assert after.json["article"] == 1
    assert after.headers["Cache-Status"] == "quartet; fwd=miss; stored"
    assert await status(caching, "ada-12") == "quartet; hit"
    at = await books.write("dot-1", late=0.21)

    async def heard() -> bool:
        await read(caching, "ada-13")
        return await status(caching, "ada-13", Quartet_After=f"content={at}") == "quartet; hit"

    await until(heard, what="both events")
    assert await status(caching, "ada-12") == "quartet; hit"


@pytest.mark.parametrize("kept", [True, False])
async def test_a_projection_that_lags_is_waited_for_by_others_too(
    caching: Running, books: Library, signer: Signer, account: UUID, kept: bool
) -> None:
    slug = f"may{int(kept)}-1"
    name = slug.partition("-")[0]
    if kept:
        await read(caching, slug)
    books.late = books.lag = 0.1
    headers = signer.headers(account)
    await caching.send("PUT", "/api/user", headers=headers, json={"username": name})
    assert (await read(caching, slug)).json["author"] == 1


async def test_one_asks_for_all(caching: Running, another: Running, books: Library) -> None:
    """Or each gateway for itself, where Valkey has other things to do for 200 ms."""
    books.slow, gateways = True, (caching, another) * 10

    async def asked_once() -> bool:
        books.behind.requests.clear()
        slug = f"ada-{uuid4().hex}"
        replies = await asyncio.gather(*(read(gateway, slug) for gateway in gateways))
        assert {reply.status for reply in replies} == {200}
        assert len(books.behind.requests) <= 2
        return len(books.behind.requests) == 1

    await until(asked_once, what="one that asks for all")


async def test_what_began_before_a_purge_is_not_kept(caching: Running, books: Library) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(request: web.Request) -> web.StreamResponse:
        reply = await books.answer(request)
        asked.set()
        await go_on.wait()
        return reply

    books.behind.answer = slowly
    first = asyncio.create_task(read(caching, "ada-7"))
    await asked.wait()
    at = await books.write("ada-7")
    books.behind.answer = books.answer

    async def heard() -> bool:
        await read(caching, "ada-8")
        return await status(caching, "ada-8", Quartet_After=f"content={at}") == "quartet; hit"

    await until(heard, what="the event")
    joined = asyncio.create_task(read(caching, "ada-7"))
    go_on.set()
    assert (await first).json["article"] == 0
    assert (await first).headers["Cache-Status"] == "quartet; fwd=miss"
    assert (await joined).json["article"] == 1
    assert (await read(caching, "ada-7")).json["article"] == 1


async def test_what_a_projection_has_not_applied_is_not_kept(
    caching: Running, books: Library
) -> None:
    await read(caching, "ben-1")
    await books.rename("ben", lag=0.2)

    async def fresh() -> bool:
        return bool((await read(caching, "ben-1")).json["author"] == 1)

    await until(fresh, what="the change")
    await read(caching, "ben-2")
    for slug in ("ben-1", "ben-2"):
        assert (await read(caching, slug)).json["author"] == 1
        assert await status(caching, slug) == "quartet; hit"


async def test_a_service_that_proves_nothing_is_asked_each_time(
    caching: Running, books: Library
) -> None:
    await read(caching, "cid-1")
    books.proves = False
    at = await books.rename("cid", lag=0.1)

    async def heard() -> bool:
        await read(caching, "ada-9")
        return await status(caching, "ada-9", Quartet_After=f"users={at}") == "quartet; hit"

    await until(heard, what="the event")
    for _ in range(3):
        assert await status(caching, "cid-1") == "quartet; fwd=miss"


@pytest.mark.parametrize(
    "headers",
    [
        {"Cache-Control": "no-store"},
        {"Cache-Control": "private, max-age=60"},
        {"Set-Cookie": "a=b"},
        {"Vary": "Accept-Language"},
        {"Quartet-Tags": ""},
    ],
)
async def test_what_must_not_be_kept_is_not(
    caching: Running, behind: Behind, headers: dict[str, str]
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({}, headers={"Quartet-Tags": "list"} | headers)

    behind.answer = answer
    for _ in range(2):
        reply = await caching.send("GET", f"/api/articles?tag={len(str(headers))}")
        assert reply.headers["Cache-Status"] == "quartet; fwd=miss"


async def test_an_error_is_passed_on_and_not_kept(caching: Running, books: Library) -> None:
    books.failing = True
    assert (await read(caching, "ada-10")).status == 500
    books.failing = False
    assert (await read(caching, "ada-10")).status == 200


class Crowd:
    """Readers and writers at random, at two gateways, while events and projections lag."""

    def __init__(self, gateways: tuple[Running, Running], books: Library, seed: int) -> None:
        self._gateways, self._books, self._chance = gateways, books, random.Random(seed)
        self.slugs = [f"n{seed}{name}-{n}" for name in "xyz" for n in range(3)]

    async def go(self, steps: int) -> None:
        """Do one thing after the other; each time, what was written before must be seen."""
        for _ in range(steps):
            slug, action = self._chance.choice(self.slugs), self._chance.random()
            if action < 0.04:
                await self._write(slug)
            elif action < 0.08:
                await self._rename(slug)
            else:
                await read(self._chance.choice(self._gateways), slug)

    async def _write(self, slug: str) -> None:
        at = await self._books.write(slug, late=self._chance.random() * 0.02)
        await self._never_older(slug, "article", self._books.articles[slug], f"content={at}")

    async def _rename(self, slug: str) -> None:
        name, late, lag = slug.partition("-")[0], self._chance.random(), self._chance.random()
        at = await self._books.rename(name, late=late * 0.02, lag=lag * 0.1)
        await self._never_older(slug, "author", self._books.authors[name], f"users={at}")

    async def _never_older(self, slug: str, what: str, version: int, after: str) -> None:
        """Until the event has come to each gateway, and then for a while."""
        for gateway in self._gateways:
            kept = 0
            while kept < 4:
                reply = await read(gateway, slug, Quartet_After=after)
                assert reply.json[what] >= version
                await read(gateway, slug)
                kept += reply.headers["Cache-Status"] != "quartet; fwd=bypass"


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_stale_is_ever_read(
    caching: Running, another: Running, books: Library, seed: int
) -> None:
    gateways, books.slow = (caching, another), True
    crowd = Crowd(gateways, books, seed)
    await asyncio.gather(*(crowd.go(100) for _ in range(10)))
    last = f"content={await books.write('last-1')}"
    for gateway in gateways:

        async def heard(gateway: Running = gateway) -> bool:
            await read(gateway, "ada-11")
            return await status(gateway, "ada-11", Quartet_After=last) == "quartet; hit"

        await until(heard, what="the last event")
        for slug in crowd.slugs * 2:
            seen = (await read(gateway, slug)).json
            assert seen["article"] == books.articles.get(slug, 0)
            assert seen["author"] == books.authors.get(slug.partition("-")[0], 0)
