"""What the reads cost on 100,000 articles: indexes for what a page shows, and no more."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.local.plans import filled, plan
from deploy.local.servers import Servers
from services.content.queries.listing import select_feed, select_newest
from services.content.schema import Page
from services.content.tests.reads import ARTICLES, PAGE, PAGES, READS, account


@pytest.fixture(scope="module")
async def big(servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    """A database with the corpus in it."""
    async with filled(servers.admin_url, "services.content") as db:
        yield db


@pytest.mark.parametrize("name", READS)
async def test_a_read_takes_no_more_than_it_may(big: asyncpg.Connection, name: str) -> None:
    found = await plan(big, READS[name])
    assert found.faults(READS[name]) == []
    assert found.returned > 0 or name not in PAGES


async def test_the_feed_is_what_a_plain_statement_finds(big: asyncpg.Connection) -> None:
    for reader in (1, 2, 17):
        for offset in (0, 5, 400, 5_000):
            feed = await select_feed(big, account(reader), Page(limit=20, offset=offset))
            plain = await big.fetch(
                """SELECT slug FROM articles JOIN follows ON followee_id = author_id
                    WHERE follower_id = $1 AND following
                    ORDER BY created_at DESC, articles.id DESC LIMIT 20 OFFSET $2""",
                account(reader),
                offset,
            )
            assert [item.slug for item in feed.articles] == [row["slug"] for row in plain]
    count = await big.fetchval(
        """SELECT count(*) FROM articles JOIN follows ON followee_id = author_id
            WHERE follower_id = $1 AND following""",
        account(2),
    )
    assert (await select_feed(big, account(2), PAGE)).articles_count == count


async def test_the_newest_are_what_a_plain_statement_finds(big: asyncpg.Connection) -> None:
    undone = big.transaction()
    await undone.start()
    try:
        await big.execute("UPDATE articles SET created_at = now() WHERE slug LIKE 'article-77__'")
        for offset in (0, 7, 90, 7_000, ARTICLES - 5, ARTICLES):
            found = await select_newest(big, None, Page(limit=20, offset=offset))
            plain = await big.fetch(
                """SELECT slug FROM articles
                    ORDER BY created_at DESC, id DESC LIMIT 20 OFFSET $1""",
                offset,
            )
            assert [item.slug for item in found.articles] == [row["slug"] for row in plain]
            assert found.articles_count == ARTICLES
    finally:
        await undone.rollback()


async def test_the_newest_twenty_take_a_millisecond_at_most(big: asyncpg.Connection) -> None:
    times = [(await plan(big, READS["all"])).milliseconds for _ in range(10)]
    assert min(times) <= 1.0
