"""A job runs when its transaction has committed, once in effect, and again when it fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from quart import Quart

from shared.bus import use_bus
from shared.context import begin_work
from shared.database import transaction, use_database
from shared.jobs import (
    Job,
    Periodic,
    complete,
    current_job,
    enqueue,
    enqueue_many,
    enqueue_ticks,
    job,
)
from shared.outbox import use_outbox
from shared.service import create_service
from shared.settings import DataSettings
from shared.testing import serving, until
from shared.worker import SLOTS, Worker, pause


class Ring(msgspec.Struct, frozen=True):
    """Which bell to ring."""

    name: str
    times_to_fail: int = 0


class Belfry:
    """What the jobs of a test did."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.attempts = 0
        self.gate = asyncio.Event()
        self.ring: Job[Ring] = job("bells.ring", attempts=3)(self._ring)
        self.urgent: Job[Ring] = job("bells.urgent", priority="high")(self._ring)
        self.slow: Job[Ring] = job("bells.slow", priority="low")(self._wait)
        self.endless: Job[Ring] = job("bells.endless", attempts=1, timeout=0.05)(self._wait)

    @property
    def jobs(self) -> list[Job[Any]]:
        return [self.ring, self.urgent, self.slow, self.endless]

    async def _ring(self, payload: Ring) -> None:
        self.attempts += 1
        if self.attempts <= payload.times_to_fail:
            raise ZeroDivisionError("the rope broke")
        async with transaction() as db:
            await complete(db, datetime.now(UTC))
            await db.execute("INSERT INTO bells (name) VALUES ($1)", payload.name)
        self.rung.append(payload.name)

    async def _wait(self, payload: Ring) -> None:
        await self.gate.wait()
        self.rung.append(payload.name)


@pytest.fixture
async def app(alpha_settings: DataSettings, nats: Client) -> AsyncIterator[Quart]:
    """alpha with queues, and nobody who works them off."""
    with suppress(NotFoundError):
        await nats.jetstream().delete_stream("jobs-alpha")
    app = create_service("alpha", alpha_settings)
    use_database(app, alpha_settings)
    use_bus(app, alpha_settings.nats_url, alpha_settings.nats_replicas)
    use_outbox(app, alpha_settings, queues=True)
    async with serving(app):
        async with app.app_context(), transaction() as db:
            await db.execute("TRUNCATE job_keys, job_failures")
        yield app


@pytest.fixture
def belfry() -> Belfry:
    return Belfry()


@asynccontextmanager
async def working(app: Quart, belfry: Belfry, *periodic: Periodic) -> AsyncIterator[Worker]:
    worker = Worker(app, belfry.jobs, periodic, first_pause=0.01)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.finish(1.0)


async def add(app: Quart, what: Job[Ring], name: str, **options: Any) -> bool:
    failing = options.pop("times_to_fail", 0)
    async with app.app_context(), transaction() as db:
        return await enqueue(db, what, Ring(name, failing), now=datetime.now(UTC), **options)


async def fetch(app: Quart, query: Any) -> list[Any]:
    async with app.app_context(), transaction() as db:
        return await db.fetch(query)


async def rung(belfry: Belfry, count: int) -> list[str]:
    async def enough() -> bool:
        return len(belfry.rung) >= count

    await until(enough, what=f"{count} bells")
    return belfry.rung


async def test_a_job_runs_after_its_transaction_committed(app: Quart, belfry: Belfry) -> None:
    async with working(app, belfry):
        await add(app, belfry.ring, "one")
        assert await rung(belfry, 1) == ["one"]


async def test_a_job_of_a_transaction_that_rolled_back_never_runs(
    app: Quart, belfry: Belfry
) -> None:
    async def fail() -> None:
        async with app.app_context(), transaction() as db:
            await enqueue(db, belfry.ring, Ring("never"), now=datetime.now(UTC))
            raise ZeroDivisionError

    async with working(app, belfry):
        with pytest.raises(ZeroDivisionError):
            await fail()
        await add(app, belfry.ring, "later")
        assert await rung(belfry, 1) == ["later"]


async def test_a_job_that_fails_is_tried_again(app: Quart, belfry: Belfry) -> None:
    async with working(app, belfry):
        await add(app, belfry.ring, "third time", times_to_fail=2)
        assert await rung(belfry, 1) == ["third time"]
    assert belfry.attempts == 3
    failures = await fetch(app, "SELECT queue, error FROM job_failures")
    assert [row["queue"] for row in failures] == ["default", "default"]


async def test_a_job_is_set_aside_after_its_last_attempt(
    app: Quart, belfry: Belfry, nats: Client
) -> None:
    async with working(app, belfry):
        await add(app, belfry.ring, "broken", times_to_fail=9)
        await add(app, belfry.urgent, "whole")

        async def set_aside() -> list[Any]:
            return await fetch(app, "SELECT subject, error, attempts, data FROM dead_letters")

        (letter,) = await until(set_aside, what="the dead letter")
    assert letter["subject"] == "jobs.alpha.default.bells.ring"
    assert letter["attempts"] == 3
    assert "the rope broke" in letter["error"]

    async def queue_is_empty() -> bool:
        return (await nats.jetstream().stream_info("jobs-alpha")).state.messages == 0

    await until(queue_is_empty, what="an empty queue")


async def test_a_job_that_takes_too_long_is_cancelled(app: Quart, belfry: Belfry) -> None:
    async with working(app, belfry):
        await add(app, belfry.endless, "too long")

        async def set_aside() -> list[Any]:
            return await fetch(app, "SELECT error FROM dead_letters")

        (letter,) = await until(set_aside, what="the dead letter")
    assert "TimeoutError" in letter["error"]
    assert belfry.rung == []


async def test_a_key_is_unique_while_its_job_waits(app: Quart, belfry: Belfry) -> None:
    assert await add(app, belfry.ring, "first", key="tower")
    assert not await add(app, belfry.ring, "second", key="tower")
    async with working(app, belfry):
        await rung(belfry, 1)
        assert await add(app, belfry.ring, "third", key="tower")
        assert await rung(belfry, 2) == ["first", "third"]


async def test_many_jobs_are_enqueued_in_one_statement_and_each_id_once(
    app: Quart, belfry: Belfry
) -> None:
    bells = {uuid4(): Ring(f"bell {number:02}") for number in range(30)}
    async with working(app, belfry):
        for _ in range(2):
            async with app.app_context(), transaction() as db:
                work = begin_work()
                await enqueue_many(db, belfry.urgent, bells, now=datetime.now(UTC))
                assert work.statements == 1
        await add(app, belfry.ring, "last")
        rung_bells = await rung(belfry, 31)
    assert sorted(rung_bells) == sorted([*(bell.name for bell in bells.values()), "last"])


async def test_a_job_knows_its_id_at_each_attempt(app: Quart) -> None:
    seen: list[UUID] = []

    async def look(payload: Ring) -> None:
        seen.append(current_job())
        assert len(seen) > 1

    belfry = Belfry()
    belfry.ring = job("bells.ring")(look)
    with pytest.raises(LookupError):
        current_job()
    id_ = uuid4()

    async def twice() -> bool:
        return len(seen) == 2

    async with working(app, belfry):
        async with app.app_context(), transaction() as db:
            await enqueue_many(db, belfry.ring, {id_: Ring("x")}, now=datetime.now(UTC))
        await until(twice, what="two attempts")
    assert seen == [id_, id_]


async def test_a_job_waits_until_it_is_due(app: Quart, belfry: Belfry) -> None:
    now = datetime.now(UTC)
    async with working(app, belfry):
        await add(app, belfry.ring, "much later", run_at=now + timedelta(hours=1))
        await add(app, belfry.ring, "soon", run_at=now + timedelta(milliseconds=300))
        assert await rung(belfry, 1) == ["soon"]
    assert datetime.now(UTC) >= now + timedelta(milliseconds=300)
    (row,) = await fetch(app, "SELECT data FROM outbox WHERE due_at > now()")
    assert b"much later" in row["data"]


async def test_low_jobs_however_many_do_not_keep_a_high_one_waiting(
    app: Quart, belfry: Belfry
) -> None:
    for number in range(50):
        await add(app, belfry.slow, f"slow {number}")
    async with working(app, belfry):
        await add(app, belfry.urgent, "urgent")
        assert await rung(belfry, 1) == ["urgent"]
        belfry.gate.set()
        await rung(belfry, 51)


async def test_a_job_delivered_again_has_its_effect_once(
    app: Quart, belfry: Belfry, nats: Client
) -> None:
    async with working(app, belfry):
        await add(app, belfry.ring, "once")
        await rung(belfry, 1)
        (row,) = await fetch(app, "SELECT id, data FROM outbox")
        headers = {
            "ce-id": str(row["id"]),
            "ce-subject": str(row["id"]),
            "ce-sequence": "1",
            "ce-time": datetime.now(UTC).isoformat(),
        }
        for _ in range(20):
            subject = "jobs.alpha.default.bells.ring"
            await nats.jetstream().publish(subject, row["data"], headers=headers)
        await add(app, belfry.ring, "last")
        assert await rung(belfry, 2) == ["once", "last"]
    assert len(await fetch(app, "SELECT name FROM bells WHERE name = 'once'")) == 1


async def test_a_worker_that_stops_finishes_what_it_began(app: Quart, belfry: Belfry) -> None:
    async with working(app, belfry) as worker:
        await add(app, belfry.slow, "begun")

        async def begun() -> bool:
            return bool(worker._busy)

        await until(begun, what="a job that runs")
        asyncio.get_running_loop().call_later(0.1, belfry.gate.set)
    assert belfry.rung == ["begun"]


async def test_a_worker_hands_back_what_it_can_not_finish(app: Quart, belfry: Belfry) -> None:
    async with working(app, belfry) as worker:
        await add(app, belfry.slow, "handed back")

        async def begun() -> bool:
            return bool(worker._busy)

        await until(begun, what="a job that runs")
    assert belfry.rung == []
    belfry.gate.set()
    async with working(app, belfry):
        assert await rung(belfry, 1) == ["handed back"]


async def test_queues_that_are_lost_are_filled_again(
    app: Quart, belfry: Belfry, nats: Client
) -> None:
    async with working(app, belfry):
        await add(app, belfry.ring, "done")
        await rung(belfry, 1)
    await add(app, belfry.ring, "waits")

    async def all_sent() -> bool:
        return not await fetch(app, "SELECT FROM outbox WHERE published_at IS NULL")

    await until(all_sent, what="both jobs published")
    await nats.jetstream().delete_stream("jobs-alpha")
    async with working(app, belfry):
        await add(app, belfry.ring, "wakes")
        assert sorted(await rung(belfry, 3)) == ["done", "waits", "wakes"]


async def test_a_tick_fires_once_however_many_workers_there_are(app: Quart, belfry: Belfry) -> None:
    now = datetime(2026, 11, 25, 3, 0, 30, tzinfo=UTC)
    nightly = Periodic("0 3 * * *", belfry.ring, Ring("nightly"))
    for late in (0, 10, 1800):
        async with app.app_context(), transaction() as db:
            await enqueue_ticks(db, nightly, now + timedelta(seconds=late))
    async with app.app_context(), transaction() as db:
        await enqueue_ticks(db, nightly, now - timedelta(hours=2))
    async with working(app, belfry), working(app, belfry):
        await add(app, belfry.urgent, "after")
        await rung(belfry, 2)
    assert sorted(belfry.rung) == ["after", "nightly"]


def test_pauses_grow_and_are_spread_out() -> None:
    import random

    chance = random.Random(7)
    pauses = [pause(attempt, 1.0, chance) for attempt in range(1, 12)]
    assert all(0 <= seconds <= min(2.0**n, 600) for n, seconds in enumerate(pauses, start=1))
    assert len(set(pauses)) == len(pauses)


def test_every_priority_has_a_slot_of_its_own() -> None:
    assert all(slots >= 1 for slots in SLOTS.values())
