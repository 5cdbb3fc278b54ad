"""What the gateway tells of its requests: metrics on a port of their own, timings in replies."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from deploy.local.state import free_port
from services.gateway.tests.behind import Behind
from services.gateway.tests.conftest import Told
from services.gateway.tests.running import Running, running, start
from shared.testing import until


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
async def measured(
    folder: Path, session: aiohttp.ClientSession, told: Told, port: int
) -> AsyncIterator[Running]:
    """A gateway that shows its metrics at `port`."""
    extra = {"GATEWAY_METRICS_PORT": str(port)}
    async with running(folder, session, told | extra) as gateway:
        yield gateway


async def test_every_metric_is_announced_once(
    measured: Running, session: aiohttp.ClientSession, port: int
) -> None:
    await measured.send("GET", "/api/tags")
    await measured.send("GET", "/docs")

    async def announced() -> list[str]:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as reply:
            names = re.findall(r"^# TYPE (\S+)", await reply.text(), re.MULTILINE)
        return names if "http_server_request_duration_seconds" in names else []

    names = await until(announced, what="the first count")
    assert len(names) == len(set(names))


async def test_requests_are_counted_by_route_and_never_by_path(
    measured: Running, behind: Behind, session: aiohttp.ClientSession, port: int
) -> None:
    for path in ("/api/articles/one", "/api/articles/two", "/api/nothing/here"):
        await measured.send("GET", path)
    line = re.compile(r"^http_server_request_duration_seconds_count\{(.*)\} (\S+)$", re.MULTILINE)

    async def counted() -> dict[str, float]:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as reply:
            assert reply.content_type == "text/plain"
            text = await reply.text()
        assert "/api/nothing" not in text
        found = {labels: float(number) for labels, number in line.findall(text)}
        asked = re.compile(r'"/api/articles/\{slug\}"|"404"')
        return found if sum(found[one] for one in found if asked.search(one)) >= 3 else {}

    found = await until(counted, what="what is counted once a reply has gone")
    [routed] = [labels for labels in found if 'http_route="/api/articles/{slug}"' in labels]
    assert found[routed] == 2
    assert 'http_request_method="GET"' in routed
    assert 'http_response_status_code="200"' in routed
    [lost] = [labels for labels in found if 'http_response_status_code="404"' in labels]
    assert 'http_route=""' in lost


async def test_each_service_shows_how_it_is(
    measured: Running, behind: Behind, session: aiohttp.ClientSession, port: int
) -> None:
    await measured.logged(event="upstream", upstream="content", state="ok")
    assert (await measured.send("GET", "/api/tags")).status == 200
    line = re.compile(r'^quartet_upstream_(\w+)\{.*upstream="content".*\} (\S+)$', re.MULTILINE)

    async def at_rest() -> dict[str, float]:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as reply:
            found = {name: float(number) for name, number in line.findall(await reply.text())}
        return found if found["requests_active"] == 0 else {}

    assert await until(at_rest, what="the end of the request") == {
        "breaker_state": 0,
        "requests_active": 0,
        "requests_waiting": 0,
        "requests_limit": 100,
        "endpoint_up": 1,
    }


async def test_the_public_door_shows_no_metrics(
    measured: Running, session: aiohttp.ClientSession, port: int
) -> None:
    assert (await measured.send("GET", "/metrics")).status == 404
    async with session.get(f"http://127.0.0.1:{port}/healthz") as reply:
        assert reply.status == 404


async def test_a_metrics_port_in_use_is_exit_code_1(
    folder: Path, told: Told, measured: Running, port: int
) -> None:
    extra = {"GATEWAY_PORT": str(free_port()), "GATEWAY_METRICS_PORT": str(port)}
    process, log = await start(folder, told | extra)
    assert await asyncio.wait_for(process.wait(), 15) == 1
    assert "in use" in log.read_text()


async def test_each_reply_tells_where_the_time_went(gateway: Running, behind: Behind) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.json_response({}, headers={"Server-Timing": 'db;dur=1.50;desc="2 queries"'})

    behind.answer = answer
    fields = (await gateway.send("GET", "/api/tags")).headers
    said = ", ".join(fields.getall("Server-Timing"))
    durations = {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.]+)", said)}
    assert list(durations) == ["db", "gateway", "upstream"]
    assert durations["upstream"] >= 300 > durations["gateway"] > 0
    assert 'db;dur=1.50;desc="2 queries"' in said
    assert fields["Timing-Allow-Origin"] == "*"
    refused = (await gateway.send("GET", "/api/user")).headers["Server-Timing"]
    assert re.fullmatch(r"gateway;dur=[\d.]+", refused)
