"""One request and its reply, between a connection and an ASGI app."""

import asyncio
from typing import Any

from shared.errors import AppError
from shared.http1.line import Line
from shared.http1.messages import FRAMING, Field, date_line, lines, status_line

_BODILESS = frozenset({204, 304})
_OURS = frozenset({b"transfer-encoding"})
_EXPECTS = (b"expect", b"100-continue")
_MOST_WAITING = 65_536  # bytes of a body that nobody has taken


class Request:
    """ASGI's `receive` and `send`. `keeps` says whether the connection outlives the reply, `whole`
    that all of the body has come, `started` that the reply has begun, `ended` that it is whole;
    `fault` is why the rest of the body can't be read.
    """

    __slots__ = (
        "_chunked",
        "_expects",
        "_gone",
        "_left",
        "_line",
        "_pieces",
        "_size",
        "_start",
        "_told",
        "_wake",
        "ended",
        "fault",
        "keeps",
        "scope",
        "started",
        "whole",
    )

    def __init__(self, line: Line, scope: dict[str, Any], *, keeps: bool) -> None:
        self._line, self.scope, self.keeps = line, scope, keeps
        self._expects = scope["http_version"] == "1.1" and _EXPECTS in scope["headers"]
        self.whole = self.started = self.ended = False
        self._gone = self._told = self._chunked = False
        self.fault: AppError | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._left: int | None = None
        self._start: tuple[int, list[Field]] | None = None
        self._wake: asyncio.Future[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether more of the body waits to be taken than should."""
        return self._size > _MOST_WAITING and not self.ended

    @property
    def is_open_ended(self) -> bool:
        """Whether the connection's end alone says where the reply ends."""
        return self.started and self._left is None and not self._chunked

    def feed(self, piece: bytes) -> None:
        """A piece of the body has come."""
        self._expects = False
        if self.ended:
            return
        self._pieces.append(piece)
        self._size += len(piece)
        self._rouse()

    def complete(self) -> None:
        """All of the body has come."""
        self.whole = True
        if self._wake is not None:
            self._rouse()

    def leave(self) -> None:
        """The client is gone."""
        self._gone = True
        self._rouse()

    def break_off(self, fault: AppError) -> None:
        """The rest of the body can't be read; the client may hear so."""
        self.fault, self.keeps = fault, False
        self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """The next piece of the body; after the last, that the client is gone."""
        if self._expects and not self.started:
            self._expects = False
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._is_over() or self._pieces or (self.whole and not self._told)):
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        if self._is_over():
            return {"type": "http.disconnect"}
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._told = self.whole
        message = {"type": "http.request", "body": body, "more_body": not self.whole}
        self._line.go_on()  # more may come by this
        return message

    def _is_over(self) -> bool:
        return self._gone or self.ended or self.fault is not None

    async def send(self, message: Any) -> None:
        """A part of the reply. What comes after the client is gone is lost.

        Raises `RuntimeError` for what is none, or more than was announced.
        """
        if self._gone:
            return
        if message["type"] == "http.response.start" and self._start is None:
            if not 200 <= message["status"] <= 999:
                raise ValueError("the status is none of a reply")
            self._start = message["status"], list(message.get("headers", ()))
            return
        if message["type"] != "http.response.body" or self._start is None or self.ended:
            raise RuntimeError(f"{message['type']} is no part of a reply here")
        head = b"" if self.started else self._begin(*self._start)
        body, more = message.get("body", b""), message.get("more_body", False)
        data = head + self._framed(body, more=more)
        self.started = True
        if data:
            self._line.write(data)
        if not more:
            self.ended = True
            if self._wake is not None:
                self._rouse()
        if self._line.unread is not None:
            await self._line.written()

    def _begin(self, status: int, fields: list[Field]) -> bytes:
        said, old = dict(fields), self.scope["http_version"] == "1.0"
        if b"transfer-encoding" in said or status == 204:
            ours = FRAMING if status == 204 else _OURS
            fields = [field for field in fields if field[0] not in ours]
        head, length = lines(fields), said.get(b"content-length")
        if length is not None:
            if not length.isdigit() or (len(fields) > len(said) and _is_twice(fields)):
                raise ValueError("the reply's content-length is not one number")
            self._left = int(length)
        if self.scope["method"] == "HEAD" or status in _BODILESS:
            self._left = 0
        elif self._left is None and not old:
            self._chunked = True
            head += b"transfer-encoding: chunked\r\n"
        if b"close" in said.get(b"connection", b"").lower():
            self.keeps = False
        elif not (self.keeps and self.whole):
            self.keeps = False
            head += b"connection: close\r\n"
        dated = b"" if b"date" in said else date_line()
        return b"%b%b%b\r\n" % (status_line(status), dated, head)

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        """A piece of the reply's body, as its framing wants it (RFC 9112, 6)."""
        if self._chunked:
            piece = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return piece if more else piece + b"0\r\n\r\n"
        if self._left is None:
            return body
        if self.scope["method"] == "HEAD":
            return b""
        self._left -= len(body)
        if self._left < 0 or (self._left and not more):
            raise RuntimeError("the reply is longer, or shorter, than it says")
        return body


def _is_twice(fields: list[Field]) -> bool:
    """Whether a reply says how long it is more than once."""
    return [name for name, _ in fields].count(b"content-length") > 1
