"""One client's connection: what comes on it becomes requests, answered one after the other."""

import asyncio
from collections import deque
from typing import Any, cast

import httptools

from shared.errors import AppError, Unavailable
from shared.http1.faults import HeadTooLarge, VersionNotSupported, fault_of
from shared.http1.line import Line
from shared.http1.messages import (
    Field,
    date_line,
    framing,
    refusal,
    scope_of,
    status_line,
    target_of,
)
from shared.http1.request import Request
from shared.http1.service import Service
from shared.http1.socket import Socket, asks_for_socket

LARGEST_HEAD = 65_536  # bytes
MOST_FIELDS = 512  # each takes ten times the bytes that it came in
_PIECE = 4096  # bytes that are parsed at once: so many requests may wait behind one another


class Connection(Line):
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
        "_parser",
        "_reading",
        "_request",
        "_running",
        "_scope",
        "_socket",
        "_target",
        "_task",
        "_waiting",
    )

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._parser = httptools.HttpRequestParser(self)
        self._target, self._held, self._fed = b"", bytearray(), 0
        self._fields: list[Field] = []
        self._in_head = self._is_last = self._is_deaf = False
        self._reading = True
        self._request: Request | None = None
        self._running: Request | None = None
        self._socket: Socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Request] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._is_deaf = len(self._service.connections) >= self._service.most
        if self._is_deaf:
            self._transport.write(refusal(Unavailable("Too many connections are open.")))
            self._go()
            return
        self._scope = scope_of(transport, self._service.scheme)
        self._idle_since = self._loop.time()
        self._later(self._service.patience, self._look)
        self._service.join(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._service.leave(self)
        self._cancel()
        self._is_deaf = True
        self._waiting.clear()
        self._held.clear()
        for request in (self._request, self._running):
            if request is not None:
                request.leave()
        self.resume_writing()
        del self._parser

    def end(self) -> None:
        """Take no request more; what runs is answered."""
        self._is_last = True
        self._waiting.clear()
        if self._running is None:
            self._go()
        else:
            self._running.keeps = False

    def _look(self) -> None:
        """One timer looks now and then whether a head is overdue, for a new one with each request
        would cost more than the parser.
        """
        left = self._idle_since + self._service.patience - self._loop.time()
        if self._running is not None:
            left = self._service.patience
        if left > 0:
            self._later(left, self._look)
        else:
            self._go()

    def data_received(self, data: bytes) -> None:
        if self._held or self._waiting or self._request is not None or len(data) > _PIECE:
            self._held += data
            self.go_on()
        else:
            self._parse(data)

    def _is_full(self) -> bool:
        """Whether requests wait, or a body that nobody takes, or replies that the client does not
        read.
        """
        untaken = self._request is not None and self._request.is_full
        full = untaken or bool(self._waiting) or self.unread is not None
        return full and not self._is_deaf

    def go_on(self) -> None:
        """Take what has come, as far as there is room, and read on once it is taken."""
        if not self._held and self._reading:
            return
        while self._held and not self._is_full():
            piece = bytes(self._held[:_PIECE])
            del self._held[:_PIECE]
            self._parse(piece)
        if self._reading and self._held:
            self._reading = False
            self._transport.pause_reading()
        elif not (self._reading or self._held or self._transport.is_closing()):
            self._reading = True
            self._transport.resume_reading()

    def _parse(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._refuse(fault_of(error))
        if self._fed and (self._fed > LARGEST_HEAD or len(self._fields) > MOST_FIELDS):
            self._refuse(HeadTooLarge("The head of the request is too large."))

    def on_message_begin(self) -> None:
        self._target, self._fields, self._in_head = b"", [], True

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # trailers are not
            self._fields.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        self._fed, self._in_head = 0, False
        if self._is_last:
            return
        parser = self._parser
        scope = target_of(self._target, self._fields)
        scope |= self._scope
        scope["method"] = parser.get_method().decode("ascii")
        version = scope["http_version"] = parser.get_http_version()
        if version != "1.1" or parser.should_upgrade() or not parser.should_keep_alive():
            self._take_last(scope)
        elif not self._answered_at_once(scope):
            self._begin(Request(self, scope, keeps=True))

    def _take_last(self, scope: dict[str, Any]) -> None:
        """Nothing comes behind it that would be read."""
        self._is_last = True
        if scope["http_version"] not in ("1.0", "1.1"):
            self._refuse(VersionNotSupported("HTTP/1.1 is spoken here."))
        elif self._parser.should_upgrade() and asks_for_socket(scope):
            self._socket = Socket(self._service, self._transport, scope)
        else:
            self._begin(Request(self, scope, keeps=False))

    def _answered_at_once(self, scope: dict[str, Any]) -> bool:
        if self._running is not None or self.unread is not None:
            return False  # in its turn
        ready = self._service.at_once(scope)
        if ready is None:
            return False
        status, said, body = ready
        self._transport.write(b"%b%b%b\r\n%b" % (status_line(status), date_line(), said, body))
        self._idle_since = self._loop.time()
        return True

    def on_body(self, piece: bytes) -> None:
        self._fed = 0
        if self._request is not None:
            self._request.feed(piece)

    def on_message_complete(self) -> None:
        self._fed = 0
        if self._is_last and self._parser.should_upgrade():
            return  # the parser says so whatever the body
        request, self._request = self._request, None
        if request is not None:
            request.complete()

    def _upgrade(self, rest: bytes) -> None:
        """The head asks for another protocol. Any but a WebSocket is passed over: the request is
        answered, and the last (RFC 9110, 7.8). A WebSocket waits for nobody else's reply.
        """
        if self._socket is None:
            self._pass_over(rest)
            return
        self._is_deaf = True
        if self._running is None:
            self._service.leave(self)
            self._cancel()
            self._transport.set_protocol(self._socket)
            self._socket.open(rest + self._held)
            self._held.clear()
            del self._parser  # each holds the other

    def _pass_over(self, rest: bytes) -> None:
        """Read a request's body by a parser that has not heard of another protocol."""
        request = self._request
        self._parser = httptools.HttpRequestParser(self)
        if request is not None:
            self._parse(framing(request.scope["headers"]) + rest)

    def _refuse(self, error: AppError) -> None:
        """Answer what is no request, unless the connection is owed other answers first."""
        if self._is_deaf:
            return
        self._is_deaf = self._is_last = True
        if self._request is not None:
            self._request.break_off(error)
        elif self._running is None and not self._transport.is_closing():
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
            self._answer_for(request)
        if request.keeps and self._waiting:
            self._start(self._waiting.popleft())
        elif self._is_last or not request.keeps:
            self._waiting.clear()
            self._part(request)
        else:
            self._idle_since = self._loop.time()
        self.go_on()

    def _answer_for(self, request: Request) -> None:
        """The app has not, or not to the end."""
        request.keeps = False
        if self._transport.is_closing():
            return
        if not request.started:
            error = request.fault or AppError("The request could not be completed.")
            self._transport.write(refusal(error))
            return
        if request.is_open_ended:
            self._reset()
        self.abort()

    def _part(self, request: Request) -> None:
        """The reply was the last. By TLS, no client learns so before all is closed."""
        self._is_last = True
        if request.whole and not (self._held or self._is_deaf or self._transport.can_write_eof()):
            self._go()
        else:
            self._is_deaf = True
            self._linger()
