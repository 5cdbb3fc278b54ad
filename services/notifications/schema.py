"""Requests and replies."""

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from services.notifications.model import Channels, ChannelsChange, Inbox, Kind, Shown, Since
from shared.http import LARGEST_INTEGER, Timestamp, timestamp


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


class NotificationsSince(msgspec.Struct, frozen=True, kw_only=True):
    """What was announced after the number `after`, the oldest first; nothing without it."""

    after: Annotated[int, Meta(ge=0, le=LARGEST_INTEGER)] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 100


class NumberedNotification(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is the notification's number, and the id of its event in the live stream."""

    id: int
    notification: Notification


class NumberedNotifications(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`last` is what to ask on from: at once where there is `more`."""

    notifications: list[NumberedNotification]
    last: int
    more: bool
    unread_count: int


class UnreadCount(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    unread_count: int


class NotificationPreferences(msgspec.Struct, frozen=True, kw_only=True):
    """How the account is told of each kind. What comes by no channel is not told at all."""

    followed: Channels
    favorited: Channels
    commented: Channels
    published: Channels


class SinglePreferences(msgspec.Struct, frozen=True, kw_only=True):
    preferences: NotificationPreferences


class UpdateChannels(msgspec.Struct, frozen=True, kw_only=True):
    """What is left out stays as it is."""

    inbox: bool | UnsetType = UNSET
    email: bool | UnsetType = UNSET


class UpdatePreferences(msgspec.Struct, frozen=True, kw_only=True):
    """What is left out stays as it is."""

    followed: UpdateChannels = UpdateChannels()
    favorited: UpdateChannels = UpdateChannels()
    commented: UpdateChannels = UpdateChannels()
    published: UpdateChannels = UpdateChannels()


class UpdatePreferencesRequest(msgspec.Struct, frozen=True, kw_only=True):
    preferences: UpdatePreferences


class UnsubscribeLink(msgspec.Struct, frozen=True, kw_only=True):
    """`token` says whose mail of what kind ends."""

    token: Annotated[str, Meta(max_length=400)] = ""


def changes(update: UpdatePreferences) -> dict[Kind, ChannelsChange]:
    """What an account changes, by kind."""
    given: dict[Kind, UpdateChannels] = {
        "followed": update.followed,
        "favorited": update.favorited,
        "commented": update.commented,
        "published": update.published,
    }
    return {
        kind: ChannelsChange(
            inbox=None if channels.inbox is UNSET else channels.inbox,
            email=None if channels.email is UNSET else channels.email,
        )
        for kind, channels in given.items()
        if channels != UpdateChannels()
    }


def preferences(said: Mapping[Kind, Channels]) -> SinglePreferences:
    """As clients see them."""
    return SinglePreferences(
        preferences=NotificationPreferences(
            followed=said.get("followed", Channels()),
            favorited=said.get("favorited", Channels()),
            commented=said.get("commented", Channels()),
            published=said.get("published", Channels()),
        )
    )


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


def since(found: Since) -> NumberedNotifications:
    """As clients see them."""
    return NumberedNotifications(
        notifications=[
            NumberedNotification(id=shown.number, notification=notification(shown))
            for shown in found.page
        ],
        last=found.last,
        more=found.more,
        unread_count=found.unread,
    )
