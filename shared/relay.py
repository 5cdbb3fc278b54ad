"""From the outbox to NATS: one relay a service, elected by an advisory lock, publishes its rows.

Fresh facts go first, in order. What is sent again, and snapshots, go in between, as fast as those
who read them can: however much there is, a fresh fact waits for a few hundred others at most.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import structlog
from nats.js import JetStreamContext
from opentelemetry import metrics, propagate, trace

from shared.bus import Bus
from shared.database import Connection
from shared.replay import EVER, resend_events, resend_jobs
from shared.retention import Retention
from shared.tally import SECONDS

BATCH = 256
POLL_SECONDS = 0.5
STREAM_CHECK_SECONDS = 10.0
REPEAT_PATIENCE = 5.0  # seconds that a reader who gets nowhere holds up what is sent again
_RELAY_LOCK = 0x72656C6179
# Seconds after which PostgreSQL drops a leader that a network cut took away, and frees its lock.
_NOTICE_DEATH = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
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
    resent: int
    snapshot: bool

    @property
    def is_fresh(self) -> bool:
        """Whether it tells something new."""
        return self.resent == 0 and not self.snapshot

    @property
    def message_id(self) -> str:
        """One for each sending that is wanted: the same one makes NATS drop what it has, or had."""
        return f"{self.id}:{self.resent}" if self.resent else str(self.id)


async def select_unpublished(db: Connection, limit: int, now: datetime) -> list[Row]:
    """The oldest rows that still wait, by state and not by number: a smaller number may commit
    after a larger one. Fresh ones first, then jobs that are due, then what is to be sent again.
    """
    rows = await db.fetch(
        """(SELECT position, id, subject, aggregate, data, traceparent, occurred_at, resent,
                   snapshot
              FROM outbox
             WHERE published_at IS NULL AND due_at IS NULL AND resent = 0 AND NOT snapshot
             ORDER BY position
             LIMIT $1)
           UNION ALL
           (SELECT position, id, subject, aggregate, data, traceparent, occurred_at, resent,
                   snapshot
              FROM outbox
             WHERE published_at IS NULL AND due_at <= $2
             ORDER BY due_at
             LIMIT $1)
           UNION ALL
           (SELECT position, id, subject, aggregate, data, traceparent, occurred_at, resent,
                   snapshot
              FROM outbox
             WHERE published_at IS NULL AND due_at IS NULL AND (resent > 0 OR snapshot)
             ORDER BY position
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
        self._wake, self._repeat_at = asyncio.Event(), 0.0
        self._lag = metrics.get_meter(__name__).create_histogram(
            "quartet.outbox.lag",
            "s",
            "From the fact to its acknowledgement by NATS",
            explicit_bucket_boundaries_advisory=SECONDS,
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
            count = await resend_events(db, EVER, datetime.now(UTC))
            if count:
                _log.warning("stream is new, and filled again", events=count)
        if self._queues and await self._bus.ensure_queues(self._service) == 0:
            count = await resend_jobs(db, EVER, datetime.now(UTC))
            if count:
                _log.warning("queues are new, and filled again", jobs=count)

    async def _publish_waiting(self, db: Any, jetstream: JetStreamContext) -> None:
        self._wake.clear()
        rows = await self._sendable(await select_unpublished(db, BATCH, datetime.now(UTC)))
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

    async def _sendable(self, rows: list[Row]) -> list[Row]:
        """What may be sent now: what tells nothing new has to wait while the readers of the stream
        are behind, but not for ever for one that gets nowhere.
        """
        if all(row.is_fresh for row in rows):
            return rows
        now = asyncio.get_running_loop().time()
        if now < self._repeat_at and await self._bus.backlog(self._service) >= BATCH:
            return [row for row in rows if row.is_fresh]
        self._repeat_at = now + REPEAT_PATIENCE
        return rows

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
            headers = _headers(row, self._service)
            propagate.inject(headers)
            queued = row.subject.startswith("jobs.")
            stream = f"jobs-{self._service}" if queued else self._service
            await jetstream.publish(row.subject, row.data, stream=stream, headers=headers)
        if row.is_fresh:
            self._lag.record((datetime.now(UTC) - row.occurred_at).total_seconds())


def _headers(row: Row, service: str) -> dict[str, str]:
    headers = {
        "Nats-Msg-Id": row.message_id,
        "ce-specversion": "1.0",
        "ce-id": str(row.id),
        "ce-source": service,
        "ce-type": row.subject,
        "ce-subject": row.aggregate,
        "ce-time": row.occurred_at.isoformat(),
        "ce-sequence": str(row.position),
        "content-type": "application/json",
    }
    return headers | {"ce-snapshot": "true"} if row.snapshot else headers


async def _end(db: Any) -> None:
    """Close the leader's session, so that its lock is free; a dead server must not hold us."""
    with suppress(Exception):
        await asyncio.shield(db.close(timeout=1))
