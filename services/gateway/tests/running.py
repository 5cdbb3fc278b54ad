"""A gateway as a process of its own, as it is deployed."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from deploy.local.servers import Servers
from deploy.local.state import free_port
from shared.testing import until

ROOT = Path(__file__).parents[3]


@dataclass
class Running:
    """A gateway that serves, and what it wrote."""

    url: str
    port: int
    process: asyncio.subprocess.Process
    log: Path
    session: aiohttp.ClientSession = field(repr=False)

    async def lines(self) -> list[dict[str, Any]]:
        """Its log, a dict a line; every line must be JSON. The last may not be whole yet."""
        text = await asyncio.to_thread(self.log.read_text)
        return [json.loads(line) for line in text.split("\n")[:-1]]

    async def logged(self, **facts: Any) -> dict[str, Any]:
        """The first line that holds these facts, as soon as it is written."""

        async def line() -> dict[str, Any] | None:
            found = (one for one in await self.lines() if facts.items() <= one.items())
            return next(found, None)

        found: dict[str, Any] = await until(line, what=f"a line with {facts}")
        return found

    async def send(self, method: str, path: str, **more: Any) -> "Answer":
        """Send a request and read the whole reply."""
        async with self.session.request(
            method, self.url + path, allow_redirects=False, **more
        ) as reply:
            return Answer(reply.status, reply, await reply.read())

    async def raw(self, request: bytes) -> bytes:
        """Send bytes; read one reply."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            answer = b"HTTP/1.1 100 "
            while answer.startswith(b"HTTP/1.1 100 "):
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            length = _length(answer)
            return answer + await asyncio.wait_for(reader.readexactly(length), 10)
        finally:
            writer.close()

    async def stop(self) -> int:
        """Ask it to end; gives its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 15)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


@dataclass
class Answer:
    """A reply, read to its end."""

    status: int
    reply: aiohttp.ClientResponse
    body: bytes

    @property
    def headers(self) -> Any:
        """Its header fields, by any case."""
        return self.reply.headers

    @property
    def json(self) -> Any:
        """Its body, decoded."""
        return json.loads(self.body)


async def start(
    folder: Path, told: dict[str, str], module: str = "services.gateway"
) -> tuple[asyncio.subprocess.Process, Path]:
    """Start a gateway; gives its process and its log."""
    log = folder / f"gateway-{told['GATEWAY_PORT']}.log"
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "OTEL_"))}  # noqa: TID251
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", module),
            cwd=ROOT,
            env=environ | {"PYTHONUNBUFFERED": "1"} | told,
            stdout=output,
            stderr=output,
        )
    return process, log


@asynccontextmanager
async def running(
    folder: Path,
    session: aiohttp.ClientSession,
    told: dict[str, str],
    module: str = "services.gateway",
) -> AsyncIterator[Running]:
    """A gateway with the settings `told`, ready, while the context is open."""
    port = free_port()
    scheme = "https" if "GATEWAY_TLS_CERTIFICATE" in told else "http"
    url = f"{scheme}://127.0.0.1:{port}"
    process, log = await start(folder, {"GATEWAY_PORT": str(port)} | told, module)
    gateway = Running(url, port, process, log, session)

    async def ready() -> bool:
        assert process.returncode is None, log.read_text()
        try:
            return (await gateway.send("GET", "/readyz")).status == 200
        except aiohttp.ClientError:
            return False

    try:
        await until(ready, seconds=30, what="the gateway")
        yield gateway
    finally:
        await gateway.stop()


@contextmanager
def stopped(servers: Servers, name: str) -> Iterator[None]:
    """A server that does not answer, and is not gone."""
    pid = servers.children[name].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
