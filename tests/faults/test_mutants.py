"""The checker tells builds that keep their promises from builds that don't."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from shared.testing import until
from tests.faults.faults import Fault
from tests.faults.findings import Wrong
from tests.faults.ground import Ground
from tests.faults.mutants.builds import RIGHT, WRONG
from tests.faults.run import Result, endure

RATE = 40.0  # requests a second
REST = 4.0  # seconds; a mail that tells of what was lost is tried for hours
PROVES = {
    "acknowledges before it commits": Wrong.LOST,
    "forgets what it took in": Wrong.DUPLICATED,
    "marks before it publishes": Wrong.LOST,
    "answers before it commits": Wrong.LOST,
}


async def result_of(ground: Ground, build: str, service: str, marker: Path) -> Result:
    """What came of it when the build was in the service's place, and died once."""

    async def dies(ground: Ground) -> None:
        async def is_dead() -> bool:
            return await asyncio.to_thread(marker.exists)

        await until(is_dead, seconds=20, what="the death of the build")

    argv = (sys.executable, "-m", "tests.faults.mutants", build, str(marker))
    async with ground.replaced(service, argv):
        fault = Fault(build, dies)
        return await endure(ground, fault, rate=RATE, before=0.0, after=0.2, rest_within=REST)


@pytest.mark.parametrize("name", RIGHT)
async def test_a_right_build_may_die_anywhere(broken: Ground, name: str, tmp_path: Path) -> None:
    result = await result_of(broken, name, RIGHT[name].service, tmp_path / "dead")
    assert result.findings == []


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_build_is_found_out(broken: Ground, name: str, tmp_path: Path) -> None:
    async with keyless_inbox(broken) if "forgets" in name else nothing():
        result = await result_of(broken, name, WRONG[name].service, tmp_path / "dead")
    assert PROVES[name] in {finding.wrong for finding in result.findings}


@asynccontextmanager
async def nothing() -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def keyless_inbox(ground: Ground) -> AsyncIterator[None]:
    """The inbox of notifications without the key that makes effects happen once."""
    db = await asyncpg.connect(ground.stack.addresses.databases["notifications"])
    try:
        await db.execute("ALTER TABLE inbox DROP CONSTRAINT inbox_pkey")
        yield
        await db.execute(
            """DELETE FROM inbox WHERE ctid NOT IN (SELECT min(ctid) FROM inbox GROUP BY id);
               ALTER TABLE inbox ADD PRIMARY KEY (id)"""
        )
    finally:
        await db.close()
