"""Taking in other services' events: each effect once, in the transaction that records the event.

A projection lags by milliseconds. `wait_for` lets a read wait until the projection has applied one
named event, so that a client that wrote elsewhere reads its own write here.
"""

import asyncio
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js.errors import Error as JetStreamError
from opentelemetry import metrics, propagate, trace
from quart import Quart

from shared.bus import Bus, pulled
from shared.context import begin_work, trace_id
from shared.database import Connection, connection, transaction
from shared.errors import Unavailable
from shared.events import Envelope, Event

Handler = Callable[[Connection, Any, Envelope], Awaitable[None]]
Handlers = Mapping[type[Event], Handler]

ATTEMPTS = 8
ACK_WAIT = 10.0  # seconds until an unacknowledged event goes to another replica
WAIT_SECONDS = 0.5
_REMEMBERED = 10_000
_tracer = trace.get_tracer(__name__)
_log = structlog.get_logger()


class Applied:
    """Which events this database has applied, as far as this process has seen."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], None] = {}
        self._changed = asyncio.Event()

    def add(self, source: str, position: int) -> None:
        """Remember an applied event and wake whoever waits for one."""
        self._seen[source, position] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for(self, source: str, position: int, seconds: float = WAIT_SECONDS) -> bool:
        """Wait until the event is applied, here or by another replica; False when it is not."""
        deadline, pause = asyncio.get_running_loop().time() + seconds, 0.004
        while (source, position) not in self._seen:
            changed = self._changed
            async with connection() as db:
                if await select_applied(db, source, position):
                    self.add(source, position)
                    break
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), min(pause, left))
            pause = min(pause * 2, 0.064)
        return True


async def select_applied(db: Connection, source: str, position: int) -> bool:
    """Whether the event is in the inbox, or so old that its row has been cleaned up."""
    applied: bool = await db.fetchval(
        """SELECT EXISTS (SELECT FROM inbox WHERE source = $1 AND position = $2)
               OR $2 < (SELECT min(position) FROM inbox WHERE source = $1)""",
        source,
        position,
    )
    return bool(applied)


async def insert_received(db: Connection, envelope: Envelope, now: datetime) -> bool:
    """Record the event; False when it was recorded before, so that its effect must not happen."""
    status = await db.execute(
        """INSERT INTO inbox (id, source, position, received_at) VALUES ($1, $2, $3, $4)
           ON CONFLICT (id) DO NOTHING""",
        envelope.id,
        envelope.source,
        envelope.position,
        now,
    )
    return status == "INSERT 0 1"


async def insert_dead_letter(
    db: Connection, envelope: Envelope, data: bytes, error: BaseException, attempts: int
) -> None:
    """Set an event aside that could not be taken in, with what an operator needs to judge it."""
    await db.execute(
        """INSERT INTO dead_letters (id, subject, source, position, data, error, traceback,
                                     attempts, trace_id, failed_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
           ON CONFLICT (id) DO NOTHING""",
        envelope.id,
        envelope.subject,
        envelope.source,
        envelope.position,
        data,
        repr(error),
        "".join(traceback.format_exception(error)),
        attempts,
        trace_id(),
        datetime.now(UTC),
    )


class Consumer:
    """Takes in the events of one publisher for one service."""

    def __init__(self, app: Quart, publisher: str, handlers: Handlers, applied: Applied) -> None:
        self._app, self._publisher, self._applied = app, publisher, applied
        self._handlers = {
            event.SUBJECT: (event, handler)
            for event, handler in handlers.items()
            if event.SUBJECT.startswith(f"{publisher}.")
        }
        meter = metrics.get_meter(__name__)
        self._lag = meter.create_histogram("quartet.inbox.lag", "s", "From the fact to its effect")
        self._dead = meter.create_counter("quartet.dead_letters", "{event}", "Events set aside")

    async def run(self) -> None:
        """Consume for ever; begin again when NATS, the stream or the consumer was away."""
        bus: Bus = self._app.extensions["bus"]
        while True:
            with suppress(nats.errors.Error, JetStreamError, OSError):
                await bus.ensure_consumer(self._publisher, self._app.name, ACK_WAIT)
                async for message in pulled(await bus.client(), self._publisher, self._app.name):
                    await self._take(message)
            await asyncio.sleep(0.2)

    async def _take(self, message: Msg) -> None:
        """Apply one message, and acknowledge it after the commit: a crash between the two delivers
        it again, and the inbox drops it.
        """
        headers = message.headers or {}
        parent = propagate.extract(headers)
        with _tracer.start_as_current_span(
            f"process {message.subject}",
            parent,
            trace.SpanKind.CONSUMER,
            {"messaging.system": "nats", "messaging.destination.name": message.subject},
        ):
            begin_work()
            try:
                envelope = _envelope(message)
            except (KeyError, ValueError):
                _log.exception("message is no event", subject=message.subject)
                self._dead.add(1, {"messaging.destination.name": message.subject})
                await message.term()
                return
            try:
                await self._until_available(message, envelope)
            except Exception as error:
                await self._failed(message, envelope, error)
            except asyncio.CancelledError:
                await message.nak()  # handed back at once, rather than after ACK_WAIT
                raise
            else:
                await message.ack()

    async def _until_available(self, message: Msg, envelope: Envelope) -> None:
        """A database that is away is no fault of the message: hold it, and try until it is back."""
        while True:
            try:
                await self._apply(message, envelope)
            except Unavailable:
                await message.in_progress()
                await asyncio.sleep(0.5)
            else:
                return

    async def _apply(self, message: Msg, envelope: Envelope) -> None:
        event, handler = self._handlers.get(message.subject, (None, None))
        async with self._app.app_context(), transaction() as db:
            fresh = await insert_received(db, envelope, datetime.now(UTC))
            if fresh and event is not None and handler is not None:
                await handler(db, msgspec.json.decode(message.data, type=event), envelope)
        self._applied.add(envelope.source, envelope.position)
        self._lag.record((datetime.now(UTC) - envelope.occurred_at).total_seconds())

    async def _failed(self, message: Msg, envelope: Envelope, error: Exception) -> None:
        """Try again later, while others pass; after the last attempt set the message aside."""
        attempts = message.metadata.num_delivered or 1
        _log.error("event failed", subject=message.subject, id=str(envelope.id), attempts=attempts)
        if attempts < ATTEMPTS:
            await message.nak(delay=min(0.1 * 2**attempts, 30))
            return
        async with self._app.app_context(), transaction() as db:
            await insert_dead_letter(db, envelope, message.data, error, attempts)
        self._dead.add(1, {"messaging.destination.name": message.subject})
        await message.term()


def _envelope(message: Msg) -> Envelope:
    headers = message.headers or {}
    return Envelope(
        id=UUID(headers["ce-id"]),
        source=headers["ce-source"],
        position=int(headers["ce-sequence"]),
        subject=headers["ce-type"],
        occurred_at=datetime.fromisoformat(headers["ce-time"]),
    )


def use_inbox(app: Quart, handlers: Handlers) -> None:
    """Take in events while `app` serves: one durable consumer for each publisher that `handlers`
    names. Needs `use_database` and `use_bus` before it.
    """

    @app.while_serving
    async def consumers() -> AsyncGenerator[None, None]:
        applied = Applied()
        app.extensions["applied"] = applied
        publishers = sorted({event.SUBJECT.split(".")[0] for event in handlers})
        app.extensions["publishers"] = frozenset(publishers)
        tasks = [
            asyncio.create_task(Consumer(app, name, handlers, applied).run()) for name in publishers
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
