"""Who gets a mail, and what is in it."""

from uuid import UUID

import msgspec

from services.notifications.model import Addressee, Kind, Tidings
from shared.database import Connection


async def find_addressee(db: Connection, account_id: UUID) -> Addressee | None:
    """Who has the account; None while that is not known here."""
    row = await db.fetchrow("SELECT username, email FROM people WHERE id = $1", account_id)
    return None if row is None else msgspec.convert(row, Addressee)


async def find_tidings(
    db: Connection, kind: Kind, recipient_id: UUID, actor_id: UUID, article_id: UUID | None
) -> Tidings | None:
    """What a mail tells of, by the newest names; None while one of those is not known here."""
    row = await db.fetchrow(
        """SELECT r.email, COALESCE(p.email, false) AND NOT COALESCE(a.deleted, false) AS wanted,
                  actor.username AS actor, a.slug, a.title
             FROM people r
             JOIN people actor ON actor.id = $3
             LEFT JOIN articles a ON a.id = $4
             LEFT JOIN preferences p ON p.account_id = r.id AND p.kind = $1
            WHERE r.id = $2 AND ($4 IS NULL OR a.id IS NOT NULL)""",
        kind,
        recipient_id,
        actor_id,
        article_id,
    )
    return None if row is None else msgspec.convert(row, Tidings)
