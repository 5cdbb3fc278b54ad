"""A whole stack to break things in, with people who write, and a wire to its NATS."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import asyncpg
import nats
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError

from deploy.local.process import Child, all_ready
from deploy.local.program import Program
from deploy.local.stack import Stack
from deploy.local.state import State
from deploy.local.suite import WITH_DATABASE, role
from shared.testing import until
from tests.faults.community import Community
from tests.faults.doors import Doors
from tests.faults.findings import Finding
from tests.faults.processes import Held, grown, measure
from tests.faults.wire import Wire

DRAIN = 1.0  # seconds
WARM_RATE = 30.0  # requests a second
WARM_SECONDS = 2.0
PATIENCE = 4.0  # seconds that the gateway gives a request
TOLD = {
    "GATEWAY_TIMEOUT": str(PATIENCE),
    "QUARTET_DRAIN": str(DRAIN),
    # Shorter than the drain, and longer than it takes to the next probe, which comes on the same
    # connection then: Hypercorn keeps for a while what its client has closed.
    "GATEWAY_KEEP_ALIVE": str(DRAIN * 0.8),
    "QUARTET_POOL_IDLE": "1",
    # Hashes that cost little: it is not their cost that is looked at.
    "USERS_HASH_MEMORY_KIB": "1024",
    "USERS_HASH_TIME_COST": "1",
}
READY_WITHIN = 60.0  # seconds
CONSUMERS = (("users", "content"), ("users", "notifications"), ("content", "notifications"))


class Ground:
    """A running stack, its community and its wire; `known` is what was found to be wrong so far,
    and `held` what processes held before anything broke.
    """

    def __init__(
        self, stack: Stack, wire: Wire, session: aiohttp.ClientSession, doors: Doors
    ) -> None:
        self.stack, self.wire = stack, wire
        self.chance = random.Random(20)
        self.community = Community(session, doors, self.chance)
        self.known: set[Finding] = set()
        self.held: dict[str, Held] = {}

    async def warm_up(self) -> None:
        """Let some people write. What processes have open when nobody has come yet, they shall have
        open when all have gone; memory is filled by use, and is looked at after some.
        """
        self.held = await measure(self.stack)
        await self.community.assemble()
        async with self.community.writing(WARM_RATE):
            await asyncio.sleep(WARM_SECONDS)
        await self.come_to_rest(within=30)
        for name, now in (await measure(self.stack)).items():
            self.held[name] = replace(self.held[name], resident=now.resident)

    async def come_to_rest(self, within: float) -> bool:
        """Wait until every fact is sent and taken in; False when that does not come."""
        try:
            await until(self._rests, seconds=within, what="rest")
        except AssertionError:
            return False
        return True

    async def holds_more(self, within: float) -> list[str]:
        """Who holds more than before anything broke, in words; some things are let go of after a
        while.
        """
        left: list[str] = []

        async def is_let_go_of() -> bool:
            left[:] = grown(self.held, await measure(self.stack))
            return not left

        with suppress(AssertionError):
            await until(is_let_go_of, seconds=within)
        return left

    @asynccontextmanager
    async def replaced(self, programs: Mapping[str, tuple[str, ...]]) -> AsyncIterator[None]:
        """Other programs in the place of services while the context is open."""
        children = [self.stack.services[service] for service in programs]
        ours = [child.program for child in children]
        await _run(
            children,
            [replace(one, argv=argv) for one, argv in zip(ours, programs.values(), strict=True)],
        )
        try:
            yield
        finally:
            await _run(children, ours)

    @asynccontextmanager
    async def jetstream(self) -> AsyncIterator[JetStreamContext]:
        """JetStream by a connection of our own, past the wire."""
        client = await nats.connect(self.stack.servers.nats_url, connect_timeout=2)
        try:
            yield client.jetstream(timeout=2)
        finally:
            await client.close()

    async def _rests(self) -> bool:
        try:
            waiting = [await self._unsent(name) for name in WITH_DATABASE]
            async with self.jetstream() as jetstream:
                for stream, consumer in CONSUMERS:
                    info = await jetstream.consumer_info(stream, consumer)
                    waiting += [info.num_pending or 0, info.num_ack_pending or 0]
                queues = await jetstream.stream_info("jobs-notifications")
                waiting.append(queues.state.messages)
        except (OSError, asyncpg.PostgresError, JetStreamError, nats.errors.Error):
            return False
        await asyncio.sleep(0.1)
        return not any(waiting)

    async def _unsent(self, service: str) -> int:
        db = await asyncpg.connect(self.stack.addresses.databases[service], timeout=2)
        try:
            waiting: int = await db.fetchval(
                """SELECT count(*) FROM outbox
                    WHERE published_at IS NULL AND (due_at IS NULL OR due_at < now())"""
            )
        finally:
            await db.close()
        return waiting


async def _run(children: Sequence[Child], programs: Sequence[Program]) -> None:
    """Nothing goes on that somebody would have to be asked to end."""
    for child, program in zip(children, programs, strict=True):
        child.program = program
        child.kill()
    await all_ready(children, READY_WITHIN)


@asynccontextmanager
async def ground(
    folder: Path,
    *,
    told: Mapping[str, str] | None = None,
    replicas: Mapping[str, int] | None = None,
) -> AsyncIterator[Ground]:
    """A stack in `folder` whose services reach NATS by a wire, with its cast assembled."""
    state = State(folder)
    state.make()
    wire = Wire(state.port("nats"))
    await wire.start()
    by_wire = f"nats://quartet:{state.secret('nats')}@127.0.0.1:{wire.port}"
    settings = TOLD | {"QUARTET_NATS_URL": by_wire} | dict(told or {})
    # A client must let go of an idle connection sooner than the gateway that drains.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=DRAIN / 2)
    try:
        async with (
            Stack(folder, told=settings, replicas=replicas) as stack,
            aiohttp.ClientSession(connector=connector) as session,
        ):
            doors = Doors(
                [url for name, url in stack.addresses.services.items() if role(name) == "gateway"]
            )
            async with doors.watched(session):
                running = Ground(stack, wire, session, doors)
                await running.warm_up()
                yield running
    finally:
        wire.stop()
