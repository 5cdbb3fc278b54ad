"""What is looked up among 100,000 accounts is found by indexes."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.local.plans import filled, plan
from deploy.local.servers import Servers
from services.users.tests.reads import READS


@pytest.fixture(scope="module")
async def big(servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    """A database of many accounts."""
    async with filled(servers.admin_url, "services.users") as db:
        yield db


@pytest.mark.parametrize("name", READS)
async def test_a_read_takes_no_more_than_it_may(big: asyncpg.Connection, name: str) -> None:
    assert (await plan(big, READS[name])).faults(READS[name]) == []
