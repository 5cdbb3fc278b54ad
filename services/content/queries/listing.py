"""Lists of articles: a page and its total, in one statement.

Each selection finds the ids of its page along one index; texts, authors and what depends on the
viewer are joined to the page alone.
"""

from typing import LiteralString
from uuid import UUID

from services.content.queries.articles import summary
from services.content.schema import MultipleArticles, Page
from shared.database import Connection

MOST_COUNTED = 10_000  # where several filters meet, nobody keeps the count

# A selection names `total` (articles) and `shown`, the articles of a page, or `page` (id,
# created_at), which `_OF_PAGE` leads to them from. A page beyond the end is one row that holds the
# total alone. OFFSET 0 keeps the planner from reading all of a viewer's favourites, or of a tag's
# articles, where it should look up twenty.
_OF_PAGE: LiteralString = """,
           shown AS (
             SELECT found.* FROM page
              CROSS JOIN LATERAL (SELECT * FROM articles WHERE id = page.id OFFSET 0) AS found)"""
_SEEN_BY_VIEWER: LiteralString = """
SELECT total.articles, slug, title, description, tag_list, created_at,
       nullif(updated_at, created_at), favorites_count, username, bio, image,
       EXISTS (SELECT FROM favorites
                WHERE article_id = shown.id AND account_id = $1 OFFSET 0),
       EXISTS (SELECT FROM follows
                WHERE follower_id = $1 AND followee_id = author_id AND following
               OFFSET 0)
  FROM total
  LEFT JOIN shown ON true
  LEFT JOIN LATERAL (SELECT username, bio, image FROM authors WHERE id = author_id OFFSET 0
                    ) AS author ON true
 ORDER BY created_at DESC, shown.id DESC"""


async def select_newest(db: Connection, viewer: UUID | None, page: Page) -> MultipleArticles:
    """All articles. The index alone leads to where the page begins, and from there to its rows."""
    return await _fetch(
        db,
        """WITH shown AS (
             SELECT id, slug, title, description, tag_list, created_at, updated_at,
                    favorites_count, author_id
               FROM articles
              WHERE (created_at, id) <= (SELECT created_at, id FROM articles
                                          ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET $3)
              ORDER BY created_at DESC, id DESC LIMIT $2),
           total AS (SELECT sum(articles)::bigint AS articles FROM article_counts)""",
        viewer,
        page,
    )


async def select_tagged(
    db: Connection, viewer: UUID | None, page: Page, tag: str
) -> MultipleArticles:
    """Articles with a tag."""
    return await _select(
        db,
        """WITH page AS (
             SELECT article_id AS id, created_at FROM article_tags
              WHERE tag = $4
              ORDER BY created_at DESC, article_id DESC LIMIT $2 OFFSET $3),
           total AS (
             SELECT coalesce((SELECT articles FROM tags WHERE tag = $4), 0) AS articles)""",
        viewer,
        page,
        tag,
    )


async def select_by_author(
    db: Connection,
    viewer: UUID | None,
    page: Page,
    author: str,
    tag: str | None,
    favorited: str | None,
) -> MultipleArticles:
    """Articles of an author, and with a tag and among somebody's favourites if these are given.

    Accounts are named by their username keys. Alone the author's articles are all counted, else
    at most `MOST_COUNTED`.
    """
    return await _select(
        db,
        """WITH author AS (
             SELECT id FROM authors WHERE username_key = $4 ORDER BY position DESC LIMIT 1),
           fan AS (
             SELECT id FROM authors WHERE username_key = $6 ORDER BY position DESC LIMIT 1),
           found AS NOT MATERIALIZED (
             SELECT id, created_at FROM articles
              WHERE author_id = (SELECT id FROM author)
                AND ($5::text IS NULL
                     OR EXISTS (SELECT FROM article_tags
                                 WHERE article_id = id AND tag = $5 OFFSET 0))
                AND ($6::text IS NULL
                     OR EXISTS (SELECT FROM favorites
                                 WHERE article_id = articles.id
                                   AND account_id = (SELECT id FROM fan) OFFSET 0))),
           page AS (
             SELECT id, created_at FROM found
              ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3),
           total AS (
             SELECT CASE
               WHEN $5::text IS NULL AND $6::text IS NULL
               THEN coalesce((SELECT articles FROM account_counts
                               WHERE account_id = (SELECT id FROM author)), 0)
               ELSE (SELECT count(*) FROM (SELECT FROM found LIMIT $7) AS counted)
             END AS articles)""",
        viewer,
        page,
        author,
        tag,
        favorited,
        MOST_COUNTED,
    )


async def select_favorited(
    db: Connection, viewer: UUID | None, page: Page, favorited: str, tag: str | None
) -> MultipleArticles:
    """Favourites of an account, named by its username key, and with a tag if one is given.

    Alone the favourites are all counted, else at most `MOST_COUNTED`.
    """
    return await _select(
        db,
        """WITH fan AS (
             SELECT id FROM authors WHERE username_key = $4 ORDER BY position DESC LIMIT 1),
           found AS NOT MATERIALIZED (
             SELECT article_id AS id, article_created_at AS created_at FROM favorites
              WHERE account_id = (SELECT id FROM fan)
                AND ($5::text IS NULL
                     OR EXISTS (SELECT FROM article_tags
                                 WHERE article_id = favorites.article_id AND tag = $5
                                OFFSET 0))),
           page AS (
             SELECT id, created_at FROM found
              ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3),
           total AS (
             SELECT CASE
               WHEN $5::text IS NULL
               THEN coalesce((SELECT favorites FROM account_counts
                               WHERE account_id = (SELECT id FROM fan)), 0)
               ELSE (SELECT count(*) FROM (SELECT FROM found LIMIT $6) AS counted)
             END AS articles)""",
        viewer,
        page,
        favorited,
        tag,
        MOST_COUNTED,
    )


async def select_feed(db: Connection, reader: UUID, page: Page) -> MultipleArticles:
    """Articles of those whom the reader follows.

    `heads` is each author's newest article, and of these the newest that a page could need: no
    other author can be on it, and no article that is older than all of them if there are enough.
    So a reader who follows thousands costs one look at an index for each, and little more.
    """
    return await _select(
        db,
        """WITH heads AS (
             SELECT followee_id, newest.id, newest.created_at
               FROM follows
              CROSS JOIN LATERAL (
                SELECT id, created_at FROM articles
                 WHERE author_id = followee_id
                 ORDER BY created_at DESC, id DESC LIMIT 1) AS newest
              WHERE follower_id = $1 AND following
              ORDER BY newest.created_at DESC, newest.id DESC LIMIT $2::int + $3::int),
           oldest AS (
             SELECT CASE WHEN count(*) = $2::int + $3::int THEN min(created_at)
                         ELSE '-infinity' END AS needed
               FROM heads),
           page AS (
             SELECT recent.id, recent.created_at
               FROM heads
              CROSS JOIN LATERAL (
                SELECT id, created_at FROM articles
                 WHERE author_id = followee_id AND created_at >= (SELECT needed FROM oldest)
                 ORDER BY created_at DESC, id DESC LIMIT $2::int + $3::int) AS recent
              ORDER BY recent.created_at DESC, recent.id DESC LIMIT $2 OFFSET $3),
           total AS (
             SELECT coalesce(sum((SELECT articles FROM account_counts
                                   WHERE account_id = followee_id)), 0)::bigint AS articles
               FROM follows WHERE follower_id = $1 AND following)""",
        reader,
        page,
    )


async def _select(
    db: Connection, selection: LiteralString, viewer: UUID | None, page: Page, *values: object
) -> MultipleArticles:
    return await _fetch(db, selection + _OF_PAGE, viewer, page, *values)


async def _fetch(
    db: Connection, selection: LiteralString, viewer: UUID | None, page: Page, *values: object
) -> MultipleArticles:
    rows = await db.fetch(selection + _SEEN_BY_VIEWER, viewer, page.limit, page.offset, *values)
    return MultipleArticles(
        articles=[summary(*row) for _, *row in rows if row[0] is not None],
        articles_count=rows[0]["articles"],
    )
