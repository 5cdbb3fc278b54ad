"""Callers of the service under test."""

import itertools
from typing import Any
from uuid import UUID, uuid4

from quart import Response
from quart.typing import TestClientProtocol

PASSWORD = "correct horse"
_numbers = itertools.count(1)


class Person:
    """Speaks to the service with a token, or with none."""

    def __init__(self, client: TestClientProtocol, token: str = "", username: str = "") -> None:
        self._client, self.token, self.username = client, token, username
        self.email = f"{username}@example.org"
        self.id = UUID(int=0)

    async def send(self, method: str, path: str, json: Any = None, **options: Any) -> Response:
        """Send any request."""
        headers = {"Authorization": f"Token {self.token}"} if self.token else {}
        headers |= options.pop("headers", {})
        if json is not None:
            options["json"] = json
        return await self._client.open(path, method=method, headers=headers, **options)

    async def get(self, path: str) -> Any:
        """The body of a request that has to succeed."""
        return await succeeded(await self.send("GET", path))

    def with_token(self, token: str) -> "Person":
        """The same caller with another token."""
        return Person(self._client, token, self.username)

    async def registered(self, **changes: str) -> "Person":
        """A new account's owner."""
        name = f"reader-{next(_numbers)}-{uuid4().hex[:8]}"
        user = {"username": name, "email": f"{name}@example.org", "password": PASSWORD} | changes
        response = await self.send("POST", "/api/users", {"user": user})
        body = await succeeded(response)
        person = Person(self._client, body["user"]["token"], body["user"]["username"])
        person.id, person.email = UUID(response.headers["Quartet-Account"]), user["email"]
        return person


async def succeeded(response: Response) -> Any:
    """The body of a 2xx reply."""
    body = await response.get_json()
    assert response.status_code < 300, body
    return body


async def faults(response: Response, status: int = 422) -> Any:
    """The `errors` of a problem document with that status."""
    body = await response.get_json()
    assert response.status_code == status, body
    assert response.content_type == "application/problem+json"
    assert body["status"] == status
    return body["errors"]
