"""Servers of these tests' own: streams are named for services, and would hold others' events."""

from collections.abc import AsyncIterator

import pytest

from deploy.local.servers import Servers
from tests.recovery.community import Community


@pytest.fixture(scope="package")
async def own_servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    async with Servers(state=tmp_path_factory.mktemp("r")) as running:
        yield running


@pytest.fixture
async def community(
    own_servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Community]:
    """Some people, who know each other and have written."""
    community = await Community.start(own_servers, tmp_path_factory.mktemp("k"))
    for _ in range(12):
        await community.register()
    for _ in range(120):
        await community.act()
    yield community
    await community.stop()
