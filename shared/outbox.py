"""The transactional outbox: an event commits with the state it tells of, then travels to NATS.

`publish` writes the row, and a relay publishes it. The row stays for a day after it was sent: a
stream that lost its disk is made and filled again.
"""

from collections.abc import AsyncGenerator
from datetime import datetime, timedelta

import msgspec
from opentelemetry import propagate
from quart import Quart
from uuid_utils.compat import uuid7

from shared.background import background
from shared.context import current_work
from shared.database import Connection
from shared.events import Event
from shared.facts import touched
from shared.relay import Relay
from shared.retention import Retention
from shared.settings import DataSettings

_encode = msgspec.json.Encoder().encode


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
        work.position, work.aggregate, work.touched = position, event.aggregate, touched(event)
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
        async with background(relay.run()):
            yield
