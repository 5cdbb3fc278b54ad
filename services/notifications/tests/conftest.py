"""A notifications service on real servers, and accounts of its own for each test."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from quart import Quart, Response
from quart.typing import TestClientProtocol

from deploy.local.servers import Servers
from services.notifications.app import create_app
from services.notifications.settings import Settings
from services.notifications.tests.crew import create_crew, lose_streams
from services.notifications.tests.people import Member, join
from services.notifications.tests.postbox import Postbox, opened
from shared.context import current_work
from shared.database import Connection, transaction
from shared.testing import Signer, clean_database, serving

KEY = "a key that signs links in tests only"
Costs = list[tuple[str, int]]


@pytest.fixture(scope="package")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="package")
async def database_url(servers: Servers) -> str:
    return await clean_database(
        servers.admin_url, "notifications_test", "shared", "services.notifications"
    )


@pytest.fixture(scope="package")
def costs() -> Costs:
    """Each request's route and count of statements, in order."""
    return []


@pytest.fixture(scope="package")
def app(servers: Servers, database_url: str, signer: Signer, costs: Costs) -> Quart:
    app = create_app(
        Settings(
            database_url=database_url,
            nats_url=servers.nats_url,
            jwks_url=signer.jwks_url,
            env="test",
            unsubscribe_key=KEY,
        )
    )

    @app.after_request
    async def count(response: Response) -> Response:
        work = current_work()
        assert work is not None
        costs.append((work.route, work.statements))
        return response

    return app


@pytest.fixture(scope="package")
async def client(servers: Servers, app: Quart) -> AsyncIterator[TestClientProtocol]:
    await lose_streams(servers.nats_url, "users", "content")
    async with serving(app) as client:
        yield client


@pytest.fixture
async def postbox() -> AsyncIterator[Postbox]:
    async with opened() as postbox:
        yield postbox


@pytest.fixture
async def crew(servers: Servers, database_url: str, postbox: Postbox) -> AsyncIterator[Quart]:
    """The worker's app with queues that are empty, and nobody who works them off."""
    await lose_streams(servers.nats_url, "jobs-notifications")
    app = create_crew(
        Settings(
            database_url=database_url,
            nats_url=servers.nats_url,
            env="test",
            smtp_port=postbox.port,
            smtp_tls="none",
            mail_from="quartet@example.org",
            public_url="https://example.org",
            unsubscribe_key=KEY,
        )
    )
    async with serving(app):
        async with app.app_context(), transaction() as db:
            await db.execute("TRUNCATE outbox, inbox, job_keys, job_failures, dead_letters")
        yield app


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Connection]:
    """A connection whose changes are undone."""
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


@pytest.fixture
async def committed(database_url: str) -> AsyncIterator[Connection]:
    """A connection whose changes are there for the service."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def author(client: TestClientProtocol, signer: Signer, committed: Connection) -> Member:
    return await join(client, signer, committed)


@pytest.fixture
async def reader(client: TestClientProtocol, signer: Signer, committed: Connection) -> Member:
    return await join(client, signer, committed)
