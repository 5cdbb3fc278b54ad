"""The home page is composed of what services answer, and of those that don't it lacks a part."""

import asyncio
from uuid import UUID

from aiohttp import web

from services.gateway.tests.behind import Behind
from services.gateway.tests.running import Running
from shared.testing import Signer, until

# Odd blanks and a number that no float holds: what comes through is what was said, byte for byte.
ARTICLES = b'{ "articles" : [ {"slug":"a", "n": 12345678901234567890.0} ],"articlesCount":41 }'
BODIES = {
    "/api/articles": ARTICLES,
    "/api/tags": b'{"tags": ["x","y"]}',
    "/api/user": b'{"user": {"username":"ada"}}',
    "/api/notifications": b'{"notifications": [], "unreadCount": 3}',
}


def says(behind: Behind, *, failing: str = "", late: str = "") -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == late:
            await asyncio.sleep(30)
        if request.path == failing:
            return web.json_response({}, status=500)
        return web.Response(body=BODIES[request.path], content_type="application/json")

    behind.answer = answer


async def test_anybody_sees_articles_and_tags(gateway: Running, behind: Behind) -> None:
    says(behind)
    reply = await gateway.send("GET", "/api/home")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json")
    assert b'[ {"slug":"a", "n": 12345678901234567890.0} ]' in reply.body
    assert {name: reply.json[name] for name in reply.json if name != "articles"} == {
        "articlesCount": 41,
        "tags": ["x", "y"],
        "viewer": None,
        "unreadCount": None,
        "degraded": [],
    }
    assert sorted(one.path for one in behind.requests) == ["/api/articles", "/api/tags"]
    assert reply.headers["Cache-Control"] == "no-store"


async def test_a_member_sees_who_they_are_and_how_much_is_unread(
    gateway: Running, behind: Behind, signer: Signer, account: UUID
) -> None:
    says(behind)
    told = {
        "Authorization": f"Token {signer.token(account)}",
        "Quartet-After": "users=7",
        "If-None-Match": "*",
        "Cookie": "a=b",
    }
    reply = await gateway.send("GET", "/api/home", headers=told)
    assert (reply.json["viewer"], reply.json["unreadCount"]) == ({"username": "ada"}, 3)
    assert reply.json["degraded"] == []
    for request in behind.requests:
        assert request.headers["Authorization"] == told["Authorization"]
        assert request.headers["Quartet-After"] == "users=7"
        assert request.headers["X-Forwarded-For"] == "127.0.0.1"
        assert reply.headers["Quartet-Trace"] in request.headers["Traceparent"]
        assert 0 < int(request.headers["Quartet-Deadline"]) < 2_000
        assert not {"If-None-Match", "Cookie"} & set(request.headers)


async def test_a_part_that_fails_is_null_and_named(
    gateway: Running, behind: Behind, signer: Signer, account: UUID
) -> None:
    says(behind, failing="/api/notifications")
    told = {"Authorization": f"Token {signer.token(account)}"}
    reply = await gateway.send("GET", "/api/home", headers=told)
    assert (reply.status, reply.json["degraded"]) == (200, ["unreadCount"])
    assert (reply.json["unreadCount"], reply.json["viewer"]) == (None, {"username": "ada"})


async def test_a_part_that_is_late_is_not_waited_for(gateway: Running, behind: Behind) -> None:
    says(behind, late="/api/articles")
    begun = asyncio.get_running_loop().time()
    reply = await gateway.send("GET", "/api/home")
    assert asyncio.get_running_loop().time() - begun < 4
    assert (reply.status, reply.json["degraded"]) == (200, ["articles"])
    assert (reply.json["articles"], reply.json["articlesCount"]) == (None, None)
    assert reply.json["tags"] == ["x", "y"]
    said = await gateway.logged(event="request", route="/api/home", status=200)
    assert said["upstream"] == "gateway"


async def test_nonsense_is_a_part_that_fails(gateway: Running, behind: Behind) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text='{"tags":' if request.path == "/api/tags" else "{}")

    behind.answer = answer
    reply = await gateway.send("GET", "/api/home")
    assert (reply.status, reply.json["degraded"]) == (200, ["articles", "tags"])


async def test_a_wrong_token_is_refused_before_anybody_is_asked(
    gateway: Running, behind: Behind
) -> None:
    says(behind)
    reply = await gateway.send("GET", "/api/home", headers={"Authorization": "Token x"})
    assert (reply.status, reply.json["errors"]["token"]) == (401, ["is invalid"])
    assert not behind.requests


async def test_head_has_no_body_and_post_is_not_there(gateway: Running, behind: Behind) -> None:
    says(behind)
    reply = await gateway.send("HEAD", "/api/home")
    assert (reply.status, reply.body) == (200, b"")
    reply = await gateway.send("POST", "/api/home")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_a_client_that_goes_away_takes_its_questions_along(
    gateway: Running, behind: Behind
) -> None:
    asked, left = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            left.set()
            raise
        return web.json_response({})

    behind.answer = answer
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /api/home HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(asked.wait(), 5)
    writer.close()
    await asyncio.wait_for(left.wait(), 5)

    async def logged() -> bool:
        return any(line.get("status") == 499 for line in await gateway.lines())

    await until(logged, what="the line of a client that has gone")
