"""What the gateway composes of the real services: the home page, and GraphQL."""

from typing import Any

from shared.testing import until
from tests.e2e.client import Client

WHOLE = """{ viewer { username } article(slug: "%s") { body author { username following }
             comments { body author { username } } } }"""


async def graphql(client: Client, query: str, **variables: Any) -> Any:
    reply = await client.send("POST", "/graphql", {"query": query, "variables": variables})
    assert (reply.status, "errors" in reply.body) == (200, False), reply.body
    return reply.body["data"]


async def test_the_home_page_shows_what_was_just_written(client: Client) -> None:
    writer, reader = await client.register("writer"), await client.register()
    article = await writer.publish(tagList=["home"])
    await reader.ok("POST /articles/{slug}/favorite", slug=article["slug"])
    home = (await writer.send("GET", "/api/home")).body
    assert home["degraded"] == []
    assert home["articles"][0]["slug"] == article["slug"]
    assert home["articlesCount"] >= 1
    assert "home" in home["tags"]
    assert home["viewer"]["username"] == writer.username
    assert home["unreadCount"] in (0, 1)  # a notification may take a moment


async def test_a_journey_in_graphql(client: Client) -> None:
    """Every write is seen by the next question, whichever service answers it."""
    reader = await client.register()
    new = {"username": f"gql-{reader.username}", "password": "correct horse"}
    query = "mutation ($new: NewUser!) { register(input: $new) { username token } }"
    made = await graphql(client, query, new=new | {"email": f"{new['username']}@example.org"})
    writer = client.as_(made["register"]["token"])
    query = "mutation ($new: NewArticle!) { createArticle(input: $new) { slug tagList } }"
    draft = {"title": "Looms", "description": "d", "body": "Of weaving.", "tagList": ["graph"]}
    article = (await graphql(writer, query, new=draft))["createArticle"]
    assert article["tagList"] == ["graph"]

    query = """mutation ($slug: String!, $name: String!) {
      follow(username: $name) { following } favorite(slug: $slug) { favoritesCount }
      createComment(slug: $slug, input: {body: "Yes."}) { id author { username } } }"""
    done = await graphql(reader, query, slug=article["slug"], name=new["username"])
    assert done["follow"] == {"following": True}
    assert done["favorite"] == {"favoritesCount": 1}

    seen = await graphql(reader, WHOLE % article["slug"])
    assert seen["viewer"]["username"] == reader.username
    assert seen["article"]["author"] == {"username": new["username"], "following": True}
    assert seen["article"]["comments"] == [
        {"body": "Yes.", "author": {"username": reader.username}}
    ]
    query = "mutation ($slug: String!) { deleteArticle(slug: $slug) }"
    assert await graphql(writer, query, slug=article["slug"]) == {"deleteArticle": True}
    assert (await graphql(reader, WHOLE % article["slug"]))["article"] is None


async def test_one_key_is_one_article_also_in_graphql(client: Client) -> None:
    writer = await client.register("writer")
    body = {
        "query": """mutation { createArticle(input: {title: "Once", description: "d", body: "b"})
                    { slug } }"""
    }
    replies = [
        await writer.send("POST", "/graphql", body, {"Idempotency-Key": "once"}) for _ in range(2)
    ]
    assert replies[0].body["data"] == replies[1].body["data"]
    data = await graphql(writer, "query ($n: String!) { articles(author: $n) { articlesCount } }",
                         n=writer.username)  # fmt: skip
    assert data["articles"]["articlesCount"] == 1


async def test_those_who_did_something_are_looked_up_together(client: Client) -> None:
    writer = await client.register("writer")
    article = await writer.publish()
    for _ in range(3):
        reader = await client.register()
        await reader.ok("POST /articles/{slug}/favorite", slug=article["slug"])
    query = "{ notifications { unreadCount notifications { kind actor { username bio } } } }"

    async def all_told() -> Any:
        told = (await graphql(writer, query))["notifications"]["notifications"]
        return told if len(told) == 3 else None

    told = await until(all_told, what="three notifications")
    assert {one["kind"] for one in told} == {"favorited"}
    assert all(one["actor"]["bio"] == "" for one in told)
