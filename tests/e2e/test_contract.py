"""Every operation and every status of the RealWorld document, through the gateway."""

from typing import Any

import pytest

from tests.e2e.client import Client
from tests.e2e.contract import OPERATIONS

LONG = "x" * 300


async def operate(client: Client, operation: str, slug: str, comment: int, name: str) -> int:
    """Call any operation with whatever body it takes; returns the status."""
    bodies = {
        "POST /users/login": {"user": {"email": "", "password": ""}},
        "POST /users": {"user": {"username": "", "email": "", "password": ""}},
        "PUT /user": {"user": {"username": ""}},
        "POST /articles": {"article": {"title": "", "description": "", "body": ""}},
        "PUT /articles/{slug}": {"article": {"title": ""}},
        "POST /articles/{slug}/comments": {"comment": {"body": ""}},
    }
    query = "?limit=0" if operation in ("GET /articles", "GET /articles/feed") else ""
    reply = await client.call(
        operation, bodies.get(operation), query, slug=slug, id=comment, username=name
    )
    return reply.status


REFUSALS = [op for op, statuses in OPERATIONS.items() if 422 in statuses]
GUARDED = [op for op, statuses in OPERATIONS.items() if 401 in statuses and "login" not in op]


@pytest.mark.parametrize("operation", REFUSALS)
async def test_what_does_not_fit_is_422(client: Client, operation: str) -> None:
    member = await client.register()
    article = await member.publish()
    slug = article["slug"] if operation in ("PUT /articles/{slug}",) else LONG
    if operation == "POST /articles/{slug}/comments":
        slug = article["slug"]
    assert await operate(member, operation, slug, 1, LONG) == 422


@pytest.mark.parametrize("operation", GUARDED)
async def test_a_token_that_proves_nothing_is_401(client: Client, operation: str) -> None:
    stranger = client.as_("not.a.token")
    assert await operate(stranger, operation, "a-slug", 1, "somebody") == 401


async def test_a_wrong_password_is_401(client: Client) -> None:
    member = await client.register()
    user = {"email": f"{member.username}@example.org", "password": "wrong horse"}
    reply = await client.call("POST /users/login", {"user": user})
    assert reply.status == 401
    assert reply.body["errors"]["credentials"] == ["invalid"]


async def test_accounts_succeed(client: Client) -> None:
    member = await client.register()
    login = {"email": f"{member.username}@EXAMPLE.org", "password": "correct horse"}
    assert (await client.ok("POST /users/login", {"user": login}))["user"]["token"]
    assert (await member.ok("GET /user"))["user"]["username"] == member.username
    changed = await member.ok("PUT /user", {"user": {"bio": "Reads a lot.", "id": 7}})
    assert changed["user"]["bio"] == "Reads a lot."


async def test_profiles_succeed(client: Client) -> None:
    reader, author = await client.register(), await client.register("author")
    name = author.username
    assert not (await client.ok("GET /profiles/{username}", username=name))["profile"]["following"]
    followed = await reader.ok("POST /profiles/{username}/follow", username=name)
    assert followed["profile"]["following"]
    left = await reader.ok("DELETE /profiles/{username}/follow", username=name)
    assert not left["profile"]["following"]


async def test_articles_succeed(client: Client) -> None:
    author = await client.register("author")
    article = await author.publish("An unusual title", tagList=["dragons", "training"])
    assert article["tagList"] == ["dragons", "training"]
    slug = article["slug"]
    assert (await client.ok("GET /articles/{slug}", slug=slug))["article"] == article
    changed = {"article": {"title": "A usual title"}}
    renamed = (await author.ok("PUT /articles/{slug}", changed, slug=slug))["article"]
    assert renamed["slug"] != slug
    found = await client.ok("GET /articles/{slug}", slug=slug)
    assert found["article"]["slug"] == renamed["slug"], "an old slug leads to its article"
    listed = await client.ok("GET /articles", query=f"?author={author.username}")
    assert [item["slug"] for item in listed["articles"]] == [renamed["slug"]]
    assert "dragons" in (await client.ok("GET /tags"))["tags"]
    await author.ok("DELETE /articles/{slug}", slug=renamed["slug"])
    assert (await client.call("GET /articles/{slug}", slug=slug)).status == 404


async def test_favourites_and_comments_succeed(client: Client) -> None:
    author, reader = await client.register("author"), await client.register()
    slug = (await author.publish())["slug"]
    liked = (await reader.ok("POST /articles/{slug}/favorite", slug=slug))["article"]
    assert (liked["favorited"], liked["favoritesCount"]) == (True, 1)
    listed = await client.ok("GET /articles", query=f"?favorited={reader.username}")
    assert listed["articlesCount"] == 1
    unliked = (await reader.ok("DELETE /articles/{slug}/favorite", slug=slug))["article"]
    assert (unliked["favorited"], unliked["favoritesCount"]) == (False, 0)
    said = {"comment": {"body": "Thank you."}}
    comment = (await reader.ok("POST /articles/{slug}/comments", said, slug=slug))["comment"]
    comments = (await client.ok("GET /articles/{slug}/comments", slug=slug))["comments"]
    assert [item["id"] for item in comments] == [comment["id"]]
    path: dict[str, Any] = {"slug": slug, "id": comment["id"]}
    assert (await author.call("DELETE /articles/{slug}/comments/{id}", **path)).status == 403
    await reader.ok("DELETE /articles/{slug}/comments/{id}", **path)


async def test_somebody_elses_article_is_403(client: Client) -> None:
    author, other = await client.register("author"), await client.register()
    slug = (await author.publish())["slug"]
    change = {"article": {"body": "Mine."}}
    assert (await other.call("PUT /articles/{slug}", change, slug=slug)).status == 403
    assert (await other.call("DELETE /articles/{slug}", slug=slug)).status == 403


@pytest.mark.parametrize(
    "operation", [op for op in OPERATIONS if "{" in op], ids=lambda op: op.replace("/", "-")
)
async def test_the_unknown_is_404(client: Client, operation: str) -> None:
    member = await client.register()
    bodies = {
        "PUT /articles/{slug}": {"article": {"body": "New."}},
        "POST /articles/{slug}/comments": {"comment": {"body": "Hello."}},
    }
    path: dict[str, Any] = {"slug": "no-such-article", "id": 1, "username": "nobody-at-all"}
    assert (await member.call(operation, bodies.get(operation), **path)).status == 404
