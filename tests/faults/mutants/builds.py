"""Builds of services that die at a moment where order matters: two that have it right, and others
that a checker must tell from them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from quart import current_app

from shared import database, inbox, outbox, relay
from shared.database import Connection
from shared.events import Envelope
from tests.faults.mutants.death import Death

ANSWERED_WITHIN = 0.5  # seconds


@dataclass(frozen=True)
class Build:
    """How to change a service before it starts; `number` says at which chance it dies."""

    service: str
    change: Callable[[Death], None]
    number: int = 5


def dies_before_it_acknowledges(death: Death) -> None:
    """The right order: the fact is delivered again, and dropped."""
    acknowledge = Msg.ack

    async def ack(message: Msg) -> None:
        death.may_come()
        await acknowledge(message)

    patch.object(Msg, "ack", ack).start()


def dies_before_it_answers(death: Death) -> None:
    """The right order: nobody knows what was done; who asks again by the same key is told."""
    open_transaction = database.open_transaction

    @asynccontextmanager
    async def deadly() -> AsyncIterator[Connection]:
        async with open_transaction() as db:
            yield db
        death.may_come()

    patch.object(database, "open_transaction", deadly).start()


def acknowledges_before_it_commits(death: Death) -> None:
    """Wrong: NATS won't deliver again what nobody has."""

    class Consumer(inbox.Consumer):
        async def _take_together(self, _: object) -> bool:
            return False

        async def _take_event(self, message: Msg, envelope: Envelope) -> None:
            await message.ack()
            await (await self._app.extensions["bus"].client()).flush()
            death.may_come()
            await self._until_available(message, envelope)

    patch.object(inbox, "Consumer", Consumer).start()


def forgets_what_it_took_in(death: Death) -> None:
    """Wrong: takes in again what is delivered again."""

    async def insert_received(db: Connection, envelope: Envelope, now: datetime) -> bool:
        await db.execute(
            "INSERT INTO inbox (id, source, position, received_at) VALUES ($1, $2, $3, $4)",
            envelope.id,
            envelope.source,
            envelope.position,
            now,
        )
        return True

    patch.object(inbox, "insert_received", insert_received).start()
    dies_before_it_acknowledges(death)


def dies_before_it_marks(death: Death) -> None:
    """The right order: facts are sent again, and dropped by whoever has them."""

    async def update_published(db: Connection, positions: list[int], now: datetime) -> None:
        death.may_come()
        await mark(db, positions, now)

    mark = relay.update_published
    patch.object(relay, "update_published", update_published).start()


def marks_before_it_publishes(death: Death) -> None:
    """Wrong: facts that are marked are sent never again."""

    class Relay(relay.Relay):
        async def _publish_waiting(self, db: Any, jetstream: JetStreamContext) -> None:
            rows = await relay.select_unpublished(db, relay.BATCH, datetime.now(UTC))
            if rows:
                now = datetime.now(UTC)
                await relay.update_published(db, [row.position for row in rows], now)
                death.may_come()
                await asyncio.gather(*(self._send(jetstream, row) for row in rows))
            await asyncio.sleep(0.05)

    patch.object(outbox, "Relay", Relay).start()


def answers_before_it_commits(death: Death) -> None:
    """Wrong: the client is told of what may never be."""

    @asynccontextmanager
    async def open_transaction() -> AsyncIterator[Connection]:
        pool = current_app.extensions["database"]
        db = await pool.acquire()
        transaction = db.transaction()
        await transaction.start()
        try:
            yield db
        except BaseException:
            await transaction.rollback()
            await pool.release(db)
            raise
        later.add(asyncio.create_task(commit(pool, db, transaction)))

    async def commit(pool: Any, db: Any, transaction: Any) -> None:
        if not death.has_come:
            await asyncio.sleep(ANSWERED_WITHIN)
            death.may_come()
        await transaction.commit()
        await pool.release(db)

    later: set[asyncio.Task[None]] = set()
    patch.object(database, "open_transaction", open_transaction).start()


RIGHT = {
    "dies before it acknowledges": Build("notifications", dies_before_it_acknowledges),
    "dies before it marks": Build("content", dies_before_it_marks),
    "dies before it answers": Build("content", dies_before_it_answers, number=10),
}
WRONG = {
    "acknowledges before it commits": Build("notifications", acknowledges_before_it_commits),
    "forgets what it took in": Build("notifications", forgets_what_it_took_in),
    "marks before it publishes": Build("content", marks_before_it_publishes),
    "answers before it commits": Build("content", answers_before_it_commits),
}
