"""Expand, move, contract: a schema changes in three steps, and code that knows none serves on."""

import asyncio
from pathlib import Path

import pytest

from deploy.local.servers import Servers
from shared.migrations import migrate
from shared.testing import until
from tests.recovery.community import Community
from tests.recovery.test_rebuild import all_equal

# A bio in two languages, say: what there was is filled in, and what is not needed goes.
EXPAND = "ALTER TABLE accounts ADD COLUMN bio_language text"
MOVE = "UPDATE accounts SET bio_language = 'en' WHERE bio_language IS NULL"
CONTRACT = "ALTER TABLE accounts DROP COLUMN bio_language"


async def serve_on(community: Community) -> None:
    """Wait until more people have joined on the schema as it is now."""
    count = "SELECT count(*) FROM accounts"
    before = await community.databases["users"].fetchval(count)

    async def joined() -> bool:
        return bool(await community.databases["users"].fetchval(count) >= before + 10)

    await until(joined)


async def test_the_old_code_serves_while_the_schema_changes_under_it(
    community: Community, own_servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "next_release" / "migrations"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    url = own_servers.admin_url.rsplit("/", 1)[0] + "/users"
    done = asyncio.Event()

    async def write() -> int:
        """People join without pause; each is answered with 201, or this fails."""
        count = 0
        while not done.is_set():
            await community.register()
            count += 1
        return count

    async with asyncio.TaskGroup() as group:
        writers = [group.create_task(write()) for _ in range(3)]
        for number, sql in enumerate((EXPAND, MOVE, CONTRACT), start=1):
            name = f"{number:04}_step.sql"
            (folder / name).write_text(sql)
            assert await migrate(url, "shared", "services.users", "next_release") == [name]
            await serve_on(community)
        done.set()
    assert sum(writer.result() for writer in writers) >= 30
    await all_equal(community)
