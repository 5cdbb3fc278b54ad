"""The connection to NATS, and what is made on it."""

import asyncio
import gc
import time

import pytest
from nats.aio.client import Client
from nats.errors import ConnectionClosedError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from deploy.local.servers import Servers
from shared.bus import Bus, settled
from shared.testing import until
from shared.tests.test_outbox import bus


async def test_a_connection_that_ended_is_replaced(servers: Servers, nats: Client) -> None:
    async with bus(servers) as connection:
        first = await connection.client()
        servers.children["nats"].kill()
        await until(lambda: _is_away(connection), what="the loss noticed")
        second = await asyncio.wait_for(connection.client(), 10)
        assert second is not first
        await connection.check()
        with pytest.raises(ConnectionClosedError):
            await first.publish("nowhere", b"")


async def _is_away(connection: Bus) -> bool:
    try:
        await connection.check()
    except ConnectionError:
        return True
    return False


async def test_work_that_waits_for_an_answer_hears_of_the_loss_at_once(
    servers: Servers, nats: Client
) -> None:
    async with bus(servers) as connection:
        client = await connection.client()
        await client.subscribe("silence")
        await client.flush()
        asking = asyncio.create_task(
            connection.unless_lost(client.request("silence", b"", timeout=60))
        )
        await client.flush()
        began = time.monotonic()
        servers.children["nats"].kill()
        with pytest.raises(ConnectionClosedError):
            await asking
        assert time.monotonic() - began < 5
        await asyncio.wait_for(connection.client(), 10)


async def test_what_is_cut_off_together_says_nothing_of_itself(
    servers: Servers, nats: Client, caplog: pytest.LogCaptureFixture
) -> None:
    gc.collect()  # what others have left behind is not ours to answer for
    caplog.clear()
    async with bus(servers) as connection:
        client = await connection.client()
        await client.subscribe("silence")
        asked = (client.request("silence", b"", timeout=60) for _ in range(2))
        asking = asyncio.create_task(connection.unless_lost(asyncio.gather(*asked)))
        await settled(client)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        del asking
        await settled(client)
        gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


async def test_who_gives_up_waiting_for_the_server_leaves_the_connection_whole(
    servers: Servers, nats: Client
) -> None:
    async with bus(servers) as connection:
        client = await connection.client()
        waiting = asyncio.create_task(settled(client))
        await asyncio.sleep(0)  # it has asked
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        heard = await client.subscribe("word")
        await client.publish("word", b"again")
        assert (await heard.next_msg(5)).data == b"again"


async def test_a_bus_whose_server_is_not_there_says_so_and_goes_on(nats: Client) -> None:
    connection = Bus("test", "nats://127.0.0.1:9", 1)
    running = asyncio.create_task(connection.run())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection.client(), 0.6)
    assert not running.done()
    with pytest.raises(ConnectionError, match="NATS does not answer"):
        await connection.check()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_stream_with_other_settings_is_left_as_it_is(
    servers: Servers, jetstream: JetStreamContext
) -> None:
    await jetstream.add_stream(name="alpha", subjects=["alpha.>"], max_bytes=1_000_000)
    await jetstream.publish("alpha.rang.v1", b"{}")
    async with bus(servers) as connection:
        assert await connection.ensure_stream("alpha") == 1
    assert (await jetstream.stream_info("alpha")).config.max_bytes == 1_000_000


async def test_a_stream_is_made_once(servers: Servers, jetstream: JetStreamContext) -> None:
    async with bus(servers) as connection:
        assert await connection.ensure_stream("alpha") == 0
        assert await connection.ensure_stream("alpha") == 0
    assert (await jetstream.stream_info("alpha")).config.subjects == ["alpha.>"]


async def test_a_consumer_waits_for_the_publisher_to_make_the_stream(
    servers: Servers, nats: Client
) -> None:
    async with bus(servers) as connection:
        with pytest.raises(NotFoundError):
            await connection.ensure_consumer("alpha", "beta", 1.0)


async def test_a_consumer_takes_on_new_settings(
    servers: Servers, jetstream: JetStreamContext
) -> None:
    async with bus(servers) as connection:
        await connection.ensure_stream("alpha")
        await connection.ensure_consumer("alpha", "beta", 1.0)
        await connection.ensure_consumer("alpha", "beta", 2.0)
    assert (await jetstream.consumer_info("alpha", "beta")).config.ack_wait == 2.0
