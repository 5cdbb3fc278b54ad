"""One supervised process: started, watched until ready, restarted when it dies, stopped in time."""

import asyncio
import importlib.util
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import logs, records
from deploy.local.errors import CannotStart, ChildFailed
from deploy.local.state import State

BAD_SETTINGS = 78  # EX_CONFIG of sysexits.h: to start again would not help
TRIES_BEFORE_READY = 3
LONGEST_PAUSE = 30.0  # seconds between two tries
STEADY = 20.0  # seconds of life after which a death counts as the first again

Say = Callable[[str, str], None]
"""`say(name, sentence)`: tell the reader what happened to whom."""


@dataclass(frozen=True)
class Endpoint:
    """Something that answers; `url` holds no secret, `probe` is true once it serves."""

    name: str
    url: str
    probe: Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class Identity:
    """Another system user to run as; a `prefix` command, where there is one, does the change."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """How to run something; a child of ours stops by `stop_signal`."""

    endpoint: Endpoint
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    stop_signal: signal.Signals = signal.SIGTERM
    identity: Identity | None = None


@dataclass
class Child:
    """A program that is kept running until `stop`."""

    program: Program
    state: State
    say: Say
    pid: int | None = None
    restarts: int = 0
    ready_ms: int | None = None
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _failed: asyncio.Event = field(default_factory=asyncio.Event)
    _exit_code: int | None = None
    _keeper: asyncio.Task[None] | None = None
    _stopping: bool = False

    @property
    def name(self) -> str:
        """The name of the program: also that of its log file."""
        return self.program.endpoint.name

    @property
    def log(self) -> Path:
        """Where the program's output goes."""
        return self.state.logs / f"{self.name}.log"

    @property
    def is_ready(self) -> bool:
        """Whether it was ready and has not died since."""
        return self._ready.is_set()

    def start(self) -> None:
        """Run the program, and run it again whenever it ends."""
        self._stopping = False
        self._failed.clear()
        self._keeper = asyncio.create_task(self._keep_running(), name=f"keep {self.name}")

    async def ready(self, within: float) -> None:
        """Wait until it serves; `ChildFailed` when it keeps dying or takes over `within` s."""
        assert self._keeper is not None, "start comes first"
        waits = [asyncio.create_task(e.wait()) for e in (self._ready, self._failed)]
        try:
            ends = [self._keeper, *waits]
            await asyncio.wait(ends, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._ready.is_set():
            return
        if self._keeper.done():
            self._keeper.result()
        reason = f"was not ready within {within:g} s"
        if self._exit_code is not None:
            reason = f"ended before it was ready ({how_ended(self._exit_code)})"
        output = await asyncio.to_thread(logs.tail, self.log)
        raise ChildFailed(f"{self.name} {reason}; its log is {self.log}.", output)

    async def stop(self, grace: float) -> None:
        """End it: asked first, killed after `grace` seconds."""
        self._stopping = True
        if self._keeper is None:
            return
        if self.pid is not None:
            records.signal_group(self.pid, self.program.stop_signal)
            done, _ = await asyncio.wait([self._keeper], timeout=grace)
            if not done and self.pid is not None:
                self.say(self.name, f"did not stop within {grace:.1f} s and was killed")
                records.signal_group(self.pid, signal.SIGKILL)
                await asyncio.wait([self._keeper], timeout=2)
        self._keeper.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeper
        self._keeper = None

    def kill(self) -> None:
        """End it at once, with no chance to clean up; it is started again."""
        if self.pid is not None:
            records.signal_group(self.pid, signal.SIGKILL)

    def restart(self) -> None:
        """Ask it to end; it is started again at once."""
        if self.pid is not None:
            records.signal_group(self.pid, self.program.stop_signal)

    async def _keep_running(self) -> None:
        pauses = _pauses()
        while True:
            began = time.monotonic()
            code = await self._run()
            if self._stopping:
                return
            if time.monotonic() - began > STEADY:
                pauses = _pauses()
            pause = next(pauses)
            self.restarts += 1
            self.say(self.name, f"ended ({how_ended(code)}); it starts again in {pause:g} s")
            if not self._was_ready and (
                code == BAD_SETTINGS or self.restarts >= TRIES_BEFORE_READY
            ):
                self._failed.set()
            await asyncio.sleep(pause)

    @property
    def _was_ready(self) -> bool:
        return self.ready_ms is not None

    async def _run(self) -> int:
        process = await self._spawn()
        watch = asyncio.create_task(self._watch(), name=f"watch {self.name}")
        try:
            stop_signal = self.program.stop_signal
            await asyncio.to_thread(records.record, self.state, self.name, process.pid, stop_signal)
            self._exit_code = await process.wait()
        finally:
            watch.cancel()
            self._ready.clear()
            self.pid = None
            # What it had started must not hold its port, or its data, when it comes again.
            records.signal_group(process.pid, signal.SIGKILL)
        await asyncio.to_thread(records.forget, self.state, self.name)
        return self._exit_code

    async def _spawn(self) -> asyncio.subprocess.Process:
        program, identity = self.program, self.program.identity
        change = identity is not None and not identity.prefix
        prefix = (identity.prefix if identity else ()) or end_with_parent(program)
        output = await asyncio.to_thread(logs.open_log, self.log)
        try:
            process = await asyncio.create_subprocess_exec(
                *prefix,
                *program.argv,
                env=dict(program.env),
                cwd=program.cwd,
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
        self.pid = process.pid
        return process

    async def _watch(self) -> None:
        began = time.monotonic()
        while True:
            if await is_up(self.program.endpoint):
                break
            await asyncio.sleep(0.03)
        again = self._was_ready
        self.ready_ms = round((time.monotonic() - began) * 1000)
        self._ready.set()
        if again:
            self.say(self.name, f"is ready again (pid {self.pid}, {self.ready_ms} ms)")


async def is_up(endpoint: Endpoint, within: float = 2.0) -> bool:
    """Whether the endpoint serves now; a probe that fails or takes too long says no."""
    try:
        async with asyncio.timeout(within):
            return await endpoint.probe()
    except Exception:
        return False


def how_ended(code: int) -> str:
    """An exit code in words."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def package(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise CannotStart(f"The package {name} is not installed: run `make setup`.")
    return Path(spec.origin).parent


def end_with_parent(program: Program) -> tuple[str, ...]:
    """A prefix by which the kernel ends the program when its supervisor dies; Linux has it."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return (setpriv, "--pdeathsig", program.stop_signal.name.removeprefix("SIG")) if setpriv else ()


def _pauses() -> Iterator[float]:
    pause = 0.2
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE)
