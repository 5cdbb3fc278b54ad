"""A service as a process: its exit codes, and how it ends."""

import asyncio
import json
import resource
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from deploy.local.state import free_port
from shared.server import _room
from shared.testing import until

PROBE = """
import sys
from shared.server import main
from shared.service import create_service
from shared.settings import ServiceSettings
from shared.tests.probe import create_probe
sys.exit(main(
    "probe",
    ServiceSettings,
    lambda _: create_probe("file:///none"),
    create_worker=lambda settings: create_service("probe", settings),
))
"""
SERVERS = ["http1", "hypercorn"]
Start = Callable[..., Any]


@asynccontextmanager
async def started(*arguments: str, **environ: str) -> AsyncIterator[Process]:
    """The probe as a process, which is killed if it still runs at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROBE, *arguments),
        stdout=PIPE,
        env={"OTEL_SDK_DISABLED": "true", "PYTHONPATH": ":".join(sys.path), **environ},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def serving(
    server: str, *arguments: str, **told: str
) -> AsyncIterator[tuple[Process, aiohttp.ClientSession]]:
    """The probe, once it answers, and a client of it."""
    port = free_port()
    async with AsyncExitStack() as stack:
        environ = {"PROBE_SERVER": server, "PROBE_PORT": str(port), **told}
        process = await stack.enter_async_context(started(*arguments, **environ))
        url = f"http://127.0.0.1:{port}"
        client = await stack.enter_async_context(aiohttp.ClientSession(url))

        async def answers() -> bool:
            try:
                async with client.get("/healthz") as response:
                    return response.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until(answers, seconds=20, what=f"{server} answering")
        yield process, client


async def ended(process: Process) -> tuple[int, list[dict[str, Any]]]:
    """The exit code and the log lines."""
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, [json.loads(line) for line in output.splitlines()]


async def test_settings_that_cannot_be_used_are_all_told_and_are_exit_code_78() -> None:
    async with started(PROBE_PORT="many", PROBE_ENV="moon") as process:
        code, lines = await ended(process)
    assert code == 78
    assert len(lines[0]["faults"]) == 2


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"PROBE_TLS_KEY": "/nowhere"}, "without the other"),
        ({"PROBE_TLS_KEY": "/nowhere", "PROBE_TLS_CERTIFICATE": "/nowhere"}, "No such file"),
    ],
)
async def test_a_certificate_that_cannot_be_served_is_exit_code_78(
    told: dict[str, str], said: str
) -> None:
    async with started(**told) as process:
        code, lines = await ended(process)
    assert code == 78
    assert said in lines[0]["faults"][0]


async def test_an_unknown_command_is_exit_code_64() -> None:
    async with started("dance") as process:
        code, lines = await ended(process)
    assert code == 64
    assert lines[0]["command"] == ["dance"]


async def test_a_worker_answers_how_it_is_and_nothing_else() -> None:
    async with serving("hypercorn", "worker") as (process, client):
        for path, status in (("/readyz", 200), ("/metrics", 200), ("/api/public", 404)):
            async with client.get(path) as response:
                assert response.status == status
        process.send_signal(signal.SIGTERM)
        code, _ = await ended(process)
    assert code == 0


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_service_ends_what_runs_and_then_itself(server: str, number: int) -> None:
    async with serving(server) as (process, client):
        async with client.get("/api/slow") as slow:  # its head is here, and its body is not
            process.send_signal(number)
            assert await slow.text() == "begun ended"
        code, _ = await ended(process)
    assert code == 0


@pytest.mark.parametrize("server", SERVERS)
async def test_a_port_that_is_taken_is_exit_code_1(server: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with started(PROBE_PORT=port, PROBE_SERVER=server) as process:
            code, lines = await ended(process)
    assert code == 1
    assert lines[-1]["event"] == "can't serve"


@pytest.mark.parametrize(
    ("soft", "hard", "grants", "room"),
    [
        (1_024, 4_096, True, 3_840),
        (1_024, resource.RLIM_INFINITY, True, 16_384),
        (1_024, resource.RLIM_INFINITY, False, 768),
        (1_000_000, 1_000_000, True, 16_384),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, True, 16_384),
        (64, 64, True, 1),
    ],
)
def test_connections_have_the_files_that_the_process_does_not_need(
    soft: int, hard: int, room: int, monkeypatch: pytest.MonkeyPatch, *, grants: bool
) -> None:
    def ask(_: int, wanted: tuple[int, int]) -> None:
        if not grants:
            raise ValueError
        assert wanted[0] <= hard or hard == resource.RLIM_INFINITY

    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", ask)
    assert _room() == room


DRAIN = 1.5  # seconds
GET = b"GET %s HTTP/1.1\r\nHost: probe\r\n\r\n"


class Line:
    """A connection that is kept; what is read from it is what came over the wire."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def get(self, path: str) -> bytes:
        """The whole reply to one request, its head in lower case. Raises `OSError`."""
        if not hasattr(self, "_reader"):
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(GET % path.encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        return head + await self._reader.readexactly(length)

    async def is_closed(self) -> bool:
        """Whether the service has closed it, and said nothing else."""
        return await asyncio.wait_for(self._reader.read(), 5) == b""

    def leave(self) -> None:
        """Close it."""
        self._writer.close()


@pytest.mark.parametrize("server", SERVERS)
async def test_a_service_that_drains_says_so_and_serves_on(server: str) -> None:
    async with serving(server, PROBE_DRAIN=str(DRAIN)) as (process, client):
        port = port_of(client)
        kept, late = Line(port), Line(port)
        assert b"connection: close" not in await kept.get("/api/public")
        process.send_signal(signal.SIGTERM)
        told = asyncio.get_running_loop().time()
        await until(lambda: is_unready(port), what="unready")
        for line in (kept, late):
            reply = await line.get("/api/public")
            assert reply.startswith(b"http/1.1 200")
            assert b"connection: close" in reply
            assert await line.is_closed(), "the client may take it for one that is kept"
            line.leave()
        code, _ = await ended(process)
        assert code == 0
        assert asyncio.get_running_loop().time() - told >= DRAIN


@pytest.mark.parametrize("server", SERVERS)
async def test_a_connection_that_is_kept_and_idle_holds_nobody_up(server: str) -> None:
    async with serving(server, PROBE_DRAIN="0.2") as (process, client):
        idle = Line(port_of(client))
        await idle.get("/api/public")
        process.send_signal(signal.SIGTERM)
        began = asyncio.get_running_loop().time()
        code, _ = await ended(process)
        assert code == 0
        assert asyncio.get_running_loop().time() - began < 8
        assert await idle.is_closed()
        idle.leave()


@pytest.mark.parametrize("server", SERVERS)
async def test_a_second_signal_ends_the_drain(server: str) -> None:
    async with serving(server, PROBE_DRAIN="60") as (process, client):
        process.send_signal(signal.SIGTERM)
        await until(lambda: is_unready(port_of(client)), what="unready")
        process.send_signal(signal.SIGTERM)
        code, _ = await ended(process)
    assert code == 0


def port_of(client: aiohttp.ClientSession) -> int:
    assert client._base_url is not None
    port = client._base_url.port
    assert port is not None
    return port


async def is_unready(port: int) -> bool:
    line = Line(port)
    try:
        return (await line.get("/readyz")).startswith(b"http/1.1 503")
    finally:
        line.leave()


@pytest.mark.parametrize("server", SERVERS)
async def test_what_outlasts_the_grace_is_503_and_not_a_fault_of_ours(server: str) -> None:
    async with serving(server, PROBE_GRACE="0.3") as (process, client):
        endless = asyncio.create_task(answer(client, "/api/endless"))
        await until(lambda: begun(client), what="the request")
        process.send_signal(signal.SIGTERM)
        assert await endless == (503, "1")
        code, _ = await ended(process)
    assert code == 0


async def answer(client: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with client.get(path) as response:
        return response.status, response.headers.get("Retry-After", "")


async def begun(client: aiohttp.ClientSession) -> bool:
    async with client.get("/api/begun") as response:
        return bool(await response.json())
