"""One stack for all faults: each has to leave it as whole as it found it."""

from collections.abc import AsyncIterator

import pytest

from deploy.local.suite import SERVICES
from tests.faults.ground import Ground, ground


@pytest.fixture(scope="session")
async def broken(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """The suite, with people who write."""
    async with ground(tmp_path_factory.mktemp("f")) as running:
        yield running


@pytest.fixture(scope="session")
async def doubled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """The same with two processes of each service."""
    async with ground(tmp_path_factory.mktemp("r"), replicas=dict.fromkeys(SERVICES, 2)) as running:
        yield running
