"""Databases of two toy services, and a client of NATS that sees what passes between them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from quart import Quart

from deploy.local.servers import Servers
from shared.settings import DataSettings
from shared.testing import Signer, clean_database, serving
from shared.tests.bells import TABLES, create_alpha


async def _database(servers: Servers, name: str) -> str:
    url = await clean_database(servers.admin_url, name, "shared")
    async with session(url) as db:
        await db.execute(TABLES)
    return url


@asynccontextmanager
async def session(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own."""
    db = await asyncpg.connect(url)
    try:
        yield db
    finally:
        await db.close()


@pytest.fixture(scope="package")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="package")
async def alpha_url(servers: Servers) -> str:
    return await _database(servers, "alpha_test")


@pytest.fixture(scope="package")
async def beta_url(servers: Servers) -> str:
    return await _database(servers, "beta_test")


@pytest.fixture
async def nats(servers: Servers) -> AsyncIterator[Client]:
    """A client on a server that knows nothing of the toy services."""
    client = Client()
    await client.connect(servers.nats_url)
    with suppress(NotFoundError):
        await client.jetstream().delete_stream("alpha")
    yield client
    await client.close()


@pytest.fixture
def jetstream(nats: Client) -> JetStreamContext:
    return nats.jetstream()


async def _settings(servers: Servers, url: str) -> DataSettings:
    async with session(url) as db:
        await db.execute(
            """TRUNCATE outbox, inbox, dead_letters, job_keys, job_failures, idempotency_keys,
                        bells, heard RESTART IDENTITY CASCADE"""
        )
    return DataSettings(database_url=url, nats_url=servers.nats_url, env="test", pool_max=4)


@pytest.fixture
async def alpha_settings(servers: Servers, alpha_url: str, nats: Client) -> DataSettings:
    return await _settings(servers, alpha_url)


@pytest.fixture
async def beta_settings(servers: Servers, beta_url: str, nats: Client) -> DataSettings:
    return await _settings(servers, beta_url)


@pytest.fixture
async def alpha(alpha_settings: DataSettings) -> AsyncIterator[Quart]:
    """The publisher, running."""
    app = create_alpha(alpha_settings)
    async with serving(app):
        yield app
