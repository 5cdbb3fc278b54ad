"""What the service works with."""

from datetime import datetime
from uuid import UUID

import msgspec


class Gadget(msgspec.Struct, frozen=True, kw_only=True):
    """What a member has added; `owner` is their username."""

    id: UUID
    owner: str
    title: str
    created_at: datetime


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A page of gadgets, and whether another follows."""

    page: list[Gadget]
    more: bool
