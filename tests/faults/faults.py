"""What is broken, one function each; it returns when the fault is over and recovery can begin."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deploy.local.suite import role
from shared.testing import until
from shared.worker import SLOTS
from tests.faults.ground import Ground
from tests.faults.processes import strike

Break = Callable[[Ground], Awaitable[None]]
READY_WITHIN = 60.0  # seconds


@dataclass(frozen=True)
class Fault:
    """`seamless` says that no request may fail; `mails_twice` how many mails may be sent twice."""

    name: str
    strike: Break
    seamless: bool = False
    mails_twice: int = 0


def kill(name: str) -> Fault:
    """kill -9 of a service; whoever supervises it starts it again."""

    async def strike_service(ground: Ground) -> None:
        ground.stack.services[name].kill()

    is_worker = name == "worker"
    slots = sum(SLOTS.values()) if is_worker else 0
    return Fault(f"kill -9 of {name}", strike_service, seamless=is_worker, mails_twice=slots)


async def stop_postgres(ground: Ground) -> None:
    """PostgreSQL hears everything and answers nothing."""
    await _freeze(ground, "postgres", 5)


async def kill_postgres(ground: Ground) -> None:
    """PostgreSQL with all of its sessions, as when its machine fails."""
    strike(ground.stack.servers.children["postgres"], signal.SIGKILL)


async def kill_nats(ground: Ground) -> None:
    """NATS, at any moment."""
    strike(ground.stack.servers.children["nats"], signal.SIGKILL)


async def kill_nats_before_its_ack(ground: Ground) -> None:
    """NATS, when it has stored facts and no service knows that it did."""
    async with ground.jetstream() as jetstream:
        ground.wire.hold()
        before = (await jetstream.stream_info("content")).state.last_seq

        async def has_stored() -> bool:
            return (await jetstream.stream_info("content")).state.last_seq > before

        await until(has_stored, what="facts in the stream")
        strike(ground.stack.servers.children["nats"], signal.SIGKILL)
    ground.wire.release()


async def delete_streams(ground: Ground) -> None:
    """NATS has lost its disk."""
    async with ground.jetstream() as jetstream:
        for stream in ("users", "content", "jobs-notifications"):
            await jetstream.delete_stream(stream)


async def stop_valkey(ground: Ground) -> None:
    """Valkey hears everything and answers nothing."""
    await _freeze(ground, "valkey", 3)


async def lose_valkey(ground: Ground) -> None:
    """Nothing listens where Valkey was."""
    await _leave_dead(ground, "valkey", 3)


async def lose_collector(ground: Ground) -> None:
    """Nothing listens where the collector was."""
    await _leave_dead(ground, "collector", 3)


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


async def _freeze(ground: Ground, server: str, seconds: float) -> None:
    child = ground.stack.servers.children[server]
    strike(child, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        strike(child, signal.SIGCONT)


async def _leave_dead(ground: Ground, server: str, seconds: float) -> None:
    child = ground.stack.servers.children[server]
    strike(child, signal.SIGKILL)
    await child.stop(grace=1)
    try:
        await asyncio.sleep(seconds)
    finally:
        child.start()
        await child.ready(READY_WITHIN)


FAULTS = (
    *(kill(name) for name in ("users", "content", "notifications", "worker", "gateway")),
    Fault("PostgreSQL stopped for 5 s", stop_postgres),
    Fault("kill -9 of PostgreSQL", kill_postgres),
    Fault("kill -9 of NATS", kill_nats, seamless=True),
    Fault("kill -9 of NATS between publish and ack", kill_nats_before_its_ack, seamless=True),
    Fault("streams deleted", delete_streams, seamless=True),
    Fault("Valkey stopped for 3 s", stop_valkey, seamless=True),
    Fault("Valkey dead for 3 s", lose_valkey, seamless=True),
    Fault("collector dead for 3 s", lose_collector, seamless=True),
)
