"""The gateway as a process: how it starts, and how it ends."""

import asyncio
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from deploy.local.state import free_port
from services.gateway.tests.behind import Behind
from services.gateway.tests.conftest import Told
from services.gateway.tests.running import ROOT, Running, running, start
from shared.testing import until

SERVERS = pytest.mark.parametrize("server", ["http1", "hypercorn"])


def test_it_begins_without_what_most_gateways_never_need() -> None:
    """aiohttp is nine megabytes, asyncpg three; the first comes with a request that needs it."""
    code = "import services.gateway.__main__, sys; print(*{'aiohttp', 'asyncpg'} & {*sys.modules})"
    assert subprocess.check_output((sys.executable, "-c", code), cwd=ROOT, text=True) == "\n"


@SERVERS
async def test_what_runs_is_ended_well(
    folder: Path, session: aiohttp.ClientSession, told: Told, behind: Behind, server: str
) -> None:
    begun = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        begun.set()
        await asyncio.sleep(0.5)
        return web.Response(text="done")

    behind.answer = answer
    async with running(folder, session, told | {"GATEWAY_SERVER": server}) as gateway:
        request = asyncio.create_task(gateway.send("GET", "/api/tags"))
        await begun.wait()
        assert await gateway.stop() == 0
        assert (await request).body == b"done"
        await silent(gateway)


@SERVERS
async def test_a_client_that_never_reads_does_not_hold_the_end_up(
    folder: Path, session: aiohttp.ClientSession, told: Told, behind: Behind, server: str
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * 50_000_000)

    behind.answer = answer
    extra = {"GATEWAY_SERVER": server, "GATEWAY_GRACE": "0.5", "GATEWAY_CLIENT_TIMEOUT": "60"}
    async with running(folder, session, told | extra) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1000)
        writer.write(b"GET /api/tags HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        begun = time.monotonic()
        assert await gateway.stop() == 0
        assert time.monotonic() - begun < 10
        writer.close()


@SERVERS
async def test_many_idle_connections_leave_room_for_more(
    folder: Path, session: aiohttp.ClientSession, told: Told, behind: Behind, server: str
) -> None:
    async with running(folder, session, told | {"GATEWAY_SERVER": server}) as gateway:
        idle = await asyncio.gather(
            *(asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(400))
        )
        assert (await gateway.send("GET", "/api/tags")).status == 200
        for _, writer in idle:
            writer.close()


@SERVERS
async def test_a_port_in_use_is_one_line_and_exit_code_1(
    folder: Path, told: Told, gateway: Running, server: str
) -> None:
    process, log = await start(
        folder / "..", told | {"GATEWAY_SERVER": server, "GATEWAY_PORT": str(gateway.port)}
    )
    assert await asyncio.wait_for(process.wait(), 15) == 1
    text = log.read_text()
    assert "in use" in text
    assert "Traceback" not in text


async def test_settings_that_make_no_sense_are_exit_code_78(folder: Path, told: Told) -> None:
    wrong = {"GATEWAY_PORT": str(free_port()), "GATEWAY_TIMEOUT": "soon"}
    process, log = await start(folder, told | wrong)
    assert await asyncio.wait_for(process.wait(), 15) == 78
    assert "GATEWAY_TIMEOUT" in log.read_text()


async def test_without_keys_it_is_not_ready_and_public_routes_work(
    folder: Path, session: aiohttp.ClientSession, told: Told, behind: Behind
) -> None:
    port = free_port()
    wrong = {"GATEWAY_PORT": str(port), "GATEWAY_JWKS_URL": f"http://127.0.0.1:{free_port()}/"}
    process, log = await start(folder, told | wrong)
    gateway = Running(f"http://127.0.0.1:{port}", port, process, log, session)
    try:
        await gateway.logged(event="upstream", upstream="users", state="ok")
        await until(lambda: _answers(gateway), what="the gateway")
        ready = await gateway.send("GET", "/readyz")
        assert (ready.status, ready.json["status"]) == (503, "unready")
        assert (await gateway.send("GET", "/api/tags")).status == 200
        token = {"Authorization": "Token a.b.c"}
        assert (await gateway.send("GET", "/api/user", headers=token)).status in (401, 503)
    finally:
        assert await gateway.stop() == 0


async def _answers(gateway: Running) -> bool:
    with suppress(aiohttp.ClientError):
        return (await gateway.send("GET", "/healthz")).status == 200
    return False


async def silent(gateway: Running) -> None:
    """Every line is JSON, and none tells of trouble."""
    assert {line["level"] for line in await gateway.lines()} == {"info"}
