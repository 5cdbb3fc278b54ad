"""What notifications reads, on 100,000 notifications."""

from math import inf
from uuid import UUID

import asyncpg

from deploy.local.plans import Read
from services.notifications.queries.announcements import select_since
from services.notifications.queries.mail import find_tidings
from services.notifications.queries.notifications import (
    NEWEST,
    delete_unfollowed,
    select_inbox,
    update_all_read,
    update_read,
)
from services.notifications.queries.projections import select_followed, select_followers
from services.notifications.tests.facts import START
from services.notifications.tests.test_queries import BUSY, CORPUS

AUTHOR = UUID(int=9)
BEGINNING = (START, UUID(int=0))
READS = {
    "inbox": Read(run=lambda db: select_inbox(db, BUSY, None, 20)),
    "older": Read(run=lambda db: select_inbox(db, BUSY, UUID(int=2**127), 20)),
    "since": Read(run=lambda db: select_since(db, BUSY, 50_000, 100)),
    "mark one": Read(run=lambda db: update_read(db, BUSY, BUSY, START)),
    "mark all": Read(run=lambda db: update_all_read(db, BUSY, START), most=inf),
    "followers": Read(run=lambda db: select_followers(db, BUSY, START, NEWEST, 2_000)),
    "articles since": Read(run=lambda db: select_followed(db, BUSY, AUTHOR, BEGINNING, 2_000)),
    "mail": Read(run=lambda db: find_tidings(db, "published", BUSY, AUTHOR, UUID(int=11))),
    "take back": Read(run=lambda db: delete_unfollowed(db, BUSY, AUTHOR, START), most=inf),
}


async def fill(db: asyncpg.Connection) -> None:
    """People, articles, follows, and what they were told."""
    for statement in CORPUS:
        await db.execute(statement)
