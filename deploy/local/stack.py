"""The whole suite on this machine: servers, databases, services, in order, and back in reverse."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.local import logs, records, suite
from deploy.local.endpoint import Endpoint, Kind
from deploy.local.errors import CannotStart
from deploy.local.process import Child, Say, all_ready
from deploy.local.program import run_to_end
from deploy.local.servers import Elsewhere, Servers
from deploy.local.state import is_free
from deploy.local.suite import PROCESSES, WITH_DATABASE, Addresses, Command

READY_WITHIN = 60.0  # seconds
MIGRATED_WITHIN = 300.0
STOPPED_WITHIN = 9.5  # all of it, so that people see 10 s at most
SERVERS_STOP_IN = 3.5  # kept for the servers out of that


@dataclass(frozen=True)
class Row:
    """One line of the table: `target` is where to ask whether it is ready."""

    service: str
    url: str
    pid: int | None
    ready_ms: int | None
    kind: Kind
    target: str

    @property
    def endpoint(self) -> Endpoint:
        """What to ask."""
        return Endpoint(self.service, self.kind, self.target)


class Stack:
    """The suite, running while the context is open; whoever dies is started again.

    `port` is the gateway's, 0 for any; `told` are settings for all services, on top of what the
    stack tells them; `replicas` are processes of which there shall be several, all behind the one
    gateway. Raises `CannotStart` on entering."""

    def __init__(
        self,
        state: Path,
        *,
        port: int = 0,
        elsewhere: Elsewhere | None = None,
        told: Mapping[str, str] | None = None,
        free_megabytes: int = 500,
        say: Say | None = None,
        command: Command = suite.command,
        replicas: Mapping[str, int] | None = None,
    ) -> None:
        self._say_aloud = say
        self.servers = Servers(state, elsewhere=elsewhere, say=self._say)
        self.state = self.servers.state
        self.services: dict[str, Child] = {}
        self._port = port
        self._told = dict(told or {})
        self._free_megabytes = free_megabytes
        self._command = command
        counts = dict.fromkeys(PROCESSES, 1) | dict(replicas or {})
        self._processes = [one for name in PROCESSES for one in suite.replicas(name, counts[name])]
        self._rounds: asyncio.Task[None] | None = None
        self._written: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """The public door."""
        return self.addresses.services["gateway"]

    async def start(self) -> None:
        """Start all in order, and return when every service answers `/readyz` with 200."""
        orphans = await records.claim(self.state)
        await asyncio.to_thread(records.record_supervisor, self.state)
        if orphans:
            self._say("stack", f"ended what an earlier run had left: {', '.join(orphans)}")
        await asyncio.to_thread(self._check_machine)
        self._say("stack", "starts the servers")
        await self.servers.start()
        self._rounds = asyncio.create_task(self._keep_rounds(), name="rounds")
        self.addresses = await self._prepare()
        self._say("stack", "migrates the databases")
        await asyncio.gather(*(self._migrate(name) for name in WITH_DATABASE))
        self._say("stack", "starts the services")
        for name in self._processes:
            self.services[name] = self._service(name)
            self.services[name].start()
        await all_ready(self.services.values(), READY_WITHIN)
        await asyncio.to_thread(self._write_table)

    async def stop(self) -> None:
        """Stop all in reverse order, within 10 seconds."""
        deadline = time.monotonic() + STOPPED_WITHIN
        if self._rounds is not None:
            self._rounds.cancel()
        gateway = self.services.get("gateway")
        others = [child for name, child in self.services.items() if name != "gateway"]
        if gateway is not None:
            await gateway.stop((STOPPED_WITHIN - SERVERS_STOP_IN) / 2)
        grace = deadline - SERVERS_STOP_IN - time.monotonic()
        await asyncio.gather(*(child.stop(grace) for child in reversed(others)))
        await self.servers.stop(SERVERS_STOP_IN / 3)
        await asyncio.to_thread(self.state.unlock)

    def table(self) -> list[Row]:
        """All that runs, servers first."""
        children = self.servers.children | self.services
        endpoints = [*self.servers.endpoints, *(child.endpoint for child in self.services.values())]
        return [_row(endpoint, children.get(endpoint.name)) for endpoint in endpoints]

    def _check_machine(self) -> None:
        self.state.require_space(self._free_megabytes)
        if self._port and not is_free(self._port):
            raise CannotStart(
                f"Port {self._port} is in use: end the program that listens there, "
                "or set QUARTET_PORT to another."
            )

    async def _prepare(self) -> Addresses:
        urls = [await self.servers.create_database(name) for name in WITH_DATABASE]
        databases = dict(zip(WITH_DATABASE, urls, strict=True))
        return await asyncio.to_thread(self._addresses, databases)

    def _addresses(self, databases: dict[str, str]) -> Addresses:
        ports = {name: self.state.port(name) for name in self._processes if name != "gateway"}
        ports["gateway"] = self._port or self.state.port("gateway")
        self._secrets = suite.secrets(self.state)
        addresses = Addresses(
            postgres=self.servers.admin_url,
            databases=databases,
            nats=self.servers.nats_url,
            redis=self.servers.redis_url,
            otlp=self.servers.otlp_endpoint,
            smtp=self.servers.smtp_url,
            services={name: f"http://127.0.0.1:{port}" for name, port in ports.items()},
            metrics=f"http://127.0.0.1:{self.state.port('gateway metrics')}/metrics",
        )
        suite.save(self.state, addresses)
        return addresses

    async def _migrate(self, name: str) -> None:
        program = suite.program(name, self._environment(name), (*self._command(name), "migrate"))
        log = self.state.logs / f"{name}.log"
        await run_to_end(program, f"The migration of {name}", log, MIGRATED_WITHIN)

    def _service(self, name: str) -> Child:
        program = suite.program(name, self._environment(name), self._command(suite.role(name)))
        endpoint = Endpoint(name, "http", f"{self.addresses.services[name]}/readyz")
        return Child(endpoint, program, self.state, self._say)

    def _environment(self, name: str) -> dict[str, str]:
        return suite.environment(name, self.addresses, self._secrets) | self._told

    async def _keep_rounds(self) -> None:
        """Keep the table true and the logs bounded."""
        while True:
            await asyncio.to_thread(self._write_table)
            await asyncio.to_thread(self._bound_logs)
            await asyncio.sleep(1)

    def _write_table(self) -> None:
        rows = [asdict(row) for row in self.table()]
        if rows != self._written:
            self.state.write("table.json", rows)
            self._written = rows

    def _bound_logs(self) -> None:
        for path in self.state.logs.glob("*.log"):
            logs.bound(path)

    def _say(self, name: str, sentence: str) -> None:
        event = sentence if name == "stack" else f"{name} {sentence}"
        logs.append(self.state.logs / "stack.log", event)
        if self._say_aloud is not None:
            self._say_aloud(name, sentence)


def _row(endpoint: Endpoint, child: Child | None) -> Row:
    return Row(
        service=endpoint.name,
        url=endpoint.url,
        pid=child.pid if child else None,
        ready_ms=child.ready_ms if child else None,
        kind=endpoint.kind,
        target=endpoint.target,
    )
