"""What is known of the request, or of the event, that the current task works on."""

from contextvars import ContextVar
from uuid import UUID

import msgspec
from opentelemetry import trace


class Work(msgspec.Struct):
    """Facts gathered while one request or event is worked on.

    `statements` and `database_seconds` cost the SQL; `position` is the newest outbox position
    that this work wrote; `account` is the caller's id; `job` is the job that runs.
    """

    route: str = ""
    account: UUID | None = None
    statements: int = 0
    database_seconds: float = 0.0
    position: int | None = None
    job: UUID | None = None


_work: ContextVar[Work | None] = ContextVar("quartet_work", default=None)


def begin_work() -> Work:
    """Start counting afresh for this task and those that it starts."""
    work = Work()
    _work.set(work)
    return work


def current_work() -> Work | None:
    """What the current task works on; None outside a request or event."""
    return _work.get()


def trace_id() -> str:
    """The current trace's id, 32 hexadecimal digits; zeros where nothing is traced."""
    return format(trace.get_current_span().get_span_context().trace_id, "032x")
