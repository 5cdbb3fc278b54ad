"""What this service keeps of others' facts. An older event undoes nothing of a newer one."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.notifications.model import Article, FollowChange, Person
from shared.database import Connection


async def upsert_person(db: Connection, person: Person, position: int) -> None:
    """Remember what others see of an account, and where mail reaches it. The same event, taken in
    again, fills a column that it did not fill before.
    """
    await db.execute(
        """INSERT INTO people (id, username, image, email, position)
           VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (id) DO UPDATE
              SET username = EXCLUDED.username, image = EXCLUDED.image, email = EXCLUDED.email,
                  position = EXCLUDED.position
            WHERE people.position <= EXCLUDED.position""",
        person.id,
        person.username,
        person.image,
        person.email,
        position,
    )


async def upsert_article(
    db: Connection, article: Article, published_at: datetime | None = None, *, deleted: bool = False
) -> None:
    """Remember an article. Whichever event of it comes first, it is published at one time; of its
    names, and of whether it is there, the newest counts.
    """
    await db.execute(
        """INSERT INTO articles (id, author_id, slug, title, position, published_at, deleted)
           VALUES ($1, $2, $3, $4, $5, $6, $7)
           ON CONFLICT (id) DO UPDATE
              SET slug = CASE WHEN EXCLUDED.position > articles.position
                              THEN EXCLUDED.slug ELSE articles.slug END,
                  title = CASE WHEN EXCLUDED.position > articles.position
                               THEN EXCLUDED.title ELSE articles.title END,
                  position = GREATEST(articles.position, EXCLUDED.position),
                  published_at = COALESCE(EXCLUDED.published_at, articles.published_at),
                  deleted = CASE WHEN EXCLUDED.position > articles.position
                                 THEN EXCLUDED.deleted ELSE articles.deleted END""",
        article.id,
        article.author_id,
        article.slug,
        article.title,
        article.position,
        published_at,
        deleted,
    )


async def insert_follow_change(db: Connection, change: FollowChange) -> None:
    """Remember that an account began or ceased to follow another."""
    await db.execute(
        """INSERT INTO follows (followee_id, follower_id, position, following, changed_at)
           VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (followee_id, follower_id, position) DO NOTHING""",
        change.followee_id,
        change.follower_id,
        change.position,
        change.following,
        change.changed_at,
    )


async def lock_author(db: Connection, author_id: UUID) -> None:
    """Be the only transaction that relates this author's articles to followers, until it ends."""
    await db.execute("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))", str(author_id))


async def select_followers(
    db: Connection, author_id: UUID, at: datetime, before: UUID, limit: int
) -> Sequence[UUID]:
    """Who followed the author at that moment: the first `limit` below the id `before`, from the
    largest id down.
    """
    rows = await db.fetch(
        """SELECT latest.follower_id
             FROM (SELECT DISTINCT ON (f.follower_id) f.follower_id, f.following
                     FROM follows f
                    WHERE f.followee_id = $1 AND f.follower_id < $2 AND f.changed_at <= $3
                    ORDER BY f.follower_id DESC, f.position DESC) AS latest
            WHERE latest.following
            ORDER BY latest.follower_id DESC
            LIMIT $4""",
        author_id,
        before,
        at,
        limit,
    )
    return [row["follower_id"] for row in rows]


async def select_followed(
    db: Connection,
    follower_id: UUID,
    author_id: UUID,
    after: tuple[datetime, UUID],
    limit: int,
) -> Sequence[tuple[datetime, UUID]]:
    """The author's articles, by time and id, that appeared while the account followed: the first
    `limit` above `after`.
    """
    rows = await db.fetch(
        """SELECT a.published_at, a.id
             FROM articles a
            WHERE a.author_id = $2 AND (a.published_at, a.id) > ($3, $4)
              AND (SELECT f.following
                     FROM follows f
                    WHERE f.followee_id = $2 AND f.follower_id = $1
                      AND f.changed_at <= a.published_at
                    ORDER BY f.position DESC
                    LIMIT 1)
            ORDER BY a.published_at, a.id
            LIMIT $5""",
        follower_id,
        author_id,
        *after,
        limit,
    )
    return [(row["published_at"], row["id"]) for row in rows]


async def delete_people_before(db: Connection, position: int) -> None:
    """Forget the accounts that no event from that position on has told of."""
    await db.execute("DELETE FROM people WHERE position < $1", position)


async def delete_articles_before(db: Connection, position: int) -> None:
    """Take the articles for deleted that no event from that position on has told of."""
    await db.execute(
        "UPDATE articles SET deleted = true, position = $1 WHERE position < $1 AND NOT deleted",
        position,
    )


async def end_follows_before(db: Connection, position: int, at: datetime) -> None:
    """Whoever follows somebody by an event before that position does so no longer, from that moment
    on.
    """
    await db.execute(
        """INSERT INTO follows (followee_id, follower_id, position, following, changed_at)
           SELECT followee_id, follower_id, $1, false, $2
             FROM (SELECT DISTINCT ON (followee_id, follower_id)
                          followee_id, follower_id, position, following
                     FROM follows
                    ORDER BY followee_id, follower_id, position DESC) AS latest
            WHERE following AND position < $1
           ON CONFLICT (followee_id, follower_id, position) DO NOTHING""",
        position,
        at,
    )
