"""A stack in a process of its own: started, asked and stopped from others."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from deploy.local import logs, records
from deploy.local.console import Console
from deploy.local.stack import Row
from deploy.local.state import State

STOP_WITHIN = 12.0  # seconds: what a stack takes at most, and some more


def start(arguments: Sequence[str]) -> int:
    """Start `up` in a session of its own; returns its exit code, or 0 as soon as all is ready."""
    told, telling = os.pipe()
    command = [sys.executable, "-m", "deploy.local", "up", f"--tell={telling}", *arguments]
    supervisor = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, pass_fds=[telling], start_new_session=True
    )
    os.close(telling)
    try:
        is_ready = os.read(told, 1) != b""
    except KeyboardInterrupt:
        supervisor.terminate()
        supervisor.wait()
        return 130
    return 0 if is_ready else (supervisor.wait() or 1)


def go_silent(state: State, tell: int) -> Callable[[], None]:
    """What the supervisor does once it is ready: tell who waits, and let go of their terminal."""

    def detach() -> None:
        output = logs.open_log(state.logs / "supervisor.log")
        for stream in (1, 2):
            os.dup2(output, stream)
        os.close(output)
        os.write(tell, b"1")
        os.close(tell)

    return detach


async def stop(state: State, console: Console) -> None:
    """End the supervisor in this folder, and what it may have left."""
    supervisor = records.supervisor(state)
    if supervisor is not None and state.is_locked():
        os.kill(supervisor, signal.SIGTERM)
        if not await _is_free(state, STOP_WITHIN):
            os.kill(supervisor, signal.SIGKILL)
            await _is_free(state, STOP_WITHIN)
            await records.claim(state)
        console.print("Quartet has stopped.")
        return
    orphans = await records.claim(state) if state.path.exists() else []
    state.unlock()
    if orphans:
        console.print(f"Ended what a killed stack had left: {', '.join(orphans)}.")
    else:
        console.print(f"Quartet is not running in {state.path}.")


async def status(state: State) -> list[dict[str, Any]]:
    """Each service and server: where, who, and whether it answers now."""
    known = state.read("table.json") or []
    rows = [Row(**row) for row in known]
    is_running = state.is_locked()
    return list(await asyncio.gather(*(_status(row, is_running) for row in rows)))


async def _status(row: Row, is_running: bool) -> dict[str, Any]:
    began = time.monotonic()
    ready = is_running and await row.endpoint.is_ready()
    took = round((time.monotonic() - began) * 1000) if row.ready_ms is None else row.ready_ms
    return {
        "service": row.service,
        "url": row.url,
        "pid": row.pid if is_running else None,
        "ready": ready,
        "ready_ms": took if ready else None,
    }


async def _is_free(state: State, within: float) -> bool:
    """Wait until no process holds the folder."""
    deadline = time.monotonic() + within
    while state.is_locked():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True
