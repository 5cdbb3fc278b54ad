"""A client of the gateway, as a front end is one; every reply is held against the contract."""

import itertools
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp
from multidict import CIMultiDictProxy

from tests.e2e.contract import check

_numbers = itertools.count(1)


@dataclass
class Reply:
    """Status, decoded body (None where it is empty) and headers of one reply."""

    status: int
    body: Any
    headers: CIMultiDictProxy[str]


class Client:
    """Speaks to the gateway as one account, or as nobody."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str = "") -> None:
        self._session, self.url, self.token = session, url, token
        self.username = ""

    def as_(self, token: str) -> "Client":
        """The same client with another token."""
        return Client(self._session, self.url, token)

    async def send(
        self, method: str, path: str, json: Any = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """Send a request to any path; nothing is checked."""
        extra = {"Authorization": f"Token {self.token}"} if self.token else {}
        async with self._session.request(
            method, f"{self.url}{path}", json=json, headers=extra | (headers or {})
        ) as response:
            data = await response.read()
            body = await response.json(content_type=None) if data else None
            return Reply(response.status, body, response.headers)

    async def call(self, operation: str, json: Any = None, query: str = "", **path: Any) -> Reply:
        """Call a RealWorld operation, and hold the reply against the contract."""
        method, template = operation.split(" ")
        reply = await self.send(method, f"/api{template.format(**path)}{query}", json)
        check(operation, reply.status, reply.body)
        return reply

    async def ok(self, operation: str, json: Any = None, query: str = "", **path: Any) -> Any:
        """Call an operation that has to succeed; returns the body."""
        reply = await self.call(operation, json, query, **path)
        assert reply.status < 300, f"{operation}: {reply.status} {reply.body}"
        return reply.body

    async def register(self, prefix: str = "reader") -> "Client":
        """A client of a new account."""
        name = f"{prefix}-{next(_numbers)}-{uuid4().hex[:8]}"
        user = {"username": name, "email": f"{name}@example.org", "password": "correct horse"}
        body = await self.ok("POST /users", {"user": user})
        client = self.as_(body["user"]["token"])
        client.username = name
        return client

    async def publish(self, title: str = "How to train a dragon", **fields: Any) -> Any:
        """A new article; returns it."""
        article = {"title": title, "description": "Ever wondered?", "body": "Very carefully."}
        body = await self.ok("POST /articles", {"article": article | fields})
        return body["article"]
