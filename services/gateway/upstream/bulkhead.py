"""The door to one service: how many are inside, who waits, and who goes away with empty hands.

What one service can't take must not fill the gateway, which others need as well.
"""

import asyncio
from collections import deque
from enum import IntEnum

from services.gateway.upstream.concurrency import AdaptiveLimit


class Priority(IntEnum):
    """Who goes first. What asks after a service's health does not come by this door at all."""

    WRITE = 0
    MEMBER = 1
    ANONYMOUS = 2

    @classmethod
    def of(cls, method: str, *, member: bool) -> "Priority":
        """That of a request by whoever is, or is not, a member."""
        if method not in ("GET", "HEAD"):
            return cls.WRITE
        return cls.MEMBER if member else cls.ANONYMOUS


class Shed(Exception):
    """There is no room, or there was none for too long."""


class Bulkhead:
    """Lets as many in as `limit` says; `room` more may wait, the more important first. Where nobody
    else has room, whoever came last of the least important has to go.
    """

    def __init__(self, limit: AdaptiveLimit, room: int) -> None:
        self.limit = limit
        self.inside = self.waiting = 0
        self._room = room
        self._queues: tuple[deque[asyncio.Future[bool]], ...] = tuple(deque() for _ in Priority)

    def enter(self) -> bool:
        """Whether there is a place at once; if so, it is taken."""
        if self.waiting or self.inside >= self.limit.value:
            return False
        self.inside += 1
        return True

    async def wait(self, priority: Priority, seconds: float) -> None:
        """Wait for a place, and take it. Raises `Shed`."""
        if self.waiting >= self._room and not self._make_room(priority):
            raise Shed("queue full")
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        queue = self._queues[priority]
        queue.append(turn)
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                admitted = await turn
        except BaseException as error:
            self._withdraw(turn, queue)
            if isinstance(error, TimeoutError):
                raise Shed("waited too long") from error
            raise
        if not admitted:
            raise Shed("gave way")

    def leave(self) -> None:
        """Free a place, and let the next ones in."""
        self.inside -= 1
        while self.waiting and self.inside < self.limit.value:
            turn = next(queue for queue in self._queues if queue).popleft()
            self.waiting -= 1
            if not turn.done():  # else it has gone away, and does not know yet
                self.inside += 1
                turn.set_result(True)

    def _make_room(self, priority: Priority) -> bool:
        for queue in reversed(self._queues[priority + 1 :]):
            if queue:
                turn = queue.pop()
                self.waiting -= 1
                if not turn.done():
                    turn.set_result(False)
                return True
        return False

    def _withdraw(self, turn: asyncio.Future[bool], queue: deque[asyncio.Future[bool]]) -> None:
        if turn in queue:
            queue.remove(turn)
            self.waiting -= 1
        elif turn.done() and not turn.cancelled() and turn.result():
            self.leave()  # its turn had come in that very moment
