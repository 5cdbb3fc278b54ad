"""Everybody is told once of each fact, in whatever order and however often facts arrive."""

import asyncio
import time
from datetime import datetime
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.notifications import delivery
from services.notifications.tests.facts import (
    START,
    Fact,
    arrive,
    commented,
    deleted,
    fact,
    favorited,
    followed,
    published,
    unfollowed,
)
from shared.context import begin_work
from shared.database import Connection
from shared.events import Event
from shared.events.content import ArticleFavorited, ArticlePublished
from shared.events.users import UserFollowed
from shared.statements import CountedConnection

Told = set[tuple[UUID, str, str]]


async def told(db: Connection, *recipients: UUID) -> Told:
    """Whom is told of what; a second telling of the same would fail here."""
    rows = await db.fetch(
        "SELECT recipient_id, kind, fact FROM notifications WHERE recipient_id = ANY($1)",
        list(recipients),
    )
    assert len(rows) == len({tuple(row) for row in rows})
    return {(row["recipient_id"], row["kind"], row["fact"]) for row in rows}


async def test_a_follower_is_told_of_once_however_often_they_follow(db: Connection) -> None:
    author, reader = uuid4(), uuid4()
    for _ in range(3):
        await arrive(db, followed(reader, author), unfollowed(reader, author))
    assert await told(db, author, reader) == {(author, "followed", str(reader))}


async def test_a_favourite_is_told_of_once_for_each_article_and_account(db: Connection) -> None:
    author, one, two, first, second = (uuid4() for _ in range(5))
    for account in (one, two, one):
        for article in (first, second):
            await arrive(db, favorited(author, article, account))
    assert await told(db, author) == {
        (author, "favorited", f"{account}:{article}")
        for account in (one, two)
        for article in (first, second)
    }


async def test_each_comment_is_told_of(db: Connection) -> None:
    author, reader, article = uuid4(), uuid4(), uuid4()
    first, second = (fact(commented(author, article, reader, number)) for number in (1, 2))
    for comment in (first, second, first):
        await comment.arrive(db)
    assert await told(db, author) == {(author, "commented", "1"), (author, "commented", "2")}


async def test_nobody_is_told_of_their_own_deeds(db: Connection) -> None:
    author, article = uuid4(), uuid4()
    await arrive(
        db,
        followed(author, author),
        published(author, article),
        favorited(author, article, author),
        commented(author, article, author, 1),
    )
    assert await told(db, author) == set()


async def test_followers_are_told_of_an_article_and_others_are_not(db: Connection) -> None:
    author, reader, gone, stranger, article = (uuid4() for _ in range(5))
    await arrive(db, followed(reader, author), followed(gone, author), unfollowed(gone, author))
    await arrive(db, published(author, article), followed(stranger, author))
    assert await told(db, reader, gone, stranger) == {(reader, "published", str(article))}


async def test_a_follow_that_is_taken_in_late_tells_of_what_appeared_since(
    db: Connection,
) -> None:
    author, reader, before, after = (uuid4() for _ in range(4))
    facts = [fact(published(author, before)), fact(followed(reader, author))]
    facts.append(fact(published(author, after)))
    for late in (facts[0], facts[2], facts[1]):
        await late.arrive(db)
    assert await told(db, reader) == {(reader, "published", str(after))}
    moment = await db.fetchval(
        "SELECT created_at FROM notifications WHERE recipient_id = $1", reader
    )
    assert moment == facts[2].at


async def test_an_unfollow_that_is_taken_in_late_takes_back_what_appeared_since(
    db: Connection,
) -> None:
    author, reader, before, after = (uuid4() for _ in range(4))
    facts = [fact(followed(reader, author)), fact(published(author, before))]
    facts += [fact(unfollowed(reader, author)), fact(published(author, after))]
    for late in (facts[0], facts[1], facts[3], facts[2]):
        await late.arrive(db)
    assert await told(db, reader) == {(reader, "published", str(before))}


async def test_an_article_that_is_gone_when_a_follow_arrives_is_told_of_all_the_same(
    db: Connection,
) -> None:
    author, reader, article = uuid4(), uuid4(), uuid4()
    follow = fact(followed(reader, author))
    await arrive(db, published(author, article), deleted(author, article))
    await follow.arrive(db)
    assert await told(db, reader) == {(reader, "published", str(article))}


AUTHORS = [UUID(int=number) for number in (1, 2)]
READERS = [UUID(int=number) for number in (1, 11, 12)]  # the first author is a reader too
ARTICLES = [UUID(int=number) for number in (101, 102, 103)]
pairs = st.tuples(st.sampled_from(READERS), st.sampled_from(AUTHORS))
follows = st.builds(lambda pair: followed(*pair), pairs)
unfollows = st.builds(lambda pair: unfollowed(*pair), pairs)
deeds = st.builds(
    lambda article, reader: favorited(AUTHORS[article.int % 2], article, reader),
    st.sampled_from(ARTICLES),
    st.sampled_from(READERS),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Fact], list[Fact]]:
    """What happened, and how it arrived: in any order, some of it more than once."""
    events: list[Event] = draw(st.lists(follows | unfollows | deeds, max_size=14))
    for article in ARTICLES:
        place = draw(st.integers(0, len(events)))
        events.insert(place, published(AUTHORS[article.int % 2], article))
        if draw(st.booleans()):
            events.insert(place + 1, deleted(AUTHORS[article.int % 2], article))
    # Some happen at the same moment: then positions decide.
    steps = draw(st.lists(st.integers(0, 1), min_size=len(events), max_size=len(events)))
    facts, second = [], 0
    for event, step in zip(events, steps, strict=True):
        second += step
        facts.append(fact(event, second))
    repeated = draw(st.lists(st.sampled_from(facts), max_size=6))
    return facts, draw(st.permutations(facts + repeated))


def expected(facts: list[Fact]) -> Told:
    """By the times of the facts alone, with all of them at hand."""
    found: Told = set()
    for happened in facts:
        match happened.event:
            case UserFollowed(follower_id=reader, followee_id=author):
                found.add((author, "followed", str(reader)))
            case ArticleFavorited(author_id=author, account_id=reader, article_id=article):
                found.add((author, "favorited", f"{reader}:{article}"))
            case ArticlePublished(author_id=author, article_id=article):
                found |= {
                    (reader, "published", str(article))
                    for reader in READERS
                    if follows_at(facts, reader, author, happened.at)
                }
    return {one for one in found if not own(one)}


def own(one: tuple[UUID, str, str]) -> bool:
    recipient, kind, about = one
    if kind == "published":
        return recipient == AUTHORS[UUID(about).int % 2]
    return about.startswith(str(recipient))


def follows_at(facts: list[Fact], reader: UUID, author: UUID, at: datetime) -> bool:
    changes = [
        (happened.position, happened.event == followed(reader, author))
        for happened in facts
        if happened.at <= at
        and happened.event in (followed(reader, author), unfollowed(reader, author))
    ]
    return bool(changes) and max(changes)[1]


@given(histories())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_every_order_of_arrival_ends_the_same(
    db: asyncpg.Connection, history: tuple[list[Fact], list[Fact]]
) -> None:
    facts, arrivals = history
    example = db.transaction()
    await example.start()
    try:
        for happened in arrivals:
            await happened.arrive(db)
        assert await told(db, *READERS, *AUTHORS) == expected(facts)
    finally:
        await example.rollback()


async def test_a_follow_and_an_article_that_are_taken_in_at_once_do_not_miss_each_other(
    database_url: str,
) -> None:
    author, reader, article = uuid4(), uuid4(), uuid4()
    follow, story = fact(followed(reader, author)), fact(published(author, article))
    one, two = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    for first, second in ((follow, story), (story, follow)):
        open_ = one.transaction()
        await open_.start()
        await first.arrive(one)
        waiting = asyncio.create_task(_commit(two, second))
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done, "the second does not wait for the first"
        await open_.commit()
        await waiting
        assert (reader, "published", str(article)) in await told(one, reader)
        await one.execute("DELETE FROM notifications WHERE recipient_id = $1", reader)
    await one.close()
    await two.close()


async def _commit(db: asyncpg.Connection, happened: Fact) -> None:
    async with db.transaction():
        await happened.arrive(db)


async def _followers(db: Connection, author: UUID, count: int) -> None:
    await db.execute(
        """INSERT INTO follows (followee_id, follower_id, position, following, changed_at)
           SELECT $1, gen_random_uuid(), number, true, $3
             FROM generate_series(1, $2::int) AS number""",
        author,
        count,
        START,
    )


async def test_ten_thousand_followers_are_told_in_batches(database_url: str) -> None:
    db = await asyncpg.connect(database_url, connection_class=CountedConnection)
    example = db.transaction()
    await example.start()
    author, article = uuid4(), uuid4()
    await _followers(db, author, 10_000)
    work, began = begin_work(), time.perf_counter()
    await fact(published(author, article)).arrive(db)
    seconds = time.perf_counter() - began
    assert work.statements <= 2 + 3 * (10_000 / delivery.BATCH) + 1
    count = await db.fetchval("SELECT count(*) FROM notifications WHERE actor_id = $1", author)
    assert count == 10_000
    assert seconds < 1.5
    await example.rollback()
    await db.close()


@pytest.mark.parametrize("count", [0, 1, 4, 5, 6, 10, 11])
async def test_no_batch_ends_early_or_twice(
    db: Connection, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(delivery, "BATCH", 5)
    author, article, late = uuid4(), uuid4(), uuid4()
    await _followers(db, author, count)
    await fact(published(author, article)).arrive(db)
    query = "SELECT count(*) FROM notifications WHERE actor_id = $1"
    assert await db.fetchval(query, author) == count
    follow = fact(followed(late, author))
    articles = [uuid4() for _ in range(count)]
    await arrive(db, *(published(author, article) for article in articles))
    await db.execute("DELETE FROM notifications WHERE actor_id = $1", author)
    await follow.arrive(db)
    assert await told(db, late) == {(late, "published", str(article)) for article in articles}


async def test_ids_are_in_the_order_of_the_facts(db: Connection) -> None:
    author = uuid4()
    followers = [uuid4() for _ in range(5)]
    facts = [fact(followed(follower, author)) for follower in followers]
    for happened in reversed(facts):
        await happened.arrive(db)
    rows = await db.fetch(
        "SELECT fact FROM notifications WHERE recipient_id = $1 ORDER BY id", author
    )
    assert [row["fact"] for row in rows] == [str(follower) for follower in followers]
