"""What is read among 100,000 notifications is found by indexes, and a page at a time."""

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from deploy.local.plans import filled, plan
from deploy.local.servers import Servers
from services.notifications.queries.notifications import select_inbox
from services.notifications.tests.reads import BUSY, READS


@pytest.fixture(scope="module")
async def big(servers: Servers) -> AsyncIterator[asyncpg.Connection]:
    """A database of many notifications."""
    async with filled(servers.admin_url, "services.notifications") as db:
        yield db


@pytest.mark.parametrize("name", READS)
async def test_a_read_takes_no_more_than_it_may(big: asyncpg.Connection, name: str) -> None:
    assert (await plan(big, READS[name])).faults(READS[name]) == []


async def test_an_inbox_of_many_pages_is_walked_without_gap_or_repetition(
    big: asyncpg.Connection,
) -> None:
    seen: list[UUID] = []
    before: UUID | None = None
    while True:
        inbox = await select_inbox(big, BUSY, before, 7)
        seen += [shown.id for shown in inbox.page]
        if not inbox.more:
            break
        before = inbox.page[-1].id
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == await big.fetchval(
        "SELECT count(*) FROM notifications WHERE recipient_id = $1", BUSY
    )
