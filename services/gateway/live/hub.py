"""All live streams of this process: what is heard on NATS is told to whom it concerns."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry import metrics

from services.gateway.limits.admission import TooManyRequests
from services.gateway.live.stream import Since, Stream
from services.gateway.live.wire import Ending
from services.gateway.messages.calls import BrokenOff
from services.gateway.settings import Settings
from services.gateway.upstream.bulkhead import Priority
from services.gateway.upstream.upstreams import Upstreams
from shared.bus import RETRY_SECONDS, Bus, settled
from shared.errors import AppError, BadGateway, Unauthorized, Unavailable
from shared.events.notifications import NotificationsCreated

TICK_SECONDS = 1.0
MOST_ASKING = 32  # streams that ask at once what they missed
FAREWELL_SECONDS = 3.0
_SINCE = "/api/notifications/since"
_RETRY_AFTER = 5
_UNLIMITED = -1  # nats-py drops what is over a limit
_log = structlog.get_logger()
_meter = metrics.get_meter(__name__)
_open = _meter.create_up_down_counter("quartet.gateway.streams", "{stream}", "Live streams")
_ended = _meter.create_counter("quartet.gateway.streams.ended", "{stream}", "Live streams, by end")


class Hub:
    """Streams by account, and what all of them need."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self._bus = bus
        self._most, self._most_of_one = settings.live_streams, settings.live_per_account
        self._heartbeat = settings.live_heartbeat
        self._streams: dict[UUID, list[Stream]] = {}
        self._places: Counter[UUID | None] = Counter()
        self._empty = asyncio.Event()
        self.draining = False

    @contextmanager
    def place(self, account: UUID | None = None) -> Iterator[None]:
        """One more open connection: of this process, or of an account that has one of those.

        Raises `Unavailable` or `TooManyRequests` where there are as many as there may be.
        """
        if account is None and self._places[None] >= self._most:
            raise Unavailable("There are too many live streams.", retry_after=_RETRY_AFTER)
        if account is not None and self._places[account] >= self._most_of_one:
            said = f"An account may have {self._most_of_one} live streams at a time."
            raise TooManyRequests(said, retry_after=_RETRY_AFTER)
        self._places[account] += 1
        try:
            yield
        finally:
            self._places[account] -= 1
            if not self._places[account]:
                del self._places[account]

    async def run(self, stream: Stream, kind: str) -> Ending:
        """Let a stream tell what happens, until it ends."""
        stream.beat_at = asyncio.get_running_loop().time() + self._heartbeat
        self._streams.setdefault(stream.account, []).append(stream)
        self._empty.clear()
        _open.add(1, {"kind": kind})
        if self.draining:
            stream.end("drain")
        why: Ending = "gone"
        try:
            why = await stream.run()
        finally:
            self._remove(stream)
            _open.add(-1, {"kind": kind})
            _ended.add(1, {"kind": kind, "reason": why})
        return why

    def _remove(self, stream: Stream) -> None:
        streams = self._streams[stream.account]
        streams.remove(stream)
        if not streams:
            del self._streams[stream.account]
        if not self._streams:
            self._empty.set()

    async def listen(self) -> None:
        """Hear what happens for ever, on one connection to NATS after the other."""
        while True:
            client = await self._bus.client()
            try:
                await self._bus.unless_lost(self._listen(client))
            except (nats.errors.Error, OSError) as error:
                _log.warning("live events are not heard", reason=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self, client: Client) -> None:
        await client.subscribe(
            NotificationsCreated.SUBJECT,
            cb=self._hear,
            pending_msgs_limit=_UNLIMITED,
            pending_bytes_limit=_UNLIMITED,
        )
        await settled(client)  # when this returns, the server knows of the subscription
        self._doubt()  # what happened before was not heard
        await asyncio.Event().wait()

    async def _hear(self, message: Msg) -> None:
        try:
            event = msgspec.json.decode(message.data, type=NotificationsCreated)
        except msgspec.MsgspecError:
            _log.error("live event can't be read", subject=message.subject)
            self._doubt()
            return
        rest = bytes(event.notification)[1:]
        for told in event.told:
            for stream in self._streams.get(told.account_id, ()):
                stream.offer(told.number, b'{"id":"%s",%s' % (str(told.id).encode(), rest))

    def _doubt(self) -> None:
        for stream in self._all():
            stream.doubt()

    async def tick(self) -> None:
        """See to heartbeats and expired tokens, for ever; one timer for all streams."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now, clock = loop.time(), time.time()
            for stream in self._all():
                if stream.caller.expires_at <= clock:
                    stream.end("expired")
                elif stream.beat_at <= now:
                    stream.beat_at = now + self._heartbeat
                    stream.beat()

    async def drain(self) -> None:
        """Tell all clients to come again, elsewhere; return when they have heard it."""
        self.draining = True
        for stream in self._all():
            stream.end("drain")
        if self._streams:
            try:
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await self._empty.wait()
            except TimeoutError:
                _log.warning("live streams are cut off", count=len(self._all()))

    def _all(self) -> list[Stream]:
        return [stream for streams in self._streams.values() for stream in streams]


class Asked:
    """The notifications service as a source, which a few streams ask at a time."""

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams
        self._turns = asyncio.Semaphore(MOST_ASKING)

    async def since(self, token: str, after: int | None) -> Since:
        """A page after that number; without one, only where things are. Raises `AppError`."""
        target = _SINCE + ("" if after is None else f"?after={after}")
        fields = [("Authorization", f"Token {token}")]
        async with self._turns:
            reply = await self._upstreams.ask(
                "notifications", "GET", target, fields, route=_SINCE, priority=Priority.MEMBER
            )
            try:
                return _page(reply.status, b"".join([piece async for piece in reply.pieces()]))
            except BrokenOff as error:
                raise BadGateway("The notifications service broke off.") from error
            finally:
                reply.close()


def _page(status: int, body: bytes) -> Since:
    if status == 401:
        raise Unauthorized("The token is not valid.")
    if status != 200:
        raise AppError(f"The notifications service answered {status}.")
    try:
        return msgspec.json.decode(body, type=Since)
    except msgspec.MsgspecError as error:
        raise BadGateway("The notifications service gave no valid answer.") from error
