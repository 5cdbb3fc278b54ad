"""What a plan is said to do, told by plans that PostgreSQL makes."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.local.plans import Plan, Read, lines, plan, services
from deploy.local.servers import Servers
from shared.testing import clean_database

ONE = Read(run=lambda db: db.fetchrow("SELECT name FROM things WHERE id = $1", 7))


@pytest.fixture
async def db(servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    """A table of many rows; each name has a thousand."""
    db = await asyncpg.connect(await clean_database(servers.admin_url, "plans_test", "shared"))
    await db.execute(
        """CREATE TABLE things (id int CONSTRAINT things_id PRIMARY KEY, name text NOT NULL);
           CREATE INDEX things_name ON things (name);
           INSERT INTO things SELECT n, 'name ' || n % 100 FROM generate_series(1, 100000) AS n;
           ANALYZE things"""
    )
    yield db
    await db.close()


async def test_a_read_by_index_has_no_fault(db: asyncpg.Connection) -> None:
    found = await plan(db, ONE)
    assert (found.returned, found.rows_read, found.indexes) == (1, 1, ["things_id"])
    assert found.faults(ONE) == []


async def test_a_dropped_index_is_told_by_the_table_that_is_read_whole(
    db: asyncpg.Connection,
) -> None:
    await db.execute("ALTER TABLE things DROP CONSTRAINT things_id")
    found = await plan(db, ONE)
    assert found.faults(ONE) == [
        "reads things whole",
        "reads 100,000 rows to return 1",
    ]
    assert found.faults(Read(run=ONE.run, most=1e6, whole=frozenset({"things"}))) == []


async def test_rows_that_are_read_in_vain_are_counted(db: asyncpg.Connection) -> None:
    await db.execute("DROP INDEX things_name")
    statement = "SELECT id FROM things WHERE name = $1 ORDER BY id LIMIT 2"
    rare = Read(run=lambda db: db.fetch(statement, "name 3"))
    found = await plan(db, rare)
    assert found.indexes == ["things_id"]
    assert found.faults(rare) == ["reads 103 rows to return 2"]


async def test_what_a_statement_changes_is_undone(db: asyncpg.Connection) -> None:
    found = await plan(db, Read(run=lambda db: db.execute("DELETE FROM things WHERE id = $1", 7)))
    assert found.faults(ONE) == []
    assert await db.fetchval("SELECT count(*) FROM things") == 100_000


def test_lines_name_what_a_read_goes_by() -> None:
    scan = {"Node Type": "Index Scan", "Index Name": "i", "Actual Rows": 3.0, "Actual Loops": 2}
    root = {"Node Type": "Limit", "Actual Rows": 5, "Plans": [scan | {"Relation Name": "t"}]}
    whole = {"Node Type": "Seq Scan", "Relation Name": "s", "Actual Rows": 1, "Actual Loops": 1}
    root["Plans"].append(whole)  # type: ignore[attr-defined]  # a list
    assert lines({("services.users", "all"): Plan(root, 1.234)}) == [
        ("users", "all", "5", "7", "1.23", "i, all of s")
    ]


def test_every_service_that_reads_names_its_reads() -> None:
    assert {"services.users", "services.content", "services.notifications"} <= set(services())
