"""A page of 100,000 gadgets is read by index."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from deploy.local.plans import filled, plan
from deploy.local.servers import Servers
from templates.service.tests.reads import READS


@pytest.fixture(scope="module")
async def big(servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    """A database of many gadgets."""
    async with filled(servers.admin_url, "templates.service") as db:
        yield db


@pytest.mark.parametrize("name", READS)
async def test_a_read_takes_no_more_than_it_may(big: asyncpg.Connection, name: str) -> None:
    assert (await plan(big, READS[name])).faults(READS[name]) == []
