"""A process that goes step by step, and can crash before any of them."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from shared import database
from shared.background import end

CALLS = {"execute", "fetch", "fetchrow", "fetchval", "publish", "ack", "nak", "term"}


class Steps:
    """Counts the steps of a process, and ends it before one of them."""

    def __init__(self, crash: int | None) -> None:
        self._left = crash
        self._crashed = asyncio.Event()

    async def step(self) -> None:
        """Go on, unless this is the end."""
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                self._crashed.set()
                await asyncio.Event().wait()

    async def run(self, process: Coroutine[Any, Any, None]) -> bool:
        """Run a process; whether it came to its end."""
        running, crash = asyncio.create_task(process), asyncio.create_task(self._crashed.wait())
        await asyncio.wait({running, crash}, return_when=asyncio.FIRST_COMPLETED)
        await end(crash)
        if not self._crashed.is_set():
            await running
            return True
        await end(running)
        return False


class Stepped:
    """Something of which each call that reaches a server is a step, and its end another."""

    def __init__(self, steps: Steps, what: Any) -> None:
        self._steps, self._what = steps, what

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._what, name)
        if name not in CALLS:
            return attribute

        async def call(*arguments: Any, **options: Any) -> Any:
            await self._steps.step()
            answer = await attribute(*arguments, **options)
            await self._steps.step()
            return answer

        return call


class SteppedMessage(Stepped):
    """A message whose acknowledgements are steps."""

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def stepped_transaction(steps: Steps) -> Any:
    """`transaction`, with each of its statements, and its end before the commit, as a step."""

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Any]:
        async with database.transaction() as db:
            yield Stepped(steps, db)
            await steps.step()

    return transaction
