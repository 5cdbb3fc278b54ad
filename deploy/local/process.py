"""One supervised process: started, watched until ready, restarted when it dies, stopped in time."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local import logs, records
from deploy.local.endpoint import Endpoint
from deploy.local.errors import ChildFailed
from deploy.local.program import Program, how_ended
from deploy.local.state import State

BAD_SETTINGS = 78  # EX_CONFIG of sysexits.h: to start again would not help
TRIES_BEFORE_READY = 3
LONGEST_PAUSE = 30.0  # seconds between two tries
STEADY = 20.0  # seconds of life after which a death counts as the first again

Say = Callable[[str, str], None]
"""`say(name, sentence)`: tell the reader what happened to whom."""


@dataclass
class Child:
    """A program that is kept running until `stop`; `remedy` is advice for when it cannot."""

    endpoint: Endpoint
    program: Program
    state: State
    say: Say
    remedy: str = ""
    pid: int | None = None
    restarts: int = 0
    ready_ms: int | None = None
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _failed: asyncio.Event = field(default_factory=asyncio.Event)
    _last_end: str = ""
    _keeper: asyncio.Task[None] | None = None
    _stopping: bool = False
    _asked: bool = False

    @property
    def name(self) -> str:
        """The name of what it serves; its log file has it too."""
        return self.endpoint.name

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
        waits = [asyncio.create_task(e.wait()) for e in (self._ready, self._failed)]
        try:
            await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._ready.is_set():
            return
        reason = f"was not ready within {within:g} s"
        if self._failed.is_set():
            reason = f"ended before it was ready ({self._last_end})"
        output = await asyncio.to_thread(logs.tail, self.log)
        sentence = f"{self.name} {reason}; its log is {self.log}.{self.remedy}"
        raise ChildFailed(self.name, sentence, output)

    async def stop(self, grace: float) -> None:
        """End it: asked first, killed after `grace` seconds."""
        self._stopping = True
        if self._keeper is None:
            return
        if self.pid is not None:
            records.signal_group(self.pid, self.program.stop_signal)
            await asyncio.wait([self._keeper], timeout=grace)
            if self.pid is not None:
                self.say(self.name, f"did not stop within {grace:.1f} s and was killed")
                records.signal_group(self.pid, signal.SIGKILL)
                await asyncio.wait([self._keeper], timeout=2)
        self._keeper.cancel()
        await asyncio.gather(self._keeper, return_exceptions=True)
        self._keeper = None

    def kill(self) -> None:
        """End it at once, with no chance to clean up; it is started again, see `ready`."""
        self._asked = True
        self._ready.clear()
        if self.pid is not None:
            records.signal_group(self.pid, signal.SIGKILL)

    def restart(self) -> None:
        """Ask it to end; it is started again, see `ready`."""
        self._asked = True
        self._ready.clear()
        if self.pid is not None:
            records.signal_group(self.pid, self.program.stop_signal)

    async def _keep_running(self) -> None:
        pauses = _pauses()
        while True:
            began = time.monotonic()
            self._last_end, is_hopeless = await self._run()
            if self._stopping:
                return
            if self._asked or time.monotonic() - began > STEADY:
                pauses = _pauses()
            self._asked = False
            pause = next(pauses)
            self.restarts += 1
            self.say(self.name, f"ended ({self._last_end}); it starts again in {pause:g} s")
            if is_hopeless or (self.restarts >= TRIES_BEFORE_READY and self.ready_ms is None):
                self._failed.set()
            await asyncio.sleep(pause)

    async def _run(self) -> tuple[str, bool]:
        """One life of the process: how it ended, and whether another try is hopeless."""
        try:
            process = await self.program.spawn(self.log)
        except OSError as error:
            return f"could not be started: {error}", True
        self.pid = process.pid
        watch = asyncio.create_task(self._watch(), name=f"watch {self.name}")
        try:
            await asyncio.to_thread(self._record, process.pid)
            code = await process.wait()
        finally:
            watch.cancel()
            self._ready.clear()
            self.pid = None
            # What it had started must not hold its port, or its data, when it comes again.
            records.signal_group(process.pid, signal.SIGKILL)
        await asyncio.to_thread(records.forget, self.state, self.name)
        return how_ended(code), code == BAD_SETTINGS

    def _record(self, pid: int) -> None:
        records.record(self.state, self.name, pid, self.program.stop_signal)

    async def _watch(self) -> None:
        began = time.monotonic()
        while True:
            if await self.endpoint.is_ready():
                break
            await asyncio.sleep(0.03)
        was_ready = self.ready_ms is not None
        self.ready_ms = round((time.monotonic() - began) * 1000)
        self._ready.set()
        if was_ready:
            self.say(self.name, f"is ready again (pid {self.pid}, {self.ready_ms} ms)")


async def all_ready(children: Iterable[Child], within: float) -> None:
    """Wait until all serve; the first `ChildFailed` ends the wait."""
    waits = [asyncio.create_task(child.ready(within)) for child in children]
    try:
        await asyncio.gather(*waits)
    finally:
        for wait in waits:
            wait.cancel()


def _pauses() -> Iterator[float]:
    pause = 0.2
    while True:
        yield pause
        pause = min(pause * 2, LONGEST_PAUSE)
