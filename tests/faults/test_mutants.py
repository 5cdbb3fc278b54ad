"""The checker tells builds that keep their promises from builds that don't."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, nullcontext
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
REST = 60.0  # seconds
REST_OF_WRONG = 4.0  # a mail that tells of what was lost is tried for hours
IN_THE_INBOX = "fact in the inbox of notifications"
PROVES: dict[str, tuple[Wrong, tuple[str, ...]]] = {
    "acknowledges before it commits": (Wrong.LOST, (IN_THE_INBOX,)),
    "answers before it commits": (Wrong.LOST, ("publish ", "comment ", "favorite ")),
    "forgets what it took in": (Wrong.DUPLICATED, (IN_THE_INBOX,)),
    "marks before it publishes": (Wrong.LOST, (IN_THE_INBOX,)),
}
# Two at a time, of different services, whose faults show in different findings.
PAIRS = (
    ("forgets what it took in", "marks before it publishes"),
    ("acknowledges before it commits", "answers before it commits"),
)


async def result_of(
    ground: Ground, names: Iterable[str], folder: Path, rest: float = REST
) -> Result:
    """What came of it when the builds were in the place of their services, and each died once."""
    programs: dict[str, tuple[str, ...]] = {}
    for name in names:
        service = (RIGHT | WRONG)[name].service
        start = (sys.executable, "-m", "tests.faults.mutants", str(folder))
        programs[service] = (*programs.get(service, start), name)

    async def die(_: Ground) -> None:
        async def are_dead() -> bool:
            return set(names) <= set(await asyncio.to_thread(os.listdir, folder))

        await until(are_dead, seconds=20, what="the death of the builds")

    async with ground.replaced(programs):
        fault = Fault(", ".join(names), die)
        return await endure(ground, fault, rate=RATE, before=0.0, after=0.2, rest_within=rest)


async def test_right_builds_may_die_anywhere(broken: Ground, tmp_path: Path) -> None:
    assert (await result_of(broken, RIGHT, tmp_path)).findings == []


@pytest.mark.parametrize("names", PAIRS, ids=", ".join)
async def test_wrong_builds_are_found_out(
    broken: Ground, names: tuple[str, ...], tmp_path: Path
) -> None:
    async with keyless_inbox(broken) if "forgets what it took in" in names else nullcontext():
        found = (await result_of(broken, names, tmp_path, REST_OF_WRONG)).findings
    for name in names:
        wrong, what = PROVES[name]
        assert any(one.wrong == wrong and one.what.startswith(what) for one in found), name


def test_no_wrong_build_is_left_out() -> None:
    assert {name for pair in PAIRS for name in pair} == WRONG.keys()


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
