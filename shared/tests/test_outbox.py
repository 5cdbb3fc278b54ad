"""What a transaction publishes travels to NATS once, and is lost by nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from quart import Quart

from deploy.local.servers import Servers
from shared.bus import Bus
from shared.context import begin_work
from shared.database import transaction
from shared.outbox import publish
from shared.relay import Relay
from shared.settings import DataSettings
from shared.testing import serving, until
from shared.tests.bells import Rang, create_alpha, create_beta, heard, ring
from shared.tests.conftest import session


@asynccontextmanager
async def bus(servers: Servers) -> AsyncIterator[Bus]:
    bus = Bus("test", servers.nats_url, 1)
    running = asyncio.create_task(bus.run())
    yield bus
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def published(app: Quart, count: int) -> None:
    """Wait until so many events are marked as published, and none waits."""

    async def all_marked() -> bool:
        async with app.app_context(), transaction() as db:
            row = await db.fetchrow(
                """SELECT count(*) FILTER (WHERE published_at IS NOT NULL) AS sent,
                          count(*) FILTER (WHERE published_at IS NULL) AS waiting FROM outbox"""
            )
            return bool(row["sent"] == count and row["waiting"] == 0)

    await until(all_marked, what=f"{count} events published")


async def test_what_a_transaction_publishes_reaches_the_stream_in_order(
    alpha: Quart, jetstream: JetStreamContext
) -> None:
    names = [f"bell {number:03}" for number in range(300)]
    await ring(alpha, *names)
    await published(alpha, 300)
    stored = [await jetstream.get_msg("alpha", number) for number in (1, 150, 300)]
    assert [message.data for message in stored] == [
        b'{"name":"bell 000"}',
        b'{"name":"bell 149"}',
        b'{"name":"bell 299"}',
    ]
    headers = stored[0].headers or {}
    assert headers["ce-type"] == "alpha.rang.v1"
    assert headers["ce-source"] == "alpha"
    assert headers["ce-sequence"] == "1"
    assert headers["ce-id"] == headers["Nats-Msg-Id"]


async def test_a_transaction_that_rolls_back_publishes_nothing(
    alpha: Quart, jetstream: JetStreamContext
) -> None:
    async def fail() -> None:
        async with alpha.app_context(), transaction() as db:
            await publish(db, Rang(name="never"), datetime.now(UTC))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    await ring(alpha, "later")
    await published(alpha, 1)
    assert (await jetstream.stream_info("alpha")).state.messages == 1


async def test_the_position_of_the_newest_event_is_noted_for_the_reply(alpha: Quart) -> None:
    work = begin_work()
    position = await ring(alpha, "one", "two")
    assert work.position == position


async def test_a_smaller_position_that_commits_later_is_published_all_the_same(
    alpha: Quart, jetstream: JetStreamContext
) -> None:
    async with alpha.app_context(), transaction() as slow:
        first = await publish(slow, Rang(name="slow"), datetime.now(UTC))
        second = await ring(alpha, "quick")
        assert first < second
        await published(alpha, 1)
    await published(alpha, 2)
    assert (await jetstream.stream_info("alpha")).state.messages == 2


async def test_two_relays_never_publish_twice_and_one_takes_over_from_the_other(
    servers: Servers, alpha_settings: DataSettings, nats: Client
) -> None:
    tries: list[str] = []

    async def note(message: object) -> None:
        tries.append(message.data.decode())  # type: ignore[attr-defined]  # nats-py's Msg

    await nats.subscribe("alpha.>", cb=note)
    first, second = create_alpha(alpha_settings), create_alpha(alpha_settings)
    async with serving(first), serving(second):
        await ring(first, *(f"a{number}" for number in range(40)))
        await ring(second, *(f"b{number}" for number in range(40)))
        await published(first, 80)
        async with session(alpha_settings.database_url) as db:
            ended = await db.fetchval(
                """SELECT count(pg_terminate_backend(pid)) FROM pg_locks
                    WHERE locktype = 'advisory' AND granted
                      AND database = (SELECT oid FROM pg_database WHERE datname = 'alpha_test')"""
            )
        assert ended == 1
        async with asyncio.timeout(5):  # what docs/operations.md promises of a takeover
            await ring(second, *(f"c{number}" for number in range(40)))
            await published(second, 120)
    assert len(tries) == len(set(tries)) == 120


async def test_a_stream_that_was_lost_is_made_and_filled_again(
    alpha: Quart, beta_settings: DataSettings, jetstream: JetStreamContext
) -> None:
    await ring(alpha, "before")
    await published(alpha, 1)
    await jetstream.delete_stream("alpha")
    await ring(alpha, "after")
    beta = create_beta(beta_settings)
    async with serving(beta):
        await until(lambda: _has_heard(beta, ["after", "before"]))


async def _has_heard(app: Quart, names: list[str]) -> bool:
    return await heard(app) == names


async def test_a_lost_stream_is_noticed_while_nothing_happens(
    servers: Servers, alpha_settings: DataSettings, jetstream: JetStreamContext
) -> None:
    async with bus(servers) as connection:
        relay = Relay("alpha", alpha_settings.database_url, connection, stream_check_seconds=0.1)
        running = asyncio.create_task(relay.run())
        await until(lambda: _exists(jetstream))
        await jetstream.delete_stream("alpha")
        await until(lambda: _exists(jetstream))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _exists(jetstream: JetStreamContext) -> bool:
    return "alpha" in [info.config.name for info in await jetstream.streams_info()]


async def test_writes_are_accepted_while_nats_is_away_and_published_when_it_is_back(
    alpha: Quart, jetstream: JetStreamContext, servers: Servers
) -> None:
    await ring(alpha, "before")
    await published(alpha, 1)
    servers.children["nats"].kill()
    for number in range(50):
        await ring(alpha, f"during {number}")
    await published(alpha, 51)
