"""Two tiny services: alpha tells that a bell rang, and beta keeps what it heard."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import ClassVar

import msgspec
from quart import Quart, Response

from shared.bus import use_bus
from shared.database import Connection, connection, transaction, use_database
from shared.events import Envelope, Event
from shared.http import operation, reply
from shared.inbox import Delivery, use_inbox
from shared.operations import use_operations
from shared.outbox import publish, use_outbox
from shared.service import create_service
from shared.settings import DataSettings

SOON = Delivery(attempts=3, first_pause=0.01, longest_pause=0.05, ack_wait=1.0)
TABLES = "CREATE TABLE bells (name text NOT NULL); CREATE TABLE heard (name text NOT NULL);"

Hear = Callable[[Connection, "Rang", Envelope], Awaitable[None]]


class Rang(Event, frozen=True, kw_only=True):
    """A bell rang."""

    SUBJECT: ClassVar[str] = "alpha.rang.v1"

    name: str

    @property
    def aggregate(self) -> str:
        return self.name


async def hear(db: Connection, event: Rang, envelope: Envelope) -> None:
    """Keep it, once for each time that the effect happens."""
    await db.execute("INSERT INTO heard (name) VALUES ($1)", event.name)


async def ring(app: Quart, *names: str) -> int:
    """Ring bells of alpha, each in a transaction of its own; return the last one's position."""
    position = 0
    for name in names:
        async with app.app_context(), transaction() as db:
            await db.execute("INSERT INTO bells (name) VALUES ($1)", name)
            position = await publish(db, Rang(name=name), datetime.now(UTC))
    return position


async def heard(app: Quart) -> list[str]:
    """What beta has heard, sorted."""
    async with app.app_context(), connection() as db:
        return [row["name"] for row in await db.fetch("SELECT name FROM heard ORDER BY name")]


def create_alpha(settings: DataSettings) -> Quart:
    """The publisher."""
    app = create_service("alpha", settings)
    use_database(app, settings)
    use_bus(app, settings.nats_url, settings.nats_replicas)
    use_outbox(app, settings)
    return app


def create_beta(settings: DataSettings, hear: Hear = hear, delivery: Delivery = SOON) -> Quart:
    """The consumer, and a route that shows what it heard."""
    app = create_service("beta", settings)
    use_database(app, settings)
    use_bus(app, settings.nats_url, settings.nats_replicas)
    use_inbox(app, {Rang: hear}, delivery)
    use_operations(app, every=0.05)
    app.add_url_rule("/api/heard", "list_heard", list_heard)
    return app


class Heard(msgspec.Struct, frozen=True):
    """What beta heard."""

    heard: list[str]


@operation("ListHeard", "What was heard", access="public", tag="Bells", returns={200: Heard})
async def list_heard() -> Response:
    """Everything, sorted."""
    async with connection() as db:
        rows = await db.fetch("SELECT name FROM heard ORDER BY name LIMIT 1000")
    return reply(Heard([row["name"] for row in rows]))
