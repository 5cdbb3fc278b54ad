"""All that the three databases hold, read directly, and all mail that was sent."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from deploy.local.mail import received_mails

Pair = tuple[str, str]


@dataclass(frozen=True)
class Fact:
    """A row of an outbox."""

    id: str
    position: int
    subject: str
    data: dict[str, Any]
    occurred_at: datetime
    published: bool


@dataclass(frozen=True)
class Users:
    """The database of users. `accounts` are ids by username."""

    accounts: dict[str, str]
    follows: Counter[Pair]
    outbox: list[Fact]


@dataclass(frozen=True)
class Content:
    """The database of content. `articles` are id, author and title; `comments` are id, article,
    author and text. `counters` are what it counted, and `counted` what there is to count.
    """

    articles: list[tuple[str, str, str]]
    comments: list[tuple[str, str, str, str]]
    favorites: Counter[Pair]
    authors: Counter[str]
    follows: Counter[Pair]
    counters: dict[str, int]
    counted: dict[str, int]
    outbox: list[Fact]
    inbox: Counter[str]


@dataclass(frozen=True)
class Notifications:
    """The database of notifications. `told` are recipient, kind and fact; `changes` are follower,
    followee and the position of the fact.
    """

    told: Counter[tuple[str, str, str]]
    people: Counter[str]
    articles: Counter[str]
    changes: Counter[tuple[str, str, int]]
    inbox: Counter[str]


@dataclass(frozen=True)
class Mails:
    """`jobs` are name and payload by id; `done` and `sent` are ids of jobs. `wanted` are account
    and kind.
    """

    jobs: dict[str, tuple[str, dict[str, Any]]]
    done: Counter[str]
    sent: Counter[str]
    wanted: set[Pair]


@dataclass(frozen=True)
class Snapshot:
    """The three of them, the dead letters of each, and the mail."""

    users: Users
    content: Content
    notifications: Notifications
    dead_letters: Counter[str]
    mails: Mails


async def read(databases: Mapping[str, str], mail_dir: Path) -> Snapshot:
    """Read the databases at these URLs and the mail in a folder; nothing may change meanwhile."""
    sent = await asyncio.to_thread(_sent, mail_dir)
    users, content, notifications = [
        await asyncpg.connect(databases[name]) for name in ("users", "content", "notifications")
    ]
    try:
        dead = {
            name: await db.fetchval("SELECT count(*) FROM dead_letters")
            for name, db in [
                ("users", users),
                ("content", content),
                ("notifications", notifications),
            ]
        }
        return Snapshot(
            await _users(users),
            await _content(content),
            await _notifications(notifications),
            Counter(dead),
            await _mails(notifications, sent),
        )
    finally:
        for db in (users, content, notifications):
            await db.close()


async def _users(db: Any) -> Users:
    accounts = await db.fetch("SELECT username, id::text FROM accounts")
    follows = await db.fetch("SELECT follower_id::text, followee_id::text FROM follows")
    return Users(
        dict(tuple(row) for row in accounts),
        Counter(tuple(row) for row in follows),
        await _outbox(db),
    )


async def _content(db: Any) -> Content:
    articles = await db.fetch("SELECT id::text, author_id::text, title FROM articles")
    comments = await db.fetch(
        "SELECT id::text, article_id::text, author_id::text, body FROM comments"
    )
    favorites = await db.fetch("SELECT account_id::text, article_id::text FROM favorites")
    authors = await db.fetch("SELECT id::text FROM authors")
    follows = await db.fetch(
        "SELECT follower_id::text, followee_id::text FROM follows WHERE following"
    )
    return Content(
        [tuple(row) for row in articles],
        [tuple(row) for row in comments],
        Counter(tuple(row) for row in favorites),
        Counter(row[0] for row in authors),
        Counter(tuple(row) for row in follows),
        await _numbers(db, COUNTERS),
        await _numbers(db, COUNTED),
        await _outbox(db),
        await _inbox(db),
    )


async def _notifications(db: Any) -> Notifications:
    told = await db.fetch("SELECT recipient_id::text, kind, fact FROM notifications")
    people = await db.fetch("SELECT id::text FROM people")
    articles = await db.fetch(
        "SELECT id::text FROM articles WHERE published_at IS NOT NULL AND NOT deleted"
    )
    changes = await db.fetch("SELECT follower_id::text, followee_id::text, position FROM follows")
    return Notifications(
        Counter(tuple(row) for row in told),
        Counter(row[0] for row in people),
        Counter(row[0] for row in articles),
        Counter(tuple(row) for row in changes),
        await _inbox(db),
    )


async def _mails(db: Any, sent: Counter[str]) -> Mails:
    jobs = await db.fetch(
        """SELECT id::text, substring(subject FROM 'email\\..*'), data FROM outbox
            WHERE subject LIKE 'jobs.notifications.%.email.%'"""
    )
    done = await db.fetch("SELECT id::text FROM inbox WHERE source = 'jobs'")
    wanted = await db.fetch("SELECT account_id::text, kind FROM preferences WHERE email")
    named = {id_: (name, msgspec.json.decode(data)) for id_, name, data in jobs}
    return Mails(
        named,
        Counter(row[0] for row in done if row[0] in named),
        sent,
        {(account, kind) for account, kind in wanted},
    )


def _sent(mail_dir: Path) -> Counter[str]:
    mails = received_mails(mail_dir)
    return Counter(mail.message_id.strip("<>").partition("@")[0] for mail in mails)


async def _outbox(db: Any) -> list[Fact]:
    rows = await db.fetch(
        """SELECT id::text, position, subject, data, occurred_at, published_at IS NOT NULL
             FROM outbox WHERE subject NOT LIKE 'jobs.%' ORDER BY position"""
    )
    return [
        Fact(id_, position, subject, msgspec.json.decode(data), occurred_at, published)
        for id_, position, subject, data, occurred_at, published in rows
    ]


async def _inbox(db: Any) -> Counter[str]:
    rows = await db.fetch("SELECT id::text FROM inbox WHERE source <> 'jobs'")
    return Counter(row[0] for row in rows)


async def _numbers(db: Any, query: str) -> dict[str, int]:
    return {row[0]: row[1] for row in await db.fetch(query)}


COUNTERS = """
    SELECT 'favourites of article ' || id, favorites_count FROM articles
    UNION ALL SELECT 'articles tagged ' || tag, articles FROM tags
    UNION ALL SELECT 'articles by ' || account_id, articles FROM account_counts
    UNION ALL SELECT 'favourites by ' || account_id, favorites FROM account_counts
    UNION ALL SELECT 'articles', sum(articles)::bigint FROM article_counts"""
COUNTED = """
    SELECT 'favourites of article ' || article_id, count(*) FROM favorites GROUP BY article_id
    UNION ALL SELECT 'articles tagged ' || tag, count(*) FROM article_tags GROUP BY tag
    UNION ALL SELECT 'articles by ' || author_id, count(*) FROM articles GROUP BY author_id
    UNION ALL SELECT 'favourites by ' || account_id, count(*) FROM favorites GROUP BY account_id
    UNION ALL SELECT 'articles', count(*) FROM articles"""
