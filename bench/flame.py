"""Flame graphs: py-spy watches a process while it serves."""

import asyncio
import re
from pathlib import Path

from bench import load
from bench.places import Places
from deploy.local.suite import ROOT

SAMPLES = 250  # a second


async def flames(places: Places, name: str, path: str, seconds: float, folder: Path) -> list[Path]:
    """Draw each process that answers at the door `name` while it serves `path`; returns the
    drawings.

    Raises `RuntimeError` where py-spy may not look into other processes: it needs root, or
    `kernel.yama.ptrace_scope=0`.
    """
    drawn = []
    async with places.opened(name) as (door,):
        for child in door.children:
            role = child.name if child.name == name else f"{name}-{child.name}"
            drawn.append(folder / f"profile-{role}{re.sub(r'[^a-z]+', '-', path)}.svg")
            loading = asyncio.create_task(load.load(door.url + path, seconds + 2, 32))
            await asyncio.sleep(1)  # let it come to speed
            await _watch(child.pid, seconds, drawn[-1])
            await loading
    return drawn


async def _watch(pid: int | None, seconds: float, drawing: Path) -> None:
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
    await asyncio.to_thread(_clean, drawing)


def _clean(drawing: Path) -> None:
    """Where this checkout is, is nobody's business, nor what the makers of its script remark."""
    text = drawing.read_text().replace(f"{ROOT}/", "")
    drawing.write_text(re.sub(r"^\s*//.*\n", "", text, flags=re.MULTILINE))
