"""One whole stack for all journeys, and clients of its gateway."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from deploy.local.stack import Stack
from tests.e2e.client import Client

# Hashes that cost little, and no limits: these tests register thousands. Spans travel at once.
CHEAP = {
    "USERS_HASH_MEMORY_KIB": "1024",
    "USERS_HASH_TIME_COST": "1",
    "QUARTET_LIMITS": "off",
    "OTEL_BSP_SCHEDULE_DELAY": "200",
}


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The suite as `make up` runs it, on ports and in a folder of its own."""
    state = tmp_path_factory.mktemp("e")
    async with Stack(state, told=CHEAP) as running:
        yield running


@pytest.fixture(scope="session")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Connections that the clients share."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture(scope="session")
async def client(session: aiohttp.ClientSession, stack: Stack) -> Client:
    """A client that nobody has logged in."""
    return Client(session, stack.url)
