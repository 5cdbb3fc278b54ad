"""Who has written reads what they wrote: positions by caller, across gateways, without Valkey."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from redis.asyncio import Redis
from uuid_utils.compat import uuid7

from deploy.local.servers import Servers
from services.gateway.positions import MOST_CALLERS, REMEMBERED_SECONDS, Memory
from services.gateway.tests.behind import Behind, echo
from services.gateway.tests.conftest import Told
from services.gateway.tests.running import Answer, Running, running, stopped
from shared.testing import Signer, until


class Clock:
    """Time that passes when told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_memory_keeps_the_newest_of_each_source_for_a_time() -> None:
    clock, ada = Clock(), uuid7()
    memory = Memory(clock)
    memory.add(ada, {"users": 5})
    memory.add(ada, {"users": 3, "content": 7})
    assert memory.of(ada) == {"users": 5, "content": 7}
    assert memory.of(uuid7()) == {}
    clock.now += REMEMBERED_SECONDS
    assert memory.of(ada) == {}


def test_memory_is_bounded_and_forgets_the_longest_unchanged() -> None:
    memory = Memory(Clock())
    callers = [uuid7() for _ in range(MOST_CALLERS + 2)]
    for number, caller in enumerate(callers[:MOST_CALLERS]):
        memory.add(caller, {"users": number})
    memory.add(callers[0], {"users": 1})
    for caller in callers[MOST_CALLERS:]:
        memory.add(caller, {"users": 1})
    assert memory.of(callers[0]) == {"users": 1}
    assert memory.of(callers[1]) == memory.of(callers[2]) == {}
    assert memory.of(callers[3]) == {"users": 3}


def positioned(position: str, **more: str) -> "web.Response":
    return web.json_response({}, headers={"Quartet-Position": position, **more})


async def write(gateway: Running, behind: Behind, headers: dict[str, str], position: str) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return positioned(position)

    behind.answer = answer
    try:
        return await gateway.send("POST", "/api/articles", headers=headers)
    finally:
        behind.answer = echo


async def after(gateway: Running, headers: dict[str, str]) -> str | None:
    """What the service behind was told of the caller's past."""
    reply = await gateway.send("GET", "/api/articles", headers=headers)
    told: str | None = reply.json["headers"].get("quartet-after")
    return told


@pytest.fixture
def me(signer: Signer, account: UUID) -> dict[str, str]:
    return signer.headers(account)


@pytest.fixture(scope="session")
async def second(
    folder: Path, session: aiohttp.ClientSession, told: Told
) -> AsyncIterator[Running]:
    """Another gateway of the same suite."""
    async with running(folder, session, told) as gateway:
        yield gateway


async def test_a_write_is_told_to_later_requests_of_its_caller_only(
    gateway: Running, behind: Behind, signer: Signer, me: dict[str, str]
) -> None:
    assert await after(gateway, me) is None
    reply = await write(gateway, behind, me, "content=12")
    assert reply.headers["Quartet-Position"] == "content=12"
    assert await after(gateway, me) == "content=12"
    assert await after(gateway, signer.headers(uuid7())) is None
    assert await after(gateway, {}) is None


async def test_the_newest_of_each_source_counts(
    gateway: Running, behind: Behind, me: dict[str, str]
) -> None:
    await write(gateway, behind, me, "content=12")
    await write(gateway, behind, me, "users=3")
    await write(gateway, behind, me, "content=9")
    assert await after(gateway, me | {"Quartet-After": "content=11, users=8, x=1"}) in {
        "content=12, users=8, x=1",
        "users=8, content=12, x=1",
        "content=12, x=1, users=8",
        "x=1, content=12, users=8",
        "users=8, x=1, content=12",
        "x=1, users=8, content=12",
    }


async def test_another_gateway_knows_before_the_reply_is_there(
    gateway: Running, second: Running, behind: Behind, signer: Signer
) -> None:
    for number in range(20):
        me = signer.headers(uuid7())
        await write(gateway, behind, me, f"content={number + 1}")
        assert await after(second, me) == f"content={number + 1}"


async def test_two_gateways_keep_the_larger_number(
    gateway: Running, second: Running, behind: Behind, me: dict[str, str], account: UUID
) -> None:
    await write(second, behind, me, "content=20")
    await write(gateway, behind, me, "content=19")
    assert await after(second, me) == "content=20"
    assert await after(gateway, me) == "content=20"


async def test_valkey_forgets_after_a_time(
    gateway: Running, behind: Behind, me: dict[str, str], account: UUID, servers: Servers
) -> None:
    await write(gateway, behind, me, "content=1")
    async with Redis.from_url(servers.redis_url) as valkey:
        assert 0 < await valkey.ttl(f"position:{account}") <= REMEMBERED_SECONDS


async def test_who_registers_is_named_by_the_service_and_not_to_the_client(
    gateway: Running, behind: Behind, me: dict[str, str], account: UUID
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return positioned("users=77", **{"Quartet-Account": str(account)})

    behind.answer = answer
    reply = await gateway.send("POST", "/api/users", json={})
    assert reply.headers["Quartet-Position"] == "users=77"
    assert "Quartet-Account" not in reply.headers
    behind.answer = echo
    assert await after(gateway, me) == "users=77"


@pytest.mark.parametrize("said", ["", "nonsense", "users=x", "=", "a=1" * 500])
async def test_a_position_that_is_none_is_no_harm(
    gateway: Running, behind: Behind, me: dict[str, str], said: str
) -> None:
    assert (await write(gateway, behind, me, said)).status == 200
    assert await after(gateway, me) is None


async def test_without_valkey_memory_serves_and_few_pay(
    gateway: Running, behind: Behind, me: dict[str, str], servers: Servers, signer: Signer
) -> None:
    with stopped(servers, "valkey"):
        await write(gateway, behind, me, "content=33")
        begun, count = time.monotonic(), 0
        while time.monotonic() - begun < 2.5:
            assert await after(gateway, me) == "content=33"
            count += 1
        # Each costs some milliseconds, but for one of 200 ms a second; if all did, there were 13.
        assert count > 40
        checks = (await gateway.send("GET", "/readyz")).json["checks"]
        assert checks["valkey"] == "does not answer"

    async def back() -> bool:
        await write(gateway, behind, me, "content=34")
        checks = (await gateway.send("GET", "/readyz")).json["checks"]
        return bool(checks["valkey"] == "ok")

    await until(back, what="Valkey")


async def test_a_valkey_that_begins_anew_is_used_again(
    gateway: Running, second: Running, behind: Behind, servers: Servers, signer: Signer
) -> None:
    await asyncio.gather(*(after(gateway, signer.headers(uuid7())) for _ in range(30)))
    valkey = servers.children["valkey"]
    valkey.kill()
    await valkey.ready(20)

    async def shared() -> bool:
        me = signer.headers(uuid7())
        await write(gateway, behind, me, "content=1")
        return await after(second, me) == "content=1"

    await until(shared, seconds=5, what="positions in the new Valkey")
