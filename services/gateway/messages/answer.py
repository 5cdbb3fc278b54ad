"""What a service answers on a wire, filled as it comes, and how one may fail to answer."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

from multidict import CIMultiDict


class Failed(Exception):
    """A service gave no valid answer."""


class Unreached(Failed):
    """No connection could be had; nothing was sent."""


class NothingAnswered(Failed):
    """A connection ended before a reply began; the request may have been served or not."""


class Line(Protocol):
    """The connection that an answer comes on."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    def resume(self, answer: "Answer") -> None: ...
    def end(self) -> None: ...


class Answer:
    """A reply, which a line fills: small bodies are `whole`, others come by `pieces`."""

    def __init__(self, line: Line, limit: float | None) -> None:
        self._line, self._limit = line, limit
        self.status = 0
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.fields: dict[bytes, bytes] = {}  # the same, by lower-case name
        self.whole: bytes | None = None
        self.begun = self.done = False
        self.held = 0  # bytes that nobody has taken yet
        self.head: asyncio.Future[None] = line.loop.create_future()
        self._pieces: deque[bytes] = deque()
        self._fault: Exception | None = None
        self._more: asyncio.Future[None] | None = None

    @property
    def headers(self) -> CIMultiDict[str]:
        """The fields, by names in any case."""
        return CIMultiDict(
            (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
            for name, value in self.raw_headers
        )

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `Failed` or `OSError` where it breaks off."""
        while True:
            if self._pieces:
                piece = self._pieces.popleft()
                self.held -= len(piece)
                if not self.held:
                    self._line.resume(self)
                yield piece
            elif self._fault is not None:
                raise self._fault
            elif self.done:
                return
            else:
                self._more = self._line.loop.create_future()
                async with asyncio.timeout(self._limit):
                    await self._more

    def close(self) -> None:
        """Let go of it. Where more would come, the connection is of no further use."""
        if not self.done:
            self.done = True
            self._line.end()

    def add(self, piece: bytes) -> None:
        """More of the body."""
        self._pieces.append(piece)
        self.held += len(piece)
        self._wake()

    def begin(self) -> None:
        """The head is whole, and the body is to be handed on as it comes."""
        self.begun = True
        self._resolve(self.head)

    def end(self) -> None:
        """This is all of it."""
        self.done = True
        if not self.begun:
            self.whole = b"".join(self._pieces)
            self.begin()
        self._wake()

    def fail(self, fault: Exception) -> None:
        """No more of it comes."""
        self.done, self._fault = True, fault
        if not self.head.done():
            self.head.set_exception(fault)
        self._wake()

    def _wake(self) -> None:
        if self._more is not None:
            self._resolve(self._more)

    @staticmethod
    def _resolve(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)
