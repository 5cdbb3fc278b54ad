"""Background jobs: plain async functions, enqueued with the state that they belong to.

A job is a row of the outbox until it is due, and then a message in its service's work queue, one
queue a priority. It exists exactly when its transaction committed.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, TypeVar, get_type_hints
from uuid import UUID, uuid5

import msgspec
from cronsim import CronSim
from opentelemetry import propagate
from quart import current_app
from uuid_utils.compat import uuid7

from shared.context import current_work
from shared.database import Connection

P = TypeVar("P", bound=msgspec.Struct)
Priority = Literal["high", "default", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "default", "low")
MISFIRE = timedelta(hours=1)  # a tick that nobody was there for fires late, up to this much
_TICKS = UUID("0192f0c1-6b1e-7c3a-9a52-2f1d3b6c4e70")  # namespace of periodic jobs' ids
_encode = msgspec.json.Encoder().encode


class Job(Generic[P]):
    """What to run, and how: attempts in all, seconds for each, and the queue that it waits in."""

    def __init__(
        self,
        function: Callable[[P], Awaitable[None]],
        name: str,
        priority: Priority,
        attempts: int,
        timeout: float,
    ) -> None:
        self.function, self.name, self.priority = function, name, priority
        self.attempts, self.timeout = attempts, timeout
        first = next(iter(inspect.signature(function).parameters))
        self.payload: type[P] = get_type_hints(function)[first]

    async def __call__(self, payload: P) -> None:
        """Run it here and now."""
        await self.function(payload)


def job(
    name: str, *, priority: Priority = "default", attempts: int = 8, timeout: float = 30.0
) -> Callable[[Callable[[P], Awaitable[None]]], Job[P]]:
    """Make a job of an async function of one struct. `timeout` is in seconds, for one attempt."""

    def make(function: Callable[[P], Awaitable[None]]) -> Job[P]:
        return Job(function, name, priority, attempts, timeout)

    return make


class Periodic(msgspec.Struct, frozen=True):
    """A job that is due whenever its cron expression says so, in UTC."""

    cron: str
    job: Job[Any]
    payload: msgspec.Struct


def stream(service: str) -> str:
    """The JetStream stream of a service's queues."""
    return f"jobs-{service}"


def subject(service: str, priority: str, name: str) -> str:
    """The NATS subject of a job."""
    return f"jobs.{service}.{priority}.{name}"


async def enqueue(
    db: Connection,
    job: Job[P],
    payload: P,
    *,
    now: datetime,
    run_at: datetime | None = None,
    key: str | None = None,
) -> bool:
    """Let a job run after the caller's transaction has committed, or at `run_at`.

    `key` makes it unique while it waits: False says that one with this key waits already.
    """
    id_ = uuid7()
    if key is not None and not await claim_key(db, key, id_):
        return False
    await insert_job(db, id_, job, payload, now=now, run_at=run_at, key=key)
    return True


async def enqueue_many(
    db: Connection, job: Job[P], payloads: Mapping[UUID, P], *, now: datetime
) -> None:
    """Let jobs of the caller's ids run, in one statement. One whose id was there does not run
    again, so an id that is made of a fact makes a job that is unique for it.
    """
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    await db.execute(
        """WITH rows AS (
             INSERT INTO outbox (id, subject, aggregate, data, traceparent, occurred_at)
             SELECT id, $3, id::text, data, $4, $5
               FROM unnest($1::uuid[], $2::bytea[]) AS new (id, data)
             ON CONFLICT (id) DO NOTHING
             RETURNING position)
           SELECT pg_notify('outbox', '') FROM rows LIMIT 1""",
        list(payloads),
        [_encode(payload) for payload in payloads.values()],
        subject(current_app.name, job.priority, job.name),
        carrier.get("traceparent", ""),
        now,
    )


async def enqueue_ticks(db: Connection, periodic: Periodic, now: datetime) -> None:
    """Enqueue what became due. A tick has one id, so that it fires once however many ask."""
    ticks = CronSim(periodic.cron, now - MISFIRE)
    for tick in ticks:
        if tick > now:
            return
        id_ = uuid5(_TICKS, f"{periodic.job.name}:{tick.isoformat()}")
        await insert_job(db, id_, periodic.job, periodic.payload, now=tick)


async def claim_key(db: Connection, key: str, job_id: UUID) -> bool:
    """Take `key` for a job; False when another has it."""
    status = await db.execute(
        "INSERT INTO job_keys (key, job_id) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
        key,
        job_id,
    )
    return status == "INSERT 0 1"


async def release_key(db: Connection, key: str, job_id: UUID) -> None:
    """Let another job have the key, now that this one begins."""
    await db.execute("DELETE FROM job_keys WHERE key = $1 AND job_id = $2", key, job_id)


async def insert_job(
    db: Connection,
    id_: UUID,
    job: Job[P],
    payload: P,
    *,
    now: datetime,
    run_at: datetime | None = None,
    key: str | None = None,
) -> None:
    """Write a job to the outbox, unless one of this id was there."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    await db.execute(
        """WITH row AS (
             INSERT INTO outbox (id, subject, aggregate, data, traceparent, occurred_at, due_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (id) DO NOTHING
             RETURNING position)
           SELECT pg_notify('outbox', '') FROM row""",
        id_,
        subject(current_app.name, job.priority, job.name),
        key or str(id_),
        _encode(payload),
        carrier.get("traceparent", ""),
        now,
        run_at,
    )


def current_job() -> UUID:
    """The id of the job that runs, the same at each attempt. Raises `LookupError` outside a job."""
    work = current_work()
    if work is None or work.job is None:
        raise LookupError("no job runs")
    return work.job


class Done(Exception):
    """The job has had its effect before; nothing is left to do."""


async def complete(db: Connection, now: datetime) -> None:
    """Record in the caller's transaction that the current job is done, so that its effect and the
    record are one. Raises `Done` when it was recorded before: let it pass.
    """
    work = current_work()
    if work is None or work.job is None:
        return
    if not await insert_done(db, work.job, now):
        raise Done


async def insert_done(db: Connection, job_id: UUID, now: datetime) -> bool:
    """Record a job as done; False when it was."""
    status = await db.execute(
        """INSERT INTO inbox (id, source, position, received_at) VALUES ($1, 'jobs', 0, $2)
           ON CONFLICT (id) DO NOTHING""",
        job_id,
        now,
    )
    return status == "INSERT 0 1"
