"""Projections that are broken are made whole from their sources, while everybody goes on."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from services.content.names import username_key
from services.content.snapshot import SNAPSHOT as CONTENT
from services.users.snapshot import SNAPSHOT as USERS
from shared.snapshot import tell_all
from shared.testing import until
from tests.recovery.community import Community, Rows

ACCOUNTS = "SELECT id, username, bio, image FROM accounts"
AUTHORS = "SELECT id, username, bio, image FROM authors"
FOLLOWS = "SELECT follower_id, followee_id, created_at FROM follows"
ARTICLES = "SELECT id, author_id, slug, title, created_at FROM articles"
TOLD = """SELECT id, author_id, slug, title, published_at FROM articles WHERE NOT deleted"""
LATEST = """SELECT follower_id, followee_id, changed_at
              FROM (SELECT DISTINCT ON (follower_id, followee_id) * FROM follows
                     ORDER BY follower_id, followee_id, position DESC) AS latest
             WHERE following"""


async def differences(community: Community) -> dict[str, Rows]:
    """What projections have, and their sources have not, and the other way round."""
    rows = community.rows
    accounts, follows = await rows("users", ACCOUNTS), await rows("users", FOLLOWS)
    pairs = {(follower, followee) for follower, followee, _ in follows}
    people = {(id_, username, image) for id_, username, _, image in accounts}
    following = "SELECT follower_id, followee_id FROM follows WHERE following"
    found = {
        "authors": accounts ^ await rows("content", AUTHORS),
        "follows of content": pairs ^ await rows("content", following),
        "people": people ^ await rows("notifications", "SELECT id, username, image FROM people"),
        "follows of notifications": follows ^ await rows("notifications", LATEST),
        "articles": await rows("content", ARTICLES) ^ await rows("notifications", TOLD),
    }
    return {name: rows for name, rows in found.items() if rows}


async def all_equal(community: Community) -> None:
    last: Any = None

    async def equal() -> bool:
        nonlocal last
        last = await differences(community)
        return not last

    try:
        await until(equal, seconds=60)
    except AssertionError:
        assert last == {}


async def break_projections(community: Community) -> None:
    """Rows that are lost, wrong, and too many, in every projection."""
    content, notifications = community.databases["content"], community.databases["notifications"]
    await content.execute("DELETE FROM authors WHERE ctid IN (SELECT ctid FROM authors LIMIT 4)")
    await content.execute("UPDATE authors SET username = 'wrong', bio = 'wrong'")
    await notifications.execute(
        "DELETE FROM people WHERE ctid IN (SELECT ctid FROM people LIMIT 4)"
    )
    await notifications.execute("UPDATE people SET username = 'wrong', image = 'wrong'")
    await content.execute(
        "INSERT INTO authors VALUES ($1, 'nobody', $2, '', '', 3)", uuid4(), username_key("nobody")
    )
    await notifications.execute("INSERT INTO people VALUES ($1, 'nobody', '', 3)", uuid4())
    await content.execute("UPDATE follows SET following = NOT following")
    await content.execute("DELETE FROM follows WHERE ctid IN (SELECT ctid FROM follows LIMIT 5)")
    await content.execute("INSERT INTO follows VALUES ($1, $2, true, 2)", uuid4(), uuid4())
    await notifications.execute(
        "INSERT INTO follows VALUES ($1, $2, 2, true, now())", uuid4(), uuid4()
    )
    await notifications.execute(
        "DELETE FROM follows WHERE ctid IN (SELECT ctid FROM follows LIMIT 5)"
    )
    await notifications.execute("UPDATE follows SET following = NOT following")
    await notifications.execute("UPDATE articles SET title = 'wrong', deleted = NOT deleted")
    await notifications.execute(
        "DELETE FROM articles WHERE ctid IN (SELECT ctid FROM articles LIMIT 9)"
    )
    await notifications.execute(
        "INSERT INTO articles VALUES ($1, $2, 'x', 'x', 2, now(), false)", uuid4(), uuid4()
    )


async def rebuild(community: Community) -> None:
    """What `snapshot` does, of both publishers at once, in very small steps."""
    users, content = community.databases["users"], community.databases["content"]
    async with users.acquire() as of_users, content.acquire() as of_content:
        await asyncio.gather(
            tell_all(of_users, USERS, batch=3), tell_all(of_content, CONTENT, batch=3)
        )


async def test_broken_projections_equal_their_sources_after_a_rebuild(
    community: Community,
) -> None:
    await all_equal(community)
    await break_projections(community)
    assert len(await differences(community)) == 5
    await rebuild(community)
    await all_equal(community)


async def test_a_rebuild_goes_on_beside_writers(community: Community) -> None:
    await all_equal(community)
    await break_projections(community)
    done = asyncio.Event()

    async def write() -> int:
        deeds = 0
        while not done.is_set():
            await community.act()
            deeds += 1
        return deeds

    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(write()) for _ in range(4)]
        for _ in range(3):
            await rebuild(community)
        done.set()
    assert sum(writer.result() for writer in writers) > 20
    await all_equal(community)


async def test_nobody_is_told_anew(community: Community) -> None:
    await all_equal(community)
    notifications = community.databases["notifications"]
    await notifications.execute("DELETE FROM notifications")
    began = datetime.now(UTC)
    await rebuild(community)

    async def taken_in() -> bool:
        count = await notifications.fetchval(
            "SELECT count(*) FROM inbox WHERE received_at > $1", began
        )
        told = await community.rows("users", "SELECT position FROM outbox WHERE snapshot")
        told |= await community.rows("content", "SELECT position FROM outbox WHERE snapshot")
        return bool(count >= len(told) > 20)

    await until(taken_in, what="the snapshot taken in")
    assert await notifications.fetchval("SELECT count(*) FROM notifications") == 0
