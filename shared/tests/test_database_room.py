"""What does not fit into PostgreSQL does not start."""

import asyncpg
import pytest
from quart import Quart
from quart.testing.app import LifespanError

from deploy.local.servers import Servers
from shared.database import use_database
from shared.settings import DataSettings
from shared.testing import clean_database, serving


@pytest.fixture
async def url(servers: Servers) -> str:
    """A database with six connections, as its limit says."""
    url = await clean_database(servers.admin_url, "room_test", "shared")
    db = await asyncpg.connect(url)
    await db.execute("ALTER DATABASE room_test CONNECTION LIMIT 6")
    await db.close()
    return url


async def start(url: str, replicas: int, pool_max: int) -> None:
    settings = DataSettings(database_url=url, replicas=replicas, pool_min=1, pool_max=pool_max)
    app = Quart("room")
    app.extensions |= {"checks": {}, "soft_checks": {}}
    use_database(app, settings)
    async with serving(app):
        pass


@pytest.mark.parametrize(("replicas", "pool_max"), [(1, 5), (2, 2)])
async def test_what_fits_starts(url: str, replicas: int, pool_max: int) -> None:
    await start(url, replicas, pool_max)


async def test_what_does_not_fit_says_what_to_do(url: str) -> None:
    with pytest.raises(LifespanError) as refused:
        await start(url, replicas=2, pool_max=3)
    assert str(refused.value).endswith(
        "All replicas together may open 8 connections, and PostgreSQL has 6 for them: "
        "lower POOL_MAX, or raise max_connections."
    )


async def test_the_server_has_a_limit_too(servers: Servers) -> None:
    db = await asyncpg.connect(servers.admin_url)
    most = int(await db.fetchval("SHOW max_connections"))
    await db.close()
    with pytest.raises(LifespanError, match="lower POOL_MAX"):
        await start(servers.admin_url, replicas=1, pool_max=most - 1)
