"""The reads of gadgetry, on 100,000 gadgets."""

from uuid import UUID

import asyncpg

from deploy.local.plans import Read
from templates.service.queries import select_gadgets

READS = {
    "newest": Read(run=lambda db: select_gadgets(db, None, 20)),
    "older": Read(run=lambda db: select_gadgets(db, UUID(int=50_000), 20)),
}


async def fill(db: asyncpg.Connection) -> None:
    """A thousand people, with a hundred each."""
    await db.execute(
        """INSERT INTO people (id, username, position)
           SELECT lpad(to_hex(n), 32, '0')::uuid, 'person ' || n, n
             FROM generate_series(1, 1000) AS n;
           INSERT INTO gadgets (id, owner_id, title, created_at)
           SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(1 + n % 1000), 32, '0')::uuid,
                  'Number ' || n, now()
             FROM generate_series(1, 100000) AS n"""
    )
