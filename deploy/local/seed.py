"""Fills the community with plausible people and articles, by COPY, in batches.

Each database gets what its service would have made of the same deeds, so that every projection
equals its source. Seeded rows have position 0: any event that comes later is newer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
from argon2 import PasswordHasher

from deploy.local import prose
from services.content.names import slug_of, username_key
from services.content.queries.counters import recount

PASSWORD = "correct horse battery staple"  # noqa: S105  (what all seeded people log in with)
BATCH = 2_000
SPREAD = timedelta(days=365)
_LONG_TOLD = 0  # the number of a notification that no live stream is to be told of any more
Progress = Callable[[str, int, int], None]  # what, done, of how many


@dataclass(frozen=True)
class Person:
    """An account to be."""

    id: UUID
    username: str
    bio: str
    image: str
    created_at: datetime


@dataclass(frozen=True)
class Story:
    """An article to be, with what others did with it."""

    id: UUID
    author: Person
    subject: str
    title: str
    slug: str
    created_at: datetime
    fans: list[Person]
    commenters: list[Person]


@dataclass
class Community:
    """Who there is, and who follows whom."""

    people: list[Person]
    follows: list[tuple[Person, Person, datetime]]
    followers: dict[UUID, list[tuple[Person, datetime]]] = field(default_factory=dict)


async def seed(
    urls: dict[str, str],
    *,
    users: int,
    articles: int,
    dice: Random,
    now: datetime,
    progress: Progress,
) -> None:
    """Add `users` people and `articles` articles to the databases that `urls` names by service.

    `dice` decides everything, so that the same dice make the same community. It can be called
    again, on a community that lives: names continue where they ended.
    """
    databases = {name: await asyncpg.connect(url) for name, url in urls.items()}
    try:
        people = await databases["users"].fetchval("SELECT count(*) FROM accounts")
        known = await databases["content"].fetchval("SELECT count(*) FROM slugs")
        community = gather(dice, users, people, now)
        async with (
            databases["users"].transaction(),
            databases["content"].transaction(),
            databases["notifications"].transaction(),
        ):
            await _write_people(databases, community, progress)
            stories = tell(dice, community, articles, known, now)
            await _write_stories(databases, stories, community, dice, articles, progress)
        for db in databases.values():
            await db.execute("ANALYZE")  # plans of the first reads need not wait for autovacuum
    finally:
        for db in databases.values():
            await db.close()


def new_id(dice: Random, moment: datetime) -> UUID:
    """A UUIDv7 (RFC 9562, 5.7) of `moment`, its random part from `dice`."""
    milliseconds = int(moment.timestamp() * 1000)
    value = (milliseconds << 80) | dice.getrandbits(76)
    return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def gather(dice: Random, count: int, known: int, now: datetime) -> Community:
    """`count` people of whom each follows about ten others; a few have many followers."""
    people = []
    for number in range(known + 1, known + count + 1):
        name, bio = prose.person(dice)
        created_at = now - SPREAD - SPREAD * dice.random()
        username = f"{name.lower().replace(' ', '.')}.{number}"
        image = f"https://example.org/people/{number}.jpg"
        people.append(Person(new_id(dice, created_at), username, bio, image, created_at))
    community = Community(people, [])
    for follower in people:
        for followee in _some(dice, people, 10, but=follower):
            followed_at = now - SPREAD * dice.random()
            community.follows.append((follower, followee, followed_at))
            community.followers.setdefault(followee.id, []).append((follower, followed_at))
    return community


def _some(
    dice: Random, people: Sequence[Person], mean: int, *, but: Person | None = None
) -> list[Person]:
    """Different people, about `mean` of them; those who come first are more popular."""
    count = min(int(dice.expovariate(1 / mean)) if mean else 0, len(people) // 2)
    chosen = {int(len(people) * dice.random() ** 2): None for _ in range(count)}
    return [people[index] for index in chosen if people[index] is not but]


def tell(
    dice: Random, community: Community, count: int, known: int, now: datetime
) -> Iterator[Story]:
    """`count` articles, oldest first."""
    for number in range(count):
        author = community.people[int(len(community.people) * dice.random() ** 1.5)]
        subject = prose.topic(dice)
        title = prose.title(dice, subject)
        created_at = now - SPREAD * (1 - number / count)
        yield Story(
            id=new_id(dice, created_at),
            author=author,
            subject=subject,
            title=title,
            slug=f"{slug_of(title)}-{known + number}",
            created_at=created_at,
            fans=_some(dice, community.people, 5),
            commenters=_some(dice, community.people, 3),
        )


async def _write_people(
    databases: dict[str, Any], community: Community, progress: Progress
) -> None:
    hashed = PasswordHasher().hash(PASSWORD)
    done = 0
    for batch in _batches(iter(community.people)):
        await _copy(databases["users"], "accounts", _ACCOUNT, [_account(p, hashed) for p in batch])
        await _copy(databases["content"], "authors", _AUTHOR, [_author(p) for p in batch])
        seen = [(p.id, p.username, p.image, 0) for p in batch]
        await _copy(databases["notifications"], "people", _KNOWN, seen)
        done += len(batch)
        progress("people", done, len(community.people))
    done = 0
    for follows in _batches(iter(community.follows)):
        pairs = [(follower.id, followee.id, at) for follower, followee, at in follows]
        await _copy(databases["users"], "follows", _FOLLOW, pairs)
        projected = [(follower, followee, True, 0) for follower, followee, _ in pairs]
        await _copy(databases["content"], "follows", _PROJECTED, projected)
        changes = [(followee, follower, 0, True, at) for follower, followee, at in pairs]
        await _copy(databases["notifications"], "follows", _CHANGE, changes)
        done += len(follows)
        progress("follows", done, len(community.follows))


_ACCOUNT = "id email email_key username username_key password_hash bio image created_at updated_at"
_AUTHOR = "id username username_key bio image position"
_KNOWN = "id username image position"
_FOLLOW = "follower_id followee_id created_at"
_PROJECTED = "follower_id followee_id following position"
_CHANGE = "followee_id follower_id position following changed_at"
_ARTICLE = "id slug title description body tag_list author_id favorites_count created_at updated_at"
_TAG = "article_id tag created_at"
_FAVORITE = "article_id account_id article_created_at created_at"
_COMMENT = "id article_id author_id body created_at updated_at"
_TOLD_ARTICLE = "id slug title author_id published_at deleted position"
_NOTIFICATION = "id recipient_id kind actor_id article_id fact created_at read_at number"


def _account(person: Person, hashed: str) -> tuple[object, ...]:
    email = f"{person.username}@example.org"
    name = person.username
    created = person.created_at
    key = username_key(name)
    return (person.id, email, email, name, key, hashed, person.bio, person.image, created, created)


def _author(person: Person) -> tuple[object, ...]:
    key = username_key(person.username)
    return (person.id, person.username, key, person.bio, person.image, 0)


async def _write_stories(
    databases: dict[str, Any],
    stories: Iterator[Story],
    community: Community,
    dice: Random,
    count: int,
    progress: Progress,
) -> None:
    content, notifications = databases["content"], databases["notifications"]
    done = 0
    for batch in _batches(stories):
        await _copy(content, "articles", _ARTICLE, [_article(dice, story) for story in batch])
        await _copy(content, "slugs", "slug article_id", [(s.slug, s.id) for s in batch])
        await _copy(content, "article_tags", _TAG, [(s.id, s.subject, s.created_at) for s in batch])
        await _copy(content, "favorites", _FAVORITE, [row for s in batch for row in _favorites(s)])
        comments = await _write_comments(content, dice, batch)
        told = [(s.id, s.slug, s.title, s.author.id, s.created_at, False, 0) for s in batch]
        await _copy(notifications, "articles", _TOLD_ARTICLE, told)
        rows = [row for s in batch for row in _told(dice, s, comments[s.id], community)]
        await _copy(notifications, "notifications", _NOTIFICATION, rows)
        done += len(batch)
        progress("articles", done, count)
    rows = [_told_follow(dice, *follow) for follow in community.follows]
    await _copy(notifications, "notifications", _NOTIFICATION, rows)
    await content.execute("LOCK TABLE tags, account_counts, article_counts IN EXCLUSIVE MODE")
    await recount(content)


def _article(dice: Random, story: Story) -> tuple[object, ...]:
    return (
        story.id,
        story.slug,
        story.title,
        prose.lead(dice),
        prose.markdown(dice, story.subject),
        [story.subject],
        story.author.id,
        len(story.fans),
        story.created_at,
        story.created_at,
    )


def _favorites(story: Story) -> Iterator[tuple[object, ...]]:
    for fan in story.fans:
        yield (story.id, fan.id, story.created_at, _later(story, 1))


def _later(story: Story, hours: int) -> datetime:
    return story.created_at + timedelta(hours=hours)


async def _write_comments(
    db: Any, dice: Random, batch: Sequence[Story]
) -> dict[UUID, list[tuple[int, Person]]]:
    """Write the comments of a batch; returns their numbers and authors, by article."""
    numbers = await _reserve(db, sum(len(story.commenters) for story in batch))
    rows: list[tuple[object, ...]] = []
    written: dict[UUID, list[tuple[int, Person]]] = {}
    for story in batch:
        at = _later(story, 2)
        written[story.id] = [(next(numbers), person) for person in story.commenters]
        for number, person in written[story.id]:
            rows.append((number, story.id, person.id, prose.remark(dice, story.subject), at, at))
    await _copy(db, "comments", _COMMENT, rows)
    return written


async def _reserve(db: Any, count: int) -> Iterator[int]:
    """Numbers for comments that nobody else gets, also while others comment."""
    rows = await db.fetch(
        """SELECT nextval(pg_get_serial_sequence('comments', 'id')) AS number
             FROM generate_series(1, $1)""",
        count,
    )
    return iter([row["number"] for row in rows])


def _told(
    dice: Random, story: Story, comments: list[tuple[int, Person]], community: Community
) -> Iterator[tuple[object, ...]]:
    """What the author was told of the story's readers, and the followers of the story."""
    author = story.author
    for fan in story.fans:
        if fan is not author:
            fact = f"{fan.id}:{story.id}"
            yield _notification(dice, author, "favorited", fan, story, fact, _later(story, 1))
    for number, person in comments:
        if person is not author:
            yield _notification(
                dice, author, "commented", person, story, str(number), _later(story, 2)
            )
    for follower, followed_at in community.followers.get(author.id, []):
        if followed_at <= story.created_at:
            yield _notification(
                dice, follower, "published", author, story, str(story.id), story.created_at
            )


def _notification(
    dice: Random,
    recipient: Person,
    kind: str,
    actor: Person,
    story: Story | None,
    fact: str,
    at: datetime,
) -> tuple[object, ...]:
    read_at = at + timedelta(days=1) if dice.random() < 0.8 else None
    article = story.id if story else None
    made = new_id(dice, at)
    return (made, recipient.id, kind, actor.id, article, fact, at, read_at, _LONG_TOLD)


def _told_follow(
    dice: Random, follower: Person, followee: Person, at: datetime
) -> tuple[object, ...]:
    return _notification(dice, followee, "followed", follower, None, str(follower.id), at)


def _batches(items: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(items, BATCH)):
        yield batch


async def _copy(db: Any, table: str, columns: str, rows: list[Any]) -> None:
    await db.copy_records_to_table(table, columns=columns.split(), records=rows)
