"""What was sent can be sent again: nobody who has it notices, and nothing fresh waits for it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from nats.js import JetStreamContext
from quart import Quart

from shared.database import Connection, transaction
from shared.events import Envelope
from shared.inbox import Delivery
from shared.replay import EVER, mark_events, mark_jobs, resend, select_oldest
from shared.settings import DataSettings
from shared.testing import serving, until
from shared.tests.bells import Rang, create_alpha, create_beta, hear, heard, ring
from shared.tests.conftest import session


async def hears(app: Quart, *names: str) -> None:
    """Wait until beta has heard exactly these."""

    async def all_heard() -> bool:
        return await heard(app) == sorted(names)

    await until(all_heard, what=f"{names}")


async def sent(app: Quart) -> bool:
    """Whether nothing waits to be published."""
    async with app.app_context(), transaction() as db:
        return not await db.fetchval(
            "SELECT EXISTS (SELECT FROM outbox WHERE published_at IS NULL)"
        )


async def send_again(app: Quart, since: datetime = EVER) -> int:
    await until(lambda: sent(app))
    async with app.app_context(), transaction() as db:
        return await resend(db, since, datetime.now(UTC))


async def test_who_lost_what_it_made_of_events_gets_them_again_at_once(
    alpha: Quart, beta_settings: DataSettings
) -> None:
    """However fresh they are: NATS would drop what it has seen in the last two minutes."""
    async with serving(create_beta(beta_settings)), serving(beta := create_beta(beta_settings)):
        await ring(alpha, "a", "b", "c")
        await hears(beta, "a", "b", "c")
        for _ in range(2):
            async with session(beta_settings.database_url) as db:
                await db.execute("TRUNCATE inbox, heard")
            assert await send_again(alpha) == 3
            await hears(beta, "a", "b", "c")


async def test_who_has_them_shrugs(
    alpha: Quart, beta_settings: DataSettings, jetstream: JetStreamContext
) -> None:
    async with serving(beta := create_beta(beta_settings)):
        await ring(alpha, "a", "b")
        await hears(beta, "a", "b")
        await send_again(alpha)
        await until(lambda: sent(alpha))
        await ring(alpha, "c")
        await hears(beta, "a", "b", "c")
    assert (await jetstream.stream_info("alpha")).state.messages == 5


async def test_what_was_purged_is_there_again(alpha: Quart, jetstream: JetStreamContext) -> None:
    await ring(alpha, "a", "b")
    await until(lambda: sent(alpha))
    await jetstream.purge_stream("alpha")
    await send_again(alpha)
    await until(lambda: sent(alpha))
    assert (await jetstream.stream_info("alpha")).state.messages == 2


async def test_only_what_was_published_since_is_sent_again(alpha: Quart) -> None:
    await ring(alpha, "a", "b")
    await until(lambda: sent(alpha))
    now = datetime.now(UTC)
    async with alpha.app_context(), transaction() as db:
        await db.execute("UPDATE outbox SET published_at = $1", now - timedelta(hours=2))
    await ring(alpha, "c")
    assert await send_again(alpha, now - timedelta(hours=1)) == 1
    await until(lambda: sent(alpha))
    async with alpha.app_context(), transaction() as db:
        assert await select_oldest(db) == now - timedelta(hours=2)
    assert await send_again(alpha, now - timedelta(hours=3)) == 3


@pytest.fixture
async def db(alpha_settings: DataSettings) -> AsyncIterator[Connection]:
    async with session(alpha_settings.database_url) as db:
        yield db


async def test_a_large_outbox_is_marked_in_steps(db: Connection) -> None:
    await db.execute(_MANY, 25, 0)
    counts = [await mark_events(db, EVER, datetime.now(UTC), 10) for _ in range(4)]
    assert counts == [10, 10, 5, 0]


async def test_jobs_that_are_done_or_set_aside_stay_so(db: Connection) -> None:
    for name in ("waits", "done", "dead"):
        await db.execute(
            """INSERT INTO outbox (id, subject, aggregate, data, traceparent, occurred_at,
                                   published_at)
               VALUES (gen_random_uuid(), 'jobs.alpha.low.' || $1, $1, '', '', now(), now())""",
            name,
        )
    await db.execute("INSERT INTO inbox SELECT id, 'jobs', 0, now() FROM outbox WHERE position = 2")
    await db.execute(
        """INSERT INTO dead_letters
           SELECT id, subject, 'jobs', 1, '', '', '', 8, '', now() FROM outbox WHERE position = 3"""
    )
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert await mark_events(db, EVER, later, 10) == 0
    assert await mark_jobs(db, EVER, later, 10) == 1
    waiting = await db.fetch("SELECT aggregate FROM outbox WHERE published_at IS NULL")
    assert [row["aggregate"] for row in waiting] == ["waits"]


_MANY = """INSERT INTO outbox (id, subject, aggregate, data, traceparent, occurred_at, published_at,
                              resent)
           SELECT gen_random_uuid(), 'alpha.rang.v1', 'x', convert_to('{"name":"x"}', 'UTF8'), '',
                  now(), CASE WHEN $2 = 0 THEN now() - interval '1 second' END, $2
             FROM generate_series(1, $1)"""


async def test_a_fresh_event_overtakes_what_is_sent_again_and_readers_are_not_flooded(
    alpha_settings: DataSettings,
    beta_settings: DataSettings,
    db: Connection,
    jetstream: JetStreamContext,
) -> None:
    release = asyncio.Event()

    async def hold(db: Connection, event: Rang, envelope: Envelope) -> None:
        if event.name == "x":
            await release.wait()
        await hear(db, event, envelope)

    beta = create_beta(beta_settings, hold, Delivery(ack_wait=60.0))
    async with serving(alpha := create_alpha(alpha_settings)), serving(beta):
        await ring(alpha, "first")
        await hears(beta, "first")
        await db.execute(_MANY, 2_000, 1)

        async def some_sent() -> bool:
            return (await jetstream.stream_info("alpha")).state.messages > 1

        await until(some_sent, what="what is sent again")
        await ring(alpha, "fresh")
        await until(lambda: db.fetchval(_IS_SENT), what="the fresh event sent")
        assert (await jetstream.stream_info("alpha")).state.messages < 1_000
        release.set()
        await until(lambda: db.fetchval(_IS_HEARD), seconds=60, what="all of them sent")


_IS_SENT = "SELECT published_at FROM outbox WHERE aggregate = 'fresh'"
_IS_HEARD = "SELECT NOT EXISTS (SELECT FROM outbox WHERE published_at IS NULL)"
