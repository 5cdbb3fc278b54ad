"""What lists would otherwise have to count: articles by tag, by account and in all, favourites.

Called last in a transaction: these are the rows that many writers share.
"""

from services.content.model import Article
from shared.database import Connection

STRIPES = 16


async def write_tags(db: Connection, article: Article, tags: list[str]) -> None:
    """Let the article be listed under `tags` and no others, and count it there."""
    await db.execute(
        """WITH lost AS (
             DELETE FROM article_tags WHERE article_id = $1 AND tag <> ALL ($2) RETURNING tag),
           won AS (
             INSERT INTO article_tags (article_id, tag, created_at) SELECT $1, unnest($2), $3
             ON CONFLICT (article_id, tag) DO NOTHING RETURNING tag)
           INSERT INTO tags (tag, articles)
           SELECT tag, change
             FROM (SELECT tag, -1 FROM lost
                   UNION ALL SELECT tag, 1 FROM won) AS changes (tag, change)
            ORDER BY tag
           ON CONFLICT (tag) DO UPDATE SET articles = tags.articles + EXCLUDED.articles""",
        article.id,
        tags,
        article.created_at,
    )


async def count_published(db: Connection, article: Article) -> None:
    """Count a new article for its author."""
    await db.execute(
        """INSERT INTO account_counts (account_id, articles, favorites) VALUES ($1, 1, 0)
           ON CONFLICT (account_id) DO UPDATE SET articles = account_counts.articles + 1""",
        article.author_id,
    )


async def count_deleted(db: Connection, article: Article) -> None:
    """No longer count an article, for its author and for all who have it as a favourite."""
    await db.execute(
        """INSERT INTO account_counts (account_id, articles, favorites)
           SELECT account_id, sum(articles), sum(favorites)
             FROM (SELECT $2::uuid, -1, 0
                   UNION ALL SELECT account_id, 0, -1 FROM favorites WHERE article_id = $1
                  ) AS changes (account_id, articles, favorites)
            GROUP BY account_id
            ORDER BY account_id
           ON CONFLICT (account_id) DO UPDATE
              SET articles = account_counts.articles + EXCLUDED.articles,
                  favorites = account_counts.favorites + EXCLUDED.favorites""",
        article.id,
        article.author_id,
    )


async def count_total(db: Connection, article: Article, change: int) -> None:
    """Add `change` to the number of all articles, in the article's stripe."""
    await db.execute(
        "UPDATE article_counts SET articles = articles + $2 WHERE stripe = $1",
        article.id.int % STRIPES,
        change,
    )


async def select_tags(db: Connection, limit: int) -> list[str]:
    """The tags that any article has, those of most articles first."""
    rows = await db.fetch(
        """SELECT tag FROM tags WHERE articles > 0 ORDER BY articles DESC, tag LIMIT $1""", limit
    )
    return [row["tag"] for row in rows]


async def recount(db: Connection) -> None:
    """Count everything afresh from its source, after a bulk load. Nobody may write meanwhile."""
    await db.execute(
        """DELETE FROM tags;
           INSERT INTO tags (tag, articles) SELECT tag, count(*) FROM article_tags GROUP BY tag;
           DELETE FROM account_counts;
           INSERT INTO account_counts (account_id, articles, favorites)
           SELECT account_id, sum(articles), sum(favorites)
             FROM (SELECT author_id, count(*), 0 FROM articles GROUP BY author_id
                   UNION ALL
                   SELECT account_id, 0, count(*) FROM favorites GROUP BY account_id
                  ) AS counts (account_id, articles, favorites)
            GROUP BY account_id;
           UPDATE article_counts
              SET articles = CASE stripe WHEN 0 THEN (SELECT count(*) FROM articles) ELSE 0 END;
           UPDATE articles SET favorites_count = counted.favorites
             FROM (SELECT id, (SELECT count(*) FROM favorites WHERE article_id = id) AS favorites
                     FROM articles) AS counted
            WHERE articles.id = counted.id AND favorites_count <> counted.favorites"""
    )
