"""How many statements a route costs: the same for one row and for a hundred."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from services.content.tests.members import Join, Member

READS = [
    "/articles",
    "/articles?tag={tag}",
    "/articles?author={name}",
    "/articles?favorited={name}",
    "/articles?author={name}&tag={tag}&favorited={name}",
    "/articles/feed",
    "/articles/{slug}/comments",
]


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    return {}


@pytest.fixture
async def prolific(join: Join, kept: dict[str, Any]) -> dict[str, Any]:
    """An author of 100 articles with one tag, all favourites of their own, and 100 comments."""
    if not kept:
        author = await join()
        for _ in range(100):
            slug = (await author.publish(tagList=[author.id.hex]))["slug"]
            await author.send("POST", f"/articles/{slug}/favorite")
        for _ in range(100):
            comment = {"comment": {"body": "Hm."}}
            await author.send("POST", f"/articles/{slug}/comments", comment)
        kept |= {"author": author, "slug": slug, "tag": author.id.hex, "name": author.username}
    return kept


async def statements(member: Member, method: str, path: str, json: object = None) -> int:
    with capture_logs() as logs:
        reply = await member.send(method, path, json)
    assert reply.status < 300, reply.body
    counted: int = next(line["db_n"] for line in logs if line["event"] == "request")
    return counted


@pytest.mark.parametrize("path", READS)
async def test_a_list_of_a_hundred_is_one_statement_as_is_a_list_of_one(
    prolific: dict[str, Any], path: str
) -> None:
    for limit in (1, 100):
        target = path.format(**prolific)
        target += f"{'&' if '?' in target else '?'}limit={limit}"
        assert await statements(prolific["author"], "GET", target) == 1


async def test_an_article_and_the_tags_are_one_statement_each(prolific: dict[str, Any]) -> None:
    for path in ("/articles/{slug}", "/tags"):
        assert await statements(prolific["author"], "GET", path.format(**prolific)) == 1


async def test_writes_cost_the_same_whatever_belongs_to_the_article(
    author: Member, prolific: dict[str, Any]
) -> None:
    tags = [f"{n} {author.id}" for n in range(20)]
    article = {"title": "T", "description": "D", "body": "B"}
    few = await statements(author, "POST", "/articles", {"article": article})
    many = await statements(author, "POST", "/articles", {"article": article | {"tagList": tags}})
    assert few == many
    slug = (await author.publish())["slug"]
    alone = await statements(author, "DELETE", f"/articles/{slug}")
    loved = await statements(prolific["author"], "DELETE", f"/articles/{prolific['slug']}")
    prolific.clear()
    assert alone == loved
