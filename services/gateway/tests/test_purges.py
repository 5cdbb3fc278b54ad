"""The log of purges, and the shelf of kept replies."""

import pytest

from services.gateway.cache import kept
from services.gateway.cache.kept import Entry, Shelf
from services.gateway.cache.purges import Purges
from services.gateway.table import Cache
from shared.tags import EVERYTHING

POLICY = Cache(seconds=60)


def test_what_was_purged_since_is_outdated() -> None:
    log = Purges()
    begun = log.number
    log.add(["article:a"], ("content", 1))
    assert log.outdated(["list", "article:a"], begun)
    assert not log.outdated(["list"], begun)
    assert not log.outdated(["article:a"], log.number)
    log.add([EVERYTHING])
    assert log.outdated([], begun)


def test_what_is_forgotten_counts_as_purged() -> None:
    log = Purges(most_tags=2)
    begun = log.number
    for name in "abc":
        log.add([name])
    assert log.outdated(["z"], begun)
    assert not log.outdated(["z"], log.number)


def test_events_are_demanded_of_other_services_until_confirmed() -> None:
    log, event = Purges(), ("users", 7)
    log.add(["author:a"], event)
    assert log.demands(["author:a"], "users") == set()
    assert log.demands(["author:b"], "content") == set()
    assert log.demands(["author:a"], "content") == {event}
    before = log.number
    log.confirm("content", [event])
    assert log.unconfirmed([event], "content", before) == {event}
    assert log.unconfirmed([event], "content", log.number) == set()
    assert log.unconfirmed([event], "notifications", log.number) == {event}


def test_the_newest_event_of_each_aggregate_is_demanded() -> None:
    log = Purges()
    for position, aggregate in ((7, "ada"), (9, "ben"), (6, "ada")):
        log.add(["author:*"], ("users", position), aggregate)
    assert log.demands(["author:*"], "content") == {("users", 7), ("users", 9)}


def kept_reply(size: int, *tags: str) -> Entry:
    found = kept.entry([], b"x" * size, POLICY, tags, ())
    assert found is not None
    return found


def test_the_shelf_is_bounded_and_forgets_the_longest_unused() -> None:
    shelf = Shelf(50_000)
    for number in range(4):
        shelf.put(b"%d" % number, kept_reply(10_000, "list"))
    shelf.find(b"0")
    shelf.put(b"4", kept_reply(10_000, "list"))
    assert [shelf.find(b"%d" % number) is not None for number in range(5)] == [
        *(True, False, True, True, True)
    ]
    shelf.put(b"large", kept_reply(20_000, "list"))
    assert shelf.find(b"large") is None
    assert shelf.purge(["list"]) == {b"0", b"2", b"3", b"4"}
    assert len(shelf) == 0


def test_only_what_carries_a_tag_is_purged() -> None:
    shelf = Shelf(50_000)
    shelf.put(b"1", kept_reply(10, "a", "b"))
    shelf.put(b"2", kept_reply(10, "b"))
    assert shelf.purge(["a", "z"]) == {b"1"}
    assert shelf.purge([EVERYTHING]) == {b"2"}


@pytest.mark.parametrize(
    ("control", "tags", "seconds"),
    [
        (b"", ("a",), 60),
        (b"max-age=5", ("a",), 60),
        (b"max-age=5", (), 5),
        (b'public, s-maxage="7", max-age=5', (), 7),
        (b"max-age=500", (), 60),
        (b"max-age=x", (), None),
        (b"", (), None),
        (b"Private", ("a",), None),
        (b"no-store", ("a",), None),
    ],
)
def test_the_table_says_how_long_unless_nothing_can_purge(
    control: bytes, tags: tuple[str, ...], seconds: float | None
) -> None:
    found = kept.entry([(b"cache-control", control)] if control else [], b"", POLICY, tags, ())
    assert (found and round(found.fresh_until - found.born)) == seconds


def test_a_weak_validator_is_replaced_and_a_strong_one_stays() -> None:
    weak = kept.entry([(b"etag", b'W/"1"')], b"x", POLICY, ("a",), ())
    strong = kept.entry([(b"etag", b'"1"')], b"x", POLICY, ("a",), ())
    assert weak is not None
    assert not weak.etag.startswith(b"W/")
    assert strong is not None
    assert strong.etag == b'"1"'
