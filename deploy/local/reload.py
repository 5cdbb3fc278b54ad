"""Restart a service when its code changes."""

import asyncio
from pathlib import Path

from deploy.local.stack import Stack
from deploy.local.suite import PACKAGES, PROCESSES, ROOT

Stamp = dict[Path, float]


async def reload_changed(stack: Stack) -> None:
    """For ever: restart who uses a file that changed; `shared/` is used by all."""
    before = await asyncio.to_thread(_stamp)
    while True:
        await asyncio.sleep(0.5)
        now = await asyncio.to_thread(_stamp)
        changed = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
        for name in affected(changed):
            stack.services[name].restart()
        before = now


def _stamp() -> Stamp:
    """When each source file was last written."""
    folders = (ROOT / "services", ROOT / "shared")
    files = (path for folder in folders for path in folder.rglob("*.py"))
    return {path: path.stat().st_mtime for path in files if "tests" not in path.parts}


def affected(changed: set[Path]) -> list[str]:
    """The services that use one of the files."""
    parts = {path.relative_to(ROOT).parts[:2] for path in changed}
    if any(part[0] == "shared" for part in parts):
        return list(PROCESSES)
    return [name for name in PROCESSES if ("services", PACKAGES.get(name, name)) in parts]
