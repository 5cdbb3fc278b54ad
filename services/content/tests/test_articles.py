"""The rules, on a database of their own transaction."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from uuid_utils.compat import uuid7

from services.content import articles
from services.content.schema import Article, NewArticle, UpdateArticle
from services.content.tests.members import Member
from shared.events import Event
from shared.events import content as events

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_900, UTC)
LATER = datetime(2026, 1, 2, 3, 5, tzinfo=UTC)


async def publish(
    db: asyncpg.Connection, author: UUID, title: str = "T", ending: str = "", **fields: Any
) -> Article:
    ending = ending or author.hex[-8:]
    draft = NewArticle(title=title, description="D", body="B", **fields)
    async with db.transaction():
        return await articles.create(db, draft, author, id=uuid7(), ending=ending, now=NOW)


async def change(
    db: asyncpg.Connection, slug: str, author: UUID, ending: str = "2", **fields: Any
) -> Article:
    async with db.transaction():
        return await articles.update(
            db, slug, UpdateArticle(**fields), author, ending=ending, now=LATER
        )


async def published(db: asyncpg.Connection, author: UUID) -> list[Event]:
    """The events about the author's articles, in their order."""
    types = {event.SUBJECT: event for event in events.EVENTS}
    rows = await db.fetch(
        """SELECT subject, data FROM outbox
            WHERE convert_from(data, 'UTF8')::json ->> 'author_id' = $1
            ORDER BY position""",
        str(author),
    )
    return [msgspec.json.decode(row["data"], type=types[row["subject"]]) for row in rows]


async def test_time_and_slug_are_what_the_edge_says(db: asyncpg.Connection, author: Member) -> None:
    title = author.id.hex
    first = await publish(db, author.id, title)
    second = await publish(db, author.id, title, "ending")
    assert (first.slug, second.slug) == (title, f"{title}-ending")
    assert first.created_at == first.updated_at == "2026-01-02T03:04:05.678Z"


async def test_a_slug_that_is_taken_with_its_ending_is_a_conflict(
    db: asyncpg.Connection, author: Member
) -> None:
    title = author.id.hex
    await publish(db, author.id, title)
    await publish(db, author.id, title, "same")
    with pytest.raises(articles.SlugTaken):
        await publish(db, author.id, title, "same")


async def test_a_slug_follows_the_title_and_comes_back_with_it(
    db: asyncpg.Connection, author: Member
) -> None:
    title = author.id.hex
    slug = (await publish(db, author.id, title)).slug
    assert (await change(db, slug, author.id, title=f"{title} 2")).slug == f"{title}-2"
    assert (await change(db, slug, author.id, title=title)).slug == slug


async def test_a_title_that_asks_for_the_same_slug_keeps_it(
    db: asyncpg.Connection, author: Member
) -> None:
    title = author.id.hex
    await publish(db, author.id, title)
    slug = (await publish(db, author.id, title, "ending")).slug
    assert (await change(db, slug, author.id, title=f"{title}!")).slug == slug


async def test_a_slug_once_used_is_never_another_articles(
    db: asyncpg.Connection, author: Member
) -> None:
    title = author.id.hex
    renamed = await publish(db, author.id, title)
    await change(db, renamed.slug, author.id, title=f"{title} renamed")
    assert (await publish(db, author.id, title, "a")).slug == f"{title}-a"
    async with db.transaction():
        await articles.delete(db, f"{title}-renamed", author.id, LATER)
    assert (await publish(db, author.id, title, "b")).slug == f"{title}-b"
    assert (await publish(db, author.id, f"{title} renamed", "c")).slug == f"{title}-renamed-c"
    with pytest.raises(articles.ArticleNotFound):
        await articles.read(db, title, None)


async def test_a_change_of_tags_alone_leaves_the_texts(
    db: asyncpg.Connection, author: Member
) -> None:
    article = await publish(db, author.id, tag_list=["a", "b"])
    changed = await change(db, article.slug, author.id, tag_list=["c", "b", "c"])
    assert changed.tag_list == ["c", "b"]
    assert (changed.title, changed.description, changed.body) == ("T", "D", "B")
    assert (changed.created_at, changed.updated_at) == (
        article.created_at,
        "2026-01-02T03:05:00.000Z",
    )


async def test_nothing_is_stored_of_an_author_who_is_not_known(db: asyncpg.Connection) -> None:
    somebody = uuid7()
    with pytest.raises(articles.AuthorUnknown) as raised:
        await publish(db, somebody, somebody.hex, tag_list=[somebody.hex])
    assert (raised.value.status, raised.value.retry_after) == (503, 1)
    left = await db.fetchval(
        "SELECT count(*) FROM slugs WHERE slug = $1", somebody.hex
    ) + await db.fetchval("SELECT count(*) FROM tags WHERE tag = $1", somebody.hex)
    assert left == 0
    assert await published(db, somebody) == []


async def test_every_change_is_told_in_its_order(
    db: asyncpg.Connection, author: Member, reader: Member
) -> None:
    slug = (await publish(db, author.id, author.id.hex, tag_list=["a"])).slug
    article_id = await db.fetchval("SELECT id FROM articles WHERE slug = $1", slug)
    new = (await change(db, slug, author.id, title=f"{slug} 2")).slug
    for _ in range(2):
        async with db.transaction():
            await articles.favorite(db, slug, reader.id, LATER)
    for _ in range(2):
        async with db.transaction():
            await articles.unfavorite(db, slug, reader.id, LATER)
    async with db.transaction():
        await articles.delete(db, slug, author.id, LATER)
    about: dict[str, Any] = {"article_id": article_id, "author_id": author.id}
    liked = about | {"account_id": reader.id, "slug": new}
    assert await published(db, author.id) == [
        events.ArticlePublished(**about, slug=slug, title=slug, tags=["a"]),
        events.ArticleUpdated(**about, slug=new, title=f"{slug} 2", tags=["a"], former_slug=slug),
        events.ArticleFavorited(**liked),
        events.ArticleUnfavorited(**liked),
        events.ArticleDeleted(**about, slug=new),
    ]


async def test_only_its_author_changes_an_article(
    db: asyncpg.Connection, author: Member, reader: Member
) -> None:
    slug = (await publish(db, author.id)).slug
    with pytest.raises(articles.NotYourArticle):
        await change(db, slug, reader.id, title="Mine")
    with pytest.raises(articles.NotYourArticle):
        await articles.delete(db, slug, reader.id, LATER)
    with pytest.raises(articles.ArticleNotFound):
        await change(db, "no-such-article", author.id, title="Mine")
