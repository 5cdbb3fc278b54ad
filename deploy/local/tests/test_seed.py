"""A seeded community is what the services would have made of the same deeds."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from deploy.local.seed import seed
from deploy.local.servers import Servers
from services.notifications.herald import announce_waiting
from shared.testing import clean_database

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
USERS, ARTICLES = 60, 300


@pytest.fixture(scope="module")
async def seeded(servers: Servers) -> AsyncIterator[dict[str, Any]]:
    """Connections to the three databases of a community that was seeded twice."""
    urls = {
        name: await clean_database(servers.admin_url, f"seed_{name}", "shared", f"services.{name}")
        for name in ("users", "content", "notifications")
    }
    for number in (1, 2):
        await seed(
            urls,
            users=USERS,
            articles=ARTICLES,
            dice=random.Random(number),
            now=NOW,
            progress=lambda *_: None,
        )
    databases = {name: await asyncpg.connect(url) for name, url in urls.items()}
    yield databases
    for db in databases.values():
        await db.close()


async def rows(db: Any, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await db.fetch(query)]


async def test_there_is_as_much_as_was_asked_for(seeded: dict[str, Any]) -> None:
    assert await rows(seeded["users"], "SELECT count(*) FROM accounts") == [(2 * USERS,)]
    assert await rows(seeded["content"], "SELECT count(*) FROM articles") == [(2 * ARTICLES,)]
    assert (await seeded["content"].fetchval("SELECT count(*) FROM comments")) > ARTICLES
    assert (await seeded["content"].fetchval("SELECT count(*) FROM favorites")) > ARTICLES


async def test_projections_of_people_equal_their_source(seeded: dict[str, Any]) -> None:
    accounts = "SELECT id, username, username_key, bio, image FROM accounts ORDER BY id"
    authors = accounts.replace("accounts", "authors")
    assert await rows(seeded["users"], accounts) == await rows(seeded["content"], authors)
    accounts = "SELECT id, username, image FROM accounts ORDER BY id"
    people = accounts.replace("accounts", "people")
    assert await rows(seeded["users"], accounts) == await rows(seeded["notifications"], people)


async def test_projections_of_follows_equal_their_source(seeded: dict[str, Any]) -> None:
    source = "SELECT follower_id, followee_id FROM follows ORDER BY 1, 2"
    copy = "SELECT follower_id, followee_id FROM follows WHERE following ORDER BY 1, 2"
    expected = await rows(seeded["users"], source)
    assert await rows(seeded["content"], copy) == expected
    assert await rows(seeded["notifications"], copy) == expected


async def test_projections_of_articles_equal_their_source(seeded: dict[str, Any]) -> None:
    source = "SELECT id, author_id, slug, title, created_at FROM articles ORDER BY id"
    copy = "SELECT id, author_id, slug, title, published_at FROM articles ORDER BY id"
    assert await rows(seeded["content"], source) == await rows(seeded["notifications"], copy)


async def test_counters_equal_what_they_count(seeded: dict[str, Any]) -> None:
    content = seeded["content"]
    counted = """SELECT id FROM articles WHERE favorites_count <>
                 (SELECT count(*) FROM favorites WHERE article_id = articles.id)"""
    assert await rows(content, counted) == []
    assert await rows(content, "SELECT sum(articles)::int FROM article_counts") == [(2 * ARTICLES,)]
    assert await rows(content, "SELECT tag, articles FROM tags ORDER BY tag") == await rows(
        content, "SELECT tag, count(*) FROM article_tags GROUP BY tag ORDER BY tag"
    )


async def test_the_told_are_those_who_should_be(seeded: dict[str, Any]) -> None:
    content, notifications = seeded["content"], seeded["notifications"]
    told = "SELECT recipient_id, actor_id, article_id FROM notifications WHERE kind = '{}'"
    liked = """SELECT author_id, account_id, article_id FROM favorites
                 JOIN articles ON articles.id = article_id WHERE author_id <> account_id"""
    said = """SELECT articles.author_id, comments.author_id, article_id FROM comments
                JOIN articles ON articles.id = article_id
               WHERE articles.author_id <> comments.author_id"""
    followed = "SELECT followee_id, follower_id, NULL::uuid FROM follows"
    published = """SELECT follower_id, author_id, articles.id FROM articles
                     JOIN follows ON followee_id = author_id
                    WHERE changed_at <= published_at"""
    assert set(await rows(notifications, told.format("favorited"))) == set(
        await rows(content, liked)
    )
    assert sorted(await rows(notifications, told.format("commented"))) == sorted(
        await rows(content, said)
    )
    assert set(await rows(notifications, told.format("followed"))) == set(
        await rows(seeded["users"], followed)
    )
    assert set(await rows(notifications, told.format("published"))) == set(
        await rows(notifications, published)
    )


async def test_nobody_is_told_of_it_as_news(seeded: dict[str, Any]) -> None:
    """Else the service would announce each notification, an event apiece: at 10,000 articles that
    keeps it and NATS busy for minutes.
    """
    async with seeded["notifications"].transaction():
        assert await announce_waiting(seeded["notifications"], NOW) == 0
