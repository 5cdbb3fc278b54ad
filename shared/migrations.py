"""Plain-SQL migrations, applied in order under a lock, each in its own transaction."""

import asyncio
import re
import time
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import asyncpg
import msgspec
import structlog

SERVER_SECONDS = 60.0  # for a PostgreSQL that starts when we do
SCHEMA_SECONDS = 300.0  # for migrations that somebody else applies
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_LOCK = 0x71756172  # any number that all runners of one database agree on
_log = structlog.get_logger()


class Migration(msgspec.Struct, frozen=True):
    """One numbered file of a package's `migrations` folder."""

    origin: str
    number: int
    name: str
    sql: str


class DatabaseAhead(Exception):
    """The database has migrations that this version of the code does not know."""


def migrations(*packages: str) -> list[Migration]:
    """The migrations of the packages, in order. Raises `ValueError` on a gap or a bad name."""
    found: list[Migration] = []
    for package in packages:
        folder = files(package) / "migrations"
        names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
        for expected, name in enumerate(names, start=1):
            match = _NAME.fullmatch(name)
            if match is None or int(match[1]) != expected:
                raise ValueError(f"{package}: expected migration {expected:04}, found {name}")
            found.append(Migration(package, expected, name, (folder / name).read_text()))
    return found


async def migrate(url: str, *packages: str, patience: float = 0) -> list[str]:
    """Apply what is missing, and name it. Two runners at once apply each migration once.

    A server that is not there yet is waited for, for `patience` seconds. Raises `DatabaseAhead`
    when the database is newer than the code.
    """
    db = await _connected(url, patience)
    try:
        await db.execute("SELECT pg_advisory_lock($1)", _LOCK)
        return await _apply(db, migrations(*packages))
    finally:
        await db.close()


async def await_migrations(url: str, *packages: str, patience: float) -> list[str]:
    """Wait until somebody has applied all migrations; name those missing after `patience` seconds.

    A database that is ahead will do: old code serves on a new schema while a release is rolled out.
    """
    deadline = time.monotonic() + patience
    db = await _connected(url, patience)
    try:
        while missing := await _missing(db, migrations(*packages)):
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(0.5)
        return [step.name for step in missing]
    finally:
        await db.close()


async def _connected(url: str, patience: float) -> Any:
    deadline = time.monotonic() + patience
    while True:
        try:
            return await asyncpg.connect(url, timeout=5)
        except (OSError, asyncpg.CannotConnectNowError):
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(0.5)


async def _missing(db: Any, known: list[Migration]) -> list[Migration]:
    try:
        rows = await db.fetch("SELECT origin, number FROM schema_migrations LIMIT 10000")
    except asyncpg.UndefinedTableError:  # nobody has begun
        return known
    applied = {(row["origin"], row["number"]) for row in rows}
    return [step for step in known if (step.origin, step.number) not in applied]


async def _apply(db: Any, known: list[Migration]) -> list[str]:
    await db.execute(
        """CREATE TABLE IF NOT EXISTS schema_migrations (
             origin     text NOT NULL,
             number     int NOT NULL,
             name       text NOT NULL,
             applied_at timestamptz NOT NULL DEFAULT now(),
             PRIMARY KEY (origin, number))"""
    )
    rows = await db.fetch("SELECT origin, number, name FROM schema_migrations LIMIT 10000")
    applied = {(row["origin"], row["number"]) for row in rows}
    ahead = applied - {(step.origin, step.number) for step in known}
    if ahead:
        raise DatabaseAhead(f"The database is ahead of this version: {sorted(ahead)}")
    missing = [step for step in known if (step.origin, step.number) not in applied]
    for step in missing:
        async with db.transaction():
            await db.execute("SET LOCAL lock_timeout = '5s'")
            await db.execute(step.sql)
            await db.execute(
                "INSERT INTO schema_migrations (origin, number, name) VALUES ($1, $2, $3)",
                step.origin,
                step.number,
                step.name,
            )
    return [step.name for step in missing]


async def bring(command: str, url: str, packages: Sequence[str]) -> int:
    """Apply the migrations, or wait until somebody else has; the server may be starting too.
    Returns the exit code.
    """
    if command == "migrate":
        _log.info("migrated", applied=await migrate(url, *packages, patience=SERVER_SECONDS))
        return 0
    missing = await await_migrations(url, *packages, patience=SCHEMA_SECONDS)
    if missing:
        _log.error("the database lacks migrations", missing=missing)
        return 75  # sysexits.h EX_TEMPFAIL
    return 0
