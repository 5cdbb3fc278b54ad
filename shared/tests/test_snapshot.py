"""A snapshot tells what there is, and no change that happens meanwhile is undone by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest

from shared.database import Connection
from shared.events import Event, SnapshotCompleted
from shared.outbox import publish
from shared.settings import DataSettings
from shared.snapshot import Fact, Kind, Snapshot, SnapshotIncomplete, require_whole, tell_all
from shared.testing import until
from shared.tests.conftest import session

NOW = datetime(2026, 11, 25, 9, tzinfo=UTC)


class Cast(Event, frozen=True, kw_only=True):
    """A bell sounds like this now."""

    SUBJECT: ClassVar[str] = "alpha.cast.v1"

    bell: UUID
    sound: str

    @property
    def aggregate(self) -> str:
        return str(self.bell)


class AllTold(SnapshotCompleted, frozen=True, kw_only=True):
    """Every bell was told."""

    SUBJECT: ClassVar[str] = "alpha.all_told.v1"


async def lock_bells(db: Connection, after: UUID, limit: int) -> list[Fact]:
    rows = await db.fetch(
        "SELECT id, sound FROM cast_bells WHERE id > $1 ORDER BY id LIMIT $2 FOR SHARE",
        after,
        limit,
    )
    return [Fact(row["id"], Cast(bell=row["id"], sound=row["sound"]), NOW) for row in rows]


BELLS = Snapshot((Kind(UUID(int=0), lock_bells),), AllTold)


@pytest.fixture
async def url(alpha_settings: DataSettings) -> AsyncIterator[str]:
    async with session(alpha_settings.database_url) as db:
        await db.execute("CREATE TABLE cast_bells (id uuid PRIMARY KEY, sound text NOT NULL)")
        yield alpha_settings.database_url
        await db.execute("DROP TABLE cast_bells")


@pytest.fixture
async def db(url: str) -> AsyncIterator[asyncpg.Connection]:
    async with session(url) as db:
        yield db


async def cast(db: Connection, bell: UUID, sound: str) -> int:
    """Make a bell, or let it sound otherwise, as a service does: state first, then the event."""
    await db.execute(
        """INSERT INTO cast_bells VALUES ($1, $2)
           ON CONFLICT (id) DO UPDATE SET sound = EXCLUDED.sound""",
        bell,
        sound,
    )
    return await publish(db, Cast(bell=bell, sound=sound), NOW)


async def projected(db: Connection) -> dict[UUID, str]:
    """What a projection makes of the outbox: the newest event of each bell, and after a snapshot
    only what that or later events told of.
    """
    kept: dict[UUID, tuple[int, str]] = {}
    rows = await db.fetch("SELECT position, subject, data FROM outbox ORDER BY position")
    for row in rows:
        if row["subject"] == Cast.SUBJECT:
            event = msgspec.json.decode(row["data"], type=Cast)
            kept[event.bell] = (row["position"], event.sound)
        else:
            since = msgspec.json.decode(row["data"], type=AllTold).since
            kept = {bell: state for bell, state in kept.items() if state[0] >= since}
    return {bell: sound for bell, (_, sound) in kept.items()}


async def existing(db: Connection) -> dict[UUID, str]:
    return {row["id"]: row["sound"] for row in await db.fetch("SELECT id, sound FROM cast_bells")}


@pytest.mark.parametrize("batch", [1, 3, 100])
async def test_everything_is_told_once_and_then_that_this_was_all(
    db: asyncpg.Connection, batch: int
) -> None:
    for number in range(7):
        await cast(db, uuid4(), f"ding {number}")
    assert await tell_all(db, BELLS, batch) == 7
    *told, closing = await db.fetch(
        "SELECT id, position, data, occurred_at FROM outbox WHERE snapshot ORDER BY position"
    )
    completed = msgspec.json.decode(closing["data"], type=AllTold)
    assert completed.events == len(told) == 7
    assert [row["id"] for row in told] == [UUID(int=completed.first.int + n) for n in range(7)]
    assert completed.since == told[0]["position"] - 1 == 8
    assert {row["occurred_at"] for row in told} == {NOW}
    assert await projected(db) == await existing(db)


async def test_nothing_is_told_where_there_is_nothing(db: asyncpg.Connection) -> None:
    assert await tell_all(db, BELLS) == 0
    assert await db.fetchval("SELECT count(*) FROM outbox WHERE snapshot") == 1


async def test_two_snapshots_share_no_id(db: asyncpg.Connection) -> None:
    await cast(db, uuid4(), "ding")
    for _ in range(50):
        await tell_all(db, BELLS)


@asynccontextmanager
async def telling(url: str, snapshot: Snapshot = BELLS) -> AsyncIterator["asyncio.Task[int]"]:
    async with session(url) as db:
        task = asyncio.create_task(tell_all(db, snapshot))
        yield task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_was_made_before_it_began_and_commits_later_is_told(
    db: asyncpg.Connection, url: str
) -> None:
    late = db.transaction()
    await late.start()
    await cast(db, uuid4(), "late")
    async with telling(url) as task, session(url) as other:

        async def begun() -> bool:
            taken = await other.fetchval("SELECT last_value FROM outbox_position_seq")
            return bool(taken > 1)

        await until(begun, what="a snapshot that has begun")
        await cast(other, uuid4(), "early")
        await late.commit()
        await task
    assert await projected(db) == await existing(db)


async def test_a_change_between_reading_and_telling_waits_and_is_told_later(
    db: asyncpg.Connection, url: str
) -> None:
    bell = uuid4()
    await cast(db, bell, "old")
    changes: list[asyncio.Task[int]] = []

    async def change() -> int:
        async with session(url) as other, other.transaction():
            return await cast(other, bell, "new")

    async def dawdle(page_db: Connection, after: UUID, limit: int) -> list[Fact]:
        facts = await lock_bells(page_db, after, limit)
        if facts:
            changes.append(asyncio.create_task(change()))
            await until(done_or_waiting, what="a change that waits")
        return facts

    async def done_or_waiting() -> bool:
        return changes[0].done() or bool(await db.fetchval(_WAITING))

    async with telling(url, Snapshot((Kind(UUID(int=0), dawdle),), AllTold)) as task:
        await task
    await changes[0]
    assert await projected(db) == await existing(db) == {bell: "new"}


_WAITING = """SELECT EXISTS (SELECT FROM pg_stat_activity
                             WHERE wait_event_type = 'Lock' AND datname = current_database())"""


async def test_it_gives_way_to_who_holds_a_row_for_long(db: asyncpg.Connection, url: str) -> None:
    first, second = sorted([uuid4(), uuid4()])
    for bell in (first, second):
        await cast(db, bell, "old")
    holding = db.transaction()
    await holding.start()
    await db.execute("UPDATE cast_bells SET sound = 'new' WHERE id = $1", second)
    async with telling(url) as task, session(url) as other:
        await until(lambda: other.fetchval(_WAITING), what="a snapshot that waits")
        await other.execute("SET lock_timeout = '900ms'")
        await cast(other, first, "new")
        await cast(db, second, "new")
        await holding.commit()
        await task
    assert await projected(db) == await existing(db)


async def test_nothing_is_taken_for_gone_before_all_is_applied(db: asyncpg.Connection) -> None:
    first = UUID(int=uuid4().int >> 40 << 40)
    told = AllTold(since=5, first=first, events=3)
    for number in (0, 2):
        await _receive(db, UUID(int=first.int + number))
    await _receive(db, uuid4())
    with pytest.raises(SnapshotIncomplete, match="1 of 3"):
        await require_whole(db, told)
    await _receive(db, UUID(int=first.int + 1))
    await require_whole(db, told)
    await require_whole(db, AllTold(since=5, first=uuid4(), events=0))


async def _receive(db: Any, id_: UUID) -> None:
    await db.execute("INSERT INTO inbox VALUES ($1, 'alpha', 1, now())", id_)
