"""Migrations are applied once, in order, whole, and never backwards."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy.local.servers import Servers
from shared.migrations import DatabaseAhead, await_migrations, migrate, migrations
from shared.testing import clean_database
from shared.tests.conftest import session

SHARED = [step.name for step in migrations("shared")]


class Package:
    """A package with migrations, on the path of this test."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._folder = folder / name / "migrations"
        self._folder.mkdir(parents=True)
        (folder / name / "__init__.py").touch()

    def add(self, file: str, sql: str = "SELECT 1") -> None:
        """Write a migration."""
        (self._folder / file).write_text(sql)

    def remove(self, file: str) -> None:
        """Delete a migration."""
        (self._folder / file).unlink()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(tmp_path)
    return Package(tmp_path, f"package_{tmp_path.name}")


@pytest.fixture
async def url(servers: Servers) -> str:
    return await clean_database(servers.admin_url, "migrations_test")


async def value(url: str, query: Any) -> Any:
    async with session(url) as db:
        return await db.fetchval(query)


async def test_what_is_missing_is_applied_in_order_and_named(url: str, package: Package) -> None:
    package.add("0001_first.sql", "CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
    package.add("0002_second.sql", "UPDATE t SET n = n + 1")
    assert await migrate(url, package.name) == ["0001_first.sql", "0002_second.sql"]
    package.add("0003_third.sql", "UPDATE t SET n = n * 10")
    assert await migrate(url, package.name) == ["0003_third.sql"]
    assert await migrate(url, package.name) == []
    assert await value(url, "SELECT n FROM t") == 20


async def test_packages_number_their_migrations_each_for_itself(url: str, package: Package) -> None:
    package.add("0001_first.sql", "ALTER TABLE outbox ADD COLUMN mine int")
    applied = await migrate(url, "shared", package.name)
    assert applied == [*SHARED, "0001_first.sql"]


async def test_two_runners_at_once_apply_each_migration_once(url: str, package: Package) -> None:
    package.add("0001_first.sql", "CREATE TABLE t (n int); SELECT pg_sleep(0.3)")
    package.add("0002_second.sql", "INSERT INTO t VALUES (1)")
    runs = await asyncio.gather(*(migrate(url, package.name) for _ in range(4)))
    assert sorted(map(len, runs)) == [0, 0, 0, 2]
    assert await value(url, "SELECT count(*) FROM t") == 1


async def test_a_migration_that_fails_leaves_nothing_and_those_before_it_stay(
    url: str, package: Package
) -> None:
    package.add("0001_first.sql", "CREATE TABLE first (n int)")
    package.add("0002_second.sql", "CREATE TABLE second (n int); SELECT 1 / 0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(url, package.name)
    assert await value(url, "SELECT to_regclass('first') IS NOT NULL")
    assert await value(url, "SELECT to_regclass('second') IS NULL")
    package.add("0002_second.sql", "CREATE TABLE second (n int)")
    assert await migrate(url, package.name) == ["0002_second.sql"]


async def test_a_database_that_is_ahead_is_refused(url: str, package: Package) -> None:
    package.add("0001_first.sql")
    package.add("0002_second.sql")
    await migrate(url, package.name)
    package.remove("0002_second.sql")
    with pytest.raises(DatabaseAhead, match="2"):
        await migrate(url, package.name)


async def test_a_table_that_is_in_use_is_not_waited_for_without_end(
    url: str, package: Package
) -> None:
    package.add("0001_first.sql", "CREATE TABLE t (n int)")
    await migrate(url, package.name)
    package.add("0002_second.sql", "SET LOCAL lock_timeout = '50ms'; ALTER TABLE t ADD m int")
    async with session(url) as db:
        reading = db.transaction()
        await reading.start()
        await db.fetch("SELECT n FROM t")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await migrate(url, package.name)
        await reading.rollback()
    assert await migrate(url, package.name) == ["0002_second.sql"]


@pytest.mark.parametrize(
    "names",
    [
        ["0002_second.sql"],
        ["0001_first.sql", "0003_third.sql"],
        ["0001_first.sql", "0001_again.sql"],
        ["1_first.sql"],
        ["0001_First.sql"],
        ["0001.sql"],
        ["first.sql"],
    ],
)
def test_a_gap_or_a_bad_name_is_refused(package: Package, names: list[str]) -> None:
    for name in names:
        package.add(name)
    with pytest.raises(ValueError, match="expected migration 000"):
        migrations(package.name)


def test_other_files_are_no_migrations(package: Package) -> None:
    package.add("0001_first.sql")
    package.add("README.md")
    assert [step.name for step in migrations(package.name)] == ["0001_first.sql"]


async def test_a_schema_that_is_there_is_not_waited_for(servers: Servers) -> None:
    url = await clean_database(servers.admin_url, "waiting_test", "shared")
    assert await await_migrations(url, "shared", patience=0) == []


async def test_what_is_missing_is_named_when_patience_ends(servers: Servers) -> None:
    url = await clean_database(servers.admin_url, "waiting_test")
    assert await await_migrations(url, "shared", patience=0) == SHARED


async def test_a_database_where_nobody_has_begun_lacks_everything(servers: Servers) -> None:
    url = await clean_database(servers.admin_url, "waiting_test")
    db = await asyncpg.connect(url)
    await db.execute("DROP TABLE schema_migrations")
    await db.close()
    assert await await_migrations(url, "shared", patience=0) == SHARED


async def test_the_wait_ends_when_somebody_has_migrated(servers: Servers) -> None:
    url = await clean_database(servers.admin_url, "waiting_test")
    waiting = asyncio.create_task(await_migrations(url, "shared", patience=30))
    assert await migrate(url, "shared") == SHARED
    assert await waiting == []


async def test_old_code_serves_on_a_new_schema(servers: Servers) -> None:
    url = await clean_database(servers.admin_url, "waiting_test", "shared")
    assert await await_migrations(url, patience=0) == []


async def test_a_server_that_is_away_is_told_of_when_patience_ends() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"postgresql://nobody@127.0.0.1:{unused.getsockname()[1]}/none"
        with pytest.raises(ConnectionRefusedError):
            await migrate(url, "shared", patience=0)
