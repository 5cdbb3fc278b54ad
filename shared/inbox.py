"""Taking in other services' events: each effect once, in the transaction that records the event."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import structlog
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError
from opentelemetry import metrics, propagate, trace
from quart import Quart

from shared.applied import Applied
from shared.background import background
from shared.bus import Bus, held, pulled
from shared.context import begin_work
from shared.database import Connection, transaction
from shared.dead_letters import insert_dead_letter
from shared.errors import Unavailable
from shared.events import Envelope, Event
from shared.telemetry import SECONDS

Handler = Callable[[Connection, Any, Envelope], Awaitable[None]]
Handlers = Mapping[type[Event], Handler]

RETRY_SECONDS = 0.2
BATCH = 32  # events applied in one transaction, at most
_tracer = trace.get_tracer(__name__)
_log = structlog.get_logger()


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


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How events are delivered; times are in seconds. One that fails is tried again, after a pause
    that doubles, and set aside after `attempts`. `ack_wait` is how long a replica that died keeps
    an event from the others.
    """

    attempts: int = 8
    first_pause: float = 0.2
    longest_pause: float = 30.0
    ack_wait: float = 5.0

    def pause(self, attempts: int) -> float:
        """Seconds to wait after so many attempts."""
        return min(self.first_pause * 2.0 ** min(attempts - 1, 60), self.longest_pause)


class TookTooLong(Exception):
    """A statement of a handler was ended by its time limit."""


class Consumer:
    """Takes in the events of one publisher for one service."""

    def __init__(
        self, app: Quart, publisher: str, handlers: Handlers, applied: Applied, delivery: Delivery
    ) -> None:
        self._app, self._publisher = app, publisher
        self._applied, self._delivery = applied, delivery
        self._handlers = {
            event.SUBJECT: (event, handler)
            for event, handler in handlers.items()
            if event.SUBJECT.startswith(f"{publisher}.")
        }
        meter = metrics.get_meter(__name__)
        self._lag = meter.create_histogram(
            "quartet.inbox.lag",
            "s",
            "From the fact to its effect",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._dead = meter.create_counter("quartet.dead_letters", "{event}", "Events set aside")

    async def run(self) -> None:
        """Consume for ever; begin again when NATS, the stream or the consumer was away."""
        while True:
            try:
                await self._consume()
            except NotFoundError:
                _log.debug("stream is not there yet", stream=self._publisher)
            except Exception as error:  # what was not acknowledged is delivered again
                _log.warning("consumer interrupted", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _consume(self) -> None:
        bus: Bus = self._app.extensions["bus"]
        client = await bus.client()
        await bus.ensure_consumer(self._publisher, self._app.name, self._delivery.ack_wait)
        pulling = pulled(client, self._publisher, self._app.name, BATCH)
        async with aclosing(pulling) as batches:
            async for messages in batches:
                await self.take(messages)

    async def take(self, messages: Sequence[Msg]) -> None:
        """Apply and acknowledge events: together if that goes well, else one by one."""
        async with held(messages, self._delivery.ack_wait):
            if len(messages) == 1 or not await self._take_together(messages):
                for message in messages:
                    await self._take(message)

    async def _take_together(self, messages: Sequence[Msg]) -> bool:
        """Apply events in one transaction, which costs one commit; False when any of them fails,
        and then none has been applied.
        """
        begin_work()
        try:
            events = [(message, _envelope(message, self._publisher)) for message in messages]
            await self._apply_together(events)
        except asyncio.CancelledError:
            for message in messages:
                await message.nak()  # handed back at once, rather than after the ack wait
            raise
        except Exception as error:  # one by one, the guilty one will show
            _log.debug("events go one by one", error=type(error).__name__)
            return False
        for message in messages:
            await message.ack()
        return True

    async def _apply_together(self, events: Sequence[tuple[Msg, Envelope]]) -> None:
        fresh = []
        async with self._app.app_context(), transaction() as db:
            for message, envelope in events:
                with _tracer.start_as_current_span(
                    f"process {message.subject}", **_span_of(message)
                ):
                    if await insert_received(db, envelope, datetime.now(UTC)):
                        await self._handle(db, message, envelope)
                        fresh.append(envelope)
        for _, envelope in events:
            self._applied.add(envelope.source, envelope.position)
        for envelope in fresh:
            self._measure(envelope)

    async def _take(self, message: Msg) -> None:
        with _tracer.start_as_current_span(f"process {message.subject}", **_span_of(message)):
            begin_work()
            try:
                envelope = _envelope(message, self._publisher)
            except (KeyError, ValueError) as error:
                _log.error(
                    "message is no event", subject=message.subject, error=type(error).__name__
                )
                self._dead.add(1, {"messaging.destination.name": message.subject})
                await message.term()
            else:
                await self._take_event(message, envelope)

    async def _take_event(self, message: Msg, envelope: Envelope) -> None:
        """Apply one event, and acknowledge it after the commit: a crash between the two delivers
        it again, and the inbox drops it.
        """
        try:
            await self._until_available(message, envelope)
        except asyncio.CancelledError:
            await message.nak()  # handed back at once, rather than after the ack wait
            raise
        except Exception as error:
            await self._failed(message, envelope, error)
        else:
            await message.ack()

    async def _until_available(self, message: Msg, envelope: Envelope) -> None:
        """A database that is away is no fault of the event: hold it, and try until it is back."""
        while True:
            try:
                return await self._apply(message, envelope)
            except Unavailable:
                await asyncio.sleep(0.5)

    async def _apply(self, message: Msg, envelope: Envelope) -> None:
        async with self._app.app_context(), transaction() as db:
            fresh = await insert_received(db, envelope, datetime.now(UTC))
            if fresh:
                await self._handle(db, message, envelope)
        self._applied.add(envelope.source, envelope.position)
        if fresh:
            self._measure(envelope)

    def _measure(self, envelope: Envelope) -> None:
        if not envelope.snapshot:  # which tells of what is old
            self._lag.record((datetime.now(UTC) - envelope.occurred_at).total_seconds())

    async def _handle(self, db: Connection, message: Msg, envelope: Envelope) -> None:
        """Raises `TookTooLong` for a statement that `transaction` would take for an absent
        database: held for that, one event would stop all others for ever.
        """
        event, handler = self._handlers.get(message.subject, (None, None))
        if event is None or handler is None:
            return
        try:
            await handler(db, msgspec.json.decode(message.data, type=event), envelope)
        except (TimeoutError, asyncpg.QueryCanceledError) as error:
            raise TookTooLong from error

    async def _failed(self, message: Msg, envelope: Envelope, error: Exception) -> None:
        """Try again later, while others pass; after the last attempt set the event aside."""
        attempts = message.metadata.num_delivered or 1
        _log.error(
            "event failed",
            subject=message.subject,
            id=str(envelope.id),
            attempts=attempts,
            error=type(error).__name__,
        )
        trace.get_current_span().set_status(trace.StatusCode.ERROR, type(error).__name__)
        if attempts < self._delivery.attempts:
            await message.nak(delay=self._delivery.pause(attempts))
            return
        async with self._app.app_context(), transaction() as db:
            await insert_dead_letter(db, message, envelope, error, attempts)
        self._dead.add(1, {"messaging.destination.name": message.subject})
        await message.term()


def _span_of(message: Msg) -> dict[str, Any]:
    """What the span of taking in a message is made of: it goes on with the publisher's trace."""
    return {
        "context": propagate.extract(message.headers or {}),
        "kind": trace.SpanKind.CONSUMER,
        "attributes": {
            "messaging.system": "nats",
            "messaging.destination.name": message.subject,
        },
    }


def _envelope(message: Msg, publisher: str) -> Envelope:
    """Raises `KeyError` or `ValueError` for a message that is no event of the publisher's."""
    headers = message.headers or {}
    if (headers["ce-source"], headers["ce-type"]) != (publisher, message.subject):
        raise ValueError("the event belongs to another stream")
    occurred_at = datetime.fromisoformat(headers["ce-time"])
    position = int(headers["ce-sequence"])
    if occurred_at.tzinfo is None or not 0 < position < 2**63:
        raise ValueError("the event's time or position is not one of ours")
    return Envelope(
        id=UUID(headers["ce-id"]),
        source=publisher,
        position=position,
        subject=message.subject,
        occurred_at=occurred_at,
        snapshot=headers.get("ce-snapshot") == "true",
    )


def use_inbox(app: Quart, handlers: Handlers, delivery: Delivery | None = None) -> None:
    """Take in events while `app` serves: one durable consumer for each publisher that `handlers`
    names. Needs `use_database` and `use_bus` before it.
    """

    @app.while_serving
    async def consumers() -> AsyncGenerator[None, None]:
        applied = Applied()
        app.extensions["applied"] = applied
        publishers = sorted({event.SUBJECT.split(".")[0] for event in handlers})
        app.extensions["publishers"] = frozenset(publishers)
        patience = delivery or Delivery()
        consuming = (Consumer(app, name, handlers, applied, patience).run() for name in publishers)
        async with background(*consuming):
            yield
