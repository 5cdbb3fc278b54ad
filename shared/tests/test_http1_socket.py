"""WebSockets of clients that keep the rules, and of those that don't (RFC 6455)."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.tests.wire import (
    SECONDS,
    App,
    Client,
    Server,
    connected,
    eventually,
    replies,
    said_to,
    serving,
    still,
)

LARGEST = 100_000
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
UPGRADE = b"GET /talk HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n"
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
HANDSHAKE = UPGRADE + KEY + VERSION + b"Sec-WebSocket-Protocol: a, b\r\n\r\n"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(patience=0.2, largest=LARGEST) as running:
        yield running


def frame(kind: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True) -> bytes:
    """A frame of a client; the mask changes nothing."""
    mask, bit = (b"\0\0\0\0", 0x80) if masked else (b"", 0)
    if len(payload) <= 125:
        size = bytes([bit | len(payload)])
    elif len(payload) < 65_536:
        size = struct.pack("!BH", bit | 126, len(payload))
    else:
        size = struct.pack("!BQ", bit | 127, len(payload))
    return bytes([0x80 * fin | kind]) + size + mask + payload


def closing(code: int) -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + b"bye")


async def next_frame(client: Client) -> tuple[int, bytes]:
    """What the server says next: a kind, and a payload."""
    first, size = await client.take(2)
    if size == 126:
        (size,) = struct.unpack("!H", await client.take(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await client.take(8))
    assert first & 0x80
    return first & 0x0F, await client.take(size)


async def code_of(client: Client) -> int:
    """The code by which the server closes, as the last that it says."""
    kind, payload = await next_frame(client)
    assert kind == CLOSE
    return int.from_bytes(payload[:2], "big")


class Talk:
    """An app that sends back what it receives, until the client has gone; `heard` is all of it."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.go_on, self.ended = asyncio.Event(), asyncio.Event()
        self.go_on.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.heard.append(await receive())
        await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][-1]})
        await self.go_on.wait()
        while self.heard[-1]["type"] != "websocket.disconnect":
            self.heard.append(message := await receive())
            if message["type"] == "websocket.receive":
                await send({**message, "type": "websocket.send"})
        self.ended.set()


@asynccontextmanager
async def talking(server: Server, app: App, *early: bytes) -> AsyncIterator[Client]:
    """A client whose WebSocket is accepted."""
    server.app = app
    async with connected(server) as client:
        client.say(HANDSHAKE, *early)
        head = await client.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        yield client


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (UPGRADE + KEY + b"Sec-WebSocket-Version: 8\r\n", 426),
        (UPGRADE + KEY, 426),
        (UPGRADE + VERSION, 400),
        (UPGRADE + VERSION + b"Sec-WebSocket-Key: c2hvcnQ=\r\n", 400),
        (UPGRADE + VERSION + b"Sec-WebSocket-Key: *\r\n", 400),
    ],
)
async def test_a_handshake_that_is_none_is_refused(
    server: Server, head: bytes, status: int
) -> None:
    [(found, fields, _)] = replies(await said_to(server, head, b"\r\n", frame(PING)), "GET")
    assert found == status
    assert fields.get(b"sec-websocket-version") == (b"13" if status == 426 else None)
    assert not server.seen


def sending(*messages: dict[str, Any]) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


REFUSAL = "websocket.http.response"


@pytest.mark.parametrize(
    ("messages", "status", "body"),
    [
        ([{"type": "websocket.close"}], 403, b"refused"),
        ([], 500, b"could not"),
        ([{"type": "websocket.send", "text": "too early"}], 500, b"could not"),
        ([{"type": "websocket.accept", "headers": [(b"a", b"b\r\nc: d")]}], 500, b"could not"),
        (
            [
                {"type": f"{REFUSAL}.start", "status": 404, "headers": [(b"content-length", b"3")]},
                {"type": f"{REFUSAL}.body", "body": b"not", "more_body": True},
                {"type": f"{REFUSAL}.body", "body": b" there"},
            ],
            404,
            b"not there",
        ),
    ],
)
async def test_an_app_refuses_by_a_reply(
    server: Server, messages: list[dict[str, Any]], status: int, body: bytes
) -> None:
    server.app = sending(*messages)
    said = await said_to(server, HANDSHAKE, frame(TEXT, b"early"), b"x" * 10_000)
    [(found, fields, got)] = replies(said, "GET")
    assert (found, fields[b"connection"]) == (status, b"close")
    assert body in got


async def test_messages_go_both_ways_whole(server: Server) -> None:
    app = Talk()
    async with talking(server, app, frame(TEXT, b"before it was accepted")) as client:
        assert (app.scope["scheme"], app.scope["subprotocols"]) == ("ws", ["a", "b"])
        assert await next_frame(client) == (TEXT, b"before it was accepted")
        large = bytes(range(250)) * 390
        client.say(frame(BINARY, large))
        assert await next_frame(client) == (BINARY, large)
        pieces = [
            *(
                frame(TEXT, "hé".encode()[:2], fin=False),
                frame(PING, b"?"),
                frame(0, b"", fin=False),
            ),
            *(frame(0, "hé".encode()[2:], fin=False), frame(0), frame(PONG)),
        ]
        await client.say_slowly(bytes([one]) for one in b"".join(pieces))
        assert await next_frame(client) == (PONG, b"?")
        assert await next_frame(client) == (TEXT, "hé".encode())
        client.say(closing(4000))
        assert await next_frame(client) == (CLOSE, struct.pack("!H", 4000) + b"bye")
        assert await client.rest() == b""
    assert app.heard[-1] == {"type": "websocket.disconnect", "code": 4000, "reason": "bye"}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, "é".encode()[:1]), 1007),
        (frame(TEXT, b"x", masked=False), 1002),
        (frame(3), 1002),
        (frame(0, b"of nothing"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        (frame(PING, fin=False), 1002),
        (frame(0x40 | TEXT), 1002),
        (frame(CLOSE, b"\0"), 1002),
        (frame(CLOSE, struct.pack("!H", 1006)), 1002),
        (frame(BINARY, b"x" * (LARGEST + 1)), 1009),
        (frame(TEXT, "é".encode() * (LARGEST // 2 + 1)), 1009),
        (frame(TEXT, b"x" * LARGEST, fin=False) + frame(0, b"x"), 1009),
    ],
)
async def test_who_breaks_the_rules_hears_which(server: Server, said: bytes, code: int) -> None:
    app = Talk()
    async with talking(server, app) as client:
        client.say(said, frame(PING), frame(TEXT, b"more"))
        assert await code_of(client) == code
        client.say(frame(PING), frame(CLOSE))
        assert await client.rest() == b""
    await asyncio.wait_for(app.ended.wait(), SECONDS)
    assert [message.get("code") for message in app.heard] == [None, code]


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([], 1000),
        ([{"type": "websocket.close", "code": 4321, "reason": "é" * 100}], 4321),
        ([{"type": "websocket.accept"}], 1011),
    ],
)
async def test_an_app_closes_and_the_client_has_time_to_answer(
    server: Server, messages: list[dict[str, Any]], code: int
) -> None:
    app = sending({"type": "websocket.accept"}, *messages)
    async with talking(server, app) as client:
        client.say(frame(PING), *[frame(TEXT, b"crossing")] * 100)
        kind, payload = await next_frame(client)
        if kind == PONG:
            kind, payload = await next_frame(client)
        assert (kind, payload[:2]) == (CLOSE, struct.pack("!H", code))
        assert server.service.connections
        client.say(frame(PING), closing(code))
        assert await client.rest() == b""
        await eventually(lambda: not server.service.connections)


async def test_who_never_answers_a_farewell_is_let_go(server: Server) -> None:
    async with talking(server, sending({"type": "websocket.accept"})) as client:
        assert await code_of(client) == 1000
        assert await client.rest() == b""


@pytest.mark.parametrize("told", [True, False])
async def test_an_app_hears_of_a_client_that_vanishes(server: Server, *, told: bool) -> None:
    app = Talk()
    async with talking(server, app) as client:
        client.say(frame(TEXT, b"a", fin=False) if told else b"")
        client.writer.transport.abort()
        await asyncio.wait_for(app.ended.wait(), SECONDS)
    assert app.heard[-1]["code"] == 1006


async def test_messages_are_read_as_fast_as_the_app_takes_them(server: Server) -> None:
    app, count = Talk(), 50_000
    app.go_on.clear()
    async with talking(server, app) as client:
        client.say(frame(TEXT, b"x" * 50) * count)
        assert await still(lambda: client.unsent) > 1_000_000
        app.go_on.set()
        client.writer.transport.abort()
        await asyncio.wait_for(app.ended.wait(), SECONDS)
    assert len(app.heard) < count / 10


@pytest.mark.parametrize("kind", [TEXT, PING])
async def test_who_reads_nothing_makes_us_keep_little(server: Server, kind: int) -> None:
    app, count, size = Talk(), 20_000, 125
    async with talking(server, app) as client:
        client.say(frame(kind, b"x" * size) * count)
        await still(lambda: client.unsent)
        [socket] = server.service.connections
        assert socket._transport.get_write_buffer_size() < 200_000  # type: ignore[attr-defined]


async def test_an_endless_message_of_nothing_takes_no_memory(server: Server) -> None:
    app = Talk()
    async with talking(server, app) as client:
        client.say(frame(TEXT, fin=False), frame(0, fin=False) * 5000, frame(0, b"x"))
        assert await next_frame(client) == (TEXT, b"x")
        [socket] = server.service.connections
        assert len(socket._part) == 0  # type: ignore[attr-defined]


async def test_a_websocket_waits_for_no_reply_before_it(server: Server) -> None:
    async with connected(server) as client:
        client.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", HANDSHAKE)
        assert len(replies(await client.rest(), "GET")) == 1
