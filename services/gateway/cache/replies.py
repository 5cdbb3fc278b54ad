"""The cache of replies (RFC 9111): kept by tags, which events purge, here and in Valkey."""

import time
from collections.abc import AsyncGenerator, Hashable
from typing import Any

from quart import Quart

from services.gateway.cache import kept
from services.gateway.cache.depot import Depot
from services.gateway.cache.fills import Fills, Outcome
from services.gateway.cache.kept import Entry, Form, Kept, Shelf, unchanged_for
from services.gateway.cache.purges import Demand, Purges
from services.gateway.cache.watch import SOURCES, Watch
from services.gateway.cors import Cors
from services.gateway.limits.admission import Admission
from services.gateway.messages.calls import Reply
from services.gateway.messages.exchange import Exchange
from services.gateway.settings import Settings
from services.gateway.table import Cache, Route
from shared import position
from shared.background import background
from shared.errors import AppError
from shared.tags import AGGREGATE, EVERYTHING, TAGS
from shared.tally import Count

outcomes = Count(
    "quartet.gateway.cache",
    "Requests that the cache could answer, by what it did",
    ("route", "outcome"),
)


def key_of(scope: Any) -> bytes:
    """What replies are kept by: the target as it came."""
    key: bytes = scope["raw_path"] + b"?" + scope["query_string"]
    return key


class ReplyCache:
    """What replies are kept, and answering with them."""

    def __init__(self, keeper: "Keeper", limits: Admission, cors: Cors) -> None:
        self._shelf, self._purges, self._fills = keeper.shelf, keeper.purges, keeper.fills
        self._keeper, self._limits, self._cors = keeper, limits, cors

    async def answer(self, exchange: Exchange, route: Route) -> bool:
        """Answer, if this can; False if the service has to. Raises `AppError` as a service does."""
        policy = route.cache
        if policy is None:
            return False
        said = await self._answered(exchange, route, policy)
        if not said:
            exchange.cache = said = "fwd=bypass"
        outcomes.add((route.path, said))
        return said != "fwd=bypass"

    async def _answered(self, exchange: Exchange, route: Route, policy: Cache) -> str:
        if not self._may(exchange, policy):
            return ""
        scope = exchange.scope
        key = key_of(scope)
        said = await self._at_once(key, exchange, route, policy)
        if said or exchange.method == "HEAD" or b"quartet-after" in exchange.fields:
            return said  # a fill is for all, and waits for no event that one client has seen
        await self._limits.admit(exchange, route)
        said = await self._at_once(key, exchange, route, policy)  # others may have come first
        return said or await self._filled(key, exchange, route, policy)

    async def _at_once(self, key: bytes, exchange: Exchange, route: Route, policy: Cache) -> str:
        """Answer with what is kept here, if something is."""
        entry, now = self._shelf.find(key), time.time()
        if entry is None or now >= entry.fresh_until + policy.swr:
            return ""
        self._limits.admit_here(exchange, route)
        if now < entry.fresh_until:
            return await self._send(exchange, entry, "hit")
        self._fills.begin(key, exchange, route, policy)
        return await self._send(exchange, entry, "hit; detail=stale")

    def kept(self, key: bytes) -> Kept | None:
        """What is kept of the target `key`, if that may be sent to somebody anonymous as it is."""
        kept = self._shelf.place(key) if self._fills.open else None
        return kept if kept is not None and time.time() < kept.entry.fresh_until else None

    def form(self, key: bytes, kind: Hashable, form: Form) -> None:
        """Keep a form of what is kept."""
        self._shelf.add(key, kind, form)

    def wrote(self, reply: Reply) -> None:
        """Forget what a write has changed, before anybody can hear that it was done."""
        tags = kept.read_tags(reply.raw_headers, TAGS.lower().encode())
        named = tags if TAGS in reply.headers else (EVERYTHING,)
        for event in position.parse(reply.headers.get(position.POSITION, "")).items():
            if event[0] in SOURCES:
                self._keeper.acknowledge([*named], event, reply.headers.get(AGGREGATE, ""))

    def _may(self, exchange: Exchange, policy: Cache) -> bool:
        """Whether the request is one that kept replies are for. One that has seen an event which
        has not come here yet gets no kept reply.
        """
        fields = exchange.fields
        if not self._fills.open or (b"authorization" in fields and not policy.members):
            return False
        after = fields.get(b"quartet-after")
        if after is None:
            return True
        return self._purges.has_seen(position.parse(after.decode("latin-1")).items())

    async def _filled(self, key: bytes, exchange: Exchange, route: Route, policy: Cache) -> str:
        entry = self._shelf.find(key)
        usable = entry is not None and time.time() < entry.fresh_until + policy.sie
        begun = time.perf_counter()
        try:
            outcome = await self._fills.outcome(key, exchange, route, policy)
        except AppError as error:
            if entry is None or not usable or error.status < 500 or not self._kept(key, entry):
                raise
            return await self._send(exchange, entry, "fwd=stale; detail=error")
        finally:
            exchange.upstream_seconds = time.perf_counter() - begun
        if outcome is None:
            return ""
        if outcome.status >= 500 and entry is not None and usable and self._kept(key, entry):
            return await self._send(exchange, entry, "fwd=stale; detail=error")
        if outcome.entry is not None:
            return await self._send(exchange, outcome.entry, outcome.said)
        return await self._pass(exchange, outcome)

    def _kept(self, key: bytes, entry: Entry) -> bool:
        return self._shelf.find(key) is entry

    async def _send(self, exchange: Exchange, entry: Entry, said: str) -> str:
        exchange.cache = said
        wanted = exchange.fields.get(b"if-none-match")
        unchanged = wanted is not None and unchanged_for(entry, wanted)
        status, kept_fields, body = kept.sent_of(entry, unchanged=unchanged)
        fields = [*kept_fields, (b"age", kept.age(entry)), *self._cors.headers(exchange.fields)]
        await exchange.start(status, fields)
        await exchange.send(b"" if exchange.method == "HEAD" else body)
        return said

    async def _pass(self, exchange: Exchange, outcome: Outcome) -> str:
        exchange.cache = outcome.said
        fields = [*outcome.fields, *self._cors.headers(exchange.fields)]
        await exchange.start(outcome.status, fields)
        await exchange.send(outcome.body)
        return outcome.said


class Keeper:
    """Purges what events make out of date, everywhere in this process and in Valkey."""

    def __init__(self, shelf: Shelf, purges: Purges, fills: Fills, depot: Depot) -> None:
        self.shelf, self.purges, self.fills, self._depot = shelf, purges, fills, depot

    def acknowledge(self, tags: list[str], event: Demand, aggregate: str) -> None:
        """A write is done here. Its event may have come already; else it need not purge again."""
        if not self.purges.has_seen([event]):
            if tags:
                self.purges.expect(event)
            self._purge(tags, event, aggregate)

    def hear(self, tags: list[str], event: Demand | None, aggregate: str) -> None:
        """An event has come."""
        if event is None or not self.purges.expected(event):
            self._purge(tags, event, aggregate)

    def _purge(self, tags: list[str], event: Demand | None = None, aggregate: str = "") -> None:
        """Forget what carries one of `tags`, at once."""
        self.purges.add(tags, event, aggregate)
        dropped = self.shelf.purge(tags)
        if event is not None:
            self.fills.expect(dropped, event)
        if tags:
            self._depot.purge(tags)

    def lose(self) -> None:
        """Events may be missed from now on: keep nothing, and use nothing that was kept."""
        self.fills.open = False
        self._begin_anew()

    def begin(self) -> None:
        """All events come from now on. What was kept before, by anybody, may have missed some."""
        self._begin_anew()
        self.fills.open = True

    def _begin_anew(self) -> None:
        self.purges.forget_coming()
        self._purge([EVERYTHING])
        self._depot.distrust()


class NoCache:
    """Keeps nothing: the service answers everything."""

    async def answer(self, exchange: Exchange, route: Route) -> bool:
        """Never answers."""
        return False

    def kept(self, key: bytes) -> None:
        """Nothing."""

    def wrote(self, reply: Reply) -> None:
        """Nothing is out of date."""


def use_cache(app: Quart, settings: Settings, cors: Cors) -> None:
    """Give `app` a cache, as `app.extensions["cache"]`. Needs `use_bus`, `use_valkey`,
    `use_upstreams` and `use_limits` before it.
    """
    if settings.cache == "off":
        app.extensions["cache"] = NoCache()
        return

    @app.while_serving
    async def cache() -> AsyncGenerator[None, None]:
        shelf, purges = Shelf(settings.cache_bytes), Purges()
        depot = Depot(app.extensions["valkey"])
        fills = Fills(app.extensions["upstreams"], shelf, purges, depot)
        keeper = Keeper(shelf, purges, fills, depot)
        app.extensions["cache"] = ReplyCache(keeper, app.extensions["limits"], cors)
        watch = Watch(app.extensions["bus"], keeper)
        async with background(watch.run(), depot.run()):
            yield
            await fills.close()
