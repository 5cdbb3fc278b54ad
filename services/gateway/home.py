"""All that a front page shows, of several services at once."""

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import structlog
from opentelemetry import metrics

from services.gateway.asking import Asking
from services.gateway.messages.said import Said
from shared.errors import AppError, BadGateway

_FIELDS = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
_log = structlog.get_logger()
_degraded = metrics.get_meter("quartet.gateway").create_counter(
    "quartet.gateway.degraded", "{part}", "Parts of composed replies that were left out"
)


class Piece(NamedTuple):
    """What is asked of a service, and the members of the home page that its answer gives, by the
    names that they have there.
    """

    name: str
    upstream: str
    target: str
    members: Mapping[str, str]


PUBLIC = (
    Piece(
        "articles",
        "content",
        "/api/articles",
        {"articles": "articles", "articlesCount": "articlesCount"},
    ),
    Piece("tags", "content", "/api/tags", {"tags": "tags"}),
)
PERSONAL = (
    Piece("viewer", "users", "/api/user", {"viewer": "user"}),
    Piece(
        "unreadCount",
        "notifications",
        "/api/notifications?limit=1",
        {"unreadCount": "unreadCount"},
    ),
)
_NOTHING = {name: None for piece in (*PUBLIC, *PERSONAL) for name in piece.members}


class Home:
    """Asks for all pieces at once, and shows what it gets in time.

    What is missing is null, and `degraded` names it: a page without its tags is better than none.
    """

    largest = 0

    async def answer(self, asking: Asking, data: bytes) -> Said:
        """The page, whoever fails."""
        pieces = PUBLIC if asking.exchange.account is None else PUBLIC + PERSONAL
        found = await asyncio.gather(*(_members(asking, piece) for piece in pieces))
        page: dict[str, object] = dict(_NOTHING)
        for members in found:
            page |= members or {}
        page["degraded"] = [
            piece.name for piece, members in zip(pieces, found, strict=True) if members is None
        ]
        return Said(200, _FIELDS, msgspec.json.encode(page))


async def _members(asking: Asking, piece: Piece) -> dict[str, msgspec.Raw] | None:
    """The members as the service wrote them, byte for byte; None where it did not answer well."""
    try:
        route = piece.target.partition("?")[0]
        part = await asking.ask(piece.upstream, "GET", piece.target, route=route)
        if part.status != 200:
            raise BadGateway(f"The {piece.upstream} service answered {part.status}.")
        said = msgspec.json.decode(part.body, type=dict[str, msgspec.Raw])
        return {name: said[theirs] for name, theirs in piece.members.items()}
    except (AppError, msgspec.MsgspecError, KeyError) as error:
        _log.warning("a part is left out", part=piece.name, reason=str(error))
        _degraded.add(1, {"part": piece.name})
        return None
