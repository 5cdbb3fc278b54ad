"""What must be true of the databases once everything has come to rest, whatever broke before."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from tests.faults.findings import Finding, Wrong, equal
from tests.faults.history import History, Outcome, Write
from tests.faults.mails import mails
from tests.faults.snapshot import Fact, Pair, Snapshot


def check(history: History, seen: Snapshot) -> list[Finding]:
    """Everything that is wrong; empty if all promises were kept."""
    return [
        *_writes(history, seen),
        *_pairs(history, seen),
        *_state_and_outbox(seen),
        *_projections(seen),
        *_notifications(seen),
        *_counters(seen),
        *_left_over(seen),
        *mails(seen),
    ]


def _writes(history: History, seen: Snapshot) -> Iterator[Finding]:
    """New things: each acknowledged one is there once, each refused one is not, and an unknown one
    is there once at most.
    """
    found = {
        "register": Counter(seen.users.accounts),
        "publish": Counter(title for _, _, title in seen.content.articles),
        "comment": Counter(text for _, _, _, text in seen.content.comments),
    }
    found["register"] = Counter(dict.fromkeys(seen.users.accounts, 1))
    asked: dict[str, set[str]] = defaultdict(set)
    for write in history.writes:
        if write.mark:
            asked[write.kind].add(write.mark)
            yield from _write(write, found[write.kind][write.mark])
    for kind, marks in found.items():
        for mark in marks.keys() - asked[kind]:
            yield Finding(Wrong.INVENTED, f"{kind} {mark}")


def _write(write: Write, times: int) -> Iterator[Finding]:
    what = f"{write.kind} {write.mark} of {write.actor}"
    if write.outcome == Outcome.ACKNOWLEDGED and times == 0:
        yield Finding(Wrong.LOST, what)
    elif write.outcome == Outcome.REFUSED and times > 0:
        yield Finding(Wrong.INVENTED, f"{what}, which was refused")
    elif times > 1:
        yield Finding(Wrong.DUPLICATED, f"{what}, {times} times")


def _pairs(history: History, seen: Snapshot) -> Iterator[Finding]:
    """Follows and favourites: the state of a pair is what the last write made it, or one of the
    unknown ones after it.
    """
    titles = {id_: title for id_, _, title in seen.content.articles}
    names = {id_: name for name, id_ in seen.users.accounts.items()}
    states = {
        "follow": {
            (names.get(one, one), names.get(other, other)) for one, other in seen.users.follows
        },
        "favorite": {
            (names.get(one, one), titles.get(other, "")) for one, other in seen.content.favorites
        },
    }
    possible: dict[tuple[str, Pair], set[bool]] = defaultdict(lambda: {False})
    for write in history.writes:
        if write.kind in states and write.outcome != Outcome.REFUSED:
            before = possible[write.kind, write.pair]
            known = write.outcome == Outcome.ACKNOWLEDGED
            possible[write.kind, write.pair] = {write.on} if known else before | {write.on}
    for (kind, pair), allowed in possible.items():
        if (pair in states[kind]) not in allowed:
            yield Finding(Wrong.LOST, f"{kind} of {pair[0]} and {pair[1]}: not {allowed}")
    for kind, pairs in states.items():
        for pair in pairs:
            if (kind, pair) not in possible:
                yield Finding(Wrong.INVENTED, f"{kind} of {pair[0]} and {pair[1]}")


def _state_and_outbox(seen: Snapshot) -> Iterator[Finding]:
    """What changed and what was told of it are one."""
    users, content = seen.users, seen.content
    accounts = Counter(users.accounts.values())
    yield from equal("account told of", accounts, _told_of(users.outbox, "users.registered.v1"))
    articles = Counter(id_ for id_, _, _ in content.articles)
    yield from equal(
        "article told of", articles, _told_of(content.outbox, "content.article_published.v1")
    )
    comments = Counter(id_ for id_, _, _, _ in content.comments)
    told = Counter(
        str(fact.data["comment_id"]) for fact in _of(content.outbox, "content.comment_created.v1")
    )
    yield from equal("comment told of", comments, told)
    yield from equal("follow told of", users.follows, _standing_follows(users.outbox))
    yield from equal("favourite told of", content.favorites, _standing_favorites(content.outbox))


def _projections(seen: Snapshot) -> Iterator[Finding]:
    """What other services keep is what its source has."""
    accounts = Counter(seen.users.accounts.values())
    articles = Counter(id_ for id_, _, _ in seen.content.articles)
    changes = Counter(
        (fact.data["follower_id"], fact.data["followee_id"], fact.position)
        for fact in _of(seen.users.outbox, "users.followed.v1", "users.unfollowed.v1")
    )
    yield from equal("author in content", accounts, seen.content.authors)
    yield from equal("follow in content", seen.users.follows, seen.content.follows)
    yield from equal("person in notifications", accounts, seen.notifications.people)
    yield from equal("article in notifications", articles, seen.notifications.articles)
    yield from equal("follow in notifications", changes, seen.notifications.changes)


def _notifications(seen: Snapshot) -> Iterator[Finding]:
    """Everybody was told once of each fact that concerns them, and of no other."""
    expected = Counter(
        {
            (recipient, kind, fact)
            for recipient, kind, fact, actor in [*_from_users(seen), *_from_content(seen)]
            if recipient != actor
        }
    )
    yield from equal("notification", expected, seen.notifications.told)


def _from_users(seen: Snapshot) -> Iterator[tuple[str, str, str, str]]:
    for fact in _of(seen.users.outbox, "users.followed.v1"):
        follower = fact.data["follower_id"]
        yield fact.data["followee_id"], "followed", follower, follower


def _from_content(seen: Snapshot) -> Iterator[tuple[str, str, str, str]]:
    changes = _of(seen.users.outbox, "users.followed.v1", "users.unfollowed.v1")
    for fact in seen.content.outbox:
        article, author = fact.data["article_id"], fact.data["author_id"]
        actor = fact.data.get("account_id", author)
        if fact.subject == "content.comment_created.v1":
            yield author, "commented", str(fact.data["comment_id"]), actor
        elif fact.subject == "content.article_favorited.v1":
            yield author, "favorited", f"{actor}:{article}", actor
        elif fact.subject == "content.article_published.v1":
            before = [change for change in changes if change.occurred_at <= fact.occurred_at]
            for follower, followee in _standing_follows(before):
                if followee == author:
                    yield follower, "published", article, author


def _counters(seen: Snapshot) -> Iterator[Finding]:
    counters, counted = seen.content.counters, seen.content.counted
    for name in counters.keys() | counted.keys():
        has, should = counters.get(name, 0), counted.get(name, 0)
        if has != should:
            wrong = Wrong.LOST if has < should else Wrong.DUPLICATED
            yield Finding(wrong, f"{name}: counted {has}, and there are {should}")


def _left_over(seen: Snapshot) -> Iterator[Finding]:
    """Nothing waits, nothing was set aside, and each fact was taken in once by whoever takes it."""
    users, content = seen.users.outbox, seen.content.outbox
    for fact in (*users, *content):
        if not fact.published:
            yield Finding(Wrong.LOST, f"{fact.subject} {fact.position} was never sent")
    for service, letters in seen.dead_letters.items():
        if letters:
            yield Finding(Wrong.LOST, f"{letters} dead letters in {service}")
    for service, inbox, facts in (
        ("content", seen.content.inbox, users),
        ("notifications", seen.notifications.inbox, [*users, *content]),
    ):
        expected = Counter(fact.id for fact in facts)
        yield from equal(f"fact in the inbox of {service}", expected, inbox)


def _of(facts: Iterable[Fact], *subjects: str) -> list[Fact]:
    return [fact for fact in facts if fact.subject in subjects]


def _told_of(facts: Iterable[Fact], subject: str) -> Counter[str]:
    name = "account_id" if subject.startswith("users.") else "article_id"
    return Counter(fact.data[name] for fact in _of(facts, subject))


def _standing_follows(facts: Iterable[Fact]) -> Counter[Pair]:
    return _standing(
        facts, "users.followed.v1", "users.unfollowed.v1", "follower_id", "followee_id"
    )


def _standing_favorites(facts: Iterable[Fact]) -> Counter[Pair]:
    began, ended = "content.article_favorited.v1", "content.article_unfavorited.v1"
    return _standing(facts, began, ended, "account_id", "article_id")


def _standing(facts: Iterable[Fact], began: str, ended: str, one: str, other: str) -> Counter[Pair]:
    """The pairs that the facts, in their order, leave standing."""
    standing: dict[Pair, bool] = {}
    for fact in _of(facts, began, ended):
        standing[fact.data[one], fact.data[other]] = fact.subject == began
    return Counter(pair for pair, on in standing.items() if on)
