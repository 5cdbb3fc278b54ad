"""Facts as users and content tell them."""

import itertools
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
from quart import Quart

from services.notifications.subscribers import HANDLERS
from shared.database import Connection
from shared.events import Envelope, Event
from shared.events.content import (
    ArticleDeleted,
    ArticleFavorited,
    ArticlePublished,
    ArticleUpdated,
    CommentCreated,
)
from shared.events.users import UserFollowed, UserRegistered, UserUnfollowed

START = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
_positions = itertools.count(1)
_app = Quart("notifications")  # jobs go to the queues of the app that enqueues them


class Fact(msgspec.Struct, frozen=True):
    """An event as it is taken in."""

    event: Event
    position: int
    at: datetime

    async def arrive(self, db: Connection) -> None:
        """Take it in, though it may have been taken in before."""
        envelope = Envelope(
            id=uuid4(),
            source=self.event.SUBJECT.split(".")[0],
            position=self.position,
            subject=self.event.SUBJECT,
            occurred_at=self.at,
        )
        async with _app.app_context():
            await HANDLERS[type(self.event)](db, self.event, envelope)


def fact(event: Event, seconds: float | None = None) -> Fact:
    """A fact at that second, or later than any before it."""
    position = next(_positions)
    return Fact(
        event, position, START + timedelta(seconds=position if seconds is None else seconds)
    )


async def arrive(db: Connection, *events: Event) -> None:
    """Let things happen one after another, and be taken in so."""
    for event in events:
        await fact(event).arrive(db)


def registered(
    account_id: UUID, username: str = "", image: str = "", email: str = ""
) -> UserRegistered:
    return UserRegistered(
        account_id=account_id,
        username=username or f"user {account_id.hex[:8]}",
        email=email or f"{account_id.hex}@example.org",
        bio="",
        image=image,
    )


def followed(follower_id: UUID, followee_id: UUID) -> UserFollowed:
    return UserFollowed(follower_id=follower_id, followee_id=followee_id)


def unfollowed(follower_id: UUID, followee_id: UUID) -> UserUnfollowed:
    return UserUnfollowed(follower_id=follower_id, followee_id=followee_id)


def published(author_id: UUID, article_id: UUID, title: str = "A Story") -> ArticlePublished:
    return ArticlePublished(
        article_id=article_id, author_id=author_id, slug=_slug(title), title=title, tags=[]
    )


def updated(author_id: UUID, article_id: UUID, title: str) -> ArticleUpdated:
    return ArticleUpdated(
        article_id=article_id, author_id=author_id, slug=_slug(title), title=title, tags=[]
    )


def deleted(author_id: UUID, article_id: UUID) -> ArticleDeleted:
    return ArticleDeleted(article_id=article_id, author_id=author_id, slug="a-story")


def favorited(author_id: UUID, article_id: UUID, account_id: UUID) -> ArticleFavorited:
    return ArticleFavorited(
        article_id=article_id, author_id=author_id, account_id=account_id, slug="a-story"
    )


def commented(
    author_id: UUID, article_id: UUID, account_id: UUID, comment_id: int
) -> CommentCreated:
    return CommentCreated(
        comment_id=comment_id,
        article_id=article_id,
        author_id=author_id,
        account_id=account_id,
        slug="a-story",
    )


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")
