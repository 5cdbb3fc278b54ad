"""Fixtures that every test may use: one set of real servers for the whole run."""

from collections.abc import AsyncIterator

import pytest

from deploy.local.servers import Servers


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Real PostgreSQL, NATS, Valkey and collector, in a state folder of this run's own."""
    async with Servers(state=tmp_path_factory.mktemp("q")) as running:
        yield running
