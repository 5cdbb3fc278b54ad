"""What came of it, as a table."""

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import psutil

from services.gateway.valkey import CONNECTIONS
from shared.settings import ServiceSettings
from tests.faults.findings import Wrong
from tests.faults.processes import (
    MEGABYTE,
    MORE_FILES,
    MORE_MEMORY,
    MORE_SESSIONS,
    Held,
)
from tests.faults.run import Result

HEADER = (
    "fault",
    "times",
    "requests",
    "failed",
    "acknowledged",
    "lost",
    "duplicated",
    "mailed twice",
    "recovery",
)


def joined(results: Iterable[Result]) -> list[Result]:
    """One result for each fault: of those that came several times, the slowest recovery."""
    by_fault: dict[str, Result] = {}
    for result in results:
        before = by_fault.get(result.fault)
        by_fault[result.fault] = result if before is None else before + result
    return list(by_fault.values())


def table(results: Sequence[Result]) -> str:
    """The results in Markdown."""
    rows = [
        (
            result.fault,
            result.times,
            result.requests,
            len(result.failures),
            result.acknowledged,
            result.count(Wrong.LOST),
            result.count(Wrong.DUPLICATED) + result.count(Wrong.INVENTED),
            result.count(Wrong.MAILED_TWICE),
            f"{result.recovery:.1f} s",
        )
        for result in results
    ]
    return _markdown(HEADER, rows)


def held(before: dict[str, Held], after: dict[str, Held]) -> str:
    """What processes held before and after, in Markdown."""
    rows = []
    for name, now in after.items():
        then = before[name]
        memory = f"{then.resident // MEGABYTE} → {now.resident // MEGABYTE}"
        files, sessions = f"{then.files} → {now.files}", f"{then.sessions} → {now.sessions}"
        rows.append((name, memory, files, sessions))
    return _markdown(("process", "MiB", "open files and sockets", "PostgreSQL sessions"), rows)


def page(tables: Sequence[str], rate: float, seconds: float) -> str:
    """The page of results; `tables` are faults, rolling restart, and what was held."""
    faults, rolling, before_and_after = tables
    memory = psutil.virtual_memory().total // MEGABYTE // 1024
    return f"""# Faults

Written by `make faults`; do not edit. {datetime.now(UTC):%Y-%m-%d}, Python
{platform.python_version()}, {os.cpu_count()} cores, {memory} GiB, {seconds / 60:.0f} minutes.

People write through the gateway at {rate:g} requests a second and never wait for each other; then
something breaks. Afterwards the three databases and the mail are held against what the people were
told. **Lost** counts acknowledged writes that are not there, and effects (projections, counters,
notifications, mails) that are missing. **Duplicated** counts what is there twice, or was refused
and is there. A mail may be sent twice where a crash fell between the mail server's answer and our
commit; that is counted by itself. **Failed** requests were answered 5xx or not at all. **Recovery**
is the time from the end of the fault until somebody could register, follow, and be told of what
was published then; of several times the longest.

{faults}

## A rolling restart

Two processes of each service, two gateways behind a balancer that asks `/readyz`; every process is
restarted, one after the other.

{rolling}

## What was held before and after

Before: what is open before the first request, and memory after the first few. After: in rest after
the last fault, as soon as it holds that no process has {MORE_MEMORY:.0%} more memory,
{MORE_FILES} more open files ({CONNECTIONS} besides in the gateway and Valkey, for the pool between
them) and {MORE_SESSIONS} more sessions; the run fails if that takes more than
{2 * ServiceSettings().header_timeout:g} seconds. The memory of NATS is left out: by its heap
profile it holds a buffer of 8 MiB for each stream that is written to, and Go lets as much again lie
before it collects; what streams hold takes none.

{before_and_after}
"""


def _markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
