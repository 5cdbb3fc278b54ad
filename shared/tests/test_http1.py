"""Requests, as hostile clients frame them, and who is owed which answer (RFC 9112)."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from shared.http1.messages import Ready
from shared.tests.wire import (
    Server,
    connected,
    nothing_at_once,
    replies,
    said_to,
    serving,
)

GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def anew(server: Server) -> None:
    """Each test finds a server that has seen nothing, and answers with the target."""
    server.app, server.at_once = server.tell, nothing_at_once
    server.seen.clear()


SEVERAL = (
    b"GET /one?a=%20b HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 300 + b" \t\r\nEmpty:\r\n\r\n",
    POST + b"Content-Length: 11\r\nTwice: 1\r\nTwice: 2\r\n\r\nhello\r\n\r\nwo",
    CHUNKED + b'5;name="a b";c\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: is no field\r\n\r\n',
    b"HEAD /two HTTP/1.1\r\nHost: a\r\n\r\n",
    POST + b"Content-Length: 0\r\n\r\n",
    LAST,
)


def read_by_h11(data: bytes) -> list[tuple[Any, ...]]:
    """The requests that another parser finds."""
    reader, found = h11.Connection(h11.SERVER), []
    reader.receive_data(data)
    while True:
        event = reader.next_event()
        if isinstance(event, h11.Request):
            head, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            fields = list(head.headers)
            found.append((head.method, head.target, head.http_version, fields, body))
            reader.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            reader.send(h11.EndOfMessage())
            if reader.our_state is not h11.DONE:
                return found
            reader.start_next_cycle()


WHOLE = b"".join(SEVERAL)
METHODS = ("GET", "POST", "POST", "HEAD", "POST", "GET")


async def read_in_pieces(server: Server, cuts: list[int]) -> list[tuple[Any, ...]]:
    """What the server's app sees of `WHOLE`, cut in pieces."""
    server.seen.clear()
    async with connected(server) as client:
        ends = sorted({0, *cuts, len(WHOLE)})
        await client.say_slowly(WHOLE[a:b] for a, b in pairwise(ends))
        assert len(replies(await client.rest(), *METHODS)) == len(SEVERAL)
    return server.seen


@settings(max_examples=40)
@given(cuts=some.lists(some.integers(1, len(WHOLE) - 1), max_size=9))
async def test_any_split_of_the_bytes_gives_the_requests_that_another_parser_finds(
    server: Server, cuts: list[int]
) -> None:
    assert await read_in_pieces(server, cuts) == read_by_h11(WHOLE)


async def test_so_do_single_bytes(server: Server) -> None:
    assert await read_in_pieces(server, list(range(len(WHOLE)))) == read_by_h11(WHOLE)


HEADS = [
    POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    POST + b"Content-Length: 3, 3\r\n\r\nabc",
    POST + b"Content-Length: +3\r\n\r\nabc",
    POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA(: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\0c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("data", HEADS)
async def test_a_head_that_two_could_read_differently_is_400_and_the_end(
    server: Server, data: bytes
) -> None:
    [(status, fields, body)] = replies(await said_to(server, data, LAST), "GET")
    assert (status, fields[b"connection"]) == (400, b"close")
    assert b"malformed" in body
    assert not server.seen


@pytest.mark.parametrize(
    "rest",
    [
        b"g\r\n",
        b"-1\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"3;a\nabc\r\n0\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nA : 5\r\n\r\n",
    ],
)
async def test_a_body_in_malformed_pieces_is_400_and_the_end(server: Server, rest: bytes) -> None:
    [(status, fields, _)] = replies(await said_to(server, CHUNKED, rest), "POST")
    assert (status, fields[b"connection"]) == (400, b"close")
    assert not server.seen


ENDLESS = {
    "target": (b"GET /", b"x" * 1000, 431),
    "field": (b"GET / HTTP/1.1\r\nA: ", b"x" * 1000, 431),
    "name": (b"GET / HTTP/1.1\r\n", b"x" * 1000, 431),
    "fields": (b"GET / HTTP/1.1\r\n", b"a:\r\n" * 250, 431),
    "empty lines": (b"", b"\r\n" * 500, 431),
    "extension": (CHUNKED + b"3;", b"x" * 1000, 431),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n" * 200, 431),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_what_never_ends_is_refused_before_it_takes_memory(server: Server, kind: str) -> None:
    begin, more, status = ENDLESS[kind]
    async with connected(server) as client:
        client.say(begin)
        answered = asyncio.create_task(client.rest())
        sent = 0
        while not answered.done() and sent < 1_000_000:
            client.say(more)
            sent += len(more)
            await asyncio.sleep(0)
        assert sent < 200_000
        [(found, fields, _)] = replies(await answered, "GET")
    assert (found, fields[b"connection"]) == (status, b"close")


@pytest.mark.parametrize(
    ("target", "seen", "host"),
    [
        (b"http://b/c?d", b"/c?d", b"b"),
        (b"http://b", b"/", b"b"),
        (b"HTTPS://b:1?d", b"/?d", b"b:1"),
        (b"*", b"*", b"a"),
        (b"/http://b", b"/http://b", b"a"),
    ],
)
async def test_a_target_that_is_an_address_names_the_host(
    server: Server, target: bytes, seen: bytes, host: bytes
) -> None:
    await said_to(server, b"OPTIONS " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n", LAST)
    _, found, _, fields, _ = server.seen[0]
    assert (found, fields) == (seen, [(b"host", host)])


async def test_an_address_is_no_host_field_that_was_not_there(server: Server) -> None:
    await said_to(server, b"GET http://b/ HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert server.seen[0][3] == [(b"connection", b"close")]


@pytest.mark.parametrize("kept", [b"", b"Connection: keep-alive\r\n"])
async def test_a_client_of_http_1_0_is_answered_once(server: Server, kept: bytes) -> None:
    def at_once(_: Any) -> Ready:
        raise AssertionError

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"no ", "more_body": True})
        await send({"type": "http.response.body", "body": b"pieces"})

    server.at_once, server.app = at_once, stream
    said = await said_to(server, b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n", kept, b"\r\n", LAST)
    [(status, fields, body)] = replies(said, "GET")
    assert (status, body) == (200, b"no pieces")
    assert fields[b"connection"] == b"close"
    assert b"transfer-encoding" not in fields


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"GET /\r\n", 505),
        (b"GET / HTTP/0.9\r\n", 505),
        (b"GET / HTTP/2.0\r\n", 505),
        (b"DANCE / HTTP/1.1\r\n", 501),
        (b"\x16\x03\x01\x02\x00\x01", 501),
    ],
)
async def test_other_versions_are_505_and_other_methods_501(
    server: Server, line: bytes, code: int
) -> None:
    [(status, _, _)] = replies(await said_to(server, line, b"\r\n"), "GET")
    assert status == code
    assert not server.seen


@pytest.mark.parametrize(
    ("method", "field"),
    [
        (
            b"POST",
            b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAM\r\n",
        ),
        (b"POST", b"Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        (b"CONNECT", b""),
    ],
)
async def test_another_protocol_is_passed_over_and_the_body_is_not(
    server: Server, method: bytes, field: bytes
) -> None:
    head = method + b" a:1 HTTP/1.1\r\nHost: a\r\n" if not field else POST
    bodies = (
        b"Content-Length: 3\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    for body in (*bodies, b"\r\n"):
        server.seen.clear()
        async with connected(server) as client:
            await client.say_slowly((head + field + body[:-2], body[-2:], LAST))
            [(status, fields, _)] = replies(await client.rest(), "POST")
        assert (status, fields[b"connection"]) == (200, b"close")
        assert [seen[4] for seen in server.seen] == [b"abc" if body in bodies else b""]
