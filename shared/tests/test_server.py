"""A service as a process: its exit codes, and how it ends."""

import asyncio
import json
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest

from shared.testing import until

PROBE = """
import sys
from shared.server import main
from shared.settings import ServiceSettings
from shared.tests.probe import create_probe
sys.exit(main("probe", ServiceSettings, lambda _: create_probe("file:///none")))
"""
SERVERS = ["hypercorn", "granian"]
Start = Callable[..., Any]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


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
async def serving(server: str) -> AsyncIterator[tuple[Process, aiohttp.ClientSession]]:
    """The probe, once it answers, and a client of it."""
    port = free_port()
    async with AsyncExitStack() as stack:
        environ = {"PROBE_SERVER": server, "PROBE_PORT": str(port)}
        process = await stack.enter_async_context(started(**environ))
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


async def test_an_unknown_command_is_exit_code_64() -> None:
    async with started("dance") as process:
        code, lines = await ended(process)
    assert code == 64
    assert lines[0]["command"] == ["dance"]


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
