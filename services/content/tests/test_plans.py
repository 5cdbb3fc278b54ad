"""What the reads cost on 100,000 articles: indexes for what a page shows, and no more."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from deploy.local.servers import Servers
from services.content.queries.articles import find_article
from services.content.queries.comments import find_comments
from services.content.queries.counters import recount, select_tags
from services.content.queries.listing import (
    select_by_author,
    select_favorited,
    select_feed,
    select_newest,
    select_tagged,
)
from services.content.schema import Page
from shared.database import Connection
from shared.testing import clean_database

CORPUS = Path(__file__).with_name("corpus.sql")
ARTICLES = 100_000
SCANS = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Tid Scan"}
PAGE = Page()
Read = Callable[[Connection], Awaitable[Any]]


def account(number: int) -> UUID:
    return UUID(f"00000000-0000-7000-8000-{number:012x}")


VIEWER = account(5)
CASES: dict[str, Read] = {
    "all": lambda db: select_newest(db, VIEWER, PAGE),
    "all, nobody's": lambda db: select_newest(db, None, PAGE),
    "by tag": lambda db: select_tagged(db, VIEWER, PAGE, "tag3"),
    "by author": lambda db: select_by_author(db, VIEWER, PAGE, "author7", None, None),
    "favorited": lambda db: select_favorited(db, VIEWER, PAGE, "author9", None),
    "feed": lambda db: select_feed(db, account(1), PAGE),
    "article": lambda db: find_article(db, "article-77", VIEWER),
    "comments": lambda db: find_comments(db, "article-1", VIEWER, None, 500),
    "tags": lambda db: select_tags(db, 1_000),
}
FILTERED: dict[str, Read] = {
    "author, tag": lambda db: select_by_author(db, VIEWER, PAGE, "author7", "tag3", None),
    "author, fan": lambda db: select_by_author(db, VIEWER, PAGE, "author7", None, "author9"),
    "tag, fan": lambda db: select_favorited(db, VIEWER, PAGE, "author9", "tag3"),
    "all three": lambda db: select_by_author(db, VIEWER, PAGE, "author7", "tag3", "author9"),
    "deep": lambda db: select_newest(db, VIEWER, Page(offset=5_000)),
    "deep feed": lambda db: select_feed(db, account(2), Page(offset=2_000)),
}


class Recorder:
    """A connection that keeps the statement it was given last."""

    def __init__(self, db: asyncpg.Connection) -> None:
        self._db = db
        self.statement = ""
        self.values: tuple[object, ...] = ()

    async def fetch(self, query: str, *values: object) -> list[Any]:
        self.statement, self.values = query, values
        rows: list[Any] = await self._db.fetch(query, *values)
        return rows

    async def fetchrow(self, query: str, *values: object) -> Any:
        self.statement, self.values = query, values
        return await self._db.fetchrow(query, *values)

    async def fetchval(self, query: str, *values: object) -> Any:
        raise NotImplementedError

    async def execute(self, query: str, *values: object) -> str:
        raise NotImplementedError

    async def executemany(self, command: str, args: Any) -> None:
        raise NotImplementedError


class Plan(msgspec.Struct, frozen=True):
    """How PostgreSQL answered: the root of its plan, and milliseconds of planning and running."""

    root: dict[str, Any]
    milliseconds: float

    def scans(self) -> Iterator[dict[str, Any]]:
        yield from (node for node in nodes(self.root) if node["Node Type"] in SCANS)

    def rows_read(self) -> float:
        return sum(rows_at(node) for node in self.scans())


def rows_at(node: dict[str, Any]) -> float:
    passed, loops = float(node["Actual Rows"]), float(node["Actual Loops"])
    removed = sum(float(node.get(f"Rows Removed by {by}", 0)) for by in ("Filter", "Index Recheck"))
    return loops * (passed + removed)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.fixture(scope="module")
async def big(servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    """A database with the corpus in it."""
    url = await clean_database(
        servers.admin_url, "content_test_plans", "shared", "services.content"
    )
    db = await asyncpg.connect(url)
    await db.execute(CORPUS.read_text().replace("$articles$", str(ARTICLES)))
    await recount(db)
    await db.execute("VACUUM ANALYZE")
    yield db
    await db.close()


async def plan(db: asyncpg.Connection, read: Read) -> Plan:
    """The plan that PostgreSQL settles on after it has seen the statement a few times."""
    recorder = Recorder(db)
    await read(recorder)
    values = ", ".join(literal(value) for value in recorder.values)
    await db.execute(f"PREPARE seen AS {recorder.statement}")
    try:
        call = f"EXECUTE seen ({values})" if values else "EXECUTE seen"
        for _ in range(8):
            await db.execute(call)
        told = await db.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {call}")
    finally:
        await db.execute("DEALLOCATE seen")
    explained = msgspec.json.decode(told)[0]
    return Plan(explained["Plan"], explained["Planning Time"] + explained["Execution Time"])


def literal(value: object) -> str:
    return "NULL" if value is None else f"'{value}'"


@pytest.mark.parametrize("case", CASES)
async def test_a_read_takes_no_more_than_its_page_needs(big: asyncpg.Connection, case: str) -> None:
    found = await plan(big, CASES[case])
    returned = found.root["Actual Rows"]
    assert returned > 0
    assert scanned_whole(found) <= {"article_counts"}
    assert found.rows_read() <= 20 * returned


@pytest.mark.parametrize("case", FILTERED)
async def test_no_list_scans_a_whole_table(big: asyncpg.Connection, case: str) -> None:
    found = await plan(big, FILTERED[case])
    assert scanned_whole(found) <= {"article_counts"}


def scanned_whole(found: Plan) -> set[str]:
    return {node["Relation Name"] for node in found.scans() if node["Node Type"] == "Seq Scan"}


async def test_a_feed_of_a_thousand_authors_looks_once_at_each(big: asyncpg.Connection) -> None:
    found = await plan(big, lambda db: select_feed(db, account(2), PAGE))
    assert found.root["Actual Rows"] == 20
    assert scanned_whole(found) == set()
    # Each follow twice, each author's newest article and count, and some twenty articles.
    assert found.rows_read() <= 4 * 1_000 + 20 * 20


async def test_the_feed_is_what_a_plain_statement_finds(big: asyncpg.Connection) -> None:
    for reader in (1, 2, 17):
        for offset in (0, 5, 400, 5_000):
            feed = await select_feed(big, account(reader), Page(limit=20, offset=offset))
            plain = await big.fetch(
                """SELECT slug FROM articles JOIN follows ON followee_id = author_id
                    WHERE follower_id = $1 AND following
                    ORDER BY created_at DESC, articles.id DESC LIMIT 20 OFFSET $2""",
                account(reader),
                offset,
            )
            assert [item.slug for item in feed.articles] == [row["slug"] for row in plain]
    count = await big.fetchval(
        """SELECT count(*) FROM articles JOIN follows ON followee_id = author_id
            WHERE follower_id = $1 AND following""",
        account(2),
    )
    assert (await select_feed(big, account(2), PAGE)).articles_count == count


async def test_the_newest_twenty_take_a_millisecond_at_most(big: asyncpg.Connection) -> None:
    times = [(await plan(big, CASES["all"])).milliseconds for _ in range(10)]
    assert min(times) <= 1.0
