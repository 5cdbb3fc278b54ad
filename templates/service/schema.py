"""Requests and replies."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from shared.http import Timestamp, timestamp
from templates.service import model

Title = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]


class NewGadget(msgspec.Struct, frozen=True, kw_only=True):
    """What a member adds."""

    title: Title


class NewGadgetRequest(msgspec.Struct, frozen=True, kw_only=True):
    gadget: NewGadget


class GadgetsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Which gadgets: those older than the one that `before` names."""

    before: UUID | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class Gadget(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What clients see; `owner` is a username."""

    id: UUID
    owner: str
    title: str
    created_at: Timestamp


class SingleGadget(msgspec.Struct, frozen=True, kw_only=True):
    gadget: Gadget


class MultipleGadgets(msgspec.Struct, frozen=True, kw_only=True):
    gadgets: list[Gadget]


def shown(kept: model.Gadget) -> Gadget:
    """As clients see it."""
    return Gadget(
        id=kept.id, owner=kept.owner, title=kept.title, created_at=timestamp(kept.created_at)
    )
