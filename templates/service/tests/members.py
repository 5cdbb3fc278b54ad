"""Somebody who uses the service, for tests to act as."""

from typing import Any
from uuid import UUID

import msgspec
from quart.typing import TestClientProtocol


class Reply(msgspec.Struct, frozen=True):
    """What the service answered."""

    status: int
    body: Any
    headers: Any


class Member(msgspec.Struct, frozen=True):
    """An account, and requests in its name."""

    client: TestClientProtocol
    id: UUID
    username: str
    headers: dict[str, str]

    async def send(self, method: str, path: str, **options: Any) -> Reply:
        """One request, with the member's token unless other headers are given."""
        options.setdefault("headers", self.headers)
        reply = await self.client.open(path, method=method, **options)
        return Reply(reply.status_code, await reply.get_json(), reply.headers)

    async def add(self, title: str) -> Any:
        """One more of the member's."""
        wanted = {"gadget": {"title": title}}
        reply = await self.send("POST", "/api/gadgets", json=wanted)
        assert reply.status == 201, reply.body
        return reply.body["gadget"]
