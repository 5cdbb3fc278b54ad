"""One client's connection: what comes on it becomes requests, answered one after the other."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

import httptools

from shared.errors import AppError, BadRequest
from shared.http1.messages import Field, Ready, date_line, refusal, status_line, target_of
from shared.http1.request import Request
from shared.http1.socket import Socket, asks_for_socket

LARGEST_HEAD = 65_536  # bytes
_PIECE = 16_384  # bytes that are parsed at once: so many requests may wait behind one another
_LINGER = 2.0  # seconds for a client to read why its upload was refused
_ASGI = {"version": "3.0", "spec_version": "2.3"}
App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]


class HeadTooLarge(AppError):
    """The head is longer than anything here needs (RFC 6585, 5)."""

    status, title = 431, "Request Header Fields Too Large"


class UnknownMethod(AppError):
    """A method that nobody has defined (RFC 9110, 9.1)."""

    status, title = 501, "Not Implemented"


class Service:
    """What all connections serve. `at_once` gives the reply to a request, if it is there already;
    `patience` is the time for a head, in seconds, and `largest` bounds a WebSocket's message, in
    bytes.
    """

    def __init__(
        self,
        app: App,
        at_once: Callable[[Any], Ready | None],
        *,
        scheme: str,
        patience: float,
        largest: int,
    ) -> None:
        self.app, self.at_once, self.scheme = app, at_once, scheme
        self.patience, self.largest = patience, largest
        self.connections: set[Connection | Socket] = set()
        self._emptied = asyncio.Event()

    def leave(self, connection: "Connection | Socket") -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if not self.connections:
            self._emptied.set()

    async def empty(self) -> None:
        """End all connections, and wait until what runs on them is answered."""
        for connection in list(self.connections):
            connection.end()
        while self.connections:
            self._emptied.clear()
            await self._emptied.wait()


class Connection(asyncio.Protocol):
    """A connection, and the parser of what comes on it. `_request` is the one that comes in,
    `_running` the one that is answered; behind it, others may wait. `_is_last` says that no further
    one is taken, `_is_deaf` that nothing is read any more.
    """

    __slots__ = (
        "_fed",
        "_fields",
        "_held",
        "_idle_since",
        "_in_head",
        "_is_deaf",
        "_is_last",
        "_loop",
        "_parser",
        "_reading",
        "_request",
        "_running",
        "_scope",
        "_service",
        "_socket",
        "_target",
        "_task",
        "_timer",
        "_transport",
        "_waiting",
        "_writable",
    )

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._target, self._held, self._fed = b"", b"", 0
        self._fields: list[Field] = []
        self._in_head = self._is_last = self._is_deaf = False
        self._reading = True
        self._request: Request | None = None
        self._running: Request | None = None
        self._socket: Socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Request] = deque()
        self._writable: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._scope = {
            "type": "http",
            "asgi": _ASGI,
            "scheme": self._service.scheme,
            "root_path": "",
            "client": peer[:2] if peer else None,
            "server": own[:2] if own else None,
        }
        self._service.connections.add(self)
        self._idle_since = self._loop.time()
        self._timer = self._loop.call_later(self._service.patience, self._look)

    def connection_lost(self, _: Exception | None) -> None:
        self._service.leave(self)
        self._timer.cancel()
        self._is_deaf = True
        self._waiting.clear()
        for request in (self._request, self._running):
            if request is not None:
                request.leave()
        self.resume_writing()

    def end(self) -> None:
        """Take no request more; what runs is answered."""
        self._is_last = True
        self._waiting.clear()
        if self._running is None:
            self._transport.close()
        else:
            self._running.keeps = False

    def abort(self) -> None:
        """Let go of the client at once."""
        self._transport.abort()

    def _look(self) -> None:
        """One timer looks now and then whether a head is overdue, for a new one with each request
        would cost more than the parser. Who does not read the last reply either is not waited for.
        """
        left = self._idle_since + self._service.patience - self._loop.time()
        if self._running is not None:
            left = self._service.patience
        elif left <= 0:
            if self._transport.is_closing():
                self._transport.abort()
                return
            self._transport.close()
            left = self._service.patience
        self._timer = self._loop.call_later(left, self._look)

    def data_received(self, data: bytes) -> None:
        if not self._held and not self._is_full() and len(data) <= _PIECE:
            self._parse(data)
        else:
            self._held += data
            self._parse_held()

    def _is_full(self) -> bool:
        """Whether requests wait, or replies that the client does not read."""
        return bool(self._waiting) or self._writable is not None

    def _parse_held(self) -> None:
        while self._held and not self._is_full():
            piece, self._held = self._held[:_PIECE], self._held[_PIECE:]
            self._parse(piece)
        if self._held:
            self.hold()

    def _parse(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserInvalidMethodError:
            self._refuse(UnknownMethod("There is no such method."))
        except httptools.HttpParserError:
            self._refuse(BadRequest("The request is malformed."))
        if self._fed > LARGEST_HEAD:
            self._refuse(HeadTooLarge("The head of the request is too large."))

    def on_message_begin(self) -> None:
        self._target, self._fields, self._in_head = b"", [], True

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers are not
            self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._fed, self._in_head = 0, False
        if self._is_last:
            return
        parser = self._parser
        scope = target_of(self._target, self._fields)
        scope |= self._scope
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = parser.get_http_version()
        upgrades = parser.should_upgrade()
        if upgrades and asks_for_socket(scope):
            self._socket = Socket(self._service, self._transport, scope)
        elif upgrades or not parser.should_keep_alive():
            self._is_last = True
            self._begin(Request(self, scope, keeps=False))
        elif self._running is not None or not self._answered_at_once(scope):
            self._begin(Request(self, scope, keeps=True))

    def _answered_at_once(self, scope: dict[str, Any]) -> bool:
        ready = self._service.at_once(scope)
        if ready is None:
            return False
        status, said, body = ready
        whole = b"%b%b%b\r\n%b" % (status_line(status), date_line(), said, body)
        self._transport.write(whole)
        self._idle_since = self._loop.time()
        return True

    def on_body(self, piece: bytes) -> None:
        self._fed = 0
        if self._request is not None:
            self._request.feed(piece)

    def on_message_complete(self) -> None:
        self._fed = 0
        request, self._request = self._request, None
        if request is not None:
            request.complete()

    def _upgrade(self, rest: bytes) -> None:
        """The head asks for another protocol. Any but a WebSocket is passed over: the request is
        answered, and the last (RFC 9110, 7.8).
        """
        self._is_deaf = True
        if self._socket is None:
            return
        if self._running is not None:
            self._transport.abort()
            return
        self._service.leave(self)
        self._timer.cancel()
        self._transport.set_protocol(self._socket)
        self._socket.open(rest)

    def _refuse(self, error: AppError) -> None:
        """Answer what is no request, unless the connection is owed other answers first."""
        self._is_deaf = self._is_last = True
        if self._request is not None:
            self._request.break_off()
        elif self._running is None:
            self._transport.write(refusal(error))
            self._linger()

    def _begin(self, request: Request) -> None:
        self._request = request
        if self._running is None:
            self._start(request)
        else:
            self._waiting.append(request)

    def _start(self, request: Request) -> None:
        self._running = request
        self._task = self._loop.create_task(self._run(request))

    async def _run(self, request: Request) -> None:
        try:
            await self._service.app(request.scope, request.receive, request.send)
        except Exception:
            request.keeps = False
        finally:
            self._running = self._task = None
            self._go_on_after(request)

    def _go_on_after(self, request: Request) -> None:
        if not request.ended:
            if request.started:
                self._transport.abort()
                return
            self._transport.write(refusal(AppError("The request could not be completed.")))
        if not (request.ended and request.keeps):
            self._is_last = True
        if self._is_last:
            self._waiting.clear()
            self._part(request)
        elif self._waiting:
            self._start(self._waiting.popleft())
        else:
            self._idle_since = self._loop.time()
        self._parse_held()
        self.go_on()

    def _part(self, request: Request) -> None:
        """Close. What a client still sends is read for a moment: it would see its connection
        break, and never the reply.
        """
        if request.whole and not self._is_deaf:
            self._transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        if self._transport.is_closing():
            return
        self._is_deaf = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._loop.call_later(_LINGER, self._transport.close)
        else:
            self._transport.close()

    def write(self, data: bytes) -> None:
        """Send; kept until the client takes it."""
        self._transport.write(data)

    async def written(self) -> None:
        """Wait for a client that is slow to take what was sent."""
        if self._writable is not None:
            await self._writable

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)
        self._parse_held()
        self.go_on()

    def hold(self) -> None:
        """Read nothing more for now."""
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if not self._reading and not self._held and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()
