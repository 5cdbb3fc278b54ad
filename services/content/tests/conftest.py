"""A content service on real servers, with members whom it knows."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from quart import Quart
from quart.typing import TestClientProtocol
from uuid_utils.compat import uuid7

from deploy.local.servers import Servers
from services.content.app import create_app
from services.content.names import username_key
from services.content.queries.projections import upsert_author
from services.content.settings import Settings
from services.content.tests.members import Join, Member
from shared.testing import Signer, clean_database, serving


@pytest.fixture(scope="package")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="package")
async def database_url(servers: Servers) -> str:
    return await clean_database(servers.admin_url, "content_test", "shared", "services.content")


@pytest.fixture(scope="package")
def app(servers: Servers, database_url: str, signer: Signer) -> Quart:
    return create_app(
        Settings(
            database_url=database_url,
            nats_url=servers.nats_url,
            jwks_url=signer.jwks_url,
            env="test",
            pool_wait=10.0,  # these tests come by the hundred at once
        )
    )


@pytest.fixture(scope="package")
async def client(app: Quart) -> AsyncIterator[TestClientProtocol]:
    async with serving(app) as client:
        yield client


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def join(client: TestClientProtocol, db: asyncpg.Connection, signer: Signer) -> Join:
    """Have somebody join whom the service knows already."""

    async def join() -> Member:
        account = uuid7()
        username = f"Member {account.hex}"
        await upsert_author(db, account, username, username_key(username), "Writes.", "", 1)
        return Member(client, account, username, signer.headers(account))

    return join


@pytest.fixture
async def author(join: Join) -> Member:
    return await join()


@pytest.fixture
async def reader(join: Join) -> Member:
    return await join()


@pytest.fixture
def stranger(client: TestClientProtocol) -> Member:
    """Somebody who has not said who they are."""
    return Member(client, uuid7(), "nobody", {})
