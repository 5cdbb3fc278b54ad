"""The second tier: what it lost, or hears of too late, is never found."""

import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from deploy.local.servers import Servers
from services.gateway.cache.depot import Depot, Looked
from services.gateway.cache.kept import Entry
from services.gateway.valkey import connected
from shared.background import background
from shared.testing import until


@pytest.fixture
async def valkey(servers: Servers) -> AsyncIterator[Redis]:
    async with connected(servers.redis_url) as valkey:
        yield valkey


@pytest.fixture
async def ours(valkey: Redis) -> AsyncIterator[Depot]:
    ours = Depot(valkey)
    async with background(ours.run()):
        await asked(ours, uuid4().bytes)
        yield ours


@pytest.fixture
async def theirs(valkey: Redis, ours: Depot) -> AsyncIterator[Depot]:
    """That of another process."""
    theirs = Depot(valkey)
    async with background(theirs.run()):
        await asked(theirs, uuid4().bytes)
        yield theirs


@pytest.fixture
def key() -> bytes:
    return uuid4().bytes


@pytest.fixture
def tag() -> str:
    return f"article:{uuid4().hex}"


def reply(*tags: str) -> Entry:
    now = time.time()
    return Entry([(b"a", b"b")], [], b"body", b'"e"', tags, (("users", 7),), now, now + 60)


async def asked(depot: Depot, key: bytes) -> Looked:
    async def looked() -> Looked | None:
        return await depot.look(key, "token")

    found: Looked = await until(looked, what="the depot")
    return found


async def test_what_one_keeps_the_other_finds(
    ours: Depot, theirs: Depot, key: bytes, tag: str
) -> None:
    looked, entry = await asked(ours, key), reply(tag)
    assert looked.ours
    assert not (await asked(theirs, key)).ours
    await ours.put(key, entry, looked.asked, 60)
    assert (await asked(theirs, key)).entry == entry


async def test_a_lock_is_let_go_by_its_owner_only(ours: Depot, theirs: Depot, key: bytes) -> None:
    assert (await asked(ours, key)).ours
    await theirs.unlock(key, "another token")
    assert not (await asked(theirs, key)).ours
    await ours.unlock(key, "token")
    assert (await asked(theirs, key)).ours


async def test_a_purge_is_seen_at_once_here_and_soon_there(
    ours: Depot, theirs: Depot, key: bytes, tag: str
) -> None:
    await ours.put(key, reply(tag), (await asked(ours, key)).asked, 60)
    theirs.purge([tag])
    assert (await asked(theirs, key)).entry is None

    async def gone() -> bool:
        return (await asked(ours, key)).entry is None

    await until(gone, what="the mark")


async def test_what_was_asked_for_before_a_purge_is_refused(
    ours: Depot, theirs: Depot, key: bytes, tag: str
) -> None:
    looked, other = await asked(ours, key), uuid4().bytes
    await theirs.put(other, reply(tag), (await asked(theirs, other)).asked, 60)
    theirs.purge([tag])

    async def gone() -> bool:
        return (await asked(ours, other)).entry is None

    await until(gone, what="the mark")
    await ours.put(key, reply(tag), looked.asked, 60)
    assert (await asked(ours, key)).entry is None


@pytest.mark.parametrize("lost", ["mark", "purges"])
async def test_what_valkey_lost_makes_nothing_valid(
    ours: Depot, valkey: Redis, key: bytes, tag: str, lost: str
) -> None:
    looked = await asked(ours, key)
    if lost == "purges":
        await valkey.delete("cache:purges")
        await ours.put(key, reply(tag), looked.asked, 60)
        ours.purge([tag])
    else:
        await ours.put(key, reply(tag), looked.asked, 60)
        assert (await asked(ours, key)).entry is not None
        await valkey.delete(f"cache:tag:{tag}")
    assert (await asked(ours, key)).entry is None


async def test_without_trust_nothing_is_used_until_all_is_purged(
    ours: Depot, key: bytes, tag: str
) -> None:
    await ours.put(key, reply(tag), (await asked(ours, key)).asked, 60)
    ours.distrust()
    assert await ours.look(key, "token") is None
    assert (await asked(ours, key)).entry is None
