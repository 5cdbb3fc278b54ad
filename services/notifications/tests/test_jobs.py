"""Mail goes to who wants it, once; what is read and old is removed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from quart import Quart

from deploy.local.servers import Servers
from services.notifications import delivery, jobs
from services.notifications.jobs import JOBS, PERIODIC, Clean, clean_notifications
from services.notifications.mail import use_mail
from services.notifications.model import ChannelsChange, Kind
from services.notifications.queries.preferences import upsert_preferences
from services.notifications.settings import Settings
from services.notifications.tests.conftest import KEY
from services.notifications.tests.facts import (
    START,
    Fact,
    deleted,
    fact,
    favorited,
    followed,
    published,
    registered,
    unfollowed,
)
from services.notifications.tests.people import Member
from services.notifications.tests.postbox import Postbox, opened
from shared.bus import use_bus
from shared.context import begin_work
from shared.database import Connection, CountedConnection, transaction, use_database
from shared.events import Event
from shared.jobs import enqueue
from shared.outbox import use_outbox
from shared.service import create_service
from shared.testing import serving, until
from shared.worker import LONGEST_PAUSE, Worker


@pytest.fixture
async def postbox() -> AsyncIterator[Postbox]:
    async with opened() as postbox:
        yield postbox


@pytest.fixture
async def crew(servers: Servers, database_url: str, postbox: Postbox) -> AsyncIterator[Quart]:
    """The worker's app with queues that are empty, and nobody who works them off."""
    nats = Client()
    await nats.connect(servers.nats_url)
    with suppress(NotFoundError):
        await nats.jetstream().delete_stream("jobs-notifications")
    await nats.close()
    settings = Settings(
        database_url=database_url,
        nats_url=servers.nats_url,
        env="test",
        smtp_port=postbox.port,
        smtp_tls="none",
        mail_from="quartet@example.org",
        public_url="https://example.org",
        unsubscribe_key=KEY,
    )
    app = create_service("notifications", settings)
    use_mail(app, settings)
    use_database(app, settings)
    use_bus(app, settings)
    use_outbox(app, settings, queues=True)
    async with serving(app):
        async with app.app_context(), transaction() as db:
            await db.execute("TRUNCATE outbox, inbox, job_keys, job_failures, dead_letters")
        yield app


@asynccontextmanager
async def working(crew: Quart) -> AsyncIterator[None]:
    worker = Worker(crew, JOBS, PERIODIC, first_pause=0.01)
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.finish(5.0)


def now(event: Event) -> Fact:
    """Something that happens now."""
    return Fact(event, fact(event).position, datetime.now(UTC))


def address(account: UUID) -> str:
    return f"{account.hex}@example.org"


async def happen(db: Connection, *events: Event) -> None:
    for event in events:
        await now(event).arrive(db)


async def wants_mail(db: Connection, account: UUID, *kinds: Kind, inbox: bool = True) -> None:
    said = {kind: ChannelsChange(inbox=inbox, email=True) for kind in kinds}
    await upsert_preferences(db, account, said)


async def waiting(db: Connection) -> int:
    """How many jobs there are, done or not."""
    count: int = await db.fetchval("SELECT count(*) FROM outbox WHERE subject LIKE 'jobs.%'")
    return count


async def all_done(db: Connection) -> None:
    async def done() -> bool:
        left = await db.fetchval(
            """SELECT count(*) FROM outbox
                WHERE subject LIKE 'jobs.%' AND id NOT IN (SELECT id FROM inbox)"""
        )
        return bool(left == 0)

    await until(done, what="the end of all jobs")


async def test_who_registers_is_welcomed_once_however_often_it_is_told(
    crew: Quart, committed: Connection, postbox: Postbox
) -> None:
    somebody = uuid4()
    registration = now(registered(somebody, "ada"))
    async with working(crew):
        for _ in range(3):
            await registration.arrive(committed)
        (mail,) = await postbox.got(address(somebody))
        for _ in range(3):
            await registration.arrive(committed)
        await happen(committed, registered(other := uuid4()))
        await postbox.got(address(other))
    assert mail.message["Subject"] == "Welcome to Quartet, ada"
    assert len(postbox.to(address(somebody))) == 1


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


async def test_old_news_is_told_by_no_mail(crew: Quart, committed: Connection) -> None:
    author, reader = uuid4(), uuid4()
    await wants_mail(committed, author, "followed")
    old = datetime.now(UTC) - delivery.NEWS
    for event in (registered(author), registered(reader), followed(reader, author)):
        await Fact(event, fact(event).position, old).arrive(committed)
    assert await waiting(committed) == 0
    query = "SELECT count(*) FROM notifications WHERE recipient_id = $1"
    assert await committed.fetchval(query, author) == 1


async def test_mail_tells_each_kind_to_those_who_want_it(
    crew: Quart, committed: Connection, postbox: Postbox, author: Member, reader: Member
) -> None:
    article = uuid4()
    await wants_mail(committed, author.id, "followed", "favorited")
    await wants_mail(committed, reader.id, "published")
    async with working(crew):
        await happen(
            committed,
            followed(reader.id, author.id),
            published(author.id, article, "On looms"),
            favorited(author.id, article, reader.id),
        )
        await postbox.got(address(author.id), 2)
        (mail,) = await postbox.got(address(reader.id))
        await all_done(committed)
    subjects = {mail.message["Subject"] for mail in postbox.to(address(author.id))}
    assert subjects == {f"{reader.username} follows you now", f"{reader.username} likes “On looms”"}
    assert mail.message["Subject"] == f"{author.username} published “On looms”"
    assert "https://example.org/article/on-looms" in mail.part("plain")
    assert len(postbox.received) == 3


async def test_the_link_of_a_mail_ends_it(
    crew: Quart, committed: Connection, postbox: Postbox, author: Member, reader: Member
) -> None:
    await wants_mail(committed, author.id, "followed")
    async with working(crew):
        await happen(committed, followed(reader.id, author.id))
        (mail,) = await postbox.got(address(author.id))
    link = mail.message["List-Unsubscribe"].strip("<>")
    assert link in mail.part("plain")
    path = link.removeprefix("https://example.org")
    assert (await author.client.post(path)).status_code == 200
    await happen(committed, followed(uuid4(), author.id))
    assert await waiting(committed) == 1


async def test_mail_without_an_inbox_is_sent_once_as_well(
    crew: Quart, committed: Connection, postbox: Postbox, author: Member, reader: Member
) -> None:
    await wants_mail(committed, author.id, "followed", inbox=False)
    async with working(crew):
        for _ in range(3):
            await happen(
                committed, followed(reader.id, author.id), unfollowed(reader.id, author.id)
            )
        await postbox.got(address(author.id))
        await all_done(committed)
    assert len(postbox.received) == 1
    assert (await author.inbox())["notifications"] == []


async def test_who_changes_their_mind_while_a_mail_waits_does_not_get_it(
    crew: Quart, committed: Connection, postbox: Postbox, author: Member, reader: Member
) -> None:
    kept, gone = uuid4(), uuid4()
    await wants_mail(committed, author.id, "followed", "favorited")
    await happen(
        committed,
        published(author.id, kept),
        published(author.id, gone),
        followed(reader.id, author.id),
        favorited(author.id, kept, reader.id),
        favorited(author.id, gone, reader.id),
        deleted(author.id, gone),
    )
    await upsert_preferences(committed, author.id, {"followed": ChannelsChange(email=False)})
    async with working(crew):
        await all_done(committed)
    (mail,) = postbox.received
    assert "likes" in mail.message["Subject"]


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


async def test_ten_thousand_are_told_and_three_thousand_by_mail_in_few_statements(
    crew: Quart, database_url: str
) -> None:
    db = await asyncpg.connect(database_url, connection_class=CountedConnection)
    example = db.transaction()
    await example.start()
    author = uuid4()
    await db.execute(
        """WITH follower AS (
             INSERT INTO follows (followee_id, follower_id, position, following, changed_at)
             SELECT $1, gen_random_uuid(), number, true, $2
               FROM generate_series(1, 10000) AS number
             RETURNING follower_id, position)
           INSERT INTO preferences (account_id, kind, email)
           SELECT follower_id, 'published', true FROM follower WHERE position % 10 < 3""",
        author,
        START,
    )
    work = begin_work()
    await now(published(author, uuid4())).arrive(db)
    assert work.statements <= 2 + 3 * (10_000 / delivery.BATCH) + 1
    assert await waiting(db) == 3_000
    told = await db.fetchval("SELECT count(*) FROM notifications WHERE actor_id = $1", author)
    assert told == 10_000
    await example.rollback()
    await db.close()


async def test_many_mails_arrive_each_once(
    crew: Quart, committed: Connection, postbox: Postbox, author: Member
) -> None:
    readers = [uuid4() for _ in range(60)]
    old = [
        fact(event)
        for reader in readers
        for event in (registered(reader), followed(reader, author.id))
    ]
    for happened in old:
        await happened.arrive(committed)
    for reader in readers[::2]:
        await wants_mail(committed, reader, "published")
    async with working(crew), working(crew):
        await happen(committed, published(author.id, uuid4()))
        await all_done(committed)
    assert sorted(mail.to[0] for mail in postbox.received) == sorted(map(address, readers[::2]))


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
        assert loop.time() - began < 1
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


async def insert(db: Connection, count: int, age: timedelta, *, read: bool) -> None:
    await db.execute(
        """INSERT INTO notifications (id, recipient_id, kind, actor_id, fact, created_at, read_at)
           SELECT gen_random_uuid(), gen_random_uuid(), 'followed', gen_random_uuid(), '',
                  $2, CASE WHEN $3 THEN $2::timestamptz END
             FROM generate_series(1, $1::int)""",
        count,
        datetime.now(UTC) - age,
        read,
    )


async def test_what_is_read_and_old_is_removed_in_batches(
    crew: Quart, committed: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "BATCH", 10)
    await committed.execute("DELETE FROM notifications")
    old, young = jobs.KEPT + timedelta(minutes=1), jobs.KEPT - timedelta(minutes=1)
    await insert(committed, 25, old, read=True)
    await insert(committed, 3, old, read=False)
    await insert(committed, 4, young, read=True)
    async with crew.app_context():
        await clean_notifications(Clean())
    rows: list[Any] = await committed.fetch("SELECT read_at IS NULL AS unread FROM notifications")
    assert sorted(row["unread"] for row in rows) == [False] * 4 + [True] * 3


async def test_the_clean_up_runs_as_a_job(crew: Quart, committed: Connection) -> None:
    await insert(committed, 1, jobs.KEPT + timedelta(days=1), read=True)
    (periodic,) = PERIODIC
    assert (periodic.cron, periodic.job) == ("0 3 * * *", clean_notifications)
    async with working(crew):
        async with crew.app_context(), transaction() as db:
            await enqueue(db, periodic.job, periodic.payload, now=datetime.now(UTC))
        await all_done(committed)
    assert (
        await committed.fetchval(
            "SELECT count(*) FROM notifications WHERE created_at < $1 AND read_at IS NOT NULL",
            datetime.now(UTC) - jobs.KEPT,
        )
        == 0
    )
