"""Signals to a server and all that it started, and what processes hold."""

import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from deploy.local.process import Child


def strike(child: Child, number: signal.Signals) -> None:
    """Signal the process and all below it: PostgreSQL's sessions lead groups of their own."""
    assert child.pid is not None, f"{child.name} does not run"
    for process in _family(child.pid):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


@dataclass(frozen=True)
class Footprint:
    """What a process holds: resident bytes, and open files and sockets."""

    resident: int
    files: int


def footprints(children: Iterable[Child]) -> dict[str, Footprint]:
    """What each process holds now, with all below it."""
    held = {}
    for child in children:
        family = _family(child.pid) if child.pid is not None else []
        resident, files = 0, 0
        for process in family:
            with suppress(psutil.NoSuchProcess):
                resident += process.memory_info().rss
                files += process.num_fds()
        held[child.name] = Footprint(resident, files)
    return held
