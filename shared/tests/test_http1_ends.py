"""How connections end: by the client, by time, or because the server stops."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.http1.connection import Connection
from shared.http1.messages import Ready, lines
from shared.tests.wire import (
    SECONDS,
    Client,
    Server,
    body_of,
    connected,
    eventually,
    replies,
    said_to,
    serving,
    still,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LONG = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"


class Holding:
    """An app that has begun, and goes on when it is told to. `heard` is what it received last."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.heard: dict[str, Any] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.set()
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(9):
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        await send({"type": "http.response.body"})
        self.ended.set()


async def listen(app: Holding, receive: Any) -> None:
    """Take all that comes until the client is gone."""
    app.begun.set()
    while app.heard.get("type") != "http.disconnect":
        app.heard = await receive()
    app.ended.set()


async def soon(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), SECONDS)


@pytest.mark.parametrize("said", [GET, LONG, LONG + b"half"])
@pytest.mark.parametrize("breaks", [True, False])
async def test_an_app_hears_that_its_client_is_gone(said: bytes, *, breaks: bool) -> None:
    app = Holding()
    async with serving() as server:
        server.app = lambda _, receive, __: listen(app, receive)
        async with connected(server) as client:
            client.say(said)
            await soon(app.begun)
            if breaks:
                client.writer.transport.abort()
        await soon(app.ended)


async def test_what_is_sent_to_a_client_that_is_gone_is_lost_without_a_word() -> None:
    app = Holding()
    async with serving() as server:
        server.app = app
        async with connected(server) as client:
            client.say(GET, GET)
            await soon(app.begun)
            client.writer.transport.abort()
        await eventually(lambda: not server.service.connections)
        app.go_on.set()
        await soon(app.ended)


@pytest.mark.parametrize("begun", [b"", b"\r\n", GET[:-2], GET, GET + GET[:9]])
async def test_who_sends_no_head_is_not_waited_for(begun: bytes) -> None:
    async with serving(patience=0.05) as server, connected(server) as client:
        client.say(begun)
        methods = ["GET"] * begun.count(GET)
        assert len(replies(await client.rest(), *methods)) == len(methods)


async def test_who_trickles_a_head_is_not_waited_for_either() -> None:
    async with serving(patience=0.05) as server, connected(server) as client:
        ended = asyncio.create_task(client.rest())
        began = asyncio.get_running_loop().time()
        while not ended.done():
            client.say(b"x")
            await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - began < 1


async def test_who_does_not_read_the_last_reply_is_not_waited_for() -> None:
    async with serving(patience=0.05) as server, connected(server) as client:
        server.at_once = lambda _: large()
        client.say(GET)
        await still(lambda: len(server.service.connections))
        await eventually(lambda: not server.service.connections)


def large() -> Ready:
    return (200, lines([(b"content-length", b"5000000")]), b"x" * 5_000_000)


async def test_there_is_room_for_so_many_connections() -> None:
    async with serving() as server:
        server.service.most = 1
        async with connected(server) as first:
            first.say(GET)
            await eventually(lambda: server.seen)
            async with connected(server) as second:
                ((status, fields, _),) = replies(await second.rest(), "GET")
            assert (status, fields[b"retry-after"]) == (503, b"1")
        await eventually(lambda: not server.service.connections)
        assert replies(await said_to(server, GET.replace(b"1.1", b"1.0")), "GET")


async def test_an_app_has_all_the_time_that_it_takes() -> None:
    app = Holding()
    async with serving(patience=0.05) as server, connected(server) as client:
        server.app = app
        client.say(GET)
        await soon(app.begun)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.read(1), 0.15)
        app.go_on.set()
        assert (await client.rest()).endswith(b"0\r\n\r\n")


@asynccontextmanager
async def accepted_late(server: Server) -> AsyncIterator[Client]:
    """A client whose connection the server has had before it stopped, in a handshake."""
    loop, (theirs, ours) = asyncio.get_running_loop(), socket.socketpair()
    for end in (theirs, ours):
        end.setblocking(False)
    await loop.connect_accepted_socket(lambda: Connection(server.service), theirs)
    reader, writer = await asyncio.open_connection(sock=ours)
    yield Client(reader, writer)
    writer.close()


async def test_a_server_that_stops_answers_what_runs_and_takes_nothing_new() -> None:
    app = Holding()
    async with serving() as server, connected(server) as idle, connected(server) as busy:
        server.app = app
        idle.say(GET[:9])
        busy.say(GET, GET)
        await soon(app.begun)
        server.stop.set()
        assert await idle.rest() == b""
        with pytest.raises(ConnectionRefusedError):
            async with connected(server):
                pass
        async with accepted_late(server) as late:
            assert await late.rest() == b""
        assert not server.serving.done()
        app.go_on.set()
        [(status, fields, _)] = replies(await busy.rest(), "GET")
        assert (status, fields[b"connection"]) == (200, b"close")
        busy.writer.close()
        await asyncio.wait_for(server.serving, SECONDS)


async def test_a_server_that_is_cancelled_breaks_off_what_runs() -> None:
    app = Holding()
    async with serving() as server, connected(server) as client:
        server.app = lambda _, receive, __: listen(app, receive)
        client.say(GET)
        await soon(app.begun)
        server.serving.cancel()
        await soon(app.ended)
        assert await client.rest() == b""


async def test_a_task_that_is_cancelled_is_500() -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        tasks.extend(filter(None, [asyncio.current_task()]))
        await body_of(receive)

    async with serving() as server, connected(server) as client:
        server.app = app
        client.say(LONG)
        await eventually(lambda: tasks)
        tasks[0].cancel()
        [(status, _, _)] = replies(await client.rest(), "POST")
        assert status == 500
