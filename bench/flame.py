"""Flame graphs: py-spy watches a process while it serves."""

import asyncio
import re
from pathlib import Path

from bench import load
from bench.places import Places
from services.gateway.routes import ROUTES
from services.gateway.table import Table

SAMPLES = 250  # a second


async def flames(places: Places, path: str, seconds: float, folder: Path) -> list[Path]:
    """Draw the gateway and the service behind it while they serve `path`; returns the drawings.

    Raises `RuntimeError` where py-spy may not look into other processes: it needs root, or
    `kernel.yama.ptrace_scope=0`.
    """
    service = Table(ROUTES).find(path.partition("?")[0])["GET"].upstream
    drawn = []
    async with places.opened("gateway-uncached") as (door,):
        watched = {"gateway": door.pids[0], service: places.door(service).pids[0]}
        for name, pid in watched.items():
            drawn.append(folder / f"profile-{name}{re.sub(r'[^a-z]+', '-', path)}.svg")
            loading = asyncio.create_task(load.load(door.url + path, seconds + 2, 32))
            await asyncio.sleep(1)  # let it come to speed
            await _watch(pid, seconds, drawn[-1])
            await loading
    return drawn


async def _watch(pid: int, seconds: float, drawing: Path) -> None:
    spy = str(load.VENV / "bin" / "py-spy")
    arguments = f"record --pid {pid} --duration {round(seconds)} --rate {SAMPLES}"
    process = await asyncio.create_subprocess_exec(
        spy,
        *arguments.split(),
        f"--output={drawing}",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(output.decode())
