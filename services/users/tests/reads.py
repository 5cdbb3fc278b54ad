"""What users looks up, on 100,000 accounts."""

from uuid import UUID

import asyncpg

from deploy.local.plans import Read
from services.users import queries

SOMEBODY, SOMEBODY_ELSE = UUID(int=9), UUID(int=10)
NAMES = [str(n) for n in range(1, 101)]
READS = {
    "account": Read(run=lambda db: queries.find_account(db, SOMEBODY)),
    "account, locked": Read(run=lambda db: queries.lock_account(db, SOMEBODY)),
    "account by address": Read(run=lambda db: queries.find_account_by_email(db, "9@x")),
    "profile": Read(run=lambda db: queries.find_profile(db, "9", SOMEBODY)),
    "profiles": Read(run=lambda db: queries.select_profiles(db, NAMES, SOMEBODY)),
    "new hash": Read(run=lambda db: queries.update_password_hash(db, SOMEBODY, "", "")),
    "unfollow": Read(run=lambda db: queries.delete_follow(db, SOMEBODY, SOMEBODY_ELSE)),
}


async def fill(db: asyncpg.Connection) -> None:
    """Accounts by their numbers; each follows the next two, and three follow all."""
    await db.execute(
        """CREATE FUNCTION nth_id(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS
             $$ SELECT lpad(to_hex(n), 32, '0')::uuid $$;
           INSERT INTO accounts
           SELECT nth_id(n), n || '@x', n || '@x', n, n, '', '', '', now(), now()
             FROM generate_series(1, 100000) AS n;
           INSERT INTO follows
           SELECT nth_id(n), nth_id(n + m), now()
             FROM generate_series(1, 99998) AS n, generate_series(1, 2) AS m
           UNION
           SELECT nth_id(n), nth_id(m), now()
             FROM generate_series(1, 3) AS n, generate_series(4, 20000) AS m"""
    )
