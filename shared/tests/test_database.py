"""The pool is bounded, a transaction is whole, and an outage is told from a fault of ours."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from msgspec import structs
from quart import Quart, Response

from shared.context import begin_work
from shared.database import connection, transaction, use_database
from shared.errors import Unavailable
from shared.http import operation, reply
from shared.service import create_service
from shared.settings import DataSettings
from shared.testing import serving, until
from shared.tests.bells import heard
from shared.tests.conftest import session


@operation("Hear", "Hear", access="public", tag="Bells", returns={204: None})
async def write() -> Response:
    async with transaction() as db:
        await db.execute("INSERT INTO heard (name) VALUES ('bell')")
    return reply(status=204)


def create(settings: DataSettings) -> Quart:
    """A service with a database and a route that writes to it."""
    app = create_service("gamma", settings)
    use_database(app, settings)
    app.add_url_rule("/api/write", "write", write, methods=["POST"])
    return app


@pytest.fixture
async def app(beta_settings: DataSettings) -> AsyncIterator[Quart]:
    """The service, open, with at most two connections."""
    app = create(structs.replace(beta_settings, pool_min=1, pool_max=2, pool_wait=0.6))
    async with serving(app):
        yield app


async def held(app: Quart) -> tuple[Any, list[Any]]:
    """Take every connection of the pool."""
    pool = app.extensions["database"]
    return pool, [await pool.acquire() for _ in range(pool.get_max_size())]


async def test_an_exhausted_pool_answers_503_within_the_wait(app: Quart) -> None:
    pool, taken = await held(app)
    began = time.monotonic()
    response = await app.test_client().post("/api/write")
    assert 0.55 < time.monotonic() - began < 5
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    for db in taken:
        await pool.release(db)
    assert (await app.test_client().post("/api/write")).status_code == 204


async def test_health_shows_an_exhausted_pool_that_gets_answers_and_stays_ready(
    beta_settings: DataSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.pressure.ANSWERED_SECONDS", 60.0)
    app = create(structs.replace(beta_settings, pool_max=2, pool_wait=60.0))
    async with serving(app) as client:
        pool, taken = await held(app)
        assert (await client.get("/healthz")).status_code == 200
        waiting = asyncio.create_task(client.post("/api/write"))
        await taken[0].fetchval("SELECT 1")
        await until(lambda: shows(app, "All 2 connections are in use. Waiting for one: 1."))
        assert (await client.get("/readyz")).status_code == 200
        assert not waiting.done(), "no probe waits for a connection"
        for db in taken:
            await pool.release(db)
        assert (await waiting).status_code == 204
        assert await shows(app, "ok")


async def shows(app: Quart, what: str) -> bool:
    """Whether health says this of the pool."""
    said = await (await app.test_client().get("/readyz")).get_json()
    return bool(said["checks"]["pool"] == what)


async def test_a_pool_that_is_exhausted_and_gets_no_answers_is_unready(
    app: Quart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.pressure.ANSWERED_SECONDS", 0.0)  # none that came so far counts
    pool, taken = await held(app)
    unready = await app.test_client().get("/readyz")
    assert unready.status_code == 503
    checks = (await unready.get_json())["checks"]
    assert checks["database"] == "The database does not answer in time."
    for db in taken:
        await pool.release(db)
    assert (await app.test_client().get("/readyz")).status_code == 200


async def test_the_pool_lets_go_of_what_is_not_used(beta_settings: DataSettings) -> None:
    app = create(structs.replace(beta_settings, pool_min=1, pool_max=5, pool_idle=0.1))

    async def is_small() -> bool:
        return bool(app.extensions["database"].get_size() == 1)

    async with serving(app):
        pool, taken = await held(app)
        for db in taken:
            await pool.release(db)
        await until(is_small, what="the pool at its smallest")
        assert (await app.test_client().post("/api/write")).status_code == 204


async def test_no_more_wait_than_may(app: Quart) -> None:
    pool, taken = await held(app)
    began = time.monotonic()
    responses = await asyncio.gather(*(app.test_client().post("/api/write") for _ in range(50)))
    assert {response.status_code for response in responses} == {503}
    assert time.monotonic() - began < 5, "50 one after the other wait for 30 s"
    for db in taken:
        await pool.release(db)
    assert pool.get_idle_size() == pool.get_size()


async def test_a_transaction_commits_at_its_end(app: Quart) -> None:
    assert (await app.test_client().post("/api/write")).status_code == 204
    assert await heard(app) == ["bell"]


async def test_a_transaction_rolls_back_on_any_exception(app: Quart) -> None:
    async def fail() -> None:
        async with app.app_context(), transaction() as db:
            await db.execute("INSERT INTO heard (name) VALUES ('never')")
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert await heard(app) == []


@pytest.mark.parametrize("statement", ["SELECT pg_sleep(30)", "SELECT 1"])
async def test_a_cancelled_transaction_rolls_back_and_gives_its_connection_back(
    app: Quart, statement: Any
) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with app.app_context(), transaction() as db:
            await db.execute("INSERT INTO heard (name) VALUES ('never')")
            begun.set()
            await db.execute(statement)
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    pool = app.extensions["database"]
    assert pool.get_idle_size() == pool.get_size()
    assert await heard(app) == []


async def test_a_task_that_is_cancelled_twice_leaves_no_open_transaction(app: Quart) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with app.app_context(), transaction() as db:
            await db.execute("INSERT INTO heard (name) VALUES ('never')")
            begun.set()
            await db.execute("SELECT pg_sleep(30)")

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await heard(app) == []
    for _ in range(3):
        assert (await app.test_client().post("/api/write")).status_code == 204
    assert await heard(app) == ["bell"] * 3


async def test_a_connection_that_breaks_is_unavailable_and_the_next_one_works(app: Quart) -> None:
    async def break_off() -> None:
        async with app.app_context(), transaction() as db:
            await db.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(Unavailable):
        await break_off()
    assert (await app.test_client().post("/api/write")).status_code == 204


async def test_connections_that_broke_while_idle_cost_nobody_more_than_a_503(
    app: Quart, beta_settings: DataSettings
) -> None:
    async with session(beta_settings.database_url) as db:
        await db.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )

    async def works() -> bool:
        status = (await app.test_client().post("/api/write")).status_code
        assert status in (204, 503)
        return status == 204

    await until(works)


async def test_a_statement_over_its_time_is_unavailable(beta_settings: DataSettings) -> None:
    app = create(structs.replace(beta_settings, statement_timeout=0.2))

    async def linger() -> None:
        async with app.app_context(), connection() as db:
            await db.execute("SELECT pg_sleep(30)")

    async with serving(app):
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await linger()
        assert time.monotonic() - began < 5


async def wrong_count(db: Any) -> None:
    await db.execute("SELECT $1::int", 1, 2)


async def two_at_once(db: Any) -> None:
    await asyncio.gather(db.execute("SELECT pg_sleep(0.1)"), db.execute("SELECT 1"))


async def wrong_value(db: Any) -> None:
    await db.execute("SELECT $1::int", "one")


async def no_table(db: Any) -> None:
    await db.execute("SELECT FROM nowhere")


@pytest.mark.parametrize(
    ("misuse", "error"),
    [
        (wrong_count, RuntimeError),
        (two_at_once, RuntimeError),
        (wrong_value, asyncpg.DataError),
        (no_table, asyncpg.UndefinedTableError),
    ],
)
async def test_a_fault_of_ours_is_no_outage(
    app: Quart, misuse: Callable[[Any], Any], error: type[Exception]
) -> None:
    async def use() -> None:
        async with app.app_context(), connection() as db:
            await misuse(db)

    with pytest.raises(error):
        await use()


async def test_statements_and_their_time_are_counted(app: Quart) -> None:
    work = begin_work()
    async with app.app_context(), connection() as db:
        await db.execute("SELECT pg_sleep(0.02)")
        await db.fetch("SELECT 1")
        await db.fetchrow("SELECT 1")
        await db.fetchval("SELECT 1")
        await db.executemany("INSERT INTO heard (name) VALUES ($1)", [("a",), ("b",)])
    assert work.statements == 5
    assert work.database_seconds > 0.02


async def test_the_row_that_an_error_quotes_is_kept_out_of_it(app: Quart) -> None:
    async def collide() -> None:
        async with app.app_context(), transaction() as db:
            await db.execute("CREATE TABLE addresses (mail text UNIQUE)")
            for _ in range(2):
                await db.execute("INSERT INTO addresses VALUES ($1)", "someone@example.org")

    with pytest.raises(asyncpg.UniqueViolationError) as raised:
        await collide()
    assert "example.org" not in str(raised.value)


async def test_the_start_fails_where_no_database_is(beta_settings: DataSettings) -> None:
    app = create(
        structs.replace(beta_settings, database_url="postgresql://nobody@127.0.0.1:9/none")
    )
    with pytest.raises(OSError, match="Connect call failed"):
        await app.startup()
