"""The users service on real servers, and who calls it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.local.servers import Servers
from services.users.app import create_app
from services.users.settings import Settings
from services.users.tests.people import Person
from services.users.tests.signing import SigningKey, jwks
from shared.context import current_work
from shared.database import Connection
from shared.testing import clean_database, serving

Costs = list[tuple[str, int]]


@pytest.fixture(scope="session")
def current_key() -> SigningKey:
    return SigningKey("current")


@pytest.fixture(scope="session")
def next_key() -> SigningKey:
    return SigningKey("next")


@pytest.fixture(scope="session")
async def database_url(servers: Servers) -> str:
    return await clean_database(servers.admin_url, "users_test", "shared", "services.users")


@pytest.fixture(scope="session")
def settings(
    servers: Servers, database_url: str, current_key: SigningKey, next_key: SigningKey
) -> Settings:
    """With hashes that cost little."""
    return Settings(
        database_url=database_url,
        nats_url=servers.nats_url,
        signing_keys=jwks(current_key.jwk, next_key.jwk),
        hash_memory_kib=64,
        hash_time_cost=1,
        env="test",
    )


@pytest.fixture(scope="session")
def costs() -> Costs:
    """Each request's route and count of statements, in order."""
    return []


@pytest.fixture(scope="session")
async def nobody(settings: Settings, costs: Costs) -> AsyncIterator[Person]:
    """A caller of the running service, without an account."""
    app = create_app(settings)

    @app.after_request
    async def note(response):  # type: ignore[no-untyped-def]
        work = current_work()
        assert work is not None
        costs.append((work.route, work.statements))
        return response

    async with serving(app) as client:
        yield Person(client)


@pytest.fixture
async def ada(nobody: Person) -> Person:
    return await nobody.registered()


@pytest.fixture
async def bob(nobody: Person) -> Person:
    return await nobody.registered()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Connection]:
    """A connection whose changes are undone."""
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()
