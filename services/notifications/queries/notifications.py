"""Notifications. One is there for a client as soon as its actor is known here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from services.notifications.model import Inbox, Notification, Shown
from shared.database import Connection
from shared.errors import NotFound

NEWEST = UUID(int=2**128 - 1)  # above every id


async def insert_notifications(db: Connection, batch: Sequence[Notification]) -> set[UUID]:
    """Tell of facts those who want to be told so; return the ids of what is to be told by mail.

    Who was told of one already is not told again.
    """
    rows = await db.fetch(
        """WITH new AS (
             SELECT fact.*, COALESCE(p.inbox, true) AS inbox, COALESCE(p.email, false) AS email
               FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::text[],
                           $7::timestamptz[])
                    AS fact (id, recipient_id, kind, actor_id, article_id, fact, created_at)
               LEFT JOIN preferences p
                      ON p.account_id = fact.recipient_id AND p.kind = fact.kind),
           told AS (
             INSERT INTO notifications
                    (id, recipient_id, kind, actor_id, article_id, fact, created_at)
             SELECT id, recipient_id, kind, actor_id, article_id, fact, created_at
               FROM new
              WHERE inbox
             ON CONFLICT (recipient_id, kind, fact) DO NOTHING
             RETURNING id)
           SELECT id FROM new WHERE email AND (NOT inbox OR id IN (SELECT id FROM told))""",
        [told.id for told in batch],
        [told.recipient_id for told in batch],
        [told.kind for told in batch],
        [told.actor_id for told in batch],
        [told.article_id for told in batch],
        [told.fact for told in batch],
        [told.created_at for told in batch],
    )
    return {row["id"] for row in rows}


async def select_inbox(
    db: Connection, recipient_id: UUID, before: UUID | None, limit: int
) -> Inbox:
    """A page, the newest first, and the count of unread ones in the same statement."""
    rows = await db.fetch(
        """WITH page AS (
             SELECT n.id, n.kind, p.username, p.image, a.slug, a.title, n.created_at, n.read_at
               FROM notifications n
               JOIN people p ON p.id = n.actor_id
               LEFT JOIN articles a ON a.id = n.article_id AND NOT a.deleted
              WHERE n.recipient_id = $1 AND n.id < $2
              ORDER BY n.id DESC
              LIMIT $3)
           SELECT unread.count AS unread, page.id, page.kind, page.username, page.image, page.slug,
                  page.title, page.created_at, page.read_at
             FROM (SELECT count(*)
                     FROM notifications n
                     JOIN people p ON p.id = n.actor_id
                    WHERE n.recipient_id = $1 AND n.read_at IS NULL) AS unread
             LEFT JOIN page ON true
            ORDER BY page.id DESC""",
        recipient_id,
        NEWEST if before is None else before,
        limit + 1,
    )
    shown = [msgspec.convert(row, Shown) for row in rows if row["id"] is not None]
    return Inbox(page=shown[:limit], more=len(shown) > limit, unread=rows[0]["unread"])


async def update_read(
    db: Connection, recipient_id: UUID, notification_id: UUID, now: datetime
) -> Shown:
    """Mark one as read, which it stays. Raises `NotFound`, also for somebody else's."""
    row: Any = await db.fetchrow(
        """WITH told AS (
             UPDATE notifications n
                SET read_at = COALESCE(n.read_at, $3)
               FROM people p
              WHERE n.id = $1 AND n.recipient_id = $2 AND p.id = n.actor_id
             RETURNING n.id, n.kind, p.username, p.image, n.article_id, n.created_at, n.read_at)
           SELECT told.id, told.kind, told.username, told.image, a.slug, a.title, told.created_at,
                  told.read_at
             FROM told
             LEFT JOIN articles a ON a.id = told.article_id AND NOT a.deleted""",
        notification_id,
        recipient_id,
        now,
    )
    if row is None:
        raise NotFound("There is no such notification.", errors={"notification": ["not found"]})
    return msgspec.convert(row, Shown)


async def update_all_read(db: Connection, recipient_id: UUID, now: datetime) -> None:
    """Mark as read all that a client can see."""
    await db.execute(
        """UPDATE notifications n
              SET read_at = $2
             FROM people p
            WHERE n.recipient_id = $1 AND n.read_at IS NULL AND p.id = n.actor_id""",
        recipient_id,
        now,
    )


async def delete_unfollowed(
    db: Connection, follower_id: UUID, author_id: UUID, since: datetime
) -> None:
    """Take back what tells of articles that appeared, at `since` or later, while the account did
    not follow their author.
    """
    await db.execute(
        """DELETE FROM notifications n
            USING articles a
            WHERE a.author_id = $2 AND a.published_at >= $3
              AND n.recipient_id = $1 AND n.kind = 'published' AND n.fact = a.id::text
              AND NOT (SELECT f.following
                         FROM follows f
                        WHERE f.followee_id = $2 AND f.follower_id = $1
                          AND f.changed_at <= a.published_at
                        ORDER BY f.position DESC
                        LIMIT 1)""",
        follower_id,
        author_id,
        since,
    )


async def delete_read(db: Connection, before: datetime, limit: int) -> int:
    """Remove the oldest that are read and of a fact before that moment; return how many."""
    status = await db.execute(
        """DELETE FROM notifications
            WHERE id = ANY(ARRAY(
                  SELECT id
                    FROM notifications
                   WHERE read_at IS NOT NULL AND created_at < $1
                   ORDER BY created_at
                   LIMIT $2))""",
        before,
        limit,
    )
    return int(status.removeprefix("DELETE "))
