"""The connection to NATS, the streams of events, and reading from them without delay."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError
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
from nats.js.errors import BadRequestError
from quart import Quart

from shared.background import background

STREAM_AGE = 7 * 24 * 3600.0
DUPLICATE_WINDOW = 120.0
RETRY_SECONDS = 0.25
PING_SECONDS = 5  # a server that is stopped, and not gone, is noticed after three of these
_PULL_SECONDS = 5.0
_WAIT = msgspec.json.encode({"batch": 1, "expires": int(_PULL_SECONDS * 1e9)})
_STREAM_DIFFERS = 10058  # the server's err_code for a stream of that name with other settings
_log = structlog.get_logger()
T = TypeVar("T")


class Bus:
    """A connection to NATS that comes up when NATS does, and stays away without harm.

    Each connection is used until it ends, and a new one takes its place. nats-py's own
    reconnecting is off: it gives up for good on an error that the server sends, it waits for the
    dead socket to drain before it tries again, and it sends what was written meanwhile long after
    its writer has given up.
    """

    def __init__(self, name: str, url: str, replicas: int) -> None:
        self._name, self._url, self._replicas = name, url, replicas
        self._client = Client()
        self._up, self._lost = asyncio.Event(), asyncio.Event()
        self._trouble: str | None = None
        self._differing: set[str] = set()

    async def run(self) -> None:
        """Connect, and connect again whenever a connection ends, until cancelled."""
        while True:
            try:
                await self._hold(Client())
            except Exception as error:  # whatever was wrong with one connection, the next may do
                self._complain(type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _hold(self, client: Client) -> None:
        try:
            await client.connect(
                self._url,
                name=self._name,
                allow_reconnect=False,
                connect_timeout=2,
                ping_interval=PING_SECONDS,
                max_outstanding_pings=2,
                error_cb=_ignore,
            )
            self._client, self._lost, self._trouble = client, asyncio.Event(), None
            self._up.set()
            _log.info("nats connected")
            # Asked rather than told: nats-py tells of an end only after the dead socket's.
            while client.is_connected:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            _log.warning("nats disconnected")
        finally:
            self._up.clear()
            self._lost.set()
            with suppress(Exception):
                await asyncio.wait_for(client.close(), 2)

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.warning("nats does not answer", error=trouble)
        self._trouble = trouble

    async def client(self) -> Client:
        """The client, as soon as it is connected. Once its connection ends, all that it does
        raises `nats.errors.ConnectionClosedError`.
        """
        await self._up.wait()
        return self._client

    async def jetstream(self) -> JetStreamContext:
        """JetStream on the client, as soon as it is connected."""
        return (await self.client()).jetstream(timeout=5)

    async def unless_lost(self, work: Awaitable[T]) -> T:
        """What `work` answers. nats-py lets a request wait out its time when the connection ends;
        this raises `nats.errors.ConnectionClosedError` at once.
        """
        task = asyncio.create_task(_awaited(work))
        lost = asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ConnectionClosedError
            return await task
        finally:
            task.cancel()
            lost.cancel()

    async def ensure_stream(self, publisher: str) -> int:
        """Make the stream of a publisher's events, unless it is there; return the number of its
        last message, which is 0 only for a stream that never held any.

        The publisher alone does this: it has the events to fill a new stream with. A stream whose
        settings differ is left as it is, since whoever changed them had a reason.
        """
        return await self._ensure(
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

    async def ensure_queues(self, service: str) -> int:
        """Make the work queues of a service's jobs, unless they are there; return the number of
        the last job, which is 0 only for queues that never held any.
        """
        return await self._ensure(
            StreamConfig(
                name=f"jobs-{service}",
                subjects=[f"jobs.{service}.>"],
                retention=RetentionPolicy.WORK_QUEUE,
                storage=StorageType.FILE,
                duplicate_window=DUPLICATE_WINDOW,
                num_replicas=self._replicas,
            )
        )

    async def _ensure(self, config: StreamConfig) -> int:
        jetstream, name = await self.jetstream(), str(config.name)
        try:
            info = await self.unless_lost(jetstream.add_stream(config))
        except BadRequestError as error:
            if error.err_code != _STREAM_DIFFERS:
                raise
            if name not in self._differing:
                _log.warning("stream differs from the settings, and is left so", stream=name)
            self._differing.add(name)
            info = await self.unless_lost(jetstream.stream_info(name))
        return info.state.last_seq

    async def ensure_consumer(self, publisher: str, durable: str, ack_wait: float) -> None:
        """Make a durable consumer of a publisher's events, shared by all replicas of a service.

        Raises `nats.js.errors.NotFoundError` until the publisher has made the stream.
        """
        await self._ensure_consumer(publisher, durable, ack_wait)

    async def ensure_queue_consumer(self, service: str, priority: str, ack_wait: float) -> None:
        """Make the durable consumer of one queue, shared by all workers of a service.

        Raises `nats.js.errors.NotFoundError` until the relay has made the queues.
        """
        only = f"jobs.{service}.{priority}.>"
        await self._ensure_consumer(f"jobs-{service}", priority, ack_wait, only)

    async def _ensure_consumer(
        self, stream: str, durable: str, ack_wait: float, only: str | None = None
    ) -> None:
        config = ConsumerConfig(
            durable_name=durable,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait,
            filter_subject=only,
            max_deliver=-1,  # attempts are counted here: only the service can set aside
            max_ack_pending=1024,
        )
        jetstream = await self.jetstream()
        await self.unless_lost(jetstream.add_consumer(stream, config))

    async def backlog(self, publisher: str) -> int:
        """How many events the slowest reader of a publisher's stream has before it; who does not
        read at all is no reader.
        """
        jetstream = await self.jetstream()
        readers = await self.unless_lost(jetstream.consumers_info(publisher))
        reading = (info for info in readers if info.num_waiting or info.num_ack_pending)
        return max((info.num_pending or 0 for info in reading), default=0)

    async def check(self) -> None:
        """Raises `ConnectionError` while NATS is away."""
        if not self._up.is_set():
            raise ConnectionError("NATS does not answer")


async def _awaited(work: Awaitable[T]) -> T:
    """A gathering that is cancelled has an error that somebody must ask for; a task has not."""
    return await work


async def _ignore(_: Exception) -> None:
    """nats-py tells of each failed try; the bus tells of the first."""


def use_bus(app: Quart, url: str, replicas: int = 1) -> None:
    """Give `app` a bus, whose streams have so many replicas. Serving starts at once; events wait in
    the outbox while NATS is away.
    """

    @app.while_serving
    async def bus() -> AsyncGenerator[None, None]:
        bus = Bus(app.name, url, replicas)
        app.extensions["bus"] = bus
        app.extensions["soft_checks"]["nats"] = bus.check
        async with background(bus.run()):
            yield


async def settled(client: Client) -> None:
    """Return when the server has read all that was sent before, such as a subscription. Whoever
    gives up waiting here does the connection no harm: nats-py's `flush` leaves its cancelled
    future behind, on which the answer then breaks the reading of all else.
    """
    await asyncio.shield(client.flush())


async def pulled(
    client: Client, stream: str, durable: str, most: int = 1
) -> AsyncGenerator[list[Msg], None]:
    """Messages of a durable pull consumer as soon as they are there, up to `most` at a time.

    One is waited for, and those that are there already come with it: none waits here, where its
    ack wait would run, while others are worked on, and replicas share evenly what there is.
    (nats-py's own `fetch` of many waits for all of them.) Ends when the consumer is gone or nobody
    answers: the caller makes sure of the consumer and starts again.
    """
    inbox = client.new_inbox()
    subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
    subscription = await client.subscribe(inbox)
    rest = msgspec.json.encode({"batch": most - 1, "no_wait": True})
    try:
        while True:
            await client.publish(subject, _WAIT, inbox)
            messages = [await subscription.next_msg(timeout=_PULL_SECONDS + 1)]
            if _status(messages[0]) is not None:
                if _status(messages[0]) != "408":  # the pull has expired; any other tells of an end
                    return
                continue
            if most > 1:
                await client.publish(subject, rest, inbox)
                while len(messages) < most:
                    message = await subscription.next_msg(timeout=_PULL_SECONDS)
                    if _status(message) is not None:
                        break
                    messages.append(message)
            yield messages
    except NatsTimeout:
        return
    finally:
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()


def _status(message: Msg) -> str | None:
    """What the server says of the pull; None for a message of the stream."""
    return (message.headers or {}).get("Status")


@asynccontextmanager
async def held(messages: Sequence[Msg], ack_wait: float) -> AsyncIterator[None]:
    """Tell NATS now and then that messages are worked on, so that no other replica gets them."""

    async def tell() -> None:
        with suppress(nats.errors.Error):
            while True:
                await asyncio.sleep(ack_wait / 3)
                for message in messages:
                    await message.in_progress()

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
