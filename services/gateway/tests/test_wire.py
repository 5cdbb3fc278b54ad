"""Connections to services: kept, shared by nobody at once, and given up where they are unclear."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from services.gateway.messages.answer import Answer, Failed, NothingAnswered, Unreached
from services.gateway.messages.body import ONE_PIECE
from services.gateway.messages.calls import Request
from services.gateway.settings import Settings
from services.gateway.upstream.connections import Connections
from services.gateway.upstream.wire import Wire
from shared.testing import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-One: 1\r\n\r\nok"
LONG = ONE_PIECE * 40


class Service:
    """A socket that says `says` to each request, and counts its connections."""

    def __init__(self, says: bytes, *, closes: bool = False) -> None:
        self.says, self.closes = says, closes
        self.connections = self.open = 0
        self.heard: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                self.heard.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.says)
                await writer.drain()
                if self.closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def wired(
    service: Service, *, keep_alive: float = 5.0
) -> AsyncIterator[Callable[[], asyncio.Task[Answer]]]:
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    wire = Wire(keep_alive=keep_alive, connect_timeout=5)

    def ask() -> asyncio.Task[Answer]:
        fields = [("X-Request-Id", "one")]
        return asyncio.create_task(wire.ask(url, "GET", "/a?b=c", fields, None, 2.0))

    async with server:
        yield ask
        wire.close()
        server.close()


async def test_a_connection_is_kept_and_used_again() -> None:
    service = Service(OK)
    async with wired(service) as ask:
        for _ in range(3):
            answer = await ask()
            assert (answer.status, answer.whole) == (200, b"ok")
            assert answer.headers["x-one"] == "1"
        assert service.connections == 1
        assert service.heard[0].startswith(b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")
        assert b"\r\nX-Request-Id: one\r\n" in service.heard[0]


async def test_an_idle_connection_is_closed_after_a_while() -> None:
    service = Service(OK)
    async with wired(service, keep_alive=0.05) as ask:
        await ask()

        async def closed() -> bool:
            return service.open == 0

        await until(closed, what="its end")
        assert (await ask()).whole == b"ok"
        assert service.connections == 2


async def test_requests_at_once_have_a_connection_each() -> None:
    service = Service(OK)
    async with wired(service) as ask:
        answers = await asyncio.gather(*(ask() for _ in range(5)))
        assert [answer.whole for answer in answers] == [b"ok"] * 5
        assert service.connections == 5


async def test_who_waits_no_longer_ends_the_connection() -> None:
    service = Service(b"")  # says nothing
    async with wired(service) as ask:
        waiting = ask()

        async def heard() -> bool:
            return bool(service.heard)

        await until(heard, what="the request")
        waiting.cancel()

        async def closed() -> bool:
            return service.open == 0

        await until(closed, what="the end of the connection")


async def test_a_long_answer_comes_in_pieces_though_it_is_taken_late() -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {LONG}\r\n\r\n".encode()
    service = Service(head + b"x" * LONG)
    async with wired(service) as ask:
        first, second = await ask(), await ask()
        assert first.whole is None
        for answer in (second, first):
            assert sum([len(piece) async for piece in answer.pieces()]) == LONG


async def test_an_answer_may_end_with_its_connection() -> None:
    async with wired(Service(b"HTTP/1.1 200 OK\r\n\r\nto the end", closes=True)) as ask:
        answer = await ask()
        assert b"".join([piece async for piece in answer.pieces()]) == b"to the end"


async def test_interim_answers_are_passed_over() -> None:
    service = Service(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)
    async with wired(service) as ask:
        answer = await ask()
        assert (answer.status, answer.whole) == (200, b"ok")
        assert "Link" not in answer.headers


@pytest.mark.parametrize(
    ("says", "fault"),
    [
        (b"", NothingAnswered),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", Failed),
        (b"SSH-2.0-OpenSSH_9\r\n", Failed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", Failed),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Failed),
    ],
)
async def test_what_is_no_answer_is_an_error(says: bytes, fault: type[Exception]) -> None:
    async with wired(Service(says, closes=True)) as ask:
        with pytest.raises(Failed) as raised:
            await ask()
        assert type(raised.value) is fault


async def test_a_connection_that_says_more_than_was_asked_is_not_used_again() -> None:
    service = Service(OK + OK)
    async with wired(service) as ask:
        for _ in range(2):
            assert (await ask()).whole == b"ok"
        assert service.connections == 2


async def test_no_field_ends_a_line_too_early() -> None:
    wire = Wire(keep_alive=1, connect_timeout=1)
    for value in ("a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"):
        with pytest.raises(ValueError, match="control character"):
            await wire.ask("http://127.0.0.1:9", "GET", "/", [("a", value)], None, 1.0)


async def test_who_does_not_listen_is_not_reached() -> None:
    wire = Wire(keep_alive=1, connect_timeout=1)
    with pytest.raises(Unreached):
        await wire.ask("http://127.0.0.1:1", "GET", "/", [], None, 1.0)


@pytest.mark.parametrize(
    ("says", "closes", "fault"),
    [
        (b"", True, NothingAnswered),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", True, Failed),
        (b"", False, TimeoutError),
        (None, True, Unreached),
    ],
)
async def test_what_goes_by_aiohttp_fails_in_the_same_ways(
    says: bytes | None, closes: bool, fault: type[Exception]
) -> None:
    server = await asyncio.start_server(Service(says or b"", closes=closes).serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, Connections(Settings()) as connections:
        if says is None:
            server.close()
        with pytest.raises(fault) as raised:
            await connections.ask(url, Request("HEAD", "/", [], None, 0.2), [])
        assert fault is not Failed or type(raised.value) is Failed
