"""Hashing: right, beside the loop, and only so much of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from threading import Event
from uuid import uuid4

import pytest
from msgspec import structs

from services.users.app import create_app
from services.users.passwords import Passwords, Threads
from services.users.settings import Settings
from shared.errors import Unavailable
from shared.testing import serving, until


@asynccontextmanager
async def working(count: int = 2, queue: int = 2) -> AsyncIterator[Threads]:
    threads = Threads(count, queue)
    try:
        yield threads
    finally:
        threads.stop()


@asynccontextmanager
async def hashing(**costs: int) -> AsyncIterator[Passwords]:
    cheap = {"hash_memory_kib": 64, "hash_time_cost": 1}
    settings = Settings(database_url="", signing_keys="", **(cheap | costs))  # type: ignore[arg-type]
    async with working() as threads:
        yield Passwords(settings, threads)


async def test_a_hash_proves_its_password_and_no_other() -> None:
    async with hashing() as passwords:
        kept = await passwords.hash("correct horse")
        assert kept.startswith("$argon2id$v=19$m=64,t=1,p=1$")
        assert kept != await passwords.hash("correct horse")
        assert await passwords.verify("correct horse", kept)
        assert not await passwords.verify("Correct horse", kept)
        assert not await passwords.verify("correct horse", None)


async def test_the_default_is_what_rfc_9106_recommends() -> None:
    async with working() as threads:
        passwords = Passwords(Settings(database_url="", signing_keys=""), threads)
        assert (await passwords.hash("x")).startswith("$argon2id$v=19$m=65536,t=3,p=1$")


async def test_two_keyboards_type_the_same_password() -> None:
    async with hashing() as passwords:
        assert await passwords.verify("cafe\u0301 noir", await passwords.hash("caf\u00e9 noir"))


async def test_a_hash_is_outdated_when_the_parameters_change() -> None:
    async with hashing() as before, hashing(hash_time_cost=2) as after:
        kept = await before.hash("correct horse")
        assert not before.outdated(kept)
        assert after.outdated(kept)
        assert await after.verify("correct horse", kept)


async def test_the_loop_turns_while_a_hash_is_made() -> None:
    async with hashing(hash_memory_kib=65_536, hash_time_cost=3) as passwords:
        task, turns = asyncio.create_task(passwords.hash("correct horse")), 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
    assert turns > 100


async def test_what_the_queue_can_not_hold_is_refused_at_once() -> None:
    async with working(count=1, queue=1) as threads:
        go = Event()
        held = [asyncio.create_task(threads.run(lambda: go.wait(10))) for _ in range(2)]
        await asyncio.sleep(0)  # both have taken their place
        with pytest.raises(Unavailable) as refusal:
            await threads.run(lambda: go.wait(10))
        assert refusal.value.retry_after == 1
        go.set()
        assert await asyncio.gather(*held) == [True, True]
        assert await threads.run(lambda: go.wait(10))


async def test_a_client_that_leaves_frees_its_place_when_the_work_has_ended() -> None:
    async with working(count=1, queue=0) as threads:
        begun, go = Event(), Event()

        def work() -> bool:
            begun.set()
            return go.wait(10)

        leaving = asyncio.create_task(threads.run(work))
        await asyncio.to_thread(begun.wait)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        with pytest.raises(Unavailable):
            await threads.run(lambda: go.wait(10))
        go.set()
        assert await until(lambda: admitted(threads), what="a free place")


async def admitted(threads: Threads) -> bool:
    with suppress(Unavailable):
        return await threads.run(lambda: True)
    return False


async def test_a_full_queue_is_503(settings: Settings) -> None:
    slow = {"hash_memory_kib": 65_536, "hash_time_cost": 8, "hash_threads": 1, "hash_queue": 0}
    async with serving(create_app(structs.replace(settings, **slow))) as client:
        users = [{"username": f"{uuid4()}", "email": f"{uuid4()}@b"} for _ in range(3)]
        posts = [
            client.post("/api/users", json={"user": user | {"password": "correct horse"}})
            for user in users
        ]
        responses = await asyncio.gather(*posts)
    assert sorted(response.status_code for response in responses) == [201, 503, 503]
    refused = next(response for response in responses if response.status_code == 503)
    assert refused.headers["Retry-After"] == "1"


async def test_nobody_costs_what_somebody_costs() -> None:
    """In processor time, which a busy machine does not change."""
    async with hashing(hash_memory_kib=16_384, hash_time_cost=2) as passwords:
        kept = await passwords.hash("correct horse")
        wrong = min([await processor_time(passwords, kept) for _ in range(5)])
        unknown = min([await processor_time(passwords, None) for _ in range(5)])
    assert 0.5 < unknown / wrong < 2


async def processor_time(passwords: Passwords, kept: str | None) -> float:
    begun = time.process_time()
    assert not await passwords.verify("wrong horse", kept)
    return time.process_time() - begun
