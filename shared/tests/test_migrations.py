"""Waiting for a schema that somebody else brings."""

import asyncio
import socket

import asyncpg
import pytest

from deploy.local.servers import Servers
from shared.migrations import await_migrations, migrate
from shared.testing import clean_database


async def test_a_schema_that_is_there_is_not_waited_for(servers: Servers) -> None:
    url = await clean_database(servers.admin_url, "waiting_test", "shared")
    assert await await_migrations(url, "shared", patience=0) == []


async def test_what_is_missing_is_named_when_patience_ends(servers: Servers) -> None:
    url = await clean_database(servers.admin_url, "waiting_test")
    assert await await_migrations(url, "shared", patience=0) == ["0001_outbox_inbox.sql"]


async def test_a_database_where_nobody_has_begun_lacks_everything(servers: Servers) -> None:
    url = await clean_database(servers.admin_url, "waiting_test")
    db = await asyncpg.connect(url)
    await db.execute("DROP TABLE schema_migrations")
    await db.close()
    assert await await_migrations(url, "shared", patience=0) == ["0001_outbox_inbox.sql"]


async def test_the_wait_ends_when_somebody_has_migrated(servers: Servers) -> None:
    url = await clean_database(servers.admin_url, "waiting_test")
    waiting = asyncio.create_task(await_migrations(url, "shared", patience=30))
    assert await migrate(url, "shared") == ["0001_outbox_inbox.sql"]
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
