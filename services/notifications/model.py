"""What the service works with: notifications, and the foreign facts that they come from."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

Kind = Literal["followed", "favorited", "commented", "published"]


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """One account is told of one fact. `fact` names it among all of its kind: no account is told of
    one twice.
    """

    id: UUID
    recipient_id: UUID
    kind: Kind
    actor_id: UUID
    article_id: UUID | None
    fact: str
    created_at: datetime


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A notification with the names of what it tells of; `slug` and `title` are those of an
    article that still exists.
    """

    id: UUID
    kind: Kind
    username: str
    image: str
    slug: str | None
    title: str | None
    created_at: datetime
    read_at: datetime | None


class Numbered(Shown, frozen=True, kw_only=True):
    """A notification with its place among all that were announced."""

    number: int


class Announced(Numbered, frozen=True, kw_only=True):
    """The same, and who is told by whose deed."""

    recipient_id: UUID
    actor_id: UUID


class Since(msgspec.Struct, frozen=True, kw_only=True):
    """What an account was told after a number. Whoever has seen the page asks on from `last`."""

    page: list[Numbered]
    last: int
    more: bool
    unread: int


class Inbox(msgspec.Struct, frozen=True, kw_only=True):
    """A page of an account's notifications, and how many it has not read on all pages."""

    page: list[Shown]
    more: bool
    unread: int


class Channels(msgspec.Struct, frozen=True, kw_only=True):
    """By what an account is told of one kind."""

    inbox: bool = True
    email: bool = False


class ChannelsChange(msgspec.Struct, frozen=True, kw_only=True):
    """The same, with None for what stays as it is."""

    inbox: bool | None = None
    email: bool | None = None


class Addressee(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody to write to; `email` is empty while no event has told it."""

    username: str
    email: str


class Tidings(msgspec.Struct, frozen=True, kw_only=True):
    """What a mail tells of. It is not `wanted` where the reader has no use for it any more, or the
    article is gone.
    """

    email: str
    wanted: bool
    actor: str
    slug: str | None
    title: str | None


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """What users told of an account."""

    id: UUID
    username: str
    image: str
    email: str


class Article(msgspec.Struct, frozen=True, kw_only=True):
    """What content told of an article, at `position` in its outbox."""

    id: UUID
    author_id: UUID
    slug: str
    title: str
    position: int


class FollowChange(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody began, or ceased, to follow an author, as users told at `position`."""

    follower_id: UUID
    followee_id: UUID
    following: bool
    changed_at: datetime
    position: int
