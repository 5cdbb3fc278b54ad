"""An operator sees what waits, for how long, and what fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from quart import Quart

from deploy.local.servers import Servers
from shared.background import background
from shared.bus import Bus, use_bus
from shared.database import Connection, connection, transaction, use_database
from shared.events import Envelope
from shared.jobs import enqueue, job
from shared.operations import Gauges, use_operations
from shared.outbox import use_outbox
from shared.queues import measure, of_outbox
from shared.service import create_service
from shared.settings import DataSettings
from shared.testing import serving, until
from shared.tests.bells import Rang, create_beta, ring
from shared.tests.conftest import session
from shared.worker import Worker


class Ring(msgspec.Struct, frozen=True):
    """Which bell."""

    name: str


@pytest.fixture
async def app(alpha_settings: DataSettings, nats: Client) -> AsyncIterator[Quart]:
    """alpha with queues, operators and nobody who works."""
    with suppress(NotFoundError):
        await nats.jetstream().delete_stream("jobs-alpha")
    app = create_service("alpha", alpha_settings)
    use_database(app, alpha_settings)
    use_bus(app, alpha_settings.nats_url, alpha_settings.nats_replicas)
    use_outbox(app, alpha_settings, queues=True)
    use_operations(app, every=0.05)
    async with serving(app):
        yield app


class Belfry:
    """Jobs that wait at a gate, or fail."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.wait = job("bells.wait")(self._wait)
        self.fail = job("bells.fail", priority="low", attempts=2)(self._fail)

    async def _wait(self, payload: Ring) -> None:
        await self.gate.wait()

    async def _fail(self, payload: Ring) -> None:
        raise ZeroDivisionError


@asynccontextmanager
async def working(app: Quart, belfry: Belfry) -> AsyncIterator[None]:
    worker = Worker(app, [belfry.wait, belfry.fail], first_pause=0.01)
    async with background(worker.run()):
        yield
    await worker.finish(1.0)


async def queues(app: Quart, jetstream: JetStreamContext) -> dict[str, Any]:
    now = datetime.now(UTC) + timedelta(seconds=5)
    async with app.app_context():
        found = await measure(connection, jetstream, app.name, now)
    return {queue.name: queue for queue in found}


async def test_jobs_are_counted_by_queue(app: Quart, jetstream: JetStreamContext) -> None:
    belfry = Belfry()
    async with working(app, belfry):
        async with app.app_context(), transaction() as db:
            for number in range(10):
                await enqueue(db, belfry.wait, Ring(str(number)), now=datetime.now(UTC))
            await enqueue(db, belfry.fail, Ring("broken"), now=datetime.now(UTC))

        async def settled() -> Any:
            found = await queues(app, jetstream)
            low, default = found.get("jobs low"), found.get("jobs default")
            if low and default and low.failures_per_minute == 2 and default.depth == 7:
                return found
            return None

        found = await until(settled, what="three jobs that run, and seven that wait")
        assert (found["jobs default"].in_flight, found["jobs high"].depth) == (3, 0)
        assert 5 <= found["jobs default"].oldest_seconds < 60
        assert found["jobs high"].oldest_seconds == 0
        belfry.gate.set()

        async def done() -> bool:
            default = (await queues(app, jetstream))["jobs default"]
            return bool((default.depth, default.in_flight, default.oldest_seconds) == (0, 0, 0))

        await until(done, what="an empty queue")


async def test_events_are_counted_by_publisher(
    app: Quart, beta_settings: DataSettings, jetstream: JetStreamContext
) -> None:
    gate = asyncio.Event()

    async def hold(db: Connection, event: Rang, envelope: Envelope) -> None:
        await gate.wait()

    beta = create_beta(beta_settings, hold)
    async with serving(beta) as client:
        await ring(app, "first")

        async def held() -> Any:
            found = (await queues(beta, jetstream)).get("events of alpha")
            return found if found and found.in_flight else None

        await until(held, what="an event that is worked on")
        await ring(app, *"abcd")
        await until(lambda: _sent(app))
        found = await held()
        assert (found.depth, found.in_flight) == (4, 1)
        assert 5 <= found.oldest_seconds < 60
        shown = await (await client.get("/internal/jobs")).get_json()
        (event_queue,) = (q for q in shown["queues"] if q["name"] == "events of alpha")
        assert (event_queue["depth"], event_queue["inFlight"]) == (4, 1)
        gate.set()


async def _sent(app: Quart) -> bool:
    async with app.app_context(), connection() as db:
        return bool(
            await db.fetchval("SELECT NOT EXISTS (SELECT FROM outbox WHERE published_at IS NULL)")
        )


@pytest.fixture
async def db(alpha_settings: DataSettings) -> AsyncIterator[asyncpg.Connection]:
    async with session(alpha_settings.database_url) as db:
        yield db


_FILL = """INSERT INTO outbox (id, subject, aggregate, data, traceparent, occurred_at, due_at,
                              published_at, resent)
           SELECT gen_random_uuid(), 'alpha.rang.v1', '', '', '', now() - interval '1 minute', $2,
                  $3, $4
             FROM generate_series(1, $1)"""


async def test_the_outbox_is_counted_by_what_is_fresh_and_what_is_sent_again(
    db: asyncpg.Connection,
) -> None:
    now = datetime.now(UTC)
    await db.execute(_FILL, 2, None, None, 0)
    await db.execute(_FILL, 3, now - timedelta(seconds=20), None, 0)
    await db.execute(_FILL, 4, now + timedelta(hours=1), None, 0)
    await db.execute(_FILL, 5, None, None, 1)
    await db.execute(_FILL, 6, None, now, 0)
    fresh, again = await of_outbox(db, now)
    assert (fresh.name, fresh.depth, again.name, again.depth) == ("outbox", 5, "outbox, again", 5)
    assert 59 < fresh.oldest_seconds < 120


async def test_a_large_outbox_that_was_sent_costs_no_count(db: asyncpg.Connection) -> None:
    await db.execute(_FILL, 20_000, None, datetime.now(UTC), 0)
    await db.execute("ANALYZE outbox")

    class Explaining:
        plan = ""

        async def fetchrow(self, query: str, *args: object) -> Any:
            rows = await db.fetch(f"EXPLAIN {query}", *args)
            self.plan = "\n".join(row[0] for row in rows)
            return {"fresh": 0, "again": 0, "since": None}

    explaining: Any = Explaining()
    await of_outbox(explaining, datetime.now(UTC))
    assert "Seq Scan" not in explaining.plan
    for index in ("outbox_unpublished", "outbox_due", "outbox_again"):
        assert index in explaining.plan


async def test_jobs_that_wait_for_the_first_worker_are_counted(
    app: Quart, jetstream: JetStreamContext
) -> None:
    async with app.app_context(), transaction() as db:
        for name in "ab":
            await enqueue(db, Belfry().fail, Ring(name), now=datetime.now(UTC))
    await until(lambda: _sent(app))
    found = await queues(app, jetstream)
    assert (found["jobs low"].depth, found["jobs high"].depth) == (2, 0)


async def test_metrics_tell_the_same(app: Quart, monkeypatch: pytest.MonkeyPatch) -> None:
    await until(lambda: _has_queues(app), what="queues")
    reader = InMemoryMetricReader()
    monkeypatch.setattr("shared.operations.metrics", MeterProvider([reader]))
    async with app.app_context():
        gauges = Gauges()
        async with transaction() as db:
            await db.execute(_FILL, 7, None, None, 0)
            await db.execute(
                "INSERT INTO dead_letters VALUES "
                "(gen_random_uuid(), '', '', 1, '', '', '', 8, '', now())"
            )
            monkeypatch.setattr("shared.operations.connection", lambda: nullcontext(db))
            await gauges.take()
    values = told(reader)
    assert values["quartet.queue.depth", "outbox"] == 7
    assert values["quartet.queue.oldest", "outbox"] >= 60
    assert values["quartet.queue.in_flight", "jobs high"] == 0
    assert values["quartet.dead_letters.kept", ""] == 1


async def _has_queues(app: Quart) -> bool:
    bus: Bus = app.extensions["bus"]
    streams = await (await bus.jetstream()).streams_info()
    return "jobs-alpha" in [info.config.name for info in streams]


def told(reader: InMemoryMetricReader) -> dict[tuple[str, str], float]:
    """Each metric's value, by its queue."""
    data: Any = reader.get_metrics_data()
    return {
        (metric.name, point.attributes.get("messaging.destination.name", "")): point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


async def test_who_asks_while_nats_is_away_is_told_so(
    beta_settings: DataSettings, servers: Servers
) -> None:
    nowhere = msgspec.structs.replace(beta_settings, nats_url="nats://127.0.0.1:1")
    async with serving(create_beta(nowhere)) as client:
        reply = await client.get("/internal/jobs")
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
        letters = await client.get("/internal/dead-letters")
        assert letters.status_code == 200
