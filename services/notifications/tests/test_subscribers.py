"""From another service's commit to what an account is shown."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from deploy.local.servers import Servers
from services.notifications.subscribers import HANDLERS
from services.notifications.tests.facts import (
    commented,
    deleted,
    fact,
    favorited,
    followed,
    published,
    registered,
    updated,
)
from services.notifications.tests.people import Member
from shared.bus import Bus
from shared.database import Connection
from shared.events import content, users
from shared.relay import Relay
from shared.testing import clean_database, emit, until


@asynccontextmanager
async def telling(servers: Servers, publisher: str) -> AsyncIterator[Connection]:
    """A publisher's outbox on a database of its own, and the relay that empties it."""
    url = await clean_database(servers.admin_url, f"notifications_test_{publisher}", "shared")
    bus = Bus(publisher, servers.nats_url, 1)
    tasks = [
        asyncio.create_task(bus.run()),
        asyncio.create_task(Relay(publisher, url, bus).run()),
    ]
    db = await asyncpg.connect(url)
    yield db
    await db.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def fresh_streams(servers: Servers, committed: Connection) -> None:
    """Streams and an inbox that know nothing of earlier tests' events."""
    nats = Client()
    await nats.connect(servers.nats_url)
    for publisher in ("users", "content"):
        with suppress(NotFoundError):
            await nats.jetstream().delete_stream(publisher)
    await nats.close()
    await committed.execute("DELETE FROM inbox")


async def heard(db: Connection, publisher: Connection, positions: list[int]) -> None:
    """Wait until these events of a publisher are in the inbox, by their ids: those of an earlier
    test, which may still be on their way, have the same positions.
    """
    rows = await publisher.fetch(
        "SELECT id FROM outbox WHERE position = ANY ($1::bigint[])", positions
    )
    ids = [row["id"] for row in rows]

    async def received() -> bool:
        count: int = await db.fetchval("SELECT count(*) FROM inbox WHERE id = ANY ($1)", ids)
        return count == len(positions)

    await until(received, what=f"the events {positions}")


@pytest.mark.usefixtures("fresh_streams")
async def test_what_happens_elsewhere_is_shown_to_who_has_seen_it_happen(
    servers: Servers, committed: Connection, author: Member, reader: Member
) -> None:
    article = uuid4()
    async with telling(servers, "users") as of_users, telling(servers, "content") as of_content:
        first = await emit(of_users, followed(uuid4(), uuid4()))
        await heard(committed, of_users, first)
        first = await emit(of_content, published(uuid4(), uuid4(), "Another Story"))
        await heard(committed, of_content, first)
        seen = await emit(
            of_users, registered(reader.id, reader.username), followed(reader.id, author.id)
        )
        told = await emit(
            of_content,
            published(author.id, article, "A Story"),
            favorited(author.id, article, reader.id),
            commented(author.id, article, reader.id, 1),
        )
        await heard(committed, of_users, seen)
        await heard(committed, of_content, told)
        after = {"Quartet-After": f"users={seen[-1]}, content={told[-1]}"}
        inboxes = [
            await member.send("GET", "/notifications", headers=member.headers | after)
            for member in (author, reader)
        ]
    about = {"slug": "a-story", "title": "A Story"}
    of_author, of_reader = (_shown(inbox.body) for inbox in inboxes)
    assert of_reader == [("published", author.username, about)]
    assert sorted(of_author) == [  # these may have happened in the same millisecond
        ("commented", reader.username, about),
        ("favorited", reader.username, about),
        ("followed", reader.username, None),
    ]


def _shown(inbox: Any) -> list[tuple[str, str, Any]]:
    return [
        (told["kind"], told["actor"]["username"], told["article"])
        for told in inbox["notifications"]
    ]


def test_all_events_but_those_that_take_back_are_handled() -> None:
    """What is undone was done, and stays told."""
    ignored = {content.ArticleUnfavorited, content.CommentDeleted}
    assert set(HANDLERS) == {*users.EVENTS, *content.EVENTS} - ignored


async def test_an_older_profile_undoes_nothing_of_a_newer_one(db: Connection) -> None:
    id_ = uuid4()
    older, newer = fact(registered(id_, "old")), fact(registered(id_, "new"))
    for profile in (newer, older):
        await profile.arrive(db)
    assert await db.fetchval("SELECT username FROM people WHERE id = $1", id_) == "new"


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
async def test_an_article_ends_the_same_in_every_order_of_its_events(
    db: Connection, order: tuple[int, ...]
) -> None:
    author, article = uuid4(), uuid4()
    facts = [
        fact(published(author, article, "Old")),
        fact(updated(author, article, "New")),
        fact(deleted(author, article)),
    ]
    for index in order:
        await facts[index].arrive(db)
    row = await db.fetchrow(
        "SELECT published_at, deleted, position FROM articles WHERE id = $1", article
    )
    assert tuple(row) == (facts[0].at, True, facts[2].position)
