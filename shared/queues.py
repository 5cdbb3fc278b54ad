"""What waits, and where: a service's outbox, its job queues, and the streams that it reads."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import msgspec
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from shared.database import Connection
from shared.jobs import PRIORITIES, stream, subject

Connect = Callable[[], AbstractAsyncContextManager[Connection]]


class Queue(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One place where things wait. `depth` have not been given to anybody, `inFlight` have and are
    not done. `oldestSeconds` is the age of the oldest of both. Only jobs count failures: attempts
    in the last minute.
    """

    name: str
    depth: int
    in_flight: int = 0
    oldest_seconds: float = 0.0
    failures_per_minute: int = 0


async def measure(
    connect: Connect, jetstream: JetStreamContext, service: str, now: datetime
) -> list[Queue]:
    """All of a service's queues. The connection is given back before NATS is asked."""
    async with connect() as db:
        outbox, failures = await of_outbox(db, now), await count_failures(db, now)
    jobs = await of_jobs(jetstream, service, failures, now)
    return [*outbox, *jobs, *await of_events(jetstream, service, now)]


async def of_outbox(db: Connection, now: datetime) -> list[Queue]:
    """What waits to be published: what is fresh, and what is sent again."""
    row = await db.fetchrow(
        """SELECT (SELECT count(*) FROM outbox
                    WHERE published_at IS NULL AND due_at IS NULL
                      AND (resent > 0 OR snapshot)) AS again,
                  count(*) AS fresh, min(since) AS since
             FROM (SELECT occurred_at AS since FROM outbox
                    WHERE published_at IS NULL AND due_at IS NULL AND resent = 0 AND NOT snapshot
                   UNION ALL
                   SELECT due_at FROM outbox WHERE published_at IS NULL AND due_at <= $1
                  ) AS waiting""",
        now,
    )
    return [
        Queue(name="outbox", depth=row["fresh"], oldest_seconds=_age(row["since"], now)),
        Queue(name="outbox, again", depth=row["again"]),
    ]


async def of_jobs(
    jetstream: JetStreamContext, service: str, failures: Mapping[str, int], now: datetime
) -> list[Queue]:
    """One queue a priority; none where the service has no jobs."""
    found = []
    for priority in PRIORITIES:
        name, only = f"jobs {priority}", subject(service, priority, ">")
        info = await _consumer(jetstream, stream(service), priority)
        if info is not None:
            queue = await _queue(jetstream, name, info, 1, only, now)
        else:  # no worker has ever been here
            waiting = await _count(jetstream, stream(service), only)
            if waiting is None:
                return []
            queue = Queue(name=name, depth=waiting)
        failed = failures.get(priority, 0)
        found.append(msgspec.structs.replace(queue, failures_per_minute=failed))
    return found


async def of_events(jetstream: JetStreamContext, service: str, now: datetime) -> list[Queue]:
    """One for each publisher that the service reads."""
    found = []
    for publisher in sorted(str(info.config.name) for info in await jetstream.streams_info()):
        info = await _consumer(jetstream, publisher, service)
        if info is not None:
            floor = info.ack_floor.stream_seq if info.ack_floor else 0
            name, only = f"events of {publisher}", f"{publisher}.>"
            found.append(await _queue(jetstream, name, info, floor + 1, only, now))
    return found


async def count_failures(db: Connection, now: datetime) -> dict[str, int]:
    """Attempts at jobs that failed in the last minute, by queue."""
    rows = await db.fetch(
        """SELECT queue, count(*) AS failures FROM job_failures
            WHERE failed_at > $1::timestamptz - interval '1 minute' GROUP BY queue""",
        now,
    )
    return {row["queue"]: row["failures"] for row in rows}


async def _consumer(jetstream: JetStreamContext, stream: str, name: str) -> ConsumerInfo | None:
    try:
        info: ConsumerInfo = await jetstream.consumer_info(stream, name)
    except NotFoundError:
        return None
    return info


async def _count(jetstream: JetStreamContext, stream: str, only: str) -> int | None:
    try:
        info = await jetstream.stream_info(stream, subjects_filter=only)
    except NotFoundError:
        return None
    return sum((info.state.subjects or {}).values())


async def _queue(
    jetstream: JetStreamContext, name: str, info: ConsumerInfo, first: int, only: str, now: datetime
) -> Queue:
    """`first` is the number that the oldest message of the subjects `only` has at least."""
    depth, in_flight = info.num_pending or 0, info.num_ack_pending or 0
    oldest = 0.0
    if depth or in_flight:
        try:
            message = await jetstream.get_msg(info.stream_name, first, only, next=True)
            oldest = _age(message.time, now)
        except NotFoundError:  # it was done meanwhile
            oldest = 0.0
    return Queue(name=name, depth=depth, in_flight=in_flight, oldest_seconds=oldest)


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, round((now - since).total_seconds(), 3))
