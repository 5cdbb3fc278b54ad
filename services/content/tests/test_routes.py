"""Every operation and every status, as a client sees them."""

import re
from typing import Any

import pytest

from services.content.tests.members import Join, Member
from shared import tags as about

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SUMMARY = {
    "slug", "title", "description", "tagList", "createdAt", "updatedAt", "favorited",
    "favoritesCount", "author",
}  # fmt: skip


def slugs(listed: Any) -> list[str]:
    return [article["slug"] for article in listed["articles"]]


async def test_a_published_article_is_told_whole(author: Member) -> None:
    reply = await author.send(
        "POST",
        "/articles",
        {"article": {"title": "T", "description": "D", "body": "B", "tagList": ["b", "a", "b"]}},
    )
    assert reply.status == 201
    assert re.fullmatch(r"content=\d+", reply.headers["Quartet-Position"])
    article = reply.body["article"]
    assert article.keys() == SUMMARY | {"body"}
    assert MOMENT.fullmatch(article["createdAt"])
    assert article["createdAt"] == article["updatedAt"]
    assert article["tagList"] == ["b", "a"]
    assert (article["favorited"], article["favoritesCount"]) == (False, 0)
    assert article["author"] == {
        "username": author.username,
        "bio": "Writes.",
        "image": "",
        "following": False,
    }


async def test_an_article_is_read_by_anybody(author: Member, stranger: Member) -> None:
    article = await author.publish(tagList=["one"])
    assert await stranger.get(f"/articles/{article['slug']}") == {"article": article}


async def test_lists_carry_no_body_and_the_newest_comes_first(author: Member) -> None:
    published = [(await author.publish())["slug"] for _ in range(3)]
    listed = await author.get("/articles", author=author.username)
    assert slugs(listed) == published[::-1]
    assert listed["articlesCount"] == 3
    assert listed["articles"][0].keys() == SUMMARY
    everything = await author.get("/articles", limit=100)
    assert slugs(everything)[:3] == published[::-1]


async def test_pages_follow_each_other_and_a_page_beyond_the_end_still_counts(
    author: Member,
) -> None:
    published = [(await author.publish())["slug"] for _ in range(5)][::-1]
    for offset in (0, 2, 4, 5, 100_000):
        listed = await author.get("/articles", author=author.username, limit=2, offset=offset)
        assert slugs(listed) == published[offset : offset + 2]
        assert listed["articlesCount"] == 5
    beyond = await author.get("/articles", offset=100_000)
    assert beyond["articles"] == []
    assert beyond["articlesCount"] >= 5


async def test_filters_meet(author: Member, reader: Member) -> None:
    tag = author.id.hex
    plain = await author.publish("Plain")
    tagged = await author.publish("Tagged", tagList=[tag])
    liked = await author.publish("Liked", tagList=[tag, "x"])
    other = await reader.publish("Other", tagList=[tag])
    for article in (plain, liked, other):
        await reader.send("POST", f"/articles/{article['slug']}/favorite")
    name, fan = author.username, reader.username
    expected = {
        (("tag", tag),): [other, liked, tagged],
        (("favorited", fan),): [other, liked, plain],
        (("author", name),): [liked, tagged, plain],
        (("tag", tag), ("author", name)): [liked, tagged],
        (("tag", tag), ("favorited", fan)): [other, liked],
        (("author", name), ("favorited", fan)): [liked, plain],
        (("tag", tag), ("author", name), ("favorited", fan)): [liked],
    }
    for filters, articles in expected.items():
        listed = await author.get("/articles", **dict(filters))
        assert slugs(listed) == [article["slug"] for article in articles], filters
        assert listed["articlesCount"] == len(articles), filters


@pytest.mark.parametrize("filter_", ["tag", "author", "favorited"])
async def test_what_nobody_has_lists_nothing(stranger: Member, filter_: str) -> None:
    for value in ("no such thing", "", "null", "'; DROP TABLE articles; --", "x" * 10_000):
        listed = await stranger.get("/articles", **{filter_: value})
        assert listed == {"articles": [], "articlesCount": 0}


async def test_filters_by_name_know_no_case_and_tags_do(author: Member) -> None:
    article = await author.publish(tagList=[f"T{author.id.hex}"])
    await author.send("POST", f"/articles/{article['slug']}/favorite")
    shouted = author.username.upper()
    assert slugs(await author.get("/articles", author=shouted)) == [article["slug"]]
    assert slugs(await author.get("/articles", favorited=shouted)) == [article["slug"]]
    assert slugs(await author.get("/articles", tag=f"t{author.id.hex}")) == []


@pytest.mark.parametrize("path", ["/articles", "/articles/feed"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", "0"),
        ("limit", "-1"),
        ("limit", "101"),
        ("limit", "many"),
        ("limit", "9" * 30),
        ("limit", ""),
        ("offset", "-1"),
        ("offset", "100001"),
        ("offset", "1.5"),
        ("offset", str(2**64)),
    ],
)
async def test_a_page_that_cannot_be_is_422(
    reader: Member, path: str, field: str, value: str
) -> None:
    reply = await reader.send("GET", path, query_string={field: value})
    assert reply.status == 422
    assert reply.body["errors"][field]


async def test_an_update_changes_what_is_given(author: Member) -> None:
    article = await author.publish("First", tagList=["one", "two"])
    path = f"/articles/{article['slug']}"
    reply = await author.send("PUT", path, {"article": {"body": "New.", "slug": "mine"}})
    assert reply.status == 200
    changed = reply.body["article"]
    assert changed["updatedAt"] > article["updatedAt"]
    assert changed == article | {"body": "New.", "updatedAt": changed["updatedAt"]}
    emptied = await author.send("PUT", path, {"article": {"tagList": []}})
    assert emptied.body["article"]["tagList"] == []
    assert emptied.body["article"]["body"] == "New."


async def test_an_update_of_nothing_changes_nothing(author: Member) -> None:
    article = await author.publish()
    reply = await author.send("PUT", f"/articles/{article['slug']}", {"article": {}})
    assert (reply.status, reply.body) == (200, {"article": article})
    assert "Quartet-Position" not in reply.headers


async def test_an_old_slug_leads_to_its_article(author: Member, stranger: Member) -> None:
    old = (await author.publish(f"Before {author.id.hex}"))["slug"]
    change = {"article": {"title": f"After {author.id.hex}"}}
    new = (await author.send("PUT", f"/articles/{old}", change)).body["article"]["slug"]
    assert new == f"after-{author.id.hex}"
    assert (await stranger.get(f"/articles/{old}"))["article"]["slug"] == new
    assert (await author.send("POST", f"/articles/{old}/favorite")).body["article"]["slug"] == new
    assert (await stranger.send("GET", f"/articles/{old}/comments")).status == 200
    assert (await author.send("DELETE", f"/articles/{old}")).status == 204
    assert (await stranger.send("GET", f"/articles/{new}")).status == 404


async def test_a_title_may_be_the_name_of_a_path(author: Member, reader: Member) -> None:
    article = await author.publish("Feed")
    assert article["slug"].startswith("feed-")
    assert (await reader.get(f"/articles/{article['slug']}"))["article"]["title"] == "Feed"


async def test_a_deleted_article_is_gone(author: Member, stranger: Member) -> None:
    tag = author.id.hex
    slug = (await author.publish(tagList=[tag]))["slug"]
    await author.send("POST", f"/articles/{slug}/favorite")
    await author.send("POST", f"/articles/{slug}/comments", {"comment": {"body": "Bye."}})
    reply = await author.send("DELETE", f"/articles/{slug}")
    assert (reply.status, reply.body) == (204, None)
    assert (await stranger.send("GET", f"/articles/{slug}")).status == 404
    for filters in ({"tag": tag}, {"author": author.username}, {"favorited": author.username}):
        listed = await stranger.get("/articles", **filters)
        assert listed == {"articles": [], "articlesCount": 0}
    assert tag not in (await stranger.get("/tags"))["tags"]


async def test_a_favourite_counts_once_for_each_account(author: Member, join: Join) -> None:
    slug = (await author.publish())["slug"]
    for expected in (1, 2):
        fan = await join()
        for _ in range(2):
            reply = await fan.send("POST", f"/articles/{slug}/favorite")
            assert reply.status == 200
            article = reply.body["article"]
            assert (article["favorited"], article["favoritesCount"]) == (True, expected)
    for _ in range(2):
        article = (await fan.send("DELETE", f"/articles/{slug}/favorite")).body["article"]
        assert (article["favorited"], article["favoritesCount"]) == (False, 1)
    assert (await author.get(f"/articles/{slug}"))["article"]["favorited"] is False


async def test_comments_come_newest_first_and_page_by_page(
    author: Member, reader: Member, stranger: Member
) -> None:
    path = f"/articles/{(await author.publish())['slug']}/comments"
    said = []
    for text in ("one", "two", "three"):
        reply = await reader.send("POST", path, {"comment": {"body": text}})
        assert reply.status == 200
        said.append(reply.body["comment"])
    assert said[0].keys() == {"id", "createdAt", "updatedAt", "body", "author"}
    assert MOMENT.fullmatch(said[0]["createdAt"])
    assert said[0]["author"]["username"] == reader.username
    assert (await stranger.get(path))["comments"] == said[::-1]
    page = await stranger.get(path, before=said[2]["id"], limit=1)
    assert page["comments"] == [said[1]]


async def test_a_comment_is_deleted_by_its_author_alone(author: Member, reader: Member) -> None:
    path = f"/articles/{(await author.publish())['slug']}/comments"
    elsewhere = f"/articles/{(await author.publish())['slug']}/comments"
    comment = (await reader.send("POST", path, {"comment": {"body": "Hm."}})).body["comment"]["id"]
    refused = await author.send("DELETE", f"{path}/{comment}")
    assert (refused.status, refused.body["errors"]["comment"]) == (403, ["forbidden"])
    for wrong in (f"{elsewhere}/{comment}", f"{path}/{comment + 1}", f"{path}/0"):
        missing = await reader.send("DELETE", wrong)
        assert (missing.status, missing.body["errors"]["comment"]) == (404, ["not found"])
    assert (await reader.send("DELETE", f"{path}/{comment}")).status == 204
    assert (await reader.get(path))["comments"] == []


async def test_tags_are_those_in_use_and_the_popular_come_first(author: Member) -> None:
    rare, popular = f"rare {author.id}", f"popular {author.id}"
    for tags in ([popular, rare], [popular], [popular]):
        await author.publish(tagList=tags)
    tags = (await author.get("/tags"))["tags"]
    assert tags.index(popular) < tags.index(rare)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/articles"),
        ("GET", "/articles/feed"),
        ("PUT", "/articles/x"),
        ("DELETE", "/articles/x"),
        ("POST", "/articles/x/favorite"),
        ("DELETE", "/articles/x/favorite"),
        ("POST", "/articles/x/comments"),
        ("DELETE", "/articles/x/comments/1"),
    ],
)
async def test_who_has_not_said_who_they_are_is_401(
    stranger: Member, method: str, path: str
) -> None:
    reply = await stranger.send(method, path, {})
    assert (reply.status, reply.body["errors"]["token"]) == (401, ["is missing"])


@pytest.mark.parametrize("path", ["/articles", "/articles/x", "/articles/x/comments"])
async def test_a_wrong_token_is_401_even_where_none_is_needed(stranger: Member, path: str) -> None:
    stranger.headers["Authorization"] = "Token wrong"
    reply = await stranger.send("GET", path)
    assert (reply.status, reply.body["errors"]["token"]) == (401, ["is invalid"])


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PUT", "", {"article": {"body": "New."}}),
        ("DELETE", "", None),
        ("POST", "/favorite", None),
        ("DELETE", "/favorite", None),
        ("GET", "/comments", None),
        ("POST", "/comments", {"comment": {"body": "Hm."}}),
        ("DELETE", "/comments/1", None),
    ],
)
@pytest.mark.parametrize("slug", ["no-such-article", "%F0%9F%90%89", "' OR true --"])
async def test_the_unknown_is_404(
    author: Member, method: str, path: str, body: object, slug: str
) -> None:
    reply = await author.send(method, f"/articles/{slug}{path}", body)
    assert (reply.status, reply.body["errors"]["article"]) == (404, ["not found"])


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_somebody_elses_article_is_403(author: Member, reader: Member, method: str) -> None:
    article = await author.publish()
    path = f"/articles/{article['slug']}"
    reply = await reader.send(method, path, {"article": {"title": "Mine"}})
    assert (reply.status, reply.body["errors"]["article"]) == (403, ["forbidden"])
    assert await author.get(path) == {"article": article}


async def test_replies_name_what_they_are_about(author: Member, reader: Member) -> None:
    slug = (await author.publish(tagList=["Big Cats"]))["slug"]
    await reader.send("POST", f"/articles/{slug}/comments", {"comment": {"body": "Well said."}})
    changed = await author.send("PUT", f"/articles/{slug}", {"article": {"title": f"{slug} now"}})
    new = changed.body["article"]["slug"]
    by_author, by_reader = about.author(author.username), about.author(reader.username)
    shown = {about.article(new), by_author}

    async def said(path: str) -> set[str]:
        return set((await reader.send("GET", path)).headers["Quartet-Tags"].split(", "))

    for known in (slug, new):
        assert await said(f"/articles/{known}") == shown
        assert await said(f"/articles/{known}/comments") == {
            *(about.article(new), about.comments(new), by_reader)
        }
    assert await said(f"/articles?author={author.username}") == shown | {"list"}
    assert await said("/articles?tag=Big%20Cats") >= shown | {"list", "tag:Big%20Cats"}
    liked = await said(f"/articles?favorited={reader.username}")
    assert liked == {"list", "favorites", by_reader}
    assert await said("/tags") == {"list"}
