"""What is known of the request, or of the event, that the current task works on."""

import asyncio
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import msgspec
from opentelemetry import trace


class Work(msgspec.Struct):
    """Facts gathered while one request or event is worked on.

    `statements` and `database_seconds` cost the SQL; `position` is the newest outbox position
    that this work wrote, `aggregate` what its event happened to, and `touched` the tags of what it
    changed; `applied` are the events of others that it waited for and has seen;
    `account` is the caller's id; `job` is the job that runs; `deadline` is when the answer comes
    too late, by the event loop's clock; `enclosing` opens the transaction that all others of this
    work are parts of.
    """

    route: str = ""
    account: UUID | None = None
    statements: int = 0
    database_seconds: float = 0.0
    position: int | None = None
    aggregate: str = ""
    touched: list[str] | None = None
    applied: dict[str, int] = {}
    job: UUID | None = None
    deadline: float | None = None
    enclosing: Any = None


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


def seconds_left() -> float | None:
    """Seconds until the deadline of the current work, below 0 when it has passed; None where there
    is none.
    """
    work = _work.get()
    if work is None or work.deadline is None:
        return None
    return work.deadline - asyncio.get_running_loop().time()
