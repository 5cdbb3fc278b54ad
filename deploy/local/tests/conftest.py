import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from deploy.local.servers import Servers

Eventually = Callable[..., Awaitable[None]]


@pytest.fixture(scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with Servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.fixture(scope="session")
def eventually() -> Eventually:
    """Wait until the condition holds, for at most `within` seconds."""

    async def wait(holds: Callable[[], bool], within: float = 20.0) -> None:
        async with asyncio.timeout(within):
            while True:
                if holds():
                    return
                await asyncio.sleep(0.02)

    return wait
