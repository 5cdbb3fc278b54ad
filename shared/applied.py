"""Which events a database has applied, and waiting until it has applied one.

A projection lags by milliseconds. A read can wait until the projection holds one named event, so
that a client that wrote elsewhere reads its own write here.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from shared.database import Connection, connection
from shared.position import WAIT_SECONDS

_REMEMBERED = 10_000
_PART = 0.05  # seconds of which one counts that took longer: the machine stood still
# An outbox position that is still missing when a larger one has been here for this long was
# applied, and its inbox row cleaned up: no transaction commits an hour after it took its number.
_SETTLED = timedelta(hours=1)


class Applied:
    """Which events this database has applied, as far as this process has seen."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], None] = {}
        self._changed = asyncio.Event()

    def add(self, source: str, position: int) -> None:
        """Remember an applied event and wake whoever waits for one."""
        self._seen[source, position] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for(self, source: str, position: int, seconds: float = WAIT_SECONDS) -> bool:
        """Wait until the event is applied, here or by another replica; False when it is not.
        A moment in which the machine stood still does not count: nobody could apply anything.

        Raises `Unavailable`.
        """
        if (source, position) in self._seen:
            return True
        loop = asyncio.get_running_loop()
        waiting = loop.create_task(self._applied(source, position))
        try:
            while seconds > 0 and not waiting.done():
                began, part = loop.time(), min(seconds, _PART)
                await asyncio.wait({waiting}, timeout=part)
                seconds -= min(loop.time() - began, part)
            return waiting.done() and waiting.result()
        finally:
            waiting.cancel()
            await asyncio.wait({waiting})

    async def _applied(self, source: str, position: int) -> bool:
        pause = 0.004
        while (source, position) not in self._seen:
            changed = self._changed
            async with connection() as db:
                if await select_applied(db, source, position, datetime.now(UTC) - _SETTLED):
                    self.add(source, position)
                    break
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), pause)
            pause = min(pause * 2, 0.064)
        return True


async def select_applied(
    db: Connection, source: str, position: int, settled_before: datetime
) -> bool:
    """Whether the event is in the inbox, or so old that its row has been cleaned up."""
    applied: bool = await db.fetchval(
        """SELECT EXISTS (SELECT FROM inbox WHERE source = $1 AND position = $2)
               OR EXISTS (SELECT FROM inbox
                           WHERE source = $1 AND position > $2 AND received_at < $3)""",
        source,
        position,
        settled_before,
    )
    return applied
