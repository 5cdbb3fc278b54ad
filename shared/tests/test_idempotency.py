"""The same key and request get the first answer; whatever happens in between, it counts once."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from quart import Quart

from shared.settings import DataSettings
from shared.testing import Signer, until
from shared.tests.conftest import session
from shared.tests.tower import Reply, Told, Tower, ring, standing


@pytest.fixture
def key() -> str:
    return str(uuid4())


@pytest.fixture
async def service(alpha_settings: DataSettings, signer: Signer) -> AsyncIterator[Any]:
    async with standing(alpha_settings, signer) as running:
        yield running


@pytest.fixture
def app(service: tuple[Quart, Tower]) -> Quart:
    return service[0]


@pytest.fixture
def tower(service: tuple[Quart, Tower]) -> Tower:
    return service[1]


@pytest.fixture
async def db(alpha_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with session(alpha_url) as db:
        yield db


async def rung(db: asyncpg.Connection) -> list[str]:
    """The bells that were rung; the outbox tells the same."""
    bells = [row["name"] for row in await db.fetch("SELECT name FROM bells ORDER BY name")]
    events = await db.fetch("SELECT aggregate FROM outbox ORDER BY aggregate")
    assert [row["aggregate"] for row in events] == bells
    return bells


def errors(reply: Reply) -> Any:
    return msgspec.json.decode(reply.body)["errors"]


async def test_the_same_request_gets_the_first_answer_byte_for_byte(
    app: Quart, db: asyncpg.Connection, key: str
) -> None:
    first = await ring(app, "a", key).reply()
    again = await ring(app, "a", key).reply()
    assert first.status == 201
    assert first.kept == again.kept
    assert first.headers["content-type"] == "application/json"
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["quartet-position"].startswith("tower=")
    assert await rung(db) == ["a"]


async def test_without_a_key_each_request_counts(app: Quart, db: asyncpg.Connection) -> None:
    first, second = await ring(app, "a").reply(), await ring(app, "a").reply()
    assert first.body != second.body
    assert await rung(db) == ["a", "a"]


async def test_a_second_request_waits_for_the_first(
    app: Quart, tower: Tower, db: asyncpg.Connection, key: str
) -> None:
    tower.gate.clear()
    first = ring(app, "a", key)
    await tower.has_begun()
    others = [ring(app, "a", key) for _ in range(3)]
    await until(lambda: waiting(db, 3), what="three requests that wait")
    tower.gate.set()
    answer = await first.reply()
    assert [(await other.reply()).kept for other in others] == [answer.kept] * 3
    assert answer.status == 201
    assert await rung(db) == ["a"]


async def waiting(db: asyncpg.Connection, count: int) -> bool:
    """Whether so many sessions wait for a key."""
    found = await db.fetchval(
        """SELECT count(*) FROM pg_locks
            WHERE locktype = 'advisory' AND NOT granted
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    )
    return bool(found == count)


async def test_when_the_client_of_the_first_leaves_the_second_is_the_first(
    app: Quart, tower: Tower, db: asyncpg.Connection, key: str
) -> None:
    tower.gate.clear()
    first = ring(app, "a", key)
    await tower.has_begun()
    second = ring(app, "a", key)
    await until(lambda: waiting(db, 1), what="a request that waits")
    await first.leave()
    await tower.has_begun(2)
    tower.gate.set()
    assert (await second.reply()).status == 201
    assert await rung(db) == ["a"]


async def test_after_a_crash_in_between_the_request_can_be_made_again(
    app: Quart, tower: Tower, db: asyncpg.Connection, key: str
) -> None:
    tower.gate.clear()
    first = ring(app, "a", key)
    await tower.has_begun()
    await db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'tower' AND state = 'idle in transaction'"
    )
    tower.gate.set()
    assert (await first.reply()).status == 503
    assert await rung(db) == []
    assert (await ring(app, "a", key).reply()).status == 201
    assert await rung(db) == ["a"]


async def test_another_request_with_the_key_is_refused(
    app: Quart, db: asyncpg.Connection, key: str
) -> None:
    first = await ring(app, "a", key).reply()
    other = await ring(app, "b", key).reply()
    assert other.status == 422
    assert errors(other)["Idempotency-Key"] == ["was used with another request"]
    assert (await ring(app, "a", key).reply()).kept == first.kept
    assert await rung(db) == ["a"]


async def test_another_request_with_the_key_of_one_that_runs_is_refused(
    app: Quart, tower: Tower, db: asyncpg.Connection, key: str
) -> None:
    tower.gate.clear()
    first = ring(app, "a", key)
    await tower.has_begun()
    other = ring(app, "b", key)
    await until(lambda: waiting(db, 1), what="a request that waits")
    tower.gate.set()
    assert (await first.reply()).status == 201
    assert (await other.reply()).status == 422
    assert await rung(db) == ["a"]


async def test_accounts_do_not_share_keys(
    app: Quart, db: asyncpg.Connection, signer: Signer, key: str
) -> None:
    ada, bob = signer.headers(uuid4()), signer.headers(uuid4())
    first = await ring(app, "a", key, **ada).reply()
    second = await ring(app, "a", key, **bob).reply()
    nobody = await ring(app, "a", key).reply()
    assert len({first.body, second.body, nobody.body}) == 3
    assert (await ring(app, "a", key, **ada).reply()).kept == first.kept
    assert (await ring(app, "a", key, **bob).reply()).kept == second.kept
    assert await rung(db) == ["a", "a", "a"]


async def test_an_answer_of_500_is_not_kept(
    app: Quart, tower: Tower, db: asyncpg.Connection, key: str
) -> None:
    tower.broken = True
    assert (await ring(app, "a", key).reply()).status == 500
    assert await rung(db) == []
    tower.broken = False
    assert (await ring(app, "a", key).reply()).status == 201
    assert await rung(db) == ["a"]


async def test_a_refusal_is_kept_with_all_its_headers_and_changes_nothing(
    app: Quart, db: asyncpg.Connection, key: str
) -> None:
    first = await ring(app, "taken", key).reply()
    again = await ring(app, "taken", key).reply()
    assert first.status == 409
    assert first.headers["content-type"] == "application/problem+json"
    assert first.kept == again.kept
    assert "quartet-position" not in first.headers
    assert await rung(db) == []


async def test_a_body_that_does_not_fit_is_refused_alike_twice(app: Quart, key: str) -> None:
    first = await ring(app, 5, key).reply()  # type: ignore[arg-type]  # a client may send anything
    again = await ring(app, 5, key).reply()  # type: ignore[arg-type]
    assert first.status == 422
    assert first.kept == again.kept


@pytest.mark.parametrize("key", ["", "   ", "k" * 256, "a\tb", "a\x7f"])
async def test_a_key_that_can_be_none_is_refused(
    app: Quart, db: asyncpg.Connection, key: str
) -> None:
    reply = await ring(app, "a", key).reply()
    assert reply.status == 422
    assert errors(reply)["Idempotency-Key"] == ["must have 1 to 255 printable characters"]
    assert await rung(db) == []


@pytest.mark.parametrize("key", ["k", "k" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "é"])
async def test_any_other_key_will_do(app: Quart, db: asyncpg.Connection, key: str) -> None:
    assert (await ring(app, "a", key).reply()).status == 201
    assert (await ring(app, "a", key).reply()).status == 201
    assert await rung(db) == ["a"]


async def test_the_table_tells_neither_key_nor_answer(
    app: Quart, db: asyncpg.Connection, key: str
) -> None:
    reply = await ring(app, "a", key).reply()
    secret = msgspec.json.decode(reply.body, type=Told).secret
    (row,) = await db.fetch("SELECT * FROM idempotency_keys")
    stored = b"".join(value for value in row.values() if isinstance(value, bytes))
    for told in (key, secret, "token", "application/json", "tower"):
        assert told.encode() not in stored


async def test_a_commit_that_fails_answers_so_and_keeps_nothing(
    app: Quart, db: asyncpg.Connection, key: str
) -> None:
    await db.execute(
        """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
           CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON idempotency_keys
           DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"""
    )
    try:
        assert (await ring(app, "a", key).reply()).status == 503
    finally:
        await db.execute("DROP FUNCTION refuse CASCADE")
    assert await rung(db) == []
    assert (await ring(app, "a", key).reply()).status == 201
    assert await rung(db) == ["a"]
