"""Whatever is away or slow, a mail comes late rather than twice or never."""

import asyncio
from uuid import uuid4

import asyncpg
from quart import Quart

from services.notifications import jobs
from services.notifications.tests.crew import (
    address,
    all_done,
    happen,
    now,
    wants_mail,
    working,
)
from services.notifications.tests.facts import (
    favorited,
    published,
    registered,
)
from services.notifications.tests.people import Member
from services.notifications.tests.postbox import Postbox
from shared.database import Connection, transaction
from shared.testing import until
from shared.worker import LONGEST_PAUSE


async def test_mail_waits_for_a_server_that_is_away(
    crew: Quart, committed: Connection, postbox: Postbox
) -> None:
    await postbox.close()

    async def tried() -> bool:
        return bool(await committed.fetchval("SELECT count(*) > 2 FROM job_failures"))

    somebody = uuid4()
    async with working(crew):
        await happen(committed, registered(somebody))
        await until(tried, what="some attempts")
        await postbox.open()
        await postbox.got(address(somebody))
        await all_done(committed)
    assert len(postbox.received) == 1
    errors = await committed.fetch("SELECT error FROM job_failures")
    assert all("SMTPConnectError" in row["error"] for row in errors)
    assert not any("@" in row["error"] for row in errors)


async def test_a_server_that_is_slow_keeps_no_request_waiting(
    crew: Quart, committed: Connection, postbox: Postbox, author: Member
) -> None:
    postbox.gate.clear()
    newcomers = [uuid4() for _ in range(12)]
    async with working(crew):
        for newcomer in newcomers:
            await happen(committed, registered(newcomer))

        async def full() -> bool:
            return len(postbox.received) == 4  # the slots of their queue

        await until(full, what="mails that are not answered")
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(20):
            await author.inbox()
        assert loop.time() - began < 5
        async with crew.app_context(), transaction() as db:  # nor a connection to the database
            assert await db.fetchval("SELECT 1") == 1
        assert crew.extensions["database"].get_idle_size() > 0
        postbox.gate.set()
        for newcomer in newcomers:
            await postbox.got(address(newcomer))


async def test_a_database_that_is_away_after_the_answer_sends_nothing_again(
    crew: Quart, committed: Connection, database_url: str, postbox: Postbox
) -> None:
    """Nothing but a crash between the answer and the record of it may send a mail twice."""
    postbox.gate.clear()
    somebody = uuid4()
    locker = await asyncpg.connect(database_url)

    async def broken_off() -> bool:
        return bool(
            await committed.fetchval(
                """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'
                      AND query LIKE 'INSERT INTO inbox%'"""
            )
        )

    async with working(crew):
        await happen(committed, registered(somebody))
        await postbox.got(address(somebody))
        async with locker.transaction():
            await locker.execute("LOCK TABLE inbox")
            postbox.gate.set()
            await until(broken_off, what="a record that waits")
        await all_done(committed)
    await locker.close()
    assert len(postbox.received) == 1
    assert await committed.fetchval("SELECT count(*) FROM job_failures") == 0


def test_an_outage_of_an_hour_loses_no_mail() -> None:
    expected = sum(min(2.0**attempt, LONGEST_PAUSE) / 2 for attempt in range(1, jobs.ATTEMPTS))
    assert expected > 3_600


async def test_mail_waits_for_those_whom_it_names(
    crew: Quart, committed: Connection, postbox: Postbox, author: Member
) -> None:
    stranger, article = uuid4(), uuid4()
    await wants_mail(committed, author.id, "favorited")

    async def tried() -> bool:
        return bool(await committed.fetchval("SELECT count(*) FROM job_failures"))

    async with working(crew):
        await happen(committed, favorited(author.id, article, stranger))
        await until(tried, what="an attempt")
        await happen(committed, registered(stranger, "late"), published(author.id, article))
        (mail,) = await postbox.got(address(author.id))
    assert mail.message["Subject"] == "late likes “A Story”"


async def test_the_done_are_known_when_the_outbox_has_forgotten_them(
    crew: Quart, committed: Connection, postbox: Postbox
) -> None:
    somebody = uuid4()
    registration = now(registered(somebody))
    async with working(crew):
        await registration.arrive(committed)
        await postbox.got(address(somebody))
        await all_done(committed)
        await committed.execute("DELETE FROM outbox")
        await registration.arrive(committed)
        await happen(committed, registered(other := uuid4()))
        await postbox.got(address(other))
        await all_done(committed)
    assert len(postbox.to(address(somebody))) == 1
