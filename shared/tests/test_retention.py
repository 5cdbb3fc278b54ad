"""What is too old goes, in small steps by an index; everything else stays."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from shared.retention import (
    Retention,
    delete_answers,
    delete_failures,
    delete_published,
    delete_received,
)
from shared.settings import DataSettings
from shared.testing import serving, until
from shared.tests.bells import create_alpha, ring
from shared.tests.conftest import session

NOW = datetime(2026, 11, 25, 9, tzinfo=UTC)
DAY = timedelta(days=1)
COUNTS = """SELECT (SELECT count(*) FROM outbox) AS outbox, (SELECT count(*) FROM inbox) AS inbox,
                   (SELECT count(*) FROM idempotency_keys) AS answers,
                   (SELECT count(*) FROM job_failures) AS failures"""


@pytest.fixture
async def db(alpha_settings: DataSettings) -> AsyncIterator[asyncpg.Connection]:
    async with session(alpha_settings.database_url) as db:
        yield db


async def fill(db: asyncpg.Connection, count: int, at: datetime) -> None:
    """So many rows of each kind, of that moment."""
    ids = [uuid4() for _ in range(count)]
    await db.execute(
        """INSERT INTO outbox (id, subject, aggregate, data, traceparent, occurred_at, published_at)
           SELECT unnest($1::uuid[]), 'alpha.rang.v1', '', '', '', $2, $2""",
        ids,
        at,
    )
    await db.execute("INSERT INTO inbox SELECT unnest($1::uuid[]), 'beta', 1, $2", ids, at)
    await db.execute(
        "INSERT INTO idempotency_keys SELECT uuid_send(unnest($1::uuid[])), '', '', $2", ids, at
    )
    await db.execute(
        """INSERT INTO job_failures (job_id, queue, error, failed_at)
           SELECT unnest($1::uuid[]), 'low', '', $2""",
        ids,
        at,
    )


async def counts(db: asyncpg.Connection) -> dict[str, int]:
    row: Any = await db.fetchrow(COUNTS)
    return dict(row)


async def test_what_is_too_old_goes_and_the_rest_stays(db: asyncpg.Connection) -> None:
    ages = {timedelta(hours=23): 1, timedelta(hours=25): 2, timedelta(days=7.9): 4, 8.1 * DAY: 8}
    for age, count in ages.items():
        await fill(db, count, NOW - age)
    await Retention(DAY).clean(db, NOW)
    assert await counts(db) == {"outbox": 1, "inbox": 7, "answers": 1, "failures": 1}


async def test_the_outbox_is_kept_as_long_as_one_is_told(db: asyncpg.Connection) -> None:
    await fill(db, 1, NOW - timedelta(hours=47))
    await Retention(2 * DAY).clean(db, NOW)
    assert (await counts(db))["outbox"] == 1


async def test_what_waits_to_be_published_stays_however_old(db: asyncpg.Connection) -> None:
    await fill(db, 3, NOW - 30 * DAY)
    await db.execute("UPDATE outbox SET published_at = NULL WHERE position <= 2")
    await Retention(DAY).clean(db, NOW)
    assert (await counts(db))["outbox"] == 2


async def test_it_goes_on_while_there_is_more_and_rests_then(db: asyncpg.Connection) -> None:
    await fill(db, 25, NOW - 9 * DAY)
    retention, seen = Retention(DAY, batch=10), []
    for _ in range(4):
        await retention.clean(db, NOW)
        seen.append((await counts(db))["inbox"])
    await fill(db, 1, NOW - 9 * DAY)
    await retention.clean(db, NOW)
    assert [*seen, (await counts(db))["inbox"]] == [15, 5, 0, 0, 1]


async def test_one_that_fails_rests_too(db: asyncpg.Connection) -> None:
    retention = Retention(DAY)
    await fill(db, 1, NOW - 9 * DAY)
    with pytest.raises(asyncpg.InvalidTextRepresentationError):
        async with db.transaction():
            await retention.clean(_Failing(db), NOW)
    await retention.clean(db, NOW)
    assert (await counts(db))["inbox"] == 1


class _Failing:
    """A connection on which nothing succeeds."""

    def __init__(self, db: asyncpg.Connection) -> None:
        self._db = db

    async def execute(self, *_: object) -> str:
        return str(await self._db.execute("SELECT 'x'::int"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


class _Explaining(_Failing):
    """A connection that tells how statements are carried out."""

    def __init__(self, db: asyncpg.Connection) -> None:
        super().__init__(db)
        self.plan = ""

    async def execute(self, query: object = "", *args: object) -> str:
        rows = await self._db.fetch(f"EXPLAIN {query}", *args)
        self.plan = "\n".join(row[0] for row in rows)
        return "DELETE 0"


@pytest.mark.parametrize(
    ("delete", "index"),
    [
        (delete_published, "outbox_published"),
        (delete_received, "inbox_received"),
        (delete_answers, "idempotency_keys_age"),
        (delete_failures, "job_failures_recent"),
    ],
)
async def test_the_old_are_found_by_an_index(
    db: asyncpg.Connection, delete: Any, index: str
) -> None:
    for day in range(20):
        await fill(db, 1_000, NOW - day * DAY)
    await db.execute("ANALYZE outbox, inbox, idempotency_keys, job_failures")
    explaining: Any = _Explaining(db)
    await delete(explaining, NOW - 15 * DAY, 1_000)
    assert index in explaining.plan


async def test_every_service_cleans_itself(
    alpha_settings: DataSettings, db: asyncpg.Connection
) -> None:
    app = create_alpha(alpha_settings)

    async def clean() -> bool:
        return await counts(db) == {"outbox": 1, "inbox": 0, "answers": 0, "failures": 0}

    async with serving(app):
        await ring(app, "a")  # the stream is no new one then
        await until(lambda: db.fetchval("SELECT published_at FROM outbox"))
    await fill(db, 1_500, NOW - 9 * DAY)
    async with serving(create_alpha(alpha_settings)):
        await until(clean, what="a clean database")
