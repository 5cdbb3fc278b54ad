"""The connection to NATS, the streams of events, and reading from them without delay."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import nats
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from quart import Quart

from shared.settings import DataSettings

STREAM_AGE = 7 * 24 * 3600.0
DUPLICATE_WINDOW = 120.0
_PULL_SECONDS = 5.0
_PULL_BATCH = 32
_log = structlog.get_logger()


class Bus:
    """A connection to NATS that comes up when NATS does, and stays away without harm."""

    def __init__(self, name: str, url: str, replicas: int) -> None:
        self._name, self._url, self._replicas = name, url, replicas
        self._client = Client()
        self._up = asyncio.Event()

    async def run(self) -> None:
        """Connect, for as long as it takes; nats-py reconnects from then on."""
        await self._client.connect(
            self._url,
            name=self._name,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]  # any number of seconds is slept
            connect_timeout=2,
            error_cb=self._complain,
            disconnected_cb=self._say("disconnected"),
            reconnected_cb=self._say("reconnected"),
        )
        self._up.set()

    async def client(self) -> Client:
        """The client, once it has connected for the first time."""
        await self._up.wait()
        return self._client

    async def jetstream(self) -> JetStreamContext:
        """JetStream, once connected. Publishing raises `nats.errors.Error` while NATS is away."""
        return (await self.client()).jetstream(timeout=5)

    async def ensure_stream(self, publisher: str) -> None:
        """Make the stream of a publisher's events, unless it is there. Whoever comes first does."""
        await (await self.jetstream()).add_stream(
            StreamConfig(
                name=publisher,
                subjects=[f"{publisher}.>"],
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                max_age=STREAM_AGE,
                duplicate_window=DUPLICATE_WINDOW,
                num_replicas=self._replicas,
            )
        )

    async def ensure_consumer(self, publisher: str, durable: str, ack_wait: float) -> None:
        """Make a durable consumer of a publisher's events, shared by all replicas of a service."""
        await self.ensure_stream(publisher)
        await (await self.jetstream()).add_consumer(
            publisher,
            ConsumerConfig(
                durable_name=durable,
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ack_wait,
                max_deliver=-1,  # attempts are counted here: only the service can set aside
                max_ack_pending=1024,
            ),
        )

    async def close(self) -> None:
        """Close the connection, whatever its state."""
        with suppress(Exception):
            await asyncio.wait_for(self._client.close(), 2)

    async def check(self) -> None:
        """Raises `ConnectionError` while NATS is away."""
        if not self._client.is_connected:
            raise ConnectionError("NATS does not answer")

    async def _complain(self, error: Exception) -> None:
        _log.debug("nats", error=str(error))

    def _say(self, what: str) -> Any:
        async def say() -> None:
            _log.warning(f"nats {what}")

        return say


def use_bus(app: Quart, settings: DataSettings) -> None:
    """Give `app` a bus. Serving starts at once; events wait in the outbox while NATS is away."""

    @app.while_serving
    async def bus() -> AsyncGenerator[None, None]:
        bus = Bus(app.name, settings.nats_url, settings.nats_replicas)
        connecting = asyncio.create_task(bus.run())
        app.extensions["bus"] = bus
        app.extensions["soft_checks"]["nats"] = bus.check
        try:
            yield
        finally:
            connecting.cancel()
            await bus.close()


async def pulled(client: Client, stream: str, durable: str) -> AsyncIterator[Msg]:
    """Messages of a durable pull consumer, each as soon as it is there.

    nats-py's `fetch` of many waits for all of them or for its timeout; this asks for many and
    yields one by one. Ends when a pull stays without any answer, or the consumer is gone: the
    caller makes sure of the consumer and starts again.
    """
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    request = msgspec.json.encode({"batch": _PULL_BATCH, "expires": int(_PULL_SECONDS * 1e9)})
    try:
        while True:
            await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}", request, inbox)
            wanted = _PULL_BATCH
            while wanted:
                message = await subscription.next_msg(timeout=_PULL_SECONDS + 1)
                status = (message.headers or {}).get("Status")
                if status is None:
                    wanted -= 1
                    yield message
                elif status in ("404", "408"):  # nothing there, or the pull has expired
                    break
                elif status in ("409", "503"):  # consumer deleted, or nobody answers
                    return
    except NatsTimeout:
        return
    finally:
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()
