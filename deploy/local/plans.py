"""What reads cost: how PostgreSQL answers them on a large database.

A service names its reads in `tests/reads.py`: `READS`, and `fill`, which makes 100,000 rows.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import asyncpg
import msgspec

from deploy.local.process import Say
from deploy.local.servers import Servers
from deploy.local.suite import SERVICES
from shared.database import SESSION, Connection
from shared.testing import clean_database

HEADINGS = ("SERVICE", "READ", "RETURNED", "READ ROWS", "MS", "BY")
_SCANS = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Tid Scan"}
_SETTLED = 8  # runs after which PostgreSQL has chosen between one plan for all values and many


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A statement and what it may cost: rows read for each row that it returns, and the tables
    that are so small, whatever the size of the database, that it may read them whole.
    """

    run: Callable[[Connection], Awaitable[Any]]
    most: float = 20
    whole: frozenset[str] = frozenset()


class Plan(msgspec.Struct, frozen=True):
    """How PostgreSQL answered: the root of its plan, and milliseconds of planning and running."""

    root: dict[str, Any]
    milliseconds: float

    @property
    def returned(self) -> float:
        """Rows that came out of it."""
        return float(self.root["Actual Rows"])

    @property
    def rows_read(self) -> float:
        """Rows that it looked at, also those that it dropped."""
        return sum(map(_rows_at, self._scans()))

    @property
    def whole(self) -> set[str]:
        """The tables that it read from end to end."""
        return {node["Relation Name"] for node in self._scans() if node["Node Type"] == "Seq Scan"}

    @property
    def indexes(self) -> list[str]:
        """The indexes that it used, in the order of the plan."""
        found = (node["Index Name"] for node in _nodes(self.root) if "Index Name" in node)
        return list(dict.fromkeys(found))

    def faults(self, read: Read) -> list[str]:
        """What it does that `read` may not."""
        found = [f"reads {table} whole" for table in sorted(self.whole - read.whole)]
        if self.rows_read > read.most * max(self.returned, 1):
            found.append(f"reads {self.rows_read:,.0f} rows to return {self.returned:,.0f}")
        return found

    def _scans(self) -> Iterator[dict[str, Any]]:
        yield from (node for node in _nodes(self.root) if node["Node Type"] in _SCANS)


# By the package of the service, and the name of the read.
Plans: TypeAlias = dict[tuple[str, str], Plan]


def services() -> list[str]:
    """The packages of the services that name their reads."""
    packages = [f"services.{name}" for name in SERVICES]
    return [package for package in packages if find_spec(f"{package}.tests.reads")]


def reads_of(package: str) -> dict[str, Read]:
    """The reads of a service, by their names."""
    reads: dict[str, Read] = import_module(f"{package}.tests.reads").READS
    return reads


async def of_all(say: Say) -> Plans:
    """The plans of all services, on servers of their own."""
    found: Plans = {}
    with TemporaryDirectory() as folder:
        async with Servers(Path(folder)) as servers:
            for package in services():
                say(package.rpartition(".")[2], "makes 100,000 rows")
                async with filled(servers.admin_url, package) as db:
                    for name, read in reads_of(package).items():
                        found[package, name] = await plan(db, read)
    return found


def faults(plans: Plans) -> list[str]:
    """A sentence for each fault."""
    return [
        f"{package}, {name}: {fault}."
        for (package, name), found in plans.items()
        for fault in found.faults(reads_of(package)[name])
    ]


def lines(plans: Plans) -> list[tuple[str, ...]]:
    """For people: the service, the read, and the facts of its plan."""
    return [
        (
            package.rpartition(".")[2],
            name,
            f"{found.returned:,.0f}",
            f"{found.rows_read:,.0f}",
            f"{found.milliseconds:.2f}",
            ", ".join([*found.indexes, *(f"all of {table}" for table in sorted(found.whole))]),
        )
        for (package, name), found in plans.items()
    ]


@asynccontextmanager
async def filled(admin_url: str, package: str) -> AsyncIterator[asyncpg.Connection]:
    """A large database of the service, as PostgreSQL knows it after a while."""
    name = f"{package.rpartition('.')[2]}_plans"
    url = await clean_database(admin_url, name, "shared", package)
    db = await asyncpg.connect(url, server_settings=SESSION)
    try:
        await import_module(f"{package}.tests.reads").fill(db)
        await db.execute("VACUUM ANALYZE")
        yield db
    finally:
        await db.close()


async def plan(db: asyncpg.Connection, read: Read) -> Plan:
    """The plan that PostgreSQL settles on after it has seen the statement a few times. What the
    statement changes is undone.
    """
    statement, values = await _recorded(read)
    call = f"EXECUTE seen ({', '.join(map(_literal, values))})" if values else "EXECUTE seen"
    await db.execute(f"PREPARE seen AS {statement}")
    try:
        told = await _explained(db, call)
    finally:
        await db.execute("DEALLOCATE seen")
    return Plan(told["Plan"], told["Planning Time"] + told["Execution Time"])


async def _explained(db: asyncpg.Connection, call: str) -> dict[str, Any]:
    transaction = db.transaction()
    await transaction.start()
    try:
        for _ in range(_SETTLED):
            await db.execute(call)
        told = await db.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {call}")
    finally:
        await transaction.rollback()
    (explained,) = msgspec.json.decode(told, type=list[dict[str, Any]])
    return explained


class _Recorded(Exception):
    def __init__(self, statement: str, values: tuple[object, ...]) -> None:
        super().__init__()
        self.statement, self.values = statement, values


class _Recorder:
    """A connection that has the statement which it is given, and none of its rows."""

    async def _record(self, statement: str, *values: object) -> Any:
        raise _Recorded(statement, values)

    execute = executemany = fetch = fetchrow = fetchval = _record


async def _recorded(read: Read) -> tuple[str, tuple[object, ...]]:
    try:
        await read.run(_Recorder())
    except _Recorded as recorded:
        return recorded.statement, recorded.values
    raise AssertionError("a read is one statement")


def _rows_at(node: dict[str, Any]) -> float:
    passed, loops = float(node["Actual Rows"]), float(node["Actual Loops"])
    removed = sum(float(node.get(f"Rows Removed by {by}", 0)) for by in ("Filter", "Index Recheck"))
    return loops * (passed + removed)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _literal(value: object) -> str:
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(_literal, value))}]"
    return "NULL" if value is None else f"'{value}'"
