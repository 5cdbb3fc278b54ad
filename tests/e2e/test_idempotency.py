"""A client that got no answer asks again, with the same key, and nothing happens twice."""

import asyncio
from typing import Any
from uuid import uuid4

from tests.e2e.client import Client


def user(name: str) -> dict[str, Any]:
    return {"user": {"username": name, "email": f"{name}@example.org", "password": "correct horse"}}


async def test_what_is_asked_for_again_by_its_key_is_answered_as_before(client: Client) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    wanted = user(f"again-{uuid4().hex[:12]}")
    replies = await asyncio.gather(
        *(client.send("POST", "/api/users", wanted, key) for _ in range(4))
    )
    assert [reply.status for reply in replies] == [201] * 4
    assert len({reply.body["user"]["token"] for reply in replies}) == 1
    assert len({reply.headers["Quartet-Position"] for reply in replies}) == 1
    author = client.as_(replies[0].body["user"]["token"])
    article = {"article": {"title": f"On {uuid4().hex}", "description": "d", "body": "b"}}
    first, second = [await author.send("POST", "/api/articles", article, key) for _ in range(2)]
    assert (first.status, first.body) == (second.status, second.body)
    listed = await author.ok("GET /articles", query=f"?author={wanted['user']['username']}")
    assert listed["articlesCount"] == 1
    other = await author.send("POST", "/api/articles", user("x"), key)
    assert other.status == 422
    assert other.body["errors"]["Idempotency-Key"] == ["was used with another request"]
