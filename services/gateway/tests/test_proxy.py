"""Bytes both ways: streaming, limits, failures of either side; on both servers."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web

from deploy.local.state import free_port
from services.gateway.tests.behind import Behind, talking
from services.gateway.tests.conftest import Told
from services.gateway.tests.running import Running, running
from shared.testing import Signer, until

MEGABYTE = 1_048_576
Started = Callable[[str], AbstractAsyncContextManager[Running]]


@pytest.fixture(params=["http1", "hypercorn"])
def before(
    request: pytest.FixtureRequest,
    folder: Path,
    session: aiohttp.ClientSession,
    told: Told,
    behind: Behind,
) -> Started:
    """Starts a gateway whose content service is at the URL given; the others echo."""

    def start(url: str) -> AbstractAsyncContextManager[Running]:
        return running(
            folder, session, told | {"GATEWAY_CONTENT_URL": url, "GATEWAY_SERVER": request.param}
        )

    return start


async def pieces(size: int, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size


async def test_a_small_body_travels_in_one_piece(gateway: Running, behind: Behind) -> None:
    reply = await gateway.send("POST", "/api/users", data=b"a" * 500)
    assert reply.json["body"] == "a" * 500
    assert reply.json["headers"]["content-length"] == "500"
    chunked = await gateway.send("POST", "/api/users", data=pieces(100, 5))
    assert chunked.json["headers"]["content-length"] == "500"
    empty = await gateway.send("POST", "/api/users")
    assert empty.json["headers"]["content-length"] == "0"


async def test_a_large_body_is_streamed(gateway: Running, behind: Behind) -> None:
    for data in (b"x" * 900_000, pieces(90_000, 10)):
        reply = await gateway.send("POST", "/api/users", data=data)
        assert (reply.status, reply.json["body"]) == (200, 900_000)


async def test_the_service_receives_a_large_body_while_it_is_sent(
    gateway: Running, behind: Behind
) -> None:
    received, go_on = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.content.readany()
        received.set()
        return web.Response(text=str(len(await request.read())))

    async def slowly() -> AsyncIterator[bytes]:
        yield b"x" * 200_000
        await received.wait()
        yield b"x" * 1000

    behind.answer = answer
    reply = await asyncio.wait_for(gateway.send("POST", "/api/users", data=slowly()), 10)
    assert reply.status == 200
    assert not go_on.is_set()


@pytest.mark.parametrize("size", [MEGABYTE + 1, 3 * MEGABYTE, 30 * MEGABYTE])
async def test_a_body_over_the_limit_is_413(gateway: Running, behind: Behind, size: int) -> None:
    reply = await gateway.send("POST", "/api/users", data=io.BytesIO(b"x" * size))
    assert (reply.status, reply.json["title"]) == (413, "Content Too Large")
    assert behind.requests == []


async def test_a_body_of_unknown_length_over_the_limit_is_413(
    gateway: Running, behind: Behind
) -> None:
    reply = await gateway.send("POST", "/api/users", data=pieces(65_536, 30))
    assert reply.status == 413


async def test_a_body_that_never_ends_is_408(gateway: Running, behind: Behind) -> None:
    begun = time.monotonic()
    answer = await gateway.raw(
        b"POST /api/users HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"
    )
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert time.monotonic() - begun < 5


async def test_expect_continue_is_answered_at_the_door(gateway: Running, behind: Behind) -> None:
    reply = await gateway.send("POST", "/api/users", data=b"abc", expect100=True)
    assert reply.json["body"] == "abc"
    assert "expect" not in reply.json["headers"]


async def test_a_body_over_the_limit_is_refused_before_it_is_sent(gateway: Running) -> None:
    answer = await gateway.raw(
        b"POST /api/users HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
        b"Content-Length: 9000000\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413 "), "who waits for the body says 408"


async def test_a_reply_is_streamed(gateway: Running, behind: Behind) -> None:
    go_on = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        await reply.write(b"first")
        await go_on.wait()
        await reply.write(b"second")
        return reply

    behind.answer = answer
    async with gateway.session.get(f"{gateway.url}/api/tags") as reply:
        assert await asyncio.wait_for(reply.content.readexactly(5), 5) == b"first"
        go_on.set()
        assert await reply.read() == b"second"


async def test_a_large_reply_with_a_length_arrives_whole(gateway: Running, behind: Behind) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"y" * 5_000_000)

    behind.answer = answer
    reply = await gateway.send("GET", "/api/tags")
    assert reply.headers["Content-Length"] == "5000000"
    assert reply.body == b"y" * 5_000_000


async def test_an_encoded_reply_travels_as_it_is(gateway: Running, behind: Behind) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        reply = web.Response(text="z" * 10_000)
        reply.enable_compression(web.ContentCoding.gzip)
        return reply

    behind.answer = answer
    reply = await gateway.send("GET", "/api/tags", headers={"Accept-Encoding": "gzip"})
    assert reply.headers["Content-Encoding"] == "gzip"
    assert reply.body == b"z" * 10_000


@pytest.mark.parametrize("status", [204, 301, 304, 404, 409, 418, 500])
async def test_any_status_travels_back(gateway: Running, behind: Behind, status: int) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    behind.answer = answer
    reply = await gateway.send("GET", "/api/tags")
    assert (reply.status, reply.headers["Location"]) == (status, "/elsewhere")


async def test_a_client_that_does_not_read_holds_the_service_back(
    gateway: Running, behind: Behind
) -> None:
    written = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal written
        reply = web.StreamResponse()
        await reply.prepare(request)
        for _ in range(1000):
            await reply.write(b"x" * 100_000)
            written += 100_000
        return reply

    async def settled() -> bool:
        before = written
        await asyncio.sleep(0.3)
        return before == written > 0

    behind.answer = answer
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1000)
    writer.write(b"GET /api/tags HTTP/1.1\r\nHost: a\r\nX-Request-Id: lazy\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    await until(settled, what="back-pressure")
    assert written < 50_000_000
    await gateway.logged(event="the reply could not be completed", level="warning")
    await gateway.logged(event="request", request_id="lazy")
    assert written < 60_000_000
    writer.close()


async def test_a_client_that_goes_takes_its_request_along(gateway: Running, behind: Behind) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return web.Response()

    behind.answer = answer
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /api/tags HTTP/1.1\r\nHost: a\r\nX-Request-Id: goes\r\n\r\n")
    await begun.wait()
    writer.close()
    await asyncio.wait_for(cancelled.wait(), 5)
    line = await gateway.logged(event="request", request_id="goes")
    assert line["status"] == 499, "when the gateway's own time is over it says 504"


async def test_a_client_that_goes_while_it_sends_takes_its_request_along(
    gateway: Running, behind: Behind
) -> None:
    ended = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return web.Response(text=str(len(await request.read())))
        finally:
            ended.set()

    behind.answer = answer
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /api/users HTTP/1.1\r\nHost: a\r\nX-Request-Id: half\r\n")
    writer.write(b"Content-Length: 900000\r\n\r\n" + b"x" * 300_000)
    await until(lambda: _true(behind.requests), what="the request")
    writer.close()
    await asyncio.wait_for(ended.wait(), 5)
    assert (await gateway.logged(event="request", request_id="half"))["status"] == 499


async def _true(value: object) -> bool:
    return bool(value)


async def test_a_service_that_is_down_is_503(before: Started, signer: Signer) -> None:
    async with before(f"http://127.0.0.1:{free_port()}") as gateway:
        for method, path in (("GET", "/api/tags"), ("GET", "/api/articles")):
            reply = await gateway.send(method, path)
            assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
            assert reply.headers["Content-Type"] == "application/problem+json"
        assert (await gateway.send("POST", "/api/users")).status == 200
        ready = await gateway.send("GET", "/readyz")
        assert ready.status == 200
        assert ready.json["checks"]["content"] == "can't be reached"


async def test_a_service_that_hangs_is_504(gateway: Running, behind: Behind) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    behind.answer = answer
    begun = time.monotonic()
    for method, path in (("GET", "/api/tags"), ("POST", "/api/users")):
        reply = await gateway.send(method, path, data=b"abc")
        assert (reply.status, reply.json["title"]) == (504, "Gateway Timeout")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Len",
    ],
)
async def test_a_broken_reply_is_502(before: Started, said: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()

    async with talking(talk) as url, before(url) as gateway:
        reply = await gateway.send("GET", "/api/tags")
        assert (reply.status, reply.json["title"]) == (502, "Bad Gateway")


async def test_a_reply_that_breaks_off_never_looks_whole(before: Started) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n")
        await writer.drain()

    async with talking(talk) as url, before(url) as gateway:
        async with gateway.session.get(f"{gateway.url}/api/tags") as reply:
            assert reply.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await reply.read()
        lines = await gateway.lines()
        assert not [line for line in lines if "exception" in line]


async def test_what_may_be_repeated_is_sent_again_once(before: Started) -> None:
    """As when a service closes a kept connection in the moment that a request comes on it."""
    asked: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            asked.append(head.split(b" ")[1])
            if asked.count(b"/api/tags") == 2:
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()

    async with talking(talk) as url, before(url) as gateway:
        assert (await gateway.send("GET", "/api/tags")).status == 200
        assert (await gateway.send("GET", "/api/tags")).status == 200
        assert asked.count(b"/api/tags") == 3


async def test_a_write_is_sent_once_only(before: Started, signer: Signer, account: UUID) -> None:
    count = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        head = await reader.readuntil(b"\r\n\r\n")
        count += head.startswith(b"POST")

    async with talking(talk) as url, before(url) as gateway:
        headers = signer.headers(account)
        reply = await gateway.send("POST", "/api/articles", data=b"{}", headers=headers)
        assert reply.status == 502
        assert count == 1


async def test_an_early_refusal_ends_the_upload(gateway: Running, behind: Behind) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"no": "thanks"}, status=422)

    behind.answer = answer
    reply = await gateway.send("POST", "/api/users", data=b"x" * 1_000_000)
    assert (reply.status, reply.json) == (422, {"no": "thanks"})
    assert (await gateway.send("GET", "/api/tags")).status == 422


async def test_many_at_once_wait_for_a_connection_in_bounds(
    gateway: Running, behind: Behind
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return web.Response(text="ok")

    behind.answer = answer
    replies = await asyncio.gather(*(gateway.send("GET", "/api/tags") for _ in range(250)))
    assert {reply.status for reply in replies} == {200}
