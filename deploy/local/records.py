"""Which processes are ours, on record in the state folder: none outlives its supervisor long."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.local.state import State


@dataclass(frozen=True)
class Record:
    """A process of ours; `started` tells it from a later process with the same number."""

    name: str
    pid: int
    started: str
    stop_signal: int = signal.SIGTERM


def record(state: State, name: str, pid: int, stop_signal: int = signal.SIGTERM) -> None:
    """Remember that `pid` is ours, for a later start to find."""
    state.write(f"run/{name}.json", asdict(Record(name, pid, started(pid) or "", stop_signal)))


def forget(state: State, name: str) -> None:
    """The process of `name` has ended."""
    (state.run / f"{name}.json").unlink(missing_ok=True)


def record_supervisor(state: State) -> None:
    """Note that this process is the supervisor in this folder."""
    pid = os.getpid()
    state.write("supervisor.json", {"pid": pid, "started": started(pid)})


def supervisor(state: State) -> int | None:
    """The process which is the supervisor in this folder, while it lives."""
    found = state.read("supervisor.json")
    is_alive = found is not None and started(found["pid"]) == found["started"]
    return found["pid"] if is_alive else None


def living(state: State) -> Iterator[Record]:
    """The processes on record which live."""
    for path in sorted(state.run.glob("*.json")):
        with suppress(FileNotFoundError, json.JSONDecodeError):
            entry = Record(**json.loads(path.read_text()))
            if entry.started and started(entry.pid) == entry.started:
                yield entry


async def claim(state: State) -> list[str]:
    """Take the folder, and end what a killed supervisor left running; gives the names.

    Raises `CannotStart` when another stack runs in it."""
    await asyncio.to_thread(state.make)
    await asyncio.to_thread(state.lock)
    return await end_orphans(state)


async def end_orphans(state: State, grace: float = 5.0) -> list[str]:
    """End what a killed supervisor left running, under the lock; gives the names."""
    orphans = list(living(state))
    for orphan in orphans:
        signal_group(orphan.pid, orphan.stop_signal)
    with suppress(TimeoutError):
        async with asyncio.timeout(grace):
            while True:
                if not list(living(state)):
                    break
                await asyncio.sleep(0.05)
    for orphan in living(state):
        signal_group(orphan.pid, signal.SIGKILL)
    for path in state.run.glob("*.json"):
        path.unlink()
    return [orphan.name for orphan in orphans]


def signal_group(pid: int, number: int) -> None:
    """Signal a process of ours, and those that it started; it leads a group of its own."""
    with suppress(ProcessLookupError):
        try:
            os.killpg(pid, number)
        except PermissionError:
            # macOS answers so when a member of the group is already dead.
            os.kill(pid, number)


def started(pid: int) -> str | None:
    """When the process began, as no other process of that number did; None when it is gone."""
    return _started_linux(pid) if sys.platform == "linux" else _started_ps(pid)


def command(pid: int) -> str | None:
    """The name of the program that the process runs; None when it is gone or cannot be told."""
    try:
        listing = subprocess.run(
            ["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return listing.stdout.strip() or None


def _started_linux(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Field 22 counts ticks since boot: it takes the boot's id to name a moment (proc_pid_stat(5)).
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None if fields[0] in "ZX" else f"{boot}/{fields[19]}"


def _started_ps(pid: int) -> str | None:
    listing = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    status, _, began = listing.stdout.strip().partition(" ")
    return None if not status or status.startswith("Z") else began.strip()
