"""What runs while we measure: the suite, more doors to it, and the peers, on one machine."""

import asyncio
import compileall
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import load
from bench.peers import nginx
from deploy.local import suite
from deploy.local.endpoint import Endpoint
from deploy.local.process import Child, Say
from deploy.local.program import Program
from deploy.local.stack import Stack

READY_WITHIN = 30.0  # seconds
CALM_WITHIN = 120.0
CALM = 0.15  # seconds of CPU that all processes of the suite spend in one, when they do nothing
WORKERS = 1  # of each peer, as of each of our services
TOLD = {
    "GATEWAY_CACHE": "on",
    "QUARTET_LIMITS": "off",
    "QUARTET_LOG_LEVEL": "warning",  # peers write no access log either
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.1",
}
UNTRACED = {"OTEL_TRACES_EXPORTER": "none"}
# Doors beside the stack's own, and what they need to be there before them.
NEEDS = {
    "gateway-forward": ("nginx-small",),
    "gateway-untraced": ("content-untraced",),
    "nginx-forward": ("nginx-small",),
}


@dataclass(frozen=True)
class Door:
    """Where to ask, and the processes whose work it is to answer."""

    url: str
    children: tuple[Child, ...]

    @property
    def pids(self) -> list[int]:
        """Of the processes."""
        return [child.pid for child in self.children if child.pid is not None]


class Places:
    """Opens doors on a running stack, and closes them again. `databases` are those of further
    content processes, by their doors.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.databases: dict[str, str] = {}
        self._open = {
            name: Door(stack.addresses.services[name], (child,))
            for name, child in stack.services.items()
        }

    def door(self, name: str) -> Door:
        """A door that is open."""
        return self._open[name]

    async def calm(self) -> None:
        """Wait until the suite does nothing: what was filled in is told by events, and their
        subscribers have to have heard them before anything is measured.
        """
        pids = [pid for door in self._open.values() for pid in door.pids]
        async with asyncio.timeout(CALM_WITHIN):
            spent = CALM
            while spent >= CALM:
                before = load.cpu_seconds(pids)
                await asyncio.sleep(1)
                spent = load.cpu_seconds(pids) - before

    @asynccontextmanager
    async def opened(self, *names: str) -> AsyncIterator[list[Door]]:
        """The doors of these names, while the context is open."""
        async with AsyncExitStack() as closing:
            for name in names:
                await self._ensure(name, closing)
            yield [self._open[name] for name in names]

    async def _ensure(self, name: str, closing: AsyncExitStack) -> None:
        if name in self._open:
            return
        for needed in NEEDS.get(name, ()):
            await self._ensure(needed, closing)
        port = self.stack.state.port(name)
        program, probe = self._program(name, port)
        child = Child(Endpoint(name, "http", probe), program, self.stack.state, _say_nothing)
        closing.push_async_callback(child.stop, 5.0)
        child.start()
        await child.ready(READY_WITHIN)
        behind = self._content(name)
        self._open[name] = Door(f"http://127.0.0.1:{port}", (child, *behind))
        closing.callback(self._open.pop, name)

    def _content(self, name: str) -> tuple[Child, ...]:
        """The content process that works for a door as well."""
        if name == "gateway-uncached":
            return (self.stack.services["content"],)
        return self._open["content-untraced"].children if name == "gateway-untraced" else ()

    def _program(self, name: str, port: int) -> tuple[Program, str]:
        """What to run for a door, and where to ask whether it is ready."""
        url = f"http://127.0.0.1:{port}"
        if name.startswith(("gateway", "content")):
            return self._service(name, port), f"{url}/readyz"
        if name.startswith("nginx"):
            return self._nginx(name, port), f"{url}/api/tags"
        return self._python(name, port), f"{url}/api/articles"

    def _service(self, name: str, port: int) -> Program:
        """One more process of a service, told things that the stack's own is not."""
        service, _, _ = name.partition("-")
        addresses = self.stack.addresses
        known = replace(addresses, services=addresses.services | {f"{service}-2": f"at:{port}"})
        told = suite.environment(f"{service}-2", known, suite.secrets(self.stack.state))
        # The addresses of processes of which there is one; `known` would name the new one too.
        told |= {
            f"GATEWAY_{one.upper()}_URL": addresses.services[one] for one in suite.WITH_DATABASE
        }
        return suite.program(name, told | TOLD | self._differs(name), _command(service))

    def _differs(self, name: str) -> dict[str, str]:
        if name == "gateway-uncached":
            return {"GATEWAY_CACHE": "off"}
        if name.startswith("gateway-hearing"):
            return {"QUARTET_LOG_LEVEL": "debug"}  # which says of each event when it was heard
        if name == "gateway-forward":
            return {"GATEWAY_CACHE": "off", "GATEWAY_CONTENT_URL": self._open["nginx-small"].url}
        if name == "gateway-untraced":
            content = self._open["content-untraced"].url
            return UNTRACED | {"GATEWAY_CACHE": "off", "GATEWAY_CONTENT_URL": content}
        if name in self.databases:
            return {"CONTENT_DATABASE_URL": self.databases[name]}
        return UNTRACED

    def _nginx(self, name: str, port: int) -> Program:
        folder = self.stack.state.path / name
        folder.mkdir(exist_ok=True)
        configure: dict[str, Callable[[], str]] = {
            "nginx-small": lambda: nginx.small(folder, port),
            "nginx-forward": lambda: nginx.forward(folder, port, self._place("nginx-small")),
            "nginx-cache": lambda: nginx.cache(folder, port, self._place("content")),
        }
        conf = folder / "nginx.conf"
        conf.write_text(configure[name]())
        argv = (str(load.nginx()), "-p", str(folder), "-c", str(conf))
        return Program(argv=argv, env={}, cwd=folder)

    def _place(self, name: str) -> str:
        return self._open[name].url.removeprefix("http://")

    def _python(self, name: str, port: int) -> Program:
        url = self.stack.addresses.databases["content"]
        env = {"PEER_DATABASE_URL": url}
        return Program(argv=_peer(name, port), env=env, cwd=suite.ROOT)


def _command(service: str) -> tuple[str, ...]:
    """What starts a service, with the packages that its image has and no others."""
    return (str(load.VENV / "suite" / "bin" / "python"), *suite.command(service)[1:])


def _peer(name: str, port: int) -> tuple[str, ...]:
    programs = load.VENV / "bin"
    if name == "fastapi":
        arguments = f"--port {port} --workers {WORKERS} --no-access-log --log-level warning"
        uvicorn = (
            f"-m uvicorn bench.peers.fastapi_app:app --loop uvloop --http httptools {arguments}"
        )
        return (str(programs / "python"), *uvicorn.split())
    arguments = f"--bind 127.0.0.1:{port} --workers {WORKERS} --worker-class gthread --threads 4"
    gunicorn = "-m gunicorn bench.peers.flask_app:app --keep-alive 60"
    return (str(programs / "python"), *gunicorn.split(), *arguments.split())


def _compile() -> None:
    """As images do. A process that compiles what it imports keeps ten megabytes of that for good,
    and where the environment forbids to write bytecode down, each of them compiles anew.
    """
    for folder in (load.VENV / "suite" / "lib", suite.ROOT / "services", suite.ROOT / "shared"):
        compileall.compile_dir(folder, quiet=2)


def _say_nothing(name: str, sentence: str) -> None:
    pass


@asynccontextmanager
async def places(
    folder: Path, say: Say, told: Mapping[str, str] | None = None
) -> AsyncIterator[Places]:
    """A stack in `folder` with the benchmark's settings, and its doors."""
    await asyncio.to_thread(_compile)
    async with Stack(folder, told=TOLD | dict(told or {}), say=say, command=_command) as stack:
        yield Places(stack)
