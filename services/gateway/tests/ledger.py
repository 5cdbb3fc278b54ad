"""A service that numbers notifications, tells of them on NATS, and answers what it told since."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import jwt
import msgspec
import nats
from aiohttp import web
from nats.aio.client import Client

from services.gateway.tests.behind import Behind
from shared.events.notifications import NotificationsCreated, Told

PAGE = 100


class Ledger:
    """What accounts were told. `asked` counts requests, `failing` lets them fail."""

    def __init__(self, behind: Behind, client: Client) -> None:
        self._client = client
        self._told: list[Told] = []
        self.asked, self.failing = 0, False
        behind.answer = self.answer

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """`/api/notifications/since`, for the account of the token."""
        self.asked += 1
        if self.failing:
            return web.json_response({}, status=500)
        token = request.headers["Authorization"].removeprefix("Token ")
        account = UUID(jwt.decode(token, options={"verify_signature": False})["sub"])
        mine = [one for one in self._told if one.account_id == account]
        last = mine[-1].number if mine else 0
        after = int(request.query.get("after", last))
        page = [one for one in mine if one.number > after]
        return web.json_response(
            {
                "notifications": [
                    {"id": one.number, "notification": {"id": str(one.id), **SHOWN}}
                    for one in page[:PAGE]
                ],
                "last": page[:PAGE][-1].number if page else max(after, last),
                "more": len(page) > PAGE,
                "unreadCount": len(mine),
            }
        )

    async def tell(self, *accounts: UUID, heard: bool = True) -> list[int]:
        """Tell accounts of one fact, in one event; gives the numbers."""
        told = [
            Told(account_id=account, id=uuid4(), number=len(self._told) + 1 + at)
            for at, account in enumerate(accounts)
        ]
        self._told += told
        if heard:
            await self.repeat(told)
        return [one.number for one in told]

    async def repeat(self, told: list[Told]) -> None:
        """Send an event, which may have been sent before."""
        event = NotificationsCreated(
            actor_id=uuid4(), notification=msgspec.Raw(json.dumps(SHOWN).encode()), told=told
        )
        await self._client.publish(NotificationsCreated.SUBJECT, msgspec.json.encode(event))

    async def repeat_all(self) -> None:
        """Send all events again."""
        await self.repeat(self._told)


SHOWN: dict[str, Any] = {
    "kind": "published",
    "actor": {"username": "ada", "image": ""},
    "article": {"slug": "on-looms", "title": "On looms"},
    "createdAt": "2026-01-02T03:04:05.678Z",
    "readAt": None,
}


@asynccontextmanager
async def ledger(behind: Behind, nats_url: str) -> AsyncIterator[Ledger]:
    """A ledger that tells its events to a NATS."""
    client = await nats.connect(nats_url)
    try:
        yield Ledger(behind, client)
    finally:
        await client.close()
