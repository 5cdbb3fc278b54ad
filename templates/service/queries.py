"""Every SQL statement of the service."""

from datetime import datetime
from uuid import UUID

import msgspec

from shared.database import Connection
from templates.service.model import Gadget, Listing

NEWEST = UUID(int=2**128 - 1)  # above every id


async def insert_gadget(
    db: Connection, owner_id: UUID, title: str, id_: UUID, now: datetime
) -> Gadget | None:
    """Keep one; None where the owner is not known."""
    row = await db.fetchrow(
        """WITH owner AS (SELECT id, username FROM people WHERE id = $2),
                added AS (
             INSERT INTO gadgets (id, owner_id, title, created_at)
             SELECT $1, owner.id, $3, $4 FROM owner
             RETURNING id, title, created_at)
           SELECT added.id, owner.username AS owner, added.title, added.created_at
             FROM added, owner""",
        id_,
        owner_id,
        title,
        now,
    )
    return row and msgspec.convert(row, Gadget)


async def select_gadgets(db: Connection, before: UUID | None, limit: int) -> Listing:
    """A page, the newest first: ids are UUIDv7, so they grow with time."""
    rows = await db.fetch(
        """SELECT kept.id, owner.username AS owner, kept.title, kept.created_at
             FROM gadgets AS kept
             JOIN people AS owner ON owner.id = kept.owner_id
            WHERE kept.id < $1
            ORDER BY kept.id DESC
            LIMIT $2""",
        NEWEST if before is None else before,
        limit + 1,
    )
    page = [msgspec.convert(row, Gadget) for row in rows]
    return Listing(page=page[:limit], more=len(page) > limit)


async def upsert_person(db: Connection, account_id: UUID, username: str, position: int) -> None:
    """Remember what others see of an account; an older event undoes nothing of a newer one."""
    await db.execute(
        """INSERT INTO people (id, username, position)
           VALUES ($1, $2, $3)
           ON CONFLICT (id) DO UPDATE
              SET username = EXCLUDED.username, position = EXCLUDED.position
            WHERE people.position < EXCLUDED.position""",
        account_id,
        username,
        position,
    )
