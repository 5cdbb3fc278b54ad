"""Hearing of every event, in every gateway process, as soon as it is published."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry import metrics

from services.gateway.cache.purges import Demand
from shared.bus import RETRY_SECONDS, Bus, settled
from shared.facts import tags_of
from shared.telemetry import SECONDS

SOURCES = ("users", "content")
SETTLE_SECONDS = 2.0
_UNLIMITED = -1  # nats-py drops what is over a limit; a purge must not be lost
_lag = metrics.get_meter(__name__).create_histogram(
    "quartet.gateway.purge.lag",
    "s",
    "From a fact to the purge of what it makes out of date, in this process",
    explicit_bucket_boundaries_advisory=SECONDS,
)
_log = structlog.get_logger()


class Listener(Protocol):
    """Who wants to know."""

    def hear(self, tags: list[str], event: Demand | None, aggregate: str) -> None:
        """An event has come."""

    def lose(self) -> None:
        """Events may be missed from now on."""

    def begin(self) -> None:
        """No event is missed from now on."""


class Watch:
    """Subscribes without JetStream: each process gets each event, and none is kept for it. What it
    misses while it is away it can't know, and says so.
    """

    def __init__(self, bus: Bus, listener: Listener) -> None:
        self._bus, self._listener = bus, listener

    async def run(self) -> None:
        """Listen for ever, on one connection after the other."""
        while True:
            client = await self._bus.client()
            try:
                await self._bus.unless_lost(self._listen(client))
            except (nats.errors.Error, OSError) as error:
                _log.warning("events are not heard", reason=type(error).__name__)
            finally:
                self._listener.lose()
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self, client: Client) -> None:
        for source in SOURCES:
            await client.subscribe(
                f"{source}.>",
                cb=self._hear,
                pending_msgs_limit=_UNLIMITED,
                pending_bytes_limit=_UNLIMITED,
            )
        await settled(client)  # when this returns, the server knows of the subscriptions
        # What was published just before, a projection may still have to apply: of that we would
        # not know, and what shows the projection would be kept too soon.
        await asyncio.sleep(SETTLE_SECONDS)
        self._listener.begin()
        await asyncio.Event().wait()

    async def _hear(self, message: Msg) -> None:
        headers = message.headers or {}
        if headers.get("ce-snapshot") == "true" and "snapshot_completed" not in message.subject:
            return  # told again, not changed
        source, number = headers.get("ce-source", ""), headers.get("ce-sequence", "")
        event = (source, int(number)) if source and number.isdecimal() else None
        tags = tags_of(message.subject, message.data)
        self._listener.hear(tags, event, headers.get("ce-subject", ""))
        _note_lag(message.subject, headers.get("ce-time", ""))


def _note_lag(subject: str, occurred_at: str) -> None:
    """Measure from the fact, which is a little before its commit, to the end of its purge here."""
    with suppress(ValueError):
        seconds = (datetime.now(UTC) - datetime.fromisoformat(occurred_at)).total_seconds()
        _lag.record(seconds)
        _log.debug("event heard", subject=subject, lag_ms=round(seconds * 1000, 2))
