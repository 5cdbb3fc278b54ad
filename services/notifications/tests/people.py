"""Accounts that call the service."""

from typing import Any
from uuid import UUID, uuid4

import msgspec
from quart.typing import TestClientProtocol

from services.notifications.tests.facts import arrive, registered
from shared.database import Connection
from shared.testing import Signer


class Reply(msgspec.Struct, frozen=True):
    """What a request was answered."""

    status: int
    body: Any
    headers: Any


class Member(msgspec.Struct, frozen=True):
    """Somebody whom the service knows, and who can call it."""

    id: UUID
    username: str
    headers: dict[str, str]
    client: Any

    async def send(self, method: str, path: str, **options: Any) -> Reply:
        """Call a route below /api, with the member's token unless other headers are given."""
        options.setdefault("headers", self.headers)
        response = await self.client.open(f"/api{path}", method=method, **options)
        return Reply(response.status_code, await response.get_json(), response.headers)

    async def inbox(self, **query: object) -> Any:
        """A page of the member's notifications."""
        reply = await self.send("GET", "/notifications", query_string=query)
        assert reply.status == 200, reply.body
        return reply.body


async def join(client: TestClientProtocol, signer: Signer, db: Connection) -> Member:
    """A new member."""
    id_ = uuid4()
    username = f"user {id_.hex[:8]}"
    await arrive(db, registered(id_, username, image=f"https://example.org/{id_.hex}.png"))
    return Member(id_, username, signer.headers(id_), client)
