"""Works off a service's job queues, in a process of its own.

Each priority has slots of its own, so that none can starve another: however long the low queue is,
a high job finds a slot that only high jobs use.
"""

import asyncio
import random
import traceback
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError
from opentelemetry import metrics, propagate, trace
from quart import Quart

from shared.bus import Bus, held, pulled
from shared.context import begin_work
from shared.database import Connection, transaction
from shared.errors import Unavailable
from shared.events import Envelope
from shared.inbox import insert_dead_letter
from shared.jobs import (
    PRIORITIES,
    Done,
    Job,
    Periodic,
    Priority,
    enqueue_ticks,
    insert_done,
    release_key,
    stream,
)

ACK_WAIT = 10.0  # seconds until a job of a worker that died goes to another
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 600.0
TICK_SECONDS = 1.0
SLOTS: Mapping[Priority, int] = {"high": 4, "default": 3, "low": 1}
_tracer = trace.get_tracer(__name__)
_log = structlog.get_logger()


def pause(attempts: int, first: float, chance: random.Random) -> float:
    """Seconds until the next attempt: exponential, with full jitter, so that jobs which failed
    together don't come back together.
    """
    return chance.uniform(0, min(first * 2.0**attempts, LONGEST_PAUSE))


class Worker:
    """Runs the jobs of one service."""

    def __init__(
        self,
        app: Quart,
        jobs: Iterable[Job[Any]],
        periodic: Sequence[Periodic] = (),
        slots: Mapping[Priority, int] = SLOTS,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._app, self._jobs = app, {job.name: job for job in jobs}
        self._periodic, self._slots, self._first_pause = periodic, slots, first_pause
        self._chance = random.Random()  # noqa: S311  (spreads load, guards nothing)
        self._busy: set[asyncio.Task[None]] = set()
        meter = metrics.get_meter(__name__)
        self._runs = meter.create_histogram("quartet.job.duration", "s", "One attempt at a job")
        self._dead = meter.create_counter("quartet.dead_letters", "{job}", "Jobs set aside")

    async def run(self) -> None:
        """Work until cancelled; what runs then may take until `finish`."""
        async with asyncio.TaskGroup() as group:
            for priority in PRIORITIES:
                for _ in range(self._slots[priority]):
                    group.create_task(self._slot(priority))
            if self._periodic:
                group.create_task(self._tick())

    async def finish(self, grace: float) -> None:
        """Wait for what runs, at most `grace` seconds; hand back what is not finished by then."""
        if self._busy:
            await asyncio.wait(self._busy, timeout=grace)
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    async def _slot(self, priority: Priority) -> None:
        while True:
            try:
                await self._pull(priority)
            except NotFoundError:
                _log.debug("queue is not there yet", queue=priority)
            except Exception as error:  # what was not acknowledged is delivered again
                _log.warning("slot interrupted", queue=priority, error=type(error).__name__)
            await asyncio.sleep(0.2)

    async def _pull(self, priority: Priority) -> None:
        bus: Bus = self._app.extensions["bus"]
        client = await bus.client()
        service = self._app.name
        await bus.ensure_queue_consumer(service, priority, ACK_WAIT)
        async with aclosing(pulled(client, stream(service), priority)) as pulls:
            async for (message,) in pulls:
                task = asyncio.create_task(self._take(message, priority))
                self._busy.add(task)
                task.add_done_callback(self._busy.discard)
                await asyncio.shield(task)

    async def _take(self, message: Msg, priority: Priority) -> None:
        headers = message.headers or {}
        with _tracer.start_as_current_span(
            f"process {message.subject}",
            propagate.extract(headers),
            trace.SpanKind.CONSUMER,
            {"messaging.system": "nats", "messaging.destination.name": message.subject},
        ):
            work = begin_work()
            work.job = id_ = UUID(headers["ce-id"])
            name = message.subject.split(".", 3)[3]
            began = asyncio.get_running_loop().time()
            result = await self._attempt(message, priority, name, id_)
            seconds = asyncio.get_running_loop().time() - began
            self._runs.record(seconds, {"job": name, "queue": priority, "result": result})
            _log.info("job", job=name, id=str(id_), result=result, ms=round(seconds * 1000, 2))

    async def _attempt(self, message: Msg, priority: Priority, name: str, id_: UUID) -> str:
        """Run a job once, and tell NATS how it went: done, to be tried again, or set aside."""
        job = self._jobs.get(name)
        try:
            if job is None:
                raise LookupError(f"no job is called {name}")
            async with held([message], ACK_WAIT):
                await self._run(job, message, id_)
        except asyncio.CancelledError:
            await message.nak()  # handed back at once, rather than after the ack wait
            raise
        except Done:
            await message.ack()
            return "done before"
        except Exception as error:
            return await self._failed(message, priority, job, id_, error)
        await message.ack()
        return "done"

    async def _run(self, job: Job[Any], message: Msg, id_: UUID) -> None:
        key = (message.headers or {})["ce-subject"]
        async with self._app.app_context():
            async with transaction() as db:
                await release_key(db, key, id_)
                if await is_done(db, id_):
                    raise Done
            payload = msgspec.json.decode(message.data, type=job.payload)
            async with asyncio.timeout(job.timeout):
                await job.function(payload)
            await self._record(id_)

    async def _record(self, id_: UUID) -> None:
        """A database that is away now must not let an effect happen twice: the job is held, and
        this tried until the record is written.
        """
        while True:
            try:
                async with transaction() as db:
                    await insert_done(db, id_, datetime.now(UTC))
                return
            except Unavailable:
                await asyncio.sleep(0.5)

    async def _failed(
        self, message: Msg, priority: Priority, job: Job[Any] | None, id_: UUID, error: Exception
    ) -> str:
        attempts = message.metadata.num_delivered or 1
        _log.error("job failed", id=str(id_), attempts=attempts, error=type(error).__name__)
        trace.get_current_span().set_status(trace.StatusCode.ERROR, type(error).__name__)
        last = job is None or attempts >= job.attempts
        async with self._app.app_context(), transaction() as db:
            await insert_failure(db, id_, priority, error, datetime.now(UTC))
            if last:
                await insert_dead_letter(db, _envelope(message, id_), message.data, error, attempts)
        if not last:
            await message.nak(delay=pause(attempts, self._first_pause, self._chance))
            return "failed"
        self._dead.add(1, {"messaging.destination.name": message.subject})
        await message.term()
        return "set aside"

    async def _tick(self) -> None:
        """Enqueue periodic jobs. Every replica does; a tick's id lets one of them win."""
        while True:
            with suppress(Exception):  # the database is away: the tick is not lost, only late
                async with self._app.app_context(), transaction() as db:
                    for periodic in self._periodic:
                        await enqueue_ticks(db, periodic, datetime.now(UTC))
            await asyncio.sleep(TICK_SECONDS)


async def is_done(db: Connection, job_id: UUID) -> bool:
    """Whether the job had its effect before."""
    done: bool = await db.fetchval("SELECT EXISTS (SELECT FROM inbox WHERE id = $1)", job_id)
    return done


async def insert_failure(
    db: Connection, job_id: UUID, queue: str, error: Exception, now: datetime
) -> None:
    """Count a failed attempt."""
    await db.execute(
        "INSERT INTO job_failures (job_id, queue, error, failed_at) VALUES ($1, $2, $3, $4)",
        job_id,
        queue,
        "".join(traceback.format_exception_only(error))[:500].replace("\0", ""),
        now,
    )


def _envelope(message: Msg, id_: UUID) -> Envelope:
    headers = message.headers or {}
    return Envelope(
        id=id_,
        source="jobs",
        position=int(headers["ce-sequence"]),
        subject=message.subject,
        occurred_at=datetime.fromisoformat(headers["ce-time"]),
    )


def use_worker(app: Quart, jobs: Iterable[Job[Any]], periodic: Sequence[Periodic] = ()) -> None:
    """Work off the queues while `app` serves. Needs `use_database`, `use_bus` and `use_outbox`."""

    @app.while_serving
    async def worker() -> AsyncGenerator[None, None]:
        worker = Worker(app, jobs, periodic)
        task = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await worker.finish(app.extensions["settings"].grace)
