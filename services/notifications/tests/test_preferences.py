"""Accounts say how they want to be told, in parts, and it holds from then on."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.notifications import links
from services.notifications.model import Channels, ChannelsChange, Kind
from services.notifications.queries.preferences import select_preferences, upsert_preferences
from services.notifications.tests.conftest import KEY, Costs
from services.notifications.tests.facts import (
    arrive,
    commented,
    favorited,
    followed,
    published,
    registered,
)
from services.notifications.tests.people import Member
from shared.database import Connection

PATH = "/notifications/preferences"
KINDS: tuple[Kind, ...] = ("followed", "favorited", "commented", "published")
BY_DEFAULT = {"inbox": True, "email": False}
ALL_BY_MAIL = {kind: {"inbox": True, "email": True} for kind in KINDS}


async def change(member: Member, preferences: Any) -> Any:
    reply = await member.send("PUT", PATH, json={"preferences": preferences})
    assert reply.status == 200, reply.body
    assert (await member.send("GET", PATH)).body == reply.body
    return reply.body["preferences"]


async def test_an_account_that_said_nothing_has_an_inbox_and_no_mail(reader: Member) -> None:
    reply = await reader.send("GET", PATH)
    assert reply.status == 200
    assert reply.body == {"preferences": dict.fromkeys(KINDS, BY_DEFAULT)}


async def test_what_is_left_out_stays(reader: Member, author: Member) -> None:
    first = await change(reader, {"published": {"email": True}})
    assert first == dict.fromkeys(KINDS, BY_DEFAULT) | {"published": {"inbox": True, "email": True}}
    second = await change(reader, {"published": {"inbox": False}, "followed": {"email": True}})
    assert second["published"] == {"inbox": False, "email": True}
    assert second["followed"] == {"inbox": True, "email": True}
    assert await change(reader, {}) == second
    assert await change(reader, {"published": {}}) == second
    assert (await author.send("GET", PATH)).body["preferences"]["published"] == BY_DEFAULT


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"preferences": {"published": {"inbox": None}}}, "inbox"),
        ({"preferences": {"published": {"email": "yes"}}}, "email"),
        ({"preferences": {"published": {"email": 1}}}, "email"),
        ({"preferences": {"published": True}}, "published"),
        ({"preferences": []}, "preferences"),
        ({}, "preferences"),
    ],
)
async def test_what_is_no_preference_is_422(reader: Member, body: Any, field: str) -> None:
    reply = await reader.send("PUT", PATH, json=body)
    assert reply.status == 422
    assert reply.body["errors"][field]
    assert (await reader.send("GET", PATH)).body["preferences"]["published"] == BY_DEFAULT


async def test_a_kind_that_is_not_known_is_ignored(reader: Member) -> None:
    assert "mentioned" not in await change(reader, {"mentioned": {"email": True}})


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_preferences_are_for_their_account_alone(reader: Member, method: str) -> None:
    reply = await reader.send(method, PATH, headers={}, json={"preferences": {}})
    assert reply.status == 401


async def test_each_route_costs_one_statement(reader: Member, costs: Costs) -> None:
    costs.clear()
    await reader.send("GET", PATH)
    await reader.send("PUT", PATH, json={"preferences": ALL_BY_MAIL})
    in_transaction = 1 + 2  # its begin and its commit
    assert costs == [(f"/api{PATH}", 1), (f"/api{PATH}", in_transaction)]


async def test_an_inbox_that_is_not_wanted_is_told_no_more(
    author: Member, reader: Member, committed: Connection
) -> None:
    article, other = uuid4(), uuid4()
    await arrive(committed, registered(other), published(author.id, article))
    await arrive(committed, favorited(author.id, article, other))
    await change(author, {"favorited": {"inbox": False}, "published": {"inbox": False}})
    await arrive(committed, favorited(author.id, article, reader.id))
    await arrive(committed, commented(author.id, article, reader.id, 1))
    assert [told["kind"] for told in (await author.inbox())["notifications"]] == [
        "commented",
        "favorited",
    ]
    await change(author, {"favorited": {"inbox": True}})
    await arrive(committed, favorited(author.id, uuid4(), reader.id))
    assert (await author.inbox())["unreadCount"] == 3


async def test_followers_of_one_author_are_told_each_as_they_want(
    author: Member, reader: Member, committed: Connection
) -> None:
    silent = uuid4()
    await upsert_preferences(committed, silent, {"published": ChannelsChange(inbox=False)})
    for follower in (reader.id, silent):
        await arrive(committed, followed(follower, author.id))
    await arrive(committed, published(author.id, uuid4()))
    assert (await reader.inbox())["unreadCount"] == 1
    query = "SELECT count(*) FROM notifications WHERE recipient_id = $1"
    assert await committed.fetchval(query, silent) == 0


changes = st.dictionaries(
    st.sampled_from(KINDS),
    st.builds(ChannelsChange, inbox=st.none() | st.booleans(), email=st.none() | st.booleans()),
)


@given(st.lists(changes, max_size=6))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_the_last_word_on_each_channel_counts(
    db: Connection, said: list[dict[Kind, ChannelsChange]]
) -> None:
    account = uuid4()
    expected: dict[Kind, Channels] = {}
    for update in said:
        for kind, channels in update.items():
            old = expected.get(kind, Channels())
            expected[kind] = Channels(
                inbox=old.inbox if channels.inbox is None else channels.inbox,
                email=old.email if channels.email is None else channels.email,
            )
        assert await upsert_preferences(db, account, update) == expected
    assert await select_preferences(db, account) == expected


class Clicks:
    """Somebody who has a mail, and no token."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def link(self, kind: Kind = "published", key: str = KEY, **options: Any) -> str:
        now = options.get("now", datetime.now(UTC))
        whole = links.unsubscribe_link("", key, options.get("of", self._member.id), kind, now)
        return urlsplit(whole).query

    async def click(self, method: str, query: str, **options: Any) -> tuple[int, str]:
        path = f"{links.UNSUBSCRIBE}?{query}"
        response = await self._member.client.open(path, method=method, **options)
        assert response.headers["Content-Type"] == "text/html; charset=utf-8"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        return response.status_code, (await response.get_data()).decode()

    async def preferences(self) -> Any:
        return (await self._member.send("GET", PATH)).body["preferences"]


@pytest.fixture
async def clicks(reader: Member) -> Clicks:
    await change(reader, ALL_BY_MAIL)
    return Clicks(reader)


ONE_CLICK = {"form": {"List-Unsubscribe": "One-Click"}}  # what a mail reader sends: RFC 8058, 3.1


async def test_following_the_link_asks_and_changes_nothing(clicks: Clicks) -> None:
    for method in ("GET", "HEAD"):
        status, _ = await clicks.click(method, clicks.link())
        assert status == 200
    _, text = await clicks.click("GET", clicks.link())
    assert '<form method="post">' in text
    assert "new articles of authors you follow" in text
    assert await clicks.preferences() == ALL_BY_MAIL


@pytest.mark.parametrize("kind", KINDS)
async def test_one_click_ends_mail_of_that_kind_alone(clicks: Clicks, kind: Kind) -> None:
    for _ in range(2):
        status, text = await clicks.click("POST", clicks.link(kind), **ONE_CLICK)
        assert (status, "<form" in text) == (200, False)
    said = await clicks.preferences()
    assert said.pop(kind) == {"inbox": True, "email": False}
    assert set(map(str, said.values())) == {str({"inbox": True, "email": True})}


async def test_the_button_of_the_page_does_the_same(clicks: Clicks) -> None:
    form = {"data": b"", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}
    assert (await clicks.click("POST", clicks.link(), **form))[0] == 200
    assert not (await clicks.preferences())["published"]["email"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_link_that_was_not_made_here_is_403(clicks: Clicks, method: str) -> None:
    long_ago = datetime.now(UTC) - links.LASTS - timedelta(seconds=1)
    what, _, signature = clicks.link("published").rpartition(".")
    other, _, _ = clicks.link("commented").rpartition(".")
    forged = [
        *("", "token=", "token=x", f"{what}.{signature[:-2]}", f"{other}.{signature}"),
        *(clicks.link(key="another key, as long as the first one"), clicks.link(now=long_ago)),
        "token=" + "x" * 400,
    ]
    for query in forged:
        status, text = await clicks.click(method, query)
        assert (status, "<form" in text) == (403, False), query
    assert await clicks.preferences() == ALL_BY_MAIL


async def test_a_link_ends_nobody_elses_mail(clicks: Clicks, author: Member) -> None:
    await clicks.click("POST", clicks.link(of=author.id))
    assert (await clicks.preferences())["published"]["email"]


async def test_a_token_far_too_long_is_422(reader: Member) -> None:
    reply = await reader.send("POST", "/notifications/unsubscribe?token=" + "x" * 401)
    assert reply.status == 422


async def test_an_account_that_is_not_known_here_can_say_so_too(
    clicks: Clicks, committed: Connection
) -> None:
    stranger = uuid4()
    assert (await clicks.click("POST", clicks.link(of=stranger)))[0] == 200
    said = await select_preferences(committed, stranger)
    assert said == {"published": Channels(inbox=True, email=False)}
