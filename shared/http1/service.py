"""What all connections of a server have in common."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from shared.http1.messages import Ready

App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]


class Ending(Protocol):
    """A connection, as far as its server goes."""

    def end(self) -> None:
        """Take no request more; what runs is answered."""

    def abort(self) -> None:
        """Let go of the client at once."""


class Service:
    """What all connections serve. `at_once` gives the reply to a request, if it is there already;
    `patience` is the time for a head, in seconds, `largest` bounds a WebSocket's message, in bytes,
    and `most` is how many connections there may be.
    """

    def __init__(
        self,
        app: App,
        at_once: Callable[[Any], Ready | None],
        *,
        scheme: str,
        patience: float,
        largest: int,
        most: int = 16_384,
    ) -> None:
        self.app, self.at_once, self.scheme = app, at_once, scheme
        self.patience, self.largest, self.most = patience, largest, most
        self.connections: set[Ending] = set()
        self._emptied, self._ends = asyncio.Event(), False

    def join(self, connection: Ending) -> None:
        """A connection has begun. It may come late, by a long handshake of TLS."""
        self.connections.add(connection)
        if self._ends:
            connection.end()

    def leave(self, connection: Ending) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if not self.connections:
            self._emptied.set()

    async def empty(self) -> None:
        """End all connections, and wait until what runs on them is answered."""
        self._ends = True
        for connection in list(self.connections):
            connection.end()
        while self.connections:
            self._emptied.clear()
            await self._emptied.wait()
