"""Sending again what was sent: where a stream lost it, or whoever reads it lost what it made of it.

Marked rows are the relay's work. Each marking gives the message another id, or NATS would drop what
it has seen in the last two minutes, whether it still has it or not. Consumers know the event's own
id, and shrug at what they have applied.
"""

from datetime import UTC, datetime

from shared.database import Connection

EVER = datetime(2000, 1, 1, tzinfo=UTC)
BATCH = 10_000


async def resend(db: Connection, since: datetime, until: datetime) -> int:
    """Let all be sent again that was published in that time; return how much that is."""
    return await resend_events(db, since, until) + await resend_jobs(db, since, until)


async def resend_events(db: Connection, since: datetime, until: datetime) -> int:
    """Let the events be sent again that were published in that time."""
    count = marked = await mark_events(db, since, until, BATCH)
    while marked == BATCH:
        marked = await mark_events(db, since, until, BATCH)
        count += marked
    return count


async def resend_jobs(db: Connection, since: datetime, until: datetime) -> int:
    """Let the jobs be sent again that were published in that time and are neither done nor set
    aside.
    """
    count = marked = await mark_jobs(db, since, until, BATCH)
    while marked == BATCH:
        marked = await mark_jobs(db, since, until, BATCH)
        count += marked
    return count


async def mark_events(db: Connection, since: datetime, until: datetime, limit: int) -> int:
    """Mark events as waiting."""
    status = await db.execute(
        """UPDATE outbox SET published_at = NULL, resent = resent + 1
            WHERE position IN (SELECT position FROM outbox
                                WHERE published_at >= $1 AND published_at < $2
                                  AND subject NOT LIKE 'jobs.%'
                                LIMIT $3)""",
        since,
        until,
        limit,
    )
    return int(status.rpartition(" ")[2])


async def mark_jobs(db: Connection, since: datetime, until: datetime, limit: int) -> int:
    """Mark jobs as waiting."""
    status = await db.execute(
        """UPDATE outbox SET published_at = NULL, resent = resent + 1
            WHERE position IN (SELECT position FROM outbox
                                WHERE published_at >= $1 AND published_at < $2
                                  AND subject LIKE 'jobs.%'
                                  AND NOT EXISTS (SELECT FROM inbox WHERE inbox.id = outbox.id)
                                  AND NOT EXISTS (SELECT FROM dead_letters
                                                   WHERE dead_letters.id = outbox.id)
                                LIMIT $3)""",
        since,
        until,
        limit,
    )
    return int(status.rpartition(" ")[2])


async def select_oldest(db: Connection) -> datetime | None:
    """When the oldest row was published that can still be sent again."""
    oldest: datetime | None = await db.fetchval(
        "SELECT min(published_at) FROM outbox WHERE published_at IS NOT NULL"
    )
    return oldest
