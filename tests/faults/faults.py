"""What is broken, one function each; it returns when the fault is over and recovery can begin."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from deploy.local.suite import PROCESSES, role
from shared.testing import until
from shared.worker import SLOTS
from tests.faults.ground import Ground
from tests.faults.processes import strike

Break = Callable[[Ground], Awaitable[None]]
READY_WITHIN = 60.0  # seconds


@dataclass(frozen=True)
class Fault:
    """`seamless` says that no request may fail; `mails_twice` how many mails may be sent twice;
    `without` names a server that is dead from before the first request until all is at rest.
    """

    name: str
    strike: Break
    seamless: bool = False
    mails_twice: int = 0
    without: str = ""


def kill(name: str) -> Fault:
    """kill -9 of a service; whoever supervises it starts it again."""

    async def strike_service(ground: Ground) -> None:
        ground.stack.services[name].kill()

    is_worker = name == "worker"
    slots = sum(SLOTS.values()) if is_worker else 0
    return Fault(f"kill -9 of {name}", strike_service, seamless=is_worker, mails_twice=slots)


def stop(server: str, name: str, seconds: float, *, seamless: bool) -> Fault:
    """SIGSTOP of a server: it hears everything and answers nothing."""

    async def freeze(ground: Ground) -> None:
        child = ground.stack.servers.children[server]
        strike(child, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            strike(child, signal.SIGCONT)

    return Fault(f"{name} stopped for {seconds:g} s", freeze, seamless)


def lose(server: str, name: str, seconds: float) -> Fault:
    """Nothing listens where a server was, which nobody needs to answer a request."""

    async def leave_dead(ground: Ground) -> None:
        async with absent(ground, server):
            await asyncio.sleep(seconds)

    return Fault(f"{name} dead for {seconds:g} s", leave_dead, seamless=True)


def lack(server: str, name: str, seconds: float) -> Fault:
    """The same throughout, for so many seconds of writing."""

    async def go_on(_: Ground) -> None:
        await asyncio.sleep(seconds)

    return Fault(f"{name} dead throughout", go_on, seamless=True, without=server)


def together(*faults: Fault) -> Fault:
    """All of them at the same moment."""

    async def strike_all(ground: Ground) -> None:
        await asyncio.gather(*(fault.strike(ground) for fault in faults))

    return Fault(
        ", ".join(fault.name for fault in faults),
        strike_all,
        seamless=all(fault.seamless for fault in faults),
        mails_twice=sum(fault.mails_twice for fault in faults),
        without="".join(fault.without for fault in faults),
    )


@asynccontextmanager
async def absent(ground: Ground, server: str) -> AsyncIterator[None]:
    """Nothing listens where the server was while the context is open."""
    child = ground.stack.servers.children[server]
    strike(child, signal.SIGKILL)
    await child.stop(grace=1)
    try:
        yield
    finally:
        child.start()
        await child.ready(READY_WITHIN)


async def kill_postgres(ground: Ground) -> None:
    """PostgreSQL with all of its sessions, as when its machine fails."""
    strike(ground.stack.servers.children["postgres"], signal.SIGKILL)


async def kill_nats(ground: Ground) -> None:
    """NATS, at any moment."""
    strike(ground.stack.servers.children["nats"], signal.SIGKILL)


async def kill_nats_before_its_ack(ground: Ground) -> None:
    """NATS, when it has stored facts and no service knows that it did."""
    try:
        async with ground.jetstream() as jetstream:
            # Before the hold: of what is stored in it, there may be no more to come.
            before = (await jetstream.stream_info("content")).state.last_seq
            ground.wire.hold()

            async def has_stored() -> bool:
                return (await jetstream.stream_info("content")).state.last_seq > before

            await until(has_stored, what="facts in the stream")
            strike(ground.stack.servers.children["nats"], signal.SIGKILL)
    finally:
        ground.wire.release()


async def delete_streams(ground: Ground) -> None:
    """NATS has lost its disk."""
    async with ground.jetstream() as jetstream:
        for stream in ("users", "content", "jobs-notifications"):
            await jetstream.delete_stream(stream)


async def restart_in_turn(ground: Ground) -> None:
    """Every process, one after the other: what a rollout does."""
    for child in ground.stack.services.values():
        child.restart()
        await child.ready(READY_WITHIN)


async def restart_halves(ground: Ground) -> None:
    """One process of each service, then the others: a rollout in a hurry."""
    services = ground.stack.services
    second = [child for name, child in services.items() if role(name) != name]
    for half in ([child for child in services.values() if child not in second], second):
        for child in half:
            child.restart()
        await asyncio.gather(*(child.ready(READY_WITHIN) for child in half))


KILLS = tuple(kill(name) for name in PROCESSES)
SERVERS = (
    Fault("kill -9 of PostgreSQL", kill_postgres),
    Fault("kill -9 of NATS", kill_nats, seamless=True),
    Fault("kill -9 of NATS between publish and ack", kill_nats_before_its_ack, seamless=True),
    Fault("streams deleted", delete_streams, seamless=True),
)


def absences(postgres: float, others: float) -> tuple[Fault, ...]:
    """Servers that are away for so many seconds."""
    return (
        stop("postgres", "PostgreSQL", postgres, seamless=False),
        stop("valkey", "Valkey", others, seamless=True),
        lose("valkey", "Valkey", others),
        lack("collector", "collector", others),
    )
