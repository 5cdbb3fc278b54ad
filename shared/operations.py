"""What operators see of a service and do to it, over HTTP, and as metrics.

These routes are under /internal. The gateway lets through what its table names, which is nothing of
this: only who is inside, such as an operators' console, gets here.
"""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
import nats.errors
import structlog
from nats.js import JetStreamContext
from opentelemetry import metrics
from quart import Blueprint, Quart, Response, current_app

from shared.background import background
from shared.database import connection, transaction
from shared.dead_letters import (
    DeadLetter,
    count_dead_letters,
    drop,
    retry,
    select_dead_letters,
    select_ids,
)
from shared.errors import NotFound, Unavailable
from shared.http import operation, query, reply
from shared.queues import Queue, measure, of_outbox

MEASURE_SECONDS = 10.0
NATS_SECONDS = 2.0
operations = Blueprint("operations", __name__)
_log = structlog.get_logger()


class Queues(msgspec.Struct, frozen=True):
    """All that waits."""

    queues: list[Queue]


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """Those that failed before a moment, the last first."""

    before: datetime | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20


class DeadLetters(msgspec.Struct, frozen=True, rename="camel"):
    """A page of them, and how many there are."""

    dead_letters: list[DeadLetter]
    count: int


class Retried(msgspec.Struct, frozen=True):
    """How many are delivered again."""

    retried: int


@operations.get("/internal/jobs")
@operation("ListQueues", "What waits", access="public", tag="Operations", returns={200: Queues})
async def list_queues() -> Response:
    jetstream = await _jetstream()
    try:
        queues = await measure(connection, jetstream, current_app.name, datetime.now(UTC))
    except nats.errors.Error as error:
        raise Unavailable("NATS does not answer in time.") from error
    return reply(Queues(queues))


@operations.get("/internal/dead-letters")
@operation(
    "ListDeadLetters",
    "Events and jobs that were set aside",
    access="public",
    tag="Operations",
    query=DeadLetterPage,
    returns={200: DeadLetters},
)
async def list_dead_letters() -> Response:
    page = query(DeadLetterPage)
    async with connection() as db:
        count = await count_dead_letters(db)
        letters = await select_dead_letters(db, page.limit, page.before)
    return reply(DeadLetters(letters, count))


@operations.post("/internal/dead-letters/<uuid:id>/retry")
@operation(
    "RetryDeadLetter",
    "Deliver one again",
    access="public",
    tag="Operations",
    returns={200: Retried},
)
async def retry_dead_letter(id: UUID) -> Response:
    if not await _retried(await _jetstream(), id):
        raise _unknown()
    return reply(Retried(1))


@operations.post("/internal/dead-letters/retry")
@operation(
    "RetryDeadLetters",
    "Deliver all of them again",
    access="public",
    tag="Operations",
    returns={200: Retried},
)
async def retry_dead_letters() -> Response:
    jetstream = await _jetstream()
    async with connection() as db:
        ids = await select_ids(db)
    return reply(Retried(sum([await _retried(jetstream, id_) for id_ in ids])))


@operations.delete("/internal/dead-letters/<uuid:id>")
@operation("DropDeadLetter", "Forget one", access="public", tag="Operations", returns={204: None})
async def drop_dead_letter(id: UUID) -> Response:
    async with transaction() as db:
        if not await drop(db, id):
            raise _unknown()
    return reply(status=204)


def _unknown() -> NotFound:
    return NotFound("There is no such dead letter.", errors={"deadLetter": ["not found"]})


async def _retried(jetstream: JetStreamContext, id_: UUID) -> bool:
    try:
        async with transaction() as db:
            return await retry(db, jetstream, id_)
    except nats.errors.Error as error:
        raise Unavailable("NATS does not answer in time.") from error


async def _jetstream() -> JetStreamContext:
    try:
        async with asyncio.timeout(NATS_SECONDS):
            jetstream: JetStreamContext = await current_app.extensions["bus"].jetstream()
    except TimeoutError as error:
        raise Unavailable("NATS does not answer in time.") from error
    return jetstream


class Gauges:
    """What waits, as metrics."""

    def __init__(self) -> None:
        meter = metrics.get_meter(__name__)
        self._depth = meter.create_gauge("quartet.queue.depth", "{message}", "What waits")
        self._in_flight = meter.create_gauge(
            "quartet.queue.in_flight", "{message}", "Given to somebody, and not done"
        )
        self._oldest = meter.create_gauge("quartet.queue.oldest", "s", "The age of the oldest")
        self._dead = meter.create_gauge(
            "quartet.dead_letters.kept", "{message}", "What was set aside, and is there still"
        )

    async def take(self) -> None:
        """Measure once. Raises `Unavailable`, or what NATS raises."""
        async with connection() as db:
            self._dead.set(await count_dead_letters(db))
            for queue in await of_outbox(db, datetime.now(UTC)):  # also while NATS is away
                self._set(queue)
        jetstream = await _jetstream()
        for queue in await measure(connection, jetstream, current_app.name, datetime.now(UTC)):
            self._set(queue)

    def _set(self, queue: Queue) -> None:
        name = {"messaging.destination.name": queue.name}
        self._depth.set(queue.depth, name)
        self._in_flight.set(queue.in_flight, name)
        self._oldest.set(queue.oldest_seconds, name)


def use_operations(app: Quart, every: float = MEASURE_SECONDS) -> None:
    """Give `app` the operators' routes, and measure what waits while it serves. Needs
    `use_database` and `use_bus` before it.
    """
    app.register_blueprint(operations)

    @app.while_serving
    async def measuring() -> AsyncGenerator[None, None]:
        async with background(_measure_for_ever(app, every)):
            yield


async def _measure_for_ever(app: Quart, every: float) -> None:
    gauges = Gauges()
    while True:
        try:
            async with app.app_context():
                await gauges.take()
        except Exception as error:  # whatever is away tells of itself elsewhere
            _log.debug("queues were not measured", error=type(error).__name__)
        await asyncio.sleep(every)
