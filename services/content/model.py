"""What the rules work on."""

from datetime import datetime
from uuid import UUID

import msgspec


class Article(msgspec.Struct, frozen=True, kw_only=True):
    """An article without its texts; while a transaction holds one, it alone may change it."""

    id: UUID
    author_id: UUID
    slug: str
    title: str
    tag_list: list[str]
    created_at: datetime


class Comment(msgspec.Struct, frozen=True, kw_only=True):
    """Whose comment it is."""

    id: int
    author_id: UUID
