"""Two logins of one database take turns, as docs/operations.md says it."""

import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from deploy.local.servers import Servers
from deploy.local.suite import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()
OURS = "turning"  # in place of users, whose login the other tests have


def told(start: str) -> str:
    """A statement of the page, of a login that is this test's own."""
    section = PAGE.split("## Rotate keys")[1].split("\n## ")[0].replace("\n", " ")
    statement = re.search(rf"{start}[^;`]*", section)
    assert statement, f"the page has no {start}"
    return re.sub(r"\busers", OURS, statement[0]).replace("…", "secret")


@pytest.fixture
async def admin(servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(servers.admin_url)
    await connection.execute(f"CREATE ROLE {OURS} LOGIN PASSWORD 'first'")
    await connection.execute(f"CREATE DATABASE {OURS} OWNER {OURS}")
    yield connection
    await connection.execute(f"DROP DATABASE {OURS} WITH (FORCE)")
    await connection.execute(f"DROP ROLE {OURS}")
    await connection.close()


async def test_passwords_change_and_no_login_is_shut_out_before_the_next_works(
    servers: Servers, admin: asyncpg.Connection
) -> None:
    place = urlsplit(servers.admin_url)

    async def does(login: str, password: str, statement: str) -> str:
        url = f"postgresql://{login}:{password}@{place.hostname}:{place.port}/{OURS}"
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
            return str(await connection.fetchval("SELECT current_user"))
        finally:
            await connection.close()

    await does(OURS, "first", "CREATE TABLE of_old (id integer)")
    await admin.execute(told("CREATE ROLE"))
    await admin.execute(told("ALTER ROLE users_b SET"))
    second = f"{OURS}_b"
    assert await does(second, "secret", "INSERT INTO of_old VALUES (1)") == OURS
    await admin.execute(told("ALTER ROLE users NOLOGIN"))
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await does(OURS, "first", "SELECT 1")
    await does(second, "secret", "CREATE TABLE of_new (id integer)")
    await admin.execute(told("ALTER ROLE users LOGIN"))
    assert await does(OURS, "secret", "INSERT INTO of_new VALUES (1)") == OURS
    await admin.execute(told("DROP ROLE"))
