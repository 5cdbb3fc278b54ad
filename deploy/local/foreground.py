"""A stack in this process: until a signal stops it."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import asdict
from typing import Any

from deploy.local.console import Console, table
from deploy.local.follow import Follower, follow
from deploy.local.reload import reload_changed
from deploy.local.stack import Stack
from deploy.local.suite import PROCESSES


async def run(
    stack: Stack,
    console: Console,
    *,
    on_ready: Callable[[], None],
    with_logs: bool = True,
    with_reload: bool = False,
) -> None:
    """Start the stack, tell that it is ready, and stop it on SIGINT or SIGTERM.

    Raises `CannotStart`; all is stopped by then."""
    stop = _stop_signal()
    try:
        async with _beside(_follow(stack, console), on=with_logs):
            if await _finished(stack.start(), stop):
                _tell_ready(stack, console)
                on_ready()
                async with _beside(reload_changed(stack), on=with_reload):
                    await stop.wait()
            console.say("stack", "stops all")
            await stack.stop()
    except BaseException:
        await stack.stop()
        raise


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _finished(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Do the work; false when a signal came before it was done."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            return False
        working.result()
        return True
    finally:
        working.cancel()
        stopping.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


def _tell_ready(stack: Stack, console: Console) -> None:
    console.print("")
    console.print(table([asdict(row) | {"ready": True} for row in stack.table()]))
    console.print("")
    console.print(f"Quartet is ready: {stack.url}")


async def _follow(stack: Stack, console: Console) -> None:
    paths = (stack.state.logs / f"{name}.log" for name in PROCESSES)
    await follow([Follower(path) for path in paths], console.log)


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None], *, on: bool) -> AsyncIterator[None]:
    """Do the work in the background while the context is open."""
    if not on:
        work.close()
        yield
        return
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
