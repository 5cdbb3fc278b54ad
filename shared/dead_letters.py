"""Events and jobs that failed too often, set aside with all that they came with: an operator judges
them, and has them tried again or forgotten.
"""

import traceback
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from shared.context import trace_id
from shared.database import Connection
from shared.events import Envelope


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One of them. `data` is what it said, `traceId` where it failed."""

    id: UUID
    subject: str
    source: str
    position: int
    attempts: int
    error: str
    trace_id: str
    failed_at: datetime
    traceback: str
    data: str


async def insert_dead_letter(
    db: Connection, message: Msg, envelope: Envelope, error: BaseException, attempts: int
) -> None:
    """Set a message aside. One that was set aside before, and tried again, has failed anew."""
    await db.execute(
        """INSERT INTO dead_letters (id, subject, source, position, data, error, traceback,
                                     attempts, trace_id, failed_at, headers)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
           ON CONFLICT (id) DO UPDATE
              SET error = EXCLUDED.error, traceback = EXCLUDED.traceback,
                  attempts = EXCLUDED.attempts, trace_id = EXCLUDED.trace_id,
                  failed_at = EXCLUDED.failed_at, headers = EXCLUDED.headers""",
        envelope.id,
        envelope.subject,
        envelope.source,
        envelope.position,
        message.data,
        _storable(repr(error)),
        _storable("".join(traceback.format_exception(error))),
        attempts,
        trace_id(),
        datetime.now(UTC),
        msgspec.json.encode(message.headers or {}),
    )


def _storable(text: str) -> str:
    """PostgreSQL holds neither NUL nor lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


async def select_dead_letters(
    db: Connection, limit: int, before: datetime | None = None
) -> list[DeadLetter]:
    """Those that failed last, before a moment if one is given."""
    rows = await db.fetch(
        """SELECT id, subject, source, position, attempts, error, trace_id, failed_at, traceback,
                  encode(data, 'escape') AS data
             FROM dead_letters
            WHERE failed_at < coalesce($2::timestamptz, 'infinity')
            ORDER BY failed_at DESC, id
            LIMIT $1""",
        limit,
        before,
    )
    return [DeadLetter(**row) for row in rows]


async def count_dead_letters(db: Connection) -> int:
    """How many there are."""
    count: int = await db.fetchval("SELECT count(*) FROM dead_letters")
    return count


async def select_ids(db: Connection) -> list[UUID]:
    """All of them, those first that failed first."""
    rows = await db.fetch("SELECT id FROM dead_letters ORDER BY failed_at, id LIMIT 100000")
    return [row["id"] for row in rows]


async def drop(db: Connection, id_: UUID) -> bool:
    """Forget one; False if there is none of this id."""
    return await db.execute("DELETE FROM dead_letters WHERE id = $1", id_) == "DELETE 1"


async def retry(db: Connection, jetstream: JetStreamContext, id_: UUID) -> bool:
    """Have one delivered again, and forget it; False if there is none of this id.

    It stays until NATS has it; what it may have done already, it does not do again, by the inbox.
    Others that read its stream shrug. Should it fail for good once more, it is here again.
    """
    row = await db.fetchrow(
        """SELECT id, subject, source, position, data, headers, failed_at
             FROM dead_letters WHERE id = $1""",
        id_,
    )
    if row is None:
        return False
    await jetstream.publish(row["subject"], row["data"], headers=_headers(row))
    await db.execute(
        "DELETE FROM dead_letters WHERE id = $1 AND failed_at = $2", id_, row["failed_at"]
    )
    return True


def _headers(row: Any) -> dict[str, str]:
    """Those that it came with, but for the id by which NATS would drop it. An older version of the
    service did not keep them.
    """
    kept = msgspec.json.decode(row["headers"], type=dict[str, str])
    told = {
        "ce-id": str(row["id"]),
        "ce-source": row["source"],
        "ce-type": row["subject"],
        "ce-subject": "",
        "ce-sequence": str(row["position"]),
        "ce-time": row["failed_at"].isoformat(),
    }
    return told | kept | {"Nats-Msg-Id": str(uuid4())}
