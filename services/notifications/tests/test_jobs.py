"""Mail goes to who wants it, once; what is read and old is removed."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from quart import Quart

from services.notifications import delivery, jobs
from services.notifications.jobs import PERIODIC, Clean, clean_notifications
from services.notifications.model import ChannelsChange
from services.notifications.queries.preferences import upsert_preferences
from services.notifications.tests.crew import (
    address,
    all_done,
    happen,
    now,
    waiting,
    wants_mail,
    working,
)
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
from services.notifications.tests.postbox import Postbox
from shared.context import begin_work
from shared.database import Connection, transaction
from shared.jobs import enqueue
from shared.statements import CountedConnection


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
    assert work.statements <= 2 + 4 * (10_000 / delivery.BATCH) + 1
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
    # Jobs of other tests may have waited for a worker, and send their mails meanwhile.
    ours = {address(reader) for reader in readers}
    told = sorted(mail.to[0] for mail in postbox.received if mail.to[0] in ours)
    assert told == sorted(map(address, readers[::2]))


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
