"""Numbers of notifications: what was announced when."""

from uuid import UUID

import msgspec

from services.notifications.model import Announced, Numbered, Since
from shared.database import Connection

_ORDER_LOCK = 0x6865_7261_6C64


async def lock_order(db: Connection) -> None:
    """Be the only transaction that gives numbers out, until it ends."""
    await db.execute("SELECT pg_advisory_xact_lock($1)", _ORDER_LOCK)


async def wake_herald(db: Connection) -> None:
    """At commit, say that something may wait for a number."""
    await db.execute("SELECT pg_notify('told', '')")


async def update_numbers(db: Connection, limit: int) -> list[Announced]:
    """Give numbers to what waits and can be shown, the oldest facts first; needs `lock_order`.

    What another transaction is changing waits for the next time: nobody waits for the herald's
    locks while it waits for theirs.
    """
    rows = await db.fetch(
        """WITH waiting AS (
             SELECT n.id
               FROM notifications n
              WHERE n.number IS NULL
                AND EXISTS (SELECT FROM people p WHERE p.id = n.actor_id)
              ORDER BY n.id
              LIMIT $1
                FOR UPDATE SKIP LOCKED),
           next AS (
             SELECT id, nextval('notification_numbers') AS number
               FROM (SELECT id FROM waiting ORDER BY id) AS ordered),
           numbered AS (
             UPDATE notifications n
                SET number = next.number
               FROM next
              WHERE n.id = next.id
             RETURNING n.id, n.recipient_id, n.kind, n.actor_id, n.article_id, n.created_at,
                       n.read_at, n.number)
           SELECT numbered.id, numbered.recipient_id, numbered.kind, numbered.actor_id,
                  p.username, p.image, a.slug, a.title, numbered.created_at, numbered.read_at,
                  numbered.number
             FROM numbered
             JOIN people p ON p.id = numbered.actor_id
             LEFT JOIN articles a ON a.id = numbered.article_id AND NOT a.deleted
            ORDER BY numbered.number""",
        limit,
    )
    return [msgspec.convert(row, Announced) for row in rows]


async def select_since(db: Connection, recipient_id: UUID, after: int | None, limit: int) -> Since:
    """What an account was told after that number, in the order of the numbers, and how many it has
    not read. Without a number, or with one that nobody was given, it is nothing.
    """
    rows = await db.fetch(
        """WITH given AS (
             SELECT CASE WHEN $2::bigint <= last_value THEN $2::bigint END AS number
               FROM notification_numbers),
           page AS (
             SELECT n.id, n.kind, p.username, p.image, a.slug, a.title, n.created_at, n.read_at,
                    n.number
               FROM notifications n
               JOIN people p ON p.id = n.actor_id
               LEFT JOIN articles a ON a.id = n.article_id AND NOT a.deleted
              WHERE n.recipient_id = $1 AND n.number > (SELECT number FROM given)
              ORDER BY n.number
              LIMIT $3)
           SELECT (SELECT number FROM given) AS given,
                  COALESCE((SELECT max(n.number) FROM notifications n WHERE n.recipient_id = $1), 0)
                    AS last,
                  unread.count AS unread, page.id, page.kind, page.username, page.image, page.slug,
                  page.title, page.created_at, page.read_at, page.number
             FROM (SELECT count(*)
                     FROM notifications n
                     JOIN people p ON p.id = n.actor_id
                    WHERE n.recipient_id = $1 AND n.read_at IS NULL) AS unread
             LEFT JOIN page ON true
            ORDER BY page.number""",
        recipient_id,
        after,
        limit + 1,
    )
    told = [msgspec.convert(row, Numbered) for row in rows if row["id"] is not None]
    more, head = len(told) > limit, rows[0]
    last = told[limit - 1].number if more else max(head["given"] or 0, head["last"])
    return Since(page=told[:limit], last=last, more=more, unread=head["unread"])
