"""The checker finds nothing in what is whole, and something where anything is missing or twice."""

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.faults.checker import check
from tests.faults.findings import Wrong
from tests.faults.history import History, Outcome, Write
from tests.faults.snapshot import Content, Fact, Mails, Notifications, Snapshot, Users

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def fact(subject: str, position: int, **data: Any) -> Fact:
    at = BEGAN + timedelta(seconds=position)
    return Fact(f"{subject}/{position}", position, subject, data, at, published=True)


ABOUT = {"article_id": "s", "author_id": "a"}
OF_USERS = [
    fact("users.registered.v1", 1, account_id="a"),
    fact("users.registered.v1", 2, account_id="b"),
    fact("users.followed.v1", 3, follower_id="b", followee_id="a"),
]
OF_CONTENT = [
    fact("content.article_published.v1", 4, **ABOUT),
    fact("content.article_favorited.v1", 5, account_id="b", **ABOUT),
    fact("content.comment_created.v1", 6, account_id="b", comment_id=7, **ABOUT),
]


def asked() -> History:
    done = Outcome.ACKNOWLEDGED
    return History(
        [
            Write("register", "ada", mark="ada", outcome=done),
            Write("register", "bob", mark="bob", outcome=done),
            Write("follow", "bob", target="ada", outcome=done),
            Write("publish", "ada", mark="Story", outcome=done),
            Write("favorite", "bob", target="Story", outcome=done),
            Write("comment", "bob", mark="Nice", target="Story", outcome=done),
        ]
    )


def content() -> Content:
    numbers = {"favourites of article s": 1, "articles": 1}
    return Content(
        [("s", "a", "Story")],
        [("7", "s", "b", "Nice")],
        Counter([("b", "s")]),
        Counter("ab"),
        Counter([("b", "a")]),
        dict(numbers),
        dict(numbers),
        list(OF_CONTENT),
        Counter(item.id for item in OF_USERS),
    )


def notifications() -> Notifications:
    told = [("a", "followed", "b"), ("b", "published", "s")]
    told += [("a", "favorited", "b:s"), ("a", "commented", "7")]
    return Notifications(
        Counter(told),
        Counter("ab"),
        Counter("s"),
        Counter([("b", "a", 3)]),
        Counter(item.id for item in [*OF_USERS, *OF_CONTENT]),
    )


def mails() -> Mails:
    tidings = {"recipient_id": "b", "kind": "published", "article_id": "s"}
    jobs: dict[str, tuple[str, dict[str, Any]]] = {
        "wa": ("email.welcome", {"account_id": "a"}),
        "wb": ("email.welcome", {"account_id": "b"}),
        "tb": ("email.notification", tidings),
    }
    return Mails(jobs, Counter(list(jobs)), Counter(list(jobs)), {("b", "published")})


def whole() -> tuple[History, Snapshot]:
    """Ada has written; Bob follows her, likes it, and has said so."""
    users = Users({"ada": "a", "bob": "b"}, Counter([("b", "a")]), list(OF_USERS))
    return asked(), Snapshot(users, content(), notifications(), Counter(), mails())


PLACES: dict[str, Callable[[Snapshot], Any]] = {
    "accounts": lambda seen: seen.users.accounts,
    "follows": lambda seen: seen.users.follows,
    "facts of users": lambda seen: seen.users.outbox,
    "articles": lambda seen: seen.content.articles,
    "comments": lambda seen: seen.content.comments,
    "favourites": lambda seen: seen.content.favorites,
    "authors": lambda seen: seen.content.authors,
    "projected follows": lambda seen: seen.content.follows,
    "counters": lambda seen: seen.content.counters,
    "facts of content": lambda seen: seen.content.outbox,
    "inbox of content": lambda seen: seen.content.inbox,
    "notifications": lambda seen: seen.notifications.told,
    "people": lambda seen: seen.notifications.people,
    "projected articles": lambda seen: seen.notifications.articles,
    "changes of follows": lambda seen: seen.notifications.changes,
    "inbox of notifications": lambda seen: seen.notifications.inbox,
    "jobs": lambda seen: seen.mails.jobs,
    "jobs done": lambda seen: seen.mails.done,
    "mails": lambda seen: seen.mails.sent,
}


def test_what_is_whole_is_found_so() -> None:
    assert check(*whole()) == []


@pytest.mark.parametrize("place", PLACES)
def test_each_thing_that_is_missing_is_found(place: str) -> None:
    history, seen = whole()
    for number in range(len(PLACES[place](seen))):
        damaged = deepcopy(seen)
        things = PLACES[place](damaged)
        del things[number if isinstance(things, list) else list(things)[number]]
        assert check(history, damaged) != [], f"{place} without number {number}"


@pytest.mark.parametrize("place", sorted(PLACES.keys() - {"accounts", "jobs"}))
def test_each_thing_that_is_there_twice_is_found(place: str) -> None:
    history, seen = whole()
    for number in range(len(PLACES[place](seen))):
        damaged = deepcopy(seen)
        things = PLACES[place](damaged)
        if isinstance(things, list):
            things.append(things[number])
        else:
            things[list(things)[number]] += 1
        assert check(history, damaged) != [], f"{place} with number {number} twice"


def test_what_nobody_knows_may_be_there_or_not() -> None:
    history, seen = whole()
    history.writes += [
        Write("publish", "ada", mark="Lost on its way"),
        Write("follow", "bob", target="ada", on=False),
    ]
    next(write for write in history.writes if write.mark == "Nice").outcome = Outcome.UNKNOWN
    assert check(history, seen) == []


def test_what_was_refused_must_not_be_there() -> None:
    history, seen = whole()
    next(write for write in history.writes if write.mark == "Nice").outcome = Outcome.REFUSED
    assert [finding.wrong for finding in check(history, seen)] == [Wrong.INVENTED]


def test_a_pair_is_as_its_last_write_left_it() -> None:
    history, seen = whole()
    gone = Write("follow", "bob", target="ada", on=False, outcome=Outcome.ACKNOWLEDGED)
    history.writes.append(gone)
    assert [finding.wrong for finding in check(history, seen)] == [Wrong.LOST]


def test_a_dead_letter_is_found() -> None:
    history, seen = whole()
    seen.dead_letters["content"] = 1
    assert [finding.wrong for finding in check(history, seen)] == [Wrong.LOST]
