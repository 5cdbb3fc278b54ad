"""Getting a reply from its service for all who wait for it, and keeping it if it may be kept."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple
from uuid import uuid4

from services.gateway.cache import kept
from services.gateway.cache.depot import LOCK_SECONDS, Depot, Looked, jittered
from services.gateway.cache.kept import Entry, Fields, Shelf
from services.gateway.cache.purges import Demand, Purges
from services.gateway.messages import headers
from services.gateway.messages.calls import BrokenOff, Reply
from services.gateway.messages.exchange import Exchange
from services.gateway.table import Cache, Route
from services.gateway.upstream.upstreams import Upstreams
from shared import position
from shared.background import end
from shared.errors import BadGateway
from shared.tags import TAGS

LARGEST = 1_048_576  # bytes of a body that is kept
MOST_EXPECTED = 10_000
_TRIES = 3
_TAGS = TAGS.lower().encode()


class Outcome(NamedTuple):
    """A reply as it came: `entry` is the same, ready to be kept, if it could be."""

    status: int
    fields: Fields
    body: bytes
    entry: Entry | None
    said: str


class Fill(NamedTuple):
    """One that runs; `begun` is the log's number before it asked anybody."""

    begun: int
    task: "asyncio.Task[Outcome | None]"


class Want(NamedTuple):
    """What a fill is for."""

    key: bytes
    target: str
    route: Route
    policy: Cache
    fields: headers.Told
    begun: int


class Fills:
    """The fills that run, one for each key. `open` says that every event is heard of: else nothing
    can be kept, and nothing is filled.
    """

    def __init__(self, upstreams: Upstreams, shelf: Shelf, purges: Purges, depot: Depot) -> None:
        self._upstreams, self._shelf = upstreams, shelf
        self._purges, self._depot = purges, depot
        self._running: dict[bytes, Fill] = {}
        self._tasks: set[asyncio.Task[Outcome | None]] = set()
        self._expected: OrderedDict[bytes, Demand] = OrderedDict()
        self.open = False

    async def outcome(
        self, key: bytes, exchange: Exchange, route: Route, policy: Cache
    ) -> Outcome | None:
        """A reply that is no older than this call; None where the service has to be asked for this
        request alone. Raises `AppError`.
        """
        arrived = self._purges.number
        for _ in range(_TRIES):
            fill = self.begin(key, exchange, route, policy)
            outcome = await asyncio.shield(fill.task)
            if outcome is None or fill.begun >= arrived:
                return outcome
            if self._still_good(outcome, fill.begun):
                return outcome
        return None

    def _still_good(self, outcome: Outcome, begun: int) -> bool:
        """Whether nothing was purged that the reply is about; of some that can't be told."""
        tags = outcome.entry.tags if outcome.entry is not None else ()
        return bool(tags) and not self._purges.outdated(tags, begun)

    def begin(self, key: bytes, exchange: Exchange, route: Route, policy: Cache) -> Fill:
        """The fill of `key` that runs, or a new one."""
        running = self._running.get(key)
        if running is not None:
            return running
        scope, begun = exchange.scope, self._purges.number
        query = "?" + scope["query_string"].decode("ascii") if scope["query_string"] else ""
        target = scope["raw_path"].decode("ascii") + query
        want = Want(key, target, route, policy, self._fields(key, exchange, route.upstream), begun)
        fill = Fill(begun, asyncio.create_task(self._fill(want)))
        self._running[key] = fill
        self._tasks.add(fill.task)
        fill.task.add_done_callback(lambda task: self._ended(key, task))
        return fill

    def expect(self, keys: Iterable[bytes], event: Demand) -> None:
        """Let the next fills of `keys` see an event."""
        for key in keys:
            self._expected[key] = event
            self._expected.move_to_end(key)
        while len(self._expected) > MOST_EXPECTED:
            self._expected.popitem(last=False)

    async def close(self) -> None:
        """End what runs."""
        if self._tasks:
            await end(*self._tasks)

    def _ended(self, key: bytes, task: "asyncio.Task[Outcome | None]") -> None:
        self._tasks.discard(task)
        running = self._running.get(key)
        if running is not None and running.task is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # whoever waits gets it; a refresh has nobody who does

    def _fields(self, key: bytes, exchange: Exchange, upstream: str) -> headers.Told:
        """What the service is told: nothing of this client, since the reply is for others too."""
        request_id = exchange.request_id.decode()
        fields = [*exchange.trace_fields, ("X-Request-Id", request_id), ("Via", "1.1 quartet")]
        after = self._purges.coming(upstream)
        event = self._expected.get(key)
        if event is not None and event[0] != upstream:
            after = position.newest(after, dict([event]))
        if after:
            fields.append((position.AFTER, position.write(after)))
        return fields

    async def _fill(self, want: Want) -> Outcome | None:
        token = uuid4().hex
        looked = await self._look(want, token)
        if looked is not None and looked.entry is not None:
            self._shelf.put(want.key, looked.entry)
            return _outcome(looked.entry, "hit; detail=shared")
        try:
            return await self._fetch(want, looked.asked if looked else "")
        finally:
            if looked is not None and looked.ours:
                await self._depot.unlock(want.key, token)

    async def _look(self, want: Want, token: str) -> Looked | None:
        """Look in Valkey; while another process fills, wait for what it finds."""
        until, pause = time.monotonic() + LOCK_SECONDS, 0.004
        while True:
            looked = await self._depot.look(want.key, token)
            if looked is None or looked.ours or time.monotonic() > until:
                return looked
            if looked.entry is not None:
                return looked if self._good(looked.entry, want) else looked._replace(entry=None)
            await asyncio.sleep(jittered(pause))
            pause = min(pause * 2, 0.064)

    def _good(self, entry: Entry, want: Want) -> bool:
        """Whether an entry of another process is right as far as this one knows."""
        demands = self._purges.demands(entry.tags, want.route.upstream)
        if entry.fresh_until <= time.time() or not demands <= {(s, n) for s, n in entry.proof}:
            return False
        return self.open and not self._purges.outdated(entry.tags, want.begun)

    async def _fetch(self, want: Want, asked: str) -> Outcome | None:
        route = want.route
        reply = await self._upstreams.ask(
            route.upstream,
            "GET",
            want.target,
            want.fields,
            None,
            route.timeout,
            route=route.path,
            hedge=route.hedge,
        )
        try:
            body = await _body(reply)
        finally:
            reply.close()
        if body is None:
            return None
        fields = headers.to_client(reply.raw_headers, reply.fields.get(b"connection"))
        outcome = Outcome(reply.status, fields, body, None, "fwd=miss")
        if reply.status != 200:
            return outcome
        applied = position.parse(reply.headers.get(position.APPLIED, ""))
        return await self._keep(want, outcome, reply, set(applied.items()), asked)

    async def _keep(
        self, want: Want, outcome: Outcome, reply: Reply, applied: set[Demand], asked: str
    ) -> Outcome:
        upstream, tags = want.route.upstream, kept.read_tags(reply.raw_headers, _TAGS)
        demands = self._purges.demands(tags, upstream)
        missing = self._purges.unconfirmed(demands - applied, upstream, want.begun)
        self._purges.confirm(upstream, applied)
        if self._expected.get(want.key) in applied:
            del self._expected[want.key]
        entry = kept.entry(outcome.fields, outcome.body, want.policy, tags, tuple(demands))
        if entry is None:
            return outcome
        if missing:
            self.expect([want.key], max(missing))
        if missing or not self.open or self._purges.outdated(tags, want.begun):
            return outcome._replace(entry=entry)
        self._shelf.put(want.key, entry)
        await self._depot.put(want.key, entry, asked, entry.fresh_until - entry.born)
        return outcome._replace(entry=entry, said="fwd=miss; stored")


def _outcome(entry: Entry, said: str) -> Outcome:
    return Outcome(200, entry.fields, entry.body, entry, said)


async def _body(reply: Reply) -> bytes | None:
    """The whole body; None if it is too large to be kept. Raises `BadGateway`."""
    if reply.whole is not None:
        return reply.whole
    body = b""
    try:
        async for piece in reply.pieces():
            body += piece
            if len(body) > LARGEST:
                return None
    except BrokenOff as error:
        raise BadGateway("The service broke off.") from error
    return body
