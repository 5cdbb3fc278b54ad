"""Statements read by index at a size where anything else would show."""

from collections.abc import AsyncIterator
from typing import Any, LiteralString
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

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
from services.notifications.tests.facts import START, deleted, fact, published, updated
from shared.database import Connection
from shared.errors import NotFound

BUSY = UUID(int=7)
LARGE = {"notifications", "follows", "articles", "people", "preferences"}
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


class Explained:
    """A connection that keeps the plan of each statement instead of running it."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self.plans: list[Any] = []

    async def fetch(self, query: LiteralString, *args: object) -> list[Any]:
        text = await self._db.fetchval("EXPLAIN (FORMAT JSON) " + query, *args)
        self.plans.append(msgspec.json.decode(text)[0]["Plan"])
        return []

    async def fetchrow(self, query: LiteralString, *args: object) -> Any:
        await self.fetch(query, *args)

    async def fetchval(self, query: LiteralString, *args: object) -> Any:
        await self.fetch(query, *args)

    async def execute(self, query: LiteralString, *args: object) -> str:
        await self.fetch(query, *args)
        return ""

    async def executemany(self, command: LiteralString, args: Any) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
async def corpus(database_url: str) -> AsyncIterator[Connection]:
    """100,000 notifications, undone afterwards."""
    db = await asyncpg.connect(database_url)
    transaction = db.transaction()
    await transaction.start()
    for statement in CORPUS:
        await db.execute(statement)
    await db.execute("ANALYZE people, preferences, articles, follows, notifications")
    yield db
    await transaction.rollback()
    await db.close()


@pytest.fixture
def explained(corpus: Connection) -> Explained:
    return Explained(corpus)


def nodes(plan: Any) -> list[Any]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


def read_whole(plan: Any) -> set[str]:
    """The tables that a plan reads from end to end."""
    return {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}


async def test_a_page_of_the_newest_is_read_by_index_and_not_sorted(explained: Explained) -> None:
    with pytest.raises(IndexError):  # there is no row to take the count from
        await select_inbox(explained, BUSY, None, 20)
    (plan,) = explained.plans
    assert not read_whole(plan) & {"notifications", "articles"}
    used = {node.get("Index Name") for node in nodes(plan)}
    assert {"notifications_newest", "notifications_unread"} <= used


async def test_what_was_announced_since_is_read_by_index(explained: Explained) -> None:
    with pytest.raises(IndexError):  # there is no row to take the count from
        await select_since(explained, BUSY, 50_000, 100)
    (plan,) = explained.plans
    assert not read_whole(plan) & {"notifications", "articles"}
    used = {node.get("Index Name") for node in nodes(plan)}
    assert {"notifications_numbered", "notifications_unread"} <= used


async def test_the_herald_reads_only_what_waits(explained: Explained) -> None:
    await update_numbers(explained, 2_000)
    (plan,) = explained.plans
    assert "notifications_waiting" in {node.get("Index Name") for node in nodes(plan)}
    assert not read_whole(plan) & {"notifications"}


async def test_reading_one_is_read_by_index(explained: Explained) -> None:
    with pytest.raises(NotFound):  # nothing ran
        await update_read(explained, BUSY, BUSY, START)
    (plan,) = explained.plans
    assert not read_whole(plan) & LARGE


async def test_reading_all_is_read_by_index(explained: Explained) -> None:
    await update_all_read(explained, BUSY, START)
    (plan,) = explained.plans
    assert "notifications_unread" in {node.get("Index Name") for node in nodes(plan)}
    assert not read_whole(plan) & {"notifications"}


async def test_followers_are_read_in_the_order_of_the_index(explained: Explained) -> None:
    await select_followers(explained, BUSY, START, NEWEST, 2_000)
    (plan,) = explained.plans
    assert not read_whole(plan) & LARGE


async def test_articles_since_a_follow_are_read_by_index(explained: Explained) -> None:
    await select_followed(explained, BUSY, UUID(int=9), (START, UUID(int=0)), 2_000)
    await delete_unfollowed(explained, BUSY, UUID(int=9), START)
    for plan in explained.plans:
        assert not read_whole(plan) & LARGE


async def test_the_clean_up_reads_the_oldest_by_index(explained: Explained) -> None:
    with pytest.raises(ValueError, match="int"):  # nothing was deleted
        await delete_read(explained, START, 1_000)
    (plan,) = explained.plans
    assert "notifications_read" in {node.get("Index Name") for node in nodes(plan)}
    assert not read_whole(plan) & LARGE


async def test_what_a_mail_tells_of_is_read_by_index(explained: Explained) -> None:
    await select_preferences(explained, BUSY)
    assert await find_tidings(explained, "published", BUSY, UUID(int=9), UUID(int=11)) is None
    for plan in explained.plans:
        assert not read_whole(plan) & LARGE


async def test_an_inbox_of_many_pages_is_walked_without_gap_or_repetition(
    corpus: Connection,
) -> None:
    seen: list[UUID] = []
    before: UUID | None = None
    while True:
        inbox = await select_inbox(corpus, BUSY, before, 7)
        seen += [shown.id for shown in inbox.page]
        if not inbox.more:
            break
        before = inbox.page[-1].id
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == await corpus.fetchval(
        "SELECT count(*) FROM notifications WHERE recipient_id = $1", BUSY
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
async def test_an_article_ends_the_same_in_every_order_of_its_events(
    db: Connection, order: tuple[int, ...]
) -> None:
    author, article = uuid4(), uuid4()
    facts = [
        fact(published(author, article, "Old")),
        fact(updated(author, article, "New")),
        fact(deleted(author, article)),
    ]
    for index in order:
        await facts[index].arrive(db)
    row = await db.fetchrow(
        "SELECT published_at, deleted, position FROM articles WHERE id = $1", article
    )
    assert tuple(row) == (facts[0].at, True, facts[2].position)
