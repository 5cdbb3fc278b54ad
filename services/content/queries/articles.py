"""One article: found, locked, written."""

from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import structs

from services.content import schema
from services.content.model import Article
from shared.database import Connection
from shared.http import timestamp


async def find_article(db: Connection, slug: str, viewer: UUID | None) -> schema.Article | None:
    """The article that any of its slugs names, as `viewer` sees it."""
    row = await db.fetchrow(
        """SELECT articles.slug, title, description, tag_list, created_at,
                  nullif(updated_at, created_at), favorites_count, username, bio, image,
                  EXISTS (SELECT FROM favorites
                           WHERE article_id = articles.id AND account_id = $2),
                  EXISTS (SELECT FROM follows
                           WHERE follower_id = $2 AND followee_id = author_id AND following),
                  articles.body
             FROM slugs
             JOIN articles ON articles.id = article_id
             JOIN authors ON authors.id = author_id
            WHERE slugs.slug = $1""",
        slug,
        viewer,
    )
    if row is None:
        return None
    *values, body = row
    return schema.Article(**structs.asdict(summary(*values)), body=body)


def summary(
    slug: str,
    title: str,
    description: str,
    tag_list: list[str],
    created_at: datetime,
    changed_at: datetime | None,
    favorites_count: int,
    username: str,
    bio: str,
    image: str,
    favorited: bool,
    following: bool,
) -> schema.ArticleSummary:
    """What a list shows of an article: the values of a row, in the order in which statements select
    them. By their names it would take five times as long. `changed_at`: if it ever was changed.
    """
    created = timestamp(created_at)
    return schema.ArticleSummary(
        slug=slug,
        title=title,
        description=description,
        tag_list=tag_list,
        created_at=created,
        updated_at=created if changed_at is None else timestamp(changed_at),
        favorited=favorited,
        favorites_count=favorites_count,
        author=schema.Profile(username=username, bio=bio, image=image, following=following),
    )


async def lock_article(db: Connection, slug: str) -> Article | None:
    """Hold the article that any of its slugs names until the transaction ends.

    Whatever changes an article or belongs to it holds this lock, so that an article's events are
    in the order of their commits.
    """
    row = await db.fetchrow(
        """SELECT articles.id, author_id, articles.slug, title, tag_list, created_at
             FROM slugs
             JOIN articles ON articles.id = article_id
            WHERE slugs.slug = $1
              FOR NO KEY UPDATE OF articles""",
        slug,
    )
    return None if row is None else msgspec.convert(row, Article)


async def lock_articles(db: Connection, after: UUID, limit: int) -> list[Article]:
    """Hold the articles after an id, in the order of ids, against every change."""
    rows = await db.fetch(
        """SELECT id, author_id, slug, title, tag_list, created_at
             FROM articles
            WHERE id > $1
            ORDER BY id
            LIMIT $2
              FOR SHARE""",
        after,
        limit,
    )
    return [msgspec.convert(row, Article) for row in rows]


async def claim_slug(db: Connection, article_id: UUID, wanted: str, otherwise: str) -> str | None:
    """Make `wanted` a slug of the article, or `otherwise` if another article has it or had it.

    None if others have both. Waits for a transaction that is about to claim the same, so there is
    no moment between looking and taking.
    """
    slug: str | None = await db.fetchval(
        """WITH first AS (
             INSERT INTO slugs (slug, article_id) VALUES ($2, $1)
             ON CONFLICT (slug) DO UPDATE SET article_id = EXCLUDED.article_id
                   WHERE slugs.article_id = EXCLUDED.article_id
             RETURNING slug),
           second AS (
             INSERT INTO slugs (slug, article_id)
             SELECT $3, $1 WHERE NOT EXISTS (SELECT FROM first)
             ON CONFLICT (slug) DO NOTHING
             RETURNING slug)
           SELECT slug FROM first UNION ALL SELECT slug FROM second""",
        article_id,
        wanted,
        otherwise,
    )
    return slug


async def insert_article(db: Connection, article: Article, description: str, body: str) -> bool:
    """Insert an article; False if its author is not known here."""
    status = await db.execute(
        """INSERT INTO articles (id, slug, title, description, body, tag_list, author_id,
                                 created_at, updated_at)
           SELECT $1, $2, $3, $4, $5, $6, id, $8, $8 FROM authors WHERE id = $7""",
        article.id,
        article.slug,
        article.title,
        description,
        body,
        article.tag_list,
        article.author_id,
        article.created_at,
    )
    return status == "INSERT 0 1"


async def update_article(
    db: Connection, article: Article, description: str | None, body: str | None, now: datetime
) -> None:
    """Write an article's new values; None leaves a text as it is."""
    await db.execute(
        """UPDATE articles
              SET slug = $2, title = $3, tag_list = $4, description = coalesce($5, description),
                  body = coalesce($6, body), updated_at = $7
            WHERE id = $1""",
        article.id,
        article.slug,
        article.title,
        article.tag_list,
        description,
        body,
        now,
    )


async def delete_article(db: Connection, article_id: UUID) -> None:
    """Delete an article with its tags, favourites and comments."""
    await db.execute("DELETE FROM articles WHERE id = $1", article_id)
