"""Telling again how things are, while they change: whoever keeps a projection makes it whole by it.

Everything that exists at the source is told as an ordinary event, marked as a snapshot. A row is
locked before its event gets its position, so that no later change has a smaller one. At the end an
event tells from which position on all of this is: what a projection has from before, and nobody
told again, does not exist any more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from shared.database import Connection
from shared.events import Event, SnapshotCompleted

BATCH = 500
WRITERS_SECONDS = 60.0
_COUNTED_BITS = 40  # of an event's id; those before them name its snapshot
_encode = msgspec.json.Encoder().encode


class Fact(msgspec.Struct, frozen=True):
    """Something that exists. `key` gives it its place among its kind; `at` is when it came to be
    so.
    """

    key: Any
    event: Event
    at: datetime


class Kind(msgspec.Struct, frozen=True):
    """All that there is of one kind. `page` locks the first `limit` after a key, in the order of
    the keys, against every change; `before_all` is a key before theirs.
    """

    before_all: Any
    page: Callable[[Connection, Any, int], Awaitable[list[Fact]]]


class Snapshot(msgspec.Struct, frozen=True):
    """What a publisher tells, and by which event it says that this was all."""

    kinds: Sequence[Kind]
    completed: type[SnapshotCompleted]


class SnapshotIncomplete(Exception):
    """An event of the snapshot has not been applied yet: it is on its way, or set aside."""


async def tell_all(db: Any, snapshot: Snapshot, batch: int = BATCH) -> int:
    """Write a snapshot to the outbox, in many small transactions; return how many events it has.

    Raises `TimeoutError` when a transaction that has written an event does not end in a minute.
    """
    since = await next_position(db)
    await _let_writers_end(db)
    first = UUID(int=uuid4().int >> _COUNTED_BITS << _COUNTED_BITS)
    count = 0
    for kind in snapshot.kinds:
        after, told = kind.before_all, batch
        while told == batch:
            ids = [UUID(int=first.int + count + number) for number in range(batch)]
            after, told = await _tell(db, kind, after, ids)
            count += told
    closing = snapshot.completed(since=since, first=first, events=count)
    await insert_snapshot(db, [uuid7()], [Fact(None, closing, datetime.now(UTC))])
    return count


async def _let_writers_end(db: Any) -> None:
    """Wait until every transaction has ended that may have taken a smaller position than ours: what
    it did is not to be seen before.
    """
    writers = await select_writers(db)
    async with asyncio.timeout(WRITERS_SECONDS):
        while writers & await select_writers(db):  # noqa: ASYNC110  (another process sets it)
            await asyncio.sleep(0.02)


async def _tell(db: Any, kind: Kind, after: Any, ids: list[UUID]) -> tuple[Any, int]:
    """Tell of one page; return its last key, and how many it told of."""
    while True:
        # Sooner than PostgreSQL looks for deadlocks, so that we give way, and no client's write.
        with suppress(asyncpg.LockNotAvailableError):
            async with db.transaction():
                await db.execute("SET LOCAL lock_timeout = '500ms'")
                facts = await kind.page(db, after, len(ids))
                await insert_snapshot(db, ids[: len(facts)], facts)
            return (facts[-1].key if facts else after), len(facts)


async def next_position(db: Connection) -> int:
    """A position that no event has or will have."""
    position: int = await db.fetchval(
        "SELECT nextval(pg_get_serial_sequence('outbox', 'position')::regclass)"
    )
    return position


async def select_writers(db: Connection) -> set[str]:
    """The transactions that write to the outbox."""
    rows = await db.fetch(
        """SELECT virtualtransaction FROM pg_locks
            WHERE locktype = 'relation' AND relation = 'outbox'::regclass
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND mode = 'RowExclusiveLock' AND granted AND pid <> pg_backend_pid()"""
    )
    return {row["virtualtransaction"] for row in rows}


async def insert_snapshot(db: Connection, ids: list[UUID], facts: Sequence[Fact]) -> None:
    """Write the events to the outbox, in this order, marked as a snapshot."""
    await db.execute(
        """INSERT INTO outbox (id, subject, aggregate, data, traceparent, occurred_at, snapshot)
           SELECT id, subject, aggregate, data, '', occurred_at, true
             FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::timestamptz[])
                  WITH ORDINALITY AS new (id, subject, aggregate, data, occurred_at, number)
            ORDER BY number""",
        ids,
        [fact.event.SUBJECT for fact in facts],
        [fact.event.aggregate for fact in facts],
        [_encode(fact.event) for fact in facts],
        [fact.at for fact in facts],
    )


async def require_whole(db: Connection, told: SnapshotCompleted) -> None:
    """Raises `SnapshotIncomplete` until all events of the snapshot are applied here: before that,
    nothing may be taken for gone.
    """
    last = UUID(int=told.first.int + max(told.events - 1, 0))
    applied = await db.fetchval(
        "SELECT count(*) FROM inbox WHERE id BETWEEN $1 AND $2", told.first, last
    )
    if applied < told.events:
        raise SnapshotIncomplete(f"{told.events - applied} of {told.events} events are missing")
