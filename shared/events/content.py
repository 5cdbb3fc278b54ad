"""What the content service publishes. `author_id` is always the article's author."""

from typing import ClassVar
from uuid import UUID

from shared.events import Event, SnapshotCompleted


class ArticlePublished(Event, frozen=True, kw_only=True):
    """An article appeared."""

    SUBJECT: ClassVar[str] = "content.article_published.v1"

    article_id: UUID
    author_id: UUID
    slug: str
    title: str
    tags: list[str]

    @property
    def aggregate(self) -> str:
        return str(self.article_id)


class ArticleUpdated(Event, frozen=True, kw_only=True):
    """An article changed; all values are new, but the former slug, which is there when another
    has taken its place.
    """

    SUBJECT: ClassVar[str] = "content.article_updated.v1"

    article_id: UUID
    author_id: UUID
    slug: str
    title: str
    tags: list[str]
    former_slug: str | None = None

    @property
    def aggregate(self) -> str:
        return str(self.article_id)


class ArticleDeleted(Event, frozen=True, kw_only=True):
    """An article is gone, with its comments and favourites."""

    SUBJECT: ClassVar[str] = "content.article_deleted.v1"

    article_id: UUID
    author_id: UUID
    slug: str

    @property
    def aggregate(self) -> str:
        return str(self.article_id)


class ArticleFavorited(Event, frozen=True, kw_only=True):
    """`account_id` counts the article among their favourites."""

    SUBJECT: ClassVar[str] = "content.article_favorited.v1"

    article_id: UUID
    author_id: UUID
    account_id: UUID
    slug: str

    @property
    def aggregate(self) -> str:
        return str(self.article_id)


class ArticleUnfavorited(Event, frozen=True, kw_only=True):
    """`account_id` no longer does."""

    SUBJECT: ClassVar[str] = "content.article_unfavorited.v1"

    article_id: UUID
    author_id: UUID
    account_id: UUID
    slug: str

    @property
    def aggregate(self) -> str:
        return str(self.article_id)


class CommentCreated(Event, frozen=True, kw_only=True):
    """`account_id` said something about the article."""

    SUBJECT: ClassVar[str] = "content.comment_created.v1"

    comment_id: int
    article_id: UUID
    author_id: UUID
    account_id: UUID
    slug: str

    @property
    def aggregate(self) -> str:
        return str(self.article_id)


class CommentDeleted(Event, frozen=True, kw_only=True):
    """A comment is gone."""

    SUBJECT: ClassVar[str] = "content.comment_deleted.v1"

    comment_id: int
    article_id: UUID
    author_id: UUID
    account_id: UUID
    slug: str

    @property
    def aggregate(self) -> str:
        return str(self.article_id)


class ContentSnapshotCompleted(SnapshotCompleted, frozen=True, kw_only=True):
    """The service has told again of every article."""

    SUBJECT: ClassVar[str] = "content.snapshot_completed.v1"


EVENTS: tuple[type[Event], ...] = (
    ArticlePublished,
    ArticleUpdated,
    ArticleDeleted,
    ArticleFavorited,
    ArticleUnfavorited,
    CommentCreated,
    CommentDeleted,
    ContentSnapshotCompleted,
)
