"""One stack for all faults: each has to leave it as whole as it found it."""

from collections.abc import AsyncIterator

import pytest

from tests.faults.ground import Ground, ground


@pytest.fixture(scope="session")
async def broken(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    """The suite, with people who write."""
    async with ground(tmp_path_factory.mktemp("f")) as running:
        yield running
