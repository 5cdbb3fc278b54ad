"""Deletes what a service need not keep: a little at a time, so that it never holds anybody up."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from shared.database import Connection

EVERY = 600.0  # seconds
BATCH = 1_000
INBOX = timedelta(days=8)  # longer than streams keep events: one delivered again must be known
ANSWERS = timedelta(hours=24)
FAILURES = timedelta(days=1)


class Retention:
    """Knows when it is time. `outbox` is how long a published event or job can be sent again."""

    def __init__(self, outbox: timedelta, batch: int = BATCH) -> None:
        self._batch, self._due_at = batch, 0.0
        self._steps: list[tuple[timedelta, Callable[..., Awaitable[int]]]] = [
            (outbox, delete_published),
            (INBOX, delete_received),
            (ANSWERS, delete_answers),
            (FAILURES, delete_failures),
        ]

    async def clean(self, db: Connection, now: datetime) -> None:
        """When it is time, delete one batch of each kind; the next call goes on while there is
        more.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._due_at:
            return
        self._due_at = loop.time() + EVERY  # for one that fails as well
        counts = [await delete(db, now - age, self._batch) for age, delete in self._steps]
        if max(counts) == self._batch:
            self._due_at = 0.0


async def delete_published(db: Connection, before: datetime, limit: int) -> int:
    """Forget events and jobs that were published before that moment; return how many."""
    status = await db.execute(
        """DELETE FROM outbox
            WHERE published_at < $1
              AND position IN (SELECT position FROM outbox
                                WHERE published_at < $1 ORDER BY published_at LIMIT $2)""",
        before,
        limit,
    )
    return _count(status)


async def delete_received(db: Connection, before: datetime, limit: int) -> int:
    """Forget events and jobs that had their effect before that moment; return how many."""
    status = await db.execute(
        """DELETE FROM inbox
            WHERE id IN (SELECT id FROM inbox
                          WHERE received_at < $1 ORDER BY received_at LIMIT $2)""",
        before,
        limit,
    )
    return _count(status)


async def delete_answers(db: Connection, before: datetime, limit: int) -> int:
    """Forget answers to keyed requests that were given before that moment; return how many."""
    status = await db.execute(
        """DELETE FROM idempotency_keys
            WHERE id IN (SELECT id FROM idempotency_keys
                          WHERE created_at < $1 ORDER BY created_at LIMIT $2)""",
        before,
        limit,
    )
    return _count(status)


async def delete_failures(db: Connection, before: datetime, limit: int) -> int:
    """Forget failed attempts at jobs from before that moment; return how many."""
    status = await db.execute(
        """DELETE FROM job_failures
            WHERE id IN (SELECT id FROM job_failures
                          WHERE failed_at < $1 ORDER BY failed_at LIMIT $2)""",
        before,
        limit,
    )
    return _count(status)


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
