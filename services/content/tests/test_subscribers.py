"""Projections: what arrives twice, late or in the wrong order leaves what is true."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import permutations
from uuid import UUID

import asyncpg
import msgspec
import pytest
from quart import Quart
from uuid_utils.compat import uuid7

from deploy.local.servers import Servers
from services.content.subscribers import HANDLERS
from services.content.tests.members import Member
from shared.bus import use_bus
from shared.database import use_database
from shared.events import Envelope, Event
from shared.events.users import EVENTS, ProfileUpdated, UserFollowed, UserRegistered, UserUnfollowed
from shared.outbox import use_outbox
from shared.service import create_service
from shared.settings import DataSettings
from shared.testing import Signer, clean_database, emit, serving, until

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def registered(account: UUID, username: str = "Ada") -> UserRegistered:
    return UserRegistered(account_id=account, username=username, email="a@b.c", bio="", image="")


def updated(account: UUID, username: str) -> ProfileUpdated:
    return ProfileUpdated(
        account_id=account, username=username, email="a@b.c", bio="New.", image="i"
    )


async def take_in(db: asyncpg.Connection, position: int, event: Event) -> None:
    envelope = Envelope(
        id=uuid7(), source="users", position=position, subject=event.SUBJECT, occurred_at=NOW
    )
    await HANDLERS[type(event)](db, event, envelope)


async def test_every_fact_of_the_users_service_is_taken_in() -> None:
    assert HANDLERS.keys() == set(EVENTS)


async def test_an_author_is_what_the_newest_event_says_in_whatever_order_they_come(
    db: asyncpg.Connection,
) -> None:
    for order in permutations((1, 2, 3)):
        account = uuid7()
        facts = {1: registered(account), 2: updated(account, "Ada L."), 3: updated(account, "ADA")}
        for position in (*order, *order):
            await take_in(db, position, facts[position])
        rows = await db.fetch(
            "SELECT username, username_key, bio, image, position FROM authors WHERE id = $1",
            account,
        )
        assert [tuple(row) for row in rows] == [("ADA", "ada", "New.", "i", 3)]


async def test_a_follow_is_what_the_newest_event_says_in_whatever_order_they_come(
    db: asyncpg.Connection,
) -> None:
    for order in permutations((1, 2, 3, 4)):
        pair = {"follower_id": uuid7(), "followee_id": uuid7()}
        for position in (*order, *order):
            event = UserFollowed(**pair) if position % 2 else UserUnfollowed(**pair)
            await take_in(db, position, event)
        following = await db.fetchval(
            "SELECT following FROM follows WHERE follower_id = $1 AND followee_id = $2",
            *pair.values(),
        )
        assert following is False


async def test_a_renamed_author_is_found_by_the_new_name_alone(
    db: asyncpg.Connection, author: Member
) -> None:
    article = await author.publish()
    await take_in(db, 2, updated(author.id, f"Renamed {author.id.hex}"))
    found = await author.get("/articles", author=f"renamed {author.id.hex}")
    assert [item["slug"] for item in found["articles"]] == [article["slug"]]
    assert found["articles"][0]["author"]["bio"] == "New."
    assert (await author.get("/articles", author=author.username))["articlesCount"] == 0


async def test_a_name_that_changes_hands_is_its_new_owners_whatever_comes_first(
    db: asyncpg.Connection, author: Member, reader: Member
) -> None:
    article = await reader.publish()
    await take_in(db, 7, updated(reader.id, author.username))
    found = await reader.get("/articles", author=author.username)
    assert [item["slug"] for item in found["articles"]] == [article["slug"]]


async def test_a_feed_is_of_those_whom_one_follows(
    db: asyncpg.Connection, author: Member, reader: Member
) -> None:
    pair = {"follower_id": reader.id, "followee_id": author.id}
    slugs = [(await author.publish())["slug"] for _ in range(3)][::-1]
    assert (await reader.get("/articles/feed")) == {"articles": [], "articlesCount": 0}
    await take_in(db, 1, UserFollowed(**pair))
    feed = await reader.get("/articles/feed", limit=2)
    assert [item["slug"] for item in feed["articles"]] == slugs[:2]
    assert feed["articlesCount"] == 3
    assert feed["articles"][0]["author"]["following"] is True
    rest = await reader.get("/articles/feed", limit=2, offset=2)
    assert [item["slug"] for item in rest["articles"]] == slugs[2:]
    assert (await reader.get(f"/articles/{slugs[0]}"))["article"]["author"]["following"] is True
    await take_in(db, 2, UserUnfollowed(**pair))
    assert (await reader.get("/articles/feed")) == {"articles": [], "articlesCount": 0}


@pytest.fixture
async def users(servers: Servers, stranger: Member, db: asyncpg.Connection) -> AsyncIterator[str]:
    """The publishing half of a users service, to whom content listens already; its database."""
    url = await clean_database(servers.admin_url, "content_test_users", "shared")
    settings = DataSettings(database_url=url, nats_url=servers.nats_url, env="test")
    app: Quart = create_service("users", settings)
    use_database(app, settings)
    use_bus(app, settings.nats_url, settings.nats_replicas)
    use_outbox(app, settings)
    async with serving(app):
        await begin_far_from_others(url)
        await register(url, registered(stranger.id))
        known = "SELECT EXISTS (SELECT FROM authors WHERE id = $1)"
        await until(lambda: db.fetchval(known, stranger.id), what="an author")
        yield url


async def begin_far_from_others(users: str) -> None:
    """Other tests of this run publish to the same stream, from databases that count from 1."""
    db = await asyncpg.connect(users)
    await db.execute("ALTER TABLE outbox ALTER COLUMN position RESTART WITH 1000000")
    await db.close()


async def register(users: str, *events: UserRegistered) -> int:
    """Publish the registrations, all in one transaction; the position of the last."""
    db = await asyncpg.connect(users)
    try:
        async with db.transaction():
            return (await emit(db, *events))[-1]
    finally:
        await db.close()


async def test_who_has_registered_elsewhere_may_publish_at_once(
    users: str, stranger: Member, signer: Signer
) -> None:
    """By `Quartet-After`, though others registered just before."""
    account = uuid7()
    others = [registered(uuid7(), f"other {n}") for n in range(50)]
    position = await register(users, *others, registered(account, f"Newcomer {account.hex}"))
    headers = signer.headers(account) | {"Quartet-After": f"users={position}"}
    newcomer = msgspec.structs.replace(stranger, id=account, headers=headers)
    article = await newcomer.publish()
    assert article["author"]["username"] == f"Newcomer {account.hex}"


async def test_who_is_not_known_yet_is_asked_to_try_again(stranger: Member, signer: Signer) -> None:
    newcomer = msgspec.structs.replace(stranger, headers=signer.headers(stranger.id))
    article = {"title": "T", "description": "D", "body": "B"}
    reply = await newcomer.send("POST", "/articles", {"article": article})
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
