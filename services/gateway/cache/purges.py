"""The log of purges: what a reply that was asked for at some moment can't have seen.

A reply may be kept if nothing that it is about was purged since it was asked for. That is all for a
service's own facts: its event is told after the commit. What it shows of *another* service's facts
comes from its projection, which may lag behind the event that has reached us already; such a reply
may be kept only once the service has said that it has applied the event.
"""

import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from shared.tags import EVERYTHING

MOST_TAGS = 50_000
MOST_EVENTS = 50_000
MOST_EARLY = 10_000
COMING_SECONDS = 2.0  # an event comes within milliseconds of its write, or something is wrong
MOST_AGGREGATES = 16  # of a tag; so many changes don't wait for one projection at once
Demand: TypeAlias = tuple[str, int]  # an event, by its source and position


class Purge(NamedTuple):
    """When a tag was last purged, counted by the log, and for which events: the newest of each
    aggregate, since that one wins there in whatever order they come.
    """

    number: int
    events: dict[str, Demand]


class Purges:
    """Remembers the last purge of each tag, and which events have come."""

    def __init__(self, most_tags: int = MOST_TAGS) -> None:
        self.number = 0
        self._most_tags = most_tags
        self._forgotten = 0
        self._tags: OrderedDict[str, Purge] = OrderedDict()
        self._events: OrderedDict[Demand, None] = OrderedDict()
        self._confirmed: OrderedDict[tuple[str, Demand], int] = OrderedDict()
        self._early: OrderedDict[Demand, float] = OrderedDict()

    def add(self, tags: Iterable[str], event: Demand | None = None, aggregate: str = "") -> None:
        """Note that `tags` are purged now, for an event of an aggregate."""
        self.number += 1
        for tag in tags:
            events = self._last(tag).events
            self._tags[tag] = Purge(self.number, _with(events, aggregate, event))
            self._tags.move_to_end(tag)
        while len(self._tags) > self._most_tags:
            self._forgotten = self._tags.popitem(last=False)[1].number
        if event is not None:
            self._events[event] = None
            if len(self._events) > MOST_EVENTS:
                self._events.popitem(last=False)

    def expect(self, event: Demand) -> None:
        """Note that an event is known before it comes, from the reply to its write."""
        self._early[event] = time.monotonic()
        if len(self._early) > MOST_EARLY:
            self._early.popitem(last=False)

    def expected(self, event: Demand) -> bool:
        """Whether an event that comes now was known before; it is told once."""
        return self._early.pop(event, None) is not None

    def coming(self, upstream: str) -> dict[str, int]:
        """The newest events of other services that are known, and have not come; what has not come
        for long is held up, and nobody should wait for it.
        """
        since, newest = time.monotonic() - COMING_SECONDS, dict[str, int]()
        for (source, number), known_at in reversed(self._early.items()):
            if known_at < since:
                break
            if source != upstream:
                newest[source] = max(number, newest.get(source, 0))
        return newest

    def forget_coming(self) -> None:
        """Expect nothing: what comes now may not come at all."""
        self._early.clear()

    def has_seen(self, events: Iterable[Demand]) -> bool:
        """Whether all of these events have come, as far as is remembered."""
        return all(event in self._events for event in events)

    def outdated(self, tags: Iterable[str], begun: int) -> bool:
        """Whether a reply about `tags` may be older than a purge; `begun` is the log's `number`
        when it was asked for.
        """
        if begun < self._forgotten or self._last(EVERYTHING).number > begun:
            return True
        return any(self._last(tag).number > begun for tag in tags)

    def demands(self, tags: Iterable[str], upstream: str) -> set[Demand]:
        """The events of other services that a reply of `upstream` about `tags` must have seen."""
        purges = (self._last(tag) for tag in (EVERYTHING, *tags))
        events = (event for purge in purges for event in purge.events.values())
        return {event for event in events if event[0] != upstream}

    def confirm(self, upstream: str, events: Iterable[Demand]) -> None:
        """Note that a service has applied events: all it is asked from now on has seen them."""
        for event in events:
            if (upstream, event) not in self._confirmed:
                self.number += 1
                self._confirmed[upstream, event] = self.number
                if len(self._confirmed) > MOST_EVENTS:
                    self._confirmed.popitem(last=False)

    def unconfirmed(self, demands: Iterable[Demand], upstream: str, begun: int) -> set[Demand]:
        """Those that a service, asked at `begun`, had not been known to have applied."""
        never = self.number + 1
        return {d for d in demands if self._confirmed.get((upstream, d), never) > begun}

    def _last(self, tag: str) -> Purge:
        return self._tags.get(tag, _NEVER)


def _with(events: dict[str, Demand], aggregate: str, event: Demand | None) -> dict[str, Demand]:
    if event is None:
        return events
    newest = max(event, events.get(aggregate, event), key=lambda one: one[1])
    others = [(name, one) for name, one in events.items() if name != aggregate]
    return dict([*others[1 - MOST_AGGREGATES :], (aggregate, newest)])


_NEVER = Purge(0, {})
