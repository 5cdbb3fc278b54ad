"""The way of an event from commit to effect, one step at a time, with a crash between any two.

Real PostgreSQL and NATS, and our real code. A crash ends a process between two steps: what it was
about to do, it does not do; what it has begun on the servers, they end as for a lost client.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError
from quart import Quart

from shared import database
from shared.applied import Applied
from shared.bus import Bus
from shared.database import Connection
from shared.events import Envelope, Event
from shared.inbox import Consumer, Delivery, Handlers, insert_received
from shared.outbox import publish
from shared.relay import Relay
from shared.replay import EVER, resend
from shared.tests.steps import Stepped, SteppedMessage, Steps, stepped_transaction

TABLES = """
  CREATE TABLE IF NOT EXISTS struck (bell text NOT NULL, number int NOT NULL);
  CREATE TABLE IF NOT EXISTS felt (bell text NOT NULL, number int NOT NULL);
  CREATE TABLE IF NOT EXISTS latest (bell text PRIMARY KEY, number int, position bigint);
  TRUNCATE struck, felt, latest, outbox, inbox, dead_letters RESTART IDENTITY"""
PATIENT = Delivery(attempts=1_000, first_pause=0.001, longest_pause=0.001, ack_wait=60.0)


class Struck(Event, frozen=True, kw_only=True):
    """A bell was struck, for the so-manieth time."""

    SUBJECT: ClassVar[str] = "alpha.struck.v1"

    bell: str
    number: int

    @property
    def aggregate(self) -> str:
        return self.bell


class Write(msgspec.Struct, frozen=True):
    """Strike a bell; crash before that step, if one is given."""

    bell: str
    crash: int | None = None


class Send(msgspec.Struct, frozen=True):
    """Let the relay have its turn."""

    crash: int | None = None


class Take(msgspec.Struct, frozen=True):
    """Take in what there is, up to `most`; the first attempt at each `fails`, if it says so."""

    most: int = 1
    crash: int | None = None
    fails: bool = False


class Lose(msgspec.Struct, frozen=True):
    """NATS loses its disk."""


class Again(msgspec.Struct, frozen=True):
    """An operator has everything sent again."""


Op = Write | Send | Take | Lose | Again


class Build(msgspec.Struct, frozen=True):
    """The code under test."""

    relay: type[Relay] = Relay
    consumer: type[Consumer] = Consumer
    received: Callable[..., Awaitable[bool]] = insert_received


class World:
    """A publisher's database, NATS, a subscriber's database, and the processes between them."""

    def __init__(self, build: Build, alpha: Quart, beta: Quart, bus: Bus, client: Client) -> None:
        self._build, self._alpha, self._beta, self._bus = build, alpha, beta, bus
        self._client, self._failing = client, False
        self._acknowledged: list[tuple[str, int]] = []
        self._numbers: dict[str, int] = {}
        self._failed: set[int] = set()

    async def check(self, ops: Sequence[Op]) -> list[str]:
        """What is wrong after all of it, once everything has settled."""
        await self._clear()
        for op in ops:
            await self._do(op)
        await self._settle()
        return await self._faults()

    async def _do(self, op: Op) -> None:
        if isinstance(op, Write):
            await self._write(op)
        elif isinstance(op, Send):
            await self._send(op)
        elif isinstance(op, Take):
            await self._take(op)
        elif isinstance(op, Lose):
            await self._lose()
        else:
            async with self._alpha.app_context(), database.transaction() as db:
                await resend(db, EVER, datetime.now(UTC))

    async def _clear(self) -> None:
        for app in (self._alpha, self._beta):
            async with app.app_context(), database.transaction() as db:
                await db.execute(TABLES)
        await self._lose()

    async def _lose(self) -> None:
        try:
            await self._client.jetstream().delete_stream("alpha")
        except NotFoundError:
            return

    async def _write(self, op: Write) -> None:
        number = self._numbers[op.bell] = self._numbers.get(op.bell, 0) + 1
        steps = Steps(op.crash)

        async def write() -> None:
            async with self._alpha.app_context(), database.transaction() as real:
                db: Any = Stepped(steps, real)
                await db.execute("INSERT INTO struck VALUES ($1, $2)", op.bell, number)
                event = Struck(bell=op.bell, number=number)
                await publish(db, event, datetime.now(UTC))
            await steps.step()

        if await steps.run(write()):
            self._acknowledged.append((op.bell, number))

    async def _send(self, op: Send) -> None:
        steps = Steps(op.crash)
        pool = self._alpha.extensions["database"]
        relay: Any = self._build.relay("alpha", "", self._bus)

        async def send() -> None:
            async with pool.acquire() as db:
                await relay._check_stream(Stepped(steps, db))
                if await self._unsent():
                    jetstream = Stepped(steps, self._client.jetstream())
                    await relay._publish_waiting(Stepped(steps, db), jetstream)

        await steps.run(send())

    async def _take(self, op: Take) -> None:
        messages = await self._pull(op.most)
        if not messages:
            return
        steps, self._failing = Steps(op.crash), op.fails
        handlers: Handlers = {Struck: self._feel}
        consumer = self._build.consumer(self._beta, "alpha", handlers, Applied(), PATIENT)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("shared.inbox.transaction", stepped_transaction(steps))
            patch.setattr("shared.inbox.insert_received", self._build.received)
            stepped: Any = [SteppedMessage(steps, message) for message in messages]
            done = await steps.run(consumer.take(stepped))
        if not done:  # as if the ack wait were over; those that were acknowledged don't care
            for message in messages:
                await self._client.publish(message.reply, b"-NAK")
        await self._client.flush()

    async def _feel(self, db: Connection, event: Struck, envelope: Envelope) -> None:
        await db.execute("INSERT INTO felt VALUES ($1, $2)", event.bell, event.number)
        await db.execute(
            """INSERT INTO latest VALUES ($1, $2, $3)
               ON CONFLICT (bell) DO UPDATE
                  SET number = EXCLUDED.number, position = EXCLUDED.position
                WHERE latest.position < EXCLUDED.position""",
            event.bell,
            event.number,
            envelope.position,
        )
        if self._failing and envelope.position not in self._failed:
            self._failed.add(envelope.position)
            raise ZeroDivisionError

    async def _pull(self, most: int) -> list[Msg]:
        try:
            await self._bus.ensure_consumer("alpha", "beta", PATIENT.ack_wait)
        except NotFoundError:
            return []
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        request = msgspec.json.encode({"batch": most, "no_wait": True})
        await self._client.publish("$JS.API.CONSUMER.MSG.NEXT.alpha.beta", request, inbox)
        messages: list[Msg] = []
        while len(messages) < most:
            message = await subscription.next_msg(timeout=5)
            if (message.headers or {}).get("Status") is not None:
                break
            messages.append(message)
        await subscription.unsubscribe()
        return messages

    async def _unsent(self) -> bool:
        async with self._alpha.app_context(), database.connection() as db:
            return bool(
                await db.fetchval("SELECT EXISTS (SELECT FROM outbox WHERE published_at IS NULL)")
            )

    async def _settle(self) -> None:
        await self._send(Send())
        while await self._unsent():
            await self._send(Send())
        info: Any = None
        while info is None or info.num_pending or info.num_ack_pending:
            await self._take(Take(most=8))
            info = await self._client.jetstream().consumer_info("alpha", "beta")

    async def _rows(self, app: Quart, query: Any) -> list[tuple[Any, ...]]:
        async with app.app_context(), database.connection() as db:
            return [tuple(row) for row in await db.fetch(query)]

    async def _faults(self) -> list[str]:
        struck = await self._rows(self._alpha, "SELECT bell, number FROM struck ORDER BY 1, 2")
        felt = await self._rows(self._beta, "SELECT bell, number FROM felt ORDER BY 1, 2")
        latest = dict(await self._rows(self._beta, "SELECT bell, number FROM latest"))
        lost = [write for write in self._acknowledged if write not in struck]
        last = {bell: max(n for b, n in struck if b == bell) for bell, _ in struck}
        return [
            *(f"{write} was acknowledged and is lost" for write in lost),
            *(f"{fact} has no effect" for fact in struck if fact not in felt),
            *(f"{fact} has an effect and is none" for fact in felt if fact not in struck),
            *(f"{fact} has its effect twice" for fact in set(felt) if felt.count(fact) > 1),
            *(f"{bell} is at {latest[bell]}" for bell in latest if latest[bell] != last[bell]),
        ]
