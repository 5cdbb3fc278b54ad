"""Numbers: given once, in the order of the commits, to what can be shown."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from services.notifications.herald import MOST_TOLD, announce_waiting
from services.notifications.tests.facts import START, arrive, followed, published, registered
from services.notifications.tests.people import Member
from shared.database import Connection
from shared.events.notifications import NotificationsCreated
from shared.testing import clean_database, until

pytestmark = pytest.mark.usefixtures("client")


async def since(member: Member, after: int | None = None, limit: int = 100) -> Any:
    query = {"limit": limit} | ({} if after is None else {"after": after})
    reply = await member.send("GET", "/notifications/since", query_string=query)
    assert reply.status == 200, reply.body
    return reply.body


async def announced(member: Member, count: int, after: int = 0) -> Any:
    async def enough() -> Any:
        page = await since(member, after)
        return page if len(page["notifications"]) >= count else None

    return await until(enough, what=f"{count} announcements")


async def test_what_is_announced_is_asked_for_by_number(
    author: Member, reader: Member, committed: Connection
) -> None:
    assert await since(reader) == {"notifications": [], "last": 0, "more": False, "unreadCount": 0}
    await arrive(committed, followed(reader.id, author.id))
    for title in ("First", "Second", "Third"):
        await arrive(committed, published(author.id, uuid4(), title))
    page = await announced(reader, 3)
    titles = [told["notification"]["article"]["title"] for told in page["notifications"]]
    numbers = [told["id"] for told in page["notifications"]]
    assert titles == ["First", "Second", "Third"]
    assert numbers == sorted(numbers)
    assert (page["last"], page["more"], page["unreadCount"]) == (numbers[-1], False, 3)
    first = await since(reader, 0, limit=1)
    assert (first["last"], first["more"]) == (numbers[0], True)
    rest = await since(reader, first["last"])
    assert [told["id"] for told in rest["notifications"]] == numbers[1:]
    assert await since(reader) == page | {"notifications": []}


async def test_a_number_that_nobody_was_given_begins_anew(
    author: Member, reader: Member, committed: Connection
) -> None:
    await arrive(committed, followed(reader.id, author.id))
    page = await announced(author, 1)
    far = await since(author, 2**62)
    assert (far["notifications"], far["last"]) == ([], page["last"])


async def test_a_deed_is_announced_when_its_actor_becomes_known(
    author: Member, committed: Connection
) -> None:
    stranger = uuid4()
    await arrive(committed, followed(stranger, author.id))
    known = uuid4()
    await arrive(committed, registered(known), followed(known, author.id))
    (first,) = (await announced(author, 1))["notifications"]
    await arrive(committed, registered(stranger, "latecomer"))
    (second,) = (await announced(author, 1, after=first["id"]))["notifications"]
    assert second["notification"]["actor"]["username"] == "latecomer"


@pytest.fixture
async def urls(servers: Any) -> str:
    return await clean_database(
        servers.admin_url, "notifications_test_herald", "shared", "services.notifications"
    )


@pytest.fixture
async def pair(urls: str) -> AsyncIterator[tuple[Any, Any]]:
    """Two connections to a database where no other herald is."""
    one, two = [await asyncpg.connect(urls) for _ in range(2)]
    yield one, two
    for db in (one, two):
        await db.close()


async def test_who_was_first_to_count_is_first_to_be_seen(pair: tuple[Any, Any]) -> None:
    one, two = pair
    author, stranger = uuid4(), uuid4()
    await arrive(one, registered(author), registered(stranger), followed(stranger, author))
    ours = one.transaction()
    await ours.start()
    assert await announce_waiting(one, START) == 1
    fan = uuid4()
    await arrive(two, registered(fan), followed(fan, author))
    other = asyncio.create_task(announce_apart(two))
    await until(lambda: waits_for_a_lock(one), what="a second herald that waits")
    await ours.commit()
    assert await other == 1
    events = await told(one)
    assert [len(event.told) for event in events] == [1, 1]
    assert events[0].told[0].number < events[1].told[0].number


async def waits_for_a_lock(db: Any) -> bool:
    found: bool = await db.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
    )
    return found


async def announce_apart(db: Any) -> int:
    async with db.transaction():
        return await announce_waiting(db, START)


async def test_one_event_tells_many(pair: tuple[Any, Any]) -> None:
    db, _ = pair
    author, article = uuid4(), uuid4()
    followers = [UUID(int=number) for number in range(1, MOST_TOLD + 11)]
    await arrive(db, registered(author))
    await db.executemany(
        "INSERT INTO follows VALUES ($1, $2, 1, true, $3)",
        [(author, follower, START) for follower in followers],
    )
    await arrive(db, published(author, article, "A Story"))
    assert await announce_apart(db) == len(followers)
    events = await told(db)
    assert [len(event.told) for event in events] == [MOST_TOLD, 10]
    assert {one.account_id for event in events for one in event.told} == set(followers)
    numbers = [one.number for event in events for one in event.told]
    assert numbers == sorted(set(numbers))
    shown = msgspec.json.decode(events[1].notification)
    assert (shown["kind"], shown["article"]["title"], "id" in shown) == (
        *("published", "A Story"),
        False,
    )


async def told(db: Any) -> list[NotificationsCreated]:
    rows = await db.fetch(
        "SELECT data FROM outbox WHERE subject = $1 ORDER BY position",
        NotificationsCreated.SUBJECT,
    )
    return [msgspec.json.decode(row["data"], type=NotificationsCreated) for row in rows]
