"""Those who work off the queues, and what is asked of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from uuid import UUID

from nats.aio.client import Client
from nats.js.errors import NotFoundError
from quart import Quart

from services.notifications.jobs import JOBS, PERIODIC
from services.notifications.mail import use_mail
from services.notifications.model import ChannelsChange, Kind
from services.notifications.queries.preferences import upsert_preferences
from services.notifications.settings import Settings
from services.notifications.tests.facts import Fact, fact
from shared.bus import use_bus
from shared.database import Connection, use_database
from shared.events import Event
from shared.outbox import use_outbox
from shared.service import create_service
from shared.testing import until
from shared.worker import Worker


def create_crew(settings: Settings) -> Quart:
    """The worker's app, with nobody who works the queues off."""
    app = create_service("notifications", settings)
    use_mail(app, settings)
    use_database(app, settings)
    use_bus(app, settings.nats_url, settings.nats_replicas)
    use_outbox(app, settings, queues=True)
    return app


async def lose_streams(nats_url: str, *streams: str) -> None:
    """Let there be nothing of an earlier test, of this service's or another's."""
    nats = Client()
    await nats.connect(nats_url)
    for stream in streams:
        with suppress(NotFoundError):
            await nats.jetstream().delete_stream(stream)
    await nats.close()


@asynccontextmanager
async def working(crew: Quart) -> AsyncIterator[None]:
    worker = Worker(crew, JOBS, PERIODIC, first_pause=0.01)
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.finish(5.0)


def now(event: Event) -> Fact:
    """Something that happens now."""
    return Fact(event, fact(event).position, datetime.now(UTC))


def address(account: UUID) -> str:
    return f"{account.hex}@example.org"


async def happen(db: Connection, *events: Event) -> None:
    for event in events:
        await now(event).arrive(db)


async def wants_mail(db: Connection, account: UUID, *kinds: Kind, inbox: bool = True) -> None:
    said = {kind: ChannelsChange(inbox=inbox, email=True) for kind in kinds}
    await upsert_preferences(db, account, said)


async def waiting(db: Connection) -> int:
    """How many mails there are, sent or not."""
    count: int = await db.fetchval(
        "SELECT count(*) FROM outbox WHERE subject LIKE 'jobs.notifications.%.email.%'"
    )
    return count


async def all_done(db: Connection) -> None:
    async def done() -> bool:
        left = await db.fetchval(
            """SELECT count(*) FROM outbox
                WHERE subject LIKE 'jobs.%' AND id NOT IN (SELECT id FROM inbox)"""
        )
        return bool(left == 0)

    await until(done, what="the end of all jobs")
