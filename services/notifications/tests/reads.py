"""What notifications reads, on 100,000 notifications."""

from math import inf
from uuid import UUID

import asyncpg

from deploy.local.plans import Read
from services.notifications.queries.announcements import select_since, update_numbers
from services.notifications.queries.mail import find_tidings
from services.notifications.queries.notifications import (
    NEWEST,
    delete_read,
    delete_unfollowed,
    select_inbox,
    update_all_read,
    update_read,
)
from services.notifications.queries.preferences import select_preferences
from services.notifications.queries.projections import select_followed, select_followers
from services.notifications.tests.facts import START

BUSY, AUTHOR = UUID(int=7), UUID(int=9)
SEQUENCE = frozenset({"notification_numbers"})
BEGINNING = (START, UUID(int=0))
CORPUS = (
    """INSERT INTO people (id, username, image, position)
       SELECT lpad(to_hex(n), 32, '0')::uuid, 'user ' || n, '', n
         FROM generate_series(1, 10000) n""",
    """INSERT INTO preferences (account_id, kind, email)
       SELECT id, kind, true FROM people, unnest(ARRAY['followed', 'published']) AS kind
       ON CONFLICT DO NOTHING""",
    """INSERT INTO articles (id, author_id, slug, title, position, published_at, deleted)
       SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n % 1000), 32, '0')::uuid, 's' || n,
              't' || n, n, '2026-01-01'::timestamptz + n * interval '1 minute', n % 50 = 0
         FROM generate_series(1, 20000) n""",
    """INSERT INTO follows (followee_id, follower_id, position, following, changed_at)
       SELECT lpad(to_hex(n % 500), 32, '0')::uuid, lpad(to_hex(n / 10), 32, '0')::uuid, n,
              n % 9 <> 0, '2026-01-01'::timestamptz + n * interval '1 second'
         FROM generate_series(1, 100000) n""",
    """INSERT INTO notifications (id, recipient_id, kind, actor_id, article_id, fact, created_at,
                                  read_at, number)
       SELECT gen_random_uuid(), lpad(to_hex(n % 2000), 32, '0')::uuid, 'published',
              lpad(to_hex(n % 9999 + 1), 32, '0')::uuid, lpad(to_hex(n % 20000 + 1), 32, '0')::uuid,
              lpad(to_hex(n), 32, '0')::uuid::text, '2026-01-01'::timestamptz,
              CASE WHEN n % 10 < 9 THEN '2026-01-02'::timestamptz END,
              CASE WHEN n % 1000 > 0 THEN nextval('notification_numbers') END
         FROM generate_series(1, 100000) n""",
)
READS = {
    "inbox": Read(run=lambda db: select_inbox(db, BUSY, None, 20)),
    "older": Read(run=lambda db: select_inbox(db, BUSY, UUID(int=2**127), 20)),
    "since": Read(run=lambda db: select_since(db, BUSY, 50_000, 100), whole=SEQUENCE),
    "mark one": Read(run=lambda db: update_read(db, BUSY, BUSY, START)),
    "mark all": Read(run=lambda db: update_all_read(db, BUSY, START), most=inf),
    "followers": Read(run=lambda db: select_followers(db, BUSY, START, NEWEST, 2_000)),
    "articles since": Read(run=lambda db: select_followed(db, BUSY, AUTHOR, BEGINNING, 2_000)),
    "mail": Read(run=lambda db: find_tidings(db, "published", BUSY, AUTHOR, UUID(int=11))),
    "take back": Read(run=lambda db: delete_unfollowed(db, BUSY, AUTHOR, START), most=inf),
    "preferences": Read(run=lambda db: select_preferences(db, BUSY)),
    "herald": Read(run=lambda db: update_numbers(db, 2_000)),
    "clean-up": Read(run=lambda db: delete_read(db, START, 1_000), most=3_000),
}


async def fill(db: asyncpg.Connection) -> None:
    """People, articles, follows, and what they were told."""
    for statement in CORPUS:
        await db.execute(statement)
