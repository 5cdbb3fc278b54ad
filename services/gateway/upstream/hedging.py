"""Asking twice where the first answer is late, and taking the one that comes first.

After Dean and Barroso, The Tail at Scale (2013).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

T = TypeVar("T")
KEPT = 200  # answers of a route that its 95th percentile is of
LEAST = 20  # before so many have come, nothing is late
_EVERY = 20  # answers until it is worth computing anew


class Lateness:
    """After how many seconds an answer of each route is late: the 95th percentile of the last."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, deque[float]] = {}
        self._late: dict[Hashable, float] = {}
        self._new = 0

    def after(self, route: Hashable) -> float | None:
        """None while too little is known."""
        return self._late.get(route)

    def add(self, route: Hashable, seconds: float) -> None:
        """Learn from an answer."""
        seen = self._seen.setdefault(route, deque(maxlen=KEPT))
        seen.append(seconds)
        self._new += 1
        if len(seen) >= LEAST and (route not in self._late or self._new >= _EVERY):
            self._new = 0
            self._late[route] = sorted(seen)[len(seen) * 95 // 100]


async def first_of(
    begin: Callable[[], Coroutine[Any, Any, T]],
    again: Callable[[], Coroutine[Any, Any, T] | None],
    seconds: float,
    discard: Callable[[T], None],
) -> T:
    """What `begin` gives; if it takes longer than `seconds`, what it or `again` gives first. The
    other is cancelled, and what it has given all the same, discarded. Raises what the first raised,
    where none gives anything.
    """
    tasks = [asyncio.create_task(begin())]
    winner: asyncio.Task[T] | None = None
    try:
        await asyncio.wait(tasks, timeout=seconds)
        if not tasks[0].done() and (more := again()) is not None:
            tasks.append(asyncio.create_task(more))
        winner = await _winner(tasks)
        return winner.result()
    finally:
        for task in tasks:
            if task is not winner:
                _end(task, discard)


async def _winner(tasks: list[asyncio.Task[T]]) -> asyncio.Task[T]:
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None:
                return task
    return tasks[0]


def _end(task: asyncio.Task[T], discard: Callable[[T], None]) -> None:
    def ended(task: asyncio.Task[T]) -> None:
        if not task.cancelled() and task.exception() is None:
            discard(task.result())

    task.cancel()
    task.add_done_callback(ended)
