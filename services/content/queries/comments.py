"""Comments of an article."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from services.content import schema
from services.content.model import Comment
from shared.database import Connection
from shared.http import timestamp


async def find_comments(
    db: Connection, slug: str, viewer: UUID | None, before: int | None, limit: int
) -> tuple[str, list[schema.Comment]] | None:
    """An article's slug, and its comments, newest first, older than the comment `before`; None if
    there is no such article.
    """
    rows = await db.fetch(
        """SELECT articles.slug, comments.id, comments.body, comments.created_at,
                  comments.updated_at, username, bio, image,
                  EXISTS (SELECT FROM follows
                           WHERE follower_id = $2 AND followee_id = authors.id AND following
                          OFFSET 0) AS following
             FROM slugs
             JOIN articles ON articles.id = slugs.article_id
             LEFT JOIN LATERAL (
               SELECT id, body, author_id, created_at, updated_at
                 FROM comments
                WHERE article_id = articles.id AND id < coalesce($3, 9223372036854775807)
                ORDER BY id DESC
                LIMIT $4) AS comments ON true
             LEFT JOIN authors ON authors.id = comments.author_id
            WHERE slugs.slug = $1
            ORDER BY comments.id DESC""",
        slug,
        viewer,
        before,
        limit,
    )
    if not rows:
        return None
    return rows[0]["slug"], [_comment(row) for row in rows if row["id"] is not None]


async def insert_comment(
    db: Connection, article_id: UUID, author_id: UUID, text: str, now: datetime
) -> schema.Comment | None:
    """Insert a comment; None if its author is not known here."""
    row = await db.fetchrow(
        """WITH written AS (
             INSERT INTO comments (article_id, author_id, body, created_at, updated_at)
             SELECT $1, id, $3, $4, $4 FROM authors WHERE id = $2
             RETURNING id, author_id, body, created_at, updated_at)
           SELECT written.id, body, created_at, updated_at, username, bio, image,
                  EXISTS (SELECT FROM follows
                           WHERE follower_id = $2 AND followee_id = $2 AND following) AS following
             FROM written JOIN authors ON authors.id = author_id""",
        article_id,
        author_id,
        text,
        now,
    )
    return None if row is None else _comment(row)


async def find_comment(db: Connection, article_id: UUID, comment_id: int) -> Comment | None:
    """A comment of the article."""
    row = await db.fetchrow(
        "SELECT id, author_id FROM comments WHERE id = $2 AND article_id = $1",
        article_id,
        comment_id,
    )
    return None if row is None else msgspec.convert(row, Comment)


async def delete_comment(db: Connection, comment_id: int) -> None:
    """Delete a comment."""
    await db.execute("DELETE FROM comments WHERE id = $1", comment_id)


def _comment(row: Any) -> schema.Comment:
    return schema.Comment(
        id=row["id"],
        created_at=timestamp(row["created_at"]),
        updated_at=timestamp(row["updated_at"]),
        body=row["body"],
        author=schema.Profile(
            username=row["username"],
            bio=row["bio"],
            image=row["image"],
            following=row["following"],
        ),
    )
