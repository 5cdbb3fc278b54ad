"""Work whose time is over, or whose client has gone, ends in the database too."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import msgspec
import pytest
from quart import Quart

from shared.database import open_transaction
from shared.settings import DataSettings
from shared.testing import Signer, until
from shared.tests.conftest import session
from shared.tests.tower import Call, Tower, ring, standing

Service = tuple[Quart, Tower]


@pytest.fixture
async def service(alpha_settings: DataSettings, signer: Signer) -> AsyncIterator[Service]:
    patient = msgspec.structs.replace(alpha_settings, pool_wait=1.0)
    async with standing(patient, signer) as running:
        yield running


@pytest.fixture
async def db(alpha_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with session(alpha_url) as db:
        yield db


async def idle(db: asyncpg.Connection) -> bool:
    """Whether no session of the service works, or keeps a transaction open."""
    busy = await db.fetchval(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE application_name = 'tower' AND state <> 'idle' AND query NOT LIKE 'SELECT 1'"
    )
    return bool(busy == 0)


def used(app: Quart) -> int:
    """Connections of the pool that somebody has."""
    pool = app.extensions["database"]
    return int(pool.get_size() - pool.get_idle_size())


async def test_a_statement_ends_in_the_server_when_the_deadline_passes(
    service: Service, db: asyncpg.Connection
) -> None:
    app, _ = service
    began = time.perf_counter()
    reply = await Call(app, "POST", "/api/rest", b"", Quartet_Deadline="200").reply()
    assert 0.2 <= time.perf_counter() - began < 10
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    await until(lambda: idle(db), what="no statement that runs")
    assert used(app) == 0
    assert (await Call(app, "GET", "/api/bells", b"").reply()).status == 200


@pytest.mark.parametrize("key", [None, "with a key"])
async def test_a_transaction_whose_time_is_over_is_rolled_back_on_a_connection_that_stays(
    service: Service, db: asyncpg.Connection, key: str | None
) -> None:
    app, tower = service
    tower.gate.clear()
    sessions = await sessions_of(db)
    late = ring(app, "late", key, Quartet_Deadline="300")
    await tower.has_begun()
    loop = asyncio.get_running_loop()
    loop.call_later(0.31, tower.gate.set)
    assert (await late.reply()).status == 503
    assert await db.fetchval("SELECT count(*) FROM bells") == 0
    assert used(app) == 0
    assert await idle(db)
    assert await sessions_of(db) == sessions
    assert (await ring(app, "late", key).reply()).status == 201


async def sessions_of(db: asyncpg.Connection) -> set[int]:
    """The service's sessions."""
    rows = await db.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = 'tower'")
    return {row["pid"] for row in rows}


async def test_a_deadline_that_passed_before_admits_no_statement(
    service: Service, db: asyncpg.Connection
) -> None:
    app, _ = service
    for key in (None, "with a key"):
        reply = await ring(app, "late", key, Quartet_Deadline="0").reply()
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert await db.fetchval("SELECT count(*) FROM bells") == 0
    assert used(app) == 0


@pytest.mark.parametrize("deadline", ["soon", "-1", "1.5", "", "9999999999"])
async def test_a_deadline_that_says_nothing_is_none(service: Service, deadline: str) -> None:
    app, _ = service
    assert (await ring(app, "a", Quartet_Deadline=deadline).reply()).status == 201


async def test_a_long_deadline_does_not_lengthen_a_statement(
    alpha_settings: DataSettings, signer: Signer, db: asyncpg.Connection
) -> None:
    hasty = msgspec.structs.replace(alpha_settings, statement_timeout=0.2)
    async with standing(hasty, signer) as (app, _):
        reply = await Call(app, "POST", "/api/rest", b"", Quartet_Deadline="60000").reply()
        assert reply.status == 503
        await until(lambda: idle(db), what="no statement that runs")


async def assert_refused_in_time(app: Quart) -> None:
    """Nobody waits for a connection longer than the deadline, or than a pool wait."""
    for headers, least, most in (({"Quartet_Deadline": "100"}, 0.1, 0.9), ({}, 1.0, 3.0)):
        call, began = ring(app, "a", **headers), time.perf_counter()
        try:
            reply = await asyncio.wait_for(call.reply(), most)
        except TimeoutError:
            raise AssertionError("It waits for too long.") from None
        assert time.perf_counter() - began >= least
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")


@asynccontextmanager
async def exhausted(app: Quart) -> AsyncIterator[None]:
    """Somebody has all connections."""
    async with AsyncExitStack() as stack, app.app_context():
        for _ in range(app.extensions["settings"].pool_max):
            await stack.enter_async_context(open_transaction())
        yield


async def test_nobody_waits_for_a_connection_longer_than_the_deadline(service: Service) -> None:
    app, _ = service
    async with exhausted(app):
        await assert_refused_in_time(app)
        health = await Call(app, "GET", "/healthz", b"").reply()
        assert health.status == 200
    assert (await ring(app, "a").reply()).status == 201


async def test_a_build_that_waits_without_bound_is_found_out(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = service
    monkeypatch.setattr("shared.database._pool_wait", lambda: None)
    with pytest.raises(AssertionError, match="too long"):
        async with exhausted(app):
            await assert_refused_in_time(app)


@pytest.mark.parametrize("key", [None, "with a key"])
async def test_what_a_client_that_leaves_began_is_rolled_back(
    service: Service, db: asyncpg.Connection, key: str | None
) -> None:
    app, tower = service
    tower.gate.clear()
    call = ring(app, "gone", key)
    await tower.has_begun()
    await call.leave()
    assert used(app) == 0
    assert await idle(db)
    assert await db.fetchval("SELECT count(*) FROM bells") == 0
    assert await db.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_statement_of_a_client_that_leaves_ends_in_the_server(
    service: Service, db: asyncpg.Connection
) -> None:
    app, tower = service
    call = Call(app, "POST", "/api/rest", b"")
    await tower.has_begun()

    async def sleeping() -> bool:
        return not await idle(db)

    await until(sleeping, what="a statement that runs")
    await call.leave()
    await until(lambda: idle(db), what="no statement that runs")
    assert used(app) == 0
