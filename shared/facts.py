"""What events make out of date: their tags.

A service names them in the reply to a write, and the gateway finds them for each event that it
hears.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from shared.events import Event, content, users
from shared.tags import EVERYTHING, FAVORITES, LISTS, any_of, article, author, comments, tag

_TYPES: dict[str, type[Event]] = {
    event.SUBJECT: event for event in (*users.EVENTS, *content.EVENTS)
}
_TAGS: dict[type[Event], Callable[[Any], list[str]]] = {
    users.UserRegistered: lambda event: [],  # no kept reply shows who was not there
    users.ProfileUpdated: lambda event: _named(author, event.username, event.former_username),
    users.UserFollowed: lambda event: [],
    users.UserUnfollowed: lambda event: [],
    users.UsersSnapshotCompleted: lambda event: [EVERYTHING],
    content.ArticlePublished: lambda event: [LISTS, *map(tag, event.tags)],
    content.ArticleUpdated: lambda event: [
        *_named(article, event.slug, event.former_slug),
        *(LISTS, *map(tag, event.tags)),
    ],
    content.ArticleDeleted: lambda event: [LISTS, article(event.slug)],
    content.ArticleFavorited: lambda event: [FAVORITES, article(event.slug)],
    content.ArticleUnfavorited: lambda event: [FAVORITES, article(event.slug)],
    content.CommentCreated: lambda event: [comments(event.slug)],
    content.CommentDeleted: lambda event: [comments(event.slug)],
    content.ContentSnapshotCompleted: lambda event: [EVERYTHING],
}


def tags_of(subject: str, data: bytes) -> list[str]:
    """The tags that an event purges; of one that is not understood, everything's."""
    type_ = _TYPES.get(subject)
    if type_ is None:
        return [EVERYTHING]
    try:
        event = msgspec.json.decode(data, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return [EVERYTHING]
    return touched(event) or []


def touched(event: Event) -> list[str] | None:
    """The tags that an event purges; None for one that no kept reply shows anything of."""
    if type(event) not in _TAGS:
        return None
    tags = _TAGS[type(event)](event)
    return list(dict.fromkeys([*tags, *(any_of(one) for one in tags if ":" in one)]))


def _named(kind: Callable[[str], str], *names: str | None) -> list[str]:
    return [kind(name) for name in names if name is not None]
