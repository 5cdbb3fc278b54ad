"""What bad input gets: a 4xx that names the field, nothing stored, no stack in the log."""

from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from services.content.tests.members import Member

GOOD = {"title": "T", "description": "D", "body": "B"}
BLANK = ["can't be blank"]
ARTICLE_FAULTS = [
    ({"title": ""}, "title", BLANK),
    ({"title": " \n\t\u2003"}, "title", BLANK),
    ({"title": None}, "title", BLANK),
    ({"title": 5}, "title", ["must be of type str"]),
    ({"title": ["T"]}, "title", ["must be of type str"]),
    ({"title": "x" * 256}, "title", ["is too long (maximum is 255 characters)"]),
    ({"title": "a\0b"}, "title", ["holds a NUL character or a lone surrogate"]),
    ({"description": ""}, "description", BLANK),
    ({"description": "x" * 1_001}, "description", ["is too long (maximum is 1000 characters)"]),
    ({"body": " "}, "body", BLANK),
    ({"body": "x" * 100_001}, "body", ["is too long (maximum is 100000 characters)"]),
    ({"tagList": None}, "tagList", BLANK),
    ({"tagList": "dragons"}, "tagList", ["must be of type array"]),
    ({"tagList": [""]}, "tagList", BLANK),
    ({"tagList": [None]}, "tagList", BLANK),
    ({"tagList": ["x" * 65]}, "tagList", ["is too long (maximum is 64 characters)"]),
    ({"tagList": ["a\0"]}, "tagList", ["holds a NUL character or a lone surrogate"]),
]
BODIES = [
    (b"", 400),
    (b"{", 400),
    (b"\xff\xfe", 400),
    (b'{"article": "\xff"}', 400),
    (b"[" * 100_000, 400),
    (b'{"a": ' * 100_000, 400),
    (b'{"article": {"title": "\\ud800"}, "comment": {"body": "\\ud800"}}', 400),
    (b'{"article": {"title": 1e999}, "comment": {"body": 1e999}}', 400),
    (b"null", 422),
    (b"[]", 422),
    (b"{}", 422),
    (b'{"article": null, "comment": null}', 422),
    (b'{"article": [], "comment": []}', 422),
    (b'{"article": {"title": ' + b"9" * 400 + b'}, "comment": {"body": 1}}', 422),
]


async def stored(db: asyncpg.Connection) -> Any:
    return await db.fetchrow(
        """SELECT (SELECT count(*) FROM articles), (SELECT count(*) FROM comments),
                  (SELECT count(*) FROM slugs), (SELECT max(position) FROM outbox)"""
    )


def quiet(logs: Iterable[Mapping[str, Any]]) -> bool:
    return not [line for line in logs if line["log_level"] not in ("debug", "info")]


@pytest.mark.parametrize(("fields", "field", "said"), ARTICLE_FAULTS)
@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_field_that_does_not_fit_is_named(
    author: Member,
    db: asyncpg.Connection,
    method: str,
    fields: dict[str, object],
    field: str,
    said: list[str],
) -> None:
    path = f"/articles/{(await author.publish())['slug']}" if method == "PUT" else "/articles"
    before = await stored(db)
    with capture_logs() as logs:
        reply = await author.send(method, path, {"article": GOOD | fields})
    assert reply.status == 422
    assert reply.body["errors"][field] == said
    assert await stored(db) == before
    assert quiet(logs)


async def test_too_many_tags_are_refused(author: Member) -> None:
    tags = [f"tag {n}" for n in range(21)]
    reply = await author.send("POST", "/articles", {"article": GOOD | {"tagList": tags}})
    assert reply.status == 422
    assert "maximum is 20" in reply.body["errors"]["tagList"][0]


async def test_all_missing_fields_are_named_at_once(author: Member) -> None:
    reply = await author.send("POST", "/articles", {"article": {}})
    assert reply.status == 422
    assert reply.body["errors"].keys() == {"title", "description", "body"}


async def test_unknown_fields_are_ignored(author: Member) -> None:
    article = await author.publish(slug="mine", favoritesCount=99, author="me", id=1)
    assert (article["slug"].startswith("a-title"), article["favoritesCount"]) == (True, 0)


@pytest.mark.parametrize(("data", "status"), BODIES)
@pytest.mark.parametrize("operation", ["POST /articles", "PUT /articles/{}", "POST {}/comments"])
async def test_a_body_that_cannot_be_read_is_refused(
    author: Member, db: asyncpg.Connection, operation: str, data: bytes, status: int
) -> None:
    slug = (await author.publish())["slug"]
    method, path = operation.format(slug).split()
    path = path if path.startswith("/") else f"/articles/{path}"
    before = await stored(db)
    with capture_logs() as logs:
        reply = await author.send(method, path, data=data, type_="application/json")
    assert reply.status == status
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert await stored(db) == before
    assert quiet(logs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", BLANK),
        (" ", BLANK),
        (None, BLANK),
        (5, ["must be of type str"]),
        ("x" * 10_001, ["is too long (maximum is 10000 characters)"]),
        ("\0", ["holds a NUL character or a lone surrogate"]),
    ],
)
async def test_a_comment_that_does_not_fit_is_refused(
    author: Member, text: object, said: list[str]
) -> None:
    path = f"/articles/{(await author.publish())['slug']}/comments"
    reply = await author.send("POST", path, {"comment": {"body": text}})
    assert (reply.status, reply.body["errors"]["body"]) == (422, said)


async def test_everything_at_its_limit_is_taken(author: Member) -> None:
    tags = [f"{n:02}".ljust(64, "😀") for n in range(20)]
    article = await author.publish(
        "😀" * 255, description="é" * 1_000, body="ﷺ" * 100_000, tagList=tags
    )
    assert article["tagList"] == tags
    assert len(article["body"]) == 100_000
    comment = {"comment": {"body": "x" * 10_000}}
    path = f"/articles/{article['slug']}/comments"
    assert (await author.send("POST", path, comment)).status == 200


@pytest.mark.parametrize(
    ("id_", "status"),
    [("-1", 404), ("x", 404), (str(2**63 - 1), 404), (str(2**63), 422), ("9" * 200, 422)],
)
async def test_a_comment_number_that_cannot_be_is_refused(
    author: Member, id_: str, status: int
) -> None:
    slug = (await author.publish())["slug"]
    reply = await author.send("DELETE", f"/articles/{slug}/comments/{id_}")
    assert reply.status == status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/articles/{'x' * 300}", 422),
        ("/articles/%00", 400),
        ("/articles?author=%ED%A0%80", 400),
        ("/articles?tag=%00", 400),
        ("/articles?author=%ff", 400),
        ("/articles/x/comments?before=0", 422),
        (f"/articles/x/comments?before={2**63}", 422),
        ("/articles/x/comments?limit=501", 422),
    ],
)
async def test_a_target_that_cannot_be_is_refused(stranger: Member, path: str, status: int) -> None:
    assert (await stranger.send("GET", path)).status == status


async def test_a_body_over_the_limit_is_413(author: Member) -> None:
    article = {"article": GOOD | {"body": "x" * 1_100_000}}
    assert (await author.send("POST", "/articles", article)).status == 413


async def test_a_body_of_another_type_is_415(author: Member) -> None:
    reply = await author.send("POST", "/articles", data=b"{}", type_="text/plain")
    assert reply.status == 415
