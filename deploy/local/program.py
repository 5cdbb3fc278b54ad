"""A program to run, and how a process of it begins."""

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deploy.local import logs
from deploy.local.errors import CannotStart, ChildFailed
from deploy.local.records import signal_group


@dataclass(frozen=True)
class Identity:
    """Another system user to run as; a `prefix` command, where there is one, does the change."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """What to run, and by which signal it ends."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    stop_signal: signal.Signals = signal.SIGTERM
    identity: Identity | None = None

    async def spawn(self, log: Path) -> asyncio.subprocess.Process:
        """Begin a process that leads a group of its own and writes to `log`."""
        identity = self.identity
        change = identity is not None and not identity.prefix
        prefix = identity.prefix if identity else ()
        if not prefix:
            prefix = await asyncio.to_thread(end_with_parent, self.stop_signal.name)
        output = await asyncio.to_thread(logs.open_log, log)
        try:
            return await asyncio.create_subprocess_exec(
                *prefix,
                *self.argv,
                env=dict(self.env),
                cwd=self.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=identity.uid if identity and change else None,
                group=identity.gid if identity and change else None,
                extra_groups=[] if change else None,
            )
        finally:
            os.close(output)


@cache
def end_with_parent(stop_signal: str) -> tuple[str, ...]:
    """A prefix by which the kernel ends a program when its supervisor dies; Linux has it."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    prefix = (setpriv, "--pdeathsig", stop_signal.removeprefix("SIG")) if setpriv else ()
    return prefix if prefix and runs(*prefix, "true") else ()


def runs(*command: str) -> bool:
    """Whether the command can be run here and succeeds."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


async def run_to_end(program: Program, name: str, log: Path, within: float) -> None:
    """Run a program that ends by itself. Raises `ChildFailed` when it fails or takes too long."""
    process = await program.spawn(log)
    try:
        async with asyncio.timeout(within):
            code = await process.wait()
    except TimeoutError:
        sentence = f"{name} took over {within:g} s; its log is {log}."
        raise ChildFailed(log.stem, sentence, logs.tail(log)) from None
    finally:
        signal_group(process.pid, signal.SIGKILL)
    if code != 0:
        sentence = f"{name} failed ({how_ended(code)}); its log is {log}."
        raise ChildFailed(log.stem, sentence, logs.tail(log))


def how_ended(code: int) -> str:
    """An exit code in words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def package(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise CannotStart(f"The package {name} is not installed: run `make setup`.")
    return Path(spec.origin).parent
