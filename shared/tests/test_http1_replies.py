"""Replies, as their apps give them, and clients who are slow, who go, or who ask too much."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import h11
import pytest

from shared.http1.messages import Ready, lines
from shared.http1.request import Request
from shared.tests.wire import (
    App,
    Server,
    answer,
    connected,
    eventually,
    nothing_at_once,
    replies,
    said_to,
    serving,
    still,
)

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
LARGE = 5_000_000


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def anew(server: Server) -> None:
    """Each test finds a server that answers with the target."""
    server.app, server.at_once = server.tell, nothing_at_once
    server.seen.clear()


def start(status: int = 200, *fields: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(fields)}


def part(body: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def saying(*messages: dict[str, Any]) -> App:
    """An app that sends these, and then raises if the last says that there is more."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        if messages and messages[-1].get("more_body"):
            raise ZeroDivisionError

    return app


TEN = (b"content-length", b"10")


@pytest.mark.parametrize(
    ("method", "messages", "status", "said", "body"),
    [
        ("GET", [start(), part(b"a", more=True), part(more=True), part(b"b")], 200, {}, b"ab"),
        (
            "GET",
            [start(200, TEN), part(b"01234", more=True), part(b"56789")],
            200,
            {},
            b"0123456789",
        ),
        ("GET", [start(299, (b"transfer-encoding", b"gzip")), part(b"a")], 299, {}, b"a"),
        ("GET", [start(200, (b"date", b"today")), part()], 200, {b"date": b"today"}, b""),
        ("HEAD", [start(200, TEN), part(b"0123456789")], 200, {b"content-length": b"10"}, b""),
        ("HEAD", [start(), part(b"a", more=True), part(b"b")], 200, {}, b""),
        ("GET", [start(204, (b"content-length", b"0")), part()], 204, {}, b""),
        ("GET", [start(304, TEN), part()], 304, {b"content-length": b"10"}, b""),
    ],
)
async def test_a_reply_ends_where_it_says(
    server: Server,
    method: str,
    messages: list[Any],
    status: int,
    said: dict[bytes, bytes],
    body: bytes,
) -> None:
    server.app = saying(*messages)
    data = await said_to(server, method.encode() + LAST.removeprefix(b"GET"))
    [(found, fields, got)] = replies(data, method)
    assert (found, got) == (status, body)
    assert said.items() <= fields.items()
    assert data.count(b"date: ") == 1
    assert fields.get(b"transfer-encoding", b"chunked") == b"chunked"
    assert (status != 204 and method != "HEAD") or b"transfer-encoding" not in fields
    assert status != 204 or b"content-length" not in fields


BAD = [
    [],
    [start()],
    [part(b"a")],
    [start(100), part()],
    [start(200, (b"a", b"b\r\nc: d")), part()],
    [start(200, (b"a", b"b\n")), part()],
    [start(200, (b"a\r\nb", b"c")), part()],
    [start(200, (b"a", b"\0")), part()],
    [start(200, TEN), part(b"short")],
    [start(200, TEN), part(b"too long by far")],
    [start(200, TEN), part(b"too long by far", more=True)],
    [start(200, TEN, (b"content-length", b"5")), part(b"short")],
    [start(200, (b"content-length", b"1_0")), part(b"0123456789")],
    [start(200, (b"content-length", b"-1")), part()],
    [start(304), part(b"a")],
]


@pytest.mark.parametrize("messages", BAD)
async def test_a_reply_that_can_not_be_is_500_and_the_last(
    server: Server, messages: list[Any]
) -> None:
    server.app = saying(*messages)
    [(status, fields, body)] = replies(await said_to(server, GET % b"/", GET % b"/"), "GET")
    assert (status, fields[b"connection"]) == (500, b"close")
    assert b"could not be completed" in body


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize(
    "messages",
    [
        [start(), part(b"half", more=True)],
        [start(200, TEN), part(b"half", more=True)],
        [start(200, TEN), part(b"half", more=True), part()],
        [start(200, TEN), part(b"half", more=True), part(b"too long by far")],
        [start(), part(b"half", more=True), start()],
    ],
)
async def test_half_a_reply_never_looks_whole(
    server: Server, messages: list[Any], version: bytes
) -> None:
    server.app = saying(*messages)
    with pytest.raises((h11.RemoteProtocolError, ConnectionResetError)):
        replies(await said_to(server, b"GET / HTTP/" + version + b"\r\nHost: a\r\n\r\n"), "GET")


async def test_replies_keep_the_order_of_requests(server: Server) -> None:
    go_on = asyncio.Event()

    def at_once(scope: Any) -> Ready | None:
        ready = scope["raw_path"] == b"/ready"
        return (200, lines([(b"content-length", b"6")]), b"/ready") if ready else None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        await server.tell(scope, receive, send)

    server.at_once, server.app = at_once, app
    paths = [b"/ready", b"/1", b"/ready", b"/2", b"/3", b"/ready", b"/ready", b"/4"]
    async with connected(server) as client:
        client.say(*(GET % path for path in paths), LAST)
        await client.until(b"/ready")
        go_on.set()
        found = replies(await client.rest(), *["GET"] * len(paths))
    assert [body for _, _, body in found] == [*paths[1:], b"/last"]
    assert found[-1][1][b"connection"] == b"close"


def held() -> int:
    """How many requests there are."""
    gc.collect(1)
    return sum(isinstance(one, Request) for one in gc.get_objects())


@pytest.mark.parametrize("ready", [True, False])
async def test_who_asks_much_and_reads_nothing_is_not_read_either(
    server: Server, ready: bool
) -> None:
    body, asked, count = b"x" * 10_000, 600, 0
    fields = lines([(b"content-length", b"10000")])

    def at_once(_: Any) -> Ready | None:
        nonlocal count
        count += 1
        return (200, fields, body) if ready else None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, 200, body)

    server.at_once, server.app = at_once, app
    async with connected(server) as client:
        client.say(*[GET % b"/"] * asked, LAST)
        assert 0 < await still(lambda: count) < 150
        assert held() < 250
        found = replies(await client.rest(), *["GET"] * (asked + 1))
    assert all(reply[2] == body for reply in found)


async def test_a_body_is_read_as_fast_as_the_app_takes_it(server: Server) -> None:
    go_on, sizes = asyncio.Event(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go_on.wait()
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            sizes.append(len(message["body"]))
        await answer(send, 200, b"%d" % sum(sizes))

    server.app = app
    async with connected(server) as client:
        client.say(POST, b"Content-Length: %d\r\n\r\n" % LARGE, b"x" * LARGE)
        client.say(LAST)
        assert await still(lambda: client.unsent) > LARGE / 2
        go_on.set()
        found = replies(await client.rest(), "POST", "GET")
    assert found[0][2] == b"%d" % LARGE
    assert max(sizes) < 200_000


async def test_a_reply_that_flows_lets_no_body_in_that_nobody_takes(server: Server) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        for _ in range(300):
            await send(part(b"x" * 10_000, more=True))
        await send(part())

    server.app = app
    async with connected(server) as client:
        client.say(POST, b"Content-Length: %d\r\n\r\n" % LARGE, b"x" * LARGE)
        await client.take(2_500_000)
        assert client.unsent > LARGE / 2
        assert (await client.rest()).endswith(b"0\r\n\r\n")


async def test_a_reply_is_sent_as_fast_as_the_client_reads(server: Server) -> None:
    sent, given_up = 0, 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent, given_up
        await send(start())
        while sent < 50:
            try:
                async with asyncio.timeout(0.02):
                    await send(part(b"x" * 100_000, more=True))
            except TimeoutError:  # it is sent all the same
                given_up += 1
            sent += 1
            await asyncio.sleep(0 if given_up < 2 else 0.001)
        await send(part())

    server.app = app
    async with connected(server) as client:
        client.say(LAST)
        await client.until(b"\r\n\r\n")
        await eventually(lambda: given_up)
        assert (await client.rest()).count(b"x") == 50 * 100_000


async def test_a_client_is_answered_in_the_middle_of_its_upload(server: Server) -> None:
    server.app = saying(start(413, (b"content-length", b"3")), part(b"no!"))
    async with connected(server) as client:
        client.say(POST, b"Content-Length: %d\r\n\r\n" % LARGE, b"x" * LARGE)
        [(status, fields, _)] = replies(await client.rest(), "POST")
        assert (status, fields[b"connection"]) == (413, b"close")


async def test_who_waits_for_leave_to_send_gets_it_when_the_body_is_wanted(server: Server) -> None:
    expecting = POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    async with connected(server) as client:
        client.say(expecting)
        assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.say(b"abc", LAST)
        assert len(replies(await client.rest(), "POST", "GET")) == 2
    server.app = saying(start(403), part())
    [(status, fields, _)] = replies(await said_to(server, expecting), "POST")
    assert (status, fields[b"connection"]) == (403, b"close")


async def test_what_fails_at_once_is_500_and_the_last(server: Server) -> None:
    def at_once(_: Any) -> Ready:
        raise ZeroDivisionError

    server.at_once = at_once
    [(status, fields, _)] = replies(await said_to(server, GET % b"/", LAST), "GET")
    assert (status, fields[b"connection"]) == (500, b"close")
