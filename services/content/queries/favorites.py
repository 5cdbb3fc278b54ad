"""Favourites, counted with the article and with the account as they come and go."""

from datetime import datetime
from uuid import UUID

from services.content.model import Article
from shared.database import Connection


async def insert_favorite(
    db: Connection, article: Article, account_id: UUID, now: datetime
) -> bool:
    """Let the article be a favourite of the account; False if it was."""
    changed = await db.fetchval(
        """WITH added AS (
             INSERT INTO favorites (article_id, account_id, article_created_at, created_at)
             VALUES ($1, $2, $3, $4)
             ON CONFLICT (article_id, account_id) DO NOTHING
             RETURNING article_id, account_id),
           shown AS (
             UPDATE articles SET favorites_count = favorites_count + 1
               FROM added WHERE id = article_id)
           INSERT INTO account_counts (account_id, articles, favorites)
           SELECT account_id, 0, 1 FROM added
           ON CONFLICT (account_id) DO UPDATE SET favorites = account_counts.favorites + 1
           RETURNING true""",
        article.id,
        account_id,
        article.created_at,
        now,
    )
    return bool(changed)


async def delete_favorite(db: Connection, article: Article, account_id: UUID) -> bool:
    """Let the article be no favourite of the account; False if it was none."""
    changed = await db.fetchval(
        """WITH removed AS (
             DELETE FROM favorites WHERE article_id = $1 AND account_id = $2
             RETURNING article_id, account_id),
           shown AS (
             UPDATE articles SET favorites_count = favorites_count - 1
               FROM removed WHERE id = article_id)
           UPDATE account_counts SET favorites = favorites - 1
             FROM removed WHERE account_counts.account_id = removed.account_id
           RETURNING true""",
        article.id,
        account_id,
    )
    return bool(changed)
