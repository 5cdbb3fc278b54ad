"""Every operation and every status, as a client sees them."""

import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.notifications.tests.conftest import Costs
from services.notifications.tests.facts import (
    START,
    Fact,
    arrive,
    commented,
    deleted,
    favorited,
    followed,
    published,
    registered,
    updated,
)
from services.notifications.tests.people import Member
from shared.database import Connection

ROUTES = [
    ("GET", "/notifications"),
    ("PUT", "/notifications/read"),
    ("PUT", f"/notifications/{UUID(int=1)}/read"),
]


async def follow_by_many(db: Connection, author: Member, count: int) -> list[UUID]:
    """Let new accounts follow, one after another."""
    followers = [uuid4() for _ in range(count)]
    for follower in followers:
        await arrive(db, registered(follower), followed(follower, author.id))
    return followers


def names(inbox: Any) -> list[str]:
    return [told["actor"]["username"] for told in inbox["notifications"]]


def username(account_id: UUID) -> str:
    return f"user {account_id.hex[:8]}"


async def test_an_account_is_told_of_nothing_at_first(reader: Member) -> None:
    assert await reader.inbox() == {"notifications": [], "unreadCount": 0}


async def test_a_notification_is_told_whole(
    author: Member, reader: Member, committed: Connection
) -> None:
    article = uuid4()
    await arrive(committed, published(author.id, article, "A Story"))
    await Fact(favorited(author.id, article, reader.id), 1, START).arrive(committed)
    told = await author.inbox()
    image = f"https://example.org/{reader.id.hex}.png"
    assert told == {
        "notifications": [
            {
                "id": told["notifications"][0]["id"],
                "kind": "favorited",
                "actor": {"username": reader.username, "image": image},
                "article": {"slug": "a-story", "title": "A Story"},
                "createdAt": "2026-01-02T03:04:05.678Z",
                "readAt": None,
            }
        ],
        "unreadCount": 1,
    }


async def test_a_follower_is_told_of_without_an_article(
    author: Member, reader: Member, committed: Connection
) -> None:
    await arrive(committed, followed(reader.id, author.id))
    (told,) = (await author.inbox())["notifications"]
    assert (told["kind"], told["article"]) == ("followed", None)


async def test_the_newest_fact_comes_first_whatever_arrived_first(
    author: Member, committed: Connection
) -> None:
    followers = [uuid4() for _ in range(6)]
    for second in (3, 0, 5, 1, 4, 2):
        follower = followers[second]
        await arrive(committed, registered(follower))
        await Fact(followed(follower, author.id), second + 1, _at(second)).arrive(committed)
    told = await author.inbox()
    assert names(told) == [username(follower) for follower in reversed(followers)]
    moments = [item["createdAt"] for item in told["notifications"]]
    assert moments == sorted(moments, reverse=True)


def _at(second: int) -> Any:
    return START.replace(second=second)


async def test_pages_follow_each_other_by_their_links(
    author: Member, committed: Connection
) -> None:
    followers = await follow_by_many(committed, author, 7)
    path, seen = "/notifications?limit=3", list[str]()
    for count in (3, 3, 1):
        reply = await author.send("GET", path)
        assert len(reply.body["notifications"]) == count
        assert reply.body["unreadCount"] == 7
        seen += names(reply.body)
        link = reply.headers.get("Link", "")
        path = "".join(
            re.findall(r'^</api(/notifications\?before=\S+&limit=3)>; rel="next"$', link)
        )
    assert path == ""
    assert seen == [username(follower) for follower in reversed(followers)]


async def test_a_page_that_ends_with_the_last_has_no_link(
    author: Member, committed: Connection
) -> None:
    await follow_by_many(committed, author, 2)
    reply = await author.send("GET", "/notifications?limit=2")
    assert len(reply.body["notifications"]) == 2
    assert "Link" not in reply.headers


async def test_a_page_before_the_oldest_is_empty_and_still_counts(
    author: Member, committed: Connection
) -> None:
    await follow_by_many(committed, author, 2)
    assert await author.inbox(before=UUID(int=0)) == {"notifications": [], "unreadCount": 2}


async def test_reading_one_shows_it_read_and_only_the_first_time_counts(
    author: Member, committed: Connection
) -> None:
    await follow_by_many(committed, author, 2)
    unread = (await author.inbox())["notifications"][0]
    first = await author.send("PUT", f"/notifications/{unread['id']}/read")
    assert first.status == 200
    read_at = first.body["notification"]["readAt"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", read_at)
    assert first.body == {"notification": unread | {"readAt": read_at}}
    again = await author.send("PUT", f"/notifications/{unread['id']}/read")
    assert again.body == first.body
    inbox = await author.inbox()
    assert inbox["unreadCount"] == 1
    assert inbox["notifications"][0] == first.body["notification"]


async def test_reading_all_leaves_none_unread(author: Member, committed: Connection) -> None:
    await follow_by_many(committed, author, 3)
    first = (await author.inbox())["notifications"][2]["id"]
    read = (await author.send("PUT", f"/notifications/{first}/read")).body["notification"]
    reply = await author.send("PUT", "/notifications/read")
    assert (reply.status, reply.body) == (200, {"unreadCount": 0})
    inbox = await author.inbox()
    assert inbox["unreadCount"] == 0
    assert all(told["readAt"] for told in inbox["notifications"])
    assert inbox["notifications"][2] == read


async def test_reading_all_touches_nobody_elses(
    author: Member, reader: Member, committed: Connection
) -> None:
    await follow_by_many(committed, author, 1)
    assert (await reader.send("PUT", "/notifications/read")).status == 200
    assert (await author.inbox())["unreadCount"] == 1


async def test_anothers_notification_and_one_that_is_not_there_are_404(
    author: Member, reader: Member, committed: Connection
) -> None:
    await follow_by_many(committed, author, 1)
    anothers = (await author.inbox())["notifications"][0]["id"]
    for id_ in (anothers, uuid4(), UUID(int=0)):
        reply = await reader.send("PUT", f"/notifications/{id_}/read")
        assert reply.status == 404
        assert reply.body["errors"]["notification"] == ["not found"]
    assert (await author.inbox())["unreadCount"] == 1


async def test_what_an_unknown_account_did_is_told_once_it_is_known(
    author: Member, committed: Connection
) -> None:
    follower = uuid4()
    await arrive(committed, followed(follower, author.id))
    assert await author.inbox() == {"notifications": [], "unreadCount": 0}
    assert (await author.send("PUT", "/notifications/read")).status == 200
    await arrive(committed, registered(follower))
    inbox = await author.inbox()
    assert inbox["unreadCount"] == 1
    assert names(inbox) == [username(follower)]


async def test_an_unseen_notification_cannot_be_read(author: Member, committed: Connection) -> None:
    follower = uuid4()
    await arrive(committed, followed(follower, author.id))
    id_ = await committed.fetchval(
        "SELECT id FROM notifications WHERE recipient_id = $1", author.id
    )
    assert (await author.send("PUT", f"/notifications/{id_}/read")).status == 404


async def test_an_article_is_shown_by_its_newest_names_until_it_is_deleted(
    author: Member, reader: Member, committed: Connection
) -> None:
    article = uuid4()
    await arrive(committed, commented(author.id, article, reader.id, 1))
    assert await _articles(author) == [None]
    await arrive(committed, published(author.id, article, "Old"))
    assert await _articles(author) == [{"slug": "old", "title": "Old"}]
    await arrive(committed, updated(author.id, article, "New"))
    assert await _articles(author) == [{"slug": "new", "title": "New"}]
    await arrive(committed, deleted(author.id, article))
    assert await _articles(author) == [None]
    assert (await author.inbox())["unreadCount"] == 1


async def _articles(member: Member) -> list[Any]:
    return [told["article"] for told in (await member.inbox())["notifications"]]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nobody_reads_without_a_valid_token(reader: Member, method: str, path: str) -> None:
    none = await reader.send(method, path, headers={})
    assert (none.status, none.body["errors"]["token"]) == (401, ["is missing"])
    wrong = await reader.send(method, path, headers={"Authorization": "Token abc"})
    assert (wrong.status, wrong.body["errors"]["token"]) == (401, ["is invalid"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", "0"),
        ("limit", "-1"),
        ("limit", "101"),
        ("limit", "1.5"),
        ("limit", "many"),
        ("limit", ""),
        ("limit", str(2**64)),
        ("limit", "9" * 5_000),
        ("before", "yesterday"),
        ("before", ""),
        ("before", "1"),
        ("before", "0" * 40),
        ("before", "' OR true; --"),
        ("before", "😀"),
    ],
)
async def test_a_page_that_cannot_be_is_422(reader: Member, field: str, value: str) -> None:
    reply = await reader.send("GET", "/notifications", query_string={field: value})
    assert reply.status == 422
    assert reply.body["errors"][field]
    assert reply.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("query", ["before=%ff", "limit=%00", "%00=1", "unknown=%ed%a0%80"])
async def test_a_query_that_is_no_text_is_400(reader: Member, query: str) -> None:
    assert (await reader.send("GET", f"/notifications?{query}")).status == 400


@pytest.mark.parametrize("id_", ["1", "x" * 300, "0" * 36, "read", "%F0%9F%98%80", "%FF"])
async def test_an_id_that_is_none_is_404(reader: Member, id_: str) -> None:
    assert (await reader.send("PUT", f"/notifications/{id_}/read")).status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/notifications", "GET, HEAD, OPTIONS"),
        ("DELETE", f"/notifications/{UUID(int=1)}/read", "OPTIONS, PUT"),
        ("GET", "/notifications/read", "OPTIONS, PUT"),
    ],
)
async def test_a_wrong_method_is_405_and_says_which_are_right(
    reader: Member, method: str, path: str, allowed: str
) -> None:
    reply = await reader.send(method, path)
    assert (reply.status, reply.headers["Allow"]) == (405, allowed)


async def test_what_a_client_adds_is_ignored(reader: Member) -> None:
    assert await reader.inbox(limit=1, unknown="x") == {"notifications": [], "unreadCount": 0}
    reply = await reader.send("PUT", "/notifications/read", data=b"\xff" * 100)
    assert reply.status == 200


async def test_each_route_costs_one_statement(
    author: Member, committed: Connection, costs: Costs
) -> None:
    await follow_by_many(committed, author, 30)
    costs.clear()
    first = (await author.inbox(limit=100))["notifications"][0]["id"]
    await author.send("PUT", f"/notifications/{first}/read")
    await author.send("PUT", "/notifications/read")
    in_transaction = 1 + 2  # its begin and its commit
    assert costs == [
        ("/api/notifications", 1),
        ("/api/notifications/<uuid:id>/read", in_transaction),
        ("/api/notifications/read", in_transaction),
    ]
