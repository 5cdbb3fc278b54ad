"""Requests and replies."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from services.notifications.model import Inbox, Kind, Shown
from shared.http import Timestamp, timestamp


class NotificationsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Which notifications: those older than the one that `before` names."""

    before: UUID | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class NotificationActor(msgspec.Struct, frozen=True, kw_only=True):
    """Whose deed it was."""

    username: str
    image: str


class NotificationArticle(msgspec.Struct, frozen=True, kw_only=True):
    """The article that it is about."""

    slug: str
    title: str


class Notification(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`article` is null for a follower, and for an article that was deleted."""

    id: UUID
    kind: Kind
    actor: NotificationActor
    article: NotificationArticle | None
    created_at: Timestamp
    read_at: Timestamp | None


class SingleNotification(msgspec.Struct, frozen=True, kw_only=True):
    notification: Notification


class MultipleNotifications(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`unreadCount` is of all, not of this page."""

    notifications: list[Notification]
    unread_count: int


class UnreadCount(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    unread_count: int


def notification(shown: Shown) -> Notification:
    """As clients see it."""
    article = None
    if shown.slug is not None and shown.title is not None:
        article = NotificationArticle(slug=shown.slug, title=shown.title)
    return Notification(
        id=shown.id,
        kind=shown.kind,
        actor=NotificationActor(username=shown.username, image=shown.image),
        article=article,
        created_at=timestamp(shown.created_at),
        read_at=None if shown.read_at is None else timestamp(shown.read_at),
    )


def notifications(inbox: Inbox) -> MultipleNotifications:
    """As clients see them."""
    return MultipleNotifications(
        notifications=[notification(shown) for shown in inbox.page], unread_count=inbox.unread
    )
