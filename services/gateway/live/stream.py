"""One live stream: what it has told, what it still has to tell, and where it finds what it missed.

It is *behind* at first, and whenever something may have passed it by. Then it asks the service for
all after the last number that it told, until nothing came meanwhile. Otherwise it tells what it is
offered. Since numbers only grow, what it has told already is known by its number. So nothing needs
to be kept for a stream that can't keep up: it falls behind, and the service has it all.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from typing import Protocol
from uuid import UUID

import msgspec

from services.gateway.live.wire import Ending, Wire
from shared.auth import Caller
from shared.errors import AppError, Unauthorized

MOST_WAITING = 64  # what is offered and not taken; more, and the stream falls behind
_AGAIN_SECONDS = 1.0
_FAREWELL_SECONDS = 2.0


class TooSlow(Exception):
    """The client does not read what it is told."""


class Told(msgspec.Struct, frozen=True):
    """A notification, with its number."""

    id: int
    notification: msgspec.Raw


class Since(msgspec.Struct, frozen=True, rename="camel"):
    """A page of what was told after a number; `last` is where to ask on from."""

    notifications: list[Told]
    last: int
    more: bool
    unread_count: int


class Source(Protocol):
    """Knows all that was ever told."""

    async def since(self, token: str, after: int | None) -> Since:
        """A page after that number; without one, only where things are. Raises `AppError`."""


class Stream:
    """What one client is told. `last` is the number of the last thing, or None for a client that
    wants to hear from now on. Times are the loop's; `patience` is how long the client may take.
    """

    __slots__ = (
        "_again_at",
        "_asked",
        "_beating",
        "_behind",
        "_ending",
        "_heard",
        "_patience",
        "_queue",
        "_ready",
        "_source",
        "_wake",
        "_wire",
        "beat_at",
        "caller",
        "last",
    )

    def __init__(
        self, caller: Caller, last: int | None, wire: Wire, source: Source, patience: float
    ) -> None:
        self.caller, self.last = caller, last
        self.beat_at = 0.0
        self._wire, self._source, self._patience = wire, source, patience
        self._queue: deque[tuple[int, bytes]] = deque()
        self._heard = 0
        self._behind, self._ready = True, False
        self._beating = self._asked = False
        self._again_at = 0.0
        self._ending: Ending | None = None
        self._wake = asyncio.Event()

    @property
    def account(self) -> UUID:
        """Whose stream it is."""
        return self.caller.id

    def offer(self, number: int, notification: bytes) -> None:
        """Something has happened; it may have been offered before."""
        if number <= self._heard:
            return
        self._heard = number
        if not self._behind:
            self._queue.append((number, notification))
            if len(self._queue) > MOST_WAITING:
                self._fall_behind()
            self._wake.set()

    def doubt(self) -> None:
        """Something may have happened that was not offered, or numbers were given anew."""
        self._heard = 0
        self._fall_behind()

    def _fall_behind(self) -> None:
        self._queue.clear()
        self._behind = True
        self._wake.set()

    def beat(self) -> None:
        """Show the client that the connection lives."""
        self._beating = True
        self._wake.set()

    def ask(self) -> None:
        """The client wants to know whether it does."""
        self._asked = True
        self._wake.set()

    def end(self, why: Ending) -> None:
        """Tell nothing more."""
        self._ending = self._ending or why
        self._wake.set()

    async def run(self) -> Ending:
        """Tell, until the end; why it came. The wire has said so, unless nobody listens."""
        while self._ending is None:
            try:
                await self._step()
            except TooSlow:
                self.end("slow")
        if self._ending != "gone":
            await self._say_end(self._ending)
        return self._ending

    async def _say_end(self, why: Ending) -> None:
        """Who does not read does not hear it."""
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._wire.end(why, self.last)
        except TimeoutError:
            self._ending = "slow"

    async def _step(self) -> None:
        if self._beating:
            self._beating = False
            await self._taken(self._wire.beat())
        elif self._asked:
            self._asked = False
            await self._taken(self._wire.answer())
        elif self._queue:
            number, notification = self._queue.popleft()
            self.last = number
            await self._taken(self._wire.tell(number, notification))
        elif self._behind and asyncio.get_running_loop().time() >= self._again_at:
            await self._catch_up()
        else:
            await self._sleep()

    async def _taken(self, telling: Awaitable[None]) -> None:
        """Raises `TooSlow`."""
        try:
            async with asyncio.timeout(self._patience):
                await telling
        except TimeoutError as error:
            raise TooSlow from error

    async def _sleep(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._again_at if self._behind else None):
                await self._wake.wait()
        self._wake.clear()

    async def _catch_up(self) -> None:
        heard = self._heard
        try:
            page = await self._source.since(self.caller.token, self.last)
        except Unauthorized:
            self.end("expired")
            return
        except AppError:
            pause = _AGAIN_SECONDS * (1 + random.random())  # noqa: S311  (guards nothing)
            self._again_at = asyncio.get_running_loop().time() + pause
            return
        for told in page.notifications:
            self.last = told.id
            await self._taken(self._wire.tell(told.id, bytes(told.notification)))
        self.last = page.last
        if page.more:
            return
        # What was heard of before we asked is in the page, or was taken back.
        self._behind = self._heard > heard
        self._heard = max(self._heard, page.last)
        if not self._ready:
            self._ready = True
            await self._taken(self._wire.ready(page.last, page.unread_count))
