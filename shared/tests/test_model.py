"""Whatever crashes between any two steps: nothing is lost, nothing happens twice, the later wins.

And the checker that says so is one to be believed: it finds what is wrong with broken builds.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from quart import Quart

from deploy.local.servers import Servers
from shared.background import background
from shared.bus import Bus
from shared.database import use_database
from shared.inbox import Consumer
from shared.relay import BATCH, Relay, select_unpublished, update_published
from shared.service import create_service
from shared.settings import DataSettings
from shared.testing import serving
from shared.tests.model import Again, Build, Lose, Op, Send, Take, World, Write

crashes = st.none() | st.integers(0, 12)
ops = st.lists(
    st.one_of(
        st.builds(Write, bell=st.sampled_from("ab"), crash=st.none() | st.integers(0, 4)),
        st.builds(Send, crash=crashes),
        st.builds(Take, most=st.integers(1, 3), crash=crashes, fails=st.booleans()),
        st.builds(Lose),
        st.builds(Again),
    ),
    max_size=12,
)
Run = Callable[..., Any]


@pytest.fixture
async def run(
    servers: Servers, alpha_settings: DataSettings, beta_settings: DataSettings, nats: Client
) -> AsyncIterator[Run]:
    """Check a build in the world."""
    alpha, beta = _app("alpha", alpha_settings), _app("beta", beta_settings)
    bus = Bus("model", servers.nats_url, 1)
    async with serving(alpha), serving(beta), background(bus.run()):

        async def run(what: list[Op], build: Build = Build()) -> list[str]:  # noqa: B008  (frozen)
            return await World(build, alpha, beta, bus, nats).check(what)

        yield run


def _app(name: str, settings: DataSettings) -> Quart:
    app = create_service(name, settings)
    use_database(app, settings)
    return app


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(what=ops)
async def test_nothing_is_lost_and_nothing_happens_twice(run: Run, what: list[Op]) -> None:
    assert await run(what) == []


def schedules() -> list[list[Op]]:
    """Each step of each process as the place of a crash, one at a time."""
    writes: list[Op] = [Write("a"), Write("b"), Write("a")]
    return [
        *([*writes[:2], Write("a", crash), Send(), Take()] for crash in range(6)),
        *([*writes, Send(crash), Send(), Take(3)] for crash in range(12)),
        *([*writes, Send(), Take(1, crash), Take(3)] for crash in range(10)),
        *([*writes, Send(), Take(3, crash), Take(3)] for crash in range(20)),
    ]


async def test_no_single_crash_does_harm(run: Run) -> None:
    for what in schedules():
        assert await run(what) == [], what


class AcksFirst(Consumer):
    """Acknowledges before it commits."""

    async def take(self, messages: Any) -> None:
        for message in messages:
            await message.respond(b"+ACK")
        await super().take(messages)


class MarksFirst(Relay):
    """Marks as sent what it is about to send."""

    async def _publish_waiting(self, db: Any, jetstream: Any) -> None:
        rows = await select_unpublished(db, BATCH, datetime.now(UTC))
        await update_published(db, [row.position for row in rows], datetime.now(UTC))
        await asyncio.gather(*(self._send(jetstream, row) for row in rows))


async def forgets(*_: object) -> bool:
    """Keeps no record of what has had its effect."""
    return True


@pytest.mark.parametrize(
    ("build", "fault"),
    [
        (Build(consumer=AcksFirst), "has no effect"),
        (Build(relay=MarksFirst), "has no effect"),
        (Build(received=forgets), "has its effect twice"),
    ],
    ids=["acks before the commit", "marks before it publishes", "has no key in its inbox"],
)
async def test_a_broken_build_is_found_out(run: Run, build: Build, fault: str) -> None:
    found: list[str] = []
    for what in schedules():
        found += await run(what, build)
        if found:
            break
    assert any(said.endswith(fault) for said in found)
