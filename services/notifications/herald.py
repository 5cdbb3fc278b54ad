"""Announcing: each notification gets its number once it can be shown, and an event tells of it.

Transactions that make notifications run side by side and commit in any order. Here all pass one
after the other, so numbers appear in their own order: what an account was told up to a number is
whole. A client that remembers the last one misses nothing, and gets nothing twice.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

import asyncpg
import msgspec
import structlog
from quart import Quart

from services.notifications import schema
from services.notifications.model import Announced
from services.notifications.queries.announcements import lock_order, update_numbers
from shared.background import background
from shared.database import Connection
from shared.events.notifications import NotificationsCreated, Told
from shared.outbox import publish

BATCH = 2_000
MOST_TOLD = 1_000  # accounts in one event: a tenth of what NATS takes as one message
POLL_SECONDS = 0.5
# All that everybody who is told of a fact sees of it.
_FACT = attrgetter(
    *("actor_id", "kind", "username", "image", "slug", "title", "created_at", "read_at")
)
_log = structlog.get_logger()


class Herald:
    """Announces what was committed, by a connection of the pool that it keeps."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Announce for ever; begin again a moment after the database was away."""
        while True:
            try:
                async with self._pool.acquire() as db:
                    await self._announce_for_ever(db)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                _log.warning("herald interrupted", error=type(error).__name__)
            await asyncio.sleep(POLL_SECONDS)

    async def _announce_for_ever(self, db: Any) -> None:
        await db.add_listener("told", self._hear)
        try:
            while True:
                self._wake.clear()
                async with db.transaction():
                    count = await announce_waiting(db, datetime.now(UTC))
                if count < BATCH:  # also what came while its rows were locked, or by no notice
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
        finally:
            if not db.is_closed():
                await db.remove_listener("told", self._hear)

    def _hear(self, *_: object) -> None:
        self._wake.set()


async def announce_waiting(db: Connection, now: datetime) -> int:
    """Announce up to `BATCH` notifications that wait for it; return how many."""
    await lock_order(db)
    announced = await update_numbers(db, BATCH)
    for event in events_of(announced):
        await publish(db, event, now)
    return len(announced)


def events_of(announced: Iterable[Announced]) -> Iterator[NotificationsCreated]:
    """One event for all who are told the same in a row."""
    for _, same in groupby(announced, _FACT):
        alike = list(same)
        shown = msgspec.to_builtins(schema.notification(alike[0]))
        del shown["id"]
        for start in range(0, len(alike), MOST_TOLD):
            yield NotificationsCreated(
                actor_id=alike[0].actor_id,
                notification=msgspec.Raw(msgspec.json.encode(shown)),
                told=[
                    Told(account_id=one.recipient_id, id=one.id, number=one.number)
                    for one in alike[start : start + MOST_TOLD]
                ],
            )


def use_herald(app: Quart) -> None:
    """Announce while `app` serves. Needs `use_database` before it."""

    @app.while_serving
    async def herald() -> AsyncGenerator[None, None]:
        async with background(Herald(app.extensions["database"]).run()):
            yield
