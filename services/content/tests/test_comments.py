from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import msgspec
import pytest
from uuid_utils.compat import uuid7

from services.content import comments
from services.content.articles import ArticleNotFound, AuthorUnknown
from services.content.schema import CommentsPage
from services.content.tests.members import Member
from shared.events.content import CommentCreated, CommentDeleted

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ALL = CommentsPage()


@pytest.fixture
async def slug(author: Member) -> str:
    slug: str = (await author.publish())["slug"]
    return slug


async def told(db: asyncpg.Connection, article_id: UUID) -> list[tuple[str, bytes]]:
    rows = await db.fetch(
        """SELECT subject, data FROM outbox
            WHERE aggregate = $1 AND subject LIKE 'content.comment%' ORDER BY position""",
        str(article_id),
    )
    return [tuple(row) for row in rows]


async def test_a_comment_is_told_and_its_end_too(
    db: asyncpg.Connection, slug: str, author: Member, reader: Member
) -> None:
    comment = await comments.create(db, slug, "Hm.", reader.id, NOW)
    assert (comment.created_at, comment.updated_at) == ("2026-01-02T00:00:00.000Z",) * 2
    assert (await comments.list_comments(db, slug, None, ALL))[1].comments == [comment]
    await comments.delete(db, slug, comment.id, reader.id, NOW)
    assert (await comments.list_comments(db, slug, None, ALL))[1].comments == []
    article_id = await db.fetchval("SELECT id FROM articles WHERE slug = $1", slug)
    created, deleted = await told(db, article_id)
    facts = {
        "comment_id": comment.id,
        "article_id": article_id,
        "author_id": author.id,
        "account_id": reader.id,
        "slug": slug,
    }
    assert msgspec.json.decode(created[1], type=CommentCreated) == CommentCreated(**facts)
    assert msgspec.json.decode(deleted[1], type=CommentDeleted) == CommentDeleted(**facts)


async def test_a_comment_waits_for_what_it_is_about_and_by_whom(
    db: asyncpg.Connection, slug: str, author: Member
) -> None:
    with pytest.raises(AuthorUnknown):
        await comments.create(db, slug, "Hm.", uuid7(), NOW)
    with pytest.raises(ArticleNotFound):
        await comments.create(db, "no-such-article", "Hm.", author.id, NOW)
    with pytest.raises(ArticleNotFound):
        await comments.list_comments(db, "no-such-article", None, ALL)


async def test_only_its_author_deletes_a_comment(
    db: asyncpg.Connection, slug: str, author: Member, reader: Member
) -> None:
    comment = await comments.create(db, slug, "Hm.", reader.id, NOW)
    with pytest.raises(comments.NotYourComment):
        await comments.delete(db, slug, comment.id, author.id, NOW)
    other = (await author.publish())["slug"]
    with pytest.raises(comments.CommentNotFound):
        await comments.delete(db, other, comment.id, reader.id, NOW)
