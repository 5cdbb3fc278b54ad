"""Statements as they run: bounded by the deadline, counted, and traced where that is wanted."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from quart import current_app

from shared.context import current_work, seconds_left
from shared.errors import Unavailable
from shared.pressure import Pressure

_tracer = trace.get_tracer("quartet.database")
# What asyncpg ends a transaction with. It must reach the server after the deadline too: the
# connection goes back to the pool.
_ENDINGS = ("COMMIT", "ROLLBACK", "RELEASE")


class CountedConnection(asyncpg.Connection):
    """Adds each statement, and its seconds, to the current work, and notes that it was answered."""

    pressure: Pressure | None = None

    async def execute(self, query: str, *args: Any, **options: Any) -> Any:
        with _counted(self, query, options, bounded=not query.startswith(_ENDINGS)):
            return await super().execute(query, *args, **options)

    async def executemany(self, command: str, *args: Any, **options: Any) -> Any:
        with _counted(self, command, options):
            return await super().executemany(command, *args, **options)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        with _counted(self, query, options):
            return await super().fetch(query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        with _counted(self, query, options):
            return await super().fetchrow(query, *args, **options)

    async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
        with _counted(self, query, options):
            return await super().fetchval(query, *args, **options)


def _span(statement: str) -> trace.Span:
    """A span for a statement of a request or event whose spans are wanted. It tells that the
    statement failed and not why: PostgreSQL quotes rows in its errors, mail addresses among them.
    """
    if not trace.get_current_span().is_recording():
        return trace.INVALID_SPAN
    said = {"db.system.name": "postgresql", "db.query.text": statement}
    return _tracer.start_span(statement.split(None, 1)[0], kind=SpanKind.CLIENT, attributes=said)


@contextmanager
def _counted(
    db: CountedConnection, query: str, options: dict[str, Any], *, bounded: bool = True
) -> Iterator[None]:
    """Raises `Unavailable` when the deadline of the work has passed; else it bounds the statement,
    which asyncpg cancels in the server.
    """
    left = seconds_left() if bounded else None
    if left is not None:
        if left <= 0:
            raise Unavailable("The deadline has passed.")
        limit = options.get("timeout") or current_app.extensions["settings"].statement_timeout
        options["timeout"] = min(left, limit)
    work, begun, span = current_work(), time.perf_counter(), _span(query)
    try:
        yield
        if db.pressure is not None:
            db.pressure.answered()
    except BaseException as error:
        span.set_status(StatusCode.ERROR)
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None  # quotes the row, which no log may hold
        raise
    finally:
        span.end()
        if work is not None:
            work.statements += 1
            work.database_seconds += time.perf_counter() - begun
