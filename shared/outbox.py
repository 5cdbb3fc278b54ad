"""The transactional outbox: an event commits with the state it tells of, then travels to NATS.

`publish` writes the row; one relay a service, elected by an advisory lock, publishes rows in
order. The row stays after it was sent: a stream that lost its disk is made and filled again.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import structlog
from nats.js import JetStreamContext
from opentelemetry import metrics, propagate, trace
from quart import Quart
from uuid_utils.compat import uuid7

from shared.bus import Bus
from shared.context import current_work
from shared.database import Connection
from shared.events import Event
from shared.retention import Retention
from shared.settings import DataSettings

BATCH = 256
POLL_SECONDS = 0.5
STREAM_CHECK_SECONDS = 10.0
_RELAY_LOCK = 0x72656C6179
# Seconds after which PostgreSQL drops a leader that a network cut took away, and frees its lock.
_NOTICE_DEATH = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
_encode = msgspec.json.Encoder().encode
_tracer = trace.get_tracer(__name__)
_log = structlog.get_logger()


class Row(msgspec.Struct, frozen=True):
    """An outbox row that waits to be published."""

    position: int
    id: Any
    subject: str
    aggregate: str
    data: bytes
    traceparent: str
    occurred_at: datetime


async def publish(db: Connection, event: Event, now: datetime) -> int:
    """Write `event` to the outbox, in the caller's transaction; return its position.

    The relay wakes when the transaction commits, and the reply carries the position
    (`Quartet-Position`). Change the state first: the lock on its row is what gives two events of
    one aggregate their positions in the order of their commits.
    """
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    position: int = await insert_event(
        db, event, _encode(event), carrier.get("traceparent", ""), now
    )
    work = current_work()
    if work is not None:
        work.position = position
    return position


async def insert_event(
    db: Connection, event: Event, data: bytes, traceparent: str, now: datetime
) -> int:
    """Insert one outbox row and notify the relay at commit; return its position."""
    position: int = await db.fetchval(
        """WITH row AS (
             INSERT INTO outbox (id, subject, aggregate, data, traceparent, occurred_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             RETURNING position)
           SELECT position FROM row, pg_notify('outbox', '')""",
        uuid7(),
        event.SUBJECT,
        event.aggregate,
        data,
        traceparent,
        now,
    )
    return position


async def select_unpublished(db: Connection, limit: int, now: datetime) -> list[Row]:
    """The oldest rows that still wait, by state and not by number: a smaller number may commit
    after a larger one. Jobs that are not due yet stay where they are.
    """
    rows = await db.fetch(
        """(SELECT position, id, subject, aggregate, data, traceparent, occurred_at
              FROM outbox
             WHERE published_at IS NULL AND due_at IS NULL
             ORDER BY position
             LIMIT $1)
           UNION ALL
           (SELECT position, id, subject, aggregate, data, traceparent, occurred_at
              FROM outbox
             WHERE published_at IS NULL AND due_at <= $2
             ORDER BY due_at
             LIMIT $1)""",
        limit,
        now,
    )
    return [msgspec.convert(row, Row) for row in rows]


async def update_published(db: Connection, positions: list[int], now: datetime) -> None:
    """Mark rows as sent."""
    await db.execute(
        "UPDATE outbox SET published_at = $2 WHERE position = ANY($1::bigint[])", positions, now
    )


async def update_events_unpublished(db: Any) -> str:
    """Mark every event as waiting again. There may be millions, so this may take minutes."""
    status: str = await db.execute(
        """UPDATE outbox SET published_at = NULL
            WHERE published_at IS NOT NULL AND subject NOT LIKE 'jobs.%'""",
        timeout=600,
    )
    return status


async def update_jobs_unpublished(db: Any) -> str:
    """Mark every job as waiting again that is neither done nor set aside."""
    status: str = await db.execute(
        """UPDATE outbox SET published_at = NULL
            WHERE published_at IS NOT NULL AND subject LIKE 'jobs.%'
              AND NOT EXISTS (SELECT FROM inbox WHERE inbox.id = outbox.id)
              AND NOT EXISTS (SELECT FROM dead_letters WHERE dead_letters.id = outbox.id)""",
        timeout=600,
    )
    return status


class Relay:
    """Publishes the outbox of one service, in order, while it leads."""

    def __init__(
        self,
        service: str,
        database_url: str,
        bus: Bus,
        stream_check_seconds: float = STREAM_CHECK_SECONDS,
        queues: bool = False,
        retention: Retention | None = None,
    ) -> None:
        self._queues, self._retention = queues, retention
        self._service, self._url, self._bus = service, database_url, bus
        self._stream_check_seconds = stream_check_seconds
        self._wake = asyncio.Event()
        self._lag = metrics.get_meter(__name__).create_histogram(
            "quartet.outbox.lag", "s", "From the fact to its acknowledgement by NATS"
        )

    async def run(self) -> None:
        """Lead and publish for ever; begin again a moment after a database or NATS was away."""
        while True:
            try:
                await self._lead()
            except Exception as error:  # whatever it was, all that is unsent is sent next time
                _log.warning("relay interrupted", error=type(error).__name__)
            await asyncio.sleep(POLL_SECONDS)

    async def _lead(self) -> None:
        jetstream = await self._bus.jetstream()  # before the lock: who can't publish must not lead
        db = await asyncpg.connect(
            self._url,
            timeout=5,
            command_timeout=10,
            server_settings={"application_name": f"{self._service}-relay", **_NOTICE_DEATH},
        )
        try:
            # Asked again and again rather than waited for: a waiting statement would hold a
            # snapshot and keep vacuum from its work.
            while not await db.fetchval(  # noqa: ASYNC110  (nothing here could set an event)
                "SELECT pg_try_advisory_lock($1)", _RELAY_LOCK
            ):
                await asyncio.sleep(1)
            await db.add_listener("outbox", lambda *_: self._wake.set())
            await self._publish_for_ever(db, jetstream)
        finally:
            await _end(db)

    async def _publish_for_ever(self, db: Any, jetstream: JetStreamContext) -> None:
        loop, check_at = asyncio.get_running_loop(), 0.0
        while True:
            if loop.time() >= check_at:
                await self._check_stream(db)
                check_at = loop.time() + self._stream_check_seconds
            await self._publish_waiting(db, jetstream)
            if self._retention is not None:
                await self._retention.clean(db, datetime.now(UTC))

    async def _check_stream(self, db: Any) -> None:
        """Make the stream where there is none, and fill it with all that the old one may have held
        unread. Who has read it already drops it by the inbox.
        """
        if await self._bus.ensure_stream(self._service) == 0:
            status = await update_events_unpublished(db)
            if status != "UPDATE 0":
                _log.warning("stream is new, and filled again", outbox=status)
        if self._queues and await self._bus.ensure_queues(self._service) == 0:
            status = await update_jobs_unpublished(db)
            if status != "UPDATE 0":
                _log.warning("queues are new, and filled again", outbox=status)

    async def _publish_waiting(self, db: Any, jetstream: JetStreamContext) -> None:
        self._wake.clear()
        rows = await select_unpublished(db, BATCH, datetime.now(UTC))
        if not rows:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
            return
        sending = (self._send(jetstream, row) for row in rows)
        sent = await self._bus.unless_lost(asyncio.gather(*sending, return_exceptions=True))
        done = [row.position for row, failure in zip(rows, sent, strict=True) if failure is None]
        if done:
            await update_published(db, done, datetime.now(UTC))
        failed = next((failure for failure in sent if failure is not None), None)
        if failed is not None:
            raise failed

    async def _send(self, jetstream: JetStreamContext, row: Row) -> None:
        """Publish and wait for the acknowledgement. Sent again after a crash, the message id lets
        NATS drop the copy within its window, and the inbox drops it for ever.
        """
        parent = propagate.extract({"traceparent": row.traceparent})
        with _tracer.start_as_current_span(
            f"publish {row.subject}",
            parent,
            trace.SpanKind.PRODUCER,
            {"messaging.system": "nats", "messaging.destination.name": row.subject},
        ):
            headers = {
                "Nats-Msg-Id": str(row.id),
                "ce-specversion": "1.0",
                "ce-id": str(row.id),
                "ce-source": self._service,
                "ce-type": row.subject,
                "ce-subject": row.aggregate,
                "ce-time": row.occurred_at.isoformat(),
                "ce-sequence": str(row.position),
                "content-type": "application/json",
            }
            propagate.inject(headers)
            queued = row.subject.startswith("jobs.")
            stream = f"jobs-{self._service}" if queued else self._service
            await jetstream.publish(row.subject, row.data, stream=stream, headers=headers)
        self._lag.record((datetime.now(UTC) - row.occurred_at).total_seconds())


async def _end(db: Any) -> None:
    """Close the leader's session, so that its lock is free; a dead server must not hold us."""
    with suppress(Exception):
        await asyncio.shield(db.close(timeout=1))


def use_outbox(app: Quart, settings: DataSettings, *, queues: bool = False) -> None:
    """Run the relay while `app` serves; `queues` says that the service has jobs. Whoever leads also
    deletes what is too old. Needs `use_database` and `use_bus` before it.
    """

    @app.while_serving
    async def relay() -> AsyncGenerator[None, None]:
        relay = Relay(
            app.name,
            settings.database_url,
            app.extensions["bus"],
            queues=queues,
            retention=Retention(timedelta(hours=settings.outbox_hours)),
        )
        task = asyncio.create_task(relay.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
