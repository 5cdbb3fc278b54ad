"""A server of HTTP/1.1 in the test's own loop, and clients that write bytes of their choice."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import h11

from shared.http1.messages import Ready
from shared.http1.service import Service
from shared.http1.serving import serve
from shared.testing import until

SECONDS = 5.0  # for anything that a test waits for
BUFFER = 65_536  # bytes
App = Callable[[Any, Any, Any], Awaitable[None]]
Reply = tuple[int, dict[bytes, bytes], bytes]


def nothing_at_once(_: Any) -> Ready | None:
    return None


class Server:
    """Serves `app`, which a test may exchange at any time; `seen` are the requests that the first
    one, `tell`, has read. `complaints` are what the loop had to say.
    """

    def __init__(self, patience: float, largest: int) -> None:
        self.app: App = self.tell
        self.at_once: Callable[[Any], Ready | None] = nothing_at_once
        self.seen: list[tuple[Any, ...]] = []
        self.complaints: list[dict[str, Any]] = []
        self.stop = asyncio.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        _shorten(self._listening)
        self.port: int = self._listening.getsockname()[1]
        self.service = Service(
            self._call,
            lambda scope: self.at_once(scope),
            scheme="http",
            patience=patience,
            largest=largest,
        )
        self.serving = asyncio.create_task(serve(self.service, self._listening, None, self.stop))

    async def _call(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    async def tell(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer with the target, once the request was read."""
        body = await body_of(receive)
        target = scope["raw_path"] + (
            b"?" + scope["query_string"] if scope["query_string"] else b""
        )
        method, version = scope["method"].encode(), scope["http_version"].encode()
        self.seen.append((method, target, version, scope["headers"], body))
        await answer(send, 200, target)


async def body_of(receive: Any) -> bytes:
    """The whole of a request's body. Raises `EOFError` if the client goes before."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise EOFError
        body, more = body + message["body"], message["more_body"]
    return body


async def answer(send: Any, status: int, body: bytes, *fields: tuple[bytes, bytes]) -> None:
    """Send a whole reply of a known length."""
    said = [*fields, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": said})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(patience: float = SECONDS, largest: int = 100_000) -> AsyncIterator[Server]:
    """A server. It ends without a task, a connection or a complaint that stays behind."""
    loop = asyncio.get_running_loop()
    server = Server(patience, largest)
    loop.set_exception_handler(lambda _, context: _hear(server, context))
    try:
        yield server
    finally:
        server.stop.set()
        await asyncio.wait({server.serving}, timeout=SECONDS)
        server.serving.cancel()
        await asyncio.wait({server.serving})
        left = {task for task in asyncio.all_tasks() if _is_ours(task)}
        if left:
            await asyncio.wait(left, timeout=SECONDS)
        gc.collect(1)
        loop.set_exception_handler(None)
    assert not server.service.connections
    assert not server.complaints
    assert all(task.done() for task in left)


def _is_ours(task: asyncio.Task[Any]) -> bool:
    """Whether a server has begun it: the loop is others' as well."""
    return getattr(task.get_coro(), "__qualname__", "") in ("Connection._run", "Socket._run")


def _hear(server: Server, context: dict[str, Any]) -> None:
    if "task" not in context or _is_ours(context["task"]):
        server.complaints.append(context)


class Client:
    """A connection, and what was read from it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, *pieces: bytes) -> None:
        """Write, without waiting for anybody to read it."""
        self.writer.write(b"".join(pieces))

    async def say_slowly(self, pieces: Iterable[bytes]) -> None:
        """Write so that each piece is read by itself."""
        own = self.writer.get_extra_info("socket")
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            self.writer.write(piece)
            for _ in range(3):  # turns of the loop, in which the server reads
                await asyncio.sleep(0)

    @property
    def unsent(self) -> int:
        """Bytes that the server has not taken."""
        return self.writer.transport.get_write_buffer_size()

    async def until(self, mark: bytes) -> bytes:
        """What comes until a mark."""
        return await asyncio.wait_for(self.reader.readuntil(mark), SECONDS)

    async def take(self, size: int) -> bytes:
        """So many bytes."""
        return await asyncio.wait_for(self.reader.readexactly(size), SECONDS)

    async def rest(self) -> bytes:
        """What comes until the server closes. Raises `ConnectionError` if it breaks instead."""
        return await asyncio.wait_for(self.reader.read(), SECONDS)


def _shorten(own: socket.socket) -> None:
    """Let who is slow be felt soon."""
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        own.setsockopt(socket.SOL_SOCKET, buffer, BUFFER)


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Client]:
    """A client, which goes at the end."""
    own = socket.socket()
    _shorten(own)
    own.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", server.port))
    except OSError:
        own.close()
        raise
    reader, writer = await asyncio.open_connection(sock=own, limit=BUFFER)
    try:
        yield Client(reader, writer)
    finally:
        if writer.transport.get_write_buffer_size():
            writer.transport.abort()
        writer.close()


async def said_to(server: Server, *pieces: bytes) -> bytes:
    """All that the server says on one connection, until it closes."""
    async with connected(server) as client:
        client.say(*pieces)
        return await client.rest()


def replies(data: bytes, *methods: str) -> list[Reply]:
    """Whole replies to requests of such methods, as h11 reads them; nothing is left over. Raises
    `h11.RemoteProtocolError` if one is not whole.
    """
    found, trailing = [], data
    for method in methods:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        client.receive_data(trailing)
        client.receive_data(b"")
        reply, body = client.next_event(), b""
        assert isinstance(reply, h11.Response), reply
        while isinstance(event := client.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage), event
        found.append((reply.status_code, dict(reply.headers), body))
        trailing = client.trailing_data[0]
    assert trailing == b""
    return found


async def still(measure: Callable[[], int]) -> int:
    """A figure, once it has not changed for a while."""
    loop, found, since = asyncio.get_running_loop(), -1, 0.0
    while found != measure() or loop.time() - since < 0.05:
        if found != measure():
            found, since = measure(), loop.time()
        await asyncio.sleep(0.001)
    return found


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until something is true."""

    async def asked() -> Any:
        return condition()

    await until(asked, seconds=SECONDS)
