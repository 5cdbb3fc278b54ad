"""The gadgetry service on real servers, and members whom it knows."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from quart.typing import TestClientProtocol
from uuid_utils.compat import uuid7

from deploy.local.servers import Servers
from shared.database import Connection
from shared.testing import Signer, clean_database, serving
from templates.service.app import create_app
from templates.service.queries import upsert_person
from templates.service.settings import Settings
from templates.service.tests.members import Member


@pytest.fixture(scope="package")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="package")
async def database_url(servers: Servers) -> str:
    return await clean_database(servers.admin_url, "gadgetry_test", "shared", "templates.service")


@pytest.fixture(scope="package")
async def client(
    servers: Servers, database_url: str, signer: Signer
) -> AsyncIterator[TestClientProtocol]:
    settings = Settings(
        database_url=database_url,
        nats_url=servers.nats_url,
        jwks_url=signer.jwks_url,
        env="test",
    )
    async with serving(create_app(settings)) as client:
        yield client


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Connection]:
    """A connection whose changes are there for the service."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def stranger(client: TestClientProtocol, signer: Signer) -> Member:
    """Somebody whose registration has not arrived here."""
    id_ = uuid7()
    return Member(client, id_, f"member {id_.hex}", signer.headers(id_))


@pytest.fixture
async def member(stranger: Member, db: Connection) -> Member:
    """Somebody whom the service knows."""
    await upsert_person(db, stranger.id, stranger.username, 1)
    return stranger
