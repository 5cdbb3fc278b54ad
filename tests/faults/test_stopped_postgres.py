"""A PostgreSQL that hears everything and answers nothing: who waits for it, and for how long."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from deploy.local.suite import WITH_DATABASE
from shared.testing import until
from tests.faults.ground import PATIENCE, Ground
from tests.faults.processes import strike

DEADLINE = 1.0  # seconds
MOMENT = 1.5  # for an answer to get here, on a machine that has other things to do
READS = {
    "users": "/api/profiles/nobody",
    "content": "/api/articles?limit=1",
    "notifications": "/api/notifications",
}
WRITES = {
    "users": ("POST", "/api/profiles/nobody/follow"),
    "content": ("DELETE", "/api/articles/nothing/favorite"),
    "notifications": ("PUT", "/api/notifications/read"),
}


@asynccontextmanager
async def stopped(ground: Ground) -> AsyncIterator[None]:
    """PostgreSQL, while the context is open."""
    child = ground.stack.servers.children["postgres"]
    strike(child, signal.SIGSTOP)
    try:
        yield
    finally:
        strike(child, signal.SIGCONT)


async def timed(
    session: aiohttp.ClientSession,
    url: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
) -> tuple[int, float]:
    """The status of the answer, and the seconds that it took."""
    began = time.monotonic()
    async with session.request(method, url, headers=headers) as response:
        await response.read()
        return response.status, time.monotonic() - began


@pytest.mark.parametrize("name", WITH_DATABASE)
async def test_a_service_whose_database_has_stopped_answers_within_its_deadline(
    broken: Ground, name: str
) -> None:
    url = broken.stack.addresses.services[name]
    token = {"Authorization": f"Token {broken.community.cast[0].token}"}
    told = token | {"Quartet-Deadline": f"{DEADLINE * 1000:.0f}"}
    async with aiohttp.ClientSession() as session:
        assert (await timed(session, url + READS[name], told))[0] in (200, 404)
        method, path = WRITES[name]
        keyed = [told | {"Idempotency-Key": f"stopped-{number}"} for number in range(5)]
        async with stopped(broken):
            asked = [timed(session, url + READS[name], told) for _ in range(20)]
            asked += [timed(session, url + path, headers, method) for headers in [told, *keyed]]
            ready, *answers = await asyncio.gather(timed(session, f"{url}/readyz"), *asked)
            lively = [await timed(session, f"{url}/healthz") for _ in range(20)]
        assert {status for status, _ in answers} == {503}
        assert max(seconds for _, seconds in answers) < DEADLINE + MOMENT
        assert ready[0] == 503
        assert ready[1] < DEADLINE + MOMENT, "who asks whether it is ready waits no longer than 1 s"
        assert {status for status, _ in lively} == {200}
        assert max(seconds for _, seconds in lively) < MOMENT

        async def serves() -> bool:
            return (await timed(session, url + READS[name], told))[0] in (200, 404)

        await until(serves, what="the service after it")


async def test_a_gateway_in_front_of_a_stopped_database_waits_as_long_as_it_said(
    broken: Ground,
) -> None:
    async with aiohttp.ClientSession() as session, stopped(broken):
        status, seconds = await timed(session, f"{broken.stack.url}/api/tags")
        assert status == 503
        assert seconds < PATIENCE
        assert (await timed(session, f"{broken.stack.url}/healthz"))[0] == 200
