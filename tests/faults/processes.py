"""Signals to a server and all that it started, and what processes hold."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import asyncpg
import psutil

from deploy.local.process import Child
from deploy.local.stack import Stack
from services.gateway.valkey import CONNECTIONS

MORE_MEMORY = 0.25  # of what it was; allocators keep some of what a burst needed
MORE_FILES = 8  # probes, exports and the like come and go
POOLED = ("gateway", "valkey")  # both ends of `CONNECTIONS`, which are kept for good
MORE_SESSIONS = 1
MEGABYTE = 1_048_576


def strike(child: Child, number: signal.Signals) -> None:
    """Signal the process and all below it: PostgreSQL's sessions lead groups of their own."""
    for process in _family(child):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _family(child: Child) -> list[psutil.Process]:
    assert child.pid is not None, f"{child.name} does not run"
    parent = psutil.Process(child.pid)
    return [parent, *parent.children(recursive=True)]


@dataclass(frozen=True)
class Held:
    """What a process holds: resident bytes, open files and sockets, sessions of PostgreSQL."""

    resident: int
    files: int
    sessions: int


async def measure(stack: Stack) -> dict[str, Held]:
    """What each service holds now, and NATS and Valkey at the other end of their connections. A
    worker's sessions count for its service, by whose name they go.
    """
    db = await asyncpg.connect(stack.addresses.postgres)
    try:
        rows = await db.fetch(
            """SELECT split_part(application_name, '-', 1), count(*)
                 FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1"""
        )
    finally:
        await db.close()
    sessions = {row[0]: int(row[1]) for row in rows}
    held = {}
    servers = {name: stack.servers.children[name] for name in ("nats", "valkey")}
    for name, child in (stack.services | servers).items():
        family = _family(child)
        resident = sum(process.memory_info().rss for process in family)
        files = sum(process.num_fds() for process in family)
        held[name] = Held(resident, files, sessions.get(name, 0))
    return held


def grown(before: dict[str, Held], after: dict[str, Held]) -> Iterator[str]:
    """Who holds more than they did, in words."""
    for name, now in after.items():
        then = before[name]
        # NATS holds a buffer of 8 MiB for each stream that is written to, however little it holds.
        if name != "nats" and now.resident > then.resident * (1 + MORE_MEMORY):
            sizes = f"{then.resident // MEGABYTE} MiB, now {now.resident // MEGABYTE} MiB"
            yield f"{name} had {sizes}"
        more_files = MORE_FILES + (CONNECTIONS if name in POOLED else 0)
        if now.files > then.files + more_files:
            yield f"{name} had {then.files} open files, now {now.files}"
        if now.sessions > then.sessions + MORE_SESSIONS:
            yield f"{name} had {then.sessions} sessions, now {now.sessions}"
