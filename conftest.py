"""What every test may use: one set of real servers for the whole run."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from deploy.local.servers import Servers

# A machine that has other things to do for 200 ms is no fault of what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """Real PostgreSQL, NATS, Valkey and collector, in a state folder of this run's own."""
    async with Servers(state=tmp_path_factory.mktemp("q")) as running:
        yield running
