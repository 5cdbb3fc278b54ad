"""Everything that others keep of articles, told again."""

from uuid import UUID

from services.content.queries.articles import lock_articles
from shared.database import Connection
from shared.events.content import ArticlePublished, ContentSnapshotCompleted
from shared.snapshot import Fact, Kind, Snapshot


async def articles(db: Connection, after: UUID, limit: int) -> list[Fact]:
    """Articles, by id; the event is of the time when they appeared."""
    return [
        Fact(
            article.id,
            ArticlePublished(
                article_id=article.id,
                author_id=article.author_id,
                slug=article.slug,
                title=article.title,
                tags=article.tag_list,
            ),
            article.created_at,
        )
        for article in await lock_articles(db, after, limit)
    ]


SNAPSHOT = Snapshot(kinds=(Kind(UUID(int=0), articles),), completed=ContentSnapshotCompleted)
