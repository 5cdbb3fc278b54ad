"""HTTP/1.1 to the services, for whole requests: one write, one parse, no more.

Forwarding takes a fifth less time than by aiohttp's client, which does all else: bodies that come
bit by bit, HEAD, and services behind TLS. Both fail in the same ways; see `session`.
"""

import asyncio
from typing import cast
from urllib.parse import urlsplit

import httptools

from services.gateway.messages.answer import Answer, Failed, NothingAnswered, Unreached
from services.gateway.messages.body import ONE_PIECE
from services.gateway.messages.headers import Told, by_name

_BODILESS = frozenset({204, 304})
_MOST_WAITING = 262_144  # bytes of a body that nobody has taken


class Wire:
    """Connections to services, by the address of each; must be closed. Times are in seconds.

    As many as are wanted: bulkheads bound requests.
    """

    def __init__(self, *, keep_alive: float, connect_timeout: float) -> None:
        self._keep_alive, self._patience = keep_alive, connect_timeout
        self._places: dict[str, _Place] = {}

    async def ask(
        self,
        url: str,
        method: str,
        target: str,
        fields: Told,
        body: bytes | None,
        limit: float | None,
    ) -> Answer:
        """Send a request and wait for its answer, as long as the caller does; `limit` is for each
        further piece of a long one.

        Raises `Unreached`, `NothingAnswered`, or just `Failed` for what is none.
        """
        place = self._places.get(url)
        if place is None:
            place = self._places[url] = _Place(url, self._keep_alive)
        message = _message(place, method, target, fields, body)
        line = await self._line(place)
        answer = line.send(message, limit)
        try:
            await answer.head
        except BaseException:
            answer.close()
            raise
        return answer

    async def _line(self, place: "_Place") -> "_Line":
        while place.idle:
            line = place.idle.pop()
            if line.taken():
                return line
        try:
            async with asyncio.timeout(self._patience):
                return await place.connect()
        except OSError as error:  # TimeoutError is one
            raise Unreached(str(error)) from error

    def close(self) -> None:
        """Close what is idle."""
        for place in self._places.values():
            for line in list(place.idle):
                line.end()


class _Place:
    """One address, and its idle connections."""

    def __init__(self, url: str, keep_alive: float) -> None:
        parts = urlsplit(url)
        self.prefix, self.netloc = parts.path, parts.netloc
        self._host, self._port = parts.hostname or "", parts.port or 80
        self.keep_alive = keep_alive
        self.idle: list[_Line] = []

    async def connect(self) -> "_Line":
        loop = asyncio.get_running_loop()
        _, line = await loop.create_connection(lambda: _Line(self), self._host, self._port)
        return line


class _Line(asyncio.Protocol):
    """One connection, and the parser of what comes on it. `_answer` is what is waited for."""

    def __init__(self, place: _Place) -> None:
        self._place = place
        self.loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._raw: list[tuple[bytes, bytes]] = []
        self._framed = self._paused = self._keeps = False
        self._idle_since = 0.0
        self._expiry: asyncio.TimerHandle | None = None

    def send(self, message: bytes, limit: float | None) -> Answer:
        """Send a request; its answer will be filled."""
        self._answer, self._raw, self._framed = Answer(self, limit), [], False
        self._transport.write(message)
        return self._answer

    def taken(self) -> bool:
        """It is idle no more; False where it has just been closed by the other side."""
        return not self._transport.is_closing()

    def resume(self, answer: Answer) -> None:
        """All that came of an answer was taken."""
        if self._paused and answer is self._answer:
            self._paused = False
            self._transport.resume_reading()

    def end(self) -> None:
        """Close the connection at once."""
        self._release()
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:  # nobody has asked
            self.end()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            answer.fail(Failed(str(error)))
            self.end()
            return
        if answer.done:
            self._finish()

    def connection_lost(self, error: Exception | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done:
            if answer.begun and not self._framed and error is None:
                answer.end()  # it ends where the connection does (RFC 9112, 6.3)
            elif answer.status or self._raw:
                answer.fail(Failed("the answer broke off"))
            else:
                answer.fail(NothingAnswered("the connection ended before an answer"))
        self._release()

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done:
            raise ValueError("more than one answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._raw.append((name, value))

    def on_headers_complete(self) -> None:
        status, answer = self._parser.get_status_code(), self._answer
        if answer is None or status < 200:  # an interim answer (RFC 9110, 15.2): another will come
            return
        answer.status, answer.raw_headers = status, self._raw
        answer.fields = said = by_name(self._raw)
        length = said.get(b"content-length", b"")
        self._framed = length != b"" or b"transfer-encoding" in said or status in _BODILESS
        if status not in _BODILESS and not (length.isdigit() and int(length) <= ONE_PIECE):
            answer.begin()

    def on_body(self, piece: bytes) -> None:
        answer = self._answer
        assert answer is not None
        answer.add(piece)
        if answer.held > _MOST_WAITING and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._answer is not None and self._answer.status:
            self._keeps = self._parser.should_keep_alive()  # does not know any more later
            self._answer.end()
        else:
            self._raw = []

    def _finish(self) -> None:
        """The answer is whole: keep the connection for the next, if both sides want to."""
        if not self._keeps or self._transport.is_closing():
            self.end()
            return
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        self._answer = None
        self._idle_since = self.loop.time()
        self._place.idle.append(self)
        if self._expiry is None:
            self._expiry = self.loop.call_later(self._place.keep_alive, self._expire)

    def _expire(self) -> None:
        """One timer looks after it now and then, for a new one after each answer would cost more
        than the parser.
        """
        self._expiry = None
        if self._answer is not None:
            return
        left = self._idle_since + self._place.keep_alive - self.loop.time()
        if left > 0:
            self._expiry = self.loop.call_later(left, self._expire)
        else:
            self.end()

    def _release(self) -> None:
        if self in self._place.idle:
            self._place.idle.remove(self)
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None


def _message(place: _Place, method: str, target: str, fields: Told, body: bytes | None) -> bytes:
    """The request, ready to be sent. Raises `ValueError` for what would end a line too early."""
    lines = [f"{method} {place.prefix}{target} HTTP/1.1", f"Host: {place.netloc}"]
    lines += [f"{name}: {value}" for name, value in fields]
    if body is not None or method not in ("GET", "DELETE", "OPTIONS"):
        lines.append(f"Content-Length: {len(body or b'')}")
    head = "\r\n".join(lines)
    ends = len(lines) - 1
    if head.count("\r") != ends or head.count("\n") != ends or "\0" in head:
        raise ValueError("a header field holds a control character")
    return head.encode() + b"\r\n\r\n" + (body or b"")
